from __future__ import annotations

import ast
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arc.errors import ArcError
from arc.prompt import (
    ASSISTANT_PREFIX,
    CODE_PREFIX,
    STOP,
    PromptOptions,
    completion_text,
    messages,
    program,
    user_message,
)
from arc.tasks import Example, Grid, Task, golden_ids, golden_source, load_task

TASK = Task(
    "toy",
    train=(Example([[0, 3, 0], [1, 1, 1]], [[4]]), Example([[5]], [[6, 7]])),
    test=(Example([[8, 2]], [[9, 9, 9]]),),
)


def digits(grid: Grid) -> str:
    return "\n".join("".join(map(str, row)) for row in grid)


def test_message() -> None:
    assert user_message(TASK) == (
        "Write `def solve(grid: list[list[int]]) -> list[list[int]]:` "
        "that turns each input into its output.\n\n"
        "Input 2x3:\n030\n111\n\nOutput 1x1:\n4\n\n"
        "Input 1x1:\n5\n\nOutput 1x2:\n67\n\n"
        "Test input 1x2:\n82"
    )
    assert messages(TASK) == [{"role": "user", "content": user_message(TASK)}]


def test_options() -> None:
    text = user_message(TASK, PromptOptions(transposed=True, size=False, max_examples=1))
    assert text.split("\n\n", 1)[1] == (
        "Input:\n030\n111\nTransposed:\n01\n31\n01\n\nOutput:\n4\nTransposed:\n4\n\n"
        "Test input:\n82\nTransposed:\n8\n2"
    )
    with pytest.raises(ArcError, match="max_examples must be at least 1, and not 0"):
        PromptOptions(max_examples=0)


def test_order_of_examples_and_no_test_inputs() -> None:
    def order(**options: Any) -> list[int]:
        text = user_message(task, PromptOptions(test_inputs=False, size=False, **options))
        return [int(part.removeprefix("Input:\n")[0]) for part in text.split("\n\n")[1::2]]

    grids = [[[1] * 2], [[2] * 3], [[3]], [[4] * 2], [[5]]]
    task = Task("toy", tuple(Example(grid, grid) for grid in grids), TASK.test)
    assert order() == [1, 2, 3, 4, 5]
    assert order(order="reversed") == [5, 4, 3, 2, 1]
    assert order(order="smallest first") == [3, 5, 1, 4, 2]
    assert order(order="largest first") == [2, 1, 4, 3, 5]
    assert order(order="largest first", max_examples=2) == [2, 1]
    shuffled = [order(order="shuffled", seed=seed) for seed in range(10)]
    assert all(sorted(one) == [1, 2, 3, 4, 5] for one in shuffled)
    assert len(set(map(tuple, shuffled))) > 5 and shuffled[3] == order(order="shuffled", seed=3)
    assert "Test input" not in user_message(task, PromptOptions(test_inputs=False))


def test_features() -> None:
    options = PromptOptions(features=("symmetries", "colors"), max_examples=1)
    assert user_message(TASK, options).split("\n\n", 1)[1] == (
        "Input 2x3:\n030\n111\nSymmetries: left-right\nColors: 0 x 2, 1 x 3, 3 x 1\n\n"
        "Output 1x1:\n4\nSymmetries: left-right, up-down, half turn, diagonal, other diagonal, quarter turn, "
        "quarter turn back\nColors: 4 x 1\n\n"
        "Test input 1x2:\n82\nSymmetries: up-down\nColors: 2 x 1, 8 x 1"
    )


@pytest.mark.parametrize("task_id", golden_ids())
@pytest.mark.parametrize("transposed", [False, True])
def test_a_test_output_is_never_shown(task_id: str, transposed: bool) -> None:
    task = load_task(task_id)
    hidden = Task(task.id, task.train, tuple(Example(example.input, [[0]]) for example in task.test))
    options = PromptOptions(transposed=transposed)
    assert user_message(task, options) == user_message(hidden, options)
    assert all(digits(example.input) in user_message(task, options) for example in task.test)


def test_prefixes() -> None:
    assert ASSISTANT_PREFIX == "```python\n" + CODE_PREFIX
    assert CODE_PREFIX.startswith("def solve(grid: list[list[int]]) -> list[list[int]]:\n")
    assert CODE_PREFIX.endswith("Observation:")
    assert STOP == ("```",)


@pytest.mark.parametrize("task_id", golden_ids())
def test_a_golden_solution_survives_the_round_trip(task_id: str) -> None:
    source = golden_source(task_id)
    text = completion_text(source)
    assert ASSISTANT_PREFIX + text == f"```python\n{source.rstrip()}\n```"
    assert program(text) == source


WORDS = st.text("abc xyz0123'.,:#[]", max_size=30)
STATEMENTS = st.sampled_from(
    [
        "# a comment",
        "n = len(grid)",
        "",
        "for row in grid:\n        row[0] = 1\n\n        row[-1] = 2",
        "def inner(a: int) -> int:\n        return a + 1",
        "text = 'not the end'",
        "import math",
    ]
)


@given(st.lists(WORDS, max_size=4), st.lists(STATEMENTS, max_size=6), st.text("\n ", max_size=4))
def test_program_inverts_completion_text(words: list[str], code: list[str], tail: str) -> None:
    docstring = "".join(f"\n    {i}. {word}" for i, word in enumerate(words, 1))
    body = "".join(f"\n    {line}" if line else "\n" for line in code)
    source = f'{CODE_PREFIX}{docstring}\n    """{body}\n    result = grid\n    return result{tail}'
    assert ast.dump(ast.parse(program(completion_text(source)))) == ast.dump(ast.parse(source))


@given(st.text())
def test_program_takes_any_text(text: str) -> None:
    source = program(text)
    assert source.startswith(CODE_PREFIX)
    assert source.endswith("\n")
    later = source.removeprefix(CODE_PREFIX).split("\n")[1:]
    assert all(not line or line[0].isspace() for line in later)


def test_what_follows_the_function_is_cut() -> None:
    body = '\n    1. It is the same.\n    """\n\n    return grid\n'
    assert program(body + "\nprint(solve([[1]]))\n    return 1\n```") == CODE_PREFIX + body
    assert program(body + "```\n    return 1") == CODE_PREFIX + body
    assert program(body + "# a remark") == CODE_PREFIX + body
    assert program(body) == CODE_PREFIX + body


def test_completion_of_another_signature() -> None:
    with pytest.raises(ArcError, match="and not with 'def other"):
        completion_text("def other(grid):\n    return grid\n")
