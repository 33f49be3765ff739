"""Single-token reinforcement learning: sample actions, roll out, decide, move logprobs, confirm, advance."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from itertools import groupby
from math import exp
from operator import itemgetter
from pathlib import Path
from typing import Any, Literal

import torch

from minillm.errors import MinillmError
from rl.advantage import advantages, state_reward
from rl.allocation import more_rollouts, stop_reasons
from rl.config import MethodConfig as MethodConfig
from rl.estimate import Work
from rl.journal import read_records
from rl.options import check_options
from rl.rollout import collect, seed_of
from rl.run import Round, Run, RunState, rollout_metrics
from rl.targets import moved_as_intended, reached, target_logprobs, verdict
from rl.types import Action, Problem, State, TrainingEntry, from_dict, redact
from rl.update import Outcome, Pull, move


class SingleToken:
    """Single-token reinforcement learning.

    Args:
        config: its options.
        warm_start: a run's folder, whose entries are trained on before anything is sampled.
        stale: what becomes of saved entries that another policy left: their logprobs, advantages and targets
            are computed again under the present one ("rescore"), or they are left out ("drop").

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

    def work(self, states: Sequence[tuple[Problem, int]]) -> Work:
        """Count prefixes before and after the update, the first round of rollouts, and all steps."""
        config = self.config
        whole = [len(p.prompt_ids) + len(p.golden_ids) for p, _ in states]
        rollouts = config.states * (config.actions + 1) * config.rollouts
        return Work(
            read=2 * config.states * sum(whole),
            sampled=rollouts * sum(k - 1 + config.extra_tokens for _, k in states),
            trained=config.inner_steps * sum(whole),
        )

    def begin(self, run: Run, kept: Mapping[str, Any]) -> None:
        """Resume from what `state_dict` gave, or start again."""
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
        dropped = 0
        if warm := self.saved_taken < self.saved_total:
            entries, dropped = self._take_saved(run, state, iteration)
        else:
            entries = self._collect(run, state, iteration)
        for entry in entries:
            self._decide(entry)
        if run.reference is not None:
            for action, logprob in _logprobs(run, entries, run.reference.logprobs):
                action.logprob_reference = logprob
        outcome = self._move(run, state, iteration, entries)
        self._confirm(run, entries, outcome)
        if not warm:
            self._advance(run, state, entries)
        metrics = {**_metrics(entries, outcome), "k": state.mean_k, "entries_dropped": float(dropped)}
        moves = [(e.state.problem_id, a.moved) for e in entries for a in e.actions if a.moved is not None]
        return Round(entries, metrics, outcome.steps, moves, counts=not warm)

    def _collect(self, run: Run, state: RunState, iteration: int) -> list[TrainingEntry]:
        """Try actions in states of the problems whose turn it is."""
        config = self.config
        problems = config.turn(run.problems, state.trained)
        states = self._states(problems, {p.id: state.problems[p.id].k for p in problems}, iteration)
        limits: dict[str, Any] = {
            "max_rollouts": config.max_rollouts,
            "confidence": config.confidence,
            "min_prob": config.min_prob,
        }
        tried = collect(
            run,
            states,
            actions=config.actions,
            rollouts=config.rollouts,
            allocate=partial(more_rollouts, round_size=config.rollouts, **limits),
            seed=seed_of(config.seed, iteration),
        )
        for group in tried:
            reasons = stop_reasons(*group.counts, **limits)
            for action, reason in zip(group.actions, reasons, strict=True):
                action.stopped = reason
        entry = partial(TrainingEntry, iteration=iteration, model_version=state.model_version)
        pairs = zip(states, tried, strict=True)
        return [entry(kind="training", state=redacted, **vars(group)) for (_, redacted), group in pairs]

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
        # With another prompt or solution a problem is another.
        usable = [
            entry
            for entry in group
            if (problem := problems.get(entry.state.problem_id)) is not None
            and entry.state.k <= len(problem.golden_ids)
            and redact(problem, entry.state.k) == entry.state
        ]
        warm = partial(TrainingEntry, kind="warm", iteration=iteration, model_version=state.model_version)
        entries = []
        for entry in usable:
            actions = [
                Action(a.token_id, a.golden, a.logprob, a.rollouts, rank=a.rank, stopped=a.stopped)
                for a in entry.actions
            ]
            seen = {"entropy": entry.entropy, "likeliest": entry.likeliest}
            entries.append(warm(state=entry.state, actions=actions, **seen))
        for action, logprob in _logprobs(run, entries, run.llm.next_token_logprobs):
            action.logprob = logprob
        if self.stale == "drop":  # an entry of this very policy has its bits
            old = [[action.logprob for action in entry.actions] for entry in usable]
            pairs = zip(old, entries, strict=True)
            entries = [entry for was, entry in pairs if was == [action.logprob for action in entry.actions]]
        return entries, len(group) - len(entries)

    def _decide(self, entry: TrainingEntry) -> None:
        """Turn rewards into advantages and targets."""
        actions = entry.actions
        logprobs = [action.logprob for action in actions]
        decided = advantages(
            [action.successes for action in actions],
            [action.trials for action in actions],
            [min(1.0, exp(logprob)) for logprob in logprobs],
            confidence=self.config.confidence,
        )
        targets = target_logprobs(logprobs, decided, min_prob=self.config.min_prob)
        for action, advantage, target in zip(actions, decided, targets, strict=True):
            action.advantage, action.target = advantage, target
        entry.state_reward = state_reward([action.mean_reward for action in actions], logprobs)

    def _move(self, run: Run, state: RunState, iteration: int, entries: Sequence[TrainingEntry]) -> Outcome:
        """Pull the logprobs of the actions that have a target."""
        pulls = [
            Pull(entry.state.prefix_ids, action.token_id, action.logprob, action.target)
            for entry in entries
            for action in entry.actions
            if action.target is not None
        ]
        with run.clock.on("training"):
            outcome = move(
                run.trainable,
                pulls,
                self.config,
                learning_rate=self.learning_rate,
                probe=run.probe,
                batch_tokens=run.settings.batch_tokens,
                seed=seed_of(self.config.seed, state.model_version, iteration) & 0xFFFFFFFF,
                progress=run.progress,
            )
        self.learning_rate = outcome.learning_rate
        return outcome

    def _confirm(self, run: Run, entries: Sequence[TrainingEntry], outcome: Outcome) -> None:
        """Add what trainer and sampler say of every action now, and what became of the trained ones."""
        run.progress("checking through the sampler")
        for entry in entries:
            entry.steps = outcome.steps
        trained, tolerance = iter(outcome.logprobs), self.config.tolerance
        for action, after in _logprobs(run, entries, run.llm.next_token_logprobs):
            action.logprob_after = after
            if action.target is None:
                continue
            before, advantage = action.logprob, action.advantage
            action.logprob_trained = now = next(trained)
            # What was close enough before pulls only where others drag it away.
            there = reached(before, action.target, advantage, tolerance)
            if now != after:
                action.verdict = "other bits than the trainer's"
            elif there and reached(after, action.target, advantage, tolerance):
                action.verdict = "there already"
            elif outcome.steps == 0 and outcome.taken_back:
                action.verdict = "taken back"
            else:
                action.verdict = verdict(before, after, action.target, now - before, tolerance)
            action.moved = None if there else moved_as_intended(before, after, advantage)

    def _advance(self, run: Run, state: RunState, entries: Sequence[TrainingEntry]) -> None:
        """Set the next redaction of each problem, from what was seen at the present one."""
        tokenizer, problems = run.llm.get_tokenizer(), {problem.id: problem for problem in run.problems}
        for entry in [e for e in entries if e.state.k == state.problems[e.state.problem_id].k]:
            golden = next(action.mean_reward for action in entry.actions if action.golden)
            stops = self.config.stops(problems[entry.state.problem_id], tokenizer)
            k = self.config.next(entry.state.k, entry.state_reward, stops, golden)
            state.problems[entry.state.problem_id].k = k


def _logprobs(
    run: Run,
    entries: Sequence[TrainingEntry],
    policy: Callable[[Sequence[Sequence[int]]], Iterable[torch.Tensor]],
) -> list[tuple[Action, float]]:
    """Pair each action of each entry with a policy's logprob of it."""
    with run.clock.on("checks"):
        rows = list(policy([entry.state.prefix_ids for entry in entries])) if entries else []
    pairs = zip(entries, rows, strict=True)
    return [(action, row_V[action.token_id].item()) for entry, row_V in pairs for action in entry.actions]


def saved_entries(folder: Path) -> list[list[TrainingEntry]]:
    """Read the training entries that a run left, by iteration. Raises `MinillmError` for no run."""
    records = (record for record in read_records(folder) if record["kind"] == "training")
    by_iteration = groupby(records, itemgetter("iteration"))
    return [[from_dict(TrainingEntry, record) for record in group] for _, group in by_iteration]


def _metrics(entries: Sequence[TrainingEntry], outcome: Outcome) -> dict[str, float]:
    actions = [action for entry in entries for action in entry.actions]
    verdicts = [a.verdict for a in actions if a.verdict not in (None, "there already")]
    return {
        "state_reward": sum(entry.state_reward for entry in entries) / max(1, len(entries)),
        **rollout_metrics([rollout for action in actions for rollout in action.rollouts]),
        "targets": float(len(verdicts)),
        "targets_reached": float(verdicts.count("reached")),
        "moves_confirmed": float(sum(action.moved is True for action in actions)),
        "steps": float(outcome.steps),
        "steps_taken_back": float(outcome.taken_back),
        "drift": outcome.drift,
        "learning_rate": outcome.learning_rate,
    }
