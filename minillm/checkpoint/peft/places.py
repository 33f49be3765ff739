"""Where the tensors and modules that PEFT adapts stand in our parameters.

PEFT sees a model of transformers, which calls some modules otherwise than checkpoints do, and since version 5
keeps all experts of a layer in one parameter.

Legend: K inputs, N outputs, E experts.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch

from kernels.panels import pack, unpack
from minillm.checkpoint import keys
from minillm.model.config import Matrix, ModelConfig, Shape

# Parts of names in checkpoints, and what transformers calls the same in a model.
LIVE = (
    ("embed_out.", "lm_head."),
    (".block_sparse_moe.gate.", ".mlp.gate."),
    (".block_sparse_moe.gate.", ".mlp.router."),
    (".block_sparse_moe.router.layer.", ".block_sparse_moe.router."),
    (".mlp.router.gate.", ".mlp.gate."),
    (".mlp.shared_mlp.", ".mlp.shared_experts."),
)
# How the names of a text model's layers start inside of another model, and then those of its head.
INSIDE = {"model.language_model.": "", "language_model.model.": "language_model."}
# What transformers calls the parameters that hold all experts, in the order in which PEFT wraps them.
STACKED = {"experts_gate_up": "gate_up_proj", "experts_down": "down_proj"}
# Model types whose experts transformers keeps as (K, N) and does not say so, which PEFT takes for (N, K).
FLIPPED = frozenset({"llama4_text"})


class Place(NamedTuple):
    """Where one of Hugging Face's tensors stands in a parameter of ours.

    Attributes:
        ours, shape: the parameter, and its shape.
        column_N: which of our outputs each of theirs is.
        expert: whose it is, or None for all there are.
        transposed: stored (N, K).
    """

    ours: str
    shape: Shape
    column_N: torch.Tensor
    expert: int | None = None
    transposed: bool = False

    @property
    def own(self) -> str:
        """The parameter's name in its layer."""
        return self.ours.rpartition(".")[2]

    @property
    def stacked(self) -> int:
        """How many experts' matrices the one tensor is; 0 for none."""
        return self.shape.experts if isinstance(self.shape, Matrix) and self.expert is None else 0

    @property
    def size(self) -> torch.Size:
        """The shape of theirs."""
        N = len(self.column_N)
        if isinstance(self.shape, Matrix):
            one = (N, self.shape.K) if self.transposed else (self.shape.K, N)
            return torch.Size((self.stacked, *one) if self.stacked else one)
        return torch.Size((*self.shape[self.expert is not None : -1], N))

    def put(self, parameter: torch.Tensor, tensor: torch.Tensor, rows: list[int] | None = None) -> None:
        """Write theirs, or some of its rows alone, into ours, rounded."""
        matrix = isinstance(self.shape, Matrix)
        whole = unpack(parameter, self.shape.N).clone() if isinstance(self.shape, Matrix) else parameter
        target = whole if self.expert is None else whole[self.expert]
        values = tensor.to(whole).transpose(-1, -2) if self.transposed else tensor.to(whole)
        if rows is None:
            target[..., self.column_N] = values
        elif self.transposed:
            target[..., self.column_N[rows]] = values
        else:
            target[rows] = values
        if matrix:
            parameter.copy_(pack(whole))


def places(config: ModelConfig) -> dict[str, Place]:
    """Name of every tensor of a checkpoint -> its place."""
    result: dict[str, Place] = {}
    for ours, shape, entry in keys._rows(config):
        order = keys._order(config, ours, entry)
        column_N = torch.arange(keys._outputs(shape)) if order is None else order.argsort()
        cuts = column_N.split(keys._widths(config, shape, entry))
        for name, cut_N in zip(entry.names, cuts, strict=True):
            place = Place(ours, shape, cut_N, None, isinstance(shape, Matrix) and not entry.inputs_first)
            if "{e}" in name:
                for e in range(keys._experts(shape)):
                    result[name.replace("{e}", str(e))] = place._replace(expert=e)
            else:
                result[name] = place
    return result


def inside(stored: Mapping[str, Place], prefix: str) -> dict[str, Place]:
    """The places of a text model that is a part of another one, under its names there."""
    return {
        prefix + name.removeprefix("model.") if name.startswith("model.") else INSIDE[prefix] + name: place
        for name, place in stored.items()
    }


def aliases(name: str) -> list[str]:
    """What a checkpoint's tensor is called: there, and in a model of transformers."""
    return [name, *(name.replace(part, other) for part, other in LIVE if part in name)]


def stacks(stored: Mapping[str, Place]) -> dict[str, Place]:
    """Name of every parameter of transformers that holds all experts -> its place."""
    found: dict[str, Place] = {}
    for name, place in stored.items():
        if place.own not in STACKED or place.expert not in (None, 0):
            continue
        block, inner, _ = name.partition(".experts.")
        if not inner:  # block.input_linear.weight
            block = name.rsplit(".", 2)[0]
        elif place.expert is not None:
            block = block.replace(".block_sparse_moe", ".mlp")
        live = f"{block}.experts.{STACKED[place.own]}"
        before = [found[live].column_N] if live in found else []
        found[live] = place._replace(expert=None, column_N=torch.cat([*before, place.column_N]))
    return found
