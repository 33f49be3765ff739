from __future__ import annotations

from arc.problem import all_right
from arc.sandbox import RunResult
from arc.tasks import Example


def test_all_outputs_count_in_their_order() -> None:
    examples = Example([[1, 2]], [[2, 1]]), Example([[3, 4]], [[4, 3]])
    assert all_right(RunResult(([[2, 1]], [[4, 3]]), None), examples)
    for outputs in (([[2, 1]], [[4, 4]]), ([[2, 1]], None), ([[4, 3]], [[2, 1]]), ([[2, 1]],)):
        assert not all_right(RunResult(outputs, None), examples)
