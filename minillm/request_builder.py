"""From a prompt and its parameters to what the engine runs: a request of samples, or a beam search."""

from __future__ import annotations

import threading
from collections.abc import Container, Sequence
from dataclasses import replace
from itertools import count

from minillm.api.grammars import Constraint, Grammar, Grammars
from minillm.api.outputs import CompletionOutput, FlatLogprobs, RequestOutput
from minillm.api.sampling_params import BeamSearchParams, SamplingParams
from minillm.api.structured_outputs import StructuredOutputsParams
from minillm.engine.beam_search import BeamSearch
from minillm.engine.request import Request, SampleState
from minillm.engine.sequence import EngineSequence
from minillm.engine.served_loras import ServedLoRA
from minillm.errors import MinillmError
from minillm.inputs import Prompt, expect_tokenizer, parse
from minillm.model.transformer import Transformer
from minillm.tokenizer.tokenizer import IncrementalDecoder, Tokenizer


class RequestBuilder:
    """Makes requests of prompts and sampling parameters; arguments as of `LLM`."""

    def __init__(
        self,
        model: Transformer,
        tokenizer: Tokenizer | None,
        seed: int,
        max_model_len: int,
        max_logprobs: int,
        end_ids: Sequence[int] = (),
        limits_whitespace: bool = False,
    ) -> None:
        self._limits_whitespace = limits_whitespace
        self._model, self._tokenizer, self._seed = model, tokenizer, seed
        self.end_ids = frozenset(end_ids if tokenizer is None else tokenizer.eos_token_ids)
        self.max_model_len, self._max_logprobs = max_model_len, max_logprobs
        self._numbers, self._searches = count(), count()
        self._made_grammars: Grammars | None = None
        self._lock = threading.Lock()

    def check_prompt(self, token_ids: Sequence[int]) -> None:
        """Raise `MinillmError` for a prompt that is empty, too long, or has ids outside the vocabulary."""
        self._model.check_tokens(token_ids, max_tokens=1)
        if len(token_ids) >= self.max_model_len:
            raise MinillmError(
                f"a prompt of {len(token_ids)} tokens leaves no room for one more in max_model_len = "
                f"{self.max_model_len}; shorten it, or give more kv_cache_memory_bytes or max_model_len"
            )

    def build(
        self,
        prompt: Prompt,
        params: SamplingParams,
        request_id: str | None,
        taken: Container[str],
        priority: int = 0,
        lora: ServedLoRA | None = None,
    ) -> Request:
        """Return a request of `params.n` samples that share their prompt; without an id, it is a number.

        Raises:
            MinillmError: the prompt or a parameter is not one for this model, or the grammar cannot be used.
        """
        tokenizer = self._tokenizer
        params = params.clone()  # whoever brought it may assign to it while this request runs
        text, token_ids = parse(prompt, tokenizer)
        self.check_prompt(token_ids)
        self._check_params(params)
        room = self.max_model_len - len(token_ids)
        max_tokens = room if params.max_tokens is None else min(room, params.max_tokens)
        # An id that somebody chose may be a number.
        number = next(n for n in self._numbers if request_id is not None or str(n) not in taken)
        seed, first = (self._seed, number << 32) if params.seed is None else (params.seed, 0)
        bad_ids = _bad_word_ids(params, tokenizer)
        samples: list[SampleState] = []
        for i in range(params.n):
            sequence = EngineSequence(
                list(token_ids),
                max_tokens,
                parent=samples[0].sequence if samples else None,
                wants_prompt=params.prompt_logprobs is not None and i == 0,
                reads_cache=not params.skip_reading_prefix_cache,
                priority=priority,
                lora=lora,
            )
            decoder = None
            if tokenizer is not None and params.detokenize:
                shown = params.shown_special_token_ids
                decoder = IncrementalDecoder(tokenizer, params.skip_special_tokens, shown)
            sample = SampleState(
                params,
                CompletionOutput(i, "", [], None, None),
                sequence,
                noise=(seed, first + i),
                end_ids=self.end_ids,
                eos_id=None if tokenizer is None else tokenizer.eos_token_id,
                bad_ids=bad_ids,
                decoder=decoder,
                constraint=self._constraint(params),
                logprobs=FlatLogprobs() if params.flat_logprobs else [],
            )
            samples.append(sample)
        name = str(number) if request_id is None else request_id
        output = RequestOutput(name, text, token_ids, [sample.output for sample in samples], finished=False)
        if params.prompt_logprobs is not None:
            output.prompt_logprobs = FlatLogprobs() if params.flat_logprobs else []
            output.prompt_logprobs.append(None)
        return Request(output, samples, params)

    def build_search(
        self,
        prompt: Prompt,
        params: BeamSearchParams,
        request_id: str | None,
        taken: Container[str],
        priority: int = 0,
        lora: ServedLoRA | None = None,
    ) -> BeamSearch:
        """Return a beam search; arguments and errors as of `build`."""
        params = replace(params)  # checked anew: somebody may have assigned to it
        text, token_ids = parse(prompt, self._tokenizer)
        self.check_prompt(token_ids)
        self._check_count("logprobs", params.logprobs)
        max_tokens = min(params.max_tokens, self.max_model_len - len(token_ids))
        constraint = self._constraint(params)
        # What has to be of a form ends where that does.
        end_ids = self.end_ids if constraint is not None or not params.ignore_eos else frozenset[int]()
        if request_id is None:
            names = (f"beams-{number}" for number in self._searches)
            request_id = next(name for name in names if name not in taken)
        output = RequestOutput(request_id, text, token_ids, [], finished=False)
        sequence = EngineSequence(list(token_ids), max_tokens, priority=priority, lora=lora)
        return BeamSearch(output, params, sequence, end_ids, constraint)

    def _constraint(self, params: SamplingParams | BeamSearchParams) -> Constraint | None:
        structure = self._structure(params)
        return None if structure is None else self._grammars.start(structure)

    def _structure(self, params: SamplingParams | BeamSearchParams) -> StructuredOutputsParams | None:
        """Return what the text must be, by what holds for all texts of the `LLM` too."""
        structure = params.structured_outputs
        is_json = structure is not None and (structure.json is not None or structure.json_object)
        if structure is not None and self._limits_whitespace and is_json and not structure.whitespace_pattern:
            return replace(structure, disable_any_whitespace=True)
        return structure

    def _check_count(self, name: str, asked: int | None) -> None:
        """Raise `MinillmError` for more logprobs than may be asked for."""
        limit = self._max_logprobs
        if asked is not None and limit != -1 and (asked > limit or asked == -1):
            remedy = "make the LLM with a larger max_logprobs, or -1"
            raise MinillmError(f"{name} = {asked} is more than max_logprobs = {limit}; {remedy}")

    def _check_params(self, params: SamplingParams) -> None:
        """Raise `MinillmError` for what this model or tokenizer cannot do."""
        if params.stop_strings or params.bad_words:
            expect_tokenizer(self._tokenizer)
        vocab_size = self._model.config.vocab_size
        for name in ("logprobs", "prompt_logprobs"):
            self._check_count(name, getattr(params, name))
        names = ("allowed_token_ids", "logprob_token_ids", "logit_bias", "trace_decode_token_ids")
        for name in (*names, "stop_token_ids"):
            if wrong := [t for t in getattr(params, name) or () if not 0 <= t < vocab_size]:
                raise MinillmError(f"{name}: token id {wrong[0]} is outside the vocabulary of {vocab_size}")
        if params.allowed_token_ids is not None:
            early = {*self.end_ids, *(params.stop_token_ids or ())} if params.min_tokens else set()
            single = {ids[0] for ids in _bad_word_ids(params, self._tokenizer) if len(ids) == 1}
            if not set(params.allowed_token_ids) - early - single:
                raise MinillmError(
                    "allowed_token_ids: min_tokens and bad_words leave none of them; allow more"
                )

    def is_prepared(self, params: SamplingParams | BeamSearchParams) -> bool:
        """Tell whether `build` takes no time, since nothing has to be compiled for it."""
        structure, grammars = self._structure(params), self._made_grammars
        return structure is None or (grammars is not None and grammars.has(structure))

    def prepare(self, params: SamplingParams | BeamSearchParams) -> Grammar | None:
        """Compile what a request needs, on any thread, for `build` to find while somebody holds it.

        Raises `MinillmError` as that does, for a grammar that cannot be used.
        """
        structure = self._structure(params)
        return None if structure is None else self._grammars.grammar(structure)

    @property
    def _grammars(self) -> Grammars:
        with self._lock:
            if self._made_grammars is None:
                tokenizer = expect_tokenizer(self._tokenizer)
                self._made_grammars = Grammars(tokenizer, self._model.config.vocab_size)
            return self._made_grammars


def _bad_word_ids(params: SamplingParams, tokenizer: Tokenizer | None) -> list[list[int]]:
    """Encode each bad word, as it stands at the start of a text and after a space."""
    bad_ids: list[list[int]] = []
    for word in params.bad_words or ():
        assert tokenizer is not None
        plain, spaced = (tokenizer.encode(prefix + word.lstrip(), False) for prefix in ("", " "))
        bad_ids += [plain, *([spaced] if spaced != plain else [])]
    return bad_ids
