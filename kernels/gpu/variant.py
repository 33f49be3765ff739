"""`Variant`: one way in which a Triton kernel is launched, so that it can be compiled with no GPU at hand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

# The target on which a launch's own choices must not spill. Every kernel is compiled in each dtype and input
# precision for each target; its other sizes and options, which tell little more of the others, for this one.
REFERENCE = "sm_90"


@dataclass(frozen=True)
class Variant:
    """What `kernels.aot` compiles; a module of `kernels.gpu` with kernels lists them in `variants()`.

    Attributes:
        label: kernel, dtype and sizes, for people.
        kernel: the `triton.jit` function.
        signature: argument -> Triton's name of its type ("*bf16", "i32", "fp32"), constants left out;
            "i32:16" is a number that 16 divides, as pointers are always taken to be.
        constants: constexpr argument -> value.
        num_warps, num_stages: of the launch.
        default: a launch makes this choice by itself; such a variant must not spill on sm_90.
        targets: the ones it is for (sm_80, sm_90, sm_100, gfx942); None for all.
        enable_fp_fusion: whether the compiler may make one rounding of a product and a sum.
    """

    label: str
    kernel: Any
    signature: Mapping[str, str]
    constants: Mapping[str, Any]
    num_warps: int
    num_stages: int
    default: bool = True
    targets: frozenset[str] | None = None
    enable_fp_fusion: bool = True
