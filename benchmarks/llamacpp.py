"""llama.cpp as a peer of `benchmarks.generate`: the same weights and prompt, one token at a time.

llama.cpp's CPU backend is what most people run small models with on a laptop. The checkpoint's tensors are
written into a GGUF file (BF16, F16 or F32; norms in F32, as llama.cpp wants them), so that both read as many
bytes a step. llama.cpp keeps its KV cache in F16. It needs
`pip install llama-cpp-python gguf`, the first of which is compiled on the spot, for this CPU.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from minillm import MinillmError
from minillm.checkpoint.read_config import read_config

FORMATS = {"fp32": ("F32",), "bf16": ("BF16", "F16")}
LAYER = {
    "input_layernorm": "attn_norm", "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output", "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down",
}  # fmt: skip
TOP = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}


def available() -> bool:
    """Whether llama-cpp-python and gguf are installed."""
    try:
        import gguf  # noqa: F401
        import llama_cpp  # noqa: F401
    except ImportError:
        return False
    return True


def write_gguf(folder: Path, path: Path, form: str) -> None:
    """Write a llama checkpoint as one GGUF file of F32, F16 or BF16 matrices and a vocabulary of numbers."""
    import gguf
    from safetensors.torch import load_file

    config = read_config(folder)
    stored = json.loads((folder / "config.json").read_text())
    if stored["model_type"] != "llama":
        raise MinillmError(f"the llama.cpp peer knows llamas alone, not {stored['model_type']}")
    writer = gguf.GGUFWriter(path, "llama")
    H, K, D = config.heads
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_layers)
    writer.add_feed_forward_length(stored["intermediate_size"])
    writer.add_head_count(H)
    writer.add_head_count_kv(K)
    writer.add_rope_dimension_count(D)
    writer.add_rope_freq_base(float(stored.get("rope_theta") or stored["rope_parameters"]["rope_theta"]))
    writer.add_layer_norm_rms_eps(config.norm_eps)
    writer.add_vocab_size(config.vocab_size)
    # Token ids go in and out: what they stand for does not matter.
    writer.add_tokenizer_model("none")
    kind = gguf.GGMLQuantizationType[form]
    for file in sorted(folder.glob("*.safetensors")):
        for name, x in load_file(file).items():
            stem = name.removesuffix(".weight")
            if stem in TOP:
                new = TOP[stem]
            else:
                _, _, number, inner = stem.split(".", 3)
                new = f"blk.{number}.{LAYER[inner]}"
            if inner_heads := {"attn_q": H, "attn_k": K}.get(new.rsplit(".", 1)[-1]):
                # llama.cpp turns pairs that stand side by side.
                x = x.view(inner_heads, 2, D // 2, -1).transpose(1, 2).reshape(x.shape)
            data = x.float().contiguous()
            if x.ndim == 1 or form == "F32":
                writer.add_tensor(f"{new}.weight", data.numpy())
            else:
                target = torch.bfloat16 if form == "BF16" else torch.float16
                raw = data.to(target).view(torch.int16).numpy().view("uint16")
                raw = raw.view("float16") if form == "F16" else raw.view("uint8")
                writer.add_tensor(f"{new}.weight", raw, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


class LlamaCpp:
    """Greedy decoding of one sequence by llama.cpp."""

    def __init__(self, path: Path, prompt: list[int], new_tokens: int, threads: int) -> None:
        from llama_cpp import Llama

        context = len(prompt) + new_tokens + 1
        self.prompt, self.new_tokens = prompt, new_tokens
        self.model: Any = Llama(
            str(path), n_ctx=context, n_threads=threads, n_threads_batch=threads, verbose=False
        )

    def run(self) -> tuple[list[float], list[int]]:
        """(seconds of each decode step, tokens), the first of them from the prompt."""
        model, tokens, steps = self.model, [], []
        model.reset()
        model.eval(self.prompt)
        for _ in range(self.new_tokens):
            tokens.append(self._likeliest())
            begin = time.perf_counter()
            model.eval([tokens[-1]])
            steps.append(time.perf_counter() - begin)
        return steps, [*tokens, self._likeliest()]

    def _likeliest(self) -> int:
        import llama_cpp

        logits = llama_cpp.llama_get_logits_ith(self.model.ctx, -1)
        return int(np.ctypeslib.as_array(logits, (self.model.n_vocab(),)).argmax())
