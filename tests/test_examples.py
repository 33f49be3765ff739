"""The examples and the fenced Python blocks of every README run as they stand."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = sorted(ROOT.glob("*/examples/*.py"), key=lambda path: path.name)
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("*/README.md")])
BLOCK = re.compile(r"^```python\n(.*?)^```", re.DOTALL | re.MULTILINE)
READMES = [page for page in PAGES if BLOCK.search(page.read_text())]


def run(program: Path, *arguments: str, folder: Path) -> None:
    """Run a program in an empty folder; it must end well."""
    command = [sys.executable, str(program), *arguments]
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


@contextmanager
def served(model: Path) -> Iterator[str]:
    """The address of a server, as a reader has one running who follows the page."""
    name = "smollm2-135m-instruct"
    command = [
        sys.executable,
        "-m",
        "minillm",
        "serve",
        str(model),
        "--port",
        "0",
        "--served-model-name",
        name,
    ]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        address = re.search(r"127\.0\.0\.1:\d+", server.stdout.readline())
        assert address
        yield address[0]
    finally:
        server.terminate()
        server.wait()


def test_there_are_six_examples_and_each_package_has_a_readme() -> None:
    assert [path.name[0] for path in EXAMPLES] == list("123456")
    assert {page.parent.name for page in PAGES} >= {"kernels", "minillm", "rl", "arc"}


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_example(example: Path, demo_model_path: Path, tmp_path: Path) -> None:
    run(example, str(demo_model_path), folder=tmp_path)


@pytest.mark.parametrize("page", READMES, ids=lambda path: str(path.relative_to(ROOT)))
def test_blocks_of_a_page(page: Path, demo_model_path: Path, tmp_path: Path) -> None:
    """One after the other in one program, as a reader types them."""
    text = "\n\n".join(BLOCK.findall(page.read_text()))
    program = tmp_path / "blocks.py"
    if "127.0.0.1:8000" in text:
        with served(demo_model_path) as address:
            program.write_text(text.replace("127.0.0.1:8000", address))
            run(program, folder=tmp_path)
    else:
        program.write_text(text)
        run(program, folder=tmp_path)


def test_the_top_page_is_short() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 160
