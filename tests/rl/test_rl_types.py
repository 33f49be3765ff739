"""Records: they survive JSON, and refuse what cannot have happened."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minillm.errors import MinillmError
from rl.types import Action, Problem, Rollout, State, TrainingEntry, redact

TOKENS = st.integers(0, 200_000)
LOGPROBS = st.floats(-100, 0)


@dataclass(frozen=True)
class Toy:
    id: str
    prompt_ids: list[int]
    golden_ids: list[int]
    stop: tuple[str, ...] = ()

    def rewards(self, completions: Sequence[Sequence[int]]) -> list[float]:
        return [float(list(c) == self.golden_ids) for c in completions]


@st.composite
def rollouts(draw: st.DrawFn) -> Rollout:
    tokens = draw(st.lists(TOKENS, max_size=4))
    logprobs = [draw(LOGPROBS) for _ in tokens]
    return Rollout(tokens, logprobs, draw(st.sampled_from([0.0, 0.25, 1.0])), draw(st.text(max_size=5)))


actions = st.builds(Action, TOKENS, st.booleans(), LOGPROBS, st.lists(rollouts(), max_size=3))


@st.composite
def entries(draw: st.DrawFn) -> TrainingEntry:
    sampled = draw(st.lists(actions, min_size=1, max_size=4))

    def each(values: st.SearchStrategy[Any]) -> list[Any]:
        return [draw(values) for _ in sampled]

    return TrainingEntry(
        iteration=draw(st.integers(1, 99)),
        state=State(draw(st.text()), draw(st.integers(1, 99)), draw(st.lists(TOKENS))),
        actions=sampled,
        state_reward=draw(st.floats(0, 1)),
        advantages=each(st.sampled_from([-1, 0, 1])),
        targets=each(st.none() | LOGPROBS),
        logprobs_before=each(LOGPROBS),
        logprobs_after=draw(st.sampled_from([None, each(LOGPROBS)])),
        moved=each(st.none() | st.booleans()),
        logprobs_reference=draw(st.sampled_from([None, each(LOGPROBS)])),
        logprobs_trained=draw(st.sampled_from([None, each(st.none() | LOGPROBS)])),
        verdicts=draw(st.sampled_from([None, each(st.none() | st.just("reached"))])),
        steps=draw(st.integers(0, 9)),
        model_version=draw(st.integers(0, 99)),
    )


@given(entries())
def test_entry_round_trips_through_json(entry: TrainingEntry) -> None:
    assert TrainingEntry.from_dict(json.loads(json.dumps(entry.to_dict()))) == entry


@given(st.lists(TOKENS), st.lists(TOKENS, min_size=1), st.data())
def test_redact_cuts_the_last_k_golden_ids(prompt: list[int], golden: list[int], data: st.DataObject) -> None:
    problem: Problem = Toy("p", prompt, golden)
    k = data.draw(st.integers(1, len(golden)))
    state = redact(problem, k)
    assert state.prefix_ids + golden[-k:] == prompt + golden
    assert (state.problem_id, state.k) == ("p", k)


@pytest.mark.parametrize("k", [-1, 0, 3])
def test_redact_refuses_what_is_not_there(k: int) -> None:
    with pytest.raises(MinillmError, match=f"problem p: cannot redact {k} of its 2 golden"):
        redact(Toy("p", [1], [2, 3]), k)


def test_action_counts_its_rollouts() -> None:
    action = Action(7, True, -1.0, [Rollout([], [], r, "stop") for r in (1.0, 0.0, 1.0, 1.0)])
    assert (action.successes, action.trials, action.mean_reward) == (3, 4, 0.75)
    with pytest.raises(MinillmError, match="no rollouts"):
        _ = Action(7, True, -1.0, []).mean_reward


@pytest.mark.parametrize("reward", [1.0 + 1e-9, -1.0, 2.0, float("nan")])
def test_rollout_refuses_other_rewards(reward: float) -> None:
    with pytest.raises(MinillmError, match=r"lies in \[0, 1\]"):
        Rollout([], [], reward, "stop")


def test_records_refuse_lists_that_do_not_match() -> None:
    with pytest.raises(MinillmError, match="1 tokens but 0 logprobs"):
        Rollout([1], [], 0.0, "stop")
    with pytest.raises(MinillmError, match="1 actions but 0 targets"):
        TrainingEntry(1, State("p", 1, []), [Action(1, True, -1.0, [])], 0.0, [0], [], [-1.0], None, [None])


@pytest.mark.parametrize("data", [{}, {"problem_id": "p", "k": 1, "prefix_ids": [], "more": 1}])
def test_from_dict_refuses_another_shape(data: dict[str, Any]) -> None:
    with pytest.raises(MinillmError, match="not a record of this version"):
        State.from_dict(data)
