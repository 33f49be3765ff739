"""The operations of attention, packed and paged: errors, bits, memory, torch.library and torch.compile.

An error, the largest of a tensor, is allowed to be twice that of plain torch in the same dtype,
measured here on the same inputs.

Legend: T packed tokens, B sequences, H query heads, K kv heads, D head dim of queries and keys,
E head dim of values, P pages, S page size.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from kernels import blockwise, reference
from kernels.knobs import Scores
from kernels.ops.attention import attention
from kernels.ops.paged_attention import paged_attention
from kernels.tiling import KEY_BLOCK, SharedPrefix, positions, work_list

LENGTHS = (1, 63, 64, 0, 65, 111, 257)
KNOBS: list[dict[str, Any]] = [
    {},
    {"window": 20},
    {"window": -20},
    {"softcap": 3.0, "scale": 0.3},
    {"sinks": True},
    {"window": 70, "softcap": 3.0, "sinks": True},
    {"slopes": True},
    {"slopes": True, "window": 70, "softcap": 3.0, "sinks": True},
]


def noise(*shape: int, dtype: torch.dtype, seed: int, gain: float = 1.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (torch.randn(shape, generator=generator) * gain).to(dtype)


def make(
    lengths: Sequence[int], heads: tuple[int, int], D: int, E: int, dtype: torch.dtype, gain: float = 1.0
) -> tuple[list[torch.Tensor], torch.Tensor]:
    """([q, k, v, sinks], bounds)."""
    T, (H, K) = sum(lengths), heads
    q, k = noise(T, H, D, dtype=dtype, seed=1, gain=gain), noise(T, K, D, dtype=dtype, seed=2, gain=gain)
    v, sinks = noise(T, K, E, dtype=dtype, seed=3), noise(H, dtype=dtype, seed=4)
    return [q, k, v, sinks], torch.tensor([0, *lengths]).cumsum(0)


def scores_of(knobs: dict[str, Any], H: int, D: int) -> Scores:
    """The scores that knobs ask for; slopes are 0.6 for the first head and less for each other."""
    slopes_H = 0.6 ** torch.arange(1.0, H + 1) if knobs.get("slopes") else None
    scale = knobs.get("scale", D**-0.5)
    return Scores(scale, knobs.get("window", 0), knobs.get("softcap"), slopes_H=slopes_H)


def values_and_gradients(op: Any, inputs: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    leaves = [x.detach().clone().requires_grad_() for x in inputs]
    out = op(*leaves)
    dout = noise(*out.shape, dtype=torch.bfloat16, seed=9).to(out.dtype)
    return [out.detach(), *torch.autograd.grad(out, leaves, dout)]


def check(inputs: list[torch.Tensor], bounds: torch.Tensor, knobs: dict[str, Any]) -> None:
    inputs = inputs if knobs.get("sinks") else inputs[:3]
    dtype, (_, H, D) = inputs[0].dtype, inputs[0].shape
    scores = scores_of(knobs, H, D)
    filled = sorted(set(bounds.tolist()))

    def ours(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, sinks: Any = None) -> torch.Tensor:
        return attention(q, k, v, bounds, scores, sinks)

    def plain(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, sinks: Any = None) -> torch.Tensor:
        return reference.attention(q, k, v, filled, [0] * (len(filled) - 1), scores, sinks)

    found, usual = values_and_gradients(ours, inputs), values_and_gradients(plain, inputs)
    exact = values_and_gradients(plain, [x.double() for x in inputs])
    for name, a, b, true in zip(("out", "dq", "dk", "dv", "dsinks"), found, usual, exact, strict=False):
        assert a.dtype == dtype and a.shape == true.shape
        if dtype == torch.float64:
            assert (a - true).norm() <= 1e-9 * true.norm(), name
        else:
            error, allowed = (a.double() - true).abs().max(), 2 * (b.double() - true).abs().max()
            assert error <= allowed, f"{name}: {error:.2e}, allowed {allowed:.2e}"


@pytest.mark.parametrize(
    ("dtype", "knobs"),
    [
        *((torch.float32, knobs) for knobs in KNOBS),
        *(
            (dtype, KNOBS[i])
            for dtype in (torch.bfloat16, torch.float16, torch.float64)
            for i in (0, 4, 5, 6)
        ),
    ],
    ids=str,
)
def test_outputs_and_gradients(dtype: torch.dtype, knobs: dict[str, Any]) -> None:
    # The largest error of three sinks says little: ours would be twice plain torch's in one draw of twenty,
    # though it is smaller on the whole. Of 24 sinks it says enough.
    check(*make(LENGTHS, (24, 8) if "sinks" in knobs else (3, 1), 16, 16, dtype), knobs)


@pytest.mark.parametrize(
    ("heads", "D", "E"),
    [((3, 3), 64, 64), ((8, 1), 80, 80), ((6, 2), 96, 112), ((2, 1), 192, 128), ((2, 2), 256, 256)],
)
def test_heads(heads: tuple[int, int], D: int, E: int) -> None:
    check(*make((70, 3), heads, D, E, torch.float32), {})


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_huge_scores(dtype: torch.dtype) -> None:
    check(*make((90,), (2, 1), 64, 64, dtype, gain=40.0), {"sinks": True})


class Largest(TorchDispatchMode):
    """The largest number of elements of a tensor that an operation put out."""

    elements = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for x in out if isinstance(out, (tuple, list)) else (out,):
            if isinstance(x, torch.Tensor):
                self.elements = max(self.elements, x.numel())
        return out


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_there_is_no_matrix_of_tokens_by_tokens(dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 1024 tokens of 2 heads, a quarter of the scores stand in memory, or what is said to be the most."""
    inputs, bounds = make((1024,), (2, 1), 16, 16, dtype)
    with Largest() as largest:
        many = values_and_gradients(lambda q, k, v: attention(q, k, v, bounds), inputs[:3])
    assert largest.elements <= 2 * blockwise.QUERY_TILE * 1024
    monkeypatch.setattr(blockwise, "MOST_SCORES", 100_000)
    with Largest() as largest:
        few = values_and_gradients(lambda q, k, v: attention(q, k, v, bounds), inputs[:3])
    assert largest.elements <= 100_000
    for a, b in zip(many, few, strict=True):
        torch.testing.assert_close(a, b)


# --- bits ---


def in_pages(
    k: torch.Tensor, v: torch.Tensor, bounds: list[int]
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Keys and values in pages out of order, whose other slots hold NaN, and the block table."""
    lengths = [b - a for a, b in pairwise(bounds)]
    widest = max(-(-n // KEY_BLOCK) for n in lengths)
    numbers = torch.randperm(len(lengths) * widest, generator=torch.Generator().manual_seed(1))
    page = numbers.view(-1, widest)
    k_PKDS = torch.full((numbers.numel(), *k.shape[1:], KEY_BLOCK), torch.nan, dtype=k.dtype)
    v_PKSE = torch.full((numbers.numel(), v.shape[1], KEY_BLOCK, v.shape[2]), torch.nan, dtype=v.dtype)
    for b, start in enumerate(bounds[:-1]):
        for t in range(start, bounds[b + 1]):
            i, offset = page[b, (t - start) // KEY_BLOCK], (t - start) % KEY_BLOCK
            k_PKDS[i, :, :, offset], v_PKSE[i, :, offset] = k[t], v[t]
    return k_PKDS, v_PKSE, page


@pytest.mark.parametrize(
    ("dtype", "knobs"),
    [
        *((torch.float32, KNOBS[i]) for i in (0, 1, 4)),
        (torch.bfloat16, KNOBS[4]),
        (torch.float64, KNOBS[0]),
        *((dtype, KNOBS[i]) for dtype in (torch.float32, torch.bfloat16, torch.float64) for i in (5, 6)),
    ],
    ids=str,
)
def test_a_row_has_the_same_bits_everywhere(knobs: dict[str, Any], dtype: torch.dtype) -> None:
    """Packed == packed in another order == in chunks over pages == last rows over pages == with a prefix."""
    (q, k, v, sinks), bounds = make((300, 65, 1), (3, 1), 32, 16, dtype)
    given = (scores_of(knobs, 3, 32), sinks if knobs.get("sinks") else None)
    whole = attention(q, k, v, bounds, *given)
    order = torch.cat([torch.arange(365, 366), torch.arange(300, 365), torch.arange(0, 300)])
    other = attention(q[order], k[order], v[order], torch.tensor([0, 1, 66, 366]), *given)
    assert torch.equal(other, whole[order])

    cache, position = in_pages(k, v, bounds.tolist()), positions(bounds, 366)
    pages = (cache[0], cache[1])
    chunks = torch.tensor([*[(0, t, 60) for t in range(0, 300, 60)], (1, 300, 65), (2, 365, 1)])
    assert torch.equal(paged_attention(q, *pages, position, cache[2], (chunks, 65), *given), whole)
    last = torch.tensor([298, 299, 364, 365])
    runs = torch.tensor([(0, 0, 2), (1, 2, 1), (2, 3, 1)])
    prefix = SharedPrefix(
        cache[2][:, :1].contiguous(),
        torch.tensor([(0, 0, 2), (1, 2, 1), (2, 3, 1)]),
        2,
        torch.tensor([1, 0, 0]),
        torch.tensor([1, 0, 0]),
    )
    for shared in (None, prefix):
        paging = (*pages, position[last], cache[2], (runs, 2))
        out = paged_attention(q[last], *paging, *given, prefix=shared)
        assert torch.equal(out, whole[last])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_slopes_are_exact_at_any_position(dtype: torch.dtype) -> None:
    """Far from a sequence's start, the last row of equal keys is what its distances alone say it is."""
    T, slope = 40_000, torch.tensor([0.3, 2.0**-8])
    q, k = torch.zeros(1, 2, 16, dtype=dtype), torch.zeros(T // 64, 1, 16, KEY_BLOCK, dtype=dtype)
    v = noise(T // 64, 1, KEY_BLOCK, 16, dtype=dtype, seed=1)
    page, runs = torch.arange(T // 64).unsqueeze(0), torch.tensor([(0, 0, 1)])
    scores = Scores(0.25, slopes_H=slope)
    out = paged_attention(q, k, v, torch.tensor([T - 1]), page, (runs, 1), scores)
    weights_HT = torch.softmax(slope.double().unsqueeze(1) * (torch.arange(T) - (T - 1)), dim=1)
    exact = weights_HT @ v[:, 0].flatten(0, 1).double()
    assert (out[0] - exact).abs().max() < (1e-6 if dtype == torch.float32 else 1e-13)


# --- torch.library and torch.compile ---


@pytest.mark.parametrize("with_sinks", [False, True])
def test_opcheck(with_sinks: bool) -> None:
    (q, k, v, sinks), bounds = make((65, 0, 7), (2, 1), 16, 8, torch.float32)
    given = sinks if with_sinks else None
    leaves = [x.requires_grad_() for x in (q, k, v)]
    sinks.requires_grad_()
    torch.library.opcheck(
        torch.ops.minillm.attention.default,
        (*leaves, bounds, 0.25, 20, 3.0, given, "ieee", torch.tensor([0.5, 0.2]) if with_sinks else None),
    )
    q, k, v = (x.detach() for x in leaves)
    cache = in_pages(k, v, bounds[[0, 2, 3]].tolist())
    runs = work_list(bounds[[0, 2, 3]], 72, 16)
    torch.library.opcheck(
        torch.ops.minillm.paged_attention.default,
        (q, list(cache[:2]), [positions(bounds, 72), cache[2], runs], [], [16, 0], 0, [0.25, 0.0],
         None if given is None else given.detach(), None, "ieee"),
    )  # fmt: skip


def test_compile() -> None:
    """One graph, the same numbers."""
    inputs, bounds = make((65, 7), (2, 1), 16, 8, torch.float32)

    def run(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, sinks: torch.Tensor) -> torch.Tensor:
        scores = Scores(0.25, window=20, softcap=3.0, slopes_H=torch.tensor([0.5, 0.2]))
        return attention(q * 2, k, v, bounds, scores, sinks) + 1

    compiled = torch.compile(run, fullgraph=True, backend="aot_eager")
    eager, graph = values_and_gradients(run, inputs), values_and_gradients(compiled, inputs)
    assert all(torch.equal(a, b) for a, b in zip(eager, graph, strict=True))


def test_compile_paged() -> None:
    (q, k, v, _), bounds = make((65, 7), (2, 1), 16, 8, torch.float32)
    cache = in_pages(k, v, bounds.tolist())
    arguments = (q, cache[0], cache[1], positions(bounds, 72), cache[2], (work_list(bounds, 72, 16), 16))
    compiled = torch.compile(paged_attention, fullgraph=True, backend="aot_eager")
    assert torch.equal(compiled(*arguments), paged_attention(*arguments))


# --- arguments ---


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"q": torch.zeros(3, 2)}, "q must have shape"),
        ({"q": torch.zeros(3, 2, 16, dtype=torch.int32)}, "q must be of"),
        ({"k": torch.zeros(3, 1, 16, dtype=torch.bfloat16)}, "k must be of torch.float32"),
        ({"v": torch.zeros(4, 1, 16)}, "v must have shape"),
        ({"k": torch.zeros(3, 3, 16), "v": torch.zeros(3, 3, 16)}, "number of heads that divides q's 2"),
        ({"v": torch.zeros(3, 1, 16, device="meta")}, "v must be on cpu"),
        ({"v": torch.zeros(3, 1, 257)}, "v must have a head dim"),
        ({"bounds": torch.tensor([0.0, 3.0])}, "bounds_B1 must be of torch.int64"),
        ({"bounds": torch.tensor([0])}, "bounds_B1 must hold"),
        ({"bounds": torch.tensor([0, 2])}, "bounds_B1 must rise from 0 to the 3 tokens"),
        ({"scores": Scores(float("nan"))}, "scale must be"),
        ({"scores": Scores(1.0, window=-(2**31))}, "window must be"),
        ({"scores": Scores(1.0, softcap=-1.0)}, "softcap must be"),
        ({"sinks_H": torch.zeros(1)}, "sinks_H must have shape"),
        ({"scores": Scores(1.0, slopes_H=torch.zeros(1))}, "slopes_H must have shape"),
        ({"scores": Scores(1.0, slopes_H=torch.zeros(2).bfloat16())}, "slopes_H must be of torch.float32"),
        ({"input_precision": "bf16"}, "input_precision must be one of ieee, tf32x3, tf32"),
    ],
    ids=str,
)
def test_arguments_that_do_not_fit(change: dict[str, Any], message: str) -> None:
    arguments = {
        "q": torch.zeros(3, 2, 16),
        "k": torch.zeros(3, 1, 16),
        "v": torch.zeros(3, 1, 16),
        "bounds": torch.tensor([0, 3]),
        **change,
    }
    positional = [arguments.pop(name) for name in ("q", "k", "v", "bounds")]
    with pytest.raises(ValueError, match=message):
        attention(*positional, **arguments)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"k": torch.zeros(1, 1, 16, 32)}, r"k must have shape \(any, any, 16, 64\)"),
        ({"v": torch.zeros(1, 1, 64, 16, dtype=torch.bfloat16)}, "v must be of torch.float32"),
        ({"k": torch.zeros(1, 1, 64, 16).transpose(2, 3)}, "k must be contiguous"),
        ({"page": torch.zeros(1, 1)}, "page_BP must be of torch.int64"),
        ({"tiles": (torch.zeros(1, 2, dtype=torch.int64), 3)}, r"tiles\[0\] must have shape"),
    ],
    ids=str,
)
def test_paged_arguments_that_do_not_fit(change: dict[str, Any], message: str) -> None:
    arguments = {
        "q": torch.zeros(3, 2, 16),
        "k": torch.zeros(1, 1, 16, 64),
        "v": torch.zeros(1, 1, 64, 16),
        "position": torch.arange(3),
        "page": torch.zeros(1, 1, dtype=torch.int64),
        "tiles": (torch.tensor([[0, 0, 3]]), 3),
        **change,
    }
    with pytest.raises(ValueError, match=message):
        paged_attention(*arguments.values())
