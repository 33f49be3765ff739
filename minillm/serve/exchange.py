"""A request of OpenAI's API and its answer: from JSON to prompts and parameters, from outputs to JSON."""

from __future__ import annotations

import reprlib
import time
import uuid
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar

from minillm.api.lora_request import LoRARequest
from minillm.api.outputs import CompletionOutput, Logprob, Logprobs, RequestOutput
from minillm.api.parameters import Kind
from minillm.api.sampling_params import BeamSearchParams, RequestOutputKind, SamplingParams
from minillm.engine.sampler import FAILURES, NAN
from minillm.errors import MinillmError
from minillm.inputs import Prompt, chat_text
from minillm.llm import LLM
from minillm.serve import protocol
from minillm.serve.answer import Answer, ReasoningTokens
from minillm.serve.beams import Beams
from minillm.serve.options import ServerOptions
from minillm.serve.parsers import ParserOptions, Parsers
from minillm.serve.protocol import ApiError, Json
from minillm.serve.tool_use import ToolUse
from minillm.tokenizer.chat_templates import text_of
from minillm.tokenizer.jinja_templates import UntrustedTemplate
from minillm.tokenizer.tokenizer import IncrementalDecoder, Tokenizer

Outputs = AsyncIterator[tuple[int, RequestOutput]]

# Most samples of one request: prompts times n.
MAX_SAMPLES = 1024
# JSON has no infinity; vLLM writes this logprob.
LOWEST_LOGPROB = -9999.0


class Served:
    """What an exchange knows of the model: the names it is served by, and how its tokens look.

    Answers have the first name, or that of an adapter.

    Attributes:
        names: of the model itself.
        adapters: those that may be asked for, by name.
        options: of the server.
        has_tokenizer: whether there is text at all.
    """

    def __init__(self, llm: LLM, names: Sequence[str], options: ServerOptions) -> None:
        self.names, self.name, self.options = list(names), names[0], options
        self.adapters = {adapter.lora_name: adapter for adapter in options.lora_modules}
        self.created, self.max_model_len = int(time.time()), llm.max_model_len
        self.vocab_size = llm.model.config.vocab_size
        self.defaults = llm.get_default_sampling_params()
        self._tokenizer, self.has_tokenizer = llm.tokenizer, llm.tokenizer is not None
        if self.has_tokenizer or options.parsers not in (None, ParserOptions()):
            self.parsers  # noqa: B018 (whose errors are of the start)

    @property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer; `ApiError` where there is none."""
        if self._tokenizer is None:
            raise ApiError(
                "this server has no tokenizer: send token ids, to /v1/completions as prompt or to "
                "/inference/v1/generate as token_ids, or start it without --skip-tokenizer-init"
            )
        return self._tokenizer

    @cached_property
    def parsers(self) -> Parsers:
        """What reads the answers of chats; `ApiError` without a tokenizer."""
        return Parsers(self.tokenizer, self.options.parsers or ParserOptions())

    @property
    def template_options(self) -> Mapping[str, Any]:
        """What chat templates are given, where a request says nothing else."""
        return self.options.default_chat_template_kwargs or {}

    @property
    def max_tokens(self) -> int | None:
        """The most tokens of a sample that the model's generation_config.json asks for; None for no limit."""
        most = self.defaults.max_tokens
        return None if most == SamplingParams.max_tokens else most

    def adapter(self, name: str) -> LoRARequest | None:
        """Find the adapter of this name; None for the model itself, `ApiError` for the name of neither."""
        if name in self.names:
            return None
        if (adapter := self.adapters.get(name)) is None:
            known = " and ".join(map(repr, [*self.names, *self.adapters]))
            message = f"there is no model {reprlib.repr(name)}; this server has {known}"
            raise ApiError(message, status=404, param="model", code="model_not_found")
        return adapter

    def chat_template(self, arguments: Json) -> str | None:
        """Take a request's own chat template from its fields; `ApiError` where the server does not allow it.

        Jinja is a program, which runs in a process of its own, for it may never end.
        """
        template: str | None = arguments.pop("chat_template", None)
        if template is not None and not self.options.trust_request_chat_template:
            raise ApiError(
                "chat_template: this server takes none from requests; start it with "
                "--trust-request-chat-template",
                param="chat_template",
            )
        return None if template is None else UntrustedTemplate(template)

    def bytes_of(self, token: int) -> list[int]:
        """Give a token's bytes, of which several tokens can make one character."""
        return list(self.tokenizer.bytes_of(token))


@dataclass
class SampleProgress:
    """What of a sample of the prompt at `place` has been given out: up to `offset`, in so many tokens.

    So many of them were `reasoning`.
    """

    place: int
    decoder: IncrementalDecoder | None
    started: bool = False
    finished: bool = False
    offset: int = 0
    tokens: int = 0
    reasoning: int = 0


class Exchange:
    """A request and its answer, whole or in chunks.

    To make one takes as long as its chat template, and `cut_prompts` as long as its text. `request_id` is
    what the request was given by a header; a field of that name comes second. Raises `MinillmError` for what
    is wrong with the request by itself.

    Attributes:
        params: how its samples are made and shown.
        asked: what the sampler is asked for: those, or a beam search.
        ignored: names of fields that were passed over.
    """

    fields: ClassVar[Mapping[str, Kind]]
    id_prefix: ClassVar[str]
    object: ClassVar[str]
    chunk_object: ClassVar[str]
    # Whether the chunks of a stream are events of several types.
    names_events: ClassVar[bool] = False
    # What vLLM writes as null in a whole answer and its choices, where it was not asked for.
    answer_nulls: ClassVar[Json] = dict.fromkeys(("service_tier", "system_fingerprint", "kv_transfer_params"))
    choice_nulls: ClassVar[Json] = {"token_ids": None}

    def __init__(self, body: Any, served: Served, request_id: str | None = None) -> None:
        self.served = served
        self.ignored: list[str] = []
        arguments = protocol.given_fields(body, self.fields, ignored=self.ignored)
        self.model: str = arguments.pop("model", served.name)
        self.adapter = served.adapter(self.model)
        if self.adapter is None:
            self.model = served.name
        self.stream: bool = arguments.pop("stream", False)
        options = arguments.pop("stream_options", None)
        always = self.stream and served.options.enable_force_include_usage
        self._usage_at_end, self._usage_in_chunks = protocol.usage_wanted(
            options, self.stream, always, self.ignored
        )
        self.priority: int = arguments.pop("priority", 0)
        given_id = arguments.pop("request_id", None) or uuid.uuid4().hex
        self.request_id = f"{self.id_prefix}-{request_id or given_id}"
        self._chat_template = served.chat_template(arguments)
        self._kept: int | None = arguments.pop("truncate_prompt_tokens", None)
        self._keeps_start = arguments.pop("truncation_side", "left") == "right"
        self._echo: bool = arguments.pop("echo", False)
        by_id = served.options.return_tokens_as_token_ids or not served.has_tokenizer
        self._returns_ids: bool = arguments.pop("return_token_ids", not served.has_tokenizer)
        self._names_by_id: bool = arguments.pop("return_tokens_as_token_ids", by_id)
        self._shows_prompt = "prompt_logprobs" in arguments
        beams = Beams(arguments, served.defaults.temperature)
        self.params = self._params(arguments)
        self.asked: SamplingParams | BeamSearchParams = self.params
        if beams.asked_for:
            self.asked = beams.params(self.params, served.max_model_len)
        if self.stream and self._shows_prompt:
            raise MinillmError("prompt_logprobs do not go with stream; leave out one")
        room = served.max_model_len - (self.params.max_tokens or 1)
        if self._kept is not None and max(self._kept, 1) > room:
            raise MinillmError(
                f"truncate_prompt_tokens must be at most max_model_len - max_tokens = {room}, "
                f"got {self._kept}"
            )
        self._kept = room if self._kept == -1 else self._kept
        self._progress: dict[int, SampleProgress] = {}
        self._prompts_read: dict[int, RequestOutput] = {}
        self._head: Json = {"id": self.request_id, "created": int(time.time()), "model": self.model}

    def prompts(self) -> list[Prompt]:
        """Make the prompts, as `LLM.enqueue` takes them; raise `MinillmError` where there are none."""
        raise NotImplementedError

    def cut_prompts(self) -> list[Prompt]:
        """Make the prompts, cut to what `truncate_prompt_tokens` keeps of them: their end, or their start."""
        prompts = self.prompts()
        for prompt in prompts:
            if self._kept is not None and isinstance(prompt, dict):
                ids = prompt["prompt_token_ids"]
                if len(ids) > self._kept:
                    ids = ids[: self._kept] if self._keeps_start else ids[len(ids) - self._kept :]
                    text = self.served.tokenizer.decode(ids, False) if self.served.has_tokenizer else ""
                    prompt |= {"prompt": text, "prompt_token_ids": ids}
        return prompts

    async def whole(self, outputs: Outputs) -> Json:
        """Write the answer in one piece."""
        finished = {place: output async for place, output in outputs}
        choices: list[Json] = []
        extras: Json = {}
        for place, output in sorted(finished.items()):
            self._count(place, output)
            extras |= self._extras(output)
            for sample in output.outputs:
                choice = self._choice(self._at(place, sample), output, sample)
                choices.append({**self.choice_nulls, **choice})
        answer = {**self._head, "object": self.object, "choices": choices, "usage": self._whole_usage()}
        return {**self.answer_nulls, **answer, **extras}

    async def chunks(self, outputs: Outputs) -> AsyncIterator[Json]:
        """Write the answer in chunks, one for each piece of a sample; the pieces join to the whole."""
        head = {**self._head, "object": self.chunk_object}
        if self._usage_at_end:
            head["usage"] = None
        async for place, output in outputs:
            self._count(place, output)
            for sample in output.outputs:
                if self._has_news(progress := self._at(place, sample), sample):
                    extras = {} if progress.started else self._extras(output)
                    if self._usage_in_chunks:
                        extras["usage"] = self._usage([output], [progress])
                    yield {**head, "choices": [self._choice(progress, output, sample)], **extras}
        if self._usage_at_end:
            yield {**head, "choices": [], "usage": self._whole_usage()}

    def error(self, error: ApiError) -> Json:
        """Write the chunk that ends a stream in which something went wrong."""
        return error.body()

    def _params(self, arguments: Json) -> SamplingParams:
        """Read sampling parameters from fields, on top of the model's own defaults."""
        sampling = {name: arguments[name] for name in protocol.SAMPLING if name in arguments}
        sampling["output_kind"] = RequestOutputKind.DELTA if self.stream else RequestOutputKind.FINAL_ONLY
        sampling["logit_bias"] = protocol.logit_bias(arguments.get("logit_bias"))
        sampling["structured_outputs"] = protocol.structured_outputs(arguments)
        params = replace(self.served.defaults, **sampling)
        if params.logprob_token_ids is not None and params.logprobs is None:
            raise MinillmError("logprob_token_ids go with logprobs; ask for those too")
        return params

    def _choice(self, progress: SampleProgress, output: RequestOutput, sample: CompletionOutput) -> Json:
        if sample.finish_reason == "error":
            # Of the request, unless it is the model that failed.
            reason = str(sample.stop_reason)
            status = 400 if reason.startswith("MinillmError") and FAILURES[NAN] not in reason else 500
            raise ApiError(f"sampling failed: {reason}", status=status)
        content = self._content(progress, output, sample)
        progress.started, progress.finished = True, sample.finished()
        choice = {
            "index": progress.place * self.params.n + sample.index,
            **content,
            "finish_reason": self._finish_reason(progress, sample),
            "stop_reason": sample.stop_reason,
        }
        if self._returns_ids:
            choice["token_ids"] = sample.token_ids
        return choice

    def _content(self, progress: SampleProgress, output: RequestOutput, sample: CompletionOutput) -> Json:
        """Write a choice's text and logprobs."""
        raise NotImplementedError

    def _finish_reason(self, progress: SampleProgress, sample: CompletionOutput) -> str | None:
        return sample.finish_reason

    def _extras(self, output: RequestOutput) -> Json:
        """Write what stands beside the choices of a whole answer, or of a sample's first chunk."""
        return {}

    def _at(self, place: int, sample: CompletionOutput) -> SampleProgress:
        index = place * self.params.n + sample.index
        if index not in self._progress:
            decoder = None
            if self.served.has_tokenizer:
                decoder = IncrementalDecoder(self.served.tokenizer, self.params.skip_special_tokens)
            self._progress[index] = SampleProgress(place, decoder)
        return self._progress[index]

    def _has_news(self, progress: SampleProgress, sample: CompletionOutput) -> bool:
        if progress.finished or not (sample.token_ids or sample.finished()):
            return False
        wants_tokens = self.params.wants_logprobs or self._returns_ids
        return wants_tokens or self._adds(progress, sample) or sample.finished() or not progress.started

    def _adds(self, progress: SampleProgress, sample: CompletionOutput) -> bool:
        return bool(sample.text)

    def _count(self, place: int, output: RequestOutput) -> None:
        self._prompts_read[place] = output
        for sample in output.outputs:
            self._at(place, sample).tokens += len(sample.token_ids)

    def _whole_usage(self) -> Json:
        return self._usage(list(self._prompts_read.values()), list(self._progress.values()))

    def _usage(self, prompts: Sequence[RequestOutput], samples: Sequence[SampleProgress]) -> Json:
        """Count the tokens of these prompts and samples."""
        prompt_tokens = sum(len(output.prompt_token_ids) for output in prompts)
        completion_tokens = sum(sample.tokens for sample in samples)
        return {
            "prompt_tokens": prompt_tokens,
            "completion_tokens": completion_tokens,
            "total_tokens": prompt_tokens + completion_tokens,
            "prompt_tokens_details": {"cached_tokens": sum(output.num_cached_tokens for output in prompts)},
        }

    def _name(self, token: int) -> str:
        return f"token_id:{token}" if self._names_by_id else self.served.tokenizer.name_of(token)


class CompletionExchange(Exchange):
    """`/v1/completions`."""

    fields = protocol.COMPLETION
    id_prefix = "cmpl"
    object = chunk_object = "text_completion"
    choice_nulls: ClassVar[Json] = dict.fromkeys(("token_ids", "prompt_logprobs", "prompt_token_ids"))

    def _params(self, arguments: Json) -> SamplingParams:
        if "prompt" not in arguments:
            raise ApiError("prompt is missing; give a text or token ids", param="prompt")
        prompt = arguments["prompt"]
        several = type(prompt) is list and type(prompt[0]) is not int
        self._prompts: list[str | list[int]] = prompt if several else [prompt]
        self._special_tokens: bool = arguments.get("add_special_tokens", True)
        arguments = {"max_tokens": SamplingParams.max_tokens, **arguments}
        # With echo, max_tokens = 0 asks for the prompt alone; the one token that is sampled is not shown.
        self._prompt_alone = self._echo and arguments["max_tokens"] == 0
        if self._prompt_alone:
            arguments["max_tokens"] = 1
        if self._echo and "logprobs" in arguments:
            arguments.setdefault("prompt_logprobs", arguments["logprobs"])
        params = super()._params(arguments)
        if len(self._prompts) * params.n > MAX_SAMPLES:
            raise ApiError(
                f"n = {params.n} samples of {len(self._prompts)} prompts are more than the {MAX_SAMPLES} "
                "that one request may ask for; send several requests",
                param="n",
            )
        return params

    def prompts(self) -> list[Prompt]:
        prompts: list[Prompt] = []
        for prompt in self._prompts:
            if isinstance(prompt, str):
                ids, text = self.served.tokenizer.encode(prompt, self._special_tokens), prompt
            else:
                shows = self._echo and self.served.has_tokenizer
                ids, text = prompt, self.served.tokenizer.decode(prompt, False) if shows else ""
            prompts.append({"prompt": text, "prompt_token_ids": ids})
        return prompts

    def _count(self, place: int, output: RequestOutput) -> None:
        if self._prompt_alone:
            for sample in output.outputs:
                sample.text, sample.token_ids, sample.logprobs = "", [], sample.logprobs and []
        super()._count(place, output)

    def _content(self, progress: SampleProgress, output: RequestOutput, sample: CompletionOutput) -> Json:
        opens = self._echo and not progress.started
        content: Json = {
            "text": (output.prompt or "") + sample.text if opens else sample.text,
            "logprobs": None,
        }
        if self.params.wants_logprobs:
            columns: Json = {"tokens": [], "token_logprobs": [], "top_logprobs": [], "text_offset": []}
            if opens:
                # A text holds no special tokens that were put around it; one made of ids holds them all.
                is_text = isinstance(self._prompts[progress.place], str)
                decoder = None
                if self.served.has_tokenizer:
                    decoder = IncrementalDecoder(self.served.tokenizer, skip_special_tokens=is_text)
                whole = sample.finish_reason != "abort"  # which can come before the prompt has been read
                prompt = zip(output.prompt_token_ids, output.prompt_logprobs or [], strict=whole)
                self._add_logprobs(columns, prompt, decoder, 0)
                progress.offset = len(output.prompt or "")
            tokens = zip(sample.token_ids, sample.logprobs or [], strict=True)
            progress.offset = self._add_logprobs(columns, tokens, progress.decoder, progress.offset)
            content["logprobs"] = columns
        if self._shows_prompt:
            content["prompt_logprobs"] = prompt_logprobs(output)
        if self._returns_ids and not progress.started:
            content["prompt_token_ids"] = output.prompt_token_ids
        return content

    def _add_logprobs(
        self,
        columns: Json,
        tokens: Iterable[tuple[int, dict[int, Logprob] | None]],
        decoder: IncrementalDecoder | None,
        offset: int,
    ) -> int:
        """Add tokens to logprobs in the shape of completions, keyed by name; return the next offset."""
        for token, entry in tokens:
            logprob = top = None
            if entry is not None:  # the first token comes after nothing
                logprob, top = finite(entry[token]), {}
                for i, other in entry.items():
                    name = self._name(i)  # two tokens can have one
                    top[f"token_id:{i}" if name in top else name] = finite(other)
            row = (self._name(token), logprob, top, offset)
            for column, value in zip(columns.values(), row, strict=True):
                column.append(value)
            offset += len(decoder.add([token])) if decoder is not None else 0
        return offset


class ChatExchange(Exchange):
    """`/v1/chat/completions`."""

    fields = protocol.CHAT
    id_prefix = "chatcmpl"
    object = "chat.completion"
    chunk_object = "chat.completion.chunk"
    answer_nulls: ClassVar[Json] = {
        **Exchange.answer_nulls, **dict.fromkeys(("prompt_logprobs", "prompt_token_ids"))
    }  # fmt: skip

    def _params(self, arguments: Json) -> SamplingParams:
        if not arguments.get("messages"):
            raise ApiError("messages are missing; give at least one", param="messages")
        messages = enumerate(arguments["messages"])
        self._messages = [protocol.message(i, message, self.ignored) for i, message in messages]
        self._opens_turn: bool = arguments.get("add_generation_prompt", True)
        self._continues: bool = arguments.get("continue_final_message", False)
        self._options, given = dict(self.served.template_options), arguments.get("chat_template_kwargs", {})
        self._include_reasoning: bool = arguments.get("include_reasoning", True)
        if (effort := arguments.get("reasoning_effort")) is not None:
            # As in vLLM; what it does is up to the template.
            self._options |= {"enable_thinking": effort != "none"}
            given = {**given, "reasoning_effort": effort}
        self._options |= given
        last = self._messages[-1]
        if self._echo or self._continues:
            last["content"] = _one_text(len(self._messages) - 1, last.get("content", ""))
        self._role = "assistant" if self._opens_turn else last["role"]
        self._opening = last["content"] if self._echo and last["role"] == self._role else ""
        if "max_tokens" in arguments and "max_completion_tokens" in arguments:
            raise ApiError("give max_tokens or max_completion_tokens, not both", param="max_tokens")
        max_tokens = arguments.get("max_completion_tokens", arguments.get("max_tokens"))
        if max_tokens is None and self.served.defaults.max_tokens != SamplingParams.max_tokens:
            max_tokens = self.served.defaults.max_tokens  # of the model's generation_config.json
        self._top = arguments.get("top_logprobs", 0)
        if self._top and not arguments.get("logprobs"):
            raise MinillmError("top_logprobs go with logprobs: true; ask for those too")
        logprobs = self._top if arguments.get("logprobs") else None
        params = super()._params({**arguments, "max_tokens": max_tokens, "logprobs": logprobs})
        if params.n > MAX_SAMPLES:
            raise MinillmError(f"n must be at most {MAX_SAMPLES}, got {params.n}")
        return self._parsed(params, ToolUse.of(arguments))

    def _parsed(self, params: SamplingParams, use: ToolUse) -> SamplingParams:
        """Lay out the prompt, choose how the answer is parsed, and change parameters to what that needs."""
        parsers, options = self.served.parsers, self._options
        parsers.check(use)
        if use.tools:
            options = {"tools": use.tools, **options}
        template = (self._chat_template, self._opens_turn, self._continues, options)
        self._text = chat_text(self.served.tokenizer, self._messages, *template)
        self._text += "" if self._continues else parsers.opening(use)
        continued = self._messages[-1]["content"] if self._continues else None
        reasons = parsers.reasons(self._text, continued, options)
        self._use, self._reasons = use, reasons
        self._answers, self._reasoning = dict[int, Answer](), dict[int, ReasoningTokens]()
        structure = params.structured_outputs
        if use.is_forced:
            if structure is not None:
                raise MinillmError(
                    "tool_choice makes the answer calls; leave out response_format and structured_outputs"
                )
            structure = use.grammar()
        if structure is not None and (after := parsers.end_of_reasoning(use, reasons)):
            structure = replace(structure, after_token_ids=after)
        shown = parsers.shown_ids(use, reasons)
        return replace(params, structured_outputs=structure, shown_special_token_ids=shown)

    def prompts(self) -> list[Prompt]:
        ids = self.served.tokenizer.encode(self._text, add_special_tokens=False)
        return [{"prompt": self._text, "prompt_token_ids": ids}]

    def _count(self, place: int, output: RequestOutput) -> None:
        super()._count(place, output)
        for sample in output.outputs:
            if sample.index not in self._answers:
                parser = self.served.parsers.parser(self._use, self._reasons)
                self._answers[sample.index] = Answer(parser, self._include_reasoning, self._use.parallel)
                if (reader := self.served.parsers.reasoning_reader(self._reasons)) is not None:
                    shown = self.params.skip_special_tokens, self.params.shown_special_token_ids
                    decoder = IncrementalDecoder(self.served.tokenizer, *shown)
                    self._reasoning[sample.index] = ReasoningTokens(reader, decoder)
            self._answers[sample.index].read(sample.text, sample.finished())
            if (counted := self._reasoning.get(sample.index)) is not None:
                counted.add(sample.token_ids, sample.finished())
                self._at(place, sample).reasoning = counted.count

    def _usage(self, prompts: Sequence[RequestOutput], samples: Sequence[SampleProgress]) -> Json:
        usage = super()._usage(prompts, samples)
        if self.served.parsers.know_reasoning:
            reasoning = sum(sample.reasoning for sample in samples)
            usage["completion_tokens_details"] = {"reasoning_tokens": reasoning}
        return usage

    def _adds(self, progress: SampleProgress, sample: CompletionOutput) -> bool:
        return bool(self._answers[sample.index].new)

    def _finish_reason(self, progress: SampleProgress, sample: CompletionOutput) -> str | None:
        # As OpenAI has it: a call that was named is no reason to end.
        calls = self._answers[sample.index].has_calls and self._use.mode != "named"
        return "tool_calls" if calls and sample.finish_reason == "stop" else sample.finish_reason

    def _content(self, progress: SampleProgress, output: RequestOutput, sample: CompletionOutput) -> Json:
        message = self._answers[sample.index].message(self.stream)
        if not progress.started:
            if self._opening or not message:
                message["content"] = self._opening + message.get("content", "")
            message = {"role": self._role, **({} if self.stream else {"content": None}), **message}
        content: Json = {"delta" if self.stream else "message": message, "logprobs": None}
        if self.params.wants_logprobs:
            content["logprobs"] = {"content": self._logprobs(sample.token_ids, sample.logprobs or [])}
        return content

    def _extras(self, output: RequestOutput) -> Json:
        extras: Json = {}
        if self._shows_prompt:
            extras["prompt_logprobs"] = prompt_logprobs(output)
        if self._returns_ids:
            extras["prompt_token_ids"] = output.prompt_token_ids
        return extras

    def _logprobs(self, tokens: Sequence[int], entries: Logprobs) -> list[Json]:
        all_are_top = self.params.logprob_token_ids is not None or self._top < 0
        content = []
        for token, entry in zip(tokens, entries, strict=True):
            top = sorted(entry.items(), key=lambda item: -item[1].logprob)[
                : None if all_are_top else self._top
            ]
            shown = self._shown(token, entry[token])
            content.append({**shown, "top_logprobs": [self._shown(i, one) for i, one in top]})
        return content

    def _shown(self, token: int, entry: Logprob) -> Json:
        return {
            "token": self._name(token),
            "logprob": finite(entry),
            "bytes": self.served.bytes_of(token),
        }


def _one_text(i: int, content: str | list[Json]) -> str:
    return content if isinstance(content, str) else text_of(i, content)


def finite(entry: Logprob) -> float:
    """Return a logprob as JSON can have it."""
    return max(entry.logprob, LOWEST_LOGPROB)


def prompt_logprobs(output: RequestOutput) -> list[Json | None]:
    """Write logprobs of the prompt's tokens in vLLM's shape."""
    return [
        None if entry is None else {str(i): {**vars(e), "logprob": finite(e)} for i, e in entry.items()}
        for entry in output.prompt_logprobs or []
    ]
