"""What the page shows of a run's audits: a report an update, by layer and by kind."""

from __future__ import annotations

import re
from dataclasses import asdict
from pathlib import Path
from typing import Any

from minillm.errors import MinillmError
from rl.audit_report import Tensors, UpdateReport
from rl.run_folder import read_json
from rl.types import from_dict

AUDIT = "audit"
_NAME = re.compile(r"update-(\d+)\.json")


def audit_files(folder: Path) -> dict[int, Path]:
    """Find the reports in a run's folder, by iteration."""
    paths = (folder / AUDIT).glob("update-*.json")
    found = {int(match[1]): path for path in paths if (match := _NAME.fullmatch(path.name))}
    return dict(sorted(found.items()))


def read_audit(path: Path) -> dict[str, Any]:
    """Read one report, and sum it up. Raises `MinillmError` for a damaged one."""
    try:
        report = from_dict(UpdateReport, read_json(path))
        weights = {
            by: {name: _sums(t) for name, t in report.weights_by(by).items()} for by in ("layer", "kind")
        }
        return {
            "step": report.step,
            "precision": report.precision,
            "changed": report.changed,
            "touched": report.touched,
            "vanished": len(report.vanished),
            **weights,
            "activations": [asdict(activation) for activation in report.activations],
            "drift": None if report.drift is None else asdict(report.drift),
        }
    except (KeyError, TypeError, AttributeError, ZeroDivisionError) as error:
        raise MinillmError(f"{path} is damaged: {error}") from None


def _sums(tensors: Tensors) -> dict[str, Any]:
    return {
        "weights": tensors.weights,
        "changed": tensors.changed_share,
        "touched": tensors.touched_share,
        "gradient": tensors.gradient_norm,
        "update": tensors.update_norm,
        "norm": tensors.weight_norm,
        "relative": tensors.relative_update,
    }
