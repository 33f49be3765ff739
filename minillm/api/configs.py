"""What vLLM's configs say of an engine, under vLLM's names."""

from __future__ import annotations

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class ModelInfo:
    """What vLLM's `model_config` says of a model."""

    max_model_len: int
    dtype: torch.dtype
    vocab_size: int
    hidden_size: int

    def get_vocab_size(self) -> int:
        """Return the number of tokens that have logits."""
        return self.vocab_size

    def get_hidden_size(self) -> int:
        """Return the model's width."""
        return self.hidden_size


@dataclass(frozen=True)
class CacheInfo:
    """What vLLM's `cache_config` says of the KV cache."""

    block_size: int
    num_gpu_blocks: int
    enable_prefix_caching: bool


@dataclass(frozen=True)
class SchedulerInfo:
    """What vLLM's `scheduler_config` says of a step."""

    max_num_seqs: int
    max_num_batched_tokens: int
    policy: str
