"""The GGUF import on tiny llamas: weights, keys, split files, rope, and what a file is refused for.

Other architectures are in test_gguf_architectures, tokenizers in test_gguf_tokenizer.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from minillm.checkpoint.gguf.convert import import_gguf, main
from minillm.checkpoint.safetensors import WEIGHTS_NAME
from minillm.errors import MinillmError
from minillm.tokenizer.tokenizer import Tokenizer


def imported(folder: Path, tensors: dict[str, Any]) -> dict[str, torch.Tensor]:
    stored = load_file(folder / WEIGHTS_NAME)
    assert {name: tuple(a.shape) for name, a in tensors.items()} == {
        n: tuple(x.shape) for n, x in stored.items()
    }
    return stored


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("head", [8, 12])
def test_gguf_import(tmp_path: Path, write_gguf: Callable[..., Any], tied: bool, head: int) -> None:
    tiny = write_gguf(tmp_path / "tiny.gguf", tied=tied, head=head)
    import_gguf(tiny.path, tmp_path / "out")
    found = imported(tmp_path / "out", tiny.tensors)
    for name, values in tiny.tensors.items():
        assert torch.equal(found[name], torch.from_numpy(values)), name
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config == {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": head,
        "vocab_size": tiny.tensors["model.embed_tokens.weight"].shape[0],
        "max_position_embeddings": 128,
        "rope_theta": 5000.0,
        "rms_norm_eps": 1e-5,
        "hidden_act": "silu",
        "attention_bias": False,
        "mlp_bias": False,
        "tie_word_embeddings": tied,
        "torch_dtype": "float32",
        "bos_token_id": 1,
        "eos_token_id": [2, 0],
        "pad_token_id": 2,
    }


@pytest.mark.parametrize("quantisation", ["F16", "BF16", "Q4_0", "Q4_1", "Q8_0"])
def test_gguf_quantisations(tmp_path: Path, write_gguf: Callable[..., Any], quantisation: str) -> None:
    tiny = write_gguf(tmp_path / "tiny.gguf", quantisation=quantisation)
    import_gguf(tiny.path, tmp_path)
    found = imported(tmp_path, tiny.tensors)
    for name, values in tiny.tensors.items():
        assert torch.equal(found[name], torch.from_numpy(values)), name


def test_gguf_biases(tmp_path: Path, write_gguf: Callable[..., Any]) -> None:
    # Rows 0, 1, 2, ... of one head in the order of llama.cpp are rows 0, 4, 1, 5, ... of ours.
    bias = np.arange(32, dtype=np.float32)
    tiny = write_gguf(tmp_path / "a.gguf", head=8, extra_tensors={"blk.0.attn_q.bias": bias})
    import_gguf(tiny.path, tmp_path)
    name = "model.layers.0.self_attn.q_proj.bias"
    found = imported(tmp_path, tiny.tensors | {name: bias})[name]
    assert found[:8].tolist() == [0, 2, 4, 6, 1, 3, 5, 7]
    assert json.loads((tmp_path / "config.json").read_text())["attention_bias"] is True


def test_gguf_equals_transformers(tmp_path: Path, write_gguf: Callable[..., Any]) -> None:
    pytest.importorskip("transformers")
    from transformers import AutoConfig, AutoModelForCausalLM
    from transformers.modeling_gguf_pytorch_utils import load_gguf_checkpoint

    tiny = write_gguf(tmp_path / "tiny.gguf", head=8, tied=False)
    theirs = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(tmp_path, gguf_file="tiny.gguf"))
    read = load_gguf_checkpoint(str(tiny.path), return_tensors=True, model_to_load=theirs)
    theirs.load_state_dict(read["tensors"])
    import_gguf(tiny.path, tmp_path / "out")
    ours = AutoModelForCausalLM.from_pretrained(tmp_path / "out", dtype=torch.float32)
    for name, tensor in theirs.state_dict().items():
        assert torch.equal(ours.state_dict()[name], tensor), name
    ids = torch.arange(20).reshape(2, 10)
    # transformers keeps the rms epsilon as the rounded fp32 value, hence not bit for bit.
    torch.testing.assert_close(ours(ids).logits, theirs(ids).logits, rtol=1e-5, atol=1e-5)


def gguf_refused(path: Path, *patterns: str) -> None:
    folder = path.parent / "refused"
    with pytest.raises(MinillmError) as caught:
        import_gguf(path, folder)
    assert str(path) in str(caught.value)
    for pattern in patterns:
        assert re.search(pattern, str(caught.value)), str(caught.value)
    assert not folder.exists()


def test_gguf_truncated(tmp_path: Path, write_gguf: Callable[..., Any]) -> None:
    tiny = write_gguf(tmp_path / "tiny.gguf")
    whole = tiny.path.read_bytes()
    for size in (0, 3, 10, 100, 1000, 4000, len(whole) // 2, len(whole) - 40):
        tiny.path.write_bytes(whole[:size])
        gguf_refused(tiny.path, "truncated")


def test_gguf_command_line(
    tmp_path: Path, write_gguf: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    path = str(write_gguf(tmp_path / "tiny.gguf").path)
    assert main([path, str(tmp_path / "out")]) == 0
    assert (tmp_path / "out" / "config.json").exists()
    assert main([str(tmp_path / "none.gguf"), str(tmp_path)]) == 1
    assert "none.gguf" in capsys.readouterr().err
    assert main([path]) == 2


def test_gguf_missing(tmp_path: Path) -> None:
    gguf_refused(tmp_path / "none.gguf", "No such file")


@pytest.mark.parametrize(
    ("options", "pattern"),
    [
        ({"architecture": "mamba"}, "'mamba'; those that can be imported are llama, "),
        ({"pre": "kimi-k2"}, "'kimi-k2'"),
        ({"pre": None}, "None"),
        ({"tokenizer": "t5"}, "'t5'; those that can be imported are 'gpt2'"),
        ({"extra_keys": {"llama.expert_count": 8}}, r"llama\.expert_used_count"),
        ({"extra_keys": {"llama.attention.sliding_window": 8}}, r"llama\.attention\.sliding_window"),
        ({"extra_keys": {"llama.attention.causal": False}}, r"attention\.causal"),
        ({"extra_keys": {"llama.attention.head_count_kv": [2, 1]}}, r"head_count_kv = \[2, 1\]"),
        ({"extra_keys": {"llama.rope.freq_base_swa": 100.0}}, r"rope\.freq_base_swa = 100"),
        ({"extra_keys": {"llama.rope.scaling.type": "longrope"}}, r"rope\.scaling\.type 'longrope'"),
        ({"extra_keys": {"llama.rope.scaling.attn_factor": 1.5}}, r"rope\.scaling\.attn_factor = 1\.5"),
        ({"extra_keys": {"general.type": "adapter"}}, r"general\.type 'adapter'"),
        ({"extra_keys": {"tokenizer.ggml.eot_token_id": 9999}}, "eot_token_id = 9999, beyond"),
        ({"extra_tensors": {"rope_factors_long.weight": np.ones(6, np.float32)}}, "rope_factors_short"),
        ({"extra_tensors": {"rope_freqs.weight": np.full(5, 2, np.float32)}}, "rope_freqs.* 6 pairs"),
        ({"extra_tensors": {"blk.1.attn_sinks.weight": np.ones(4, np.float32)}}, r"blk\.1\.attn_sinks"),
        ({"extra_tensors": {"blk.7.attn_q.bias": np.ones(48, np.float32)}}, r"blk\.7\.attn_q\.bias"),
    ],
)
def test_gguf_refusals(
    tmp_path: Path, write_gguf: Callable[..., Any], options: dict[str, Any], pattern: str
) -> None:
    gguf_refused(write_gguf(tmp_path / "tiny.gguf", **options).path, pattern)


def test_gguf_tokenizer(tmp_path: Path, write_gguf: Callable[..., Any]) -> None:
    tiny = write_gguf(tmp_path / "tiny.gguf")
    import_gguf(tiny.path, tmp_path)
    tokenizer = Tokenizer.from_folder(tmp_path)
    pieces = [tokenizer.decode([i]) for i in tokenizer.encode("in the 11<tool>é")]
    assert pieces == ["i", "n", " the", " ", "1", "1", "<tool>", "\ufffd", "\ufffd"]
    assert tokenizer.encode("<|im_end|>") == [2]
    assert tokenizer.decode([2]) == ""
    assert tokenizer.decode([2], skip_special_tokens=False) == "<|im_end|>"
    assert (tokenizer.bos_token_id, tokenizer.eos_token_ids) == (1, (2, 0))
    # The unused last entry pads the embedding and is no token.
    rows = tiny.tensors["model.embed_tokens.weight"].shape[0]
    assert len(tokenizer) == rows - 1


@pytest.mark.parametrize(
    ("pre", "pieces"),
    [
        ("gpt-2", ["a", " the", "\n", "11", "!"]),
        ("smollm", ["a", " the", "\n", "1", "1", "!"]),
        ("qwen2", ["a", " the", "\n", "1", "1", "!"]),
        ("llama-bpe", ["<|im_start|>", "a", " the", "\n", "11", "!"]),
    ],
)
def test_gguf_pre_tokenizers(
    tmp_path: Path, write_gguf: Callable[..., Any], pre: str, pieces: list[str]
) -> None:
    import_gguf(write_gguf(tmp_path / "tiny.gguf", pre=pre).path, tmp_path)
    tokenizer = Tokenizer.from_folder(tmp_path)
    ids = tokenizer.encode("a the\n11!")
    assert [tokenizer.decode([i], skip_special_tokens=False) for i in ids] == pieces


def test_gguf_bos_and_second_end(tmp_path: Path, write_gguf: Callable[..., Any]) -> None:
    keys = {"tokenizer.ggml.add_bos_token": True, "tokenizer.ggml.eot_token_id": 0}
    import_gguf(write_gguf(tmp_path / "tiny.gguf", extra_keys=keys).path, tmp_path)
    tokenizer = Tokenizer.from_folder(tmp_path)
    plain = tokenizer.encode("hi", add_special_tokens=False)
    assert tokenizer.encode("hi") == [1, *plain]
    assert tokenizer.encode_chat([{"role": "user", "content": "hi"}]) == [1, *plain]
    assert tokenizer.eos_token_ids == (2, 0)


# ---------------------------------------------------------------- split files


@pytest.mark.parametrize("empty", [False, True])
def test_gguf_split(tmp_path: Path, write_gguf: Callable[..., Any], empty: bool) -> None:
    tiny = write_gguf(tmp_path / "tiny.gguf", tied=False, part_size=7, first_part_empty=empty)
    parts = sorted(tmp_path.glob("tiny-*-of-*.gguf"))
    assert len(parts) == (4 if empty else 3)
    for given in parts:
        folder = tmp_path / given.stem
        import_gguf(given, folder)
        found = imported(folder, tiny.tensors)
        for name, values in tiny.tensors.items():
            assert torch.equal(found[name], torch.from_numpy(values)), name
        assert json.loads((folder / "config.json").read_text())["tie_word_embeddings"] is False


@pytest.mark.parametrize("missing", [1, 2, 3])
def test_gguf_part_missing(tmp_path: Path, write_gguf: Callable[..., Any], missing: int) -> None:
    write_gguf(tmp_path / "tiny.gguf", part_size=7)
    gone = f"tiny-0000{missing}-of-00003.gguf"
    (tmp_path / gone).unlink()
    gguf_refused(next(tmp_path.glob("tiny-*")), "one of 3 parts", gone)


def test_gguf_parts_that_do_not_fit(tmp_path: Path, write_gguf: Callable[..., Any]) -> None:
    write_gguf(tmp_path / "tiny.gguf", part_size=7)
    first, second, third = sorted(tmp_path.glob("tiny-*"))
    shutil.copy(first, tmp_path / "renamed.gguf")
    gguf_refused(tmp_path / "renamed.gguf", "one of 3 parts; name them")
    kept = second.read_bytes()
    shutil.copy(third, second)
    with pytest.raises(MinillmError, match=r"00002-of-00003\.gguf says that it is part 2, not 1"):
        import_gguf(first, tmp_path / "out")
    second.write_bytes(kept[: len(kept) // 2])
    with pytest.raises(MinillmError, match=r"00002-of-00003\.gguf is truncated"):
        import_gguf(first, tmp_path / "out")
    whole = write_gguf(tmp_path / "whole.gguf").path
    whole.rename(tmp_path / "whole-00001-of-00002.gguf")
    gguf_refused(tmp_path / "whole-00001-of-00002.gguf", "named as one of 2 parts")


# ---------------------------------------------------------------- keys and tensors that files may have


def test_gguf_harmless_keys(tmp_path: Path, write_gguf: Callable[..., Any]) -> None:
    keys = {
        "general.sampling.temp": 0.6,
        "quantize.imatrix.file": "x.dat",
        "split.count": 1,
        "llama.vocab_size": 7,
        "llama.expert_count": 0,
        "llama.rope.scaling.finetuned": True,
        "llama.attention.head_count": [4, 4],
    }
    import_gguf(write_gguf(tmp_path / "tiny.gguf", extra_keys=keys).path, tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    assert (config["num_attention_heads"], config["model_type"]) == (4, "llama")


def test_gguf_fused_queries_keys_values(tmp_path: Path, write_gguf: Callable[..., Any]) -> None:
    """Newer files can have them in one tensor, each in llama.cpp's order."""
    tiny = write_gguf(tmp_path / "tiny.gguf", head=8)
    rewrite(tiny.path, lambda tensors: joined(tensors))
    import_gguf(tiny.path, tmp_path)
    found = imported(tmp_path, tiny.tensors)
    for name, values in tiny.tensors.items():
        assert torch.equal(found[name], torch.from_numpy(values)), name


def joined(tensors: dict[str, Any]) -> dict[str, Any]:
    parts = [[tensors.pop(f"blk.{i}.attn_{x}.weight") for x in "qkv"] for i in range(2)]
    return tensors | {f"blk.{i}.attn_qkv.weight": np.concatenate(parts[i]) for i in range(2)}


def rewrite(path: Path, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """The same file with other tensors."""
    import gguf

    reader = gguf.GGUFReader(path)
    tensors = change({t.name: np.array(t.data) for t in reader.tensors})
    writer = gguf.GGUFWriter(path.with_suffix(".new"), reader.get_field("general.architecture").contents())
    for field in reader.fields.values():
        if not field.name.startswith("GGUF.") and field.name != "general.architecture":
            kind, sub = field.types[0], field.types[-1] if len(field.types) > 1 else None
            writer.add_key_value(field.name, field.contents(), kind, sub_type=sub)
    for name, array in tensors.items():
        writer.add_tensor(name, array)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    path.with_suffix(".new").replace(path)


def test_gguf_missing_tensor(tmp_path: Path, write_gguf: Callable[..., Any]) -> None:
    tiny = write_gguf(tmp_path / "tiny.gguf")
    rewrite(tiny.path, lambda t: {n: a for n, a in t.items() if n != "blk.1.ffn_up.weight"})
    gguf_refused(tiny.path, r"lacks tensor blk\.1\.ffn_up\.weight")


def test_gguf_shape(tmp_path: Path, write_gguf: Callable[..., Any]) -> None:
    tiny = write_gguf(tmp_path / "tiny.gguf")
    rewrite(tiny.path, lambda t: t | {"blk.0.ffn_up.weight": t["blk.0.ffn_up.weight"][:-1]})
    gguf_refused(tiny.path, r"blk\.0\.ffn_up\.weight of shape")


def test_gguf_biases_that_no_layer_has(tmp_path: Path, write_gguf: Callable[..., Any]) -> None:
    """Queries, keys and values have one, the output has none: it is zero."""
    biases = {
        f"blk.{i}.attn_{x}.bias": np.ones(8 * n, np.float32)
        for i in (0, 1)
        for x, n in zip("qkv", (4, 2, 2), strict=True)
    }
    import_gguf(write_gguf(tmp_path / "a.gguf", head=8, extra_tensors=biases).path, tmp_path)
    from minillm import load_model

    assert load_model(tmp_path, "fp32").config.o_bias


# ---------------------------------------------------------------- rope


def scaling(folder: Path, path: Path) -> dict[str, Any] | None:
    import_gguf(path, folder)
    found: dict[str, Any] | None = json.loads((folder / "config.json").read_text()).get("rope_scaling")
    return found


def divisors(factor: float, low: float, high: float, original: int, head: int, theta: float) -> Any:
    """As llama.cpp's converter makes them, in float32."""
    made = []
    for freq in 1.0 / (theta ** (torch.arange(0, head, 2, dtype=torch.float32) / head)):
        length = 2 * torch.pi / freq
        if length < original / high:
            made.append(1.0)
        elif length > original / low:
            made.append(factor)
        else:
            smooth = (original / length - low) / (high - low)
            made.append(float(1 / ((1 - smooth) / factor + smooth)))
    return np.array(made, np.float32)


@pytest.mark.parametrize(
    ("factor", "low", "high", "original"),
    [(8.0, 1.0, 4.0, 8192), (32.0, 1.0, 4.0, 8192), (4.0, 1.0, 4.0, 300), (16.0, 1.0, 2.5, 1000)],
)
def test_gguf_llama3_rope(
    tmp_path: Path, write_gguf: Callable[..., Any], factor: float, low: float, high: float, original: int
) -> None:
    """Parameters are found from one divisor for each pair of dimensions."""
    tensor = {"rope_freqs.weight": divisors(factor, low, high, original, 64, 5000.0)}
    found = scaling(tmp_path, write_gguf(tmp_path / "a.gguf", head=64, extra_tensors=tensor).path)
    assert found == {
        "rope_type": "llama3",
        "factor": factor,
        "low_freq_factor": low,
        "high_freq_factor": high,
        "original_max_position_embeddings": original,
    }


def test_gguf_other_divisors(tmp_path: Path, write_gguf: Callable[..., Any]) -> None:
    """What no parameters make is applied as it is; what divides by 1 is nothing."""
    odd = {"rope_freqs.weight": np.array([1.0, 3.0, 2.0, 5.5], np.float32)}
    found = scaling(tmp_path / "odd", write_gguf(tmp_path / "a.gguf", head=8, extra_tensors=odd).path)
    assert found == {
        "rope_type": "longrope",
        "long_factor": [1.0, 3.0, 2.0, 5.5],
        "short_factor": [1.0, 3.0, 2.0, 5.5],
        "original_max_position_embeddings": 128,
        "attention_factor": 1.0,
    }
    ones = {"rope_freqs.weight": np.ones(4, np.float32)}
    path = write_gguf(tmp_path / "b.gguf", head=8, extra_tensors=ones).path
    assert scaling(tmp_path / "ones", path) is None


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({"type": "none", "factor": 4.0}, None),
        ({"factor": 4.0}, {"rope_type": "linear", "factor": 4.0}),
        ({"type": "linear", "factor": 2.5}, {"rope_type": "linear", "factor": 2.5}),
        (
            {"type": "yarn", "factor": 4.0, "original_context_length": 32},
            {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32},
        ),
        (
            {
                "type": "yarn",
                "factor": 4.0,
                "original_context_length": 32,
                "yarn_attn_factor": 1.3,
                "yarn_beta_fast": 16.0,
                "yarn_beta_slow": 2.0,
                "yarn_ext_factor": 1.0,
            },
            {
                "rope_type": "yarn",
                "factor": 4.0,
                "original_max_position_embeddings": 32,
                "attention_factor": 1.3,
                "beta_fast": 16.0,
                "beta_slow": 2.0,
            },
        ),
    ],
)
def test_gguf_rope_keys(
    tmp_path: Path, write_gguf: Callable[..., Any], keys: dict[str, Any], expected: dict[str, Any] | None
) -> None:
    extra = {f"llama.rope.scaling.{key}": value for key, value in keys.items()}
    assert scaling(tmp_path, write_gguf(tmp_path / "a.gguf", extra_keys=extra).path) == expected
