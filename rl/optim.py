"""Optimizers whose small steps are not lost in bfloat16, and what training keeps for each weight.

With the learning rates of reinforcement learning a step is far smaller than the distance between bfloat16
numbers: rounded to the nearest, weights do not move. `rl/README.md` compares the ways out.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from types import SimpleNamespace
from typing import Any

import torch

from kernels.knobs import Weight
from kernels.ops.adamw import adamw
from minillm.errors import MinillmError, check_values
from minillm.model.master_weights import rounded_copies
from minillm.model.transformer import Transformer

ROUNDINGS = ("stochastic", "kahan")


class BF16AdamW(torch.optim.Optimizer):
    """AdamW (Loshchilov and Hutter, 2019) over bfloat16 weights, gradients and moments.

    Args:
        params: bfloat16 tensors, or groups of them, as torch's optimizers take.
        lr: above 0, as are `eps` and, or 0, `weight_decay`.
        rounding: "stochastic", under which what is served moves at once, by steps of any size, with some
            noise; or "kahan" for a carry of eight bits a weight, kept by this optimizer: nothing is lost, but
            what is served moves only where a weight has come half way to its neighbour.
        seed: of the noise. The same seed and the same gradients give the same bits, also after
            `load_state_dict`, and with any number of threads.

    Raises `MinillmError` for values that make no sense, weights of another dtype or without a fixed place in
    memory, and sparse gradients.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        rounding: str = "stochastic",
        seed: int = 0,
    ) -> None:
        right = len(betas) == 2 and all(0 <= beta < 1 for beta in betas)
        rules = {
            "lr": (lr > 0, "above 0"),
            "betas": (right, "two numbers from 0 to below 1"),
            "eps": (eps > 0, "above 0"),
            "weight_decay": (weight_decay >= 0, "not negative"),
            "rounding": (rounding in ROUNDINGS, f"one of {', '.join(ROUNDINGS)}"),
        }
        options = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "rounding": rounding}
        check_values(SimpleNamespace(**options), rules)
        super().__init__(params, {**options, "seed": seed})

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add tensors with options of their own."""
        super().add_param_group(param_group)
        for i, p in enumerate(self.param_groups[-1]["params"]):
            if p.dtype != torch.bfloat16 or not p.is_contiguous():
                self.param_groups.pop()
                raise MinillmError(
                    f"BF16AdamW is for contiguous bfloat16 weights, but weight {i} is of {p.dtype}; "
                    "load the model in bf16, or use torch.optim.AdamW"
                )

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Make one step for every weight that has a gradient; return the closure's loss, if there is one."""
        with torch.enable_grad():
            loss = closure() if closure is not None else None
        place = 0
        for group in self.param_groups:
            due: dict[int, list[tuple[Weight, int]]] = {}  # by the step that they are at
            for p in group["params"]:
                place += 1
                if p.grad is None:
                    continue
                if p.grad.is_sparse:
                    raise MinillmError("BF16AdamW takes no sparse gradients")
                state = self.state[p]
                if not state:
                    state["step"] = 0
                    state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(p), torch.zeros_like(p)
                    if group["rounding"] == "kahan":
                        state["carry"] = torch.zeros_like(p, dtype=torch.int8)
                state["step"] += 1
                name = f"{group['seed']} {state['step']} {place}".encode()
                key = int.from_bytes(hashlib.blake2b(name, digest_size=4).digest())
                moments = state["exp_avg"], state["exp_avg_sq"], state.get("carry")
                due.setdefault(state["step"], []).append(((p, p.grad.contiguous(), *moments), key))
            options = {name: group[name] for name in ("lr", "betas", "eps", "weight_decay")}
            for step, pairs in due.items():
                weights, keys = zip(*pairs, strict=True)
                adamw(weights, step=step, keys=keys, **options)
        return loss

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Resume where `state_dict` was taken."""
        super().load_state_dict(state_dict)
        for state in self.state.values():
            if "carry" in state:  # torch gives all of a weight's state its dtype, which holds a carry exactly
                state["carry"] = state["carry"].to(torch.int8)


def check_trainable(model: Transformer) -> None:
    """Raise `MinillmError` for integer-quantised weights."""
    if bits := model.precision.bits:
        raise MinillmError(
            f"weights of {bits} bits are for sampling; load the model in fp32 or bf16 to train"
        )


def make_optimizer(
    model: Transformer, lr: float, weight_decay: float = 0.0, rounding: str = "stochastic", seed: int = 0
) -> torch.optim.Optimizer:
    """Make torch's AdamW, or for bf16 weights `BF16AdamW`. Raises `MinillmError` for integer weights."""
    check_trainable(model)
    params = [p for p in model.parameters() if p.requires_grad]
    if model.precision.weights == torch.bfloat16:
        return BF16AdamW(params, lr=lr, weight_decay=weight_decay, rounding=rounding, seed=seed)
    return torch.optim.AdamW(params, lr=lr, weight_decay=weight_decay, fused=True)


def bytes_per_parameter(model: Transformer, optimizer: torch.optim.Optimizer) -> dict[str, float]:
    """Count the bytes that training holds for each weight, by kind, and their "total".

    "gradients" counts one for each trained weight, "state" what the optimizer has after its first step.
    """
    count = sum(p.numel() for p in model.parameters())
    states = [x for state in optimizer.state.values() for x in state.values()]
    tensors = {
        "weights": model.parameters(),
        "copies": [copy for p in model.parameters() for copy in rounded_copies(p)],
        "gradients": [p for group in optimizer.param_groups for p in group["params"]],
        "state": [x for x in states if isinstance(x, torch.Tensor)],
    }
    per_weight = {name: sum(x.nbytes for x in group) / count for name, group in tensors.items()}
    return {**per_weight, "total": sum(per_weight.values())}
