"""`EngineArgs` and `AsyncEngineArgs`: the arguments of an `LLM` as a dataclass."""

from __future__ import annotations

import inspect
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from minillm.api.engine_arguments import FOREIGN
from minillm.errors import Class, refusing
from minillm.llm import LLM


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


class AsyncEngineArgs(EngineArgs):
    """The same, for `AsyncLLM`."""
