"""The golden solutions in tables: how many of each kind, their length, and the size of their grids.

python -m arc.catalogue           # print them
python -m arc.catalogue --write   # put them into arc/README.md of a checkout, between its two marks
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from statistics import median

from arc.errors import ArcError
from arc.golden_format import code_lines
from arc.tasks import Task, golden_ids, golden_source, load_task, load_tasks

BEGIN, END = "<!-- arc.catalogue begins -->", "<!-- arc.catalogue ends -->"
LARGE = 169  # cells, of a grid as large as the median training task's largest
# Each kind as `golden/kinds.txt` has it, and what it says.
KINDS = {
    "objects": "objects and their properties",
    "enclosure": "flood fill and enclosure",
    "symmetry": "symmetry and pattern repair",
    "rays": "rays and lines",
    "gravity": "gravity and motion",
    "counting": "counting and sorting",
    "tiling": "tiling and scaling",
    "cropping": "cropping and selection",
    "recolouring": "recolouring by rule",
    "logic": "logic of two grids",
    "drawing": "drawing by example",
    "sequences": "sequences",
}


def golden_kinds() -> dict[str, tuple[str, ...]]:
    """Read the kinds of each golden solution, the main one first. Raises `ArcError` for an unknown one."""
    kinds = {}
    for line in (files("arc") / "golden" / "kinds.txt").read_text("utf-8").splitlines():
        task_id, _, names = line.partition(": ")
        kinds[task_id] = tuple(names.split(", "))
        if unknown := set(kinds[task_id]) - set(KINDS):
            raise ArcError(f"golden/kinds.txt: {task_id} is of no known kind: {', '.join(sorted(unknown))}")
    return kinds


def catalogue() -> str:
    """Write the tables in Markdown, of all golden solutions."""
    kinds = golden_kinds()
    evaluation = {task.id for task in load_tasks("arc2-evaluation")}
    tasks = {task_id: load_task(task_id) for task_id in golden_ids()}
    lines = {task_id: code_lines(golden_source(task_id)) for task_id in tasks}
    cells = {task_id: largest(task) for task_id, task in tasks.items()}
    public = len(evaluation & set(tasks))
    rows = [
        f"{len(tasks)} golden solutions: {len(tasks) - public} of training tasks of ARC-AGI-2, {public} of "
        f"its public evaluation; the median has {median(lines.values()):g} lines of code, and "
        f"{sum(n >= LARGE for n in cells.values())} tasks have a grid of {LARGE} cells or more. Many are of "
        "several kinds.",
        "",
        f"| kind | solutions | lines of code, median (from, to) | with {LARGE} cells or more | evaluation |",
        "|---|---:|---:|---:|---:|",
    ]
    for kind, words in [*KINDS.items(), ("", "all")]:
        ids = [task_id for task_id in tasks if not kind or kind in kinds.get(task_id, ())]
        sizes = sorted(lines[i] for i in ids)
        span = f"{median(sizes):g} ({sizes[0]}, {sizes[-1]})" if sizes else "-"
        large, asked = sum(cells[i] >= LARGE for i in ids), len(evaluation & set(ids))
        rows.append(f"| {words} | {len(ids)} | {span} | {large} | {asked} |")
    rows += ["", "| largest grid, cells | solutions | lines of code, median |", "|---|---:|---:|"]
    for low, high in ((1, 48), (49, 99), (100, 168), (169, 299), (300, 499), (500, 900)):
        ids = [i for i in tasks if low <= cells[i] <= high]
        rows.append(f"| {low} to {high} | {len(ids)} | {median(lines[i] for i in ids) if ids else 0:g} |")
    return "\n".join(rows) + "\n"


def largest(task: Task) -> int:
    """Count the cells of a task's largest grid."""
    return max(len(grid) * len(grid[0]) for e in task.examples for grid in (e.input, e.output) if grid)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m arc.catalogue",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--write", action="store_true", help="put the tables into arc/README.md")
    options = parser.parse_args(arguments)
    try:
        text = catalogue()
        if not options.write:
            print(text, end="")
            return 0
        write_between(BEGIN, END, text)
    except ArcError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def write_between(begin: str, end: str, text: str) -> None:
    """Put a text into `arc/README.md`, between two marks. Raises `ArcError` where they are not there."""
    path = Path(__file__).with_name("README.md")
    parts = path.read_text("utf-8").split(begin) if path.exists() else []
    if len(parts) != 2 or end not in parts[1]:
        raise ArcError(f"{path} has no line {begin}, or none {end} after it, between which the tables stand")
    draft = path.with_name(path.name + ".tmp")
    draft.write_text(f"{parts[0]}{begin}\n{text}{end}{parts[1].split(end, 1)[1]}", "utf-8")
    draft.replace(path)


if __name__ == "__main__":
    sys.exit(main())
