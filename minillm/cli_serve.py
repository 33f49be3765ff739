"""`minillm serve`: its options, and the server that they ask for."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Literal

from minillm.cli_options import Model, Name, Names, Object, Whole
from minillm.errors import MinillmError, install_hint, note
from minillm.tokenizer.chat_templates import given_template

if TYPE_CHECKING:
    from minillm.serve.options import ServerOptions


@dataclass(frozen=True)
class Serve(Model):
    """Serve a model over HTTP with OpenAI's API: completions, chat completions, models, metrics.

    SIGTERM and Ctrl-C let running requests finish, and refuse new ones.

    Attributes:
        host: address to serve at; 0.0.0.0 is all of them.
        port: 0 takes a free one and prints it.
        api_key: what clients must bring as `Authorization: Bearer KEY`, one or several; by default the
            environment variable MINILLM_API_KEY or VLLM_API_KEY, which other users of the machine cannot read
            off the command line.
        served_model_name: the names that clients ask for, the first of which is in answers; by default MODEL
            as it is given.
        max_body_bytes: most bytes of one request.
        max_concurrent_requests: more than so many at a time are refused.
        shutdown_timeout: seconds that running requests still have when the server is told to stop.
        tool_call_parser: how the model writes calls of tools: hermes, llama3_json, mistral, openai (gpt-oss),
            qwen3_coder or glm45; by default, what its chat template shows.
        enable_auto_tool_choice: refuse to start where nothing says how calls are written.
        reasoning_parser: sets reasoning apart from content: qwen3, deepseek_r1, glm45 or openai (gpt-oss); by
            default nothing does, but for gpt-oss.
        chat_template: a file, or Jinja itself, in place of the model's chat template.
        default_chat_template_kwargs: JSON of what the template is given, such as {"enable_thinking": false},
            where a request says nothing else.
        trust_request_chat_template: let requests bring a chat template, which is a program; it runs in a
            process of its own, for 3 s at most.
        return_tokens_as_token_ids: name the tokens of logprobs by their ids, "token_id:5", unless a request
            says otherwise.
        enable_force_include_usage: end every stream with usage.
        enable_tokenizer_info_endpoint: serve /tokenizer_info, which shows the chat template too.
        skip_tokenizer_init: load no tokenizer: token ids come in and go out.
        enable_lora: let adapters of PEFT be models to ask for; loading them while it runs needs
            VLLM_ALLOW_RUNTIME_LORA_UPDATING=1 too.
        lora_modules: adapters that are there from the start on: NAME=FOLDER, or JSON such as
            {"name": "a", "path": "a/folder", "base_model_name": "one of served-model-name"}.
        middleware: import path of an ASGI class, or of a coroutine function of (request, call_next), that
            requests pass through first; may be given several times.
        enable_request_id_headers: answers have X-Request-Id, as the request had it or a new one.
        server_dev_mode: let a trainer pause, sleep and load weights; so does VLLM_SERVER_DEV_MODE=1.
        root_path: the path that a proxy serves this server under.
        allowed_origins: pages that may ask from a browser, "*" for all; none by default.
        allowed_methods: with which they may ask.
        allowed_headers: that they may send.
        allow_credentials: let them send cookies.
        ssl_certfile: a certificate, by which it speaks HTTPS.
        ssl_keyfile: the certificate's key, where that is in a file of its own.
        uvicorn_log_level: of the HTTP server; from "info" on it logs each request.
        disable_uvicorn_access_log: it logs no requests all the same.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    api_key: tuple[str, ...] = ()
    served_model_name: tuple[str, ...] = ()
    max_body_bytes: int = 8 << 20
    max_concurrent_requests: int = 256
    shutdown_timeout: int = 60
    tool_call_parser: Name = None
    enable_auto_tool_choice: bool = False
    reasoning_parser: Name = None
    chat_template: Name = None
    default_chat_template_kwargs: Object = None
    trust_request_chat_template: bool = False
    return_tokens_as_token_ids: bool = False
    enable_force_include_usage: bool = False
    enable_tokenizer_info_endpoint: bool = False
    skip_tokenizer_init: bool = False
    enable_lora: bool = False
    lora_modules: tuple[str, ...] = ()
    max_loras: int = 1
    max_lora_rank: int = 16
    max_cpu_loras: Whole = None
    middleware: Names = ()
    enable_request_id_headers: bool = False
    server_dev_mode: bool = False
    root_path: str = ""
    allowed_origins: tuple[str, ...] = ()
    allowed_methods: tuple[str, ...] = ("*",)
    allowed_headers: tuple[str, ...] = ("*",)
    allow_credentials: bool = False
    ssl_certfile: Name = None
    ssl_keyfile: Name = None
    uvicorn_log_level: Literal["critical", "error", "warning", "info", "debug", "trace"] = "warning"
    disable_uvicorn_access_log: bool = False

    def run(self) -> None:
        """Serve until told to stop."""
        try:
            from minillm.serve import server
        except ImportError as error:
            reason = f"serving needs packages that are not there ({error})"
            raise MinillmError(f"{reason}; {install_hint('serve')}") from error
        variables = ("MINILLM_API_KEY", "VLLM_API_KEY")
        keys = self.api_key or tuple(os.environ[name] for name in variables if name in os.environ)[:1]
        if "" in keys:
            raise MinillmError("the API key is empty; give one, or neither --api-key nor MINILLM_API_KEY")
        names = self.served_model_name or (self.model,)
        options = self._options(names)
        limits = server.ServerLimits(self.max_body_bytes, self.max_concurrent_requests, self.shutdown_timeout)
        template = None if self.chat_template is None else given_template(self.chat_template)
        server.check_certificate(self.ssl_certfile, self.ssl_keyfile)
        with server.bind(self.host, self.port) as listener:  # before the model is loaded, which takes long
            llm = self.load(
                "skip_tokenizer_init", "enable_lora", "max_loras", "max_lora_rank", "max_cpu_loras"
            )
            if template is not None:
                llm.get_tokenizer().chat_template = template
            around = {
                "log_level": self.uvicorn_log_level,
                "access_log": not self.disable_uvicorn_access_log,
                "ssl_certfile": self.ssl_certfile,
                "ssl_keyfile": self.ssl_keyfile,
            }
            server.serve(llm, names, listener, keys, limits, options, **around)

    def _options(self, names: Sequence[str]) -> ServerOptions:
        """Make what the server allows of these options; `MinillmError` where they contradict each other."""
        from minillm.serve import adapters, options, parsers

        if self.lora_modules and not self.enable_lora:
            raise MinillmError("--lora-modules need --enable-lora; give that too")
        for name in () if self.enable_lora else ("max_loras", "max_lora_rank", "max_cpu_loras"):
            if (value := getattr(self, name)) != getattr(Serve, name):
                flag = f"--{name.replace('_', '-')} {value}"
                note(f"serve.{name}", f"{flag} asks for nothing here without --enable-lora")
        if self.skip_tokenizer_init and self.chat_template is not None:
            raise MinillmError("--chat-template needs a tokenizer; leave out --skip-tokenizer-init")
        given: dict[str, Any] = {
            field.name: getattr(self, field.name, None) for field in fields(options.ServerOptions)
        }
        of_parsers = (self.tool_call_parser, self.reasoning_parser, self.enable_auto_tool_choice)
        given |= {
            "dev_mode": self.server_dev_mode or _is_set("VLLM_SERVER_DEV_MODE"),
            "parsers": parsers.ParserOptions(*of_parsers),
            "lora_modules": adapters.read_modules(self.lora_modules, names),
            "allow_runtime_lora_updating": _is_set("VLLM_ALLOW_RUNTIME_LORA_UPDATING"),
            **{
                f"allowed_{x}": _listed(getattr(self, f"allowed_{x}"))
                for x in ("origins", "methods", "headers")
            },
        }
        return options.ServerOptions(**given)


def _is_set(variable: str) -> bool:
    """Tell whether a variable of the environment switches something on."""
    return os.environ.get(variable, "").lower() not in ("", "0", "false")


def _listed(words: Sequence[str]) -> list[str]:
    """Read words, or vLLM's JSON list of them."""
    try:
        listed = json.loads(words[0]) if len(words) == 1 and words[0].startswith("[") else list(words)
    except ValueError as error:
        raise MinillmError(f"{words[0]} is no JSON list ({error}); give words") from error
    return [str(word) for word in listed]
