"""What stands before all endpoints by an option: somebody's own middleware, and ids of requests."""

from __future__ import annotations

import inspect
import uuid
from collections.abc import Sequence
from importlib import import_module
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from minillm.errors import MinillmError

REQUEST_ID = "x-request-id"


def imported(paths: Sequence[str]) -> list[Middleware]:
    """Import middleware by paths such as "package.module.Name", the last of them outermost, as in vLLM.

    Each is a class of ASGI's, or `async def name(request, call_next)`. Raises `MinillmError` for one that is
    neither, or cannot be imported.
    """
    return [_imported(path) for path in reversed(paths)]


def _imported(path: str) -> Middleware:
    module, _, name = path.rpartition(".")
    try:
        found: Any = getattr(import_module(module), name)
    except Exception as error:  # somebody else's code runs
        raise MinillmError(
            f"--middleware {path} cannot be imported ({type(error).__name__}: {error}); give the path of a "
            "class or a coroutine function, whose module is on PYTHONPATH"
        ) from error
    middleware: Any = Middleware  # to which somebody's class is of no type
    if inspect.isclass(found):
        return middleware(found)  # type: ignore[no-any-return]
    if inspect.iscoroutinefunction(found):
        return Middleware(BaseHTTPMiddleware, dispatch=found)
    raise MinillmError(f"--middleware {path} must be a class or a coroutine function, got {found!r}")


class RequestIds:
    """Gives each answer the `X-Request-Id` that its request has, or a new one."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        name = Headers(scope=scope).get(REQUEST_ID) or uuid.uuid4().hex

        async def with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)[REQUEST_ID] = name
            await send(message)

        await self._app(scope, receive, with_id)
