"""Is what the sampler reports what the trainer computes, bit for bit? And do products keep rows apart here?

`compare` scores sampled tokens by the trainer's forward and counts bits that differ; `probe` checks, on this
machine and for a model's own matrices, the one rule that parity rests on: a row's product does not depend on
the rows beside it.

Legend: R rows, K inner width, N outer width.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.autograd.graph import saved_tensors_hooks

from kernels import backend
from kernels.ops.matmul import grouped_matmul, matmul
from kernels.panels import PANEL
from minillm.api.outputs import RequestOutput
from minillm.errors import MinillmError
from minillm.model.logprobs import token_logprobs
from minillm.model.transformer import Transformer

# Tokens of one forward of the trainer.
TOKENS = 4096
# Numbers of rows that are compared: around the tiles of kernels, and those that BLAS libraries treat apart.
ROWS = (1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 13, 16, 17, 31, 33, 64)


@dataclass(frozen=True)
class Difference:
    """Where sampler and trainer part: the `position`-th sampled token of a sequence, and its two logprobs.

    `sequence` counts, from 0, those that were compared.
    """

    sequence: int
    position: int
    token_id: int
    sampled: float
    trained: float

    def __str__(self) -> str:
        return (
            f"sequence {self.sequence}, sampled token {self.position} (id {self.token_id}): the sampler says "
            f"{self.sampled!r}, the trainer {self.trained!r}"
        )


@dataclass
class Parity:
    """How the logprobs of sampled tokens compare; `add` counts one sequence.

    `differing` are tokens whose two logprobs differ, `bits` the bits in which they do, as float32. `largest`
    and `total` are of absolute differences, in nats.
    """

    sequences: int = 0
    tokens: int = 0
    differing: int = 0
    bits: int = 0
    largest: float = 0.0
    total: float = 0.0
    first: Difference | None = None

    @property
    def mean(self) -> float:
        """Mean absolute difference, in nats."""
        return self.total / max(1, self.tokens)

    def add(self, token_ids: Sequence[int], sampled_T: torch.Tensor, trained_T: torch.Tensor) -> None:
        """Count one sequence's sampled tokens; both float32, (T,)."""
        if not sampled_T.shape == trained_T.shape == (len(token_ids),):
            raise MinillmError(
                f"{len(token_ids)} tokens have {tuple(sampled_T.shape)} and {tuple(trained_T.shape)} logprobs"
            )
        left_T, right_T = (x.detach().float().cpu() for x in (sampled_T, trained_T))
        changed_T = left_T.view(torch.int32) ^ right_T.view(torch.int32)
        where = changed_T.nonzero().flatten().tolist()
        if where and self.first is None:
            t = where[0]
            self.first = Difference(self.sequences, t, token_ids[t], left_T[t].item(), right_T[t].item())
        gap_T = (left_T.double() - right_T.double()).abs()
        # Equal infinities are not apart, and NaN is as far from a number as can be: sums go on either way.
        gap_T = gap_T.nan_to_num(nan=torch.inf, posinf=torch.inf).masked_fill(changed_T == 0, 0.0)
        self.sequences += 1
        self.tokens += len(token_ids)
        self.differing += len(where)
        self.bits += sum((value & 0xFFFFFFFF).bit_count() for value in changed_T[where].tolist())
        self.largest = max(self.largest, gap_T.max().item()) if len(token_ids) else self.largest
        self.total += gap_T.sum().item()

    def __str__(self) -> str:
        said = f"{self.tokens} tokens of {self.sequences} sequences: {self.differing} differ"
        return said if self.first is None else f"{said}, in {self.bits} bits; first {self.first}"


def _nothing(_: object) -> Any:
    """Keep nothing for a gradient."""


def compare(
    model: Transformer,
    outputs: Iterable[RequestOutput],
    temperature: float = 1.0,
    into: Parity | None = None,
    advance: Callable[[int], None] = lambda tokens: None,
) -> Parity:
    """Compare logprobs that the sampler reported with the trainer's forward over the same tokens.

    It is the forward that a gradient flows through, though nothing is kept for one. `outputs` were sampled
    from `model` at `temperature` with `logprobs=0` or more. Adds to `into`, if it is given; `advance` is told
    of sampled tokens that were compared. Raises `MinillmError` for outputs without logprobs.
    """
    parity = Parity() if into is None else into
    # Of sequences that are scored together: the prompt's length, all tokens, and what the sampler reported.
    group: list[tuple[int, list[int], torch.Tensor]] = []

    def flush() -> None:
        with torch.inference_mode(False), torch.enable_grad(), saved_tensors_hooks(_nothing, _nothing):
            trained = token_logprobs(model, [whole for _, whole, _ in group], temperature)
        for (start, whole, sampled_T), trained_T in zip(group, trained, strict=True):
            parity.add(whole[start:], sampled_T, trained_T[start - 1 :])
            advance(len(whole) - start)
        group.clear()

    for output in outputs:
        for completion in output.outputs:
            if not completion.token_ids:
                continue
            whole = [*output.prompt_token_ids, *completion.token_ids]
            if group and sum(len(tokens) for _, tokens, _ in group) + len(whole) > TOKENS:
                flush()
            sampled_T = torch.tensor(completion.token_logprobs)
            group.append((len(output.prompt_token_ids), whole, sampled_T))
    if group:
        flush()
    return parity


@dataclass(frozen=True)
class Probe:
    """What `probe` found: which products ran (`path`), how many shapes, and those that do not hold."""

    path: str
    shapes: int
    broken: list[str] = field(default_factory=list)

    @property
    def holds(self) -> bool:
        """Whether every product keeps rows apart, and kernels are there that promise it for all else."""
        return not self.broken and self.path != "plain torch"

    def __str__(self) -> str:
        if self.holds:
            return f"row invariance holds for all {self.shapes} matrix shapes ({self.path})"
        if not self.broken:
            return (
                f"row invariance held for all {self.shapes} matrix shapes, but {self.path} promises none of "
                "it: logprobs of sampler and trainer may differ in their last bits; use fp32 or bf16"
            )
        advice = "this is a fault, of kernels that should keep rows apart: please report it"
        if self.path == "plain torch":
            advice = "use fp32 or bf16, whose kernels keep rows apart"
        return (
            f"ROW INVARIANCE DOES NOT HOLD ({self.path}): {'; '.join(self.broken)}. Logprobs of sampler and "
            f"trainer will differ in their last bits; {advice}"
        )


@torch.no_grad()
def probe(model: Transformer, rows: Sequence[int] = ROWS) -> Probe:
    """Find out whether a row's product depends on the rows beside it, for each shape of `model`'s matrices.

    The products are those that the model runs: kernels where there are any for its precision and device, else
    plain torch. A shape holds if every number of rows gives the bits that the same rows have among all.
    Sums are compared as they are, in float32: rounded to bfloat16, most of what differs would look the same.
    """
    head = model.head
    kernels = backend.find(head.device, model.precision.compute)
    path = "plain torch" if kernels is None else f"{str(head.device).upper()} kernels"
    named: dict[str, torch.Tensor] = dict(model.named_parameters())
    seen: dict[tuple[object, ...], tuple[str, torch.dtype]] = {}
    for name, w in named.items():
        if w.dim() >= 3 and not name.endswith("_scales"):
            dtype = model.read_dtype(name)
            seen.setdefault((w.dim(), w.shape[-3:], w.dtype, dtype), (name, dtype))
    broken = []
    for name, dtype in seen.values():
        w, scales = named[name], named.get(f"{name}_scales")
        if w.dim() == 4:  # of experts one is as good as another
            w, scales = w[:1], None if scales is None else scales[:1]
        N, K = w.shape[-3] * PANEL, w.shape[-2]
        w = w if scales is not None else w.to(dtype)
        generator = torch.Generator().manual_seed(0)
        x_RK = torch.randn(max(rows) + 3, K, generator=generator).to(head.device, dtype)
        together = _product(x_RK, w, N, scales)
        wrong = [
            R
            for R in rows
            for part in (slice(R), slice(-R, None))
            if not torch.equal(_product(x_RK[part], w, N, scales), together[part])
        ]
        if wrong:
            broken.append(f"{name} ({K} by {N}) with {', '.join(map(str, dict.fromkeys(wrong)))} rows")
    return Probe(path, len(seen), broken)


def _product(x_RK: torch.Tensor, w: torch.Tensor, N: int, scales: torch.Tensor | None) -> torch.Tensor:
    if w.dim() == 3:
        return matmul(x_RK, w, N, scales, wide=True)
    return grouped_matmul(x_RK, w, N, torch.tensor([0, len(x_RK)], device=x_RK.device), scales)
