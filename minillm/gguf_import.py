"""GGUF files of llama models -> a folder in the Hugging Face layout.

Weights of any quantisation that the `gguf` library can undo come out in fp32. The import is
strict: another architecture, another tokenizer, or a key or tensor that has no place in a llama
config is an error, since leaving it out would change what the model computes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

import gguf
import numpy as np
import torch
from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
)

from minillm.errors import MinillmError
from minillm.weights import save_tensors

_NAMES = {
    "token_embd": "model.embed_tokens",
    "output_norm": "model.norm",
    "output": "lm_head",
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
_TENSOR = re.compile(r"(?:blk\.(?P<layer>\d+)\.)?(?P<part>\w+)\.(?P<kind>weight|bias)")

_LLAMA_KEYS = frozenset(
    {
        "block_count",
        "context_length",
        "embedding_length",
        "feed_forward_length",
        "attention.head_count",
        "attention.head_count_kv",
        "attention.key_length",
        "attention.value_length",
        "attention.layer_norm_rms_epsilon",
        "rope.freq_base",
        "rope.dimension_count",
        "vocab_size",
    }
)

_LLAMA3_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|"
    r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_QWEN2_SPLIT = _LLAMA3_SPLIT.replace(r"\p{N}{1,3}", r"\p{N}")
_PRE_TOKENIZERS = ("gpt-2", "llama-bpe", "qwen2", "smollm")

# gguf's TokenType: kinds of vocabulary entries that are not made by merges.
_CONTROL, _USER_DEFINED, _UNUSED = 3, 4, 5


def import_gguf(path: Path, folder: Path) -> None:
    """Convert a GGUF file of a llama model.

    Args:
        path: the GGUF file; `general.architecture` is llama and its tokenizer is byte-level BPE.
        folder: receives model.safetensors (fp32), tokenizer.json, tokenizer_config.json,
            generation_config.json and, last, config.json; made where it does not exist.

    Raises:
        MinillmError: the file is missing, truncated, corrupt, of another architecture or tokenizer,
            or holds a key, tensor or quantisation that has no counterpart.
    """
    try:
        reader = gguf.GGUFReader(path)
        fields = {name: field.contents() for name, field in reader.fields.items()}
    except OSError as error:
        raise MinillmError(f"cannot read {path}: {error.strerror or error}") from error
    # The reader does not check lengths: a file cut short fails wherever it happened to be.
    except (ValueError, IndexError, KeyError, TypeError, OverflowError) as error:
        raise MinillmError(f"{path} is truncated or not a GGUF file ({error})") from error
    source = _Source(path, fields)
    architecture = source.get("general.architecture")
    if architecture != "llama":
        source.refuse(f"is of architecture {architecture!r}; only llama can be imported")
    tensors = _tensors(source, reader)
    config = _config(source, tensors)
    tokenizer = _tokenizer(source)
    tokenizer_config, generation_config = _token_settings(source)
    save_tensors(folder, tensors)
    tokenizer.save(str(folder / "tokenizer.json"))
    _write_json(folder / "tokenizer_config.json", tokenizer_config)
    _write_json(folder / "generation_config.json", generation_config)
    # Last: a folder without config.json is not taken for a model.
    ids = {key: value for key, value in generation_config.items() if key.endswith("_token_id")}
    _write_json(folder / "config.json", config | ids)


class _Source:
    """The metadata of one GGUF file, and errors that name the file."""

    def __init__(self, path: Path, fields: Mapping[str, Any]) -> None:
        self.path, self.fields = path, fields

    def refuse(self, why: str) -> NoReturn:
        raise MinillmError(f"{self.path} {why}")

    def get(self, key: str) -> Any:
        if key not in self.fields:
            self.refuse(f"has no key {key}")
        return self.fields[key]

    def integer(self, key: str, default: int | None = None) -> int:
        value = self.get(key) if default is None else self.fields.get(key, default)
        if not isinstance(value, int):
            self.refuse(f"has {key} = {str(value)[:60]}; only one number for all layers is known")
        return value

    def number(self, key: str) -> float:
        # Stored in fp32: the shortest decimal that rounds to it is what config.json once said.
        return float(str(np.float32(self.get(key))))

    def token(self, key: str) -> str | None:
        index = self.fields.get(f"tokenizer.ggml.{key}_token_id")
        if index is None:
            return None
        words = self.get("tokenizer.ggml.tokens")
        if index >= len(words):
            self.refuse(f"has tokenizer.ggml.{key}_token_id = {index}, beyond its vocabulary")
        return str(words[index])

    @property
    def num_heads(self) -> int:
        return self.integer("llama.attention.head_count")

    @property
    def num_kv_heads(self) -> int:
        return self.integer("llama.attention.head_count_kv", self.num_heads)

    @property
    def head_dim(self) -> int:
        width = self.integer("llama.embedding_length")
        return self.integer("llama.attention.key_length", width // self.num_heads)


def _tensors(source: _Source, reader: gguf.GGUFReader) -> dict[str, torch.Tensor]:
    tensors: dict[str, torch.Tensor] = {}
    for entry in reader.tensors:
        match = _TENSOR.fullmatch(entry.name)
        if match is None or match["part"] not in _NAMES:
            source.refuse(f"has tensor {entry.name}, for which a llama model has no place")
        try:
            array = gguf.dequantize(entry.data, entry.tensor_type)
        except NotImplementedError:
            source.refuse(f"has {entry.name} in {entry.tensor_type.name}, which cannot be undone")
        heads = {"attn_q": source.num_heads, "attn_k": source.num_kv_heads}.get(match["part"])
        if heads is not None:
            if array.shape[0] != heads * source.head_dim:
                source.refuse(f"has {entry.name} of {array.shape[0]} rows, not {heads} whole heads")
            array = _unpermute(array, heads)
        layer = "" if match["layer"] is None else f"model.layers.{match['layer']}."
        # fp32, although most checkpoints are bf16: values of a quantised block (scale times integer
        # plus minimum) are not exact in bf16, and a bf16 model can be derived from this one.
        tensors[f"{layer}{_NAMES[match['part']]}.{match['kind']}"] = torch.from_numpy(
            np.array(array, dtype=np.float32)
        )
    return tensors


def _unpermute(array: np.ndarray[Any, Any], heads: int) -> np.ndarray[Any, Any]:
    """Undo the row order of llama.cpp, whose rope rotates neighbours where this one rotates halves.

    Args:
        array: weight (heads * head_dim, in) or bias (heads * head_dim,).
    """
    pairs = array.reshape(heads, array.shape[0] // heads // 2, 2, *array.shape[1:])
    return pairs.swapaxes(1, 2).reshape(array.shape)


def _config(source: _Source, tensors: Mapping[str, torch.Tensor]) -> dict[str, Any]:
    for key in source.fields:
        if key.startswith("llama.") and key.removeprefix("llama.") not in _LLAMA_KEYS:
            source.refuse(f"has key {key}, which this import does not know")
    head_dim = source.head_dim
    for key in ("llama.rope.dimension_count", "llama.attention.value_length"):
        if (value := source.integer(key, head_dim)) != head_dim:
            source.refuse(f"has {key} = {value}; only the head size {head_dim} is known")
    if "model.embed_tokens.weight" not in tensors:
        source.refuse("has no tensor token_embd.weight")
    base = "llama.rope.freq_base"
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": source.integer("llama.embedding_length"),
        "intermediate_size": source.integer("llama.feed_forward_length"),
        "num_hidden_layers": source.integer("llama.block_count"),
        "num_attention_heads": source.num_heads,
        "num_key_value_heads": source.num_kv_heads,
        "head_dim": head_dim,
        "vocab_size": tensors["model.embed_tokens.weight"].shape[0],
        "max_position_embeddings": source.integer("llama.context_length"),
        "rope_theta": source.number(base) if base in source.fields else 10000.0,
        "rms_norm_eps": source.number("llama.attention.layer_norm_rms_epsilon"),
        "hidden_act": "silu",
        "attention_bias": any(name.endswith("_proj.bias") for name in tensors if "attn" in name),
        "mlp_bias": any(name.endswith("_proj.bias") for name in tensors if ".mlp." in name),
        "tie_word_embeddings": "lm_head.weight" not in tensors,
        "torch_dtype": "float32",
    }


def _adds(source: _Source, token: str) -> bool:
    # llama.cpp's rule for a file that does not say.
    default = token == "bos" and source.fields.get("tokenizer.ggml.pre") == "llama-bpe"
    return bool(source.fields.get(f"tokenizer.ggml.add_{token}_token", default))


def _tokenizer(source: _Source) -> Tokenizer:
    model, pre = source.get("tokenizer.ggml.model"), source.fields.get("tokenizer.ggml.pre")
    if model != "gpt2":
        source.refuse(f"has tokenizer {model!r}; only byte-level BPE ('gpt2') can be imported")
    if pre not in _PRE_TOKENIZERS:
        source.refuse(f"splits text by {pre!r}; known are {', '.join(_PRE_TOKENIZERS)}")
    words: list[str] = source.get("tokenizer.ggml.tokens")
    kinds: list[int] = source.fields.get("tokenizer.ggml.token_type", [1] * len(words))
    merges: list[str] = source.get("tokenizer.ggml.merges")
    vocab = {w: i for i, (w, k) in enumerate(zip(words, kinds, strict=True)) if k != _UNUSED}
    pairs = [(left, right) for left, _, right in (merge.partition(" ") for merge in merges)]
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    bytes_only = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    try:
        tokenizer = Tokenizer(models.BPE(vocab, pairs, ignore_merges=pre == "llama-bpe"))
    # The library raises bare exceptions, for one on a merge whose parts are not in the vocabulary.
    except Exception as error:
        source.refuse(f"has a broken vocabulary ({error})")
    if pre == "smollm":
        digits = pre_tokenizers.Digits(individual_digits=True)
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence([digits, byte_level])
    elif pre == "gpt-2":
        tokenizer.pre_tokenizer = byte_level
    else:
        split = Regex(_LLAMA3_SPLIT if pre == "llama-bpe" else _QWEN2_SPLIT)
        isolated = pre_tokenizers.Split(split, "isolated", invert=False)
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence([isolated, bytes_only])
    if pre == "qwen2":
        tokenizer.normalizer = normalizers.NFC()
    tokenizer.decoder = decoders.ByteLevel()
    added = [(w, k) for w, k in zip(words, kinds, strict=True) if k in (_CONTROL, _USER_DEFINED)]
    tokenizer.add_tokens([AddedToken(w, special=k == _CONTROL, normalized=False) for w, k in added])
    first = source.token("bos") if _adds(source, "bos") else None
    last = source.token("eos") if _adds(source, "eos") else None
    around = [t for t in (first, last) if t is not None]
    post: list[Any] = [processors.ByteLevel(trim_offsets=True)]
    if around:
        post.append(
            processors.TemplateProcessing(
                single=[t for t in (first, "$A", last) if t is not None],
                pair=[t for t in (first, "$A", first, "$B:1", last) if t is not None],
                special_tokens=[(t, vocab[t]) for t in around],
            )
        )
    tokenizer.post_processor = processors.Sequence(post)
    return tokenizer


def _token_settings(source: _Source) -> tuple[dict[str, Any], dict[str, Any]]:
    """The contents of tokenizer_config.json and of generation_config.json."""
    names = {"bos": "bos", "eos": "eos", "padding": "pad", "unknown": "unk"}
    tokens = {f"{hf}_token": source.token(key) for key, hf in names.items()}
    tokenizer_config: dict[str, Any] = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "add_bos_token": _adds(source, "bos"),
        "add_eos_token": _adds(source, "eos"),
        "add_prefix_space": False,
        "clean_up_tokenization_spaces": False,
        "model_max_length": source.integer("llama.context_length"),
        **{name: token for name, token in tokens.items() if token is not None},
    }
    if "tokenizer.chat_template" in source.fields:
        tokenizer_config["chat_template"] = source.get("tokenizer.chat_template")
    ids = {key: source.fields.get(f"tokenizer.ggml.{key}_token_id") for key in (*names, "eot")}
    ends = list(dict.fromkeys(i for i in (ids["eos"], ids["eot"]) if i is not None))
    found = {
        "bos_token_id": ids["bos"],
        "eos_token_id": ends[0] if len(ends) == 1 else ends or None,
        "pad_token_id": ids["padding"],
    }
    return tokenizer_config, {key: value for key, value in found.items() if value is not None}


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
