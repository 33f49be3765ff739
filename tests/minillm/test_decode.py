"""Recorded decode steps: they happen, agree with steps that are written out, and see new weights."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from minillm import LLM, SamplingParams, Transformer
from minillm.engine.decode_graph import DecodeGraphs
from minillm.model.batch import Batch

MakeModel = Callable[..., Transformer]
GREEDY = SamplingParams(temperature=0.0, max_tokens=80, ignore_eos=True, logprobs=0)


def steps_of(llm: LLM) -> DecodeGraphs:
    return llm._engine.decode_graphs


def small_llm(model: Transformer) -> LLM:
    return LLM(model, kv_cache_memory_bytes=1 << 24)


def entries(llm: LLM, prompts: list[list[int]]) -> list[tuple[list[int], list[float]]]:
    outputs = [output.outputs[0] for output in llm.generate(prompts, GREEDY)]
    return [
        (o.token_ids, [e[t].logprob for t, e in zip(o.token_ids, o.logprobs or [], strict=True)])
        for o in outputs
    ]


@pytest.mark.parametrize("precision", ("fp32", "bf16", "fp32-attn-bf16", "bf16-master-fp32", "fp64"))
def test_recorded_steps_agree_with_written_ones(
    tiny_llama: MakeModel, precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompts = [[1, 2, 3], [4, 5, 6, 7, 8], [9]]
    recorded = small_llm(tiny_llama(precision))
    found = [entries(recorded, prompts), entries(recorded, prompts[:2]), entries(recorded, prompts)]
    written = small_llm(tiny_llama(precision))
    monkeypatch.setattr(Batch, "is_decode", False)
    assert found == [entries(written, prompts), entries(written, prompts[:2]), entries(written, prompts)]
    assert not steps_of(written)._steps
    made = steps_of(recorded)._steps
    # Three sequences, then two, over the smallest table.
    assert {B for B, _ in made} == {2, 3} and {P for _, P in made} == {8}
    whole = precision in (
        "fp32",
        "bf16",
        "bf16-master-fp32",
    )  # the others convert on the way, or have no kernels
    assert {step.recording is not None for step in made.values()} == {whole}


def test_an_update_of_the_weights_is_seen(tiny_llama: MakeModel) -> None:
    model = tiny_llama()
    llm = small_llm(model)
    before = entries(llm, [[1, 2, 3]])
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.01)
    after = entries(llm, [[1, 2, 3]])
    assert after != before and after == entries(small_llm(model), [[1, 2, 3]])


def test_weights_put_elsewhere_are_seen(tiny_llama: MakeModel) -> None:
    model = tiny_llama()
    llm = small_llm(model)
    before = entries(llm, [[1, 2, 3]])
    for parameter in model.parameters():
        parameter.data = parameter.data * 1.01
    llm.reset_prefix_cache()
    after = entries(llm, [[1, 2, 3]])
    assert after != before and after == entries(small_llm(model), [[1, 2, 3]])


def test_a_step_recorded_in_inference_mode_serves_outside_of_it(tiny_llama: MakeModel) -> None:
    llm = small_llm(tiny_llama())
    with torch.inference_mode():
        inside = entries(llm, [[1, 2, 3]])
    assert entries(llm, [[1, 2, 3]]) == inside


def test_what_a_step_returned_stays(tiny_llama: MakeModel) -> None:
    llm = small_llm(tiny_llama())
    engine = llm._engine
    page = engine.scheduler.pool.take(1)
    hidden = []
    with torch.no_grad():
        for position in range(3):
            batch = Batch.build([1], [position], [page])
            hidden.append(engine.decode_graphs.run(torch.tensor([position + 1]), batch))
    assert len({h.data_ptr() for h in hidden}) == 3
    assert not torch.equal(hidden[0], hidden[1]) and not torch.equal(hidden[1], hidden[2])
