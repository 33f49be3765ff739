"""A log that is appended to by a process that may be killed at any moment."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from minillm.errors import MinillmError
from rl.line_log import LineLog

CONFIG = {"model": "demo"}


def opened(folder: Path, config: dict[str, str] = CONFIG) -> LineLog:
    return LineLog.open(folder, config, "log 1", "lines.jsonl")


def test_what_was_appended_is_read_back(tmp_path: Path) -> None:
    with opened(tmp_path / "run") as log:
        assert log.records == []
        log.append([{"n": 1}, {"n": 2, "text": "two\nlines"}])
        log.append([])
        assert json.loads((tmp_path / "run" / "lines.jsonl").read_text().splitlines()[1])["n"] == 2
    with opened(tmp_path / "run") as log:
        log.append([{"n": 3}])
        assert [record["n"] for record in log.records] == [1, 2, 3]


def test_cut_at_any_byte_whole_lines_are_kept(tmp_path: Path) -> None:
    with opened(tmp_path) as log:
        log.append([{"n": n, "text": "x" * n} for n in range(4)])
    path = tmp_path / "lines.jsonl"
    whole = path.read_bytes()
    ends = [i + 1 for i, byte in enumerate(whole) if byte == ord("\n")]
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        kept = sum(end <= size for end in ends)
        with opened(tmp_path) as log:
            assert [record["n"] for record in log.records] == list(range(kept))
            log.append([{"n": kept}])
        assert [json.loads(line)["n"] for line in path.read_text().splitlines()] == list(range(kept + 1))


def test_damage_and_other_runs_are_named(tmp_path: Path) -> None:
    with opened(tmp_path / "run") as log:
        log.append([{"n": 1}])
        with pytest.raises(MinillmError, match=f"in use by process {os.getpid()}"):
            opened(tmp_path / "run")
        with pytest.raises(MinillmError, match="a record cannot be written as JSON"):
            log.append([{"n": float("nan")}])
    with pytest.raises(MinillmError, match="model was 'demo' and is now 'other'"):
        opened(tmp_path / "run", {"model": "other"})
    with pytest.raises(MinillmError, match=r"is of journal format 'log 1', and .* reads format 'log 2'"):
        LineLog.open(tmp_path / "run", CONFIG, "log 2", "lines.jsonl")
    path = tmp_path / "run" / "lines.jsonl"
    path.write_text('{"n": 1}\n{"n"\n{"n": 3}\n')
    with pytest.raises(MinillmError, match=r"line 2 of .*lines\.jsonl is damaged"):
        opened(tmp_path / "run")


def test_a_run_that_never_began_leaves_no_folder(tmp_path: Path) -> None:
    with pytest.raises(MinillmError), opened(tmp_path / "run"):
        raise MinillmError("refused")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(MinillmError), opened(tmp_path / "run") as log:
        log.append([{"n": 1}])
        raise MinillmError("refused")
    assert (tmp_path / "run" / "lines.jsonl").exists()
