"""Records: they survive JSON, and refuse what cannot have happened."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minillm.errors import MinillmError
from rl.run import Evaluation, ProblemState, RunState
from rl.types import Action, Problem, Rollout, State, TrainingEntry, from_dict, redact

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


actions = st.builds(
    Action,
    token_id=TOKENS,
    golden=st.booleans(),
    logprob=LOGPROBS,
    rollouts=st.lists(rollouts(), max_size=3),
    advantage=st.sampled_from([-1, 0, 1]),
    target=st.none() | LOGPROBS,
    logprob_reference=st.none() | LOGPROBS,
    logprob_after=st.none() | LOGPROBS,
    logprob_trained=st.none() | LOGPROBS,
    moved=st.none() | st.booleans(),
    verdict=st.none() | st.just("reached"),
)
entries = st.builds(
    TrainingEntry,
    kind=st.sampled_from(["training", "warm"]),
    iteration=st.integers(1, 99),
    state=st.builds(State, st.text(), st.integers(1, 99), st.lists(TOKENS)),
    model_version=st.integers(0, 99),
    actions=st.lists(actions, min_size=1, max_size=4),
    state_reward=st.floats(0, 1),
    steps=st.integers(0, 9),
)
run_states = st.builds(
    RunState,
    base=st.text(),
    problems=st.dictionaries(st.text(), st.builds(ProblemState, *[st.integers(1, 99)] * 3)),
    model_version=st.integers(0, 99),
    trained=st.integers(0, 99),
    evaluations=st.lists(
        st.builds(
            Evaluation,
            trained=st.integers(0, 99),
            rewards=st.dictionaries(st.text(), st.floats(0, 1)),
            means=st.dictionaries(st.sampled_from(["trained", "held out"]), st.floats(0, 1)),
            drift=st.floats(0, 9),
        ),
        max_size=3,
    ),
)


@given(entries)
def test_entry_round_trips_through_json(entry: TrainingEntry) -> None:
    assert from_dict(TrainingEntry, json.loads(json.dumps(asdict(entry)))) == entry


@given(run_states)
def test_a_runs_state_round_trips_through_json(state: RunState) -> None:
    assert from_dict(RunState, json.loads(json.dumps(asdict(state)))) == state


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


@pytest.mark.parametrize("data", [{}, {"problem_id": "p", "k": 1, "prefix_ids": [], "more": 1}])
def test_from_dict_refuses_another_shape(data: dict[str, Any]) -> None:
    with pytest.raises(MinillmError, match="not a record of this version"):
        from_dict(State, data)
