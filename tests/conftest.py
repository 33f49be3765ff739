"""Fixtures that several packages' tests share."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import settings

if TYPE_CHECKING:
    from minillm import Transformer

# Before anything imports Triton: where there is no GPU, its kernels run in its interpreter.
if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")

# Of several processes of pytest-xdist each has its share of the cores, and so have programs that it starts.
if workers := int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "0")):
    threads = max(1, (os.cpu_count() or 1) // workers)
    torch.set_num_threads(threads)
    os.environ.setdefault("OMP_NUM_THREADS", str(threads))

Array = npt.NDArray[np.float32]

# A busy machine is no failure: nothing here asserts a wall-clock time.
settings.register_profile("default", deadline=None)
settings.load_profile("default")


@pytest.fixture(scope="session")
def demo_model_path() -> Path:
    """The folder of the demo model; the first session on a machine fetches it."""
    from minillm.checkpoint.hub import DEMO_MODEL, resolve

    return resolve(DEMO_MODEL)


@pytest.fixture(scope="session")
def load_demo_model(demo_model_path: Path) -> Callable[[str], Transformer]:
    """`load_demo_model(precision)`: the demo model, loaded once a precision; not to be written to."""
    from minillm import load_model

    loaded: dict[str, Transformer] = {}

    def load(precision: str) -> Transformer:
        if precision not in loaded:
            loaded[precision] = load_model(demo_model_path, precision)
        return loaded[precision]

    return load


@pytest.fixture(scope="session")
def tiny_llama(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Transformer]:
    """`tiny_llama(precision, **changes)`: a tiny random llama, the same weights at every call.

    `changes` are keys of its config.json.
    """
    from minillm import load_model

    def make(precision: str = "fp32", **changes: Any) -> Transformer:
        folder = tmp_path_factory.mktemp("tiny-llama")
        write_tiny_llama(folder, tiny_config(**changes))
        return load_model(folder, precision)

    return make


@pytest.fixture(scope="session")
def served(tiny_llama: Callable[..., Transformer], demo_model_path: Path) -> Iterator[str]:
    """The URL of a server of "tiny": a tiny model with a real one's vocabulary and chat template."""
    from minillm import LLM, Tokenizer
    from minillm.serve.server import make_app
    from tests.minillm.server_thread import running

    model = tiny_llama("fp32", vocab_size=49152)
    llm = LLM(model, Tokenizer.from_folder(demo_model_path), kv_cache_memory_bytes=1 << 23)
    with running(make_app(llm, "tiny")) as server:
        yield server.url


@pytest.fixture(scope="session")
def no_spaces(demo_model_path: Path) -> dict[str, float]:
    """A logit_bias for "tiny": of JSON, a random model would write the white space without an end."""
    from minillm import Tokenizer

    tokenizer = Tokenizer.from_folder(demo_model_path)
    texts = (tokenizer.decode([i]) for i in range(tokenizer.vocab_size))
    return {str(i): -100 for i, text in enumerate(texts) if text.isspace()}


def tiny_config(**changes: Any) -> dict[str, Any]:
    """A config.json of odd sizes, and a head_dim that is not hidden_size / heads."""
    config: dict[str, Any] = {
        "model_type": "llama",
        "vocab_size": 131,
        "hidden_size": 48,
        "intermediate_size": 53,
        "num_hidden_layers": 2,
        "num_attention_heads": 6,
        "num_key_value_heads": 2,
        "head_dim": 16,
        "max_position_embeddings": 512,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "tie_word_embeddings": True,
    }
    return {**config, **changes}


def write_tiny_llama(folder: Path, settings: dict[str, Any]) -> None:
    """config.json and safetensors of a random llama, sharp enough that attention is not a mean."""
    from minillm.checkpoint.read_config import read_config
    from minillm.checkpoint.safetensors import save_tensors

    (folder / "config.json").write_text(json.dumps(settings))
    config = read_config(folder)
    generator = torch.Generator().manual_seed(0)
    C, F, V = config.hidden_size, config.intermediate_size, config.vocab_size
    H, K, D = config.heads
    tensors: dict[str, torch.Tensor] = {}

    def matrix(name: str, wide: int, narrow: int, gain: float = 1.0) -> None:
        scale = gain * narrow**-0.5
        tensors[f"{name}.weight"] = torch.randn(wide, narrow, generator=generator) * scale

    def gain(name: str) -> None:
        tensors[f"{name}.weight"] = 1 + 0.2 * torch.randn(C, generator=generator)

    matrix("model.embed_tokens", V, C, 3.0)
    if not config.tie_word_embeddings:
        matrix("lm_head", V, C, 3.0)
    gain("model.norm")
    for i in range(config.num_layers):
        block = f"model.layers.{i}."
        gain(f"{block}input_layernorm")
        gain(f"{block}post_attention_layernorm")
        matrix(f"{block}self_attn.q_proj", H * D, C, 2.0)
        matrix(f"{block}self_attn.k_proj", K * D, C)
        matrix(f"{block}self_attn.v_proj", K * D, C)
        matrix(f"{block}self_attn.o_proj", C, H * D)
        matrix(f"{block}mlp.gate_proj", F, C)
        matrix(f"{block}mlp.up_proj", F, C)
        matrix(f"{block}mlp.down_proj", C, F)
    save_tensors(folder, tensors)


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
    vocabulary: tuple[list[str], list[int], list[str], list[float]] | None = None,
    part_size: int = 0,
    first_part_empty: bool = False,
) -> TinyGguf:
    import gguf
    from tokenizers import pre_tokenizers

    layers, width, heads, kv, ffn = 2, 32, 4, 2, 64
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    plain = [*sorted(pre_tokenizers.ByteLevel.alphabet()), "Ġt", "he", "Ġthe", "11"]
    words = [*special, *plain, "<tool>", "[PAD]"]
    kinds = [3] * len(special) + [1] * len(plain) + [4, 5]
    merges, scores = ["Ġ t", "h e", "Ġt he", "1 1"], list[float]()
    if vocabulary is not None:
        words, kinds, merges, scores = vocabulary

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

    # As many do, the first of several parts has no tensors.
    writer = gguf.GGUFWriter(
        path, architecture, split_max_tensors=part_size, small_first_shard=first_part_empty
    )
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
    if merges:
        writer.add_token_merges(merges)
    if scores:
        writer.add_token_scores(scores)
    if vocabulary is None:
        writer.add_bos_token_id(1)
        writer.add_eos_token_id(2)
        writer.add_pad_token_id(2)
    writer.add_chat_template("{{ bos_token }}{% for m in messages %}{{ m.content }}{% endfor %}")
    for key, value in (extra_keys or {}).items():
        if isinstance(value, bool):
            writer.add_bool(key, value)
        elif isinstance(value, int):
            writer.add_uint32(key, value)
        elif isinstance(value, float):
            writer.add_float32(key, value)
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
