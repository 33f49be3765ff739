"""How fast does `LLM.generate` decode, next to transformers' `generate` and llama.cpp?

One process, one run: prompts of equal length, greedy decoding with a KV cache, ours and transformers'
in turns, so that whatever else the machine does falls on both. Every forward of either model is
time-stamped as it begins, so a step is all that lies between two of them: the forward, the logits,
the choice of a token, the bookkeeping. A figure is the median of all steps of all rounds.

    python -m benchmarks.generate                        # fp32 and bf16; batch 1, 16 and 64; rollouts
    python -m benchmarks.generate --precisions bf16 --batches 1 --rounds 3 --rollouts 0 --no-save

Rollouts are samples of one prompt at temperature 1, timed from the call to its end: what a reinforcement
learning step asks for. llama.cpp (`benchmarks.llamacpp`) joins at batch 1, if it is installed.

A step's shares are those of its kernels, run again and timed, and what is left of the step: Python, the
scheduler, the choice of a token.

What is left out of the batches: prefill. It is timed on the way, transformers' only once, since its bf16
prefill takes minutes on a CPU without bf16 instructions; its decoding then starts from copies of that KV
cache.

The floor of a step is the time to read the weights and the cached keys and values once, at the
bandwidth at which this machine reads a large tensor in the same minute, with the same threads.
"""

from __future__ import annotations

import copy
import gc
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from benchmarks import llamacpp, record
from kernels.cpu import attention as cpu_attention
from kernels.cpu import matmul as cpu_matmul
from kernels.cpu import pool
from minillm import LLM, MinillmError, SamplingParams, Transformer, load_model
from minillm.checkpoint import hub
from minillm.checkpoint.hub import DEMO_MODEL

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
# Larger than any cache, small enough to read in each round.
PROBE_BYTES = 1 << 28


@dataclass(frozen=True)
class Config:
    """Options of the benchmark.

    Attributes:
        model: a folder, a Hugging Face hub id, or the packaged demo model.
        precisions: fp32, bf16, or both.
        batches: numbers of sequences decoded at a time.
        prompt_tokens: length of each prompt, of random token ids.
        new_tokens: decode steps of a round.
        rounds: rounds of ours and of transformers', after a warm-up of each.
        rollouts: samples of one prompt; 0 for none.
        rollout_prompt_tokens: length of that prompt.
        rollout_rounds: rounds of them; transformers' first is the slowest part of the benchmark.
        threads: threads of both; None leaves torch's default.
        seed: of the prompts.
        save: keep the result in benchmarks/results/.
    """

    model: str = DEMO_MODEL
    precisions: tuple[str, ...] = ("fp32", "bf16")
    batches: tuple[int, ...] = (1, 16, 64)
    prompt_tokens: int = 256
    new_tokens: int = 32
    rounds: int = 5
    rollouts: int = 64
    rollout_prompt_tokens: int = 600
    rollout_rounds: int = 1
    threads: int | None = None
    seed: int = 0
    save: bool = True


@dataclass(frozen=True)
class Row:
    """One precision and batch size; times in seconds, rates in tokens a second over the whole batch.

    `ratio` is ours over transformers'. The low and high rates are those of the slowest and the fastest
    round's median step. `bandwidth` is in bytes a second. `over_floor` is our step's time over the
    floor's. `tokens_equal` is the share of sampled tokens in which the two agree; from their first
    difference on, two continuations are two texts. `llama_cpp` has llama.cpp's rate by its format. `shares`
    are parts of our step, which sum to one.
    """

    precision: str
    batch: int
    ours: float
    ours_low: float
    ours_high: float
    transformers: float
    transformers_low: float
    transformers_high: float
    ratio: float
    prefill_ours: float
    prefill_transformers: float
    bytes_per_step: int
    bandwidth: float
    floor: float
    over_floor: float
    tokens_equal: float
    llama_cpp: dict[str, float]
    shares: dict[str, float]


@dataclass(frozen=True)
class Rollouts:
    """Samples of one prompt, in sampled tokens a second over the whole call, prefill and all."""

    precision: str
    samples: int
    ours: float
    transformers: float
    ratio: float


@dataclass(frozen=True)
class Timing:
    """One run's forwards: the first (prefill) and the others (decode steps), in seconds."""

    prefill: float
    steps: list[float]
    tokens: list[list[int]]


@contextmanager
def forwards(model: torch.nn.Module) -> Iterator[list[float]]:
    """Note the times at which forwards of `model` begin."""
    times: list[float] = []
    handle = model.register_forward_pre_hook(lambda *_: times.append(time.perf_counter()))
    try:
        yield times
    finally:
        handle.remove()


def timing(begins: list[float], end: float, tokens: list[list[int]], forwards: int) -> Timing:
    """From the times at which forwards began and the last ended."""
    if len(begins) != forwards:
        raise MinillmError(f"expected {forwards} forwards, but saw {len(begins)}")
    times = [*begins, end]
    lengths = [after - before for before, after in pairwise(times)]
    return Timing(lengths[0], lengths[1:], tokens)


def _seconds(run: Callable[[], Any]) -> float:
    """Median of five."""
    lengths = []
    for _ in range(5):
        begin = time.perf_counter()
        run()
        lengths.append(time.perf_counter() - begin)
    return statistics.median(lengths)


class Ours:
    """`LLM.generate`, with a token budget that lets all prompts through in one forward."""

    def __init__(self, model: Transformer, prompts: list[list[int]], new_tokens: int) -> None:
        self.prompts, self.new_tokens = prompts, new_tokens
        total = len(prompts) * len(prompts[0])
        self.llm = LLM(
            model,
            max_num_seqs=len(prompts),
            max_num_batched_tokens=total,
            enable_prefix_caching=False,
        )
        # One token comes out of the prefill.
        self.params = SamplingParams(temperature=0.0, max_tokens=new_tokens + 1, ignore_eos=True)

    def run(self) -> Timing:
        """Prefill, then decode."""
        with forwards(self.llm.model) as begins:
            outputs = self.llm.generate(self.prompts, self.params)
            end = time.perf_counter()
        tokens = [output.outputs[0].token_ids for output in outputs]
        return timing(begins, end, tokens, self.new_tokens + 1)

    def shares(self, step: float) -> dict[str, float]:
        """Parts of a decode step of so many seconds: kernels run one by one, and the rest."""
        recorded = next(
            s for (B, _), s in self.llm._engine.decode_graphs._steps.items() if len(self.prompts) == B
        )
        assert recorded.recording is not None
        precision = self.llm.model.precision
        kinds = {
            cpu_matmul._kernel(precision.compute, precision.weights, precision.compute).address: "matmul",
            cpu_attention._kernel(precision.attention, precision.kv_cache, False, False).address: "attention",
        }
        times = {"matmul": 0.0, "attention": 0.0, "other kernels": 0.0}
        for job in recorded.recording._jobs:
            single = job[:]
            single[pool.NEXT] = 0
            times[kinds.get(job[0], "other kernels")] += _seconds(lambda single=single: pool.run(single))
        # By itself, again and again, a kernel finds its weights in a cache: the proportions are its own, the
        # sum is that of all together.
        scale = _seconds(recorded.recording.run) / sum(times.values())
        times = {kind: seconds * scale for kind, seconds in times.items()}
        times["matmul"] += _seconds(lambda: self.llm.model.logits(recorded.hidden_TC))
        shares = {kind: seconds / step for kind, seconds in times.items()}
        return {**shares, "Python and sampling": 1 - sum(shares.values())}


class Theirs:
    """transformers' `generate`, from a copy of the KV cache of one prefill."""

    def __init__(self, model: Any, prompts: list[list[int]], new_tokens: int) -> None:
        self.model, self.new_tokens = model, new_tokens
        prompt_BT = torch.tensor(prompts)
        begin = time.perf_counter()
        first = self._generate(prompt_BT, 1)
        self.prefill = time.perf_counter() - begin
        self.cache, self.first_BT = first.past_key_values, first.sequences

    @torch.inference_mode()
    def _generate(self, tokens_BT: torch.Tensor, count: int, **options: Any) -> Any:
        return self.model.generate(
            tokens_BT,
            attention_mask=torch.ones_like(tokens_BT),
            do_sample=False,
            max_new_tokens=count,
            use_cache=True,
            return_dict_in_generate=True,
            **options,
        )

    def run(self) -> Timing:
        """Decode; the prefill's time is that of the one there was."""
        cache = copy.deepcopy(self.cache)
        with forwards(self.model) as begins:
            output = self._generate(self.first_BT, self.new_tokens, past_key_values=cache)
            end = time.perf_counter()
        new_BT = output.sequences[:, -self.new_tokens - 1 :]
        # The first of these forwards decodes too.
        return timing([begins[0] - self.prefill, *begins], end, new_BT.tolist(), self.new_tokens + 1)


def read_bandwidth(probe: torch.Tensor) -> float:
    """Bytes a second at which torch sums a tensor larger than the caches."""
    begin = time.perf_counter()
    probe.sum()
    return probe.nbytes / (time.perf_counter() - begin)


def bytes_per_step(model: Transformer, batch: int, context: float) -> int:
    """Count what a decode step has to read: every weight once, and the keys and values of the context."""
    config = model.config
    weights = sum(parameter.nbytes for parameter in model.parameters())
    if not config.tie_word_embeddings:  # only the batch's own rows of an embedding are read
        weights -= config.vocab_size * config.hidden_size * model.precision.weights.itemsize
    entry = 2 * config.num_kv_heads * config.head_dim * model.precision.kv_cache.itemsize
    return weights + int(batch * context * config.num_layers * entry)


def load_theirs(folder: Path, precision: str) -> Any:
    """Load transformers' model, which samples as many tokens as it is asked for."""
    try:
        from transformers import AutoModelForCausalLM
        from transformers.utils import logging
    except ImportError:
        raise MinillmError("this needs transformers: pip install -e '.[bench]'") from None
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=DTYPES[precision])
    model.generation_config.eos_token_id = None
    model.generation_config.pad_token_id = 0
    return model.eval()


def measure(config: Config, console: Console) -> tuple[list[Row], list[Rollouts]]:
    """Measure a row for each precision and batch size, and for each precision's rollouts."""
    if unknown := set(config.precisions) - DTYPES.keys():
        raise MinillmError(f"unknown precision {sorted(unknown)[0]}; there are {', '.join(DTYPES)}")
    if min(config.rounds, config.new_tokens, config.prompt_tokens, *config.batches) < 1:
        raise MinillmError("rounds, new_tokens, prompt_tokens and batches must be at least 1")
    folder = hub.resolve(config.model)
    rows, rollouts = [], []
    for precision in config.precisions:
        ours, theirs = load_model(folder, precision), load_theirs(folder, precision)
        for batch in config.batches:
            console.print(f"{precision}, batch {batch} ...")
            rows.append(measure_one(config, ours, theirs, precision, batch, folder))
            gc.collect()
        if config.rollouts:
            console.print(f"{precision}, {config.rollouts} rollouts ...")
            rollouts.append(measure_rollouts(config, ours, theirs, precision))
        del ours, theirs
        gc.collect()
    return rows, rollouts


@torch.inference_mode()
def _their_rollouts(model: Any, prompt_1T: torch.Tensor, config: Config) -> None:
    """As a careful user would have it: the prompt once, its cache for each sample."""
    options = {"do_sample": True, "top_k": 0, "return_dict_in_generate": True}
    ones = torch.ones_like(prompt_1T)
    first = model.generate(prompt_1T, attention_mask=ones, max_new_tokens=1, **options)
    first.past_key_values.batch_repeat_interleave(config.rollouts)
    tokens = first.sequences.expand(config.rollouts, -1).contiguous()
    model.generate(
        tokens,
        attention_mask=torch.ones_like(tokens),
        past_key_values=first.past_key_values,
        max_new_tokens=config.new_tokens - 1,
        **options,
    )


def measure_rollouts(config: Config, model: Transformer, their_model: Any, precision: str) -> Rollouts:
    """Time samples of one prompt by either, whole calls in turns, after a warm-up of ours."""
    generator = torch.Generator().manual_seed(config.seed)
    prompt_T = torch.randint(model.config.vocab_size, (config.rollout_prompt_tokens,), generator=generator)
    llm = LLM(model, max_num_seqs=config.rollouts)
    params = SamplingParams(n=config.rollouts, max_tokens=config.new_tokens, ignore_eos=True, logprobs=0)
    mine, yours = [], []
    for i in range(config.rollout_rounds + 1):
        llm.reset_prefix_cache()
        begin = time.perf_counter()
        llm.generate([prompt_T.tolist()], params)
        mine.append(time.perf_counter() - begin)
        if i:
            begin = time.perf_counter()
            _their_rollouts(their_model, prompt_T.unsqueeze(0), config)
            yours.append(time.perf_counter() - begin)
    tokens = config.rollouts * config.new_tokens
    ours, theirs = (tokens / statistics.median(times) for times in (mine[1:], yours))
    return Rollouts(precision, config.rollouts, ours, theirs, ours / theirs)


def measure_one(
    config: Config, model: Transformer, their_model: Any, precision: str, batch: int, folder: Path
) -> Row:
    """Time rounds of ours, theirs, llama.cpp's and the bandwidth, in turns, after a warm-up of each."""
    generator = torch.Generator().manual_seed(config.seed)
    shape = (batch, config.prompt_tokens)
    prompts = torch.randint(model.config.vocab_size, shape, generator=generator).tolist()
    probe = torch.ones(PROBE_BYTES // 4)
    ours = Ours(model, prompts, config.new_tokens)
    theirs = Theirs(their_model, prompts, config.new_tokens)
    ours.run()
    theirs.run()
    read_bandwidth(probe)
    peers: dict[str, llamacpp.LlamaCpp] = {}
    if batch == 1 and llamacpp.available():
        for form in llamacpp.FORMATS[precision]:
            with tempfile.TemporaryDirectory() as temporary:
                path = Path(temporary) / "model.gguf"
                llamacpp.write_gguf(folder, path, form)
                peers[form] = llamacpp.LlamaCpp(path, prompts[0], config.new_tokens, torch.get_num_threads())
                peers[form].run()  # and the file is read
    peer_steps: dict[str, list[float]] = {form: [] for form in peers}
    our_runs: list[Timing] = []
    their_runs: list[Timing] = []
    bandwidths: list[float] = []
    for _ in range(config.rounds):
        our_runs.append(ours.run())
        their_runs.append(theirs.run())
        bandwidths.extend(read_bandwidth(probe) for _ in range(3))
        for form, peer in peers.items():
            peer_steps[form] += peer.run()[0]

    def rates(runs: list[Timing]) -> tuple[float, float, float]:
        rounds = [batch / statistics.median(run.steps) for run in runs]
        steps = [step for run in runs for step in run.steps]
        return batch / statistics.median(steps), min(rounds), max(rounds)

    our_rates, their_rates = rates(our_runs), rates(their_runs)
    bandwidth = statistics.median(bandwidths)
    context = config.prompt_tokens + (config.new_tokens + 1) / 2
    size = bytes_per_step(model, batch, context)
    floor = batch * bandwidth / size
    pairs = [
        pair
        for mine, yours in zip(our_runs[0].tokens, their_runs[0].tokens, strict=True)
        for pair in zip(mine, yours, strict=True)
    ]
    return Row(
        precision,
        batch,
        *our_rates,
        *their_rates,
        ratio=our_rates[0] / their_rates[0],
        prefill_ours=statistics.median(run.prefill for run in our_runs),
        prefill_transformers=theirs.prefill,
        bytes_per_step=size,
        bandwidth=bandwidth,
        floor=floor,
        over_floor=floor / our_rates[0],
        tokens_equal=statistics.fmean(mine == yours for mine, yours in pairs),
        llama_cpp={form: 1 / statistics.median(steps) for form, steps in peer_steps.items()},
        shares=ours.shares(batch / our_rates[0]),
    )


def table(rows: list[Row], config: Config) -> Table:
    """Print what was measured, a row a precision and batch size."""
    title = (
        f"decode, tokens/s: prompts of {config.prompt_tokens}, {config.new_tokens} steps, medians "
        f"of {config.rounds} rounds (slowest to fastest round)"
    )
    names = ("precision", "batch", "ours", "transformers", "ratio", "llama.cpp", "MB/step", "GB/s", "floor")
    cells = [
        (
            row.precision,
            str(row.batch),
            f"{row.ours:.1f} ({row.ours_low:.1f} to {row.ours_high:.1f})",
            f"{row.transformers:.1f} ({row.transformers_low:.1f} to {row.transformers_high:.1f})",
            f"{row.ratio:.2f}x",
            ", ".join(f"{form} {rate:.1f}" for form, rate in row.llama_cpp.items()),
            f"{row.bytes_per_step / 1e6:.0f}",
            f"{row.bandwidth / 1e9:.1f}",
            f"{row.floor:.1f}",
            f"{row.over_floor:.2f}x",
            f"{row.shares['Python and sampling']:.0%}",
        )
        for row in rows
    ]
    return record.table(title, (*names, "time over floor", "Python"), cells, left=2)


def run(config: Config, console: Console) -> int:
    """Measure, print and save; returns the exit status."""
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    rows, rollouts = measure(config, console)
    found = record.machine()
    console.print(", ".join(f"{key} {value}" for key, value in found.items()), highlight=False)
    console.print(table(rows, config))
    for row in rows:
        shares = ", ".join(f"{kind} {share:.1%}" for kind, share in row.shares.items())
        console.print(f"{row.precision}, batch {row.batch}: {shares}")
    for one in rollouts:
        sizes = f"{one.samples} rollouts of {config.rollout_prompt_tokens} + {config.new_tokens} tokens"
        rates = f"{one.ours:.1f} against {one.transformers:.1f} tokens/s, {one.ratio:.2f}x"
        console.print(f"{one.precision}, {sizes}: {rates}")
    each = {"rows": [asdict(row) for row in rows], "rollouts": [asdict(row) for row in rollouts]}
    record.finish(console, "generate", config, **each)
    return 0


if __name__ == "__main__":
    sys.exit(record.main(run, Config, __doc__))
