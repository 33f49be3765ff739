"""From rows of logits to tokens, and to the logprobs that are reported of them.

A row sees its own request alone. What changes a request's distribution is done in vLLM's order: structured
outputs, allowed tokens, bad words, tokens that may not come yet, logit bias, the request's own processors,
penalties, temperature, min_p, top_k, top_p.

Legend: R rows, V vocabulary.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

import torch

from minillm.api.grammars import constrain
from minillm.api.outputs import Logprob
from minillm.api.sampling_params import SamplingParams
from minillm.engine.draw import penalize, truncate, uniform
from minillm.engine.request import Request, SampleState
from minillm.errors import MinillmError
from minillm.model.logprobs import Rows
from minillm.model.transformer import Transformer
from minillm.tokenizer.tokenizer import Tokenizer

# What reported logprobs are of: the policy that is trained, which is the full distribution after the
# temperature; or one of vLLM's four: the model's own distribution or logits, or what tokens are drawn from.
LOGPROBS_MODES = ("tempered_logprobs", "raw_logprobs", "processed_logprobs", "raw_logits", "processed_logits")

# What a row has in a token's place where it has none.
NAN, NONE_LEFT = -1, -2
FAILURES = {
    NAN: "the model's logits are not numbers (NaN)",
    NONE_LEFT: "no token is left to sample: allowed tokens, bad words and processors exclude all",
}

Entries = dict[int, Logprob]
# A token, and the logprobs that were asked for.
SampledToken = tuple[int, Entries | None]
# Tokens that can hold the beginning of a character, which has 4 bytes at most.
LOOKBACK = 3
# Rows of logits that are held at a time for a prompt's logprobs.
ROWS = 128


class Sampler:
    """Draws tokens; reports their texts where there is a tokenizer."""

    def __init__(self, tokenizer: Tokenizer | None, logprobs_mode: str) -> None:
        if logprobs_mode not in LOGPROBS_MODES:
            known = ", ".join(LOGPROBS_MODES)
            raise MinillmError(f"logprobs_mode must be one of {known}, got {logprobs_mode!r}")
        self._mode = logprobs_mode
        self._text_after = None if tokenizer is None else lru_cache(1 << 16)(tokenizer.text_after)

    def __call__(
        self, samples: Sequence[SampleState], logits_RV: torch.Tensor
    ) -> list[SampledToken | Exception]:
        """Draw a token for each row, with the logprobs that were asked for; or say what kept it from one."""
        params_R = [sample.params for sample in samples]
        source_RV, errors = logits_RV, dict[int, Exception]()
        if limited := [i for i, sample in enumerate(samples) if sample.constraint is not None]:
            source_RV = _constrained(samples, limited, logits_RV)
        if changed := [i for i, sample in enumerate(samples) if not sample.is_plain]:
            source_RV = source_RV if limited else logits_RV.clone()
            left_R = torch.ones(len(samples), dtype=torch.bool, device=logits_RV.device)
            for i in changed:
                try:
                    row_V = _processed(samples[i], source_RV[i])
                    left_R[i] = left = (row_V > -torch.inf).any()
                    source_RV[i] = torch.where(left, row_V, logits_RV[i])  # something can always be drawn
                except Exception as error:  # of a request's own processor or grammar: the others go on
                    errors[i] = error
        temperature_R = logits_RV.new_tensor([params.temperature or 1.0 for params in params_R])
        drawn = Rows(source_RV, temperature_R)
        if truncated := [i for i in changed if params_R[i].temperature > 0 and samples[i].truncates]:
            # After the temperature, which these rows then have behind them.
            cut_RV, cut_R = source_RV.clone(), temperature_R.clone()
            for i in truncated:
                cut_RV[i], cut_R[i] = truncate(source_RV[i] / temperature_R[i], params_R[i]), 1.0
            drawn = Rows(cut_RV, cut_R)
        token_R = _tokens(samples, source_RV, drawn)
        if changed:
            token_R = token_R.masked_fill(~left_R & (token_R >= 0), NONE_LEFT)
        if any(params.wants_logprobs for params in params_R):
            is_processed = self._mode.startswith("processed")
            reported = drawn if is_processed else self._untouched(logits_RV, temperature_R)
            sampled = self._entries(
                params_R, token_R, reported, [sample.output.token_ids for sample in samples]
            )
        else:
            sampled = [(token, None) for token in token_R.tolist()]
        errors |= {i: MinillmError(FAILURES[token]) for i, (token, _) in enumerate(sampled) if token < 0}
        return [errors.get(i, pair) for i, pair in enumerate(sampled)]

    def add_prompt_logprobs(
        self, request: Request, start: int, hidden_TC: torch.Tensor, model: Transformer
    ) -> None:
        """Add entries of the prompt's tokens after these rows, but for those from before a preemption."""
        entries, prompt = request.output.prompt_logprobs, request.output.prompt_token_ids
        assert entries is not None
        params = replace(request.params, logprobs=request.params.prompt_logprobs, logprob_token_ids=None)
        end = min(start + hidden_TC.shape[0], len(prompt) - 1)
        for first in range(max(len(entries) - 1, start), end, ROWS):
            last = min(first + ROWS, end)
            logits_RV = model.logits(hidden_TC[first - start : last - start])
            rows = self._untouched(logits_RV, logits_RV.new_full((last - first,), params.temperature or 1.0))
            token_R = torch.tensor(prompt[first + 1 : last + 1], device=logits_RV.device)
            before_R = [prompt[max(0, i - LOOKBACK) : i] for i in range(first + 1, last + 1)]
            entries.extend(
                entry for _, entry in self._entries([params] * len(token_R), token_R, rows, before_R)
            )

    def _untouched(self, logits_RV: torch.Tensor, temperature_R: torch.Tensor) -> Rows:
        """Put the model's own logits over what they are reported over."""
        is_raw = self._mode.startswith("raw")
        return Rows(logits_RV, torch.ones_like(temperature_R) if is_raw else temperature_R)

    def _entries(
        self,
        params_R: Sequence[SamplingParams],
        token_R: torch.Tensor,
        rows: Rows,
        before_R: Sequence[Sequence[int]],
    ) -> list[SampledToken]:
        """Give each row's token, and, where it wants logprobs, its, then the likeliest or chosen ids'.

        `before_R` are the tokens before each, of the same text.
        """
        V = rows.logits_RV.shape[1]
        counts = [V if params.logprobs == -1 else params.logprobs or 0 for params in params_R]
        top = min(max(counts, default=0), V)
        chosen_ids = [tuple(params.logprob_token_ids or ()) for params in params_R]
        widest = max(map(len, chosen_ids))
        columns = [token_R.clamp(min=0).unsqueeze(1)]
        if top:
            columns.append(rows.logits_RV.topk(top)[1])
        if widest:
            filled = [[*ids, *[0] * (widest - len(ids))] for ids in chosen_ids]
            columns.append(torch.tensor(filled, device=token_R.device))
        column_RX = torch.cat(columns, dim=1)
        if self._mode.endswith("_logits"):
            value_RX = rows.logits_RV.gather(1, column_RX) / rows.temperature_R.unsqueeze(1)
        else:
            value_RX = rows.at(column_RX)
        ranked = [column_RX[:, x].contiguous() for x in (0, *range(1 + top, 1 + top + widest))]
        ranks = [rows.ranks(column_R).unsqueeze(1) for column_R in ranked]
        # A GPU is waited for once: float64 holds each of these as it is.
        read_RY = torch.cat((token_R.double().unsqueeze(1), value_RX, *ranks, column_RX), dim=1).tolist()
        sampled: list[SampledToken] = []
        width = 1 + top + widest
        per_row = zip(params_R, chosen_ids, counts, before_R, read_RY, strict=True)
        for params, chosen, count, before, (token, *read) in per_row:
            if not params.wants_logprobs:
                sampled.append((int(token), None))
                continue
            values, (rank, *chosen_ranks) = read[:width], map(int, read[width:-width])
            ids = list(map(int, read[-width:]))
            # Columns and ranks: of the token itself, then of the chosen ids, or else of the likeliest.
            likeliest = [(x, x) for x in range(1, 1 + min(count, V))]
            others = list(enumerate(chosen_ranks[: len(chosen)], start=1 + top)) if chosen else likeliest
            texts = self._texts(ids, before) if params.detokenize else {}
            entries: Entries = {}
            for x, place in [(0, rank), *others]:
                entries.setdefault(ids[x], Logprob(values[x], place, texts.get(ids[x])))
            sampled.append((int(token), entries))
        return sampled

    def _texts(self, ids: Iterable[int], before: Sequence[int]) -> dict[int, str]:
        """Write the text that each of `ids` completes after the tokens `before`; none without a tokenizer."""
        if (text_after := self._text_after) is None:
            return {}
        half = b""
        for token in before[-LOOKBACK:]:
            half = text_after(half, token)[1]
        return {i: text_after(half, i)[0] for i in ids}


def _tokens(samples: Sequence[SampleState], source_RV: torch.Tensor, drawn: Rows) -> torch.Tensor:
    """Take the likeliest token, the drawn one, or that due, (R,); `NAN` where logits are no numbers."""
    greedy = [i for i, sample in enumerate(samples) if sample.params.temperature == 0]
    hot = [i for i, sample in enumerate(samples) if sample.params.temperature > 0]
    noise = [uniform(*samples[i].noise, len(samples[i].output.token_ids)) for i in hot]
    if not greedy:
        token_R = drawn.draw(noise)
    elif not hot:
        token_R = Rows(source_RV, drawn.temperature_R).likeliest()
    else:
        device = source_RV.device
        token_R = torch.empty(len(samples), dtype=torch.int64, device=device)
        greedy_X, hot_X = torch.tensor(greedy, device=device), torch.tensor(hot, device=device)
        token_R[greedy_X] = Rows(source_RV[greedy_X], drawn.temperature_R[greedy_X]).likeliest()
        token_R[hot_X] = Rows(drawn.logits_RV[hot_X], drawn.temperature_R[hot_X]).draw(noise)
    for i, sample in enumerate(samples):
        if (trace := sample.params.trace_decode_token_ids) is not None:
            token_R[i] = trace[len(sample.output.token_ids)]
    return token_R


def _constrained(
    samples: Sequence[SampleState], limited: Sequence[int], logits_RV: torch.Tensor
) -> torch.Tensor:
    """Make the logits within the structured outputs that the `limited` rows have."""
    constraints = [constraint for i in limited if (constraint := samples[i].constraint) is not None]
    if len(limited) == len(samples):
        return constrain(constraints, logits_RV)
    row_X = torch.tensor(limited, device=logits_RV.device)
    return logits_RV.index_copy(0, row_X, constrain(constraints, logits_RV[row_X]))


def _processed(sample: SampleState, logits_V: torch.Tensor) -> torch.Tensor:
    """Make a row's logits before the temperature; raise what the request's processors raise."""
    params, device = sample.params, logits_V.device
    output_ids = sample.output.token_ids
    prompt_ids = sample.sequence.token_ids[: len(sample.sequence.token_ids) - len(output_ids)]
    if params.allowed_token_ids is not None:
        kept = torch.tensor(params.allowed_token_ids, device=device)
        logits_V = torch.full_like(logits_V, -torch.inf).index_copy_(0, kept, logits_V[kept])
    banned = {ids[-1] for ids in sample.bad_ids if _ends_with(output_ids, ids[:-1])}
    if len(output_ids) < params.min_tokens:
        banned |= {*sample.end_ids, *(params.stop_token_ids or ())}
    banned = {i for i in banned if i < logits_V.shape[0]}  # a tokenizer can have ids that the model has not
    if banned:
        logits_V = logits_V.index_fill(0, torch.tensor(sorted(banned), device=device), -torch.inf)
    if params.logit_bias:
        at = torch.tensor(list(params.logit_bias), device=device)
        logits_V = logits_V.index_add(0, at, logits_V.new_tensor(list(params.logit_bias.values())))
    if params.logits_processors:
        logits_V = logits_V.clone()  # they may write into it, and what is reported is of what was there
    for process in params.logits_processors or ():
        if _takes_prompt(process):
            logits_V = process(prompt_ids, output_ids, logits_V)
        else:
            logits_V = process(output_ids, logits_V)
    return penalize(logits_V, params, prompt_ids, output_ids)


def _takes_prompt(process: Callable[..., Any]) -> bool:
    """Tell whether a processor has to be called with the prompt first: it needs three arguments."""
    needed = [
        parameter
        for parameter in inspect.signature(process).parameters.values()
        if parameter.default is parameter.empty
        and parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
    ]
    return len(needed) == 3


def _ends_with(ids: Sequence[int], end: Sequence[int]) -> bool:
    return not end or list(ids[-len(end) :]) == list(end)
