"""The demo model against values that transformers wrote (`tests/golden/write_smollm2.py`)."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from minillm import LLM, SamplingParams, Tokenizer, Transformer, token_logprobs

GOLDEN = Path(__file__).parents[1] / "golden"


@pytest.fixture(scope="module")
def golden() -> dict[str, Any]:
    content: dict[str, Any] = json.loads((GOLDEN / "smollm2_logprobs.json").read_text())
    return content


@pytest.mark.parametrize("name", ["english", "python"])
def test_logprobs_of_text_are_those_of_transformers(
    name: str, golden: dict[str, Any], load_demo_model: Callable[[str], Transformer]
) -> None:
    ids, expected = golden[name]["ids"], torch.tensor(golden[name]["logprobs"])
    assert len(ids) == 512
    with torch.no_grad():
        (logprobs,) = token_logprobs(load_demo_model("fp32"), [ids])
    assert logprobs.shape == expected.shape == (511,)
    assert (logprobs - expected).abs().max() <= 1e-4


@pytest.mark.parametrize("name", ["english", "python"])
def test_the_texts_are_encoded_as_by_transformers(
    name: str, golden: dict[str, Any], demo_model_path: Path
) -> None:
    text = (GOLDEN / f"smollm2_{name}.txt").read_text()
    assert Tokenizer.from_folder(demo_model_path).encode(text)[:512] == golden[name]["ids"]


def test_greedy_continuations_in_one_batch_are_those_of_transformers_alone(
    golden: dict[str, Any], load_demo_model: Callable[[str], Transformer]
) -> None:
    prompts = [entry["prompt"] for entry in golden["greedy"]]
    expected = [entry["continuation"] for entry in golden["greedy"]]
    assert len(prompts) == 20
    assert len({len(prompt) for prompt in prompts}) == 20
    llm = LLM(load_demo_model("fp32"))
    params = SamplingParams(temperature=0, max_tokens=64, ignore_eos=True)
    outputs = llm.generate(prompts, params)
    assert [output.outputs[0].token_ids for output in outputs] == expected
    assert {output.outputs[0].finish_reason for output in outputs} == {"length"}
