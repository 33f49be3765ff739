"""HTTP around the endpoints: bodies, answers, server-sent events, errors, keys."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import logging
from collections.abc import Collection, Coroutine
from typing import Any, TypeVar

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from minillm.async_llm import EngineError
from minillm.errors import MinillmError
from minillm.serve.exchange import Exchange, Outputs
from minillm.serve.openapi import OPEN_PATHS
from minillm.serve.protocol import ApiError, Json, dumps, ignored_header, loads
from minillm.serve.responses import ResponsesExchange

T = TypeVar("T")

# Seconds that a client may take to send its request.
BODY_SECONDS = 60
# Of a body that is too large so much is read on and thrown away: a client that is still sending when the
# connection closes would see that, and not the answer.
DISCARDED_BYTES = 64 << 20
STOPPED = ApiError("the server was stopped before the answer was complete; send it again", status=503)
WRONG_KEY = ApiError(
    "the API key is missing or wrong; send Authorization: Bearer KEY", status=401, code="invalid_api_key"
)

logger = logging.getLogger(__name__)


async def read_json(request: Request, limit: int) -> Any:
    """Read the body; `ApiError` for one that is too large, too slow, or no JSON."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise ApiError("the body must be JSON, with Content-Type: application/json", status=415)
    content = bytearray()
    try:
        async with asyncio.timeout(BODY_SECONDS):
            size = 0
            async for chunk in request.stream():
                size += len(chunk)
                if size <= limit:
                    content += chunk
                elif size > limit + DISCARDED_BYTES:
                    break
    except TimeoutError as error:
        raise ApiError(f"the body did not come within {BODY_SECONDS} seconds", status=408) from error
    if size > limit:
        raise ApiError(f"the body is larger than {limit} bytes; send less", status=413)
    return loads(bytes(content))


async def while_connected(receive: Receive, work: Coroutine[Any, Any, T]) -> T:
    """Await `work`, which is cancelled when the client goes away: `ClientDisconnect`."""
    task, gone = asyncio.ensure_future(work), asyncio.ensure_future(_disconnect(receive))
    try:
        await asyncio.wait((task, gone), return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ClientDisconnect
        return task.result()
    finally:
        task.cancel()
        gone.cancel()
        await asyncio.gather(task, gone, return_exceptions=True)


async def _disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def send_events(send: Send, exchange: Exchange | ResponsesExchange, outputs: Outputs) -> None:
    """Server-sent events, with names where they have types; what goes wrong on the way is one of them."""

    async def event(content: Json) -> None:
        name = f"event: {content['type']}\n" if exchange.names_events else ""
        await write(f"{name}data: {dumps(content)}\n\n")

    async def write(text: str) -> None:
        await send({"type": "http.response.body", "body": text.encode(), "more_body": True})

    headers = {"content-type": "text/event-stream; charset=utf-8", "cache-control": "no-cache"}
    headers |= ignored_header(exchange.ignored)
    await send({"type": "http.response.start", "status": 200, "headers": Headers(headers).raw})
    try:
        async for chunk in exchange.chunks(outputs):
            await event(chunk)
    except (Exception, asyncio.CancelledError) as error:
        shown = STOPPED if isinstance(error, asyncio.CancelledError) else as_api_error(error)
        await event(exchange.error(shown))
    if not exchange.names_events:
        await write("data: [DONE]\n\n")
    await send({"type": "http.response.body", "body": b""})


def answer(content: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(dumps(content), status, headers, media_type="application/json")


def as_api_error(error: Exception) -> ApiError:
    match error:
        case ApiError():
            return error
        case MinillmError():
            return ApiError(str(error))
        case HTTPException():
            return ApiError(f"{error.detail}; /openapi.json lists what is served", status=error.status_code)
        case EngineError():
            return ApiError(str(error), status=500)
    logger.error("a request failed", exc_info=error)
    return ApiError(f"{type(error).__name__}: {error}", status=500)


async def on_error(request: Request, error: Exception) -> Response:
    shown = as_api_error(error)
    headers = {}
    if isinstance(error, HTTPException):
        shown = ApiError(f"{request.method} {request.url.path[:100]}: {shown}", shown.status)
        headers = dict(error.headers or {})
    if shown.status == 503:
        headers["retry-after"] = "1"
    return answer(shown.body(), shown.status, headers)


class ApiKey:
    """Lets those in who bring one of the keys; `OPEN_PATHS` need none."""

    def __init__(self, app: ASGIApp, keys: Collection[str]) -> None:
        self._app, self._digests = app, [hashlib.sha256(key.encode()).digest() for key in keys]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] not in OPEN_PATHS:
            scheme, _, key = Headers(scope=scope).get("authorization", "").partition(" ")
            digest = hashlib.sha256(key.encode("latin-1")).digest()
            # All of them, whichever it is: how long this takes says nothing.
            known = [hmac.compare_digest(digest, one) for one in self._digests]
            if not any(known) or scheme.lower() != "bearer":
                refusal = answer(WRONG_KEY.body(), WRONG_KEY.status, {"www-authenticate": "Bearer"})
                return await refusal(scope, receive, send)
        await self._app(scope, receive, send)
