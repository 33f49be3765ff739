from __future__ import annotations

from arc.pace import Pace


def test_few_are_begun_before_the_speed_is_known() -> None:
    pace = Pace(longest=100)
    assert pace.speed is None and pace.room(1000.0, begun=0) == Pace.FIRST
    pace.note(10.0, 0)
    pace.note(10.5, 30)
    assert pace.speed is None and pace.room(1000.0, begun=4) == 0


def test_those_begun_end_in_time() -> None:
    pace = Pace(longest=100)
    pace.note(10.0, 0)
    pace.note(12.0, 40)
    # 20 tokens a second and programs of at most 100 tokens.
    assert pace.speed == 20 and pace.length == 100
    assert pace.room(50.0, begun=0) == 10 and pace.room(50.0, begun=7) == 3
    assert pace.room(50.0, begun=20) == 0
    # They turn out to be short.
    for tokens in (20, 30):
        pace.ended(tokens)
    assert pace.length == 25 and pace.room(50.0, begun=0) == 40
    # Where nothing runs and time is short, one is tried.
    assert pace.room(0.5, begun=0) == 1 and pace.room(0.5, begun=1) == 0


def test_the_speed_is_that_of_the_last_seconds() -> None:
    pace = Pace(longest=100, window=10.0)
    for second in range(30):
        pace.note(float(second), second if second < 15 else 15 + 9 * (second - 15))
    assert pace.speed == 9
    for second in range(30, 60):
        pace.note(float(second), 1000)
    assert pace.speed is None
