"""Angles of the rotary embedding (Su et al., 2021), and the ways to stretch them over longer contexts.

Legend: M positions, D head dim (of the rotated dimensions D/2 pairs).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch

from minillm.model.config import ModelConfig, Rope

Frequencies = tuple[torch.Tensor, float]


def _default(rope: Rope, p: Mapping[str, Any], context: int, served: int, dtype: torch.dtype) -> Frequencies:
    return 1.0 / _periods(rope.theta, rope.dim, dtype), 1.0


def _periods(theta: float, dim: int, dtype: torch.dtype) -> torch.Tensor:
    exponents = torch.arange(0, dim, 2, dtype=dtype) / dim
    return torch.as_tensor(theta**exponents)


def _linear(rope: Rope, p: Mapping[str, Any], context: int, served: int, dtype: torch.dtype) -> Frequencies:
    """Positions divided by the factor."""
    return _default(rope, p, context, served, dtype)[0] / p["factor"], 1.0


def _dynamic(rope: Rope, p: Mapping[str, Any], context: int, served: int, dtype: torch.dtype) -> Frequencies:
    """Enlarge the base for a context beyond the original one (NTK-aware scaling)."""
    original = p["original_max_position_embeddings"]
    if context <= original:
        return _default(rope, p, context, served, dtype)
    stretch = p["factor"] * context / original - (p["factor"] - 1)
    theta = rope.theta * stretch ** (rope.dim / (rope.dim - 2))
    return 1.0 / _periods(theta, rope.dim, dtype), 1.0


def _yarn(rope: Rope, p: Mapping[str, Any], context: int, served: int, dtype: torch.dtype) -> Frequencies:
    """YaRN (Peng et al., 2023): low frequencies are interpolated, high ones kept, those between mixed."""
    original, dim = p["original_max_position_embeddings"], rope.dim
    factor = p.get("factor") or context / original

    def magnitude(weight: float) -> float:
        return 0.1 * weight * math.log(factor) + 1.0 if factor > 1 else 1.0

    attention = p.get("attention_factor")
    if attention is None:
        a, b = p.get("mscale"), p.get("mscale_all_dim")
        attention = magnitude(a) / magnitude(b) if a and b else magnitude(1.0)

    def bound(rotations: float) -> float:
        return dim * math.log(original / (rotations * 2 * math.pi)) / (2 * math.log(rope.theta))

    low, high = bound(p.get("beta_fast") or 32), bound(p.get("beta_slow") or 1)
    if p.get("truncate", True):
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, dim - 1)
    span = high - low if high != low else 0.001
    ramp = ((torch.arange(dim // 2, dtype=dtype) - low) / span).clamp(0, 1)
    kept = 1 - ramp
    periods = _periods(rope.theta, dim, dtype)
    return 1.0 / (factor * periods) * (1 - kept) + 1.0 / periods * kept, attention


def _llama3(rope: Rope, p: Mapping[str, Any], context: int, served: int, dtype: torch.dtype) -> Frequencies:
    """Llama 3.1: long wavelengths are divided by the factor, short ones kept, those between mixed."""
    frequency = _default(rope, p, context, served, dtype)[0]
    original, low, high = p["original_max_position_embeddings"], p["low_freq_factor"], p["high_freq_factor"]
    wavelength = 2 * math.pi / frequency
    scaled = torch.where(wavelength > original / low, frequency / p["factor"], frequency)
    smooth = (original / wavelength - low) / (high - low)
    mixed = (1 - smooth) * scaled / p["factor"] + smooth * scaled
    between = (wavelength >= original / high) & (wavelength <= original / low)
    return torch.where(between, mixed, scaled), 1.0


def _longrope(rope: Rope, p: Mapping[str, Any], context: int, served: int, dtype: torch.dtype) -> Frequencies:
    """LongRoPE (Ding et al., 2024): a factor for each pair, one list for short contexts and one for long.

    The longest sequence that is served decides, once: were it each sequence's own length, a key in the cache
    would turn stale as its sequence grows.
    """
    original = p["original_max_position_embeddings"]
    factor = p.get("factor") or context / original
    attention = p.get("attention_factor")
    if attention is None:
        attention = math.sqrt(1 + math.log(factor) / math.log(original)) if factor > 1 else 1.0
    # phimoe names a magnitude for each of the two lists.
    length = "long" if served > original else "short"
    attention = p.get(f"{length}_mscale", attention)
    factors = torch.tensor(p[f"{length}_factor"], dtype=dtype)
    return 1.0 / (factors * _periods(rope.theta, rope.dim, dtype)), attention


def _proportional(
    rope: Rope, p: Mapping[str, Any], context: int, served: int, dtype: torch.dtype
) -> Frequencies:
    """Only the first share of the pairs turns, with the frequencies that they have among all."""
    rotated = int(p.get("partial_rotary_factor", 1.0) * rope.dim // 2)
    frequency = _default(rope, p, context, served, dtype)[0] / p.get("factor", 1.0)
    return torch.cat((frequency[:rotated], torch.zeros(rope.dim // 2 - rotated, dtype=dtype))), 1.0


_ORIGINAL = "original_max_position_embeddings"
_TYPES = (
    ("default", _default, "", ""),
    ("linear", _linear, "factor", ""),
    ("dynamic", _dynamic, f"factor {_ORIGINAL}", ""),
    ("yarn", _yarn, _ORIGINAL, "factor attention_factor beta_fast beta_slow mscale mscale_all_dim truncate"),
    ("llama3", _llama3, f"factor low_freq_factor high_freq_factor {_ORIGINAL}", ""),
    (
        "longrope",
        _longrope,
        f"short_factor long_factor {_ORIGINAL}",
        "factor attention_factor short_mscale long_mscale",
    ),
    ("proportional", _proportional, "", "factor partial_rotary_factor"),
)
# Type -> (its frequencies, the parameters that it cannot do without, those that it may have).
TYPES: dict[str, tuple[Callable[..., Frequencies], frozenset[str], frozenset[str]]] = {
    name: (function, frozenset(needed.split()), frozenset(optional.split()))
    for name, function, needed, optional in _TYPES
}


def table(
    config: ModelConfig, rope: Rope | None, served: int, dtype: torch.dtype
) -> tuple[torch.Tensor, torch.Tensor]:
    """cos_MD and sin_MD of every position of the context, D/2 columns, computed in `dtype`.

    `served` is the longest sequence that they are for, which longrope asks for. No rope is the rotation by
    nothing: one pair, whose cosine is 1.
    """
    M = config.max_position_embeddings
    if rope is None:
        return torch.ones(M, 1, dtype=dtype), torch.zeros(M, 1, dtype=dtype)
    frequency, attention = TYPES[rope.type][0](rope, dict(rope.parameters), M, served, dtype)
    angle_MD = torch.outer(torch.arange(M, dtype=dtype), frequency)
    return angle_MD.cos() * attention, angle_MD.sin() * attention


def growth(config: ModelConfig, dtype: torch.dtype) -> torch.Tensor | None:
    """Compute what each position's query is multiplied by, (M, 1); None where nothing is."""
    if (growth := config.query_growth) is None:
        return None
    position_M1 = torch.arange(config.max_position_embeddings, dtype=dtype).unsqueeze(1) + growth.shift
    return 1 + growth.beta * torch.log(1 + torch.floor(position_M1 / growth.length))


def alibi_slopes(heads: int, truncated: bool = False) -> tuple[float, ...]:
    """Compute the slope of each head's linear bias (ALiBi; Press et al., 2022).

    Powers of 2 in even steps from 2^(-8/n) to 2^-8 for n heads, where n is a power of 2. For other numbers of
    heads those of the power of 2 below, and every other one of twice as many; `truncated`: those of the power
    of 2 above, the odd ones after the even ones, as far as there are heads (MPT).
    """

    def even(n: int) -> list[float]:
        return [2.0 ** (-8.0 * (i + 1) / n) for i in range(n)]

    if truncated:
        above = even(2 ** math.ceil(math.log2(heads)))
        return tuple(above if len(above) == heads else (above[1::2] + above[::2])[:heads])
    below = 2 ** math.floor(math.log2(heads))
    return tuple(even(below) + even(2 * below)[::2][: heads - below])
