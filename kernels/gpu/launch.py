"""How Triton kernels are launched: where they run, what an argument may be, how a variant is written down."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from functools import cache
from itertools import product
from typing import Any

import torch
import triton
from torch import Tensor

from kernels.checks import PRECISIONS, check_precision, check_tensor
from kernels.gpu.variant import Variant

# Fixed when this module is first imported, as it is in every `triton.jit` function.
INTERPRET: bool = bool(triton.knobs.runtime.interpret)

# Triton's names of the dtypes that the kernels take.
TYPES = {torch.float32: "fp32", torch.bfloat16: "bf16", torch.float16: "fp16"}
# The precisions of float32's products that each target has; on the others `tl.dot` refuses the name.
TARGET_PRECISIONS = {**dict.fromkeys(("sm_80", "sm_90", "sm_100"), PRECISIONS), "gfx942": ("ieee", "tf32")}
TARGETS = tuple(TARGET_PRECISIONS)


@cache
def target(device: torch.device) -> str:
    """Return the entry of TARGETS whose block sizes a device is given, or "interpret" for the CPU.

    Devices of few kilobytes of shared memory (sm_86, sm_89, sm_120) go by sm_80, whose blocks fit them.
    """
    if device.type == "cpu":
        return "interpret"
    if torch.version.hip:
        return "gfx942"
    return {9: "sm_90", 10: "sm_100"}.get(torch.cuda.get_device_capability(device)[0], "sm_80")


@cache
def processors(device: torch.device) -> int:
    """Count the multiprocessors of a device, for a persistent kernel's grid. Never enters a result."""
    if device.type == "cpu":
        return 3
    return int(torch.cuda.get_device_properties(device).multi_processor_count)


def launch(kernel: Any, grid: tuple[int, ...], x: Tensor, /, *arguments: Any, **named: Any) -> None:
    """Launch a kernel on the device of its first argument; a grid of no program is no launch."""
    if all(grid):
        # Products and sums are fused, by default too, but there an environment variable may say otherwise.
        with nullcontext() if INTERPRET else torch.cuda.device(x.device):
            kernel[grid](x, *arguments, **named, enable_fp_fusion=True)


def expect(
    name: str,
    x: Any,
    shape: Sequence[int | None],
    dtype: torch.dtype | tuple[torch.dtype, ...] | None = None,
    like: Tensor | None = None,
    optional: bool = False,
) -> None:
    """Raise ValueError, naming the argument and what it must be, unless x is a contiguous tensor like that.

    A None in `shape` is any size, and x may be None where it is `optional`. The dtype, where none is named,
    and the device are those of `like`; with no `like`, the device is one on which the kernels run: a GPU, or
    the CPU under TRITON_INTERPRET=1.
    """
    if x is None and optional:
        return
    dtype = dtype or (tuple(TYPES) if like is None else like.dtype)
    if like is None and isinstance(x, Tensor) and x.device.type != ("cpu" if INTERPRET else "cuda"):
        where = "the CPU, under TRITON_INTERPRET=1" if INTERPRET else "a GPU"
        raise ValueError(f"{name} must be on {where}, got {x.device}")
    dtypes = dtype if isinstance(dtype, tuple) else (dtype,)
    check_tensor(name, x, shape, dtypes, (x if like is None else like).device)


def expect_precision(precision: str, device: torch.device) -> None:
    """Raise ValueError unless float32's products can be of this precision there."""
    check_precision("precision", precision, TARGET_PRECISIONS.get(target(device), PRECISIONS))


def choices() -> Iterator[tuple[torch.dtype, str, str]]:
    """Yield (dtype, precision, target) of what is compiled: float32 in each precision of a target."""
    for dtype, precision, target in product(TYPES, PRECISIONS, TARGETS):
        if precision in TARGET_PRECISIONS[target] and (dtype == torch.float32 or precision == PRECISIONS[0]):
            yield dtype, precision, target


def variant(
    label: str,
    kernel: Any,
    kind: str,
    types: Mapping[str, str],
    choice: Mapping[str, Any],
    absent: str = "",
    targets: Sequence[str] | None = None,
) -> Variant:
    """Make a `Variant` of a launch whose constants, warps and stages (by default 1) are those of `choice`.

    `types`: names of arguments, with spaces between them -> their type; the last that names one counts. Other
    pointers are to numbers of `kind`, other numbers i32; the arguments that `absent` names are None.
    """
    by_name = {name: f"*{kind}" if name.startswith("p_") else "i32" for name in kernel.arg_names}
    by_name |= {name: type_ for names, type_ in types.items() for name in names.split()}
    known = {**dict.fromkeys(absent.split()), **choice}
    signature = {name: by_name[name] for name in kernel.arg_names if name not in known}
    constants = {name: value for name, value in known.items() if name in kernel.arg_names}
    how = (choice["num_warps"], choice.get("num_stages", 1))
    return Variant(label, kernel, signature, constants, *how, targets=frozenset(targets) if targets else None)
