"""Fixtures that tests of training and of evaluation share."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch

from minillm import Tokenizer
from minillm.checkpoint.keys import hf_shapes
from minillm.checkpoint.read_config import read_config
from minillm.checkpoint.safetensors import save_tensors

TINY = {
    "model_type": "llama",
    "vocab_size": 49152,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 8,
    "max_position_embeddings": 2048,
    "rms_norm_eps": 1e-5,
    "tie_word_embeddings": True,
}


# Tells when a command has run its first lines: a signal before that is Python's own.
STARTED = """
import runpy, signal, sys
real = signal.signal
def tell(*args):
    result = real(*args)
    if args[0] is signal.SIGINT:
        signal.signal = real
        print("started")
    return result
signal.signal = tell
runpy.run_module(sys.argv.pop(1), run_name="__main__")
"""


@pytest.fixture
def interrupted() -> Callable[..., str]:
    """`interrupted(module, arguments, wait)`: what a command says to ctrl-C after so many seconds."""

    def run(module: str, arguments: Sequence[str], wait: float) -> str:
        command = [sys.executable, "-u", "-c", STARTED, module, *arguments]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert process.stdout is not None and process.stderr is not None
        assert process.stdout.readline() == b"started\n"
        time.sleep(wait)
        process.send_signal(signal.SIGINT)
        error = process.stderr.read().decode()
        assert process.wait() == 130
        return error

    return run


@pytest.fixture(scope="session")
def tokenizer(demo_model_path: Path) -> Tokenizer:
    """The demo model's."""
    return Tokenizer.from_folder(demo_model_path)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory, demo_model_path: Path) -> Path:
    """A model folder with the demo model's tokenizer and a tiny random llama."""
    folder = tmp_path_factory.mktemp("models") / "tiny"
    folder.mkdir()
    for name in ("tokenizer.json", "tokenizer_config.json", "generation_config.json"):
        shutil.copyfile(demo_model_path / name, folder / name)
    (folder / "config.json").write_text(json.dumps(TINY))
    generator = torch.Generator().manual_seed(0)
    save_tensors(
        folder,
        {
            name: torch.randn(shape, generator=generator) * 0.1 if len(shape) > 1 else torch.ones(shape)
            for name, shape in hf_shapes(read_config(folder)).items()
        },
    )
    return folder
