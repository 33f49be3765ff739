"""The options of `arc.train`, without torch, so that `--help` need not wait for it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from arc.errors import ArcError
from arc.problem import RewardOn, check_limits
from arc.prompt import PromptOptions
from arc.sandbox import Limits
from arc.tasks import golden_ids
from minillm._shadow import require_own
from minillm.checkpoint.hub import DEMO_MODEL
from minillm.errors import MinillmError

require_own("rl")

from rl.config import GRPOConfig, MethodConfig, Settings, SFTConfig

# Options that may change when a run goes on.
FREE = ("run", "iterations", "keep_last", "keep_every")
FREE_SETTINGS = ("reward_seconds", "audit_every")
PLACES = ("warm_start", "golden")

# Of each algorithm the name of its options in `Config`.
ALGORITHMS = {"single-token": "method", "sft": "sft", "grpo": "grpo"}


@dataclass(frozen=True)
class LoRAConfig:
    """Options of LoRA.

    Attributes:
        rank: of the adapters; 0 to train all weights.
        alpha: adapters are multiplied by alpha / rank.
        targets: matrices that have one.
    """

    rank: int = 0
    alpha: float = 16.0
    targets: tuple[str, ...] = ("qkv", "o", "gate_up", "down")


@dataclass(frozen=True)
class Config:
    """Options of a training run.

    Attributes:
        model: a folder, a Hugging Face hub id, or the packaged demo model.
        tasks: ids of tasks that have a golden solution, "golden" for all of those, or files and folders of
            tasks in ARC's or re-arc's layout.
        held_out: tasks that are evaluated, and never trained.
        golden: a folder of golden solutions of one's own, `<task id>.py`; by default those that ship.
        reward_on: pairs that a program has to get right: all, or those of train alone.
        run: folder of the run: journal, checkpoint, configuration. Not shared between configurations.
        iterations: how many rounds of rollouts and updates in all, those of earlier starts included.
        precision: fp32, bf16, fp32-attn-bf16 or bf16-master-fp32.
        algorithm: single-token reinforcement learning, supervised fine-tuning on golden solutions, or GRPO.
        warm_start: folder of another run, whose entries are trained on before anything is sampled.
        stale: whether saved entries of another policy are judged again or left out.
        reference: keep a copy of the model as it was at first; entries have its logprobs, too.
        method: single-token learning: how actions are sampled, judged and trained.
        sft: supervised fine-tuning.
        grpo: GRPO.
        lora: adapters in place of all weights.
        settings: evaluation, and limits of the work.
        keep_last: checkpoints kept, the newest; the run goes on from the last.
        keep_every: every so many iterations a checkpoint is kept for good; 0 for none.
        prompt: how a task is shown to the model.
        limits: of each run of a program in the sandbox.
    """

    model: str = DEMO_MODEL
    tasks: tuple[str, ...] = ("6150a2bd", "d631b094", "e9afcf9a")
    held_out: tuple[str, ...] = ()
    golden: Path | None = None
    reward_on: RewardOn = "all"
    run: Path = Path("runs/arc")
    iterations: int = 6
    precision: str = "fp32"
    algorithm: Literal["single-token", "sft", "grpo"] = "single-token"
    warm_start: Path | None = None
    stale: Literal["rescore", "drop"] = "rescore"
    reference: bool = True
    method: MethodConfig = field(default_factory=MethodConfig)
    sft: SFTConfig = field(default_factory=SFTConfig)
    grpo: GRPOConfig = field(default_factory=GRPOConfig)
    lora: LoRAConfig = field(default_factory=LoRAConfig)
    settings: Settings = field(default_factory=Settings)
    keep_last: int = 1
    keep_every: int = 0
    prompt: PromptOptions = field(default_factory=PromptOptions)
    limits: Limits = field(default_factory=Limits)

    def fixed(self) -> dict[str, Any]:
        """List what a run folder is bound to: not its place, how long the run is, or other algorithms."""
        others = {options for name, options in ALGORITHMS.items() if name != self.algorithm}
        fixed = {k: v for k, v in asdict(self).items() if k not in {*FREE, *others}}
        settings = {k: v for k, v in fixed["settings"].items() if k not in FREE_SETTINGS}
        places = {name: value and str(value) for name, value in fixed.items() if name in PLACES}
        return {**fixed, **places, "settings": settings}

    def check(self) -> None:
        """Raise `MinillmError` or `ArcError` for options that make no sense together, or ever."""
        named = (*self.tasks, *self.held_out)
        if len(set(named)) != len(named):
            raise ArcError(f"tasks are named twice: {' '.join(named)}")
        if self.iterations < 1:
            raise MinillmError(f"iterations must be at least 1, got {self.iterations}")
        if self.keep_last < 1 or self.keep_every < 0:
            kept = f"{self.keep_last} and {self.keep_every}"
            raise MinillmError(f"keep_last must be at least 1 and keep_every not negative, got {kept}")
        if self.warm_start is not None and self.algorithm != "single-token":
            raise MinillmError(f"--warm-start is for single-token learning, not for {self.algorithm}")
        check_limits(self.limits)
        golden_ids(self.golden)
