"""The rollouts of an atlas (`rl.atlas`), under a budget: states share what they can, and most are left alone.

Three things keep it cheap. States of a problem are prefixes of one solution, so the sampler reads it once
(its prefix cache). A rollout that begins with golden tokens passes through the states after its own, and from
each of them it is a rollout as good as one begun there: it counts for all. And `rl.atlas.next_rollouts` sends
rollouts where the value changes.

Which rollouts are drawn follows from the seed: a problem's next round from its counts alone, and each rollout
from its state and how many were begun there before. So an atlas that was stopped, or had a smaller budget,
goes on to the same counts.

Legend: L likeliest tokens, R states, V vocabulary.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from minillm.errors import MinillmError
from minillm.llm import LLM
from minillm.tokenizer.tokenizer import Tokenizer
from rl.atlas import (
    VERSION,
    AtlasConfig,
    AtlasEntry,
    Likely,
    ProblemAtlas,
    next_rollouts,
    path_of,
    read_problem,
    write_problem,
)
from rl.options import check_options
from rl.rewards import check_problems
from rl.rollout import LIKELIEST, RolloutContext, Start, roll_out, seed_of
from rl.run_folder import hold
from rl.trainer import Progress, fingerprint
from rl.types import Problem, Rollout, redact

# Rollouts that are sampled and saved together, of whole rounds; states whose logprobs are held at a time.
_BATCH, _ROWS = 256, 64


def make_atlas(
    llm: LLM,
    problems: Sequence[Problem],
    config: AtlasConfig,
    folder: str | Path,
    made_with: Mapping[str, Any],
    *,
    seconds: float | None = None,
    budget: int | None = None,
    reward_seconds: float = 600.0,
    progress: Progress = lambda *_: None,
) -> list[ProblemAtlas]:
    """Make the atlas of some problems in a folder, or go on with it; return it, problem by problem.

    Args:
        llm: the policy.
        problems: each is refused, by name, if its golden solution does not earn 1.
        config: options of the atlas.
        folder: of the atlas. Problems can be added later.
        made_with: JSON data on what prompts and rewards depend on; the folder is bound to it, as it is to
            the options and the weights.
        seconds: after which no more rollouts are begun; those that are being made are finished and kept.
        budget: most rollouts drawn for a problem, those of earlier calls included; a round that would pass
            it is not begun.
        reward_seconds: how long a problem's reward function may take for one call.
        progress: called with the number of rollouts drawn so far, and a message.

    Without a budget it ends where `rl.atlas.next_rollouts` has no state left. Raises `MinillmError` for
    problems that cannot be measured, for options that make no sense, and where the folder holds something
    else, or an atlas of other options, weights, prompts or solutions.
    """
    begin = time.monotonic()
    check_options(config)
    if (seconds is not None and not seconds > 0) or (budget is not None and budget < 1):
        raise MinillmError(f"a budget must be above 0, not at {seconds} seconds and {budget} rollouts")
    check_problems(problems, (), llm, config.extra_tokens, reward_seconds)
    bound = {**made_with, "weights": fingerprint(llm.model), "atlas": asdict(config)}
    held = hold(folder, bound, VERSION, {})
    try:
        parts: list[tuple[Problem, ProblemAtlas]] = []
        context = RolloutContext(
            llm=llm,
            extra_tokens=config.extra_tokens,
            reward_seconds=reward_seconds,
            progress=lambda message: progress(sum(part.drawn for _, part in parts), message),
        )
        context.progress("reading solutions")
        parts += [(problem, _open(llm, problem, config, held.path)) for problem in problems]
        while seconds is None or time.monotonic() - begin < seconds:
            if not (batch := _choose(parts, config, budget)):
                break
            _draw(context, batch, config)
            for _, part, _ in batch:
                write_problem(held.path, part)
        context.progress("")
        return [part for _, part in parts]
    finally:
        held.close()


# Problems, what is known of them, and the rollouts of their next rounds by k.
_Batch = list[tuple[Problem, ProblemAtlas, dict[int, int]]]


def _choose(parts: Sequence[tuple[Problem, ProblemAtlas]], config: AtlasConfig, budget: int | None) -> _Batch:
    """Choose whole rounds for a batch, of the problems with the fewest rollouts; none where all is done."""
    batch: _Batch = []
    size = 0
    for problem, part in sorted(parts, key=lambda pair: pair[1].drawn):
        counts = next_rollouts(part.entries, config)
        more = sum(counts.values())
        if not more or (budget is not None and part.drawn + more > budget):
            continue
        if batch and size + more > _BATCH:
            break
        batch.append((problem, part, counts))
        size += more
    return batch


def _draw(context: RolloutContext, batch: _Batch, config: AtlasConfig) -> None:
    """Make the rollouts of a batch, and count each for all states that it comes through."""
    starts: list[Start] = []
    wanted: list[int] = []
    for problem, part, counts in batch:
        drawn = {entry.k: entry.drawn for entry in part.entries}
        starts += [Start(problem, redact(problem, k), earlier=drawn[k]) for k in counts]
        wanted += counts.values()
    roll_out(context, starts, wanted, seed_of(config.seed, "atlas"))
    for problem, part, _ in batch:
        entries = {entry.k: entry for entry in part.entries}
        for start in starts:
            if start.problem is problem:
                entries[start.state.k].drawn += len(start.rollouts)
                for rollout in start.rollouts:
                    for k in states_of(rollout, start.state.k, problem.golden_ids):
                        entries[k].add(rollout.reward)
        part.conclude(config)


def states_of(rollout: Rollout, k: int, golden_ids: Sequence[int]) -> list[int]:
    """List the states that a rollout from state k is a rollout of: k, and those that it comes through.

    What is left of its length there is what a rollout from there may have. Where it ends it passes no more.
    """
    states = [k]
    for token, golden in zip(rollout.token_ids[:-1], golden_ids[-k:-1], strict=False):
        if token != golden:
            break
        states.append(states[-1] - 1)
    return states


def _open(llm: LLM, problem: Problem, config: AtlasConfig, folder: Path) -> ProblemAtlas:
    """Read what is known of a problem, or begin with what needs no rollouts."""
    path = path_of(folder, problem.id)
    if not path.exists():
        return _begin(llm, problem, config)
    part = read_problem(path)
    if (part.prompt_ids, part.golden_ids) != (problem.prompt_ids, problem.golden_ids):
        raise MinillmError(
            f"{path} is of another prompt or solution of problem {problem.id}: choose another folder"
        )
    return part


def _begin(llm: LLM, problem: Problem, config: AtlasConfig) -> ProblemAtlas:
    """Write a solution token by token, with the policy's logprobs in each of its last states."""
    golden, tokenizer = problem.golden_ids, llm.get_tokenizer()
    count = min(config.states or len(golden), len(golden))
    pending = b""  # bytes that begin a character
    texts: list[str] = []
    for token in golden:
        text, pending = tokenizer.text_after(pending, token)
        texts.append(text)
    texts[-1] += pending.decode(errors="replace")
    entries: list[AtlasEntry] = []
    # From the longest prefix to shorter ones: the first leaves all others in the cache.
    for first in range(1, count + 1, _ROWS):
        ks = range(first, min(first + _ROWS, count + 1))
        rows_RV = llm.next_token_logprobs([redact(problem, k).prefix_ids for k in ks])
        for k, row_V in zip(ks, rows_RV, strict=True):
            own = row_V[golden[-k]]
            values_L, ids_L = row_V.topk(min(LIKELIEST, int(row_V.isfinite().sum())))
            entries.append(
                AtlasEntry(
                    k=k,
                    token_id=golden[-k],
                    text=texts[-k],
                    logprob=own.item(),
                    rank=1 + int((row_V > own).sum()),
                    entropy=-row_V.exp().mul(row_V).nansum().item(),
                    likeliest=_named(tokenizer, ids_L.tolist(), values_L.tolist()),
                )
            )
    head = "".join(texts[: len(golden) - count])
    return ProblemAtlas(problem.id, problem.prompt_ids, golden, head, 0, entries[::-1])


def _named(tokenizer: Tokenizer, ids: Sequence[int], logprobs: Sequence[float]) -> list[Likely]:
    return [Likely(id, tokenizer.name_of(id), value) for id, value in zip(ids, logprobs, strict=True)]
