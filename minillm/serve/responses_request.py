"""The body of a request to OpenAI's Responses API, and the body of the chat that it asks for.

Fields that nobody knows are passed over, and what is null counts as left out, as in `minillm.serve.protocol`.
"""

from __future__ import annotations

import re
import reprlib
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from minillm.api.parameters import FLAG, OBJECT, TEXT, TEXTS, WHOLE, Kind
from minillm.errors import MinillmError
from minillm.serve import protocol
from minillm.serve.protocol import ApiError, Json

LIST = Kind({"type": "array"}, "a list")
TEXT_OR_LIST = Kind({"anyOf": [TEXT.schema, LIST.schema]}, "a string or a list")
TEXT_OR_OBJECT = Kind({"anyOf": [TEXT.schema, OBJECT.schema]}, "a string or an object")

# Fields that the chat has under the same name. A response is one sample, and has logprobs by `include`.
SAME: dict[str, Kind] = {
    **{name: kind for name, kind in protocol.SAMPLING.items() if name not in (
        "n", "max_tokens", "logprobs", "prompt_logprobs", "logprob_token_ids")},
    "model": TEXT, "parallel_tool_calls": FLAG, "chat_template_kwargs": OBJECT,
    "priority": protocol.ENVELOPE["priority"],
}  # fmt: skip
FIELDS: dict[str, Kind] = {
    **SAME,
    "input": TEXT_OR_LIST, "instructions": TEXT, "max_output_tokens": WHOLE, "include": TEXTS,
    "top_logprobs": WHOLE, "text": OBJECT, "tools": LIST, "tool_choice": TEXT_OR_OBJECT, "reasoning": OBJECT,
    "truncation": TEXT, "previous_response_id": TEXT, "store": FLAG, "stream": FLAG, "stream_options": OBJECT,
    "request_id": TEXT,
    # Shown in the response, without effect; the last bounds calls of tools that a server runs itself.
    "metadata": OBJECT, "user": TEXT, "service_tier": TEXT, "safety_identifier": TEXT,
    "prompt_cache_key": TEXT, "max_tool_calls": WHOLE,
}  # fmt: skip
# Fields of OpenAI's and vLLM's that are not supported, with the values that ask for nothing.
UNSUPPORTED: Json = {
    "access_programs": None, "background": False, "background_options": None, "cache_salt": None,
    "context_management": None, "conversation": None, "enable_response_messages": False, "image": None,
    "mm_processor_kwargs": None, "moderation": None, "previous_input_messages": None,
    "previous_response": None, "prompt": None, "prompt_cache_options": None,
    "prompt_cache_retention": None, "vllm_xargs": {},
}  # fmt: skip
# What the chat calls fields that have another name here.
NAMES = {
    "max_completion_tokens": "max_output_tokens", "max_tokens": "max_output_tokens", "messages": "input",
    "reasoning_effort": "reasoning.effort", "response_format": "text.format", "verbosity": "text.verbosity",
    "truncate_prompt_tokens": "truncation",
}  # fmt: skip

LOGPROBS = "message.output_text.logprobs"
# All but logprobs are about items that no response of ours has, or about reasoning, which we show as it is.
INCLUDABLE = (
    LOGPROBS, "reasoning.encrypted_content", "file_search_call.results", "web_search_call.results",
    "web_search_call.action.sources", "message.input_image.image_url", "code_interpreter_call.outputs",
    "computer_call_output.output.image_url",
)  # fmt: skip

# By type of item, its fields; those of the first tuple it must have.
ITEMS: dict[str, tuple[tuple[str, ...], dict[str, Kind]]] = {
    "message": (("role", "content"), {"role": TEXT, "content": TEXT_OR_LIST, "phase": TEXT}),
    "function_call": (("call_id", "name", "arguments"), {"call_id": TEXT, "name": TEXT, "arguments": TEXT}),
    "function_call_output": (("call_id", "output"), {"call_id": TEXT, "output": TEXT_OR_LIST}),
    "reasoning": ((), {"summary": LIST, "content": LIST}),
}
ANY_ITEM: dict[str, Kind] = {"type": TEXT, "id": TEXT, "status": TEXT}
# A part of a text; what we wrote beside the text comes back with it.
PART: dict[str, Kind] = {"type": TEXT, "text": TEXT, "annotations": LIST, "logprobs": LIST}
TOOL: dict[str, Kind] = {
    "type": TEXT,
    "name": TEXT,
    "description": TEXT,
    "parameters": OBJECT,
    "strict": FLAG,
}


def given_fields(body: Any, ignored: list[str] | None = None) -> Json:
    """Return the fields that are there; as `protocol.given_fields` does."""
    for name in NAMES.keys() & body.keys() if type(body) is dict else ():
        raise ApiError(f"there is no field {name}; it is called {NAMES[name]} here", param=name)
    return protocol.given_fields(body, FIELDS, UNSUPPORTED, ignored)


def chat_body(arguments: Json, items: Sequence[Any]) -> Json:
    """Write the body of the streamed chat that these fields and items, earlier ones included, ask for."""
    text, reasoning = _text(arguments.get("text", {})), _reasoning(arguments.get("reasoning", {}))
    chat: Json = {name: arguments[name] for name in SAME if name in arguments}
    chat |= {"stream": True, "stream_options": {"include_usage": True}}
    chat |= text | reasoning
    chat["messages"] = _with_instructions(arguments.get("instructions"), _messages(items))
    if _continues(items):
        chat |= {"add_generation_prompt": False, "continue_final_message": True}
    if "max_output_tokens" in arguments:
        chat["max_completion_tokens"] = arguments["max_output_tokens"]
    if "response_format" in chat and "structured_outputs" in chat:
        raise ApiError("give text.format or structured_outputs, not both", param="structured_outputs")
    if arguments.get("tools"):
        chat["tools"] = [_tool(f"tools[{i}]", tool) for i, tool in enumerate(arguments["tools"])]
    if "tool_choice" in arguments and (arguments.get("tools") or arguments["tool_choice"] != "auto"):
        chat["tool_choice"] = _tool_choice(arguments["tool_choice"])
    return chat | _logprobs(arguments) | _truncation(arguments.get("truncation", "disabled"))


# What ids of items begin with.
PREFIXES = {"message": "msg", "function_call": "fc", "function_call_output": "fco", "reasoning": "rs"}


def referred(item: Any, find: Callable[[str], Json]) -> Any:
    """Return an item, or the one that it only refers to by its id, as `find` gives it."""
    match item:
        case {"id": str(name)} if item.keys() <= {"id", "type"} and item.get("type") in (
            None,
            "item_reference",
        ):
            return find(name)
    return item


def with_id(item: Json) -> Json:
    """Return an item as it is listed: with its type, an id, and a text as a part."""
    kind = item.get("type") or "message"
    content = item.get("content")
    if kind == "message" and isinstance(content, str):
        is_ours = item["role"] == "assistant"
        part: Json = {"type": "output_text" if is_ours else "input_text", "text": content}
        content = [part | ({"annotations": []} if is_ours else {})]
    made = {"type": kind, "id": f"{PREFIXES[kind]}_{uuid.uuid4().hex}", "status": "completed"}
    given = {name: value for name, value in item.items() if value is not None}
    return {**made, **given, **({} if content is None else {"content": content})}


def check_stream_options(options: Json | None, stream: bool) -> None:
    """Raise `MinillmError` for options of a stream, unless they ask for nothing."""
    if options is None:
        return
    if not stream:
        raise MinillmError("stream_options go with stream: true; leave out one")
    if _checked("stream_options", options, {"include_obfuscation": FLAG}).get("include_obfuscation"):
        raise MinillmError("stream_options: include_obfuscation is not supported; leave it out")


def in_our_names(error: MinillmError) -> MinillmError:
    """Give an error of the chat the name that the field, with which its sentence begins, has here."""
    sentence = re.sub(r"^\w+", lambda name: NAMES.get(name[0], name[0]), str(error))
    if not isinstance(error, ApiError):
        return MinillmError(sentence)
    param = NAMES.get(error.param, error.param).partition(".")[0] if error.param else None
    return ApiError(sentence, error.status, param, error.code)


def _logprobs(arguments: Json) -> Json:
    include = arguments.get("include", [])
    if unknown := [name for name in include if name not in INCLUDABLE]:
        raise MinillmError(f"include has no {reprlib.repr(unknown[0])}, only {', '.join(INCLUDABLE)}")
    if LOGPROBS in include:
        return {"logprobs": True, "top_logprobs": arguments.get("top_logprobs", 0)}
    if arguments.get("top_logprobs"):
        raise MinillmError(f"top_logprobs go with include: ['{LOGPROBS}']; ask for those too")
    return {}


def _truncation(truncation: str) -> Json:
    if truncation not in ("auto", "disabled"):
        raise MinillmError(f"truncation must be 'auto' or 'disabled', got {reprlib.repr(truncation)}")
    return {"truncate_prompt_tokens": -1} if truncation == "auto" else {}


def _text(text: Json) -> Json:
    """Read `text`: what the chat calls response_format, and verbosity."""
    text = _checked("text", text, {"format": OBJECT, "verbosity": TEXT})
    chat = {"verbosity": text["verbosity"]} if "verbosity" in text else {}
    if (wanted := text.get("format", {"type": "text"})) == {"type": "text"}:
        return chat
    if wanted == {"type": "json_object"}:
        return {**chat, "response_format": wanted}
    if wanted.get("type") != "json_schema":
        rule = "{'type': 'text'}, {'type': 'json_object'} or {'type': 'json_schema', 'schema': ...}"
        raise MinillmError(f"text: format must be {rule}, got {reprlib.repr(wanted)}")
    known = {"type": TEXT, "name": TEXT, "schema": OBJECT, "strict": FLAG, "description": TEXT}
    schema = _checked("text.format", wanted, known, ("schema",))
    del schema["type"]
    return {**chat, "response_format": {"type": "json_schema", "json_schema": schema}}


def _reasoning(reasoning: Json) -> Json:
    """Read `reasoning`; a summary is at most asked for, as by "auto": there is none, reasoning is shown."""
    known = {"effort": TEXT, "summary": TEXT, "generate_summary": TEXT}
    reasoning = _checked("reasoning", reasoning, known)
    for name in ("summary", "generate_summary"):
        if (wanted := reasoning.get(name, "auto")) != "auto":
            raise MinillmError(
                f"reasoning: {name} must be 'auto', got {wanted!r}; reasoning is shown in full"
            )
    return {"reasoning_effort": reasoning["effort"]} if "effort" in reasoning else {}


def _tool(where: str, tool: Any) -> Json:
    if type(tool) is dict and tool.get("type") != "function":
        raise MinillmError(f"{where} must be of type 'function', got {reprlib.repr(tool.get('type'))}")
    function = _checked(where, tool, TOOL, ("name",))
    if not function["name"]:
        raise MinillmError(f"{where}: name must not be empty")
    del function["type"]
    return {"type": "function", "function": function}


def _tool_choice(choice: Any) -> Any:
    if choice in ("auto", "none", "required"):
        return choice
    if type(choice) is str or choice.keys() != {"type", "name"} or choice["type"] != "function":
        rule = "'auto', 'none', 'required' or {'type': 'function', 'name': ...}"
        raise MinillmError(f"tool_choice must be {rule}, got {reprlib.repr(choice)}")
    return {"type": "function", "function": {"name": choice["name"]}}


def _with_instructions(instructions: str | None, messages: list[Json]) -> list[Json]:
    """Put instructions, and what developers say, into one system message in front.

    Few chat templates know the role of a developer, and some take a system message nowhere else.
    """
    said = [] if instructions is None else [instructions]
    said += [message["content"] for message in messages if message["role"] == "developer"]
    others = [message for message in messages if message["role"] != "developer"]
    return [{"role": "system", "content": "\n\n".join(said)}, *others] if said else others


def _continues(items: Sequence[Json]) -> bool:
    """Tell whether the last item is a message of the assistant that was cut, as in vLLM."""
    last = items[-1] if items else {}
    is_message = last.get("type", "message") == "message" and last.get("role") == "assistant"
    return is_message and last.get("status") in ("in_progress", "incomplete")


def _messages(items: Sequence[Any]) -> list[Json]:
    """Read items as messages: one turn of the assistant is one, in which its items come together."""
    messages: list[Json] = []
    for i, item in enumerate(items):
        message = _message(f"input[{i}]", item)
        last = messages[-1] if messages else {}
        both = message.keys() & last.keys() if message["role"] == last.get("role") == "assistant" else None
        if both is not None and both <= {"role", "tool_calls"}:
            calls = [*last.get("tool_calls", []), *message.get("tool_calls", [])]
            last |= {**message, "tool_calls": calls} if calls else message
        elif len(message) > 1:  # reasoning can be empty
            messages.append(message)
    for message in messages:
        if "tool_calls" not in message:
            message.setdefault("content", "")
    if not messages:
        raise ApiError("input holds nothing; give a text or at least one item", param="input")
    return messages


def _message(where: str, item: Any) -> Json:
    """Read an item as the message, or the part of one, that it is."""
    kind = (item.get("type") or "message") if type(item) is dict else "message"
    if type(kind) is not str or kind not in ITEMS:
        rule = f"is not supported, only {', '.join(ITEMS)}"
        raise MinillmError(f"{where}: an item of type {reprlib.repr(kind)} {rule}")
    needed, known = ITEMS[kind]
    item = _checked(where, item, known | ANY_ITEM, needed)
    match kind:
        case "function_call":
            function = {"name": item["name"], "arguments": item["arguments"]}
            call = {"id": item["call_id"], "type": "function", "function": function}
            return {"role": "assistant", "tool_calls": [call]}
        case "function_call_output":
            output = _joined(f"{where}: output", item["output"], "input_text", "output_text")
            return {"role": "tool", "tool_call_id": item["call_id"], "content": output}
        case "reasoning":
            content = _joined(f"{where}: content", item.get("content", []), "reasoning_text")
            summary = _joined(f"{where}: summary", item.get("summary", []), "summary_text")
            reasoning = content or summary
            return {"role": "assistant"} | ({"reasoning_content": reasoning} if reasoning else {})
    if (role := item["role"]) not in ("user", "assistant", "system", "developer"):
        rule = "'user', 'assistant', 'system' or 'developer'"
        raise MinillmError(f"{where}: role must be {rule}, got {reprlib.repr(role)}")
    content = _joined(f"{where}: content", item["content"], "input_text", "output_text")
    return {"role": role, "content": content}


def _joined(where: str, content: str | list[Any], *kinds: str) -> str:
    """Join the texts of parts, each of one of these types, as the chat does."""
    if isinstance(content, str):
        return content
    for part in content:
        if type(part) is not dict or part.get("type") not in kinds:
            rule = " or ".join(f"{{'type': '{kind}', 'text': ...}}" for kind in kinds)
            raise MinillmError(f"{where} must be made of {rule}, got {reprlib.repr(part)}")
    return "\n".join(_checked(where, part, PART, ("type", "text"))["text"] for part in content)


def _checked(where: str, value: Any, known: Mapping[str, Kind], needed: Sequence[str] = ()) -> Json:
    """Return the fields of an object that are there; `MinillmError` for one that is missing or not right."""
    if type(value) is not dict:
        raise MinillmError(f"{where} must be an object, got {reprlib.repr(value)}")
    given = {name: one for name, one in value.items() if one is not None}
    for name, one in given.items():
        if name not in known:
            raise MinillmError(f"{where}: {reprlib.repr(name)} is not supported, only {', '.join(known)}")
        given[name] = known[name].read(f"{where}: {name}", one)
    if missing := [name for name in needed if name not in given]:
        raise MinillmError(f"{where} needs {missing[0]}")
    return given
