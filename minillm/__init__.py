"""minillm: a from-scratch transformer whose sampler and trainer share one forward, bit for bit."""

from __future__ import annotations

from minillm._shadow import require_own, warn_unless_own

__minillm__ = True
__version__ = "0.1.0"

require_own("kernels")
for _name in ("rl", "arc"):
    warn_unless_own(_name)

from minillm.api.lora_request import LoRARequest
from minillm.api.outputs import (
    BeamSearchOutput,
    BeamSearchSequence,
    CompletionOutput,
    Logprob,
    RequestMetrics,
    RequestOutput,
)
from minillm.api.sampling_params import BeamSearchParams, RequestOutputKind, SamplingParams
from minillm.api.structured_outputs import StructuredOutputsParams
from minillm.checkpoint.load import load_model, save_model
from minillm.errors import MinillmError
from minillm.llm import LLM
from minillm.model.config import ModelConfig
from minillm.model.logprobs import next_logprobs, token_logprobs
from minillm.model.precision import Precision
from minillm.model.transformer import Transformer
from minillm.tokenizer.tokenizer import Tokenizer

__all__ = [
    "LLM",
    "BeamSearchOutput",
    "BeamSearchParams",
    "BeamSearchSequence",
    "CompletionOutput",
    "LoRARequest",
    "Logprob",
    "MinillmError",
    "ModelConfig",
    "Precision",
    "RequestMetrics",
    "RequestOutput",
    "RequestOutputKind",
    "SamplingParams",
    "StructuredOutputsParams",
    "Tokenizer",
    "Transformer",
    "load_model",
    "next_logprobs",
    "save_model",
    "token_logprobs",
]
