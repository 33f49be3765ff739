"""The Triton kernels of `kernels.gpu` but for attention, on a GPU or, where there is none, interpreted.

An error against the oracle in float64 is allowed to be twice that of plain torch in the same dtype, or
of rounding the exact value to the dtype, where torch happens upon less. What a kernel leaves unwritten
shows: memory is filled with NaN.

Legend: T tokens, R rows, K inner width, kv heads, N outer width, C model width, F MLP width, V vocabulary,
E experts, H query heads, D head dim, P pages, panels, S page size, M positions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import pytest
import torch

from kernels import reference
from kernels.gpu import activation, launch, norm, quantized, rope, softmax, xielu
from kernels.gpu import matmul as gpu
from kernels.knobs import Activation, Norm
from kernels.panels import PANEL, dequantize, pack, unpack

DEVICE = torch.device("cpu" if launch.INTERPRET else "cuda")
DTYPES = [torch.float32, torch.bfloat16, torch.float16]
SIZES = (1, 63, 64, 65, 111, 257)
# (R, K, N): every odd size in every place.
SHAPES = [(1, 257, 65), (63, 64, 111), (64, 1, 257), (65, 63, 1), (111, 65, 64), (257, 111, 63)]


@pytest.fixture(autouse=True)
def unset_memory_is_nan() -> Iterator[None]:
    """With deterministic algorithms, torch fills what `torch.empty` returns with NaN."""
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


def noise(*shape: int, dtype: torch.dtype, seed: int = 0, scale: float = 1.0) -> torch.Tensor:
    """Values that the dtype holds exactly, so that every precision starts from the same inputs."""
    generator = torch.Generator().manual_seed(seed)
    return (torch.randn(shape, generator=generator) * scale).to(dtype).to(DEVICE)


def error(value: torch.Tensor, exact: torch.Tensor) -> float:
    assert value.isfinite().all()
    return float((value.double() - exact).abs().max()) if value.numel() else 0.0


def check(
    ours: Sequence[torch.Tensor | None], usual: Sequence[torch.Tensor], exact: Sequence[torch.Tensor]
) -> None:
    """Each of ours within twice the error of the usual, of the same shape and dtype."""
    for i, (a, b, true) in enumerate(zip(ours, usual, exact, strict=True)):
        assert a is not None
        assert (a.shape, a.dtype, true.dtype) == (b.shape, b.dtype, torch.float64)
        # The oracle itself is off by a unit in the last place of float64: of tanh' it leaves nothing.
        unit = 2.0**-52 * float(true.abs().max()) if true.numel() else 0.0
        allowed = max(error(b, true), error(true.to(b.dtype), true), unit)
        assert error(a, true) <= 2 * allowed, f"value {i}"


def with_gradients(
    function: Callable[..., tuple[torch.Tensor, ...]],
    inputs: Sequence[torch.Tensor],
    grads: Sequence[torch.Tensor],
) -> list[torch.Tensor]:
    """A differentiable function's outputs, then the gradients of its inputs."""
    leaves = [x.detach().clone().requires_grad_() for x in inputs]
    outputs = function(*leaves)
    grads = [g.to(out.dtype) for g, out in zip(grads, outputs, strict=True)]
    return [*(out.detach() for out in outputs), *torch.autograd.grad(outputs, leaves, grads)]


def check_with_gradients(
    ours: Sequence[torch.Tensor | None],
    plain: Callable[..., tuple[torch.Tensor, ...]],
    inputs: Sequence[torch.Tensor],
    grads: Sequence[torch.Tensor],
) -> None:
    exact = with_gradients(plain, [x.double() for x in inputs], grads)
    check(ours, with_gradients(plain, inputs, grads), exact)


# --- matmul ---


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_matmul(shape: tuple[int, int, int], dtype: torch.dtype) -> None:
    R, K, N = shape
    x, w = noise(R, K, dtype=dtype, seed=1, scale=3), noise(K, N, dtype=dtype, seed=2)
    bias, dy = noise(N, dtype=dtype, seed=3), noise(R, N, dtype=dtype, seed=4)
    panels = pack(w)
    ours = [
        gpu.matmul(x, panels, N, bias),
        gpu.matmul_gradient_x(dy, panels),
        unpack(gpu.matmul_gradient_w(x, dy), N),
    ]
    check_with_gradients(ours, lambda x, w: (x @ w + bias.to(x.dtype),), [x, w], [dy])


def test_matmul_gradient_of_a_weight_is_zero_past_the_last_column() -> None:
    x, dy = noise(5, 33, dtype=torch.float32), noise(5, 40, dtype=torch.float32)
    assert not unpack(gpu.matmul_gradient_w(x, dy), 64)[:, 40:].any()


@pytest.mark.parametrize("dtype", DTYPES)
def test_matmul_of_large_numbers(dtype: torch.dtype) -> None:
    scale = 1e2 if dtype == torch.float16 else 1e15
    x, w = noise(65, 70, dtype=dtype, seed=1, scale=scale), noise(70, 33, dtype=dtype, seed=2)
    exact = x.double() @ w.double()
    check([gpu.matmul(x, pack(w), 33)], [x @ w], [exact])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_matmul_rows_are_their_own(dtype: torch.dtype) -> None:
    """For every number of rows from 1 to 130, and for rows from the middle."""
    x, panels = noise(130, 19, dtype=dtype, seed=1), pack(noise(19, 17, dtype=dtype, seed=2))
    together = gpu.matmul(x, panels, 17)
    for rows in range(1, 130):
        assert torch.equal(gpu.matmul(x[-rows:], panels, 17), together[-rows:]), rows
    for rows in (slice(77, 78), slice(31, 98)):
        assert torch.equal(gpu.matmul(x[rows], panels, 17), together[rows])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("rows_E", [(3, 0, 65, 1, 32), (0, 0, 0), (0, 33, 0), (130,)])
def test_grouped_matmul_is_one_matmul_an_expert(rows_E: tuple[int, ...], dtype: torch.dtype) -> None:
    E, R, K, N = len(rows_E), sum(rows_E), 35, 40
    offset = torch.tensor([0, *rows_E], device=DEVICE).cumsum(0).int()
    x, panels = noise(R, K, dtype=dtype, seed=1), pack(noise(E, K, N, dtype=dtype, seed=2))
    bias, dy = noise(E, N, dtype=dtype, seed=3), noise(R, N, dtype=dtype, seed=4)
    work = gpu.work_list(x, offset)
    y = gpu.grouped_matmul(x, panels, N, work, bias)
    dx = gpu.grouped_matmul_gradient_x(dy, panels, work)
    dw = gpu.grouped_matmul_gradient_w(x, dy, work)
    for e, (first, last) in enumerate(zip(offset.tolist(), offset.tolist()[1:], strict=False)):
        rows = slice(first, last)
        assert torch.equal(y[rows], gpu.matmul(x[rows], panels[e], N, bias[e]))
        assert torch.equal(dx[rows], gpu.matmul_gradient_x(dy[rows], panels[e]))
        assert torch.equal(dw[e], gpu.matmul_gradient_w(x[rows], dy[rows]))


def test_matmul_refuses_what_does_not_fit() -> None:
    x, w = noise(5, 33, dtype=torch.float32), pack(noise(33, 40, dtype=torch.float32))
    offset = torch.tensor([0, 5], dtype=torch.int32, device=DEVICE)
    for message, call in (
        (r"w_PKW must have shape \(any, 5, 32\), got \(2, 33, 32\)", lambda: gpu.matmul(x[:, :5] + 0, w, 40)),
        ("w_PKW must be of torch.bfloat16, got torch.float32", lambda: gpu.matmul(x.bfloat16(), w, 40)),
        ("x_RK must be contiguous", lambda: gpu.matmul(noise(33, 5, dtype=x.dtype).t(), w, 40)),
        ("x_RK must be of .*, got torch.float64", lambda: gpu.matmul(x.double(), w.double(), 40)),
        ("x_RK must be on", lambda: gpu.matmul(x.to("meta"), w, 40)),
        ("w_PKW must be on", lambda: gpu.matmul(x, w.to("meta"), 40)),
        ("N must belong to the 2 panels", lambda: gpu.matmul(x, w, 65)),
        (r"bias_N must have shape \(40\)", lambda: gpu.matmul(x, w, 40, x[0])),
        ("precision must be one of .*, got 'tf16'", lambda: gpu.matmul(x, w, 40, precision="tf16")),
        ("w_PKW must be a tensor, got str", lambda: gpu.matmul(x, "w", 40)),  # type: ignore[arg-type]
        ("dy_RN must have shape", lambda: gpu.matmul_gradient_w(x, noise(4, 40, dtype=x.dtype))),
        ("N must belong to", lambda: gpu.matmul_gradient_x(noise(4, 65, dtype=x.dtype), w)),
        ("offset_E1 must be of torch.int32", lambda: gpu.work_list(x, offset.long())),
        ("offset_E1 must have an entry", lambda: gpu.work_list(x, offset[:1])),
        ("work must be of the 2 experts", lambda: gpu.grouped_matmul(
            x, torch.stack((w, w)), 40, gpu.work_list(x, offset))),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=message):
            call()


# --- quantised weights ---


def quantized_weight(K: int, N: int, bits: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(K * N)
    P, G = -(-N // PANEL), -(-K // quantized.GROUP)
    if bits == 8:
        code = torch.randint(-128, 128, (P, K, 32), generator=generator, dtype=torch.int8)
    else:
        code = torch.randint(0, 256, (P, K, 16), generator=generator, dtype=torch.uint8)
    scale = (torch.rand(P, G, 32, generator=generator) + 0.5).bfloat16()
    return code.to(DEVICE), scale.to(DEVICE)


def test_int4_codes_stand_where_the_layout_says() -> None:
    """Column (j // 8) * 16 + j % 8 in the low nibble of byte j, that + 8 in the high one."""
    K, N = 3, 64
    code, scale = quantized_weight(K, N, 4)
    w = dequantize(code, torch.ones_like(scale), N).double()
    ours = quantized.quantized_matmul(torch.eye(K, device=DEVICE), code, torch.ones_like(scale), N)
    assert torch.equal(ours.double(), w)
    for n in range(N):
        j = n % 32 // 16 * 8 + n % 8
        nibble = code[n // 32, :, j] >> (4 if n % 16 >= 8 else 0) & 15
        assert torch.equal(w[:, n], nibble.double() - 8)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("shape", [(1, 257, 65), (63, 64, 111), (65, 63, 3), (33, 129, 64)])
def test_quantized_matmul(shape: tuple[int, int, int], bits: int, dtype: torch.dtype) -> None:
    R, K, N = shape
    code, scale = quantized_weight(K, N, bits)
    x, w = noise(R, K, dtype=dtype), dequantize(code, scale, N).double()
    ours = quantized.quantized_matmul(x, code, scale, N)
    check([ours], [x @ w.to(dtype)], [x.double() @ w])


@pytest.mark.parametrize("bits", [4, 8])
def test_quantized_matmul_rows_are_their_own(bits: int) -> None:
    code, scale = quantized_weight(70, 20, bits)
    x = noise(65, 70, dtype=torch.float32)
    together = quantized.quantized_matmul(x, code, scale, 20)
    for rows in (1, 2, 15, 16, 17, 33, 64):
        assert torch.equal(quantized.quantized_matmul(x[:rows], code, scale, 20), together[:rows])


def test_quantized_matmul_refuses_what_does_not_fit() -> None:
    matmul = quantized.quantized_matmul
    (code, scale), x = quantized_weight(70, 20, 4), noise(3, 70, dtype=torch.float32)
    for message, call in (
        (r"code_PKW must have shape \(2, 70, 16\)", lambda: matmul(x, code, scale, 40)),
        ("code_PKW must be of", lambda: matmul(x, code.float().repeat(1, 1, 2), scale, 20)),
        ("scale_PGW must have shape", lambda: matmul(x, code, scale[:, :1].contiguous(), 20)),
        ("scale_PGW must be of torch.bfloat16", lambda: matmul(x, code, scale.float(), 20)),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=message):
            call()


# --- norm ---

NORMS = {
    "rms": (Norm(1e-5), True, True, False),
    "rms without residual": (Norm(1e-5), False, True, False),
    "rms without weight": (Norm(1e-5), True, False, False),
    "rms with offset": (Norm(1e-6, offset=1.0), True, True, False),
    "layer": (Norm(1e-5, layer=True), True, True, True),
    "layer without weight": (Norm(1e-5, layer=True), True, False, False),
    "layer without bias": (Norm(1e-5, layer=True), False, True, False),
}


def run_norm(
    inputs: Sequence[torch.Tensor], grads: Sequence[torch.Tensor], how: tuple[Norm, bool, bool, bool]
) -> list[torch.Tensor | None]:
    """The kernels' outputs and the gradients of those of x, residual, w, b that there are."""
    knobs, residual, weight, bias = how
    rest = list(inputs)
    x, r = rest.pop(0), rest.pop(0) if residual else None
    w, b = rest.pop(0) if weight else None, rest.pop(0) if bias else None
    total, out = norm.add_norm(x, r, w, b, knobs)
    dx, dw, db = norm.add_norm_gradient(total, w, b, *grads, knobs)
    return [total, out, dx, *[dx] * residual, *[dw] * weight, *[db] * bias]


def plain_norm(how: tuple[Norm, bool, bool, bool]) -> Callable[..., tuple[torch.Tensor, torch.Tensor]]:
    knobs, residual, weight, bias = how

    def function(*inputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        rest = list(inputs)
        x, r = rest.pop(0), rest.pop(0) if residual else None
        w, b = rest.pop(0) if weight else None, rest.pop(0) if bias else None
        return reference.add_norm(x, r, w, b, knobs)

    return function


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", NORMS)
@pytest.mark.parametrize("shape", [(1, 65), (64, 111), (257, 63), (3, 1500)])
def test_add_norm(shape: tuple[int, int], name: str, dtype: torch.dtype) -> None:
    how = NORMS[name]
    x = [noise(*shape, dtype=dtype, seed=i, scale=3) for i in range(1 + how[1])]
    vectors = [noise(shape[1], dtype=dtype, seed=5 + i) for i in range(how[2] + how[3])]
    grads = [noise(*shape, dtype=dtype, seed=7 + i) for i in range(2)]
    inputs = [*x, *vectors]
    check_with_gradients(run_norm(inputs, grads, how), plain_norm(how), inputs, grads)


@pytest.mark.parametrize("width", [1, 2])
def test_add_norm_of_narrow_rows(width: int) -> None:
    x, r, w = (noise(*s, dtype=torch.float32, seed=i) for i, s in enumerate([(65, width)] * 2 + [(width,)]))
    for knobs in (Norm(1e-5), Norm(1e-5, layer=True)):
        exact = reference.add_norm(x.double(), r.double(), w.double(), None, knobs)
        check(norm.add_norm(x, r, w, None, knobs), reference.add_norm(x, r, w, None, knobs), exact)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("scale", [1e-12, 1e-4, 1e4, 1e15])
def test_add_norm_of_tiny_and_huge_rows(scale: float, dtype: torch.dtype) -> None:
    inputs = [noise(65, 53, dtype=dtype, seed=s, scale=scale) for s in (1, 2)]
    inputs.append(noise(53, dtype=dtype, seed=3))
    grads = [torch.zeros_like(inputs[0]), noise(65, 53, dtype=dtype, seed=4)]
    how = NORMS["rms"]
    check_with_gradients(run_norm(inputs, grads, how), plain_norm(how), inputs, grads)


def test_add_norm_without_a_gradient_of_the_sum() -> None:
    x, w, d = (noise(*s, dtype=torch.float32, seed=len(s)) for s in ((9, 33), (33,), (9, 33)))
    knobs = Norm(1e-5)
    without = norm.add_norm_gradient(x, w, None, None, d, knobs)[0]
    assert torch.equal(without, norm.add_norm_gradient(x, w, None, torch.zeros_like(x), d, knobs)[0])


def test_add_norm_rows_are_their_own() -> None:
    x, r = (noise(257, 53, dtype=torch.bfloat16, seed=s) for s in (1, 2))
    w = noise(53, dtype=torch.bfloat16, seed=3)
    together = norm.add_norm(x, r, w, None, Norm(1e-5))
    for rows in (slice(0, 1), slice(256, 257), slice(100, 163)):
        alone = norm.add_norm(x[rows], r[rows], w, None, Norm(1e-5))
        assert all(torch.equal(a, b[rows]) for a, b in zip(alone, together, strict=True))


def test_add_norm_refuses_what_does_not_fit() -> None:
    x, w = noise(3, 8, dtype=torch.float32), noise(8, dtype=torch.float32)
    for message, call in (
        (r"residual_TC must have shape \(3, 8\)", lambda: norm.add_norm(x, x[:2], w, None, Norm(1e-5))),
        ("w_C must be of torch.float32", lambda: norm.add_norm(x, None, w.bfloat16(), None, Norm(1e-5))),
        ("b_C must be None", lambda: norm.add_norm(x, None, w, w, Norm(1e-5))),
        ("x_TC must have 1 to", lambda: norm.add_norm(x[:, :0].contiguous(), None, None, None, Norm(1e-5))),
        ("dout_TC must have shape", lambda: norm.add_norm_gradient(x, w, None, None, x[:2], Norm(1e-5))),
        ("x_TC must be contiguous", lambda: norm.add_norm(x[:, ::2], None, None, None, Norm(1e-5))),
    ):
        with pytest.raises(ValueError, match=message):
            call()


# --- activation ---

ACTIVATIONS = [
    *(Activation(name, gated) for gated in (True, False) for name in activation.NAMES),
    Activation(limit=1.5),
]


def check_activation(x: torch.Tensor, how: Activation) -> None:
    F = x.shape[1] // 2 if how.gated else x.shape[1]
    dout = noise(x.shape[0], F, dtype=x.dtype, seed=8)
    ours = [activation.activate(x, how), activation.activate_gradient(x, dout, how)]
    check_with_gradients(ours, lambda x: (reference.activate(x, how),), [x], [dout])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("how", ACTIVATIONS, ids=str)
@pytest.mark.parametrize("shape", [(1, 257), (5, 65)])
def test_activate(shape: tuple[int, int], how: Activation, dtype: torch.dtype) -> None:
    check_activation(noise(shape[0], shape[1] * (1 + how.gated), dtype=dtype, scale=3), how)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("how", ACTIVATIONS, ids=str)
def test_activate_large_numbers(how: Activation, dtype: torch.dtype) -> None:
    """To 1e4 of either sign: exp is past what float32 holds."""
    # Whose square float16 would not hold.
    most = 1e2 if how.name == "relu2" else 1e4
    gate, up = torch.linspace(-most, most, 801).to(dtype).to(DEVICE), noise(801, dtype=dtype)
    check_activation((torch.cat((gate, up)) if how.gated else gate).unsqueeze(0), how)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("alphas", [(0.2, -1.1), (-30.0, 3.0), (5.0, -8.0)])
@pytest.mark.parametrize("shape", [(1, 257), (65, 53), (3, 1111)])
def test_xielu(shape: tuple[int, int], alphas: tuple[float, float], dtype: torch.dtype) -> None:
    x, dout = noise(*shape, dtype=dtype, scale=4), noise(*shape, dtype=dtype, seed=8)
    x[:, :3] = torch.tensor([0.0, 100.0, -200.0])
    x[:, 3:6] *= 1e-4
    p, n = (torch.tensor([a], device=DEVICE).to(dtype) for a in alphas)
    ours = [xielu.xielu(x, p, n), *xielu.xielu_gradient(x, p, n, dout)]
    check_with_gradients(ours, lambda *inputs: (reference.xielu(*inputs),), [x, p, n], [dout])
    assert torch.equal(xielu.xielu(x[-1:], p, n), ours[0][-1:])


def test_xielu_refuses_what_does_not_fit() -> None:
    x, alpha = noise(3, 8, dtype=torch.float32), noise(1, dtype=torch.float32)
    for message, call in (
        (r"alpha_p_1 must have shape \(1\)", lambda: xielu.xielu(x, x[0], alpha)),
        ("alpha_n_1 must be of torch.float32", lambda: xielu.xielu(x, alpha, alpha.bfloat16())),
        (r"dout_TF must have shape \(3, 8\)", lambda: xielu.xielu_gradient(x, alpha, alpha, x[:2])),
    ):
        with pytest.raises(ValueError, match=message):
            call()


def test_the_gradient_passes_at_the_clamps_bounds_and_not_past_them() -> None:
    how = Activation(limit=2.0)
    x = torch.tensor([[2.0, 2.5, 0.5, 0.5, 0.5, 1.0, 1.0, 2.0, -2.0, 3.0]], device=DEVICE)
    dx = activation.activate_gradient(x, torch.ones(1, 5, device=DEVICE), how)
    assert (dx != 0).tolist() == [[True, False, True, True, True, True, True, True, True, False]]


def test_activate_refuses_what_does_not_fit() -> None:
    x = noise(3, 8, dtype=torch.float32)
    for message, call in (
        ("activation.name must be one of", lambda: activation.activate(x, Activation("swish"))),
        ("x_TX must have an even number", lambda: activation.activate(x[:, :7].contiguous(), Activation())),
        (r"dout_TF must have shape \(3, 4\)", lambda: activation.activate_gradient(x, x, Activation())),
        ("x_TX must have shape", lambda: activation.activate(x[0], Activation())),
    ):
        with pytest.raises(ValueError, match=message):
            call()


# --- rope and the paged cache ---


def tables(R: int, M: int = 300) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """cos, sin and growth of every position."""
    frequency = 1e4 ** -(torch.arange(R, dtype=torch.float64) / R)
    angle = torch.outer(torch.arange(M, dtype=torch.float64), frequency)
    growth = 1 + 0.1 * torch.log(1 + torch.arange(M, dtype=torch.float64).unsqueeze(1))
    cos, sin, growth = (x.float().to(DEVICE) for x in (angle.cos(), angle.sin(), growth))
    return cos, sin, growth


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("T", "heads", "E", "R", "grown"),
    [(1, (3, 1, 16), 16, 8, False), (65, (2, 2, 20), 12, 5, True), (33, (4, 1, 7), 7, 1, True)],
)
def test_rope(T: int, heads: tuple[int, int, int], E: int, R: int, grown: bool, dtype: torch.dtype) -> None:
    H, K, D = heads
    cos, sin, growth_M1 = tables(R)
    growth = growth_M1 if grown else None
    generator = torch.Generator().manual_seed(T)
    position = torch.randint(0, 300, (T,), generator=generator).to(DEVICE)
    parts = [noise(T, n, d, dtype=dtype, seed=n + d) for n, d in ((H, D), (K, D), (K, E))]
    grads = [noise(*part.shape, dtype=dtype, seed=9 + i) for i, part in enumerate(parts)]
    qkv = torch.cat([part.flatten(1) for part in parts], dim=1)

    def plain(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> tuple[torch.Tensor, ...]:
        wide = torch.promote_types(q.dtype, torch.float32)
        rotated = [reference.rope(x, cos.to(wide), sin.to(wide), position, None) for x in (q, k)]
        if growth is not None:
            rotated[0] = rotated[0] * growth[position].unsqueeze(1).to(q.dtype)
        return rotated[0], rotated[1], v * 1

    q, k = rope.rope_store(qkv, heads, cos, sin, position, growth_M1=growth)
    dqkv = rope.rope_gradient(*grads, cos, sin, position, growth)
    back = [
        x.unflatten(1, (n, -1)) for x, n in zip(dqkv.split((H * D, K * D, K * E), 1), (H, K, K), strict=True)
    ]
    check_with_gradients([q, k, parts[2], *back], plain, parts, grads)


@pytest.mark.parametrize("cached", [torch.float32, torch.bfloat16])
def test_rope_stores_keys_and_values(cached: torch.dtype) -> None:
    """In the slots of the tokens, and nowhere else."""
    T, (H, K, D), E, S, P = 21, (2, 3, 10), 6, 8, 5
    cos, sin, _ = tables(3)
    generator = torch.Generator().manual_seed(0)
    slot = torch.randperm(P * S, generator=generator)[:T].to(DEVICE)
    position = torch.arange(T, dtype=torch.int32, device=DEVICE)
    qkv = noise(T, (H + K) * D + K * E, dtype=torch.float32)
    pages = [torch.full(s, torch.nan, dtype=cached, device=DEVICE) for s in ((P, K, D, S), (P, K, S, E))]
    expected = [page.clone() for page in pages]
    _, k = rope.rope_store(qkv, (H, K, D), cos, sin, position, slot, *pages)
    reference.store(k, qkv[:, (H + K) * D :].unflatten(1, (K, E)), slot, *expected)
    for ours, theirs in zip(pages, expected, strict=True):
        assert torch.equal(ours.nan_to_num(nan=1e9), theirs.nan_to_num(nan=1e9))


def test_rope_refuses_what_does_not_fit() -> None:
    store = rope.rope_store
    qkv, (cos, sin, growth) = noise(3, 40, dtype=torch.float32), tables(4)
    heads, position = (3, 1, 8), torch.arange(3, device=DEVICE)
    pages = torch.zeros(2, 1, 8, 4, device=DEVICE), torch.zeros(2, 1, 4, 8, device=DEVICE)
    for message, call in (
        ("qkv_TX must be 3 . 2 heads of 8 and 2", lambda: store(qkv, (3, 2, 8), cos, sin, position)),
        ("position_T must have shape", lambda: store(qkv, heads, cos, sin, position[:2])),
        ("cos_MR must have 1 to 4 columns", lambda: store(qkv, heads, *tables(5)[:2], position)),
        ("cos_MR must be of torch.float32", lambda: store(qkv, heads, cos.half(), sin.half(), position)),
        ("growth_M1 must have shape", lambda: store(qkv, heads, cos, sin, position, growth_M1=growth[0])),
        ("must be given together", lambda: store(qkv, heads, cos, sin, position, position)),
        ("must be given together", lambda: store(qkv, heads, cos, sin, position, None, *pages)),
        ("v_PKSE must have shape", lambda: store(qkv, heads, cos, sin, position, position, *pages[:1] * 2)),
        ("slot_T must be of", lambda: store(qkv, heads, cos, sin, position, position.float(), *pages)),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=message):
            call()


# --- logprobs ---


@pytest.mark.parametrize("columns", [1, 65, 4096, 5000])
@pytest.mark.parametrize("scale", [1.0, 1e3])
def test_log_softmax(columns: int, scale: float) -> None:
    """Over one block of columns and several; thousands overflow unless the maximum is taken off first."""
    logits = noise(17, columns, dtype=torch.float32, scale=scale)
    temperature = torch.linspace(0.5, 2.0, 17, device=DEVICE)

    def plain(x: torch.Tensor) -> torch.Tensor:
        return torch.log_softmax(x / temperature.to(x.dtype).unsqueeze(1), dim=-1)

    ours = softmax.log_softmax(logits, temperature)
    check([ours], [plain(logits)], [plain(logits.double())])
    top_R, log_R = softmax.softmax(logits, temperature)
    assert torch.equal((logits / temperature[:, None] - top_R[:, None]) - log_R[:, None], ours)
    order = torch.randperm(17, generator=torch.Generator().manual_seed(0)).to(DEVICE)
    for rows in (order, order[:1], order[3:10]):
        assert torch.equal(softmax.log_softmax(logits[rows], temperature[rows]), ours[rows])


def test_log_softmax_refuses_what_does_not_fit() -> None:
    logits, temperature = noise(3, 40, dtype=torch.float32), torch.ones(3, device=DEVICE)
    for message, call in (
        ("logits_RV must be of torch.float32", lambda: softmax.log_softmax(logits.bfloat16(), temperature)),
        ("logits_RV must have shape", lambda: softmax.log_softmax(logits[0], temperature)),
        ("logits_RV must be contiguous", lambda: softmax.softmax(logits.t(), temperature)),
        ("temperature_R must have shape", lambda: softmax.softmax(logits, temperature[:2])),
        ("temperature_R must be of torch.float32", lambda: softmax.softmax(logits, temperature.double())),
    ):
        with pytest.raises(ValueError, match=message):
            call()


# --- no rows, and a device ---


@pytest.mark.parametrize("dtype", DTYPES)
def test_no_rows(dtype: torch.dtype) -> None:
    x, panels = noise(0, 8, dtype=dtype), pack(noise(8, 40, dtype=dtype))
    token, (cos, sin, _) = torch.zeros(0, dtype=torch.int64, device=DEVICE), tables(2)
    assert gpu.matmul(x, panels, 40).shape == (0, 40)
    assert not gpu.matmul_gradient_w(x, noise(0, 40, dtype=dtype)).any()
    assert norm.add_norm(x, x, x.new_ones(8), None, Norm(1e-5))[1].shape == (0, 8)
    assert activation.activate(x, Activation()).shape == (0, 4)
    assert rope.rope_store(noise(0, 16, dtype=dtype), (2, 1, 4), cos, sin, token)[0].shape == (0, 2, 4)
    assert softmax.log_softmax(x.float(), x.new_ones(0, dtype=torch.float32)).shape == (0, 8)


@pytest.mark.gpu
@pytest.mark.skipif(DEVICE.type == "cpu", reason="needs a GPU")
@pytest.mark.parametrize("precision", launch.PRECISIONS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("K", "N"), [(1024, 4096), (3072, 1024), (2560, 9728)])
def test_matmul_rows_are_their_own_on_a_device(K: int, N: int, dtype: torch.dtype, precision: str) -> None:
    """At Qwen3's shapes, across the change of tiles, forward and backward, and with experts."""
    if dtype != torch.float32 and precision != "ieee":
        pytest.skip("only float32 is multiplied in several ways")
    R = 600
    x, panels = noise(R, K, dtype=dtype, seed=1), pack(noise(K, N, dtype=dtype, seed=2, scale=K**-0.5))
    dy = noise(R, N, dtype=dtype, seed=3)
    y, dx = gpu.matmul(x, panels, N, precision=precision), gpu.matmul_gradient_x(dy, panels, precision)
    if precision == "ieee":
        w = unpack(panels, N)
        check([y, dx], [x @ w, dy @ w.t()], [x.double() @ w.double(), dy.double() @ w.double().t()])
    for rows in (*range(1, 131), 255, 256, 257):
        assert torch.equal(gpu.matmul(x[:rows], panels, N, precision=precision), y[:rows]), rows
    assert torch.equal(gpu.matmul_gradient_x(dy[70:90], panels, precision), dx[70:90])
    offset = torch.tensor([0, 1, 1, 200, R], dtype=torch.int32, device=DEVICE)
    for count in (1, 4):
        work = gpu.work_list(x, offset if count == 4 else offset[[0, 4]], precision)
        grouped = gpu.grouped_matmul(
            x, panels.expand(count, *panels.shape).contiguous(), N, work, precision=precision
        )
        assert torch.equal(grouped, y)


def test_one_inner_block_a_dtype_and_precision() -> None:
    """The order along K does not depend on the number of rows, nor is a tile ever below wgmma's 64 rows."""
    for target in launch.TARGETS:
        for dtype in DTYPES:
            for precision in launch.PRECISIONS:
                tiles = [gpu.config(target, dtype, precision, rows) for rows in (1, 64, 65, 4096)]
                assert len({tile.BLOCK_K for tile in tiles}) == 1
                assert all(tile.BLOCK_M >= 64 for tile in tiles)
                if target not in ("sm_80", "sm_90"):
                    assert len({replace(tile, programs=1) for tile in tiles}) == 1
