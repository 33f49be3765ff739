"""AdamW for weights, gradients and moments in bfloat16, rounded so that small steps are not lost.

The nearest bfloat16 is up to 0.4% away: of smaller steps nothing is left. Stochastic rounding goes up or down
with a probability that makes the mean right (Gupta et al., 2015; for bfloat16 weights, Zamirai et al., 2020).
A carry keeps the eight bits below a weight's own, so that a weight has 24 bits of which a forward reads the
nearest 16: Kahan's compensation, in one byte; what is below those is rounded stochastically.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from kernels.checks import check_tensor
from kernels.cpu import optim as cpu_optim
from kernels.cpu.optim import Weight as Weight


def random_bits(key: int, place: torch.Tensor) -> torch.Tensor:
    """32 random bits of each place (int64, below 2^32) as int64: a mix of two rounds of xor, shift, multiply.

    The multipliers are those of Wellons' hash search, "lowbias32" (2018).
    """
    x = one_round(key, place)
    x = (x ^ (x >> 15)) * 0x846CA68B & 0xFFFFFFFF
    return x ^ (x >> 16)


def _plus(x: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
    return (x.view(torch.int32).long() + noise) & 0xFFFFFFFF


def one_round(key: int, place: torch.Tensor) -> torch.Tensor:
    """`random_bits` after one round: the upper bits are as good, and eight of them are all a carry needs."""
    x = (place * 0x9E3779B9 + key) & 0xFFFFFFFF
    return (x ^ (x >> 16)) * 0x7FEB352D & 0xFFFFFFFF


def _signed(bits: torch.Tensor, width: int) -> torch.Tensor:
    """Whole numbers of `width` bits with their sign, as torch's types have it."""
    half = 1 << (width - 1)
    return ((bits + half) & ((1 << width) - 1)) - half


def _to_bf16(bits: torch.Tensor) -> torch.Tensor:
    return _signed(bits >> 16, 16).to(torch.int16).view(torch.bfloat16)


def oracle(weights: Sequence[Weight], numbers: tuple[float, ...], keys: Sequence[int]) -> None:
    """`adamw` in plain torch, on any device; `numbers` as `adamw` makes them."""
    numbers_8 = torch.tensor(numbers, device=weights[0][0].device)
    for weight, key in zip(weights, keys, strict=True):
        _oracle(*weight, numbers_8, key)


def _oracle(
    w: torch.Tensor,
    grad: torch.Tensor,
    m: torch.Tensor,
    v: torch.Tensor,
    carry: torch.Tensor | None,
    numbers_8: torch.Tensor,
    key: int,
) -> None:
    beta1, beta2, rest1, rest2, eps, rate, decay, root2 = numbers_8.unbind()
    place = torch.arange(w.numel(), device=w.device).view(w.shape)
    g = grad.float()
    m_new = m.float() * beta1 + g * rest1
    v_new = v.float() * beta2 + g * g * rest2
    noise = (random_bits if carry is None else one_round)(key, place)
    m.copy_(_to_bf16(_plus(m_new, noise >> 16)))
    v.copy_(_to_bf16(_plus(v_new, noise >> 8 & 0xFFFF)))
    x = w.float()
    if carry is not None:
        joined = (x.view(torch.int32).long() + (carry.long() << 8)) & 0xFFFFFFFF
        x = _signed(joined, 32).int().view(torch.float32)
    root = v_new.double().sqrt().float()  # rounded once; torch's own, in float32, is not always
    x = x * decay - rate * (m_new / (root * root2 + eps))
    if carry is None:
        w.copy_(_to_bf16(_plus(x, noise & 0xFFFF)))
        return
    bits = _plus(x, noise >> 24)
    high = ((bits + 0x8000) & 0xFFFFFFFF) >> 16
    w.copy_(_to_bf16(high << 16))
    carry.copy_(_signed((bits - (high << 16)) >> 8, 8).to(torch.int8))


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
    """One step of AdamW (Loshchilov and Hutter, 2019) in place, in float32 between reading and writing.

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
    run = cpu_optim.adamw if weights[0][0].device.type == "cpu" else oracle
    run(weights, numbers, keys)
    # Kernels write past torch: whoever kept w for a gradient, or made a cache with it, must see.
    torch.autograd.graph.increment_version([x for w, _, m, v, _ in weights for x in (w, m, v)])
