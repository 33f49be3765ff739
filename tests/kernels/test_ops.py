"""Every op of `kernels.ops` against the oracle in float64, and its bits against themselves.

An error is allowed to be twice that of plain torch in the same dtype, measured here on the same inputs.

Legend: T packed tokens, C model width, F MLP width, H query heads, K kv heads, D head dim, P pages,
S page size, M positions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
import torch

from kernels import reference
from kernels.knobs import Activation, Norm, Scores
from kernels.ops.activation import activate
from kernels.ops.matmul import matmul
from kernels.ops.norm import add_norm
from kernels.ops.packing import round_into
from kernels.ops.rope_store_attention import rope_store_attention
from kernels.panels import pack
from minillm.model.batch import PAGE_SIZE, Batch

LENGTHS = (1, 63, 64, 65, 111, 257)
DTYPES = [torch.float32, torch.bfloat16]
# (H, K, D): as many kv heads, a third, an eighth.
HEADS = [(3, 3, 16), (3, 1, 80), (8, 1, 64), (6, 2, 16)]
Heads = tuple[int, int, int]
Tables = tuple[torch.Tensor, torch.Tensor]


def noise(*shape: int, dtype: torch.dtype, seed: int = 0, scale: float = 1.0) -> torch.Tensor:
    """Values that the dtype holds exactly, so that every precision starts from the same inputs."""
    generator = torch.Generator().manual_seed(seed)
    return (torch.randn(shape, generator=generator) * scale).to(dtype)


def error(value: torch.Tensor, exact: torch.Tensor) -> float:
    assert value.isfinite().all()
    return float((value.double() - exact).abs().max())


Op = Callable[..., tuple[torch.Tensor, ...]]


def values_and_gradients(op: Op, inputs: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """The outputs, then the gradients of every input for some fixed gradients of the outputs."""
    leaves = [x.detach().clone().requires_grad_() for x in inputs]
    outputs = op(*leaves)
    grads = [
        noise(*out.shape, dtype=torch.bfloat16, seed=90 + i).to(out.dtype) for i, out in enumerate(outputs)
    ]
    return [*(out.detach() for out in outputs), *torch.autograd.grad(outputs, leaves, grads)]


def check(kernel: Op, plain: Op, inputs: Sequence[torch.Tensor]) -> None:
    """Outputs and gradients of `kernel`, within twice the error of `plain` in the same dtype."""
    found = values_and_gradients(kernel, inputs)
    usual = values_and_gradients(plain, inputs)
    exact = values_and_gradients(plain, [x.double() for x in inputs])
    for i, (ours, theirs, true) in enumerate(zip(found, usual, exact, strict=True)):
        assert ours.dtype == theirs.dtype == inputs[0].dtype
        assert true.dtype == torch.float64
        assert ours.shape == theirs.shape
        assert error(ours, true) <= 2 * error(theirs, true), f"value {i}"


# --- residual and RMSNorm ---


# Around a tile of rows, a chunk along K, a panel and the rows of a task.
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(1, 192, 32), (5, 193, 33), (7, 40, 100), (64, 500, 70), (400, 200, 40)])
def test_matmul(shape: tuple[int, int, int], dtype: torch.dtype) -> None:
    R, K, N = shape
    inputs = [noise(R, K, dtype=dtype), noise(K, N, dtype=dtype, seed=1), noise(N, dtype=dtype, seed=2)]
    check(
        lambda x, w, bias: (matmul(x, pack(w), N, None, bias),),
        lambda x, w, bias: (x @ w + bias,),
        inputs,
    )


@pytest.mark.parametrize("dtype", DTYPES)
@torch.no_grad()
def test_matmul_rows_are_their_own(dtype: torch.dtype) -> None:
    x, w = noise(401, 300, dtype=dtype), pack(noise(300, 70, dtype=dtype, seed=1))
    together = matmul(x, w, 70)
    for rows in (*range(1, 14), 64, 191, 192, 193, 384, 385, 400):
        assert torch.equal(matmul(x[:rows], w, 70), together[:rows]), rows
        assert torch.equal(matmul(x[-rows:], w, 70), together[-rows:]), rows


@pytest.mark.parametrize("dtype", [*DTYPES, torch.float16, torch.float64])
def test_a_wide_matmul_is_not_rounded(dtype: torch.dtype) -> None:
    x, w = noise(9, 300, dtype=dtype), noise(300, 40, dtype=dtype, seed=1)
    wide = matmul(x, pack(w), 40, wide=True)
    assert wide.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    assert torch.equal(wide.to(dtype), matmul(x, pack(w), 40))
    if dtype == torch.bfloat16:
        assert error(wide, x.double() @ w.double()) <= 2 * error(
            x.float() @ w.float(), x.double() @ w.double()
        )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("width", [1, 7, 53, 64, 576])
@pytest.mark.parametrize("rows", LENGTHS)
def test_add_rms_norm(rows: int, width: int, dtype: torch.dtype) -> None:
    inputs = [
        noise(rows, width, dtype=dtype, seed=1, scale=3),
        noise(rows, width, dtype=dtype, seed=2),
        noise(width, dtype=dtype, seed=3),
    ]
    check(
        lambda x, r, w: add_norm(x, r, w, None, Norm(1e-5)),
        lambda x, r, w: reference.add_norm(x, r, w, None, Norm(1e-5)),
        inputs,
    )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("scale", [1e-12, 1e-4, 1e4, 1e15])
def test_add_rms_norm_of_tiny_and_huge_rows(scale: float, dtype: torch.dtype) -> None:
    x, residual = (noise(257, 53, dtype=dtype, seed=s, scale=scale) for s in (1, 2))
    w = noise(53, dtype=dtype, seed=3)
    _, ours = add_norm(x, residual, w, None, Norm(1e-5))
    _, theirs = reference.add_norm(x, residual, w, None, Norm(1e-5))
    _, exact = reference.add_norm(x.double(), residual.double(), w.double(), None, Norm(1e-5))
    assert error(ours, exact) <= 2 * error(theirs, exact)


@pytest.mark.parametrize("dtype", DTYPES)
def test_add_rms_norm_rows_are_their_own(dtype: torch.dtype) -> None:
    x, residual = (noise(257, 53, dtype=dtype, seed=s) for s in (1, 2))
    w = noise(53, dtype=dtype, seed=3)
    together = add_norm(x, residual, w, None, Norm(1e-5))
    for rows in (slice(0, 1), slice(256, 257), slice(100, 163)):
        alone = add_norm(x[rows].clone(), residual[rows].clone(), w, None, Norm(1e-5))
        assert all(torch.equal(a, b[rows]) for a, b in zip(alone, together, strict=True))


# --- SwiGLU ---


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("width", [1, 53, 64, 1536])
@pytest.mark.parametrize("rows", LENGTHS)
def test_swiglu(rows: int, width: int, dtype: torch.dtype) -> None:
    check(
        lambda x: (activate(x, Activation()),),
        lambda x: (reference.activate(x, Activation()),),
        [noise(rows, 2 * width, dtype=dtype, scale=3)],
    )


@pytest.mark.parametrize("dtype", DTYPES)
def test_swiglu_of_large_gates(dtype: torch.dtype) -> None:
    """Gates to 1e4 of either sign: exp(gate) is past what float32 holds."""
    gate = torch.linspace(-1e4, 1e4, 2001).to(dtype)
    up = noise(2001, dtype=dtype)
    check(
        lambda x: (activate(x, Activation()),),
        lambda x: (reference.activate(x, Activation()),),
        [torch.cat((gate, up)).unsqueeze(0)],
    )


@pytest.mark.parametrize("dtype", DTYPES)
def test_swiglu_rows_are_their_own(dtype: torch.dtype) -> None:
    x = noise(257, 106, dtype=dtype, scale=3)
    together = activate(x, Activation())
    for rows in (slice(0, 1), slice(256, 257), slice(100, 163)):
        assert torch.equal(activate(x[rows].clone(), Activation()), together[rows])


# --- rope, paged cache and attention ---


def tables(D: int, positions: int = 512) -> Tables:
    frequency = 1e4 ** -(torch.arange(0, D, 2, dtype=torch.float64) / D)
    angle_MD = torch.outer(torch.arange(positions, dtype=torch.float64), frequency)
    return angle_MD.cos().float(), angle_MD.sin().float()


def poisoned(pages: int, heads: Heads, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    """A cache in which whatever is read without having been written shows."""
    _, K, D = heads
    return (
        torch.full((pages, K, D, PAGE_SIZE), torch.nan, dtype=dtype),
        torch.full((pages, K, PAGE_SIZE, D), torch.nan, dtype=dtype),
    )


def attend(
    qkv_TX: torch.Tensor,
    heads: Heads,
    batch: Batch,
    cache: tuple[torch.Tensor, torch.Tensor] | None = None,
) -> torch.Tensor:
    """The op under test; without a cache, over a poisoned one of its own with a page to spare."""
    D = heads[2]
    if cache is None:
        cache = poisoned(batch.num_pages + 1, heads, qkv_TX.dtype)
    return rope_store_attention(qkv_TX, heads, tables(D), *cache, batch, Scores(D**-0.5))


def plain_attend(qkv_TX: torch.Tensor, heads: Heads, batch: Batch) -> torch.Tensor:
    """The same without a cache, in the input's dtype."""
    H, K, D = heads
    wide = torch.promote_types(qkv_TX.dtype, torch.float32)
    cos, sin = (table.to(wide) for table in tables(D))
    q, k, v = qkv_TX.unflatten(1, (H + 2 * K, D)).split((H, K, K), dim=1)
    q, k = (reference.rope(x, cos, sin, batch.position_T) for x in (q, k))
    return reference.attention(q, k, v, batch.bounds, batch.starts, Scores(D**-0.5))


def width(heads: Heads) -> int:
    H, K, D = heads
    return (H + 2 * K) * D


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("heads", HEADS)
def test_attention_and_its_gradient(heads: Heads, dtype: torch.dtype) -> None:
    batch = Batch.packed(LENGTHS)
    check(
        lambda x: (attend(x, heads, batch),),
        lambda x: (plain_attend(x, heads, batch),),
        [noise(sum(LENGTHS), width(heads), dtype=dtype, scale=1.5)],
    )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("heads", HEADS)
@pytest.mark.parametrize("length", LENGTHS)
def test_attention_of_one_sequence(length: int, heads: Heads, dtype: torch.dtype) -> None:
    batch = Batch.packed([length])
    qkv = noise(length, width(heads), dtype=dtype, scale=1.5)
    exact = plain_attend(qkv.double(), heads, batch)
    allowed = 2 * error(plain_attend(qkv, heads, batch), exact)
    with torch.no_grad():
        assert error(attend(qkv, heads, batch), exact) <= allowed
    graph = attend(qkv.requires_grad_(), heads, batch)
    assert error(graph.detach(), exact) <= allowed


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("heads", HEADS)
def test_attention_with_scores_to_ten_thousand(heads: Heads, dtype: torch.dtype) -> None:
    H, K, D = heads
    batch = Batch.packed([111, 65])
    qkv = noise(176, width(heads), dtype=dtype, seed=4)
    rotated = [
        reference.rope(x.double(), *(t.double() for t in tables(D)), batch.position_T)
        for x in qkv.unflatten(1, (-1, D)).split((H, K, K), dim=1)[:2]
    ]
    scores = torch.zeros((), dtype=torch.float64)
    for h in range(H):
        part = rotated[0][:, h] @ rotated[1][:, h // (H // K)].t() * D**-0.5
        scores = torch.maximum(scores, part.abs().max())
    # A power of two: scaling q and k by it rounds nothing.
    factor = 2.0 ** round(float(torch.log2(1e4 / scores)) / 2)
    qkv[:, : (H + K) * D] *= factor
    exact = plain_attend(qkv.double(), heads, batch)
    with torch.no_grad():
        ours = attend(qkv, heads, batch)
    assert error(ours, exact) <= 2 * error(plain_attend(qkv, heads, batch), exact)


def test_attention_over_a_cache_of_another_dtype() -> None:
    """float32 queries over a bf16 cache: keys and values are rounded once, the sums are float32."""
    heads = (6, 2, 16)
    H, K, D = heads
    batch = Batch.packed([1, 65, 130])
    qkv = noise(196, width(heads), dtype=torch.float32)
    with torch.no_grad():
        ours = attend(qkv, heads, batch, poisoned(batch.num_pages, heads, torch.bfloat16))

    def rounded(dtype: torch.dtype) -> torch.Tensor:
        q, k, v = qkv.unflatten(1, (H + 2 * K, D)).split((H, K, K), dim=1)
        q, k = (reference.rope(x, *tables(D), batch.position_T) for x in (q, k))
        q, k, v = q.to(dtype), k.bfloat16().to(dtype), v.bfloat16().to(dtype)
        return reference.attention(q, k, v, batch.bounds, batch.starts, Scores(D**-0.5))

    exact = rounded(torch.float64)
    # A key of which float32 rounding in rope decides the bf16 neighbour may differ by one place.
    assert ours.dtype == torch.float32
    assert error(ours, exact) <= 2 * error(rounded(torch.float32), exact)


def chunked(qkv_TX: torch.Tensor, heads: Heads, chunks: Sequence[int], pages: Sequence[int]) -> torch.Tensor:
    """One sequence computed a chunk at a time over a poisoned cache, in these pages."""
    cache = poisoned(max(pages) + 1, heads, qkv_TX.dtype)
    outs, start = [], 0
    for count in chunks:
        batch = Batch.build([count], [start], [pages])
        outs.append(attend(qkv_TX[start : start + count].clone(), heads, batch, cache))
        start += count
    assert start == len(qkv_TX)
    return torch.cat(outs)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("heads", HEADS)
@torch.no_grad()
def test_decode_and_chunked_prefill_are_the_bits_of_one_prefill(heads: Heads, dtype: torch.dtype) -> None:
    qkv = noise(131, width(heads), dtype=dtype, scale=1.5)
    whole = attend(qkv, heads, Batch.packed([131]))
    for chunks in ([1] * 131, [63, 1, 1, 66], [64, 64, 3], [16, 15, 17, 1, 82], [130, 1]):
        for pages in ([0, 1, 2], [5, 0, 3]):
            assert torch.equal(chunked(qkv, heads, chunks, pages), whole), (chunks, pages)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("heads", HEADS)
@torch.no_grad()
def test_packing_and_pages_change_no_bit(heads: Heads, dtype: torch.dtype) -> None:
    lengths = (65, 1, 111, 64, 130, 63)
    sequences = [noise(n, width(heads), dtype=dtype, seed=i, scale=1.5) for i, n in enumerate(lengths)]
    alone = [attend(x, heads, Batch.packed([len(x)])) for x in sequences]
    generator = torch.Generator().manual_seed(3)
    for _ in range(4):
        order = torch.randperm(len(lengths), generator=generator).tolist()
        free = torch.randperm(24, generator=generator).tolist()
        pages = [[free.pop() for _ in range(-(-lengths[i] // PAGE_SIZE))] for i in order]
        batch = Batch.build([lengths[i] for i in order], [0] * len(order), pages)
        cache = poisoned(24, heads, dtype)
        out = attend(torch.cat([sequences[i] for i in order]), heads, batch, cache)
        for i, part in zip(order, out.split([lengths[i] for i in order]), strict=True):
            assert torch.equal(part, alone[i])
        # Pages of no sequence, and slots after a sequence's last token, stay as they were.
        written = torch.zeros(24, PAGE_SIZE, dtype=torch.bool)
        written.view(-1)[batch.slot_T] = True
        assert torch.equal(cache[0].isfinite().all(dim=(1, 2)), written)
        assert torch.equal(cache[1].isfinite().all(dim=(1, 3)), written)


@pytest.mark.parametrize("dtype", DTYPES)
@torch.no_grad()
def test_decodes_and_prefills_in_one_batch_are_themselves(dtype: torch.dtype) -> None:
    heads = (6, 2, 16)
    lengths, known = (130, 64, 65, 20, 63), (129, 0, 64, 7, 62)
    sequences = [noise(n, width(heads), dtype=dtype, seed=i) for i, n in enumerate(lengths)]
    alone = [attend(x, heads, Batch.packed([len(x)])) for x in sequences]
    pages = [[3, 9, 1], [0], [7, 2], [11], [5]]
    cache = poisoned(12, heads, dtype)
    for x, count, table in zip(sequences, known, pages, strict=True):
        if count:
            attend(x[:count].clone(), heads, Batch.build([count], [0], [table]), cache)
    counts = [n - m for n, m in zip(lengths, known, strict=True)]
    mixed = torch.cat([x[m:] for x, m in zip(sequences, known, strict=True)])
    out = attend(mixed, heads, Batch.build(counts, known, pages), cache)
    for part, whole, m in zip(out.split(counts), alone, known, strict=True):
        assert torch.equal(part, whole[m:])


@pytest.mark.parametrize("dtype", DTYPES)
@torch.no_grad()
def test_forks_share_the_pages_of_their_prefix(dtype: torch.dtype) -> None:
    heads = (8, 1, 64)
    prefix = noise(64, width(heads), dtype=dtype)
    tails = [noise(n, width(heads), dtype=dtype, seed=1 + n) for n in (1, 7, 65)]
    cache = poisoned(9, heads, dtype)
    attend(prefix, heads, Batch.build([64], [0], [[4]]), cache)
    batch = Batch.build([1, 7, 65], [64] * 3, [[4, 0], [4, 8], [4, 2, 6]])
    out = attend(torch.cat(tails), heads, batch, cache)
    for part, tail in zip(out.split([1, 7, 65]), tails, strict=True):
        alone = attend(torch.cat((prefix, tail)), heads, Batch.packed([64 + len(tail)]))
        assert torch.equal(part, alone[64:])


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_graph_changes_no_bit(dtype: torch.dtype) -> None:
    heads = (6, 2, 16)
    batch = Batch.packed([65, 20])
    qkv = noise(85, width(heads), dtype=dtype)
    x, w = noise(85, 53, dtype=dtype), noise(53, dtype=dtype)

    def run() -> list[torch.Tensor]:
        return [
            attend(qkv, heads, batch),
            *add_norm(x, x, w, None, Norm(1e-5)),
            activate(qkv, Activation()),
        ]

    with torch.no_grad():
        without = run()
    for tensor in (qkv, x, w):
        tensor.requires_grad_()
    for graph, plain in zip(run(), without, strict=True):
        assert graph.requires_grad
        assert torch.equal(graph.detach(), plain)


@pytest.mark.parametrize("dtype", DTYPES)
def test_threads_change_no_bit(dtype: torch.dtype) -> None:
    heads = (8, 1, 64)
    batch = Batch.packed([257, 111])
    qkv = noise(368, width(heads), dtype=dtype)
    x, w = noise(368, 53, dtype=dtype), noise(53, dtype=dtype)
    threads = torch.get_num_threads()
    found = []
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            with torch.no_grad():
                norm = add_norm(x, x, w, None, Norm(1e-5))
                found.append([attend(qkv, heads, batch), *norm, activate(qkv, Activation())])
    finally:
        torch.set_num_threads(threads)
    for other in found[1:]:
        assert all(torch.equal(a, b) for a, b in zip(found[0], other, strict=True))


@pytest.mark.parametrize("dtype", DTYPES)
@torch.no_grad()
def test_inputs_with_strides_are_read_as_they_are(dtype: torch.dtype) -> None:
    """A slice of columns or a transposed matrix means what it says."""
    heads = (6, 2, 16)
    batch = Batch.packed([65])
    wide = noise(65, 2 * width(heads), dtype=dtype)
    qkv = wide[:, ::2]
    assert torch.equal(activate(qkv, Activation()), activate(qkv.contiguous(), Activation()))
    assert torch.equal(attend(qkv, heads, batch), attend(qkv.contiguous(), heads, batch))
    x, residual = noise(53, 65, dtype=dtype).t(), noise(65, 106, dtype=dtype, seed=1)[:, 53:]
    w = noise(106, dtype=dtype, seed=2)[::2]
    strided = add_norm(x, residual, w, None, Norm(1e-5))
    plain = add_norm(x.contiguous(), residual.contiguous(), w.contiguous(), None, Norm(1e-5))
    assert all(torch.equal(a, b) for a, b in zip(strided, plain, strict=True))


@pytest.mark.parametrize("size", [1, 7, 1000, 70_001])
def test_rounding_is_that_of_torch(size: int) -> None:
    x = noise(size, dtype=torch.float32)
    x[: min(size, 4)] = torch.tensor([torch.nan, torch.inf, -torch.inf, 1.00390625])[: min(size, 4)]
    out = torch.zeros(size, dtype=torch.bfloat16)
    version = out._version
    round_into(x, out)
    assert torch.equal(out.nan_to_num(7.0), x.bfloat16().nan_to_num(7.0))
    assert out._version > version
    wide = torch.zeros(size, dtype=torch.float64)
    round_into(x, wide)
    assert torch.equal(wide.nan_to_num(7.0), x.double().nan_to_num(7.0))
    with pytest.raises(ValueError, match="out must have shape"):
        round_into(x, torch.zeros(size + 1))
