"""The transformer against transformers' llama in float64 and float32, and what loading refuses."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from types import MethodType
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from minillm import MinillmError, Precision, Transformer, load_model
from minillm.checkpoint.keys import to_hf
from minillm.checkpoint.load import load_weights, save_weights
from minillm.checkpoint.safetensors import WEIGHTS_NAME, save_tensors
from minillm.model.batch import Batch

LENGTHS = (1, 63, 64, 65, 111)
SHAPES: dict[str, dict[str, Any]] = {
    # One kv head; head_dim is not hidden_size / heads; odd MLP and vocabulary.
    "multi-query-tied": {
        "hidden_size": 42,
        "num_attention_heads": 6,
        "num_key_value_heads": 1,
        "head_dim": 16,
        "tie_word_embeddings": True,
    },
    "grouped-untied": {
        "hidden_size": 36,
        "num_attention_heads": 6,
        "num_key_value_heads": 2,
        "head_dim": 10,
        "tie_word_embeddings": False,
    },
    "multi-head-untied": {
        "hidden_size": 48,
        "num_attention_heads": 3,
        "num_key_value_heads": 3,
        "head_dim": 16,
        "tie_word_embeddings": False,
    },
}


def reference(shape: str) -> Any:
    """A random llama of transformers in float64."""
    transformers = pytest.importorskip("transformers")
    config = transformers.LlamaConfig(
        vocab_size=131,
        intermediate_size=53,
        num_hidden_layers=2,
        max_position_embeddings=128,
        rms_norm_eps=1e-5,
        rope_parameters={"rope_type": "default", "rope_theta": 5000.0},
        attn_implementation="sdpa",
        **SHAPES[shape],
    )
    model = transformers.LlamaForCausalLM(config).double().eval()
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for parameter in model.parameters():
            noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            if parameter.ndim == 1:
                parameter.copy_(1 + 0.3 * noise)
            else:
                parameter.copy_(noise * 1.5 * parameter.shape[1] ** -0.5)
    return model


def in_double(model: Any) -> Any:
    """`model` with norms and angles in float64, where transformers has float32 for every dtype."""

    def norm(self: Any, x: torch.Tensor) -> torch.Tensor:
        rstd = torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.variance_epsilon)
        return self.weight * (x * rstd)

    def rotary(self: Any, x: torch.Tensor, position_ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        base, D = self.config.rope_parameters["rope_theta"], self.config.head_dim
        frequency = 1.0 / base ** (torch.arange(0, D, 2, dtype=torch.float64) / D)
        angle = position_ids[..., None].double() * frequency
        angle = torch.cat((angle, angle), dim=-1)
        return angle.cos(), angle.sin()

    for module in model.modules():
        if type(module).__name__ == "LlamaRMSNorm":
            module.forward = MethodType(norm, module)
        elif type(module).__name__ == "LlamaRotaryEmbedding":
            module.forward = MethodType(rotary, module)
    return model


def sequences() -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randint(131, (n,), generator=generator) for n in LENGTHS]


def weighting(rows: torch.Tensor) -> torch.Tensor:
    """What the loss multiplies logits by: some fixed noise."""
    generator = torch.Generator().manual_seed(2)
    return torch.randn(rows.shape, generator=generator, dtype=torch.float64).to(rows.dtype)


def theirs(model: Any) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Logits of all tokens, sequence after sequence, and the gradients of a weighted sum of them."""
    model.zero_grad()
    logits = torch.cat([model(ids.unsqueeze(0)).logits[0] for ids in sequences()])
    (logits * weighting(logits)).sum().backward()
    return logits.detach(), {name: p.grad for name, p in model.named_parameters()}


def ours(model: Transformer) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    model.zero_grad()
    hidden = model(torch.cat(sequences()), Batch.packed(LENGTHS))
    logits = model.logits(hidden)
    (logits * weighting(logits)).sum().backward()
    gradients = {}
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        gradients[name] = parameter.grad
    return logits.detach(), to_hf(model.config, gradients)


@pytest.fixture(params=SHAPES)
def pair(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Any, Path]]:
    """transformers' model in float64 and the folder that it was saved to."""
    model = reference(request.param)
    model.save_pretrained(tmp_path)
    yield model, tmp_path


def relative_errors(gradients: dict[str, torch.Tensor], exact: dict[str, torch.Tensor]) -> dict[str, float]:
    assert gradients.keys() == exact.keys()
    return {
        name: float((gradients[name] - true).abs().max() / true.abs().max()) for name, true in exact.items()
    }


@pytest.mark.parametrize("norm", [torch.float32, torch.float64])
def test_float64_logits_and_gradients_are_those_of_transformers(
    pair: tuple[Any, Path], norm: torch.dtype
) -> None:
    model, folder = pair
    # `fp64` norms in float32 as transformers does; with norms in double it is transformers so mended.
    logits, gradients = ours(load_model(folder, "fp64" if norm == torch.float32 else Precision(*[norm] * 6)))
    expected_logits, expected_gradients = theirs(model if norm == torch.float32 else in_double(model))
    assert logits.dtype == torch.float64
    # Logits that hardly vary would agree whatever the model is.
    assert expected_logits.std() > 0.5
    assert (logits - expected_logits).abs().max() <= 1e-9
    errors = relative_errors(gradients, expected_gradients)
    assert max(errors.values()) <= 1e-8, errors


def test_float32_is_as_near_to_float64_as_transformers_float32(pair: tuple[Any, Path]) -> None:
    model, folder = pair
    # The weights' rounding to float32 is no error of either: all three models have the rounded ones.
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(parameter.float())
    model.save_pretrained(folder)
    plain = type(model).from_pretrained(folder, dtype=torch.float32).eval()
    logits, gradients = ours(load_model(folder, "fp32"))
    their_logits, their_gradients = theirs(plain)
    exact_logits, exact_gradients = theirs(in_double(model))
    assert logits.dtype == their_logits.dtype == torch.float32
    allowed = 2 * (their_logits - exact_logits).abs().max()
    assert (logits - exact_logits).abs().max() <= allowed
    errors = relative_errors(gradients, exact_gradients)
    their_errors = relative_errors(their_gradients, exact_gradients)
    assert max(errors.values()) <= 2 * max(their_errors.values()), (errors, their_errors)


@pytest.mark.parametrize("shape", SHAPES)
def test_one_token_at_a_time_over_packed_sequences_is_the_same_model(shape: str, tmp_path: Path) -> None:
    """A sequence's logits do not depend on its neighbours: alone, they are the same bits."""
    reference(shape).save_pretrained(tmp_path)
    model = load_model(tmp_path, "fp32")
    with torch.no_grad():
        packed = model.logits(model(torch.cat(sequences()), Batch.packed(LENGTHS)))
        alone = [model.logits(model(ids, Batch.packed([len(ids)]))) for ids in sequences()]
    assert torch.equal(packed, torch.cat(alone))


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("precision", ["fp32", "bf16", "bf16-master-fp32", "fp64"])
def test_saved_weights_load_as_they_were(
    tiny_llama: Callable[..., Transformer], tmp_path: Path, precision: str, tied: bool
) -> None:
    model = tiny_llama(precision, tie_word_embeddings=tied)
    save_weights(model, tmp_path)
    copy = Transformer(model.config, model.precision)
    load_weights(copy, tmp_path)
    before = to_hf(model.config, dict(model.named_parameters()))
    after = to_hf(copy.config, dict(copy.named_parameters()))
    assert before.keys() == after.keys()
    assert ("lm_head.weight" in before) == (not tied)
    for name, tensor in before.items():
        assert tensor.dtype == model.precision.weights
        assert torch.equal(tensor, after[name]), name
    stored = load_file(tmp_path / WEIGHTS_NAME)
    assert stored.keys() == before.keys()
    assert all(torch.equal(stored[name], tensor) for name, tensor in before.items())
    tokens = torch.arange(70) % model.config.vocab_size
    with torch.no_grad():
        hidden = [m.logits(m(tokens, Batch.packed([70]))) for m in (model, copy)]
    assert torch.equal(*hidden)


@pytest.fixture
def folder(tiny_llama: Callable[..., Transformer], tmp_path: Path) -> Path:
    """A valid model folder, to be spoilt."""
    model = tiny_llama()
    save_weights(model, tmp_path)
    c = model.config
    settings = {
        "model_type": "llama",
        "vocab_size": c.vocab_size,
        "hidden_size": c.hidden_size,
        "intermediate_size": c.intermediate_size,
        "num_hidden_layers": c.num_layers,
        "num_attention_heads": c.num_heads,
        "num_key_value_heads": c.num_kv_heads,
        "head_dim": c.head_dim,
        "tie_word_embeddings": c.tie_word_embeddings,
    }
    (tmp_path / "config.json").write_text(json.dumps(settings))
    return tmp_path


def edit(folder: Path, **changes: Any) -> None:
    """Set keys of config.json; `...` removes one."""
    path = folder / "config.json"
    settings = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({k: v for k, v in settings.items() if v is not ...}))


def refusal(folder: Path) -> str:
    with pytest.raises(MinillmError) as caught:
        load_model(folder)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_the_folder_that_errors_are_made_from_loads(folder: Path) -> None:
    assert load_model(folder).config.vocab_size == 131
    edit(folder, rope_scaling=None, attention_bias=False, mlp_bias=None, architectures=["LlamaForCausalLM"])
    assert load_model(folder).config.ropes[0].theta == 10000.0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_type": "wavenet"}, r"model_type 'wavenet' is not supported; supported: .*llama.*gpt_oss"),
        ({"model_type": ...}, r"model_type None is not supported"),
        ({"hidden_size": ...}, r"lacks the key 'hidden_size'"),
        ({"num_hidden_layers": ...}, r"lacks the key 'num_hidden_layers'"),
        ({"num_hidden_layers": 0}, r"num_layers = 0, which is no size"),
        ({"hidden_size": "48"}, r"hidden_size = .48., which is no size"),
        ({"rope_scaling": "linear"}, r"has a value of the wrong kind"),
        ({"hidden_act": "mish"}, r"has activation 'mish'; supported: silu, "),
        ({"logit_scale": 0.5}, r"has logit_scale = 0.5, but a llama model is computed with 1.0 alone"),
        ({"rope_scaling": {"type": "mrope"}}, r"has rope type 'mrope'; supported: default, linear, "),
        ({"rope_scaling": {"type": "linear"}}, r"lacks 'factor' for rope of type 'linear'"),
        (
            {"rope_parameters": {"rope_type": "llama3", "rope_theta": 1e4, "factor": 8.0}},
            r"lacks 'high_freq_factor' for rope of type 'llama3'",
        ),
        ({"rope_scaling": {"factor": 2.0}}, r"unknown key 'factor' for rope of type 'default'"),
        ({"quantization_config": {"quant_method": "gptq"}}, r"has quantization_config = .*, not supported"),
        ({"num_key_value_heads": 4}, r"6 query heads that do not share 4 kv heads evenly"),
    ],
)
def test_a_config_that_we_do_not_compute_is_refused(
    folder: Path, changes: dict[str, Any], message: str
) -> None:
    edit(folder, **changes)
    refused = refusal(folder)
    assert re.search(message, refused), refused
    assert "config.json" in refused


@pytest.mark.parametrize("text", ["", "{", "[]", "3", "null"])
def test_a_broken_config_is_refused(folder: Path, text: str) -> None:
    (folder / "config.json").write_text(text)
    assert "config.json" in refusal(folder)


def tensors_of(folder: Path) -> dict[str, torch.Tensor]:
    model = load_model(folder)
    return to_hf(model.config, dict(model.named_parameters()))


def test_a_missing_tensor_is_named(folder: Path) -> None:
    tensors = tensors_of(folder)
    del tensors["model.layers.1.mlp.up_proj.weight"]
    save_tensors(folder, tensors)
    message = refusal(folder)
    assert "lacks tensors" in message
    assert "model.layers.1.mlp.up_proj.weight" in message
    assert WEIGHTS_NAME in message


def test_an_extra_tensor_is_named(folder: Path) -> None:
    extra = torch.zeros(96)
    save_tensors(folder, {**tensors_of(folder), "model.layers.0.self_attn.q_proj.bias": extra})
    message = refusal(folder)
    assert "has tensors that the model in config.json does not" in message
    assert "model.layers.0.self_attn.q_proj.bias" in message


def test_a_mis_shaped_tensor_is_named_with_both_shapes(folder: Path) -> None:
    tensors = tensors_of(folder)
    name = "model.layers.0.self_attn.k_proj.weight"
    tensors[name] = tensors[name].t().contiguous()
    save_tensors(folder, tensors)
    assert f"{name} (shape [48, 32], expected [32, 48])" in refusal(folder)


@pytest.mark.parametrize("kept", [0, 7, 100, 0.5, -1])
def test_a_truncated_file_is_refused(folder: Path, kept: float) -> None:
    path = folder / WEIGHTS_NAME
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content)) if isinstance(kept, float) else kept])
    message = refusal(folder)
    assert "truncated" in message
    assert WEIGHTS_NAME in message


def test_a_folder_without_weights_is_refused(folder: Path) -> None:
    (folder / WEIGHTS_NAME).unlink()
    assert "safetensors" in refusal(folder)


def test_an_unknown_precision_names_the_presets(folder: Path) -> None:
    with pytest.raises(MinillmError, match="unknown precision 'fp8'; the presets are fp64, fp32"):
        load_model(folder, "fp8")
