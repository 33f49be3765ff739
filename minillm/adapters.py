"""A parameter of a live model with something added or put in its place, and the base to go back to.

Legend: K inputs, R rank, N outputs, E experts, P panels, W panel width.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from weakref import WeakSet

import torch
from torch import nn

from kernels.panels import pack, unpack
from minillm.checkpoint.peft.files import PeftAdapter
from minillm.errors import MinillmError
from minillm.model.config import Matrix, ModelConfig
from minillm.model.transformer import Transformer

# Models that have a LoRA.
adapted: WeakSet[Transformer] = WeakSet()


def check_free(model: Transformer) -> None:
    """Raise for a model that no LoRA can be put on."""
    if bits := model.precision.bits:
        raise MinillmError(
            f"weights of {bits} bits cannot hold a merged LoRA; load the model in fp32 or bf16"
        )
    if model in adapted:
        raise MinillmError("the model has a LoRA already; end that with remove() before another")


@dataclass(eq=False)
class Replaced:
    """A parameter with other numbers than the base's, which no optimizer sees: biases, modules_to_save.

    Attributes:
        w: the model's parameter.
        base: what `w` was; while the base is in place, what replaces it.
    """

    w: nn.Parameter
    base: torch.Tensor

    @torch.no_grad()
    def swap(self) -> None:
        """Exchange `w` and `base`."""
        held = self.w.clone()
        self.w.copy_(self.base)
        self.base.copy_(held)


@dataclass(eq=False)
class Adapter(Replaced):
    """One matrix's base and factors; experts' factors have a leading E.

    Attributes:
        w: base + A (scale * B), rounded to its dtype; in panels, where `packed`, which an embedding is not.
        A_KR, B_RN: float32; where they are read from a file, float64 in a model of float64.
        scale: alpha / rank; or as large as B, where modules of Hugging Face's that are one matrix here have
            an A each: then it is zero off each one's rows and columns, and so B never moves there.
    """

    A_KR: nn.Parameter
    B_RN: nn.Parameter
    scale: float | torch.Tensor
    packed: bool = True

    @property
    def _wide(self) -> torch.dtype:
        return torch.promote_types(self.w.dtype, torch.float32)

    def _factors(self) -> tuple[torch.Tensor, torch.Tensor]:
        return self.A_KR.to(self._wide), self.B_RN.to(self._wide) * self.scale

    @torch.no_grad()
    def merge(self) -> None:
        """w <- round(base + A (scale * B)), summed in float32 (float64 for a model of float64)."""
        A_KR, B_RN = self._factors()
        # Panels of B after A are panels of the product, zero past column N as B's are.
        change = A_KR.unsqueeze(-3) @ pack(B_RN) if self.packed else A_KR @ B_RN
        self.w.copy_(change.add_(self.base))

    @torch.no_grad()
    def swap(self) -> None:
        """Exchange `w` and `base`, of which the merged one alone asks for a gradient.

        No product is computed again, which could round in another way.
        """
        super().swap()
        self.w.requires_grad_(not self.w.requires_grad)

    @torch.no_grad()
    def pull(self, w: torch.Tensor) -> None:
        """Add what the gradient of `w` says to those of A and B, and let go of it."""
        assert w.grad is not None
        dw_KN = (unpack(w.grad, self.B_RN.shape[-1]) if self.packed else w.grad).to(self._wide)
        w.grad = None
        A_KR, B_RN = self._factors()
        _accumulate(self.A_KR, dw_KN @ B_RN.mT)
        _accumulate(self.B_RN, (A_KR.mT @ dw_KN).mul_(self.scale))


def _accumulate(p: nn.Parameter, gradient: torch.Tensor) -> None:
    gradient = gradient.to(p.dtype)
    p.grad = gradient if p.grad is None else p.grad.add_(gradient)


# A, B, scale and whether the matrix is packed, as `Adapter` has them.
Factors = tuple[nn.Parameter, nn.Parameter, float | torch.Tensor, bool]


@torch.no_grad()
def factors(
    read: PeftAdapter, config: ModelConfig, parameters: Mapping[str, torch.Tensor]
) -> dict[str, Factors]:
    """Make the A and B of each matrix that an adapter of PEFT's changes, and their scales."""
    ranks: dict[str, int] = {}
    for pair in read.pairs:
        ranks[pair.place.ours] = max(ranks.get(pair.place.ours, 0), pair.start + pair.rank)
    made: dict[str, tuple[nn.Parameter, nn.Parameter, torch.Tensor, bool]] = {}
    for name, rank in ranks.items():
        w, shape = parameters[name], config.shapes[name]
        wide = torch.promote_types(w.dtype, torch.float32)
        K, N, *experts = shape
        A, B, scale = (
            torch.zeros(*filter(None, experts), *size, dtype=wide, device=w.device)
            for size in ((K, rank), (rank, N), (rank, N))
        )
        made[name] = nn.Parameter(A), nn.Parameter(B), scale, isinstance(shape, Matrix)
    for pair in read.pairs:
        A_KR, B_RN, scale_RN, _ = made[pair.place.ours]
        pair.put(A_KR, B_RN, *(read.tensors[name] for name in pair.names))
        pair.rows(A_KR, scale_RN)[1][..., pair.place.column_N] = pair.scale
    return dict(made)
