"""minillm: a from-scratch transformer whose sampler and trainer share one forward, bit for bit."""

from __future__ import annotations

from minillm._shadow import require_own, warn_unless_own

__minillm__ = True
__version__ = "0.1.0"

require_own("kernels")
for _name in ("rl", "arc"):
    warn_unless_own(_name)

from minillm.config import ModelConfig  # noqa: E402
from minillm.errors import MinillmError  # noqa: E402
from minillm.llm import LLM  # noqa: E402
from minillm.logprobs import token_logprobs  # noqa: E402
from minillm.model import Transformer, load_model  # noqa: E402
from minillm.outputs import CompletionOutput, Logprob, RequestOutput  # noqa: E402
from minillm.precision import Precision  # noqa: E402
from minillm.sampling import SamplingParams  # noqa: E402
from minillm.tokenizer import Tokenizer  # noqa: E402

__all__ = [
    "LLM",
    "CompletionOutput",
    "Logprob",
    "MinillmError",
    "ModelConfig",
    "Precision",
    "RequestOutput",
    "SamplingParams",
    "Tokenizer",
    "Transformer",
    "load_model",
    "token_logprobs",
]
