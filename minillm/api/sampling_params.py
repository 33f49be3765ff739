"""`SamplingParams` and `BeamSearchParams`, under vLLM's names and defaults."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum, IntEnum
from functools import cache
from types import NoneType
from typing import Any, Self, get_args, get_type_hints

import numpy as np

from minillm.api.parameters import (
    FLAG,
    IDS,
    NUMBER,
    OBJECT,
    TEXT_OR_TEXTS,
    TEXTS,
    WHOLE,
    Check,
    Parameter,
    instance,
    is_list,
    is_number,
    is_whole,
    number,
    param,
    parameters,
    rules,
    tokens,
    whole,
)
from minillm.api.structured_outputs import StructuredOutputsParams
from minillm.errors import MinillmError, anything, check_values, in_vllms_place, nothing, refusing

# (output ids, logits_V) or (prompt ids, output ids, logits_V) -> logits_V, a tensor: not named by its type,
# since the command line reads types from here and is to load no torch for its help.
LogitsProcessor = Callable[..., Any]
# Below it vLLM takes this temperature instead.
LOWEST_TEMPERATURE = 0.01
# vLLM's own limit, unless its environment says another.
MOST_SAMPLES = 16384

_COUNT = whole(-1, "None, -1 for all, or not negative", none=True)
_IDS = tokens(1, "token ids, of which there is at least one, or None")
_BIAS = Check(
    lambda x, _: (
        x is None
        or (isinstance(x, Mapping) and all(is_whole(t, 0) and is_number(b, -100, 100) for t, b in x.items()))
    ),
    "numbers from -100 to 100 by token id",
)
_WORDS = Check(
    lambda x, _: x is None or (is_list(x) and all(isinstance(word, str) and word.strip() for word in x)),
    "a list of texts that are not empty",
)
_TEXTS = Check(lambda x, _: is_list(x) and all(isinstance(s, str) and s for s in x), "non-empty strings")
_FUNCTIONS = Check(lambda x, _: x is None or (is_list(x) and all(map(callable, x))), "a list of functions")
_FLAG = Check(lambda x, _: x is None or (isinstance(x, int) and x in (0, 1)), "True or False")


class RequestOutputKind(Enum):
    """What outputs hold while a request runs: all so far, what is new, or nothing before the end."""

    CUMULATIVE = 0
    DELTA = 1
    FINAL_ONLY = 2


class SamplingType(IntEnum):
    """How tokens are drawn: the likeliest, by the `LLM`'s noise, or by the request's own."""

    GREEDY = 0
    RANDOM = 1
    RANDOM_SEED = 2


_BEAMS = "call LLM.beam_search() with BeamSearchParams"
FOREIGN = {
    "best_of": None,
    "early_stopping": nothing(False, remedy=_BEAMS),
    "guided_decoding": nothing(None, remedy="give structured_outputs=StructuredOutputsParams(...)"),
    "length_penalty": nothing(1.0, remedy=_BEAMS),
    "output_text_buffer_length": 0,
    "prompt_logprob_start": None,
    "prompt_logprob_token_ids": None,
    "repetition_detection": None,
    "routed_experts_prompt_start": 0,
    "skip_clone": anything(False),  # a request has a copy of its own anyway
    "spaces_between_special_tokens": nothing(True, False),  # there are none but those of the tokenizer
    "stream_interval": nothing(None, 1),
    "thinking_token_budget": nothing(None, -1),
    "truncate_prompt_tokens": None,
    "use_beam_search": nothing(False, remedy=_BEAMS),
    "watermarking": None,
}
_ENGINES = "vLLM's engine asks for it; a request is checked when it is made"
_ABSENT = {
    **dict.fromkeys(("all_stop_token_ids", "bad_words_token_ids", "eos_token_id"), _ENGINES),
    **dict.fromkeys(("for_sampler_warmup", "update_from_tokenizer", "verify"), _ENGINES),
}


@refusing(FOREIGN)
@in_vllms_place(_ABSENT)
@dataclass
class SamplingParams:
    """How to sample one request; vLLM's names and defaults.

    Attributes:
        n: samples of the prompt; they share its part of the KV cache.
        presence_penalty: taken off the logit of every token that was sampled before, -2 to 2.
        frequency_penalty: the same, for each time that it was.
        repetition_penalty: divides positive logits of tokens in prompt and output, multiplies negative ones.
        temperature: divides the logits, at most 2; 0 takes the likeliest token, less than 0.01 is 0.01.
        top_p: sample from the smallest set of tokens of this mass; like top_k and min_p it is set to cut
            nothing off where the temperature is 0.
        top_k: sample from the k likeliest tokens; 0 or -1 for all.
        min_p: sample from the tokens at least this many times as likely as the likeliest.
        seed: the same seed gives the same tokens whatever else is in the batch; None draws others each time.
        stop: strings that end a sample; their text is left out unless `include_stop_str_in_output`.
        stop_token_ids: token ids that end a sample.
        bad_words: texts that are not written: the last token of one is never taken after its others.
        ignore_eos: go on after the model's end-of-sequence token.
        max_tokens: most tokens to sample; None samples to the end of the model's context.
        min_tokens: before so many, nothing ends a sample.
        logprobs: None for none, 0 for those of the sampled tokens, k for the k likeliest too, -1 for all;
            True is 1.
        prompt_logprobs: the same for the prompt's tokens, each after those before it.
        logprob_token_ids: tokens whose logprobs are given too, in place of the likeliest.
        flat_logprobs: give logprobs as `FlatLogprobs`, of few objects, in place of a list of dicts.
        detokenize: make text; without it there are token ids alone.
        skip_special_tokens: leave special tokens out of the text.
        output_kind: what `LLM.step` and `LLM.stream` give; `LLM.generate` gives the end alone.
        structured_outputs: what the text must be.
        logit_bias: added to the logits of token ids.
        allowed_token_ids: the only tokens that may be sampled.
        skip_reading_prefix_cache: compute the prompt again; so it is with `prompt_logprobs` anyway.
        trace_decode_token_ids: tokens to put out in place of sampled ones, with the logprobs that the model
            gives them; they take the place of `max_tokens`, and nothing else ends the sample.
        logits_processors: functions (output ids, logits (V,)) -> logits, or (prompt ids, output ids, logits).
        extra_args: whatever somebody's own code wants to find again in a request; nothing here reads it.
        shown_special_token_ids: special tokens that stay in the text though others are skipped, such as
            those that a parser of calls looks for; minillm's own.

    Fields may be assigned to. What they are is checked here, and once more when a request is made of them; a
    request keeps a copy of its own. Values of `stop`, `stop_token_ids` and `bad_words` are read as lists.

    A sampler that truncates or biases is another policy than the one that is trained: what reported logprobs
    are of is said by `LLM`'s `logprobs_mode`.
    """

    n: int = param(
        1,
        check=Check(
            lambda x, _: is_whole(x, 1) and x <= MOST_SAMPLES,
            f"a whole number from 1 to {MOST_SAMPLES}",
            {"minimum": 1, "maximum": MOST_SAMPLES},
        ),
        changes=None,
        cli="samples of each prompt.",
        http=WHOLE,
    )
    presence_penalty: float = param(0.0, check=number(-2, 2), changes=bool, cli=True, http=NUMBER)
    frequency_penalty: float = param(0.0, check=number(-2, 2), changes=bool, cli=True, http=NUMBER)
    repetition_penalty: float = param(
        1.0,
        check=number(1e-5, 1e5, "a number above 0 (1 for none)"),
        changes=lambda penalty: penalty != 1,
        cli=True,
        http=NUMBER,
    )
    temperature: float = param(1.0, check=number(0, 2), changes=None, cli=True, http=NUMBER)
    top_p: float = param(
        1.0,
        check=number(1e-9, 1, "above 0 and at most 1"),
        changes=lambda mass: mass < 1,
        cli=True,
        http=NUMBER,
        cuts=True,
    )
    top_k: int = param(
        0,
        check=whole(-1, "a whole number, 0 or -1 for all"),
        changes=lambda k: k > 0,
        cli=True,
        http=WHOLE,
        cuts=True,
    )
    min_p: float = param(0.0, check=number(0, 1), changes=bool, cli=True, http=NUMBER, cuts=True)
    seed: int | None = param(
        None, check=instance(int, "a whole number or None", none=True), changes=None, cli=None, http=WHOLE
    )
    stop: str | Sequence[str] | None = param(
        None,
        check=_TEXTS,
        changes=None,
        cli="a text that ends a sample; may be given several times.",
        http=TEXT_OR_TEXTS,
    )
    stop_token_ids: Sequence[int] | None = param(
        None, check=tokens(0, "token ids"), changes=None, cli=None, http=IDS
    )
    ignore_eos: bool = param(False, check=_FLAG, changes=None, cli=True, http=FLAG)
    max_tokens: int | None = param(
        16,
        check=whole(1, "a whole number, at least 1, or None", none=True),
        changes=None,
        cli="most tokens of a sample; without it, to the end of the context.",
        http=WHOLE,
    )
    min_tokens: int = param(
        0,
        check=Check(
            lambda x, params: (
                is_whole(x, 0) and not (is_whole(params.max_tokens, 1) and x > params.max_tokens)
            ),
            "a whole number, and at most max_tokens ({max_tokens})",
        ),
        changes=bool,
        cli=True,
        http=WHOLE,
    )
    logprobs: int | None = param(
        None,
        check=_COUNT,
        changes=None,
        cli="with --json, logprobs of sampled tokens, and of this many of the likeliest.",
        http=WHOLE,
    )
    prompt_logprobs: int | None = param(
        None, check=_COUNT, changes=None, cli="with --json, the same for the prompt's tokens.", http=WHOLE
    )
    logprob_token_ids: Sequence[int] | None = param(None, check=_IDS, changes=None, cli=None, http=IDS)
    flat_logprobs: bool = param(False, check=_FLAG, changes=None, cli=None, http=None)
    detokenize: bool = param(True, check=_FLAG, changes=None, cli=None, http=None)
    skip_special_tokens: bool = param(True, check=_FLAG, changes=None, cli=None, http=FLAG)
    include_stop_str_in_output: bool = param(False, check=_FLAG, changes=None, cli=None, http=FLAG)
    output_kind: RequestOutputKind = param(
        RequestOutputKind.CUMULATIVE,
        check=instance(RequestOutputKind, "a RequestOutputKind"),
        changes=None,
        cli=None,
        http=None,
    )
    structured_outputs: StructuredOutputsParams | None = param(
        None,
        check=instance(StructuredOutputsParams, "StructuredOutputsParams", none=True),
        changes=bool,
        cli=None,
        http=OBJECT,
    )
    logit_bias: Mapping[int, float] | None = param(None, check=_BIAS, changes=bool, cli=None, http=OBJECT)
    allowed_token_ids: Sequence[int] | None = param(None, check=_IDS, changes=bool, cli=None, http=IDS)
    bad_words: Sequence[str] | None = param(None, check=_WORDS, changes=bool, cli=None, http=TEXTS)
    skip_reading_prefix_cache: bool | None = param(None, check=_FLAG, changes=None, cli=None, http=None)
    trace_decode_token_ids: Sequence[int] | None = param(None, check=_IDS, changes=None, cli=None, http=None)
    logits_processors: Sequence[LogitsProcessor] | None = param(
        None, check=_FUNCTIONS, changes=bool, cli=None, http=None
    )
    extra_args: Mapping[str, Any] | None = param(
        None, check=instance(Mapping, "a dict or None", none=True), changes=None, cli=None, http=None
    )
    shown_special_token_ids: Sequence[int] | None = param(
        None, check=tokens(0, "token ids"), changes=None, cli=None, http=None
    )

    def __post_init__(self) -> None:
        self._normalise()
        check_values(self, rules(self))
        self.stop_token_ids = list(dict.fromkeys(self.stop_token_ids or ()))
        self.bad_words = list(dict.fromkeys(self.bad_words or ()))
        if self.seed == -1:  # vLLM's None
            self.seed = None
        if 0 < self.temperature < LOWEST_TEMPERATURE:
            self.temperature = LOWEST_TEMPERATURE
        if self.temperature == 0:
            self.top_p, self.top_k, self.min_p = 1.0, 0, 0.0
            if self.n > 1:
                raise MinillmError(f"n must be 1 at temperature 0, where all samples are alike, got {self.n}")
        if self.stop and not self.detokenize:
            raise MinillmError("stop needs text: leave detokenize=True, or use stop_token_ids")
        if (trace := self.trace_decode_token_ids) is not None:
            for name in ("prompt_logprobs", "structured_outputs", "bad_words"):
                if getattr(self, name):
                    raise MinillmError(f"{name} does not go with trace_decode_token_ids")
            if self.n > 1:
                raise MinillmError("n must be 1 with trace_decode_token_ids, whose samples are all alike")
            self.max_tokens, self.min_tokens = len(trace), min(self.min_tokens, len(trace))

    def _normalise(self) -> None:
        """Bring values into the one form that they are read in, with containers of their own."""
        for name, value in list(vars(self).items()):
            if value is None or type(value) in (bool, int, float, str):
                continue
            if isinstance(value, np.generic):
                setattr(self, name, value.item())
            elif is_list(value):
                setattr(self, name, list(value))
            elif isinstance(value, Mapping):
                setattr(self, name, dict(value))
        self.stop = [self.stop] if isinstance(self.stop, str) else [] if self.stop is None else self.stop
        for name in ("logprobs", "prompt_logprobs"):
            if getattr(self, name) is True:
                setattr(self, name, 1)

    @classmethod
    def from_optional(cls, **arguments: Any) -> Self:
        """Make parameters of arguments that may be None, by vLLM's rules, as its server does.

        None is the default where a field cannot be None. The keys of `logit_bias` may be texts of numbers,
        and its values are cut to -100 to 100. Raises `MinillmError` as the constructor does.
        """
        kind: type = cls
        given = {name: x for name, x in arguments.items() if x is not None or name not in _never_none(kind)}
        if isinstance(bias := given.get("logit_bias"), Mapping):
            try:
                given["logit_bias"] = {int(i): min(100.0, max(-100.0, x)) for i, x in bias.items()}
            except (TypeError, ValueError) as error:
                raise MinillmError(f"logit_bias must be numbers by token id, got {bias!r}") from error
        return cls(**given)

    def clone(self) -> Self:
        """Return a copy that shares no list with this one; `MinillmError` for what was assigned wrong."""
        return replace(self)

    def update_from_generation_config(
        self, generation_config: Mapping[str, Any], eos_token_id: int | None = None
    ) -> None:
        """Add the end tokens of a generation_config.json, but `eos_token_id`, to `stop_token_ids`.

        Nothing with `ignore_eos`, and nothing that an `LLM` needs, which knows its model's end tokens.
        """
        if not isinstance(generation_config, Mapping):
            raise MinillmError(f"generation_config must be a dict, got {generation_config!r}")
        ends = generation_config.get("eos_token_id")
        if self.ignore_eos or ends is None:
            return
        others = [token for token in (ends if is_list(ends) else [ends]) if token != eos_token_id]
        self.stop_token_ids = replace(
            self, stop_token_ids=[*others, *(self.stop_token_ids or ())]
        ).stop_token_ids

    @property
    def num_logprobs(self) -> int | None:
        """How many logprobs of a sampled token are asked for; None for none."""
        return self.logprobs if self.logprobs is not None else len(self.logprob_token_ids or ()) or None

    @property
    def sampling_type(self) -> SamplingType:
        """How tokens are drawn."""
        if self.temperature == 0:
            return SamplingType.GREEDY
        return SamplingType.RANDOM if self.seed is None else SamplingType.RANDOM_SEED

    @property
    def stop_strings(self) -> tuple[str, ...]:
        """The texts of `stop`, of which there may be one, several or none."""
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())

    @property
    def wants_logprobs(self) -> bool:
        """Whether logprobs of sampled tokens are to be given."""
        return self.logprobs is not None or self.logprob_token_ids is not None

    @property
    def is_plain(self) -> bool:
        """Whether tokens come from the full distribution, at some temperature, with nothing done to it."""
        return not self._changes()

    @property
    def truncates(self) -> bool:
        """Whether unlikely tokens are cut off, by `truncate`."""
        return any(parameter.cuts for parameter in self._changes())

    def _changes(self) -> list[Parameter]:
        kind: type = type(self)
        return [parameter for name, parameter in _changing(kind) if parameter.changes(getattr(self, name))]


@cache
def _changing(cls: type) -> list[tuple[str, Any]]:
    """List the parameters that can change the distribution: each row of a step asks for them."""
    return [(name, parameter) for name, parameter in parameters(cls).items() if parameter.changes is not None]


def _with_signature(cls: type) -> None:
    """Let `inspect.signature` of `from_optional` list the fields, which whoever fills it looks for."""
    function: Any = vars(cls)["from_optional"].__func__
    taken = inspect.Parameter("cls", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    given = inspect.signature(cls).parameters.values()
    fields = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in given]
    function.__signature__ = inspect.Signature([taken, *fields])


_with_signature(SamplingParams)


@cache
def _never_none(cls: type) -> frozenset[str]:
    """Name the arguments that cannot be None, for which None stands for the default."""
    hints = {name: hint for name, hint in get_type_hints(cls).items() if name in parameters(cls)}
    return frozenset((*FOREIGN, *(name for name, hint in hints.items() if NoneType not in get_args(hint))))


@dataclass
class BeamSearchParams:
    """How to search: vLLM's names and defaults.

    Attributes:
        beam_width: sequences that are kept.
        max_tokens: most tokens of a sequence.
        ignore_eos: go on after the model's end-of-sequence token.
        temperature: divides the logits; 0 is 1.
        length_penalty: a sequence's score is its summed logprob over its number of tokens to this power.
        include_stop_str_in_output: keep the end-of-sequence token in the text.
        structured_outputs: what the text must be.
        logprobs: so many of the likeliest are given beside each token's own logprob; minillm's.
    """

    beam_width: int
    max_tokens: int
    ignore_eos: bool = False
    temperature: float = 0.0
    length_penalty: float = 1.0
    include_stop_str_in_output: bool = False
    structured_outputs: StructuredOutputsParams | None = None
    logprobs: int = 0

    def __post_init__(self) -> None:
        for name, kind, low, high, rule in (
            ("beam_width", int, 1, MOST_SAMPLES, f"a whole number from 1 to {MOST_SAMPLES}"),
            ("max_tokens", int, 1, math.inf, "a whole number, at least 1"),
            ("temperature", int | float, 0, 2, "a number from 0 to 2"),
            ("length_penalty", int | float, -1e3, 1e3, "a number from -1000 to 1000"),
            ("logprobs", int, 0, math.inf, "a whole number, at least 0"),
        ):
            value = getattr(self, name)
            if not (isinstance(value, kind) and low <= value <= high):
                raise MinillmError(f"{name} must be {rule}, got {value!r}")
        if not isinstance(self.structured_outputs, StructuredOutputsParams | None):
            raise MinillmError(
                f"structured_outputs must be StructuredOutputsParams or None, got {self.structured_outputs!r}"
            )
