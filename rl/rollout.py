"""From states to rewarded rollouts: which actions are tried, and what follows each.

Legend: V vocabulary.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import exp, fsum

import torch

from minillm.api.sampling_params import SamplingParams
from minillm.engine.draw import uniform
from minillm.errors import MinillmError
from minillm.llm import LLM
from minillm.model.logprobs import Rows
from rl.metrics import Clock, ProgressCallback, ignore
from rl.rewards import rewards_of
from rl.types import Action, Problem, Rollout, State

LIKELIEST = 5  # tokens of a policy that are written down

# Called with a problem, completions and their rewards, each time that some are known.
Observe = Callable[[Problem, Sequence[Sequence[int]], Sequence[float]], None]
# Successes, trials and probabilities of a state's actions -> how many more rollouts each gets.
Allocate = Callable[[Sequence[float], Sequence[int], Sequence[float]], Sequence[int]]


def seed_of(*parts: object) -> int:
    """Hash `parts` to a seed of 63 bits, so that a resumed run draws what it would have drawn."""
    text = " ".join(map(str, parts)).encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest()) >> 1


def sample_actions(logprobs_V: torch.Tensor, golden_id: int, count: int, seed: int) -> list[int]:
    """Choose distinct next tokens: `count` drawn from the policy without repetition, and the golden one.

    A drawn token's probability is taken out before the next draw, which is sampling without replacement.
    """
    remaining_V = logprobs_V.clone()
    tokens: list[int] = []
    while len(tokens) < min(count, len(remaining_V)) and remaining_V.max() > -torch.inf:
        rows = Rows(remaining_V.unsqueeze(0), remaining_V.new_ones(1))
        token = int(rows.draw([uniform(seed, 0, len(tokens))]))
        tokens.append(token)
        remaining_V[token] = -torch.inf
    return tokens if golden_id in tokens else [*tokens, golden_id]


@dataclass
class Start:
    """Where rollouts start, a state's prefix and perhaps an action, and those made from there so far.

    `earlier` counts others that were made from there before, and are not kept.
    """

    problem: Problem
    state: State
    action: int | None = None
    rollouts: list[Rollout] = field(default_factory=list)
    earlier: int = 0

    @property
    def token_ids(self) -> list[int]:
        """All that stands before a rollout."""
        return [*self.state.prefix_ids, *([] if self.action is None else [self.action])]

    @property
    def made(self) -> int:
        """Number of rollouts made so far."""
        return self.earlier + len(self.rollouts)

    @property
    def mean_reward(self) -> float:
        """Mean reward of the rollouts."""
        return fsum(rollout.reward for rollout in self.rollouts) / len(self.rollouts)


@dataclass(frozen=True)
class Tried:
    """A state's actions, and the policy that they were drawn from: entropy in nats, likeliest tokens."""

    actions: list[Action]
    entropy: float
    likeliest: list[tuple[int, float]]

    @property
    def counts(self) -> tuple[list[float], list[int], list[float]]:
        """Successes, trials and probabilities of the actions, as decisions take them."""
        actions = self.actions
        probs = [min(1.0, exp(action.logprob)) for action in actions]
        return [action.successes for action in actions], [action.trials for action in actions], probs


@dataclass(kw_only=True)
class RolloutContext:
    """What makes rollouts: a sampler, at temperature 1 from the full vocabulary, and its limits.

    A rollout may be `extra_tokens` longer than the golden rest of its solution, and one call of a problem's
    rewards may take `reward_seconds`. `clock` counts seconds; `progress` gets a message at each stage;
    `observe` sees completions and rewards.
    """

    llm: LLM
    extra_tokens: int
    reward_seconds: float
    clock: Clock = field(default_factory=Clock)
    progress: ProgressCallback = ignore
    observe: Observe = lambda *_: None


def roll_out(context: RolloutContext, starts: Sequence[Start], counts: Sequence[int], seed: int) -> None:
    """Add counts[i] rewarded rollouts to starts[i], drawn by `seed` and how many a start has already.

    Raises `MinillmError` where rewards fail (`rl.rewards`), and where the policy's logits are no numbers.
    """
    llm, clock = context.llm, context.clock
    context.progress("sampling rollouts")
    wanted = [(start, count) for start, count in zip(starts, counts, strict=True) if count]
    unfinished = [(start, count) for start, count in wanted if not _ends(llm, start)]
    params = [
        SamplingParams(
            n=count,
            max_tokens=start.state.k - (start.action is not None) + context.extra_tokens,
            seed=seed_of(seed, start.problem.id, start.state.k, start.action, start.made),
            stop=start.problem.stop,
            logprobs=0,
        )
        for start, count in unfinished
    ]
    with clock.on("rollouts"):
        outputs = llm.generate([start.token_ids for start, _ in unfinished], params)
    # Token ids, logprobs and finish reason of each new rollout, by its start.
    drafts: dict[int, list[tuple[list[int], list[float], str]]]
    drafts = {id(start): [([], [], "stop")] * count for start, count in wanted}
    for (start, _), output in zip(unfinished, outputs, strict=True):
        if failed := [c for c in output.outputs if c.finish_reason == "error"]:
            raise MinillmError(f"problem {start.problem.id}: a rollout failed: {failed[0].stop_reason}")
        drafts[id(start)] = [(c.token_ids, c.token_logprobs, c.finish_reason or "") for c in output.outputs]
    context.progress("running programs")
    for problem in {id(start.problem): start.problem for start, _ in wanted}.values():
        prompt = len(problem.prompt_ids)
        begun = [(start, start.token_ids[prompt:]) for start, _ in wanted if start.problem is problem]
        completions = [[*begin, *ids] for start, begin in begun for ids, _, _ in drafts[id(start)]]
        with clock.on("rewards"):
            known = rewards_of(problem, completions, context.reward_seconds)
            context.observe(problem, completions, known)
        rewards = iter(known)
        for start, _ in begun:
            new = drafts[id(start)]
            start.rollouts += [Rollout(ids, logprobs, next(rewards), reason) for ids, logprobs, reason in new]


def collect(
    context: RolloutContext,
    states: Sequence[tuple[Problem, State]],
    *,
    actions: int,
    rollouts: int,
    allocate: Allocate,
    seed: int,
) -> list[Tried]:
    """Try `actions` next tokens of the policy and the golden one in each state, with rewarded rollouts.

    Each gets `rollouts`, and then, in rounds, what `allocate` says of its state. Raises as `roll_out` does.
    """
    context.progress("sampling actions")
    with context.clock.on("rollouts"):
        policy = context.llm.next_token_logprobs([state.prefix_ids for _, state in states])
    tried: list[Tried] = []
    starts: list[Start] = []
    for (problem, state), logprobs_V in zip(states, policy, strict=True):
        golden_id = problem.golden_ids[-state.k]
        tokens = sample_actions(logprobs_V, golden_id, actions, seed_of(seed, problem.id, state.k, "actions"))
        tried.append(_tried(logprobs_V, tokens, golden_id))
        # An action and its start share one list of rollouts.
        starts += [Start(problem, state, action.token_id, action.rollouts) for action in tried[-1].actions]
    counts = [rollouts] * len(starts)
    while any(counts):
        roll_out(context, starts, counts, seed)
        counts = []
        for group in tried:
            counts += allocate(*group.counts)
    return tried


def _tried(logprobs_V: torch.Tensor, tokens: Sequence[int], golden_id: int) -> Tried:
    """Describe a policy at one prefix, and the actions that are tried there."""
    likeliest = logprobs_V.topk(min(LIKELIEST, len(logprobs_V)))
    known_V = logprobs_V[logprobs_V > -torch.inf].double()
    actions = []
    for token in tokens:
        logprob, rank = logprobs_V[token].item(), 1 + int((logprobs_V > logprobs_V[token]).sum())
        actions.append(Action(token, token == golden_id, logprob, [], rank=rank))
    return Tried(
        actions=actions,
        entropy=-(known_V.exp() * known_V).sum().item(),
        likeliest=list(zip(likeliest.indices.tolist(), likeliest.values.tolist(), strict=True)),
    )


def _ends(llm: LLM, start: Start) -> bool:
    """Tell whether the action itself ends the completion, so that there is no rollout."""
    if start.action is None:
        return False
    tokenizer = llm.get_tokenizer()
    text = tokenizer.decode(start.token_ids[len(start.problem.prompt_ids) :])
    return start.action in tokenizer.eos_token_ids or any(stop in text for stop in start.problem.stop)
