from __future__ import annotations

import pytest

from arc.pace import Pace


def test_before_anything_is_known() -> None:
    pace = Pace(longest=100)
    assert pace.fits(1e9, 1, 1) is None and pace.count(1e9, 1) == Pace.FIRST and pace.length == 100
    pace.read(1000, 2.0)
    assert pace.fits(1e9, 1, 1) is None


def test_what_ends_in_time() -> None:
    pace = Pace(longest=100)
    pace.read(1000, 2.0)
    for _ in range(3):
        pace.step(0.5, 4)
    # 2 s for a prompt of 1000 tokens, and 100 steps of 0.5 s for 1 to 4 programs, of 1 s for 8.
    assert pace.fits(52.0, 1000, 4) and pace.fits(52.0, 1000, 1) and not pace.fits(51.9, 1000, 4)
    assert pace.fits(102.0, 1000, 8) and not pace.fits(101.9, 1000, 8)
    # 8 tokens a second: a program of 100 takes 12.5 s beside others.
    assert pace.count(2.0 + 25.1, 1000) == 2 and pace.count(2.0 + 24.9, 1000) == 1 == pace.count(1.0, 1000)
    # They turn out to be short.
    for tokens in (20, 30):
        pace.ended(tokens)
    assert pace.length == 25
    assert pace.fits(14.5, 1000, 4) and pace.count(2.0 + 25.1, 1000) == 8


def test_later_steps_count_more() -> None:
    pace = Pace(longest=1)
    pace.read(1, 0.0)
    pace.step(1.0, 8)
    for _ in range(200):
        pace.step(3.0, 8)
    assert pace.fits(3.01, 1, 8) and not pace.fits(2.9, 1, 8)
    assert pace.count(30.1, 1) == pytest.approx(80, abs=1)
