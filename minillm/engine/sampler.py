"""From rows of logits to tokens, and to the logprobs that are reported of them.

A row sees its own request alone. What changes a request's distribution is done in vLLM's order: structured
outputs, allowed tokens, bad words, tokens that may not come yet, logit bias, the request's own processors,
penalties, temperature, min_p, top_k, top_p.

Legend: R rows, V vocabulary.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence

import torch

from minillm.api.outputs import Logprob
from minillm.api.sampling_params import SamplingParams, penalize, truncate, uniform
from minillm.engine.request import Sample
from minillm.errors import MinillmError
from minillm.model.logprobs import Rows

# What reported logprobs are of: the policy that is trained, which is the full distribution after the
# temperature; or one of vLLM's four: the model's own distribution or logits, or what tokens are drawn from.
LOGPROBS_MODES = (
    "tempered_logprobs", "raw_logprobs", "processed_logprobs", "raw_logits", "processed_logits",
)  # fmt: skip

# What a row has in a token's place where it has none.
NAN, NONE_LEFT = -1, -2
FAILURES = {
    NAN: "the model's logits are not numbers (NaN)",
    NONE_LEFT: "no token is left to sample: allowed tokens, bad words and processors exclude all",
}

Entries = dict[int, Logprob]


class Sampler:
    """Draws tokens. `text_of` gives the text of one token, or None."""

    def __init__(self, logprobs_mode: str, text_of: Callable[[int], str | None]) -> None:
        if logprobs_mode not in LOGPROBS_MODES:
            known = ", ".join(LOGPROBS_MODES)
            raise MinillmError(f"logprobs_mode must be one of {known}, got {logprobs_mode!r}")
        self._mode, self._text_of = logprobs_mode, text_of

    def __call__(
        self, samples: Sequence[Sample], logits_RV: torch.Tensor
    ) -> list[tuple[int, Entries | None] | Exception]:
        """A token for each row, with the logprobs that were asked for; or what kept it from one."""
        source_RV, errors = logits_RV, dict[int, Exception]()
        changed = [i for i, sample in enumerate(samples) if not sample.params.is_plain]
        if changed:
            source_RV = logits_RV.clone()
            left_R = torch.ones(len(samples), dtype=torch.bool, device=logits_RV.device)
            for i in changed:
                try:
                    row_V = _processed(samples[i], logits_RV[i])
                    left_R[i] = left = (row_V > -torch.inf).any()
                    source_RV[i] = torch.where(left, row_V, logits_RV[i])  # something can always be drawn
                except Exception as error:  # of a request's own processor or grammar: the others go on
                    errors[i] = error
        every = [sample.params for sample in samples]
        temperature_R = logits_RV.new_tensor([params.temperature or 1.0 for params in every])
        drawn = Rows(source_RV, temperature_R)
        if cut := [i for i in changed if every[i].temperature > 0 and every[i].truncates]:
            # After the temperature, which these rows then have behind them.
            cut_RV, cut_R = source_RV.clone(), temperature_R.clone()
            for i in cut:
                cut_RV[i], cut_R[i] = truncate(source_RV[i] / temperature_R[i], every[i]), 1.0
            drawn = Rows(cut_RV, cut_R)
        token_R = _tokens(samples, source_RV, drawn)
        if changed:
            token_R = token_R.masked_fill(~left_R & (token_R >= 0), NONE_LEFT)
        if any(params.wants_logprobs for params in every):
            processed = self._mode.startswith("processed")
            found = self.entries(every, token_R, drawn if processed else self.rows(logits_RV, temperature_R))
        else:
            found = [(token, None) for token in token_R.tolist()]
        for i, (token, _) in enumerate(found):
            if token < 0:
                errors[i] = MinillmError(FAILURES[token])
        return [errors.get(i, pair) for i, pair in enumerate(found)]

    def rows(self, logits_RV: torch.Tensor, temperature_R: torch.Tensor) -> Rows:
        """Untouched logits over what they are reported over."""
        return Rows(
            logits_RV, torch.ones_like(temperature_R) if self._mode.startswith("raw") else temperature_R
        )

    def entries(
        self, every: Sequence[SamplingParams], token_R: torch.Tensor, rows: Rows
    ) -> list[tuple[int, Entries | None]]:
        """Each row's token, and, where it wants logprobs, the token's, then the likeliest or chosen ids'."""
        V, device = rows.logits_RV.shape[1], rows.logits_RV.device
        counts = [V if params.logprobs == -1 else params.logprobs or 0 for params in every]
        most = min(max(counts, default=0), V)
        listed = [tuple(params.logprob_token_ids or ()) for params in every]
        widest = max(map(len, listed))
        columns = [token_R.clamp(min=0).unsqueeze(1)]
        if most:
            columns.append(rows.logits_RV.topk(most)[1])
        if widest:
            filled = [[*ids, *[0] * (widest - len(ids))] for ids in listed]
            columns.append(torch.tensor(filled, device=device))
        column_RX = torch.cat(columns, dim=1)
        if self._mode.endswith("_logits"):
            value_RX = rows.logits_RV.gather(1, column_RX) / rows.temperature_R.unsqueeze(1)
        else:
            value_RX = rows.at(column_RX)
        ranked = [column_RX[:, x].contiguous() for x in (0, *range(1 + most, 1 + most + widest))]
        ranks = [rows.ranks(column_R).unsqueeze(1) for column_R in ranked]
        # A GPU is waited for once: float64 holds each of these as it is.
        read_RY = torch.cat((token_R.double().unsqueeze(1), value_RX, *ranks, column_RX), dim=1).tolist()
        found: list[tuple[int, Entries | None]] = []
        for params, chosen, count, (token, *read) in zip(every, listed, counts, read_RY, strict=True):
            if not params.wants_logprobs:
                found.append((int(token), None))
                continue
            values, read = read[: 1 + most + widest], read[1 + most + widest :]
            (rank, *places), ids = map(int, read[: 1 + widest]), list(map(int, read[1 + widest :]))
            row = {ids[0]: Logprob(values[0], rank)}
            if chosen:
                for x, place in enumerate(places[: len(chosen)], start=1 + most):
                    row.setdefault(ids[x], Logprob(values[x], place))
            else:
                for x in range(1, 1 + min(count, V)):
                    row.setdefault(ids[x], Logprob(values[x], x))
            for i, entry in row.items():
                entry.decoded_token = self._text_of(i)
            found.append((int(token), row))
        return found


def _tokens(samples: Sequence[Sample], source_RV: torch.Tensor, drawn: Rows) -> torch.Tensor:
    """The likeliest token, the drawn one, or the one that is due, (R,); `NAN` where logits are no numbers."""
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


def _processed(sample: Sample, logits_V: torch.Tensor) -> torch.Tensor:
    """A row's logits before the temperature; raises what the request's processors raise."""
    params, device = sample.params, logits_V.device
    prompt_ids, output_ids = sample.prompt_ids, sample.output.token_ids
    if sample.constraint is not None:
        logits_V = logits_V.masked_fill(~sample.constraint.allowed().to(device), -torch.inf)
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
        if len(inspect.signature(process).parameters) == 3:
            logits_V = process(prompt_ids, output_ids, logits_V)
        else:
            logits_V = process(output_ids, logits_V)
    return penalize(logits_V, params, prompt_ids, output_ids)


def _ends_with(ids: Sequence[int], end: Sequence[int]) -> bool:
    return not end or list(ids[-len(end) :]) == list(end)
