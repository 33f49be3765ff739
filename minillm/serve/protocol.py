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
# What `LLM.chat_prompt` gives to the chat template itself.
TEMPLATE_ARGUMENTS = ("self", "messages", "add_generation_prompt", "chat_template", "tokenize")


class ApiError(MinillmError):
    """An error as OpenAI's clients know it: an HTTP status, the field at fault, and a code."""

    def __init__(
        self, message: str, status: int = 400, param: str | None = None, code: str | None = None
    ) -> None:
        super().__init__(message)
        self.status, self.param, self.code = status, param, code

    @classmethod
    def of(cls, error: MinillmError, names: Mapping[str, Any]) -> ApiError:
        """Another module's error; the field at fault, one of `names`, is what its message begins with."""
        first = re.match(r"\w*", str(error))
        return cls(str(error), param=first[0] if first and first[0] in names else None)

    def body(self) -> Json:
        """The error in OpenAI's shape."""
        kind = "invalid_request_error" if self.status < 500 else "server_error"
        return {"error": {"message": str(self), "type": kind, "param": self.param, "code": self.code}}


def dumps(content: Json) -> str:
    """JSON, in ASCII: half a surrogate pair, which a client may send, has no UTF-8."""
    return json.dumps(content, allow_nan=False, separators=(",", ":"))


def given_fields(body: Any, known: Mapping[str, Kind]) -> Json:
    """The fields that are there, each of its kind; `ApiError` for one that is not, or not known."""
    if type(body) is not dict:
        raise ApiError("the body must be a JSON object")
    found: Json = {}
    for name, value in body.items():
        if name in known:
            holds, kind = known[name]
            if value is not None and not holds(value):
                raise ApiError(f"{name} must be {kind}, got {reprlib.repr(value)}", param=name)
            if value is not None:
                found[name] = value
        elif name not in UNSUPPORTED:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]}?" if near else "leave it out"
            raise ApiError(f"there is no field {reprlib.repr(name)}; {hint}", param=name)
        elif value is not None and value != UNSUPPORTED[name]:
            raise ApiError(
                f"{name} = {reprlib.repr(value)}: OpenAI or vLLM has this field, minillm does not support "
                "it; leave it out",
                param=name,
            )
    return found


def include_usage(options: Json | None, stream: bool) -> bool:
    """Whether `stream_options` ask for usage at the end of the stream."""
    if options is None:
        return False
    if not stream:
        raise ApiError("stream_options go with stream: true; leave out one", param="stream_options")
    for name, value in options.items():
        if name != "include_usage" and (name, value) != ("include_obfuscation", False) and value is not None:
            raise ApiError(
                f"stream_options: {name} is not supported, only include_usage", param="stream_options"
            )
    if type(found := options.get("include_usage") or False) is not bool:
        raise ApiError("stream_options: include_usage must be true or false", param="stream_options")
    return found


def logit_bias(bias: Json | None) -> dict[int, float] | None:
    """`logit_bias` by token id, which is a string in JSON."""
    if bias is None:
        return None
    try:
        return {int(token): value for token, value in bias.items()}
    except ValueError as error:
        raise ApiError("logit_bias must have token ids as its keys", param="logit_bias") from error


def structured_outputs(response_format: Json | None, direct: Json | None) -> StructuredOutputsParams | None:
    """What `response_format`, OpenAI's field, or `structured_outputs`, vLLM's, want the text to be."""
    if direct is not None:
        if response_format is not None:
            raise ApiError("give response_format or structured_outputs, not both", param="structured_outputs")
        names = [field.name for field in fields(StructuredOutputsParams)]
        if unknown := sorted(direct.keys() - {*names}):
            raise ApiError(
                f"structured_outputs has no {unknown[0]!r}, only {', '.join(names)}",
                param="structured_outputs",
            )
        try:
            return StructuredOutputsParams(**direct)
        except MinillmError as error:
            raise ApiError(f"structured_outputs: {error}", param="structured_outputs") from error
    if response_format is None or response_format == {"type": "text"}:
        return None
    if response_format == {"type": "json_object"}:
        return StructuredOutputsParams(json_object=True)
    wanted = response_format.get("json_schema")
    if response_format.keys() != {"type", "json_schema"} or response_format["type"] != "json_schema":
        raise ApiError(
            "response_format must be {'type': 'text'}, {'type': 'json_object'} or {'type': 'json_schema', "
            f"'json_schema': {{'schema': ...}}}}, got {reprlib.repr(response_format)}",
            param="response_format",
        )
    if type(wanted) is not dict or type(wanted.get("schema")) is not dict:
        raise ApiError("response_format: json_schema must hold a 'schema'", param="response_format")
    if unknown := sorted(wanted.keys() - {"schema", "name", "description", "strict"}):
        raise ApiError(f"response_format: json_schema has no {unknown[0]!r}", param="response_format")
    return StructuredOutputsParams(json=wanted["schema"])


def message(i: int, message: Json) -> Json:
    """A message, its content as one string."""
    where = f"messages[{i}]"
    given = {name: value for name, value in message.items() if value is not None}
    if unknown := sorted(given.keys() - {"role", "content", "name"}):
        raise ApiError(
            f"{where}: {unknown[0]} is not supported; a message has a role, a content and maybe a name",
            param="messages",
        )
    if type(given.get("role")) is not str:
        raise ApiError(f"{where} needs a role, such as 'user'", param="messages")
    content = given.get("content")
    if type(content) is list:
        for part in content:
            if not (
                type(part) is dict
                and part.keys() == {"type", "text"}
                and part["type"] == "text"
                and type(part["text"]) is str
            ):
                raise ApiError(
                    f"{where}: a part of the content must be {{'type': 'text', 'text': ...}}, got "
                    f"{reprlib.repr(part)}",
                    param="messages",
                )
        content = "\n".join(part["text"] for part in content)
    if type(content) is not str:
        raise ApiError(f"{where} needs a content, a string or a list of text parts", param="messages")
    return {**given, "content": content}
