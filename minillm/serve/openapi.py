"""What a server serves, path by path, and its OpenAPI description: made of the same declarations.

An `Endpoint` is where a path is declared. The server routes by it, checks bodies and queries by its fields,
and `/openapi.json` is written from it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp

from minillm import __version__
from minillm.api.parameters import TEXT, WHOLE, Kind
from minillm.serve import protocol
from minillm.serve.protocol import Json, or_null

JSON = "application/json"
EVENTS = "text/event-stream"
# The statuses that any path can answer with, and those of paths that read a body.
COMMON_ERRORS = {400: "a field, a parameter or the method of asking is wrong", 500: "the sampler failed"}
BODY_ERRORS = {
    404: "there is no such model",
    408: "the body did not come in time",
    413: "the body is too large",
    415: "the body is not said to be JSON",
    503: "too much is running, or the server is stopping",
}


@dataclass(frozen=True)
class Endpoint:
    """A path of the server.

    Attributes:
        method: GET, POST or DELETE.
        path: as Starlette writes it, with `{name:path}` for a part that varies.
        handler: an ASGI application, or a function of a request.
        summary: what it gives, in a few words.
        answer: the JSON schema of what it gives, or what kind of text that is.
        body: the fields of its JSON body; None where it reads none.
        required: those of them that must be there, or sets of them, of which one must.
        query: the parameters of its query.
        streams: the JSON schema of the events that it gives with `stream: true`.
        unsupported: fields that such a path takes with one value alone, which asks for nothing.
        errors: further statuses, and what they mean.
        is_open: whether fields that nobody knows are passed over.
    """

    method: str
    path: str
    handler: ASGIApp | Callable[[Request], Awaitable[Response]]
    summary: str
    answer: Json | str
    body: Mapping[str, Kind] | None = None
    required: Sequence[str] = ()
    query: Mapping[str, Kind] = field(default_factory=dict)
    streams: Json | None = None
    unsupported: Json = field(default_factory=lambda: protocol.UNSUPPORTED)
    errors: Mapping[int, str] = field(default_factory=dict)
    is_open: bool = True


def description(endpoints: Sequence[Endpoint], names: Sequence[str], has_key: bool, root_path: str) -> Json:
    """Write the OpenAPI description of a server, whose model and adapters have these names."""
    paths: Json = {}
    for endpoint in endpoints:
        path = endpoint.path.replace(":path}", "}")
        paths.setdefault(path, {})[endpoint.method.lower()] = _operation(endpoint, names, has_key)
    described: Json = {
        "openapi": "3.1.0",
        "info": {"title": "minillm", "version": __version__},
        "servers": [{"url": root_path or "/"}],
        "paths": paths,
        "components": {"schemas": {"Error": ERROR}},
    }
    if has_key:
        described["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
    return described


def _operation(endpoint: Endpoint, names: Sequence[str], has_key: bool) -> Json:
    if isinstance(endpoint.answer, str):
        content: Json = {endpoint.answer: {"schema": _STRING}}
    else:
        content = {JSON: {"schema": endpoint.answer}}
    if endpoint.streams is not None:
        content[EVENTS] = {"schema": _events(endpoint.streams)}
    errors = {**COMMON_ERRORS, **endpoint.errors}
    operation: Json = {"summary": endpoint.summary, "parameters": _parameters(endpoint, names)}
    if endpoint.body is not None:
        errors |= BODY_ERRORS
        described = protocol.described_body(endpoint.body, endpoint.is_open)
        schema = {"type": "object", **described, "required": list(endpoint.required)}
        if "model" in endpoint.body:
            schema["properties"]["model"] = or_null({"enum": list(names)})
        if endpoint.streams is not None:
            schema["properties"] |= {name: _only(value) for name, value in endpoint.unsupported.items()}
        operation["requestBody"] = {"required": True, "content": {JSON: {"schema": schema}}}
    if has_key and endpoint.path not in OPEN_PATHS:
        errors[401] = "the API key is missing or wrong"
        operation["security"] = [{"key": []}]
    error = {JSON: {"schema": {"$ref": "#/components/schemas/Error"}}}
    operation["responses"] = {"200": {"description": endpoint.summary, "content": content}} | {
        str(status): {"description": text, "content": error} for status, text in sorted(errors.items())
    }
    return operation


def _events(schema: Json) -> Json:
    """Describe each event of a stream, as OpenAPI has it: an object whose data is text, here mostly JSON."""
    held = {"contentMediaType": JSON, "contentSchema": schema}
    data = {"type": "string", "anyOf": [{"const": "[DONE]"}, held]}
    return {"type": "object", "properties": {"event": _STRING, "data": data}, "required": ["data"]}


def _parameters(endpoint: Endpoint, names: Sequence[str]) -> list[Json]:
    found: list[Json] = []
    if "{name" in endpoint.path:  # of the model, or else of something that was made here
        schema = {"enum": list(names)} if "{name:path}" in endpoint.path else _STRING
        found.append({"name": "name", "in": "path", "required": True, "schema": schema})
    for name, kind in endpoint.query.items():
        found.append({"name": name, "in": "query", "required": False, "schema": kind.described})
    return found


def _only(value: Any) -> Json:
    """Describe a field that is not supported: the value that asks for nothing."""
    return {"enum": [None] if value is None else [None, value]}


# Open to those without a key.
OPEN_PATHS = ("/health", "/ping")

# ---------------------------------------------------------------- schemas of answers

_STRING, _WHOLE = dict(TEXT.schema), dict(WHOLE.schema)
_NUMBER = {"type": "number"}
_IDS = {"type": "array", "items": _WHOLE}


def _all(**properties: Any) -> Json:
    """Describe an object that has all of these, and maybe more."""
    return {"type": "object", "properties": properties, "required": list(properties)}


def _list(schema: Json) -> Json:
    return {"type": "array", "items": schema}


ERROR = _all(
    error=_all(message=_STRING, type=_STRING, param=or_null(_STRING), code=or_null(_STRING)),
)
USAGE = _all(
    prompt_tokens=_WHOLE,
    completion_tokens=_WHOLE,
    total_tokens=_WHOLE,
    prompt_tokens_details=_all(cached_tokens=_WHOLE),
)
_PROMPT_LOGPROBS = {
    "type": "array",
    "items": {
        "type": ["object", "null"],
        "additionalProperties": _all(logprob=_NUMBER, rank=or_null(_WHOLE), decoded_token=or_null(_STRING)),
    },
}
_STOP_REASON = {"type": ["integer", "string", "null"]}
_ENDS = {"finish_reason": _STRING, "stop_reason": _STOP_REASON}
_PIECE_ENDS = {"finish_reason": or_null(_STRING), "stop_reason": _STOP_REASON}
_COLUMNS = _all(
    tokens=_list(_STRING),
    token_logprobs=_list(or_null(_NUMBER)),
    top_logprobs=_list({"type": ["object", "null"], "additionalProperties": _NUMBER}),
    text_offset=_IDS,
)
_TOKEN = {"token": _STRING, "logprob": _NUMBER, "bytes": or_null(_IDS)}
_CHAT_LOGPROBS = _all(content=_list(_all(**_TOKEN, top_logprobs=_list(_all(**_TOKEN)))))
_HEAD = {"id": _STRING, "created": _WHOLE, "model": _STRING}
_IDS_OR_NULL = {"token_ids": or_null(_IDS), "prompt_token_ids": or_null(_IDS)}


def _answers(name: str, piece: Json, whole: Json, part: Json) -> tuple[Json, Json]:
    """Describe an answer and its events, whose choices all have what `piece` has."""
    shown = {**_HEAD, "object": {"const": name}}
    answer = _all(**shown, choices=_list(_all(index=_WHOLE, **piece, **_ENDS, **whole)), usage=USAGE)
    chunks = f"{name}.chunk" if name.startswith("chat") else name
    choices = _list(_all(index=_WHOLE, **piece, **_PIECE_ENDS, **part))
    event = _all(**{**shown, "object": {"const": chunks}}, choices=choices)
    return answer, {"anyOf": [event, ERROR]}


COMPLETION, COMPLETION_EVENT = _answers(
    "text_completion",
    {"text": _STRING, "logprobs": or_null(_COLUMNS)},
    {**_IDS_OR_NULL, "prompt_logprobs": or_null(_PROMPT_LOGPROBS)},
    {},
)
CHAT, CHAT_EVENT = _answers(
    "chat.completion",
    {"logprobs": or_null(_CHAT_LOGPROBS)},
    {"message": _all(role=_STRING, content=or_null(_STRING)), "token_ids": or_null(_IDS)},
    {"delta": {"type": "object"}},
)
INVOCATION_EVENT = {"anyOf": [*CHAT_EVENT["anyOf"], *COMPLETION_EVENT["anyOf"]]}
_GENERATED = {"index": _WHOLE, "token_ids": _IDS, "logprobs": or_null(_CHAT_LOGPROBS)}
GENERATED = _all(
    request_id=_STRING,
    choices=_list(_all(**_GENERATED, **_ENDS)),
    usage=USAGE,
    prompt_logprobs=or_null(_PROMPT_LOGPROBS),
)
GENERATED_EVENT = {
    "anyOf": [_all(request_id=_STRING, choices=_list(_all(**_GENERATED, **_PIECE_ENDS))), ERROR]
}
RESPONSE = _all(
    id=_STRING,
    object={"const": "response"},
    created_at=_NUMBER,
    model=_STRING,
    status=_STRING,
    output=_list({}),
)
ITEMS = _all(
    object={"const": "list"},
    data=_list({"type": "object"}),
    first_id=or_null(_STRING),
    last_id=or_null(_STRING),
    has_more={"type": "boolean"},
)
RESPONSE_EVENT = _all(type=_STRING, sequence_number=_WHOLE)
TOKENIZED = _all(count=_WHOLE, max_model_len=_WHOLE, tokens=_IDS, token_strs=or_null(_list(_STRING)))
DETOKENIZED = _all(prompt=_STRING)
CARD = _all(id=_STRING, object={"const": "model"}, created=_WHOLE, owned_by=_STRING, max_model_len=_WHOLE)
CARDS = _all(object={"const": "list"}, data=_list(CARD))


def short(**types: str) -> Json:
    """Describe an answer of a few values of these types."""
    return _all(**{name: {"type": kind} for name, kind in types.items()})
