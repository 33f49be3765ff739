"""Master weights: parameters in one dtype that products read in another.

The copy is made once for each change of the parameter, and always in the same memory, so that a decode step
reads it like any weight.
"""

from __future__ import annotations

from typing import Any

import torch

from kernels import dispatch
from minillm.changes import version


def rounded(w: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """`w` in `dtype`, differentiable; itself where that is its own, else a copy that is kept with it.

    Every in-place change of `w`, an optimizer's step too, counts up its version, and the next call writes the
    copy anew; a change through `.data` hides from it.
    """
    if w.dtype == dtype:
        return w
    kept: dict[torch.dtype, tuple[tuple[int, int], torch.Tensor]] = w.__dict__.setdefault("_rounded", {})
    state = version([w]), w.data_ptr()
    if (found := kept.get(dtype)) is None or found[0] != state:
        # A tensor made in inference mode could not be saved for a gradient.
        with torch.inference_mode(False), torch.no_grad():
            copy = None if found is None else found[1]
            if copy is None or copy.shape != w.shape or copy.device != w.device:
                copy = torch.empty_like(w, dtype=dtype)
            dispatch.round_into(w, copy)
        found = kept[dtype] = (state, copy)
    if torch.is_grad_enabled() and w.requires_grad:
        return _Rounded.apply(w, [found[1]])  # type: ignore[no-any-return]
    return found[1]


class _Rounded(torch.autograd.Function):
    """A copy that is there, as `w.to(dtype)`."""

    @staticmethod
    def forward(ctx: Any, w: torch.Tensor, copy: list[torch.Tensor]) -> torch.Tensor:
        ctx.dtype = w.dtype
        return copy[0].detach()

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> Any:
        return grads[0].to(ctx.dtype), None
