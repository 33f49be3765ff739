"""Do sampler and trainer agree bit for bit, over a million sampled tokens? And transformers' two paths?

Ours: rounds of sampling from a live model, each with another number of sequences, size of chunks, number of
forks, size of the KV cache and temperature; every sampled token's logprob is then compared with what the
trainer's forward says of it (`minillm.parity`). Each round is a line of parity.jsonl as soon as it is done,
and a run that was stopped goes on where it was.

transformers': logprobs from `generate` with its KV cache, against its forward over the same sequences.

    python -m benchmarks.parity                                   # about 1.5 hours on two cores
    python -m benchmarks.parity --tokens 20000 --precisions bf16

Exit status 1 where any token of ours differs; the first is named.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from benchmarks import record
from benchmarks.generate import DTYPES, load_theirs
from benchmarks.record import RESULTS
from minillm import LLM, MinillmError, RequestOutput, SamplingParams, Tokenizer, Transformer, load_model
from minillm.checkpoint import hub
from minillm.checkpoint.hub import DEMO_MODEL
from minillm.model.batch import PAGE_SIZE
from minillm.model.kv_cache import KVCache
from minillm.parity import Parity, compare, probe

TEXT = """A transformation turns an input grid into an output grid. Count the coloured cells of every row,
find the largest connected shape, and paint its border. def solve(grid): rows = len(grid); return [row[::-1]
for row in grid] The capital of France is Paris, which lies on the river Seine. In 1905 a clerk in Bern wrote
four papers. for i in range(10): print(i * i) Once upon a time a fox met a crow with a piece of cheese."""


@dataclass(frozen=True)
class Setting:
    """One way to sample: `samples` of each of `prompts` prompts, in steps of at most `chunk` tokens.

    `room` is the KV cache's size as a share of what all sequences want at their end: below 1, some are
    preempted.
    """

    name: str
    prompts: int
    samples: int
    new_tokens: int
    chunk: int = 2048
    temperature: float = 1.0
    room: float = 1.5
    prefix_cache: bool = True


# Weighed by the tokens that each brings in a round: most come from large batches, which sample them fastest.
SETTINGS = (
    Setting("alone", 1, 1, 400),
    Setting("alone, in chunks of 16", 1, 1, 400, chunk=16, temperature=0.7),
    Setting("batch 16", 16, 1, 100, temperature=0.7),
    Setting("batch 16, in chunks of 64, no prefix cache", 16, 1, 100, chunk=64, prefix_cache=False),
    Setting("64 forks of one prompt", 1, 64, 100),
    Setting("batch 64, preempted", 16, 4, 100, chunk=256, room=0.6),
    Setting("batch 256", 256, 1, 50, chunk=512),
    Setting("batch 256, forked and preempted", 16, 16, 120, room=0.7),
    Setting("batch 256, forked", 32, 8, 120, temperature=1.3),
)


@dataclass(frozen=True)
class Config:
    """Options of the benchmark.

    Attributes:
        model: a folder, a Hugging Face hub id, or the packaged demo model.
        precisions: that are compared, by turns.
        tokens: sampled tokens of ours, over all precisions.
        their_tokens: sampled tokens of transformers' at each batch size in fp32 and bf16; 0 for none.
        folder: where parity.jsonl is kept, and gone on with.
        seed: of prompts and draws.
        save: keep the summary in benchmarks/results/.
    """

    model: str = DEMO_MODEL
    precisions: tuple[str, ...] = ("fp32", "bf16")
    tokens: int = 1_000_000
    their_tokens: int = 512
    folder: Path = RESULTS / "parity"
    seed: int = 0
    save: bool = True


def rounds(config: Config) -> Iterator[tuple[int, str, Setting]]:
    """Endlessly: number, precision and setting of a round."""
    number = 0
    while True:
        for setting in SETTINGS:
            for precision in config.precisions:
                yield number, precision, setting
                number += 1


def prompts_of(tokens: list[int], setting: Setting, seed: int) -> list[list[int]]:
    """Pieces of a text of 5 to 40 tokens, some of which start alike."""
    generator = torch.Generator().manual_seed(seed)
    found = []
    for i in range(setting.prompts):
        start, length = (int(torch.randint(most, (), generator=generator)) for most in (len(tokens) - 40, 36))
        start = start if i % 3 else 0
        found.append(tokens[start : start + 5 + length])
    return found


def sample(model: Transformer, tokens: list[int], setting: Setting, seed: int) -> list[RequestOutput]:
    """One round of sampling, by a sampler of its own."""
    prompts = prompts_of(tokens, setting, seed)
    sequences = setting.prompts * setting.samples
    pages = sum(-(-(len(p) + setting.new_tokens) // PAGE_SIZE) for p in prompts) * setting.samples
    page_bytes = KVCache.page_bytes(model.config, model.precision)
    llm = LLM(
        model,
        max_num_seqs=sequences,
        max_num_batched_tokens=setting.chunk,
        kv_cache_memory_bytes=max(8, int(pages * setting.room)) * page_bytes,
        enable_prefix_caching=setting.prefix_cache,
    )
    params = [
        SamplingParams(
            n=setting.samples,
            temperature=setting.temperature,
            seed=seed + i,
            max_tokens=setting.new_tokens,
            logprobs=0,
            ignore_eos=True,
        )
        for i in range(setting.prompts)
    ]
    outputs = llm.generate(prompts, params)
    wrong = [c.stop_reason for o in outputs for c in o.outputs if len(c.token_ids) != setting.new_tokens]
    if wrong:
        raise MinillmError(f"{len(wrong)} samples of {setting.name!r} are not whole: {wrong[0]}")
    return outputs


def preemptions(outputs: list[RequestOutput]) -> int:
    """How often samples were preempted."""
    return sum(output.metrics.preemptions for output in outputs if output.metrics is not None)


def ours(config: Config, console: Console) -> list[dict[str, Any]]:
    """Run rounds until there are tokens enough, those of an earlier run included."""
    folder = hub.resolve(config.model)
    tokens = Tokenizer.from_folder(folder).encode(TEXT)
    config.folder.mkdir(parents=True, exist_ok=True)
    path = config.folder / "parity.jsonl"
    done = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    total = sum(line["tokens"] for line in done)
    models = {}
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed:.0f} tokens"))
    with Progress(*columns, TimeElapsedColumn(), TimeRemainingColumn(), console=console) as progress:
        task = progress.add_task("", total=config.tokens, completed=total)
        for number, precision, setting in rounds(config):
            if total >= config.tokens:
                break
            if number < len(done):
                if (done[number]["precision"], done[number]["setting"]["name"]) != (precision, setting.name):
                    raise MinillmError(f"{path} holds rounds of other options; give another --folder")
                continue
            if precision not in models:
                models[precision] = load_model(folder, precision)
                console.print(f"{precision}: {probe(models[precision])}")
            progress.update(task, description=f"{precision}, {setting.name}")
            begin = time.perf_counter()
            outputs = sample(models[precision], tokens, setting, config.seed + 1000 * number)
            middle = time.perf_counter()
            parity = compare(models[precision], outputs, setting.temperature)
            end = time.perf_counter()
            line = {
                "precision": precision,
                "setting": asdict(setting),
                "tokens": parity.tokens,
                "differing": parity.differing,
                "bits": parity.bits,
                "largest": parity.largest,
                "mean": parity.mean,
                "first": None if parity.first is None else str(parity.first),
                "preemptions": preemptions(outputs),
                "sampling_seconds": middle - begin,
                "training_seconds": end - middle,
            }
            with path.open("a") as file:
                file.write(json.dumps(line) + "\n")
            done.append(line)
            total += parity.tokens
            progress.update(task, completed=total)
    return done


@torch.inference_mode()
def theirs(config: Config, precision: str, batch: int) -> Parity:
    """Compare transformers' logprobs of what its `generate` sampled with its forward over the same tokens."""
    model = load_theirs(hub.resolve(config.model), precision)
    tokens = Tokenizer.from_folder(hub.resolve(config.model)).encode(TEXT)
    torch.manual_seed(config.seed)
    count = max(1, config.their_tokens // batch)
    # Of one length, so that no padding enters.
    prompt_BT = torch.tensor([tokens[3 * i : 3 * i + 32] for i in range(batch)])
    output = model.generate(
        prompt_BT,
        attention_mask=torch.ones_like(prompt_BT),
        do_sample=True,
        top_k=0,
        max_new_tokens=count,
        output_logits=True,
        return_dict_in_generate=True,
    )
    whole_BT = output.sequences
    sampled_BTV = torch.log_softmax(torch.stack(output.logits, dim=1).float(), dim=-1)
    forward_BTV = torch.log_softmax(model(whole_BT).logits[:, 31:-1].float(), dim=-1)
    parity = Parity()
    for b in range(batch):
        new_T1 = whole_BT[b, 32:].unsqueeze(1)
        sampled, trained = (x[b].gather(1, new_T1).squeeze(1) for x in (sampled_BTV, forward_BTV))
        parity.add(new_T1.flatten().tolist(), sampled, trained)
    return parity


def summary(lines: list[dict[str, Any]], config: Config, console: Console) -> list[dict[str, Any]]:
    """Measure a row for each precision of ours, and for each precision and batch size of transformers'."""
    found = []
    for precision in config.precisions:
        mine = [line for line in lines if line["precision"] == precision]
        tokens = sum(line["tokens"] for line in mine)
        found.append(
            {
                "who": "minillm",
                "precision": precision,
                "batch": "1 to 256",
                "tokens": tokens,
                "differing": sum(line["differing"] for line in mine),
                "bits": sum(line["bits"] for line in mine),
                "largest": max((line["largest"] for line in mine), default=0.0),
                "mean": sum(line["mean"] * line["tokens"] for line in mine) / max(1, tokens),
                "preemptions": sum(line["preemptions"] for line in mine),
                "first": next((line["first"] for line in mine if line["first"]), None),
            }
        )
    for precision in [p for p in config.precisions if p in DTYPES] if config.their_tokens else []:
        for batch in (1, 16):
            console.print(f"transformers, {precision}, batch {batch} ...")
            parity = theirs(config, precision, batch)
            row = {"who": "transformers", "precision": precision, "batch": str(batch)}
            numbers = ("tokens", "differing", "bits", "largest", "mean")
            found.append({**row, **{name: getattr(parity, name) for name in numbers}})
    return found


def table(rows: list[dict[str, Any]]) -> Table:
    """Print what was found, a row a path."""
    names = ("", "precision", "batch", "tokens", "that differ", "bits that differ", "largest gap", "mean gap")
    cells = [
        (
            row["who"],
            row["precision"],
            row["batch"],
            f"{row['tokens']:,}",
            f"{row['differing']:,} ({row['differing'] / max(1, row['tokens']):.1%})",
            f"{row['bits']:,}",
            f"{row['largest']:.2g}",
            f"{row['mean']:.2g}",
        )
        for row in rows
    ]
    return record.table("logprobs: sampler against trainer", names, cells, left=2)


def run(config: Config, console: Console) -> int:
    """Measure, print and save; returns the exit status: 1 where sampler and trainer differ."""
    rows = summary(ours(config, console), config, console)
    console.print(table(rows))
    differing = [row for row in rows if row["who"] == "minillm" and row["differing"]]
    for row in differing:
        console.print(f"{row['precision']}: first {row['first']}")
    record.finish(console, "parity", replace(config, folder=Path(config.folder.name)), rows=rows)
    return 1 if differing else 0


if __name__ == "__main__":
    sys.exit(record.main(run, Config, __doc__))
