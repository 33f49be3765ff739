"""How near to the memory's bandwidth does attention of one new token a sequence over a paged cache come?

    python -m benchmarks.decode_attention                # on a GPU; minutes
    python -m benchmarks.decode_attention --batches 64 --contexts 4096 --dtypes bf16

First come checks: a decoded row has the bits of the same row of a packed forward, over pages in any order,
in a batch of any company, and with a shared prefix read once; errors against float64, next to those of SDPA.

Then times, with Qwen3's heads: batches and contexts that fit into memory, each a multiple of a page of
64 tokens, in bytes a second of keys, values, queries and outputs. The yardstick is a device copy in the same
process, counting the bytes that it reads and writes. The peers are SDPA's flash and cuDNN backends over keys
and values that lie in one piece, sequence by sequence, which a cache that grows does not have.

Last, 64 forks of one prefix, with its pages read once for all forks (the time includes both phases), against
the same pages read by each fork, and against forks that each have a copy of the prefix.
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

from benchmarks import gpu
from benchmarks.attention import BACKENDS, Packed, same_prefix, same_rows
from benchmarks.gpu import DEVICE, SMOKE, Check, KernelReport, Timing, Verdict, Work, noise
from kernels.gpu import attention
from kernels.knobs import Scores
from kernels.tiling import KEY_BLOCK, SharedPrefix

# Legend: B sequences, H query heads, K kv heads, D head dim, P pages, S page size, N runs of tokens.

DTYPES = {"bf16": torch.bfloat16, "fp32": torch.float32}
# What was aimed at: a share of the copy's bandwidth, and a ratio to forks that share nothing.
BANDWIDTH_AIM, FORKS_AIM = 0.85, 8.0


@dataclass(frozen=True)
class Config(gpu.Config):
    """Options of the benchmark.

    Attributes:
        dtypes: of queries and cache: bf16, fp32 (ieee), or both.
        batches: numbers of sequences.
        contexts: tokens that each new token sees, a multiple of 64.
        heads: query heads and kv heads.
        head_dim: of queries, keys and values.
        forks: sequences that share a prefix; 0 leaves that part out.
        prefix: its tokens, a multiple of 64.
        own: further tokens of each fork.
    """

    dtypes: tuple[str, ...] = ("bf16",)
    batches: tuple[int, ...] = (1, 16, 64, 256)
    contexts: tuple[int, ...] = (1024, 4096, 16384)
    heads: tuple[int, int] = (32, 8)
    head_dim: int = 128
    forks: int = 64
    prefix: int = 4096
    own: int = 100


class Cache:
    """Pages of random keys and values, handed out in random order, and none twice."""

    def __init__(self, config: Config, dtype: torch.dtype, count: int) -> None:
        K, D = config.heads[1], config.head_dim
        self.config, self.dtype = config, dtype
        self.k, self.v = (torch.empty(count, K, *shape, dtype=dtype, device=DEVICE) for shape in (
            (D, KEY_BLOCK), (KEY_BLOCK, D)
        ))  # fmt: skip
        for i, x in enumerate((self.k, self.v)):  # by parts, since random numbers are made in float32
            for at in range(0, count, 4096):
                x[at : at + 4096] = noise(*x[at : at + 4096].shape, dtype=dtype, seed=config.seed + at + i)
        self.order = torch.randperm(count, generator=torch.Generator().manual_seed(config.seed)).to(DEVICE)
        self.used = 0

    @staticmethod
    def page_bytes(config: Config, dtype: torch.dtype) -> int:
        """Of keys and values in one page."""
        return 2 * config.heads[1] * config.head_dim * KEY_BLOCK * dtype.itemsize

    def take(self, *shape: int) -> torch.Tensor:
        """Numbers of pages that nobody has yet."""
        count = torch.Size(shape).numel()
        self.used += count
        return self.order[self.used - count : self.used].view(*shape)


def queries(config: Config, B: int, dtype: torch.dtype, i: int) -> torch.Tensor:
    """One new token's queries a sequence."""
    return noise(B, config.heads[0], config.head_dim, dtype=dtype, seed=config.seed + 100 + i)


def decode(
    cache: Cache, q_BHD: torch.Tensor, page_BP: torch.Tensor, context: int, prefix: SharedPrefix | None = None
) -> gpu.Call:
    """Make a call for sequences of one length; runs are made once, as they are for all layers of a model."""
    B = q_BHD.shape[0]
    position_B = torch.full((B,), context - 1, device=DEVICE)
    i_B = torch.arange(B, device=DEVICE)
    runs_N3 = torch.stack((i_B, i_B, torch.ones_like(i_B)), dim=1)
    given = (q_BHD, cache.k, cache.v, position_B, page_BP, (runs_N3, 1), Scores(q_BHD.shape[2] ** -0.5))
    return lambda: attention.paged(*given, prefix=prefix)[0]


def moved(config: Config, dtype: torch.dtype, tokens: int, B: int) -> int:
    """Bytes of the keys and values of so many tokens, and of the queries and outputs of B rows."""
    H, K = config.heads
    return 2 * dtype.itemsize * config.head_dim * (tokens * K + B * H)


def gathered(cache: Cache, page_BP: torch.Tensor, context: int) -> list[torch.Tensor]:
    """Keys and values of each sequence in one piece, (B, K, context, D) as SDPA has them."""
    B, P = page_BP.shape
    K, D = cache.config.heads[1], cache.config.head_dim
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
) -> list[gpu.Call]:
    """Make a backend's calls, one a set of inputs."""
    given = zip(qs, pages, strict=True)
    return [partial(by_sdpa, backend, q, *gathered(cache, page, context)) for q, page in given]


def errors(config: Config, kernel: str, dtype: torch.dtype) -> Check:
    """Of a decode step against float64; ours may be twice SDPA's math in the same dtype."""
    B, context = 2, 100 if SMOKE else 4000
    P = -(-context // KEY_BLOCK)
    cache, q_BHD = Cache(config, dtype, B * P), queries(config, B, dtype, 0)
    page_BP = cache.take(B, P)
    k, v = gathered(cache, page_BP, context)
    exact = by_sdpa("math", q_BHD.double(), k.double(), v.double())
    found = {
        "ours": {"out": gpu.relative_error(decode(cache, q_BHD, page_BP, context)().unsqueeze(2), exact)}
    }
    for backend in BACKENDS:
        try:
            found[backend] = {"out": gpu.relative_error(by_sdpa(backend, q_BHD, k, v), exact)}
        except RuntimeError:  # a backend that does not take these inputs
            continue
    passed = found["ours"]["out"] <= 2 * found["math"]["out"]
    detail = " ".join(f"{who} {error['out']:.1e}" for who, error in found.items())
    return Check(kernel, "errors against float64", passed, detail, found)


def free_bytes() -> float:
    """Memory that a benchmark may still ask for, leaving a tenth."""
    return 1e8 if SMOKE else 0.9 * torch.cuda.mem_get_info(DEVICE)[0]


def time(report: KernelReport, config: Config, name: str, B: int, context: int, bandwidth: float) -> None:
    """One batch and context."""
    dtype, kernel, P = DTYPES[name], f"paged {name}", -(-context // KEY_BLOCK)
    size = moved(config, dtype, B * context, B)
    sets = gpu.sets_of(size)
    # Our pages, and the same keys and values in one piece, which the peers make each for itself.
    if 3.2 * sets * size > free_bytes():
        report.note(f"{kernel}: batch {B} with {context} tokens each does not fit into memory")
        return
    cache = Cache(config, dtype, sets * B * P)
    qs = [queries(config, B, dtype, i) for i in range(sets)]
    pages = [cache.take(B, P) for _ in range(sets)]
    contenders: dict[str, gpu.Maker] = {
        "ours": lambda: [decode(cache, q, page, context) for q, page in zip(qs, pages, strict=True)],
        **{f"{who}, no pages": partial(theirs, who, cache, qs, pages, context) for who in ("flash", "cudnn")},
    }
    H, D = config.heads[0], config.head_dim
    work = Work(4.0 * B * context * H * D, size, "bf16" if name == "bf16" else "fp32")

    def share(ours: Timing) -> list[Verdict]:
        return [Verdict("of the copy's bandwidth", size / ours.seconds / bandwidth, BANDWIDTH_AIM)]

    report.time(kernel, f"{kernel} batch {B}", context, work, contenders, verdicts=share)


def time_forks(report: KernelReport, config: Config, name: str) -> None:
    """Forks of a prefix: its pages read once, by each, or copied for each."""
    dtype, kernel, B = DTYPES[name], f"paged {name}", config.forks
    shared, own = config.prefix // KEY_BLOCK, -(-config.own // KEY_BLOCK)
    context = config.prefix + config.own
    once = moved(config, dtype, config.prefix + B * config.own, B)
    sets, copies = gpu.sets_of(once), gpu.sets_of(moved(config, dtype, B * context, B))
    pages = sets * (shared + B * own) + copies * B * (shared + own)
    if pages * Cache.page_bytes(config, dtype) > free_bytes():
        report.note(f"{kernel}: {B} forks of {config.prefix} tokens do not fit into memory")
        return
    cache = Cache(config, dtype, pages)
    qs = [queries(config, B, dtype, i) for i in range(max(sets, copies))]
    prefixes = [cache.take(1, shared) for _ in range(sets)]
    forks = [torch.cat((page.expand(B, -1), cache.take(B, own)), dim=1) for page in prefixes]
    apart = [cache.take(B, shared + own) for _ in range(copies)]

    def carried(page_1P: torch.Tensor) -> SharedPrefix:
        whole = torch.tensor([[0, 0, B]], device=DEVICE)
        blocks = torch.tensor([shared], device=DEVICE)
        return SharedPrefix(page_1P, whole, B, blocks, blocks.expand(B).contiguous())

    contenders: dict[str, gpu.Maker] = {
        "ours": lambda: [
            decode(cache, q, page, context, carried(prefix))
            for q, page, prefix in zip(qs, forks, prefixes, strict=False)
        ],
        "read by each": lambda: [decode(cache, q, page, context) for q, page in zip(qs, forks, strict=False)],
        "copied for each": lambda: [
            decode(cache, q, page, context) for q, page in zip(qs, apart, strict=False)
        ],
    }
    H, D = config.heads[0], config.head_dim
    work = Work(4.0 * B * context * H * D, once, "bf16" if name == "bf16" else "fp32")
    aims = dict.fromkeys(("read by each", "copied for each"), FORKS_AIM)
    report.time(kernel, f"{kernel} {B} forks of {config.prefix}", context, work, contenders, aims)


def run(config: Config) -> int:
    """Check, time and report; returns the exit status."""
    report = KernelReport("decode_attention", config, "TB/s", "tokens of context")
    lengths = (66, 1, 9) if SMOKE else (1027, 700, 64, 1, 333)
    tests: dict[str, list[tuple[str, gpu.Test]]] = {}
    for name in config.dtypes:
        dtype, kernel = DTYPES[name], f"paged {name}"
        given = (config.heads, config.head_dim, dtype, "ieee")
        tests[kernel] = [
            ("rows have their bits everywhere", partial(same_rows, lengths, *given)),
            ("a shared prefix changes no bit", partial(same_prefix, *given)),
            ("forks have their bits", partial(same_forks, config, dtype)),
            ("errors against float64", partial(errors, config, kernel, dtype)),
        ]
    report.check(tests)
    with report.going_on("times"):
        bandwidth = gpu.copy_bandwidth(config.rounds)
        report.figures["copy_bytes_per_second"] = bandwidth
        report.say(f"device copy: {bandwidth / 1e12:.3g} TB/s, read and written")
        for name in config.dtypes:
            kernel = f"paged {name}"
            if not report.green(kernel):
                report.skip(kernel, kernel)
                continue
            for B in config.batches:
                for context in config.contexts:
                    with report.going_on(f"{kernel} batch {B}, {context}"):
                        time(report, config, name, B, context, bandwidth)
                        gpu.cleared()
            if config.forks:
                time_forks(report, config, name)
                gpu.cleared()
    return report.finish()


def same_forks(config: Config, dtype: torch.dtype) -> str | None:
    """At the size that is timed: the prefix carried == read by each fork == a packed forward's last row."""
    B = 3 if SMOKE else 64
    shared = 1 if SMOKE else 64
    cache = Cache(config, dtype, shared + B)
    prefix_1P = cache.take(1, shared)
    page_BP = torch.cat((prefix_1P.expand(B, -1), cache.take(B, 1)), dim=1)
    context, q_BHD = shared * KEY_BLOCK + 37, queries(config, B, dtype, 0)
    blocks = torch.tensor([shared], device=DEVICE)
    prefix = SharedPrefix(
        prefix_1P, torch.tensor([[0, 0, B]], device=DEVICE), B, blocks, blocks.expand(B).contiguous()
    )
    each = decode(cache, q_BHD, page_BP, context)()
    once = decode(cache, q_BHD, page_BP, context, prefix)()
    if text := gpu.different("prefix read once", once, each):
        return text
    last = B - 1
    packed = Packed((context,), config.heads, config.head_dim, dtype)
    k, v = gathered(cache, page_BP[last:], context)
    packed.k, packed.v = (x.squeeze(0).transpose(0, 1).contiguous() for x in (k, v))
    packed.q[-1] = q_BHD[last]
    return gpu.different("packed forward", packed.forward()[0][-1:], each[last:])


def main() -> int:
    """Run the command line; returns the exit status."""
    default = Config()
    if SMOKE:
        default = Config(
            batches=(1, 3), contexts=(64,), heads=(2, 1), head_dim=16, forks=3, prefix=64, own=5, rounds=1
        )
    config = tyro.cli(Config, description=__doc__, default=default)
    unknown = set(config.dtypes) - DTYPES.keys()
    if unknown or any(n % KEY_BLOCK or n < 1 for n in (config.prefix, *config.contexts)):
        text = f"dtypes must be of {', '.join(DTYPES)}, contexts and prefix multiples of {KEY_BLOCK}"
        print(f"error: {text}", file=sys.stderr)
        return 1
    return run(config)


if __name__ == "__main__":
    sys.exit(main())
