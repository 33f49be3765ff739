"""Writes the pages into a folder: the files of `pages/` as they are, and the data that they load."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from arc.catalogue import golden_kinds
from arc.sandbox import Limits, run_many
from arc.site.findings import Finding, digest
from arc.site.records import SPLITS, Golden, Tokens, index, pictures, record
from arc.tasks import Task, golden_ids, golden_source, load_tasks
from rl.pages.chunks import DATA, copy_pages, write_chunk


class Site:
    """The pages of some tasks, in a folder of their own; raises `ArcError` as `golden_ids` does."""

    def __init__(self, folder: Path, tasks: Sequence[Task], golden: Path | None = None) -> None:
        self.folder, self.tasks, self._golden = folder, sorted(tasks, key=lambda task: task.id), golden
        solved = set(golden_ids(golden))
        self.sources = {t.id: golden_source(t.id, golden) for t in self.tasks if t.id in solved}
        self._sets = _sets(self.tasks)
        self._golden_of: dict[str, Golden] = {}
        self._written: set[str] = set()

    def write(self, findings: Mapping[str, Finding], tokens: Tokens, limits: Limits) -> None:
        """Write everything; `findings` of another text of a solution are left out.

        Raises `ArcError` without a sandbox, in which all solutions are run, and `MinillmError` for a folder
        that holds something else, and where it cannot be written.
        """
        kinds = golden_kinds() if self._golden is None else {}
        solved = [task for task in self.tasks if task.id in self.sources]
        jobs = [(self.sources[task.id], [e.input for e in task.examples]) for task in solved]
        for task, result in zip(solved, run_many(jobs, limits), strict=True):
            source, finding = self.sources[task.id], findings.get(task.id)
            known = finding if finding and finding.digest == digest(task, source) else None
            self._golden_of[task.id] = Golden(source, result, kinds.get(task.id, ()), known)
        self._tokens = tokens
        copy_pages(self.folder, ["arc.site"])
        for number, part in enumerate(pictures(self.tasks)):
            self._put(f"pictures-{number}", part)
        for number in range(len(self.tasks)):
            self._write_task(number)
        # Last, since it is what the page asks for first.
        self._put("index", index(self.tasks, self._sets, self._golden_of))
        for path in (self.folder / DATA).glob("**/*.js"):
            if path.relative_to(self.folder / DATA).with_suffix("").as_posix() not in self._written:
                path.unlink()

    def unchecked(self) -> list[Task]:
        """List the tasks whose solution has no finding."""
        return [t for t in self.tasks if t.id in self.sources and not self._golden_of[t.id].finding]

    def add(self, task: Task, finding: Finding) -> None:
        """Write a task's record again, with what was found of its solution."""
        golden = self._golden_of[task.id]
        self._golden_of[task.id] = Golden(golden.source, golden.result, golden.kinds, finding)
        self._write_task(self.tasks.index(task))

    def _write_task(self, number: int) -> None:
        # By its place in the index: an id comes from a file, and may be no name of one.
        task = self.tasks[number]
        golden = self._golden_of.get(task.id)
        self._put(f"task/{number}", record(task, self._sets[task.id], golden, self._tokens))

    def _put(self, name: str, data: Any) -> None:
        write_chunk(self.folder, name, data)
        self._written.add(name)


def _sets(tasks: Iterable[Task]) -> dict[str, list[str]]:
    """Name the sets that each task is of, by its id."""
    ids = {split: {task.id for task in load_tasks(split)} for split in SPLITS}
    return {task.id: [split for split in ids if task.id in ids[split]] or ["own"] for task in tasks}
