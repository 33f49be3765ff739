from __future__ import annotations

import pytest

from arc.check import check_format, check_solution, main, reward
from arc.sandbox import RunResult
from arc.tasks import Example, Task, golden_ids, golden_source, load_task

GOOD = '''def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The output has the size of the input, and it goes
       on in a second line.
    2. Each row is turned around.
    Procedure:
    1. Turn each row around.
    """
    # Turn each row around.
    import copy

    rows = copy.deepcopy(grid)
    result = [row[::-1] for row in rows]
    return result
'''
TASK = Task("toy", (Example([[1, 2]], [[2, 1]]),), (Example([[3, 4]], [[4, 3]]),))


@pytest.mark.parametrize("task_id", golden_ids())
def test_golden_solution(task_id: str) -> None:
    assert check_solution(load_task(task_id), golden_source(task_id)) == []


def test_good() -> None:
    assert check_format(GOOD) == []
    assert check_solution(TASK, GOOD) == []


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("def solve(grid", "def solve(g", "must start with"),
        ("Observation:\n", "Observation: it is\n", "must start with"),
        ("def solve", "async def solve", "one top-level statement"),
        ("    return result\n", "    return result\nx = 1\n", "one top-level statement"),
        ("    return result\n", "    return result\nx = 1\n", "line 16 must be indented"),
        ("    rows =", "# a remark\n    rows =", "line 13 must be indented"),
        ("    return result\n", "    return (\n", "does not compile"),
        ("    return result\n", "    return result", "end with one newline"),
        ("    return result\n", "    return result\n\n", "end with one newline"),
        ("Turn each row around.\n    import", "Turn\tit.\n    import", "no tab"),
        ("\n", "\r\n", "no carriage return"),
        ("the input", "the \N{GREEK SMALL LETTER ALPHA}", "must be ASCII"),
        ("# Turn", "# ```", "no ```"),
        ("# Turn", "# " + "x" * 100, "line 10 is longer than 100 characters"),
        ("    # Turn each row around.\n", "", "must have a comment"),
        (
            "    result = [row[::-1] for row in rows]\n    return result",
            "    return rows",
            "last two",
        ),
        ("    result = [", "    result += [", "last two"),
        ("    return result", "    return rows", "last two"),
        ("    Procedure:\n", "", "headings"),
        ("    Procedure:", "    Steps:", "headings"),
        ("    1. Turn each row around.\n", "", "Procedure: has no numbered line"),
        ("    2. Each", "    3. Each", "number 2 is missing"),
        ("       on in", "    on in", "'on in a second line.' is no heading"),
    ],
)
def test_bad_format(old: str, new: str, problem: str) -> None:
    assert old in GOOD
    assert any(problem in found for found in check_format(GOOD.replace(old, new)))


def test_wrong_solution() -> None:
    wrong = GOOD.replace("for row in rows]", "for row in rows] if grid != [[3, 4]] else grid")
    assert check_solution(TASK, wrong) == ["test 1: the output is not the expected one"]
    failing = GOOD.replace("copy.deepcopy(grid)", "grid[2]")
    problems = check_solution(TASK, failing)
    assert problems == ["a run failed: IndexError: list index out of range, line 13"]


def test_reward() -> None:
    examples = TASK.examples
    assert reward(RunResult(([[2, 1]], [[4, 3]]), None), examples) == 1.0
    assert reward(RunResult(([[2, 1]], [[4, 4]]), None), examples) == 0.0
    assert reward(RunResult(([[2, 1]], None), "timeout"), examples) == 0.0
    assert reward(RunResult(([[4, 3]], [[2, 1]]), None), examples) == 0.0
    assert reward(RunResult(([[2, 1]],), None), examples) == 0.0


def test_command_line(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    task_id = golden_ids()[0]
    assert main([task_id]) == 0
    assert capsys.readouterr().out == f"{task_id}: ok\n"
    monkeypatch.setattr("arc.check.golden_source", lambda _: GOOD)
    assert main([task_id]) == 1
    assert "the output is not the expected one" in capsys.readouterr().out
    assert main(["zzz"]) == 1
    assert capsys.readouterr().err == "error: no ARC task has the id 'zzz'\n"
