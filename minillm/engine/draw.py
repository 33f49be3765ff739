"""How a token is drawn: noise, and what sampling parameters do to logits.

Legend: V vocabulary.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence

import torch

from minillm.api.sampling_params import SamplingParams


def uniform(seed: int, request: int, position: int) -> float:
    """Draw a number in [0, 1) with 53 random bits, a function of its arguments alone.

    Counter-based: whatever shares the batch, and in whatever order rows are drawn, a draw has its own.
    """
    key = f"{seed} {request} {position}".encode()
    return (int.from_bytes(hashlib.blake2b(key, digest_size=8).digest()) >> 11) * 2.0**-53


def truncate(logits_V: torch.Tensor, params: SamplingParams) -> torch.Tensor:
    """Logits after the temperature, -inf where min_p, top_k and top_p leave a token out, in vLLM's order.

    min_p: Nguyen et al. (2024); top_k: Fan et al. (2018); top_p: Holtzman et al. (2019). Of tokens as likely
    as the k-th all are kept.
    """
    if params.min_p:
        p_V = torch.softmax(logits_V, dim=-1)
        logits_V = logits_V.masked_fill(p_V < params.min_p * p_V.max(), -torch.inf)
    if 0 < params.top_k < logits_V.shape[0]:
        least = logits_V.topk(params.top_k)[0][-1]
        logits_V = logits_V.masked_fill(logits_V < least, -torch.inf)
    if params.top_p < 1:
        sorted_V, order_V = logits_V.sort(stable=True)
        # From the least likely on: those whose mass, with all less likely ones, is within 1 - top_p.
        below_V = torch.softmax(sorted_V, dim=-1).cumsum(dim=-1) <= 1 - params.top_p
        below_V[-1] = False
        logits_V = logits_V.masked_fill(torch.zeros_like(below_V).scatter_(0, order_V, below_V), -torch.inf)
    return logits_V


def penalize(
    logits_V: torch.Tensor, params: SamplingParams, prompt_ids: Sequence[int], output_ids: Sequence[int]
) -> torch.Tensor:
    """Logits after the repetition (Keskar et al., 2019), frequency and presence penalties (OpenAI)."""
    if params.repetition_penalty != 1:
        seen = torch.tensor(sorted({*prompt_ids, *output_ids}), device=logits_V.device)
        values = logits_V[seen]
        factor = params.repetition_penalty
        logits_V = logits_V.index_copy(0, seen, torch.where(values > 0, values / factor, values * factor))
    if (params.frequency_penalty or params.presence_penalty) and output_ids:
        # Counted here: torch.bincount waits for a GPU.
        counts = Counter(output_ids)
        seen = torch.tensor(list(counts), device=logits_V.device)
        count_V = torch.zeros_like(logits_V).index_copy_(0, seen, logits_V.new_tensor(list(counts.values())))
        logits_V = logits_V - params.frequency_penalty * count_V - params.presence_penalty * (count_V > 0)
    return logits_V
