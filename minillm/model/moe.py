"""Mixture of experts: which experts a token goes through, and the sum of what they make of it.

A token's result is made of its own rows alone, added up in the order in which its experts were chosen, so
the row-invariance contract holds as far as it does for the products.

Legend: T tokens, C model width, E experts, N chosen experts, X their pairs with tokens.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from minillm.model.config import Experts

# (x_XC, bound_E1) -> outputs: rows bound[e] to bound[e + 1] through the MLP of expert e
Mlp = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def route(
    logits_TE: torch.Tensor,
    experts: Experts,
    correction_E: torch.Tensor | None,
    dtype: torch.dtype,
    sigmoid: Callable[[torch.Tensor], torch.Tensor],
) -> tuple[torch.Tensor, torch.Tensor]:
    """(weights_TN, chosen_TN), made in `dtype` from logits of any, and of `sigmoid` if the router has one.

    Sources: softmax over all, Shazeer et al. (2017); over the chosen, Mixtral (2024); groups, DeepSeek-V2
    (2024); sigmoid and a correction, DeepSeek-V3 (2024); sparsemixer (Liu et al., 2023), which samples in
    training elsewhere and takes the likeliest here, since the sampler and the trainer must agree.
    """
    N, logits_TE = experts.chosen, logits_TE.to(dtype)
    if experts.router == "chosen_softmax":
        values_TN, chosen_TN = logits_TE.topk(N, dim=-1)
        return torch.softmax(values_TN, dim=-1), chosen_TN
    if experts.router == "sparsemixer":
        return _sparsemixer(logits_TE, N, experts.jitter)
    scores_TE = torch.softmax(logits_TE, dim=-1) if experts.router == "softmax" else sigmoid(logits_TE)
    if correction_E is None and experts.groups == 1:
        weights_TN, chosen_TN = scores_TE.topk(N, dim=-1)
    else:
        order_TE = scores_TE.detach() if correction_E is None else scores_TE.detach() + correction_E
        if experts.groups > 1:
            order_TGX = order_TE.unflatten(1, (experts.groups, -1))
            best_TG = order_TGX.topk(1 if experts.best_of_group else 2, dim=-1)[0].sum(-1)
            kept_TG = torch.zeros_like(best_TG, dtype=torch.bool)
            kept_TG.scatter_(1, best_TG.topk(experts.chosen_groups, dim=-1)[1], True)
            order_TE = order_TGX.masked_fill(~kept_TG.unsqueeze(-1), -torch.inf).flatten(1)
        chosen_TN = order_TE.topk(N, dim=-1)[1]
        weights_TN = scores_TE.gather(1, chosen_TN)
    if experts.normalize:
        total_T1 = weights_TN.sum(-1, keepdim=True)
        weights_TN = weights_TN / (total_T1 + 1e-20 if experts.router == "sigmoid" else total_T1)
    return weights_TN * experts.scale if experts.scale != 1 else weights_TN, chosen_TN


def _sparsemixer(logits_TE: torch.Tensor, N: int, jitter: float) -> tuple[torch.Tensor, torch.Tensor]:
    """One expert after the other: each weight is a softmax over the experts close to the best one left."""
    left_TE, weights, chosen = logits_TE, [], []
    for _ in range(N):
        with torch.no_grad():
            best_T1, index_T1 = left_TE.max(dim=-1, keepdim=True)
            far_TE = (best_T1 - logits_TE) / logits_TE.abs().clamp(min=best_T1) > 2 * jitter
        gates_TE = torch.softmax(left_TE.masked_fill(far_TE, -torch.inf), dim=-1)
        weights.append(gates_TE.gather(1, index_T1))
        chosen.append(index_T1)
        left_TE = left_TE.scatter(1, index_T1, -torch.inf)
    return torch.cat(weights, dim=1), torch.cat(chosen, dim=1)


def combine(
    x_TC: torch.Tensor, weights_TN: torch.Tensor, chosen_TN: torch.Tensor, experts: Experts, mlp: Mlp
) -> torch.Tensor:
    """sum over n of weights[:, n] * mlp(x, chosen[:, n]), in float32 at least, rounded once to x's dtype.

    Or of mlp(weights[:, n] * x, chosen[:, n]), as Llama 4 (2025) has it.
    """
    wide, count = torch.promote_types(x_TC.dtype, torch.float32), experts.count
    N = chosen_TN.shape[1]
    sorted_X, pair_X = chosen_TN.flatten().sort(stable=True)
    bound_E1 = torch.searchsorted(sorted_X, torch.arange(count + 1, device=x_TC.device))
    x_XC = x_TC[pair_X // N]
    if experts.scaled_input:
        x_XC = x_XC * weights_TN.flatten()[pair_X].to(x_TC.dtype).unsqueeze(-1)
    outputs_TNC = mlp(x_XC, bound_E1)[pair_X.argsort()].unflatten(0, (-1, N)).to(wide)
    if not experts.scaled_input:
        outputs_TNC = outputs_TNC * weights_TN.to(wide).unsqueeze(-1)
    total_TC: torch.Tensor = outputs_TNC[:, 0]
    for n in range(1, N):
        total_TC = total_TC + outputs_TNC[:, n]
    return total_TC.to(x_TC.dtype)
