"""How near to the memory's bandwidth does attention of one new token a sequence over a paged cache come?

    python -m benchmarks.decode_attention                # on a GPU its kernels, else the CPU's; minutes
    python -m benchmarks.decode_attention --models Qwen3-4B --batches 64 --contexts 2048 --kinds bf16

First come checks: a decoded row has the bits of the same row of a packed forward, over pages in any order,
in a batch of any company, and with a shared prefix read once; errors against float64, next to those of SDPA.

Then times, with the heads of models: batches and contexts that fit into memory, each a multiple of a page of
64 tokens, in bytes a second of keys, values, queries and outputs. The yardstick is a device copy in the same
process, counting the bytes that it reads and writes; of a CPU, the bytes that a pass over memory reads. The
peers are SDPA's flash and, on a GPU, cuDNN backends over keys and values that lie in one piece, sequence by
sequence, which a cache that grows does not have.

Last, forks of one prefix, with its pages read once for all forks (the time includes both phases), against
the same pages read by each fork, and against forks that each have a copy of the prefix.

Legend: B sequences, H query heads, K kv heads, D head dim, P pages, S page size, N runs of tokens.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
import tyro
from torch.nn.attention import sdpa_kernel

from benchmarks import kernel_times
from benchmarks.attention import BACKENDS, KINDS, LENGTHS, Packed, same_prefix, same_rows
from benchmarks.kernel_report import Check, KernelReport, Test, different
from benchmarks.kernel_report import Config as KernelConfig
from benchmarks.kernel_times import DEVICE, ON_GPU, TRITON, Call, Maker, Timing, Work, noise
from benchmarks.record import Verdict
from benchmarks.shapes import TINY, Shape
from kernels.knobs import Scores
from kernels.tiling import KEY_BLOCK, SharedPrefix

# What was aimed at: a share of the bandwidth, and a ratio to forks that share nothing.
BANDWIDTH_AIM, FORKS_AIM = 0.85, 8.0 if ON_GPU else 3.0
PEERS = ("flash", "cudnn") if ON_GPU else ("flash",)
# Of a CPU's memory, for pages and what peers make of them: random numbers take seconds a gigabyte.
MEMORY = 1.5e9


@dataclass(frozen=True)
class Config(KernelConfig):
    """Options of the benchmark.

    Attributes:
        kinds: of queries and cache: bf16, fp32, or both.
        batches: numbers of sequences.
        contexts: tokens that each new token sees, a multiple of 64.
        forks: sequences that share a prefix; 0 leaves that part out.
        prefix: its tokens, a multiple of 64.
        own: further tokens of each fork.
    """

    models: tuple[str, ...] = ("Qwen3-4B",) if ON_GPU else KernelConfig.models
    kinds: tuple[str, ...] = ("bf16",) if ON_GPU else ("fp32", "bf16")
    batches: tuple[int, ...] = (1, 16, 64, 256) if ON_GPU else (1, 16, 64)
    contexts: tuple[int, ...] = (1024, 4096, 16384) if ON_GPU else (512, 2048)
    forks: int = 64
    prefix: int = 4096 if ON_GPU else 2048
    own: int = 100


class Cache:
    """Pages of random keys and values, handed out in random order, and none twice; and who reads them."""

    def __init__(self, shape: Shape, kind: str, count: int, interpreted: bool = False, seed: int = 0) -> None:
        K, D = shape.kv_heads, shape.head_dim
        self.shape, self.dtype, self.seed = shape, KINDS[kind][0], seed
        self.kernels = kernel_times.kernels(interpreted)
        self.k, self.v = (
            torch.empty(count, K, *size, dtype=self.dtype, device=DEVICE)
            for size in ((D, KEY_BLOCK), (KEY_BLOCK, D))
        )
        for i, x in enumerate((self.k, self.v)):  # by parts, since random numbers are made in float32
            for at in range(0, count, 4096):
                x[at : at + 4096] = noise(*x[at : at + 4096].shape, dtype=self.dtype, seed=seed + at + i)
        self.order = torch.randperm(count, generator=torch.Generator().manual_seed(seed)).to(DEVICE)
        self.used = 0

    def take(self, *shape: int) -> torch.Tensor:
        """Numbers of pages that nobody has yet."""
        count = torch.Size(shape).numel()
        self.used += count
        return self.order[self.used - count : self.used].view(*shape)

    def queries(self, B: int, i: int) -> torch.Tensor:
        """One new token's queries a sequence."""
        shape = (B, self.shape.heads, self.shape.head_dim)
        return noise(*shape, dtype=self.dtype, seed=self.seed + 100 + i)


def decode(
    cache: Cache, q_BHD: torch.Tensor, page_BP: torch.Tensor, context: int, prefix: SharedPrefix | None = None
) -> Call:
    """Make a call for sequences of one length; runs are made once, as they are for all layers of a model."""
    B = q_BHD.shape[0]
    position_B = torch.full((B,), context - 1, device=DEVICE)
    i_B = torch.arange(B, device=DEVICE)
    runs_N3 = torch.stack((i_B, i_B, torch.ones_like(i_B)), dim=1)
    given = (q_BHD, cache.k, cache.v, (position_B, page_BP), (runs_N3, 1), Scores(q_BHD.shape[2] ** -0.5))
    return lambda: cache.kernels.paged_attention(*given, None, "ieee", prefix)[0]


def carried(prefix_1P: torch.Tensor, B: int) -> SharedPrefix:
    """Make the prefix of B forks, each of which has all of its blocks."""
    whole = torch.tensor([[0, 0, B]], device=DEVICE)
    blocks = torch.tensor([prefix_1P.shape[1]], device=DEVICE)
    return SharedPrefix(prefix_1P, whole, B, blocks, blocks.expand(B).contiguous())


def page_bytes(shape: Shape, kind: str) -> int:
    """Of keys and values in one page."""
    return 2 * shape.kv_heads * shape.head_dim * KEY_BLOCK * KINDS[kind][0].itemsize


def moved(shape: Shape, kind: str, tokens: int, B: int) -> int:
    """Bytes of the keys and values of so many tokens, and of the queries and outputs of B rows."""
    per_head = 2 * KINDS[kind][0].itemsize * shape.head_dim
    return per_head * (tokens * shape.kv_heads + B * shape.heads)


def gathered(cache: Cache, page_BP: torch.Tensor, context: int) -> list[torch.Tensor]:
    """Keys and values of each sequence in one piece, (B, K, context, D) as SDPA has them."""
    B, P = page_BP.shape
    K, D = cache.shape.kv_heads, cache.shape.head_dim
    found = []
    for x, transposed in ((cache.k, True), (cache.v, False)):
        out = torch.empty(B, P * KEY_BLOCK, K, D, dtype=cache.dtype, device=DEVICE)
        for b in range(B):  # by sequences: the pages of all of them together may not fit twice more
            pages = x[page_BP[b]]
            pages = pages.transpose(2, 3) if transposed else pages
            out[b] = pages.transpose(1, 2).flatten(0, 1)
        found.append(out[:, :context].transpose(1, 2))
    return found


def by_sdpa(backend: str, q_BHD: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    """Compute the same rows, (B, H, 1, D), from keys and values in one piece."""
    with sdpa_kernel(BACKENDS[backend]), torch.no_grad():
        return F.scaled_dot_product_attention(q_BHD.unsqueeze(2), k, v, enable_gqa=True)


def theirs(
    backend: str, cache: Cache, qs: Sequence[torch.Tensor], pages: Sequence[torch.Tensor], context: int
) -> list[Call]:
    """Make a backend's calls, one a set of inputs."""
    given = zip(qs, pages, strict=True)
    return [partial(by_sdpa, backend, q, *gathered(cache, page, context)) for q, page in given]


def errors(kernel: str, shape: Shape, kind: str, context: int, interpreted: bool = False) -> Check:
    """Of a decode step against float64; ours may be twice SDPA's math in the same dtype."""
    B, P = 2, -(-context // KEY_BLOCK)
    cache = Cache(shape, kind, B * P, interpreted)
    q_BHD, page_BP = cache.queries(B, 0), cache.take(B, P)
    k, v = gathered(cache, page_BP, context)
    exact = by_sdpa("math", q_BHD.double(), k.double(), v.double())
    ours = decode(cache, q_BHD, page_BP, context)().unsqueeze(2)
    found = {"ours": {"out": kernel_times.relative_error(ours, exact)}}
    for backend in BACKENDS:
        try:
            found[backend] = {"out": kernel_times.relative_error(by_sdpa(backend, q_BHD, k, v), exact)}
        except RuntimeError:  # a backend that does not take these inputs
            continue
    passed = found["ours"]["out"] <= 2 * found["math"]["out"]
    detail = " ".join(f"{who} {error['out']:.1e}" for who, error in found.items())
    return Check(kernel, "errors against float64", passed, detail, found)


def same_forks(shape: Shape, kind: str, B: int, shared: int, interpreted: bool = False) -> str | None:
    """Compare a prefix of so many pages carried == read by each fork == a packed forward's last row."""
    cache = Cache(shape, kind, shared + B, interpreted)
    prefix_1P = cache.take(1, shared)
    page_BP = torch.cat((prefix_1P.expand(B, -1), cache.take(B, 1)), dim=1)
    context, q_BHD = shared * KEY_BLOCK + 37, cache.queries(B, 0)
    each = decode(cache, q_BHD, page_BP, context)()
    once = decode(cache, q_BHD, page_BP, context, carried(prefix_1P, B))()
    if text := different("prefix read once", once, each):
        return text
    last = B - 1
    packed = Packed((context,), (shape.heads, shape.kv_heads), shape.head_dim, kind, interpreted)
    k, v = gathered(cache, page_BP[last:], context)
    packed.k, packed.v = (x.squeeze(0).transpose(0, 1).contiguous() for x in (k, v))
    packed.q[-1] = q_BHD[last]
    return different("packed forward", packed.forward()[0][-1:], each[last:])


def free_bytes() -> float:
    """Memory that a benchmark may still ask for, leaving a tenth of a GPU's."""
    return 0.9 * torch.cuda.mem_get_info(DEVICE)[0] if ON_GPU else MEMORY


def time(
    report: KernelReport, config: Config, model: str, kind: str, B: int, context: int, bandwidth: float
) -> None:
    """One batch and context."""
    shape, kernel, P = config.shapes()[model], f"{model} {kind}", -(-context // KEY_BLOCK)
    size = moved(shape, kind, B * context, B)
    sets = kernel_times.sets_of(size)
    # Our pages, and the same keys and values in one piece, which the peers make each for itself.
    if 3.2 * sets * size > free_bytes():
        report.note(f"{kernel}: batch {B} with {context} tokens each does not fit into memory")
        return
    cache = Cache(shape, kind, sets * B * P, seed=config.seed)
    qs = [cache.queries(B, i) for i in range(sets)]
    pages = [cache.take(B, P) for _ in range(sets)]
    contenders: dict[str, Maker] = {
        "ours": lambda: [decode(cache, q, page, context) for q, page in zip(qs, pages, strict=True)],
        **{f"{who}, no pages": partial(theirs, who, cache, qs, pages, context) for who in PEERS},
    }
    work = Work(4.0 * B * context * shape.heads * shape.head_dim, size, kind)

    def share(ours: Timing) -> list[Verdict]:
        return [Verdict("of the bandwidth", size / ours.seconds / bandwidth, BANDWIDTH_AIM)]

    place = (f"{kernel} batch {B}", "", context)
    report.time(kernel, place, work, contenders, verdicts=share)


def time_forks(report: KernelReport, config: Config, model: str, kind: str) -> None:
    """Forks of a prefix: its pages read once, by each, or copied for each."""
    shape, kernel, B = config.shapes()[model], f"{model} {kind}", config.forks
    shared, own = config.prefix // KEY_BLOCK, -(-config.own // KEY_BLOCK)
    context = config.prefix + config.own
    once = moved(shape, kind, config.prefix + B * config.own, B)
    sets = kernel_times.sets_of(once)
    copies = kernel_times.sets_of(moved(shape, kind, B * context, B))
    pages = sets * (shared + B * own) + copies * B * (shared + own)
    copied = pages * page_bytes(shape, kind) <= free_bytes()
    if not copied:
        report.note(f"{kernel}: {B} copies of {config.prefix} tokens do not fit into memory")
        pages = sets * (shared + B * own)
    cache = Cache(shape, kind, pages, seed=config.seed)
    qs = [cache.queries(B, i) for i in range(max(sets, copies))]
    prefixes = [cache.take(1, shared) for _ in range(sets)]
    forks = [torch.cat((page.expand(B, -1), cache.take(B, own)), dim=1) for page in prefixes]
    apart = [cache.take(B, shared + own) for _ in range(copies)] if copied else []
    contenders: dict[str, Maker] = {
        "ours": lambda: [
            decode(cache, q, page, context, carried(prefix, B))
            for q, page, prefix in zip(qs, forks, prefixes, strict=False)
        ],
        "read by each": lambda: [decode(cache, q, page, context) for q, page in zip(qs, forks, strict=False)],
    }
    if copied:
        contenders["copied for each"] = lambda: [
            decode(cache, q, page, context) for q, page in zip(qs, apart, strict=False)
        ]
    work = Work(4.0 * B * context * shape.heads * shape.head_dim, once, kind)
    aims = dict.fromkeys(("read by each", "copied for each"), FORKS_AIM)
    place = (f"{kernel} {B} forks of {config.prefix}", "", context)
    report.time(kernel, place, work, contenders, aims)


def tests(kernel: str, shape: Shape, kind: str, interpreted: bool = False) -> list[tuple[str, Test]]:
    """Make the checks of a kernel."""
    heads, D = (shape.heads, shape.kv_heads), shape.head_dim
    lengths = (66, 1, 9) if interpreted else LENGTHS
    forks = (3, 1) if interpreted else (64, 64 if ON_GPU else 16)
    context = 100 if interpreted else 4000 if ON_GPU else 1000
    return [
        ("rows have their bits everywhere", partial(same_rows, lengths, heads, D, kind, interpreted)),
        ("a shared prefix changes no bit", partial(same_prefix, heads, D, kind, interpreted)),
        ("forks have their bits", partial(same_forks, shape, kind, *forks, interpreted)),
        ("errors against float64", partial(errors, kernel, shape, kind, context, interpreted)),
    ]


def run(config: Config) -> int:
    """Check, time and report; returns the exit status."""
    report = KernelReport("decode_attention", config, "tokens of context", moves=True)
    shapes = config.shapes()
    kinds = [(model, kind) for model in shapes for kind in config.kinds]
    report.check({f"{model} {kind}": tests(f"{model} {kind}", shapes[model], kind) for model, kind in kinds})
    triton = "Triton tiny bf16"
    report.check_interpreted({triton: tests(triton, TINY["tiny"], "bf16", True)} if TRITON else {})
    with report.going_on("times"):
        bandwidth = kernel_times.bandwidth(config.rounds)
        report.figures["bytes_per_second"] = bandwidth
        what = "device copy, read and written" if ON_GPU else "memory, read"
        report.say(f"{what}: {bandwidth / report.unit:.3g} {report.rate}")
        for model, kind in kinds:
            kernel = f"{model} {kind}"
            if not report.green(kernel):
                report.skip(kernel, kernel)
                continue
            for B in config.batches:
                for context in config.contexts:
                    with report.going_on(f"{kernel} batch {B}, {context}"):
                        time(report, config, model, kind, B, context, bandwidth)
                        kernel_times.cleared()
            if config.forks:
                with report.going_on(f"{kernel} forks"):
                    time_forks(report, config, model, kind)
                    kernel_times.cleared()
    if not ON_GPU:
        report.summarise("flash, no pages", 1.0, 0.8)
    return report.finish()


def main() -> int:
    """Run the command line; returns the exit status."""
    config = tyro.cli(Config, description=__doc__)
    unknown = set(config.kinds) - {"bf16", "fp32"}
    if unknown or any(n % KEY_BLOCK or n < 1 for n in (config.prefix, *config.contexts)):
        text = f"kinds must be of bf16 and fp32, contexts and prefix multiples of {KEY_BLOCK}"
        print(f"error: {text}", file=sys.stderr)
        return 1
    return run(config)


if __name__ == "__main__":
    sys.exit(main())
