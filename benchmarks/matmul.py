"""How fast is the row-invariant product, next to torch's, which picks its order by the number of rows?

    python -m benchmarks.matmul                          # on a GPU its kernels, else the CPU's; minutes
    python -m benchmarks.matmul --models SmolLM2-135M --rows 1 64 2048

First come checks, for every shape: the first n rows of many have the same bits when they are n rows alone,
for n around the sizes of tiles; errors against float64, next to torch's. A shape that fails is not timed.

Then times at the products of models, those of a layer (gate and up side by side) and the head; forward and,
on a CPU, backward (gradients of rows and of the weight). torch's is `F.linear` with the weight stored (N, K),
as models have it, which is cuBLAS on a GPU. There float32 in three products of tf32 (tf32x3) is timed for two
shapes, next to float32 and tf32. On a CPU cases of more than 20 GFLOP and weights of more than 200 million
numbers are left out.

The floor is 2 R K N operations, or reading the weight and the rows and writing the result once; of a backward
two products, with twice the reading and writing.

Legend: R rows, K inner width, N outer width, P panels, W panel width.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
import tyro

from benchmarks import kernel_times
from benchmarks.kernel_report import Check, KernelReport, Test, different
from benchmarks.kernel_report import Config as KernelConfig
from benchmarks.kernel_times import ON_GPU, TRITON, Call, Maker, Work, noise, relative_error
from benchmarks.shapes import TINY
from kernels.ops.matmul import matmul
from kernels.panels import pack

FP32, BF16 = torch.float32, torch.bfloat16
PEER = "cublas" if ON_GPU else "torch"
FLOAT32_SHAPES = (("Qwen3-0.6B", "down"), ("Qwen3-4B", "gate_up"))
# What was aimed at: ratios to torch, geometric mean and least; on a GPU of bf16 alone.
MEAN_AIM, LEAST_AIM = (0.85, 0.7) if ON_GPU else (1.0, 0.8)
# Of a CPU, whose largest products would take seconds each: operations of a product, numbers of a weight.
MOST_OPERATIONS, MOST_WEIGHTS = 2e10, 2e8
# Of which the first are computed alone: all that tiles could tell apart, and some past blocks of rows.
ROWS = (*range(1, 14), 16, 17, 31, 33, 64, 65, 97, 129, 193, 257)
MANY_ROWS = (*range(1, 131), 255, 256, 257, 511, 512, 513)
FEW_ROWS = (1, 2, 63, 64, 65)
# Columns that are checked on a CPU at most, whose panels know nothing of each other; rows of errors.
CHECKED_COLUMNS, ERROR_ROWS = 1024, (1, 64, 300) if ON_GPU else (1, 64)

# (x_RK, w_PKW, N) -> out_RN
Product = Callable[[torch.Tensor, torch.Tensor, int], torch.Tensor]


@dataclass(frozen=True)
class Config(KernelConfig):
    """Options of the benchmark.

    Attributes:
        rows: numbers of rows.
        backward_rows: numbers of rows of backwards.
        dtypes: of bf16 and fp32.
        tf32: on a GPU, time tf32x3 too.
    """

    models: tuple[str, ...] = ("Qwen3-0.6B", "Qwen3-4B") if ON_GPU else KernelConfig.models
    rows: tuple[int, ...] = tuple(2**i for i in range(12)) if ON_GPU else (1, 4, 16, 64, 256, 2048)
    backward_rows: tuple[int, ...] = () if ON_GPU else (256, 2048)
    dtypes: tuple[str, ...] = ("bf16",) if ON_GPU else ("fp32", "bf16")
    tf32: bool = True


@dataclass(frozen=True)
class Case:
    """A product of a model: `kind` is fp32, bf16 or tf32x3."""

    model: str
    name: str
    kind: str
    K: int
    N: int

    @property
    def kernel(self) -> str:
        """As a reader knows it: "Qwen3-0.6B qkv bf16"."""
        return f"{self.model} {self.name} {self.kind}"

    @property
    def dtype(self) -> torch.dtype:
        """Of rows, weight and result."""
        return BF16 if self.kind == "bf16" else FP32

    def product(self) -> Product:
        """Make the kernel that is timed: the public operation, which knows one product of float32."""
        return triton_product("tf32x3") if self.kind == "tf32x3" else without_graph


@torch.no_grad()
def without_graph(x_RK: torch.Tensor, w_PKW: torch.Tensor, N: int) -> torch.Tensor:
    """Compute the public product, as decoding does: nothing is kept for a gradient."""
    return matmul(x_RK, w_PKW, N)


def triton_product(precision: str) -> Product:
    """Make the Triton kernel."""
    from kernels.gpu import matmul as gpu_matmul  # Triton is not everywhere

    return partial(gpu_matmul.matmul, precision=precision)


def cases(config: Config) -> list[Case]:
    """List what is checked and timed."""
    shapes = {name: shape.products for name, shape in config.shapes().items()}
    found = [
        Case(model, name, kind, *size)
        for model, products in shapes.items()
        for kind in config.dtypes
        for name, size in products.items()
    ]
    if ON_GPU and config.tf32:
        found += [
            Case(model, name, "tf32x3", *shapes[model][name])
            for model, name in FLOAT32_SHAPES
            if model in shapes
        ]
    return found


def weights(K: int, N: int, dtype: torch.dtype, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Make the same matrix as torch has it, w_NK, and as we have it, w_PKW."""
    w_NK = noise(N, K, dtype=dtype, seed=seed, scale=K**-0.5)
    return w_NK, pack(w_NK.t())


def same_rows(product: Product, K: int, N: int, dtype: torch.dtype, counts: Sequence[int]) -> str | None:
    """n rows alone == the first n rows of many, and rows from the middle == those."""
    many = max(130, counts[-1] + 87)
    x_RK, (_, w_PKW) = noise(many, K, dtype=dtype, seed=1), weights(K, N, dtype, 2)
    whole_RN = product(x_RK, w_PKW, N)
    for n in counts:
        if text := different(f"{n} rows alone", product(x_RK[:n], w_PKW, N), whole_RN[:n]):
            return text
    for a, b in ((70, 71), (60, 75), (71, 130), (129, many), (many - 1, many)):
        if text := different(f"rows {a} to {b} alone", product(x_RK[a:b], w_PKW, N), whole_RN[a:b]):
            return text
    return None


def errors(product: Product, kernel: str, K: int, N: int, dtype: torch.dtype, counts: Sequence[int]) -> Check:
    """Against float64, by few rows and by many; ours may be twice that of torch in the same dtype."""
    w_NK, w_PKW = weights(K, N, dtype, 4)
    found: dict[str, dict[str, float]] = {"ours": {}, PEER: {}}
    for R in counts:
        x_RK = noise(R, K, dtype=dtype, seed=3)
        exact_RN = x_RK.double() @ w_NK.double().t()
        for who, result in {"ours": product(x_RK, w_PKW, N), PEER: F.linear(x_RK, w_NK)}.items():
            found[who][f"{R} rows"] = relative_error(result, exact_RN)
    return compared(kernel, "errors against float64", found)


def gradient_errors(kernel: str, K: int, N: int, dtype: torch.dtype, R: int) -> Check:
    """Of dx and dw, as `errors`; and the same in every run."""
    (w_NK, w_PKW), x_RK = weights(K, N, dtype, 4), noise(R, K, dtype=dtype, seed=3)
    dy_RN = noise(R, N, dtype=dtype, seed=5)
    wide = x_RK.double(), w_NK.double(), dy_RN.double()
    exact = wide[2] @ wide[1], wide[2].t() @ wide[0]
    mine, again = (of_ours(x_RK, w_PKW, dy_RN)() for _ in range(2))
    found: dict[str, dict[str, float]] = {}
    for who, (dx_RK, dw) in {"ours": mine, PEER: of_torch(x_RK, w_NK, dy_RN)()}.items():
        dw_NK = dw if who == PEER else dw.transpose(1, 2).flatten(0, 1)[:N]
        found[who] = {"dx": relative_error(dx_RK, exact[0]), "dw": relative_error(dw_NK, exact[1])}
    check = compared(kernel, "gradients against float64", found)
    for name, a, b in zip(("dx", "dw"), mine, again, strict=True):
        if text := different(f"{name}, run again", a, b):
            return Check(kernel, check.name, False, text, found)
    return check


def compared(kernel: str, name: str, found: dict[str, dict[str, float]]) -> Check:
    """Judge errors of ours and of torch by the 2x rule, which NaN fails."""
    passed = all(error <= 2 * found[PEER][what] for what, error in found["ours"].items())
    each = (
        f"{what}: ours {error:.1e}, {PEER} {found[PEER][what]:.1e}" for what, error in found["ours"].items()
    )
    return Check(kernel, name, passed, "; ".join(each), found)


def of_ours(x_RK: torch.Tensor, w_PKW: torch.Tensor, dy_RN: torch.Tensor) -> Call:
    """Make the backward of a product that is computed here: dx and dw in panels."""
    leaves = [x.detach().requires_grad_() for x in (x_RK, w_PKW)]
    out_RN = matmul(*leaves, dy_RN.shape[1])
    return lambda: torch.autograd.grad(out_RN, leaves, dy_RN, retain_graph=True)


def of_torch(x_RK: torch.Tensor, w_NK: torch.Tensor, dy_RN: torch.Tensor) -> Call:
    """Make torch's backward of a product that is computed here: dx and dw."""
    leaves = [x.detach().requires_grad_() for x in (x_RK, w_NK)]
    out_RN = F.linear(*leaves)
    return lambda: torch.autograd.grad(out_RN, leaves, dy_RN, retain_graph=True)


def contenders(
    case: Case, direction: str, R: int, sets: Sequence[tuple[torch.Tensor, torch.Tensor]], seed: int
) -> dict[str, Maker]:
    """Make ours and torch's calls, one a set of weights."""
    N, product = case.N, case.product()
    xs = [noise(R, case.K, dtype=case.dtype, seed=seed + i) for i in range(len(sets))]
    given = list(zip(xs, sets, strict=True))
    if direction == "backward":
        dys = [noise(R, N, dtype=case.dtype, seed=seed + 100 + i) for i in range(len(sets))]
        return {
            "ours": lambda: [of_ours(x, w_PKW, dy) for (x, (_, w_PKW)), dy in zip(given, dys, strict=True)],
            PEER: lambda: [of_torch(x, w_NK, dy) for (x, (w_NK, _)), dy in zip(given, dys, strict=True)],
        }

    def linear() -> list[Call]:
        return [partial(F.linear, x, w_NK) for x, (w_NK, _) in given]

    made: dict[str, Maker] = {"ours": lambda: [partial(product, x, w_PKW, N) for x, (_, w_PKW) in given]}
    if case.kind != "tf32x3":
        return {**made, PEER: linear}
    return {**made, "cublas fp32": linear, "cublas tf32": partial(in_tf32, linear)}


def in_tf32(make: Maker) -> list[Call]:
    """Make the same calls with cuBLAS allowed to round float32 to tf32."""

    def call(plain: Call) -> None:
        torch.backends.cuda.matmul.allow_tf32 = True
        try:
            plain()
        finally:
            torch.backends.cuda.matmul.allow_tf32 = False

    return [partial(call, plain) for plain in make()]


def time(report: KernelReport, config: Config, case: Case) -> None:
    """All numbers of rows of one product."""
    if not report.green(case.kernel):
        report.skip(case.kernel, case.kernel)
        return
    K, N, size = case.K, case.N, case.dtype.itemsize

    def moved(R: int) -> int:
        return (K * N + R * K + R * N) * size

    places = [("forward", R) for R in config.rows] + [("backward", R) for R in config.backward_rows]
    count = max(kernel_times.sets_of(moved(R)) for _, R in places)
    sets = [weights(K, N, case.dtype, config.seed + i) for i in range(count)]
    for direction, R in places:
        times, operations = (2 if direction == "backward" else 1), 2.0 * R * K * N
        if not ON_GPU and operations > MOST_OPERATIONS:
            continue
        work = Work(times * operations, times * moved(R), case.kind)
        some = sets[: kernel_times.sets_of(times * moved(R))]
        line = direction if config.backward_rows else ""
        made = contenders(case, direction, R, some, config.seed)
        report.time(case.kernel, (case.kernel, line, R), work, made)


def tests(config: Config, found: Sequence[Case]) -> dict[str, list[tuple[str, Test]]]:
    """Make the checks of each kernel."""
    made: dict[str, list[tuple[str, Test]]] = {}
    for case in found:
        N = case.N if ON_GPU else min(case.N, CHECKED_COLUMNS)
        given, counts = (case.K, N, case.dtype), MANY_ROWS if ON_GPU else ROWS
        made[case.kernel] = [
            (
                "rows have their bits for any number of rows",
                partial(same_rows, case.product(), *given, counts),
            ),
            ("errors against float64", partial(errors, case.product(), case.kernel, *given, ERROR_ROWS)),
        ]
        if config.backward_rows:
            made[case.kernel].append(
                ("gradients against float64", partial(gradient_errors, case.kernel, *given, 100))
            )
    return made


def interpreted() -> dict[str, list[tuple[str, Test]]]:
    """Make the checks of the Triton kernel at tiny sizes."""
    if not TRITON:
        return {}
    product, made = triton_product("ieee"), {}
    for name in ("qkv", "down"):
        for kind, dtype in (("bf16", BF16), ("fp32", FP32)):
            kernel, (K, N) = f"Triton tiny {name} {kind}", TINY["tiny"].products[name]
            made[kernel] = [
                (
                    "rows have their bits for any number of rows",
                    partial(same_rows, product, K, N, dtype, FEW_ROWS),
                ),
                ("errors against float64", partial(errors, product, kernel, K, N, dtype, (1, 66))),
            ]
    return made


def run(config: Config) -> int:
    """Check, time and report; returns the exit status."""
    report = KernelReport("matmul", config, "rows")
    found = cases(config)
    if not ON_GPU:
        large = [case for case in found if case.K * case.N > MOST_WEIGHTS]
        found = [case for case in found if case not in large]
        for name in dict.fromkeys(f"{case.model} {case.name}" for case in large):
            report.note(f"{name} is left out: more than {MOST_WEIGHTS:.0e} weights")
    report.check(tests(config, found))
    report.check_interpreted(interpreted())
    for case in found:
        with report.going_on(case.kernel):
            time(report, config, case)
            kernel_times.cleared()
    report.summarise(PEER, MEAN_AIM, LEAST_AIM)
    return report.finish()


def main() -> int:
    """Run the command line; returns the exit status."""
    return run(tyro.cli(Config, description=__doc__))


if __name__ == "__main__":
    sys.exit(main())
