from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from arc import check as module
from arc.check import BEGIN, END, Report, check_pairs, check_solution, main, results
from arc.golden_format import check_format
from arc.sandbox import warm_sandboxes
from arc.tasks import Example, Grid, Task, golden_ids, golden_source, load_task

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


@pytest.fixture(scope="module", autouse=True)
def _warm() -> Iterator[None]:
    """Start the sandboxes once for all of these tests."""
    with warm_sandboxes():
        yield


@pytest.mark.parametrize("task_id", golden_ids())
def test_golden_solution(task_id: str) -> None:
    task = load_task(task_id)
    assert check_pairs(task, golden_source(task_id)) == ([], len(task.examples))


def test_good() -> None:
    assert check_format(GOOD) == []
    report = check_solution(TASK, GOOD)
    assert report.problems == () and (report.right, report.pairs, report.lines, report.cells) == (2, 2, 5, 2)
    assert report.hidden_right == report.hidden == 20
    # On rows alone neither turning by 90 nor flipping rows changes what the rule sees.
    assert {"as it is", "up-down", "left-right"} <= set(report.kept)


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
    assert check_pairs(TASK, wrong) == (["test 1: the output is not the expected one"], 1)
    failing = GOOD.replace("copy.deepcopy(grid)", "grid[2]")
    assert check_pairs(TASK, failing) == (["a run failed: IndexError: list index out of range, line 13"], 0)


# ---------------------------------------------------------------- solutions that remember

RIGHT = golden_source("007bbfb7")
FRACTAL = load_task("007bbfb7")


def planted(*body: str) -> str:
    """A solution in the format with another body."""
    head = RIGHT[: RIGHT.index('"""', RIGHT.index('"""') + 3) + 3]
    return "\n".join(
        [head, "    # 1. What it does.", *(f"    {line}" for line in body), "    return result", ""]
    )


def flat(grids: Iterable[Grid]) -> list[str]:
    return ["".join(str(cell) for row in grid for cell in row) for grid in grids]


INPUTS = [e.input for e in FRACTAL.examples]
OUTPUTS = [e.output for e in FRACTAL.examples]
RULE = "kept = [[grid[r // 3][c // 3] * (grid[r % 3][c % 3] > 0) for c in range(9)] for r in range(9)]"
SHAPES = ["".join(str(int(cell > 0)) for row in grid for cell in row) for grid in INPUTS]
KEY = "key = sum((i + 1) * cell for i, cell in enumerate(sum(grid, []))) % 97"
KEYS = [sum((i + 1) * int(cell) for i, cell in enumerate(text)) % 97 for text in flat(INPUTS)]
ASSEMBLED = [
    line
    for key, text in zip(KEYS, flat(OUTPUTS), strict=True)
    for line in (
        f"if key == {key}:",
        f"    digits = {' + '.join(repr(text[i : i + 20]) for i in range(0, 81, 20))}",
    )
]
PICKED = " ".join(f"{sum(map(sum, i))}" for i in INPUTS)
BAD = {
    "a dictionary of outputs": (
        f"outputs = {dict(zip(flat(INPUTS), OUTPUTS, strict=True))}",
        "result = outputs[''.join(str(cell) for row in grid for cell in row)]",
    ),
    "a dictionary that falls back": (
        f"outputs = {dict(zip(flat(INPUTS), OUTPUTS, strict=True))}",
        "result = outputs.get(''.join(str(cell) for row in grid for cell in row), grid)",
    ),
    "a hash": (
        f"numbers = {[int(text) for text in flat(OUTPUTS)]}",
        "digits = str(numbers[hash(str(grid)) % 6]).rjust(81, '0')",
        "result = [[int(digits[9 * r + c]) for c in range(9)] for r in range(9)]",
    ),
    "a text": (
        f"text = {' '.join(flat(OUTPUTS))!r}",
        "digits = text.split()[0]",
        "result = [[int(digits[9 * r + c]) for c in range(9)] for r in range(9)]",
    ),
    "one literal grid": (f"result = {OUTPUTS[0]}",),
    "a literal grid among rows": (
        f"small = {INPUTS[0]}",
        f"result = {OUTPUTS[0]} if grid == small else grid",
    ),
    "a branch for one example": (
        "if grid[0][0] == 0 and grid[0][1] == 7:",
        "    grid = [row[::-1] for row in grid[::-1]]",
        "    grid = [row[::-1] for row in grid[::-1]]",
        f"if sum(map(sum, grid)) in ({', '.join(sorted(set(PICKED.split()), key=int))}):",
        "    grid = [[grid[r // 3][c // 3] * (grid[r % 3][c % 3] > 0) for c in range(9)] for r in range(9)]",
        "result = grid",
    ),
    "a key of one's own, and outputs out of short texts": (
        *(KEY, *ASSEMBLED),
        "result = [[int(digits[9 * r + c]) for c in range(9)] for r in range(9)]",
    ),
    "an error for what it does not know": (
        *(RULE, KEY),
        f"result = {{True: kept}}[key in {sorted(KEYS)}]",
    ),
    "the shapes of the examples": (
        *(RULE, f"shapes = {SHAPES}"),
        "result = kept if ''.join(str(int(cell > 0)) for row in grid for cell in row) in shapes else grid",
    ),
    "a count of its calls in a module": (
        *(RULE, "import string", "string.digits += 'x'"),
        "result = kept if len(string.digits) < 17 else grid",
    ),
    "a store in the function": (
        "store = solve.__dict__",
        *(RULE, "result = store.setdefault(str(grid), kept)"),
    ),
    "a module that unpacks": ("import zlib", "result = grid"),
    "eval": ("result = eval('grid')",),
    "another rule": (
        "result = [[cell for cell in row for _ in range(3)] for row in grid for _ in range(3)]",
    ),
    "the input": ("result = grid",),
    "a rule for one size and color": (
        "kept = [[grid[r // 3][c // 3] and grid[r % 3][c % 3] for c in range(9)] for r in range(9)]",
        "result = [[7 if cell else 0 for cell in row] for row in kept]",
    ),
}


def test_a_docstring_that_says_nothing_is_refused() -> None:
    start, end = RIGHT.index("Observation"), RIGHT.index('"""', RIGHT.index("Observation"))
    empty = "Observation:\n    1. There is a grid.\n    Procedure:\n    1. Do it.\n    "
    (problem,) = check_format(RIGHT[:start] + empty + RIGHT[end:])
    assert problem.startswith("the docstring has 8 different words")


@pytest.mark.parametrize("kind", BAD)
def test_what_remembers_is_refused(kind: str) -> None:
    report = check_solution(FRACTAL, planted(*BAD[kind]), RIGHT)
    assert report.problems
    if report.right == report.pairs:  # what the task's own pairs do not tell, hidden ones do
        assert report.hidden_right < report.hidden or check_format(planted(*BAD[kind]))


@pytest.mark.parametrize(
    ("result", "problem"),
    [
        ("{1: [[2, 1]], 3: [[4, 3]]}[grid[0][0]]", "none could be made"),
        ("[[2, 1]] if grid == [[1, 2]] else [[4, 3]]", "it has one answer for all"),
        ("[[2, 1]] if grid == [[1, 2]] else [[4, 3]] if grid == [[3, 4]] else grid", "changed inputs back"),
    ],
)
def test_alone_a_solution_must_be_a_rule(result: str, problem: str) -> None:
    """Without another to compare with, it has to answer changed inputs, each for itself."""
    good = check_solution(FRACTAL, RIGHT)
    assert good.problems == () and good.hidden == 20 and len(good.kept) == 8
    source = GOOD.replace("[row[::-1] for row in rows]", result)
    report = check_solution(TASK, source)
    assert report.right == report.pairs and any(problem in found for found in report.problems)


def test_command_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["007bbfb7"]) == 0
    row = next(line for line in capsys.readouterr().out.split("\n") if "007bbfb7" in line).split()
    assert row[1:4] == ["6/6", "20/20", "8"] and row[-1] == "ok" and int(row[-2]) > 100
    (tmp_path / "007bbfb7.py").write_text(planted("result = grid"))
    assert main(["--golden", str(tmp_path)]) == 1
    out = capsys.readouterr().out
    assert "train 1: the output is not the expected one" in " ".join(out.split())
    assert "0 of 1 solutions are good" in out
    assert main(["007bbfb8"]) == 1
    assert "near it are 007bbfb7" in capsys.readouterr().err


def report(task_id: str, others_right: int, others: int) -> Report:
    return Report(task_id, (), 4, 4, 20, 20, ("as it is",), 9, 100, others_right, others)


def test_others_pairs_in_markdown() -> None:
    text = results([report("aaaaaaaa", 60, 60), report("bbbbbbbb", 30, 60), report("cccccccc", 0, 0)])
    assert "3 of 3 solutions are good: 12 of 12" in text and "60 of 60 hidden ones" in text
    assert "Others' pairs of 2 tasks: 90 of 120 come out right (75.0%); 1 solutions have 95% or more" in text
    assert text.splitlines()[2:] == [
        "| task | right | pairs | share |",
        "|---|---:|---:|---:|",
        "| bbbbbbbb | 30 | 60 | 50% |",
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--write"], "--write is for all golden solutions"),
        (["007bbfb7", "--pairs", "{}", "--write"], "--write is for all golden solutions"),
        (["007bbfb7", "--pairs", "{}"], "has no file <task id>.json of any of the 1 tasks"),
        (["007bbfb7", "--pairs", "nowhere"], "nowhere has no file"),
    ],
)
def test_pairs_that_are_not_there(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([argument.format(tmp_path) for argument in arguments]) == 1
    assert message in capsys.readouterr().err


def test_several_solutions_at_a_time_stay_in_order(capsys: pytest.CaptureFixture[str]) -> None:
    ids = ["ff805c23", "007bbfb7", "6150a2bd", "1e0a9b12"]
    assert main(ids) == 0
    lines = capsys.readouterr().out.split("\n")
    assert [line.split()[0] for line in lines if line.strip().endswith("ok")] == ids
    assert main(ids) == 0
    assert capsys.readouterr().out.split("\n") == lines


def test_the_readme_has_the_results() -> None:
    readme = (Path(module.__file__).parent / "README.md").read_text("utf-8")
    text = readme.split(BEGIN)[1].split(END)[0]
    count = len(golden_ids())
    assert text.strip().startswith(f"{count} of {count} solutions are good")
