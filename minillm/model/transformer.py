"""`Transformer`: one forward for training, prefill and decode, of every family.

Legend: T packed tokens, R selected rows, C model width, V vocabulary, H query heads, K kv heads, D head dim,
E experts, N chosen experts, M positions, X columns side by side.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import copy
from dataclasses import replace
from functools import partial
from itertools import chain

import torch
import torch.nn.functional as F
from torch import nn

from kernels.cpu.memory import zeros
from kernels.knobs import SIGMOID, TANH, Activation, Norm, Scores
from kernels.ops.activation import activate, xielu
from kernels.ops.matmul import grouped_matmul, matmul
from kernels.ops.norm import add_norm, norm_qk
from kernels.ops.rope import rope as rotate
from kernels.ops.rope_store_attention import rope_store_attention
from kernels.panels import CODES, columns, packed_shape, packed_shapes, unpack
from minillm.errors import MinillmError
from minillm.model import moe, rope
from minillm.model.batch import Batch
from minillm.model.config import Experts, Matrix, ModelConfig, Shape
from minillm.model.kv_cache import KVCache
from minillm.model.master_weights import renew, rounded
from minillm.model.precision import Precision, get_precision

# (layer, "residual" or "qkv", values_TX)
Observer = Callable[[int, str, torch.Tensor], None]
Pages = tuple[torch.Tensor, torch.Tensor]  # one layer's keys and values, as in `KVCache`


class Layer(nn.Module):
    """One block's weights, by the names of `ModelConfig.shapes`; matrices are kept in panels."""

    def __getitem__(self, name: str) -> torch.Tensor:
        parameter = self._parameters[name]
        assert parameter is not None
        return parameter

    def get(self, name: str) -> torch.Tensor | None:
        """Look up a parameter that not every model has."""
        return self._parameters.get(name)


# Small, and what they decide is not.
NEVER_ROUNDED = frozenset({"router", "shared_gate"})


def _new(name: str, shape: Shape, precision: Precision, device: torch.device) -> dict[str, nn.Parameter]:
    """Make a parameter, or the codes and scales that it is kept as."""
    dtype, bits = precision.weights, 8 if name == "head" and precision.bits else precision.bits
    tensors: dict[str, tuple[tuple[int, ...], torch.dtype]] = {name: (shape, dtype)}
    if isinstance(shape, Matrix) and bits and name not in NEVER_ROUNDED:
        codes, scales = packed_shapes(shape.K, shape.N, bits)
        tensors = {name: (codes, CODES[bits]), f"{name}_scales": (scales, torch.bfloat16)}
    elif isinstance(shape, Matrix):
        tensors = {name: (packed_shape(shape.K, shape.N), dtype)}
    experts = (shape.experts,) if isinstance(shape, Matrix) and shape.experts else ()
    # Zeros, since a panel's columns past the matrix must be.
    return {
        part: nn.Parameter(zeros((*experts, *size), dtype, device), requires_grad=not precision.bits)
        for part, (size, dtype) in tensors.items()
    }


class Transformer(nn.Module):
    """A decoder-only transformer over packed sequences; weights are shared by trainer and sampler."""

    head: nn.Parameter
    # Not every model has these.
    embed: nn.Parameter
    positions: nn.Parameter
    head_bias: nn.Parameter

    def __init__(self, config: ModelConfig, precision: Precision, device: torch.device | str = "cpu") -> None:
        super().__init__()
        self.config, device = config, torch.device(device)
        self.layers = nn.ModuleList(Layer() for _ in range(config.num_layers))
        for name, shape in config.shapes.items():
            owner, _, last = name.rpartition(".")
            for part, parameter in _new(last, shape, precision, device).items():
                self.get_submodule(owner).register_parameter(part, parameter)
        self.context = config.max_position_embeddings
        # Matrices of one name are of one width in all layers.
        self._widths = {n.rpartition(".")[2]: s.N for n, s in config.shapes.items() if isinstance(s, Matrix)}
        # Told of each layer's residual, and of its queries, keys and values before they are rotated.
        self.observer: Observer | None = None
        self._set(precision, device)

    def _set(self, precision: Precision, device: torch.device) -> None:
        """Take on a precision, and all that follows from it."""
        self.precision, config = precision, self.config
        self._activation = Activation(config.activation, config.gated, config.swiglu_limit)
        norm = None if config.norm_native else precision.norm
        self._norm = Norm(config.norm_eps, config.norm == "layer", float(config.norm_offset), norm)
        self._qk_norm = replace(self._norm, layer=config.qk_norm_kind == "layer")
        self._narrow_norm = replace(self._norm, eps=config.latent.norm_eps) if config.latent else self._norm
        # What transformers has in float32 in a float64 model: softmax where a softcap forbids the fused
        # attention, or a family says so, and the rotation of queries and keys in some families.
        double = precision.attention == torch.float64
        softmax = precision.norm if double and (config.softcap or config.softmax_float) else None
        self._rotated = precision.norm if double and config.rope_float else None
        rotated = None if config.qk_norm_last else self._rotated
        wide = torch.float64 if double else torch.float32
        slopes_H = None if config.alibi is None else torch.tensor(config.alibi, dtype=wide, device=device)
        rounding = config.alibi_rounding if double and precision.norm != torch.float64 else ""
        scores = Scores(config.scale, 0, config.softcap, rotated, softmax, slopes_H, rounding)
        self._scores = [
            replace(scores, window=window, rope_dtype=rotated if rope >= 0 else None)
            for window, rope in zip(config.windows, config.layer_rope, strict=True)
        ]
        self._tables = self._angles(device)
        growth_M1 = rope.growth(config, precision.norm)
        growth_M1 = growth_M1 if growth_M1 is None else growth_M1.to(device)
        unrotated = config.query_growth is not None and config.query_growth.unrotated
        self._growth = [growth_M1 if rope < 0 or not unrotated else None for rope in config.layer_rope]
        self._find_masters()

    def _find_masters(self) -> None:
        # Weights that are read in another dtype, and that dtype; of embeddings a step's own rows alone are.
        self._masters = [
            (self.get_submodule(name.rpartition(".")[0]), name.rpartition(".")[2], dtype)
            for name, w in self.named_parameters()
            if name not in ("embed", "positions") and not name.endswith("_scales")
            if w.is_floating_point() and w.dtype != (dtype := self.read_dtype(name))
        ]

    def _angles(self, device: torch.device) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """Make tables of cosines and sines of each rope, and of none."""
        # Angles are computed in the norms' dtype: what a model was trained with is what it expects.
        made_in, kept = self.precision.norm, torch.promote_types(self.precision.compute, torch.float32)
        ropes = (*self.config.ropes, None)
        tables = (rope.table(self.config, kind, self.context, made_in) for kind in ropes)
        return [(cos.to(device, kept), sin.to(device, kept)) for cos, sin in tables]

    def set_context(self, length: int) -> None:
        """Serve and train on sequences of up to `length` tokens.

        Only LongRoPE asks: it has other angles where no sequence is longer than the original context. `LLM`
        calls it with its `max_model_len`, for all who share the model. Raises `MinillmError` for a length
        that is none, or that is beyond the model's context.
        """
        longest = self.config.max_position_embeddings
        if not 1 <= length <= longest:
            raise MinillmError(f"a context must be 1 to {longest} tokens for this model, got {length}")
        if any(kind.type == "longrope" for kind in self.config.ropes):
            self.context = length
            new_tables = chain.from_iterable(self._angles(self.head.device))
            for table, values in zip(chain.from_iterable(self._tables), new_tables, strict=True):
                table.copy_(values)  # in place: recorded decode steps hold the tables

    def rope_tables(self, layer: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Look up the cosines and sines, (positions, rotated dims / 2) each, of a layer's rope."""
        return self._tables[self.config.layer_rope[layer]]

    def read_dtype(self, name: str) -> torch.dtype:
        """Tell what products read a parameter in: the compute dtype, but for routers that are wider."""
        wide = name.endswith(".router") and (experts := self.config.experts) and experts.float_router
        return self.precision.norm if wide else self.precision.compute

    def at(self, precision: str | Precision) -> Transformer:
        """Put the same live weights under another policy: a model that shares every parameter with this one.

        Its weights keep this model's dtype; `precision` says what they are rounded to on the way, and all
        else; copies that are rounded so are kept with the parameters. Raises `MinillmError` for
        integer-quantised weights, on either side.
        """
        policy = replace(get_precision(precision), weights=self.precision.weights)
        if policy.bits or self.precision.bits:
            raise MinillmError("integer-quantised weights have one precision only; load the model in another")
        view = copy(self)
        view.observer = None
        view._set(policy, self.head.device)
        return view

    def sharing(self, changed: Mapping[str, nn.Parameter]) -> Transformer:
        """Put other parameters in the place of some: a model that shares all others with this one."""
        view = copy(self)
        view.observer = None
        view._parameters, view._modules = dict(self._parameters), dict(self._modules)
        view.layers = nn.ModuleList(map(copy, self.layers))
        for layer in view.layers:
            layer._parameters = dict(layer._parameters)
        for name, parameter in changed.items():
            owner, _, last = name.rpartition(".")
            view.get_submodule(owner)._parameters[last] = parameter
        view._find_masters()
        return view

    def forward(self, tokens_T: torch.Tensor, batch: Batch, cache: KVCache | None = None) -> torch.Tensor:
        """Compute hidden_TC after the final norm, ready for `logits`.

        Keys and values are written to `cache` at `batch.slot_T` and read from it. Without (training: every
        sequence starts at position 0) one scratch page pool serves all layers, by the same arithmetic.
        """
        x_TC = self.embed_tokens(tokens_T, batch.position_T)
        if cache is None:
            if not torch.compiler.is_compiling():
                for owner, name, dtype in self._masters:
                    renew(owner.get_parameter(name), dtype)
            scratch = KVCache.pages(self.config, self.precision, batch.num_pages, self.head.device)
        layers = [scratch] * self.config.num_layers if cache is None else cache.layers
        return self.blocks(layers, x_TC, torch.zeros_like(x_TC), batch)

    def round_weights(self) -> None:
        """Renew copies of weights in another dtype, for a recording of `blocks`, which sees no change."""
        for owner, name, dtype in self._masters:
            rounded(owner.get_parameter(name), dtype)

    def weights(self) -> list[torch.Tensor]:
        """List all parameters, as `parameters` does, at a tenth of its cost."""
        owners = (self, *self.layers)
        return [w for owner in owners for w in owner._parameters.values() if w is not None]

    def embed_tokens(self, tokens_T: torch.Tensor, position_T: torch.Tensor) -> torch.Tensor:
        """Look up (T, C), what the first block reads."""
        compute, scales = self.precision.compute, self._parameters.get("head_scales")
        if not self.config.tie_word_embeddings:
            x_TC = self.embed[tokens_T].to(compute)
        elif scales is not None:
            x_TC = columns(self.head, scales, tokens_T).to(compute)
        else:
            W = self.head.shape[2]
            x_TC = self.head[tokens_T // W, :, tokens_T % W].to(compute)
        if self.config.positions:
            row_T = position_T + self.config.position_offset if self.config.position_offset else position_T
            x_TC = x_TC + self.positions[row_T].to(compute)
        if (multiplier := self.config.embedding_multiplier) != 1:
            # Rounded to the weights' dtype first, as in the models that have one.
            x_TC = x_TC * torch.full((), multiplier, dtype=compute, device=x_TC.device)
        if self.config.embed_norm:
            x_TC = self._add_norm(x_TC, None, self, "embed_norm", self._norm)[1]
        return x_TC

    def blocks(
        self, pages: Sequence[Pages], x_TC: torch.Tensor, out_TC: torch.Tensor, batch: Batch
    ) -> torch.Tensor:
        """Run all layers and the final norm: hidden_TC of x_TC + out_TC, with each layer's keys and values.

        `out_TC` is what the last sub-layer adds to the residual x_TC: the next norm does both at once.
        """
        config, pre_norm = self.config, self._norm if self.config.pre_norm else None
        for i, layer in enumerate(self.layers):
            assert isinstance(layer, Layer)
            x_TC, input_TC = self._add_norm(x_TC, out_TC, layer, "attn_norm", pre_norm)
            if self.observer is not None:
                self.observer(i, "residual", x_TC)
            attn_TC = self._attention(layer, i, input_TC, pages[i], batch)
            out_TC = self._after(attn_TC, layer, "attn_post_norm")
            if not config.parallel:
                x_TC, input_TC = self._add_norm(x_TC, out_TC, layer, "mlp_norm", pre_norm)
            elif not config.shared_norm:
                input_TC = self._add_norm(x_TC, None, layer, "mlp_norm", self._norm)[1]
            mlp_TC = self._after(self._mlp(layer, i, input_TC), layer, "mlp_post_norm")
            out_TC = out_TC + mlp_TC if config.parallel else mlp_TC
        return self._add_norm(x_TC, out_TC, self, "norm", self._norm)[1]

    def _add_norm(
        self, x_TC: torch.Tensor, out_TC: torch.Tensor | None, owner: nn.Module, name: str, norm: Norm | None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return (x + out, its norm, or itself where there is none)."""
        if norm is None:
            assert out_TC is not None
            x_TC = x_TC + out_TC
            return x_TC, x_TC
        parameters = (owner._parameters.get(part) for part in (name, f"{name}_bias"))
        w_C, b_C = (p if p is None else rounded(p, x_TC.dtype) for p in parameters)
        return add_norm(x_TC, out_TC, w_C, b_C, norm)

    def _after(self, out_TC: torch.Tensor, layer: Layer, name: str) -> torch.Tensor:
        """Norm and scale a sub-layer's output before it is added to the residual."""
        if self.config.post_norm:
            out_TC = self._add_norm(out_TC, None, layer, name, self._norm)[1]
        return out_TC if (multiplier := self.config.residual_multiplier) == 1 else out_TC * multiplier

    def _attention(
        self, layer: Layer, i: int, x_TC: torch.Tensor, pages: Pages, batch: Batch
    ) -> torch.Tensor:
        config = self.config
        qkv_TX = self._latent_qkv(layer, x_TC) if config.latent else self._linear(layer, "qkv", x_TC)
        normed = config.qk_norm and not (config.qk_norm_rotated and config.layer_rope[i] < 0)
        if normed and not config.qk_norm_last:
            qkv_TX = self._norm_qk(layer, qkv_TX)
        if config.clip_qkv is not None:
            qkv_TX = qkv_TX.clamp(-config.clip_qkv, config.clip_qkv)
        if self.observer is not None:
            self.observer(i, "qkv", qkv_TX)
        tables = self.rope_tables(i)
        if normed and config.qk_norm_last:
            qkv_TX = rotate(qkv_TX, config.heads, tables, batch.position_T, self._rotated)
            qkv_TX = self._norm_qk(layer, qkv_TX)
            tables = self._tables[-1]
        qkv_TX, sinks_H = _to(qkv_TX, self.precision.attention), layer.get("sinks")
        heads_THD = rope_store_attention(
            qkv_TX, config.heads, tables, *pages, batch, self._scores[i], sinks_H, self._growth[i]
        )
        return self._linear(layer, "o", _to(heads_THD.flatten(1), x_TC.dtype))

    def _norm_qk(self, layer: Layer, qkv_TX: torch.Tensor) -> torch.Tensor:
        """Norm queries and keys by head or over the full width; values stay as they are."""
        config, (H, K, D) = self.config, self.config.heads
        q, q_bias, k, k_bias = (
            p if p is None else rounded(p, qkv_TX.dtype)
            for p in map(layer.get, ("q_norm", "q_norm_bias", "k_norm", "k_norm_bias"))
        )
        sizes = (H * D, K * D) if config.qk_norm == "full" else (D, D)
        return norm_qk(qkv_TX, (q, q_bias, k, k_bias), (H * D, K * D), sizes, self._qk_norm)

    def _latent_qkv(self, layer: Layer, x_TC: torch.Tensor) -> torch.Tensor:
        """Make queries, and keys and values for each head; rotated dimensions of a head come first."""
        latent, H = self.config.latent, self.config.num_heads
        assert latent is not None
        q = x_TC
        if latent.q_rank:
            q = self._add_norm(self._linear(layer, "q_a", x_TC), None, layer, "q_a_norm", self._narrow_norm)[
                1
            ]
        q_TX = self._linear(layer, "q_b" if latent.q_rank else "q", q)
        narrow, k_rope = self._linear(layer, "kv_a", x_TC).split((latent.kv_rank, latent.rope_dim), dim=1)
        narrow = self._add_norm(narrow, None, layer, "kv_a_norm", self._narrow_norm)[1]
        kv_THX = self._linear(layer, "kv_b", narrow).unflatten(1, (H, -1))
        k_nope, v_THD = kv_THX.split((latent.nope_dim, latent.v_dim), dim=-1)
        k_THD = torch.cat((k_rope.unsqueeze(1).expand(-1, H, -1), k_nope), dim=-1)
        return torch.cat((q_TX, k_THD.flatten(1), v_THD.flatten(1)), dim=1)

    def _mlp(self, layer: Layer, i: int, x_TC: torch.Tensor) -> torch.Tensor:
        experts = self.config.experts
        if experts is None or not self.config.expert_layers[i]:
            return self._dense(layer, "", x_TC)
        weights_TN, chosen_TN = self._route(layer, experts, x_TC)
        out_TC = moe.combine(x_TC, weights_TN, chosen_TN, experts, partial(self._dense, layer, "experts_"))
        if experts.shared_width:
            shared_TC = self._dense(layer, "shared_", x_TC)
            if experts.shared_gate:
                wide = torch.promote_types(x_TC.dtype, torch.float32)
                gate_T1 = activate(self._linear(layer, "shared_gate", x_TC).to(wide), SIGMOID)
                shared_TC = (gate_T1 * shared_TC).to(x_TC.dtype)
            summed_in = self.precision.norm if experts.float_sum else x_TC.dtype
            out_TC = _to(_to(out_TC, summed_in) + _to(shared_TC, summed_in), x_TC.dtype)
        return out_TC

    def _route(self, layer: Layer, experts: Experts, x_TC: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        T, dtype = x_TC.shape[0], self.precision.norm if experts.float_router else x_TC.dtype
        stock = x_TC.dtype == torch.float64
        if dtype == torch.float32 and stock:
            # To agree with transformers in float64, its float32 must be met to the bit: libraries add up
            # and exponentiate the last few rows in another way, so those are zeros.
            x_TC = F.pad(x_TC.to(dtype), (0, 0, 0, -T % 16))
            logits_TE = F.linear(x_TC, unpack(layer["router"].to(dtype), experts.count).t().contiguous())
        else:
            logits_TE = matmul(_to(x_TC, dtype), rounded(layer["router"], dtype), experts.count)
        if (bias := layer.get("router_bias")) is not None:
            logits_TE = logits_TE + rounded(bias, dtype)
        made_in = torch.promote_types(dtype, torch.float32) if experts.native else self.precision.norm
        sigmoid = torch.sigmoid if stock else partial(activate, activation=SIGMOID)
        correction = layer.get("router_correction")
        weights_TN, chosen_TN = moe.route(logits_TE, experts, correction, made_in, sigmoid)
        return weights_TN[:T], chosen_TN[:T]

    def _dense(
        self, layer: Layer, prefix: str, x_TC: torch.Tensor, bound_E1: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Run the MLP of parameters with this prefix, or the experts' of theirs, for rows in groups."""
        hidden_TX = self._linear(layer, f"{prefix}{'gate_up' if self.config.gated else 'up'}", x_TC, bound_E1)
        if self.config.activation == "xielu":
            alphas = (rounded(layer[name], hidden_TX.dtype) for name in ("act_alpha_p", "act_alpha_n"))
            hidden_TX = xielu(hidden_TX, *alphas)
        else:
            hidden_TX = activate(hidden_TX, self._activation)
        return self._linear(layer, f"{prefix}down", hidden_TX, bound_E1)

    def _linear(
        self,
        owner: nn.Module,
        name: str,
        x_RK: torch.Tensor,
        bound_E1: torch.Tensor | None = None,
        wide: bool = False,
    ) -> torch.Tensor:
        """Multiply x by a matrix of any dtype; with bounds, rows in groups by experts' matrices."""
        w, scales, bias = (owner._parameters.get(part) for part in (name, f"{name}_scales", f"{name}_bias"))
        assert w is not None
        w_read = w if scales is not None else rounded(w, x_RK.dtype)
        bias_read = bias if bias is None else rounded(bias, x_RK.dtype)
        if bound_E1 is None:
            return matmul(x_RK, w_read, self._widths[name], scales, bias_read, wide)
        return grouped_matmul(x_RK, w_read, self._widths[name], bound_E1, scales, bias_read)

    def logits(self, hidden_RC: torch.Tensor) -> torch.Tensor:
        """Compute (R, V) in the precision's logits dtype, for the rows that are needed."""
        # Not rounded to the compute dtype: bfloat16 has one number in an eighth where logits are.
        logits_RV = _to(self._linear(self, "head", hidden_RC, wide=True), self.precision.logits)
        if (multiplier := self.config.logit_multiplier) != 1:
            logits_RV = logits_RV * multiplier
        if (cap := self.config.final_softcap) is not None:
            logits_RV = activate(logits_RV / cap, TANH) * cap
        return logits_RV

    def check_tokens(self, token_ids: Sequence[int], max_tokens: int = 0) -> None:
        """Raise `MinillmError` unless these ids, and max_tokens more, are a sequence for this model."""
        if not token_ids:
            raise MinillmError("a decoder prompt cannot be empty: it needs at least one token")
        if (length := len(token_ids)) + max_tokens > self.context:
            more = f" and {max_tokens} more to sample" if max_tokens else ""
            raise MinillmError(
                f"a prompt of {length} tokens{more} is longer than the model's context of {self.context}; "
                "shorten it"
            )
        for wrong in (x for x in (min(token_ids), max(token_ids)) if not 0 <= x < self.config.vocab_size):
            raise MinillmError(
                f"token id {wrong} is out of vocabulary, which has {self.config.vocab_size} tokens"
            )


def _to(x: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    # Decode is many small calls: asking is five times cheaper than a conversion that does nothing.
    return x if x.dtype == dtype else x.to(dtype)
