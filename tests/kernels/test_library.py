"""`kernels.ops` as torch.library wants them, under torch.compile, and on wrong arguments.

Legend: T tokens or rows, C model width, F MLP width, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import count
from typing import Any

import numpy as np
import pytest
import torch

from kernels import backend, reference
from kernels.knobs import TANH, Activation, Norm, Scores
from kernels.ops.activation import activate, xielu
from kernels.ops.logprobs import Rows, chosen, gradients, logprobs, masked
from kernels.ops.matmul import grouped_matmul, matmul
from kernels.ops.norm import add_norm, norm_qk
from kernels.ops.packing import quantize_rows
from kernels.ops.rope import rope as rotate
from kernels.ops.rope_store_attention import rope_store_attention
from kernels.panels import CODES, pack, packed_shapes, unpack
from minillm.model.batch import PAGE_SIZE, Batch

minillm = torch.ops.minillm
T, C, F, V, E = 9, 40, 33, 70, 3
BOUND = torch.tensor([0, 4, 4, T])


@pytest.fixture(params=["cpu", "interpreter"], autouse=True)
def kernels(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both sets of kernels, the Triton ones under the interpreter (or on a GPU's tensors: not here)."""
    if request.param == "interpreter":
        launch = pytest.importorskip("kernels.gpu.launch")
        if not launch.INTERPRET:
            pytest.skip("Triton compiles here: tests/kernels/test_gpu_ops.py runs on the GPU")
        from kernels.gpu import ops as gpu_ops

        monkeypatch.setattr(
            backend, "find", lambda device, dtype: None if dtype == torch.float64 else gpu_ops
        )
    return str(request.param)


def noise(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


def panels(K: int, N: int, *experts: int) -> torch.Tensor:
    return pack(noise(*experts, K, N, seed=1) / K**0.5)


def codes(K: int, N: int, bits: int) -> tuple[torch.Tensor, torch.Tensor]:
    shapes = packed_shapes(K, N, bits)
    found = torch.zeros(shapes[0], dtype=CODES[bits]), torch.zeros(shapes[1], dtype=torch.bfloat16)
    quantize_rows(*found, noise(N, K, seed=1))
    return found


def paging() -> tuple[Batch, torch.Tensor, torch.Tensor]:
    batch = Batch.packed([6, 3])
    return batch, torch.zeros(2, 1, 8, PAGE_SIZE), torch.zeros(2, 1, PAGE_SIZE, 8)


def rope_tables() -> tuple[torch.Tensor, torch.Tensor]:
    angles = torch.arange(16.0).unsqueeze(1) * torch.tensor([1.0, 0.3, 0.1])
    return angles.cos(), angles.sin()


def cases() -> dict[str, tuple[Any, tuple[Any, ...]]]:
    x, w, rms = noise(T, C), noise(C, seed=2), (1e-5, False, 0.0)
    batch, k_PKDS, v_PKSE = paging()
    return {
        "matmul": (minillm.matmul, (x, panels(C, F), None, noise(F, seed=3), F, False)),
        "wide": (minillm.matmul, (x.bfloat16(), panels(C, F).bfloat16(), None, None, F, True)),
        "int8": (minillm.matmul, (x.detach(), *codes(C, F, 8), None, F, False)),
        "int4": (minillm.matmul, (x.detach(), *codes(C, F, 4), None, F, True)),
        "grouped": (minillm.grouped_matmul, (x, panels(C, F, E), None, noise(E, F, seed=3), BOUND, F)),
        "add_norm": (minillm.add_norm, (x, noise(T, C, seed=4), w, None, *rms)),
        "norm": (minillm.add_norm, (x, None, w, noise(C, seed=5), 1e-5, True, 0.0)),
        "bare norm": (minillm.add_norm, (x, None, None, None, *rms)),
        "norm_qk": (minillm.norm_qk, (x, noise(8), None, noise(8), None, [16, 8, 8, 8], *rms)),
        "norm_qk by head": (minillm.norm_qk, (x, noise(16), None, noise(8), None, [16, 8, 8, 8], *rms)),
        "norm_qk full": (minillm.norm_qk, (x, noise(16), None, noise(8), None, [16, 8, 16, 8], *rms)),
        "norm_qk bare": (minillm.norm_qk, (x, None, None, None, None, [16, 8, 8, 8], *rms)),
        "swiglu": (minillm.activate, (x, "silu", True, None)),
        "clamped": (minillm.activate, (x, "silu", True, 0.5)),
        **{
            f"{name} gated={gated}": (minillm.activate, (x, name, gated, None))
            for name in reference.FUNCTIONS
            for gated in (False, True)
        },
        "xielu": (minillm.xielu, (x, noise(1, seed=7), noise(1, seed=8))),
        "rope": (minillm.rope, (noise(T, 32), [2, 1, 8], *rope_tables(), batch.position_T)),
        "rope_store": (
            minillm.rope_store,
            (noise(T, 32), [2, 1, 8], *rope_tables(), batch.position_T, batch.slot_T, k_PKDS, v_PKSE, None),
        ),
        "logprobs": (minillm.log_softmax, (noise(T, V), torch.full((T,), 0.7))),
    }


def leaves(arguments: Sequence[Any], differentiable: bool) -> tuple[Any, ...]:
    return tuple(
        a.clone().requires_grad_(differentiable and a.dtype == torch.float32)
        if isinstance(a, torch.Tensor)
        else a
        for a in arguments
    )


@pytest.mark.parametrize("name", cases())
def test_opcheck(name: str) -> None:
    op, arguments = cases()[name]
    learns = name not in ("int8", "int4", "rope_store")
    arguments = leaves(arguments, learns)
    # Of temperatures and angles there is no gradient.
    for i in {"logprobs": (1,), "rope": (2, 3)}.get(name, ()):
        arguments[i].requires_grad_(False)
    torch.library.opcheck(op.default, arguments)


# What a model does between two attentions.
def block(
    x_TC: torch.Tensor, w_C: torch.Tensor, up: torch.Tensor, down: torch.Tensor, head: torch.Tensor
) -> torch.Tensor:
    sum_TC, y_TC = add_norm(x_TC, x_TC * 0.5, w_C, None, Norm(1e-5))
    y_TC = matmul(activate(matmul(y_TC, up, 2 * F), Activation()), down, C)
    experts = grouped_matmul(y_TC, up.expand(E, -1, -1, -1).contiguous(), 2 * F, BOUND)
    y_TC = y_TC + matmul(activate(experts, Activation("gelu")), down, C)
    _, y_TC = add_norm(sum_TC, y_TC, w_C, None, Norm(1e-5))
    y_TC = norm_qk(y_TC, (w_C[:8], None, None, None), (16, 8), (8, 8), Norm(1e-5))
    logits_RV = activate(matmul(y_TC, head, V, wide=True) / 15.0, TANH) * 15.0
    return logprobs(logits_RV, 0.8).gather(1, torch.arange(T).unsqueeze(1))


def weights() -> list[torch.Tensor]:
    return [noise(T, C), noise(C, seed=2), panels(C, 2 * F), panels(F, C), panels(C, V)]


def run(function: Callable[..., torch.Tensor], inputs: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    given = [x.clone().requires_grad_() for x in inputs]
    out = function(*given)
    return [out.detach(), *torch.autograd.grad(out, given, noise(*out.shape, seed=8))]


def test_compiled_is_one_graph_and_has_the_same_bits() -> None:
    compiled = torch.compile(block, fullgraph=True, backend="aot_eager")
    for a, b in zip(run(block, weights()), run(compiled, weights()), strict=True):
        assert torch.equal(a, b)
    with torch.no_grad():
        assert torch.equal(compiled(*weights()), block(*weights()))


def test_gradients_are_those_of_the_oracle() -> None:
    """In float64 the oracle runs under torch's own autograd."""
    exact = run(block, [x.double() for x in weights()])
    for name, a, b in zip(("out", "x", "w", "up", "down", "head"), run(block, weights()), exact, strict=True):
        error = float((a.double() - b).abs().max() / b.abs().max())
        assert error < 1e-5, f"{name}: {error:.1e}"


def test_attention_without_gradient_compiles() -> None:
    batch, k_PKDS, v_PKSE = paging()
    slopes_H = torch.tensor([0.5, 0.2])

    def attend(x_TX: torch.Tensor, k_PKDS: torch.Tensor, v_PKSE: torch.Tensor) -> torch.Tensor:
        scores = Scores(0.3, window=4, slopes_H=slopes_H)
        return rope_store_attention(x_TX * 2, (2, 1, 8), rope_tables(), k_PKDS, v_PKSE, batch, scores)

    with torch.no_grad():
        caches = [(k_PKDS.clone(), v_PKSE.clone()) for _ in range(2)]
        eager = attend(noise(T, 32), *caches[0])
        compiled = torch.compile(attend, backend="aot_eager")(noise(T, 32), *caches[1])
    assert torch.equal(eager, compiled)
    assert all(torch.equal(a, b) for a, b in zip(*caches, strict=True))


def test_chosen_logprobs_and_their_gradients() -> None:
    """Over several parts of the rows: near float64's, and a row's bits are its own."""
    R, rows = 300, noise(300, C)
    token_R, temperature_R = torch.arange(R) % V, torch.linspace(0.5, 2, R)
    head, bias, grad_R = panels(C, V), noise(V, seed=6), noise(R, seed=7)

    def logits(hidden: torch.Tensor) -> torch.Tensor:
        return activate(matmul(hidden, head, V, bias_N=bias, wide=True) * 0.5 / 20, TANH) * 20

    found = chosen(rows, token_R, temperature_R, logits)
    leaves = [x.double().requires_grad_() for x in (rows, unpack(head, V), bias)]
    capped = torch.tanh((leaves[0] @ leaves[1] + leaves[2]) * 0.5 / 20) * 20
    exact_RV = torch.log_softmax(capped / temperature_R.double().unsqueeze(1), dim=-1)
    exact = exact_RV.gather(1, token_R.unsqueeze(1)).squeeze(1)
    assert float((found - exact.detach()).abs().max()) < 1e-5
    alone = [chosen(rows[[i]], token_R[[i]], temperature_R[[i]], logits) for i in (0, 128, 299)]
    assert torch.equal(torch.cat(alone), found[[0, 128, 299]])
    ours = gradients(grad_R, rows, unpack(head, V), token_R, temperature_R, logits, 0.5, 20.0)
    theirs = torch.autograd.grad((exact * grad_R).sum(), leaves)
    for a, b in zip(ours, theirs, strict=True):
        assert a is not None and float((a - b).abs().max()) < 1e-4 * float(b.abs().max())


def test_grouped_rows_have_the_bits_of_single_products() -> None:
    x, w, bias = noise(T, C), panels(C, F, E), noise(E, F, seed=3)
    with torch.no_grad():
        together = grouped_matmul(x, w, F, BOUND, bias_EN=bias)
        for e in range(E):
            rows = slice(int(BOUND[e]), int(BOUND[e + 1]))
            assert torch.equal(matmul(x[rows], w[e], F, bias_N=bias[e]), together[rows])


def test_quantised_weights_pass_no_gradient_on() -> None:
    x, (code, scales) = noise(T, C).requires_grad_(), codes(C, F, 8)
    with pytest.raises(RuntimeError, match="integer-quantised weights"):
        matmul(x, code, F, scales).sum().backward()


# --- arguments ---


def attend_with(**change: Any) -> torch.Tensor:
    batch, k_PKDS, v_PKSE = paging()
    given = {
        "qkv": noise(T, 32),
        "heads": (2, 1, 8),
        "tables": rope_tables(),
        "k": k_PKDS,
        "v": v_PKSE,
        "batch": batch,
        "scores": Scores(0.3),
        **change,
    }
    return rope_store_attention(*given.values())


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: matmul(noise(T), panels(C, F), F), "x_RK must have shape"),
        (lambda: matmul(noise(T, C + 1), panels(C, F), F), r"w_PKW must have shape \(2, 41, 32\)"),
        (lambda: matmul(noise(T, C), panels(C, F), F + 32), r"w_PKW must have shape \(3, 40"),
        (lambda: matmul(noise(T, C), panels(C, F).bfloat16(), F), "w_PKW must be of torch.float32"),
        (lambda: matmul(noise(T, C), panels(C, F).to("meta"), F), "w_PKW must be on cpu"),
        (
            lambda: matmul(noise(T, C), panels(C, F).mT.contiguous().mT, F),
            "w_PKW must be contiguous",
        ),
        (lambda: matmul(noise(T, C), panels(C, F), F, bias_N=noise(F + 1)), "bias must have shape"),
        (lambda: matmul(noise(T, C), *codes(C, F, 8)[:1], F, noise(2, 1, 32)), "scales must be of"),
        (lambda: matmul(noise(T, C).int(), panels(C, F), F), "x_RK must be of"),
        (
            lambda: grouped_matmul(noise(T, C), panels(C, F, E), F, BOUND[:-1]),
            "bound_E1 must have shape",
        ),
        (
            lambda: add_norm(noise(T, C), noise(T, F), None, None, Norm(1e-5)),
            "residual_TC must have",
        ),
        (lambda: add_norm(noise(T, C), None, noise(F), None, Norm(1e-5)), "w_C must have shape"),
        (
            lambda: norm_qk(noise(T, C), (noise(7), None, None, None), (16, 8), (8, 8), Norm(1e-5)),
            r"weights\[0\] must have shape \(8\)",
        ),
        (
            lambda: norm_qk(noise(T, C), (None,) * 4, (15, 8), (8, 8), Norm(1e-5)),
            "widths must be whole pieces",
        ),
        (lambda: activate(noise(T, F), Activation()), "x_TX must have an even number"),
        (lambda: activate(noise(T, F), Activation("mish")), "activation.name must be one of silu"),
        (lambda: xielu(noise(T, F), noise(2), noise(1)), r"alpha_p_1 must have shape \(1\)"),
        (
            lambda: xielu(noise(T, F), noise(1), noise(1).bfloat16()),
            "alpha_n_1 must be of torch.float32",
        ),
        (lambda: attend_with(qkv=noise(T, 31)), r"qkv_TX must have shape \(any, 32\)"),
        (lambda: attend_with(qkv=noise(T + 1, 32)), "batch.position_T must have shape"),
        (lambda: attend_with(heads=(3, 2, 8)), "k_PKDS must have shape"),
        (
            lambda: attend_with(k=torch.zeros(2, 1, 8, PAGE_SIZE).bfloat16()),
            "v_PKSE must be of torch.bfloat16",
        ),
        (lambda: attend_with(v=torch.zeros(2, 1, PAGE_SIZE, 300)), "v must have a head dim of 1 to 256"),
        (lambda: attend_with(tables=(noise(16, 5), noise(16, 5))), "tables must have at most 4 columns"),
        (
            lambda: rotate(noise(T, 32), (2, 1, 8), (noise(16, 5), noise(16, 5)), torch.arange(T)),
            "tables must have at most 4 columns",
        ),
        (
            lambda: rotate(noise(T, 24), (2, 1, 8), rope_tables(), torch.arange(T)),
            "qkv_TX must hold 2",
        ),
        (
            lambda: rotate(noise(T, 32), (2, 1, 8), rope_tables(), torch.arange(T + 1)),
            "position_T must have shape",
        ),
    ],
    ids=count(),
)
def test_arguments_that_do_not_belong_together(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def test_autograd_from_the_middle_of_a_sequence_is_refused() -> None:
    later = Batch.build([2], [3], [[0]])
    with pytest.raises(ValueError, match=r"batch\.starts must be 0 under autograd"):
        attend_with(qkv=noise(2, 32).requires_grad_(), batch=later)
    with torch.no_grad():
        attend_with(qkv=noise(2, 32), batch=later)


# --- rows of logits ---


@pytest.mark.parametrize("columns", [1, 7, 131, 256, 5000])
def test_rows_of_logits(columns: int, kernels: str) -> None:
    """Logprobs near float64's, equal however asked for and whatever stands beside; draws and ranks."""
    logits, temperature = noise(5, columns) * 4, torch.tensor([0.3, 0.7, 1.0, 1.0, 2.0])
    whole = logprobs(logits, temperature.unsqueeze(1))
    exact = torch.log_softmax(logits.double() / temperature.double().unsqueeze(1), dim=-1)
    usual = torch.log_softmax(logits / temperature.unsqueeze(1), dim=-1)
    assert float((whole - exact).abs().max()) <= 2 * float((usual - exact).abs().max()) + 1e-6
    rows = Rows(logits, temperature)
    assert torch.equal(rows.at(torch.arange(columns).expand(5, -1)), whole)
    for r in range(5):
        assert torch.equal(logprobs(logits[r : r + 1], float(temperature[r])), whole[r : r + 1])
    token_R = torch.arange(5) % columns
    better = (logits > logits.gather(1, token_R.unsqueeze(1))).sum(1)
    assert torch.equal(rows.ranks(token_R), better + 1)
    assert torch.equal(rows.likeliest(), logits.argmax(1))
    mass = exact.exp().cumsum(1)
    for u in (0.0, 0.2, 0.77, 1 - 2.0**-53):
        drawn = rows.draw([u] * 5)
        for r, v in enumerate(drawn.tolist()):
            before = float(mass[r, v - 1]) if v else 0.0
            assert before - 1e-6 <= u * float(mass[r, -1]) <= float(mass[r, v]) + 1e-6


@pytest.mark.parametrize("columns", [1, 8, 131, 5000])
def test_masks_take_tokens_out(columns: int, kernels: str) -> None:
    """A kept logit has its own bits, also NaN; the others are -inf, whatever stood there."""
    logits = noise(3, columns)
    logits[2, :] = torch.nan
    kept = (torch.arange(3 * columns).view(3, columns) * 7919 >> 4) % 3 > 0
    bytes_each = -(-columns // 32) * 4
    packed = np.zeros((3, bytes_each), np.uint8)
    packed[:, : -(-columns // 8)] = np.packbits(kept.numpy(), axis=1, bitorder="little")
    expected = torch.where(kept, logits, -torch.inf)
    assert torch.equal(masked(logits, torch.from_numpy(packed)).view(torch.int32), expected.view(torch.int32))


def test_rows_with_nothing_left_out_of_most(kernels: str) -> None:
    logits = torch.full((2, 600), -torch.inf)
    logits[0, 599], logits[1, 3], logits[1, 300] = 2.0, 1.0, 1.0
    rows = Rows(logits, torch.ones(2))
    assert rows.draw([1 - 2.0**-53, 0.49]).tolist() == [599, 3]
    assert rows.draw([0.0, 0.51]).tolist() == [599, 300]
    found = logprobs(logits)
    assert found[0, 599] == 0 and found[0, 0] == -torch.inf


def test_the_likeliest_is_the_first_of_equals_and_none_where_a_logit_is_missing(kernels: str) -> None:
    logits = torch.zeros(6, 600)
    logits[0, [301, 300, 599]] = 1.0
    logits[1] = -torch.inf
    logits[2, 7] = logits[3, 599] = torch.nan
    logits[4, 257] = torch.inf
    assert Rows(logits, torch.ones(6)).likeliest().tolist() == [300, 0, -1, -1, 257, 0]


def test_gradient_of_logprobs() -> None:
    logits, temperature = noise(4, 77), torch.tensor([[0.5], [1.0], [2.0], [1.3]])
    seed = noise(4, 77, seed=3)
    found, exact = (
        torch.autograd.grad((logprobs(x, temperature) * seed).sum(), x)[0]
        for x in (logits.clone().requires_grad_(), logits.double().requires_grad_())
    )
    assert float((found - exact.detach()).abs().max()) < 1e-5
    torch.library.opcheck(minillm.log_softmax.default, (logits.requires_grad_(), temperature.flatten()))
