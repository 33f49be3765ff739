"""A problem whose best policy is known: rewards by enumeration, and a trainer that gets there.

A completion is its first three ids, of eight: 512 of them, so the exact state reward is a sum over all.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import sqrt
from pathlib import Path

import pytest
import torch

from minillm import LLM, Tokenizer, load_model, next_logprobs
from rl import single_token
from rl.evaluate import evaluate
from rl.journal import Journal
from rl.rollout import RolloutContext, collect
from rl.single_token import MethodConfig
from rl.trainer import Trainer
from rl.types import redact

VOCABULARY, LENGTH, EOS = 8, 3, 0
METHOD = MethodConfig(
    k=1,
    states=3,
    actions=6,
    rollouts=4,
    max_rollouts=24,
    extra_tokens=1,
    learning_rate=3e-3,
    inner_steps=6,
    grow_above=0.6,
    max_drift=1e9,
)


class Sums:
    """Reward 1 for three letters whose weighted sum leaves 2 when divided by 3: a third of them."""

    id, stop = "sums", ()
    prompt_ids = (3, 5, 2)
    golden_ids = (4, 3, 4)

    def reward(self, ids: Sequence[int]) -> float:
        ids = list(ids[:LENGTH])
        return float(len(ids) == LENGTH and EOS not in ids and (ids[0] + 2 * ids[1] + ids[2]) % 3 == 2)

    def rewards(self, completions: Sequence[Sequence[int]]) -> list[float]:
        return [self.reward(ids) for ids in completions]


@pytest.fixture
def llm(letters_folder: Callable[..., Path]) -> LLM:
    folder = letters_folder(VOCABULARY - 2)
    llm = LLM(load_model(folder), Tokenizer.from_folder(folder), kv_cache_memory_bytes=1 << 22)
    llm.folder = folder  # type: ignore[attr-defined]
    return llm


@torch.no_grad()
def exact_value(llm: LLM, problem: Sums, k: int) -> float:
    """The state reward at k, with all of the vocabulary for actions: every completion, by its probability."""
    start = list(problem.golden_ids[: LENGTH - k])
    total = 0.0
    mass = {(): 1.0}
    for _ in range(k):
        prefixes = [[*problem.prompt_ids, *start, *ids] for ids in mass]
        rows = next_logprobs(llm.model, prefixes).double().exp()
        longer = {}
        for (ids, weight), row in zip(mass.items(), rows, strict=True):
            for token in range(VOCABULARY):
                if token != EOS:  # it ends the completion, which then is too short
                    longer[*ids, token] = weight * row[token].item()
        mass = longer
    for ids, weight in mass.items():
        total += weight * problem.reward([*start, *ids])
    return total


def run(llm: LLM, path: Path, iterations: int = 25) -> None:
    trainer = Trainer(llm, [Sums()], METHOD, llm.folder)  # type: ignore[attr-defined]
    with Journal.open(path, {}) as journal:
        trainer.run(journal, iterations)


def test_the_sampled_state_reward_converges_to_the_exact_one(llm: LLM) -> None:
    problem, context = Sums(), RolloutContext(llm=llm, extra_tokens=1, reward_seconds=10.0)
    for k in (1, 2, 3):
        exact = exact_value(llm, problem, k)
        assert 0.05 < exact < 0.6
        for rollouts in (64, 4096):
            (start,) = evaluate(context, [(problem, [k])], rollouts=rollouts, seed=3)
            assert abs(start.mean_reward - exact) < 4 * sqrt(exact * (1 - exact) / rollouts)
    # By actions: all of them, each with its own rollouts, weighted by the policy.
    state = redact(problem, 2)
    (tried,) = collect(
        context,
        [(problem, state)],
        actions=VOCABULARY,
        rollouts=512,
        allocate=lambda s, n, p: [0] * len(s),
        seed=5,
    )
    actions = tried.actions
    found = single_token.state_reward([a.mean_reward for a in actions], [a.logprob for a in actions])
    exact = exact_value(llm, problem, 2)
    assert len(actions) == VOCABULARY and abs(found - exact) < 4 * sqrt(exact * (1 - exact) / 512)


def test_the_policy_becomes_the_best_one(llm: LLM, tmp_path: Path) -> None:
    problem = Sums()
    before = exact_value(llm, problem, LENGTH)
    run(llm, tmp_path / "run")
    assert before < 0.5
    assert exact_value(llm, problem, LENGTH) > 0.95


def test_a_planted_sign_error_is_found(llm: LLM, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    right = single_token.advantages
    monkeypatch.setattr(
        single_token, "advantages", lambda *args, **options: [-v for v in right(*args, **options)]
    )
    before = exact_value(llm, Sums(), 1)
    run(llm, tmp_path / "run", iterations=8)
    assert exact_value(llm, Sums(), 1) < before < 0.5
