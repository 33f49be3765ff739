"""Single-token reinforcement learning of a small model on ARC tasks.

Golden solutions are cut off some tokens before their end. In each such state the model tries several next
tokens and completes each several times; the programs are run, and tokens that lead to right ones more often
than the others are made likelier. As a task's rewards rise, more of its solution is cut off.

    python -m arc.train                         # the demo model, three tasks
    python -m arc.train --tasks 74dd1130 --run runs/mine --iterations 20
    python -m arc.train --held-out 68b16354 --settings.evaluate-k 4 8 16 --settings.evaluate-every 5
    python -m arc.train --algorithm grpo --run runs/grpo    # or sft: what it is compared with
    python -m arc.train --warm-start runs/arc --run runs/again
    python -m arc.train --lora.rank 16 --method.learning-rate 3e-4 --run runs/lora

A run that was stopped goes on where it was: give the same command again. `tensorboard --logdir runs` shows
the numbers of all runs.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from arc.errors import ArcError
from arc.interrupt import end_on_interrupt, one_line_on_interrupt

if __name__ == "__main__":  # before anything that takes time
    end_on_interrupt("stopped before anything was done")

import tyro
from rich.console import Console
from rich.table import Column, Table

from arc.train_options import Config
from minillm.errors import MinillmError

if TYPE_CHECKING:
    from rl.trainer import Summary


def table(summaries: list[Summary]) -> Table:
    """Tabulate the outcome, a row a task, those held out last."""
    names = ("k at start", "k at end", "reward before", "reward after", "moves confirmed")
    columns = [Column(name, justify="right") for name in names]
    title = "rewards are measured at the first k, before and after training"
    result = Table("task", "split", *columns, title=title)
    for s in summaries:
        rewards = f"{s.reward_before:.2f}", f"{s.reward_after:.2f}"
        moves = f"{s.moves_confirmed} of {s.moves_checked}" if s.moves_checked else "-"
        result.add_row(s.problem_id, s.split, str(s.k_start), str(s.k_end), *rewards, moves)
    return result


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    console = Console()
    config = tyro.cli(Config, description=__doc__, args=arguments)
    with one_line_on_interrupt(f"stopped; the same command goes on from {config.run}"):
        try:
            config.check()
            from arc.training import train  # here, so that --help need not wait for torch

            summaries = train(config, console)
        except (MinillmError, ArcError) as error:
            print(f"error: {error}", file=sys.stderr)
            return 1
    console.print(table(summaries))
    console.print(f"all rollouts: {config.run / 'journal.jsonl'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
