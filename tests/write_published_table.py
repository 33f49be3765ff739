"""Writes minillm/README.md's table of published checkpoints, by reading their config.json files.

    python tests/write_published_table.py

Their keys and values are in tests/golden/published_configs.json.
"""

from __future__ import annotations

import json
import tempfile
import warnings
from pathlib import Path
from typing import Any

from minillm.checkpoint.read_config import read_config
from minillm.errors import MinillmError

PUBLISHED = Path(__file__).parent / "golden" / "published_configs.json"
README = Path(__file__).parents[1] / "minillm" / "README.md"
BEGIN, END = "<!-- published -->", "<!-- end -->"


def row(name: str, settings: dict[str, Any]) -> str:
    """A line of the table: the checkpoint, its model type, whether it loads, and what there is to say."""
    with tempfile.TemporaryDirectory() as temp, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        path = Path(temp) / "config.json"
        path.write_text(json.dumps(settings))
        try:
            config, loads, note = read_config(Path(temp)), "yes", ""
        except MinillmError as error:
            config, loads, note = None, "no", str(error).partition(f"{path}")[2].lstrip(": ")
            note = note.partition("; ")[0].partition(", which")[0]
    notes = [note] if note else []
    notes += [f"ignores {str(w.message).partition(' reads ')[2].removesuffix('; ignored')}" for w in caught]
    if config is not None:
        notes.insert(0, f"context {config.max_position_embeddings:,}")
        quantised = settings.get("quantization_config", {}).get("quant_method")
        notes += [f"{quantised} weights"] if quantised else []
    return f"| {name} | `{settings['model_type']}` | {loads} | {'; '.join(notes)} |"


def main() -> None:
    published: dict[str, dict[str, Any]] = json.loads(PUBLISHED.read_text())
    lines = ["| checkpoint | model_type | loads as it is | |", "|---|---|---|---|"]
    lines += [row(name, settings) for name, settings in published.items()]
    before, _, rest = README.read_text().partition(BEGIN)
    README.write_text(f"{before}{BEGIN}\n" + "\n".join(lines) + f"\n{END}{rest.partition(END)[2]}")


if __name__ == "__main__":
    main()
