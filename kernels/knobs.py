"""What the operations can be asked for, as values that the model passes on from its config."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import factorial
from typing import Literal, TypeVar

import torch


@dataclass(frozen=True)
class Norm:
    """RMSNorm, or LayerNorm where `layer`, times `offset` + w; `dtype` is the one it runs in (None: x's)."""

    eps: float
    layer: bool = False
    offset: float = 0.0
    dtype: torch.dtype | None = None


# Numbers of query heads and of key heads, and their dim.
Heads = tuple[int, int, int]
# The widths of all queries and of all keys, the sizes of their pieces (a head, or all), and the norm.
PieceNorms = tuple[tuple[int, int], tuple[int, int], Norm]
# (w, grad, m, v, carry or None), as AdamW takes them.
Weight = tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor | None]


# How transformers rounds a slope times a distance, of whatever dtype a model is: to float32, counting
# positions from the first key or from the last one, or to bfloat16, from the first key and before the scale.
AlibiRounding = Literal["", "first", "last", "bfloat16"]


Position = TypeVar("Position", int, torch.Tensor)


def first_seen(position: Position, window: int) -> Position:
    """Find the first key that the query at a position sees; below 0 where its window begins before."""
    if window < 0:
        return position - position % -window
    return position - window + 1 if window else position * 0


@dataclass(frozen=True)
class Scores:
    """How scores are made of products: scaled, capped (softcap * tanh(s / softcap)), tilted, in a window.

    Tilted by `slopes_H`, in float32 (ALiBi; Press et al., 2022): after the cap, the score of the query at
    position i on the key at j gets slope * (j - i). Between near positions that is a small number however
    long the context, and it is one product and one addition for every chunk. A query sees the last `window`
    keys, its own among them; 0 for all, and -n for those of its own chunk of n positions (Llama 4, 2025),
    counted from position 0. The oracle rotates queries and keys from `rope_dtype`, its softmax runs in
    `softmax_dtype` (None: the dtype there is), and it follows `alibi_rounding`.
    """

    scale: float
    window: int = 0
    softcap: float | None = None
    rope_dtype: torch.dtype | None = None
    softmax_dtype: torch.dtype | None = None
    slopes_H: torch.Tensor | None = field(default=None, compare=False)
    alibi_rounding: AlibiRounding = ""


@dataclass(frozen=True)
class Activation:
    """silu, gelu (by erf), gelu_tanh, gelu_bloom, relu, relu2 (its square), sigmoid or tanh.

    gelu_bloom is gelu_tanh with a constant of eight digits, which only float64 tells apart.
    `limit` clamps gpt_oss's gated product.
    """

    name: str = "silu"
    gated: bool = True
    limit: float | None = None


# xIELU's slope at zero, and the number above which its exponential stays what it is there.
XIELU_BETA, XIELU_EPS = 0.5, -1e-6
# 1/2!, 1/3!, ...: (expm1(z) - z) / z^2 is the sum of these times powers of z; for z from -1 to 0, to float32.
XIELU_SERIES = tuple(1 / factorial(k) for k in range(2, 13))

SIGMOID, TANH = (Activation(name, gated=False) for name in ("sigmoid", "tanh"))
