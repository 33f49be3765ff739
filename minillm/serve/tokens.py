"""Token ids over HTTP, under vLLM's names: `/inference/v1/generate`, `/tokenize` and `/detokenize`.

With ids in and ids out a client tokenizes by itself, and nothing is decoded and encoded again on the way.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from typing import Any

from minillm.api.outputs import CompletionOutput, Logprob, Logprobs, RequestOutput
from minillm.api.parameters import FLAG, IDS, OBJECT, TEXT, Kind
from minillm.api.sampling_params import SamplingParams
from minillm.inputs import Prompt, chat_prompt
from minillm.serve import protocol
from minillm.serve.exchange import Exchange, Outputs, SampleProgress, Served, finite, prompt_logprobs
from minillm.serve.protocol import ApiError, Json
from minillm.serve.tool_use import ToolUse

GENERATE: dict[str, Kind] = {
    **protocol.ENVELOPE,
    "token_ids": protocol.TOKEN_IDS,
    "sampling_params": Kind(OBJECT.schema, OBJECT.name, protocol.described(protocol.GENERATE_SAMPLING)),
}
DETOKENIZE: dict[str, Kind] = {"model": TEXT, "tokens": IDS}
TOKENIZE: dict[str, Kind] = {
    **protocol.TEMPLATE, "model": TEXT, "prompt": TEXT, "add_special_tokens": FLAG, "return_token_strs": FLAG,
    "tools": protocol.TOOLS,
}  # fmt: skip


class GenerateExchange(Exchange):
    """`/inference/v1/generate`: one prompt of token ids; `sampling_params` as vLLM's class has them."""

    fields = GENERATE
    id_prefix = "generate-tokens"
    object = chunk_object = ""

    def _params(self, arguments: Json) -> SamplingParams:
        if "token_ids" not in arguments:
            raise ApiError("token_ids are missing; give the prompt's", param="token_ids")
        self._token_ids: list[int] = arguments["token_ids"]
        self._names_by_id, self._returns_ids = True, True
        given = protocol.given_fields(arguments.get("sampling_params", {}), protocol.GENERATE_SAMPLING)
        self._shows_prompt = "prompt_logprobs" in given
        detokenize = given.pop("detokenize", True)
        params = super()._params({"max_tokens": self.served.max_tokens, **given})
        return replace(params, detokenize=detokenize)

    def prompts(self) -> list[Prompt]:
        return [{"prompt_token_ids": self._token_ids}]

    async def whole(self, outputs: Outputs) -> Json:
        answer = await super().whole(outputs)
        shown = answer.get("prompt_logprobs")
        return {**self._named(answer), "prompt_logprobs": shown, "kv_transfer_params": None}

    async def chunks(self, outputs: Outputs) -> AsyncIterator[Json]:
        async for chunk in super().chunks(outputs):
            yield self._named(chunk)

    def _named(self, answer: Json) -> Json:
        shown: Json = {"request_id": self.request_id}
        return shown | {name: answer[name] for name in ("choices", "usage") if name in answer}

    def _extras(self, output: RequestOutput) -> Json:
        return {"prompt_logprobs": prompt_logprobs(output)} if self._shows_prompt else {}

    def _content(self, progress: SampleProgress, output: RequestOutput, sample: CompletionOutput) -> Json:
        if not self.params.wants_logprobs:
            return {"logprobs": None}
        # As vLLM has it, the sampled token stands in the list where no others are asked for.
        top = max(self.params.logprobs or 0, 1)
        by_id = self.params.logprob_token_ids is not None or self.params.logprobs == -1
        content = []
        logprobs: Logprobs = sample.logprobs or []
        for token, entry in zip(sample.token_ids, logprobs, strict=True):
            likeliest = sorted(entry.items(), key=lambda item: -item[1].logprob)[: None if by_id else top]
            shown = [self._shown(i, one) for i, one in likeliest]
            content.append({**self._shown(token, entry[token]), "top_logprobs": shown})
        return {"logprobs": {"content": content}}

    def _shown(self, token: int, entry: Logprob) -> Json:
        return {"token": self._name(token), "logprob": finite(entry), "bytes": None}


def tokenized(body: Any, served: Served) -> Json:
    """Answer `/tokenize`: a text, or a chat as the model's template writes it, as token ids."""
    arguments = _read(body, TOKENIZE, served)
    tokenizer = served.tokenizer
    template = served.chat_template(arguments)
    if ("prompt" in arguments) == ("messages" in arguments):
        raise ApiError("give prompt, a text, or messages, a chat", param="prompt")
    if "prompt" in arguments:
        if of_chats := arguments.keys() & (protocol.TEMPLATE.keys() | {"tools"}):
            name = min(of_chats)
            raise ApiError(f"{name} goes with messages; leave it out, or give no prompt", param=name)
        ids = tokenizer.encode(arguments["prompt"], arguments.get("add_special_tokens", True))
    elif not arguments["messages"]:
        raise ApiError("messages are missing; give at least one", param="messages")
    else:
        messages = [protocol.message(i, message, []) for i, message in enumerate(arguments["messages"])]
        opens = arguments.get("add_generation_prompt", True)
        continues = arguments.get("continue_final_message", False)
        options = {**served.template_options, **arguments.get("chat_template_kwargs", {})}
        if (use := ToolUse.of(arguments)).tools:
            options = {"tools": use.tools, **options}
        prompt = chat_prompt(tokenizer, messages, template, opens, continues, options)
        special = arguments.get("add_special_tokens", False)
        ids = tokenizer.encode(prompt["prompt"], add_special_tokens=special)
    strings = tokenizer.convert_ids_to_tokens(ids) if arguments.get("return_token_strs") else None
    return {"count": len(ids), "max_model_len": served.max_model_len, "tokens": ids, "token_strs": strings}


def detokenized(body: Any, served: Served) -> Json:
    """Answer `/detokenize`: the text of token ids, special ones included."""
    arguments = _read(body, DETOKENIZE, served)
    if "tokens" not in arguments:
        raise ApiError("tokens are missing; give token ids", param="tokens")
    size = served.vocab_size
    if wrong := [i for i in arguments["tokens"] if i >= size]:
        raise ApiError(f"tokens: token id {wrong[0]} is outside the vocabulary of {size}", param="tokens")
    return {"prompt": served.tokenizer.decode(arguments["tokens"], skip_special_tokens=False)}


def tokenizer_info(served: Served) -> Json:
    """Answer `/tokenizer_info`: what tokenizer_config.json has, and the chat template."""
    tokenizer = served.tokenizer
    named = [{"name": name, "template": text} for name, text in tokenizer.chat_templates.items()]
    template = tokenizer.chat_template if len(named) < 2 else named
    return {**tokenizer.init_kwargs, "tokenizer_class": type(tokenizer).__name__, "chat_template": template}


def _read(body: Any, known: Mapping[str, Kind], served: Served) -> Json:
    arguments = protocol.given_fields(body, known, ignored=[])
    served.adapter(arguments.pop("model", served.name))  # tokens are alike with all of them
    return arguments
