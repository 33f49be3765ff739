"""How long does loading a checkpoint take, next to reading its tensors with `safetensors` alone?

A checkpoint of random bf16 weights in the layout of a llama is made in a temporary folder (or in
`--folder`, where it is kept and found again). Reading is `safetensors.torch.load_file` with a copy of each
tensor, since what it returns is a mapping that nobody has read. The two take turns, each in a process of
its own; memory is the process's largest resident set, less what it was before.

    python -m benchmarks.load                     # 4 GB, one file
    python -m benchmarks.load --shards 4 --gigabytes 1 --no-save
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch
from rich.console import Console

from benchmarks import record
from minillm import load_model
from minillm.checkpoint.keys import hf_shapes
from minillm.checkpoint.read_config import read_config
from minillm.checkpoint.safetensors import save_tensors

LAYER_BYTES = 2 * (2048 * (2048 + 2 * 1024 + 2048) + 3 * 2048 * 6144)
HEAD_BYTES = 2 * 2 * 2048 * 65536


@dataclass(frozen=True)
class Config:
    """Options of the benchmark.

    Attributes:
        gigabytes: size of the checkpoint.
        shards: files that it is made of.
        rounds: rounds of ours and of safetensors', in turns, after one of each.
        folder: where the checkpoint is kept; None makes a temporary one.
        save: keep the result in benchmarks/results/.
        only: run one side in this process and print its figures (the benchmark's own use).
    """

    gigabytes: float = 4.0
    shards: int = 1
    rounds: int = 5
    folder: Path | None = None
    save: bool = True
    only: str | None = None


def make(folder: Path, config: Config) -> None:
    """config.json and random weights."""
    layers = max(1, round((config.gigabytes * 1e9 - HEAD_BYTES) / LAYER_BYTES))
    settings = {
        "model_type": "llama",
        "vocab_size": 65536,
        "hidden_size": 2048,
        "intermediate_size": 6144,
        "num_hidden_layers": layers,
        "num_attention_heads": 16,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "max_position_embeddings": 4096,
        "dtype": "bfloat16",
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(settings))
    noise = torch.randn(1 << 22, dtype=torch.float32).bfloat16()
    tensors = {}
    for name, shape in hf_shapes(read_config(folder)).items():
        tensors[name] = noise.repeat(-(-shape.numel() // noise.numel()))[: shape.numel()].view(shape)
    total = sum(tensor.nbytes for tensor in tensors.values())
    save_tensors(folder, tensors, max_shard_bytes=-(-total // config.shards) if config.shards > 1 else None)


def resident(field: str) -> int:
    """VmRSS or VmHWM of this process in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) * 1024
    return 0


def run_one(folder: Path, side: str) -> dict[str, float]:
    """Time, peak memory above the start, and bytes of tensors, of one side in this process."""
    from safetensors.torch import load_file

    if side == "ours":  # compiled kernels are fetched before the clock starts
        from kernels.ops.packing import pack_rows
        from kernels.panels import packed_shape

        pack_rows(torch.zeros(packed_shape(8, 64)).bfloat16(), torch.zeros(64, 8).bfloat16())
    Path("/proc/self/clear_refs").write_text("5")  # VmHWM starts again from here
    before = resident("VmRSS")
    begin = time.perf_counter()
    if side == "ours":
        model = load_model(folder, "bf16")
        seconds = time.perf_counter() - begin
        size = sum(parameter.nbytes for parameter in model.parameters())
    else:
        held = {}
        for path in sorted(folder.glob("*.safetensors")):
            held |= {name: tensor.clone() for name, tensor in load_file(path).items()}
        seconds = time.perf_counter() - begin
        size = sum(tensor.nbytes for tensor in held.values())
    return {"seconds": seconds, "peak": resident("VmHWM") - before, "bytes": size}


def run(config: Config, console: Console) -> int:
    """Measure, print and save; returns the exit status."""
    if config.only is not None:
        assert config.folder is not None
        print(json.dumps(run_one(config.folder, config.only)))
        return 0
    with tempfile.TemporaryDirectory() if config.folder is None else nullcontext(config.folder) as name:
        folder = Path(name)
        if not (folder / "config.json").exists():
            console.print(f"making a checkpoint of {config.gigabytes} GB ...")
            make(folder, config)
        found: dict[str, list[dict[str, float]]] = {"ours": [], "safetensors": []}
        for _ in range(config.rounds + 1):
            for side, runs in found.items():
                command = [sys.executable, "-m", "benchmarks.load", "--only", side, "--folder", str(folder)]
                done = subprocess.run(command, capture_output=True, text=True, check=True)
                runs.append(json.loads(done.stdout.splitlines()[-1]))
    row = {}
    for side, runs in found.items():
        for field in ("seconds", "peak", "bytes"):
            row[f"{side}_{field}"] = statistics.median(run[field] for run in runs[1:])
    row["time_ratio"] = row["ours_seconds"] / row["safetensors_seconds"]
    row["memory_ratio"] = row["ours_peak"] / row["ours_bytes"]
    for side in found:
        console.print(
            f"{side}: {row[f'{side}_seconds']:.2f} s, {row[f'{side}_bytes'] / 1e9:.2f} GB of tensors, "
            f"peak {row[f'{side}_peak'] / 1e9:.2f} GB"
        )
    console.print(f"ours over safetensors: {row['time_ratio']:.2f}x the time")
    console.print(f"our peak over the weights: {row['memory_ratio']:.3f}x")
    record.finish(console, "load", config, rows=[row])
    return 0


if __name__ == "__main__":
    sys.exit(record.main(run, Config, __doc__))
