"""The model as it was: logprobs of a reference policy, in as little memory as can be.

Legend: R rows (one a prefix), V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import torch

from minillm.checkpoint.load import load_model
from minillm.errors import MinillmError
from minillm.llm import LLM
from minillm.lora import LoRA
from minillm.model.logprobs import next_logprobs, token_logprobs
from minillm.model.precision import Precision, get_precision
from minillm.model.transformer import Transformer


class Reference:
    """Logprobs of a model that training does not move; made by one of three class methods.

    ============= =========================================== ==============================================
    way           the model                                   extra bytes a parameter
    ============= =========================================== ==============================================
    `of_lora`     the live one, with the LoRA's base in place 0: the base is the LoRA's own
    `copy_of`     a second one with the weights of now        2 in bf16 (the default), 4 in fp32
    `from_folder` a second one with a checkpoint's weights    as `copy_of`; in int8 about 1, in int4 about 0.6
    ============= =========================================== ==============================================

    A second model in `bf16-master-fp32` also keeps a rounded copy, 2 bytes more. A bf16 copy of a
    `bf16-master-fp32` model without experts computes its very bits, since that rounds its weights alike.
    """

    def __init__(
        self, model: Transformer, in_place: Callable[[], AbstractContextManager[None]] = nullcontext
    ) -> None:
        """`model` is the reference within `in_place()`."""
        self.model, self._in_place = model, in_place

    @classmethod
    def of_lora(cls, llm_or_model: LLM | Transformer, lora: LoRA) -> Reference:
        """Use the base of a LoRA's model: nothing is copied, and each call puts the base in place and back.

        As for `LoRA.off`, no sampling may be under way, the sampler's prefix cache starts afresh, and a
        loss's forward comes after it. Raises `MinillmError` for a LoRA of another model.
        """
        model = llm_or_model.model if isinstance(llm_or_model, LLM) else llm_or_model
        if lora.model is not model:
            raise MinillmError("the LoRA is another model's; give the model that it was made for")
        return cls(model, lora.off)

    @classmethod
    def copy_of(cls, model: Transformer, precision: str | Precision = "bf16") -> Reference:
        """Make a second model on the same device with the weights of `model` now, rounded to `precision`.

        Give `model.precision` for the same bits. Raises `MinillmError` for integer weights of other bits.
        """
        policy = get_precision(precision)
        if policy.bits != model.precision.bits:
            raise MinillmError(
                f"weights of {policy.bits or model.precision.bits} bits are not copied to or from any "
                "others; read the checkpoint again with Reference.from_folder"
            )
        copy = Transformer(model.config, policy, model.head.device)
        with torch.no_grad():
            for mine, theirs in zip(copy.parameters(), model.parameters(), strict=True):
                mine.copy_(theirs)
        return cls(copy.requires_grad_(False))

    @classmethod
    def from_folder(
        cls, folder: str | Path, precision: str | Precision, device: torch.device | str = "cpu"
    ) -> Reference:
        """Load a checkpoint's model; arguments and errors are `load_model`'s."""
        return cls(load_model(folder, precision, device).requires_grad_(False))

    @torch.no_grad()
    def token_logprobs(
        self, sequences: Sequence[Sequence[int]], temperature: float = 1.0
    ) -> list[torch.Tensor]:
        """Compute `minillm.token_logprobs` without a gradient: (n - 1,) for each list of n token ids."""
        with self._in_place():
            return token_logprobs(self.model, sequences, temperature)

    @torch.no_grad()
    def logprobs(self, prefixes: Sequence[Sequence[int]], temperature: float = 1.0) -> torch.Tensor:
        """Compute `minillm.next_logprobs` without a gradient: (R, V), after each list of token ids."""
        with self._in_place():
            return next_logprobs(self.model, prefixes, temperature)
