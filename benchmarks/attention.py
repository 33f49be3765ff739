"""How fast is the Triton attention over packed sequences, next to SDPA's backends and FlexAttention?

    python -m benchmarks.attention                       # on a GPU; minutes
    python -m benchmarks.attention --head-dims 128 --lengths 4096 --folder /tmp/found

First come checks. Rows: packed in any order == row by row over pages == in chunks == with a shared prefix,
bit for bit, in bf16 and in float32 in each of its precisions. Errors: output and gradients against float64,
next to those of the peers on the same inputs. A kernel that fails one is not timed.

Then times of causal attention of one sequence with Qwen3's heads: bf16 forward and backward, and float32 at
the shortest length, against SDPA's flash, cuDNN and efficient backends (float32: efficient and math), and
compiled FlexAttention at one length. All read the same (tokens, heads, head dim) memory. A backend that
takes no grouped kv heads is given them expanded, before the clock starts. Our time is that of all that
a call does, lists of work included.

A forward is counted as 2 T^2 H D operations (half of the square), a backward as 2.5 of it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
import tyro
from torch.nn.attention import SDPBackend, sdpa_kernel

from benchmarks import gpu
from benchmarks.gpu import DEVICE, SMOKE, Check, KernelReport, Verdict, Work, different, first_of, noise
from kernels import reference
from kernels.gpu import attention, attention_backward
from kernels.gpu.ops import RUN_TOKENS
from kernels.knobs import Scores
from kernels.tiling import KEY_BLOCK, SharedPrefix, positions, work_list

# Legend: T packed tokens, B sequences, H query heads, K kv heads, D head dim, P pages, S page size.

FP32, BF16, FP16 = torch.float32, torch.bfloat16, torch.float16
BACKENDS = {
    "flash": SDPBackend.FLASH_ATTENTION,
    "cudnn": SDPBackend.CUDNN_ATTENTION,
    "efficient": SDPBackend.EFFICIENT_ATTENTION,
    "math": SDPBackend.MATH,
}
# What was aimed at: how many times as fast as a peer, by direction.
BF16_AIMS = {"forward": {"flash": 1.3, "cudnn": 0.85}, "backward": {"flash": 1.1, "cudnn": 0.65}}
TF32X3_AIMS = {"efficient": 1.5}
NAMES = ("out", "dq", "dk", "dv")


@dataclass(frozen=True)
class Config(gpu.Config):
    """Options of the benchmark.

    Attributes:
        head_dims: of queries, keys and values.
        lengths: tokens of the sequence; float32 is timed at the first alone.
        heads: query heads and kv heads.
        flex_length: where FlexAttention is timed, since it compiles again for each; 0 for nowhere.
        float32: time float32 too.
    """

    head_dims: tuple[int, ...] = (128, 64)
    lengths: tuple[int, ...] = (4096, 8192, 16384)
    heads: tuple[int, int] = (32, 8)
    flex_length: int = 8192
    float32: bool = True


def label(dtype: torch.dtype, precision: str, D: int) -> str:
    """Write a kernel's name: "bf16 d128", "fp32 tf32x3 d64"."""
    return f"bf16 d{D}" if dtype == BF16 else f"fp32 {precision} d{D}"


class Packed:
    """Packed sequences of random numbers, and our kernels over them."""

    def __init__(
        self,
        lengths: Sequence[int],
        heads: tuple[int, int],
        D: int,
        dtype: torch.dtype,
        precision: str = "ieee",
        seed: int = 0,
    ) -> None:
        self.lengths, self.heads, self.D, self.dtype = tuple(lengths), heads, D, dtype
        (H, K), self.T = heads, sum(lengths)
        self.q, self.dout = (noise(self.T, H, D, dtype=dtype, seed=4 * seed + i) for i in (0, 1))
        self.k, self.v = (noise(self.T, K, D, dtype=dtype, seed=4 * seed + i) for i in (2, 3))
        self.bounds = torch.tensor([0, *lengths], device=DEVICE).cumsum(0)
        self.options = (Scores(D**-0.5), None, precision)

    @property
    def nbytes(self) -> int:
        """Of the inputs."""
        return sum(x.nbytes for x in (self.q, self.k, self.v))

    def forward(self, tile_tokens: int = RUN_TOKENS) -> tuple[torch.Tensor, torch.Tensor]:
        """(out, softmax): what the public operation launches."""
        tiles = (work_list(self.bounds, self.T, tile_tokens), tile_tokens)
        position_T = positions(self.bounds, self.T)
        return attention.forward(self.q, self.k, self.v, position_T, tiles, *self.options)

    def backward(self, out: torch.Tensor, softmax: torch.Tensor) -> list[torch.Tensor]:
        """dq, dk and dv."""
        found = attention_backward.backward(
            self.dout, self.q, self.k, self.v, out, softmax, self.bounds, *self.options
        )
        return [x for x in found if x is not None]

    def picked(self, rows_T: torch.Tensor, lengths: Sequence[int]) -> Packed:
        """Return the sequences that these tokens make."""
        other = Packed((), self.heads, self.D, self.dtype)
        other.lengths, other.T, other.options = tuple(lengths), rows_T.shape[0], self.options
        other.bounds = torch.tensor([0, *lengths], device=DEVICE).cumsum(0)
        other.q, other.k, other.v, other.dout = (x[rows_T] for x in (self.q, self.k, self.v, self.dout))
        return other

    def pages(self, shared: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """(k_PKDS, v_PKSE, page_BP): pages out of order, whose other slots hold NaN.

        `shared`: so many pages of the first sequence are the second's too.
        """
        K, widest = self.heads[1], max(-(-n // KEY_BLOCK) for n in self.lengths)
        count = len(self.lengths) * widest
        order = torch.randperm(count, generator=torch.Generator().manual_seed(1))
        page_BP = order.view(-1, widest).to(DEVICE)
        page_BP[1:2, :shared] = page_BP[:1, :shared]
        k = torch.full((count, K, self.D, KEY_BLOCK), torch.nan, dtype=self.dtype, device=DEVICE)
        v = torch.full((count, K, KEY_BLOCK, self.D), torch.nan, dtype=self.dtype, device=DEVICE)
        position_T = positions(self.bounds, self.T)
        slot_T = page_BP[self.owner(), position_T // KEY_BLOCK] * KEY_BLOCK + position_T % KEY_BLOCK
        reference.store(self.k, self.v, slot_T, k, v)
        return k, v, page_BP

    def owner(self) -> torch.Tensor:
        """Each token's sequence, (T,)."""
        lengths_B = torch.tensor(self.lengths, device=DEVICE)
        return torch.arange(len(self.lengths), device=DEVICE).repeat_interleave(lengths_B)


def same_rows(
    lengths: Sequence[int], heads: tuple[int, int], D: int, dtype: torch.dtype, precision: str
) -> str | None:
    """Packed == other tiles == other order == alone == row by row over pages == in chunks over pages."""
    case = Packed(lengths, heads, D, dtype, precision)
    whole, softmax = case.forward()
    found = [different("other tiles", x, y) for x, y in zip(case.forward(23), (whole, softmax), strict=True)]
    spans = list(pairwise(case.bounds.tolist()))
    arange = torch.arange(case.T, device=DEVICE)
    backwards_T = torch.cat([arange[a:b] for a, b in reversed(spans)])
    other = case.picked(backwards_T, case.lengths[::-1]).forward()[0]
    found.append(different("another order", other, whole[backwards_T]))
    for (a, b), length in list(zip(spans, case.lengths, strict=True))[SMOKE:]:
        found.append(different("alone", case.picked(arange[a:b], (length,)).forward()[0], whole[a:b]))

    k, v, page_BP = case.pages()
    owner_T, position_T, paging = case.owner(), positions(case.bounds, case.T), attention.Paging(page_BP)
    # Decode: each token by itself. In the interpreter, where a program takes milliseconds, some of them.
    picks = [arange[:: 40 if SMOKE else 1], case.bounds[1:] - 1]
    for pick_R in picks:
        runs_N3 = torch.stack((owner_T[pick_R], torch.arange(len(pick_R), device=DEVICE), pick_R * 0 + 1), 1)
        out, _ = attention.forward(
            case.q[pick_R], k, v, position_T[pick_R], (runs_N3, 1), *case.options, paging
        )
        found.append(different("row by row over pages", out, whole[pick_R]))
    for size in (37,) if SMOKE else (1, 37, 64, 257):
        tiles = (work_list(case.bounds, case.T, size), size)
        out, _ = attention.forward(case.q, k, v, position_T, tiles, *case.options, paging)
        found.append(different(f"in chunks of {size} over pages", out, whole))
    return first_of(*found)


def same_prefix(heads: tuple[int, int], D: int, dtype: torch.dtype, precision: str) -> str | None:
    """Two forks of one prefix and a sequence that shares none, with the prefix read once and not."""
    blocks = 1 if SMOKE else 8
    shared = blocks * KEY_BLOCK
    case = Packed((shared + 22, shared + 45, 20), heads, D, dtype, precision)
    bounds = case.bounds.tolist()
    for x in (case.k, case.v):
        x[bounds[1] : bounds[1] + shared] = x[:shared]
    whole, _ = case.forward()
    k, v, page_BP = case.pages(shared=blocks)
    # The last tokens: 3, 2 and 1.
    pick = [bounds[1] - 3, bounds[1] - 2, bounds[1] - 1, bounds[2] - 2, bounds[2] - 1, bounds[3] - 1]
    pick_R = torch.tensor(pick, device=DEVICE)
    prefix = SharedPrefix(
        page_BP[[0, 2], :blocks].contiguous(),
        torch.tensor([[0, 0, 5], [1, 5, 1]], device=DEVICE),
        5,
        torch.tensor([blocks, 0], device=DEVICE),
        torch.tensor([blocks, blocks, 0], device=DEVICE),
    )
    runs_N3 = torch.tensor([[0, 0, 3], [1, 3, 2], [2, 5, 1]], device=DEVICE)
    given = (case.q[pick_R], k, v, positions(case.bounds, case.T)[pick_R], page_BP, (runs_N3, 3))
    return first_of(
        different("forks", attention.paged(*given, *case.options)[0], whole[pick_R]),
        different("shared prefix", attention.paged(*given, *case.options, prefix)[0], whole[pick_R]),
    )


def same_gradients(
    lengths: Sequence[int], heads: tuple[int, int], D: int, dtype: torch.dtype, precision: str
) -> str | None:
    """Gradients are the same in every run; on a GPU the public operation puts out what is timed here."""
    case = Packed(lengths, heads, D, dtype, precision)
    found = case.forward()
    first, again = case.backward(*found), case.backward(*found)
    texts = [different(f"{n}, run again", a, b) for n, a, b in zip(NAMES[1:], first, again, strict=True)]
    if not SMOKE:
        from kernels.ops.attention import attention as public

        leaves = [x.clone().requires_grad_() for x in (case.q, case.k, case.v)]
        out = public(*leaves, case.bounds, input_precision=precision)
        grads = torch.autograd.grad(out, leaves, case.dout)
        pairs = zip(NAMES, (out.detach(), *grads), (found[0], *first), strict=True)
        texts += [different(f"public {n}", a, b) for n, a, b in pairs]
    return first_of(*texts)


def by_reference(case: Packed, dtype: torch.dtype) -> list[torch.Tensor]:
    """Output and gradients of plain torch in some dtype."""
    leaves = [x.detach().to(dtype).requires_grad_() for x in (case.q, case.k, case.v)]
    starts, scores = [0] * len(case.lengths), case.options[0]
    out = reference.attention(*leaves, case.bounds.tolist(), starts, scores)
    return [out.detach(), *torch.autograd.grad(out, leaves, case.dout.to(dtype))]


def sdpa(
    backend: str, case: Packed, expand: bool, grad: bool
) -> tuple[Callable[[], Any], list[torch.Tensor]]:
    """(forward, leaves) of scaled_dot_product_attention on a case of one sequence."""
    group = case.heads[0] // case.heads[1]
    leaves = []
    for x_THD in (case.q, case.k, case.v):
        x_1HTD = x_THD.detach().transpose(0, 1).unsqueeze(0)
        if expand and x_THD is not case.q:
            x_1HTD = x_1HTD.transpose(1, 2).repeat_interleave(group, 2).transpose(1, 2)
        leaves.append(x_1HTD.detach().requires_grad_(grad))

    def forward() -> torch.Tensor:
        with sdpa_kernel(BACKENDS[backend]), torch.set_grad_enabled(grad):
            return F.scaled_dot_product_attention(*leaves, is_causal=True, enable_gqa=not expand)

    return forward, leaves


def takes_groups(backend: str, case: Packed, grad: bool) -> bool:
    """Whether a backend runs on grouped kv heads as they are."""
    forward, leaves = sdpa(backend, case, False, grad)
    try:
        out = forward()
        if grad:
            torch.autograd.grad(out, leaves, torch.ones_like(out))
    except RuntimeError:
        return False
    return True


def by_sdpa(backend: str, case: Packed) -> list[torch.Tensor]:
    """Output and gradients, of the kv heads that there are."""
    expand = not takes_groups(backend, case, True)
    forward, leaves = sdpa(backend, case, expand, True)
    out = forward()
    grads = torch.autograd.grad(out, leaves, case.dout.transpose(0, 1).unsqueeze(0))
    found = [x.detach().squeeze(0).transpose(0, 1) for x in (out, *grads)]
    if expand:
        group = case.heads[0] // case.heads[1]
        found[2:] = [x.unflatten(1, (-1, group)).float().sum(2) for x in found[2:]]
    return found


def errors(kernel: str, heads: tuple[int, int], D: int, dtype: torch.dtype, precision: str, T: int) -> Check:
    """Against float64; ours may be twice that of plain torch in the same dtype, tf32 of plain fp16."""
    case = Packed((T,), heads, D, dtype, precision)
    exact = by_reference(case, torch.float64)
    usual_dtype = FP16 if precision == "tf32" else dtype
    contenders: dict[str, Callable[[], list[torch.Tensor]]] = {
        "plain torch": partial(by_reference, case, usual_dtype),
        **{name: partial(by_sdpa, name, case) for name in BACKENDS},
    }
    found_out = case.forward()
    found = {"ours": measured([found_out[0], *case.backward(*found_out)], exact)}
    for name, run in contenders.items():
        try:
            found[name] = measured(run(), exact)
        except RuntimeError:  # a backend that does not take these inputs
            continue
    allowed = found["plain torch"]
    bad = [name for name in NAMES if not found["ours"][name] <= 2 * allowed[name]]
    detail = "; ".join(
        f"{name} " + " ".join(f"{who} {errors[name]:.1e}" for who, errors in found.items()) for name in NAMES
    )
    if bad:
        detail = f"{', '.join(bad)} over twice plain torch's; {detail}"
    return Check(kernel, "errors against float64", not bad, detail, found)


def measured(found: Sequence[torch.Tensor], exact: Sequence[torch.Tensor]) -> dict[str, float]:
    """Relative errors by name."""
    return {n: gpu.relative_error(a, b) for n, a, b in zip(NAMES, found, exact, strict=True)}


def ours(cases: Sequence[Packed], direction: str) -> list[gpu.Call]:
    """Our calls, one a set of inputs."""
    if direction == "forward":
        return [case.forward for case in cases]
    return [partial(case.backward, *case.forward()) for case in cases]


def theirs(report: KernelReport, backend: str, cases: Sequence[Packed], direction: str) -> list[gpu.Call]:
    """Make a backend's calls, one a set of inputs."""
    grad = direction == "backward"
    expand = not takes_groups(backend, cases[0], grad)
    made = [sdpa(backend, case, expand, grad) for case in cases]
    calls = [forward for forward, _ in made]
    if grad:
        calls = [gradient(*pair, case) for pair, case in zip(made, cases, strict=True)]
    if expand:
        calls[0]()  # raises where it is not for want of groups that the backend does not run
        report.note(
            f"SDPA {backend}, {cases[0].dtype}, {direction}: takes no groups, given expanded kv heads"
        )
    return calls


def gradient(forward: Callable[[], Any], leaves: list[torch.Tensor], case: Packed) -> gpu.Call:
    """Make the backward of a forward that is run here."""
    out, dout = forward(), case.dout.transpose(0, 1).unsqueeze(0)
    return lambda: torch.autograd.grad(out, leaves, dout, retain_graph=True)


def flex(cases: Sequence[Packed], direction: str) -> list[gpu.Call]:
    """Compiled FlexAttention's calls."""
    if SMOKE:
        raise RuntimeError("left out without a GPU, where it takes a minute to compile")
    import torch._functorch.config as functorch
    from torch.nn.attention.flex_attention import create_block_mask, flex_attention

    torch._dynamo.reset()
    functorch.donated_buffer = False  # a graph that is kept is walked many times
    T, grad = cases[0].T, direction == "backward"
    mask = create_block_mask(lambda b, h, i, j: i >= j, None, None, T, T, device=str(DEVICE))
    compiled = torch.compile(flex_attention, dynamic=False)

    def call(leaves: list[torch.Tensor]) -> Any:
        return compiled(*leaves, block_mask=mask, enable_gqa=True)

    calls: list[gpu.Call] = []
    for case in cases:
        leaves = [x.detach().transpose(0, 1).unsqueeze(0) for x in (case.q, case.k, case.v)]
        leaves = [x.detach().requires_grad_(grad) for x in leaves]
        calls.append(gradient(partial(call, leaves), leaves, case) if grad else partial(call, leaves))
    return calls


def time(report: KernelReport, config: Config, D: int, T: int, dtype: torch.dtype, precision: str) -> None:
    """Forward and backward of one kernel at one size."""
    (H, K), kernel = config.heads, label(dtype, precision, D)
    if not report.green(kernel):
        report.skip(kernel, f"{kernel}, {T}")
        return
    first = Packed((T,), config.heads, D, dtype, precision, seed=config.seed)
    more = [
        Packed((T,), config.heads, D, dtype, precision, seed=config.seed + i)
        for i in range(1, gpu.sets_of(first.nbytes))
    ]
    cases = [first, *more]
    kind = "bf16" if dtype == BF16 else {"ieee": "fp32"}.get(precision, precision)
    size = dtype.itemsize * T * D
    for direction in ("forward", "backward"):
        factor = 1 if direction == "forward" else 2.5
        moved = size * (2 * H + 2 * K) * (1 if direction == "forward" else 2)
        work = Work(factor * 2 * T * T * H * D, moved, kind)
        names = ("flash", "cudnn", "efficient") if dtype == BF16 else ("efficient", "math")
        contenders: dict[str, gpu.Maker] = {
            "ours": partial(ours, cases, direction),
            **{name: partial(theirs, report, name, cases, direction) for name in names},
        }
        if dtype == BF16 and (SMOKE or config.flex_length == T):
            contenders["flex"] = partial(flex, cases, direction)
        aims: dict[str, float] = {}
        if dtype == BF16 and D == 128:
            aims = BF16_AIMS[direction]
        elif precision == "tf32x3" and dtype == FP32:
            aims = TF32X3_AIMS
        report.time(kernel, f"{kernel} {direction}", T, work, contenders, aims)


def error_verdicts(report: KernelReport) -> None:
    """float32: tf32x3 is to be no worse than SDPA's efficient backend, ieee than its math."""
    for check in report.checks:
        for precision, peer in (("tf32x3", "efficient"), ("ieee", "math")):
            if f"fp32 {precision} " in check.kernel and peer in check.errors:
                for direction, names in (("forward", NAMES[:1]), ("backward", NAMES[1:])):
                    worst = max(check.errors["ours"][n] / check.errors[peer][n] for n in names)
                    name = f"{check.kernel} {direction}, error over {peer}'s"
                    report.summary.append(Verdict(name, worst, 1.0, at_least=False))


def run(config: Config) -> int:
    """Check, time and report; returns the exit status."""
    report = KernelReport("attention", config, "TFLOP/s", "tokens")
    lengths = (70, 1, 9) if SMOKE else (1027, 700, 64, 1, 333)
    # The interpreter knows one product of float32.
    precisions = (["ieee"] if SMOKE else ["ieee", "tf32x3", "tf32"]) if config.float32 else []
    kinds = [(BF16, "ieee"), *((FP32, precision) for precision in precisions)]
    few = (2, 1) if SMOKE else (8, 2)
    tests: dict[str, list[tuple[str, gpu.Test]]] = {}
    for D in config.head_dims:
        for dtype, precision in kinds:
            given, kernel = (config.heads, D, dtype, precision), label(dtype, precision, D)
            tests[kernel] = [
                ("rows have their bits everywhere", partial(same_rows, lengths, *given)),
                ("a shared prefix changes no bit", partial(same_prefix, *given)),
                ("gradients have their bits", partial(same_gradients, lengths[SMOKE:], *given)),
                (
                    "errors against float64",
                    partial(errors, kernel, few, D, dtype, precision, config.lengths[0]),
                ),
            ]
    report.check(tests)
    for D in config.head_dims:
        sizes = [(T, BF16, "ieee") for T in config.lengths]
        sizes += [(config.lengths[0], FP32, precision) for precision in precisions]
        for T, dtype, precision in sizes:
            with report.going_on(f"{label(dtype, precision, D)}, {T}"):
                time(report, config, D, T, dtype, precision)
                gpu.cleared()
    error_verdicts(report)
    return report.finish()


def main() -> int:
    """Run the command line; returns the exit status."""
    if SMOKE:
        default = Config(head_dims=(16,), lengths=(40,), heads=(2, 1), rounds=1)
        return run(tyro.cli(Config, description=__doc__, default=default))
    return run(tyro.cli(Config, description=__doc__))


if __name__ == "__main__":
    sys.exit(main())
