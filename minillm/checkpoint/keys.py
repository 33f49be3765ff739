"""Tensors under Hugging Face's names and in its layout, to and from ours, by the families' key tables.

Matrices are transposed and packed into panels (`kernels.panels`). Some outputs change places on the way:
rope of interleaved pairs becomes the half-split one, and a head's rotated dimensions come first. All of it
is written down in one direction, from theirs to ours; export is its inverse.

Legend: K inputs, N outputs, E experts, H query heads, K kv heads, D head dim.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import torch

from kernels.ops.packing import pack_rows, quantize_rows
from kernels.panels import pack, unpack
from minillm.checkpoint import mxfp4
from minillm.checkpoint.families import FAMILIES
from minillm.checkpoint.naming import ROTARY, Naming
from minillm.checkpoint.safetensors import Checkpoint
from minillm.checkpoint.stored import stored_as
from minillm.checkpoint.tensor_names import KEYS, Key
from minillm.checkpoint.wrappers import PREFIX, WRAPPERS
from minillm.model.config import Matrix, ModelConfig, Shape


class Place(NamedTuple):
    """Where one of Hugging Face's tensors stands in a parameter of ours.

    Attributes:
        ours, shape: the parameter, and its shape.
        column_N: which of our outputs each of theirs is.
        expert: whose it is, or None for all there are.
        transposed: a matrix is stored (N, K).
        row: a vector is stored as a matrix of one row.
    """

    ours: str
    shape: Shape
    column_N: torch.Tensor
    expert: int | None = None
    transposed: bool = False
    row: bool = False

    @property
    def name(self) -> str:
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
            size = (N, self.shape.K) if self.transposed else (self.shape.K, N)
            return torch.Size((self.stacked, *size) if self.stacked else size)
        return torch.Size((1, N) if self.row else (*self.shape[self.expert is not None : -1], N))

    def put(self, parameter: torch.Tensor, tensor: torch.Tensor, rows: list[int] | None = None) -> None:
        """Write theirs, or some of its rows alone, into ours, rounded."""
        whole = unpack(parameter, self.shape.N).clone() if isinstance(self.shape, Matrix) else parameter
        target = whole if self.expert is None else whole[self.expert]
        values = tensor.to(whole).transpose(-1, -2) if self.transposed else tensor.to(whole)
        if rows is None:
            target[..., self.column_N] = values
        elif self.transposed:
            target[..., self.column_N[rows]] = values
        else:
            target[rows] = values
        if isinstance(self.shape, Matrix):
            parameter.copy_(pack(whole))


def places(config: ModelConfig) -> dict[str, Place]:
    """Map the name of every tensor of a checkpoint to its place; experts in 4 bits count as one tensor."""
    result: dict[str, Place] = {}
    for ours, shape, entry in _rows(config):
        order = _order(config, ours, entry)
        column_N = torch.arange(_outputs(shape)) if order is None else order.argsort()
        transposed = isinstance(shape, Matrix) and not entry.inputs_first
        for name, cut_N in zip(entry.names, column_N.split(_widths(config, shape, entry)), strict=True):
            place = Place(ours, shape, cut_N, None, transposed, entry.order == "row")
            if "{e}" in name:
                for e in range(_experts(shape)):
                    result[name.replace("{e}", str(e))] = place._replace(expert=e)
            else:
                result[name] = place
    return result


def hf_shapes(config: ModelConfig) -> dict[str, torch.Size]:
    """Hugging Face name -> shape of every tensor of a model of this config."""
    shapes: dict[str, torch.Size] = {}
    for name, place in places(config).items():
        if place.stacked and stored_as(config).mxfp4:
            parts = mxfp4.stored(place.stacked, len(place.column_N), place.shape[0])
            shapes |= {f"{name}_{part}": size for part, size in parts.items()}
        else:
            shapes[name] = place.size
    return shapes


def naming(config: ModelConfig) -> Naming:
    """Tell what names in a checkpoint of this config mean, and what in it is not read."""
    family, stored = FAMILIES[config.model_type], stored_as(config)
    keys = KEYS | family.keys
    embed, head = (keys[ours].names[0] for ours in ("embed", "head"))
    base = f"{embed.partition('.')[0]}."
    skipped = {"rotary tables": ROTARY}
    if family.masks:
        skipped["mask buffers"] = re.compile(rf"\.{family.masks}\.(?:masked_)?bias$")
    respelled: list[tuple[re.Pattern[str], str]] = []
    if stored.extra_layers:
        L = config.num_layers
        layers = "|".join(str(i) for i in range(L, L + stored.extra_layers))
        first = re.escape(keys["o"].names[0].partition("{i}")[0])
        skipped["multi-token prediction"] = re.compile(
            rf"^(?:{first}(?:{layers})|(?:{re.escape(base)})?mtp(?:_\w+)?)\."
        )
    if stored.fp8 is not None:
        skipped["scales of activations"] = re.compile(r"[._](?:activation|input)_scale$")
    if stored.wrapper:
        wrapper = WRAPPERS[stored.wrapper]
        towers = "|".join(wrapper.towers)
        skipped["other towers"] = re.compile(rf"^(?:model\.)?(?:{towers})(?:\.|$)")
        spellings = [(re.compile(f"^{theirs}"), ours) for theirs, ours in wrapper.respelled.items()]
        respelled = [(PREFIX, ""), *spellings]
    return Naming(
        base=base,
        respelled=respelled,
        skipped=skipped,
        constants=constants(config),
        copies={head: embed} if config.tie_word_embeddings else {},
        fp8=stored.fp8,
    )


def constants(config: ModelConfig) -> dict[str, float]:
    """Name the numbers that a checkpoint holds beside weights, and that are not learned, and their values."""
    return {
        name.replace("{i}", str(i)): value
        for name, value in FAMILIES[config.model_type].constants.items()
        for i in range(config.num_layers)
    }


def from_hf(config: ModelConfig, parameters: Mapping[str, torch.Tensor], checkpoint: Checkpoint) -> None:
    """Copy a checkpoint into our parameters, rounding to their dtype; a block of rows is held at a time."""
    for ours, shape, entry in _rows(config):
        parameter, order = parameters[ours], _order(config, ours, entry)
        if isinstance(shape, Matrix):
            scales = parameters.get(f"{ours}_scales")
            for e in range(max(1, shape.experts)):
                rows = _matrix_rows(config, shape, entry, checkpoint, e)
                if order is not None:  # few, and small: q, k and v
                    rows = iter([(0, torch.cat([block for _, block in rows])[order])])
                write = partial(pack_rows, parameter[e] if shape.experts else parameter)
                if scales is not None:
                    panels = (parameter[e], scales[e]) if shape.experts else (parameter, scales)
                    write = partial(quantize_rows, *panels)
                for start, block in rows:
                    write(block, start)
        elif shape in (config.shapes.get("embed"), config.shapes.get("positions")):
            for start, block in checkpoint.blocks(entry.names[0]):
                parameter[start : start + len(block)] = block.to(parameter.dtype)
        else:
            vectors = [
                torch.stack([checkpoint[name.replace("{e}", str(e))] for e in range(shape[0])])
                if "{e}" in name
                else checkpoint[name]
                for name in entry.names
            ]
            whole = torch.cat(vectors, dim=-1).reshape(shape)
            parameter.copy_(whole if order is None else whole[..., order])
    checkpoint.close()


def _matrix_rows(
    config: ModelConfig, shape: Matrix, entry: Key, checkpoint: Checkpoint, e: int
) -> Iterator[tuple[int, torch.Tensor]]:
    """Go through the tensors of a matrix, or of expert e's: (first output, rows (N, K))."""
    place = 0
    for name, width in zip(entry.names, _widths(config, shape, entry), strict=True):
        if "{e}" in name or (not shape.experts and not entry.inputs_first):
            for start, block in checkpoint.blocks(name.replace("{e}", str(e))):
                yield place + start, block
        elif shape.experts and stored_as(config).mxfp4:
            parts = (checkpoint.part(f"{name}_{part}", e) for part in ("blocks", "scales"))
            yield place, mxfp4.dequantize(*parts)
        else:
            stored = checkpoint.part(name, e) if shape.experts else checkpoint[name]
            yield place, stored.t() if entry.inputs_first else stored
        place += width


def to_hf(config: ModelConfig, parameters: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Copy our parameters (or their gradients) to Hugging Face's names and its layout."""
    tensors = {}
    for ours, shape, entry in _rows(config):
        whole = parameters[ours].detach()
        if isinstance(shape, Matrix):
            whole = unpack(whole, shape.N)
        if (order := _order(config, ours, entry)) is not None:
            whole = whole[..., order.argsort()]
        sizes = _widths(config, shape, entry)
        for name, part in zip(entry.names, whole.split(sizes, dim=-1), strict=True):
            if isinstance(shape, Matrix) and not entry.inputs_first:
                part = part.transpose(-1, -2)
            if "{e}" in name:
                for e in range(_experts(shape)):
                    tensors[name.replace("{e}", str(e))] = part[e].contiguous()
            else:
                part = part.unsqueeze(0) if entry.order == "row" else part
                tensors[name] = part.clone(memory_format=torch.contiguous_format)
    return tensors


def _rows(config: ModelConfig) -> Iterator[tuple[str, Shape, Key]]:
    """Go through all parameters: (our name, the shape, the key with the layer filled in)."""
    family = FAMILIES[config.model_type]
    keys = KEYS | family.keys | family.layouts.get(stored_as(config).layout or config.layout, {})
    for ours, shape in config.shapes.items():
        layer, name = "", ours
        if ours.startswith("layers."):
            _, layer, name = ours.split(".")
        if ours == "head" and config.tie_word_embeddings:
            name = "embed"
        if (entry := keys.get(name)) is None:  # a bias stands beside its weight
            if (weight := keys.get(name.removesuffix("_bias"))) is None:
                raise KeyError(f"the row of {config.model_type} in families.py names no tensor for {name!r}")
            entry = Key(tuple(n.removesuffix(".weight") + ".bias" for n in weight.names), order=weight.order)
        yield ours, shape, replace(entry, names=tuple(n.replace("{i}", layer) for n in entry.names))


def _experts(shape: Shape) -> int:
    return shape.experts if isinstance(shape, Matrix) else shape[0]


def _outputs(shape: Shape) -> int:
    return shape.N if isinstance(shape, Matrix) else shape[-1]


def _widths(config: ModelConfig, shape: Shape, entry: Key) -> tuple[int, ...]:
    """Count the outputs of each tensor that is joined into one of our parameters."""
    H, K, D = config.heads
    if len(entry.names) == 3:
        return (H * D, K * D, K * D)
    return (_outputs(shape) // len(entry.names),) * len(entry.names)


def _order(config: ModelConfig, ours: str, entry: Key) -> torch.Tensor | None:
    """Tell where each of our outputs stands among theirs; None where it is its own place."""
    name = ours.rpartition(".")[2].removesuffix("_bias")
    H, K, D = config.heads
    order: torch.Tensor | None = None
    if entry.order == "fused_heads":
        heads = torch.arange((H + 2 * K) * D).view(K, H // K + 2, D)
        order = torch.cat([part.flatten() for part in heads.split((H // K, 1, 1), dim=1)])
    elif entry.order == "pairs":
        order = torch.arange(_outputs(config.shapes[ours])).view(-1, 2).t().flatten()
    if name not in _ROTATED or not config.ropes:
        return order
    rotated = _ROTATED[name](config)
    if order is None:
        return None if torch.equal(rotated, torch.arange(len(rotated))) else rotated
    return order[rotated]


def _heads(config: ModelConfig, count: int, before: int = 0) -> torch.Tensor:
    """Map our places in some heads to theirs, where `before` dimensions without rope come first."""
    D, rotated = config.heads[2], _rotated(config)
    rest = torch.arange(D)
    head_D = torch.cat((before + rotated, rest[:before], rest[before + len(rotated) :]))
    return torch.arange(count * D).view(count, D)[:, head_D].flatten()


def _rotated(config: ModelConfig) -> torch.Tensor:
    """Map our places in the dimensions that rope rotates to theirs."""
    rotated = torch.arange(config.ropes[0].dim)
    if config.rope_reversed:  # the halves of a pair change places
        return rotated.view(2, -1).flip(0).flatten()
    return rotated.view(-1, 2).t().flatten() if config.rope_interleaved else rotated


def _qkv(config: ModelConfig) -> torch.Tensor:
    H, K, D = config.heads
    return torch.cat((_heads(config, H + K), torch.arange((H + K) * D, (H + 2 * K) * D)))


def _latent_q(config: ModelConfig) -> torch.Tensor:
    assert config.latent is not None
    return _heads(config, config.num_heads, config.latent.nope_dim)


def _latent_kv(config: ModelConfig) -> torch.Tensor:
    assert config.latent is not None
    rank = config.latent.kv_rank
    return torch.cat((torch.arange(rank), rank + _rotated(config)))


# The norms of queries and keys are over one head each, or over all of them.
_ROTATED: dict[str, Callable[[ModelConfig], torch.Tensor]] = {
    "qkv": _qkv,
    "q": _latent_q,
    "q_b": _latent_q,
    "kv_a": _latent_kv,
    "q_norm": lambda config: _heads(config, config.num_heads if config.qk_norm == "full" else 1),
    "k_norm": lambda config: _heads(config, config.num_kv_heads if config.qk_norm == "full" else 1),
}
