"""Sample programs for ARC tasks within a time budget, vote, and write a submission.

Of each task some programs are sampled and run in the sandbox. Those that are right on the train pairs vote
for two attempts at each test input; where there are none, the best of the others do. The submission is in
ARC Prize's format; `python -m arc.validate` checks one. Scores are told where the answers are known.

    python -m arc.evaluate                                          # the demo model, ARC-AGI-2's evaluation
    python -m arc.evaluate --tasks golden --given-docstring 8       # and how often given the golden docstring
    python -m arc.evaluate --tasks arc-agi_test_challenges.json --minutes 600 --samples 64 --run runs/kaggle
    python -m arc.evaluate --model runs/arc/checkpoint-20 --guises 8 --refinements 2 --run runs/mine

An evaluation that was stopped goes on where it was: give the same command again.
"""

from __future__ import annotations

import sys
import time

_BEGIN = time.monotonic()  # the budget counts from here

from collections.abc import Sequence

from arc.errors import ArcError
from arc.interrupt import end_on_interrupt, one_line_on_interrupt

if __name__ == "__main__":  # before anything that takes time
    end_on_interrupt("stopped before anything was done")

import tyro
from rich.console import Console

from arc.evaluate_options import Config
from minillm.errors import MinillmError


def main(arguments: Sequence[str] | None = None, begin: float | None = None) -> int:
    """Run the command line; return the exit status. The budget counts from `begin`, or else from now."""
    begin = time.monotonic() if begin is None else begin
    config = tyro.cli(Config, description=__doc__, args=arguments)
    console = Console()
    with one_line_on_interrupt(f"stopped; the same command goes on from {config.run}"):
        try:
            config.check()
            from arc.evaluating import evaluate  # here, so that --help need not wait for torch

            report = evaluate(config, console, begin)
        except (MinillmError, ArcError) as error:
            print(f"error: {error}", file=sys.stderr)
            return 1
    console.print(report.table())
    for line in report.lines():
        console.print(line, soft_wrap=True)
    console.print(f"{config.run / 'submission.json'}, report.json and candidates.jsonl", soft_wrap=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(begin=_BEGIN))
