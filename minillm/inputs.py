"""What goes into an `LLM`: prompts as text, token ids or chats, and sampling parameters for each."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from minillm.api.sampling_params import SamplingParams
from minillm.errors import MinillmError
from minillm.tokenizer.tokenizer import Tokenizer

Prompt = str | Sequence[int] | Mapping[str, Any]
Messages = Sequence[Mapping[str, Any]]
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
    several: list[Any] = list(prompts)
    return [several] if several and all(isinstance(x, int) for x in several) else several


def parse(prompt: Prompt, tokenizer: Tokenizer | None) -> tuple[str | None, list[int]]:
    """Return a prompt's text, if it has one, and its token ids.

    Raises:
        MinillmError: it is neither text nor token ids, or text without a tokenizer.
    """
    text: str | None = None
    ids: Any = prompt
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


def chat_prompt(
    tokenizer: Tokenizer,
    messages: Messages,
    chat_template: str | None = None,
    add_generation_prompt: bool = True,
    continue_final_message: bool = False,
    options: Mapping[str, Any] = MappingProxyType({}),
) -> dict[str, Any]:
    """Return the prompt of a chat, as the chat template writes it; arguments as of `LLM.chat`.

    Raises:
        MinillmError: arguments contradict each other, or the template changes a message to be continued.
    """
    if taken := TEMPLATE_ARGUMENTS & options.keys():
        raise MinillmError(f"chat_template_kwargs may not hold {min(taken)!r}; leave it out")
    if continue_final_message and add_generation_prompt:
        raise MinillmError("continue_final_message goes with add_generation_prompt=False")
    mark, last = "<continue here> ", ""
    if continue_final_message:
        last = str(messages[-1]["content"])
        messages = [*messages[:-1], {**messages[-1], "content": last + mark}]
    text = tokenizer.apply_chat_template(
        messages, add_generation_prompt, chat_template=chat_template, **options
    )
    if continue_final_message:
        # As in transformers: a template that strips its messages takes the mark's space, and ours too.
        at = text.rfind(mark.strip())
        if at < 0 or last.strip() not in text[:at]:
            raise MinillmError("the chat template changes the last message; it cannot be continued")
        text = text[:at] if text.startswith(mark, at) else text[:at].rstrip()
    return {"prompt": text, "prompt_token_ids": tokenizer.encode(text, add_special_tokens=False)}


def with_params(
    prompts: Prompt | Sequence[Prompt],
    params: SamplingParams | Sequence[SamplingParams] | None,
    default: SamplingParams,
) -> Iterator[tuple[Prompt, SamplingParams]]:
    """Pair each prompt with its sampling parameters; `MinillmError` if there are not as many."""
    prompts = as_list(prompts)
    if params is None or isinstance(params, SamplingParams):
        params = [params or default] * len(prompts)
    if len(params) != len(prompts):
        raise MinillmError(f"{len(prompts)} prompts but {len(params)} sampling_params")
    return zip(prompts, params, strict=True)


def check_params(
    params: SamplingParams, tokenizer: Tokenizer | None, vocab_size: int, max_logprobs: int
) -> None:
    """Raise `MinillmError` for what this model or tokenizer cannot do."""
    if params.stop_strings or params.bad_words:
        expect_tokenizer(tokenizer)
    if params.stop_strings and not params.detokenize:
        raise MinillmError("stop needs text: leave detokenize=True, or use stop_token_ids")
    for name in ("logprobs", "prompt_logprobs"):
        count = getattr(params, name)
        if count is not None and max_logprobs != -1 and (count > max_logprobs or count == -1):
            raise MinillmError(
                f"{name} = {count} is more than max_logprobs = {max_logprobs}; make the LLM with a larger "
                "max_logprobs, or -1"
            )
    names = ("allowed_token_ids", "logprob_token_ids", "logit_bias", "trace_decode_token_ids")
    for name in (*names, "stop_token_ids"):
        if wrong := [t for t in getattr(params, name) or () if not 0 <= t < vocab_size]:
            raise MinillmError(f"{name}: token id {wrong[0]} is outside the vocabulary of {vocab_size}")


def default_params(folder: Path | None, generation_config: str | Path) -> SamplingParams:
    """Return vLLM's defaults, changed by the model's generation_config.json; arguments as of `LLM`."""
    if generation_config == "vllm" or (folder is None and generation_config == "auto"):
        return SamplingParams()
    path = (folder if generation_config == "auto" else Path(generation_config)) / "generation_config.json"  # type: ignore[operator]
    if not path.is_file():
        if generation_config == "auto":
            return SamplingParams()
        raise MinillmError(f"generation_config: there is no {path}")
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        stored = None
    if not isinstance(stored, dict):
        return SamplingParams()  # it is an accessory, and some on the hub are no JSON
    names = ("repetition_penalty", "temperature", "top_k", "top_p", "min_p")
    found = {name: stored[name] for name in names if stored.get(name) is not None}
    if stored.get("max_new_tokens") is not None:
        found["max_tokens"] = stored["max_new_tokens"]
    try:
        return SamplingParams(**found)
    except MinillmError as error:
        raise MinillmError(f"{path}: {error}; correct it, or give generation_config='vllm'") from error
