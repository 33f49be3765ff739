"""Our packages beside other people's: with transformers, and where a name of ours is taken."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from minillm import _shadow

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("minillm", "kernels", "rl", "arc")


def run(code: str, *path: Path, installed: bool = True) -> subprocess.CompletedProcess[str]:
    """Run `code` in a fresh Python that sees `path` first, then what is installed, or nothing."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, path))}
    # -P: not the current folder, which would come first of all. -S: no site-packages.
    command = [sys.executable, "-P" if installed else "-PS", "-c", code]
    return subprocess.run(command, env=environment, capture_output=True, text=True)


def make_package(site: Path, name: str, distribution: str | None = None) -> Path:
    """Write another's package called `name`, installed by a distribution if one is named."""
    package = site / name
    package.mkdir(parents=True, exist_ok=True)
    (package / "__init__.py").write_text("print('a foreign package was run')\n")
    if distribution:
        info = site / f"{distribution}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n")
        (info / "RECORD").write_text(f"{name}/__init__.py,,\n{info.name}/METADATA,,\n")
    return package


def make_minillm(site: Path) -> None:
    """Write as much of minillm as looks for a shadow: a stand-in for one that is installed."""
    (site / "minillm").mkdir(parents=True)
    (site / "minillm" / "__init__.py").touch()
    shutil.copy(ROOT / "minillm" / "_shadow.py", site / "minillm")


@pytest.mark.parametrize("name", PACKAGES)
def test_each_package_is_typed_and_known_as_ours(name: str) -> None:
    assert _shadow.shadow(name) is None
    assert (ROOT / name / "py.typed").exists()


@pytest.mark.skipif(not find_spec("transformers"), reason="needs transformers")
@pytest.mark.parametrize("first", ["minillm, kernels, rl, arc", "transformers"])
def test_transformers_works_beside_our_packages(first: str) -> None:
    """transformers looks for Hugging Face's `kernels`, and must not take ours for it."""
    code = f"""
import {first}
import torch
from transformers import LlamaConfig, LlamaForCausalLM
from transformers.utils import is_kernels_available
import minillm, kernels, rl, arc

assert not is_kernels_available()
config = LlamaConfig(vocab_size=11, hidden_size=8, intermediate_size=12, num_hidden_layers=1,
                     num_attention_heads=2, num_key_value_heads=1)
print(*LlamaForCausalLM(config)(torch.arange(5)[None]).logits.shape)
print(kernels.__file__)
"""
    result = run(code, ROOT)
    assert result.returncode == 0, result.stderr
    assert result.stdout.split("\n")[:2] == ["1 5 11", str(ROOT / "kernels" / "__init__.py")]


def test_importing_minillm_names_the_distribution_that_hides_kernels(tmp_path: Path) -> None:
    package = make_package(tmp_path, "kernels", distribution="kernels")
    result = run("import minillm", tmp_path, ROOT)
    assert result.returncode == 1
    assert result.stderr.splitlines()[-1] == (
        f"ImportError: minillm's package `kernels` is hidden by {package / '__init__.py'} of the "
        "distribution `kernels`: uninstall `kernels` and install minillm again, or use an "
        "environment without it"
    )
    assert not result.stdout


@pytest.mark.parametrize("name", ["rl", "arc"])
def test_importing_minillm_warns_of_hidden_packages_that_it_can_do_without(name: str, tmp_path: Path) -> None:
    package = make_package(tmp_path, name, distribution="somebodys")
    result = run("import minillm", tmp_path, ROOT)
    assert result.returncode == 0, result.stderr
    sentence = f"UserWarning: minillm's package `{name}` is hidden by {package / '__init__.py'} of the"
    assert result.stderr.count(sentence) == result.stderr.count("Warning: ") == 1
    assert not result.stdout


def test_the_trainer_says_that_rl_is_hidden(tmp_path: Path) -> None:
    package = make_package(tmp_path, "rl")
    result = run("import arc.train", tmp_path, ROOT)
    assert result.returncode == 1
    assert result.stderr.splitlines()[-1] == (
        f"ImportError: minillm's package `rl` is hidden by {package / '__init__.py'}: "
        f"rename that, or put {ROOT} before it on sys.path"
    )
    assert not result.stdout


def test_a_package_that_was_imported_already_is_found_out(tmp_path: Path) -> None:
    make_package(tmp_path / "other", "kernels")
    code = f"import sys, kernels; sys.path.insert(0, {str(ROOT)!r}); import minillm"
    result = run(code, tmp_path / "other")
    assert result.returncode == 1
    assert f"is hidden by {tmp_path / 'other' / 'kernels'}" in result.stderr.splitlines()[-1]


@pytest.mark.parametrize("distribution", ["kernels", None])
def test_an_overwritten_package_is_found_out(distribution: str | None, tmp_path: Path) -> None:
    """Two distributions installed to one folder: the later one's `__init__.py` replaced ours."""
    make_minillm(tmp_path)
    package = make_package(tmp_path, "kernels", distribution)
    remedy = (
        " of the distribution `kernels`: uninstall `kernels` and install minillm again, "
        "or use an environment without it"
        if distribution
        else ", which is not minillm's own file: install minillm again"
    )
    result = run("from minillm._shadow import shadow; print(shadow('kernels'))", tmp_path, installed=False)
    file = package / "__init__.py"
    assert result.stdout == f"minillm's package `kernels` is hidden by {file}{remedy}\n"


def test_a_missing_package_and_a_bare_folder_are_found_out(tmp_path: Path) -> None:
    make_minillm(tmp_path)
    (tmp_path / "rl").mkdir()  # uninstalling the other distribution takes our __init__.py with it
    code = "from minillm._shadow import shadow; print(shadow('kernels'), shadow('rl'), sep='\\n')"
    assert run(code, tmp_path, installed=False).stdout.splitlines() == [
        f"minillm's package `kernels` is missing from {tmp_path}: install minillm again",
        f"minillm's package `rl` is hidden by {tmp_path / 'rl'}, which is not minillm's own file: "
        "install minillm again",
    ]


def test_names_of_minillm_are_imported_when_they_are_asked_for() -> None:
    code = """
import sys, minillm, minillm.errors, rl.config
assert "torch" not in sys.modules and "numba" not in sys.modules
assert sorted(minillm._HOMES) == sorted(minillm.__all__) and set(minillm.__all__) <= set(dir(minillm))
from minillm import *
for name in minillm.__all__:
    assert globals()[name] is getattr(minillm, name), name
assert LLM.__name__ == "LLM" and AsyncLLMEngine is AsyncLLM
assert minillm.serve.__name__ == "minillm.serve"
try:
    minillm.nothing
except AttributeError as error:
    print(error)
"""
    result = run(code, ROOT)
    assert result.returncode == 0, result.stderr
    assert result.stdout == "module 'minillm' has no attribute 'nothing'\n"
