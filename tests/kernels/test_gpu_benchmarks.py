"""The benchmarks of the GPU kernels: their smoke sizes run to the end, and what is red is not timed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("triton")

ROOT = Path(__file__).parents[2]
FIELDS = {
    *("benchmark", "smoke", "machine", "config", "peaks", "figures", "checks", "red", "failures", "notes"),
    *("rows", "summary", "seconds"),
}
# Of the checks that every kernel has; then a peer that there is on a CPU.
BENCHMARKS = {
    "attention": ("rows have their bits everywhere", "flash"),
    "matmul": ("rows have their bits for any number of rows", "cublas"),
    "decode_attention": ("a shared prefix changes no bit", "flash, no pages"),
}


@pytest.mark.parametrize("name", BENCHMARKS)
def test_the_smoke_size_runs(name: str, tmp_path: Path) -> None:
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": str(ROOT)}
    environment.pop("TRITON_INTERPRET", None)  # which the script sees to
    done = subprocess.run(
        [sys.executable, "-m", f"benchmarks.{name}"],
        capture_output=True,
        text=True,
        env=environment,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "times mean NOTHING" in done.stdout and "saved to" not in done.stdout
    record = json.loads(done.stdout.splitlines()[-1])
    assert record.keys() == FIELDS
    assert record["benchmark"] == name and record["smoke"] and not record["red"] and not record["failures"]
    assert {"date", "device", "torch", "triton", "python"} <= record["machine"].keys()
    check, peer = BENCHMARKS[name]
    assert check in {check["name"] for check in record["checks"]}
    assert all(check["passed"] for check in record["checks"])
    assert any("ours" in check["errors"] for check in record["checks"])
    for row in record["rows"]:
        assert row["ours"]["seconds"] > 0 and row["work"]["operations"] > 0 and row["work"]["bytes"] > 0
        assert row["peers"].keys() == row["ratios"].keys() != set()
    assert any(row["ratios"].get(peer) for row in record["rows"])


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
    from benchmarks import gpu

    test: Any = partial(int, "x") if processes else partial(fail, "raise")
    config = gpu.Config(folder=tmp_path, processes=processes)
    report = gpu.KernelReport("matmul", config, "TFLOP/s", "rows")
    other: Any = partial(str, "3 rows differ")  # builtins: another process does not know this file
    report.check({"a": [("bits", other), ("launch", test)], "b": [("bits", partial({}.get, 0))]})
    work = gpu.Work(1.0, 1.0, "bf16")
    assert report.time("a", "a", 1, work, {"ours": lambda: [list]}) is None
    assert report.time("c", "c", 1, work, {"ours": lambda: [list]}) is None  # it has no check at all

    def broken() -> list[gpu.Call]:
        raise RuntimeError("not on this device")

    row = report.time("b", "b", 1, work, {"ours": lambda: [list], "peer": broken}, {"peer": 2.0})
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
    # matplotlib belongs to the extra `bench`: without it there is no plot, and no error.
    assert saved.with_suffix(".png").exists() or "no plot: ModuleNotFoundError" in printed
