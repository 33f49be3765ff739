"""Strict reading, atomic writing and the GGUF import, on tiny files."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from minillm.errors import MinillmError
from minillm.gguf_import import import_gguf
from minillm.tokenizer import Tokenizer
from minillm.weights import INDEX_NAME, WEIGHTS_NAME, load_tensors, save_tensors

TENSORS = {
    "embed.weight": torch.randn(7, 3),
    "norm.weight": torch.randn(3),
    "head.weight": torch.randn(7, 3).to(torch.bfloat16),
}
EXPECTED = {name: tensor.shape for name, tensor in TENSORS.items()}


def save_sharded(folder: Path) -> None:
    weight_map = {}
    for i, (name, tensor) in enumerate(TENSORS.items()):
        file = f"model-{i + 1:05}-of-00003.safetensors"
        save_file({name: tensor}, folder / file)
        weight_map[name] = file
    (folder / INDEX_NAME).write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))


def same(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> bool:
    return list(left) == list(right) and all(
        left[n].dtype == right[n].dtype and torch.equal(left[n], right[n]) for n in left
    )


def refused(folder: Path, *patterns: str, expected: dict[str, torch.Size] = EXPECTED) -> None:
    with pytest.raises(MinillmError) as caught:
        load_tensors(folder, expected)
    for pattern in patterns:
        assert re.search(pattern, str(caught.value)), str(caught.value)
    assert "\n" not in str(caught.value)


def test_round_trip(tmp_path: Path) -> None:
    path = save_tensors(tmp_path / "new", TENSORS, {"step": "3"})
    assert path.name == WEIGHTS_NAME
    assert same(load_tensors(path.parent, EXPECTED), TENSORS)
    assert [p.name for p in path.parent.iterdir()] == [WEIGHTS_NAME]


def test_views_and_transposes_are_saved_as_seen(tmp_path: Path) -> None:
    transposed = torch.randn(4, 6).T
    save_tensors(tmp_path, {"w": transposed})
    assert torch.equal(load_tensors(tmp_path, {"w": transposed.shape})["w"], transposed)


def test_sharded(tmp_path: Path) -> None:
    save_sharded(tmp_path)
    assert same(load_tensors(tmp_path, EXPECTED), TENSORS)


def test_writing_to_a_loaded_tensor_leaves_the_file(tmp_path: Path) -> None:
    save_tensors(tmp_path, TENSORS)
    load_tensors(tmp_path, EXPECTED)["norm.weight"].zero_()
    assert same(load_tensors(tmp_path, EXPECTED), TENSORS)


def test_saving_over_a_loaded_file(tmp_path: Path) -> None:
    save_tensors(tmp_path, TENSORS)
    loaded = load_tensors(tmp_path, EXPECTED)
    save_tensors(tmp_path, {name: tensor + 1 for name, tensor in loaded.items()})
    assert same(loaded, TENSORS)


def test_failed_save_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_tensors(tmp_path, TENSORS)

    def broken(tensors: Any, filename: Path, metadata: Any) -> None:
        filename.write_bytes(b"half")
        raise OSError("No space left on device")

    monkeypatch.setattr("minillm.weights.save_file", broken)
    with pytest.raises(MinillmError, match=r"cannot write .*No space left"):
        save_tensors(tmp_path, {})
    assert same(load_tensors(tmp_path, EXPECTED), TENSORS)
    assert [p.name for p in tmp_path.iterdir()] == [WEIGHTS_NAME]


def test_missing_tensors_are_named(tmp_path: Path) -> None:
    save_tensors(tmp_path, {"norm.weight": TENSORS["norm.weight"]})
    refused(tmp_path, WEIGHTS_NAME, "lacks", r"embed\.weight, head\.weight$")


def test_extra_tensors_are_named_and_counted(tmp_path: Path) -> None:
    save_tensors(tmp_path, TENSORS | {f"extra.{i}": torch.zeros(1) for i in range(6)})
    refused(tmp_path, r"extra\.0, extra\.1, extra\.2, extra\.3 and 2 more")


def test_harmless_extras_are_dropped(tmp_path: Path) -> None:
    name = "model.layers.0.self_attn.rotary_emb.inv_freq"
    save_tensors(tmp_path, TENSORS | {name: torch.zeros(4)})
    assert same(load_tensors(tmp_path, EXPECTED), TENSORS)
    with pytest.raises(MinillmError, match="inv_freq"):
        load_tensors(tmp_path, EXPECTED, ignore=None)


def test_wrong_shape_names_both(tmp_path: Path) -> None:
    save_tensors(tmp_path, TENSORS | {"norm.weight": torch.zeros(4)})
    refused(tmp_path, r"norm\.weight \(shape \[4\], expected \[3\]\)")


def test_quantised_dtype(tmp_path: Path) -> None:
    save_tensors(tmp_path, TENSORS | {"norm.weight": torch.zeros(3, dtype=torch.int8)})
    refused(tmp_path, r"norm\.weight \(dtype I8")


@pytest.mark.parametrize("size", [0, 5, 40, -1])
def test_truncated(tmp_path: Path, size: int) -> None:
    path = save_tensors(tmp_path, TENSORS)
    path.write_bytes(path.read_bytes()[:size])
    refused(tmp_path, WEIGHTS_NAME, "truncated")


def test_no_weights(tmp_path: Path) -> None:
    refused(tmp_path, f"neither {WEIGHTS_NAME} nor {INDEX_NAME}")


def test_missing_shard(tmp_path: Path) -> None:
    save_sharded(tmp_path)
    (tmp_path / "model-00002-of-00003.safetensors").unlink()
    refused(tmp_path, INDEX_NAME, r"model-00002-of-00003\.safetensors")


def test_truncated_shard(tmp_path: Path) -> None:
    save_sharded(tmp_path)
    path = tmp_path / "model-00002-of-00003.safetensors"
    path.write_bytes(path.read_bytes()[:-2])
    refused(tmp_path, r"model-00002-of-00003\.safetensors is truncated")


def test_shard_without_its_tensor(tmp_path: Path) -> None:
    save_sharded(tmp_path)
    save_file({"other": torch.zeros(1)}, tmp_path / "model-00002-of-00003.safetensors")
    refused(tmp_path, r"model-00002-of-00003\.safetensors lacks", r"norm\.weight")


def test_tensor_in_two_shards(tmp_path: Path) -> None:
    save_sharded(tmp_path)
    both = {name: TENSORS[name] for name in ("embed.weight", "norm.weight")}
    save_file(both, tmp_path / "model-00002-of-00003.safetensors")
    refused(tmp_path, "repeats", r"embed\.weight")


def test_single_file_beside_shards(tmp_path: Path) -> None:
    save_sharded(tmp_path)
    save_file(TENSORS, tmp_path / WEIGHTS_NAME)
    refused(tmp_path, "two checkpoints")


def test_shards_are_as_small_as_asked_for(tmp_path: Path) -> None:
    tensors = {f"t{i}": torch.full((100,), float(i)) for i in range(7)}
    index = save_tensors(tmp_path, tensors, max_shard_bytes=1000)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert index.name == INDEX_NAME and names[0] == "model-00001-of-00004.safetensors" and len(names) == 5
    loaded = load_tensors(tmp_path, {name: tensor.shape for name, tensor in tensors.items()})
    assert all(torch.equal(loaded[name], tensor) for name, tensor in tensors.items())


def test_a_new_checkpoint_takes_the_place_of_another_number_of_files(tmp_path: Path) -> None:
    shapes = {name: tensor.shape for name, tensor in TENSORS.items()}
    for most in (None, 1, 1 << 30, 1):
        save_tensors(tmp_path, TENSORS, max_shard_bytes=most)
        files = {path.name for path in tmp_path.iterdir()}
        assert files == {WEIGHTS_NAME} or len(files) == len(TENSORS) + 1
        loaded = load_tensors(tmp_path, shapes)
        assert all(torch.equal(loaded[name], tensor) for name, tensor in TENSORS.items())


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"weight_map": {"w": "../w.safetensors"}}'])
def test_broken_index(tmp_path: Path, text: str) -> None:
    (tmp_path / INDEX_NAME).write_text(text)
    refused(tmp_path, INDEX_NAME, "not an index")


# ---------------------------------------------------------------- GGUF


def imported(folder: Path, tensors: dict[str, Any]) -> dict[str, torch.Tensor]:
    return load_tensors(folder, {name: torch.Size(a.shape) for name, a in tensors.items()})


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
        "eos_token_id": 2,
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
    assert not (folder / "config.json").exists()


def test_gguf_truncated(tmp_path: Path, write_gguf: Callable[..., Any]) -> None:
    tiny = write_gguf(tmp_path / "tiny.gguf")
    whole = tiny.path.read_bytes()
    for size in (0, 3, 10, 100, 1000, 4000, len(whole) // 2, len(whole) - 40):
        tiny.path.write_bytes(whole[:size])
        gguf_refused(tiny.path, "truncated")


def test_gguf_missing(tmp_path: Path) -> None:
    gguf_refused(tmp_path / "none.gguf", "No such file")


@pytest.mark.parametrize(
    ("options", "pattern"),
    [
        ({"architecture": "qwen2"}, "'qwen2'; only llama"),
        ({"pre": "tekken"}, "'tekken'"),
        ({"pre": None}, "None"),
        ({"tokenizer": "llama"}, "'llama'; only byte-level BPE"),
        ({"extra_keys": {"llama.expert_count": 8}}, r"llama\.expert_count"),
        ({"extra_keys": {"llama.rope.scaling.type": "yarn"}}, r"llama\.rope\.scaling\.type"),
        ({"extra_tensors": {"rope_freqs.weight": np.ones(6, np.float32)}}, "rope_freqs"),
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
    assert (tokenizer.bos_token_id, tokenizer.eos_token_ids) == (1, (2,))
    # The unused last entry pads the embedding and is no token.
    rows = tiny.tensors["model.embed_tokens.weight"].shape[0]
    assert tokenizer.vocab_size == rows - 1


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
