"""The fields of OpenAI's requests, with vLLM's additions, and what their values mean.

A field of OpenAI's or vLLM's that is not supported is an error, unless its value asks for nothing, or the
field is one that asks for nothing whatever its value. A field that nobody knows is passed over, as it is by
vLLM, and said to be so in the log and in a header of the answer. One that is null counts as left out.

A field's `Kind` says once what it must be: requests are checked by it, and `/openapi.json` is made of it.
"""

from __future__ import annotations

import codecs
import difflib
import json
import logging
import re
import reprlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from math import isfinite
from typing import Any

from minillm.api.parameters import (
    FLAG,
    IDS,
    NUMBER,
    OBJECT,
    PROMPT,
    TEXT,
    TEXTS,
    WHOLE,
    Kind,
    http_fields,
)
from minillm.api.sampling_params import SamplingParams
from minillm.api.structured_outputs import StructuredOutputsParams
from minillm.errors import MinillmError

Json = dict[str, Any]

# Of brackets within brackets in a body.
MAX_NESTING = 100
# So much of an unknown field's name is looked at and said back.
LONGEST_NAME = 100
# So many such names of a request are noted.
MOST_IGNORED = 20


# A header of answers: the names of fields that were passed over.
IGNORED = "x-ignored-fields"

logger = logging.getLogger("minillm")


def _object(**properties: Mapping[str, Any]) -> Json:
    return {"properties": properties, "additionalProperties": False}


def or_null(schema: Mapping[str, Any]) -> Json:
    """Write a JSON schema that null fits too."""
    if schema.keys() & {"anyOf", "enum", "const"}:
        return {"anyOf": [schema, {"type": "null"}]}
    return {**schema, "type": [schema["type"], "null"]}


def _maybe(**properties: Mapping[str, Any]) -> Json:
    return _object(**{name: or_null(schema) for name, schema in properties.items()})


def _open(**properties: Mapping[str, Any]) -> Json:
    """Describe an object of these properties and of any others."""
    return {"properties": _maybe(**properties)["properties"]}


# Values of `reasoning_effort`.
EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
# What a message may have, and what asks for nothing in it.
MESSAGE_FIELDS = ("role", "content", "name", "tool_calls", "tool_call_id", "reasoning", "reasoning_content")
MESSAGE_ADVISORY: Json = {"annotations": [], "tool_calls": []}
# What would change an answer, and cannot here.
UNSUPPORTED_IN_MESSAGES = ("audio", "function_call", "mask", "prefix", "tools")
# What clients (openai, litellm) write of their own into an answer, and send back with it.
CLIENTS_OWN = ("parsed", "provider_specific_fields")
WITHOUT_CONTENT = {"tool_calls", "reasoning", "reasoning_content"}
_STRING, _BOOLEAN = TEXT.schema, FLAG.schema
_PART = {
    "type": "object",
    "properties": {"type": {"const": "text"}, "text": _STRING},
    "required": ["type", "text"],
}
MESSAGE = {
    "type": "object",
    **_open(
        content={"anyOf": [_STRING, {"type": "array", "items": _PART}]},
        tool_calls={"type": "array", "items": OBJECT.schema},
        annotations={"const": []},
        **dict.fromkeys(("name", "tool_call_id", "reasoning", "reasoning_content"), _STRING),
    ),
    "required": ["role"],
}
MESSAGE["properties"]["role"] = {
    "type": "string",
    "minLength": 1,
    "examples": ["system", "user", "assistant"],
}
MESSAGES = Kind(
    {"type": "array", "items": OBJECT.schema}, "a list of objects", {"items": MESSAGE, "minItems": 1}
)
# Of `response_format`; its schema must be there.
NAMED_SCHEMA: dict[str, Kind] = {"name": TEXT, "description": TEXT, "schema": OBJECT, "strict": FLAG}
_NAMED_SCHEMA = {
    "type": "object",
    **_maybe(**{name: kind.schema for name, kind in NAMED_SCHEMA.items()}),
    "required": ["schema"],
}
_NAMED_SCHEMA["properties"]["schema"] = OBJECT.schema
RESPONSE_FORMAT = Kind(
    OBJECT.schema,
    OBJECT.name,
    {
        "anyOf": [
            {**_object(type={"enum": ["text", "json_object"]}), "required": ["type"]},
            {
                **_object(type={"const": "json_schema"}, json_schema=_NAMED_SCHEMA),
                "required": ["type", "json_schema"],
            },
        ]
    },
)
STRUCTURED_OUTPUTS = Kind(
    OBJECT.schema,
    OBJECT.name,
    _maybe(
        json={"anyOf": [_STRING, OBJECT.schema]},
        regex=_STRING,
        choice={**TEXTS.schema, "minItems": 1},
        grammar=_STRING,
        json_object={"const": True},
        disable_any_whitespace=_BOOLEAN,
        whitespace_pattern=_STRING,
    ),
)
STREAM_OPTIONS = Kind(
    OBJECT.schema,
    OBJECT.name,
    _open(**dict.fromkeys(("include_usage", "continuous_usage_stats", "include_obfuscation"), _BOOLEAN)),
)
LOGIT_BIAS = Kind(
    OBJECT.schema,
    OBJECT.name,
    {
        "propertyNames": {"pattern": "^[0-9]+$"},
        "additionalProperties": {"type": "number", "minimum": -100, "maximum": 100},
    },
)

# Fields that `SamplingParams` has under the same name.
SAMPLING = http_fields(SamplingParams) | {
    "structured_outputs": STRUCTURED_OUTPUTS,
    "logit_bias": LOGIT_BIAS,
}
# Older names of vLLM's for parts of `structured_outputs`.
GUIDED: dict[str, Kind] = {
    "guided_json": Kind({"anyOf": [_STRING, OBJECT.schema]}, "a JSON schema, as an object or as text"),
    "guided_regex": TEXT, "guided_choice": Kind(TEXTS.schema, TEXTS.name, {"minItems": 1}),
    "guided_grammar": TEXT, "guided_whitespace_pattern": TEXT,
}  # fmt: skip
# Fields that change no answer, whatever they say: names for logs and bills, and hints of what to expect.
ADVISORY: dict[str, Kind] = {
    "guided_decoding_backend": TEXT, "metadata": OBJECT, "prediction": OBJECT, "prompt_cache_key": TEXT,
    "prompt_cache_retention": TEXT, "safety_identifier": TEXT, "service_tier": TEXT, "session_id": TEXT,
    "store": FLAG, "user": TEXT, "verbosity": TEXT,
}  # fmt: skip
# Fields of every request that samples.
ENVELOPE: dict[str, Kind] = {
    "model": TEXT, "stream": FLAG, "stream_options": STREAM_OPTIONS, "priority": WHOLE, "request_id": TEXT,
}  # fmt: skip
COMMON: dict[str, Kind] = {
    **SAMPLING, **GUIDED, **ENVELOPE, **ADVISORY,
    "echo": FLAG, "response_format": RESPONSE_FORMAT, "return_token_ids": FLAG,
    "return_tokens_as_token_ids": FLAG,
    "truncate_prompt_tokens": Kind(
        {"type": "integer", "minimum": -1}, "a number of tokens, or -1 for as many as there is room for"
    ),
    "truncation_side": Kind({"enum": ["left", "right"]}, "'left' or 'right'"),
    "use_beam_search": FLAG, "length_penalty": NUMBER,
}  # fmt: skip
COMPLETION: dict[str, Kind] = {**COMMON, "prompt": PROMPT, "add_special_tokens": FLAG}
TEMPLATE: dict[str, Kind] = {
    "messages": MESSAGES, "add_generation_prompt": FLAG, "continue_final_message": FLAG,
    "chat_template": TEXT, "chat_template_kwargs": OBJECT,
}  # fmt: skip
TOOLS = Kind({"type": "array", "items": OBJECT.schema}, "a list of objects")
CHAT: dict[str, Kind] = {
    **COMMON, **TEMPLATE, "logprobs": FLAG, "top_logprobs": WHOLE, "max_completion_tokens": WHOLE,
    "tools": TOOLS,
    "tool_choice": Kind({"anyOf": [TEXT.schema, OBJECT.schema]}, "a string or an object"),
    "parallel_tool_calls": FLAG, "include_reasoning": FLAG,
    "reasoning_effort": Kind({"enum": list(EFFORTS)}, f"one of {', '.join(EFFORTS)}"),
}  # fmt: skip
# vLLM's request of token ids alone; its `sampling_params` have these fields.
GENERATE_SAMPLING: dict[str, Kind] = {**SAMPLING, "detokenize": FLAG}
TOKEN_IDS = Kind({**IDS.schema, "minItems": 1}, "a list of token ids, and not empty")

# Fields of OpenAI's and vLLM's that are not supported, with the values that ask for nothing.
UNSUPPORTED: Json = {
    "audio": None, "best_of": 1, "cache_salt": None, "documents": None, "ec_transfer_params": None,
    "early_stopping": False, "features": None, "function_call": "none", "functions": [],
    "kv_transfer_params": None, "logits_processors": [], "media_io_kwargs": None, "mm_processor_kwargs": None,
    "modalities": ["text"], "moderation": None, "prompt_cache_options": None,
    "prompt_embeds": None, "repetition_detection": None,
    "return_token_offsets": False, "spaces_between_special_tokens": True, "stream_interval": 1,
    "structural_tag": None, "suffix": "",
    "thinking_token_budget": -1, "vllm_xargs": {}, "watermarking": None, "web_search_options": None,
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


def loads(content: bytes) -> Any:
    """Read JSON as its standard has it, in UTF-8; raise `ApiError` for what Python reads beside that.

    That is NaN and infinities, as numbers or by overflow, and objects with a name twice, of which one value
    would be ignored. Deep nesting is refused here, since much of what reads it later calls itself.
    """
    try:
        if content.startswith(codecs.BOM_UTF8):
            raise ValueError("it begins with a byte order mark")
        body = json.loads(
            content.decode(), parse_constant=_finite, parse_float=_finite, object_pairs_hook=_named_once
        )
    except (ValueError, RecursionError) as error:
        raise ApiError(f"the body is not JSON: {error}") from error
    if content.count(b"[") + content.count(b"{") > MAX_NESTING:  # else it cannot be deeper
        containers = [body]
        for _ in range(MAX_NESTING):
            values = [x.values() if type(x) is dict else x for x in containers]
            containers = [x for within in values for x in within if type(x) in (dict, list)]
        if containers:
            raise ApiError(f"the body is nested deeper than {MAX_NESTING} levels; send less")
    return body


def _finite(number: str) -> float:
    if not isfinite(value := float(number)):
        raise ValueError(f"{number} is no number there")
    return value


def _named_once(pairs: list[tuple[str, Any]]) -> Json:
    if len(found := dict(pairs)) < len(pairs):
        twice = next(name for name, count in Counter(name for name, _ in pairs).items() if count > 1)
        raise ValueError(f"an object has {reprlib.repr(twice)} twice")
    return found


def given_fields(
    body: Any,
    known: Mapping[str, Kind],
    unsupported: Json = UNSUPPORTED,
    ignored: list[str] | None = None,
) -> Json:
    """Return the fields that are there, each of its kind.

    The names of those that nobody knows are added to `ignored`, and to the log.

    Raises:
        MinillmError: a field is not of its kind or not supported, or is not known and there is no `ignored`.
    """
    if type(body) is not dict:
        raise ApiError("the body must be a JSON object")
    given: Json = {}
    for name, value in body.items():
        if (kind := known.get(name)) is not None:
            if value is not None:
                given[name] = kind.read(name, value)
        elif name not in unsupported:
            pass_over(name, name, known, ignored)
        elif value is not None and value != unsupported[name]:
            raise MinillmError(
                f"{name} = {reprlib.repr(value)}: OpenAI or vLLM has this field, minillm does not support "
                "it; leave it out"
            )
    return given


def pass_over(name: str, where: str, known: Iterable[str], ignored: list[str] | None) -> None:
    """Note one of the first fields that nobody knows; `ApiError` where none may be passed over."""
    if ignored is not None and len(ignored) >= MOST_IGNORED:
        return
    near = difflib.get_close_matches(name[:LONGEST_NAME], list(known), n=1)
    hint, shown = f"did you mean {near[0]}?" if near else "leave it out", reprlib.repr(where)
    if ignored is None:
        raise ApiError(f"there is no field {shown}; {hint}", param=name[:LONGEST_NAME])
    ignored.append(where[:LONGEST_NAME])
    logger.warning("a request's field %s is not known, and ignored; %s", shown, hint)


def ignored_header(ignored: Sequence[str]) -> dict[str, str]:
    """Make the header that tells of fields that were passed over; none where there are none."""
    if not ignored:
        return {}
    # Others as JSON: a header has no odd characters, and no spaces at its ends.
    plain = re.compile(r"[a-zA-Z0-9_.\[\]-]+")
    names = (name if plain.fullmatch(name) else json.dumps(name[: LONGEST_NAME // 4]) for name in ignored)
    return {IGNORED: ", ".join(names)}


def described(known: Mapping[str, Kind]) -> Json:
    """Write the JSON schema of an object of these fields, each of which may be null or left out."""
    return _maybe(**{name: kind.described for name, kind in known.items()})


def described_body(known: Mapping[str, Kind], is_open: bool) -> Json:
    """Write the same; of one that is open, others are passed over."""
    return {**described(known), "additionalProperties": is_open}


def usage_wanted(options: Json | None, stream: bool, always: bool, ignored: list[str]) -> tuple[bool, bool]:
    """Tell whether usage stands at the end of the stream, and in each chunk too, by `stream_options`.

    `always` puts it at the end of each stream. Names of options that nobody knows are added to `ignored`.
    """
    if options is None:
        return always, False
    if not stream:
        raise MinillmError("stream_options go with stream: true; leave out one")
    known = STREAM_OPTIONS.narrowed["properties"]
    for name, value in options.items():
        if name not in known:
            pass_over(name, f"stream_options.{name}", known, ignored)
        elif value is not None and type(value) is not bool:
            raise MinillmError(f"stream_options: {name} must be true or false")
    at_end = bool(options.get("include_usage")) or always
    return at_end, at_end and bool(options.get("continuous_usage_stats"))


def logit_bias(bias: Json | None) -> dict[int, float] | None:
    """Read `logit_bias` by token id, a string of digits in JSON; an error names all that are none."""
    if bias is None:
        return None
    # With more digits no number is a token id, and Python reads none of more than 4300.
    if wrong := [token for token in bias if not re.fullmatch("[0-9]{1,20}", token)]:
        raise MinillmError(f"logit_bias must have token ids as its keys, not {reprlib.repr(wrong)[1:-1]}")
    return {int(token): value for token, value in bias.items()}


def structured_outputs(arguments: Json) -> StructuredOutputsParams | None:
    """Read what the text must be: `response_format` is OpenAI's field, `structured_outputs` vLLM's."""
    response_format, direct = arguments.get("response_format"), arguments.get("structured_outputs")
    if guided := {name.removeprefix("guided_"): arguments[name] for name in GUIDED if name in arguments}:
        if direct is not None:
            name = f"guided_{min(guided)}"
            raise ApiError(f"give {name} or structured_outputs, not both", param=name)
        direct = guided
    if direct is not None:
        if response_format is not None:
            raise ApiError("give response_format or structured_outputs, not both", param="structured_outputs")
        names = [field.name for field in fields(StructuredOutputsParams)]
        if unknown := direct.keys() - {*names}:
            name = reprlib.repr(min(unknown))
            raise MinillmError(f"structured_outputs has no {name}, only {', '.join(names)}")
        try:
            return StructuredOutputsParams(**direct)
        except MinillmError as error:
            raise MinillmError(f"structured_outputs: {error}") from error
    if response_format is not None:
        response_format = {name: value for name, value in response_format.items() if value is not None}
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
    if others := wanted.keys() - {*NAMED_SCHEMA}:
        raise MinillmError(f"response_format: json_schema has no {reprlib.repr(min(others))}")
    for name, kind in NAMED_SCHEMA.items():
        if (value := wanted.get(name)) is not None:
            kind.read(f"response_format: {name} of json_schema", value)
    return StructuredOutputsParams(json=wanted["schema"])


def message(i: int, message: Json, ignored: list[str]) -> Json:
    """Read a message, without what asks for nothing; its content is a text, or parts of text.

    Names of fields that nobody knows are added to `ignored`; `MinillmError` for what is not right.
    """
    where = f"messages[{i}]"
    arguments = {
        name: value
        for name, value in message.items()
        if value is not None
        and name not in CLIENTS_OWN
        and not (name in MESSAGE_ADVISORY and value == MESSAGE_ADVISORY[name])
    }
    for name in arguments.keys() & {*UNSUPPORTED_IN_MESSAGES}:
        raise MinillmError(f"{where}: {name} is not supported; a message has {', '.join(MESSAGE_FIELDS)}")
    for name in sorted(arguments.keys() - {*MESSAGE_FIELDS}):
        del arguments[name]
        pass_over(name, f"{where}.{name}", MESSAGE_FIELDS, ignored)
    for name in MESSAGE_FIELDS:
        if name not in ("content", "tool_calls") and type(arguments.get(name, "")) is not str:
            raise MinillmError(f"{where}: {name} must be a string, got {reprlib.repr(arguments[name])}")
    if not (role := arguments.get("role")):
        raise MinillmError(f"{where} needs a role, such as 'user'")
    if "tool_calls" in arguments:
        if role != "assistant":
            raise MinillmError(f"{where}: tool_calls are for the role 'assistant'")
        _check_calls(where, arguments["tool_calls"])
    content = arguments.get("content")
    if type(content) is list:
        arguments["content"] = [_part(where, part, ignored) for part in content]
    elif type(content) is not str and not (content is None and arguments.keys() & WITHOUT_CONTENT):
        raise MinillmError(f"{where} needs a content, a string or a list of text parts")
    return arguments


def _part(where: str, part: Any, ignored: list[str]) -> Json:
    """Read a part of a content, which must be text."""
    match part:
        case {"type": "text", "text": str(text), **others}:
            for name in map(str, others):
                pass_over(name, f"{where}.content.{name}", (), ignored)
            return {"type": "text", "text": text}
    what = f"must be {{'type': 'text', 'text': ...}}, got {reprlib.repr(part)}"
    raise MinillmError(f"{where}: a part of the content {what}")


def _check_calls(where: str, calls: Any) -> None:
    for call in calls if type(calls) is list else [calls]:
        match call:
            case {"function": {"name": str(), "arguments": str() | dict()}}:
                continue
        what = "{'id': ..., 'type': 'function', 'function': {'name': ..., 'arguments': JSON as a string}}"
        raise MinillmError(f"{where}: tool_calls must be a list of {what}, got {reprlib.repr(call)}")
