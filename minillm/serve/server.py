"""An HTTP server with OpenAI's API, as vLLM's server has it: completions, chat completions, models, metrics.

Requests run together, in one batch of one sampler. A client that goes away ends its request.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import logging
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import uvicorn
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric as MetricFamily
from prometheus_client.registry import Collector
from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from minillm import __version__
from minillm.engine.metrics import Counter, Metric
from minillm.errors import MinillmError
from minillm.llm import LLM
from minillm.serve.async_llm import AsyncLLM, EngineError
from minillm.serve.exchange import ChatExchange, CompletionExchange, Exchange, Outputs, Served
from minillm.serve.protocol import ApiError, Json, dumps
from minillm.serve.responses import ResponsesExchange, ResponseStore

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


@dataclass(frozen=True)
class ServerLimits:
    """What one client may do to others: the size of a request, how many there may be at a time, and how many
    seconds those that run may still take when the server is told to stop."""

    max_body_bytes: int = 8 << 20
    max_concurrent_requests: int = 256
    shutdown_timeout: int = 60

    def __post_init__(self) -> None:
        for name, least in (("max_body_bytes", 1), ("max_concurrent_requests", 1), ("shutdown_timeout", 0)):
            if (value := getattr(self, name)) < least:
                raise MinillmError(f"{name} must be at least {least}, got {value}")


# ---------------------------------------------------------------- the application


def make_app(
    llm: LLM, name: str, api_key: str | None = None, limits: ServerLimits | None = None
) -> Starlette:
    """Make the ASGI application that serves `llm` as the model `name`; once it starts, it owns the `LLM`."""
    server = _Server(llm, name, limits or ServerLimits())
    return Starlette(
        routes=[
            Route("/v1/completions", _Generate(server, CompletionExchange), methods=["POST"]),
            Route("/v1/chat/completions", _Generate(server, ChatExchange), methods=["POST"]),
            Route(
                "/v1/responses",
                _Generate(server, partial(ResponsesExchange, store=server.responses)),
                methods=["POST"],
            ),
            Route("/v1/responses/{name}", server.response),
            Route("/v1/responses/{name}/cancel", server.cancel, methods=["POST"]),
            Route("/v1/models", server.models),
            Route("/v1/models/{name:path}", server.model),
            Route("/metrics", server.metrics),
            Route("/health", server.health),
            Route("/version", server.version),
        ],
        middleware=[] if api_key is None else [Middleware(_ApiKey, api_key)],
        exception_handlers=dict.fromkeys((MinillmError, EngineError, HTTPException, Exception), _on_error),
        lifespan=server.lifespan,
    )


class _Server:
    """What the endpoints share, and those that sample nothing."""

    def __init__(self, llm: LLM, name: str, limits: ServerLimits) -> None:
        self.llm, self.served, self.limits = AsyncLLM(llm), Served(llm, name), limits
        self.responses = ResponseStore()
        self._running = 0

    @asynccontextmanager
    async def lifespan(self, app: Starlette) -> AsyncIterator[None]:
        async with self.llm:
            yield

    @contextmanager
    def slot(self) -> Iterator[None]:
        """One of the requests that may run at a time."""
        limit = self.limits.max_concurrent_requests
        if self._running >= limit:
            raise ApiError(f"{limit} requests are running, which is the limit; try again later", status=503)
        self._running += 1
        try:
            yield
        finally:
            self._running -= 1

    async def models(self, request: Request) -> Response:
        return _answer({"object": "list", "data": [self._card()]})

    async def model(self, request: Request) -> Response:
        self.served.check(request.path_params["name"])
        return _answer(self._card())

    async def response(self, request: Request) -> Response:
        if request.query_params:
            name = min(request.query_params)
            raise ApiError(f"{name} is not supported; a response is given whole, as it was", param=name)
        return _answer(self.responses.response(request.path_params["name"]))

    async def cancel(self, request: Request) -> Response:
        self.responses.response(request.path_params["name"])
        raise ApiError("Cannot cancel a synchronous response; it ends where its client goes away")

    async def metrics(self, request: Request) -> Response:
        registry = CollectorRegistry()
        registry.register(_Families(await self.llm.call(LLM.get_metrics), self.served.name))
        return Response(generate_latest(registry), headers={"content-type": CONTENT_TYPE_LATEST})

    async def health(self, request: Request) -> Response:
        if self.llm.error is not None:
            raise ApiError(f"the sampler failed: {self.llm.error}", status=503)
        return _answer({"status": "ok"})

    async def version(self, request: Request) -> Response:
        return _answer({"version": __version__})

    def _card(self) -> Json:
        return {
            "id": self.served.name,
            "object": "model",
            "created": self.served.created,
            "owned_by": "minillm",
            "max_model_len": self.served.max_model_len,
        }


@dataclass(frozen=True)
class _Generate:
    """An endpoint that samples."""

    server: _Server
    exchange: Callable[[Any, Served], Exchange | ResponsesExchange]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        body: Any = {}
        exchange = None
        try:
            with self.server.slot():
                body = await _read_json(Request(scope, receive), self.server.limits.max_body_bytes)
                exchange = self.exchange(body, self.server.served)
                async with self.server.llm.requests(exchange.prompts, exchange.params) as outputs:
                    if exchange.stream:
                        await _while_connected(receive, _send_events(send, exchange, outputs))
                    else:
                        answer = await _while_connected(receive, exchange.whole(outputs))
                        await _answer(answer)(scope, receive, send)
        except ClientDisconnect:
            return
        except asyncio.CancelledError:  # the server has been told to stop, and waited long enough
            if exchange is None or not exchange.stream:
                raise STOPPED from None
        except ApiError:
            raise
        except MinillmError as error:  # about a field or a parameter
            raise ApiError.of(error, body) from error


async def _read_json(request: Request, limit: int) -> Any:
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
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ApiError(f"the body is not JSON: {error}") from error


async def _while_connected(receive: Receive, work: Coroutine[Any, Any, T]) -> T:
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


async def _send_events(send: Send, exchange: Exchange | ResponsesExchange, outputs: Outputs) -> None:
    """Server-sent events, with names where they have types; what goes wrong on the way is one of them."""

    async def event(content: Json) -> None:
        name = f"event: {content['type']}\n" if exchange.names_events else ""
        await write(f"{name}data: {dumps(content)}\n\n")

    async def write(text: str) -> None:
        await send({"type": "http.response.body", "body": text.encode(), "more_body": True})

    headers = {"content-type": "text/event-stream; charset=utf-8", "cache-control": "no-cache"}
    await send({"type": "http.response.start", "status": 200, "headers": Headers(headers).raw})
    try:
        async for chunk in exchange.chunks(outputs):
            await event(chunk)
    except (Exception, asyncio.CancelledError) as error:
        shown = STOPPED if isinstance(error, asyncio.CancelledError) else _as_api_error(error)
        await event(exchange.error(shown))
    if not exchange.names_events:
        await write("data: [DONE]\n\n")
    await send({"type": "http.response.body", "body": b""})


# ---------------------------------------------------------------- answers, errors, key, metrics


def _answer(content: Json, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(dumps(content), status, headers, media_type="application/json")


def _as_api_error(error: Exception) -> ApiError:
    match error:
        case ApiError():
            return error
        case MinillmError():
            return ApiError(str(error))
        case HTTPException():
            return ApiError(f"{error.detail}; the README lists what is served", status=error.status_code)
        case EngineError():
            return ApiError(str(error), status=500)
    logger.error("a request failed", exc_info=error)
    return ApiError(f"{type(error).__name__}: {error}", status=500)


async def _on_error(request: Request, error: Exception) -> Response:
    shown = _as_api_error(error)
    headers = dict(error.headers or {}) if isinstance(error, HTTPException) else {}
    if shown.status == 503:
        headers["retry-after"] = "1"
    return _answer(shown.body(), shown.status, headers)


class _ApiKey:
    """Lets those in who bring the key; `/health` is open."""

    def __init__(self, app: ASGIApp, key: str) -> None:
        self._app, self._digest = app, hashlib.sha256(key.encode()).digest()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] != "/health":
            scheme, _, key = Headers(scope=scope).get("authorization", "").partition(" ")
            digest = hashlib.sha256(key.encode("latin-1")).digest()
            if not hmac.compare_digest(digest, self._digest) or scheme.lower() != "bearer":
                answer = _answer(WRONG_KEY.body(), WRONG_KEY.status, {"www-authenticate": "Bearer"})
                return await answer(scope, receive, send)
        await self._app(scope, receive, send)


class _Families(Collector):
    """Metrics as Prometheus has them, labelled with the model's name."""

    def __init__(self, metrics: Sequence[Metric], model_name: str) -> None:
        self._metrics, self._model_name = metrics, model_name

    def collect(self) -> Iterable[MetricFamily]:
        families: dict[str, CounterMetricFamily | GaugeMetricFamily] = {}
        for metric in self._metrics:
            kind = CounterMetricFamily if isinstance(metric, Counter) else GaugeMetricFamily
            labels = ["model_name", *metric.labels]
            family = families.setdefault(metric.name, kind(metric.name, "as in vLLM", labels=labels))
            family.add_metric([self._model_name, *metric.labels.values()], metric.value)
        return families.values()


# ---------------------------------------------------------------- the process


def bind(host: str, port: int) -> socket.socket:
    """Make a socket at this address, on which nobody listens yet; port 0 takes a free one."""
    try:
        if port > 65535:  # getaddrinfo() takes the rest
            raise OverflowError("the port must be 0 to 65535")
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except (OSError, OverflowError) as error:
        message = f"cannot serve at {host}:{port} ({error}); give another --host or --port"
        raise MinillmError(message) from error
    return listener


def url(listener: socket.socket) -> str:
    """Say where clients find the server."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def make_server(app: Starlette, shutdown_timeout: int) -> uvicorn.Server:
    """Make a server of `app` that logs nothing but what goes wrong."""
    return uvicorn.Server(
        uvicorn.Config(
            app,
            http="h11",
            ws="none",
            loop="asyncio",
            lifespan="on",
            log_config=None,
            log_level="warning",
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=shutdown_timeout,
        )
    )


def serve(llm: LLM, name: str, listener: socket.socket, api_key: str | None, limits: ServerLimits) -> None:
    """Serve until SIGTERM or SIGINT comes, and what runs then has finished or had its time."""
    server = make_server(make_app(llm, name, api_key, limits), limits.shutdown_timeout)

    def stop(*_: object) -> None:
        server.should_exit = True

    # uvicorn's own handlers take over, and raise the signal again at the end: for these, instead of death.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    listener.listen()
    print(f"serving {name} at {url(listener)}/v1", flush=True)
    if api_key is None and not listener.getsockname()[0].startswith(("127.", "::1")):
        print("warning: without --api-key, everybody who reaches this address is served", file=sys.stderr)
    server.run(sockets=[listener])
