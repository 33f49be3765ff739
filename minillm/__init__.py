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
    FlatLogprobs,
    Logprob,
    RequestMetrics,
    RequestOutput,
)
from minillm.api.sampling_params import BeamSearchParams, RequestOutputKind, SamplingParams
from minillm.api.structured_outputs import StructuredOutputsParams
from minillm.api.vllm_names import PoolingParams
from minillm.async_llm import AsyncLLM
from minillm.checkpoint.load import load_model, save_model
from minillm.engine_args import AsyncEngineArgs, EngineArgs
from minillm.errors import MinillmError
from minillm.inputs import TextPrompt, TokensPrompt
from minillm.llm import LLM
from minillm.llm_engine import LLMEngine
from minillm.model.config import ModelConfig
from minillm.model.logprobs import next_logprobs, token_logprobs
from minillm.model.precision import Precision
from minillm.model.transformer import Transformer
from minillm.tokenizer.tokenizer import Tokenizer

AsyncLLMEngine = AsyncLLM  # vLLM's older name

__all__ = [
    "LLM",
    "AsyncEngineArgs",
    "AsyncLLM",
    "AsyncLLMEngine",
    "BeamSearchOutput",
    "BeamSearchParams",
    "BeamSearchSequence",
    "CompletionOutput",
    "EngineArgs",
    "FlatLogprobs",
    "LLMEngine",
    "LoRARequest",
    "Logprob",
    "MinillmError",
    "ModelConfig",
    "PoolingParams",
    "Precision",
    "RequestMetrics",
    "RequestOutput",
    "RequestOutputKind",
    "SamplingParams",
    "StructuredOutputsParams",
    "TextPrompt",
    "Tokenizer",
    "TokensPrompt",
    "Transformer",
    "load_model",
    "next_logprobs",
    "save_model",
    "token_logprobs",
]
