"""GGUF files -> a folder in the Hugging Face layout: `python -m minillm.checkpoint.gguf.convert FILE FOLDER`.

Weights of any quantisation that the `gguf` library can undo come out in fp32. What is not known (an
architecture, tokenizer, key or tensor) is an error: to leave it out would change what the model computes.
"""

from __future__ import annotations

import re
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch

from minillm.checkpoint.gguf.architectures import ARCHITECTURES
from minillm.checkpoint.gguf.file import Array, GgufFile
from minillm.checkpoint.gguf.rope import ROPE_TENSORS, read_scaling
from minillm.checkpoint.gguf.rows import Architecture, Make, as_stored
from minillm.checkpoint.gguf.tokenizer import as_json, tokenizer_files
from minillm.checkpoint.keys import hf_shapes
from minillm.checkpoint.read_config import read_config
from minillm.checkpoint.safetensors import save_tensors
from minillm.errors import MinillmError
from minillm.model.config import ModelConfig

_BLOCK = re.compile(r"blk\.(\d+)\.(.+)")
# The layer in a Hugging Face name, and the expert (or the head of a norm).
_LAYER = re.compile(r"(?<=\.)(\d+)(?=\.)")
_EXPERT = re.compile(r"(?:(?<=experts\.)|(?<=norms\.))(\d+)(?=\.)")


def import_gguf(path: str | Path, folder: str | Path) -> None:
    """Convert a GGUF file.

    Args:
        path: the file, or any part of a split one, whose other parts lie beside it.
        folder: receives model.safetensors (fp32), the tokenizer (tokenizer.json, or tokenizer.model for a
            SentencePiece one), tokenizer_config.json, generation_config.json and, last, config.json; made
            where it does not exist.

    Raises:
        MinillmError: the file or one of its parts is missing, truncated or corrupt, its architecture or
            tokenizer is not known, or it holds a key, tensor or quantisation that has no counterpart.
    """
    file, folder = GgufFile(Path(path)), Path(folder)
    if file.architecture not in ARCHITECTURES:
        known = ", ".join(ARCHITECTURES)
        file.refuse(f"is of architecture {file.architecture!r}; those that can be imported are {known}")
    row = _row(file)
    config = _config(file, row)
    files, ids = tokenizer_files(file, config["vocab_size"], file.own("context_length"))
    save_tensors(folder, _Weights(file, row, _parsed(file, config)).read())
    for name in {"tokenizer.json", "tokenizer.model"} - files.keys():
        (folder / name).unlink(missing_ok=True)  # of an earlier import, which would be read instead
    # Last: a folder without config.json is not taken for a model.
    for name, content in (files | {"config.json": as_json(config | ids)}).items():
        (folder / name).write_bytes(content)


def _row(file: GgufFile) -> Architecture:
    row = ARCHITECTURES[file.architecture]
    fitting = (r for key, wanted, r in row.variants if (value := file.own(key)) and wanted in (None, value))
    return next(fitting, row)


# ---------------------------------------------------------------- config.json


def _config(file: GgufFile, row: Architecture) -> dict[str, Any]:
    if "token_embd.weight" not in file.tensors:
        file.refuse("has no tensor token_embd.weight")
    config: dict[str, Any] = {"architectures": [row.class_name], "model_type": row.model_type, **row.fixed}
    config |= {name: file.need(key) for key, name in row.keys.items()}
    config |= {name: value for key, name in row.optional.items() if (value := file.own(key)) is not None}
    for key, allowed in row.only.items():
        if (value := file.own(key)) is not None and value not in allowed:
            file.refuse(f"has {file.architecture}.{key} = {value}; only {allowed[-1]} is known")
    if file.own("attention.causal", True) is not True:
        file.refuse("has attention.causal = false; only models that generate can be imported")
    # Layers that only guess tokens ahead come last.
    config[row.keys["block_count"]] -= file.own("nextn_predict_layers", 0)
    config["vocab_size"] = file.array("token_embd.weight").shape[0]
    config["tie_word_embeddings"] = "output.weight" not in file.tensors
    config["torch_dtype"] = "float32"
    parts = {_BLOCK.sub(r"\2", name) for name in file.tensors}
    for name, pattern in row.flags.items():
        config[name] = any(re.fullmatch(pattern, part) for part in parts)
    head_dim = _head_dim(file, row, config)
    if row.rope[0]:
        config |= _rope(file, row, config, head_dim)
    _windows(file, row, config)
    row.complete(file, config)
    if not row.head_dim:
        del config["head_dim"]
    file.check_keys()
    return config


def _head_dim(file: GgufFile, row: Architecture, config: dict[str, Any]) -> int:
    """Set the size of a head, also where config.json cannot say it: then it is the usual one."""
    heads = file.need("attention.head_count")
    if "attention.head_count_kv" in row.optional:
        config.setdefault("num_key_value_heads", heads)
    elif file.fields.get(f"{file.architecture}.attention.head_count_kv") == heads:
        file.own("attention.head_count_kv")  # as many, which config.json need not say
    usual = file.need("embedding_length") // heads
    if "kv_lora_rank" in config:
        size = usual  # its heads have sizes of their own
    else:
        size = file.own("attention.key_length") or usual
        if (value := file.own("attention.value_length") or size) != size:
            file.refuse(f"has attention.value_length = {value}; only the head size {size} is known")
        if size != usual and not row.head_dim:
            file.refuse(f"has attention.key_length = {size}; only the head size {usual} is known")
    config["head_dim"] = size
    return int(size)


def _rope(file: GgufFile, row: Architecture, config: Mapping[str, Any], head_dim: int) -> dict[str, Any]:
    base, share = row.rope
    theta = file.own("rope.freq_base") or 10000.0
    rope: dict[str, Any] = {base: theta}
    rotated = file.own("rope.dimension_count") or head_dim
    if "kv_lora_rank" not in config:
        if share:
            rope[share] = rotated if share == "rotary_dim" else _share(rotated, head_dim)
        elif rotated != head_dim:
            file.refuse(f"has rope.dimension_count = {rotated}; only the head size {head_dim} is known")
    swa = file.own("rope.freq_base_swa")
    if row.local_base:
        rope[row.local_base] = swa or 10000.0
    elif swa not in (None, theta):
        file.refuse(f"has rope.freq_base_swa = {swa}; only the base of the other layers, {theta}, is known")
    scaling = read_scaling(file, theta, rotated, file.need("context_length"), row.yarn, row.log_unit)
    if scaling or row.stretched:
        rope["rope_scaling"] = scaling or {"rope_type": "default"}
    return rope


def _share(rotated: int, head_dim: int) -> float:
    """Find a share of which `int(head_dim * share)` is `rotated`."""
    share = rotated / head_dim
    return share if int(head_dim * share) == rotated else float(np.nextafter(share, 1.0))


def _windows(file: GgufFile, row: Architecture, config: dict[str, Any]) -> None:
    """Set the sliding window, and the layers that have it."""
    if row.pattern:
        window = file.own("attention.sliding_window", row.window)
        pattern = file.own("attention.sliding_window_pattern", row.pattern)
        slides = [
            pattern[i] if isinstance(pattern, list) else pattern == 0 or (i + 1) % pattern != 0
            for i in range(config["num_hidden_layers"])
        ]
        kinds = ["sliding_attention" if window and s else "full_attention" for s in slides]
        config |= {"sliding_window": window or None, "layer_types": kinds}
    elif not config.get("sliding_window", True):
        config["sliding_window"] = None


def _parsed(file: GgufFile, config: Mapping[str, Any]) -> ModelConfig:
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "config.json"
        path.write_bytes(as_json(config))
        try:
            return read_config(Path(name))
        except MinillmError as error:
            reason = str(error).removeprefix(str(path)).strip()
            file.refuse(f"makes a config.json that does not hold: {reason}")


# ---------------------------------------------------------------- weights


class _Weights:
    """The model's tensors, made of the file's; every one of the file's has to be used."""

    def __init__(self, file: GgufFile, row: Architecture, config: ModelConfig) -> None:
        self.file, self.row, self.config = file, row, config
        number = next((a for a, name in gguf.MODEL_ARCH_NAMES.items() if name == file.architecture), None)
        if number is None:
            file.refuse(f"is of architecture {file.architecture!r}, newer than the library gguf; update that")
        self.map = gguf.get_tensor_name_map(number, config.num_layers)
        guessing = range(config.num_layers, file.own("block_count"))
        self.used = {
            name
            for name in file.tensors
            # Old files repeat angles for each layer.
            if name in ROPE_TENSORS
            or name.endswith("attn_rot_embd.weight")
            or ((match := _BLOCK.fullmatch(name)) and int(match[1]) in guessing)
        }

    def read(self) -> dict[str, torch.Tensor]:
        """Read every tensor, under its Hugging Face name."""
        tensors, missing = {}, {}
        heads = self.config.num_heads, self.config.num_kv_heads
        for name, shape in (shapes := hf_shapes(self.config)).items():
            layer, expert, (parts, make) = _LAYER.search(name), _EXPERT.search(name), self._recipe(name)
            prefix = f"blk.{layer[1]}." if layer else ""
            sources = [self._array(prefix, part) for part in parts]
            arrays = [array for array in sources if array is not None]
            if len(arrays) < len(sources):
                missing[name] = prefix + parts[0]
                continue
            array = make(arrays, heads)
            array = array[int(expert[1])] if expert else array
            # llama.cpp's converter drops dimensions of size 1.
            if tuple(n for n in array.shape if n != 1) != tuple(n for n in shape if n != 1):
                self.file.refuse(f"has {prefix}{parts[0]} of shape {array.shape}, not {tuple(shape)}")
            tensors[name] = torch.from_numpy(np.array(array, dtype=np.float32).reshape(tuple(shape)))
        if extra := [name for name in self.file.tensors if name not in self.used]:
            self.file.refuse(f"has tensor {extra[0]}, for which a {self.row.model_type} model has no place")
        if lacked := [source for name, source in missing.items() if not name.endswith("bias")]:
            self.file.refuse(f"lacks tensor {lacked[0]}, which a {self.row.model_type} model needs")
        somewhere = {_LAYER.sub("", name, count=1) for name in tensors}
        if any(_LAYER.sub("", name, count=1) in somewhere for name in missing):
            return tensors  # only some layers have it: loading names those that do not
        # A bias that no layer has is zeros, as llama.cpp takes it.
        return tensors | {name: torch.zeros(shapes[name]) for name in missing}

    def _recipe(self, name: str) -> tuple[tuple[str, ...], Make]:
        template = _LAYER.sub("0", _EXPERT.sub("{e}", name, count=1), count=1)
        if recipe := self.row.recipes.get(template.removeprefix("model.layers.0.")):
            return recipe
        if name.endswith("e_score_correction_bias"):  # converters of all families call it the same
            return ("exp_probs_b.bias",), as_stored
        plain = template.replace(".{e}", "")
        # The converters of some architectures drop the first part.
        for known in (plain, plain.removeprefix("transformer.")):
            if source := self.map.get_name(known, (".weight", ".bias")):
                part = source.removeprefix("blk.0.")
                return (part,), self.row.reordered.get(part.partition(".")[0], as_stored)
        self.file.refuse(f"has no place for {name}, which a {self.row.model_type} model needs")

    def _array(self, prefix: str, part: str) -> Array | None:
        """Read a tensor as this library has it; some are joined, or stand apart, in some files."""
        name = prefix + part
        if name in self.file.tensors:
            array = self.file.array(name)
            self.used.add(name)
        elif part in _JOINED and prefix + _JOINED[part][0] in self.file.tensors:
            array = self._slice(prefix, part)
        elif part == "attn_kv_b.weight" and f"{prefix}attn_k_b.weight" in self.file.tensors:
            keys, values = (self._array(prefix, f"attn_{x}_b.weight") for x in "kv")
            if keys is None or values is None:
                return None
            array = np.concatenate((keys.swapaxes(1, 2), values), axis=1)
            array = array.reshape(-1, array.shape[-1])
        else:
            return None
        if self.row.offset and part.endswith("norm.weight"):
            return array - np.float32(1)
        rotated = {"attn_q": self.config.num_heads, "attn_k": self.config.num_kv_heads}
        if self.row.neighbours and (heads := rotated.get(part.partition(".")[0])):
            if array.shape[0] != heads * self.config.head_dim:
                self.file.refuse(f"has {name} of {array.shape[0]} rows, not {heads} whole heads")
            return _unpermute(array, heads)
        return array

    def _slice(self, prefix: str, part: str) -> Array:
        """Cut queries, keys or values, or gate or up, out of what the file has in one tensor."""
        joined, place = _JOINED[part]
        self.used.add(prefix + joined)
        array = self.file.array(prefix + joined)
        axis = 0 if "attn" in joined else 1
        H, K, D = self.config.num_heads, self.config.num_kv_heads, self.config.head_dim
        sizes = (H * D, K * D, K * D) if axis == 0 else (array.shape[1] // 2,) * 2
        if array.shape[axis] != sum(sizes):
            self.file.refuse(f"has {prefix}{joined} of shape {array.shape}, which cannot be cut into {sizes}")
        return np.split(array, np.cumsum(sizes)[:-1], axis=axis)[place]


# Part -> (the tensor that newer files have for it and its neighbours, its place in it).
_JOINED = {
    f"attn_{x}.{kind}": (f"attn_qkv.{kind}", "qkv".index(x)) for x in "qkv" for kind in ("weight", "bias")
}
_JOINED |= {f"ffn_{x}_exps.weight": ("ffn_gate_up_exps.weight", i) for i, x in enumerate(("gate", "up"))}


def _unpermute(array: Array, heads: int) -> Array:
    """Undo the row order of llama.cpp, whose rope rotates neighbours where this one rotates halves.

    Args:
        array: weight (heads * head_dim, in) or bias (heads * head_dim,).
    """
    pairs = array.reshape(heads, array.shape[0] // heads // 2, 2, *array.shape[1:])
    return pairs.swapaxes(1, 2).reshape(array.shape)


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    paths = sys.argv[1:] if arguments is None else arguments
    helps = paths in (["--help"], ["-h"])
    if helps or len(paths) != 2:
        usage = "usage: python -m minillm.checkpoint.gguf.convert FILE FOLDER"
        print(usage, file=sys.stdout if helps else sys.stderr)
        return 0 if helps else 2
    try:
        import_gguf(*paths)
    except MinillmError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
