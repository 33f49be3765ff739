"""Adapters made by PEFT: the same logits and gradients in float64, or refused by name."""

from __future__ import annotations

import dataclasses
import json
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from minillm import MinillmError, Transformer, load_model, token_logprobs
from minillm.checkpoint.keys import hf_shapes
from minillm.checkpoint.peft.config import COMPUTED, HARMLESS, ONLY
from minillm.checkpoint.read_config import read_config
from minillm.lora import ADAPTER_NAME, CONFIG_NAME, PREFIX, LoRA
from minillm.model.batch import Batch

peft = pytest.importorskip("peft")
transformers = pytest.importorskip("transformers")

GOLDEN = Path(__file__).parents[1] / "golden"
FAMILIES = json.loads((GOLDEN / "families.json").read_text())
script = runpy.run_path(str(GOLDEN / "write_families.py"))
IDS = torch.tensor(script["sequence"](40))
UNTIED = {"tie_word_embeddings": False}
TIED = {"tie_word_embeddings": True}
QV = {"target_modules": ["q_proj", "v_proj"]}
Q = {"target_modules": ["q_proj"]}


@pytest.fixture(autouse=True)
def in_double() -> Any:
    """What transformers computes in float32, whatever the weights, in float64 here."""
    with script["InDouble"]():
        yield


def write_base(folder: Path, family: str, **changes: Any) -> Path:
    """A family's tiny random checkpoint."""
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps({**FAMILIES[family]["config"], **changes}))
    script["fill"](folder, hf_shapes(read_config(folder)))
    return folder


def theirs(base: Path, dtype: torch.dtype = torch.float64) -> Any:
    load = transformers.AutoModelForCausalLM.from_pretrained
    return load(base, dtype=dtype, experts_implementation="eager")


def fill(model: Any) -> None:
    """Random numbers in all that PEFT trains."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, p in model.named_parameters():
            if p.requires_grad or ".lora_" in name:
                p.add_(0.2 * torch.randn(p.shape, generator=generator, dtype=torch.float64))


def write_adapter(folder: Path, base: Path, dtype: torch.dtype = torch.float64, **keys: Any) -> Path:
    config = peft.LoraConfig(**{"task_type": "CAUSAL_LM", "r": 3, "lora_alpha": 5, **keys})
    model = peft.get_peft_model(theirs(base, dtype), config)
    fill(model)
    model.save_pretrained(folder)
    return folder


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        if isinstance(model, Transformer):
            return model.logits(model(IDS, Batch.packed([len(IDS)])))
        return model.eval()(IDS[None]).logits[0]  # type: ignore[no-any-return]


def bits_of(model: Transformer) -> list[torch.Tensor]:
    return [p.detach().clone() for p in model.parameters()]


def same(left: list[torch.Tensor], right: list[torch.Tensor]) -> bool:
    return all(map(torch.equal, left, right)) and len(left) == len(right)


COMPUTED_CASES: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "q and v": ("llama", {}, QV),
    "all-linear": ("llama", {}, {"target_modules": "all-linear"}),
    "a pattern": ("llama", {}, {"target_modules": r".*layers\.1\.(self_attn|mlp)\.(k|down)_proj"}),
    "some layers": (
        "llama",
        {},
        {"target_modules": ["q_proj", "up_proj"], "layers_to_transform": [1], "layers_pattern": "layers"},
    ),
    "a layer": ("llama", {}, {"target_modules": ["k_proj", "gate_proj"], "layers_to_transform": 0}),
    "excluded": (
        "llama",
        {},
        {"target_modules": "all-linear", "exclude_modules": ["k_proj", "layers.0.mlp.up_proj"]},
    ),
    "ranks and alphas": (
        "llama",
        {},
        {
            "target_modules": ["q_proj", "k_proj", "o_proj"],
            "rank_pattern": {"k_proj": 2, "layers.1.self_attn.q_proj": 7},
            "alpha_pattern": {"^model.layers.0.*": 9},
        },
    ),
    "rslora": ("llama", {}, {**QV, "use_rslora": True, "rank_pattern": {"v_proj": 2}}),
    "orders of outputs": ("cohere2", {}, QV),
    "begun otherwise": ("llama", {}, {**QV, "init_lora_weights": "gaussian", "lora_dropout": 0.3}),
    "begun at random": ("llama", {}, {**QV, "init_lora_weights": False}),
    "all biases": ("qwen2", {}, {**QV, "bias": "all"}),
    "adapted biases": ("qwen2", {}, {"target_modules": ["k_proj", "down_proj"], "bias": "lora_only"}),
    "Conv1D": ("gpt2", {}, {"target_modules": ["c_attn"], "fan_in_fan_out": True}),
    "Conv1D everywhere": ("gpt2", {}, {"target_modules": "all-linear", "bias": "all"}),
    "fused modules": ("phi3", {}, {"target_modules": ["qkv_proj", "gate_up_proj"]}),
    "fused heads": ("gpt_neox", UNTIED, {"target_modules": ["query_key_value", "lm_head"]}),
    "head": ("llama", UNTIED, {"target_modules": ["q_proj", "lm_head"]}),
    "embedding": ("llama", UNTIED, {"target_modules": ["q_proj", "embed_tokens"]}),
    "modules to save": ("llama", UNTIED, {**Q, "modules_to_save": ["lm_head", "embed_tokens", "norm"]}),
    "tokens": (
        "llama",
        UNTIED,
        {**Q, "trainable_token_indices": {"embed_tokens": [3, 7, 5], "lm_head": [1]}},
    ),
    "tied tokens": ("llama", TIED, {**Q, "trainable_token_indices": [3, 7, 5]}),
    "a mixture's attention": ("mixtral", {}, QV),
    "experts": (
        "mixtral",
        {},
        {
            **Q,
            "target_parameters": ["experts.gate_up_proj", "experts.down_proj"],
            "rank_pattern": {"q_proj": 2},
        },
    ),
    "half of the experts": (
        "mixtral",
        {},
        {
            **Q,
            "target_parameters": ["mlp.experts.down_proj", "gate.weight"],
            "alpha_pattern": {"down_proj": 2},
        },
    ),
    "names of experts": (
        "qwen3_moe",
        {},
        {"target_modules": ["q_proj", "gate_proj", "up_proj", "down_proj"]},
    ),
    "shared experts": ("qwen2_moe", {}, {"target_modules": "all-linear"}),
    "experts in pairs": ("gpt_oss", {}, {**Q, "target_parameters": ["experts.gate_up_proj"]}),
    "experts the other way": (
        "llama4_text",
        {},
        {**Q, "target_parameters": ["experts.gate_up_proj", "experts.down_proj"]},
    ),
    "a name that is nothing here": ("hunyuan_v1_moe", {}, {"target_modules": "all-linear"}),
    "experts of one tensor": ("granitemoe", {}, {"target_parameters": ["experts.gate_up_proj"]}),
    "parameters": (
        "llama",
        {},
        {"target_modules": [], "target_parameters": ["q_proj.weight", "up_proj.weight"]},
    ),
}


@pytest.mark.parametrize("case", COMPUTED_CASES)
def test_logits_are_pefts(case: str, tmp_path: Path) -> None:
    family, changes, keys = COMPUTED_CASES[case]
    base = write_base(tmp_path / "base", family, **changes)
    folder = write_adapter(tmp_path / "adapter", base, **keys)
    model = load_model(base, "fp64")
    before, plain = bits_of(model), logits(model)
    lora = LoRA.from_folder(model, folder)
    exact, found = logits(peft.PeftModel.from_pretrained(theirs(base), folder)), logits(model)
    assert exact.dtype == torch.float64
    assert float((found - exact).abs().max()) <= 1e-9 < 0.1 < float((found - plain).abs().max())
    with lora.off():
        assert same(bits_of(model), before)
    assert torch.equal(logits(model), found)

    lora.save(tmp_path / "saved")
    saved = tmp_path / "saved"
    assert torch.equal(logits(peft.PeftModel.from_pretrained(theirs(base), saved)), exact)
    merged = bits_of(model)
    lora.load(saved)
    assert same(bits_of(model), merged)
    lora.remove(merge=False)
    assert same(bits_of(model), before)


@pytest.mark.parametrize("family", ["llama", "mixtral"])
def test_gradients_are_pefts(family: str, tmp_path: Path) -> None:
    base = write_base(tmp_path / "base", family, **UNTIED)
    keys: dict[str, Any] = {"target_modules": ["q_proj", "v_proj", "o_proj", "embed_tokens", "lm_head"]}
    keys |= {"rank_pattern": {"v_proj": 2}, "use_rslora": True, "alpha_pattern": {"o_proj": 1}}
    if family == "mixtral":
        keys["target_parameters"] = ["experts.gate_up_proj", "experts.down_proj"]
    folder = write_adapter(tmp_path / "adapter", base, **keys)
    other = peft.PeftModel.from_pretrained(theirs(base), folder, is_trainable=True)
    scores = torch.log_softmax(other(IDS[None]).logits[0, :-1], -1)
    scores.gather(1, IDS[1:, None]).mean().backward()
    wanted = {
        name.replace(".default", ""): p.grad for name, p in other.named_parameters() if p.grad is not None
    }

    model = load_model(base, "fp64")
    lora = LoRA.from_folder(model, folder)
    assert {p.dtype for p in lora.parameters()} == {torch.float64}
    torch.cat(token_logprobs(model, [IDS.tolist()])).mean().backward()
    found: dict[str, torch.Tensor] = {}
    for part in lora._as_peft().pairs:
        adapter = lora.adapters[part.place.ours]
        assert adapter.A_KR.grad is not None and adapter.B_RN.grad is not None
        found |= zip(part.names, part.get(adapter.A_KR.grad, adapter.B_RN.grad), strict=True)
        assert isinstance(adapter.scale, torch.Tensor)
        assert not adapter.B_RN.grad[adapter.scale == 0].any()
    assert found.keys() == wanted.keys()
    for name, gradient in found.items():
        assert float((gradient - wanted[name]).abs().max()) <= 1e-9 < float(gradient.abs().max()), name


def test_what_is_trained_on_is_pefts(tmp_path: Path) -> None:
    base = write_base(tmp_path / "base", "qwen2")
    folder = write_adapter(tmp_path / "adapter", base, **QV, bias="all", rank_pattern={"v_proj": 2})
    model = load_model(base, "fp64")
    lora = LoRA.from_folder(model, folder)
    optimizer = torch.optim.AdamW(lora.parameters(), lr=1e-2)
    lora.attach(optimizer)
    first = logits(model)
    for _ in range(2):
        torch.cat(token_logprobs(model, [IDS.tolist()])).mean().neg().backward()
        optimizer.step()
        optimizer.zero_grad()
    lora.save(tmp_path / "saved")
    exact = logits(peft.PeftModel.from_pretrained(theirs(base), tmp_path / "saved"))
    found = logits(model)
    assert float((found - exact).abs().max()) <= 1e-9 < 1e-3 < float((found - first).abs().max())
    lora.remove(merge=True)
    assert torch.equal(logits(model), found)
    again = load_model(base, "fp64")
    LoRA.from_folder(again, folder).load(tmp_path / "saved")
    assert torch.equal(logits(again), found)


def test_an_adapter_of_the_plain_base_made_from_pissa(tmp_path: Path) -> None:
    """What PEFT writes of it with path_initial_model_for_weight_conversion."""
    base = write_base(tmp_path / "base", "llama")
    config = peft.LoraConfig(task_type="CAUSAL_LM", r=3, lora_alpha=5, init_lora_weights="pissa", **QV)
    model = peft.get_peft_model(theirs(base, torch.float32), config)
    model.peft_config["default"].init_lora_weights = True
    model.save_pretrained(tmp_path / "initial")
    model.peft_config["default"].init_lora_weights = "pissa"
    fill(model)
    folder, initial = tmp_path / "adapter", str(tmp_path / "initial")
    model.save_pretrained(folder, path_initial_model_for_weight_conversion=initial)
    ours = load_model(base, "fp64")
    LoRA.from_folder(ours, folder)
    exact = logits(peft.PeftModel.from_pretrained(theirs(base), folder))
    assert float((logits(ours) - exact).abs().max()) <= 1e-9


def tiny_llava() -> Any:
    """A model for images and text, whose text model is a llama."""
    vision = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
    vision |= {"image_size": 8, "patch_size": 4, "projection_dim": 8}
    return transformers.LlavaConfig(
        text_config=transformers.LlamaConfig(**{**FAMILIES["llama"]["config"], **UNTIED}),
        vision_config=transformers.CLIPVisionConfig(**vision),
        vision_feature_layer=-1,
        **UNTIED,
    )


@pytest.mark.parametrize("older", [False, True])
def test_the_text_model_of_another(older: bool, tmp_path: Path) -> None:
    """Its modules have other names there, which changed with transformers 5."""
    torch.manual_seed(0)
    model = transformers.LlavaForConditionalGeneration(tiny_llava()).double()
    model.save_pretrained(tmp_path / "base")
    config = peft.LoraConfig(
        r=3,
        target_modules=r".*language_model.*\.(q_proj|down_proj)|lm_head",
        modules_to_save=["language_model.norm"],
    )
    both = peft.get_peft_model(model, config)
    fill(both)
    folder = tmp_path / "adapter"
    both.save_pretrained(folder)
    if older:
        tensors = {
            n.replace("model.model.language_model.", "model.language_model.model.").replace(
                "model.lm_head", "model.language_model.lm_head"
            ): x
            for n, x in load_file(folder / ADAPTER_NAME).items()
        }
        save_file(tensors, folder / ADAPTER_NAME)
        settings = json.loads((folder / CONFIG_NAME).read_text())
        settings["target_modules"] = ["q_proj", "down_proj", "language_model.lm_head"]
        settings["modules_to_save"] = ["model.norm"]
        (folder / CONFIG_NAME).write_text(json.dumps(settings))
    ours = load_model(tmp_path / "base", "fp64")
    LoRA.from_folder(ours, folder)
    assert float((logits(ours) - logits(both)).abs().max()) <= 1e-9


@pytest.mark.parametrize("family", ["mixtral", "qwen3_moe"])
def test_a_module_for_each_expert(family: str, tmp_path: Path) -> None:
    """As transformers 4 has them, and `save` writes them: PEFT and we read the same of it."""
    base = write_base(tmp_path / "base", family)
    model = load_model(base, "fp64")
    lora = LoRA(model, 3, 5.0, ("qkv", "experts_gate_up", "experts_down"), seed=1)
    with torch.no_grad():
        for adapter in lora.adapters.values():
            adapter.B_RN.copy_(
                0.2 * torch.randn(adapter.B_RN.shape, generator=torch.Generator().manual_seed(2))
            )
    lora.merge()
    lora.save(tmp_path / "adapter")
    settings = json.loads((tmp_path / "adapter" / CONFIG_NAME).read_text())
    wanted = logits(model)
    lora.remove(merge=False)
    LoRA.from_folder(model, tmp_path / "adapter")
    assert float((logits(model) - wanted).abs().max()) <= 1e-9
    ends = ("w1", "w2", "w3") if family == "mixtral" else ("gate_proj", "up_proj", "down_proj")
    settings["target_modules"] = ["q_proj", "k_proj", "v_proj", *ends]
    (tmp_path / "adapter" / CONFIG_NAME).write_text(json.dumps(settings))
    exact = logits(peft.PeftModel.from_pretrained(theirs(base), tmp_path / "adapter"))
    assert float((wanted - exact).abs().max()) <= 1e-9


# ---------------------------------------------------------------- refused


def test_every_key_of_a_config_is_judged() -> None:
    """Each stands in one table; the accepted values of ONLY have what a plain config has."""
    names = {field.name for field in dataclasses.fields(peft.LoraConfig)}
    assert sorted([*COMPUTED, *HARMLESS, *ONLY]) == sorted(names)
    plain = peft.LoraConfig(task_type="CAUSAL_LM").to_dict()
    for key, only in ONLY.items():
        assert (plain[key] or None) in only.values, key


def bdlora() -> Any:
    config = peft.tuners.lora.config.BdLoraConfig
    return config(target_modules_bd_a=["o_proj"], target_modules_bd_b=["q_proj"], nblocks=2)


REFUSED: dict[str, Callable[[], dict[str, Any]]] = {
    "use_dora is True": lambda: {"use_dora": True},
    "init_lora_weights is 'pissa'.*path_initial": lambda: {"init_lora_weights": "pissa"},
    "init_lora_weights is 'pissa_niter_4'": lambda: {"init_lora_weights": "pissa_niter_4"},
    "init_lora_weights is 'olora'": lambda: {"init_lora_weights": "olora"},
    r"alora_invocation_tokens is \[3, 4\]": lambda: {"alora_invocation_tokens": [3, 4]},
    r"layer_replication is \[\[0, 2\], \[1, 2\]\]": lambda: {"layer_replication": [[0, 2], [1, 2]]},
    "use_bdlora is": lambda: {"use_bdlora": bdlora(), "target_modules": ["q_proj", "o_proj"], "r": 4},
    "kasa_config is": lambda: {"kasa_config": peft.tuners.lora.config.KasaConfig()},
    "velora_config is": lambda: {"velora_config": peft.tuners.lora.config.VeloraConfig(num_groups=4)},
    "monteclora_config is": lambda: {"monteclora_config": peft.tuners.lora.config.MontecloraConfig()},
    "lora_bias is True": lambda: {"lora_bias": True},
}


@pytest.mark.parametrize("match", REFUSED)
def test_other_adapters_are_refused_by_name(match: str, tmp_path: Path) -> None:
    base = write_base(tmp_path / "base", "llama")
    folder = write_adapter(tmp_path / "adapter", base, torch.float32, **{**Q, **REFUSED[match]()})
    model = load_model(base, "fp32")
    before = bits_of(model)
    for load in (lambda: LoRA.from_folder(model, folder), lambda: LoRA(model, 3, 5.0, ("qkv",)).load(folder)):
        with pytest.raises(MinillmError, match=rf"adapter_config\.json: {match}"):
            load()
    assert same(bits_of(model), before)


@pytest.mark.parametrize(
    ("keys", "match"),
    [
        ({"init_lora_weights": "corda"}, "init_lora_weights is 'corda'"),
        ({"init_lora_weights": "lora_ga"}, "init_lora_weights is 'lora_ga'"),
        ({"init_lora_weights": "loftq"}, "init_lora_weights is 'loftq'"),
        ({"megatron_config": {"a": 1}}, "megatron_config is"),
        ({"arrow_config": {"top_k": 3}}, "arrow_config is"),
        ({"use_qalora": True}, "use_qalora is True"),
        ({"task_type": "SEQ_CLS"}, "task_type is 'SEQ_CLS'"),
        ({"peft_type": "IA3"}, "peft_type is 'IA3'"),
        ({"peft_type": None}, "peft_type is None"),
        ({"of_tomorrow": 0.5}, "of_tomorrow is 0.5, an unknown key"),
        ({"r": 0}, "r is 0, not a whole number above 0"),
        ({"lora_alpha": "5"}, "lora_alpha is '5', not a number"),
        ({"rank_pattern": {"q_proj": 0}}, "rank_pattern is .*not whole numbers"),
        ({"bias": "some"}, "bias is 'some', not none, all or lora_only"),
        ({"target_modules": [3]}, r"target_modules is \[3\], not a pattern"),
        ({"target_modules": "(q_proj"}, "target_modules holds a pattern"),
        ({"target_modules": ["k_proj"]}, r"lacks tensors of the adapter.*k_proj|not name: .*q_proj"),
        ({"target_modules": ["q_proj", "o_proj"]}, r"lacks tensors of the adapter.*o_proj\.lora_A"),
        ({"layers_to_transform": [0]}, r"its config does not name: model\.layers\.1\.self_attn\.q_proj"),
        ({"rank_pattern": {"q_proj": 2}}, r"do not fit.*q_proj\.lora_A.*\[3, 48\]; expected \[2, 48\]"),
        ({"modules_to_save": ["norm"]}, r"lacks tensors of norm, one of modules_to_save: model.*norm"),
        ({"modules_to_save": ["score"]}, "modules_to_save has score, which is no module of this model"),
        ({"trainable_token_indices": [3]}, "lacks rows that trainable_token_indices names: the embedding"),
        ({"target_parameters": ["norm.weight"]}, r"target_parameters has model\.norm\.weight"),
    ],
)
def test_a_config_that_the_tensors_are_not_of(keys: dict[str, Any], match: str, tmp_path: Path) -> None:
    base = write_base(tmp_path / "base", "llama")
    folder = write_adapter(tmp_path / "adapter", base, **Q)
    path = folder / CONFIG_NAME
    path.write_text(json.dumps({**json.loads(path.read_text()), **keys}))
    model = load_model(base, "fp32")
    before = bits_of(model)
    with pytest.raises(MinillmError, match=match):
        LoRA.from_folder(model, folder)
    assert same(bits_of(model), before)
    LoRA(model)


A = f"{PREFIX}model.layers.0.self_attn.q_proj.lora_A.weight"
FAULTS: dict[str, tuple[Callable[[dict[str, torch.Tensor]], Any], str]] = {
    "missing": (lambda t: t.pop(A), r"lacks tensors of the adapter.*q_proj\.lora_A"),
    "module": (lambda t: t.update({A.replace("q_proj", "t"): torch.zeros(3, 48)}), r"not name: .*attn\.t$"),
    "left over": (
        lambda t: t.update({f"{A}.b": torch.zeros(3)}),
        r"has tensors that .* has not: .*weight\.b",
    ),
    "unknown": (lambda t: t.update(b=torch.zeros(3)), "has tensors that this model has not: b"),
    "value": (lambda t: t.update({f"{PREFIX}model.norm.weight": torch.zeros(3)}), r"do not fit.*\[48\]"),
    "bytes": (lambda t: t.update({A: t[A].to(torch.int8)}), r"do not fit .*q_proj\.lora_A.weight \(I8"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_tensors_that_are_not_the_adapters(fault: str, tmp_path: Path) -> None:
    base = write_base(tmp_path / "base", "llama")
    folder = write_adapter(tmp_path / "adapter", base, **Q)
    change, match = FAULTS[fault]
    tensors = load_file(folder / ADAPTER_NAME)
    change(tensors)
    save_file(tensors, folder / ADAPTER_NAME)
    with pytest.raises(MinillmError, match=match):
        LoRA.from_folder(load_model(base, "fp32"), folder)


@pytest.mark.parametrize(
    ("keys", "match"),
    [
        ({"target_modules": ["embed_tokens"]}, r"model\.embed_tokens is the embedding and the head at once"),
        ({"target_modules": ["lm_head"]}, "lm_head is the embedding and the head at once"),
        ({**Q, "modules_to_save": ["lm_head"]}, r"lm_head\.weight is the embedding and the head at once"),
        ({**Q, "trainable_token_indices": {"lm_head": [2]}}, "the embedding and the head at once"),
    ],
)
def test_one_side_of_tied_embeddings(keys: dict[str, Any], match: str, tmp_path: Path) -> None:
    base = write_base(tmp_path / "base", "llama", **TIED)
    folder = write_adapter(tmp_path / "adapter", base, **keys)
    with pytest.raises(MinillmError, match=match):
        LoRA.from_folder(load_model(base, "fp64"), folder)


def test_tensors_in_a_pickle(tmp_path: Path) -> None:
    """As PEFT wrote them before it had safetensors; a pickle of anything else is refused."""
    base = write_base(tmp_path / "base", "llama")
    folder = write_adapter(tmp_path / "adapter", base, **Q)
    exact = logits(peft.PeftModel.from_pretrained(theirs(base), folder))
    pickled = folder / "adapter_model.bin"
    torch.save(load_file(folder / ADAPTER_NAME), pickled)
    (folder / ADAPTER_NAME).unlink()
    model = load_model(base, "fp64")
    lora = LoRA.from_folder(model, folder)
    assert float((logits(model) - exact).abs().max()) <= 1e-9
    lora.load(folder)
    lora.remove(merge=False)
    torch.save({"a": Path("b")}, pickled)
    with pytest.raises(MinillmError, match=r"adapter_model\.bin"):
        LoRA.from_folder(model, folder)


def test_an_adapter_of_another_embedding(tmp_path: Path) -> None:
    """PEFT writes the embedding beside its adapter, and a file may hold another than the model's."""
    base = write_base(tmp_path / "base", "llama", **UNTIED)
    folder = write_adapter(tmp_path / "adapter", base, target_modules=["embed_tokens"])
    tensors = load_file(folder / ADAPTER_NAME)
    tensors[f"{PREFIX}model.embed_tokens.base_layer.weight"][3] += 1
    save_file(tensors, folder / ADAPTER_NAME)
    with pytest.raises(MinillmError, match=r"embed_tokens\.base_layer\.weight is not the model's own"):
        LoRA.from_folder(load_model(base, "fp64"), folder)


def test_load_into_another_lora(tmp_path: Path) -> None:
    base = write_base(tmp_path / "base", "llama")
    one = write_adapter(tmp_path / "one", base, **QV)
    two = write_adapter(tmp_path / "two", base, **QV, use_rslora=True)
    saved = write_adapter(tmp_path / "saved", base, **QV, modules_to_save=["norm"])
    model = load_model(base, "fp64")
    lora = LoRA.from_folder(model, one)
    with pytest.raises(MinillmError, match=r"use_rslora is True, and this LoRA has False; .*from_folder"):
        lora.load(two)
    with pytest.raises(MinillmError, match=r"modules_to_save is \['norm'\], and this LoRA has None"):
        lora.load(saved)
    lora.remove(merge=False)
    with pytest.raises(MinillmError, match=r"leaves out model\.layers\.0\.self_attn\.k_proj of this LoRA"):
        LoRA(model, 3, 5.0, ("qkv",)).load(one)
