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

from minillm.errors import MinillmError
from minillm.logprobs import logprobs
from minillm.outputs import Logprob
from minillm.request import Sample
from minillm.sampling import SamplingParams, draw, penalize, truncate, uniform

# What reported logprobs are of: the policy that is trained, which is the full distribution after the
# temperature; or one of vLLM's four: the model's own distribution or logits, or what tokens are drawn from.
LOGPROBS_MODES = (
    "tempered_logprobs", "raw_logprobs", "processed_logprobs", "raw_logits", "processed_logits",
)  # fmt: skip

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
            for i in changed:
                try:
                    source_RV[i] = _processed(samples[i], logits_RV[i])
                except Exception as error:  # of a request's own processor or grammar: the others go on
                    errors[i] = error
        every = [sample.params for sample in samples]
        heat_R1 = logits_RV.new_tensor([[params.temperature or 1.0] for params in every])
        wanted = any(params.wants_logprobs for params in every)
        drawn_RV = source_RV
        if wanted or any(params.temperature > 0 for params in every):
            drawn_RV = logprobs(source_RV, heat_R1)
            for i in changed:
                if every[i].temperature > 0:
                    drawn_RV[i] = logprobs(truncate(source_RV[i] / heat_R1[i], every[i]))
        tokens = _tokens(samples, source_RV, drawn_RV)
        found: list[Entries | None] = [None] * len(samples)
        if wanted:
            reported_RV = drawn_RV
            if self._mode == "processed_logits":
                reported_RV = source_RV / heat_R1
                reported_RV = reported_RV.masked_fill(drawn_RV == -torch.inf, -torch.inf)
            elif self._mode != "processed_logprobs" and (changed or self._mode != "tempered_logprobs"):
                reported_RV = self.reported(logits_RV, heat_R1)
            found = self.entries(every, tokens, reported_RV)
        return [errors.get(i, (tokens[i], found[i])) for i in range(len(samples))]

    def reported(self, logits_RV: torch.Tensor, heat: float | torch.Tensor) -> torch.Tensor:
        """Of untouched logits what is reported, (R, V)."""
        if self._mode.endswith("_logits"):
            return logits_RV
        return logprobs(logits_RV, 1.0 if self._mode == "raw_logprobs" else heat)

    def entries(
        self, every: Sequence[SamplingParams], tokens: Sequence[int], reported_RV: torch.Tensor
    ) -> list[Entries | None]:
        """For each row that wants logprobs the token's, then the likeliest ones' or those of chosen ids."""
        V, device = reported_RV.shape[1], reported_RV.device
        value_R1 = reported_RV.gather(1, torch.tensor(tokens, device=device).unsqueeze(1))
        ranks = ((reported_RV > value_R1).sum(1) + 1).tolist()
        values = value_R1.squeeze(1).tolist()
        counts = [V if params.logprobs == -1 else params.logprobs or 0 for params in every]
        most = min(max(counts, default=0), V)
        top_values, top_ids = (x.tolist() for x in reported_RV.topk(most)) if most else ([], [])
        found: list[Entries | None] = []
        for r, params in enumerate(every):
            if not params.wants_logprobs:
                found.append(None)
                continue
            row = {tokens[r]: Logprob(values[r], ranks[r])}
            if (chosen := params.logprob_token_ids) is not None:
                row_V = reported_RV[r]
                for i, value in zip(chosen, row_V[list(chosen)].tolist(), strict=True):
                    row.setdefault(i, Logprob(value, int((row_V > value).sum()) + 1))
            elif counts[r]:
                pairs = zip(top_values[r][: counts[r]], top_ids[r], strict=False)
                for rank, (value, i) in enumerate(pairs, start=1):
                    row.setdefault(i, Logprob(value, rank))
            for i, entry in row.items():
                entry.decoded_token = self._text_of(i)
            found.append(row)
        return found


def _tokens(samples: Sequence[Sample], source_RV: torch.Tensor, drawn_RV: torch.Tensor) -> list[int]:
    """The likeliest token, the drawn one, or the one that is due."""
    tokens = [0] * len(samples)
    greedy = [i for i, sample in enumerate(samples) if sample.params.temperature == 0]
    drawn = [i for i, sample in enumerate(samples) if sample.params.temperature > 0]
    if greedy:
        rows_RV = source_RV[greedy] if drawn else source_RV
        for i, token in zip(greedy, rows_RV.argmax(-1).tolist(), strict=True):
            tokens[i] = token
    if drawn:
        noise = [uniform(*samples[i].noise, len(samples[i].output.token_ids)) for i in drawn]
        rows_RV = drawn_RV[drawn] if greedy else drawn_RV
        for i, token in zip(drawn, draw(rows_RV, noise).tolist(), strict=True):
            tokens[i] = token
    for i, sample in enumerate(samples):
        if (trace := sample.params.trace_decode_token_ids) is not None:
            tokens[i] = trace[len(sample.output.token_ids)]
    return tokens


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
    if banned:
        logits_V = logits_V.index_fill(0, torch.tensor(sorted(banned), device=device), -torch.inf)
    if params.logit_bias:
        at = torch.tensor(list(params.logit_bias), device=device)
        logits_V = logits_V.index_add(0, at, logits_V.new_tensor(list(params.logit_bias.values())))
    for process in params.logits_processors or ():
        if len(inspect.signature(process).parameters) == 3:
            logits_V = process(prompt_ids, output_ids, logits_V)
        else:
            logits_V = process(output_ids, logits_V)
    logits_V = penalize(logits_V, params, prompt_ids, output_ids)
    if not bool((logits_V > -torch.inf).any()):
        raise MinillmError("no token is left to sample: allowed tokens, bad words and processors exclude all")
    return logits_V


def _ends_with(ids: Sequence[int], end: Sequence[int]) -> bool:
    return not end or list(ids[-len(end) :]) == list(end)
