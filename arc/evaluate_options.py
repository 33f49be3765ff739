"""The options of `arc.evaluate`, without torch, so that `--help` need not wait for it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from math import isfinite
from pathlib import Path
from typing import Any

from arc.errors import ArcError
from arc.problem import check_limits
from arc.prompt import PromptOptions
from arc.sandbox import Limits
from arc.tasks import golden_ids
from minillm.checkpoint.hub import DEMO_MODEL

# Options that may change when an evaluation goes on.
FREE = ("run", "minutes", "device")
PLACES = ("golden",)


@dataclass(frozen=True)
class Config:
    """Options of an evaluation.

    Attributes:
        tasks: task ids, "all", "golden", a set's name, or files and folders of tasks in ARC's, Kaggle's or
            re-arc's layout.
        model: a folder, a Hugging Face hub id, or the packaged demo model.
        run: folder of the evaluation: candidates, report, submission.json. Not shared between configurations.
        minutes: time for all of it, that of earlier starts and of loading the model included.
        samples: programs sampled for each task, if time allows.
        refinements: rounds in which tasks without a program that is right on the train pairs get `samples`
            more, each written after the model was shown a wrong program and what it got wrong.
        guises: guises of each task that samples are divided among: 1 for the task as it is, up to 8 for
            symmetries, more for colors too. Answers are turned back before the vote.
        given_docstring: samples of each task with a golden solution whose docstring the model is given. They
            are counted by themselves, and are in no attempt.
        golden: a folder of golden solutions of one's own, `<task id>.py`; by default those that ship.
        temperature: of sampling; 0 for the likeliest token.
        max_tokens: most tokens of a program, its docstring included.
        seed: of all draws.
        precision: fp32, bf16, fp32-attn-bf16 or bf16-master-fp32.
        device: where the model is loaded to.
        max_num_seqs: programs that are sampled at a time.
        prompt: how a task is shown to the model.
        limits: of each run of a program in the sandbox.
    """

    tasks: tuple[str, ...] = ("arc2-evaluation",)
    model: str = DEMO_MODEL
    run: Path = Path("runs/evaluation")
    minutes: float = 10.0
    samples: int = 16
    refinements: int = 0
    guises: int = 1
    given_docstring: int = 0
    golden: Path | None = None
    temperature: float = 0.8
    max_tokens: int = 768
    seed: int = 0
    precision: str = "fp32"
    device: str = "cpu"
    max_num_seqs: int = 64
    prompt: PromptOptions = field(default_factory=PromptOptions)
    limits: Limits = field(default_factory=Limits)

    def fixed(self) -> dict[str, Any]:
        """List what a run folder is bound to: not its place, nor how long the evaluation may take."""
        fixed = {k: v for k, v in asdict(self).items() if k not in FREE}
        return {**fixed, **{name: fixed[name] and str(fixed[name]) for name in PLACES}}

    def check(self) -> None:
        """Raise `ArcError` for options that make no sense."""
        for name, least in (("samples", 1), ("refinements", 0), ("guises", 1), ("given_docstring", 0)):
            if getattr(self, name) < least:
                raise ArcError(f"{name} must be at least {least}, got {getattr(self, name)}")
        for name in ("max_tokens", "max_num_seqs"):
            if getattr(self, name) < 1:
                raise ArcError(f"{name} must be at least 1, got {getattr(self, name)}")
        if not (self.minutes > 0 and isfinite(self.minutes)):
            raise ArcError(f"minutes must be above 0 and finite, got {self.minutes:g}")
        if not self.tasks:
            raise ArcError("there are no tasks to evaluate; name some with --tasks")
        check_limits(self.limits)
        golden_ids(self.golden)
