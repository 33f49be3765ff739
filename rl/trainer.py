"""The method, top to bottom: sample actions, roll them out, reward, decide, move logprobs, check, go on.

Left out for now: entries of earlier runs as a warm start, several updates per batch of rollouts, LoRA.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from minillm.batch import Batch
from minillm.errors import MinillmError
from minillm.llm import LLM
from minillm.logprobs import logprobs
from minillm.model import Transformer, load_weights, save_weights
from rl.advantage import advantages, state_reward
from rl.curriculum import next_k
from rl.journal import Journal
from rl.optim import check_trainable, make_optimizer
from rl.rollout import collect, seed_of
from rl.targets import moved_as_intended, reached, target_logprobs
from rl.types import Action, Problem, State, TrainingEntry, redact

Progress = Callable[[int, str], None]


@dataclass(frozen=True)
class MethodConfig:
    """What decides the course of a run, and so may not change on resume.

    Attributes:
        k: tokens redacted at first.
        actions: next tokens sampled in a state; the golden one comes on top.
        rollouts: completions of each action.
        extra_tokens: by how many tokens a rollout may be longer than the golden rest.
        confidence: how sure an action must be better or worse than the others to be trained.
        learning_rate: of AdamW; the largest change of a weight in one optimizer step.
        inner_steps: most optimizer steps in one iteration.
        tolerance: how close to its target a logprob counts as there, in nats.
        min_prob: actions less likely than this are not pushed down: it buys nothing.
        grow_above: state reward from which k grows.
        shrink_below: state reward under which k shrinks.
        k_step: tokens by which k changes.
        seed: of all draws.
    """

    k: int = 3
    actions: int = 4
    rollouts: int = 8
    extra_tokens: int = 8
    confidence: float = 0.9
    learning_rate: float = 3e-6
    inner_steps: int = 6
    tolerance: float = 0.05
    min_prob: float = 0.01
    grow_above: float = 0.7
    shrink_below: float = 0.2
    k_step: int = 1
    seed: int = 0

    def check(self) -> None:
        """Raise `MinillmError` naming the first value that makes no sense."""
        rules = {
            "k": (self.k >= 1, "at least 1"),
            "actions": (self.actions >= 1, "at least 1"),
            "rollouts": (self.rollouts >= 1, "at least 1"),
            "extra_tokens": (self.extra_tokens >= 1, "at least 1"),
            "confidence": (0.5 < self.confidence < 1, "between 0.5 and 1"),
            "learning_rate": (self.learning_rate > 0, "above 0"),
            "inner_steps": (self.inner_steps >= 1, "at least 1"),
            "tolerance": (self.tolerance >= 0, "not negative"),
            "min_prob": (0 <= self.min_prob < 1, "from 0 to below 1"),
            "grow_above": (self.shrink_below < self.grow_above <= 1, "above shrink_below and at most 1"),
            "shrink_below": (self.shrink_below >= 0, "not negative"),
            "k_step": (self.k_step >= 1, "at least 1"),
        }
        for name, (holds, rule) in rules.items():
            if not holds:
                raise MinillmError(f"{name} must be {rule}, got {getattr(self, name)}")


@dataclass(frozen=True)
class Summary:
    """How one problem fared; the rewards are state rewards at the first k, before and after training."""

    problem_id: str
    k_start: int
    k_end: int
    reward_before: float
    reward_after: float
    moves_checked: int
    moves_confirmed: int


class Trainer:
    """Single-token reinforcement learning of a live model on problems, one journal a run.

    Args:
        model: trained in place; the sampler `llm` reads the same tensors.
        problems: each is refused, by name, if its golden solution earns no reward.
        model_folder: whose config and tokenizer files are copied beside each checkpoint's weights.
    """

    def __init__(
        self,
        llm: LLM,
        problems: Sequence[Problem],
        config: MethodConfig,
        model_folder: Path,
    ) -> None:
        if not problems:
            raise MinillmError("there is no problem to train on; name at least one")
        config.check()
        check_trainable(llm.model)
        self.llm, self.problems, self.config = llm, problems, config
        self.model: Transformer = llm.model
        self.model_folder = model_folder
        for problem in problems:
            self._check(problem)

    def _check(self, problem: Problem) -> None:
        tokens = [*problem.prompt_ids, *problem.golden_ids]
        try:
            self.model.check_tokens(tokens, max_tokens=self.config.extra_tokens)
        except MinillmError as error:
            raise MinillmError(f"problem {problem.id}: {error}") from None
        (reward,) = problem.rewards([problem.golden_ids])
        if reward != 1.0:
            raise MinillmError(f"problem {problem.id}: its golden solution earns {reward}, not 1")

    def _first_k(self, problem: Problem) -> int:
        return min(self.config.k, len(problem.golden_ids))

    def run(
        self,
        journal: Journal,
        iterations: int,
        progress: Progress = lambda done, message: None,
    ) -> list[Summary]:
        """Train until `iterations` are done in all, then measure at the first k.

        A run that the journal holds goes on after its last finished iteration, with its weights.
        `progress` is told how many iterations are done and what is going on.
        """
        if iterations < 1:
            raise MinillmError(f"iterations must be at least 1, got {iterations}")
        self.journal = journal
        if journal.checkpoint_path is not None:
            load_weights(self.model, journal.checkpoint_path)
        self.state = journal.state or {
            "k": {problem.id: self._first_k(problem) for problem in self.problems},
            "reward_before": {},
            "reward_after": {},
            "moves_checked": dict.fromkeys((problem.id for problem in self.problems), 0),
            "moves_confirmed": dict.fromkeys((problem.id for problem in self.problems), 0),
            "model_version": 0,
            "trained": 0,
        }
        while self.state["trained"] < iterations:
            self._iterate(self.journal.iteration + 1, progress)
        if len(self.state["reward_after"]) < len(self.problems):
            self._measure(self.journal.iteration + 1, progress)
        return [self._summary(problem) for problem in self.problems]

    def _iterate(self, iteration: int, progress: Progress) -> None:
        """One iteration: rollouts, decisions, an update, its check, and the commit of all of it."""
        config, state = self.config, self.state
        done = state["trained"]

        def tell(message: str) -> None:
            progress(done, message)

        states = [(problem, redact(problem, state["k"][problem.id])) for problem in self.problems]
        found = self._collect(states, iteration, tell)
        entries = [
            self._decide(iteration, redacted, actions)
            for (_, redacted), actions in zip(states, found, strict=True)
        ]
        steps = self._update(entries, tell)
        tell("checking through the sampler")
        entries = self._confirm(entries, steps)
        for (problem, _), entry in zip(states, entries, strict=True):
            checked = [moved for moved in entry.moved if moved is not None]
            state["reward_before"].setdefault(problem.id, entry.state_reward)
            state["moves_checked"][problem.id] += len(checked)
            state["moves_confirmed"][problem.id] += sum(checked)
            state["k"][problem.id] = next_k(
                entry.state.k,
                entry.state_reward,
                grow_above=config.grow_above,
                shrink_below=config.shrink_below,
                max_k=len(problem.golden_ids),
                step=config.k_step,
            )
        state["model_version"] += steps
        state["trained"] += 1
        state["reward_after"] = {}  # of an earlier end of this run, if there was one
        tell("saving")
        records = [{"kind": "training", **entry.to_dict()} for entry in entries]
        self.journal.commit(iteration, records, state, self._save)
        progress(state["trained"], "")

    def _collect(
        self, states: Sequence[tuple[Problem, State]], iteration: int, tell: Callable[[str], None]
    ) -> list[list[Action]]:
        config = self.config
        return collect(
            self.llm,
            states,
            actions_per_state=config.actions,
            rollouts_per_action=config.rollouts,
            extra_tokens=config.extra_tokens,
            seed=seed_of(config.seed, iteration),
            advance=tell,
        )

    def _decide(self, iteration: int, state: State, actions: list[Action]) -> TrainingEntry:
        """Rewards to advantages to targets; pure, given the rollouts."""
        before = [action.logprob for action in actions]
        decided = advantages(
            [action.successes for action in actions],
            [action.trials for action in actions],
            torch.tensor(before, dtype=torch.float64).exp().tolist(),
            confidence=self.config.confidence,
        )
        return TrainingEntry(
            iteration=iteration,
            state=state,
            actions=actions,
            state_reward=state_reward([action.mean_reward for action in actions], before),
            advantages=decided,
            targets=target_logprobs(before, decided, min_prob=self.config.min_prob),
            logprobs_before=before,
            logprobs_after=None,
            moved=[None] * len(actions),
            model_version=self.state["model_version"],
        )

    def _update(self, entries: Sequence[TrainingEntry], tell: Callable[[str], None]) -> int:
        """Pull the logprobs that are short of their targets until none is; the optimizer steps taken.

        One forward over a state's prefix holds the logprobs of all its actions. AdamW starts afresh in
        each iteration: the momentum of moves that are done would carry their neighbours on.
        """
        config = self.config
        active = [entry for entry in entries if any(t is not None for t in entry.targets)]
        if not active:
            return 0
        seed = seed_of(config.seed, self.state["model_version"]) & 0xFFFFFFFF
        optimizer = make_optimizer(self.model, config.learning_rate, seed=seed)
        batch = Batch.packed([len(entry.state.prefix_ids) for entry in active])
        tokens_T = torch.tensor([t for entry in active for t in entry.state.prefix_ids])
        last_R = torch.tensor(batch.bounds[1:]) - 1
        for step in range(config.inner_steps):
            tell(f"step {step + 1} of at most {config.inner_steps}")
            hidden_TC = self.model(tokens_T, batch)
            logprobs_RV = logprobs(self.model.logits(hidden_TC[last_R]))
            loss = self._loss(active, logprobs_RV)
            if loss is None:
                break
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        else:
            step = config.inner_steps
        optimizer.zero_grad()  # gradients are as large as the weights, and rollouts need the room
        return step

    def _loss(self, entries: Sequence[TrainingEntry], logprobs_RV: torch.Tensor) -> torch.Tensor | None:
        """Huber distance to the targets of the actions that are short of them; None if none is."""
        pulls = []
        for entry, logprobs_V in zip(entries, logprobs_RV, strict=True):
            for action, target, advantage in zip(entry.actions, entry.targets, entry.advantages, strict=True):
                if target is None:
                    continue
                logprob = logprobs_V[action.token_id]
                if not reached(logprob.item(), target, advantage, self.config.tolerance):
                    goal = torch.full_like(logprob, target)
                    pulls.append(torch.nn.functional.huber_loss(logprob, goal))
        return torch.stack(pulls).sum() if pulls else None

    def _confirm(self, entries: Sequence[TrainingEntry], steps: int) -> list[TrainingEntry]:
        """What the sampler says of every action now, and whether the trained ones moved as intended."""
        policy = self.llm.next_token_logprobs([entry.state.prefix_ids for entry in entries])
        confirmed = []
        for entry, logprobs_V in zip(entries, policy, strict=True):
            after = [logprobs_V[action.token_id].item() for action in entry.actions]
            moved = [
                None if target is None else moved_as_intended(before, now, advantage)
                for before, now, target, advantage in zip(
                    entry.logprobs_before, after, entry.targets, entry.advantages, strict=True
                )
            ]
            fields = {**vars(entry), "logprobs_after": after, "moved": moved, "steps": steps}
            confirmed.append(TrainingEntry(**fields))
        return confirmed

    def _measure(self, iteration: int, progress: Progress) -> None:
        """State rewards at the first k with the trained weights; kept in the journal like any rollouts."""

        def tell(message: str) -> None:
            progress(self.state["trained"], f"measuring: {message}")

        states = [(problem, redact(problem, self._first_k(problem))) for problem in self.problems]
        records = []
        found = self._collect(states, iteration, tell)
        for (problem, state), actions in zip(states, found, strict=True):
            reward = state_reward(
                [action.mean_reward for action in actions], [action.logprob for action in actions]
            )
            self.state["reward_after"][problem.id] = reward
            records.append(
                {
                    "kind": "measurement",
                    "iteration": iteration,
                    "state": state.to_dict(),
                    "actions": [action.to_dict() for action in actions],
                    "state_reward": reward,
                    "model_version": self.state["model_version"],
                }
            )
        self.journal.commit(iteration, records, self.state, self._save)

    def _save(self, folder: Path) -> None:
        """A checkpoint that `load_model` opens: weights in Hugging Face layout, config and tokenizer."""
        for path in self.model_folder.iterdir():
            if path.suffix in (".json", ".jinja", ".model") and "index" not in path.name:
                shutil.copyfile(path, folder / path.name)
        save_weights(self.model, folder)

    def _summary(self, problem: Problem) -> Summary:
        state, id = self.state, problem.id
        return Summary(
            problem_id=id,
            k_start=self._first_k(problem),
            k_end=state["k"][id],
            reward_before=state["reward_before"][id],
            reward_after=state["reward_after"][id],
            moves_checked=state["moves_checked"][id],
            moves_confirmed=state["moves_confirmed"][id],
        )
