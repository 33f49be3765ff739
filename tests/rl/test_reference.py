"""Reference: logprobs of the model as it was, by each way, and a live model that it leaves alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from minillm import LLM, MinillmError, Transformer, save_model, token_logprobs
from minillm.api.sampling_params import SamplingParams
from minillm.lora import LoRA
from minillm.parity import compare
from rl.reference import Reference

MakeModel = Callable[..., Transformer]
SEQUENCES = [[5, 17, 40, 99, 3, 17], [7], list(range(70)), [130, 2, 2]]


def equal(left: list[torch.Tensor], right: list[torch.Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(left, right, strict=True))


def weights_of(model: Transformer) -> list[torch.Tensor]:
    return [p.detach().clone() for p in model.parameters()]


def size_of(model: Transformer) -> int:
    return sum(p.nbytes for p in model.parameters())


def train(model: Transformer, optimizer: torch.optim.Optimizer) -> None:
    torch.cat(token_logprobs(model, SEQUENCES)).mean().backward()
    optimizer.step()
    optimizer.zero_grad()


@pytest.mark.parametrize("precision", ["fp32", "bf16", "bf16-master-fp32"])
def test_of_lora_is_the_base_and_leaves_the_live_weights(tiny_llama: MakeModel, precision: str) -> None:
    model = tiny_llama(precision)
    llm = LLM(model, kv_cache_memory_bytes=1 << 24)
    base = [x.detach() for x in token_logprobs(model, SEQUENCES, 0.7)]
    next_RV = llm.next_token_logprobs(SEQUENCES, 0.7)
    lora = LoRA(model)
    optimizer = torch.optim.AdamW(lora.parameters(), lr=0.02)
    lora.attach(optimizer)
    reference = Reference.of_lora(llm, lora)
    assert reference.model is model  # nothing is copied
    params = SamplingParams(max_tokens=6, logprobs=0, seed=1, ignore_eos=True)
    for _ in range(2):
        train(model, optimizer)
        live, policy = weights_of(model), token_logprobs(model, SEQUENCES, 0.7)
        assert not equal(policy, base)
        found = reference.token_logprobs(SEQUENCES, 0.7)
        assert equal(found, base) and not any(x.requires_grad for x in found)
        rows_RV = reference.logprobs(SEQUENCES, 0.7)
        assert torch.equal(rows_RV, next_RV) and not rows_RV.requires_grad
        assert equal(weights_of(model), live)
        assert equal(token_logprobs(model, SEQUENCES, 0.7), policy)
        assert compare(model, llm.generate(SEQUENCES, params)).bits == 0
        with lora.off():  # as well
            assert equal(reference.token_logprobs(SEQUENCES, 0.7), base)
    with pytest.raises(MinillmError, match="id 131 is out of vocabulary"):
        reference.token_logprobs([[131]])
    assert equal(weights_of(model), live)


@pytest.mark.parametrize("precision", ["fp32", "bf16-master-fp32"])
def test_copy_of_is_the_model_of_then_in_half_the_bytes(tiny_llama: MakeModel, precision: str) -> None:
    model = tiny_llama(precision, tie_word_embeddings=False)
    size = size_of(model)
    before = [x.detach() for x in token_logprobs(model, SEQUENCES)]
    half, same = Reference.copy_of(model), Reference.copy_of(model, model.precision)
    assert (size_of(half.model), size_of(same.model)) == (size // 2, size)
    rounded = half.token_logprobs(SEQUENCES)
    train(model, torch.optim.AdamW(model.parameters(), lr=1e-2))
    assert not equal(token_logprobs(model, SEQUENCES), before)
    assert equal(same.token_logprobs(SEQUENCES), before)
    assert equal(half.token_logprobs(SEQUENCES), rounded)
    # A master's weights are rounded before a product anyway.
    assert equal(rounded, before) == (precision == "bf16-master-fp32")
    assert not any(p.requires_grad for p in half.model.parameters())


def test_bf16_copy_is_what_the_checkpoint_gives_in_bf16(tiny_llama: MakeModel, tmp_path: Path) -> None:
    model = tiny_llama("fp32")
    save_model(model, tmp_path)
    folder, copy = Reference.from_folder(tmp_path, "bf16"), Reference.copy_of(model, "bf16")
    assert equal(folder.token_logprobs(SEQUENCES), copy.token_logprobs(SEQUENCES))
    assert torch.equal(folder.logprobs(SEQUENCES), copy.logprobs(SEQUENCES))
    assert size_of(folder.model) == size_of(copy.model)
    assert not any(p.requires_grad for p in folder.model.parameters())
    exact = Reference.from_folder(tmp_path, "fp32")
    assert equal(exact.token_logprobs(SEQUENCES), [x.detach() for x in token_logprobs(model, SEQUENCES)])
    small = Reference.from_folder(tmp_path, "int8")
    assert size_of(small.model) < size_of(copy.model)
    assert small.logprobs(SEQUENCES).shape == (4, 131)
    assert equal(
        Reference.copy_of(small.model, "int8").token_logprobs(SEQUENCES), small.token_logprobs(SEQUENCES)
    )


def test_next_logprobs_are_those_of_chosen_tokens(tiny_llama: MakeModel) -> None:
    model = tiny_llama("fp32")
    reference = Reference.copy_of(model, "fp32")
    rows_RV = reference.logprobs(SEQUENCES, 0.7)
    for prefix, row_V in zip(SEQUENCES, rows_RV, strict=True):
        for token in (0, 77, 130):
            (found,) = reference.token_logprobs([[*prefix, token]], 0.7)
            assert torch.equal(found[-1], row_V[token])


def test_errors_name_the_culprit(tiny_llama: MakeModel) -> None:
    model = tiny_llama("fp32")
    with pytest.raises(MinillmError, match="another model's"):
        Reference.of_lora(tiny_llama("fp32"), LoRA(model))
    for one, other in (("int8", "bf16"), ("fp32", "int8")):
        with pytest.raises(MinillmError, match=r"weights of 8 bits are not copied.*from_folder"):
            Reference.copy_of(tiny_llama(one), other)
    reference = Reference.copy_of(model)
    with pytest.raises(MinillmError, match="0 prefixes"):
        reference.logprobs([])
    with pytest.raises(MinillmError, match="temperature 0"):
        reference.logprobs([[1]], 0)
    with pytest.raises(MinillmError, match="temperature must be above 0"):
        reference.token_logprobs([[1]], 0)
    with pytest.raises(MinillmError, match="empty"):
        reference.logprobs([[1], []])
