from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from arc.draw import difference, draw
from arc.prompt import ASSISTANT_PREFIX, PromptOptions, completion_text, messages, user_message
from arc.show import main
from arc.tasks import golden_source, load_task
from minillm import Tokenizer

TASK = "e9afcf9a"
SOURCE = """def solve(grid: list[list[int]]) -> list[list[int]]:
    a = grid[0][0]
    b = grid[1][0]
    result = [[a, b] * 3, [b, a] * 3]
    return result
"""


def test_a_grid_reads_without_color() -> None:
    assert draw([[1, 2], [3, 4]]).plain == "1 2 \n3 4 "
    assert draw([[1, 2], [3, 4]], expected=[[1, 2], [4, 3]]).plain == "1 2 \n3!4!"
    assert draw([[1, 2], [3, 4]], expected=[[1], [3]]).plain == "1 2!\n3 4!"


def test_differences_in_words() -> None:
    assert difference([[1]], [[1]]) == "right"
    assert difference([[1, 2], [3, 4]], [[1, 0], [0, 4]]) == "2 cells wrong"
    assert difference([[1, 2]], [[1], [2]]) == "1x2, not 2x1"


def test_a_task_beside_programs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, text in {
        "near.py": SOURCE.replace("[b, a] * 3]", "[b, a, b, a, b, 0]]"),
        "fails.py": SOURCE.replace("grid[0][0]", "grid[0][7]"),
    }.items():
        (tmp_path / name).write_text(text)
    programs = [str(tmp_path / name) for name in ("near.py", "fails.py")]
    assert main([TASK, "--program", *programs]) == 0
    lines = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    assert "fails.py: IndexError: list index out of range, line 2" in lines
    (at,) = (n for n, line in enumerate(lines) if line == "train 1")
    titles, first = (" ".join(line.split()) for line in lines[at + 1 : at + 3])
    assert titles.startswith("input 2x6 output 2x6 golden: right")
    assert first.startswith("4 4 4 4 4 4 4 8 4 8 4 8 4 8 4 8 4 8")
    drawn = "\n".join(lines)
    assert drawn.count("near.py: 1 cells wrong") == 3 == drawn.count("fails.py: no output")
    assert "8 4 8 4 8 0!" in drawn


def test_a_task_without_answers_or_a_golden_solution(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pair = {"input": [[1]], "output": [[2]]}
    (tmp_path / "mine.json").write_text(json.dumps({"train": [pair], "test": [{"input": [[3]]}]}))
    (tmp_path / "same.py").write_text("def solve(grid):\n    return grid\n")
    assert main([str(tmp_path / "mine.json"), "--program", str(tmp_path / "same.py")]) == 0
    out = capsys.readouterr().out
    assert "golden" not in out and "same.py: 1 cells wrong" in out and "same.py: 1x1" in out


def test_prompts_with_their_tokens(capsys: pytest.CaptureFixture[str], demo_model_path: Path) -> None:
    more = ["--options.transposed", "--options.features", "symmetries", "--options.max-examples", "1"]
    assert main([TASK, "--prompt", *more]) == 0
    out = capsys.readouterr().out
    options = PromptOptions(transposed=True, features=("symmetries",), max_examples=1)
    text = user_message(load_task(TASK), options)
    assert out.startswith(f"{text}\n\n{ASSISTANT_PREFIX}\n")
    tokenizer = Tokenizer.from_folder(demo_model_path)

    def count(part: str) -> int:
        return len(tokenizer.encode(part, add_special_tokens=False))

    whole = len(tokenizer.encode_chat(messages(load_task(TASK), options))) + count(ASSISTANT_PREFIX)
    golden = count(completion_text(golden_source(TASK)))
    counts = (
        f"task {TASK}: {whole} tokens, {count(text)} of them the task's; its golden solution has {golden}"
    )
    assert f"{counts} more\n" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "there is no task to show; name one"),
        (["007bbfb8"], "no ARC task has the id '007bbfb8'; near it are 007bbfb7"),
        ([TASK, "--program", "nowhere.py"], r"cannot read the program nowhere.py: No such file"),
        ([TASK, "--program", "a/x.py", "b/x.py"], "two programs are called x.py"),
        ([TASK, "--golden", "nowhere"], "there is no folder nowhere"),
        ([TASK, "--limits.seconds", "0"], "limits.seconds must be above 0"),
        ([TASK, "--prompt", "--model", "nowhere"], "unknown tokenizer nowhere"),
    ],
)
def test_a_mistake_is_one_line(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"error: {message}") and error.count("\n") == 1


def test_drawing_loads_no_torch() -> None:
    code = "import sys, arc.show; sys.exit(arc.show.main(['e9afcf9a']) or 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "golden: right" in done.stdout
