"""The loop of a run: train, evaluate, commit, go on where it was stopped. An iteration is its method's."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import fsum
from pathlib import Path

import torch

from minillm.errors import MinillmError, check_values
from minillm.llm import LLM
from minillm.lora import LoRA
from rl.drift import Probe, kl
from rl.evaluate import Measurement, evaluate
from rl.journal import Journal
from rl.metrics import Metrics
from rl.reference import Reference
from rl.rewards import check_problems
from rl.rollout import seed_of
from rl.run import Method, Run, Settings
from rl.single_token import MethodConfig as MethodConfig
from rl.single_token import SingleToken
from rl.trainable import Trainable
from rl.types import Problem

Progress = Callable[[int, str], None]

OPTIMIZER = "optimizer.pt"


@dataclass(frozen=True)
class Summary:
    """How one problem fared.

    Rewards are those of completions sampled at the problem's first k, before and after training. A move is
    checked where an action has a target, and confirmed where the sampler's logprob went the way it should
    with the trainer's bits.
    """

    problem_id: str
    k_start: int
    k_end: int
    reward_before: float
    reward_after: float
    moves_checked: int = 0
    moves_confirmed: int = 0


class Trainer:
    """Training of a live model on problems, one journal a run.

    Args:
        llm: its model is trained in place; it is the sampler of the same tensors.
        problems: each is refused, by name, if its golden solution does not earn 1.
        method: a method, or `MethodConfig` for single-token reinforcement learning.
        model_folder: whose config and tokenizer files are copied beside each checkpoint's weights.
        settings: how the run goes about its work.
        held_out: problems that are evaluated and never trained.
        probe: token ids of texts that should stay as likely as they are.
        lora: trained in place of the model's weights, where there is one.
        reference: what the policy's drift is measured against, and entries are compared with.

    The model's weights are, when it is made, those that runs begin with. Raises `MinillmError` for what
    cannot be trained, or trained on.
    """

    def __init__(
        self,
        llm: LLM,
        problems: Sequence[Problem],
        method: Method | MethodConfig,
        model_folder: Path,
        *,
        settings: Settings | None = None,
        held_out: Sequence[Problem] = (),
        probe: Sequence[Sequence[int]] = (),
        lora: LoRA | None = None,
        reference: Reference | None = None,
    ) -> None:
        settings = settings or Settings()
        check_values(settings, settings.rules())
        self.method: Method = SingleToken(method) if isinstance(method, MethodConfig) else method
        self.llm, self.model = llm, llm.model
        self.problems, self.held_out, self.settings = problems, held_out, settings
        trainable = Trainable(llm.model, model_folder, lora)
        extra, seconds = self.method.curriculum.extra_tokens, settings.reward_seconds
        check_problems(problems, held_out, llm, extra, seconds)
        self._run = Run(llm, trainable, problems, Probe(llm.model, probe), reference, settings)
        self._base = fingerprint(self.model)
        self._probe_before = self._run.probe.rows()
        self._first = {
            problem.id: self.method.curriculum.first(problem, llm.get_tokenizer())
            for problem in (*problems, *held_out)
        }

    def run(
        self,
        journal: Journal,
        iterations: int,
        progress: Progress = lambda done, message: None,
    ) -> list[Summary]:
        """Train until `iterations` are done in all, evaluating before, in between and after.

        A run that the journal holds goes on after its last finished iteration, with its weights and its
        optimizer. `progress` is told how many iterations are done and what is going on.
        """
        if iterations < 1:
            raise MinillmError(f"iterations must be at least 1, got {iterations}")
        self.journal, settings = journal, self.settings
        # A copy: what an iteration changes counts when all of it is committed.
        self.state = copy.deepcopy(journal.state) or {
            "base": self._base,
            "model_version": 0,
            "trained": 0,
            "k": {problem.id: self._first[problem.id] for problem in self.problems},
            "moves_checked": dict.fromkeys((problem.id for problem in self.problems), 0),
            "moves_confirmed": dict.fromkeys((problem.id for problem in self.problems), 0),
            "evaluations": [],
        }
        state = self.state
        if state["base"] != self._base:
            raise MinillmError("the run began with other weights; give the model that it was started with")
        if state["k"].keys() != {problem.id for problem in self.problems}:
            raise MinillmError(
                f"the run trains {', '.join(sorted(state['k']))}; it goes on with those that it began with"
            )
        self.method.begin(self._run)
        if journal.checkpoint_path is not None:
            self._load(journal.checkpoint_path)
        elif fingerprint(self.model) != self._base:
            raise MinillmError(
                "the model was trained since this trainer was made; make another for another run"
            )
        metrics = Metrics(journal.folder, journal.iteration)
        try:
            self._evaluate_if(not state["evaluations"], metrics, progress)
            while state["trained"] < iterations and not self._stalled():
                self._iterate(metrics, progress)
                every = settings.evaluate_every
                self._evaluate_if(
                    bool(every) and state["trained"] % every == 0 and state["trained"] < iterations,
                    metrics,
                    progress,
                )
            self._evaluate_if(True, metrics, progress)
        finally:
            metrics.close()
        return [self._summary(problem) for problem in self.problems]

    def _iterate(self, metrics: Metrics, progress: Progress) -> None:
        """One iteration of the method, and the commit of all of it."""
        state, iteration = self.state, self.journal.iteration + 1

        def tell(message: str) -> None:
            progress(state["trained"], message)

        self._run.clock.seconds.clear()
        found = self.method.iterate(self._run, state, iteration, tell)
        for record in found.records:
            id = record["state"]["problem_id"]
            checked = [moved for moved in record.get("moved", ()) if moved is not None]
            state["moves_checked"][id] += len(checked)
            state["moves_confirmed"][id] += sum(checked)
        state["model_version"] += found.steps
        state["trained"] += found.sampled
        tell("saving")
        with self._run.clock.on("saving"):
            self.journal.commit(iteration, found.records, state, self._save)
        seconds = {f"seconds/{what}": spent for what, spent in self._run.clock.seconds.items()}
        metrics.add(iteration, {**found.metrics, **seconds})
        progress(state["trained"], "")

    # ---------------------------------------------------------------- evaluation

    def _evaluate_if(self, wanted: bool, metrics: Metrics, progress: Progress) -> None:
        """Measure the policy at the fixed redactions, unless the policy was measured as it is."""
        state, iteration = self.state, self.journal.iteration + 1
        done = state["evaluations"]
        if not wanted or (done and done[-1]["trained"] == state["trained"]):
            return

        def tell(message: str) -> None:
            progress(state["trained"], f"measuring: {message}")

        found: dict[str, list[Measurement]] = {}
        self._run.clock.seconds.clear()
        with self._run.clock.on("evaluation"):
            for split, problems in (("trained", self.problems), ("held out", self.held_out)):
                if problems:
                    found[split] = evaluate(
                        self.llm,
                        [(problem, self._fixed_k(problem)) for problem in problems],
                        rollouts=self.settings.evaluate_rollouts,
                        extra_tokens=self.method.curriculum.extra_tokens,
                        seed=seed_of(self.method.curriculum.seed, "evaluation"),
                        reward_seconds=self.settings.reward_seconds,
                        advance=tell,
                    )
            drift = kl(self._probe_before, self._run.probe.rows())
        means = {split: fsum(m.mean for m in ms) / len(ms) for split, ms in found.items() if ms}
        firsts = {
            m.state.problem_id: m.mean
            for m in found["trained"]
            if m.state.k == self._first[m.state.problem_id]
        }
        done.append({"trained": state["trained"], "rewards": firsts, "means": means, "drift": drift})
        records = [
            {
                "kind": "measurement",
                "iteration": iteration,
                "split": split,
                **one.to_dict(),
                "model_version": state["model_version"],
            }
            for split, measured in found.items()
            for one in measured
        ]
        self.journal.commit(iteration, records, state, self._save)
        named = {f"evaluation/{split}": mean for split, mean in means.items()}
        seconds = {f"seconds/{what}": spent for what, spent in self._run.clock.seconds.items()}
        metrics.add(iteration, {**named, "evaluation/drift": drift, **seconds})

    def _fixed_k(self, problem: Problem) -> list[int]:
        """Redactions at which a problem is evaluated, its first one among them."""
        longest = len(problem.golden_ids)
        return sorted({self._first[problem.id], *(k for k in self.settings.evaluate_k if k <= longest)})

    def _stalled(self) -> bool:
        """Whether the last `patience` evaluations brought nothing better."""
        split = "held out" if self.held_out else "trained"
        scores = [one["means"][split] for one in self.state["evaluations"]]
        patience = self.settings.patience
        return 0 < patience < len(scores) and max(scores[-patience:]) <= max(scores[:-patience])

    # ---------------------------------------------------------------- checkpoints

    def _save(self, folder: Path) -> None:
        """A checkpoint that `load_model` opens, or an adapter that `LoRA.load` does, and the optimizer."""
        self._run.trainable.save(folder)
        if self.method.optimizer is not None:
            try:
                torch.save(self.method.optimizer.state_dict(), folder / OPTIMIZER)
            except RuntimeError as error:  # torch's word for a full disk
                raise OSError(f"{OPTIMIZER}: {error}") from error

    def _load(self, folder: Path) -> None:
        self._run.trainable.load(folder)
        if self.method.optimizer is not None:
            self.method.optimizer.load_state_dict(torch.load(folder / OPTIMIZER, weights_only=True))

    def _summary(self, problem: Problem) -> Summary:
        state, id = self.state, problem.id
        return Summary(
            problem_id=id,
            k_start=self._first[id],
            k_end=state["k"][id],
            reward_before=state["evaluations"][0]["rewards"][id],
            reward_after=state["evaluations"][-1]["rewards"][id],
            moves_checked=state["moves_checked"][id],
            moves_confirmed=state["moves_confirmed"][id],
        )


@torch.no_grad()
def fingerprint(model: torch.nn.Module) -> str:
    """A hash of all weights: which policy a run began with."""
    digest = hashlib.blake2b(digest_size=16)
    for p in model.parameters():
        digest.update(p.detach().contiguous().cpu().view(torch.uint8).numpy().data)
    return digest.hexdigest()
