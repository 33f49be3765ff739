"""`SamplingParams`, and how a token is drawn.

Legend: R rows, V vocabulary.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from minillm.errors import MinillmError


@dataclass(frozen=True)
class SamplingParams:
    """How to sample one request; vLLM's names and defaults.

    Samples come from the full distribution at `temperature` (0 takes the likeliest token): a truncated
    sampler is another policy than the one that is trained.

    Attributes:
        n: samples of the prompt; they share its part of the KV cache.
        temperature: divides the logits; the reported logprobs are those after it (of temperature 1
            where it is 0).
        max_tokens: most tokens to sample; None samples to the end of the model's context.
        seed: the same seed gives the same tokens whatever else is in the batch; None draws anew.
        stop: strings that end a sample; their text is left out unless `include_stop_str_in_output`.
        stop_token_ids: token ids that end a sample.
        ignore_eos: go on after the model's end-of-sequence token.
        logprobs: None for none, 0 for those of the sampled tokens, k for the k likeliest too.
        skip_special_tokens: leave special tokens out of the text.
    """

    n: int = 1
    temperature: float = 1.0
    max_tokens: int | None = 16
    seed: int | None = None
    stop: str | Sequence[str] | None = None
    stop_token_ids: Sequence[int] | None = None
    ignore_eos: bool = False
    include_stop_str_in_output: bool = False
    logprobs: int | None = None
    skip_special_tokens: bool = True
    stop_strings: tuple[str, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        stop = (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())
        ends = tuple(self.stop_token_ids or ())
        object.__setattr__(self, "stop_strings", stop)
        rules = {
            "n": (isinstance(self.n, int) and self.n >= 1, "a whole number, at least 1"),
            "temperature": (
                isinstance(self.temperature, int | float)
                and (self.temperature == 0 or 1e-4 <= self.temperature < float("inf")),
                "0, or a finite number of at least 0.0001",
            ),
            "max_tokens": (
                self.max_tokens is None or (isinstance(self.max_tokens, int) and self.max_tokens >= 1),
                "a whole number, at least 1, or None",
            ),
            "stop": (all(isinstance(s, str) and s for s in stop), "non-empty strings"),
            "stop_token_ids": (all(isinstance(t, int) for t in ends), "token ids"),
            "logprobs": (self.logprobs is None or self.logprobs >= 0, "None or not negative"),
        }
        for name, (holds, rule) in rules.items():
            if not holds:
                raise MinillmError(f"{name} must be {rule}, got {getattr(self, name)!r}")
        object.__setattr__(self, "stop_token_ids", ends)


def uniform(seed: int, request: int, position: int) -> float:
    """A number in [0, 1) with 53 random bits, a function of its arguments alone.

    Counter-based: whatever shares the batch, and in whatever order rows are drawn, a draw has its own.
    """
    key = f"{seed} {request} {position}".encode()
    return (int.from_bytes(hashlib.blake2b(key, digest_size=8).digest()) >> 11) * 2.0**-53


def draw(logprobs_RV: torch.Tensor, uniforms: Sequence[float]) -> torch.Tensor:
    """One token per row by inverting the cumulative distribution, in float64; (R,) int64."""
    cumulative_RV = logprobs_RV.double().exp_().cumsum_(dim=-1)
    u_R1 = torch.tensor(uniforms, dtype=torch.float64, device=logprobs_RV.device).unsqueeze(1)
    # Scaled by the row's own total, which rounding leaves beside 1; `right` skips what has no mass.
    token_R1 = torch.searchsorted(cumulative_RV, u_R1 * cumulative_RV[:, -1:], right=True)
    return token_R1.squeeze(1).clamp_(max=logprobs_RV.shape[1] - 1)
