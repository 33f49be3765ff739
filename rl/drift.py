"""How far a policy moved where it was not meant to: its distributions over probe texts.

Legend: R probe tokens, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from minillm.errors import MinillmError
from minillm.model.logprobs import next_logprobs
from minillm.model.transformer import Transformer


class ProbeTexts:
    """Texts whose logprobs are not meant to move. Raises `MinillmError` for those without two tokens."""

    def __init__(self, model: Transformer, texts: Sequence[Sequence[int]]) -> None:
        for i, ids in enumerate(texts):
            if len(ids) < 2:
                raise MinillmError(f"probe text {i} has {len(ids)} tokens; a logprob needs at least two")
            model.check_tokens(ids)
        self.model, self.texts = model, [list(ids) for ids in texts]

    @torch.no_grad()
    def rows(self) -> torch.Tensor:
        """Compute the policy before each token of each text but the first ones, (R, V) logprobs."""
        model = self.model
        if not self.texts:
            return torch.empty(0, model.config.vocab_size, device=model.head.device)
        return next_logprobs(model, [ids[:i] for ids in self.texts for i in range(1, len(ids))])


def kl(old_RV: torch.Tensor, new_RV: torch.Tensor) -> float:
    """Average the Kullback-Leibler divergences of the new rows from the old ones, in nats; 0 for no rows.

    Tokens of probability 0 in the old rows do not count. NaN where a row holds NaN.
    """
    if not len(old_RV):
        return 0.0
    old_RV = old_RV.double()
    kl_RV = old_RV.exp() * (old_RV - new_RV.double())
    return kl_RV.masked_fill(old_RV == -torch.inf, 0.0).sum(1).mean().item()
