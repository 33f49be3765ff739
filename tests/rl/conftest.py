"""A tiny random llama over a few letters, for tests that train one."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from string import ascii_letters

import pytest
import torch
from tokenizers import Regex, decoders, models, pre_tokenizers
from tokenizers import Tokenizer as Backend

from minillm.checkpoint.keys import hf_shapes
from minillm.checkpoint.read_config import read_config
from minillm.checkpoint.safetensors import save_tensors


@pytest.fixture(scope="session")
def letters_folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """`letters_folder(38)`: a model folder of random weights that make a policy near uniform.

    One token a character: id 0 ends a sequence, 1 is "#", the letters follow. Its context has 64 tokens.
    """

    def make(letters: int, seed: int = 2) -> Path:
        return _write(tmp_path_factory.mktemp("letters"), letters, seed)

    return make


def _write(folder: Path, letters: int, seed: int) -> Path:
    vocabulary = ["<eos>", "#", *ascii_letters[:letters]]
    backend = Backend(models.WordLevel({token: i for i, token in enumerate(vocabulary)}, unk_token="#"))
    backend.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    backend.decoder = decoders.Fuse()
    backend.add_special_tokens(["<eos>"])
    backend.save(str(folder / "tokenizer.json"))
    config = {
        "model_type": "llama",
        "vocab_size": len(vocabulary),
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 8,
        "max_position_embeddings": 64,
        "rms_norm_eps": 1e-5,
        "eos_token_id": 0,
    }
    (folder / "config.json").write_text(json.dumps(config))
    generator = torch.Generator().manual_seed(seed)
    save_tensors(
        folder,
        {
            name: torch.randn(shape, generator=generator) * 0.1 if len(shape) > 1 else torch.ones(shape)
            for name, shape in hf_shapes(read_config(folder)).items()
        },
    )
    return folder
