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
from weakref import WeakSet

import torch
from safetensors.torch import save_file
from torch import nn

from minillm.adapters import Adapter as Adapter
from minillm.adapters import Replaced
from minillm.checkpoint import safetensors as weights
from minillm.checkpoint.peft import files as peft_files
from minillm.checkpoint.peft.files import ADAPTER_NAME as ADAPTER_NAME
from minillm.checkpoint.peft.files import CONFIG_NAME as CONFIG_NAME
from minillm.checkpoint.peft.files import PREFIX as PREFIX
from minillm.errors import MinillmError
from minillm.model.config import Matrix
from minillm.model.transformer import Transformer

# What adapter_config.json says of a LoRA of one rank and alpha.
PLAIN: dict[str, Any] = {
    "peft_type": "LORA",
    "use_rslora": False,
    "use_dora": False,
    "rank_pattern": {},
    "alpha_pattern": {},
    "bias": "none",
    "modules_to_save": None,
    "target_parameters": None,
    "trainable_token_indices": None,
}

_adapted: WeakSet[Transformer] = WeakSet()


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
        _check_free(model)
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
        self._begin(model, rank, alpha, tuple(dict.fromkeys(targets)), adapters)

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
        _check_free(model)
        parameters = dict(model.named_parameters())
        found = peft_files.read(model.config, parameters, Path(folder))
        adapters: dict[str, Adapter] = {}
        ranks: dict[str, int] = {}
        for part in found.parts:
            ranks[part.place.ours] = max(ranks.get(part.place.ours, 0), part.start + part.rank)
        for name, rank in ranks.items():
            w, shape = parameters[name], model.config.shapes[name]
            wide = torch.promote_types(w.dtype, torch.float32)
            K, N, *rest = shape
            experts = [E for E in rest if E]
            A, B, scale = (
                torch.zeros(*experts, *size, dtype=wide, device=w.device)
                for size in ((K, rank), (rank, N), (rank, N))
            )
            packed = isinstance(shape, Matrix)
            adapters[name] = Adapter(w, w.detach().clone(), nn.Parameter(A), nn.Parameter(B), scale, packed)
        for part in found.parts:
            adapter = adapters[part.place.ours]
            part.put(adapter.A_KR, adapter.B_RN, *(found.tensors[name] for name in part.names))
            assert isinstance(adapter.scale, torch.Tensor)
            part.rows(adapter.A_KR, adapter.scale)[1][..., part.place.column_N] = part.scale
        replaced: dict[str, Replaced] = {}
        for value in found.values:
            name = value.place.ours
            after = replaced.setdefault(name, Replaced(parameters[name], parameters[name].detach().clone()))
            value.place.put(after.base, value.tensor, value.rows)
        lora = cls.__new__(cls)
        rank, alpha = found.settings["r"], found.settings["lora_alpha"]
        targets = tuple(dict.fromkeys(map(_own, adapters)))
        lora._begin(model, rank, alpha, targets, adapters, list(replaced.values()), found)
        for after in lora._replaced:
            after.swap()
        lora.merge()
        return lora

    def _begin(
        self,
        model: Transformer,
        rank: int,
        alpha: float,
        targets: tuple[str, ...],
        adapters: dict[str, Adapter],
        replaced: Sequence[Replaced] = (),
        found: peft_files.Found | None = None,
    ) -> None:
        self.model, self.rank, self.alpha, self.targets = model, rank, alpha, targets
        self.adapters, self._replaced, self._found = adapters, replaced, found
        self._state: Literal["on", "off", "removed"] = "on"
        self._trained = {name: p.requires_grad for name, p in model.named_parameters()}
        for p in model.parameters():
            p.requires_grad_(False)
            p.grad = None
        self._handles: list[Any] = []
        for adapter in adapters.values():
            adapter.w.requires_grad_(True)
            self._handles.append(adapter.w.register_post_accumulate_grad_hook(adapter.pull))
        _adapted.add(model)

    def parameters(self) -> list[nn.Parameter]:
        """A and B of every adapted matrix, for an optimizer."""
        return [p for adapter in self.adapters.values() for p in (adapter.A_KR, adapter.B_RN)]

    def merge(self) -> None:
        """Write round(base + (alpha / rank) A B) into the model, in place, which is what the sampler watches.

        `attach` does so after each step; who writes to A or B otherwise calls it. `MinillmError` while the
        base is in place, and after `remove`.
        """
        self._expect_on("merge")
        for adapter in self.adapters.values():
            adapter.merge()

    def attach(self, optimizer: torch.optim.Optimizer) -> None:
        """Let `merge` follow each step of an optimizer of `parameters()`, until `remove`."""
        self._expect_on("attach")
        self._handles.append(optimizer.register_step_post_hook(lambda *_: self.merge()))

    @contextmanager
    def off(self) -> Iterator[None]:
        """`with lora.off():` the model is the base; after it, whatever happened, the same bits as before.

        Nothing has a gradient inside. The weights are written twice, so a sampler forgets its prefixes and
        may not be in the midst of sampling, and a loss whose forward came before cannot go backward any more
        (autograd says so): ask the base first. May be nested. `MinillmError` after `remove`.
        """
        if self._state == "off":
            yield
            return
        self._expect_on("off")
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
        self._expect_on("remove")
        for handle in self._handles:
            handle.remove()
        for held in self._held():
            if not merge:
                held.swap()
        for name, p in self.model.named_parameters():
            p.requires_grad_(self._trained[name])
        self.adapters.clear()
        self._state = "removed"
        _adapted.discard(self.model)

    def _held(self) -> list[Adapter | Replaced]:
        return [*self.adapters.values(), *self._replaced]

    def _expect_on(self, what: str) -> None:
        if self._state == "off":
            raise MinillmError(f"{what}() inside of off(), while the base is in place; leave that first")
        self._expect_there(what)

    def _expect_there(self, what: str) -> None:
        if self._state == "removed":
            raise MinillmError(f"{what}() of a LoRA that was removed from its model; make another")

    # ---------------------------------------------------------------- files

    def save(self, folder: str | Path) -> None:
        """Write adapter_config.json and adapter_model.safetensors in PEFT's layout.

        Names are those of Hugging Face's checkpoints. Where they keep apart what is one matrix here (q, k and
        v; gate and up), each of theirs gets the one A and its own columns of B. A LoRA `from_folder` is
        written as it was read. Raises `MinillmError` where a file cannot be written, for experts that a
        checkpoint keeps in one tensor, and after `remove`.
        """
        self._expect_there("save")
        folder, parts = Path(folder), self._parts()
        tensors = dict(self._found.tensors) if self._found else {}
        for part in parts:
            adapter = self.adapters[part.place.ours]
            tensors |= zip(part.names, part.get(adapter.A_KR, adapter.B_RN), strict=True)
        weights.write_atomically(
            folder / ADAPTER_NAME, partial(save_file, tensors, metadata={"format": "pt"})
        )
        settings = self._found.settings if self._found else self._settings(parts)
        text = json.dumps(settings, indent=2) + "\n"
        weights.write_atomically(folder / CONFIG_NAME, lambda temp: temp.write_text(text))

    def load(self, folder: str | Path) -> None:
        """Copy an adapter in PEFT's layout into A and B, strictly, and merge; an error leaves all as it was.

        Raises `MinillmError`, which names the tensors or the key, for missing, extra or mis-shaped tensors,
        another rank or alpha, DoRA and other kinds, and modules that are one matrix here and have an A each,
        which `from_folder` can read; as `save` does for experts; while the base is in place and after
        `remove`.
        """
        self._expect_on("load")
        folder, parts = Path(folder), self._parts()
        settings = self._found.settings if self._found else self._settings(parts)
        shared = () if self._found else parts
        peft_files.check_settings(folder / CONFIG_NAME, settings, shared)
        path = peft_files.adapter_file(folder)
        factors = {name for part in parts for name in part.names}
        kept = {n: x for n, x in self._found.tensors.items() if n not in factors} if self._found else {}
        found = {name: held for name, held in weights._inspect(path).items() if name not in kept}
        peft_files.check(path, parts, found, f"this LoRA, whose targets are {', '.join(self.targets)},")
        tensors = peft_files.load(path)
        peft_files.check_tensors(path, tensors, shared, kept)
        with torch.no_grad():
            for part in parts:
                adapter = self.adapters[part.place.ours]
                part.put(adapter.A_KR, adapter.B_RN, *(tensors[name] for name in part.names))
        self.merge()

    def _parts(self) -> list[peft_files.Part]:
        """All of Hugging Face's modules that are adapted."""
        if self._found is not None:
            return self._found.parts
        ranks = dict.fromkeys(self.adapters, self.rank)
        return peft_files.shared_parts(self.model.config, ranks, self.alpha / self.rank)

    def _settings(self, parts: Sequence[peft_files.Part]) -> dict[str, Any]:
        return {
            **PLAIN,
            "task_type": "CAUSAL_LM",
            "base_model_name_or_path": None,
            "r": self.rank,
            "lora_alpha": self.alpha,
            "lora_dropout": 0.0,
            "fan_in_fan_out": any(not part.place.transposed for part in parts),
            # Below a layer, since a last name can be another matrix's too (c_proj, gate_proj).
            "target_modules": sorted({_below_layer(part) for part in parts}),
            "inference_mode": True,
        }


def _check_free(model: Transformer) -> None:
    """Raise for a model that no LoRA can be put on."""
    if bits := model.precision.bits:
        raise MinillmError(
            f"weights of {bits} bits cannot hold a merged LoRA; load the model in fp32 or bf16"
        )
    if model in _adapted:
        raise MinillmError("the model has a LoRA already; end that with remove() before another")


def _own(name: str) -> str:
    """A parameter's name in its layer."""
    return name.rpartition(".")[2]


def _below_layer(part: peft_files.Part) -> str:
    layer = part.place.ours.split(".")[1]
    return part.module.partition(f".{layer}.")[2]
