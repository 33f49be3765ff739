"""Validate a `submission.json`, and score it where the answers are known.

python -m arc.validate submission.json                            # for ARC-AGI-2's evaluation tasks
python -m arc.validate submission.json --tasks mytasks/ --score
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from arc.errors import ArcError
from arc.interrupt import one_line_on_interrupt
from arc.submission import read_submission, score
from arc.tasks import read_tasks


@dataclass(frozen=True)
class Config:
    """Options of `arc.validate`.

    Attributes:
        submission: the file.
        tasks: the tasks that it has to answer: task ids, "all", "golden", a set's name, or files and folders.
        score: also score it on those whose answers are known.
    """

    submission: Annotated[Path, tyro.conf.Positional]
    tasks: tuple[str, ...] = ("arc2-evaluation",)
    score: bool = False


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status, 0 for a submission that ARC Prize would take."""
    config = tyro.cli(Config, description=__doc__, args=arguments)
    with one_line_on_interrupt("stopped"):
        try:
            tasks = read_tasks(config.tasks)
            if not tasks:
                raise ArcError("there are no tasks to validate against; name some with --tasks")
            attempts = read_submission(config.submission, tasks)
        except ArcError as error:
            print(f"error: {error}", file=sys.stderr)
            return 1
    outputs = sum(len(task.test) for task in tasks)
    print(f"{config.submission} is valid: {len(tasks)} tasks, {outputs} test inputs, two attempts each")
    if config.score:
        answered = [task for task in tasks if task.answered]
        print(f"score: {score(attempts, answered)}" if answered else "score: no answers are known")
    return 0


if __name__ == "__main__":
    sys.exit(main())
