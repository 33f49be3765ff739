"""What `arc.check` finds of golden solutions and some siblings, kept beside them: it takes seconds for each.

A finding is of one text of a solution and one task, by their digest; for another text it does not count.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from hashlib import sha256
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from arc.check import check_solution
from arc.errors import ArcError
from arc.siblings import Sibling
from arc.tasks import Grid, Task, golden_ids, golden_source

NAME = "findings.jsonl"
# Counted up when what a finding holds, or how it is found, changes.
FORMAT = 1
SIBLINGS = 4


@dataclass(frozen=True)
class Finding:
    """What was found of one solution; `problems` is empty for a good one. Fields are those of `Report`."""

    task_id: str
    digest: str
    problems: tuple[str, ...]
    right: int
    pairs: int
    hidden_right: int
    hidden: int
    kept: tuple[str, ...]
    siblings: tuple[Sibling, ...]
    """A few of the hidden inputs, made in different ways, and what is right for them."""


def digest(task: Task, source: str) -> str:
    """Name a solution's text, its task and the format of findings in 16 hexadecimal digits."""
    pairs = [[[e.input, e.output] for e in part] for part in (task.train, task.test)]
    return sha256(json.dumps([FORMAT, task.id, pairs, source]).encode()).hexdigest()[:16]


def find(task: Task, source: str, golden: Path | None = None) -> Finding:
    """Check a solution; one of one's own, in a folder, by the one that ships, if there is one.

    Raises `ArcError` without a sandbox.
    """
    shipped = golden is not None and task.id in golden_ids()
    report = check_solution(task, source, golden_source(task.id) if shipped else None)
    first: dict[str, Sibling] = {}
    for sibling in report.siblings:
        first.setdefault(sibling.how, sibling)
    shown = [*first.values(), *(s for s in report.siblings if s not in first.values())][:SIBLINGS]
    return Finding(
        task.id,
        digest(task, source),
        report.problems,
        report.right,
        report.pairs,
        report.hidden_right,
        report.hidden,
        report.kept,
        tuple(shown),
    )


def read_findings(golden: Path | None = None) -> dict[str, Finding]:
    """Read what was found before, by task id; raises `ArcError` for a line that is no finding."""
    place: Traversable = (files("arc") / "golden" if golden is None else golden) / NAME
    if not place.is_file():
        return {}
    findings = {}
    for number, line in enumerate(place.read_text("utf-8").splitlines(), 1):
        try:
            finding = _finding(json.loads(line))
        except (ValueError, TypeError, KeyError):
            raise ArcError(f"{place}, line {number} is no finding; delete it, and run with --check") from None
        findings[finding.task_id] = finding
    return findings


def write_findings(findings: Iterable[Finding], golden: Path | None = None) -> None:
    """Write findings, sorted by task id, beside the solutions. Raises `ArcError` where that cannot be."""
    path = Path(str(files("arc") / "golden" if golden is None else golden)) / NAME
    lines = [json.dumps(_raw(f), separators=(",", ":")) for f in sorted(findings, key=lambda f: f.task_id)]
    draft = path.with_name(path.name + ".tmp")
    try:
        draft.write_text("".join(f"{line}\n" for line in lines), "utf-8")
        draft.replace(path)
    except OSError as error:
        raise ArcError(f"cannot write {path}: {error.strerror or error}") from None


def _raw(finding: Finding) -> dict[str, Any]:
    raw = asdict(finding)
    for sibling in raw["siblings"]:
        for part in ("input", "output"):
            sibling[part] = ["".join(map(str, row)) for row in sibling[part]]
    return raw


def _finding(raw: dict[str, Any]) -> Finding:
    siblings = [Sibling(_grid(pair["input"]), _grid(pair["output"]), pair["how"]) for pair in raw["siblings"]]
    values = {field.name: raw[field.name] for field in fields(Finding)}
    lists = {"siblings": tuple(siblings), "problems": tuple(raw["problems"]), "kept": tuple(raw["kept"])}
    return Finding(**{**values, **lists})


def _grid(rows: list[str]) -> Grid:
    return [[int(cell) for cell in row] for row in rows]
