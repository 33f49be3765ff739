"""The method, top to bottom: sample actions, roll them out, reward, decide, move logprobs, check, go on."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from math import exp
from pathlib import Path
from typing import Any, Literal

import torch

from minillm.errors import MinillmError, check_values
from rl.advantage import advantages, state_reward
from rl.allocation import more_rollouts
from rl.curriculum import Curriculum
from rl.journal import read_records
from rl.rollout import collect, seed_of
from rl.run import Round, Run, Tell
from rl.targets import moved_as_intended, reached, target_logprobs, verdict
from rl.types import Action, Problem, State, TrainingEntry, redact
from rl.update import Outcome, Pull, move


@dataclass(frozen=True)
class MethodConfig(Curriculum):
    """Options of single-token reinforcement learning: what decides its course, and may not change on resume.

    Attributes:
        states: states of a problem in an iteration: one at k, the others at redactions drawn below it.
        actions: next tokens sampled in a state; the golden one comes on top.
        rollouts: completions of each action at first, and in each further round.
        max_rollouts: the most that an action gets while it is undecided (`rl.allocation`).
        confidence: how sure an action must be better or worse than the others to be trained.
        learning_rate: of AdamW, at the most: where steps go too far it is halved (`rl.update`). It is the
            largest change of a weight in one optimizer step.
        inner_steps: most optimizer steps in one iteration.
        tolerance: how close to its target a logprob counts as there, in nats.
        overshoot: a step that carries a logprob past its target by more than this share of its way is
            taken back.
        max_drift: so is one after which the probe's distributions are further than this from what they
            were before the iteration: mean KL in nats.
        min_prob: actions less likely than this are not pushed down: it buys nothing.
    """

    states: int = 1
    actions: int = 4
    rollouts: int = 4
    max_rollouts: int = 48
    confidence: float = 0.9
    learning_rate: float = 3e-6
    inner_steps: int = 6
    tolerance: float = 0.05
    overshoot: float = 0.5
    max_drift: float = 0.05
    min_prob: float = 0.01

    def rules(self) -> dict[str, tuple[bool, str]]:
        """For each option whether it makes sense, and what would."""
        return {
            **super().rules(),
            "states": (self.states >= 1, "at least 1"),
            "actions": (self.actions >= 1, "at least 1"),
            "rollouts": (self.rollouts >= 1, "at least 1"),
            "max_rollouts": (self.max_rollouts >= self.rollouts, "at least rollouts"),
            "confidence": (0.5 < self.confidence < 1, "between 0.5 and 1"),
            "learning_rate": (self.learning_rate > 0, "above 0"),
            "inner_steps": (self.inner_steps >= 1, "at least 1"),
            "tolerance": (self.tolerance >= 0, "not negative"),
            "overshoot": (self.overshoot >= 0, "not negative"),
            "max_drift": (self.max_drift > 0, "above 0"),
            "min_prob": (0 <= self.min_prob < 1, "from 0 to below 1"),
        }


class SingleToken:
    """Single-token reinforcement learning.

    Args:
        config: its options.
        warm_start: a run's folder, whose entries are trained on before anything is sampled.
        stale: what becomes of saved entries that another policy left: their logprobs, advantages and
            targets are found anew under the present one ("rescore"), or they are left out ("drop").

    Raises `MinillmError` for options that make no sense, and a folder that holds no run.
    """

    optimizer: torch.optim.Optimizer | None = None

    def __init__(
        self,
        config: MethodConfig,
        warm_start: Path | None = None,
        stale: Literal["rescore", "drop"] = "rescore",
    ) -> None:
        check_values(config, config.rules())
        if stale not in ("rescore", "drop"):
            raise MinillmError(f'stale must be "rescore" or "drop", got {stale!r}')
        self.config = self.curriculum = config
        self.stale = stale
        self.saved = [] if warm_start is None else saved_entries(warm_start)

    def begin(self, run: Run) -> None:
        """Nothing is kept between iterations but the weights."""

    def iterate(self, run: Run, state: dict[str, Any], iteration: int, tell: Tell) -> Round:
        """Rollouts, decisions, an update, its check, and the next redactions."""
        config = self.config
        dropped = 0
        # As many as there were when the run began: the other run may have gone on since.
        total = state.setdefault("saved_total", len(self.saved))
        if warm := state.setdefault("saved_iterations", 0) < total:
            entries, dropped = self._from_saved(run, state, iteration, tell)
        else:
            problems = config.turn(run.problems, state["trained"])
            states = self._states(problems, state["k"], iteration)
            found = collect(
                run.llm,
                states,
                actions=config.actions,
                rollouts=config.rollouts,
                allocate=partial(
                    more_rollouts,
                    round_size=config.rollouts,
                    most=config.max_rollouts,
                    confidence=config.confidence,
                    min_prob=config.min_prob,
                ),
                extra_tokens=config.extra_tokens,
                seed=seed_of(config.seed, iteration),
                reward_seconds=run.settings.reward_seconds,
                clock=run.clock,
                advance=tell,
            )
            entries = [
                self.decide(iteration, redacted, actions, state["model_version"])
                for (_, redacted), actions in zip(states, found, strict=True)
            ]
            entries = self._with_reference(run, entries)

        with run.clock.on("training"):
            pulls = pulls_of(entries)
            seed = seed_of(config.seed, state["model_version"], iteration) & 0xFFFFFFFF
            # From the rate that the last update ended with: what was found to be too much is not tried again.
            outcome = self._move(run, pulls, state.get("learning_rate", config.learning_rate), seed, tell)
            state["learning_rate"] = outcome.learning_rate
        tell("checking through the sampler")
        with run.clock.on("checks"):
            entries = confirm(run, entries, outcome, config.tolerance)

        if not warm:
            self._advance(run, state, entries)
        return Round(
            records=[{"kind": "warm" if warm else "training", **entry.to_dict()} for entry in entries],
            metrics={
                **_metrics(entries, outcome),
                "k": sum(state["k"].values()) / len(state["k"]),
                "entries_dropped": float(dropped),
            },
            steps=outcome.steps,
            sampled=not warm,
        )

    def _states(
        self, problems: Sequence[Problem], k: dict[str, int], iteration: int
    ) -> list[tuple[Problem, State]]:
        """Each problem at its k, and at others below it."""
        found = []
        for problem in problems:
            at = k[problem.id]
            generator = random.Random(seed_of(self.config.seed, iteration, problem.id, "states"))
            below = generator.sample(range(1, at), min(self.config.states, at) - 1)
            found += [(problem, redact(problem, chosen)) for chosen in (at, *sorted(below, reverse=True))]
        return found

    def decide(
        self, iteration: int, state: State, actions: Sequence[Action], model_version: int
    ) -> TrainingEntry:
        """Rewards to advantages to targets; pure, given the rollouts."""
        before = [action.logprob for action in actions]
        decided = advantages(
            [action.successes for action in actions],
            [action.trials for action in actions],
            [min(1.0, exp(logprob)) for logprob in before],
            confidence=self.config.confidence,
        )
        return TrainingEntry(
            iteration=iteration,
            state=state,
            actions=list(actions),
            state_reward=state_reward([action.mean_reward for action in actions], before),
            advantages=decided,
            targets=target_logprobs(before, decided, min_prob=self.config.min_prob),
            logprobs_before=before,
            logprobs_after=None,
            moved=[None] * len(actions),
            model_version=model_version,
        )

    def _from_saved(
        self, run: Run, state: dict[str, Any], iteration: int, tell: Tell
    ) -> tuple[list[TrainingEntry], int]:
        """The next iteration of the saved run, as this policy sees it; and how many entries were left out."""
        group = self.saved[state["saved_iterations"]]
        state["saved_iterations"] += 1
        tell(f"saved entries, {state['saved_iterations']} of {len(self.saved)}")
        problems = {problem.id: problem for problem in run.problems}
        usable = []
        for entry in group:
            problem = problems.get(entry.state.problem_id)
            # Another prompt, or another solution, is another problem.
            if problem is None or entry.state.k > len(problem.golden_ids):
                continue
            if redact(problem, entry.state.k) == entry.state:
                usable.append(entry)
        with run.clock.on("checks"):
            prefixes = [entry.state.prefix_ids for entry in usable]
            policy = list(run.llm.next_token_logprobs(prefixes)) if usable else []
        entries = []
        for entry, logprobs_V in zip(usable, policy, strict=True):
            actions = [replace(a, logprob=logprobs_V[a.token_id].item()) for a in entry.actions]
            # An entry of this very policy has its bits.
            if self.stale == "drop" and actions != entry.actions:
                continue
            entries.append(self.decide(iteration, entry.state, actions, state["model_version"]))
        return self._with_reference(run, entries), len(group) - len(entries)

    def _with_reference(self, run: Run, entries: list[TrainingEntry]) -> list[TrainingEntry]:
        """The entries with the reference's logprobs of their actions, where there is a reference."""
        if run.reference is None or not entries:
            return entries
        with run.clock.on("checks"):
            rows_RV = run.reference.logprobs([entry.state.prefix_ids for entry in entries])
        return [
            replace(entry, logprobs_reference=row_V[[a.token_id for a in entry.actions]].tolist())
            for entry, row_V in zip(entries, rows_RV, strict=True)
        ]

    def _move(self, run: Run, pulls: Sequence[Pull], rate: float, seed: int, tell: Tell) -> Outcome:
        config = self.config
        if not pulls:
            return Outcome(0, 0, [], 0.0, rate)
        return move(
            run.trainable,
            pulls,
            learning_rate=rate,
            most=config.learning_rate,
            steps=config.inner_steps,
            tolerance=config.tolerance,
            overshoot=config.overshoot,
            max_drift=config.max_drift,
            probe=run.probe,
            batch_tokens=run.settings.batch_tokens,
            seed=seed,
            tell=tell,
        )

    def _advance(self, run: Run, state: dict[str, Any], entries: Sequence[TrainingEntry]) -> None:
        """The next redaction of each problem, from what was seen at the present one."""
        at_k = {(entry.state.problem_id, entry.state.k): entry for entry in entries}
        tokenizer = run.llm.get_tokenizer()
        for problem in run.problems:
            entry = at_k.get((problem.id, state["k"][problem.id]))
            if entry is None:  # another turn's
                continue
            golden = next(action.mean_reward for action in entry.actions if action.golden)
            stops = self.config.stops(problem, tokenizer)
            state["k"][problem.id] = self.config.next(entry.state.k, entry.state_reward, stops, golden)


def pulls_of(entries: Sequence[TrainingEntry]) -> list[Pull]:
    """What the entries ask for, entry by entry."""
    return [
        Pull(entry.state.prefix_ids, action.token_id, before, target)
        for entry in entries
        for action, before, target in zip(entry.actions, entry.logprobs_before, entry.targets, strict=True)
        if target is not None
    ]


def confirm(
    run: Run, entries: Sequence[TrainingEntry], outcome: Outcome, tolerance: float
) -> list[TrainingEntry]:
    """What trainer and sampler say of every action now, and what became of the trained ones."""
    if not entries:
        return []
    policy = run.llm.next_token_logprobs([entry.state.prefix_ids for entry in entries])
    trained = iter(outcome.logprobs)
    confirmed = []
    for entry, logprobs_V in zip(entries, policy, strict=True):
        after = [logprobs_V[action.token_id].item() for action in entry.actions]
        own = [None if target is None else next(trained) for target in entry.targets]
        moved: list[bool | None] = []
        verdicts: list[str | None] = []
        for before, mine, now, target, advantage in zip(
            entry.logprobs_before, own, after, entry.targets, entry.advantages, strict=True
        ):
            if target is None or mine is None:
                moved.append(None)
                verdicts.append(None)
                continue
            # What was close enough before pulls only where others drag it away.
            there = reached(before, target, advantage, tolerance)
            moved.append(None if there else moved_as_intended(before, now, advantage))
            if mine != now:
                verdicts.append("other bits than the trainer's")
            elif there and reached(now, target, advantage, tolerance):
                verdicts.append("there already")
            elif outcome.steps == 0 and outcome.taken_back:
                verdicts.append("taken back")
            else:
                verdicts.append(verdict(before, now, target, mine - before, tolerance))
        confirmed.append(
            replace(
                entry,
                logprobs_after=after,
                logprobs_trained=own,
                moved=moved,
                verdicts=verdicts,
                steps=outcome.steps,
            )
        )
    return confirmed


def saved_entries(folder: Path) -> list[list[TrainingEntry]]:
    """The training entries that a run left, by iteration. Raises `MinillmError` where there is no run."""
    groups: dict[int, list[TrainingEntry]] = {}
    for record in read_records(folder):
        if record["kind"] == "training":
            fields = {name: value for name, value in record.items() if name != "kind"}
            groups.setdefault(record["iteration"], []).append(TrainingEntry.from_dict(fields))
    return list(groups.values())


def _metrics(entries: Sequence[TrainingEntry], outcome: Outcome) -> dict[str, float]:
    verdicts = [v for entry in entries for v in entry.verdicts or [] if v not in (None, "there already")]
    rollouts = [r for entry in entries for action in entry.actions for r in action.rollouts]
    rewards = [entry.state_reward for entry in entries]
    return {
        "state_reward": sum(rewards) / len(rewards) if rewards else 0.0,
        "rollouts": float(len(rollouts)),
        "sampled_tokens": float(sum(len(r.token_ids) for r in rollouts)),
        "targets": float(len(verdicts)),
        "targets_reached": float(verdicts.count("reached")),
        "moves_confirmed": float(sum(m is True for entry in entries for m in entry.moved)),
        "steps": float(outcome.steps),
        "steps_taken_back": float(outcome.taken_back),
        "drift": outcome.drift,
        "learning_rate": outcome.learning_rate,
    }
