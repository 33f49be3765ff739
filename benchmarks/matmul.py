"""How fast is the row-invariant Triton matmul, next to cuBLAS, which picks its order by the number of rows?

    python -m benchmarks.matmul                          # on a GPU; minutes
    python -m benchmarks.matmul --models 0.6b --rows-up-to 64

First come checks, for every shape: the first n rows of 600 have the same bits when they are n rows alone,
for n from 1 to 130 and around the change of tiles; errors against float64, next to cuBLAS'. A shape that
fails one is not timed.

Then times at the five products of Qwen3-0.6B and Qwen3-4B, for 1 to 2048 rows, in bf16; float32 in three
products of tf32 (tf32x3) for two shapes, next to cuBLAS in float32 and in tf32. cuBLAS is `F.linear` with the
weight stored (N, K), as models have it.

The floor is 2 R K N operations, or reading the weight and the rows and writing the result once.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
import tyro

from benchmarks import gpu
from benchmarks.gpu import SMOKE, Check, KernelReport, Verdict, Work, different, noise, relative_error
from kernels.gpu.matmul import matmul
from kernels.panels import pack

# Legend: R rows, K inner width, N outer width, P panels, W panel width.

FP32, BF16 = torch.float32, torch.bfloat16
# (K, N) of the products of Qwen3's layers, gate and up side by side, and of the head.
SHAPES = {
    "0.6b": {
        "qkv": (1024, 4096),
        "o": (2048, 1024),
        "gate_up": (1024, 6144),
        "down": (3072, 1024),
        "head": (1024, 151936),
    },
    "4b": {
        "qkv": (2560, 6144),
        "o": (4096, 2560),
        "gate_up": (2560, 19456),
        "down": (9728, 2560),
        "head": (2560, 151936),
    },
    "tiny": {"qkv": (64, 96), "down": (80, 40)},
}
FLOAT32_SHAPES = (("0.6b", "down"), ("4b", "gate_up"), ("tiny", "down"))
# What was aimed at, over all bf16 cases: ratios to cuBLAS.
MEAN_AIM, LEAST_AIM = 0.85, 0.7


@dataclass(frozen=True)
class Config(gpu.Config):
    """Options of the benchmark.

    Attributes:
        models: of 0.6b, 4b (Qwen3's sizes) and tiny.
        rows_up_to: the largest number of rows; they go up from 1 in powers of two.
        float32: time tf32x3 too.
    """

    models: tuple[str, ...] = ("0.6b", "4b")
    rows_up_to: int = 2048
    float32: bool = True


def label(model: str, name: str, precision: str | None) -> str:
    """Write a product's name: "0.6b qkv bf16", "4b down tf32x3"."""
    return f"{model} {name} {precision or 'bf16'}"


def weights(K: int, N: int, dtype: torch.dtype, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Make the same matrix as cuBLAS has it, w_NK, and as we have it, w_PKW."""
    w_NK = noise(N, K, dtype=dtype, seed=seed, scale=K**-0.5)
    return w_NK, pack(w_NK.t())


def same_rows(K: int, N: int, dtype: torch.dtype, precision: str) -> str | None:
    """n rows alone == the first n rows of many, and rows from the middle == those."""
    counts = (1, 2, 63, 64, 65) if SMOKE else (*range(1, 131), 255, 256, 257, 511, 512, 513)
    x_RK, (_, w_PKW) = noise(130 if SMOKE else 600, K, dtype=dtype, seed=1), weights(K, N, dtype, 2)
    whole_RN = matmul(x_RK, w_PKW, N, precision=precision)
    for n in counts:
        alone = matmul(x_RK[:n], w_PKW, N, precision=precision)
        if text := different(f"{n} rows alone", alone, whole_RN[:n]):
            return text
    for a, b in ((70, 71), (60, 75)) if SMOKE else ((70, 71), (71, 135), (129, 600), (599, 600)):
        part = matmul(x_RK[a:b], w_PKW, N, precision=precision)
        if text := different(f"rows {a} to {b} alone", part, whole_RN[a:b]):
            return text
    return None


def errors(kernel: str, K: int, N: int, dtype: torch.dtype, precision: str) -> Check:
    """Against float64, by few rows and by many; ours may be twice that of cuBLAS in the same dtype."""
    w_NK, w_PKW = weights(K, N, dtype, 4)
    found: dict[str, dict[str, float]] = {"ours": {}, "cublas": {}}
    for R in (1, 66) if SMOKE else (1, 64, 300):
        x_RK = noise(R, K, dtype=dtype, seed=3)
        exact_RN = x_RK.double() @ w_NK.double().t()
        results = {"ours": matmul(x_RK, w_PKW, N, precision=precision), "cublas": F.linear(x_RK, w_NK)}
        for who, result in results.items():
            found[who][f"{R} rows"] = relative_error(result, exact_RN)
    # A comparison that NaN fails.
    passed = all(error <= 2 * found["cublas"][rows] for rows, error in found["ours"].items())
    detail = "; ".join(
        f"{rows}: ours {error:.1e}, cublas {found['cublas'][rows]:.1e}"
        for rows, error in found["ours"].items()
    )
    return Check(kernel, "errors against float64", passed, detail, found)


def time(report: KernelReport, config: Config, model: str, name: str, precision: str | None) -> None:
    """All numbers of rows of one product; precision None is bf16."""
    kernel, (K, N) = label(model, name, precision), SHAPES[model][name]
    if not report.green(kernel):
        report.skip(kernel, kernel)
        return
    dtype = FP32 if precision else BF16
    sets = [weights(K, N, dtype, config.seed + i) for i in range(gpu.sets_of(K * N * dtype.itemsize))]
    rows = [1]
    while rows[-1] * 2 <= config.rows_up_to:
        rows.append(rows[-1] * 2)
    for R in rows:
        xs = [noise(R, K, dtype=dtype, seed=config.seed + i) for i in range(len(sets))]

        def ours(xs: Sequence[torch.Tensor] = xs) -> list[gpu.Call]:
            given = zip(xs, sets, strict=True)
            return [partial(matmul, x, w_PKW, N, precision=precision or "ieee") for x, (_, w_PKW) in given]

        def linear(xs: Sequence[torch.Tensor] = xs) -> list[gpu.Call]:
            return [partial(F.linear, x, w_NK) for x, (w_NK, _) in zip(xs, sets, strict=True)]

        contenders: dict[str, gpu.Maker] = {"ours": ours}
        if precision is None:
            contenders["cublas"] = linear
        else:
            contenders["cublas fp32"] = linear
            contenders["cublas tf32"] = partial(in_tf32, linear)
        moved = (K * N + R * K + R * N) * dtype.itemsize
        report.time(kernel, kernel, R, Work(2.0 * R * K * N, moved, precision or "bf16"), contenders)


def in_tf32(make: gpu.Maker) -> list[gpu.Call]:
    """Make the same calls with cuBLAS allowed to round float32 to tf32."""

    def call(plain: gpu.Call) -> None:
        torch.backends.cuda.matmul.allow_tf32 = True
        try:
            plain()
        finally:
            torch.backends.cuda.matmul.allow_tf32 = False

    return [partial(call, plain) for plain in make()]


def summarise(report: KernelReport) -> None:
    """Geometric mean and lowest of the ratios to cuBLAS, in bf16."""
    for model in ("", *dict.fromkeys(row.panel.split()[0] for row in report.rows)):
        found = {
            f"{row.panel}, {row.x}": ratio
            for row in report.rows
            if row.panel.startswith(model) and (ratio := row.ratio("cublas"))
        }
        if not found:
            continue
        lowest = min(found, key=lambda case: found[case])
        mean = statistics.geometric_mean(found.values())
        report.summary.append(Verdict(f"{model or 'all'} bf16, x cublas, geometric mean", mean, MEAN_AIM))
        report.summary.append(
            Verdict(f"{model or 'all'} bf16, x cublas, lowest ({lowest})", found[lowest], LEAST_AIM)
        )


def run(config: Config) -> int:
    """Check, time and report; returns the exit status."""
    report = KernelReport("matmul", config, "TFLOP/s", "rows")
    cases: list[tuple[str, str, str | None]] = [(m, name, None) for m in config.models for name in SHAPES[m]]
    if config.float32:
        cases += [(m, name, "tf32x3") for m, name in FLOAT32_SHAPES if m in config.models]
    tests: dict[str, list[tuple[str, gpu.Test]]] = {}
    for model, name, precision in cases:
        kernel, (K, N) = label(model, name, precision), SHAPES[model][name]
        given = (K, N, FP32 if precision else BF16, precision or "ieee")
        tests[kernel] = [
            ("rows have their bits for any number of rows", partial(same_rows, *given)),
            ("errors against float64", partial(errors, kernel, *given)),
        ]
    report.check(tests)
    for model, name, precision in cases:
        with report.going_on(label(model, name, precision)):
            time(report, config, model, name, precision)
            gpu.cleared()
    summarise(report)
    return report.finish()


def main() -> int:
    """Run the command line; returns the exit status."""
    default = Config(models=("tiny",), rows_up_to=2, rounds=1) if SMOKE else Config()
    config = tyro.cli(Config, description=__doc__, default=default)
    if unknown := set(config.models) - SHAPES.keys():
        print(f"error: unknown model {min(unknown)}; there are {', '.join(SHAPES)}", file=sys.stderr)
        return 1
    return run(config)


if __name__ == "__main__":
    sys.exit(main())
