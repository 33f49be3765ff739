"""A token-value atlas: what each of the last states of a golden solution is worth. Its records and its file.

State k is the solution without its last k tokens. Its value is the mean reward of what the policy makes of
it, and the *golden token* of state k leads to state k - 1; state 0 is the solution, which is worth 1. So
value[k - 1] - value[k] is what that token is worth, its *jump*.

An atlas is a folder:

    config.json         {"format": "atlas 1", "config": {...}}: what all of it was measured with. config.atlas
                        are the options (`AtlasConfig`), config.weights is the fingerprint of the weights
    <problem id>.json   a problem, a `ProblemAtlas` as JSON; other characters of the id than letters, digits
                        and "_.-~" are percent-encoded
    lock                held by the process that writes; of no use to a reader

A problem's file is

    {"problem_id": "e9afcf9a",
     "prompt_ids": [1, 4093, ...],       token ids that come before the solution
     "golden_ids": [216, 33, ...],       token ids of the solution
     "head": " The output is ...",       text of the solution before the first entry's token
     "rounds": 7,                        rounds of rollouts so far
     "entries": [                        in the order of the text: from k = states down to k = 1
       {"k": 64, "token_id": 260,        the state, and its golden token, golden_ids[-k]
        "text": " the",                  what the token adds to the text: head and all texts are the solution
        "logprob": -0.7,                 of the golden token, in nats, at temperature 1
        "rank": 1,                       1 where no token is likelier
        "entropy": 2.1,                  of the policy in this state, in nats
        "likeliest": [{"token_id": 260, "text": " the", "logprob": -0.7}, ...],  five, the likeliest first
        "drawn": 16,                     rollouts that were begun in this state
        "rollouts": 21,                  those, and others that came through it on the golden tokens
        "successes": 5.0,                sum of their rewards
        "mean": 0.238,                   null without rollouts
        "low": 0.082, "high": 0.472,     exact interval of the state's value; 0 and 1 without rollouts
        "value": 0.238,                  for a curve: the mean where there are config.atlas.rollouts or more,
                                         elsewhere on the line between the nearest such states
        "jump": 0.061}, ...]}            value of the next state, which the golden token leads to, less this

Files are replaced whole, so one that is there can be read at any time. `value` and `jump` are null until the
problem's first round is done.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

from minillm.errors import MinillmError
from rl.intervals import exact_interval
from rl.options import option
from rl.run_folder import CONFIG, read_config, read_json, to_json, write_synced
from rl.types import from_dict

VERSION = "atlas 1"


@dataclass(frozen=True)
class AtlasConfig:
    """Options of an atlas.

    Attributes:
        states: how many of a solution's last states are on the map; 0 for all.
        stride: every so many tokens a state is measured in any case.
        rollouts: that a state gets when it is measured.
        max_rollouts: the most that it gets, after doublings.
        confidence: of the intervals.
        extra_tokens: by how many tokens a rollout may be longer than the golden rest.
        seed: of all draws.
    """

    states: int = option(64, "not negative", lambda self: self.states >= 0)
    stride: int = option(16, "at least 1", lambda self: self.stride >= 1)
    rollouts: int = option(16, "at least 1", lambda self: self.rollouts >= 1)
    max_rollouts: int = option(256, "at least rollouts", lambda self: self.max_rollouts >= self.rollouts)
    confidence: float = option(0.95, "between 0 and 1", lambda self: 0 < self.confidence < 1)
    extra_tokens: int = option(8, "at least 1", lambda self: self.extra_tokens >= 1)
    seed: int = 0


@dataclass(frozen=True)
class Likely:
    """A token that the policy finds likely in a state."""

    token_id: int
    text: str
    logprob: float


@dataclass
class AtlasEntry:
    """A state and its golden token; the fields are those of the file."""

    k: int
    token_id: int
    text: str
    logprob: float
    rank: int
    entropy: float
    likeliest: list[Likely]
    drawn: int = 0
    rollouts: int = 0
    successes: float = 0.0
    mean: float | None = None
    low: float = 0.0
    high: float = 1.0
    value: float | None = None
    jump: float | None = None

    def add(self, reward: float) -> None:
        """Count one more rollout of the state."""
        self.rollouts += 1
        self.successes += reward


@dataclass
class ProblemAtlas:
    """A problem's part of an atlas; the fields are those of the file."""

    problem_id: str
    prompt_ids: list[int]
    golden_ids: list[int]
    head: str
    rounds: int
    entries: list[AtlasEntry]

    @property
    def drawn(self) -> int:
        """Rollouts drawn for the problem."""
        return sum(entry.drawn for entry in self.entries)

    def conclude(self, config: AtlasConfig) -> None:
        """Compute what follows from the counts after a round: means, intervals, values and jumps."""
        self.rounds += 1
        for entry in self.entries:
            if entry.rollouts:
                entry.mean = entry.successes / entry.rollouts
            entry.low, entry.high = exact_interval(entry.successes, entry.rollouts, config.confidence)
        value = {SOLUTION.k: SOLUTION.mean}
        for low, high in pairwise(_measured(self.entries, config)):
            slope = (high.mean - low.mean) / (high.k - low.k)
            value |= {k: low.mean + slope * (k - low.k) for k in range(low.k + 1, high.k)}
            value[high.k] = high.mean
        for entry in self.entries:
            entry.value = value[entry.k]
            entry.jump = value[entry.k - 1] - value[entry.k]


class _Measured(NamedTuple):
    """A state whose value is known, from so many rollouts."""

    k: int
    mean: float
    low: float
    high: float
    rollouts: int


SOLUTION = _Measured(0, 1.0, 1.0, 1.0, 0)


def _measured(entries: Sequence[AtlasEntry], config: AtlasConfig) -> list[_Measured]:
    """List the states with enough rollouts by k, and the solution before them."""
    return [SOLUTION] + [
        _Measured(entry.k, entry.successes / entry.rollouts, entry.low, entry.high, entry.rollouts)
        for entry in sorted(entries, key=lambda entry: entry.k)
        if entry.rollouts >= config.rollouts
    ]


def next_rollouts(entries: Sequence[AtlasEntry], config: AtlasConfig) -> dict[int, int]:
    """Choose the states of a problem that get rollouts next, k -> how many; none where all is known.

    First every `stride`-th state is measured, and the one with the largest k. Then, as long as there are
    two neighbours among the measured states whose intervals do not overlap, the state half way between them
    is. Where no such pair is left, states get twice the rollouts, those with the fewest first, up to
    `max_rollouts`, and narrower intervals may part. A state is left alone where it and its neighbours have
    only failed, or only succeeded: nothing changes there.
    """
    have = {entry.k: entry.rollouts for entry in entries}
    grid = {*range(config.stride, max(have), config.stride), max(have)}
    if missing := {k: config.rollouts - have[k] for k in grid if have[k] < config.rollouts}:
        return missing
    known = _measured(entries, config)
    apart = [(a.k, b.k) for a, b in pairwise(known) if a.low > b.high or b.low > a.high]
    if middles := [(a + b) // 2 for a, b in apart if b - a > 1]:
        return {k: config.rollouts - have[k] for k in middles}
    around = [{state.mean for state in known[max(0, i - 1) : i + 2]} for i in range(len(known))]
    moving = {s.k for s, means in zip(known, around, strict=True) if means not in ({0.0}, {1.0})} - {0}
    unsure = [k for k in moving if have[k] < config.max_rollouts]
    if not unsure:
        return {}
    goal, least = config.rollouts, min(have[k] for k in unsure)
    while goal <= least:
        goal *= 2
    goal = min(goal, config.max_rollouts)
    return {k: goal - have[k] for k in unsure if have[k] < goal}


def path_of(folder: Path, problem_id: str) -> Path:
    """Name the file of a problem."""
    return folder / f"{quote(problem_id, safe='')}.json"


def write_problem(folder: Path, atlas: ProblemAtlas) -> None:
    """Replace the file of a problem. Raises `MinillmError` where it cannot be written."""
    text = to_json(asdict(atlas), f"the atlas of problem {atlas.problem_id}")
    try:
        write_synced(path_of(folder, atlas.problem_id), text + "\n")
    except OSError as error:
        raise MinillmError(
            f"cannot write the atlas in {folder}: {error.strerror or error}; earlier rounds are kept: make "
            "room and start again with the same folder"
        ) from error


def read_problem(path: Path) -> ProblemAtlas:
    """Read the file of a problem; raise `MinillmError` for a damaged one."""
    data = read_json(path)
    try:
        return from_dict(ProblemAtlas, data)
    except MinillmError as error:
        raise MinillmError(f"{path} is no problem of an atlas: {error}") from None


def read_atlas(folder: str | Path) -> tuple[dict[str, Any], list[ProblemAtlas]]:
    """Read an atlas, also while it is being made: its configuration, and its problems by id.

    Raises `MinillmError` where `folder` holds no atlas, one of another format, or a damaged file.
    """
    folder = Path(folder)
    config = read_config(folder, VERSION)
    paths = sorted(path for path in folder.glob("*.json") if path.name != CONFIG)
    return config, [read_problem(path) for path in paths]


def main() -> int:
    """Name the command for ARC's problems and the function for one's own; return the exit status."""
    said = (
        "rl.atlas knows no problems by itself: python -m arc.atlas maps those of ARC tasks, and a "
        "program maps its own by rl.atlas_rollouts.make_atlas"
    )
    if sys.argv[1:] in (["--help"], ["-h"]):
        print(f"usage: python -m rl.atlas [--help]\n\n{said}")
        return 0
    print(f"error: {said}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
