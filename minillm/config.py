"""`ModelConfig`: one frozen field per architectural knob."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ModelConfig:
    """What a decoder-only transformer is made of; sizes in elements, `rope_theta` the base of its angles."""

    model_type: str
    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_layers: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    max_position_embeddings: int
    norm_eps: float
    rope_theta: float
    tie_word_embeddings: bool

    @property
    def heads(self) -> tuple[int, int, int]:
        """(query heads, kv heads, head dim)."""
        return self.num_heads, self.num_kv_heads, self.head_dim

    @property
    def matrices(self) -> dict[str, tuple[int, int]]:
        """Each weight matrix's inputs and outputs, by the last part of its parameter's name."""
        C, F, (H, K, D) = self.hidden_size, self.intermediate_size, self.heads
        return {
            "qkv": (C, (H + 2 * K) * D),
            "o": (H * D, C),
            "gate_up": (C, 2 * F),
            "down": (F, C),
            "head": (C, self.vocab_size),
        }
