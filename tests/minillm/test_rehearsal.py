"""The GPU path with no GPU: `rehearsal.py`, in a process of its own, and what its report must say."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("triton")

ROOT = Path(__file__).parents[2]
FAMILIES = ("llama", "gemma2", "gpt_oss", "deepseek_v3", "bloom")
TRAINED = [f"{name} {precision}" for name in FAMILIES for precision in ("fp32", "bf16", "bf16-master-fp32")]
TRAINED.append("apertus bf16")
SAMPLED = [*TRAINED, "llama int8", "llama int4"]


@pytest.fixture(scope="module")
def report() -> dict[str, Any]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""}
    environment.pop("TRITON_INTERPRET", None)  # under which nothing is launched
    command = [sys.executable, str(Path(__file__).with_name("rehearsal.py")), "--json"]
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stdout + done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def phases_of(report: dict[str, Any], case: str) -> dict[str, Any]:
    phases: dict[str, Any] = report["cases"][case]
    assert isinstance(phases, dict), phases  # or what was raised
    return phases


def test_every_case_is_judged(report: dict[str, Any]) -> None:
    assert set(report["cases"]) == set(SAMPLED)


@pytest.mark.parametrize("case", TRAINED)
def test_training(case: str, report: dict[str, Any]) -> None:
    phases = phases_of(report, case)
    for name in ("training", "training, whole rows", "optimizer"):
        assert not phases[name]["reads"] and not phases[name]["waits"], name
    # Forward and backward of two layers.
    assert all(phases[name]["launches"] > 40 for name in ("training", "training, whole rows", "moves"))
    # Three forwards, each with the distance of all pulls, and after two steps the drift.
    assert sum(phases["moves"]["reads"].values()) == 5
    # What it computes, and the weights' checksum, which a sampler begins with.
    assert sum(phases["check of moves"]["reads"].values()) == 2


@pytest.mark.parametrize("case", SAMPLED)
def test_sampling(case: str, report: dict[str, Any]) -> None:
    phases = phases_of(report, case)
    for kind in ("", ", mixed"):  # greedy, penalised and cut rows among others
        steps = [phases[f"{name}{kind}"] for name in ("prefill", "first decode", "decode")]
        # A step reads its tokens; before the first, the weights' checksum is read.
        assert [sum(step["reads"].values()) for step in steps] == [2, 1, 1]
        assert not any(step["refused"] for step in steps)
        assert [step["replays"] for step in steps] == [0, 1, 1]
        # A recording is made once, for which the device is waited for, and launches what a prefill does.
        assert [step["waits"] for step in steps] == [0, int(kind == ""), 0]
        assert steps[2]["launches"] == steps[0]["launches"] > 20


def test_every_kernel_is_launched(report: dict[str, Any]) -> None:
    assert not report["idle kernels"]


@pytest.mark.parametrize("place", ["layers", "logits"])
@pytest.mark.parametrize("fault", [".cpu()", ".item()", "bool()"])
def test_a_planted_read_is_seen(fault: str, place: str, report: dict[str, Any]) -> None:
    phases = report["faults"][f"{fault} in {place}"]
    assert phases["training"]["reads"] and phases["training, whole rows"]["reads"]
    assert all(sum(phases[name]["reads"].values()) > 1 for name in ("prefill", "first decode", "decode"))
    assert bool(phases["first decode"]["refused"]) == (place == "layers")


@pytest.mark.parametrize("place", ["layers", "logits"])
@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("nonzero()", "the shape of what aten.nonzero.default returns depends on values"),
        ("a constant on the CPU", "aten.ones.default of tensors on the CPU"),
        ("a number on the CPU", "aten.mul.Tensor of tensors on the CPU"),
    ],
)
def test_a_planted_fault_is_named(fault: str, message: str, place: str, report: dict[str, Any]) -> None:
    assert message in report["faults"][f"{fault} in {place}"]["fault"]
