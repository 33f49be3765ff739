"""What goes into an `LLM`: prompts as text, token ids or chats, and sampling parameters for each."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, NotRequired, TypedDict, TypeVar

from minillm.api.parameters import is_list
from minillm.api.sampling_params import SamplingParams
from minillm.errors import MinillmError
from minillm.tokenizer.settings import read_json
from minillm.tokenizer.tokenizer import Tokenizer

T = TypeVar("T")


class TextPrompt(TypedDict):
    """A prompt as text."""

    prompt: str


class TokensPrompt(TypedDict):
    """A prompt as token ids, and its text, if it is known."""

    prompt_token_ids: list[int]
    prompt: NotRequired[str]


Prompt = str | Sequence[int] | Mapping[str, Any]
Messages = Sequence[Mapping[str, Any]]
PROMPT_KEYS = {"prompt", "prompt_token_ids"}
# What the chat template is given anyway.
TEMPLATE_ARGUMENTS = {"self", "messages", "add_generation_prompt", "chat_template", "tokenize"}


def expect_tokenizer(tokenizer: Tokenizer | None) -> Tokenizer:
    """Return the tokenizer; `MinillmError` if there is none."""
    if tokenizer is None:
        raise MinillmError("this LLM was made without a tokenizer; pass token ids, or tokenizer=")
    return tokenizer


def as_list(prompts: Prompt | Sequence[Prompt]) -> list[Prompt]:
    """Return a list of prompts; one prompt alone is a list of one."""
    if isinstance(prompts, str | Mapping):
        return [prompts]
    if not isinstance(prompts, Iterable):
        raise MinillmError(f"prompts must be a prompt or a list of them, got {type(prompts).__name__}")
    several: list[Any] = list(prompts)
    return [several] if several and all(isinstance(x, int) for x in several) else several


def parse(prompt: Prompt, tokenizer: Tokenizer | None) -> tuple[str | None, list[int]]:
    """Return a prompt's text, if it has one, and its token ids.

    Raises:
        MinillmError: it is neither text nor token ids, or text without a tokenizer, or has more in it.
    """
    text: str | None = None
    ids: Any = prompt
    if isinstance(prompt, Mapping) and prompt.keys() & PROMPT_KEYS:
        asked = {name for name, value in prompt.items() if value is not None}
        if unknown := asked - PROMPT_KEYS:
            raise MinillmError(f"a prompt's {min(unknown)!r} is not supported; leave it out")
    if isinstance(prompt, Mapping) and "prompt_token_ids" in prompt:
        text, ids = prompt.get("prompt"), prompt["prompt_token_ids"]
    elif isinstance(prompt, Mapping | str):
        if "prompt" not in prompt and not isinstance(prompt, str):
            raise MinillmError(f"a prompt needs 'prompt' or 'prompt_token_ids', got {list(prompt)}")
        text = prompt if isinstance(prompt, str) else str(prompt["prompt"])
        return text, list(expect_tokenizer(tokenizer).encode(text))
    listed = isinstance(ids, Sequence) and not isinstance(ids, str)
    if not listed or not all(isinstance(token, int) for token in ids):
        raise MinillmError("a prompt must be text or a list of token ids (int), as .tolist() makes")
    return text, [int(token) for token in ids]


def chat_prompts(
    tokenizer: Tokenizer, messages: Messages | Sequence[Messages], *template: Any
) -> list[Prompt]:
    """Return the prompts of one chat or of several; `template` is what `chat_text` takes after the messages.

    Raises `MinillmError` as it does, and for what is no chat.
    """
    chats: Any = (
        [messages] if is_list(messages) and messages and isinstance(messages[0], Mapping) else messages
    )
    if not is_list(chats) or not all(is_list(chat) and all(map(_is_dict, chat)) for chat in chats):
        raise MinillmError(f"messages must be a chat, a list of dicts, or a list of chats, got {messages!r}")
    return [chat_prompt(tokenizer, chat, *template) for chat in chats]


def _is_dict(message: object) -> bool:
    return isinstance(message, Mapping)


def template_options(
    tools: Sequence[Mapping[str, Any]] | None, chat_template_kwargs: Mapping[str, Any] | None
) -> dict[str, Any]:
    """Return what else a chat template is given; `MinillmError` for what is no list, or no dict."""
    if not (tools is None or is_list(tools)):
        raise MinillmError(f"tools must be a list of dicts, got {tools!r}")
    if not isinstance(chat_template_kwargs, Mapping | None):
        raise MinillmError(f"chat_template_kwargs must be a dict, got {chat_template_kwargs!r}")
    return {"tools": tools, **(chat_template_kwargs or {})}


def chat_prompt(
    tokenizer: Tokenizer,
    messages: Messages,
    chat_template: str | None = None,
    add_generation_prompt: bool = True,
    continue_final_message: bool = False,
    options: Mapping[str, Any] = MappingProxyType({}),
) -> dict[str, Any]:
    """Return the prompt of a chat: `chat_text`, and its token ids."""
    text = chat_text(
        tokenizer, messages, chat_template, add_generation_prompt, continue_final_message, options
    )
    return {"prompt": text, "prompt_token_ids": tokenizer.encode(text, add_special_tokens=False)}


def chat_text(
    tokenizer: Tokenizer,
    messages: Messages,
    chat_template: str | None = None,
    add_generation_prompt: bool = True,
    continue_final_message: bool = False,
    options: Mapping[str, Any] = MappingProxyType({}),
) -> str:
    """Return the text of a chat, as the chat template writes it; arguments as of `LLM.chat`.

    As in vLLM, templates are given the arguments of earlier calls as objects, not as JSON text, an empty
    content where there are calls instead, and reasoning under both of its names.

    Raises:
        MinillmError: arguments contradict each other, or the template changes a message to be continued.
    """
    if taken := TEMPLATE_ARGUMENTS & options.keys():
        raise MinillmError(f"chat_template_kwargs may not hold {min(taken)!r}; leave it out")
    return tokenizer.chat_text(
        [_for_template(message) for message in messages],
        chat_template,
        add_generation_prompt,
        continue_final_message,
        **options,
    )


def _for_template(message: Mapping[str, Any]) -> Mapping[str, Any]:
    more: dict[str, Any] = {}
    if calls := message.get("tool_calls"):
        more["tool_calls"] = [_with_arguments(call) for call in calls]
    if reasoning := message.get("reasoning") or message.get("reasoning_content"):
        more |= {"reasoning": reasoning, "reasoning_content": reasoning}
    if more and message.get("content") is None:
        more["content"] = ""
    return {**message, **more}


def _with_arguments(call: Any) -> Any:
    """Return a call with its arguments parsed; those that are no JSON stay text."""
    match call:
        case {"function": {"arguments": str(text)} as function}:
            try:
                return {
                    **call,
                    "function": {**function, "arguments": json.loads(text) if text.strip() else {}},
                }
            except (ValueError, RecursionError):
                return call
    return call


def with_params(
    prompts: Prompt | Sequence[Prompt],
    params: SamplingParams | Sequence[SamplingParams] | None,
    default: SamplingParams,
) -> Iterator[tuple[Prompt, SamplingParams]]:
    """Pair each prompt with its sampling parameters; `MinillmError` if there are not as many."""
    prompts = as_list(prompts)
    if params is None or isinstance(params, SamplingParams):
        params = [params or default] * len(prompts)
    if not is_list(params):
        raise MinillmError(f"sampling_params must be SamplingParams, or a list of them, got {params!r}")
    if len(params) != len(prompts):
        raise MinillmError(f"{len(prompts)} prompts but {len(params)} sampling_params")
    return zip(prompts, map(expect_params, params), strict=True)


def expect_params(params: object) -> SamplingParams:
    """Return sampling parameters; `MinillmError` for anything else."""
    if not isinstance(params, SamplingParams):
        raise MinillmError(f"sampling_params must be SamplingParams, got {params!r}")
    return params


def one_each(value: T | Sequence[T | None] | None, count: int, name: str) -> Sequence[T | None]:
    """Give each prompt its own of a list, or what is there for all; `MinillmError` if not as many."""
    if not isinstance(value, Sequence) or isinstance(value, str):
        return [value] * count
    if len(value) != count:
        raise MinillmError(f"{count} prompts but {len(value)} of {name}")
    return value


def priorities(asked: int | Sequence[int] | None, count: int) -> list[int]:
    """Return the priority of each of `count` prompts; argument as of `LLM.generate`.

    Raises `MinillmError` where there are not as many as prompts, or one is no whole number.
    """
    listed = [asked or 0] * count if asked is None or isinstance(asked, int) else asked
    if not is_list(listed) or len(listed) != count or not all(isinstance(x, int) for x in listed):
        raise MinillmError(
            f"priority must be a whole number, or {count} of them, one a prompt, got {asked!r}"
        )
    return list(listed)


# What vLLM reads of a generation_config.json -> as what.
GENERATION_CONFIG = {
    **{name: name for name in ("repetition_penalty", "temperature", "top_k", "top_p", "min_p")},
    "max_new_tokens": "max_tokens",
}


def default_params(
    folder: Path | None, generation_config: str | Path, overrides: Mapping[str, Any] | None = None
) -> SamplingParams:
    """Return vLLM's defaults, changed by the model's generation_config.json; arguments as of `LLM`."""
    path, stored = _generation_config(folder, generation_config)
    defaults = {
        ours: stored[name] for name, ours in GENERATION_CONFIG.items() if stored.get(name) is not None
    }
    try:
        params = SamplingParams(**defaults)
    except MinillmError as error:
        raise MinillmError(f"{path}: {error}; correct it, or give generation_config='vllm'") from error
    overrides = {} if overrides is None else overrides
    if not isinstance(overrides, Mapping) or not overrides.keys() <= GENERATION_CONFIG.keys():
        rule = f"a dict of {', '.join(GENERATION_CONFIG)}, or some of them"
        raise MinillmError(f"override_generation_config must be {rule}, got {overrides!r}")
    changed = {GENERATION_CONFIG[name]: value for name, value in overrides.items() if value is not None}
    try:
        return replace(params, **changed)
    except MinillmError as error:
        raise MinillmError(f"override_generation_config: {error}") from error


def _generation_config(folder: Path | None, where: str | Path) -> tuple[Path | None, Mapping[str, Any]]:
    """Read a generation_config.json; nothing where there is none."""
    if not isinstance(where, str | Path):
        raise MinillmError(f"generation_config must be 'auto', 'vllm' or a folder, got {where!r}")
    if where == "vllm" or (folder is None and where == "auto"):
        return None, {}
    path = (folder if where == "auto" else Path(where)) / "generation_config.json"  # type: ignore[operator]
    if not path.is_file():
        if where == "auto":
            return path, {}
        raise MinillmError(f"generation_config: there is no {path}")
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        stored = None
    return path, stored if isinstance(stored, dict) else {}  # an accessory: some on the hub are no JSON


def end_tokens(folder: Path) -> list[int]:
    """Return the tokens that end a sequence by a model's configs, for an `LLM` without its tokenizer."""
    for name in ("generation_config.json", "config.json"):
        ids = read_json(folder / name, tolerant=True).get("eos_token_id")
        if ids is not None:
            return [int(i) for i in (ids if is_list(ids) else [ids])]
    return []
