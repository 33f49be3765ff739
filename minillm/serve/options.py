"""What a server allows, and how much of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware

from minillm.api.lora_request import LoRARequest
from minillm.errors import MinillmError
from minillm.serve.middleware import RequestIds, imported
from minillm.serve.parsers import ParserOptions


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


@dataclass(frozen=True)
class ServerOptions:
    """What a server allows, by the names of vLLM's flags.

    Attributes:
        trust_request_chat_template: let requests bring a chat template.
        dev_mode: serve the paths of `minillm.serve.control` too.
        root_path: the path that a proxy serves this server under.
        allowed_origins: pages that may ask from a browser; "*" for all, none by default.
        allowed_methods: with which they may ask.
        allowed_headers: that they may send.
        allow_credentials: let them send cookies.
        parsers: how calls of tools and reasoning are told from content.
        return_tokens_as_token_ids: name the tokens of logprobs by their ids where a request says nothing.
        enable_force_include_usage: end every stream with usage, asked for or not.
        enable_tokenizer_info_endpoint: serve `/tokenizer_info`, chat template included.
        lora_modules: adapters that may be asked for from the start on.
        allow_runtime_lora_updating: let clients load and unload adapters.
        default_chat_template_kwargs: what chat templates are given, where a request says nothing else.
        middleware: import paths of what requests pass through first.
        enable_request_id_headers: answers have X-Request-Id, as the request had it or a new one.
    """

    trust_request_chat_template: bool = False
    dev_mode: bool = False
    root_path: str = ""
    allowed_origins: Sequence[str] = ()
    allowed_methods: Sequence[str] = ("*",)
    allowed_headers: Sequence[str] = ("*",)
    allow_credentials: bool = False
    parsers: ParserOptions | None = None
    return_tokens_as_token_ids: bool = False
    enable_force_include_usage: bool = False
    enable_tokenizer_info_endpoint: bool = False
    lora_modules: Sequence[LoRARequest] = ()
    allow_runtime_lora_updating: bool = False
    default_chat_template_kwargs: Mapping[str, Any] | None = None
    middleware: Sequence[str] = ()
    enable_request_id_headers: bool = False

    def around(self) -> list[Middleware]:
        """Make what stands before keys are checked; `MinillmError` for middleware that cannot be imported."""
        ids = [Middleware(RequestIds)] if self.enable_request_id_headers else []
        return [*imported(self.middleware), *ids, *self.cors()]

    def cors(self) -> list[Middleware]:
        """Make what answers browsers, if any may ask."""
        if not self.allowed_origins:
            return []
        return [
            Middleware(
                CORSMiddleware,
                allow_origins=list(self.allowed_origins),
                allow_methods=list(self.allowed_methods),
                allow_headers=list(self.allowed_headers),
                allow_credentials=self.allow_credentials,
            )
        ]
