"""Which kernels compute: the one place that asks for device and dtype.

float32 and bfloat16 on the CPU run our compiled kernels, those and float16 on a GPU the Triton ones, under
the row-invariance contract. Everything else (float64 to check structure, float16 on the CPU) runs the
plain-torch oracle, `kernels.reference`, which promises no bits and is differentiable by torch itself.

Legend: T packed tokens, R rows, K inner width or kv heads, N outer width, C model width, F MLP width,
E experts or head dim of values, X columns side by side, H query heads, D head dim, P panels or pages,
W panel width, G groups of inputs with one scale, S page size, M positions, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol

import torch
from torch import Tensor

from kernels import reference
from kernels.checks import GPU_DTYPES
from kernels.cpu import ops as cpu_ops
from kernels.cpu import recording as cpu_recording
from kernels.cpu.runtime import SCALARS
from kernels.knobs import Activation, Heads, Norm, PieceNorms, Scores, Weight
from kernels.tiling import Kept, SharedPrefix, Tiles


class Backend(Protocol):
    """All operations, as `kernels.reference` computes them. Arguments are contiguous and belong together."""

    def matmul(
        self,
        x_RK: Tensor,
        w_PKW: Tensor,
        N: int,
        scales_PGW: Tensor | None,
        bias_N: Tensor | None,
        wide: bool,
    ) -> Tensor:
        """Return x @ w (+ bias), (R, N), in float32 where `wide`."""

    def grouped_matmul(
        self, x_RK: Tensor, w_EPKW: Tensor, N: int, bound_E1: Tensor, scales_EPGW: Tensor | None,
        bias_EN: Tensor | None,
    ) -> Tensor:  # fmt: skip
        """Return the `matmul` of rows bound[e] to bound[e + 1] with expert e's matrix, for each expert."""

    def add_norm(
        self, x_TC: Tensor, residual_TC: Tensor | None, w_C: Tensor | None, b_C: Tensor | None, norm: Norm
    ) -> tuple[Tensor, Tensor]:
        """Return (x + residual, its norm)."""

    def norm_qk(
        self, qkv_TX: Tensor, q_w: Tensor | None, q_b: Tensor | None, k_w: Tensor | None, k_b: Tensor | None,
        knobs: PieceNorms,
    ) -> Tensor:  # fmt: skip
        """Return queries and keys normed in pieces, the values beside them as they are."""

    def activate(self, x_TX: Tensor, activation: Activation) -> Tensor:
        """Return act(gate) * up, (T, F), or act(x)."""

    def xielu(self, x_TF: Tensor, alpha_p_1: Tensor, alpha_n_1: Tensor) -> Tensor:
        """Return xIELU with two learned numbers."""

    def rope_qk(
        self, qkv_TX: Tensor, heads: Heads, cos_MR: Tensor, sin_MR: Tensor, position_T: Tensor,
        dtype: torch.dtype | None,
    ) -> Tensor:  # fmt: skip
        """Return queries and keys rotated, by the oracle from `dtype`; the values beside them as they are."""

    def packed_attention(
        self, q_THD: Tensor, k_TKD: Tensor, v_TKE: Tensor, bounds_B1: Tensor, scores: Scores,
        sinks_H: Tensor | None, input_precision: str,
    ) -> tuple[Tensor, Kept]:  # fmt: skip
        """Return out_THE, and what its gradients want; ValueError for bounds that do not cover T tokens."""

    def paged_attention(
        self, q_THD: Tensor, k_PKDS: Tensor, v_PKSE: Tensor, paging: tuple[Tensor, Tensor], tiles: Tiles,
        scores: Scores, sinks_H: Tensor | None, input_precision: str, prefix: SharedPrefix | None,
    ) -> tuple[Tensor, Kept]:  # fmt: skip
        """Return out_THE, and what its gradients want; `paging` is (position_T, page_BP)."""

    def attention_gradients(
        self, dout_THE: Tensor, q_THD: Tensor, k_TKD: Tensor, v_TKE: Tensor, kept: Kept, bounds_B1: Tensor,
        scores: Scores, sinks_H: Tensor | None, input_precision: str,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:  # fmt: skip
        """Return (dq, dk, dv) in float32 or the inputs' dtype, and dsinks, over whole sequences."""

    def log_softmax(self, logits_RV: Tensor, temperature_R: Tensor) -> Tensor:
        """Return log softmax(logits / temperature), (R, V), of float32."""

    def log_softmax_at(self, logits_RV: Tensor, temperature_R: Tensor, column_RX: Tensor) -> Tensor:
        """Return some columns of `log_softmax`, (R, X): the same bits."""

    def argmax(self, logits_RV: Tensor) -> Tensor:
        """Return the first column with the largest number of each row, (R,) int64; -1 where one is NaN."""

    def ranks(self, logits_RV: Tensor, token_R: Tensor) -> Tensor:
        """Return one more than the number of columns that are larger than token_R's, (R,) int64."""

    def draw(self, logits_RV: Tensor, temperature_R: Tensor, uniform_R: Tensor) -> Tensor:
        """Return the token of each row that a number in [0, 1) draws, (R,) int64."""

    def masked(self, logits_RV: Tensor, bit_RW: Tensor) -> Tensor:
        """Return the logits, -inf where a bit is 0, the lowest of a byte first; (R, V)."""

    def adamw(self, weights: Sequence[Weight], numbers: tuple[float, ...], keys: Sequence[int]) -> None:
        """Take a step in place; `numbers` are those of `kernels.reference.adamw`."""

    def round_into(self, x: Tensor, out: Tensor) -> None:
        """Write x, rounded to out's dtype, to the nearest, ties to even."""

    def checksum(self, word_N: Tensor) -> Tensor:
        """Return int64 that tell the int32 of word_N from others, also from the same in another order."""

    def pack_into(self, out_PKW: Tensor, w_NK: Tensor, start: int) -> None:
        """Write the rows of w_NK as the outputs from `start` on of panels."""


class Kernels(Backend, Protocol):
    """A backend that torch cannot look into: its gradients are operations of their own."""

    def matmul_gradients(
        self, x_RK: Tensor, w_PKW: Tensor, dy_RN: Tensor, need_x: bool, need_w: bool
    ) -> tuple[Tensor | None, Tensor | None]:
        """Return (dx, dw in panels), each if it is needed."""

    def grouped_matmul_gradients(
        self, x_RK: Tensor, w_EPKW: Tensor, dy_RN: Tensor, bound_E1: Tensor, need_x: bool, need_w: bool
    ) -> tuple[Tensor | None, Tensor | None]:
        """Return (dx, dw in panels), each if it is needed; dw is zero for an expert without rows."""

    def add_norm_gradient(
        self, sum_TC: Tensor, w_C: Tensor | None, b_C: Tensor | None, dsum_TC: Tensor | None, dout_TC: Tensor,
        norm: Norm,
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:  # fmt: skip
        """Return (d x, which is d residual too, d w, d b)."""

    def activate_gradient(self, x_TX: Tensor, dout_TF: Tensor, activation: Activation) -> Tensor:
        """Return dx_TX."""

    def xielu_gradient(
        self, x_TF: Tensor, alpha_p_1: Tensor, alpha_n_1: Tensor, dout_TF: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return (dx_TF, d alpha_p, d alpha_n)."""

    def rope_store(
        self, qkv_TX: Tensor, heads: Heads, cos_MR: Tensor, sin_MR: Tensor, position_T: Tensor,
        slot_T: Tensor, k_PKDS: Tensor, v_PKSE: Tensor, growth_M1: Tensor | None,
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        """Return (q_THD, k_TKD) rotated; write keys and values into their slots."""

    def rope_gradient(
        self, dq_THD: Tensor, dk_TKD: Tensor, dv_TKE: Tensor, cos_MR: Tensor, sin_MR: Tensor,
        position_T: Tensor, growth_M1: Tensor | None,
    ) -> Tensor:  # fmt: skip
        """Return dqkv_TX; writes to dq and dk."""


class Replay(Protocol):
    """The kernels of one call, to be launched again all at once."""

    def run(self) -> None:
        """Launch them in their order."""


# Calls a function; returns its result, and its launches, or None where they are not all of it.
Recorder = Callable[[Callable[[], Tensor]], tuple[Tensor, Replay | None]]


def find(device: torch.device, dtype: torch.dtype) -> Kernels | None:
    """Return the kernels that cover this device and dtype, or None: the oracle is for what is left."""
    if device.type == "cpu" and dtype in SCALARS:
        return cpu_ops
    if device.type == "cuda" and dtype in GPU_DTYPES:
        from kernels.gpu import ops as gpu_ops  # Triton is not everywhere

        return gpu_ops
    return None


def of(*tensors: Tensor) -> Backend:
    """Return the kernels that cover all of these tensors' dtypes on their device, or else the oracle."""
    first, *others = [find(x.device, x.dtype) for x in tensors]
    return first if first is not None and None not in others else reference


def kernels_of(x: Tensor) -> Kernels:
    """Return the kernels for a tensor; ValueError where there are none."""
    if (kernels := find(x.device, x.dtype)) is None:
        raise ValueError(f"there is no kernel for {x.dtype} on {x.device}: kernels.reference has the oracle")
    return kernels


def traced(kernels: Backend) -> bool:
    """Tell whether autograd or torch.compile looks on, and needs a `torch.library` op in the kernels' place.

    Decode goes without its cost, and the oracle is plain torch.
    """
    return kernels is not reference and (torch.is_grad_enabled() or torch.compiler.is_compiling())


def recorder(device: torch.device) -> Recorder:
    """Return what records calls there: recordings of one recorder never run at the same time."""
    if device.type == "cpu":
        return partial(cpu_recording.record, arena=cpu_recording.Arena())
    from kernels.gpu import recording  # Triton is not everywhere

    return recording.record


def memory_of(device: torch.device) -> tuple[int, int] | None:
    """Return a GPU's free and whole memory in bytes; None for the CPU, whose memory is not its own."""
    return torch.cuda.mem_get_info(device) if device.type == "cuda" else None


def same_device(a: torch.device, b: torch.device) -> bool:
    """Tell whether two devices are one; without a number a device is the first of its kind."""
    return (a.type, a.index or 0) == (b.type, b.index or 0)
