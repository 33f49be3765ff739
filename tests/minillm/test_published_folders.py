"""Checkpoints as people have them, each against transformers, and broken ones refused by name.

A folder is made from a tiny model that transformers wrote; what differs is how its files hold its weights.
"""

from __future__ import annotations

import argparse
import copy
import json
import logging
import re
import runpy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from minillm import load_model, save_model, token_logprobs
from minillm.checkpoint.fp8 import FP8
from minillm.checkpoint.hub import resolve
from minillm.checkpoint.safetensors import INDEX_NAME, TORCH_INDEX_NAME, TORCH_NAME, WEIGHTS_NAME
from minillm.errors import MinillmError

pytest.importorskip("transformers")

GOLDEN = Path(__file__).parents[1] / "golden"
script = runpy.run_path(str(GOLDEN / "write_families.py"))
IDS = script["sequence"](40)
Tensors = dict[str, torch.Tensor]


@pytest.fixture(autouse=True)
def rounded() -> Iterator[None]:
    """What is in float32 has the same bits on both sides, and on every machine."""
    with script["Rounded"]():
        yield


def made(case: str, folder: Path) -> Tensors:
    """A case of `write_families`, written to a folder by transformers; its tensors."""
    folder.mkdir(exist_ok=True)
    script["write"](case, folder)
    return dict(load_file(folder / WEIGHTS_NAME))


def change(folder: Path, **settings: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | settings))


def save(folder: Path, tensors: Tensors) -> None:
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, folder / WEIGHTS_NAME)


def ours(folder: Path) -> torch.Tensor:
    return token_logprobs(load_model(folder, "fp64"), [IDS])[0].detach()


@torch.no_grad()
def logprobs(model: Any) -> torch.Tensor:
    ids = torch.tensor(IDS)
    logits = model(input_ids=ids.unsqueeze(0), use_cache=False).logits[0, :-1]
    return torch.log_softmax(logits, dim=-1).gather(1, ids[1:, None]).squeeze(1)  # type: ignore[no-any-return]


def theirs(folder: Path) -> torch.Tensor:
    return logprobs(script["load"](folder))


def agree(left: torch.Tensor, right: torch.Tensor) -> None:
    assert left.shape == right.shape and float((left - right).abs().max()) < 1e-9


def refused(folder: Path, *words: str) -> None:
    with pytest.raises(MinillmError) as caught:
        load_model(folder, "fp64")
    message = str(caught.value)
    assert "\n" not in message and all(word in message for word in words), message


class Skipped:
    """The lines of the log "minillm"."""

    def __init__(self, caplog: pytest.LogCaptureFixture) -> None:
        self.caplog = caplog
        caplog.set_level(logging.INFO, logger="minillm")

    def line(self) -> str:
        """What one folder's line says, without the folder."""
        [record] = [r for r in self.caplog.records if r.name == "minillm"]
        self.caplog.clear()
        return record.getMessage().partition(": ")[2]


@pytest.fixture
def skipped(caplog: pytest.LogCaptureFixture) -> Skipped:
    return Skipped(caplog)


# ---------------------------------------------------------------- tied embeddings


@pytest.mark.parametrize("case", ["llama-biases", "gpt2", "gemma2"])
def test_a_tied_models_copy(case: str, tmp_path: Path, skipped: Skipped) -> None:
    tensors = made(case, tmp_path)
    [embed] = [name for name in tensors if name.endswith(("embed_tokens.weight", "wte.weight"))]
    exact = theirs(tmp_path)
    save(tmp_path, tensors | {"lm_head.weight": tensors[embed].clone()})
    agree(ours(tmp_path), exact)
    assert skipped.line() == "tensors skipped: 1 (copies of the tied embedding 1)"
    # Some files hold the head alone.
    save(tmp_path, {"lm_head.weight" if n == embed else n: tensor for n, tensor in tensors.items()})
    agree(ours(tmp_path), exact)
    agree(theirs(tmp_path), exact)
    other = tensors[embed].clone()
    other[-1, -1] += 1e-7
    save(tmp_path, tensors | {"lm_head.weight": other})
    refused(tmp_path, "lm_head.weight", embed, "tie_word_embeddings")
    save(tmp_path, tensors | {"lm_head.weight": other[:-1]})
    refused(tmp_path, "lm_head.weight (shape [96, 48], expected [97, 48])")


# ---------------------------------------------------------------- prefixes and buffers

MASKS: dict[str, tuple[str, tuple[str, ...]]] = {
    "gpt2": ("transformer.h.{}.", ("attn.bias", "attn.masked_bias")),
    "gpt_bigcode": ("transformer.h.{}.", ("attn.bias", "attn.masked_bias")),
    "gptj": ("transformer.h.{}.", ("attn.bias", "attn.masked_bias")),
    "gpt_neo": ("transformer.h.{}.", ("attn.attention.bias", "attn.attention.masked_bias")),
    "gpt_neox": (
        "gpt_neox.layers.{}.",
        ("attention.bias", "attention.masked_bias", "attention.rotary_emb.inv_freq"),
    ),
    "llama": ("model.layers.{}.", ("self_attn.rotary_emb.inv_freq",)),
}


@pytest.mark.parametrize("case", MASKS)
def test_buffers_and_prefix(case: str, tmp_path: Path, skipped: Skipped) -> None:
    tensors = made(case, tmp_path)
    exact = ours(tmp_path)
    block, ends = MASKS[case]
    buffers = {f"{block.format(i)}{end}": torch.ones(1, 1, 8, 8) for i in range(3) for end in ends}
    save(tmp_path, tensors | buffers)
    assert torch.equal(ours(tmp_path), exact)
    assert skipped.line().startswith(f"tensors skipped: {3 * len(ends)} (")
    base = block.partition(".")[0] + "."
    bare = {name.removeprefix(base): tensor for name, tensor in (tensors | buffers).items()}
    save(tmp_path, bare)
    assert torch.equal(ours(tmp_path), exact)
    assert skipped.line().startswith(f"tensors skipped: {3 * len(ends)} (")
    # A tensor of the same name below a family that has no such buffer is one too many.
    save(tmp_path, tensors | {f"{block.format(0)}attn.extra_bias": torch.ones(1)})
    refused(tmp_path, "does not", f"{block.format(0)}attn.extra_bias")


def test_gpt2_as_it_is_published_against_transformers(tmp_path: Path) -> None:
    tensors = made("gpt2", tmp_path)
    masks = {f"transformer.h.{i}.attn.bias": torch.ones(1, 1, 128, 128).tril().bool() for i in range(3)}
    save(tmp_path, {n.removeprefix("transformer."): t for n, t in (tensors | masks).items()})
    agree(ours(tmp_path), theirs(tmp_path))


def test_one_tensor_under_two_names(tmp_path: Path) -> None:
    tensors = made("gpt2", tmp_path)
    save(tmp_path, tensors | {"wte.weight": tensors["transformer.wte.weight"].clone()})
    refused(tmp_path, "wte.weight", "transformer.wte.weight", "under another name")


def test_masks_of_a_family_that_has_none(tmp_path: Path) -> None:
    save(tmp_path, made("llama", tmp_path) | {"model.layers.0.self_attn.bias": torch.ones(1, 1, 8, 8)})
    refused(tmp_path, "model.layers.0.self_attn.bias")


def test_constants_are_what_is_computed(tmp_path: Path, skipped: Skipped) -> None:
    tensors = made("apertus", tmp_path)
    beta = "model.layers.1.mlp.act_fn.beta"
    assert beta in tensors
    agree(ours(tmp_path), theirs(tmp_path))
    assert skipped.line() == "tensors skipped: 8 (constants 8)"
    save(tmp_path, {n: tensor.bfloat16() if "act_fn" in n else tensor for n, tensor in tensors.items()})
    ours(tmp_path)
    save(tmp_path, tensors | {beta: torch.tensor(0.25)})
    refused(tmp_path, f"{beta} = 0.25", "only 0.5")


# ---------------------------------------------------------------- multi-token prediction


@pytest.mark.parametrize("case", ["glm4_moe", "deepseek_v3", "kimi_k2"])
def test_further_layers_that_the_config_announces(case: str, tmp_path: Path, skipped: Skipped) -> None:
    tensors = made(case.replace("kimi_k2", "deepseek_v3"), tmp_path)
    exact = theirs(tmp_path)
    change(tmp_path, model_type=case, num_nextn_predict_layers=1)
    L = 4
    further = {f"model.layers.{L}.{name}": torch.ones(3) for name in ("eh_proj.weight", "enorm.weight")}
    further["model.layers.4.embed_tokens.weight"] = torch.ones(97, 48)
    save(tmp_path, tensors | further)
    agree(ours(tmp_path), exact)
    assert skipped.line() == "tensors skipped: 3 (multi-token prediction 3)"
    save_model(load_model(tmp_path, "fp64"), tmp_path / "again")  # under a name that transformers knows
    agree(theirs(tmp_path / "again"), exact)
    save(tmp_path, tensors | {f"model.layers.{L + 1}.enorm.weight": torch.ones(3)})
    refused(tmp_path, f"model.layers.{L + 1}.enorm.weight")
    save(tmp_path, tensors | further)
    change(tmp_path, num_nextn_predict_layers=0)
    refused(tmp_path, f"model.layers.{L}.eh_proj.weight")


def test_mtp_beside_the_layers(tmp_path: Path, skipped: Skipped) -> None:
    tensors = made("exaone_moe", tmp_path)
    exact = ours(tmp_path)
    further = {
        "mtp.layers.0.mlp.up_proj.weight": torch.ones(3),
        "model.mtp_block.0.norm.weight": torch.ones(3),
    }
    save(tmp_path, tensors | further)
    change(tmp_path, num_nextn_predict_layers=1)
    assert torch.equal(ours(tmp_path), exact)
    assert skipped.line() == "tensors skipped: 2 (multi-token prediction 2)"


# ---------------------------------------------------------------- wrappers

_SIGLIP = {
    "model_type": "siglip_vision_model",
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "image_size": 28,
    "patch_size": 14,
}
_QWEN_VISION = {"depth": 1, "num_heads": 2, "patch_size": 14}
_QWEN3_VISION = {
    **_QWEN_VISION,
    "hidden_size": 16,
    "intermediate_size": 24,
    "out_hidden_size": 48,
    "deepstack_visual_indexes": [0],
    "num_position_embeddings": 16,
}
_MROPE = {"rope_type": "default", "rope_theta": 500.0, "mrope_section": [2, 2, 2]}
_CASES = script["CASES"]
# Wrapper -> its text config, beside COMMON, and its vision config.
WRAPPED: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "mistral3": (
        {"model_type": "ministral3", **_CASES["ministral3"][1]},
        {**_SIGLIP, "model_type": "pixtral", "head_dim": 8},
    ),
    "gemma3": ({"model_type": "gemma3_text", **_CASES["gemma3_text"][1]}, _SIGLIP),
    "qwen3_vl": (
        {
            "model_type": "qwen3_vl_text",
            "head_dim": 12,
            "rope_parameters": {**_MROPE, "mrope_interleaved": True},
        },
        _QWEN3_VISION,
    ),
    "qwen3_vl_moe": (
        {
            "model_type": "qwen3_vl_moe_text",
            "head_dim": 12,
            "rope_parameters": {**_MROPE, "mrope_interleaved": True},
            "num_experts": 5,
            "num_experts_per_tok": 2,
            "moe_intermediate_size": 19,
        },
        _QWEN3_VISION,
    ),
    "kimi_k25": (
        {"model_type": "deepseek_v3", **_CASES["deepseek_v3"][1]},
        {
            "pos_emb_height": 4,
            "pos_emb_width": 4,
            "num_attention_heads": 2,
            "num_hidden_layers": 1,
            "hidden_size": 24,
            "intermediate_size": 32,
        },
    ),
    "qwen2_vl": (
        {"model_type": "qwen2_vl_text", "rope_parameters": {**_MROPE, "mrope_section": [2, 1, 1]}},
        {**_QWEN_VISION, "embed_dim": 16, "hidden_size": 48},
    ),
    "internvl": (
        {"model_type": "qwen3", "head_dim": 12},
        {**_SIGLIP, "model_type": "internvl_vision", "image_size": [28, 28], "patch_size": [14, 14]},
    ),
    "llava": ({"model_type": "llama"}, {**_SIGLIP, "model_type": "clip_vision_model", "projection_dim": 16}),
}
SPELLINGS: dict[str, Callable[[str], str]] = {
    "language_model.model": lambda n: (
        n.replace("model.", "language_model.model.", 1) if n.startswith("model.") else f"language_model.{n}"
    ),
    "model.language_model": lambda n: (
        n.replace("model.", "model.language_model.", 1) if n.startswith("model.") else n
    ),
}


def wrapped(name: str, folder: Path) -> torch.Tensor:
    """A wrapper's tiny model, saved by transformers; the logprobs of its text model."""
    import transformers

    text, vision = copy.deepcopy(WRAPPED[name])
    config = transformers.AutoConfig.for_model(
        name, text_config={**script["COMMON"], **text}, vision_config=vision
    )
    model = transformers.AutoModelForImageTextToText.from_config(
        config, dtype=torch.float64, experts_implementation="eager"
    )
    model = model.double().eval()
    with torch.no_grad():
        for own, parameter in model.named_parameters():
            parameter.copy_(script["values"](own, parameter.shape))
    model.tie_weights()
    model.save_pretrained(folder)
    if name == "qwen3_vl_moe":  # published the other way around, which transformers reads and does not write
        stored = load_file(folder / WEIGHTS_NAME)
        save(folder, {n: t.mT if ".experts." in n else t for n, t in stored.items()})
    return logprobs(model)


@pytest.mark.parametrize("name", WRAPPED)
def test_a_wrappers_text_model(name: str, tmp_path: Path, skipped: Skipped) -> None:
    exact = wrapped(name, tmp_path)
    model = load_model(tmp_path, "fp64")
    agree(token_logprobs(model, [IDS])[0].detach(), exact)
    stored = dict(load_file(tmp_path / WEIGHTS_NAME))
    own = {n for n in stored if re.search(r"language_model|lm_head|^model\.(layers|norm|embed)", n)}
    towers = {n: tensor for n, tensor in stored.items() if n not in own}
    line = f"tensors skipped: {len(towers)} (other towers {len(towers)})"
    assert towers and skipped.line() == line
    # Saved, it is a text model that transformers loads as one.
    save_model(model, tmp_path / "text")
    agree(theirs(tmp_path / "text"), exact)
    text = {re.sub(r"(model\.)?language_model\.(model\.)?", "model.", n): stored[n] for n in own}
    text = {n.replace("model.lm_head", "lm_head").replace("blocks", "layers"): t for n, t in text.items()}
    for respell in SPELLINGS.values():
        save(tmp_path, towers | {respell(n): tensor for n, tensor in text.items()})
        assert torch.equal(ours(tmp_path), token_logprobs(model, [IDS])[0])
        assert skipped.line() == line
    save(tmp_path, stored | {"another_tower.weight": torch.ones(2)})
    refused(tmp_path, "another_tower.weight")
    settings = json.loads((tmp_path / "config.json").read_text())
    if name != "qwen2_vl":
        change(tmp_path, text_config=None)
        refused(tmp_path, "text_config")
    else:  # as it was first published
        (tmp_path / "config.json").write_text(json.dumps(settings.pop("text_config") | settings))
        save(tmp_path, stored)
        agree(ours(tmp_path), exact)


def test_where_a_wrapper_ties(tmp_path: Path) -> None:
    wrapped("mistral3", tmp_path)
    assert load_model(tmp_path).config.tie_word_embeddings  # the wrapper's own, which transformers reads
    settings = json.loads((tmp_path / "config.json").read_text())
    assert settings["text_config"].pop("tie_word_embeddings") is False
    del settings["tie_word_embeddings"]
    (tmp_path / "config.json").write_text(json.dumps(settings))
    refused(tmp_path, "lm_head.weight")  # where nobody says so, its family's own


# ---------------------------------------------------------------- pickles and shards


def pickled(folder: Path, tensors: Tensors, **options: Any) -> None:
    (folder / WEIGHTS_NAME).unlink(missing_ok=True)
    torch.save(tensors, folder / TORCH_NAME, **options)


@pytest.mark.parametrize("archive", [True, False])
def test_pytorch_model_bin(archive: bool, tmp_path: Path, skipped: Skipped) -> None:
    tensors = made("llama-biases", tmp_path)
    exact = theirs(tmp_path)
    # torch.save keeps both names of a tied tensor.
    tied = tensors | {"lm_head.weight": tensors["model.embed_tokens.weight"]}
    pickled(tmp_path, tied, _use_new_zipfile_serialization=archive)
    assert resolve(tmp_path) == tmp_path
    agree(ours(tmp_path), exact)
    assert skipped.line() == "tensors skipped: 1 (copies of the tied embedding 1)"
    # Safetensors go first, as in transformers.
    (tmp_path / TORCH_NAME).write_bytes(b"junk")
    save(tmp_path, tensors)
    agree(ours(tmp_path), exact)


def sharded(folder: Path, tensors: Tensors, suffix: str, write: Callable[[Tensors, Path], Any]) -> Path:
    """Three shards and their index."""
    names, weight_map = list(tensors), {}
    (folder / WEIGHTS_NAME).unlink(missing_ok=True)
    stem = "model" if suffix == "safetensors" else "pytorch_model"
    for i in range(3):
        file = f"{stem}-{i + 1:05}-of-00003.{suffix}"
        write({name: tensors[name].contiguous() for name in names[i::3]}, folder / file)
        weight_map |= dict.fromkeys(names[i::3], file)
    index = folder / (INDEX_NAME if suffix == "safetensors" else TORCH_INDEX_NAME)
    index.write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    return folder / f"{stem}-00002-of-00003.{suffix}"


@pytest.mark.parametrize("suffix", ["safetensors", "bin"])
def test_shards(suffix: str, tmp_path: Path) -> None:
    tensors = made("qwen3", tmp_path)
    exact = theirs(tmp_path)
    shard = sharded(tmp_path, tensors, suffix, save_file if suffix == "safetensors" else torch.save)
    agree(ours(tmp_path), exact)
    shard.write_bytes(shard.read_bytes()[:-100])
    refused(tmp_path, shard.name, "truncated")
    shard.unlink()
    refused(tmp_path, shard.name, "not there")


@pytest.mark.parametrize("archive", [True, False])
@pytest.mark.parametrize("size", [0, 3, 40, 2000, -200])
def test_a_truncated_pickle(archive: bool, size: int, tmp_path: Path) -> None:
    pickled(tmp_path, made("llama", tmp_path), _use_new_zipfile_serialization=archive)
    path = tmp_path / TORCH_NAME
    path.write_bytes(path.read_bytes()[:size])
    refused(tmp_path, str(path), "truncated", "fetch it again")


def test_a_pickle_of_more_than_tensors(tmp_path: Path) -> None:
    tensors = made("llama", tmp_path)
    pickled(tmp_path, {"args": argparse.Namespace(a=1), **tensors})
    refused(tmp_path, TORCH_NAME, "argparse.Namespace", "convert it to safetensors")
    for content, words in (
        ({"state_dict": tensors}, "'state_dict'"),
        ({"epoch": 3, **tensors}, "'epoch'"),
        (list(tensors.values()), "a list"),
    ):
        torch.save(content, tmp_path / TORCH_NAME)
        refused(tmp_path, TORCH_NAME, words)


# ---------------------------------------------------------------- FP8

BLOCK = 16


def in_fp8(weight: torch.Tensor, block: int, scale: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    """(float8, scales) of a matrix."""
    N, K = weight.shape
    scales = torch.empty(-(-N // block), -(-K // block))
    quantised = torch.empty(N, K, dtype=torch.float8_e4m3fn)
    for i in range(scales.shape[0]):
        for j in range(scales.shape[1]):
            place = (slice(i * block, (i + 1) * block), slice(j * block, (j + 1) * block))
            factor = weight[place].abs().max().float() / 448
            if scale == torch.float8_e8m0fnu:
                factor = torch.exp2(torch.log2(factor).ceil())
            scales[i, j] = factor
            quantised[place] = (weight[place].float() / factor).to(torch.float8_e4m3fn)
    return quantised, scales.to(scale)


def by_hand(quantised: torch.Tensor, scales: torch.Tensor, block: int) -> torch.Tensor:
    out = torch.empty(quantised.shape, dtype=torch.bfloat16)
    for i in range(scales.shape[0]):
        for j in range(scales.shape[1]):
            place = (slice(i * block, (i + 1) * block), slice(j * block, (j + 1) * block))
            out[place] = (quantised[place].float() * scales[i, j].float()).bfloat16()
    return out


def quantise(tensors: Tensors, block: int, scale: torch.dtype = torch.float32) -> tuple[Tensors, Tensors]:
    """(The published tensors, those that they mean)."""
    stored: Tensors = {}
    meant: Tensors = {}
    for name, tensor in tensors.items():
        stored[name] = meant[name] = tensor.bfloat16()
        if name.endswith("proj.weight") or "kv_a_proj_with_mqa" in name:
            stored[name], stored[f"{name}_scale_inv"] = in_fp8(tensor, block, scale)
            meant[name] = by_hand(stored[name], stored[f"{name}_scale_inv"], block)
    return stored, meant


def fp8_config(**others: Any) -> dict[str, Any]:
    given = {"quant_method": "fp8", "activation_scheme": "dynamic", "fmt": "e4m3"}
    return {"quantization_config": {**given, "weight_block_size": [BLOCK, BLOCK], **others}}


@pytest.mark.parametrize("scale", [torch.float32, torch.bfloat16, torch.float8_e8m0fnu])
@pytest.mark.parametrize("case", ["qwen3", "deepseek_v3"])
def test_fp8(case: str, scale: torch.dtype, tmp_path: Path) -> None:
    stored, meant = quantise(made(case, tmp_path), BLOCK, scale)
    save(tmp_path, meant)
    exact = theirs(tmp_path)
    assert sum(tensor.dtype == torch.float8_e4m3fn for tensor in stored.values()) > 20
    save(tmp_path, stored)
    change(tmp_path, **fp8_config(modules_to_not_convert=["lm_head"], scale_fmt="ue8m0"))
    agree(ours(tmp_path), exact)
    # Saved, the weights are plain, and so says the config.
    save_model(load_model(tmp_path, "bf16"), tmp_path / "again")
    assert "quantization_config" not in json.loads((tmp_path / "again" / "config.json").read_text())
    again = load_file(tmp_path / "again" / WEIGHTS_NAME)
    assert all(torch.equal(again[name], tensor) for name, tensor in meant.items())


def test_fp8_with_further_layers_in_shards(tmp_path: Path, skipped: Skipped) -> None:
    """DeepSeek-V3 as it is published."""
    tensors = made("deepseek_v3", tmp_path)
    stored, meant = quantise(tensors, BLOCK)
    save(tmp_path, meant)
    exact = theirs(tmp_path)
    further = {
        n.replace(".3.", ".4."): t.clone() for n, t in stored.items() if n.startswith("model.layers.3.")
    }
    sharded(tmp_path, stored | further, "safetensors", save_file)
    change(tmp_path, num_nextn_predict_layers=1, **fp8_config())
    agree(ours(tmp_path), exact)
    assert skipped.line() == f"tensors skipped: {len(further)} (multi-token prediction {len(further)})"


def test_fp8_with_one_scale_a_matrix(tmp_path: Path, skipped: Skipped) -> None:
    """Devstral Small 2: scales of activations beside those of weights."""
    tensors = made("ministral3", tmp_path)
    stored, meant = quantise(tensors, 1 << 20)
    for shape in ((), (1,)):
        for name in [n for n in stored if n.endswith("_scale_inv")]:
            stored[name] = stored[name].reshape(shape)
            stored[name.replace("weight_scale_inv", "activation_scale")] = torch.tensor(0.5)
        save(tmp_path, meant)
        exact = theirs(tmp_path)
        save(tmp_path, stored)
        settings = json.loads((tmp_path / "config.json").read_text())
        change(tmp_path, **fp8_config(activation_scheme="static", weight_block_size=None))
        agree(ours(tmp_path), exact)
        assert skipped.line() == "tensors skipped: 28 (scales of activations 28)"
        (tmp_path / "config.json").write_text(json.dumps(settings))


@pytest.mark.parametrize("scale", [torch.float32, torch.bfloat16, torch.uint8])
def test_fp8_is_what_transformers_makes_of_it(scale: torch.dtype) -> None:
    from transformers.integrations.finegrained_fp8 import Fp8Dequantize

    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(3, 32, 48, generator=generator).mul(100).to(torch.float8_e4m3fn)
    scales = torch.rand(3, 2, 3, generator=generator)
    scales = (scales * 20 + 115).to(scale) if scale == torch.uint8 else scales.to(scale)
    exact = Fp8Dequantize(None)._dequantize_one(weight, scales, torch.bfloat16)
    layout = FP8((16, 16))
    assert torch.equal(layout.dequantize(weight, scales), exact)
    for start in range(0, 32, 5):  # blocks of rows across the blocks of scales
        rows = layout.dequantize(weight[1, start : start + 5], scales[1], start)
        assert torch.equal(rows, exact[1, start : start + 5])


def test_fp8_blocks_larger_than_a_matrix() -> None:
    quantised, scales = in_fp8(torch.randn(150, 70), 128, torch.float32)
    assert scales.shape == (2, 1)
    assert torch.equal(FP8((128, 128)).dequantize(quantised, scales), by_hand(quantised, scales, 128))


def test_fp8_that_does_not_fit(tmp_path: Path) -> None:
    stored, _ = quantise(made("qwen3", tmp_path), BLOCK)
    name = "model.layers.0.mlp.up_proj.weight"
    scales = stored[f"{name}_scale_inv"]
    save(tmp_path, stored)
    refused(tmp_path, "_proj.weight (dtype F8_E4M3 is not a plain float)")  # the config does not say so
    change(tmp_path, **fp8_config())
    for changes, words in (
        ({f"{name}_scale_inv": None}, (f"{name}_scale_inv", "lacks")),
        ({f"{name}_scale_inv": scales[:-1]}, (f"{name}_scale_inv (shape [2, 3], expected [3, 3])",)),
        ({f"{name}_scale_inv": scales.int()}, (f"{name}_scale_inv (dtype I32",)),
        ({name: stored[name].float()}, (f"{name}_scale_inv", "does not")),
        ({name: stored[name][:-1]}, (f"{name} (shape [36, 48], expected [37, 48])",)),
        ({name: stored[name].float().to(torch.float8_e5m2)}, (f"{name}", "F8_E5M2")),
        ({"model.norm.weight": stored["model.norm.weight"].to(torch.float8_e4m3fn)}, ("model.norm.weight",)),
    ):
        save(tmp_path, {n: t for n, t in {**stored, **changes}.items() if t is not None})
        refused(tmp_path, *words)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"quant_method": "gptq", "bits": 4}, "'quant_method': 'gptq'"),
        ({"quant_method": "awq"}, "'awq'"),
        ({"quant_method": "bitsandbytes", "load_in_4bit": True}, "'bitsandbytes'"),
        ({"quant_method": "compressed-tensors", "format": "pack-quantized"}, "'compressed-tensors'"),
        ({"quant_method": "mxfp4"}, "'mxfp4'"),
        ({"bits": 4}, "'quant_method': None"),
        ({"quant_method": "fp8", "weight_block_size": [128]}, "'weight_block_size': [128]"),
        ({"quant_method": "fp8", "fmt": "e5m2"}, "'fmt': 'e5m2'"),
        ({"quant_method": "fp8", "expert_dtype": "fp4"}, "'expert_dtype': 'fp4'"),
    ],
)
def test_other_quantisations_are_named(given: dict[str, Any], words: str, tmp_path: Path) -> None:
    made("qwen3", tmp_path)
    change(tmp_path, quantization_config=given)
    refused(tmp_path, "quantization_config", words, "fetch plain weights")


def test_a_quantised_text_model_of_a_wrapper_is_named(tmp_path: Path) -> None:
    wrapped("kimi_k25", tmp_path)
    settings = json.loads((tmp_path / "config.json").read_text())
    settings["text_config"]["quantization_config"] = {"quant_method": "compressed-tensors"}
    change(tmp_path, text_config=settings["text_config"])
    refused(tmp_path, "'compressed-tensors'")
