"""What the operations can be asked for, as values that the model passes on from its config."""

from __future__ import annotations

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Norm:
    """RMSNorm, or LayerNorm where `layer`, times `offset` + w; `dtype` is the one it runs in (None: x's)."""

    eps: float
    layer: bool = False
    offset: float = 0.0
    dtype: torch.dtype | None = None


@dataclass(frozen=True)
class Scores:
    """How scores are made of products: scaled, capped (softcap * tanh(s / softcap)), kept in a window.

    A query sees the last `window` keys, its own among them; 0 for all. The oracle turns queries and keys
    from `rope_dtype`, and its softmax runs in `softmax_dtype` (None: the dtype there is).
    """

    scale: float
    window: int = 0
    softcap: float | None = None
    rope_dtype: torch.dtype | None = None
    softmax_dtype: torch.dtype | None = None


@dataclass(frozen=True)
class Activation:
    """silu, gelu (by erf), gelu_tanh, relu, relu2 (its square), sigmoid or tanh.

    `limit` clamps gpt_oss's gated product.
    """

    name: str = "silu"
    gated: bool = True
    limit: float | None = None


SWIGLU = Activation()
SIGMOID, TANH = (Activation(name, gated=False) for name in ("sigmoid", "tanh"))
