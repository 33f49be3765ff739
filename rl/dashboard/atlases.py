"""A token-value atlas (`rl.atlas`) as rows of the solution view: alone, or of a run (`atlas-<iteration>`)."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from minillm.errors import MinillmError
from rl.atlas import VERSION
from rl.run_folder import CONFIG, read_config

_NAME = re.compile(r"atlas-(\d+)")


def find_atlas(folder: Path) -> Path | None:
    """Find the atlas that a folder is, or the last one that it has."""
    own = [path for path in folder.glob("atlas-*") if _NAME.fullmatch(path.name)]
    for place in (folder, *sorted(own, key=iteration_of, reverse=True)):
        try:
            written = json.loads((place / CONFIG).read_bytes())
        except (OSError, ValueError, RecursionError):
            continue
        if isinstance(written, dict) and written.get("format") == VERSION:
            return place
    return None


def iteration_of(atlas: Path) -> int:
    """Say after which iteration a run's atlas was made; 0 for one by itself."""
    match = _NAME.fullmatch(atlas.name)
    return int(match[1]) if match else 0


def problem_files(atlas: Path | None) -> list[Path]:
    """List its problems' files."""
    return [] if atlas is None else sorted(path for path in atlas.glob("*.json") if path.name != CONFIG)


def least_rollouts(atlas: Path) -> int:
    """Say how many rollouts a state's value rests on at least, unless it lies between others'."""
    try:
        return int(read_config(atlas, VERSION)["atlas"]["rollouts"])
    except (MinillmError, KeyError, TypeError, ValueError):
        return 1


def rows_of(problem: dict[str, Any], kind: int, iteration: int) -> list[dict[str, Any]]:
    """Make a row of the solution view of each state. Raises `KeyError` for a damaged problem."""
    return [
        {
            "k": entry["k"],
            "kind": kind,
            "value": entry["value"],
            "entropy": entry["entropy"],
            "likeliest": [[one["token_id"], one["logprob"], one["text"]] for one in entry["likeliest"]],
            "logprob": entry["logprob"],
            "rank": entry["rank"],
            "low": entry["low"],
            "high": entry["high"],
            "mean": entry["mean"],
            "trials": entry["rollouts"],
            "iteration": iteration,
        }
        for entry in problem["entries"]
    ]


def texts_of(problem: dict[str, Any]) -> dict[int, str]:
    """Collect the texts of tokens that it names."""
    likely = [one for entry in problem["entries"] for one in entry["likeliest"]]
    return {one["token_id"]: one["text"] for one in (*likely, *problem["entries"])}
