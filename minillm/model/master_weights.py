"""Master weights: parameters in one dtype that products read in another.

The copy is made once for each change of the parameter, and always in the same memory, so that a decode step
reads it like any weight. Every change of a tensor in place counts up its version, and what is made of weights
(the prefix cache, rounded copies) is made again when that has grown. torch's fused optimizers write past the
count, so it is counted up for them after each of their steps. Other writes that pass by it (through `.data`,
by numpy or by another library's kernels) are found by a checksum of the bytes before a sampler begins, when
reading all weights once is cheap; a training forward, which must not wait for a device, rounds them anew.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch.optim.optimizer import register_optimizer_step_post_hook

from kernels.ops.packing import checksums, round_into


def version(tensors: Iterable[torch.Tensor]) -> int:
    """Count the changes of all of them in place, those included that `count_writes` found."""
    return sum(x._version for x in tensors)


@torch.no_grad()
def count_writes(tensors: Iterable[torch.Tensor]) -> None:
    """Count up the version of tensors that were written past it since the last call; reads all of them."""
    tensors = list(tensors)
    for x, checksum in zip(tensors, checksums(tensors), strict=True):
        seen: tuple[int, int, int] | None = x.__dict__.get("_checksum")
        if seen is not None and seen[0] == x._version and seen[1:] != (x.data_ptr(), checksum):
            torch.autograd.graph.increment_version(x)
        x.__dict__["_checksum"] = (x._version, x.data_ptr(), checksum)


def rounded(w: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Return `w` in `dtype`, differentiable; itself where it has that, else a copy that is kept with it.

    Every in-place change of `w`, an optimizer's step too, counts up its version, and the next call writes the
    copy again; of a change that passes by it (`.data`), the next call after `count_writes` or `renew`.
    """
    if w.dtype == dtype:
        return w
    kept: dict[torch.dtype, tuple[tuple[int, int], torch.Tensor]] = w.__dict__.setdefault("_rounded", {})
    state = version([w]), w.data_ptr()
    if (made := kept.get(dtype)) is None or made[0] != state:
        # A tensor made in inference mode could not be saved for a gradient.
        with torch.inference_mode(False), torch.no_grad():
            copy = None if made is None else made[1]
            if copy is None or copy.shape != w.shape or copy.device != w.device:
                copy = torch.empty_like(w, dtype=dtype)
            round_into(w, copy)
        made = kept[dtype] = (state, copy)
    if torch.is_grad_enabled() and w.requires_grad:
        return _Rounded.apply(w, [made[1]])  # type: ignore[no-any-return]
    return made[1]


@torch.no_grad()
def renew(w: torch.Tensor, dtype: torch.dtype) -> None:
    """Write the copy that `rounded` keeps again, for writes past w's version.

    It counts as no change, since mostly it is none: graphs that have saved the copy stay whole.
    """
    made = w.__dict__.get("_rounded", {}).get(dtype)
    if made is not None and made[0] == (version([w]), w.data_ptr()):
        round_into(w, made[1].data)


def rounded_copies(w: torch.Tensor) -> list[torch.Tensor]:
    """List the copies that `rounded` keeps with `w`."""
    return [copy for _, copy in w.__dict__.get("_rounded", {}).values()]


class _Rounded(torch.autograd.Function):
    """A copy that is there, as `w.to(dtype)`."""

    @staticmethod
    def forward(ctx: Any, w: torch.Tensor, copy: list[torch.Tensor]) -> torch.Tensor:
        ctx.dtype = w.dtype
        return copy[0].detach()

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> Any:
        return grads[0].to(ctx.dtype), None


def _count(optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
    for group in optimizer.param_groups:
        if group.get("fused"):
            for p in group["params"]:
                if p.grad is not None:
                    torch.autograd.graph.increment_version(p)


register_optimizer_step_post_hook(_count)
