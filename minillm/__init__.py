"""minillm: a from-scratch transformer whose sampler and trainer share one forward, bit for bit.

What stands here is imported when it is first asked for, so that `minillm.errors`, say, does not load torch.
"""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from minillm._shadow import require_own, warn_unless_own

__minillm__ = True
__version__ = "0.1.0"

require_own("kernels")
for _name in ("rl", "arc"):
    warn_unless_own(_name)

if TYPE_CHECKING:
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
    from minillm.async_llm import AsyncLLM as AsyncLLMEngine
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

# Where each of them is; AsyncLLMEngine is vLLM's older name of AsyncLLM.
_MODULES = {
    "api.lora_request": "LoRARequest",
    "api.outputs": "BeamSearchOutput BeamSearchSequence CompletionOutput FlatLogprobs Logprob RequestMetrics "
    "RequestOutput",
    "api.sampling_params": "BeamSearchParams RequestOutputKind SamplingParams",
    "api.structured_outputs": "StructuredOutputsParams",
    "api.vllm_names": "PoolingParams",
    "async_llm": "AsyncLLM",
    "checkpoint.load": "load_model save_model",
    "engine_args": "AsyncEngineArgs EngineArgs",
    "errors": "MinillmError",
    "inputs": "TextPrompt TokensPrompt",
    "llm": "LLM",
    "llm_engine": "LLMEngine",
    "model.config": "ModelConfig",
    "model.logprobs": "next_logprobs token_logprobs",
    "model.precision": "Precision",
    "model.transformer": "Transformer",
    "tokenizer.tokenizer": "Tokenizer",
}
_HOMES = {name: (module, name) for module, names in _MODULES.items() for name in names.split()}
_HOMES["AsyncLLMEngine"] = ("async_llm", "AsyncLLM")


def __getattr__(name: str) -> Any:
    if home := _HOMES.get(name):
        value = getattr(import_module(f"{__name__}.{home[0]}"), home[1])
    elif not name.startswith("_") and find_spec(f"{__name__}.{name}"):
        value = import_module(f"{__name__}.{name}")
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
