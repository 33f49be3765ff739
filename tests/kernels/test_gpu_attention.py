"""The Triton attention kernels, on a GPU or, slowly, in Triton's interpreter: errors, and bits.

An error, the largest of a tensor, is allowed to be twice that of plain torch in the same dtype,
measured here on the same inputs. Memory that a launch allocates holds NaN before.

Legend: T packed tokens, B sequences, H query heads, K kv heads, D head dim of queries and keys,
E head dim of values, P pages, S page size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch

pytest.importorskip("triton")

from kernels import reference
from kernels.gpu import attention, attention_backward, attention_tile
from kernels.knobs import Scores
from kernels.tiling import KEY_BLOCK, SharedPrefix, positions, work_list

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
FP32, BF16, FP16 = torch.float32, torch.bfloat16, torch.float16
ALL_KNOBS = {"window": 20, "softcap": 3.0, "sinks": True, "scale": 0.3}
TILTED = {**ALL_KNOBS, "slopes": True}


@pytest.fixture(autouse=True)
def poison(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever torch.empty gives out is NaN where it can be."""
    for name in ("empty", "empty_like"):
        plain = getattr(torch, name)

        def poisoned(*args: Any, plain: Any = plain, **kwargs: Any) -> torch.Tensor:
            out: torch.Tensor = plain(*args, **kwargs)
            return out.fill_(torch.nan) if out.is_floating_point() else out

        monkeypatch.setattr(torch, name, poisoned)


@dataclass
class Case:
    """Packed sequences, and what is asked of them."""

    lengths: Sequence[int]
    heads: tuple[int, int]
    D: int
    E: int
    dtype: torch.dtype
    knobs: dict[str, Any]
    gain: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        self.T, (H, K) = sum(self.lengths), self.heads
        self.bounds = torch.tensor([0, *self.lengths]).cumsum(0).to(DEVICE)
        generator = torch.Generator().manual_seed(self.seed)

        def noise(*shape: int, gain: float = 1.0) -> torch.Tensor:
            return (torch.randn(shape, generator=generator) * gain).to(DEVICE, self.dtype)

        self.q = noise(self.T, H, self.D, gain=self.gain)
        self.k, self.v = noise(self.T, K, self.D, gain=self.gain), noise(self.T, K, self.E)
        self.dout = noise(self.T, H, self.E)
        knobs = {"scale": self.D**-0.5, **self.knobs}
        self.sinks = noise(H) if knobs.pop("sinks", False) else None
        slopes = 0.6 ** torch.arange(1.0, H + 1, device=DEVICE) if knobs.pop("slopes", False) else None
        precision = knobs.pop("input_precision", "ieee")
        self.scores = Scores(**knobs, slopes_H=slopes)
        self.options = (self.scores, self.sinks, precision)

    def forward(self, tile_tokens: int = 16) -> tuple[torch.Tensor, torch.Tensor]:
        """The kernel over packed keys."""
        tiles = (work_list(self.bounds, self.T, tile_tokens), tile_tokens)
        position = positions(self.bounds, self.T)
        return attention.forward(self.q, self.k, self.v, position, tiles, *self.options)

    def ours(self) -> list[torch.Tensor]:
        """The output and all gradients."""
        out, softmax = self.forward()
        found = attention_backward.backward(
            self.dout, self.q, self.k, self.v, out, softmax, self.bounds, *self.options
        )
        return [out, *(x for x in found if x is not None)]

    def oracle(self, dtype: torch.dtype) -> list[torch.Tensor]:
        """The same from plain torch."""
        inputs = [self.q, self.k, self.v, *([] if self.sinks is None else [self.sinks])]
        leaves = [x.detach().to(dtype).requires_grad_() for x in inputs]
        bounds = sorted(set(self.bounds.tolist()))
        starts = [0] * (len(bounds) - 1)
        sinks = leaves[3] if len(leaves) > 3 else None
        out = reference.attention(leaves[0], leaves[1], leaves[2], bounds, starts, self.scores, sinks)
        return [out.detach(), *torch.autograd.grad(out, leaves, self.dout.to(dtype))]


def check(case: Case) -> None:
    """Output and gradients, within twice the error of plain torch in the same dtype.

    There are so few sinks that plain torch's largest error in their gradients is anything from a tenth of to
    ten times ours, by the machine's order of sums; it is the largest of four draws.
    """
    names = ("out", "dq", "dk", "dv", "dsinks")
    exacts = case.oracle(torch.float64)
    usual = errors(case.oracle(case.dtype), exacts)
    if case.sinks is not None:
        draws = [replace(case, seed=seed) for seed in (1, 2, 3)]
        usual[4] = max(usual[4], *(errors(x.oracle(x.dtype), x.oracle(torch.float64))[4] for x in draws))
    ours = case.ours()
    for name, x, error, theirs, exact in zip(names, ours, errors(ours, exacts), usual, exacts, strict=False):
        assert x.dtype == case.dtype and x.shape == exact.shape
        assert error <= 2 * theirs, f"{name}: {error:.2e}, of plain torch {theirs:.2e}"


def errors(found: Sequence[torch.Tensor], exact: Sequence[torch.Tensor]) -> list[float]:
    """The largest of each tensor."""
    return [(x.double() - true).abs().max().item() for x, true in zip(found, exact, strict=True)]


@pytest.mark.parametrize(
    ("lengths", "heads", "D", "E", "knobs"),
    [
        ((1, 63, 64), (2, 2), 16, 16, {}),
        ((65, 0, 7), (3, 1), 80, 80, {}),
        ((111,), (8, 1), 64, 64, {"window": 20}),
        ((111, 5), (2, 1), 16, 16, {"window": -30}),
        ((257,), (1, 1), 32, 32, {"softcap": 3.0}),
        ((40, 3), (2, 1), 96, 112, {"sinks": True}),
        ((33, 5), (2, 2), 192, 128, {"scale": 0.3}),
        ((70, 0), (2, 1), 256, 256, {}),
        ((0, 50, 20), (6, 2), 20, 36, ALL_KNOBS),
        ((150, 3), (3, 1), 16, 16, {"slopes": True}),
        ((0, 50, 20), (6, 2), 20, 36, TILTED),
    ],
    ids=str,
)
def test_fp32(lengths: Sequence[int], heads: tuple[int, int], D: int, E: int, knobs: dict[str, Any]) -> None:
    check(Case(lengths, heads, D, E, FP32, knobs))


@pytest.mark.parametrize("dtype", [BF16, FP16])
@pytest.mark.parametrize(
    ("lengths", "heads", "D", "E", "knobs"),
    [((65, 10), (3, 1), 80, 64, {}), ((80,), (2, 2), 64, 64, ALL_KNOBS), ((80,), (2, 1), 64, 64, TILTED)],
    ids=str,
)
def test_halves(
    lengths: Sequence[int], heads: tuple[int, int], D: int, E: int, knobs: dict[str, Any], dtype: torch.dtype
) -> None:
    check(Case(lengths, heads, D, E, dtype, knobs))


@pytest.mark.parametrize(
    "choice", [attention_tile.Config(16, 16, 16, 4, 1), attention_tile.Config(64, 32, 32, 4, 1)], ids=str
)
def test_other_tiles(choice: attention_tile.Config, monkeypatch: pytest.MonkeyPatch) -> None:
    """What other targets run: smaller key blocks, and head dims that are walked in chunks."""
    for module in (attention, attention_backward):
        monkeypatch.setattr(module, "config", lambda *_: choice)
    check(Case((35, 9), (2, 1), 48, 80, FP32, TILTED))
    check_rows(Case((70, 3), (2, 1), 20, 16, FP32, {"window": 30, "sinks": True}))


@pytest.mark.parametrize("dtype", [FP32, BF16])
def test_huge_scores(dtype: torch.dtype) -> None:
    """Scores to 1e4 and beyond, of both signs."""
    case = Case((70,), (2, 1), 64, 64, dtype, {"sinks": True}, gain=40.0)
    scores = torch.einsum("thd,skd->hts", case.q.double(), case.k.double()) / 8
    assert scores.max() > 5e3 and scores.min() < -5e3
    check(case)


def test_no_sequence_and_no_token() -> None:
    case = Case((0, 0), (2, 1), 16, 16, FP32, {"sinks": True})
    out, softmax = case.forward()
    assert out.shape == (0, 2, 16)
    found = attention_backward.backward(
        case.dout, case.q, case.k, case.v, out, softmax, case.bounds, *case.options
    )
    assert [x.shape[0] for x in found if x is not None] == [0, 0, 0, 2]
    assert found[3] is not None and not found[3].any()


def test_gradients_are_the_same_in_every_run() -> None:
    case = Case((70,), (3, 1), 16, 16, BF16, ALL_KNOBS)
    assert all(torch.equal(a, b) for a, b in zip(case.ours(), case.ours(), strict=True))


# --- bits ---


@dataclass
class Paged:
    """A case's keys and values in pages out of order, whose other slots hold NaN."""

    k: torch.Tensor
    v: torch.Tensor
    page: torch.Tensor

    @classmethod
    def of(cls, case: Case, dtype: torch.dtype | None = None, shared: int = 0) -> Paged:
        """`shared`: so many pages of the first sequence are the second's too."""
        bounds, (_, K) = case.bounds.tolist(), case.heads
        widest = max(-(-n // KEY_BLOCK) for n in case.lengths)
        numbers = torch.randperm(len(case.lengths) * widest, generator=torch.Generator().manual_seed(1))
        page = numbers.view(-1, widest).to(DEVICE)
        page[:2, :shared] = page[:1, :shared]
        dtype = dtype or case.dtype
        k = torch.full((numbers.numel(), K, case.D, KEY_BLOCK), torch.nan, dtype=dtype, device=DEVICE)
        v = torch.full((numbers.numel(), K, KEY_BLOCK, case.E), torch.nan, dtype=dtype, device=DEVICE)
        for b, start in enumerate(bounds[:-1]):
            for t in range(start, bounds[b + 1]):
                i, offset = page[b, (t - start) // KEY_BLOCK], (t - start) % KEY_BLOCK
                k[i, :, :, offset], v[i, :, offset] = case.k[t].to(dtype), case.v[t].to(dtype)
        return cls(k, v, page)


def tiles(*runs: tuple[int, int, int]) -> torch.Tensor:
    return torch.tensor(runs, device=DEVICE)


def check_rows(case: Case) -> None:
    """Packed == packed in another order == in chunks over pages == single rows over pages."""
    whole, softmax = case.forward()
    for a, b in zip(case.forward(tile_tokens=23), (whole, softmax), strict=True):
        assert torch.equal(a, b)
    bounds, paged = case.bounds.tolist(), Paged.of(case)
    order = list(range(len(case.lengths)))[::-1]
    rows = torch.cat([torch.arange(bounds[b], bounds[b + 1]) for b in order]).to(DEVICE)
    other = Case([case.lengths[b] for b in order], case.heads, case.D, case.E, case.dtype, case.knobs)
    other.q, other.k, other.v = case.q[rows], case.k[rows], case.v[rows]
    assert torch.equal(other.forward()[0], whole[rows])

    position = positions(case.bounds, case.T)
    for pick in ([bounds[1] - 1, bounds[2] - 1], [bounds[1] - 7, bounds[1]]):
        # Chosen tokens, each by itself: a decode step.
        at = torch.tensor(pick, device=DEVICE)
        runs = tiles(*[(int((case.bounds[1:] <= t).sum()), i, 1) for i, t in enumerate(pick)])
        paging = attention.Paging(paged.page)
        out, _ = attention.forward(
            case.q[at], paged.k, paged.v, position[at], (runs, 1), *case.options, paging
        )
        assert torch.equal(out, whole[at])
    chunks = [(0, t, min(37, bounds[1] - t)) for t in range(0, bounds[1], 37)]
    runs = tiles(*chunks, *[(b, bounds[b], case.lengths[b]) for b in range(1, len(case.lengths))])
    longest = max(37, *case.lengths[1:])
    paging = attention.Paging(paged.page)
    out, _ = attention.forward(case.q, paged.k, paged.v, position, (runs, longest), *case.options, paging)
    assert torch.equal(out, whole)


@pytest.mark.parametrize(
    ("dtype", "knobs"),
    [
        (FP32, {}),
        (FP32, {"window": 5}),
        (FP32, {"window": -48}),
        (FP32, {"window": 70, "softcap": 3.0, "sinks": True, "scale": 0.3}),
        (BF16, {"window": 70, "softcap": 3.0}),
        (FP32, {"slopes": True}),
        (BF16, {"slopes": True, "window": 70, "softcap": 3.0}),
    ],
    ids=str,
)
def test_a_row_has_the_same_bits_everywhere(knobs: dict[str, Any], dtype: torch.dtype) -> None:
    check_rows(Case((130, 66, 1), (2, 1), 32, 48, dtype, knobs))


@pytest.mark.parametrize(
    ("dtype", "knobs"),
    [
        (FP32, {}),
        (FP32, {"window": 30}),
        (FP32, {"window": -64}),
        (FP32, {"slopes": True}),
        (BF16, {"window": 90, "softcap": 3.0, "sinks": True}),
    ],
    ids=str,
)
def test_a_shared_prefix_changes_no_bit(knobs: dict[str, Any], dtype: torch.dtype) -> None:
    """Two forks of a prefix of two pages, one that shares none; a window may hide the prefix from a fork."""
    case = Case((150, 170, 20), (2, 1), 32, 16, dtype, knobs)
    bounds = case.bounds.tolist()
    for x in (case.k, case.v):
        x[bounds[1] : bounds[1] + 128] = x[:128]
    whole, _ = case.forward()
    paged = Paged.of(case, shared=2)
    # The last tokens: 3, 2 and 1.
    pick = [147, 148, 149, bounds[2] - 2, bounds[2] - 1, bounds[3] - 1]
    at = torch.tensor(pick, device=DEVICE)
    prefix = SharedPrefix(
        paged.page[[0, 2], :2].contiguous(),
        tiles((0, 0, 5), (1, 5, 1)),
        5,
        torch.tensor([2, 0], device=DEVICE),
        torch.tensor([2, 2, 0], device=DEVICE),
    )
    runs = tiles((0, 0, 3), (1, 3, 2), (2, 5, 1))
    arguments = (case.q[at], paged.k, paged.v, positions(case.bounds, case.T)[at], paged.page, (runs, 3))
    assert torch.equal(attention.paged(*arguments, *case.options)[0], whole[at])
    assert torch.equal(attention.paged(*arguments, *case.options, prefix)[0], whole[at])


@pytest.mark.parametrize(("dtype", "cache"), [(FP32, BF16), (BF16, FP32), (FP16, FP32)])
def test_a_cache_of_another_dtype(dtype: torch.dtype, cache: torch.dtype) -> None:
    """Keys and values are what the cache holds of them."""
    case = Case((70,), (2, 1), 16, 16, dtype, {})
    case.k, case.v = case.k.to(cache).to(dtype), case.v.to(cache).to(dtype)
    paged = Paged.of(case, cache)
    tiles = (work_list(case.bounds, case.T, 16), 16)
    position, paging = positions(case.bounds, case.T), attention.Paging(paged.page)
    out, _ = attention.forward(case.q, paged.k, paged.v, position, tiles, *case.options, paging)
    assert torch.equal(out, case.forward()[0])


def test_rows_that_visit_no_key_put_out_zero() -> None:
    case = Case((70,), (2, 1), 16, 16, FP32, {})
    paged = Paged.of(case)
    position, none = positions(case.bounds, case.T)[:3], tiles((0, 0, 0))[:, :2].contiguous()
    paging = attention.Paging(paged.page, none)
    out, softmax = attention.forward(
        case.q[:3], paged.k, paged.v, position, (tiles((0, 0, 3)), 3), *case.options, paging
    )
    assert not out.any()
    assert (softmax[0] == -torch.inf).all() and not softmax[1].any()


# --- arguments ---


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"q_THD": torch.zeros(3, 2, 300)}, "k must have shape"),
        (
            {"q_THD": torch.zeros(3, 2, 300), "k": torch.zeros(3, 1, 300)},
            "q must have a head dim of 1 to 256",
        ),
        ({"q_THD": torch.zeros(3, 2, 16, dtype=torch.float64)}, "q must be of"),
        ({"k": torch.zeros(3, 1, 16, dtype=BF16)}, "k must be of torch.float32"),
        ({"q_THD": torch.zeros(2, 3, 16).transpose(0, 1)}, "q must be contiguous"),
        ({"k": torch.zeros(3, 3, 16), "v": torch.zeros(3, 3, 16)}, "number of heads that divides q's 2"),
        ({"v": torch.zeros(3, 1, 16, device="meta")}, "v must be on"),
        ({"position_T": torch.zeros(3)}, "position_T must be of torch.int64"),
        ({"tile_N3": torch.zeros(3, dtype=torch.int64)}, "tile_N3 must have shape"),
        ({"scale": 0.0}, "scale must be"),
        ({"window": -(2**31)}, "window must be"),
        ({"softcap": 0.0}, "softcap must be"),
        ({"input_precision": "fast"}, "input_precision must be one of"),
        ({"sinks_H": torch.zeros(3)}, "sinks_H must have shape"),
        ({"slopes_H": torch.zeros(3)}, "slopes_H must have shape"),
        ({"page_BP": torch.zeros(1, 1)}, "page_BP must be of torch.int64"),
        ({"blocks_B2": torch.zeros(2, 2, dtype=torch.int64)}, "blocks_B2 must have shape"),
        ({"state": (torch.zeros(3, 2, 16), torch.zeros(3, 2))}, r"state\[1\] must have shape"),
    ],
    ids=str,
)
def test_arguments_that_do_not_fit(change: dict[str, Any], message: str) -> None:
    arguments: dict[str, Any] = {
        "q_THD": torch.zeros(3, 2, 16),
        "k": torch.zeros(3, 1, 16),
        "v": torch.zeros(3, 1, 16),
        "position_T": torch.arange(3),
        "tile_N3": torch.tensor([[0, 0, 3]]),
        "scale": 1.0,
        **change,
    }
    arguments = {
        name: x.to(DEVICE) if isinstance(x, torch.Tensor) and x.device.type == "cpu" else x
        for name, x in arguments.items()
    }
    # In pages, unless packed tensors are what does not fit.
    paging = {name: arguments.pop(name) for name in ("page_BP", "blocks_B2", "state") if name in arguments}
    if paging:
        arguments |= {
            "k": torch.zeros(1, 1, 16, 64, device=DEVICE),
            "v": torch.zeros(1, 1, 64, 16, device=DEVICE),
        }
        paging = {"page_BP": torch.zeros(1, 1, dtype=torch.int64, device=DEVICE), **paging}
    knobs = {
        name: arguments.pop(name) for name in ("scale", "window", "softcap", "slopes_H") if name in arguments
    }
    tiles = (arguments.pop("tile_N3"), 3)
    with pytest.raises(ValueError, match=message):
        attention.forward(
            **arguments, tiles=tiles, scores=Scores(**knobs),
            paging=attention.Paging(**paging) if paging else None,
        )  # fmt: skip


def test_work_list_and_positions() -> None:
    bounds = torch.tensor([0, 0, 5, 5, 12])
    found = [run for run in work_list(bounds, 12, 3).tolist() if run[2]]
    assert found == [[1, 0, 3], [1, 3, 2], [3, 5, 3], [3, 8, 3], [3, 11, 1]]
    assert positions(bounds, 12).tolist() == [*range(5), *range(7)]


# --- a real device ---

gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


@gpu
@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["ieee", "tf32x3", "tf32"])
@pytest.mark.parametrize(("D", "E"), [(64, 64), (80, 80), (128, 128), (192, 128), (256, 256)])
def test_fp32_precisions_on_a_device(D: int, E: int, precision: str) -> None:
    """tf32 is held against a plain product of tf32's ten bits, the others against float32's."""
    if torch.version.hip and precision == "tf32x3":
        pytest.skip("this target has no tf32x3")
    case = Case((1, 300, 65, 1027), (6, 2), D, E, FP32, {"input_precision": precision})
    if precision != "tf32":
        check(case)
        return
    exact = case.oracle(torch.float64)
    usual = Case(case.lengths, case.heads, D, E, FP16, {}).oracle(FP16)
    for ours, theirs, true in zip(case.ours(), usual, exact, strict=True):
        assert (ours.double() - true).abs().max() <= 2 * (theirs.double() - true).abs().max()


@gpu
@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [BF16, FP16])
@pytest.mark.parametrize(("D", "E"), [(64, 64), (80, 80), (128, 128), (192, 128), (256, 256)])
@pytest.mark.parametrize("knobs", [{}, {"window": 200, "softcap": 20.0, "sinks": True}], ids=str)
def test_halves_on_a_device(D: int, E: int, dtype: torch.dtype, knobs: dict[str, Any]) -> None:
    check(Case((1, 300, 65, 1027), (6, 2), D, E, dtype, knobs))


@gpu
@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [FP32, BF16, FP16])
@pytest.mark.parametrize(("D", "E"), [(64, 64), (80, 80), (128, 128), (192, 128), (256, 256)])
@pytest.mark.parametrize("knobs", [{}, {"window": 200, "softcap": 20.0, "sinks": True}], ids=str)
def test_bits_on_a_device(D: int, E: int, dtype: torch.dtype, knobs: dict[str, Any]) -> None:
    precisions = ("ieee", "tf32") if dtype == FP32 else ("ieee",)
    for precision in precisions:
        check_rows(Case((700, 66, 1), (6, 2), D, E, dtype, {**knobs, "input_precision": precision}))
