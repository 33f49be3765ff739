"""A config.json and the rule for its keys.

`reference_keys.json` says, for each model type, which keys transformers reads and what it takes where one is
left out (tests/golden/write_reference_keys.py writes it). By it:

1. a key that our reader asks for is mapped;
2. a key that transformers reads and our reader does not is accepted at transformers' own default, with which
   every family is tested, and refused otherwise;
3. a key that nothing reads, but that names a behaviour which transformers hard-codes (`BEHAVIOURS`), is
   accepted at the hard-coded value alone;
4. a key that nothing reads is accepted, with one warning that names all of them.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from minillm.checkpoint.stored import EXTRA_LAYERS
from minillm.errors import MinillmError
from minillm.model.config import ModelConfig

# Read, or usual in files, and without effect on logits.
_HARMLESS = """
    _name_or_path _sliding_window_pattern activation_dropout architectures attention_dropout
    attention_probs_dropout_prob attn_pdrop auto_map aux_loss_alpha bad_words_ids begin_suppress_tokens
    bos_token_id cache_implementation chunk_size_feed_forward classifier_dropout
    cross_attention_hidden_size decoder_start_token_id default_theta diversity_penalty do_sample dropout
    dtype early_stopping emb_pdrop embd_pdrop embed_dropout embedding_dropout embedding_fraction
    embedding_initializer_range encoder_no_repeat_ngram_size eod_token_id eos_token_id expert_dropout
    exponential_decay_length_penalty ffn_dropout finetuning_task forced_bos_token_id forced_eos_token_id
    gradient_checkpointing hidden_dropout hidden_dropout_prob id2label init_config init_device init_std
    initializer_range input_jitter_noise is_decoder is_llama_config label2id layerdrop length_penalty
    max_length min_length model_type mtp_layer_types mtp_mlp_layer_types name_or_path
    no_repeat_ngram_size num_beam_groups num_beams num_labels num_logits_to_keep num_mtp_layers
    num_nextn_predict_layers num_return_sequences output_attentions output_hidden_states
    output_router_logits output_scores pad_token_id prefix pretraining_tp problem_type pruned_heads
    qk_head_dim quantization_config remove_invalid_values reorder_and_upcast_attn repetition_penalty
    resid_dropout resid_pdrop residual_dropout return_dict return_dict_in_generate router_aux_loss_coef
    router_jitter_noise router_z_loss_coef sep_token_id seq_aux summary_activation summary_first_dropout
    summary_proj_to_labels summary_type summary_use_proj suppress_tokens task_specific_params
    temperature tf_legacy_loss tokenizer_class top_k top_p torch_dtype torchscript transformers_version
    trust_remote_code typical_p unsloth_fixed unsloth_version use_bfloat16 use_cache
"""
HARMLESS = frozenset(_HARMLESS.split()) | set(EXTRA_LAYERS)


def _share(config: ModelConfig) -> float:
    """Compute how much of a head, or of its part for it, the first rotary embedding rotates."""
    whole = config.latent.rope_dim if config.latent else config.head_dim
    return config.ropes[0].dim / whole if config.ropes else 0.0


def _one_of(first: bool, yes: str, no: str) -> tuple[str, ...]:
    return tuple((yes if first else no).split())


def _norms(config: ModelConfig) -> tuple[str, ...]:
    layer, rms = "layer_norm layernorm low_precision_layernorm default", "rms_norm rmsnorm rms hf_rms"
    return _one_of(config.norm == "layer", layer, rms)


def _positions(config: ModelConfig) -> tuple[str, ...]:
    if not config.ropes:
        return _one_of(config.positions, "absolute learned", "alibi")
    return ("rope", "rotary", "rope_gptj") if config.rope_interleaved else ("rope", "rotary", "rope_neox")


def _routing(config: ModelConfig, sigmoid: str, softmax: str) -> tuple[str, ...]:
    """Choose by the kind of router; nothing where there is none, and so nothing to name."""
    return () if config.experts is None else _one_of(config.experts.router == "sigmoid", sigmoid, softmax)


# Keys that name what is hard-coded where nothing reads them, and that no tensor would betray -> the values
# that say what is computed; none where a model has nothing of that kind.
BEHAVIOURS: dict[str, Callable[[ModelConfig], tuple[Any, ...]]] = {
    "is_causal": lambda c: (True,),
    "is_encoder_decoder": lambda c: (False,),
    "expansion_ratio": lambda c: (c.intermediate_size / c.hidden_size,),
    "mlp_type": lambda c: _one_of(c.gated, "gated glu swiglu geglu", "default mlp"),
    "norm_type": _norms,
    "layer_norm_type": _norms,
    "normalization_function": _norms,
    "qk_norm_type": lambda c: _one_of(c.qk_norm == "full", "per_layer", "per_head"),
    "position_embedding_type": _positions,
    "scoring_func": lambda c: _routing(c, "sigmoid noaux_tc", "softmax"),
    "topk_method": lambda c: _routing(c, "noaux_tc", "greedy"),
    "norm_topk_prob": lambda c: () if c.experts is None else (c.experts.normalize,),
    "moe_layer_freq": lambda c: () if c.experts is None else (1,),
    "rotary": lambda c: (bool(c.ropes),),
    "use_rotary_pos_emb": lambda c: (bool(c.ropes),),
    "alibi": lambda c: (c.alibi is not None,),
    "rotary_pct": lambda c: (_share(c),),
    "rotary_emb_fraction": lambda c: (_share(c),),
    "partial_rotary_factor": lambda c: (_share(c),),
    "rope_interleaved": lambda c: (c.rope_interleaved,),
    "rope_interleave": lambda c: (c.rope_interleaved,),
    "rotary_emb_interleaved": lambda c: (c.rope_interleaved,),
    "use_mrope": lambda c: (False,),
    "use_mla": lambda c: (c.latent is not None,),
    "use_cla": lambda c: (False,),
    "position_embedding_xdrope": lambda c: (False,),
    "use_bidirectional_attention": lambda c: (False,),
    "parallel_attn": lambda c: (c.parallel,),
    "use_parallel_block": lambda c: (c.parallel,),
    "use_parallel_residual": lambda c: (c.parallel,),
    "use_gated_activation": lambda c: (c.gated,),
    "use_embedding_sharing": lambda c: (c.tie_word_embeddings,),
    "post_norm": lambda c: (c.post_norm,),
    "apply_residual_connection_post_layernorm": lambda c: (False,),
    "scale_attn_weights": lambda c: (True,),
    "scale_attn_by_inverse_layer_idx": lambda c: (False,),
    "attn_logit_softcapping": lambda c: (c.softcap,),
    "final_logit_softcapping": lambda c: (c.final_softcap,),
    "clip_qkv": lambda c: (c.clip_qkv,),
    "attention_multiplier": lambda c: (c.scale,),
    "query_pre_attn_scalar": lambda c: (c.scale**-2,),
    "embedding_multiplier": lambda c: (c.embedding_multiplier,),
    "scale_emb": lambda c: (c.embedding_multiplier,),
    "residual_multiplier": lambda c: (c.residual_multiplier,),
    "logit_scale": lambda c: (c.logit_multiplier,),
    "logits_scaling": lambda c: (1 / c.logit_multiplier,),
    "routed_scaling_factor": lambda c: () if c.experts is None else (c.experts.scale,),
    "router_scaling_factor": lambda c: () if c.experts is None else (c.experts.scale,),
}


class ConfigFile:
    """A config.json that knows which of its keys were asked for.

    Args:
        path: named in errors.
        raw: its content, or that of the text model nested in it.
        reference: the model type whose table of keys holds.

    Attributes:
        unread: what is in the file and nothing reads, for the warning of `check`.
    """

    def __init__(self, path: Path, raw: dict[str, Any], reference: str) -> None:
        self.path, self.raw = path, raw
        rules = _reference()[reference]
        self.defaults: dict[str, Any] = rules["keys"]
        self._aliases: dict[str, str] = rules["aliases"]
        self._asked: set[str] = set()
        self.unread: set[str] = set()

    def reads(self, name: str) -> bool:
        """Tell whether the family reads this key."""
        return name in self.defaults

    def get(self, *names: str, default: Any = None) -> Any:
        """Return the value of the first of these keys that the family reads and that has one.

        The value is the file's, or where the file leaves the key out the family's default. A null in the file
        is an answer too: it keeps the family's default away.
        """
        for name in names:
            if name not in self.defaults:
                continue
            spellings = self._spellings(name)
            self._asked.update(spellings)
            value = next((self.raw[x] for x in spellings if x in self.raw), self.defaults[name])
            if value is not None:
                return value
        return default

    def _spellings(self, name: str) -> list[str]:
        """List other names of a key, and its own, which counts least."""
        return [alias for alias, key in self._aliases.items() if key == name] + [name]

    def need(self, *names: str, written: bool = False) -> Any:
        """Return what `get` does; raise `MinillmError` for no value, and if `written` for a default alone."""
        value = self.get(*names)
        if written and not any(alias in self.raw for name in names for alias in self._spellings(name)):
            value = None
        if value is None:
            raise self.error(f"lacks the key {next(filter(self.reads, names), names[0])!r}")
        return value

    def error(self, what: str) -> MinillmError:
        """Make an error that says this of the file, for the caller to raise."""
        return MinillmError(f"{self.path} {what}")

    def check(self, config: ModelConfig) -> None:
        """Judge every key that nobody asked for, by the rule above, now that all is mapped.

        Raises `MinillmError` for one that changes what the model computes; warns of those that nothing reads.
        """
        for name, value in self.raw.items():
            key = self._aliases.get(name, name)
            if name in self._asked or name in HARMLESS or "." in name:
                continue
            if key in self.defaults:
                usual = self.defaults[key]
                if value != usual and not (value is None and not usual):
                    raise self.error(
                        f"has {name} = {value!r}, which its reference implementation reads and this library "
                        f"does not compute; only {usual!r} is supported"
                    )
            elif right := BEHAVIOURS.get(name, lambda _: ())(config):
                if value is not None and not any(_same(value, other) for other in right):
                    raise self.error(
                        f"has {name} = {value!r}, but a {config.model_type} model is computed with "
                        f"{right[0]!r} alone; correct or remove it"
                    )
            elif value is not None and not name.startswith("_"):
                self.unread.add(name)
        if self.unread:
            names = ", ".join(sorted(self.unread))
            warnings.warn(
                f"{self.path}: nothing in a {config.model_type} model reads {names}; ignored", stacklevel=4
            )


def _same(value: Any, right: Any) -> bool:
    if isinstance(value, str) and isinstance(right, str):
        return value.lower() == right.lower()
    if isinstance(value, bool) or isinstance(right, bool) or right is None:
        return value is right
    return isinstance(value, int | float) and isinstance(right, int | float) and abs(value - right) < 1e-6


@cache
def _reference() -> dict[str, Any]:
    table: dict[str, Any] = json.loads((Path(__file__).parent / "reference_keys.json").read_text())
    return table
