"""An HTTP server with OpenAI's API, as vLLM's server has it: completions, chat completions, models, metrics.

Requests run together, in one batch of one sampler. A client that goes away ends its request.
"""

from __future__ import annotations

import asyncio
import reprlib
import signal
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Message, Receive, Scope, Send

from minillm import __version__
from minillm.api.parameters import FLAG, WHOLE, Kind
from minillm.async_llm import AsyncLLM, EngineError
from minillm.errors import MinillmError
from minillm.inputs import Prompt
from minillm.llm import LLM
from minillm.serve import control, openapi, prometheus, protocol, responses_request, tokens
from minillm.serve.adapters import LOAD, UNLOAD, Adapters
from minillm.serve.control import Control
from minillm.serve.exchange import ChatExchange, CompletionExchange, Exchange, Served
from minillm.serve.http import STOPPED, ApiKey, answer, on_error, read_json, send_events, while_connected
from minillm.serve.listening import bind as bind
from minillm.serve.listening import check_certificate as check_certificate
from minillm.serve.listening import url as url
from minillm.serve.openapi import Endpoint
from minillm.serve.options import ServerLimits as ServerLimits
from minillm.serve.options import ServerOptions as ServerOptions
from minillm.serve.protocol import ApiError, Json
from minillm.serve.response_store import PAGE, ResponseStore
from minillm.serve.responses import ResponsesExchange

T = TypeVar("T")

# Threads on which bodies become prompts.
READERS = 8

# ---------------------------------------------------------------- the application


def make_app(
    llm: LLM,
    name: str | Sequence[str],
    api_key: str | Sequence[str] | None = None,
    limits: ServerLimits | None = None,
    options: ServerOptions | None = None,
) -> Starlette:
    """Make the ASGI application that serves `llm` as the model `name`; once it starts, it owns the `LLM`.

    Of several names the first is the one in answers; any of several keys lets in.
    """
    names, keys = ([x] if isinstance(x, str) else list(x or ()) for x in (name, api_key))
    options = options or ServerOptions()
    server = _Server(llm, names, limits or ServerLimits(), options)
    shown, routes = [*_sampling(server), *_around(server)], list[Route]()
    for endpoints, is_open, closed in (
        (_for_trainers(server), options.dev_mode, _NOT_IN_DEV_MODE),
        (_for_adapters(server), options.allow_runtime_lora_updating, _NOT_AT_RUN_TIME),
        (_of_tokenizer(server), options.enable_tokenizer_info_endpoint, _NOT_SHOWN),
    ):
        if is_open:
            shown += endpoints
        else:
            handler = partial(_refuse, closed)
            routes += [Route(endpoint.path, handler, methods=["GET", "POST"]) for endpoint in endpoints]

    async def description(request: Request) -> Response:
        known = [*names, *server.served.adapters]
        return answer(openapi.description(shown, known, bool(keys), options.root_path))

    routes += [*_routes(shown), Route("/openapi.json", description)]
    return Starlette(
        routes=routes,
        middleware=[*options.around(), *([Middleware(ApiKey, keys)] if keys else [])],
        exception_handlers=dict.fromkeys((MinillmError, EngineError, HTTPException, Exception), on_error),
        lifespan=server.lifespan,
    )


def _routes(endpoints: Sequence[Endpoint]) -> list[Route]:
    """Make one route of each path, which by that knows all methods that it may be asked with."""
    by_path: dict[str, dict[str, Endpoint]] = {}
    for endpoint in endpoints:
        by_path.setdefault(endpoint.path, {})[endpoint.method] = endpoint
    return [Route(path, _handler(found), methods=[*found]) for path, found in by_path.items()]


def _handler(endpoints: Mapping[str, Endpoint]) -> Any:
    handlers: dict[str, Any] = {method: endpoint.handler for method, endpoint in endpoints.items()}
    first, *others = handlers.values()
    if all(other == first for other in others):
        return first

    async def by_method(request: Request) -> Response:
        answered: Response = await handlers["GET" if request.method == "HEAD" else request.method](request)
        return answered

    return by_method


def _sampling(server: _Server) -> list[Endpoint]:
    return [
        Endpoint(
            "POST", "/v1/completions", _Generate(server, CompletionExchange), "Continue a text",
            openapi.COMPLETION, protocol.COMPLETION, ["prompt"], streams=openapi.COMPLETION_EVENT,
        ),
        Endpoint(
            "POST", "/v1/chat/completions", _Generate(server, ChatExchange), "Answer a chat",
            openapi.CHAT, protocol.CHAT, ["messages"], streams=openapi.CHAT_EVENT,
        ),
        Endpoint(
            "POST", "/v1/responses", _Generate(server, partial(ResponsesExchange, store=server.responses)),
            "Answer a conversation", openapi.RESPONSE, responses_request.FIELDS, ["input"],
            streams=openapi.RESPONSE_EVENT, unsupported=responses_request.UNSUPPORTED,
        ),
        Endpoint(
            "GET", "/v1/responses/{name}", server.response, "Show a response again", openapi.RESPONSE,
            errors={404: "there is no such response"},
        ),
        Endpoint(
            "DELETE", "/v1/responses/{name}", server.delete_response, "Forget a response",
            openapi.short(id="string", object="string", deleted="boolean"),
            errors={404: "there is no such response"},
        ),
        Endpoint(
            "GET", "/v1/responses/{name}/input_items", server.input_items, "List what led to a response",
            openapi.ITEMS, query=PAGE, errors={404: "there is no such response"},
        ),
        Endpoint(
            "POST", "/v1/responses/{name}/cancel", server.cancel,
            "Refuse: responses do not run by themselves", openapi.RESPONSE,
            errors={404: "there is no such response"},
        ),
        Endpoint(
            "POST", "/invocations", _Generate(server, _invoked), "Answer a chat or continue a text",
            {"anyOf": [openapi.CHAT, openapi.COMPLETION]}, INVOCATION, streams=openapi.INVOCATION_EVENT,
        ),
        Endpoint(
            "POST", "/inference/v1/generate", _Generate(server, tokens.GenerateExchange),
            "Continue token ids with token ids",
            openapi.GENERATED, tokens.GENERATE, ["token_ids"], streams=openapi.GENERATED_EVENT,
        ),
    ]  # fmt: skip


def _around(server: _Server) -> list[Endpoint]:
    return [
        Endpoint(
            "POST", "/tokenize", server.asked(tokens.tokenized), "Turn a text or a chat into token ids",
            openapi.TOKENIZED, tokens.TOKENIZE,
        ),
        Endpoint(
            "POST", "/detokenize", server.asked(tokens.detokenized), "Turn token ids into text",
            openapi.DETOKENIZED, tokens.DETOKENIZE, ["tokens"],
        ),
        Endpoint("GET", "/v1/models", server.models, "List the model's names", openapi.CARDS),
        Endpoint(
            "GET", "/v1/models/{name:path}", server.model, "Describe the model", openapi.CARD,
            errors={404: "there is no such model"},
        ),
        Endpoint("GET", "/metrics", server.metrics, "Show counters for Prometheus", "text/plain"),
        Endpoint("GET", "/load", server.load, "Count requests", openapi.short(server_load="integer")),
        Endpoint("GET", "/version", server.version, "Tell the version", openapi.short(version="string")),
        *(
            Endpoint(
                method, path, server.health, "Tell whether the last step succeeded",
                openapi.short(status="string"), errors={503: "it failed"},
            )
            for method, path in (("GET", "/health"), ("GET", "/ping"), ("POST", "/ping"))
        ),
    ]  # fmt: skip


def _for_trainers(server: _Server) -> list[Endpoint]:
    trainer = Control(server.llm)
    paused, sleeping = openapi.short(is_paused="boolean"), openapi.short(is_sleeping="boolean")

    def endpoint(
        method: str, ask: Callable[[Json], Awaitable[Json]], shown: Json, query: Mapping[str, Kind]
    ) -> Endpoint:
        async def handler(request: Request) -> Response:
            with _fields_named(query):
                return answer(await ask(control.given_query(request, query)))

        summary = (ask.__doc__ or "").partition(".")[0].partition(";")[0]
        path = f"/{ask.__name__}"
        return Endpoint(method, path, handler, summary, shown, query=query)

    async def update(request: Request) -> Response:
        body = await server.body(request)
        with _fields_named(body):
            return answer(await trainer.update_weights(body))

    return [
        endpoint("POST", trainer.pause, openapi.short(status="string"), control.PAUSE),
        endpoint("POST", trainer.resume, openapi.short(status="string"), {}),
        endpoint("GET", trainer.is_paused, paused, {}),
        endpoint("POST", trainer.sleep, sleeping, control.SLEEP),
        endpoint("POST", trainer.wake_up, sleeping, control.WAKE_UP),
        endpoint("GET", trainer.is_sleeping, sleeping, {}),
        endpoint("POST", trainer.reset_prefix_cache, openapi.short(success="boolean"), control.RESET),
        Endpoint(
            "POST", "/update_weights", update, "Load the weights of a folder into the live model",
            openapi.short(message="string"), control.UPDATE, ["update_info"],
            errors={409: "requests are under way"}, is_open=False,
        ),
    ]  # fmt: skip


def _for_adapters(server: _Server) -> list[Endpoint]:
    def endpoint(
        path: str, ask: Callable[[Json], Awaitable[str]], body: Mapping[str, Kind], required: Sequence[str]
    ) -> Endpoint:
        async def handler(request: Request) -> Response:
            with server.slot():
                given = await server.body(request)
                with _fields_named(given):
                    return Response(await ask(given), media_type="text/plain")

        summary = (ask.__doc__ or "").partition(",")[0]
        errors = {404: "there is no such adapter"}
        return Endpoint(
            "POST", path, handler, summary, "text/plain", body, required, errors=errors, is_open=False
        )

    adapters = server.adapters
    return [
        endpoint("/v1/load_lora_adapter", adapters.load, LOAD, ["lora_name", "lora_path"]),
        endpoint("/v1/unload_lora_adapter", adapters.unload, UNLOAD, ["lora_name"]),
    ]


def _of_tokenizer(server: _Server) -> list[Endpoint]:
    async def shown(request: Request) -> Response:
        return answer(tokens.tokenizer_info(server.served))

    path, summary = "/tokenizer_info", "Show how the tokenizer is set up"
    return [Endpoint("GET", path, shown, summary, openapi.short(tokenizer_class="string"))]


# What a body of SageMaker's path may have: that of a chat, or of a completion.
INVOCATION = {
    **protocol.COMPLETION, **protocol.CHAT,
    "logprobs": Kind({"anyOf": [FLAG.schema, WHOLE.schema]}, "true, false or a number"),
}  # fmt: skip


def _invoked(body: Any, served: Served, request_id: str | None) -> Exchange:
    """Read a body that does not say by its path what it asks for."""
    if type(body) is not dict or "messages" in body:
        return ChatExchange(body, served, request_id)
    if "prompt" in body:
        return CompletionExchange(body, served, request_id)
    raise ApiError("the body has neither messages, as of a chat, nor prompt, as of a completion; give one")


class _Server:
    """What the endpoints share, and those that sample nothing."""

    def __init__(self, llm: LLM, names: Sequence[str], limits: ServerLimits, options: ServerOptions) -> None:
        self.llm, self.limits = AsyncLLM(llm), limits
        for adapter in options.lora_modules:
            llm.add_lora(adapter)
        self.served = Served(llm, names, options)
        self.adapters = Adapters(self.llm, self.served)
        self.responses = ResponseStore()
        self._running = 0
        self._readers = ThreadPoolExecutor(READERS, "minillm-read")
        self._templates = ThreadPoolExecutor(1, "minillm-template")

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

    async def body(self, request: Request) -> Any:
        """Read the JSON that a request brings."""
        return await read_json(request, self.limits.max_body_bytes)

    async def apart(self, function: Callable[[Any, Served], T], body: Any) -> T:
        """`function(body, served)`, which may take long, on a thread of neither the loop nor the `LLM`.

        A template of the body's own may take long every time, so those wait for each other, and nobody else.
        """
        is_own = type(body) is dict and body.get("chat_template") is not None
        threads = self._templates if is_own else self._readers
        return await asyncio.get_running_loop().run_in_executor(threads, function, body, self.served)

    def asked(self, reply: Callable[[Any, Served], Json]) -> Callable[[Request], Awaitable[Response]]:
        """Make an endpoint that answers a body."""

        async def endpoint(request: Request) -> Response:
            with self.slot():
                body = await self.body(request)
                with _fields_named(body):
                    return answer(await self.apart(reply, body))

        return endpoint

    async def models(self, request: Request) -> Response:
        names = [*self.served.names, *self.served.adapters]
        return answer({"object": "list", "data": [self._card(name) for name in names]})

    async def model(self, request: Request) -> Response:
        return answer(self._card(request.path_params["name"]))

    async def response(self, request: Request) -> Response:
        if asked := [name for name, value in request.query_params.items() if value != "false"]:
            shown = reprlib.repr(asked[0])
            raise ApiError(f"{shown} is not supported; a response is given whole, as it was", param=asked[0])
        return answer(self.responses.response(request.path_params["name"]))

    async def input_items(self, request: Request) -> Response:
        with _fields_named(PAGE):
            query = control.given_query(request, PAGE)
            return answer(self.responses.input_items(request.path_params["name"], query))

    async def delete_response(self, request: Request) -> Response:
        self.responses.remove(name := request.path_params["name"])
        return answer({"id": name, "object": "response", "deleted": True})

    async def cancel(self, request: Request) -> Response:
        self.responses.response(request.path_params["name"])
        raise ApiError("Cannot cancel a synchronous response; it ends where its client goes away")

    async def metrics(self, request: Request) -> Response:
        text = prometheus.exposition(await self.llm.call(LLM.get_metrics), self.served.name)
        return Response(text, headers={"content-type": prometheus.CONTENT_TYPE})

    async def load(self, request: Request) -> Response:
        return answer({"server_load": self._running})

    async def health(self, request: Request) -> Response:
        if self.llm.error is not None:
            raise ApiError(f"the sampler failed: {self.llm.error}", status=503)
        return answer({"status": "ok"})

    async def version(self, request: Request) -> Response:
        return answer({"version": __version__})

    def _card(self, name: str) -> Json:
        """Describe the model or an adapter; `ApiError` for the name of neither."""
        adapter = self.served.adapter(name)
        return {
            "id": name,
            "object": "model",
            "created": self.served.created,
            "owned_by": "minillm",
            "root": self.served.name if adapter is None else adapter.lora_path,
            "parent": None if adapter is None else adapter.base_model_name,
            "max_model_len": self.served.max_model_len,
        }


_NOT_IN_DEV_MODE = (
    "is for trainers; start the server with --server-dev-mode, or with VLLM_SERVER_DEV_MODE=1 in its "
    "environment"
)
_NOT_AT_RUN_TIME = (
    "is closed; start the server with --enable-lora, and with VLLM_ALLOW_RUNTIME_LORA_UPDATING=1 in its "
    "environment"
)


_NOT_SHOWN = "is closed; start the server with --enable-tokenizer-info-endpoint"


async def _refuse(why: str, request: Request) -> Response:
    raise ApiError(f"{request.url.path} {why}", status=404)


@contextmanager
def _fields_named(names: Mapping[str, Any]) -> Iterator[None]:
    """Let errors about one of these fields or parameters say which."""
    try:
        yield
    except ApiError:
        raise
    except MinillmError as error:
        raise ApiError.of(error, names) from error


@dataclass(frozen=True)
class _Generate:
    """An endpoint that samples."""

    server: _Server
    exchange: Callable[[Any, Served, str | None], Exchange | ResponsesExchange]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request, has_begun = Request(scope, receive), False

        async def noting(message: Message) -> None:
            nonlocal has_begun
            has_begun = True
            await send(message)

        try:
            with self.server.slot():
                body = await self.server.body(request)
                with _fields_named(body):
                    await while_connected(receive, self._answer(body, request, noting))
        except ClientDisconnect:
            return
        except asyncio.CancelledError:  # the server has been told to stop, and waited long enough
            if not has_begun:
                raise STOPPED from None

    async def _answer(self, body: Any, request: Request, send: Send) -> None:
        request_id = request.headers.get("x-request-id")

        def read(body: Any, served: Served) -> tuple[Exchange | ResponsesExchange, list[Prompt]]:
            exchange = self.exchange(body, served, request_id)
            return exchange, exchange.cut_prompts()

        exchange, prompts = await self.server.apart(read, body)
        requests = self.server.llm.requests(
            prompts, exchange.asked, exchange.priority, lora_request=exchange.adapter
        )
        async with requests as outputs:
            if exchange.stream:
                await send_events(send, exchange, outputs)
            else:
                whole = await exchange.whole(outputs)
                headers = protocol.ignored_header(exchange.ignored)
                await answer(whole, headers=headers)(request.scope, request.receive, send)


# ---------------------------------------------------------------- the process


def make_server(app: Starlette, shutdown_timeout: int, **options: Any) -> uvicorn.Server:
    """Make a server of `app` that logs nothing but what goes wrong; `options` are further ones of uvicorn."""
    settings: dict[str, Any] = {"log_config": None, "log_level": "warning", "access_log": False}
    if options.get("log_level") in ("info", "debug", "trace"):
        settings["log_config"] = uvicorn.config.LOGGING_CONFIG
    return uvicorn.Server(
        uvicorn.Config(
            app,
            http="h11",
            ws="none",
            loop="asyncio",
            lifespan="on",
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=shutdown_timeout,
            **(settings | options),
        )
    )


def serve(
    llm: LLM,
    names: Sequence[str],
    listener: socket.socket,
    keys: Sequence[str],
    limits: ServerLimits,
    options: ServerOptions,
    **uvicorn_options: Any,
) -> None:
    """Serve until SIGTERM or SIGINT comes, and what runs then has finished or had its time."""
    app = make_app(llm, names, keys, limits, options)
    server = make_server(app, limits.shutdown_timeout, root_path=options.root_path, **uvicorn_options)

    def stop(*_: object) -> None:
        server.should_exit = True

    # uvicorn's own handlers take over, and raise the signal again at the end: for these, instead of death.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    listener.listen()
    scheme = "http" if uvicorn_options.get("ssl_certfile") is None else "https"
    print(f"serving {names[0]} at {url(listener, scheme)}/v1", flush=True)
    if not keys and not listener.getsockname()[0].startswith(("127.", "::1")):
        print("warning: without --api-key, everybody who reaches this address is served", file=sys.stderr)
    server.run(sockets=[listener])
