"""The benchmarks of kernels: tiny sizes run to the end, and what is red is not timed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
FIELDS = {
    *("benchmark", "machine", "config", "peaks", "figures", "checks", "red", "failures", "notes"),
    *("rows", "summary", "seconds"),
}
# Sizes; of the checks that every kernel has; then a peer that there is on a CPU.
BENCHMARKS = {
    "attention": (
        ["--lengths", "40", "70"],
        "rows have their bits everywhere",
        "flash",
    ),
    "matmul": (
        ["--rows", "1", "70", "--backward-rows", "65"],
        "rows have their bits for any number of rows",
        "torch",
    ),
    "decode_attention": (
        ["--batches", "1", "3", "--contexts", "64", "--forks", "3", "--prefix", "64", "--own", "5"],
        "a shared prefix changes no bit",
        "flash, no pages",
    ),
}


@pytest.mark.parametrize("name", BENCHMARKS)
def test_tiny_sizes_run_on_the_cpu(name: str, tmp_path: Path) -> None:
    options, check, peer = BENCHMARKS[name]
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": str(ROOT)}
    environment.pop("TRITON_INTERPRET", None)  # which the script sees to
    options += ["--models", "tiny", "--rounds", "1", "--folder", str(tmp_path)]
    done = subprocess.run(
        [sys.executable, "-m", f"benchmarks.{name}", *options],
        capture_output=True,
        text=True,
        env=environment,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    record = json.loads(done.stdout.splitlines()[-1])
    assert record.keys() == FIELDS
    assert record["benchmark"] == name and not record["red"] and not record["failures"]
    assert record["peaks"].keys() == {"fp32", "bf16", "bytes"} and min(record["peaks"].values()) > 0
    assert {"date", "device", "torch", "python"} <= record["machine"].keys()
    for kernel in ("tiny", *(["Triton tiny"] if "triton" in record["machine"] else [])):
        mine = [found for found in record["checks"] if found["kernel"].startswith(kernel)]
        assert check in {found["name"] for found in mine} and all(found["passed"] for found in mine)
        assert any("ours" in found["errors"] for found in mine)
    assert {row["work"]["kind"] for row in record["rows"]} == {"fp32", "bf16"}
    assert not any("Triton" in row["panel"] for row in record["rows"])
    for row in record["rows"]:
        assert row["over_floor"] > 0 and row["floor"] > 0 and row["work"]["bytes"] > 0
        assert row["peers"].keys() == row["ratios"].keys() != set()
    assert any(row["ratios"].get(peer) for row in record["rows"])
    assert any("geometric mean" in verdict["name"] for verdict in record["summary"])
    (saved,) = tmp_path.glob("*.json")
    assert json.loads(saved.read_text())["rows"] == record["rows"]
    # matplotlib belongs to the extra `bench`: without it there is no plot, and no error.
    assert saved.with_suffix(".png").exists() or "no plot: ModuleNotFoundError" in done.stdout


def test_an_unknown_model_is_an_error() -> None:
    from benchmarks.kernel_report import Config

    with pytest.raises(SystemExit, match=r"error: unknown model GPT-5; there are SmolLM2-135M, .*tiny"):
        Config(models=("GPT-5",)).shapes()


def test_products_of_a_model() -> None:
    from benchmarks.shapes import MODELS

    assert MODELS["Qwen3-0.6B"].products == {
        "qkv": (1024, 4096),
        "o": (2048, 1024),
        "gate_up": (1024, 6144),
        "down": (3072, 1024),
        "head": (1024, 151936),
    }


def fail(text: str) -> str | None:
    """A check."""
    if text == "raise":
        raise ValueError("no such instruction")
    return text or None


@pytest.mark.parametrize("processes", [0, 1])
def test_a_red_kernel_is_not_timed(
    processes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(ROOT)
    from benchmarks import kernel_report, kernel_times

    monkeypatch.setattr(kernel_times, "peaks", lambda: {"bf16": 1e15, "bytes": 1e15})
    test: Any = partial(int, "x") if processes else partial(fail, "raise")
    config = kernel_report.Config(folder=tmp_path, processes=processes)
    report = kernel_report.KernelReport("matmul", config, "rows")
    other: Any = partial(str, "3 rows differ")  # builtins: another process does not know this file
    report.check({"a": [("bits", other), ("launch", test)], "b": [("bits", partial({}.get, 0))]})
    work = kernel_times.Work(1.0, 1.0, "bf16")
    assert report.time("a", ("a", "", 1), work, {"ours": lambda: [list]}) is None
    # It has no check at all.
    assert report.time("c", ("c", "", 1), work, {"ours": lambda: [list]}) is None

    def broken() -> list[kernel_times.Call]:
        raise RuntimeError("not on this device")

    contenders: Any = {"ours": lambda: [list], "peer": broken}
    row = report.time("b", ("b", "forward", 1), work, contenders, {"peer": 2.0})
    assert row is not None and row.peers["peer"] == "RuntimeError: not on this device" and not row.verdicts
    assert report.finish() == 1
    printed = capsys.readouterr().out
    assert "RED a: bits: 3 rows differ" in printed and "RED a: launch: ValueError: " in printed
    assert "skipped a, 1: a is red (bits, launch)" in printed
    assert "no time of peer (b): RuntimeError: not on this device" in printed
    record = json.loads(printed.splitlines()[-1])
    assert record["red"] == ["a: bits", "a: launch"] and [row["panel"] for row in record["rows"]] == ["b"]
    (saved,) = tmp_path.glob("*.json")
    assert json.loads(saved.read_text())["rows"] == record["rows"]


def test_curves_are_a_line_each() -> None:
    from benchmarks.kernel_plot import curves
    from benchmarks.kernel_times import Row, Timing, Work

    def row(line: str, x: int, ours: float, peer: Timing | str) -> Row:
        return Row("p", line, x, Work(8.0, 1.0, "fp32"), Timing(ours, 0, 0, 1, 1), {"peer": peer}, 0.5, [])

    rows = [row("forward", 1, 1.0, Timing(2.0, 0, 0, 1, 1)), row("forward", 2, 4.0, "not here")]
    rows.append(row("backward", 1, 8.0, "not here"))
    found = {(name, line): (xs, ys) for name, line, xs, ys in curves(rows, lambda row, s: 8.0 / s)}
    assert found == {
        ("floor", "forward"): ([1, 2], [16.0, 16.0]),
        ("peer", "forward"): ([1], [4.0]),
        ("ours", "forward"): ([1, 2], [8.0, 2.0]),
        ("floor", "backward"): ([1], [16.0]),
        ("ours", "backward"): ([1], [1.0]),
    }


def test_a_contender_that_takes_long_has_fewer_bursts(monkeypatch: pytest.MonkeyPatch) -> None:
    from benchmarks import kernel_times

    if kernel_times.ON_GPU:
        pytest.skip("by the CPU's clock")
    clock = [0.0]
    monkeypatch.setattr(kernel_times.time, "perf_counter", lambda: clock[0])

    def lasting(seconds: float) -> Any:
        return lambda: clock.__setitem__(0, clock[0] + seconds)

    contenders = {"quick": lambda: [lasting(0.25)], "slow": lambda: [lasting(1000.0)]}
    found: Any = kernel_times.race(contenders, 5)
    assert found["quick"] == kernel_times.Timing(0.25, 0.25, 0.25, 5, 1)
    assert found["slow"].seconds == 1000 and found["slow"].bursts == 1
