"""minillm: a from-scratch transformer whose sampler and trainer share one forward, bit for bit."""

from __future__ import annotations

from minillm._shadow import require_own, warn_unless_own

__minillm__ = True
__version__ = "0.1.0"

require_own("kernels")
for _name in ("rl", "arc"):
    warn_unless_own(_name)

from minillm.config import ModelConfig
from minillm.errors import MinillmError
from minillm.llm import LLM
from minillm.logprobs import next_logprobs, token_logprobs
from minillm.model import Transformer, load_model, save_model
from minillm.outputs import (
    BeamSearchOutput,
    BeamSearchSequence,
    CompletionOutput,
    Logprob,
    RequestMetrics,
    RequestOutput,
)
from minillm.precision import Precision
from minillm.sampling import BeamSearchParams, RequestOutputKind, SamplingParams
from minillm.structured import StructuredOutputsParams
from minillm.tokenizer import Tokenizer

__all__ = [
    "LLM",
    "BeamSearchOutput",
    "BeamSearchParams",
    "BeamSearchSequence",
    "CompletionOutput",
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
