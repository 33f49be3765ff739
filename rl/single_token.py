"""Single-token reinforcement learning: sample actions, roll out, decide, move logprobs, confirm, advance."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from math import exp
from pathlib import Path
from typing import Any, Literal

import torch

from minillm.errors import MinillmError
from rl.advantage import advantages, state_reward
from rl.allocation import more_rollouts
from rl.curriculum import Curriculum
from rl.journal import read_records
from rl.options import check_options, option
from rl.reference import Reference
from rl.rollout import collect, seed_of
from rl.run import Round, Run, RunState, rollout_metrics
from rl.targets import moved_as_intended, reached, target_logprobs, verdict
from rl.types import Action, Problem, State, TrainingEntry, from_dict, redact
from rl.update import Outcome, Pull, UpdateOptions, move


@dataclass(frozen=True)
class MethodConfig(UpdateOptions, Curriculum):
    """Options of single-token reinforcement learning: what decides its course, and may not change on resume.

    Attributes:
        states: states of a problem in an iteration: one at k, the others at redactions drawn below it.
        actions: next tokens sampled in a state; the golden one comes on top.
        rollouts: completions of each action at first, and in each further round.
        max_rollouts: the most that an action gets while it is undecided (`rl.allocation`).
        confidence: how sure an action must be better or worse than the others to be trained.
        min_prob: actions less likely than this are not pushed down: nothing is gained by it.
    """

    states: int = option(1, "at least 1", lambda self: self.states >= 1)
    actions: int = option(4, "at least 1", lambda self: self.actions >= 1)
    rollouts: int = option(4, "at least 1", lambda self: self.rollouts >= 1)
    max_rollouts: int = option(48, "at least rollouts", lambda self: self.max_rollouts >= self.rollouts)
    confidence: float = option(0.9, "between 0.5 and 1", lambda self: 0.5 < self.confidence < 1)
    min_prob: float = option(0.01, "from 0 to below 1", lambda self: 0 <= self.min_prob < 1)


class SingleToken:
    """Single-token reinforcement learning.

    Args:
        config: its options.
        warm_start: a run's folder, whose entries are trained on before anything is sampled.
        stale: what becomes of saved entries that another policy left: their logprobs, advantages and
            targets are computed anew under the present one ("rescore"), or they are left out ("drop").

    Raises `MinillmError` for options that make no sense, and a folder that holds no run.
    """

    optimizer = None  # each update makes its own

    def __init__(
        self,
        config: MethodConfig,
        warm_start: Path | None = None,
        stale: Literal["rescore", "drop"] = "rescore",
    ) -> None:
        check_options(config)
        if stale not in ("rescore", "drop"):
            raise MinillmError(f'stale must be "rescore" or "drop", got {stale!r}')
        self.config, self.stale = config, stale
        self.saved = [] if warm_start is None else saved_entries(warm_start)

    def begin(self, run: Run, kept: Mapping[str, Any]) -> None:
        """Resume from what `state_dict` gave, or start anew."""
        # Of the last update's end: a rate that was too high is not tried again.
        self.learning_rate = kept.get("learning_rate", self.config.learning_rate)
        self.saved_taken = kept.get("saved_taken", 0)
        # As many as there were when the run began: the other run may have gone on since.
        self.saved_total = kept.get("saved_total", len(self.saved))

    def state_dict(self) -> dict[str, Any]:
        """Give the learning rate, and how many of the saved iterations were trained on."""
        return {name: getattr(self, name) for name in ("learning_rate", "saved_taken", "saved_total")}

    def iterate(self, run: Run, state: RunState, iteration: int) -> Round:
        """Collect entries or take saved ones, decide, move, confirm, and set the next redactions."""
        warm = self.saved_taken < self.saved_total
        source = self._take_saved if warm else self._collect
        entries, dropped = source(run, state, iteration)
        entries = [self.decide(entry) for entry in entries]
        if run.reference is not None:
            entries = compared(run, entries, run.reference)
        outcome = self._move(run, state, iteration, entries)
        entries = confirm(run, entries, outcome, self.config.tolerance)
        if not warm:
            self._advance(run, state, entries)
        metrics = {**_metrics(entries, outcome), "k": state.mean_k, "entries_dropped": float(dropped)}
        moves = [
            (entry.state.problem_id, action.moved)
            for entry in entries
            for action in entry.actions
            if action.moved is not None
        ]
        return Round(entries, metrics, outcome.steps, moves, counts=not warm)

    def _collect(self, run: Run, state: RunState, iteration: int) -> tuple[list[TrainingEntry], int]:
        """Try actions in states of the problems whose turn it is; none of the entries is dropped."""
        config = self.config
        problems = config.turn(run.problems, state.trained)
        states = self._states(problems, {p.id: state.problems[p.id].k for p in problems}, iteration)
        tried = collect(
            run,
            states,
            actions=config.actions,
            rollouts=config.rollouts,
            allocate=partial(
                more_rollouts,
                round_size=config.rollouts,
                max_rollouts=config.max_rollouts,
                confidence=config.confidence,
                min_prob=config.min_prob,
            ),
            seed=seed_of(config.seed, iteration),
        )
        return [
            TrainingEntry(
                kind="training",
                iteration=iteration,
                state=redacted,
                model_version=state.model_version,
                actions=actions,
            )
            for (_, redacted), actions in zip(states, tried, strict=True)
        ], 0

    def _states(
        self, problems: Sequence[Problem], k: Mapping[str, int], iteration: int
    ) -> list[tuple[Problem, State]]:
        """Redact each problem at its k, and at others below it."""
        states = []
        for problem in problems:
            longest = k[problem.id]
            generator = random.Random(seed_of(self.config.seed, iteration, problem.id, "states"))
            below = generator.sample(range(1, longest), min(self.config.states, longest) - 1)
            states += [(problem, redact(problem, i)) for i in (longest, *sorted(below, reverse=True))]
        return states

    def _take_saved(self, run: Run, state: RunState, iteration: int) -> tuple[list[TrainingEntry], int]:
        """Take the saved run's next iteration, with this policy's logprobs; and count what is dropped."""
        group = self.saved[self.saved_taken]
        self.saved_taken += 1
        run.progress(f"saved entries, {self.saved_taken} of {len(self.saved)}")
        problems = {problem.id: problem for problem in run.problems}
        usable = [entry for entry in group if _is_of(entry.state, problems.get(entry.state.problem_id))]
        entries = []
        for entry, logprobs_V in _with_logprobs(run, usable, run.llm.next_token_logprobs):
            actions = [
                Action(a.token_id, a.golden, logprobs_V[a.token_id].item(), a.rollouts) for a in entry.actions
            ]
            # An entry of this very policy has its bits.
            fresh = all(a.logprob == b.logprob for a, b in zip(actions, entry.actions, strict=True))
            if fresh or self.stale == "rescore":
                version = state.model_version
                entries.append(
                    replace(entry, kind="warm", iteration=iteration, model_version=version, actions=actions)
                )
        return entries, len(group) - len(entries)

    def decide(self, entry: TrainingEntry) -> TrainingEntry:
        """Turn rewards into advantages and targets; pure, given the rollouts."""
        logprobs = [action.logprob for action in entry.actions]
        decided = advantages(
            [action.successes for action in entry.actions],
            [action.trials for action in entry.actions],
            [min(1.0, exp(logprob)) for logprob in logprobs],
            confidence=self.config.confidence,
        )
        targets = target_logprobs(logprobs, decided, min_prob=self.config.min_prob)
        return replace(
            entry,
            actions=[
                replace(action, advantage=advantage, target=target)
                for action, advantage, target in zip(entry.actions, decided, targets, strict=True)
            ],
            state_reward=state_reward([action.mean_reward for action in entry.actions], logprobs),
        )

    def _move(self, run: Run, state: RunState, iteration: int, entries: Sequence[TrainingEntry]) -> Outcome:
        """Pull the logprobs of the actions that have a target."""
        with run.clock.on("training"):
            outcome = move(
                run.trainable,
                pulls_of(entries),
                self.config,
                learning_rate=self.learning_rate,
                probe=run.probe,
                batch_tokens=run.settings.batch_tokens,
                seed=seed_of(self.config.seed, state.model_version, iteration) & 0xFFFFFFFF,
                progress=run.progress,
            )
        self.learning_rate = outcome.learning_rate
        return outcome

    def _advance(self, run: Run, state: RunState, entries: Sequence[TrainingEntry]) -> None:
        """Set the next redaction of each problem, from what was seen at the present one."""
        at_k = {(entry.state.problem_id, entry.state.k): entry for entry in entries}
        tokenizer = run.llm.get_tokenizer()
        for problem in run.problems:
            progress = state.problems[problem.id]
            entry = at_k.get((problem.id, progress.k))
            if entry is None:  # another turn's
                continue
            golden = next(action.mean_reward for action in entry.actions if action.golden)
            stops = self.config.stops(problem, tokenizer)
            progress.k = self.config.next(entry.state.k, entry.state_reward, stops, golden)


def pulls_of(entries: Sequence[TrainingEntry]) -> list[Pull]:
    """List what the entries ask for, entry by entry."""
    return [
        Pull(entry.state.prefix_ids, action.token_id, action.logprob, action.target)
        for entry in entries
        for action in entry.actions
        if action.target is not None
    ]


def compared(run: Run, entries: Sequence[TrainingEntry], reference: Reference) -> list[TrainingEntry]:
    """Add the reference's logprobs of the actions."""
    return [
        replace(
            entry,
            actions=[replace(a, logprob_reference=logprobs_V[a.token_id].item()) for a in entry.actions],
        )
        for entry, logprobs_V in _with_logprobs(run, entries, reference.logprobs)
    ]


def confirm(
    run: Run, entries: Sequence[TrainingEntry], outcome: Outcome, tolerance: float
) -> list[TrainingEntry]:
    """Add what trainer and sampler say of every action now, and what became of the trained ones."""
    run.progress("checking through the sampler")
    trained = iter(outcome.logprobs)
    confirmed = []
    for entry, logprobs_V in _with_logprobs(run, entries, run.llm.next_token_logprobs):
        actions = []
        for action in entry.actions:
            after = logprobs_V[action.token_id].item()
            logprob = None if action.target is None else next(trained)
            action = replace(action, logprob_after=after, logprob_trained=logprob)
            actions.append(_confirmed(action, outcome, tolerance))
        confirmed.append(replace(entry, actions=actions, steps=outcome.steps))
    return confirmed


def _confirmed(action: Action, outcome: Outcome, tolerance: float) -> Action:
    """Judge a move by the logprobs before and after it."""
    before, after, target = action.logprob, action.logprob_after, action.target
    trained, advantage = action.logprob_trained, action.advantage
    if target is None or trained is None or after is None:
        return action
    # What was close enough before pulls only where others drag it away.
    there = reached(before, target, advantage, tolerance)
    if trained != after:
        said = "other bits than the trainer's"
    elif there and reached(after, target, advantage, tolerance):
        said = "there already"
    elif outcome.steps == 0 and outcome.taken_back:
        said = "taken back"
    else:
        said = verdict(before, after, target, trained - before, tolerance)
    return replace(action, moved=None if there else moved_as_intended(before, after, advantage), verdict=said)


def _with_logprobs(
    run: Run,
    entries: Sequence[TrainingEntry],
    policy: Callable[[Sequence[Sequence[int]]], torch.Tensor],
) -> list[tuple[TrainingEntry, torch.Tensor]]:
    """Pair each entry with a policy's logprobs in its state, (V,)."""
    with run.clock.on("checks"):
        rows = list(policy([entry.state.prefix_ids for entry in entries])) if entries else []
    return list(zip(entries, rows, strict=True))


def _is_of(state: State, problem: Problem | None) -> bool:
    """Whether a saved state is one of the problem: with another prompt or solution it is another's."""
    return problem is not None and state.k <= len(problem.golden_ids) and redact(problem, state.k) == state


def saved_entries(folder: Path) -> list[list[TrainingEntry]]:
    """Read the training entries that a run left, by iteration. Raises `MinillmError` for no run."""
    groups: dict[int, list[TrainingEntry]] = {}
    for record in read_records(folder):
        if record["kind"] == "training":
            groups.setdefault(record["iteration"], []).append(from_dict(TrainingEntry, record))
    return list(groups.values())


def _metrics(entries: Sequence[TrainingEntry], outcome: Outcome) -> dict[str, float]:
    actions = [action for entry in entries for action in entry.actions]
    verdicts = [a.verdict for a in actions if a.verdict not in (None, "there already")]
    rollouts = [rollout for action in actions for rollout in action.rollouts]
    return {
        "state_reward": sum(entry.state_reward for entry in entries) / max(1, len(entries)),
        **rollout_metrics(rollouts),
        "targets": float(len(verdicts)),
        "targets_reached": float(verdicts.count("reached")),
        "moves_confirmed": float(sum(action.moved is True for action in actions)),
        "steps": float(outcome.steps),
        "steps_taken_back": float(outcome.taken_back),
        "drift": outcome.drift,
        "learning_rate": outcome.learning_rate,
    }
