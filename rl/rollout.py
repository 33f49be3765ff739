"""From states to rewarded rollouts: which actions are tried, and what follows each.

Legend: V vocabulary.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import exp, fsum

import torch

from minillm.api.sampling_params import SamplingParams, uniform
from minillm.errors import MinillmError
from minillm.llm import LLM
from minillm.model.logprobs import Rows
from rl.clock import Clock
from rl.rewards import rewards_of
from rl.types import Action, Problem, Rollout, State

# Successes, trials and probabilities of a state's actions -> how many more rollouts each gets.
Allocate = Callable[[Sequence[float], Sequence[int], Sequence[float]], Sequence[int]]


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


@dataclass
class Start:
    """Where rollouts start: after a state's prefix and, perhaps, an action, and those made so far."""

    problem: Problem
    state: State
    action: int | None = None
    rollouts: list[Rollout] = field(default_factory=list)

    @property
    def token_ids(self) -> list[int]:
        """All that stands before a rollout."""
        return [*self.state.prefix_ids, *([] if self.action is None else [self.action])]

    @property
    def most_tokens(self) -> int:
        """Golden tokens that are left after it."""
        return self.state.k - (self.action is not None)


def roll_out(
    llm: LLM,
    starts: Sequence[Start],
    counts: Sequence[int],
    *,
    extra_tokens: int,
    seed: int,
    reward_seconds: float,
    clock: Clock | None = None,
    advance: Callable[[str], None] = lambda message: None,
) -> None:
    """Add counts[i] rewarded rollouts to starts[i], sampled at temperature 1 from the full vocabulary.

    A rollout may be `extra_tokens` longer than the golden rest of its solution. `seed` makes all draws, with
    how many rollouts a start already has; `clock` counts seconds of "rollouts" and "rewards", and `advance`
    is told what is going on. Raises `MinillmError` where a problem's rewards fail (`rl.rewards`), and where
    the policy cannot be sampled from, its logits being no numbers.
    """
    clock = clock or Clock()
    advance("sampling rollouts")
    wanted = [(start, count) for start, count in zip(starts, counts, strict=True) if count]
    ended = [_ends(llm, start) for start, _ in wanted]
    open_ = [pair for pair, over in zip(wanted, ended, strict=True) if not over]
    with clock.on("rollouts"):
        outputs = llm.generate(
            [start.token_ids for start, _ in open_],
            [
                SamplingParams(
                    n=count,
                    max_tokens=start.most_tokens + extra_tokens,
                    seed=seed_of(seed, start.problem.id, start.state.k, start.action, len(start.rollouts)),
                    stop=start.problem.stop,
                    logprobs=0,
                )
                for start, count in open_
            ],
        )
    for (start, _), output in zip(open_, outputs, strict=True):
        for completion in output.outputs:
            if completion.finish_reason == "error":
                raise MinillmError(f"problem {start.problem.id}: a rollout failed: {completion.stop_reason}")
    sampled = iter(outputs)
    drafts: list[list[tuple[list[int], list[float], str]]] = [
        [([], [], "stop")] * count
        if over
        else [(c.token_ids, c.token_logprobs, c.finish_reason or "") for c in next(sampled).outputs]
        for (_, count), over in zip(wanted, ended, strict=True)
    ]
    advance("running programs")
    for problem in {id(start.problem): start.problem for start, _ in wanted}.values():
        mine = [i for i, (start, _) in enumerate(wanted) if start.problem is problem]
        begin = len(problem.prompt_ids)
        completions = [[*wanted[i][0].token_ids[begin:], *ids] for i in mine for ids, _, _ in drafts[i]]
        with clock.on("rewards"):
            rewards = iter(rewards_of(problem, completions, reward_seconds))
        for i in mine:
            wanted[i][0].rollouts += [
                Rollout(ids, logprobs, next(rewards), reason) for ids, logprobs, reason in drafts[i]
            ]


def collect(
    llm: LLM,
    states: Sequence[tuple[Problem, State]],
    *,
    actions: int,
    rollouts: int,
    allocate: Allocate,
    extra_tokens: int,
    seed: int,
    reward_seconds: float,
    clock: Clock | None = None,
    advance: Callable[[str], None] = lambda message: None,
) -> list[list[Action]]:
    """For each state: `actions` next tokens of the policy and the golden one, with their rewarded rollouts.

    Each action gets `rollouts`, and then, in rounds, what `allocate` says of its state. The rest is
    `roll_out`'s.
    """
    advance("sampling actions")
    clock = clock or Clock()
    with clock.on("rollouts"):
        policy = llm.next_token_logprobs([state.prefix_ids for _, state in states])
    plans: list[list[Start]] = []
    logprobs: list[list[float]] = []
    for (problem, state), logprobs_V in zip(states, policy, strict=True):
        own_seed = seed_of(seed, problem.id, state.k, "actions")
        tokens = sample_actions(logprobs_V, problem.golden_ids[-state.k], actions, own_seed)
        plans.append([Start(problem, state, token) for token in tokens])
        logprobs.append([logprobs_V[token].item() for token in tokens])
    starts = [start for plan in plans for start in plan]
    counts = [rollouts] * len(starts)
    while any(counts):
        roll_out(
            llm,
            starts,
            counts,
            extra_tokens=extra_tokens,
            seed=seed,
            reward_seconds=reward_seconds,
            clock=clock,
            advance=advance,
        )
        counts = []
        for plan, own in zip(plans, logprobs, strict=True):
            successes = [fsum(rollout.reward for rollout in start.rollouts) for start in plan]
            counts += allocate(successes, [len(start.rollouts) for start in plan], [exp(x) for x in own])
    return [
        [
            Action(token, token == problem.golden_ids[-state.k], logprob, start.rollouts)
            for start, logprob in zip(plan, own, strict=True)
            if (token := start.action) is not None
        ]
        for (problem, state), plan, own in zip(states, plans, logprobs, strict=True)
    ]


def _ends(llm: LLM, start: Start) -> bool:
    """Whether the action itself ends the completion, so that nothing follows it."""
    if start.action is None:
        return False
    tokenizer = llm.get_tokenizer()
    if start.action in tokenizer.eos_token_ids:
        return True
    text = tokenizer.decode(start.token_ids[len(start.problem.prompt_ids) :])
    return any(stop in text for stop in start.problem.stop)
