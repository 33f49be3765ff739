"""How fast is attention over packed sequences, next to SDPA's backends and FlexAttention?

    python -m benchmarks.attention                       # on a GPU its kernels, else the CPU's; minutes
    python -m benchmarks.attention --models Llama-3.2-1B --lengths 2048 --folder /tmp/found

First come checks. Rows: packed in any order == row by row over pages == in chunks == with a shared prefix,
bit for bit, in each kind of product. Errors: output and gradients against float64, next to those of the peers
on the same inputs. A kernel that fails one is not timed.

Then times of causal attention of one sequence with the heads of models, forward and backward. On a GPU: bf16,
and float32 at the shortest length, against SDPA's flash, cuDNN and efficient backends (float32: efficient and
math), and compiled FlexAttention at one length. On a CPU: both, against SDPA's flash backend. All read the
same (tokens, heads, head dim) memory. A backend that takes no grouped kv heads is given them expanded, before
the clock starts. Our time is that of all that a call does, lists of work included.

A forward is counted as 2 T^2 H D operations (half of the square), a backward as 2.5 of it.

Legend: T packed tokens, B sequences, H query heads, K kv heads, D head dim, P pages, S page size.
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

from benchmarks import kernel_times
from benchmarks.kernel_report import Check, KernelReport, Test, different, first_of
from benchmarks.kernel_report import Config as KernelConfig
from benchmarks.kernel_times import DEVICE, ON_GPU, TRITON, Call, Maker, Work, noise
from benchmarks.record import Verdict
from benchmarks.shapes import TINY
from kernels import reference
from kernels.knobs import Scores
from kernels.tiling import KEY_BLOCK, Kept, SharedPrefix, Tiles, positions, work_list

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
CPU_AIM = (1.0, 0.8)  # geometric mean of all cases, and the least
NAMES = ("out", "dq", "dk", "dv")


# Kinds of products: dtype and precision.
KINDS = {"bf16": (BF16, "ieee"), "fp32": (FP32, "ieee"), "tf32x3": (FP32, "tf32x3"), "tf32": (FP32, "tf32")}
# Of the checks: packed sequences, and heads where there is a float64 to compare with.
LENGTHS, FEW_LENGTHS = (1027, 700, 64, 1, 333) if ON_GPU else (333, 129, 64, 1), (70, 1, 9)
FEW_HEADS = (8, 2)


@dataclass(frozen=True)
class Config(KernelConfig):
    """Options of the benchmark.

    Attributes:
        lengths: tokens of the sequence; on a GPU float32 is timed at the first alone.
        kinds: of products: bf16, fp32, and on a GPU tf32x3 and tf32.
        flex_length: where FlexAttention is timed on a GPU, since it compiles again for each; 0 for nowhere.
    """

    models: tuple[str, ...] = ("Qwen3-4B", "Llama-3.2-1B") if ON_GPU else KernelConfig.models
    lengths: tuple[int, ...] = (4096, 8192, 16384) if ON_GPU else (128, 512, 2048)
    kinds: tuple[str, ...] = ("bf16", "fp32", "tf32x3", "tf32") if ON_GPU else ("fp32", "bf16")
    flex_length: int = 8192


class Packed:
    """Packed sequences of random numbers, and kernels over them: a GPU's, the CPU's, or interpreted ones."""

    def __init__(
        self,
        lengths: Sequence[int],
        heads: tuple[int, int],
        D: int,
        kind: str,
        interpreted: bool = False,
        seed: int = 0,
    ) -> None:
        self.lengths, self.heads, self.D, self.kind = tuple(lengths), heads, D, kind
        self.dtype, self.precision = KINDS[kind]
        self.interpreted, self.scores = interpreted, Scores(D**-0.5)
        self.kernels = kernel_times.kernels(interpreted)
        (H, K), self.T = heads, sum(lengths)
        self.q, self.dout = (noise(self.T, H, D, dtype=self.dtype, seed=4 * seed + i) for i in (0, 1))
        self.k, self.v = (noise(self.T, K, D, dtype=self.dtype, seed=4 * seed + i) for i in (2, 3))
        self.bounds = torch.tensor([0, *lengths], device=DEVICE).cumsum(0)

    @property
    def nbytes(self) -> int:
        """Of the inputs."""
        return sum(x.nbytes for x in (self.q, self.k, self.v))

    def forward(self) -> tuple[torch.Tensor, Kept]:
        """Return the output, and what the gradients want: what the public operation computes."""
        given = (self.q, self.k, self.v, self.bounds, self.scores, None, self.precision)
        found: tuple[torch.Tensor, Kept] = self.kernels.packed_attention(*given)
        return found

    def backward(self, kept: Kept) -> list[torch.Tensor]:
        """dq, dk and dv."""
        given = (self.q, self.k, self.v, kept, self.bounds, self.scores, None, self.precision)
        return [x for x in self.kernels.attention_gradients(self.dout, *given) if x is not None]

    def paged(
        self,
        pick_R: torch.Tensor,
        pages: tuple[torch.Tensor, torch.Tensor, torch.Tensor],
        tiles: Tiles,
        prefix: SharedPrefix | None = None,
    ) -> torch.Tensor:
        """Return some tokens' output, read over pages."""
        k, v, page_BP = pages
        paging = positions(self.bounds, self.T)[pick_R], page_BP
        knobs = (self.scores, None, self.precision, prefix)
        out: torch.Tensor = self.kernels.paged_attention(self.q[pick_R], k, v, paging, tiles, *knobs)[0]
        return out

    def picked(self, rows_T: torch.Tensor, lengths: Sequence[int]) -> Packed:
        """Return the sequences that these tokens make."""
        other = Packed((), self.heads, self.D, self.kind, self.interpreted)
        other.lengths, other.T = tuple(lengths), rows_T.shape[0]
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
    lengths: Sequence[int], heads: tuple[int, int], D: int, kind: str, interpreted: bool = False
) -> str | None:
    """Packed == other order == alone == row by row over pages == in chunks over pages.

    Interpreted, where a program takes milliseconds, of some rows, and one size of chunks.
    """
    case = Packed(lengths, heads, D, kind, interpreted)
    whole, _ = case.forward()
    spans = list(pairwise(case.bounds.tolist()))
    arange = torch.arange(case.T, device=DEVICE)
    backwards_T = torch.cat([arange[a:b] for a, b in reversed(spans)])
    other = case.picked(backwards_T, case.lengths[::-1]).forward()[0]
    found = [different("another order", other, whole[backwards_T])]
    for (a, b), length in list(zip(spans, case.lengths, strict=True))[interpreted:]:
        found.append(different("alone", case.picked(arange[a:b], (length,)).forward()[0], whole[a:b]))

    pages, owner_T = case.pages(), case.owner()
    # Decode: each token by itself.
    picks = [arange[:: 40 if interpreted else 1], case.bounds[1:] - 1]
    for pick_R in picks:
        runs_N3 = torch.stack((owner_T[pick_R], torch.arange(len(pick_R), device=DEVICE), pick_R * 0 + 1), 1)
        out = case.paged(pick_R, pages, (runs_N3, 1))
        found.append(different("row by row over pages", out, whole[pick_R]))
    for size in (37,) if interpreted else (1, 37, 64, 257):
        out = case.paged(arange, pages, (work_list(case.bounds, case.T, size), size))
        found.append(different(f"in chunks of {size} over pages", out, whole))
    return first_of(*found)


def same_prefix(heads: tuple[int, int], D: int, kind: str, interpreted: bool = False) -> str | None:
    """Two forks of one prefix and a sequence that shares none, with the prefix read once and not."""
    blocks = 1 if interpreted else 8
    shared = blocks * KEY_BLOCK
    case = Packed((shared + 22, shared + 45, 20), heads, D, kind, interpreted)
    bounds = case.bounds.tolist()
    for x in (case.k, case.v):
        x[bounds[1] : bounds[1] + shared] = x[:shared]
    whole, _ = case.forward()
    pages = case.pages(shared=blocks)
    page_BP = pages[2]
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
    tiles = (torch.tensor([[0, 0, 3], [1, 3, 2], [2, 5, 1]], device=DEVICE), 3)
    return first_of(
        different("forks", case.paged(pick_R, pages, tiles), whole[pick_R]),
        different("shared prefix", case.paged(pick_R, pages, tiles, prefix), whole[pick_R]),
    )


def same_gradients(
    lengths: Sequence[int], heads: tuple[int, int], D: int, kind: str, interpreted: bool = False
) -> str | None:
    """Gradients are the same in every run, and, but for the interpreter, those of the public operation."""
    case = Packed(lengths, heads, D, kind, interpreted)
    out, kept = case.forward()
    first, again = case.backward(kept), case.backward(kept)
    texts = [different(f"{n}, run again", a, b) for n, a, b in zip(NAMES[1:], first, again, strict=True)]
    if not interpreted:
        from kernels.ops.attention import attention as public

        leaves = [x.clone().requires_grad_() for x in (case.q, case.k, case.v)]
        found = public(*leaves, case.bounds, input_precision=case.precision)
        grads = torch.autograd.grad(found, leaves, case.dout)
        rounded = [x.to(case.dtype) for x in first]
        pairs = zip(NAMES, (found.detach(), *grads), (out, *rounded), strict=True)
        texts += [different(f"public {n}", a, b) for n, a, b in pairs]
    return first_of(*texts)


def by_reference(case: Packed, dtype: torch.dtype) -> list[torch.Tensor]:
    """Output and gradients of plain torch in some dtype."""
    leaves = [x.detach().to(dtype).requires_grad_() for x in (case.q, case.k, case.v)]
    out = reference.attention(*leaves, case.bounds.tolist(), [0] * len(case.lengths), case.scores)
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


def errors(
    kernel: str, heads: tuple[int, int], D: int, kind: str, T: int, interpreted: bool = False
) -> Check:
    """Against float64; ours may be twice that of plain torch in the same dtype, tf32 of plain fp16."""
    case = Packed((T,), heads, D, kind, interpreted)
    exact = by_reference(case, torch.float64)
    contenders: dict[str, Callable[[], list[torch.Tensor]]] = {
        "plain torch": partial(by_reference, case, FP16 if kind == "tf32" else case.dtype),
        **{name: partial(by_sdpa, name, case) for name in BACKENDS},
    }
    out, kept = case.forward()
    found = {"ours": measured([out, *case.backward(kept)], exact)}
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
    return {n: kernel_times.relative_error(a, b) for n, a, b in zip(NAMES, found, exact, strict=True)}


def ours(cases: Sequence[Packed], direction: str) -> list[Call]:
    """Our calls, one a set of inputs."""
    if direction == "forward":
        return [case.forward for case in cases]
    return [partial(case.backward, case.forward()[1]) for case in cases]


def theirs(report: KernelReport, backend: str, cases: Sequence[Packed], direction: str) -> list[Call]:
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


def gradient(forward: Callable[[], Any], leaves: list[torch.Tensor], case: Packed) -> Call:
    """Make the backward of a forward that is run here."""
    out, dout = forward(), case.dout.transpose(0, 1).unsqueeze(0)
    return lambda: torch.autograd.grad(out, leaves, dout, retain_graph=True)


def flex(cases: Sequence[Packed], direction: str) -> list[Call]:
    """Compiled FlexAttention's calls."""
    import torch._functorch.config as functorch
    from torch.nn.attention.flex_attention import create_block_mask, flex_attention

    torch._dynamo.reset()
    functorch.donated_buffer = False  # a graph that is kept is walked many times
    T, grad = cases[0].T, direction == "backward"
    mask = create_block_mask(lambda b, h, i, j: i >= j, None, None, T, T, device=str(DEVICE))
    compiled = torch.compile(flex_attention, dynamic=False)

    def call(leaves: list[torch.Tensor]) -> Any:
        return compiled(*leaves, block_mask=mask, enable_gqa=True)

    calls: list[Call] = []
    for case in cases:
        leaves = [x.detach().transpose(0, 1).unsqueeze(0) for x in (case.q, case.k, case.v)]
        leaves = [x.detach().requires_grad_(grad) for x in leaves]
        calls.append(gradient(partial(call, leaves), leaves, case) if grad else partial(call, leaves))
    return calls


def time(report: KernelReport, config: Config, model: str, kind: str, T: int) -> None:
    """Forward and backward of one kernel at one size."""
    shape, kernel = config.shapes()[model], f"{model} {kind}"
    (H, K), D = (shape.heads, shape.kv_heads), shape.head_dim
    if not report.green(kernel):
        report.skip(kernel, f"{kernel}, {T}")
        return
    first = Packed((T,), (H, K), D, kind, seed=config.seed)
    more = range(1, kernel_times.sets_of(first.nbytes))
    cases = [first, *(Packed((T,), (H, K), D, kind, seed=config.seed + i) for i in more)]
    size, bf16 = first.dtype.itemsize * T * D, kind == "bf16"
    names = (("flash", "cudnn", "efficient") if bf16 else ("efficient", "math")) if ON_GPU else ("flash",)
    for direction in ("forward", "backward"):
        factor = 1 if direction == "forward" else 2.5
        moved = size * (2 * H + 2 * K) * (1 if direction == "forward" else 2)
        work = Work(factor * 2 * T * T * H * D, moved, kind)
        contenders: dict[str, Maker] = {
            "ours": partial(ours, cases, direction),
            **{name: partial(theirs, report, name, cases, direction) for name in names},
        }
        aims: dict[str, float] = {}
        if ON_GPU and bf16 and config.flex_length == T:
            contenders["flex"] = partial(flex, cases, direction)
        if ON_GPU and bf16 and D == 128:
            aims = BF16_AIMS[direction]
        elif ON_GPU and kind == "tf32x3":
            aims = TF32X3_AIMS
        report.time(kernel, (kernel, direction, T), work, contenders, aims)


def verdicts(report: KernelReport) -> None:
    """On a GPU, tf32x3 is to be no worse than SDPA's efficient backend, float32 than its math."""
    for check in report.checks if ON_GPU else []:
        for kind, peer in (("tf32x3", "efficient"), ("fp32", "math")):
            if check.kernel.endswith(f" {kind}") and peer in check.errors:
                for direction, names in (("forward", NAMES[:1]), ("backward", NAMES[1:])):
                    worst = max(check.errors["ours"][n] / check.errors[peer][n] for n in names)
                    name = f"{check.kernel} {direction}, error over {peer}'s"
                    report.summary.append(Verdict(name, worst, 1.0, at_least=False))
    if not ON_GPU:
        report.summarise("flash", *CPU_AIM)


def tests(
    kernel: str, heads: tuple[int, int], D: int, kind: str, T: int, interpreted: bool = False
) -> list[tuple[str, Test]]:
    """Make the checks of a kernel; errors are those of one sequence of T tokens."""
    lengths, given = FEW_LENGTHS if interpreted else LENGTHS, (heads, D, kind, interpreted)
    few = (kernel, heads if interpreted else FEW_HEADS, D, kind, T, interpreted)
    return [
        ("rows have their bits everywhere", partial(same_rows, lengths, *given)),
        ("a shared prefix changes no bit", partial(same_prefix, *given)),
        ("gradients have their bits", partial(same_gradients, lengths[interpreted:], *given)),
        ("errors against float64", partial(errors, *few)),
    ]


def interpreted() -> dict[str, list[tuple[str, Test]]]:
    """Make the checks of the Triton kernels at tiny sizes; the interpreter knows one product of float32."""
    tiny, kinds = TINY["tiny"], ("bf16", "fp32") if TRITON else ()
    heads = (tiny.heads, tiny.kv_heads)
    names = {f"Triton tiny {kind}": kind for kind in kinds}
    return {name: tests(name, heads, tiny.head_dim, kind, 40, True) for name, kind in names.items()}


def run(config: Config) -> int:
    """Check, time and report; returns the exit status."""
    report = KernelReport("attention", config, "tokens")
    checks: dict[str, list[tuple[str, Test]]] = {}
    for model, shape in config.shapes().items():
        for kind in config.kinds:
            kernel, heads = f"{model} {kind}", (shape.heads, shape.kv_heads)
            checks[kernel] = tests(kernel, heads, shape.head_dim, kind, config.lengths[0])
    report.check(checks)
    report.check_interpreted(interpreted())
    for model in config.models:
        for kind in config.kinds:
            for T in config.lengths[: 1 if ON_GPU and kind != "bf16" else None]:
                with report.going_on(f"{model} {kind}, {T}"):
                    time(report, config, model, kind, T)
                    kernel_times.cleared()
    verdicts(report)
    return report.finish()


def main() -> int:
    """Run the command line; returns the exit status."""
    return run(tyro.cli(Config, description=__doc__))


if __name__ == "__main__":
    sys.exit(main())
