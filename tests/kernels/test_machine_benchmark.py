"""`benchmarks.machine`: its kernels do the work that they are counted for."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from benchmarks import machine
from kernels.cpu.recording import launch
from kernels.cpu.tile import WIDTH


@pytest.mark.parametrize("bf16", [False, True])
def test_every_multiply_add_is_done(bf16: bool) -> None:
    if bf16 and not machine.has_bf16_instruction():
        pytest.skip("this CPU has no bf16 instruction")
    out_T, steps = torch.full((3,), -1.0), 7
    # As float32 2 * 4; the instruction reads the same bits as pairs (0, 2) and (0, 4).
    launch(machine._chains(bf16), 3, out_T=out_T, x_1=torch.full((1,), 2.0), T=3, steps=steps)
    assert out_T.tolist() == [8.0 * steps * machine.CHAINS * WIDTH] * 3


def test_every_byte_is_read() -> None:
    x_TN = torch.from_numpy(np.random.default_rng(0).integers(-(2**62), 2**62, size=(5, 64)))
    out_T = torch.zeros(5, dtype=torch.int64)
    launch(machine._reading(), 5, x_TN=x_TN, out_T=out_T, T=5, N=64)
    assert out_T.tolist() == np.bitwise_xor.reduce(x_TN.numpy(), axis=1).tolist()


def test_peaks_are_the_best_of_each() -> None:
    found = [machine.Peaks(3.0, None, 9.0), machine.Peaks(4.0, 6.0, 8.0), machine.Peaks(2.0, 7.0, 1.0)]
    assert machine.best(found) == machine.Peaks(4.0, 7.0, 9.0)
    assert machine.best(found[:1]).floors() == {"fp32": 3.0, "bf16": 3.0, "bytes": 9.0}
    assert "by a bf16 instruction none" in str(found[0])


def test_a_small_measurement(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "STEPS", 100)
    monkeypatch.setattr(machine, "READ_BYTES", 1 << 22)
    found = machine.measure(rounds=1)
    assert found.fp32 > 1e8 and found.bytes > 1e8 and (found.bf16 is None or found.bf16 > 1e8)
