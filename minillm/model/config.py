"""`ModelConfig`: one frozen field per architectural knob, and the parameters that follow from them.

Legend: C model width, F MLP width, V vocabulary, H query heads, K kv heads, D head dim, E experts, L layers.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal, NamedTuple

from kernels.knobs import AlibiRounding


@dataclass(frozen=True)
class Rope:
    """A rotary embedding: its base, how many leading dimensions of a head it turns, and how it is stretched.

    Attributes:
        theta: base of the angles.
        dim: dimensions that are rotated; the others pass.
        type: default, linear, dynamic, yarn, llama3, longrope or proportional (`minillm.model.rope`).
        parameters: (name, value) pairs of the type's own parameters.
    """

    theta: float
    dim: int
    type: str = "default"
    parameters: tuple[tuple[str, float | tuple[float, ...]], ...] = ()


@dataclass(frozen=True)
class Experts:
    """A mixture of experts in place of an MLP.

    Attributes:
        count: experts of a layer.
        chosen: experts that a token goes through.
        width: their inner width.
        router: how logits become weights: softmax over all then top-k, top-k then softmax over those,
            sigmoid, or sparsemixer (Liu et al., 2024).
        correction: what is added to the weights, learned, for the choice alone.
        normalize: divide the chosen weights by their sum.
        scale: multiplies the weights.
        groups, chosen_groups: experts stand in groups; only the best groups' experts can be chosen.
        best_of_group: a group is as good as its best expert, not as its best two.
        jitter: sparsemixer's tolerance.
        float_router: the router's product runs in float32 at least.
        native: transformers makes weights of the logits in the model's dtype, not in float32 (it matters to
            float64).
        shared_width: inner width of an expert that every token goes through; 0 for none.
        shared_gate: the shared expert's output is multiplied by a sigmoid of a product with the input.
        float_sum: the shared expert's output is added in float32 at least.
        biases: the experts' matrices have biases where those of an MLP do.
        scaled_input: weights multiply what an expert reads, not what it makes of it.
    """

    count: int
    chosen: int
    width: int
    router: Literal["softmax", "chosen_softmax", "sigmoid", "sparsemixer"] = "softmax"
    correction: bool = False
    normalize: bool = False
    scale: float = 1.0
    groups: int = 1
    chosen_groups: int = 1
    best_of_group: bool = False
    jitter: float = 0.0
    float_router: bool = False
    native: bool = False
    shared_width: int = 0
    shared_gate: bool = False
    float_sum: bool = False
    biases: bool = True
    scaled_input: bool = False


@dataclass(frozen=True)
class QueryGrowth:
    """Scores are multiplied by 1 + beta log(1 + floor((position + shift) / length)).

    `unrotated`: only in layers without rope.
    """

    beta: float
    length: float
    shift: int = 0
    unrotated: bool = False


@dataclass(frozen=True)
class Latent:
    """Latent attention (DeepSeek-V2, 2024): keys and values come from one narrow vector per token.

    A head has `nope_dim` dimensions without and `rope_dim` with rope; `q_rank` 0 means that queries are
    projected at once. The norms of the narrow vectors have an epsilon of their own.
    """

    q_rank: int
    kv_rank: int
    nope_dim: int
    rope_dim: int
    v_dim: int
    norm_eps: float


class Matrix(NamedTuple):
    """A weight matrix of K inputs and N outputs, one for each expert where `experts` is not 0."""

    K: int
    N: int
    experts: int = 0


Shape = Matrix | tuple[int, ...]
ActivationName = Literal["silu", "gelu", "gelu_tanh", "gelu_bloom", "relu", "relu2", "xielu"]


def _present(**shapes: Shape | Literal[False]) -> dict[str, Shape]:
    """Keep the shapes of parameters that a model has; False for others."""
    return {name: shape for name, shape in shapes.items() if shape is not False}


@dataclass(frozen=True)
class ModelConfig:
    """What a decoder-only transformer is made of; sizes in elements.

    Attributes:
        model_type: the row of `minillm.checkpoint.families`.
        head_dim: of queries and keys, and of values unless `latent` says otherwise.
        norm: RMSNorm or LayerNorm.
        norm_offset: a norm multiplies by 1 + w.
        norm_weight, norm_bias: whether norms have them.
        norm_native: transformers norms in the model's dtype, not in float32 (it matters to float64).
        pre_norm, post_norm: whether a sub-layer's input, its output, or both are normed.
        parallel: attention and MLP read the same residual, and both are added to it.
        shared_norm: in a parallel block, one norm feeds both.
        qk_norm: none, one norm over each head, one over the full width, or one per head with its own weights.
        qk_norm_kind: RMSNorm or LayerNorm.
        qk_norm_weight: whether it has weights.
        qk_norm_rotated: only layers with rope have it.
        qk_norm_last: queries and keys are normed after they are rotated, not before.
        qkv_bias, o_bias, mlp_bias, head_bias, router_bias: which products add a bias.
        clip_qkv: clamp q, k and v to this magnitude.
        windows: keys that a query of each layer sees, itself included; 0 for all, and -n for those of its
            own chunk of n positions.
        ropes, layer_rope: the rotary embeddings, and which of them each layer uses; -1 for none.
        rope_interleaved: checkpoints hold the rotated dimensions as neighbours; loading sorts them.
        rope_reversed: checkpoints are for the rotation the other way round.
        rope_float: transformers rounds q and k to float32 before it turns them.
        alibi: each head's slope (ALiBi; Press et al., 2022): what a score, already scaled, falls by for each
            position that its key lies further back; None for none.
        alibi_rounding: how transformers rounds that (`kernels.knobs.AlibiRounding`; it matters to float64).
        softmax_float: transformers' softmax is in float32, as with a softcap (it matters to float64).
        scale: multiplies the scores.
        query_growth: how scores grow with the query's position.
        softcap, final_softcap: scores and logits become cap * tanh(x / cap).
        sinks: each head has one more score that takes weight from the others.
        embedding_multiplier, residual_multiplier, logit_multiplier: as named; 1 changes nothing.
        embed_norm: the embedding is normed before the first layer.
        positions: absolute positions are added to the embedding, learned.
        position_offset: the table of positions has so many rows before that of position 0.
        activation: of the MLP: silu, gelu (by erf), gelu_tanh, gelu_bloom (as float64 rounds that in bloom),
            relu, relu2 (its square; So et al., 2021) or, not gated, xielu (Huang and Schlag, 2024), which has
            two learned numbers a layer.
        gated: the MLP is act(gate) * up; otherwise act(up).
        swiglu_limit: the gated product of gpt_oss: clamped, (up + 1) * gate * sigmoid(1.702 gate).
        experts, expert_layers: the mixture of experts, and which layers have one.
        latent: latent attention.
        layout: which of the family's namings the checkpoint has.
        source: text of the config.json that this was read from.
    """

    model_type: str
    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_layers: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    max_position_embeddings: int
    norm_eps: float
    tie_word_embeddings: bool
    ropes: tuple[Rope, ...]
    layer_rope: tuple[int, ...]
    windows: tuple[int, ...]
    scale: float
    norm: Literal["rms", "layer"] = "rms"
    norm_offset: bool = False
    norm_weight: bool = True
    norm_bias: bool = False
    norm_native: bool = False
    pre_norm: bool = True
    post_norm: bool = False
    parallel: bool = False
    shared_norm: bool = False
    qk_norm: Literal["", "head", "full", "heads"] = ""
    qk_norm_kind: Literal["rms", "layer"] = "rms"
    qk_norm_weight: bool = True
    qk_norm_rotated: bool = False
    qk_norm_last: bool = False
    qkv_bias: bool = False
    o_bias: bool = False
    mlp_bias: bool = False
    head_bias: bool = False
    router_bias: bool = False
    clip_qkv: float | None = None
    rope_interleaved: bool = False
    rope_reversed: bool = False
    rope_float: bool = False
    alibi: tuple[float, ...] | None = None
    alibi_rounding: AlibiRounding = ""
    softmax_float: bool = False
    query_growth: QueryGrowth | None = None
    softcap: float | None = None
    final_softcap: float | None = None
    sinks: bool = False
    embedding_multiplier: float = 1.0
    residual_multiplier: float = 1.0
    logit_multiplier: float = 1.0
    embed_norm: bool = False
    positions: bool = False
    position_offset: int = 0
    activation: ActivationName = "silu"
    gated: bool = True
    swiglu_limit: float | None = None
    experts: Experts | None = None
    expert_layers: tuple[bool, ...] = ()
    latent: Latent | None = None
    layout: str = ""
    source: str = field(default="", compare=False, repr=False)

    @property
    def heads(self) -> tuple[int, int, int]:
        """(query heads, kv heads, head dim) as attention sees them: latent keys are expanded per head."""
        if self.latent is not None:
            return self.num_heads, self.num_heads, self.latent.nope_dim + self.latent.rope_dim
        return self.num_heads, self.num_kv_heads, self.head_dim

    @property
    def v_dim(self) -> int:
        """Head dim of the values."""
        return self.latent.v_dim if self.latent is not None else self.head_dim

    @cached_property
    def shapes(self) -> dict[str, Shape]:
        """Every parameter's name and shape; a tied model has a head and no embedding."""
        C, V = self.hidden_size, self.vocab_size
        shapes = _present(
            embed=not self.tie_word_embeddings and (V, C),
            head=Matrix(C, V),
            positions=self.positions and (self.max_position_embeddings + self.position_offset, C),
        )
        if self.embed_norm:
            shapes |= self._norm("embed_norm")
        shapes |= _present(head_bias=self.head_bias and (V,)) | self._norm("norm")
        for i in range(self.num_layers):
            layer = self._attention() | self._mlp(bool(self.expert_layers) and self.expert_layers[i])
            shapes |= {f"layers.{i}.{name}": shape for name, shape in layer.items()}
        return shapes

    def _norm(self, name: str) -> dict[str, Shape]:
        shape = (self.hidden_size,)
        return _present(**{name: self.norm_weight and shape, f"{name}_bias": self.norm_bias and shape})

    def _attention(self) -> dict[str, Shape]:
        C, (H, K, D) = self.hidden_size, self.heads
        shapes: dict[str, Shape] = {}
        if self.pre_norm:
            shapes |= self._norm("attn_norm")
        if (n := self.latent) is not None:
            bias, kv_width = self.qkv_bias, n.kv_rank + n.rope_dim
            shapes |= _present(
                q_a=bool(n.q_rank) and Matrix(C, n.q_rank),
                q_a_norm=bool(n.q_rank) and (n.q_rank,),
                **{"q_b" if n.q_rank else "q": Matrix(n.q_rank or C, H * D)},
                kv_a=Matrix(C, kv_width),
                kv_a_norm=(n.kv_rank,),
                kv_b=Matrix(n.kv_rank, H * (n.nope_dim + n.v_dim)),
                q_a_bias=bias and bool(n.q_rank) and (n.q_rank,),
                kv_a_bias=bias and (kv_width,),
            )
        else:
            width = (H + 2 * K) * D
            shapes |= _present(qkv=Matrix(C, width), qkv_bias=self.qkv_bias and (width,))
        for name, heads in (("q_norm", H), ("k_norm", K)):
            if self.qk_norm and self.qk_norm_weight:
                widths: dict[str, tuple[int, ...]] = {"head": (D,), "full": (heads * D,), "heads": (heads, D)}
                shapes[name] = widths[self.qk_norm]
                if self.qk_norm_kind == "layer" and self.qk_norm == "head":
                    shapes[f"{name}_bias"] = (D,)
        o = Matrix(H * self.v_dim, C)
        shapes |= _present(sinks=self.sinks and (H,), o=o, o_bias=self.o_bias and (C,))
        return shapes | (self._norm("attn_post_norm") if self.post_norm else {})

    def _mlp(self, mixture: bool) -> dict[str, Shape]:
        C = self.hidden_size
        shapes: dict[str, Shape] = {}
        if self.pre_norm and not self.shared_norm:
            shapes |= self._norm("mlp_norm")
        if not mixture:
            shapes |= self._dense("", self.intermediate_size, self.mlp_bias)
            if self.activation == "xielu":
                shapes |= {"act_alpha_p": (1,), "act_alpha_n": (1,)}
        elif (experts := self.experts) is not None:
            E = experts.count
            bias, correction = self.router_bias and (E,), experts.correction and (E,)
            shapes |= _present(router=Matrix(C, E), router_bias=bias, router_correction=correction)
            shapes |= self._dense("experts_", experts.width, self.mlp_bias and experts.biases, E)
            if experts.shared_width:
                shapes |= self._dense("shared_", experts.shared_width, self.mlp_bias)
            if experts.shared_gate:
                shapes["shared_gate"] = Matrix(C, 1)
        return shapes | (self._norm("mlp_post_norm") if self.post_norm else {})

    def _dense(self, prefix: str, F: int, bias: bool, E: int = 0) -> dict[str, Shape]:
        """List an MLP's parameters, or those of E of them."""
        C, first = self.hidden_size, "gate_up" if self.gated else "up"
        wide = 2 * F if self.gated else F
        shapes: dict[str, Shape] = {f"{prefix}{first}": Matrix(C, wide, E), f"{prefix}down": Matrix(F, C, E)}
        if bias:
            rows = (E,) if E else ()
            shapes |= {f"{prefix}{first}_bias": (*rows, wide), f"{prefix}down_bias": (*rows, C)}
        return shapes
