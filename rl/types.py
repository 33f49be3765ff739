"""What the method speaks of: problems, states, actions, rollouts, and the entry each state leaves.

Token positions: a sequence is `prompt_ids + golden_ids`. Redaction by k drops its last k ids:
what is left is the *prefix*, the next id is the *action*, the ids sampled after it the *rollout*.
Everything is token ids, so nothing is decoded and tokenised again on the way to a loss.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from math import fsum
from typing import Any, Protocol, TypeVar

from minillm.errors import MinillmError

T = TypeVar("T")


class Problem(Protocol):
    """A task with a verifiable reward and one solution that is known to earn it."""

    @property
    def id(self) -> str:
        """Name of the problem, unique in a run."""
        ...

    @property
    def prompt_ids(self) -> list[int]:
        """Token ids that come before the solution."""
        ...

    @property
    def golden_ids(self) -> list[int]:
        """Token ids of the known solution, its end-of-sequence token included."""
        ...

    @property
    def stop(self) -> tuple[str, ...]:
        """Strings that end a rollout."""
        ...

    def rewards(self, completions: Sequence[Sequence[int]]) -> list[float]:
        """Reward, from 0 to 1, of each completion: the ids of everything after the prompt."""
        ...


@dataclass(frozen=True)
class Rollout:
    """One completion of a state and an action: what was sampled after the action.

    `logprobs` are the behaviour policy's, one a token, and `reward` lies in [0, 1]. Raises
    `MinillmError` for any other reward, and where tokens and logprobs differ in number.
    """

    token_ids: list[int]
    logprobs: list[float]
    reward: float
    finish_reason: str

    def __post_init__(self) -> None:
        if not 0 <= self.reward <= 1:
            raise MinillmError(f"a rollout's reward lies in [0, 1], not at {self.reward!r}")
        if len(self.token_ids) != len(self.logprobs):
            raise MinillmError(
                f"a rollout has {len(self.token_ids)} tokens but {len(self.logprobs)} logprobs"
            )

    def to_dict(self) -> dict[str, Any]:
        """This rollout as JSON data."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Rollout:
        """Inverse of `to_dict`; raises `MinillmError` for data of another shape."""
        return _build(cls, data)


@dataclass(frozen=True)
class Action:
    """One next token in a state, with the rollouts that followed it.

    `logprob` is the behaviour policy's in the state; `golden` marks the known solution's token.
    """

    token_id: int
    golden: bool
    logprob: float
    rollouts: list[Rollout]

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

    def to_dict(self) -> dict[str, Any]:
        """This action as JSON data."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Action:
        """Inverse of `to_dict`; raises `MinillmError` for data of another shape."""
        return _build(cls, data, rollouts=_each(Rollout.from_dict))


@dataclass(frozen=True)
class State:
    """A problem whose solution lacks its last `k` tokens; `prefix_ids` is what is left."""

    problem_id: str
    k: int
    prefix_ids: list[int]

    def to_dict(self) -> dict[str, Any]:
        """This state as JSON data."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> State:
        """Inverse of `to_dict`; raises `MinillmError` for data of another shape."""
        return _build(cls, data)


@dataclass(frozen=True)
class TrainingEntry:
    """All that one state brought in one iteration; lists run parallel to `actions`.

    `advantages` are -1, 0 or +1. `targets` are target logprobs, None where the action is not
    trained. Of the action's logprob there are five: `logprobs_reference` of the policy that the run
    started with (None where no reference is kept), `logprobs_before` and `logprobs_after` the
    sampler's before and after the update, `logprobs_trained` the trainer's own of what has a target
    (both None until it is done). `verdicts` say what became of a trained action, in the words of
    `rl.targets.verdict`, "taken back", or "there already" (None for the others); `moved` whether it
    went where it was meant to, by the sampler, None where it was not meant to move. `steps` counts
    the optimizer steps of the update, and `model_version` those the policy had taken when the actions
    were sampled. Raises `MinillmError` where the lists differ in length.
    """

    iteration: int
    state: State
    actions: list[Action]
    state_reward: float
    advantages: list[int]
    targets: list[float | None]
    logprobs_before: list[float]
    logprobs_after: list[float] | None
    moved: list[bool | None]
    steps: int = 0
    model_version: int = 0
    logprobs_reference: list[float] | None = None
    logprobs_trained: list[float | None] | None = None
    verdicts: list[str | None] | None = None

    def __post_init__(self) -> None:
        for name, values in vars(self).items():
            if isinstance(values, list) and len(values) != len(self.actions):
                raise MinillmError(
                    f"a training entry has {len(self.actions)} actions but {len(values)} {name}"
                )

    def to_dict(self) -> dict[str, Any]:
        """This entry as JSON data."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> TrainingEntry:
        """Inverse of `to_dict`; raises `MinillmError` for data of another shape."""
        return _build(cls, data, state=State.from_dict, actions=_each(Action.from_dict))


def redact(problem: Problem, k: int) -> State:
    """The state of `problem` without the last `k` tokens of its golden solution.

    The golden action in it is `problem.golden_ids[-k]`. Raises `MinillmError` unless
    1 <= k <= len(golden_ids).
    """
    golden = problem.golden_ids
    if not 1 <= k <= len(golden):
        raise MinillmError(f"problem {problem.id}: cannot redact {k} of its {len(golden)} golden tokens")
    return State(problem.id, k, [*problem.prompt_ids, *golden[:-k]])


def _build(make: Callable[..., T], data: Mapping[str, Any], **nested: Callable[[Any], Any]) -> T:
    """`make(**data)` after the fields in `nested` have been built themselves."""
    try:
        return make(**{k: nested[k](v) if k in nested else v for k, v in data.items()})
    except (TypeError, AttributeError) as error:
        raise MinillmError(f"not a record of this version: {error}") from None


def _each(build: Callable[[Any], T]) -> Callable[[Any], list[T]]:
    return lambda items: [build(item) for item in items]
