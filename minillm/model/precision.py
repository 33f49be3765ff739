"""`Precision`: one dtype each for weights, compute, attention, KV cache, logits and norms."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import torch

from minillm.errors import MinillmError


@dataclass(frozen=True)
class Precision:
    """The policy that trainer and sampler share, so that both round in the same places.

    `weights` is what memory holds and the optimizer updates; `compute` is what flows between layers and
    what weights are rounded to before a product; `attention` is what q, k and v are rounded to;
    `kv_cache` is what the cache holds (the trainer's forward too); `logits` is what logprobs are made of.
    `norm` is what norms, the angles of rope and routers are computed in: float32, as transformers does for
    every dtype, double too. Sums inside kernels are kept in float32 (float64 where the inputs are).

    `bits` of 8 or 4 keeps the layers' matrices as integers with a scale for each group of inputs
    (`kernels.panels`), and the head in 8: for sampling from models that are larger than memory, not for
    training. Embeddings, norms, biases and routers stay as they are. 0 keeps all in `weights`.
    """

    weights: torch.dtype
    compute: torch.dtype
    attention: torch.dtype
    kv_cache: torch.dtype
    logits: torch.dtype = torch.float32
    norm: torch.dtype = torch.float32
    bits: int = 0

    def __post_init__(self) -> None:
        if self.bits not in (0, 4, 8):
            raise MinillmError(f"a precision's bits are 8, 4, or 0 for plain floats, not {self.bits!r}")


def _uniform(dtype: torch.dtype, logits: torch.dtype = torch.float32) -> Precision:
    return Precision(dtype, dtype, dtype, dtype, logits)


F32, BF16 = torch.float32, torch.bfloat16
PRESETS: dict[str, Precision] = {
    "fp64": _uniform(torch.float64, torch.float64),
    "fp32": _uniform(F32),
    "bf16": _uniform(BF16),
    "fp32-attn-bf16": Precision(F32, F32, attention=BF16, kv_cache=BF16),
    "bf16-master-fp32": Precision(F32, BF16, attention=BF16, kv_cache=BF16),
    "int8": Precision(BF16, BF16, attention=BF16, kv_cache=BF16, bits=8),
    "int4": Precision(BF16, BF16, attention=BF16, kv_cache=BF16, bits=4),
}


def get_precision(precision: str | Precision) -> Precision:
    """Return a preset by name, or the given `Precision`; `MinillmError` for an unknown name."""
    if isinstance(precision, Precision):
        return precision
    if precision not in PRESETS:
        raise MinillmError(f"unknown precision {precision!r}; the presets are {', '.join(PRESETS)}")
    return PRESETS[precision]


# The dtypes, with vLLM's names and torch's, and the presets that hold them without loss.
DTYPES = {
    "float64": "fp64",
    "double": "fp64",
    "float32": "fp32",
    "float": "fp32",
    "bfloat16": "bf16",
    "float16": "fp32",
    "half": "fp32",
}


def preset_of_dtype(dtype: str | torch.dtype) -> str:
    """Name the preset for a dtype, with a warning for float16, which is computed as float32.

    Args:
        dtype: a dtype or its name, such as "bfloat16" or "half".

    Raises:
        MinillmError: the name is unknown.
    """
    name = str(dtype).removeprefix("torch.")
    if name not in DTYPES:
        names = ", ".join(["auto", *DTYPES])
        raise MinillmError(f"dtype must be one of {names}, got {dtype!r}; see also precision=")
    if name in ("float16", "half"):
        warnings.warn(
            "float16 is held and computed as float32, in which its weights are exact (precision 'fp32'); for "
            "half the memory give precision='bf16', which rounds them",
            stacklevel=6,  # who made the `LLM`
        )
    return DTYPES[name]
