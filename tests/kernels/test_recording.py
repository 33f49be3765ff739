"""Recordings run the same kernels again, on new inputs in one memory; what they cannot hold is refused."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
import torch

from kernels.cpu.recording import Arena, current, empty, record
from kernels.knobs import Activation, Norm
from kernels.ops.activation import activate
from kernels.ops.matmul import matmul
from kernels.ops.norm import add_norm
from kernels.panels import pack

DTYPES = (torch.float32, torch.bfloat16)


@pytest.fixture(params=(1, 2, 3))
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def mlp(x_TC: torch.Tensor, weights: tuple[torch.Tensor, ...]) -> torch.Tensor:
    """A few launches of several tasks and of one."""
    norm_C, up_PCW, down_PFW = weights
    C, F = norm_C.shape[0], down_PFW.shape[1]
    with torch.no_grad():
        sum_TC, normed_TC = add_norm(x_TC, x_TC, norm_C, None, Norm(1e-5))
        out_TC = matmul(activate(matmul(normed_TC, up_PCW, 2 * F), Activation()), down_PFW, C)
        return add_norm(sum_TC, out_TC, norm_C, None, Norm(1e-5))[1]


def make(dtype: torch.dtype, T: int = 5) -> tuple[torch.Tensor, tuple[torch.Tensor, ...]]:
    generator = torch.Generator().manual_seed(0)
    C, F = 96, 400

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator).to(dtype)

    return normal(T, C), (normal(C), pack(normal(C, 2 * F)), pack(normal(F, C)))


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_recording_computes_what_the_call_did(dtype: torch.dtype, threads: int) -> None:
    x_TC, weights = make(dtype)
    result_TC, recording = record(lambda: mlp(x_TC, weights), Arena())
    assert recording is not None
    assert torch.equal(result_TC, mlp(x_TC, weights))
    for seed in range(3):
        x_TC.copy_(torch.randn(x_TC.shape, generator=torch.Generator().manual_seed(seed)))
        weights[1].mul_(1.5)  # weights are read where they stand
        result_TC.fill_(float("nan"))
        recording.run()
        assert torch.equal(result_TC, mlp(x_TC, weights))


def test_two_recordings_share_an_arena(threads: int) -> None:
    arena = Arena()
    (small, weights), (large, _) = make(torch.float32, 3), make(torch.float32, 40)
    calls = [(x, *record(lambda x=x: mlp(x, weights), arena)) for x in (large, small)]  # type: ignore[misc]
    blocks = len(arena._blocks)
    for x_TC, result_TC, recording in calls * 2:
        assert recording is not None
        x_TC.neg_()
        recording.run()
        assert torch.equal(result_TC, mlp(x_TC, weights))
    # Tensors that are done with give their memory to later ones; the two results keep theirs.
    assert blocks == len(arena._blocks) < 8


def test_a_block_is_not_given_out_while_a_view_of_it_lives() -> None:
    arena = Arena()
    first = arena.empty((4, 8), torch.float32)
    view, place = first[1:].flatten(), first.data_ptr()
    del first
    second = arena.empty((4, 8), torch.float32)
    assert second.data_ptr() != place
    del view
    assert arena.empty((8, 8), torch.bfloat16).data_ptr() == place
    assert arena.empty((8, 8), torch.float32).data_ptr() % 64 == 0


def test_what_torch_computes_is_not_recorded() -> None:
    x_TC, weights = make(torch.float32)
    assert record(lambda: mlp(x_TC + 1, weights), Arena())[1] is None
    assert record(lambda: mlp(x_TC.double(), tuple(w.double() for w in weights)), Arena())[1] is None


def test_after_an_error_nothing_is_being_recorded() -> None:
    def fails() -> None:
        raise ValueError

    with pytest.raises(ValueError):
        record(fails, Arena())
    assert current() is None


def test_another_thread_is_not_recorded() -> None:
    x_TC, weights = make(torch.float32)
    arena = Arena()
    seen: list[torch.Tensor] = []

    def function() -> torch.Tensor:
        other = threading.Thread(target=lambda: seen.extend((mlp(x_TC, weights), empty((3,), torch.float32))))
        other.start()
        other.join()
        return mlp(x_TC, weights)

    result_TC, recording = record(function, arena)
    assert recording is not None and torch.equal(result_TC, seen[0])
    assert len(recording._jobs) == 5
    x_TC.mul_(2)
    recording.run()
    assert torch.equal(result_TC, mlp(x_TC, weights)) and not torch.equal(result_TC, seen[0])
