"""Low-rank adapters (LoRA: Hu et al., 2021) as a reparametrisation of the live weights.

A matrix becomes base + (alpha / rank) A B, and that sum, rounded to the weights' dtype, is written into the
model's own parameter. So there is no second forward: the trainer and the sampler read the same merged
weights, with equal bits, and nothing is copied to serve them. What is small is what the optimizer sees: the
factors, their gradients and their moments.

A frozen clone of each adapted matrix is kept beside it, in its dtype: the reference model (`LoRA.off`), and
what makes every merge start from the same bits.

Legend: K inputs, R rank, N outputs, E experts.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors.torch import save_file
from torch import nn

from minillm.adapters import Adapter, Replaced, adapted, check_free, factors
from minillm.checkpoint.durable import write_atomically
from minillm.checkpoint.peft import files as peft_files
from minillm.checkpoint.peft.files import ADAPTER_NAME, CONFIG_NAME, PREFIX
from minillm.errors import MinillmError
from minillm.model.config import Matrix
from minillm.model.transformer import Transformer

__all__ = ["ADAPTER_NAME", "CONFIG_NAME", "PREFIX", "Adapter", "LoRA"]


class LoRA:
    """Adapters on a live model's matrices, until `remove`.

    Every other parameter stops asking for a gradient meanwhile, and gradients that were there are dropped.
    The backward pass turns the gradient of each adapted matrix into those of its factors and frees it at
    once, so that one full gradient lives at a time. In memory: the base, as large as the adapted matrices,
    and 16 bytes for each number of the factors under AdamW. `from_folder` makes one of an adapter of PEFT's.

    Args:
        model: adapted in place; a sampler over it serves what is merged.
        rank: of A B.
        alpha: the product is multiplied by alpha / rank.
        targets: matrices by their own name in a layer, as in `ModelConfig.shapes`: qkv, o, gate_up, down, up
            (not gated), experts_gate_up, experts_down, shared_gate_up, q_a, q_b, kv_a, kv_b, ...
        seed: of A, which is drawn uniformly from +-1 / sqrt(K) (Kaiming, as the paper's code and PEFT do); B
            is zero, so the model is at first the base, bit for bit.

    Raises `MinillmError` for a rank below 1, targets that the model does not have, integer-quantised weights,
    and a model that has a LoRA.
    """

    def __init__(
        self,
        model: Transformer,
        rank: int = 8,
        alpha: float = 16.0,
        targets: Sequence[str] = ("qkv", "o", "gate_up", "down"),
        seed: int = 0,
    ) -> None:
        config = model.config
        if rank < 1:
            raise MinillmError(f"rank must be at least 1, got {rank}")
        check_free(model)
        matrices = {
            name: shape
            for name, shape in config.shapes.items()
            if name.startswith("layers.") and isinstance(shape, Matrix)
        }
        there = dict.fromkeys(_own(name) for name in matrices)
        unknown = [target for target in targets if target not in there]
        if unknown or not targets:
            culprits = ", ".join(unknown) if unknown else "none"
            raise MinillmError(
                f"unknown LoRA targets: {culprits}; this {config.model_type} model has {', '.join(there)}"
            )
        generator = torch.Generator().manual_seed(seed)
        parameters = dict(model.named_parameters())
        adapters: dict[str, Adapter] = {}
        for name, shape in matrices.items():
            if _own(name) not in targets:
                continue
            w, experts = parameters[name], (shape.experts,) if shape.experts else ()
            A_KR = torch.empty(*experts, shape.K, rank)
            A_KR.uniform_(-(shape.K**-0.5), shape.K**-0.5, generator=generator)
            B_RN = torch.zeros(*experts, rank, shape.N)
            A, B = (nn.Parameter(x.to(w.device)) for x in (A_KR, B_RN))
            adapters[name] = Adapter(w, w.detach().clone(), A, B, alpha / rank)
        self._begin(model, rank, alpha, list(dict.fromkeys(targets)), adapters)

    @classmethod
    @torch.no_grad()
    def from_folder(cls, model: Transformer, folder: str | Path) -> LoRA:
        """Put an adapter of PEFT's on a model: what its config says, for any of the model's modules.

        A module keeps its own A, B, rank and scale. Biases, modules_to_save and trained rows of embeddings
        replace the model's until `remove(merge=False)`, and are not trained. `save` writes the folder again.

        Raises `MinillmError`, which names the key, the module or the tensor, for an adapter that is no plain
        sum of weights (DoRA, activated LoRA, ...), or not one of the plain base (PiSSA, OLoRA, ...), for
        tensors that are missing, left over or of another shape, for adapters of tied embeddings; and as the
        constructor does.
        """
        check_free(model)
        parameters = dict(model.named_parameters())
        read = peft_files.read(model.config, parameters, Path(folder))
        adapters = {
            name: Adapter(parameters[name], parameters[name].detach().clone(), *made)
            for name, made in factors(read, model.config, parameters).items()
        }
        replaced: dict[str, Replaced] = {}
        for place, tensor, rows in read.values:
            w = parameters[place.ours]
            place.put(replaced.setdefault(place.ours, Replaced(w, w.detach().clone())).base, tensor, rows)
        lora = cls.__new__(cls)
        rank, alpha = read.settings["r"], read.settings["lora_alpha"]
        lora._begin(model, rank, alpha, list(dict.fromkeys(map(_own, adapters))), adapters)
        lora._replaced, lora._read = list(replaced.values()), read
        for other in lora._replaced:
            other.swap()
        lora.merge()
        return lora

    def _begin(
        self,
        model: Transformer,
        rank: int,
        alpha: float,
        targets: Sequence[str],
        adapters: dict[str, Adapter],
    ) -> None:
        self.model, self.rank, self.alpha, self.targets = model, rank, alpha, tuple(targets)
        self.adapters = adapters
        # What was read beside A and B, and how the files describe all.
        self._replaced: list[Replaced] = []
        self._read: peft_files.PeftAdapter | None = None
        self._state: Literal["on", "off", "removed"] = "on"
        self._trained = {name: p.requires_grad for name, p in model.named_parameters()}
        for p in model.parameters():
            p.requires_grad_(False)
            p.grad = None
        self._handles: list[Any] = []
        for adapter in adapters.values():
            adapter.w.requires_grad_(True)
            self._handles.append(adapter.w.register_post_accumulate_grad_hook(adapter.pull))
        adapted.add(model)

    def parameters(self) -> list[nn.Parameter]:
        """List A and B of every adapted matrix, for an optimizer."""
        return [p for adapter in self.adapters.values() for p in (adapter.A_KR, adapter.B_RN)]

    def merge(self) -> None:
        """Write round(base + (alpha / rank) A B) into the model, in place, which is what the sampler watches.

        `attach` does so after each step; who writes to A or B otherwise calls it. `MinillmError` while the
        base is in place, and after `remove`.
        """
        self._expect("merge")
        for adapter in self.adapters.values():
            adapter.merge()

    def attach(self, optimizer: torch.optim.Optimizer) -> None:
        """Let `merge` follow each step of an optimizer of `parameters()`, until `remove`."""
        self._expect("attach")
        self._handles.append(optimizer.register_step_post_hook(lambda *_: self.merge()))

    @contextmanager
    def off(self) -> Iterator[None]:
        """`with lora.off():` the model is the base; after it, whatever happened, the same bits as before.

        Nothing has a gradient inside. The weights are written twice, so a sampler forgets its prefixes and
        may not be sampling meanwhile, and a loss whose forward came before cannot go backward any more
        (autograd says so): ask the base first. May be nested. `MinillmError` after `remove`.
        """
        if self._state == "off":
            yield
            return
        self._expect("off")
        with ExitStack() as back:
            self._state = "off"
            back.callback(setattr, self, "_state", "on")
            for held in self._held():
                held.swap()
                back.callback(held.swap)
            yield

    def remove(self, merge: bool) -> None:
        """End it: the model keeps the merged weights or gets its base back, and asks for gradients as before.

        `MinillmError` while the base is in place, and after another `remove`.
        """
        self._expect("remove")
        for handle in self._handles:
            handle.remove()
        for held in self._held():
            if not merge:
                held.swap()
        for name, p in self.model.named_parameters():
            p.requires_grad_(self._trained[name])
        self.adapters.clear()
        self._state = "removed"
        adapted.discard(self.model)

    def _held(self) -> list[Replaced]:
        return [*self.adapters.values(), *self._replaced]

    def _expect(self, what: str, on: bool = True) -> None:
        """Raise for a call of `what` after `remove`, and while the base is in place if it has to be on."""
        if self._state == "removed":
            raise MinillmError(f"{what}() of a LoRA that was removed from its model; make another")
        if on and self._state == "off":
            raise MinillmError(f"{what}() inside of off(), while the base is in place; leave that first")

    # ---------------------------------------------------------------- files

    def save(self, folder: str | Path) -> None:
        """Write adapter_config.json and adapter_model.safetensors in PEFT's layout.

        Names are those of Hugging Face's checkpoints. Where they keep apart what is one matrix here (q, k and
        v; gate and up), each of theirs gets the one A and its own columns of B. A LoRA `from_folder` is
        written as it was read. Raises `MinillmError` where a file cannot be written, for experts that a
        checkpoint keeps in one tensor, and after `remove`.
        """
        self._expect("save", on=False)
        folder, described = Path(folder), self._as_peft()
        tensors = dict(described.tensors)
        for pair in described.pairs:
            adapter = self.adapters[pair.place.ours]
            tensors |= zip(pair.names, pair.get(adapter.A_KR, adapter.B_RN), strict=True)
        write_atomically(folder / ADAPTER_NAME, partial(save_file, tensors, metadata={"format": "pt"}))
        text = json.dumps(described.settings, indent=2) + "\n"
        write_atomically(folder / CONFIG_NAME, lambda temp: temp.write_text(text))

    def load(self, folder: str | Path) -> None:
        """Copy an adapter in PEFT's layout into A and B, strictly, and merge; an error leaves all as it was.

        Raises `MinillmError`, which names the tensors or the key, for missing, extra or mis-shaped tensors,
        another rank or alpha, DoRA and other kinds, and modules that are one matrix here and have an A each,
        which `from_folder` can read; as `save` does for experts; while the base is in place and after
        `remove`.
        """
        self._expect("load")
        described, what = self._as_peft(), f"this LoRA, whose targets are {', '.join(self.targets)},"
        tensors = peft_files.reread(Path(folder), described, what)
        with torch.no_grad():
            for pair in described.pairs:
                adapter = self.adapters[pair.place.ours]
                pair.put(adapter.A_KR, adapter.B_RN, *(tensors[name] for name in pair.names))
        self.merge()

    def _as_peft(self) -> peft_files.PeftAdapter:
        """Describe it as PEFT does: as it was read, or for a LoRA of one rank; errors as `save` has them."""
        return self._read or peft_files.describe(self.model.config, self.adapters, self.rank, self.alpha)


def _own(name: str) -> str:
    """Tell a parameter's name in its layer."""
    return name.rpartition(".")[2]
