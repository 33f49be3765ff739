"""OpenAI's Responses API: a chat whose chunks become events, and whose whole is what the last event holds."""

from __future__ import annotations

import copy
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar

from minillm.api.sampling_params import SamplingParams
from minillm.errors import MinillmError
from minillm.inputs import Prompt
from minillm.serve import responses_request
from minillm.serve.exchange import ChatExchange, Outputs, Served
from minillm.serve.protocol import ApiError, Json
from minillm.serve.response_store import ResponseStore


class ResponsesExchange:
    """`/v1/responses`: what `Exchange` is for chats, around a chat.

    Raises `MinillmError` for what is wrong with the request by itself.
    """

    names_events: ClassVar[bool] = True

    def __init__(
        self, body: Any, served: Served, request_id: str | None = None, *, store: ResponseStore
    ) -> None:
        self.ignored: list[str] = []
        arguments = responses_request.given_fields(body, self.ignored)
        self.stream: bool = arguments.get("stream", False)
        responses_request.check_stream_options(arguments.get("stream_options"), self.stream)
        if "input" not in arguments:
            raise ApiError("input is missing; give a text or a list of items", param="input")
        given = arguments["input"]
        self._store = store if arguments.get("store", True) else None
        items = [{"role": "user", "content": given}] if isinstance(given, str) else given
        items = [responses_request.referred(item, store.item) for item in items]
        if "previous_response_id" in arguments:
            items = [*store.items(arguments["previous_response_id"]), *items]
        chat = responses_request.chat_body(arguments, items)
        self._items = [responses_request.with_id(item) for item in items]
        with _our_names():
            self._chat = ChatExchange(chat, served, request_id)
        self.params: SamplingParams = self._chat.params
        self.asked = self._chat.asked
        self.priority, self.adapter = self._chat.priority, self._chat.adapter
        self._writer = ResponseWriter(_head(arguments, self._chat.model, self.params))

    def cut_prompts(self) -> list[Prompt]:
        """Make the prompt, as `LLM.enqueue` takes it; raise `MinillmError` where there is none."""
        with _our_names():
            return self._chat.cut_prompts()

    async def whole(self, outputs: Outputs) -> Json:
        """Write the response."""
        async for _ in self.chunks(outputs):
            pass
        return self._writer.response

    async def chunks(self, outputs: Outputs) -> AsyncIterator[Json]:
        """Write the events of the response, of which the last holds all of it."""
        for event in self._writer.start():
            yield event
        async for chunk in self._chat.chunks(outputs):
            for event in self._writer.add(chunk):
                yield event
        *closing, end = self._writer.finish()
        for event in closing:
            yield event
        if self._store is not None:
            self._store.add(end["response"], self._items)
        yield end

    def error(self, error: ApiError) -> Json:
        """Write the event that ends a stream in which something went wrong."""
        return self._writer.fail(error)


@dataclass(frozen=True)
class ItemKind:
    """How an item of the output is written: what its ids begin with, what it begins as, and its events.

    Attributes:
        part: its one part, in which the text stands; None where the item itself has it.
        field: where the text stands.
    """

    prefix: str
    begins: Json
    event: str
    field: str
    part: Json | None = None


KINDS = {
    "message": ItemKind(
        "msg",
        {"role": "assistant", "content": []},
        "response.output_text",
        "text",
        {"type": "output_text", "text": "", "annotations": [], "logprobs": []},
    ),
    "reasoning": ItemKind(
        "rs",
        {"summary": [], "content": []},
        "response.reasoning_text",
        "text",
        {"type": "reasoning_text", "text": ""},
    ),
    "function_call": ItemKind("fc", {"arguments": ""}, "response.function_call_arguments", "arguments"),
}


class ResponseWriter:
    """Writes a response from the chunks of a chat, and the events by which it comes to be.

    Attributes:
        response: as far as it is written; the text of the open item is filled in when the item ends.
    """

    def __init__(self, response: Json) -> None:
        self.response = response
        self._events = 0
        self._open: OpenItem | None = None
        # Of tokens that have not made text yet: they belong to what comes next.
        self._logprobs: list[Json] = []
        self._finish_reason: str | None = None

    def start(self) -> Iterator[Json]:
        """Write the first events."""
        yield self._of_response("response.created")
        yield self._of_response("response.in_progress")

    def add(self, chunk: Json) -> Iterator[Json]:
        """Write a chunk's events."""
        if chunk.get("usage"):
            self.response["usage"] = _usage(chunk["usage"])
        for choice in chunk["choices"]:
            delta = choice["delta"]
            self._logprobs += (choice.get("logprobs") or {}).get("content") or []
            if text := delta.get("reasoning_content"):
                yield from self._write("reasoning", text)
            if text := delta.get("content"):
                yield from self._write("message", text)
            for call in delta.get("tool_calls") or []:
                yield from self._write_call(call)
            self._finish_reason = choice["finish_reason"] or self._finish_reason

    def finish(self) -> Iterator[Json]:
        """Write the last events, the response's own among them, when there are no more chunks."""
        is_complete = self._finish_reason in ("stop", "tool_calls")
        if not self.response["output"]:
            yield from self._begin("message")
        if self._open is not None and self._open.kind is KINDS["message"] and self._logprobs:
            yield self._delta("")
        status = "completed" if is_complete else "incomplete"
        yield from self._end(status)
        if not is_complete:
            cut = self._finish_reason == "length"
            reason = "max_output_tokens" if cut else self._finish_reason
            self.response["incomplete_details"] = {"reason": reason}
        self.response |= {"status": status, "completed_at": int(time.time()) if is_complete else None}
        yield self._of_response(f"response.{status}")

    def fail(self, error: ApiError) -> Json:
        """Write the event of a response that failed."""
        if self._open is not None:
            self._open.end("incomplete")
        code = "server_error" if error.status >= 500 else "invalid_prompt"
        self.response |= {"status": "failed", "error": {"code": code, "message": str(error)}}
        return self._of_response("response.failed")

    def _write(self, kind: str, text: str) -> Iterator[Json]:
        if self._open is None or self._open.kind is not KINDS[kind]:
            yield from self._begin(kind)
        yield self._delta(text)

    def _write_call(self, call: Json) -> Iterator[Json]:
        """Write a piece of a call, of which the first has the name."""
        function = call.get("function") or {}
        if self._open is None or self._open.call != call["index"]:
            yield from self._begin("function_call", call["index"], call_id=call["id"], name=function["name"])
        if arguments := function.get("arguments"):
            yield self._delta(arguments)

    def _begin(self, kind: str, call: int | None = None, **fields: Any) -> Iterator[Json]:
        """Begin an item, after ending the one that is open."""
        yield from self._end("completed")
        wanted = KINDS[kind]
        name = f"{wanted.prefix}_{uuid.uuid4().hex}"
        item = {"id": name, "type": kind, "status": "in_progress", **copy.deepcopy(wanted.begins), **fields}
        self.response["output"].append(item)
        yield self._event(
            "response.output_item.added",
            output_index=len(self.response["output"]) - 1,
            item=copy.deepcopy(item),
        )
        place: Json = {"item_id": name, "output_index": len(self.response["output"]) - 1}
        target = item
        if wanted.part is not None:
            target = copy.deepcopy(wanted.part)
            item["content"] = [target]
            place["content_index"] = 0
            yield self._event("response.content_part.added", **place, part=copy.deepcopy(target))
        self._open = OpenItem(wanted, item, target, place, call, [])

    def _delta(self, text: str) -> Json:
        """Write a piece of the open item's text."""
        assert self._open is not None
        self._open.pieces.append(text)
        logprobs, self._logprobs = self._logprobs, []
        fields: Json = {**self._open.place, "delta": text}
        if self._open.kind is KINDS["message"]:
            self._open.target["logprobs"] += logprobs
            fields["logprobs"] = logprobs
        return self._event(f"{self._open.kind.event}.delta", **fields)

    def _end(self, status: str) -> Iterator[Json]:
        """End the open item, if there is one."""
        if (open_item := self._open) is None:
            return
        if not open_item.pieces:
            yield self._delta("")
        open_item.end(status)
        self._open, kind, target = None, open_item.kind, open_item.target
        done: Json = {**open_item.place, kind.field: target[kind.field]}
        if "logprobs" in target:
            done["logprobs"] = target["logprobs"]
        yield self._event(f"{kind.event}.done", **done)
        if kind.part is not None:
            yield self._event("response.content_part.done", **open_item.place, part=target)
        place = open_item.place["output_index"]
        yield self._event("response.output_item.done", output_index=place, item=open_item.item)

    def _of_response(self, kind: str) -> Json:
        return self._event(kind, response={**self.response, "output": copy.deepcopy(self.response["output"])})

    def _event(self, kind: str, **fields: Any) -> Json:
        self._events += 1
        return {"type": kind, "sequence_number": self._events - 1, **fields}


@dataclass
class OpenItem:
    """The item that is being written: itself, the part of it that has the text, and the text's pieces."""

    kind: ItemKind
    item: Json
    target: Json
    place: Json
    call: int | None
    pieces: list[str]

    def end(self, status: str) -> None:
        """Fill in what was open."""
        self.target[self.kind.field] = "".join(self.pieces)
        self.item["status"] = status


@contextmanager
def _our_names() -> Iterator[None]:
    try:
        yield
    except MinillmError as error:
        raise responses_request.in_our_names(error) from error


def _head(arguments: Json, model: str, params: SamplingParams) -> Json:
    """Write a response of which nothing is sampled yet."""
    blank = {"description": None, "parameters": None, "strict": None}
    return {
        "id": arguments.get("request_id") or f"resp_{uuid.uuid4().hex}",
        "object": "response",
        "created_at": int(time.time()),
        "completed_at": None,
        "status": "in_progress",
        "error": None,
        "incomplete_details": None,
        "model": model,
        "output": [],
        "usage": None,
        "background": False,
        "temperature": params.temperature,
        "top_p": params.top_p,
        "tools": [{**blank, **tool} for tool in arguments.get("tools", [])],
        **{name: arguments.get(name, default) for name, default in SHOWN.items()},
    }


# Fields of a request that its response shows, and what they are where they are left out.
SHOWN: Json = {
    "instructions": None, "max_output_tokens": None, "max_tool_calls": None, "metadata": {},
    "parallel_tool_calls": True, "previous_response_id": None, "prompt_cache_key": None,
    "reasoning": {"effort": None, "summary": None}, "safety_identifier": None, "service_tier": "auto",
    "store": True, "text": {"format": {"type": "text"}}, "tool_choice": "auto", "top_logprobs": 0,
    "truncation": "disabled", "user": None,
}  # fmt: skip


def _usage(usage: Json) -> Json:
    """Write a chat's usage as that of a response."""
    prompt, cached = usage["prompt_tokens"], usage["prompt_tokens_details"]["cached_tokens"]
    return {
        "input_tokens": prompt,
        # What was not read from the KV cache has been written to it.
        "input_tokens_details": {"cached_tokens": cached, "cache_write_tokens": prompt - cached},
        "output_tokens": usage["completion_tokens"],
        "output_tokens_details": usage.get("completion_tokens_details", {"reasoning_tokens": 0}),
        "total_tokens": usage["total_tokens"],
    }
