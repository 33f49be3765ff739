"""What a step of single-token learning costs: training, rollouts, and where a run's time goes.

- training: one optimizer step on a state with 64 actions, against one of supervised fine-tuning on the same
  tokens, in turns.
- rollouts: 64 completions of one prefix, as forks of our sampler, against 64 calls of transformers'
  `generate`, each for one; both in turns, theirs counted up from the first few.
- shares: seconds of a short run on ARC tasks in rollouts, rewards, training and checks.

    python -m benchmarks.rl_step
    python -m benchmarks.rl_step --precision bf16 --rounds 3
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from arc.train_options import Config as ArcConfig
from arc.training import train
from benchmarks import record
from benchmarks.generate import load_theirs
from minillm import LLM, SamplingParams, Tokenizer, load_model, token_logprobs
from minillm.checkpoint import hub
from minillm.checkpoint.hub import DEMO_MODEL
from rl.metrics import read_metrics
from rl.trainable import Trainable
from rl.update import Pull, pull


@dataclass(frozen=True)
class Config:
    """Options of the benchmark.

    Attributes:
        model: a folder, a Hugging Face hub id, or the packaged demo model.
        precision: fp32 or bf16.
        prefix_tokens: of the state.
        actions: of the state.
        forks: completions of it.
        new_tokens: of each completion.
        their_calls: of transformers' that are timed in a round; the others are taken to be as fast.
        rounds: whose median counts.
        iterations: of the short run; 0 for none.
        save: keep the figures in benchmarks/results/.
    """

    model: str = DEMO_MODEL
    precision: str = "fp32"
    prefix_tokens: int = 384
    actions: int = 64
    forks: int = 64
    new_tokens: int = 16
    their_calls: int = 4
    rounds: int = 5
    iterations: int = 2
    save: bool = True


def in_turns(rounds: int, *calls: Callable[[], Any]) -> list[float]:
    """Seconds of each call, medians of `rounds` in turns after one that does not count."""
    times: list[list[float]] = [[] for _ in calls]
    for i in range(rounds + 1):
        for own, call in zip(times, calls, strict=True):
            begin = time.perf_counter()
            call()
            if i:
                own.append(time.perf_counter() - begin)
    return [statistics.median(own) for own in times]


def measure_training(config: Config, folder: Path, prefix: list[int]) -> dict[str, float]:
    """Medians of a step on 64 actions and one of fine-tuning, in turns, and their ratio."""
    trainable = Trainable(load_model(folder, config.precision), folder)
    optimizer = trainable.optimizer(1e-9)
    golden = [*prefix, 1]
    pulls = [Pull(prefix, 100 + token, -20.0, -10.0) for token in range(config.actions)]

    def ours() -> None:
        trainable.forget_gradients()
        pull(trainable, pulls, tolerance=0.0, batch_tokens=len(golden), backward=True)
        optimizer.step()

    def fine_tuning() -> None:
        trainable.forget_gradients()
        (-token_logprobs(trainable.model, [golden])[0].mean()).backward()
        optimizer.step()

    mine, theirs = in_turns(config.rounds, ours, fine_tuning)
    return {"seconds": mine, "fine_tuning_seconds": theirs, "ratio": mine / theirs}


def measure_rollouts(config: Config, folder: Path, prefix: list[int]) -> dict[str, float]:
    """Medians of 64 forks, and of 64 calls of transformers', in turns, and how much faster the forks are."""
    llm = LLM(load_model(folder, config.precision), max_num_seqs=config.forks)
    theirs = load_theirs(folder, config.precision)
    prompt_1T = torch.tensor([prefix])
    params = SamplingParams(
        n=config.forks, temperature=1.0, max_tokens=config.new_tokens, ignore_eos=True, logprobs=0, seed=0
    )

    def forks() -> None:
        llm.reset_prefix_cache()
        llm.generate([prefix], params)

    @torch.inference_mode()
    def calls() -> None:
        for _ in range(config.their_calls):
            theirs.generate(
                prompt_1T,
                attention_mask=torch.ones_like(prompt_1T),
                do_sample=True,
                top_k=0,
                max_new_tokens=config.new_tokens,
                min_new_tokens=config.new_tokens,
            )

    mine, several = in_turns(config.rounds, forks, calls)
    one = several / config.their_calls
    return {"seconds": mine, "transformers_seconds": one * config.forks, "ratio": one * config.forks / mine}


def measure_shares(config: Config, console: Console) -> dict[str, float]:
    """Shares of a run's iterations: rollouts, rewards, training, checks, saving."""
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        train(
            ArcConfig(config.model, run=run, iterations=config.iterations, precision=config.precision),
            console,
        )
        lines = [line for line in read_metrics(run) if "seconds/training" in line]
    spent: dict[str, float] = {}
    for line in lines:
        for name, value in line.items():
            if name.startswith("seconds/"):
                spent[name.removeprefix("seconds/")] = spent.get(name.removeprefix("seconds/"), 0.0) + value
    whole = sum(spent.values())
    return {name: value / whole for name, value in spent.items()}


def run(config: Config, console: Console) -> int:
    """Measure, print and save; returns the exit status."""
    folder = hub.resolve(config.model)
    text = "A transformation turns an input grid into an output grid. " * (config.prefix_tokens // 4)
    prefix = Tokenizer.from_folder(folder).encode(text)[: config.prefix_tokens]
    training = measure_training(config, folder, prefix)
    rollouts = measure_rollouts(config, folder, prefix)
    shares = measure_shares(config, console) if config.iterations else {}
    rows = [
        (
            f"a step on {config.actions} actions, against one of fine-tuning",
            f"{training['seconds']:.2f} s",
            f"{training['fine_tuning_seconds']:.2f} s",
            f"{training['ratio']:.2f}x the time",
        ),
        (
            f"{config.forks} completions of {config.new_tokens} tokens, against transformers' calls",
            f"{rollouts['seconds']:.2f} s",
            f"{rollouts['transformers_seconds']:.1f} s",
            f"{rollouts['ratio']:.1f}x as fast",
        ),
    ]
    title = f"{config.precision}, a prefix of {len(prefix)} tokens, medians of {config.rounds}"
    console.print(record.table(title, ("", "ours", "against", "ratio"), rows))
    if shares:
        said = ", ".join(f"{name} {share:.0%}" for name, share in shares.items())
        console.print(f"a run's time, {config.iterations} iterations on three tasks: {said}")
    record.finish(console, "rl-step", config, training=training, rollouts=rollouts, shares=shares)
    return 0


if __name__ == "__main__":
    sys.exit(record.main(run, Config, __doc__))
