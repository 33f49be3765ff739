"""How Triton kernels are launched: where they run, what an argument may be, how a variant is written down."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from typing import Any

import torch
import triton

from kernels.checks import PRECISIONS, check_precision, check_tensor
from kernels.gpu.variant import Variant

# Fixed when this module is first imported, as it is in every `triton.jit` function.
INTERPRET: bool = bool(triton.knobs.runtime.interpret)

# Triton's names of the dtypes that the kernels take.
TYPES = {torch.float32: "fp32", torch.bfloat16: "bf16", torch.float16: "fp16"}
# The precisions of float32's products that each target has; on the others `tl.dot` refuses the name.
TARGET_PRECISIONS = {
    "sm_80": PRECISIONS,
    "sm_90": PRECISIONS,
    "sm_100": PRECISIONS,
    "gfx942": ("ieee", "tf32"),
}
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


def on(device: torch.device) -> AbstractContextManager[Any]:
    """Make a device the current one, which is where Triton launches."""
    return nullcontext() if device.type == "cpu" else torch.cuda.device(device)


def launch(kernel: Any, grid: tuple[int, ...], x: torch.Tensor, /, *arguments: Any, **named: Any) -> None:
    """Launch a kernel on the device of its first argument; a grid of no program is no launch.

    Products and sums are fused, which is the default as long as no environment variable says otherwise.
    """
    if all(grid):
        with on(x.device):
            kernel[grid](x, *arguments, **named, enable_fp_fusion=True)


def expect(
    name: str,
    x: torch.Tensor,
    shape: Sequence[int | None],
    dtype: torch.dtype | Sequence[torch.dtype] | None = None,
    like: torch.Tensor | None = None,
) -> None:
    """Raise ValueError, naming the argument and what it must be, unless x is a contiguous tensor like that.

    A None in `shape` is any size. The dtype, where none is named, and the device are those of `like`; with
    no `like`, the device is one on which the kernels run: a GPU, or the CPU under TRITON_INTERPRET=1.
    """
    dtypes: Sequence[torch.dtype]
    if dtype is None:
        dtypes = tuple(TYPES) if like is None else (like.dtype,)
    else:
        dtypes = (dtype,) if isinstance(dtype, torch.dtype) else tuple(dtype)
    if like is None and isinstance(x, torch.Tensor) and x.device.type != ("cpu" if INTERPRET else "cuda"):
        where = "the CPU, under TRITON_INTERPRET=1" if INTERPRET else "a GPU"
        raise ValueError(f"{name} must be on {where}, got {x.device}")
    check_tensor(name, x, shape, dtypes, (x if like is None else like).device)


def expect_precision(precision: str, device: torch.device) -> None:
    """Raise ValueError unless float32's products can be of this precision there."""
    check_precision("precision", precision, TARGET_PRECISIONS.get(target(device), PRECISIONS))


def choices() -> Iterator[tuple[torch.dtype, str, str]]:
    """Yield (dtype, precision, target) of what is compiled: float32 in each precision of a target."""
    for dtype in TYPES:
        for precision in PRECISIONS if dtype == torch.float32 else PRECISIONS[:1]:
            for name, held in TARGET_PRECISIONS.items():
                if precision in held:
                    yield dtype, precision, name


def variant(
    label: str,
    kernel: Any,
    types: Mapping[str, str],
    constants: Mapping[str, Any],
    num_warps: int,
    num_stages: int,
    targets: Sequence[str] | None = None,
) -> Variant:
    """Make a `Variant` of the kernel's arguments that are no constants.

    `types`: names of arguments, with spaces between them -> their type; the last that names one counts.
    """
    by_name = {name: kind for names, kind in types.items() for name in names.split()}
    signature = {name: by_name[name] for name in kernel.arg_names if name not in constants}
    constants = {name: value for name, value in constants.items() if name in kernel.arg_names}
    only = None if targets is None else frozenset(targets)
    return Variant(label, kernel, signature, constants, num_warps, num_stages, targets=only)
