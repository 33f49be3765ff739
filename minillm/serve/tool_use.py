"""What a chat asks for with `tools`, `tool_choice` and `parallel_tool_calls`, and the grammar of calls."""

from __future__ import annotations

import json
import reprlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from minillm.api.structured_outputs import StructuredOutputsParams
from minillm.errors import MinillmError

Json = dict[str, Any]

# As json.dumps writes it, which is what models have read.
_LAYOUT = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}
# Where a schema has one of these, its properties are not all in "properties".
_SPREAD = ("$ref", "allOf", "anyOf", "oneOf", "if", "patternProperties")


@dataclass(frozen=True)
class ToolUse:
    """How an answer may call functions.

    Attributes:
        tools: as the request gives them.
        mode: "none", "auto", "required" or "named".
        name: of the function that must be called.
        parallel: whether there may be more calls than one.
    """

    tools: Sequence[Json] = ()
    mode: str = "none"
    name: str | None = None
    parallel: bool = True

    @classmethod
    def of(cls, arguments: Mapping[str, Any]) -> ToolUse:
        """Read the fields of a request.

        Raises:
            MinillmError: a tool is no function, or the choice is none or of a function that is not there.
        """
        tools = [_tool(i, tool) for i, tool in enumerate(arguments.get("tools") or [])]
        parallel = arguments.get("parallel_tool_calls", True)
        choice = arguments.get("tool_choice", "auto" if tools else "none")
        match choice:
            case "none" | "auto":
                return cls(tools, choice if tools else "none", parallel=parallel)
            case "required":
                mode, name = "required", None
            case {"type": "function", "function": {"name": str(name)}}:
                mode = "named"
            case _:
                raise MinillmError(
                    "tool_choice must be 'none', 'auto', 'required' or {'type': 'function', 'function': "
                    f"{{'name': ...}}}}, got {reprlib.repr(choice)}"
                )
        names = [tool["function"]["name"] for tool in tools]
        if not tools or (name is not None and name not in names):
            what = reprlib.repr(choice)
            raise MinillmError(f"tool_choice is {what}, but tools has {', '.join(names) or 'no function'}")
        return cls(tools, mode, name, parallel)

    @property
    def is_forced(self) -> bool:
        """Whether the answer must be calls, so that a grammar makes them."""
        return self.mode in ("required", "named")

    def grammar(self) -> StructuredOutputsParams:
        """Return what a forced answer must be: the arguments of a named function, or a list of calls."""
        functions = [tool["function"] for tool in self.tools]
        if self.name is not None:
            (function, *_) = [function for function in functions if function["name"] == self.name]
            return StructuredOutputsParams(grammar=f"start: {_arguments(function)}")
        calls = [
            f"{_terminal(function['name'])} {_arguments(function)} {json.dumps('}')}"
            for function in functions
        ]
        more = ' (", " call)*' if self.parallel else ""
        rules = [f'start: "[" call{more} "]"', "call: " + " | ".join(f"call{i}" for i in range(len(calls)))]
        rules += [f"call{i}: {call}" for i, call in enumerate(calls)]
        return StructuredOutputsParams(grammar="\n".join(rules))


def _tool(i: int, tool: Any) -> Json:
    """Check a tool: its name, and that its parameters are a schema."""
    match tool:
        case {"function": {"name": str(name), **function}} if name and tool.get("type") in (None, "function"):
            parameters, description = function.get("parameters"), function.get("description")
            if isinstance(parameters, dict | None) and isinstance(description, str | None):
                return {"type": "function", **{key: tool[key] for key in tool if key != "type"}}
    raise MinillmError(
        f"tools[{i}] must be {{'type': 'function', 'function': {{'name': ..., 'description': ..., "
        f"'parameters': a JSON schema}}}}, got {reprlib.repr(tool)}"
    )


def _terminal(name: str) -> str:
    """Write how a call begins, as a text of a Lark grammar."""
    return json.dumps(f'{{"name": {json.dumps(name)}, "parameters": ')


def _arguments(function: Json) -> str:
    """Write a function's parameters as a rule of a Lark grammar: an object, of which all keys are known."""
    schema: Json = function.get("parameters") or {"type": "object", "properties": {}}
    if "properties" in schema and not any(key in schema for key in _SPREAD):
        schema = {"type": "object", "additionalProperties": False, **schema}
    return f"%json {json.dumps({'x-guidance': _LAYOUT, **schema})}"
