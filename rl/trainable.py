"""What a run trains: all weights of a live model, or the factors of a LoRA on it."""

from __future__ import annotations

import shutil
from pathlib import Path

import torch
from torch import nn

from minillm.checkpoint.load import load_weights, save_model
from minillm.errors import MinillmError
from minillm.lora import LoRA
from minillm.model.transformer import Transformer
from rl.optim import check_trainable, make_optimizer


class Trainable:
    """The parameters of a run, their optimizers, and their way to the disk and back.

    Args:
        model: trained in place; its sampler reads the same tensors.
        model_folder: whose config and tokenizer files are copied beside each checkpoint's weights.
        lora: trained in place of the model's own weights, where there is one.

    Raises `MinillmError` for integer-quantised weights.
    """

    def __init__(self, model: Transformer, model_folder: Path, lora: LoRA | None = None) -> None:
        check_trainable(model)
        self.model, self.model_folder, self.lora = model, model_folder, lora

    @property
    def parameters(self) -> list[nn.Parameter]:
        """What an optimizer gets."""
        if self.lora is not None:
            return self.lora.parameters()
        return [p for p in self.model.parameters() if p.requires_grad]

    def optimizer(self, lr: float, weight_decay: float = 0.0, seed: int = 0) -> torch.optim.Optimizer:
        """Make an AdamW whose steps leave the model as trained; `seed` is of the rounding of bf16 weights."""
        if self.lora is None:
            return make_optimizer(self.model, lr, weight_decay, seed=seed)
        optimizer = torch.optim.AdamW(self.parameters, lr=lr, weight_decay=weight_decay)
        self.lora.attach(optimizer)
        return optimizer

    @torch.no_grad()
    def step(self, optimizer: torch.optim.Optimizer) -> None:
        """Step, and forget the gradients. Raises `MinillmError`, without a step, where one is not finite."""
        if not all(p.grad.isfinite().all() for p in self.parameters if p.grad is not None):
            raise MinillmError(
                "training diverged: gradients are infinite or no numbers; the last iteration is kept, but "
                "these options do not lead on from there: start again with a lower learning rate"
            )
        optimizer.step()
        self.forget_gradients()

    @torch.no_grad()
    def copy(self) -> list[torch.Tensor]:
        """Copy all parameters."""
        return [p.detach().clone() for p in self.parameters]

    @torch.no_grad()
    def put_back(self, copy: list[torch.Tensor]) -> None:
        """Set all parameters to what they were when `copy` was made."""
        for p, was in zip(self.parameters, copy, strict=True):
            p.copy_(was)
        if self.lora is not None:
            self.lora.merge()

    def forget_gradients(self) -> None:
        """Free the gradients: they are as large as the weights, and rollouts need the memory."""
        for p in self.parameters:
            p.grad = None

    def save(self, folder: Path) -> None:
        """Write weights in Hugging Face's layout, or an adapter in PEFT's, with config and tokenizer."""
        for path in self.model_folder.iterdir():
            if path.suffix in (".json", ".jinja", ".model") and "index" not in path.name:
                shutil.copyfile(path, folder / path.name)
        if self.lora is None:
            save_model(self.model, folder)  # with the config of weights as they are written now
        else:
            self.lora.save(folder)

    def load(self, folder: Path) -> None:
        """Read what `save` wrote."""
        if self.lora is None:
            load_weights(self.model, folder)
        else:
            self.lora.load(folder)
