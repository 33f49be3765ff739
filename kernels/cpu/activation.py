"""The MLP's activation on the CPU, gated (Shazeer, 2020) or not: in float32, rounded once.

Legend: T tokens, F MLP width, X what goes in: 2F, gate and up side by side, or F.
"""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import numpy as np
import torch
from numba import njit, types
from torch import Tensor

from kernels.cpu.recording import empty, launch_rows
from kernels.cpu.runtime import SCALARS, Kernel, exp, fma, sigmoid, tanh, tasks
from kernels.knobs import XIELU_BETA, XIELU_EPS, XIELU_SERIES, Activation

ONE = np.float32(1)


@njit(inline="always")
def _silu(x: Any) -> Any:
    return x / (ONE + exp(-x if x > np.float32(-88) else np.float32(88)))


@njit(inline="always")
def _gelu(x: Any) -> Any:
    return np.float32(0.5) * x * (ONE + np.float32(math.erf(x * np.float32(math.sqrt(0.5)))))


@njit(inline="always")
def _gelu_tanh(x: Any) -> Any:
    inner = np.float32(math.sqrt(2 / math.pi)) * (x + np.float32(0.044715) * x * x * x)
    return np.float32(0.5) * x * (ONE + tanh(inner))


@njit(inline="always")
def _relu(x: Any) -> Any:
    return max(x, np.float32(0))


@njit(inline="always")
def _relu2(x: Any) -> Any:
    return _relu(x) * _relu(x)


FUNCTIONS = {
    "silu": _silu,
    "gelu": _gelu,
    "gelu_tanh": _gelu_tanh,
    "gelu_bloom": _gelu_tanh,
    "relu": _relu,
    "relu2": _relu2,
    "sigmoid": sigmoid,
    "tanh": tanh,
}


@cache
def _activate(dtype: torch.dtype, activation: Activation) -> Any:
    kind, load, store = SCALARS[dtype]
    function, gated, limited = FUNCTIONS[activation.name], activation.gated, activation.limit is not None
    limit, width = np.float32(activation.limit or 0), 1 + gated

    def kernel(words: Any, a: Any) -> None:
        for i in tasks(words):
            for t in range(i * a.chunk, min(a.T, (i + 1) * a.chunk)):
                gate, up, out = a.x_TPF[t, 0], a.x_TPF[t, width - 1], a.out_TF[t]
                for f in range(a.F):
                    g = load(gate[f])
                    if limited:
                        g, u = min(g, limit), max(min(load(up[f]), limit), -limit)
                        out[f] = store((u + ONE) * (g * sigmoid(g * np.float32(1.702))))
                    elif gated:
                        out[f] = store(function(g) * load(up[f]))
                    else:
                        out[f] = store(function(g))

    return Kernel(kernel, (dtype, activation), "T P F chunk", x_TPF=kind, out_TF=kind)


def activate(x_TX: Tensor, activation: Activation) -> Tensor:
    """Compute `kernels.reference.activate` in float32, rounded once: (T, 2F) or ungated (T, F) -> (T, F)."""
    T, P = x_TX.shape[0], 1 + activation.gated
    out_TF = empty((T, F := x_TX.shape[1] // P), x_TX.dtype)
    launch_rows(_activate(x_TX.dtype, activation), T, x_TPF=x_TX, out_TF=out_TF, P=P, F=F)
    return out_TF


BETA, EPS = np.float32(XIELU_BETA), np.float32(XIELU_EPS)
SERIES = tuple(np.float32(c) for c in reversed(XIELU_SERIES))


@njit(inline="always")
def _softplus(x: Any) -> Any:
    """Compute log(1 + exp(x)) in float32, rounded from the C library's in float64."""
    wide = types.float64(x)
    return types.float32(math.log1p(math.exp(wide)) if wide < 20 else wide)


@njit(inline="always")
def _expm1_less(z: Any) -> Any:
    """Compute expm1(z) - z in float32 for z <= 0, where near zero the two would cancel."""
    p = SERIES[0]
    for c in SERIES[1:]:
        p = fma(p, z, c)
    return z * z * p if z > -ONE else (exp(z) - ONE) - z


@cache
def _xielu(dtype: torch.dtype) -> Any:
    kind, load, store = SCALARS[dtype]

    def kernel(words: Any, a: Any) -> None:
        p, n = _softplus(load(a.alpha_p_1[0])), BETA + _softplus(load(a.alpha_n_1[0]))
        for i in tasks(words):
            for t in range(i * a.chunk, min(a.T, (i + 1) * a.chunk)):
                row, out = a.x_TF[t], a.out_TF[t]
                for f in range(a.F):
                    x = load(row[f])
                    z = min(x, EPS)
                    bent = p * x * x if x > 0 else n * (_expm1_less(z) + (z - x))
                    out[f] = store(bent + BETA * x)

    return Kernel(kernel, (dtype,), "T F chunk", x_TF=kind, alpha_p_1=kind, alpha_n_1=kind, out_TF=kind)


def xielu(x_TF: Tensor, alpha_p_1: Tensor, alpha_n_1: Tensor) -> Tensor:
    """Compute `kernels.reference.xielu` in float32, rounded once; each call reads the learned numbers."""
    T, F = x_TF.shape
    out_TF = empty((T, F), x_TF.dtype)
    tensors = {"x_TF": x_TF, "alpha_p_1": alpha_p_1, "alpha_n_1": alpha_n_1, "out_TF": out_TF}
    launch_rows(_xielu(x_TF.dtype), T, **tensors, F=F)
    return out_TF
