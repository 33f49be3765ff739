"""From states to rewarded rollouts: which actions are tried, and what follows each.

Legend: V vocabulary.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

import torch

from minillm.llm import LLM
from minillm.logprobs import Rows
from minillm.sampling import SamplingParams, uniform
from rl.types import Action, Problem, Rollout, State


def seed_of(*parts: object) -> int:
    """A 63-bit seed that is a function of `parts` alone, so that a resumed run draws what it would have."""
    text = " ".join(map(str, parts)).encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest()) >> 1


def sample_actions(logprobs_V: torch.Tensor, golden_id: int, count: int, seed: int) -> list[int]:
    """Distinct next tokens: `count` drawn from the policy without repetition, and the golden one.

    A drawn token's mass is taken out before the next draw, which is sampling without replacement.
    """
    left_V = logprobs_V.clone()
    tokens: list[int] = []
    while len(tokens) < min(count, len(left_V)) and left_V.max() > -torch.inf:
        rows = Rows(left_V.unsqueeze(0), left_V.new_ones(1))
        token = int(rows.draw([uniform(seed, 0, len(tokens))]))
        tokens.append(token)
        left_V[token] = -torch.inf
    return tokens if golden_id in tokens else [*tokens, golden_id]


def collect(
    llm: LLM,
    states: Sequence[tuple[Problem, State]],
    *,
    actions_per_state: int,
    rollouts_per_action: int,
    extra_tokens: int,
    seed: int,
    advance: Callable[[str], None] = lambda message: None,
) -> list[list[Action]]:
    """For each state: its actions, with their rollouts and rewards.

    A rollout may be `extra_tokens` longer than the golden rest of the solution. `seed` makes all draws;
    `advance` is told what is going on.
    """
    advance("sampling actions")
    policy = llm.next_token_logprobs([state.prefix_ids for _, state in states])
    plans: list[tuple[Problem, State, int, float]] = []
    for (problem, state), logprobs_V in zip(states, policy, strict=True):
        golden_id = problem.golden_ids[-state.k]
        own_seed = seed_of(seed, problem.id, "actions")
        for token in sample_actions(logprobs_V, golden_id, actions_per_state, own_seed):
            plans.append((problem, state, token, logprobs_V[token].item()))
    advance("sampling rollouts")
    open_plans = [plan for plan in plans if not _ends(llm, plan[0], plan[1], plan[2])]
    outputs = llm.generate(
        [[*state.prefix_ids, token] for _, state, token, _ in open_plans],
        [
            SamplingParams(
                n=rollouts_per_action,
                max_tokens=state.k - 1 + extra_tokens,
                seed=seed_of(seed, problem.id, token),
                stop=problem.stop,
                logprobs=0,
            )
            for problem, state, token, _ in open_plans
        ],
    )
    sampled = {
        (plan[0].id, plan[2]): output.outputs for plan, output in zip(open_plans, outputs, strict=True)
    }
    advance("running programs")
    found: list[list[Action]] = []
    for problem, state in states:
        mine = [(token, logprob) for p, _, token, logprob in plans if p.id == problem.id]
        drafts: list[list[tuple[list[int], list[float], str]]] = []
        for token, _ in mine:
            completions = sampled.get((problem.id, token))
            drafts.append(
                [([], [], "stop")] * rollouts_per_action
                if completions is None
                else [
                    (
                        c.token_ids,
                        [entry[t].logprob for t, entry in zip(c.token_ids, c.logprobs or [], strict=True)],
                        c.finish_reason or "",
                    )
                    for c in completions
                ]
            )
        start = state.prefix_ids[len(problem.prompt_ids) :]
        rewards = iter(
            problem.rewards(
                [
                    [*start, token, *ids]
                    for (token, _), draft in zip(mine, drafts, strict=True)
                    for ids, _, _ in draft
                ]
            )
        )
        golden_id = problem.golden_ids[-state.k]
        found.append(
            [
                Action(
                    token,
                    token == golden_id,
                    logprob,
                    [Rollout(ids, logprobs, next(rewards), reason) for ids, logprobs, reason in draft],
                )
                for (token, logprob), draft in zip(mine, drafts, strict=True)
            ]
        )
    return found


def _ends(llm: LLM, problem: Problem, state: State, token: int) -> bool:
    """Whether the action itself ends the completion, so that nothing follows it."""
    tokenizer = llm.get_tokenizer()
    if token in tokenizer.eos_token_ids:
        return True
    start = state.prefix_ids[len(problem.prompt_ids) :]
    text = tokenizer.decode([*start, token])
    return any(stop in text for stop in problem.stop)
