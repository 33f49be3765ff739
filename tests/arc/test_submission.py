"""`submission.json`: what is written is valid, and each way to break it is named in one sentence."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from arc.errors import ArcError
from arc.submission import Score, read_submission, right, score, write_submission
from arc.tasks import Example, Task, load_tasks
from arc.validate import main

A, B, C = [[1]], [[2, 3]], [[4], [5]]
ONE = Task("0000000a", (Example(A, B),), (Example(A, B), Example(B, C)))
TWO = Task("0000000b", (Example(A, B),), (Example(C, A),))
HIDDEN = Task("0000000c", (Example(A, B),), (Example(C, []),))
TASKS = [ONE, TWO, HIDDEN]
ATTEMPTS = {"0000000a": [(A, B), (C, C)], "0000000b": [(B, C)], "0000000c": [(A, A)]}


def test_what_is_written_is_arc_prizes_format(tmp_path: Path) -> None:
    path = tmp_path / "submission.json"
    write_submission(path, ATTEMPTS)
    assert json.loads(path.read_text())["0000000a"] == [
        {"attempt_1": [[1]], "attempt_2": [[2, 3]]},
        {"attempt_1": [[4], [5]], "attempt_2": [[4], [5]]},
    ]
    assert read_submission(path, TASKS) == ATTEMPTS
    assert [file.name for file in tmp_path.iterdir()] == ["submission.json"]
    with pytest.raises(ArcError, match=r"cannot write .*nowhere"):
        write_submission(tmp_path / "nowhere" / "x.json", ATTEMPTS)


def test_scores() -> None:
    assert right(ATTEMPTS["0000000a"], ONE) == [True, True]
    assert right([(A, A), (C, A)], ONE) == [False, True]
    assert score(ATTEMPTS, TASKS) == Score(2, 3, 1, 2)
    assert score({**ATTEMPTS, "0000000a": [(B, B), (A, A)]}, TASKS) == Score(1, 3, 0, 2)
    assert str(Score(2, 3, 1, 2)) == "2 of 3 test outputs (66.7%) and 1 of 2 whole tasks (50.0%)"


Change = Callable[[dict[str, Any]], object]

# A change of the valid content, or other text in its place, and what is said of it.
BROKEN: dict[str, tuple[Change | str, str]] = {
    "no JSON": ('{"0000000a": [', "is no JSON: "),
    "empty": ("", "is no JSON: "),
    "a list": ("[]", "holds no JSON object of tasks by id"),
    "a task is missing": (lambda s: s.pop("0000000b"), "task 0000000b is missing$"),
    "two are missing": (
        lambda s: (s.pop("0000000b"), s.pop("0000000c")),
        "0000000b is missing, one of 2 that are",
    ),
    "an unknown task": (
        lambda s: s.update({"0000000d": []}),
        "'0000000d' is none of the 3 tasks; near it are",
    ),
    "a task twice": ('{"0000000a": [], "0000000a": []}', "the key '0000000a' is there twice"),
    "no list": (lambda s: s.update({"0000000b": {}}), "task 0000000b has no list of entries"),
    "too few entries": (
        lambda s: s["0000000a"].pop(),
        "task 0000000a has 1 entries, and the task has 2 test inp",
    ),
    "too many": (
        lambda s: s["0000000b"].append(s["0000000b"][0]),
        "0000000b has 2 entries, and the task has 1",
    ),
    "no entry": (
        lambda s: s["0000000a"].__setitem__(1, A),
        "0000000a, test 2 is no object with attempt_1 and",
    ),
    "one attempt": (lambda s: s["0000000a"][1].pop("attempt_2"), "task 0000000a, test 2 lacks attempt_2"),
    "a third attempt": (lambda s: s["0000000b"][0].update(attempt_3=A), "test 1 has the key 'attempt_3'"),
    "no grid": (
        lambda s: s["0000000b"][0].update(attempt_1=None),
        "test 1: attempt_1 is no grid: it is no list",
    ),
    "empty grid": (lambda s: s["0000000b"][0].update(attempt_2=[]), "attempt_2 is no grid: it has 0 rows"),
    "ragged": (
        lambda s: s["0000000b"][0].update(attempt_2=[[1, 2], [3]]),
        "its row 2 has 1 cells and its row 1",
    ),
    "too large": (
        lambda s: s["0000000b"][0].update(attempt_2=[[0]] * 31),
        "it has 31 rows, and a grid has 1 to",
    ),
    "color 10": (
        lambda s: s["0000000b"][0].update(attempt_1=[[10]]),
        "the cell 10, and a cell is a whole number",
    ),
    "a float": (lambda s: s["0000000b"][0].update(attempt_1=[[1.0]]), "has the cell 1.0"),
    "NaN": (
        '{"0000000a": [{"attempt_1": [[NaN]]}], "0000000b": [], "0000000c": []}',
        "0000000a has 1 entries",
    ),
    "true": (lambda s: s["0000000b"][0].update(attempt_1=[[True]]), "has the cell True"),
    "text": (lambda s: s["0000000b"][0].update(attempt_1=[["1"]]), "has the cell '1'"),
}


def raw(task: Task) -> dict[str, Any]:
    """A task in ARC's layout."""

    def pairs(examples: Sequence[Example]) -> list[dict[str, Any]]:
        return [{"input": example.input, "output": example.output or None} for example in examples]

    return {"train": pairs(task.train), "test": pairs(task.test)}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_submission_is_refused(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    change, message = BROKEN[name]
    path, tasks = tmp_path / "submission.json", tmp_path / "challenges.json"
    write_submission(path, ATTEMPTS)
    if isinstance(change, str):
        path.write_text(change)
    else:
        content = json.loads(path.read_text())
        change(content)
        path.write_text(json.dumps(content))
    with pytest.raises(ArcError, match=message) as caught:
        read_submission(path, TASKS)
    assert str(path) in str(caught.value)
    tasks.write_text(json.dumps({task.id: raw(task) for task in TASKS}))
    assert main([str(path), "--tasks", str(tasks)]) == 1
    captured = capsys.readouterr()
    assert captured.err == f"error: {caught.value}\n" and captured.err.count("\n") == 1 and not captured.out


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tasks = load_tasks("arc2-evaluation")
    path = tmp_path / "submission.json"
    # Half of the answers are right, by their second attempt.
    write_submission(
        path,
        {
            task.id: [(example.input, example.output if n % 2 else [[0]]) for example in task.test]
            for n, task in enumerate(tasks)
        },
    )
    assert main([str(path), "--score"]) == 0
    outputs, solved = sum(len(t.test) for t in tasks), sum(len(t.test) for t in tasks[1::2])
    assert capsys.readouterr().out == (
        f"{path} is valid: 120 tasks, {outputs} test inputs, two attempts each\n"
        f"score: {solved} of {outputs} test outputs ({100 * solved / outputs:.1f}%) and "
        "60 of 120 whole tasks (50.0%)\n"
    )
    assert main([str(path), "--tasks", "arc1-evaluation"]) == 1
    assert "is none of the 400 tasks" in capsys.readouterr().err
    assert main([str(tmp_path / "none.json")]) == 1
    assert "No such file" in capsys.readouterr().err
