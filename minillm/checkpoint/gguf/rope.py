"""How a GGUF file stretches its rotary embedding -> what config.json says of it.

A file has keys (`rope.scaling.*`), or tensors of one divisor for each pair of dimensions: `rope_freqs` for
all contexts, `rope_factors_long` and `rope_factors_short` for long and short ones.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from minillm.checkpoint.gguf.file import GgufFile

_DIVISORS, _LONG, _SHORT = "rope_freqs.weight", "rope_factors_long.weight", "rope_factors_short.weight"
ROPE_TENSORS = frozenset({_DIVISORS, _LONG, _SHORT})

# Writers compute divisors in float32, in which the smallest difference between frequencies grows.
_CLOSE = 3e-5


def read_scaling(
    file: GgufFile, theta: float, dim: int, context: int, usual: Mapping[str, Any], log_unit: float
) -> dict[str, Any]:
    """`rope_scaling` of config.json, without `original_max_position_embeddings` where no type needs it.

    Args:
        file: whose keys and tensors count.
        theta: the base.
        dim: dimensions that are rotated.
        context: the model's longest sequence.
        usual: what YaRN's parameters are where no key says so.
        log_unit: what `rope.scaling.yarn_log_multiplier` is for an `mscale_all_dim` of 1; 0: it is unknown.
    """
    kind = file.own("rope.scaling.type")
    factor = file.own("rope.scaling.factor") or file.own("rope.scale_linear") or 1.0
    original = file.own("rope.scaling.original_context_length") or context
    magnitude = file.own("rope.scaling.attn_factor")
    yarn = {name: file.own(f"rope.scaling.yarn_{name}") for name in _YARN}
    multiplier = file.own("rope.scaling.yarn_log_multiplier")
    if file.own("rope.scaling.yarn_ext_factor", 1.0) not in (1.0, -1.0):
        file.refuse("has a rope.scaling.yarn_ext_factor of neither 1 nor -1, which no config.json can say")
    if _LONG in file.tensors or _SHORT in file.tensors:
        if kind not in (None, "none", "longrope") or not (_LONG in file.tensors and _SHORT in file.tensors):
            file.refuse(f"has only one of {_LONG} and {_SHORT}, or beside them rope.scaling.type {kind!r}")
        factors = {"long_factor": _numbers(file, _LONG), "short_factor": _numbers(file, _SHORT)}
        return {"rope_type": "longrope", **factors, **_magnitude(magnitude, context, original)}
    if magnitude not in (None, 1.0):
        file.refuse(f"has rope.scaling.attn_factor = {magnitude} without {_LONG}; only 1 is known there")
    divisors = _numbers(file, _DIVISORS) if _DIVISORS in file.tensors else []
    if any(n != 1.0 for n in divisors):
        if kind not in (None, "none") or factor != 1.0:
            file.refuse(f"has {_DIVISORS} and rope.scaling keys too; only one of them is known to count")
        if len(divisors) != dim // 2:
            file.refuse(f"has {_DIVISORS} of {len(divisors)} numbers, not one for each of {dim // 2} pairs")
        return _llama3(divisors, theta, dim) or {
            "rope_type": "longrope",
            "long_factor": divisors,
            "short_factor": divisors,
            "original_max_position_embeddings": context,
            "attention_factor": 1.0,
        }
    # A factor without a type is linear, as llama.cpp reads it.
    if kind in (None, "none", "linear"):
        return {} if kind == "none" or factor == 1.0 else {"rope_type": "linear", "factor": factor}
    if kind != "yarn":
        known = f"none, linear, yarn, and longrope with {_LONG}"
        file.refuse(f"has rope.scaling.type {kind!r}; known are {known}")
    scaling = {"rope_type": "yarn", "factor": factor, "original_max_position_embeddings": original, **usual}
    scaling |= {_YARN[name]: value for name, value in yarn.items() if value is not None}
    if multiplier:
        if not log_unit:
            file.refuse("has rope.scaling.yarn_log_multiplier, which is not known for this architecture")
        all_dim = float(str(np.float32(multiplier / log_unit)))
        # The other magnitude is not in the file; llama.cpp too takes it to be the same, or 1.
        scaling |= {"mscale": all_dim if log_unit != 1.0 else 1.0, "mscale_all_dim": all_dim}
    return scaling


_YARN = {"attn_factor": "attention_factor", "beta_fast": "beta_fast", "beta_slow": "beta_slow"}


def _numbers(file: GgufFile, name: str) -> list[float]:
    return [float(str(n)) for n in file.array(name).flatten()]


def _magnitude(written: float | None, context: int, original: int) -> dict[str, float]:
    """LongRoPE's attention factor, left out where it is what the contexts' ratio makes it."""
    ratio = context / original
    usual = math.sqrt(1 + math.log(ratio) / math.log(original)) if ratio > 1 else 1.0
    written = 1.0 if written is None else written
    return {} if math.isclose(written, usual, rel_tol=1e-6) else {"attention_factor": written}


def _llama3(divisors: list[float], theta: float, dim: int) -> dict[str, Any] | None:
    """Llama 3.1's parameters, of which these divisors come; None where none do.

    A divisor is 1 for short wavelengths and the factor for long ones. Between them its inverse mixes both,
    by a share that is linear in the inverse wavelength, so that two pairs there determine the line.
    """
    factor = max(divisors)
    wavelengths = [2 * math.pi * theta ** (2 * i / dim) for i in range(dim // 2)]
    for low, high, original in _candidates(divisors, factor, wavelengths):
        made = [_divisor(w, factor, low, high, original) for w in wavelengths]
        if all(math.isclose(a, b, rel_tol=_CLOSE) for a, b in zip(made, divisors, strict=True)):
            return {
                "rope_type": "llama3",
                "factor": factor,
                "low_freq_factor": low,
                "high_freq_factor": high,
                "original_max_position_embeddings": original,
            }
    return None


def _divisor(wavelength: float, factor: float, low: float, high: float, original: float) -> float:
    if wavelength < original / high:
        return 1.0
    if wavelength > original / low:
        return factor
    share = (original / wavelength - low) / (high - low) if high != low else 0.0
    return 1 / ((1 - share) / factor + share)


def _candidates(
    divisors: list[float], factor: float, wavelengths: list[float]
) -> Iterator[tuple[float, float, int]]:
    """(low_freq_factor, high_freq_factor, original_max_position_embeddings), the usual ones first."""
    yield 1.0, 4.0, 8192
    mixed = [(1 / w, d) for w, d in zip(wavelengths, divisors, strict=True) if 1 < d < factor]
    shares = [(x, (1 / d - 1 / factor) / (1 - 1 / factor)) for x, d in mixed]
    for x, share in shares:
        yield 1.0, 4.0, round((1 + 3 * share) / x)
    if len(shares) > 1:
        (x, a), (y, b) = shares[0], shares[-1]
        slope = (a - b) / (x - y)
        if (offset := slope * x - a) > 0:
            # The line fixes the three up to one; low_freq_factor is 1 in all published models.
            yield 1.0, round(1 + 1 / offset, 4), round(slope / offset)
    if not shares and (long := [w for w, d in zip(wavelengths, divisors, strict=True) if d == factor]):
        # Any border between the two sorts will do.
        short = [w for w, d in zip(wavelengths, divisors, strict=True) if d != factor]
        border = math.sqrt(long[0] * (short[-1] if short else long[0] / 4))
        yield 1.0, 1.0, max(1, round(border))
