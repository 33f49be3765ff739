"""The loop of a run: train, evaluate, commit, resume. What an iteration does is the method's."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from statistics import fmean

import torch

from minillm.errors import MinillmError
from minillm.llm import LLM
from minillm.lora import LoRA
from rl.audit import Audit
from rl.estimate import Work, measure
from rl.evaluate import Measurement, ProbeTexts, evaluate, kl
from rl.journal import Journal
from rl.looks import Looks
from rl.metrics import Clock, MetricsLog, read_metrics
from rl.options import check_options
from rl.reference import Reference
from rl.rewards import check_problems
from rl.rollout import seed_of
from rl.run import Evaluation, Method, ProblemState, Round, Run, RunState, Settings
from rl.single_token import MethodConfig as MethodConfig
from rl.single_token import SingleToken
from rl.trainable import Trainable
from rl.types import Entry, Problem, from_dict

OPTIMIZER = "optimizer.pt"
AUDIT = "audit"  # folder with the reports of audited iterations
# Called with the number of iterations that are done, and a message.
Progress = Callable[[int, str], None]


@dataclass(frozen=True)
class Summary:
    """How one problem fared; rewards are those of completions sampled at its first k.

    A move is checked where an action has a target, and confirmed where the sampler's logprob went that way.
    Of a problem of the split "held out" there are no moves, and its k stays.
    """

    problem_id: str
    k_start: int
    k_end: int
    reward_before: float
    reward_after: float
    moves_checked: int = 0
    moves_confirmed: int = 0
    split: str = "trained"


class Trainer:
    """Training of a live model on problems, one journal a run.

    Args:
        llm: its model is trained in place; it is the sampler of the same tensors.
        problems: each is refused, by name, if its golden solution does not earn 1.
        method: a method, or `MethodConfig` for single-token reinforcement learning.
        model_folder: whose config and tokenizer files are copied beside each checkpoint's weights.
        settings: evaluation, and limits of the work.
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
        check_options(settings)
        self.method: Method = SingleToken(method) if isinstance(method, MethodConfig) else method
        if isinstance(method, type) or not hasattr(self.method, "iterate"):
            remedy = "give one, such as GRPO(GRPOConfig(k=1)), or MethodConfig(k=1) for single-token learning"
            raise MinillmError(f"method {method!r} is not a method; {remedy}")
        self.llm, self.model = llm, llm.model
        self.problems, self.held_out, self.settings = problems, held_out, settings
        config, trainable = self.method.config, Trainable(llm.model, model_folder, lora)
        check_problems(problems, held_out, llm, config.extra_tokens, settings.reward_seconds)
        self._run = Run(
            llm=llm,
            extra_tokens=config.extra_tokens,
            reward_seconds=settings.reward_seconds,
            trainable=trainable,
            problems=problems,
            probe=ProbeTexts(llm.model, probe),
            reference=reference,
            settings=settings,
        )
        self._audit = Audit(llm, probe) if settings.audit_every else None
        self._base = fingerprint(self.model)
        self._probe_before = self._run.probe.rows()
        tokenizer = llm.get_tokenizer()
        self._first = {problem.id: config.first(problem, tokenizer) for problem in (*problems, *held_out)}

    def run(self, journal: Journal, iterations: int, progress: Progress = lambda *_: None) -> list[Summary]:
        """Train until `iterations` are done in all, evaluating before, in between and after.

        A run that the journal holds goes on after its last finished iteration.
        """
        if iterations < 1:
            raise MinillmError(f"iterations must be at least 1, got {iterations}")
        self.journal = journal
        self._begin()
        state, every = self.state, self.settings.evaluate_every
        self._run.observe = Looks(journal.folder, [*self.problems, *self.held_out]).add
        with closing(MetricsLog(journal.folder, journal.iteration)) as self._metrics:
            if not state.evaluations:
                self._evaluate(progress)
            while state.trained < iterations and not self._stalled():
                self._iterate(progress)
                if every and state.trained % every == 0:
                    self._evaluate(progress)
            self._evaluate(progress)
        return [self._summary(problem.id) for problem in (*self.problems, *self.held_out)]

    def iterations_done(self, journal: Journal) -> int:
        """Count the iterations of the run that the journal holds, but those of saved entries."""
        return from_dict(RunState, journal.state["run"]).trained if journal.state else 0

    def expected_seconds(self, journal: Journal, iterations: int) -> float:
        """Estimate how long `run` will take, from earlier iterations or else from a few measured tokens."""
        left = max(0, iterations - self.iterations_done(journal))
        every, split = self.settings.evaluate_every, (*self.problems, *self.held_out)
        evaluations = 1 + (not journal.state) + (max(0, left - 1) // every if every else 0)
        lines = [
            ("evaluation/drift" in line, sum(value for name, value in line.items() if "seconds/" in name))
            for line in read_metrics(journal.folder)
        ]
        spent = {kind: [seconds for measures, seconds in lines if measures is kind] for kind in (False, True)}
        if all(spent.values()):
            return left * fmean(spent[False]) + evaluations * fmean(spent[True])
        config, first = self.method.config, self._first
        speed = measure(self.llm, self._run.trainable, self.problems)
        share = min(config.batch or len(self.problems), len(self.problems)) / len(self.problems)
        iteration = share * speed.seconds(self.method.work([(p, first[p.id]) for p in self.problems]))
        states = [(p, k) for p in split for k in {first[p.id], *self.settings.evaluate_k}]
        evaluation = Work(
            read=sum(len(p.prompt_ids) + len(p.golden_ids) - k for p, k in states),
            sampled=self.settings.evaluate_rollouts * sum(k + config.extra_tokens for _, k in states),
        )
        return left * iteration + evaluations * speed.seconds(evaluation)

    def _begin(self) -> None:
        """Resume the run that the journal holds, or start a new one."""
        new = {problem.id: ProblemState(self._first[problem.id]) for problem in self.problems}
        kept, checkpoint = self.journal.state, self.journal.checkpoint_path
        self.state = from_dict(RunState, kept["run"]) if kept else RunState(self._base, new)
        if self.state.base != self._base:
            raise MinillmError("the run began with other weights; give the model that it was started with")
        if self.state.problems.keys() != new.keys():
            names = ", ".join(sorted(self.state.problems))
            raise MinillmError(f"the run trains {names}; it goes on with those that it began with")
        self.method.begin(self._run, kept.get("method", {}))
        if checkpoint is not None:
            self._run.trainable.load(checkpoint)
            if self.method.optimizer is not None:
                self.method.optimizer.load_state_dict(torch.load(checkpoint / OPTIMIZER, weights_only=True))
        elif fingerprint(self.model) != self._base:
            raise MinillmError(
                "the model was trained since this trainer was made; make another for another run"
            )

    def _iterate(self, progress: Progress) -> None:
        """Run one iteration of the method, and commit all of it."""
        run, state, iteration = self._run, self.state, self.journal.iteration + 1
        run.progress = lambda message: progress(state.trained, message)
        run.clock.seconds.clear()
        done = self._step(iteration)
        for problem_id, confirmed in done.moves:
            state.problems[problem_id].moves_checked += 1
            state.problems[problem_id].moves_confirmed += confirmed
        state.model_version += done.steps
        state.trained += done.counts
        run.progress("saving")
        with run.clock.on("saving"):
            self._commit(done.entries)
        self._metrics.add(iteration, {**done.metrics, **run.clock.metrics()})
        run.progress("")

    def _step(self, iteration: int) -> Round:
        """Let the method iterate, audited where it is time to."""
        audit, every = self._audit, self.settings.audit_every
        if audit is None or self.state.trained % every:
            return self.method.iterate(self._run, self.state, iteration)
        audit.steps = iteration - 1  # a report is named after its iteration
        update = audit.begin()
        done = self.method.iterate(self._run, self.state, iteration)
        with self._run.clock.on("audit"):
            update.end().save(self.journal.folder / AUDIT)
        return done

    def _evaluate(self, progress: Progress) -> None:
        """Measure the policy at the fixed redactions, unless that was done since the last iteration."""
        state, first, clock, iteration = self.state, self._first, Clock(), self.journal.iteration + 1
        if state.evaluations and state.evaluations[-1].trained == state.trained:
            return

        def show(message: str) -> None:
            progress(state.trained, f"measuring: {message}")

        with clock.on("evaluation"):
            measured = {
                split: evaluate(
                    replace(self._run, clock=Clock(), progress=show),
                    [(p, sorted({first[p.id], *self.settings.evaluate_k})) for p in problems],
                    rollouts=self.settings.evaluate_rollouts,
                    seed=seed_of(self.method.config.seed, "evaluation"),
                )
                for split, problems in (("trained", self.problems), ("held out", self.held_out))
                if problems
            }
            drift = kl(self._probe_before, self._run.probe.rows())
        entry = partial(Measurement, iteration=iteration, model_version=state.model_version)
        entries = [
            entry(state=start.state, split=split, rollouts=start.rollouts, state_reward=start.mean_reward)
            for split, starts in measured.items()
            for start in starts
        ]
        means = {split: fmean(start.mean_reward for start in starts) for split, starts in measured.items()}
        every = [start for starts in measured.values() for start in starts]
        rewards = {s.problem.id: s.mean_reward for s in every if s.state.k == first[s.problem.id]}
        state.evaluations.append(Evaluation(state.trained, rewards, means, drift))
        self._commit(entries)
        named = {f"evaluation/{split}": mean for split, mean in means.items()}
        self._metrics.add(iteration, {**named, "evaluation/drift": drift, **clock.metrics()})

    def _stalled(self) -> bool:
        """Tell whether the last `patience` evaluations brought nothing better."""
        patience, split = self.settings.patience, "held out" if self.held_out else "trained"
        scores = [evaluation.means[split] for evaluation in self.state.evaluations]
        return 0 < patience < len(scores) and max(scores[-patience:]) <= max(scores[:-patience])

    def _commit(self, entries: Sequence[Entry]) -> None:
        """Finish an iteration: entries, state, and a checkpoint."""
        kept = {"run": asdict(self.state), "method": self.method.state_dict()}
        self.journal.commit(self.journal.iteration + 1, list(map(asdict, entries)), kept, self._save)

    def _save(self, folder: Path) -> None:
        """Write a checkpoint for `load_model`, or an adapter for `LoRA.load`, and the optimizer."""
        self._run.trainable.save(folder)
        if self.method.optimizer is not None:
            try:
                torch.save(self.method.optimizer.state_dict(), folder / OPTIMIZER)
            except RuntimeError as error:  # torch's word for a full disk
                raise OSError(f"{OPTIMIZER}: {error}") from error

    def _summary(self, name: str) -> Summary:
        first, evaluations = self._first[name], self.state.evaluations
        before, after = evaluations[0].rewards[name], evaluations[-1].rewards[name]
        if (end := self.state.problems.get(name)) is None:
            return Summary(name, first, first, before, after, split="held out")
        return Summary(name, first, end.k, before, after, end.moves_checked, end.moves_confirmed)


@torch.no_grad()
def fingerprint(model: torch.nn.Module) -> str:
    """Hash all weights: which policy a run began with."""
    digest = hashlib.blake2b(digest_size=16)
    for p in model.parameters():
        digest.update(p.detach().contiguous().cpu().view(torch.uint8).numpy().data)
    return digest.hexdigest()
