"""The rule for keys of config.json: mapped, read and not computed, hard-coded, read by nothing."""

from __future__ import annotations

import json
import runpy
import warnings
from pathlib import Path
from typing import Any

import pytest

from minillm import ModelConfig
from minillm.checkpoint.config_file import BEHAVIOURS, HARMLESS
from minillm.checkpoint.families import FAMILIES
from minillm.checkpoint.read_config import read_config
from minillm.errors import MinillmError

GOLDEN = Path(__file__).parents[1] / "golden"
CASES: dict[str, Any] = json.loads((GOLDEN / "families.json").read_text())


def case(name: str, **changes: Any) -> dict[str, Any]:
    return {**CASES[name]["config"], **changes}


def read(folder: Path, settings: dict[str, Any]) -> tuple[ModelConfig, list[str]]:
    """The config, and its warnings."""
    (folder / "config.json").write_text(json.dumps(settings))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        config = read_config(folder)
    return config, [str(warning.message) for warning in caught]


def test_the_table_is_current() -> None:
    pytest.importorskip("transformers")
    script = runpy.run_path(str(GOLDEN / "write_reference_keys.py"))
    made = {name: script["reference_keys"](row.reference or name) for name, row in FAMILIES.items()}
    assert script["TARGET"].read_text() == script["text_of"](made)


@pytest.mark.parametrize("name", CASES)
def test_what_transformers_saves_is_read_without_a_word(name: str, tmp_path: Path) -> None:
    """But for `use_sliding_window` and the like, that a config class has and nothing reads."""
    _, said = read(tmp_path, CASES[name]["config"])
    unread = said[0].partition(" reads ")[2].removesuffix("; ignored").split(", ") if said else []
    assert set(unread) <= DECLARED, unread


# Fields of config classes that no code of a language model reads.
DECLARED = frozenset(
    (
        "attention_bias",
        "attn_logit_softcapping",
        "bias",
        "final_logit_softcapping",
        "hidden_act",
        "intermediate_size",
        "layer_types",
        "learned_pos_emb",
        "max_window_layers",
        "no_bias",
        "num_key_value_heads",
        "sliding_window",
        "use_sliding_window",
    )
)


@pytest.mark.parametrize(
    ("name", "key", "value"),
    (
        ("llama", "is_causal", False),
        ("qwen2", "is_causal", False),
        ("gpt2", "add_cross_attention", True),
        ("gpt2", "scale_attn_by_inverse_layer_idx", True),
        ("gpt_oss", "swiglu_alpha", 2.0),
        ("gemma2", "use_bidirectional_attention", True),
        ("opt", "do_layer_norm_before", False),
        ("bloom", "apply_residual_connection_post_layernorm", True),
        ("iquestcoder", "clip_qkv", 8.0),
        ("olmoe", "sliding_window", 9),
    ),
)
def test_read_there_and_not_computed_here(name: str, key: str, value: Any, tmp_path: Path) -> None:
    with pytest.raises(MinillmError, match=f"has {key} = {value}, which its reference implementation reads"):
        read(tmp_path, case(name, **{key: value}))


@pytest.mark.parametrize(
    ("name", "key", "right", "wrong"),
    (
        ("starcoder2", "mlp_type", "default", "gated"),
        ("starcoder2", "norm_type", "layer_norm", "rms_norm"),
        ("llama", "position_embedding_type", "rope", "alibi"),
        ("gpt2", "position_embedding_type", "absolute", "rope"),
        ("mpt", "norm_type", "low_precision_layernorm", "rmsnorm"),
        ("cohere2", "position_embedding_type", "rope_gptj", "rope_neox"),
        ("cohere2", "use_parallel_block", True, False),
        ("cohere2", "rotary_pct", 1.0, 0.5),
        ("deepseek_v3", "scoring_func", "sigmoid", "softmax"),
        ("deepseek_v3", "topk_method", "noaux_tc", "greedy"),
        ("deepseek_v3", "moe_layer_freq", 1, 2),
        ("deepseek_v2", "scoring_func", "softmax", "sigmoid"),
        ("llama", "logit_scale", 1.0, 0.5),
        ("llama", "partial_rotary_factor", 1.0, 0.5),
        ("llama", "rope_interleaved", False, True),
        ("apertus", "post_norm", False, True),
    ),
)
def test_a_behaviour_that_is_hard_coded(name: str, key: str, right: Any, wrong: Any, tmp_path: Path) -> None:
    plain, _ = read(tmp_path, case(name))
    config, said = read(tmp_path, case(name, **{key: right}))
    assert config == plain and not any(key in line for line in said)
    with pytest.raises(MinillmError, match=f"has {key} = {wrong!r}, but a {plain.model_type} model is"):
        read(tmp_path, case(name, **{key: wrong}))


@pytest.mark.parametrize("name", ("llama", "gpt_neox", "deepseek_v3", "bloom"))
def test_read_by_nothing(name: str, tmp_path: Path) -> None:
    plain, before = read(tmp_path, case(name))
    config, said = read(tmp_path, case(name, zebra=[1], aardvark="x", nothing=None, _private=3))
    assert config == plain and len(said) == 1 and len(before) <= 1
    assert "aardvark, " in said[0] and "zebra" in said[0] and str(tmp_path) in said[0]
    assert "nothing, " not in said[0] and "_private" not in said[0]


def test_a_behaviour_of_what_a_model_has_not(tmp_path: Path) -> None:
    """A key of experts says nothing of a model without any."""
    plain, _ = read(tmp_path, case("qwen3"))
    config, said = read(tmp_path, case("qwen3", norm_topk_prob=False, scoring_func="softmax"))
    assert config == plain and "norm_topk_prob, scoring_func" in said[0]


def test_mapped(tmp_path: Path) -> None:
    config, said = read(tmp_path, case("llama", rms_norm_eps=0.5, num_hidden_layers=3))
    assert config.norm_eps == 0.5 and config.num_layers == 3 and not said


@pytest.mark.parametrize(
    ("name", "usual"),
    (("phi", 1e-5), ("stablelm", 1e-5), ("starcoder2", 1e-5), ("gpt_neox", 1e-5), ("glm4", 1.5625e-07)),
)
def test_spellings_and_defaults_belong_to_a_family(name: str, usual: float, tmp_path: Path) -> None:
    eps = ("rms_norm_eps", "layer_norm_eps", "norm_epsilon", "layer_norm_epsilon")
    settings = {key: value for key, value in case(name).items() if key not in eps}
    assert read(tmp_path, settings)[0].norm_eps == usual
    foreign = "layer_norm_eps" if name == "glm4" else "rms_norm_eps"
    config, said = read(tmp_path, {**settings, foreign: 0.1})
    assert config.norm_eps == usual and foreign in said[0]


def test_no_key_is_judged_twice() -> None:
    assert not HARMLESS & BEHAVIOURS.keys()


def test_activations_as_the_family_means_them(tmp_path: Path) -> None:
    assert read(tmp_path, case("gemma", hidden_act="gelu"))[0].activation == "gelu_tanh"
    assert read(tmp_path, case("gpt_neox", hidden_act="gelu"))[0].activation == "gelu"
    for name in ("gemma2", "gemma3_text"):
        settings = {key: value for key, value in case(name).items() if key != "hidden_activation"}
        assert read(tmp_path, {**settings, "hidden_act": "gelu"})[0].activation == "gelu_tanh"
    with pytest.raises(MinillmError, match="activation 'mish'"):
        read(tmp_path, case("llama", hidden_act="mish"))


def test_layers_that_a_family_has_not(tmp_path: Path) -> None:
    """`layer_types` of a llama, whose code has no windows; the pattern that transformers forgets."""
    types = ["sliding_attention", "full_attention"] * 2
    config, said = read(tmp_path, case("llama", layer_types=types, sliding_window=9))
    assert config.windows == (0,) * 4 and "layer_types, sliding_window" in said[0]
    settings = {key: value for key, value in case("gemma3_text").items() if key != "layer_types"}
    windows = (9,) * 5 + (0, 9)
    assert read(tmp_path, {**settings, "_sliding_window_pattern": 3})[0].windows == windows
    assert read(tmp_path, {**settings, "sliding_window_pattern": 3})[0].windows == (9, 9, 0, 9, 9, 0, 9)


def test_rope_scaling_beside_rope_parameters(tmp_path: Path) -> None:
    """The older key wins, as in transformers; in OLMo-3 and Gemma 3 it is for the layers without a window."""
    linear = {"rope_type": "linear", "factor": 2.0}
    config, _ = read(tmp_path, case("llama", rope_scaling=linear))
    assert config.ropes[0].type == "linear" and config.ropes[0].theta == 10000.0
    config, _ = read(tmp_path, case("olmo3", rope_scaling=linear))
    assert [config.ropes[i].type for i in config.layer_rope] == ["default"] * 3 + ["linear"]
    unknown = {**linear, "finetuned": True}
    assert "finetuned (of rope)" in read(tmp_path, case("llama", rope_scaling=unknown))[1][0]
    with pytest.raises(MinillmError, match="unknown key 'beta_fast' for rope of type 'linear'"):
        read(tmp_path, case("llama", rope_scaling={**linear, "beta_fast": 32}))


def test_one_number_for_all_layers(tmp_path: Path) -> None:
    config, _ = read(tmp_path, case("hunyuan_v1_moe", moe_topk=[2] * 4))
    assert config.experts is not None and config.experts.chosen == 2
    with pytest.raises(MinillmError, match="only one number for all layers"):
        read(tmp_path, case("hunyuan_v1_moe", moe_topk=[2, 2, 1, 2]))


def changed(folder: Path, name: str, *dropped: str, **changes: Any) -> ModelConfig:
    settings = {key: value for key, value in case(name).items() if key not in dropped}
    return read(folder, {**settings, **changes})[0]


def test_the_type_of_each_layer_as_the_family_means_it(tmp_path: Path) -> None:
    """transformers takes a mistral with `layer_types` for a ministral; the values are its models'."""
    types = ["full_attention", "sliding_attention"] * 2
    config = changed(tmp_path, "mistral", layer_types=types, sliding_window=9)
    assert config.model_type == "ministral" and config.windows == (0, 9, 0, 9)
    config = changed(tmp_path, "smollm3", "use_sliding_window", layer_types=types, sliding_window=9)
    assert config.windows == (0, 9, 0, 9)
    config = changed(tmp_path, "smollm3", "layer_types", use_sliding_window=False, sliding_window=9)
    assert not any(config.windows)
    for dropped in ((), ("attention_types",)):
        listed = ["local", "global", "local", "local"]
        windows = changed(tmp_path, "gpt_neo", *dropped, attention_layers=listed).windows
        assert [bool(window) for window in windows] == [True, False, True, True]


def test_scaling_that_a_family_has_of_itself(tmp_path: Path) -> None:
    """Left out or null: gpt_oss scales whatever base stands beside it, the others bring their own base."""
    for name, theta in (("gpt_oss", 700.0), ("apertus", 12e6), ("cwm", 1e6), ("ministral3", 1e6)):
        left_out = changed(tmp_path, name, "rope_parameters", rope_theta=700.0)
        assert left_out.ropes[0].theta == theta and left_out.ropes[0].type in ("yarn", "llama3"), name
        assert changed(tmp_path, name, rope_parameters=None, rope_theta=700.0) == left_out


def test_the_field_of_a_class_may_be_the_alias(tmp_path: Path) -> None:
    for name in ("qwen3_moe", "mellum"):
        config = changed(tmp_path, name, num_experts=4, num_local_experts=6)
        assert config.experts is not None and config.experts.count == 6
    experts = changed(tmp_path, "qwen3_moe", "num_experts", "num_local_experts").experts
    assert experts is not None and experts.count == 128


def test_what_is_off_has_no_value(tmp_path: Path) -> None:
    off = changed(tmp_path, "llama4_text", attn_temperature_tuning=False, floor_scale=16, attn_scale=3.0)
    assert off.query_growth is None
    full = changed(tmp_path, "llama4_text", layer_types=["full_attention"] * 4, attention_chunk_size=16)
    assert not any(full.windows)
    both = changed(tmp_path, "minimax_m2", "rope_parameters", partial_rotary_factor=0.5, rotary_dim=6)
    assert both.ropes[0].dim == both.head_dim // 2


def test_read_but_never_passed_on(tmp_path: Path) -> None:
    """Gemma 3 has no cap of scores, though its config class has the key."""
    with pytest.raises(MinillmError, match=r"attn_logit_softcapping = 5\.0"):
        read(tmp_path, case("gemma3_text", attn_logit_softcapping=5.0))
    experts = changed(tmp_path, "hy_v3", mlp_bias=True).experts
    assert experts is not None and not experts.biases
