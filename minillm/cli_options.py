"""How the command line takes what it takes: the types of its options, those that parameters declare, and
those of the model, which all commands have."""

from __future__ import annotations

import ast
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from functools import partial
from inspect import getdoc
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import tyro

from minillm.api.parameters import parameters
from minillm.api.sampling_params import SamplingParams
from minillm.errors import Class

if TYPE_CHECKING:
    from minillm.llm import LLM

arg = partial(tyro.conf.arg, help_behavior_hint="")
# What need not be given; its help says what then holds.
Whole = Annotated[int | None, arg(metavar="INT")]
Number = Annotated[float | None, arg(metavar="FLOAT")]
Name = Annotated[str | None, arg(metavar="STR")]
File = Annotated[Path | None, arg(metavar="PATH")]


def _length(text: str) -> int | None:
    """Read a number of tokens as vLLM does: 4096, 4k (4000), 4K (4096), 1.5m; "auto" and -1 are None."""
    if text in ("auto", "-1"):
        return None
    powers = {"k": 10**3, "m": 10**6, "g": 10**9, "K": 2**10, "M": 2**20, "G": 2**30}
    if (unit := powers.get(text[-1:])) is None:
        return int(text)
    if unit % 10 and not text[:-1].isdecimal():
        raise ValueError(f"{text} has a point, which goes with k, m and g alone")
    return int(float(text[:-1]) * unit)


def _object(text: str) -> dict[str, Any]:
    if type(read := json.loads(text)) is not dict:
        raise ValueError(f"{text} is no JSON object")
    return read


Length = Annotated[
    int | None,
    tyro.constructors.PrimitiveConstructorSpec(
        nargs=1,
        metavar="INT",
        instance_from_str=lambda words: _length(words[0]),
        is_instance=lambda x: x is None or type(x) is int,
        str_from_instance=lambda x: [str(x)],
    ),
    arg(),
]
Object = Annotated[
    dict[str, Any] | None,
    tyro.constructors.PrimitiveConstructorSpec(
        nargs=1,
        metavar="JSON",
        instance_from_str=lambda words: _object(words[0]),
        is_instance=lambda x: x is None or type(x) is dict,
        str_from_instance=lambda x: [json.dumps(x)],
    ),
    arg(),
]
# A text that may be given several times.
Names = tyro.conf.UseAppendAction[tuple[str, ...]]
# How the command line takes a parameter of each type, and what stands for one that is left out.
OPTIONS: dict[Any, tuple[Any, Any]] = {
    float: (Number, None),
    int: (Whole, None),
    int | None: (Whole, None),
    bool: (bool, False),
    str | Sequence[str] | None: (Names, ()),
}


def options(params: type) -> dict[str, tuple[Any, Any]]:
    """Return the type and the default of each option that the parameters of a dataclass declare."""
    hints = get_type_hints(params)
    offered: dict[str, tuple[Any, Any]] = {}
    for name, parameter in parameters(params).items():
        if parameter.cli:
            kind, default = OPTIONS[hints[name]]
            text = None if parameter.cli is True else parameter.cli  # None: what `_Arguments` says
            offered[name] = (Annotated[kind, tyro.conf.arg(help=text)], default)
    return offered


def offering(params: type, without: Sequence[str] = ()) -> Callable[[Class], Class]:
    """Give a class those options but some, for `dataclass` to make fields of; its own stay."""

    def wrap(cls: Class) -> Class:
        for name, (kind, default) in options(params).items():
            if name not in without and name not in cls.__annotations__:
                cls.__annotations__[name] = kind
                setattr(cls, name, default)
        return cls

    return wrap


def _docstring_of_llm() -> str:
    """Read `LLM`'s docstring in its source: to import it is to load torch, for which help is not to wait."""
    source = Path(__file__).with_name("llm.py").read_text(encoding="utf-8")
    classes = (x for x in ast.parse(source).body if isinstance(x, ast.ClassDef))
    return next(ast.get_docstring(x) or "" for x in classes if x.name == "LLM")


# Where tyro finds what an option is, besides a command's own docstring.
class _Arguments:
    __doc__ = f"{getdoc(SamplingParams)}\n\n{_docstring_of_llm()}"


@dataclass(frozen=True)
class Model(_Arguments):
    """Which model, and how it runs.

    Attributes:
        model: a folder, a Hugging Face hub id, or the packaged demo model, smollm2-135m-instruct.
        tokenizer: folder of another tokenizer than the model's.
        dtype: float32, bfloat16, float16, float64 or auto (the checkpoint's), instead of a precision.
        precision: fp32, bf16, fp32-attn-bf16, bf16-master-fp32, int8, int4 or fp64; by default fp32.
        device: where it runs, such as cpu or cuda.
    """

    model: Annotated[str, tyro.conf.Positional, arg(metavar="MODEL")]
    tokenizer: Name = None
    dtype: Name = None
    precision: Name = None
    device: str = "cpu"
    seed: int = 0
    max_model_len: Length = None
    max_num_seqs: int = 64
    max_num_batched_tokens: Length = 2048
    enable_prefix_caching: bool = True
    gpu_memory_utilization: Number = None
    kv_cache_memory_bytes: Length = None
    max_logprobs: int = 20
    logprobs_mode: str = "tempered_logprobs"
    generation_config: str = "auto"
    override_generation_config: Object = None
    hf_overrides: Object = None
    scheduling_policy: str = "fcfs"
    structured_outputs_config: Object = None

    def load(self, *more: str) -> LLM:
        """Load the model, ready to sample from; `more` are further options that `LLM` takes."""
        from minillm.llm import LLM  # loads torch, for which help is not to wait

        print(f"loading {self.model} in {self.precision or self.dtype or 'fp32'}", file=sys.stderr)
        names = [*(field.name for field in fields(Model)), *more]
        return LLM(**{name: getattr(self, name) for name in names})
