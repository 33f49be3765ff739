"""The fields of OpenAI's completions and chat completions, with vLLM's additions, and what their values mean.

Nothing of a request is ignored: a field that is not supported is an error, unless its value asks for nothing.
A field that is null counts as left out.
"""

from __future__ import annotations

import difflib
import json
import re
import reprlib
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from minillm.api.parameters import FLAG, OBJECT, TEXT, WHOLE, Kind, http_fields, is_ids, is_texts
from minillm.api.sampling_params import SamplingParams
from minillm.api.structured_outputs import StructuredOutputsParams
from minillm.errors import MinillmError

Json = dict[str, Any]


def _is_prompt(x: Any) -> bool:
    if type(x) is list and x and type(x[0]) is list:
        return all(is_ids(ids) for ids in x)
    return type(x) is str or (bool(x) and (is_texts(x) or is_ids(x)))


# Fields that `SamplingParams` has under the same name.
SAMPLING = http_fields(SamplingParams)
COMMON: dict[str, Kind] = {
    **SAMPLING,
    "model": TEXT, "stream": FLAG, "stream_options": OBJECT, "echo": FLAG, "response_format": OBJECT,
    "return_token_ids": FLAG, "return_tokens_as_token_ids": FLAG,
}  # fmt: skip
COMPLETION: dict[str, Kind] = {
    **COMMON,
    "prompt": (_is_prompt, "a string, a list of token ids, or a list of either, and not empty"),
    "add_special_tokens": FLAG,
}
CHAT: dict[str, Kind] = {
    **COMMON,
    "messages": (lambda x: type(x) is list and all(type(m) is dict for m in x), "a list of objects"),
    "logprobs": FLAG,
    "top_logprobs": WHOLE,
    "max_completion_tokens": WHOLE,
    "add_generation_prompt": FLAG,
    "continue_final_message": FLAG,
    "chat_template_kwargs": OBJECT,
}

# Fields of OpenAI's and vLLM's that are not supported, with the values that ask for nothing.
UNSUPPORTED: Json = {
    "audio": None, "best_of": 1, "cache_salt": None, "chat_template": None, "documents": None,
    "function_call": "none", "functions": [], "include_reasoning": True, "kv_transfer_params": None,
    "length_penalty": 1, "metadata": {}, "mm_processor_kwargs": None, "modalities": ["text"],
    "moderation": None, "parallel_tool_calls": True, "prediction": None, "priority": 0,
    "prompt_cache_key": None, "prompt_cache_options": None, "prompt_cache_retention": None,
    "prompt_embeds": None, "reasoning_effort": None, "repetition_detection": None, "request_id": None,
    "safety_identifier": None, "service_tier": "auto", "session_id": None,
    "spaces_between_special_tokens": True, "store": False, "stream_interval": 1, "suffix": "",
    "thinking_token_budget": -1, "tool_choice": "none", "tools": [], "truncate_prompt_tokens": None,
    "truncation_side": None, "use_beam_search": False, "user": None, "verbosity": "medium",
    "vllm_xargs": {}, "watermarking": None, "web_search_options": None,
}  # fmt: skip


class ApiError(MinillmError):
    """An error as OpenAI's clients know it: an HTTP status, the field at fault, and a code."""

    def __init__(
        self, message: str, status: int = 400, param: str | None = None, code: str | None = None
    ) -> None:
        super().__init__(message)
        self.status, self.param, self.code = status, param, code

    @classmethod
    def of(cls, error: MinillmError, names: Mapping[str, Any]) -> ApiError:
        """Convert an error; the field at fault, one of `names`, is what its message begins with."""
        first = re.match(r"\w*", str(error))
        return cls(str(error), param=first[0] if first and first[0] in names else None)

    def body(self) -> Json:
        """Write the error in OpenAI's shape."""
        kind = "invalid_request_error" if self.status < 500 else "server_error"
        return {"error": {"message": str(self), "type": kind, "param": self.param, "code": self.code}}


def dumps(content: Json) -> str:
    """Write JSON, in ASCII: half a surrogate pair, which a client may send, has no UTF-8."""
    return json.dumps(content, allow_nan=False, separators=(",", ":"))


def given_fields(body: Any, known: Mapping[str, Kind], unsupported: Json = UNSUPPORTED) -> Json:
    """Return the fields that are there, each of its kind; `MinillmError` for one that is not or not known."""
    if type(body) is not dict:
        raise ApiError("the body must be a JSON object")
    for name, value in body.items():
        if name in known:
            holds, kind = known[name]
            if value is not None and not holds(value):
                raise MinillmError(f"{name} must be {kind}, got {reprlib.repr(value)}")
        elif name not in unsupported:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]}?" if near else "leave it out"
            raise ApiError(f"there is no field {reprlib.repr(name)}; {hint}", param=name)
        elif value is not None and value != unsupported[name]:
            raise MinillmError(
                f"{name} = {reprlib.repr(value)}: OpenAI or vLLM has this field, minillm does not support "
                "it; leave it out"
            )
    return {name: value for name, value in body.items() if name in known and value is not None}


def include_usage(options: Json | None, stream: bool) -> bool:
    """Tell whether `stream_options` ask for usage at the end of the stream."""
    if options is None:
        return False
    if not stream:
        raise MinillmError("stream_options go with stream: true; leave out one")
    for name, value in options.items():
        if name != "include_usage" and (name, value) != ("include_obfuscation", False) and value is not None:
            raise MinillmError(f"stream_options: {name} is not supported, only include_usage")
    if type(wanted := options.get("include_usage") or False) is not bool:
        raise MinillmError("stream_options: include_usage must be true or false")
    return wanted


def logit_bias(bias: Json | None) -> dict[int, float] | None:
    """Read `logit_bias` by token id, which is a string in JSON."""
    try:
        return None if bias is None else {int(token): value for token, value in bias.items()}
    except ValueError as error:
        raise MinillmError("logit_bias must have token ids as its keys") from error


def structured_outputs(arguments: Json) -> StructuredOutputsParams | None:
    """Read what `response_format`, OpenAI's field, or `structured_outputs`, vLLM's, want the text to be."""
    response_format, direct = arguments.get("response_format"), arguments.get("structured_outputs")
    if direct is not None:
        if response_format is not None:
            raise ApiError("give response_format or structured_outputs, not both", param="structured_outputs")
        names = [field.name for field in fields(StructuredOutputsParams)]
        if unknown := sorted(direct.keys() - {*names}):
            raise MinillmError(f"structured_outputs has no {unknown[0]!r}, only {', '.join(names)}")
        try:
            return StructuredOutputsParams(**direct)
        except MinillmError as error:
            raise MinillmError(f"structured_outputs: {error}") from error
    if response_format is None or response_format == {"type": "text"}:
        return None
    if response_format == {"type": "json_object"}:
        return StructuredOutputsParams(json_object=True)
    wanted = response_format.get("json_schema")
    if response_format.keys() != {"type", "json_schema"} or response_format["type"] != "json_schema":
        raise MinillmError(
            "response_format must be {'type': 'text'}, {'type': 'json_object'} or {'type': 'json_schema', "
            f"'json_schema': {{'schema': ...}}}}, got {reprlib.repr(response_format)}"
        )
    if type(wanted) is not dict or type(wanted.get("schema")) is not dict:
        raise MinillmError("response_format: json_schema must hold a 'schema'")
    if others := wanted.keys() - {"schema", "name", "description", "strict"}:
        raise MinillmError(f"response_format: json_schema has no {min(others)!r}")
    return StructuredOutputsParams(json=wanted["schema"])


def message(i: int, message: Json) -> Json:
    """Read a message, its content as one string."""
    where = f"messages[{i}]"
    arguments = {name: value for name, value in message.items() if value is not None}
    if unknown := arguments.keys() - {"role", "content", "name"}:
        raise MinillmError(
            f"{where}: {min(unknown)} is not supported; a message has a role, a content and maybe a name"
        )
    if type(arguments.get("role")) is not str:
        raise MinillmError(f"{where} needs a role, such as 'user'")
    content = arguments.get("content")
    if type(content) is list:
        for part in content:
            match part:
                case {"type": "text", "text": str()} if len(part) == 2:
                    continue
            what = f"must be {{'type': 'text', 'text': ...}}, got {reprlib.repr(part)}"
            raise MinillmError(f"{where}: a part of the content {what}")
        content = "\n".join(part["text"] for part in content)
    if type(content) is not str:
        raise MinillmError(f"{where} needs a content, a string or a list of text parts")
    return {**arguments, "content": content}
