"""Where the tensors and modules that PEFT adapts stand in our parameters.

PEFT sees a model of transformers, which calls some modules otherwise than checkpoints do, and since version 5
keeps all experts of a layer in one parameter.

Legend: N outputs.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch

from minillm.checkpoint.keys import Place

# Parts of names in checkpoints, and what transformers calls the same in a model.
LIVE = (
    ("embed_out.", "lm_head."),
    (".block_sparse_moe.gate.", ".mlp.gate."),
    (".block_sparse_moe.gate.", ".mlp.router."),
    (".block_sparse_moe.router.layer.", ".block_sparse_moe.router."),
    (".mlp.router.gate.", ".mlp.gate."),
    (".mlp.shared_mlp.", ".mlp.shared_experts."),
)
# How the names of a text model's layers start inside of another model, and then those of its head.
INSIDE = {"model.language_model.": "", "language_model.model.": "language_model."}
# What transformers calls the parameters that hold all experts, in the order in which PEFT wraps them.
STACKED = {"experts_gate_up": "gate_up_proj", "experts_down": "down_proj"}
# Model types whose experts transformers keeps as (K, N) and does not say so, which PEFT takes for (N, K).
FLIPPED = frozenset({"llama4_text"})


def inside(stored: Mapping[str, Place], prefix: str) -> dict[str, Place]:
    """Give the places of a text model that is a part of another one their names there."""
    return {
        prefix + name.removeprefix("model.") if name.startswith("model.") else INSIDE[prefix] + name: place
        for name, place in stored.items()
    }


def aliases(name: str) -> list[str]:
    """List what a checkpoint's tensor is called: there, and in a model of transformers."""
    return [name, *(name.replace(part, other) for part, other in LIVE if part in name)]


def stacks(stored: Mapping[str, Place]) -> dict[str, Place]:
    """Map the name of every parameter of transformers that holds all experts to its place."""
    whole: dict[str, Place] = {}
    for name, place in stored.items():
        if place.name not in STACKED or place.expert not in (None, 0):
            continue
        block, inner, _ = name.partition(".experts.")
        if not inner:  # block.input_linear.weight
            block = name.rsplit(".", 2)[0]
        elif place.expert is not None:
            block = block.replace(".block_sparse_moe", ".mlp")
        live = f"{block}.experts.{STACKED[place.name]}"
        before = [whole[live].column_N] if live in whole else []
        whole[live] = place._replace(expert=None, column_N=torch.cat([*before, place.column_N]))
    return whole
