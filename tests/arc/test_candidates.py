"""Candidates, the vote, and what is reported of them."""

from __future__ import annotations

import json
from itertools import combinations
from math import comb

import pytest

from arc.augment import Guise
from arc.candidates import Candidate, Draft, best, run_drafts
from arc.report import GIVEN, Counts, make_report, pass_at_k, pass_rates
from arc.sandbox import Limits
from arc.tasks import Example, Task
from arc.vote import attempts

PLAIN = Guise()
FLIP = "def solve(grid):\n    return [row[::-1] for row in grid]\n"
TURN = "def solve(grid):\n    return grid[::-1]\n"
A, B = [[1, 2], [3, 4]], [[5, 6, 7]]
TASK = Task(
    "flip",
    (Example(A, [[2, 1], [4, 3]]), Example(B, [[7, 6, 5]])),
    (Example([[1, 2, 3]], [[3, 2, 1]]), Example([[8], [9]], [[8], [9]])),
)


def draft(source: str, guise: Guise = PLAIN, phase: str = "sampled") -> Draft:
    return Draft("flip", phase, guise, source, tokens=9, finish="stop")


def candidate(train: tuple[bool, ...], *test: list[list[int]] | None, phase: str = "sampled") -> Candidate:
    return Candidate(**vars(draft(FLIP, phase=phase)), train=train, test=test, error=None)


def test_programs_are_judged_in_their_guise_and_answers_turned_back() -> None:
    """A flip is a flip in every guise, but of rows in one and of columns in another."""
    colors = (0, 9, 8, 7, 6, 5, 4, 3, 2, 1)
    turned = Guise("quarter turn", colors)
    ran = run_drafts(
        [
            draft(FLIP),
            draft(TURN),
            draft(FLIP, turned),
            draft(TURN, turned),
            draft("def solve(grid):\n    1 / 0"),
        ],
        {"flip": TASK},
        Limits(seconds=10.0),
    )
    right, wrong, wrong_too, right_too, failed = ran
    for one in (right, right_too):
        assert one.fits and one.solves(TASK) and one.test == ([[3, 2, 1]], [[8], [9]])
    for one in (wrong, wrong_too):
        assert one.train == (False, False) and one.test == ([[1, 2, 3]], [[9], [8]]) and one.error is None
    assert failed.train == (False, False) and failed.test == (None, None)
    assert failed.error == "ZeroDivisionError: division by zero, line 2"
    for one in ran:
        assert Candidate.from_record(json.loads(json.dumps(one.record()))) == one


def test_the_best_are_different_programs() -> None:
    def made(source: str, share: int, error: str | None = None) -> Candidate:
        train = (True,) * share + (False,) * (3 - share)
        return Candidate(**vars(draft(source)), train=train, test=(), error=error)

    found = [made("a", 0), made("b", 2), made("b", 2), made("c", 1, "an error"), made("d", 1), made("e", 2)]
    assert [one.source for one in best(found, 4)] == ["b", "e", "d", "c"]
    assert best([], 3) == []


def test_votes() -> None:
    one, two, three = [[1]], [[2]], [[3]]
    task = Task("flip", TASK.train, TASK.test[:1])
    fits, half, none = (True, True), (True, False), (False, False)
    some = [candidate(fits, one), candidate(fits, two), candidate(fits, two), *[candidate(half, three)] * 9]
    assert attempts(task, some) == [(two, one)]
    # One that fits goes before many that fit in part, and those before ones that do not.
    assert attempts(task, [candidate(none, two), *[candidate(half, three)] * 2, candidate(fits, one)]) == [
        (one, three)
    ]
    # No output is no vote.
    assert attempts(task, [candidate(fits, None), candidate(half, one)]) == [(one, [[1, 2, 3]])]


def test_without_a_candidate_there_are_two_attempts() -> None:
    assert attempts(TASK, []) == [([[1, 2, 3]], [[2, 1], [4, 3]]), ([[8], [9]], [[2, 1], [4, 3]])]
    assert attempts(TASK, [candidate((False, False), [[1]], None)]) == attempts(TASK, [])
    same = Task("same", (Example([[0]], [[0]]),) * 3, (Example([[0]], []),))
    assert attempts(same, []) == [([[0]], [[1]])]
    common = Task("common", (Example(A, A), Example(A, B), Example(A, B)), (Example([[0]], []),))
    assert attempts(common, []) == [([[0]], B)]


@pytest.mark.parametrize("samples", range(1, 8))
def test_pass_at_k_is_the_mean_over_all_choices_of_k(samples: int) -> None:
    for right in range(samples + 1):
        outcomes = [i < right for i in range(samples)]
        for k in range(1, samples + 1):
            chosen = [any(choice) for choice in combinations(outcomes, k)]
            assert pass_at_k(samples, right, k) == pytest.approx(sum(chosen) / len(chosen))
    for bad in ((samples, samples + 1, 1), (samples, 0, samples + 1), (samples, 0, 0), (samples, -1, 1)):
        with pytest.raises(ValueError, match="does not exist"):
            pass_at_k(*bad)


def test_pass_rates_are_means_over_tasks() -> None:
    counts = [Counts(10, 3, 2), Counts(6, 0, 0), Counts(8, 8, None)]
    rates = pass_rates(counts)
    assert list(rates) == ["pass@1", "pass@2", "pass@5"]
    assert rates["pass@1"] == pytest.approx((2 / 10 + 0) / 2)
    assert rates["pass@5"] == pytest.approx((1 - comb(8, 5) / comb(10, 5)) / 2)
    assert pass_rates([]) == {} == pass_rates([Counts(3, 1, None)])


def test_the_report() -> None:
    right = ([[3, 2, 1]], [[8], [9]])
    hidden = Task("hidden", TASK.train, (Example(A, []),))
    candidates = [
        candidate((True, True), *right),
        candidate((True, True), [[3, 2, 1]], [[0]]),
        candidate((False, False), None, None),
        candidate((True, True), *right, phase=GIVEN),
    ]
    chosen = {"flip": attempts(TASK, candidates[:1]), "hidden": attempts(hidden, [])}
    report = make_report([TASK, hidden], candidates, chosen, {"hidden": "too long"}, seconds=61.5)
    assert report.lines() == [
        "score: 2 of 2 test outputs (100.0%) and 1 of 1 whole tasks (100.0%)",
        "pass rate of one program: pass@1 0.3333, pass@2 0.6667 (1 tasks, 3 samples)",
        "pass rate given the golden docstring: pass@1 1.0000 (1 tasks, 1 samples)",
    ]
    rows = list(zip(*(column.cells for column in report.table().columns), strict=True))
    assert rows == [
        ("flip", "3", "2", "1", "1 of 1", "2 of 2", ""),
        ("hidden", "0", "0", "-", "-", "-", "too long"),
    ]
    data = json.loads(json.dumps(report.data()))
    assert data["seconds"] == 61.5 and data["tasks"][0]["right"] == [True, True]
    assert data["tasks"][0]["counts"]["sampled"] == {"samples": 3, "fit": 2, "solve": 1}
