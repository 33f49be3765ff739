"""The sizes of real models that kernels are timed at."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Shape:
    """Widths of the stream and of the MLP, query heads, kv heads, head dim, and the vocabulary."""

    width: int
    mlp: int
    heads: int
    kv_heads: int
    head_dim: int
    vocabulary: int

    @property
    def products(self) -> dict[str, tuple[int, int]]:
        """(K, N) of each product of a layer, with gate and up side by side, and of the head."""
        own = self.heads * self.head_dim
        return {
            "qkv": (self.width, own + 2 * self.kv_heads * self.head_dim),
            "o": (own, self.width),
            "gate_up": (self.width, 2 * self.mlp),
            "down": (self.mlp, self.width),
            "head": (self.width, self.vocabulary),
        }


MODELS = {
    "SmolLM2-135M": Shape(576, 1536, 9, 3, 64, 49152),
    "Gemma-3-270M": Shape(640, 2048, 4, 1, 256, 262144),
    "Qwen3-0.6B": Shape(1024, 3072, 16, 8, 128, 151936),
    "Llama-3.2-1B": Shape(2048, 8192, 32, 8, 64, 128256),
    "Qwen3-4B": Shape(2560, 9728, 32, 8, 128, 151936),
}
# For tests, and for kernels under Triton's interpreter.
TINY = {"tiny": Shape(40, 80, 2, 1, 16, 200)}
