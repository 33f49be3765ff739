from __future__ import annotations

import pytest

from arc.pace import Pace


def test_before_anything_is_known() -> None:
    pace = Pace(longest=100, most=16)
    assert pace.fits(1e9, 1, 1) is None and pace.count(1e9, 1) == Pace.FIRST and pace.length == 100
    pace.read(1000, 2.0)
    assert pace.fits(1e9, 1, 1) is None


def test_what_ends_in_time() -> None:
    pace = Pace(longest=100, most=16)
    pace.read(1000, 2.0)
    for _ in range(3):
        pace.step(0.5, 4)
    # 2 s for a prompt of 1000 tokens, and 100 steps: of 0.5 s for 4 programs, of 0.6 and 0.8 s for 8 and 16.
    assert pace.fits(52.1, 1000, 4) and not pace.fits(51.9, 1000, 4)
    assert pace.fits(62.1, 1000, 8) and not pace.fits(61.9, 1000, 8)
    assert pace.fits(82.1, 1000, 16) and not pace.fits(81.9, 1000, 16)
    # Up to 20 tokens a second: a program of 100 takes 5 s beside others.
    assert [pace.count(2.0 + seconds, 1000) for seconds in (10.1, 9.9, 0.1, -1.0)] == [2, 1, 1, 1]
    # They turn out to be short.
    for tokens in (20, 30):
        pace.ended(tokens)
    assert pace.length == 25
    assert pace.fits(14.6, 1000, 4) and pace.count(2.0 + 10.1, 1000) == 8


def test_later_steps_count_more() -> None:
    pace = Pace(longest=1, most=8)
    pace.read(1, 0.0)
    pace.step(1.0, 8)
    for _ in range(50):
        pace.step(3.0, 8)
    assert pace.fits(3.01, 1, 8) and not pace.fits(2.9, 1, 8)
    assert pace.count(30.1, 1) == pytest.approx(80, abs=1)
