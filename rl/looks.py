"""What people look at and training never reads: the problems of a run, and what wrong completions did.

It stands beside the journal, in `looks.jsonl`, since a program that ran out of time, say, need not do so
again: the journal of a run that is done twice is the same to the bit, and this file may differ.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from minillm.errors import MinillmError
from rl.types import Problem, Shows

LOOKS = "looks.jsonl"


class Looks:
    """Writes a run's `looks.jsonl`; what it has from before a stop is not written again.

    Raises `MinillmError`, here and in `add`, where the file cannot be written.
    """

    def __init__(self, folder: Path, problems: Sequence[Problem]) -> None:
        self.path = folder / LOOKS
        self._known = {_key(line) for line in read_looks(folder)}
        # A line that a killed process left half written is ended.
        torn = self.path.exists() and not self.path.read_bytes().endswith(b"\n")
        lines = [_problem(problem) for problem in problems]
        self._write([line for line in lines if _key(line) not in self._known], "\n" * torn)

    def add(self, problem: Problem, completions: Sequence[Sequence[int]], rewards: Sequence[float]) -> None:
        """Note what completions did that earned less than 1, of a problem that can tell."""
        if not isinstance(problem, Shows):
            return
        lines = []
        for completion, reward in zip(completions, rewards, strict=True):
            line = {"kind": "failure", "problem_id": problem.id, "completion": digest(completion)}
            if reward < 1 and _key(line) not in self._known and (failure := problem.failure(completion)):
                lines.append({**line, **dict(zip(("case", "produced", "error"), failure, strict=True))})
                self._known.add(_key(line))
        self._write(lines)

    def _write(self, lines: Sequence[Mapping[str, Any]], first: str = "") -> None:
        try:
            with self.path.open("a") as file:
                file.write(first + "".join(json.dumps(line) + "\n" for line in lines))
        except OSError as error:
            raise MinillmError(
                f"cannot write {self.path}: {error.strerror}; make room and start again"
            ) from error


def read_looks(folder: Path) -> list[dict[str, Any]]:
    """Read the lines, but for one that a killed process left half written; none where there is no file."""
    path = folder / LOOKS
    lines: list[dict[str, Any]] = []
    for text in path.read_bytes().split(b"\n") if path.exists() else ():
        with contextlib.suppress(ValueError, RecursionError):
            if isinstance(line := json.loads(text), dict) and "kind" in line:
                lines.append(line)
    return lines


def digest(completion: Sequence[int]) -> str:
    """Name a completion by its token ids."""
    return hashlib.blake2b(" ".join(map(str, completion)).encode(), digest_size=8).hexdigest()


def _problem(problem: Problem) -> dict[str, Any]:
    known = problem.cases() if isinstance(problem, Shows) else ()
    cases = [dict(zip(("name", "input", "expected"), case, strict=True)) for case in known]
    ids = {"prompt_ids": problem.prompt_ids, "golden_ids": problem.golden_ids}
    return {"kind": "problem", "problem_id": problem.id, **ids, "stop": list(problem.stop), "cases": cases}


def _key(line: Mapping[str, Any]) -> tuple[str, str]:
    return str(line.get("problem_id")), str(line.get("completion", ""))
