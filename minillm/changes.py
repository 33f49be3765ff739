"""Whether weights changed.

Every change of a tensor in place counts up its version, and what is made of weights (the prefix cache,
rounded copies) is made anew when that has grown. torch's fused optimizers write past the count, so it is
counted up for them after each of their steps.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch.optim.optimizer import register_optimizer_step_post_hook


def version(tensors: Iterable[torch.Tensor]) -> int:
    """A number that grows with every change of any of them in place; one through `.data` hides from it."""
    return sum(x._version for x in tensors)


def _count(optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
    for group in optimizer.param_groups:
        if group.get("fused"):
            for p in group["params"]:
                if p.grad is not None:
                    torch.autograd.graph.increment_version(p)


register_optimizer_step_post_hook(_count)
