"""The examples and the fenced Python blocks of every README run as they stand."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = sorted(ROOT.glob("*/examples/*.py"), key=lambda path: path.name)
READMES = [path for path in sorted(ROOT.glob("*.md")) + sorted(ROOT.glob("*/README.md")) if "```python" in path.read_text()]


def run(arguments: list[str], folder: Path) -> str:
    result = subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=None, capture_output=True, text=True, timeout=900
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_there_are_six_examples() -> None:
    assert [path.name[0] for path in EXAMPLES] == list("123456")


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_example(example: Path, demo_model_path: Path, tmp_path: Path) -> None:
    assert run([str(example), str(demo_model_path)], tmp_path)


@pytest.mark.parametrize("readme", READMES, ids=lambda path: str(path.relative_to(ROOT)))
def test_blocks_of_a_readme(readme: Path, demo_model_path: Path, tmp_path: Path) -> None:
    """One after the other in one program, as a reader types them."""
    blocks = re.findall(r"^```python\n(.*?)^```", readme.read_text(), re.DOTALL | re.MULTILINE)
    program = tmp_path / "blocks.py"
    program.write_text("\n\n".join(blocks))
    run([str(program)], tmp_path)
