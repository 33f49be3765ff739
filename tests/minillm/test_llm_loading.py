"""What `LLM` takes from folders besides the model: tokenizers of their own, ends of a text, dtypes."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tokenizers
import torch
from safetensors.torch import load_file, save_file
from tokenizers import AddedToken, models

from minillm import LLM, MinillmError, SamplingParams, Tokenizer, Transformer
from minillm.arguments import _precision
from minillm.checkpoint.hub import resolve_tokenizer
from minillm.checkpoint.keys import to_hf
from minillm.checkpoint.load import save_model
from minillm.tokenizer.backends import JsonBackend

WORDS = ["a", "b", "c", "d"]


def tokenizer_folder(path: Path, **files: Any) -> Path:
    """tokenizer.json and nothing else but `files`; "</s>" is token 4."""
    path.mkdir()
    backend = tokenizers.Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, "a"))
    backend.add_tokens([AddedToken("</s>", special=True)])
    backend.save(str(path / "tokenizer.json"))
    for name, content in files.items():
        (path / f"{name}.json").write_text(json.dumps(content))
    return path


@pytest.fixture
def folder(tmp_path: Path, tiny_llama: Callable[..., Transformer]) -> Path:
    """A model without a tokenizer."""
    path = tmp_path / "model"
    path.mkdir()
    save_model(tiny_llama("fp32"), path)
    return path


def make(model: Path | Transformer, tokenizer: Path | Tokenizer, **options: Any) -> LLM:
    return LLM(model, tokenizer, kv_cache_memory_bytes=1 << 20, **options)


# ---------------------------------------------------------------- tokenizers


def test_a_tokenizer_needs_no_model(folder: Path, tmp_path: Path) -> None:
    alone = tokenizer_folder(tmp_path / "alone", tokenizer_config={"eos_token": "</s>"})
    assert resolve_tokenizer(alone) == alone
    llm = make(folder, alone)
    params = SamplingParams(max_tokens=3, temperature=0, ignore_eos=True)
    (output,) = llm.generate(["b"], params, use_tqdm=False)
    assert output.prompt_token_ids == [1] and len(output.outputs[0].token_ids) == 3
    transformers: Any = pytest.importorskip("transformers")
    assert transformers.AutoTokenizer.from_pretrained(alone).eos_token_id == 4
    assert llm.get_tokenizer().eos_token_ids == (4,)


def test_what_is_missing_is_said(folder: Path, tmp_path: Path) -> None:
    alone = tokenizer_folder(tmp_path / "alone")
    with pytest.raises(MinillmError, match=r"alone has no config\.json"):
        LLM(alone)
    with pytest.raises(MinillmError, match=r"model has no tokenizer\.json, tekken\.json or tokenizer\.model"):
        make(folder, folder)


def test_another_tokenizer_keeps_the_models_ends(folder: Path, tmp_path: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "eos_token_id": 7}))
    (folder / "generation_config.json").write_text('{"eos_token_id": [9, 7]}')
    alone = tokenizer_folder(tmp_path / "alone", tokenizer_config={"eos_token": "</s>"})
    given = Tokenizer.from_folder(str(alone))
    assert given.eos_token_ids == (4,)
    for tokenizer in (alone, given):
        assert make(folder, tokenizer).get_tokenizer().eos_token_ids == (9, 7, 4)
    assert given.eos_token_ids == (4,)  # it may serve other models
    llm = make(folder, given)
    bias = SamplingParams(max_tokens=5, temperature=0, logit_bias={9: 100.0})
    (output,) = llm.generate([[1, 2]], bias, use_tqdm=False)
    assert output.outputs[0].token_ids == [9] and output.outputs[0].finish_reason == "stop"
    # A live model has no folder: its tokenizer alone says where a text ends.
    live = make(llm.model, given)
    assert live.get_tokenizer() is given


def test_chats_take_named_templates(folder: Path, tmp_path: Path) -> None:
    named = [
        {"name": name, "template": text} for name, text in (("default", "b"), ("rag", "c"), ("tool_use", "d"))
    ]
    alone = tokenizer_folder(tmp_path / "alone", tokenizer_config={"chat_template": named})
    llm, chat = make(folder, alone), [{"role": "user", "content": "hi"}]
    tool: dict[str, Any] = {"type": "function", "function": {"name": "f"}}
    params = SamplingParams(max_tokens=1)
    for options, ids in (({}, [1]), ({"chat_template": "rag"}, [2]), ({"tools": [tool]}, [3])):
        (output,) = llm.chat(chat, params, use_tqdm=False, **options)  # type: ignore[arg-type]
        assert output.prompt_token_ids == ids


def test_special_ids_are_those_of_every_file(tmp_path: Path) -> None:
    alone = tokenizer_folder(tmp_path / "alone", special_tokens_map={"pad_token": "d"})
    backend = Tokenizer.from_folder(alone)._backend
    assert isinstance(backend, JsonBackend) and backend.special_ids == {3, 4}


# ---------------------------------------------------------------- dtype


@pytest.mark.parametrize(
    ("dtype", "preset", "warns"),
    [
        ("float32", "fp32", False), ("float", "fp32", False), (torch.float32, "fp32", False),
        ("bfloat16", "bf16", False), (torch.bfloat16, "bf16", False),
        ("half", "fp32", True), ("float16", "fp32", True), (torch.float16, "fp32", True),
        ("double", "fp64", False), (torch.float64, "fp64", False), (None, "fp32", False),
    ],
)  # fmt: skip
def test_dtype_names(tmp_path: Path, dtype: Any, preset: str, warns: bool) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert _precision(dtype, None, tmp_path) == preset
    assert [str(w.message).startswith("float16 is held and computed as float32") for w in caught] == [
        True
    ] * warns


@pytest.mark.parametrize("dtype", ["fp16", "int8", "Float32", torch.int8, ""])
def test_unknown_dtypes_are_refused_with_the_list(tmp_path: Path, dtype: Any) -> None:
    with pytest.raises(
        MinillmError, match=r"dtype must be one of auto, float64, .*bfloat16, float16, half, got"
    ):
        _precision(dtype, None, tmp_path)
    with pytest.raises(MinillmError, match="give dtype or precision, not both"):
        _precision("half", "fp32", tmp_path)


@pytest.mark.filterwarnings("ignore:float16 is held")
@pytest.mark.parametrize(
    ("config", "preset"),
    [
        ({"dtype": "bfloat16"}, "bf16"),
        ({"torch_dtype": "float16"}, "fp32"),
        ({"torch_dtype": "torch.bfloat16"}, "bf16"),
        ({"dtype": None, "torch_dtype": "float32"}, "fp32"),
        ({"text_config": {"torch_dtype": "bfloat16"}}, "bf16"),
        ({"dtype": "float32", "text_config": {"dtype": "bfloat16"}}, "fp32"),
    ],
)
def test_auto_is_what_config_says(tmp_path: Path, config: dict[str, Any], preset: str) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert _precision("auto", None, tmp_path) == preset


def test_auto_without_a_word_is_that_of_the_weights(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    for stored, preset in ((torch.bfloat16, "bf16"), (torch.float32, "fp32"), (torch.float64, "fp64")):
        mixed = {name: t.to(stored if t.ndim > 1 else torch.float32) for name, t in tensors.items()}
        save_file(mixed, folder / "model.safetensors")
        assert _precision("auto", None, folder) == preset
    save_file({"codes": torch.zeros(3, dtype=torch.uint8)}, folder / "model.safetensors")
    with pytest.raises(MinillmError, match=r"config\.json has no dtype, and the weights are no floats; give"):
        _precision("auto", None, folder)


def test_auto_refuses_a_dtype_that_it_does_not_know(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"torch_dtype": "float8_e4m3fn"}')
    with pytest.raises(
        MinillmError, match=r"config\.json has torch_dtype = 'float8_e4m3fn', not one of float64"
    ):
        _precision("auto", None, tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(MinillmError, match=r"config\.json is not valid JSON"):
        _precision("auto", None, tmp_path)


def test_float16_weights_are_exact(folder: Path, tmp_path: Path) -> None:
    half = {name: t.half() for name, t in load_file(folder / "model.safetensors").items()}
    save_file(half, folder / "model.safetensors")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "dtype": "float16"}))
    tokenizer = Tokenizer.from_folder(tokenizer_folder(tmp_path / "alone"))
    with pytest.warns(UserWarning, match="float16 is held and computed as float32") as caught:
        llm = make(folder, tokenizer, dtype="auto")
    assert [warning.filename for warning in caught] == [__file__]
    held = to_hf(llm.model.config, dict(llm.model.named_parameters()))
    assert held.keys() == half.keys()
    assert all(torch.equal(tensor, half[name].float()) for name, tensor in held.items())
    logits = llm.next_token_logprobs([[1, 2, 3]])
    assert logits.dtype == torch.float32 and torch.equal(
        logits, make(folder, tokenizer).next_token_logprobs([[1, 2, 3]])
    )
