"""`benchmarks.train_step`: what is counted and checked, and a run of it on tiny models."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("transformers")
pytest.importorskip("peft")

from benchmarks import machine, train_sides, train_step
from benchmarks.record import screen
from benchmarks.train_sides import CASES
from minillm import MinillmError
from minillm.checkpoint.read_config import read_config
from tests.conftest import tiny_config, write_tiny_llama

TINY_MIXTURE = {
    **train_sides.MIXTURE,
    "vocab_size": 131,
    "hidden_size": 48,
    "moe_intermediate_size": 24,
    "num_experts": 5,
    "num_experts_per_tok": 2,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
}


@pytest.fixture
def llama(tmp_path: Path) -> Path:
    folder = tmp_path / "llama"
    folder.mkdir()
    write_tiny_llama(folder, tiny_config())
    return folder


def test_operations_are_those_of_the_model(llama: Path, tmp_path: Path) -> None:
    config, lengths = read_config(llama), (5, 3)
    H, K, D, C, F, V, T = 6, 2, 16, 48, 53, 131, 8
    layer = C * (H + 2 * K) * D + H * D * C + C * 2 * F + F * C
    products = 2 * (2 * T * layer + (T - 2) * C * V)
    attention = 2 * 2 * (25 + 9) * H * D
    found = train_sides.operations(config, lengths, lora=False)
    assert found.forward == products + attention
    assert found.backward == 2 * products + 2.5 * attention
    assert train_sides.operations(config, lengths, lora=True).backward == products + 2.5 * attention
    mixture = read_config(train_sides.write_mixture(tmp_path / "mixture", TINY_MIXTURE))
    layer = C * (4 + 2 * 2) * 16 + 4 * 16 * C + C * 5 + 2 * (C * 48 + 24 * C)  # two of five experts
    products = 2 * (2 * T * layer + (T - 2) * C * V)
    assert train_sides.operations(mixture, lengths, False).forward == products + 2 * 2 * 34 * 4 * 16


def test_the_mixture_is_of_300_million_parameters(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(train_sides.MIXTURE))
    shapes = train_sides.hf_shapes(read_config(tmp_path))
    assert 290e6 < sum(shape.numel() for shape in shapes.values()) < 320e6


def test_a_piece_is_the_first_layers(llama: Path, tmp_path: Path) -> None:
    from minillm import load_model

    whole = dict(load_model(llama, "fp32").named_parameters())
    small = load_model(train_sides.piece(llama, 1, tmp_path / "piece"), "fp32")
    assert small.config.num_layers == 1
    for name, parameter in small.named_parameters():
        assert torch.equal(parameter, whole[name])


@pytest.mark.parametrize("name", CASES)
def test_the_check_passes_and_sees_a_wrong_gradient(
    name: str, llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = CASES[name]
    folder = train_sides.write_mixture(tmp_path / "mixture", TINY_MIXTURE) if case.experts else llama
    found = train_sides.check(folder, case, (9, 5), seed=1)
    assert found.passed and found.tokens == 2 * 2 * 12, str(found)
    assert found.ours.keys() == found.theirs.keys()
    right = train_sides.token_logprobs

    def wrong(model: Any, sequences: Any) -> list[torch.Tensor]:
        """Three times the gradient of the last token, but for the model that adapters' are exact by."""
        found = right(model, sequences)
        if model.precision.weights == torch.float64:
            return found
        return [torch.cat((p[:-1], 3 * p[-1:] - 2 * p[-1:].detach())) for p in found]

    monkeypatch.setattr(train_sides, "token_logprobs", wrong)
    planted = train_sides.check(folder, case, (9, 5), seed=1)
    assert not planted.passed and planted.worst > 2 and planted.differing == 0


def test_padding_changes_no_sum(llama: Path) -> None:
    model = train_sides.load_theirs(llama, "fp32")
    sequences = train_sides.draw((9, 4, 7), 131, seed=0)
    alone = sum(train_sides.their_logprobs(model, [s]).item() for s in sequences)
    assert train_sides.their_logprobs(model, sequences).item() == pytest.approx(alone, rel=1e-5)


def test_turns_go_on_while_there_is_time() -> None:
    calls: list[str] = []

    def step(name: str) -> train_sides.Step:
        calls.append(name)
        return train_sides.Step(1.0, float(len(calls)))

    left = iter([True, False])
    steps = {(name, ""): partial(step, name) for name in ("a", "b")}
    train_step.PAUSE, before = 0.0, train_step.PAUSE
    found = train_step.in_turns(steps, 2, lambda: next(left), lambda: calls.append("-"))
    train_step.PAUSE = before
    assert "".join(calls) == "ab-ba-ab-"
    assert [len(times) for times in found.values()] == [3, 3]


def test_spreads_and_verdicts() -> None:
    assert train_step.Spread.of([2.0]) == train_step.Spread(2.0, 2.0, 2.0)
    assert train_step.Spread.of([3.0, 1.0, 2.0]) == train_step.Spread(2.0, 1.0, 3.0)
    found = {
        ("ours", "packed"): [train_sides.Step(1.0, 2.0, 10), train_sides.Step(1.0, 3.0, 9)],
        ("transformers", "padded"): [train_sides.Step(3.0, 4.0, 99), train_sides.Step(2.0, 4.0, 99)],
        ("transformers", "one by one"): [train_sides.Step(2.0, 4.0, 19), train_sides.Step(2.0, 4.0, 20)],
    }
    work, products = train_sides.Operations(100.0, 200.0), {"forward": 8.0, "backward": 8.0, "all": 8.0}
    row = train_step.summary(CASES["bf16"], work, found, products)
    assert (row.ours.way, row.transformers.way) == ("packed", "one by one")
    assert row.step_ratio.median == pytest.approx((3 / 6 + 4 / 6) / 2) and row.memory_ratio == 0.5
    assert row.ours.forward_rate == 100 and row.ours.backward_rate == 80
    with_instruction, without = machine.Peaks(10, 20, 1), machine.Peaks(10, None, 1)
    verdicts = train_step.verdicts([row], with_instruction)
    assert [verdict.met for verdict in verdicts] == [True, True, False, False]
    assert next(iter(train_step.verdicts([row], without))).aim == 0.3
    assert train_step.verdicts([row], without)[3].value == pytest.approx(0.8)


def test_a_run(llama: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(machine, "STEPS", 100)
    monkeypatch.setattr(machine, "READ_BYTES", 1 << 22)
    config = train_step.Config(str(llama), ("fp32",), lengths=(9, 5), rounds=2, minutes=0, save=False)
    assert train_step.run(config, screen()) == 0
    printed = capfd.readouterr().out
    record = json.loads(printed.splitlines()[-1])
    assert record["benchmark"] == "train-step" and record["checks"][0]["passed"]
    (row,) = record["rows"]
    assert row["case"] == "fp32" and row["rounds"] == 2 and row["transformers"]["peak"] > 1e8
    assert row["products"].keys() == {"forward", "backward", "all"}
    assert "backward's rate over our forward's" in printed and "GB/s read" in printed


@pytest.mark.parametrize("options", [{"cases": ("fp16",)}, {"rounds": 0}, {"lengths": (9, 1)}, {"cases": ()}])
def test_wrong_options(options: dict[str, Any]) -> None:
    with pytest.raises(MinillmError):
        train_step.run(train_step.Config(**options, save=False), screen())
