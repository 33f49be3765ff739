"""AdamW for weights, gradients and moments in bfloat16, rounded so that small steps are not lost.

The nearest bfloat16 is up to 0.4% away: of smaller steps nothing is left. Stochastic rounding goes up or down
with a probability that makes the mean right (Gupta et al., 2015; for bfloat16 weights, Zamirai et al., 2020).
A carry keeps the eight bits below a weight's own, so that a weight has 24 bits of which a forward reads the
nearest 16: Kahan's compensation, in one byte; what is below those is rounded stochastically.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from kernels import backend
from kernels.checks import check_tensor
from kernels.knobs import Weight


@torch.no_grad()
def adamw(
    weights: Sequence[Weight],
    *,
    step: int,
    lr: float,
    betas: tuple[float, float],
    eps: float,
    weight_decay: float,
    keys: Sequence[int],
) -> None:
    """Take one step of AdamW (Loshchilov and Hutter, 2019) in place, in float32 between reading and writing.

    Each of `weights` is (w, grad, m, v, carry): contiguous tensors of one shape and device, bfloat16 but for
    the carry, which is int8, or None in all of them. `step` counts from 1. Moments are rounded
    stochastically, weights too, or with a carry kept in 24 bits. `keys` (32 bits each) make the noise: the
    same key, the same bits, whatever the number of threads. Raises ValueError for tensors of other kinds.
    """
    if not weights:
        return
    for w, *others in weights:
        for name, x in zip(("w", "grad", "m", "v", "carry"), (w, *others), strict=True):
            if x is not None:
                dtype = torch.int8 if name == "carry" else torch.bfloat16
                # Asked in short first: there are hundreds of tensors, a thousand times an hour.
                if x.dtype != dtype or x.shape != w.shape or x.device != w.device or not x.is_contiguous():
                    check_tensor(name, x, w.shape, (dtype,), w.device)
        if (others[-1] is None) != (weights[0][4] is None):
            raise ValueError("either all weights must have a carry or none")
    beta1, beta2 = betas
    rate, root2 = lr / (1 - beta1**step), (1 - beta2**step) ** -0.5
    numbers = (beta1, beta2, 1 - beta1, 1 - beta2, eps, rate, 1 - lr * weight_decay, root2)
    backend.of(weights[0][0]).adamw(weights, numbers, keys)
    # Kernels write past torch: whoever kept w for a gradient, or made a cache with it, must see.
    torch.autograd.graph.increment_version([x for w, _, m, v, _ in weights for x in (w, m, v)])
