"""The method's records: problems, states, actions, rollouts, and the entry that each state leaves.

Token positions: a sequence is `prompt_ids + golden_ids`. Redaction by k drops its last k ids: what is left is
the *prefix*, the next id is the *action*, the ids sampled after it the *rollout*. `dataclasses.asdict` turns
a record into JSON data, `from_dict` turns it back.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, is_dataclass
from functools import cache
from math import fsum
from typing import Any, Protocol, TypeAlias, TypeVar, get_args, get_origin, get_type_hints, runtime_checkable

from minillm.errors import MinillmError

T = TypeVar("T")
Value: TypeAlias = str | list[list[int]]


class Problem(Protocol):
    """A task with a verifiable reward and one solution that is known to earn it."""

    @property
    def id(self) -> str:
        """Name of the problem, unique in a run."""

    @property
    def prompt_ids(self) -> list[int]:
        """Token ids that come before the solution."""

    @property
    def golden_ids(self) -> list[int]:
        """Token ids of the known solution, its end-of-sequence token included."""

    @property
    def stop(self) -> tuple[str, ...]:
        """Strings that end a rollout."""

    def rewards(self, completions: Sequence[Sequence[int]]) -> list[float]:
        """Reward, from 0 to 1, of each completion: the ids of everything after the prompt."""


@runtime_checkable
class Explains(Protocol):
    """A problem that can say why a completion did not earn 1."""

    def explain(self, completion: Sequence[int]) -> str:
        """Say it in one line, limits that it passed included."""


@runtime_checkable
class Shows(Protocol):
    """A problem that can show people what its completions do.

    Values are text, or grids: rows of small whole numbers.
    """

    def cases(self) -> Sequence[tuple[str, Value, Value]]:
        """List what completions are tried on: name, input, expected output."""

    def failure(self, completion: Sequence[int]) -> tuple[int | None, Value | None, str | None] | None:
        """Tell what a completion did that `rewards` was last asked about: a case, its output, an error.

        The case is the first that it fails. None where the problem knows nothing of the completion.
        """


@dataclass(frozen=True)
class Rollout:
    """What was sampled after a state and an action.

    `logprobs` are the sampling policy's, one a token. Raises `MinillmError` for another number of them, and
    for a reward outside [0, 1].
    """

    token_ids: list[int]
    logprobs: list[float]
    reward: float
    finish_reason: str

    def __post_init__(self) -> None:
        if not 0 <= self.reward <= 1:
            raise MinillmError(f"a rollout's reward lies in [0, 1], not at {self.reward!r}")
        tokens, logprobs = len(self.token_ids), len(self.logprobs)
        if tokens != logprobs:
            raise MinillmError(f"a rollout has {tokens} tokens but {logprobs} logprobs")


@dataclass
class Action:
    """One next token in a state: its rollouts, what was decided on it, and what the update did to it.

    Attributes:
        token_id: the token.
        golden: whether it is the known solution's.
        logprob: of the policy that sampled it, before the update.
        rollouts: completions that follow it.
        advantage: -1, 0 or +1.
        target: logprob that the update aims at; None where the action is not trained.
        logprob_reference: of the policy that the run started with; None where no reference is kept.
        logprob_after: of the sampler after the update; None until then.
        logprob_trained: of the trainer after the update; None until then, and without a target.
        moved: whether the sampler's logprob went towards the target; None where it was not meant to move.
        verdict: what became of the move, in the words of `rl.targets.verdict`, "taken back", "there already"
            or "other bits than the trainer's"; None without a target.
        rank: in the policy that sampled it, 1 for its likeliest token; None in journals from before it.
        stopped: why it got no more rollouts, in the words of `rl.allocation.stop_reasons`; None likewise.
    """

    token_id: int
    golden: bool
    logprob: float
    rollouts: list[Rollout]
    advantage: int = 0
    target: float | None = None
    logprob_reference: float | None = None
    logprob_after: float | None = None
    logprob_trained: float | None = None
    moved: bool | None = None
    verdict: str | None = None
    rank: int | None = None
    stopped: str | None = None

    @property
    def trials(self) -> int:
        """Number of rollouts."""
        return len(self.rollouts)

    @property
    def successes(self) -> float:
        """The sum of the rollouts' rewards: how many succeeded, where rewards are 0 or 1."""
        return fsum(rollout.reward for rollout in self.rollouts)

    @property
    def mean_reward(self) -> float:
        """Mean reward of the rollouts; raises `MinillmError` where there are none."""
        if not self.rollouts:
            raise MinillmError(f"action {self.token_id} has no rollouts to average")
        return self.successes / self.trials


@dataclass(frozen=True)
class State:
    """A problem whose solution lacks its last `k` tokens; `prefix_ids` is what is left."""

    problem_id: str
    k: int
    prefix_ids: list[int]


@dataclass(kw_only=True)
class Entry:
    """A line of the journal: one state in one iteration.

    `kind` tells the classes apart; `model_version` counts the optimizer steps before the iteration.
    """

    kind: str
    iteration: int
    state: State
    model_version: int


@dataclass(kw_only=True)
class TrainingEntry(Entry):
    """A state of single-token learning; `kind` is "training", or "warm" for rollouts of another run.

    `state_reward` is `rl.advantage.state_reward` of the actions, `steps` counts the update's optimizer steps.
    `entropy`, in nats, and `likeliest`, token ids with their logprobs, are of the policy that sampled the
    actions; None and empty in journals from before them.
    """

    actions: list[Action]
    state_reward: float = 0.0
    steps: int = 0
    entropy: float | None = None
    likeliest: list[tuple[int, float]] = field(default_factory=list)


def redact(problem: Problem, k: int) -> State:
    """Cut the last `k` tokens off a golden solution; the golden action is then `golden_ids[-k]`.

    Raises `MinillmError` unless 1 <= k <= len(golden_ids).
    """
    golden = problem.golden_ids
    if not 1 <= k <= len(golden):
        raise MinillmError(f"problem {problem.id}: cannot redact {k} of its {len(golden)} golden tokens")
    return State(problem.id, k, [*problem.prompt_ids, *golden[:-k]])


def from_dict(cls: type[T], data: Mapping[str, Any]) -> T:
    """Build a dataclass from what `dataclasses.asdict` made of it. Raises `MinillmError` for other data."""
    try:
        return cls(**{name: _build(_type_hints(cls).get(name), value) for name, value in data.items()})
    except (TypeError, AttributeError) as error:
        raise MinillmError(f"not a record of this version: {error}") from None


def _build(hint: Any, value: Any) -> Any:
    if isinstance(hint, type) and is_dataclass(hint):
        return from_dict(hint, value)
    if get_origin(hint) is list:
        return [_build(get_args(hint)[0], item) for item in value]
    if get_origin(hint) is dict:
        return {key: _build(get_args(hint)[1], item) for key, item in value.items()}
    return value


_type_hints: Callable[[Any], dict[str, Any]] = cache(get_type_hints)
