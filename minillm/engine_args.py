"""`EngineArgs` and `AsyncEngineArgs`: the arguments of an `LLM` as a dataclass."""

from __future__ import annotations

import argparse
import inspect
import json
from dataclasses import MISSING, dataclass, fields
from typing import TYPE_CHECKING, Any, Self

from minillm.api.engine_arguments import FOREIGN
from minillm.errors import Class, MinillmError, in_vllms_place, refusing
from minillm.llm import LLM

_MAKE = "make an engine: LLM(...), or LLMEngine.from_engine_args(args), or AsyncLLM.from_engine_args(args)"
_ABSENT = dict.fromkeys(
    ("create_engine_config", "create_load_config", "create_model_config", "create_speculative_config"), _MAKE
)
# Options whose values are text, whatever they look like.
_TEXT = ("model", "tokenizer", "dtype", "precision", "device", "generation_config")


def _with_arguments_of_llm(cls: Class) -> Class:
    """Give a class those arguments, and those that only vLLM has, for `dataclass` to make fields of."""
    own = {parameter.name: parameter.default for parameter in inspect.signature(LLM).parameters.values()}
    others = {name: foreign.default for name, foreign in FOREIGN.items() if name not in own}
    for name, default in {**own, **others}.items():
        cls.__annotations__[name] = Any
        if default is not inspect.Parameter.empty:
            setattr(cls, name, default)
    return cls


@refusing({})
@in_vllms_place(_ABSENT)
@dataclass
@_with_arguments_of_llm
class EngineArgs:
    """The arguments of `LLM`, each a field; those that only vLLM has are there with vLLM's defaults.

    Values are checked when an `LLM` is made: by `create_llm`, `LLMEngine.from_engine_args`,
    `AsyncLLM.from_engine_args`, or `LLM(**dataclasses.asdict(args))`.
    """

    if TYPE_CHECKING:  # fields that are made at run time

        def __init__(self, model: Any, tokenizer: Any = None, **options: Any) -> None: ...

        def __getattr__(self, name: str) -> Any: ...

    def create_llm(self) -> LLM:
        """Make the `LLM`; raise `MinillmError` as it does."""
        return LLM(**{field.name: getattr(self, field.name) for field in fields(self)})

    @staticmethod
    def add_cli_args(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
        """Give a parser an option for each field, such as --max-num-seqs 8 or --no-enable-prefix-caching.

        Values that are no text are read as JSON.
        """
        for field in fields(EngineArgs):
            option = f"--{field.name.replace('_', '-')}"
            if isinstance(field.default, bool):
                parser.add_argument(option, action=argparse.BooleanOptionalAction, default=field.default)
            else:
                read = str if field.name in _TEXT else _value
                is_needed = field.default is MISSING
                default = None if is_needed else field.default
                nargs = None if field.name in _TEXT else "?"  # some of vLLM's are flags
                parser.add_argument(
                    option, type=read, default=default, required=is_needed, nargs=nargs, const=nargs and True
                )
        return parser

    @classmethod
    def from_cli_args(cls, args: argparse.Namespace) -> Self:
        """Make the arguments of what a parser has read; its other options are passed over."""
        names = [field.name for field in fields(cls) if hasattr(args, field.name)]
        if "model" not in names:
            raise MinillmError("args must have a model; make the parser by EngineArgs.add_cli_args(parser)")
        return cls(**{name: getattr(args, name) for name in names})


class AsyncEngineArgs(EngineArgs):
    """The same, for `AsyncLLM`."""


def _value(text: str) -> Any:
    try:
        return None if text == "None" else json.loads(text)
    except ValueError:
        return text
