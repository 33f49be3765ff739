"""What do weights of 8 and 4 bits cost in exactness, and gain in size and speed, next to bf16?

Exactness: each precision's next-token distributions over a text, against those of fp32 (`--text FILE` for
a text of one's own; the default is this repository's golden ARC solutions, which are Python). Speed:
decode steps of `LLM.generate`, all precisions in turns, as in `benchmarks.generate`.

    python -m benchmarks.quantized
    python -m benchmarks.quantized --model FOLDER --text FILE --batches 1 --no-save

The demo model was itself once rounded to 4 bits by whoever packed it (Q4_1, groups of 32): its weights
sit on a grid of their own, and rounding them again is another loss, not the first.
"""

from __future__ import annotations

import gc
import statistics
import sys
from dataclasses import dataclass
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from benchmarks import record
from benchmarks.generate import Ours
from minillm import MinillmError, Tokenizer, Transformer, load_model
from minillm.checkpoint import hub
from minillm.checkpoint.hub import DEMO_MODEL
from minillm.model.batch import Batch
from minillm.model.logprobs import logprobs

GOLDEN = Path(__file__).parents[1] / "arc" / "golden"
BASE = "bf16"


@dataclass(frozen=True)
class Config:
    """Options of the benchmark.

    Attributes:
        model: a folder, a Hugging Face hub id, or the packaged demo model.
        precisions: compared with fp32 in exactness, with bf16 in speed.
        text: a UTF-8 file; None for the golden solutions.
        tokens: of the text that are looked at, in sequences of `window`.
        window: length of a sequence.
        batches: numbers of sequences decoded at a time.
        prompt_tokens: length of each prompt, of random token ids.
        new_tokens: decode steps of a round.
        rounds: rounds of each precision, in turns, after a warm-up of each.
        save: keep the result in benchmarks/results/.
    """

    model: str = DEMO_MODEL
    precisions: tuple[str, ...] = ("bf16", "int8", "int4")
    text: Path | None = None
    tokens: int = 4096
    window: int = 512
    batches: tuple[int, ...] = (1, 16)
    prompt_tokens: int = 256
    new_tokens: int = 32
    rounds: int = 5
    save: bool = True


@torch.no_grad()
def distributions(model: Transformer, windows: list[list[int]]) -> torch.Tensor:
    """Logprobs of every next token of each window, (rows, V) in float32."""
    parts = []
    for ids in windows:
        hidden = model(torch.tensor(ids[:-1]), Batch.packed([len(ids) - 1]))
        parts.append(logprobs(model.logits(hidden)))
    return torch.cat(parts)


def read_windows(config: Config, folder: Path) -> list[list[int]]:
    """Read the text as sequences of token ids."""
    files = [config.text] if config.text is not None else sorted(GOLDEN.glob("*.py"))
    text = "\n\n".join(path.read_text(encoding="utf-8") for path in files)
    ids = Tokenizer.from_folder(folder).encode(text)[: config.tokens]
    windows = [ids[i : i + config.window] for i in range(0, len(ids) - 1, config.window)]
    if not windows:
        raise MinillmError("the text is shorter than two tokens")
    return windows


def exactness(found: torch.Tensor, exact: torch.Tensor, target_R: torch.Tensor) -> dict[str, float]:
    """How far a precision's distributions are from fp32's."""
    kl_R = (exact.exp() * (exact - found)).sum(1)
    return {
        "loss": -found.gather(1, target_R.unsqueeze(1)).mean().item(),
        "loss_fp32": -exact.gather(1, target_R.unsqueeze(1)).mean().item(),
        "kl_mean": kl_R.mean().item(),
        "kl_largest": kl_R.max().item(),
        "same_top_token": (found.argmax(1) == exact.argmax(1)).float().mean().item(),
    }


def measure(config: Config, console: Console) -> list[dict[str, float | str]]:
    """Measure a row for each precision."""
    folder = hub.resolve(config.model)
    windows = read_windows(config, folder)
    target_R = torch.tensor([token for ids in windows for token in ids[1:]])
    console.print(f"fp32 over {len(target_R)} tokens ...")
    exact = distributions(load_model(folder, "fp32"), windows)
    gc.collect()
    rows: dict[str, dict[str, float | str]] = {}
    models = {name: load_model(folder, name) for name in config.precisions}
    for name, model in models.items():
        console.print(f"{name} ...")
        size = sum(parameter.nbytes for parameter in model.parameters())
        found = exactness(distributions(model, windows), exact, target_R)
        rows[name] = {"precision": name, "megabytes": size / 1e6, **found}
    del exact
    for batch in config.batches:
        console.print(f"decoding, batch {batch} ...")
        generator = torch.Generator().manual_seed(0)
        vocabulary = next(iter(models.values())).config.vocab_size
        prompts = torch.randint(vocabulary, (batch, config.prompt_tokens), generator=generator).tolist()
        runners = {name: Ours(model, prompts, config.new_tokens) for name, model in models.items()}
        steps: dict[str, list[float]] = {name: [] for name in runners}
        for turn in range(config.rounds + 1):
            for name, runner in runners.items():
                taken = runner.run().steps
                steps[name] += taken if turn else []
        for name in runners:
            rows[name][f"tokens_per_s_{batch}"] = batch / statistics.median(steps[name])
    return list(rows.values())


def table(rows: list[dict[str, float | str]], config: Config) -> Table:
    """Print what was measured, a row a precision."""
    names = ["precision", "MB", "loss (fp32)", "mean KL", "largest KL", "same top token"]
    lines = []
    for row in rows:
        cells = [str(row["precision"]), f"{row['megabytes']:.0f}"]
        cells += [f"{row['loss']:.4f} ({row['loss_fp32']:.4f})", f"{row['kl_mean']:.5f}"]
        cells += [f"{row['kl_largest']:.3f}", f"{row['same_top_token']:.1%}"]
        for batch in config.batches:
            key = f"tokens_per_s_{batch}"
            base = next((float(r[key]) for r in rows if r["precision"] == BASE), None)
            ratio = "" if base is None else f" ({float(row[key]) / base:.2f}x)"
            cells.append(f"{float(row[key]):.1f}{ratio}")
        lines.append(cells)
    names += [f"tokens/s, batch {batch}" for batch in config.batches]
    return record.table("weights of fewer bits: exactness against fp32, speed", names, lines)


def run(config: Config, console: Console) -> int:
    """Measure, print and save; returns the exit status."""
    rows = measure(config, console)
    console.print(table(rows, config))
    record.finish(console, "quantized", config, rows=rows)
    return 0


if __name__ == "__main__":
    sys.exit(record.main(run, Config, __doc__))
