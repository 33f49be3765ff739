"""Fixtures that several packages' tests share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

Array = npt.NDArray[np.float32]


@pytest.fixture(scope="session")
def demo_model_path() -> Path:
    """The folder of the demo model; the first session on a machine fetches it."""
    from minillm.hub import DEMO_MODEL, resolve

    return resolve(DEMO_MODEL)


@dataclass(frozen=True)
class TinyGguf:
    """A GGUF file of a tiny random llama, and the tensors that an import must find in it."""

    path: Path
    tensors: dict[str, Array]


@pytest.fixture
def write_gguf() -> Callable[..., TinyGguf]:
    """`write_gguf(path, ...)` writes a tiny llama with the library `gguf`."""
    return _write_gguf


def _write_gguf(
    path: Path,
    *,
    architecture: str = "llama",
    pre: str | None = "smollm",
    tokenizer: str = "gpt2",
    tied: bool = True,
    head: int = 12,
    quantisation: str = "F32",
    extra_keys: Mapping[str, Any] | None = None,
    extra_tensors: Mapping[str, Array] | None = None,
) -> TinyGguf:
    import gguf
    from tokenizers import pre_tokenizers

    layers, width, heads, kv, ffn = 2, 32, 4, 2, 64
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    plain = [*sorted(pre_tokenizers.ByteLevel.alphabet()), "Ġt", "he", "Ġthe", "11"]
    words = [*special, *plain, "<tool>", "[PAD]"]
    kinds = [3] * len(special) + [1] * len(plain) + [4, 5]

    rng = np.random.default_rng(0)

    def random(*shape: int) -> Array:
        return rng.standard_normal(shape, dtype=np.float32)

    # name in the file, name after the import, values, heads whose rows llama.cpp reorders
    entries: list[tuple[str, str, Array, int]] = [
        ("token_embd.weight", "model.embed_tokens.weight", random(len(words), width), 0),
        ("output_norm.weight", "model.norm.weight", random(width), 0),
    ]
    if not tied:
        entries.append(("output.weight", "lm_head.weight", random(len(words), width), 0))
    for i in range(layers):
        old, new = f"blk.{i}.", f"model.layers.{i}."
        attention, mlp = f"{new}self_attn.", f"{new}mlp."
        entries += [
            (f"{old}attn_norm.weight", f"{new}input_layernorm.weight", random(width), 0),
            (f"{old}ffn_norm.weight", f"{new}post_attention_layernorm.weight", random(width), 0),
            (f"{old}attn_q.weight", f"{attention}q_proj.weight", random(heads * head, width), 4),
            (f"{old}attn_k.weight", f"{attention}k_proj.weight", random(kv * head, width), 2),
            (f"{old}attn_v.weight", f"{attention}v_proj.weight", random(kv * head, width), 0),
            (f"{old}attn_output.weight", f"{attention}o_proj.weight", random(width, 4 * head), 0),
            (f"{old}ffn_gate.weight", f"{mlp}gate_proj.weight", random(ffn, width), 0),
            (f"{old}ffn_up.weight", f"{mlp}up_proj.weight", random(ffn, width), 0),
            (f"{old}ffn_down.weight", f"{mlp}down_proj.weight", random(width, ffn), 0),
        ]

    writer = gguf.GGUFWriter(path, architecture)
    writer.add_block_count(layers)
    writer.add_context_length(128)
    writer.add_embedding_length(width)
    writer.add_feed_forward_length(ffn)
    writer.add_head_count(heads)
    writer.add_head_count_kv(kv)
    if head != width // heads:
        writer.add_key_length(head)
        writer.add_value_length(head)
    writer.add_rope_dimension_count(head)
    writer.add_rope_freq_base(5000.0)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_tokenizer_model(tokenizer)
    if pre is not None:
        writer.add_tokenizer_pre(pre)
    writer.add_token_list(words)
    writer.add_token_types(kinds)
    writer.add_token_merges(["Ġ t", "h e", "Ġt he", "1 1"])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_pad_token_id(2)
    writer.add_chat_template("{{ bos_token }}{% for m in messages %}{{ m.content }}{% endfor %}")
    for key, value in (extra_keys or {}).items():
        if isinstance(value, bool):
            writer.add_bool(key, value)
        elif isinstance(value, int):
            writer.add_uint32(key, value)
        elif isinstance(value, list):
            writer.add_array(key, value)
        else:
            writer.add_string(key, value)

    tensors: dict[str, Array] = {}
    for old, new, values, reordered in entries:
        kind = gguf.GGMLQuantizationType[quantisation if "ffn_up" in old else "F32"]
        stored = values
        if reordered:
            split = values.reshape(reordered, 2, values.shape[0] // reordered // 2, -1)
            stored = np.ascontiguousarray(split.swapaxes(1, 2).reshape(values.shape))
        raw = gguf.quantize(stored, kind)
        writer.add_tensor(old, raw, raw_dtype=kind)
        tensors[new] = gguf.dequantize(raw, kind) if "ffn_up" in old else values
    for name, values in (extra_tensors or {}).items():
        writer.add_tensor(name, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return TinyGguf(path, tensors)
