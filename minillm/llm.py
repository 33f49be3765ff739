"""`LLM`: text or token ids in, samples out, under vLLM's names."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from minillm import hub
from minillm.engine import Engine, EngineSequence
from minillm.errors import MinillmError
from minillm.logprobs import logprobs
from minillm.model import Transformer, load_model
from minillm.outputs import CompletionOutput, Logprob, RequestOutput
from minillm.precision import Precision
from minillm.sampling import SamplingParams, draw, uniform
from minillm.tokenizer import IncrementalDecoder, Tokenizer

Prompt = str | Sequence[int] | Mapping[str, Any]


@dataclass(eq=False)
class _Sample:
    """One sample in the making."""

    params: SamplingParams
    output: CompletionOutput
    sequence: EngineSequence
    noise: tuple[int, int]
    decoder: IncrementalDecoder | None
    text: str = ""
    logprobs: list[dict[int, Logprob]] = field(default_factory=list)


class LLM:
    """A sampler over a live model.

    Args:
        model: a folder, a hub id or the demo model's name (loaded at `precision` onto `device`), or a
            `Transformer` that stays shared: what a trainer writes into it is sampled from next.
        tokenizer: for a `Transformer`; without one, prompts and outputs are token ids only.
        seed: seeds the requests that bring no seed of their own.
        max_num_seqs: most sequences in one step.
        max_num_batched_tokens: most tokens in one step.
        kv_cache_memory_bytes: size of the KV cache.
        enable_prefix_caching: reuse the keys and values of prompts that start alike.
    """

    def __init__(
        self,
        model: str | Path | Transformer,
        tokenizer: Tokenizer | None = None,
        *,
        precision: str | Precision = "fp32",
        device: torch.device | str = "cpu",
        seed: int = 0,
        max_num_seqs: int = 64,
        max_num_batched_tokens: int = 2048,
        kv_cache_memory_bytes: int = 1 << 30,
        enable_prefix_caching: bool = True,
    ) -> None:
        if not isinstance(model, Transformer):
            folder = hub.resolve(model)
            tokenizer = tokenizer or Tokenizer.from_folder(folder)
            model = load_model(folder, precision, device)
        self.model, self.tokenizer, self.seed = model, tokenizer, seed
        self._engine = Engine(
            model,
            kv_cache_memory_bytes,
            max_num_seqs,
            max_num_batched_tokens,
            enable_prefix_caching,
        )
        self._requests = 0

    def get_tokenizer(self) -> Tokenizer:
        """The tokenizer; `MinillmError` where the `LLM` was made without one."""
        if self.tokenizer is None:
            raise MinillmError("this LLM was made without a tokenizer; pass token ids, or tokenizer=")
        return self.tokenizer

    def reset_prefix_cache(self) -> None:
        """Forget all cached prefixes; an in-place update of the weights does so by itself."""
        self._engine.reset_prefix_cache()

    def generate(
        self,
        prompts: Prompt | Sequence[Prompt],
        sampling_params: SamplingParams | Sequence[SamplingParams] | None = None,
        *,
        use_tqdm: bool = False,
    ) -> list[RequestOutput]:
        """Sample from each prompt; outputs in the order of the prompts.

        A prompt is a string, a list of token ids, or {"prompt": ...} or {"prompt_token_ids": ...};
        `sampling_params` is one for all or one each. `use_tqdm` shows progress on stderr.
        Raises `MinillmError` before anything runs for a prompt that is empty, too long for the context or
        the cache, or has ids outside the vocabulary.
        """
        batch: list[Prompt] = _as_list(prompts)
        params = sampling_params if sampling_params is not None else SamplingParams()
        each = [params] * len(batch) if isinstance(params, SamplingParams) else list(params)
        if len(each) != len(batch):
            raise MinillmError(f"{len(batch)} prompts but {len(each)} sampling_params")
        requests = [self._request(prompt, one) for prompt, one in zip(batch, each, strict=True)]
        samples = {sample.sequence: sample for _, made in requests for sample in made}
        try:
            for sequence in samples:
                self._engine.add(sequence)
            self._run(samples, use_tqdm)
        finally:
            self._engine.abort()
        for output, made in requests:
            output.num_cached_tokens = made[0].sequence.cached
        return [output for output, _ in requests]

    @torch.no_grad()
    def next_token_logprobs(self, prompts: Sequence[Sequence[int]], temperature: float = 1.0) -> torch.Tensor:
        """The policy after each list of token ids: logprobs of the whole vocabulary, (B, V)."""
        if not prompts or not temperature > 0:
            raise MinillmError(f"{len(prompts)} prompts at temperature {temperature}: neither may be 0")
        sequences = [EngineSequence(list(prompt), max_tokens=1) for prompt in prompts]
        rows: dict[EngineSequence, torch.Tensor] = {}
        try:
            for sequence in sequences:
                self.model.check_tokens(sequence.token_ids)
                self._engine.add(sequence)
            while len(rows) < len(sequences):
                ready, logits_RV = self._engine.step()
                for sequence, row_V in zip(ready, logprobs(logits_RV, temperature), strict=True):
                    rows[sequence] = row_V
                    self._engine.finish(sequence)
        finally:
            self._engine.abort()
        return torch.stack([rows[sequence] for sequence in sequences])

    def _request(self, prompt: Prompt, params: SamplingParams) -> tuple[RequestOutput, list[_Sample]]:
        text, token_ids = self._tokens(prompt)
        token_ids = list(token_ids)
        self.model.check_tokens(token_ids, max_tokens=1)
        if params.stop_strings:
            self.get_tokenizer()
        room = self.model.config.max_position_embeddings - len(token_ids)
        most = room if params.max_tokens is None else min(room, params.max_tokens)
        number = self._requests
        self._requests += 1
        samples = []
        for i in range(params.n):
            seed = (self.seed, (number << 32) + i) if params.seed is None else (params.seed, i)
            decoder = (
                IncrementalDecoder(self.tokenizer, params.skip_special_tokens) if self.tokenizer else None
            )
            samples.append(
                _Sample(
                    params,
                    CompletionOutput(i, "", [], None, None),
                    EngineSequence(list(token_ids), most),
                    seed,
                    decoder,
                )
            )
        output = RequestOutput(str(number), text, list(token_ids), [s.output for s in samples])
        return output, samples

    def _tokens(self, prompt: Prompt) -> tuple[str | None, Sequence[int]]:
        if isinstance(prompt, Mapping):
            if "prompt_token_ids" in prompt:
                return prompt.get("prompt"), prompt["prompt_token_ids"]
            if "prompt" not in prompt:
                raise MinillmError(f"a prompt needs 'prompt' or 'prompt_token_ids', got {list(prompt)}")
            prompt = str(prompt["prompt"])
        if isinstance(prompt, str):
            return prompt, self.get_tokenizer().encode(prompt)
        if not isinstance(prompt, Sequence) or not all(isinstance(token, int) for token in prompt):
            raise MinillmError("a prompt must be text or a list of token ids (int), as .tolist() makes")
        return None, [int(token) for token in prompt]

    @torch.no_grad()
    def _run(self, samples: dict[EngineSequence, _Sample], show: bool) -> None:
        """Step until every sample is finished."""
        columns = (TextColumn("sampling"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, disable=not show, console=_stderr()) as progress:
            task = progress.add_task("sampling", total=len(samples))
            left = len(samples)
            while left:
                ready, logits_RV = self._engine.step()
                if not ready:
                    continue
                for sequence, token, chosen in self._sample([samples[s] for s in ready], logits_RV):
                    sample = samples[sequence]
                    sequence.token_ids.append(token)
                    sample.output.token_ids.append(token)
                    if chosen is not None:
                        sample.logprobs.append(chosen)
                    if self._finished(sample, token):
                        self._engine.finish(sequence)
                        self._complete(sample)
                        progress.advance(task)
                        left -= 1

    def _sample(
        self, samples: list[_Sample], logits_RV: torch.Tensor
    ) -> list[tuple[EngineSequence, int, dict[int, Logprob] | None]]:
        """A token for each row, with the logprobs that were asked for."""
        tokens = [0] * len(samples)
        wanted = [s.params.temperature > 0 or s.params.logprobs is not None for s in samples]
        rows = [i for i, want in enumerate(wanted) if want]
        greedy = [i for i, s in enumerate(samples) if s.params.temperature == 0]
        entries: list[dict[int, Logprob] | None] = [None] * len(samples)
        if greedy:
            for i, token in zip(greedy, logits_RV[greedy].argmax(-1).tolist(), strict=True):
                tokens[i] = token
        if rows:
            heat_R1 = torch.tensor([[samples[i].params.temperature or 1.0] for i in rows])
            logits = logits_RV if len(rows) == len(samples) else logits_RV[rows]
            logprobs_RV = logprobs(logits, heat_R1)
            drawn = [(r, i) for r, i in enumerate(rows) if samples[i].params.temperature > 0]
            if drawn:
                noise = [uniform(*samples[i].noise, len(samples[i].output.token_ids)) for _, i in drawn]
                picked = draw(logprobs_RV[[r for r, _ in drawn]], noise)
                for (_, i), token in zip(drawn, picked.tolist(), strict=True):
                    tokens[i] = token
            for r, i in enumerate(rows):
                count = samples[i].params.logprobs
                if count is not None:
                    entries[i] = self._entries(logprobs_RV[r], tokens[i], count)
        return [(s.sequence, t, e) for s, t, e in zip(samples, tokens, entries, strict=True)]

    def _entries(self, row_V: torch.Tensor, token: int, count: int) -> dict[int, Logprob]:
        """The sampled token first, then the `count` likeliest."""
        value = row_V[token]
        found = {token: Logprob(value.item(), int((row_V > value).sum()) + 1)}
        if count:
            values, ids = row_V.topk(min(count, row_V.shape[0]))
            for rank, (v, i) in enumerate(zip(values.tolist(), ids.tolist(), strict=True), start=1):
                found.setdefault(i, Logprob(v, rank))
        if self.tokenizer is not None:
            for i, entry in found.items():
                entry.decoded_token = self.tokenizer.decode([i], skip_special_tokens=False)
        return found

    def _finished(self, sample: _Sample, token: int) -> bool:
        """Note why a sample ends with this token, if it does."""
        params, output = sample.params, sample.output
        if sample.decoder is not None:
            before = len(sample.text)
            sample.text += sample.decoder.add([token])
            for stop in params.stop_strings:
                at = sample.text.find(stop, max(0, before - len(stop) + 1))
                if at >= 0:
                    end = at + len(stop) if params.include_stop_str_in_output else at
                    sample.text, sample.decoder = sample.text[:end], None
                    output.finish_reason, output.stop_reason = "stop", stop
                    return True
        eos = self.tokenizer.eos_token_ids if self.tokenizer is not None else ()
        if token in (params.stop_token_ids or ()):
            output.finish_reason, output.stop_reason = "stop", token
        elif token in eos and not params.ignore_eos:
            output.finish_reason = "stop"
        elif len(output.token_ids) >= sample.sequence.max_tokens:
            output.finish_reason = "length"
        return output.finish_reason is not None

    def _complete(self, sample: _Sample) -> None:
        if sample.decoder is not None:
            sample.text += sample.decoder.flush()
        output = sample.output
        output.text = sample.text
        if sample.params.logprobs is not None:
            output.logprobs = sample.logprobs
            pairs = zip(output.token_ids, sample.logprobs, strict=True)
            output.cumulative_logprob = sum(entry[token].logprob for token, entry in pairs)


def _as_list(prompts: Prompt | Sequence[Prompt]) -> list[Prompt]:
    if isinstance(prompts, str | Mapping):
        return [prompts]
    several: list[Any] = list(prompts)
    return [several] if several and all(isinstance(x, int) for x in several) else several


def _stderr() -> Any:
    from rich.console import Console

    return Console(file=sys.stderr)
