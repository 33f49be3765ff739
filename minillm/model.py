"""`Transformer`: one forward for training, prefill and decode.

Legend: T packed tokens, R selected rows, C model width, F MLP width, V vocabulary, H query heads,
K kv heads, D head dim, M positions, P pages, S page size.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch
from torch import nn

from kernels import dispatch
from kernels.cpu.memory import zeros
from kernels.matmul import packed_shape
from minillm import families, hub, weights
from minillm.batch import Batch
from minillm.cache import KVCache
from minillm.config import ModelConfig
from minillm.errors import MinillmError
from minillm.precision import Precision, get_precision


class Layer(nn.Module):
    """One block's weights; matrices are kept in panels (`kernels.matmul`)."""

    def __init__(self, config: ModelConfig, dtype: torch.dtype, device: torch.device) -> None:
        super().__init__()
        self.attn_norm = _new((config.hidden_size,), dtype, device)
        self.mlp_norm = _new((config.hidden_size,), dtype, device)
        self.qkv, self.o, self.gate_up, self.down = (
            _new(packed_shape(*config.matrices[name]), dtype, device)
            for name in ("qkv", "o", "gate_up", "down")
        )


def _new(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> nn.Parameter:
    # Zeros, since a panel's columns past the matrix must be.
    return nn.Parameter(zeros(shape, dtype, device))


class Transformer(nn.Module):
    """A decoder-only transformer over packed sequences; weights are shared by trainer and sampler."""

    def __init__(self, config: ModelConfig, precision: Precision, device: torch.device | str = "cpu") -> None:
        super().__init__()
        self.config, self.precision = config, precision
        device, dtype = torch.device(device), precision.weights
        C, V = config.hidden_size, config.vocab_size
        if not config.tie_word_embeddings:
            self.embed = _new((V, C), dtype, device)
        self.layers = nn.ModuleList(Layer(config, dtype, device) for _ in range(config.num_layers))
        self.norm = _new((C,), dtype, device)
        self.head = _new(packed_shape(C, V), dtype, device)
        self._tables = self._rope_tables(device)
        self._widths = {name: N for name, (_, N) in config.matrices.items()}

    def _rope_tables(self, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
        """cos_MD and sin_MD of position * theta^(-2d / D), D/2 columns, for all positions of the context.

        Computed in the precision's `norm` dtype: what a model was trained with is what it expects.
        """
        D, M, dtype = self.config.head_dim, self.config.max_position_embeddings, self.precision.norm
        frequency = 1.0 / self.config.rope_theta ** (torch.arange(0, D, 2, dtype=dtype) / D)
        angle_MD = torch.outer(torch.arange(M, dtype=dtype), frequency)
        table = torch.promote_types(self.precision.compute, torch.float32)
        return angle_MD.cos().to(device, table), angle_MD.sin().to(device, table)

    def forward(self, tokens_T: torch.Tensor, batch: Batch, cache: KVCache | None = None) -> torch.Tensor:
        """hidden_TC after the final norm, ready for `logits`.

        Keys and values are written to `cache` at `batch.slot_T` and read from it. Without one (training;
        every sequence starts at position 0) a scratch page pool serves all layers in turn: the arithmetic
        is the same, so the bits are.
        """
        x_TC = self._embed(tokens_T)
        if cache is None:
            scratch = KVCache.pages(self.config, self.precision, batch.num_pages, self.head.device)
            return self._blocks([scratch] * self.config.num_layers, x_TC, torch.zeros_like(x_TC), batch)
        blocks = partial(self._blocks, cache.layers)
        if batch.is_decode and not torch.is_grad_enabled():
            return cache.decode_steps.run(blocks, self.parameters(), x_TC, batch)
        return blocks(x_TC, torch.zeros_like(x_TC), batch)

    def _embed(self, tokens_T: torch.Tensor) -> torch.Tensor:
        if self.config.tie_word_embeddings:
            W = self.head.shape[2]
            return self.head[tokens_T // W, :, tokens_T % W].to(self.precision.compute)
        return self.embed[tokens_T].to(self.precision.compute)

    def _blocks(
        self,
        pages: Sequence[tuple[torch.Tensor, torch.Tensor]],
        x_TC: torch.Tensor,
        out_TC: torch.Tensor,
        batch: Batch,
    ) -> torch.Tensor:
        """All layers and the final norm: hidden_TC of x_TC + out_TC, with each layer's keys and values."""
        compute, attention = self.precision.compute, self.precision.attention
        scale = self.config.head_dim**-0.5
        for layer, (k_PKDS, v_PKSD) in zip(self.layers, pages, strict=True):
            assert isinstance(layer, Layer)
            x_TC, norm_TC = self._norm(x_TC, out_TC, layer.attn_norm)
            qkv_TX = _to(self._matmul(norm_TC, layer.qkv, "qkv"), attention)
            heads_THD = dispatch.rope_store_attention(
                qkv_TX, self.config.heads, self._tables, k_PKDS, v_PKSD, batch, scale
            )
            out_TC = self._matmul(_to(heads_THD.flatten(1), compute), layer.o, "o")
            x_TC, norm_TC = self._norm(x_TC, out_TC, layer.mlp_norm)
            gated_TF = dispatch.swiglu(self._matmul(norm_TC, layer.gate_up, "gate_up"))
            out_TC = self._matmul(gated_TF, layer.down, "down")
        return self._norm(x_TC, out_TC, self.norm)[1]

    def _norm(
        self, x_TC: torch.Tensor, out_TC: torch.Tensor, w_C: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        w_C, eps = _to(w_C, x_TC.dtype), self.config.norm_eps
        return dispatch.add_rms_norm(x_TC, out_TC, w_C, eps, self.precision.norm)

    def _matmul(self, x_RK: torch.Tensor, w_PKW: torch.Tensor, name: str) -> torch.Tensor:
        return dispatch.matmul(x_RK, _to(w_PKW, x_RK.dtype), self._widths[name])

    def logits(self, hidden_RC: torch.Tensor) -> torch.Tensor:
        """(R, V) in the precision's logits dtype, for the rows that are needed."""
        return self._matmul(hidden_RC, self.head, "head").to(self.precision.logits)

    def check_tokens(self, token_ids: Sequence[int], max_tokens: int = 0) -> None:
        """Raise `MinillmError` unless these ids, and max_tokens more, are a sequence for this model."""
        config = self.config
        if not token_ids:
            raise MinillmError("a prompt is empty: it needs at least one token")
        if len(token_ids) + max_tokens > config.max_position_embeddings:
            more = f" and {max_tokens} more to sample" if max_tokens else ""
            raise MinillmError(
                f"a prompt of {len(token_ids)} tokens{more} is longer than the model's context of "
                f"{config.max_position_embeddings}; shorten it"
            )
        low, high = min(token_ids), max(token_ids)
        if low < 0 or high >= config.vocab_size:
            wrong = low if low < 0 else high
            raise MinillmError(f"token id {wrong} is outside the vocabulary of {config.vocab_size}")


def _to(x: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    # Decode is many small calls: asking is five times cheaper than a conversion that does nothing.
    return x if x.dtype == dtype else x.to(dtype)


def load_model(
    folder_or_name: str | Path,
    precision: str | Precision = "fp32",
    device: torch.device | str = "cpu",
) -> Transformer:
    """A `Transformer` with the weights of a folder, a hub id or the demo model (`hub.resolve`).

    `precision` is a preset (fp64, fp32, bf16, fp32-attn-bf16, bf16-master-fp32) or a `Precision`.
    Raises `MinillmError` for an unknown name, and for missing, extra, mis-shaped or truncated tensors.
    """
    policy = get_precision(precision)
    folder = hub.resolve(folder_or_name)
    config = families.read_config(folder)
    model = Transformer(config, policy, device)
    load_weights(model, folder)
    return model


@torch.no_grad()
def load_weights(model: Transformer, folder: Path) -> None:
    """Copy a folder's safetensors into the model's parameters, in place and strictly."""
    parameters = dict(model.named_parameters())
    tensors = weights.load_tensors(folder, families.hf_shapes(model.config))
    families.from_hf(model.config, parameters, tensors)


def save_weights(model: Transformer, folder: Path) -> None:
    """Write the weights as `model.safetensors` in the family's Hugging Face layout."""
    weights.save_tensors(folder, families.to_hf(model.config, dict(model.named_parameters())))
