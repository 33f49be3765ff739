"""Low-rank adapters (LoRA: Hu et al., 2021) as a reparametrisation of the live weights.

A matrix becomes base + (alpha / rank) A B, and that sum, rounded to the weights' dtype, is written into the
model's own parameter. So there is no second forward: the trainer and the sampler read the same merged
weights, with equal bits, and nothing is copied to serve them. What is small is what the optimizer sees: the
factors, their gradients and their moments.

A frozen clone of each adapted matrix is kept beside it, in its dtype: the reference model (`LoRA.off`), and
what makes every merge start from the same bits.

Legend: K inputs, R rank, N outputs, E experts, P panels, W panel width.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple
from weakref import WeakSet

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from kernels.matmul import pack, unpack
from minillm import keys, weights
from minillm.config import Matrix
from minillm.errors import MinillmError
from minillm.model import Transformer

CONFIG_NAME = "adapter_config.json"
ADAPTER_NAME = "adapter_model.safetensors"
# What PEFT puts before the name of a module.
PREFIX = "base_model.model."
# Keys of adapter_config.json under which an adapter means something else, and what they must be.
PLAIN: dict[str, Any] = {
    "peft_type": "LORA",
    "use_rslora": False,
    "use_dora": False,
    "rank_pattern": {},
    "alpha_pattern": {},
}

_adapted: WeakSet[Transformer] = WeakSet()


@dataclass(eq=False)
class Adapter:
    """One matrix's base and factors; experts' factors have a leading E.

    Attributes:
        w: the model's parameter, in panels: base + scale * A B, rounded to its dtype.
        base: what `w` was, in its dtype; while the base is in place, what was merged.
        A_KR, B_RN: float32.
        scale: alpha / rank.
    """

    w: nn.Parameter
    base: torch.Tensor
    A_KR: nn.Parameter
    B_RN: nn.Parameter
    scale: float

    @property
    def _wide(self) -> torch.dtype:
        return torch.promote_types(self.w.dtype, torch.float32)

    @torch.no_grad()
    def merge(self) -> None:
        """w <- round(base + scale * A B), summed in float32 (float64 for a model of float64)."""
        # Panels of B after A are panels of the product, zero past column N as B's are.
        change = self.A_KR.to(self._wide).unsqueeze(-3) @ pack(self.B_RN.to(self._wide))
        self.w.copy_(change.mul_(self.scale).add_(self.base))

    @torch.no_grad()
    def swap(self) -> None:
        """Exchange `w` and `base`, of which the merged one alone asks for a gradient.

        No product is computed again, which could round in another way.
        """
        held = self.w.clone()
        self.w.copy_(self.base)
        self.base.copy_(held)
        self.w.requires_grad_(not self.w.requires_grad)

    @torch.no_grad()
    def pull(self, w: torch.Tensor) -> None:
        """Add what the gradient of `w` says to those of A and B, and let go of it."""
        assert w.grad is not None
        dw_KN = unpack(w.grad, self.B_RN.shape[-1]).to(self._wide).mul_(self.scale)
        w.grad = None
        _accumulate(self.A_KR, dw_KN @ self.B_RN.to(self._wide).mT)
        _accumulate(self.B_RN, self.A_KR.to(self._wide).mT @ dw_KN)


def _accumulate(p: nn.Parameter, gradient: torch.Tensor) -> None:
    gradient = gradient.to(p.dtype)
    p.grad = gradient if p.grad is None else p.grad.add_(gradient)


class _Part(NamedTuple):
    """One of Hugging Face's matrices: the columns `column_N` of one of ours, or of one of its experts."""

    module: str
    ours: str
    A_KR: torch.Tensor
    B_RN: torch.Tensor
    column_N: torch.Tensor
    inputs_first: bool

    @property
    def names(self) -> tuple[str, str]:
        """Of A and B in an adapter's file."""
        return f"{PREFIX}{self.module}.lora_A.weight", f"{PREFIX}{self.module}.lora_B.weight"

    @property
    def shapes(self) -> tuple[torch.Size, torch.Size]:
        """Of A, (R, K), and B, (N, R), there."""
        return self.A_KR.t().shape, torch.Size((len(self.column_N), self.B_RN.shape[0]))


class LoRA:
    """Adapters on a live model's matrices, until `remove`.

    Every other parameter stops asking for a gradient meanwhile, and gradients that were there are dropped.
    The backward pass turns the gradient of each adapted matrix into those of its factors and frees it at
    once, so that one full gradient lives at a time. In memory: the base, as large as the adapted matrices,
    and 16 bytes for each number of the factors under AdamW.

    Args:
        model: adapted in place; a sampler over it serves what is merged.
        rank: of A B.
        alpha: the product is multiplied by alpha / rank.
        targets: matrices by their own name in a layer, as in `ModelConfig.shapes`: qkv, o, gate_up, down, up
            (not gated), experts_gate_up, experts_down, shared_gate_up, q_a, q_b, kv_a, kv_b, ...
        seed: of A, which is drawn uniformly from +-1 / sqrt(K) (Kaiming, as the paper's code and PEFT do); B
            is zero, so the model is at first the base, bit for bit.

    Raises `MinillmError` for a rank below 1, targets that the model does not have, weights of whole numbers,
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
        if bits := model.precision.bits:
            raise MinillmError(
                f"weights of {bits} bits cannot hold a merged LoRA; load the model in fp32 or bf16"
            )
        if model in _adapted:
            raise MinillmError("the model has a LoRA already; end that with remove() before another")
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
        self.model, self.rank, self.alpha, self.targets = model, rank, alpha, tuple(dict.fromkeys(targets))
        self._state: Literal["on", "off", "removed"] = "on"
        parameters = dict(model.named_parameters())
        self._trained = {name: p.requires_grad for name, p in parameters.items()}
        for p in parameters.values():
            p.requires_grad_(False)
            p.grad = None
        generator = torch.Generator().manual_seed(seed)
        self.adapters: dict[str, Adapter] = {}
        self._handles: list[Any] = []
        for name, shape in matrices.items():
            if _own(name) not in targets:
                continue
            w, experts = parameters[name], (shape.experts,) if shape.experts else ()
            A_KR = torch.empty(*experts, shape.K, rank)
            A_KR.uniform_(-(shape.K**-0.5), shape.K**-0.5, generator=generator)
            B_RN = torch.zeros(*experts, rank, shape.N)
            A, B = (nn.Parameter(x.to(w.device)) for x in (A_KR, B_RN))
            adapter = self.adapters[name] = Adapter(w, w.detach().clone(), A, B, alpha / rank)
            w.requires_grad_(True)
            self._handles.append(w.register_post_accumulate_grad_hook(adapter.pull))
        _adapted.add(model)

    def parameters(self) -> list[nn.Parameter]:
        """A and B of every adapted matrix, float32, for an optimizer."""
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
            for adapter in self.adapters.values():
                adapter.swap()
                back.callback(adapter.swap)
            yield

    def remove(self, merge: bool) -> None:
        """End it: the model keeps the merged weights or gets its base back, and asks for gradients as before.

        `MinillmError` while the base is in place, and after another `remove`.
        """
        self._expect_on("remove")
        for handle in self._handles:
            handle.remove()
        for adapter in self.adapters.values():
            if not merge:
                adapter.swap()
        for name, p in self.model.named_parameters():
            p.requires_grad_(self._trained[name])
        self.adapters.clear()
        self._state = "removed"
        _adapted.discard(self.model)

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
        v; gate and up), each of theirs gets the one A and its own columns of B. Raises `MinillmError` where a
        file cannot be written, for experts that a checkpoint keeps in one tensor, and after `remove`.
        """
        self._expect_there("save")
        folder, parts = Path(folder), list(self._parts())
        tensors: dict[str, torch.Tensor] = {}
        for part in parts:
            pair = part.A_KR.t(), part.B_RN[:, part.column_N].t()
            for name, x in zip(part.names, pair, strict=True):
                # A copy of each: a file takes no two names of one memory.
                tensors[name] = x.detach().clone(memory_format=torch.contiguous_format)
        weights.write_atomically(
            folder / ADAPTER_NAME, partial(save_file, tensors, metadata={"format": "pt"})
        )
        settings = {
            **PLAIN,
            "task_type": "CAUSAL_LM",
            "base_model_name_or_path": None,
            "r": self.rank,
            "lora_alpha": self.alpha,
            "lora_dropout": 0.0,
            "bias": "none",
            "fan_in_fan_out": any(part.inputs_first for part in parts),
            # Below a layer, since a last name can be another matrix's too (c_proj, gate_proj).
            "target_modules": sorted({_below_layer(part) for part in parts}),
            "inference_mode": True,
        }
        text = json.dumps(settings, indent=2) + "\n"
        weights.write_atomically(folder / CONFIG_NAME, lambda temp: temp.write_text(text))

    def load(self, folder: str | Path) -> None:
        """Copy an adapter in PEFT's layout into A and B, strictly, and merge; an error leaves all as it was.

        Raises `MinillmError`, which names the tensors or the key, for missing, extra or mis-shaped tensors,
        another rank or alpha, DoRA and other kinds, and modules that are one matrix here and have an A each;
        as `save` does for experts; while the base is in place and after `remove`.
        """
        self._expect_on("load")
        folder, parts = Path(folder), list(self._parts())
        self._check_config(folder / CONFIG_NAME)
        path = folder / ADAPTER_NAME
        expected = {
            name: shape for part in parts for name, shape in zip(part.names, part.shapes, strict=True)
        }
        found = weights._inspect(path)
        own = f"this LoRA, whose targets are {', '.join(self.targets)},"
        weights._refuse(path, f"lacks tensors of {own}", expected.keys() - found.keys())
        weights._refuse(path, f"has tensors that {own} has not", found.keys() - expected.keys())
        problems = {
            f"{name} ({dtype}, {list(shape)}; expected {list(expected[name])})"
            for name, (dtype, shape) in found.items()
            if dtype not in weights._FLOATS or shape != expected[name]
        }
        weights._refuse(path, f"has tensors that do not fit {own}", problems)
        tensors = load_file(path)
        first: dict[str, _Part] = {}
        for part in parts:
            other = first.setdefault(part.ours, part)
            if not torch.equal(tensors[part.names[0]], tensors[other.names[0]]):
                raise MinillmError(
                    f"{path}: {other.module} and {part.module} have a lora_A each, but are one matrix here "
                    f"({part.ours}), which has one for both; merge the adapter into its model with PEFT's "
                    "merge_and_unload(), save that, and load it with load_model"
                )
        with torch.no_grad():
            for part in parts:
                A_RK, B_NR = (tensors[name] for name in part.names)
                part.A_KR.copy_(A_RK.t())
                part.B_RN[:, part.column_N] = B_NR.t().to(part.B_RN)
        self.merge()

    def _check_config(self, path: Path) -> None:
        try:
            settings = json.loads(path.read_bytes())
            given = {key: settings.get(key) or plain for key, plain in PLAIN.items()}
            rank, alpha = int(settings["r"]), float(settings["lora_alpha"])
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise MinillmError(f"{path} is not the config of an adapter of PEFT's: {error!r}") from error
        for key, plain in PLAIN.items():
            if given[key] != plain:
                raise MinillmError(
                    f"{path}: {key} is {given[key]!r}, and only plain LoRA ({plain!r}) can be loaded; merge "
                    "the adapter into its model with PEFT's merge_and_unload() and load that"
                )
        if (rank, alpha) != (self.rank, self.alpha):
            raise MinillmError(
                f"{path} has rank {rank} and alpha {alpha:g}, this LoRA {self.rank} and {self.alpha:g}; make "
                f"it as LoRA(model, rank={rank}, alpha={alpha:g})"
            )

    def _parts(self) -> Iterator[_Part]:
        """All of Hugging Face's matrices that are adapted; their A and B share the adapters' memory."""
        config = self.model.config
        for name, shape, entry in keys._rows(config):
            if (adapter := self.adapters.get(name)) is None:
                continue
            assert isinstance(shape, Matrix)
            if shape.experts and "{e}" not in entry.names[0]:
                raise MinillmError(
                    f"{name}: a checkpoint of {config.model_type} keeps all experts in one tensor, "
                    f"{entry.names[0]}, and PEFT has no modules for them; use remove(merge=True) and "
                    "save_model, or leave them out of the targets"
                )
            order = keys._order(config, name, entry)
            column_N = torch.arange(shape.N) if order is None else order.argsort()
            cuts = column_N.split(keys._widths(config, shape, entry))
            for e in range(max(1, shape.experts)):
                pair = (adapter.A_KR, adapter.B_RN)
                A_KR, B_RN = (x[e] for x in pair) if shape.experts else pair
                ours = f"{name}[{e}]" if shape.experts else name
                for theirs, cut_N in zip(entry.names, cuts, strict=True):
                    module = theirs.removesuffix(".weight").replace("{e}", str(e))
                    yield _Part(module, ours, A_KR, B_RN, cut_N, entry.inputs_first)


def _own(name: str) -> str:
    """A parameter's name in its layer."""
    return name.rpartition(".")[2]


def _below_layer(part: _Part) -> str:
    layer = part.ours.split(".")[1]
    return part.module.partition(f".{layer}.")[2]
