"""The numerics report: is trainer and sampler one policy, and do weights really move?

    python -m benchmarks.numerics                          # everything; parity takes as long as you let it
    python -m benchmarks.numerics --sections errors steps  # some of it

Sections, each of which writes a table to the screen and its numbers and pictures to the folder:

- parity: logprobs of sampled tokens, sampler against trainer, ours and transformers' (`benchmarks.parity`).
- errors: each precision's logprobs of a text against fp64, and transformers' beside them.
- steps: how far one optimizer step of size lr moves a logprob, and how many weights it changes, by optimizer.
- survival: a move that was trained in fp32, served in bf16: how much is left, for each way of training.
- tuning: a fixed small fine-tuning task under each optimizer: final loss, bytes a weight.
- optimizers: seconds of an optimizer's step over all weights, in turns.
- update: the audit (`rl.audit`) of one update towards a target under four precisions.
- latency: seconds from `optimizer.step()` to the first new token of the sampler.
"""

from __future__ import annotations

import gc
import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from benchmarks import parity, record
from benchmarks.generate import load_theirs
from benchmarks.record import RESULTS
from minillm import LLM, MinillmError, SamplingParams, Tokenizer, Transformer, load_model, token_logprobs
from minillm.checkpoint import hub
from minillm.checkpoint.durable import write_atomically
from minillm.checkpoint.hub import DEMO_MODEL
from rl.audit import Audit, Move
from rl.optim import BF16AdamW, bytes_per_parameter, make_optimizer

PROBES = (
    "The capital of France is Paris, and the capital of Italy is Rome.",
    "def add(a, b):\n    return a + b\n\nprint(add(2, 3))",
    "Water boils at one hundred degrees at sea level, and at less on a mountain.",
)
PROMPT = "def solve(grid):\n    rows = len(grid)\n    result = [row[::-1] for row in grid]\n    return"
GOAL = " result"
TASK = tuple(
    f"def solve(grid):\n    # {what}\n    result = {how}\n    return result"
    for what, how in (
        ("Turn every row around.", "[row[::-1] for row in grid]"),
        ("Turn the rows upside down.", "grid[::-1]"),
        ("Paint what is black in red.", "[[2 if c == 0 else c for c in row] for row in grid]"),
        ("Columns become rows.", "[list(row) for row in zip(*grid)]"),
    )
)
RATES = (1e-8, 1e-7, 1e-6, 1e-5, 1e-4)


@dataclass(frozen=True)
class Config:
    """Options of the report.

    Attributes:
        model: a folder, a Hugging Face hub id, or the packaged demo model.
        sections: parity, errors, steps, survival, tuning, optimizers, update, latency.
        parity_tokens: sampled tokens of ours, over fp32 and bf16.
        tuning_steps: optimizer steps of the fine-tuning task.
        seeds: of the fine-tuning task.
        folder: where the report is kept.
    """

    model: str = DEMO_MODEL
    sections: tuple[str, ...] = (
        "parity", "errors", "steps", "survival", "tuning", "optimizers", "update", "latency",
    )  # fmt: skip
    parity_tokens: int = 1_000_000
    tuning_steps: int = 64
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    folder: Path = RESULTS / "numerics"


@dataclass
class Sections:
    """Where sections leave what they found."""

    config: Config
    console: Console
    folder: Path
    tokenizer: Tokenizer
    done: dict[str, Any] = field(default_factory=dict)

    def load(self, precision: str) -> Transformer:
        """Load the model from its folder."""
        gc.collect()
        return load_model(self.folder, precision)

    @torch.no_grad()
    def load_to_train(self, precision: str) -> Transformer:
        """Load the model with weights that bfloat16 holds, as most checkpoints have; every way starts there.

        The demo model's own are float32, and one in twenty lies in the very middle between two bfloat16
        numbers: any step, however small, would round it to the other one.
        """
        model = self.load(precision)
        for p in model.parameters():
            p.copy_(p.bfloat16())
        return model

    def table(self, title: str, rows: list[dict[str, Any]]) -> None:
        """Show rows of one kind on the screen."""
        cells = [[f"{v:.4g}" if isinstance(v, float) else str(v) for v in row.values()] for row in rows]
        self.console.print(record.table(title, [name.replace("_", " ") for name in rows[0]], cells))

    def keep(self, section: str, rows: list[dict[str, Any]]) -> None:
        """Save a section's numbers in a file of its own: sections run one by one, too."""
        model = Path(self.config.model).name
        kept = {"section": section, "machine": record.machine(), "model": model, "rows": rows}
        text = json.dumps(kept, indent=1)
        write_atomically(self.config.folder / f"{section}.json", lambda path: path.write_text(text))

    def figure(self, name: str, draw: Callable[[Any], None], size: tuple[float, float] = (7, 4.5)) -> None:
        """Draw a picture; needs matplotlib."""
        try:
            from matplotlib.figure import Figure
        except ImportError:
            raise MinillmError("pictures need matplotlib: pip install -e '.[bench]'") from None
        figure = Figure(figsize=size, layout="constrained")
        draw(figure)
        write_atomically(
            self.config.folder / f"{name}.png", lambda path: figure.savefig(path, dpi=110, format="png")
        )


def run_parity(report: Sections) -> None:
    """Compare the sampler with the trainer: section (a)."""
    config = parity.Config(model=report.config.model, tokens=report.config.parity_tokens, save=False)
    rows = parity.summary(parity.ours(config, report.console), config, report.console)
    report.console.print(parity.table(rows))
    report.keep("parity", rows)
    if any(row["differing"] for row in rows if row["who"] == "minillm"):
        raise MinillmError(f"sampler and trainer differ: {[row.get('first') for row in rows]}")


@torch.no_grad()
def run_errors(report: Sections) -> None:
    """(b) Each precision's logprobs of a text, against fp64."""
    sequences = [report.tokenizer.encode(text) for text in (*PROBES, *TASK, parity.TEXT)]

    def flat(rows: Sequence[torch.Tensor]) -> torch.Tensor:
        return torch.cat(list(rows)).double()

    exact = flat(token_logprobs(report.load("fp64"), sequences))
    found: dict[str, torch.Tensor] = {}
    for precision in ("fp32", "fp32-attn-bf16", "bf16-master-fp32", "bf16", "int8", "int4"):
        found[f"minillm {precision}"] = flat(token_logprobs(report.load(precision), sequences))
    for precision in ("fp32", "bf16"):
        theirs = load_theirs(report.folder, precision)
        rows = []
        for ids in sequences:
            logprobs = torch.log_softmax(theirs(torch.tensor([ids])).logits[0, :-1].float(), dim=-1)
            rows.append(logprobs.gather(1, torch.tensor(ids[1:]).unsqueeze(1)).squeeze(1))
        found[f"transformers {precision}"] = flat(rows)
    rows = [
        {
            "way": name,
            "mean_error": (x - exact).abs().mean().item(),
            "largest_error": (x - exact).abs().max().item(),
            "mean_logprob": x.mean().item(),
        }
        for name, x in found.items()
    ]
    report.table(f"errors of {len(exact)} logprobs against fp64, in nats", rows)
    report.keep("errors", rows)

    def draw(figure: Any) -> None:
        axes = figure.subplots()
        names = list(found)[::-1]
        axes.barh(
            names,
            [float((found[n] - exact).abs().max()) for n in names],
            color="lightsteelblue",
            label="largest",
        )
        axes.barh(names, [float((found[n] - exact).abs().mean()) for n in names], height=0.4, label="mean")
        axes.set(xscale="log", xlabel="error of a logprob against fp64 (nats)")
        axes.legend()

    report.figure("errors", draw)


def target_ids(report: Sections) -> tuple[list[int], int]:
    """Choose a prefix, and a token that comes after it."""
    return report.tokenizer.encode(PROMPT), report.tokenizer.encode(GOAL)[0]


# Name, precision, and the optimizer of a model at a rate.
Way = tuple[str, str, Callable[[Transformer, float], torch.optim.Optimizer]]
WAYS: tuple[Way, ...] = (
    ("fp32, AdamW", "fp32", make_optimizer),
    ("bf16 with fp32 masters, AdamW", "bf16-master-fp32", make_optimizer),
    ("bf16, stochastic rounding", "bf16", make_optimizer),
    ("bf16, Kahan carry", "bf16", lambda model, lr: make_optimizer(model, lr, rounding="kahan")),
    (
        "bf16, to the nearest",
        "bf16",
        lambda model, lr: torch.optim.AdamW(model.parameters(), lr, weight_decay=0.0),
    ),
)


def pull(model: Transformer, prefix: list[int], token: int) -> float:
    """Gradients of minus the logprob of a token after a prefix; the logprob."""
    model.zero_grad()
    logprob = token_logprobs(model, [[*prefix, token]])[0][-1]
    (-logprob).backward()
    return logprob.item()


@torch.no_grad()
def logprob_of(model: Transformer, prefix: list[int], token: int) -> float:
    """Compute the trainer's logprob of a token after a prefix, which is the sampler's."""
    return token_logprobs(model, [[*prefix, token]])[0][-1].item()


@torch.no_grad()
def snapshot(model: Transformer) -> list[torch.Tensor]:
    """Copy all weights."""
    return [p.detach().clone() for p in model.parameters()]


@torch.no_grad()
def restore(model: Transformer, weights: list[torch.Tensor]) -> None:
    """Put the weights back as they were."""
    for p, w in zip(model.parameters(), weights, strict=True):
        p.copy_(w)


@torch.no_grad()
def changed(model: Transformer, weights: list[torch.Tensor]) -> tuple[float, float]:
    """Shares of weights that changed, in their own dtype and as they are served."""
    compute, count = model.precision.compute, sum(w.numel() for w in weights)
    own = served = 0
    for p, w in zip(model.parameters(), weights, strict=True):
        own += int((p != w).sum())
        served += int((p.to(compute) != w.to(compute)).sum())
    return own / count, served / count


def run_steps(report: Sections) -> None:
    """(c) One optimizer step of each size under each optimizer."""
    prefix, token = target_ids(report)
    rows: list[dict[str, Any]] = []
    for name, precision, make in WAYS:
        model = report.load_to_train(precision)
        start = snapshot(model)
        for lr in RATES:
            restore(model, start)
            before = pull(model, prefix, token)
            make(model, lr).step()
            own, served = changed(model, start)
            rows.append(
                {
                    "way": name,
                    "lr": lr,
                    "move": logprob_of(model, prefix, token) - before,
                    "weights_changed": own,
                    "changed_as_served": served,
                }
            )
            report.console.print(f"{name}, lr {lr:g}: {rows[-1]['move']:+.4g}")
        del model, start
    report.table("one optimizer step towards a token", rows)
    report.keep("steps", rows)

    def draw(figure: Any) -> None:
        left, right = figure.subplots(1, 2)
        for i, (name, *_) in enumerate(WAYS):
            mine = [row for row in rows if row["way"] == name]
            rates = [row["lr"] for row in mine]
            # Several lie on one another: the later ones are thinner.
            style = {"label": name, "markersize": 13 - 2.5 * i, "linewidth": 5 - i}
            left.plot(rates, [row["move"] for row in mine], "o-", **style)
            right.plot(rates, [100 * row["changed_as_served"] for row in mine], "o-", **style)
        left.set(xscale="log", xlabel="lr", ylabel="change of the logprob (nats)", title="one step's move")
        left.set_yscale("symlog", linthresh=1e-6)
        right.set(xscale="log", xlabel="lr", ylabel="% of weights", title="weights changed, as served")
        left.legend(fontsize=8)

    report.figure("steps", draw, (11, 4.5))


def run_survival(report: Sections, lr: float = 1e-6, steps: int = 4) -> None:
    """(d) A move that was trained at high precision, as it is served in bf16."""
    prefix, token = target_ids(report)
    rows = []
    for name, precision, make in WAYS[:4]:
        model = report.load_to_train(precision)
        served = model if model.precision.compute == torch.bfloat16 else model.at("bf16")
        exact = model.at("fp32")
        before, exact_before = (logprob_of(m, prefix, token) for m in (served, exact))
        optimizer = make(model, lr)
        for _ in range(steps):
            pull(model, prefix, token)
            optimizer.step()
        move = logprob_of(served, prefix, token) - before
        exact_move = logprob_of(exact, prefix, token) - exact_before
        rows.append(
            {
                "way": name + (", then served in bf16" if precision == "fp32" else ""),
                "move_in_float32": exact_move,
                "move_as_served_in_bf16": move,
                "survives": move / exact_move if exact_move else float("nan"),
            }
        )
        del model, served, exact, optimizer
    report.table(f"{steps} steps of lr {lr:g}: what is left in bf16", rows)
    report.keep("survival", rows)

    def draw(figure: Any) -> None:
        axes = figure.subplots()
        places = range(len(rows))
        axes.bar(
            [p - 0.2 for p in places],
            [row["move_in_float32"] for row in rows],
            0.4,
            label="weights in float32",
        )
        axes.bar(
            [p + 0.2 for p in places],
            [row["move_as_served_in_bf16"] for row in rows],
            0.4,
            label="as served in bf16",
        )
        axes.set_xticks(list(places), [row["way"].replace(", ", ",\n") for row in rows], fontsize=8)
        axes.set(ylabel="change of the logprob (nats)")
        axes.legend()

    report.figure("survival", draw, (9, 4.5))


def digits(report: Sections, count: int, generator: torch.Generator) -> list[list[int]]:
    """Texts of random digits: there is a least loss, and every run that learns comes to it."""
    drawn = torch.randint(10, (count, 12), generator=generator).tolist()
    return [report.tokenizer.encode("Random digits: " + ", ".join(map(str, row))) for row in drawn]


def run_tuning(report: Sections, lr: float = 5e-5) -> None:
    """Fine-tuning on texts of random digits: where each optimizer comes to, and what it costs."""
    held_out = digits(report, 8, torch.Generator().manual_seed(-1))
    rows: list[dict[str, Any]] = []
    for name, precision, make in WAYS:
        model = report.load_to_train(precision)
        start = snapshot(model)
        with torch.no_grad():
            first = -torch.cat(token_logprobs(model, held_out)).mean().item()
        for seed in report.config.seeds:
            restore(model, start)
            optimizer = make(model, lr)
            if isinstance(optimizer, BF16AdamW):
                optimizer.param_groups[0]["seed"] = seed
            generator = torch.Generator().manual_seed(seed)
            for _ in range(report.config.tuning_steps):
                model.zero_grad()
                (-torch.cat(token_logprobs(model, digits(report, 1, generator))).mean()).backward()
                optimizer.step()
            with torch.no_grad():
                loss = -torch.cat(token_logprobs(model, held_out)).mean().item()
            rows.append(
                {
                    "way": name,
                    "seed": seed,
                    "first_loss": first,
                    "final_loss": loss,
                    "bytes_per_weight": bytes_per_parameter(model, optimizer)["total"],
                }
            )
            report.console.print(f"{name}, seed {seed}: {first:.4f} -> {loss:.4f}")
            del optimizer
        del model, start
    masters = {row["seed"]: row["final_loss"] for row in rows if row["way"] == WAYS[1][0]}
    summary = []
    for name, *_ in WAYS:
        mine = [row for row in rows if row["way"] == name]
        summary.append(
            {
                "way": name,
                "first_loss": mine[0]["first_loss"],
                "final_loss": statistics.fmean(row["final_loss"] for row in mine),
                "largest_gap_to_masters": max(
                    (row["final_loss"] / masters[row["seed"]] - 1 for row in mine), key=abs
                ),
                "bytes_per_weight": mine[0]["bytes_per_weight"],
            }
        )
    report.table(
        f"fine-tuning: {report.config.tuning_steps} steps of lr {lr:g}, {len(masters)} seeds", summary
    )
    report.keep("tuning", [*summary, *rows])


def run_optimizers(report: Sections) -> None:
    """Time steps of each optimizer in turns, over weights of the model's size; seconds, medians of nine."""
    contenders: dict[str, torch.optim.Optimizer] = {}
    for name, precision, make in WAYS[:4]:
        model = report.load(precision)
        for p in model.parameters():
            p.grad = torch.full_like(p, 1e-4)
        contenders[name] = make(model, 1e-9)
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for i in range(10):
        for name, optimizer in contenders.items():
            begin = time.perf_counter()
            optimizer.step()
            if i:
                times[name].append(time.perf_counter() - begin)
    medians = {name: statistics.median(seconds) for name, seconds in times.items()}
    rows = [
        {"way": name, "step_seconds": seconds, "over_fused_fp32": seconds / medians[WAYS[0][0]]}
        for name, seconds in medians.items()
    ]
    report.table("an optimizer's step, in turns", rows)
    report.keep("optimizers", rows)


# Precisions of the audited update; bf16 rounds stochastically.
AUDITED = ("fp32", "fp32-attn-bf16", "bf16-master-fp32", "bf16")


def run_update(report: Sections, lr: float = 3e-6, steps: int = 3) -> None:
    """One update towards a target on one state, audited, under four precisions."""
    prefix, token = target_ids(report)
    rows = []
    for precision in AUDITED:
        model = report.load_to_train(precision)
        llm = LLM(model, kv_cache_memory_bytes=1 << 28)
        audit = Audit(llm, [report.tokenizer.encode(text) for text in PROBES])
        before = llm.next_token_logprobs([prefix])[0]
        # The token's logprob halves; the likeliest other one is watched.
        other = int(before.index_fill(0, torch.tensor(token), -torch.inf).argmax())
        target = before[token].item() / 2
        update = audit.begin([Move(prefix, token, target), Move(prefix, other)])
        optimizer = make_optimizer(model, lr)
        for step in range(steps):
            if logprob_of(model, prefix, token) >= target:
                break
            pull(model, prefix, token)
            if step == 0:
                update.gradients()
            optimizer.step()
        found = update.end()
        report.console.print(f"[bold]{precision}[/bold]")
        found.print(report.console)
        found.save(report.config.folder / f"update-{precision}")
        move = found.moves[0]
        rows.append(
            {
                "precision": precision,
                "before": move.before,
                "target": move.target,
                "trainer_after": move.trained,
                "sampler_after": move.sampled,
                "equal_bits": all(m.equal_bits for m in found.moves),
                "verdict": move.verdict,
                "weights_changed": found.touched,
                "as_served": found.changed,
                "drift_mean": found.drift.mean_absolute if found.drift else None,
                "drift_largest": found.drift.largest if found.drift else None,
            }
        )
        del model, llm, audit, update, optimizer
    report.table(f"one update (up to {steps} steps of lr {lr:g}) towards half a logprob", rows)
    report.keep("update", rows)


def run_latency(report: Sections, rounds: int = 7) -> None:
    """From `optimizer.step()` to the first new token, against a prefill of the prompt and a decode step."""
    prefix, token = target_ids(report)
    rows = []
    for precision in ("fp32", "bf16", "bf16-master-fp32"):
        model = report.load(precision)
        llm = LLM(model, kv_cache_memory_bytes=1 << 28)
        optimizer = make_optimizer(model, 1e-7)
        one, many = (SamplingParams(temperature=0, max_tokens=n, ignore_eos=True) for n in (1, 9))
        first, alone, decode = [], [], []
        addresses = [p.data_ptr() for p in model.parameters()]
        for i in range(rounds + 1):
            pull(model, prefix, token)
            optimizer.step()
            begin = time.perf_counter()
            llm.generate([prefix], one)
            middle = time.perf_counter()
            llm.reset_prefix_cache()
            llm.generate([prefix], one)
            end = time.perf_counter()
            llm.reset_prefix_cache()
            again = time.perf_counter()
            llm.generate([prefix], many)
            last = time.perf_counter()
            if i:
                first.append(middle - begin)
                alone.append(end - middle)
                decode.append((last - again - (end - middle)) / 8)
        assert addresses == [p.data_ptr() for p in model.parameters()]
        usual = statistics.median(alone) + statistics.median(decode)
        copies = sum(c.nbytes for p in model.parameters() for _, c in p.__dict__.get("_rounded", {}).values())
        rows.append(
            {
                "precision": precision,
                "first_token_ms": 1e3 * statistics.median(first),
                "prefill_ms": 1e3 * statistics.median(alone),
                "decode_step_ms": 1e3 * statistics.median(decode),
                "over_prefill_and_step": statistics.median(first) / usual,
                "bytes_copied_for_the_sampler": 0,
                "bytes_of_rounded_copies": copies,
            }
        )
        del model, llm, optimizer
    report.table(f"after an optimizer's step: the first token of {len(prefix)} + 1", rows)
    report.keep("latency", rows)


SECTIONS: dict[str, Callable[[Sections], Any]] = {
    "parity": run_parity,
    "errors": run_errors,
    "steps": run_steps,
    "survival": run_survival,
    "tuning": run_tuning,
    "optimizers": run_optimizers,
    "update": run_update,
    "latency": run_latency,
}


def run(config: Config, console: Console) -> int:
    """Run the sections; returns the exit status."""
    if unknown := [name for name in config.sections if name not in SECTIONS]:
        raise MinillmError(f"unknown section {unknown[0]!r}; there are {', '.join(SECTIONS)}")
    folder = hub.resolve(config.model)
    config.folder.mkdir(parents=True, exist_ok=True)
    report = Sections(config, console, folder, Tokenizer.from_folder(folder))
    for name in config.sections:
        console.rule(name)
        SECTIONS[name](report)
    console.print(f"kept in {config.folder}")
    return 0


if __name__ == "__main__":
    sys.exit(record.main(run, Config, __doc__))
