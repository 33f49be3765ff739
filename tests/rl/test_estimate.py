"""How long a run will take, from what its method asks for and from what its iterations took."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

import rl.trainer
from minillm import LLM, Tokenizer, load_model
from rl.config import GRPOConfig, MethodConfig, Settings, SFTConfig
from rl.estimate import Speed, Work, measure
from rl.grpo import GRPO
from rl.journal import Journal
from rl.metrics import read_metrics
from rl.run import Method
from rl.sft import SFT
from rl.single_token import SingleToken
from rl.trainer import Trainer


class Letters:
    id, stop = "letters", ()
    prompt_ids, golden_ids = [2, 3, 4, 5, 6], [7, 8, 9, 0]

    def rewards(self, completions: list[list[int]]) -> list[float]:
        return [float(list(ids) == self.golden_ids) for ids in completions]


def test_a_method_says_what_an_iteration_asks_for() -> None:
    states = [(Letters(), 2), (Letters(), 3)]
    expected: list[tuple[Method, Work]] = [
        (SFT(SFTConfig()), Work(trained=18)),
        (GRPO(GRPOConfig(group=2, extra_tokens=4, inner_steps=3)), Work(13, 2 * 13, 3 * 2 * 26)),
        (
            SingleToken(MethodConfig(states=2, actions=3, rollouts=5, extra_tokens=1, inner_steps=4)),
            Work(2 * 2 * 18, 2 * 4 * 5 * 5, 4 * 18),
        ),
    ]
    for method, work in expected:
        assert method.work(states) == work
    assert Speed(2.0, 3.0, 5.0).seconds(Work(1, 10, 100)) == 532


@pytest.fixture
def trainer(letters_folder: Callable[..., Path]) -> Trainer:
    folder = letters_folder(38)
    llm = LLM(load_model(folder), Tokenizer.from_folder(folder), kv_cache_memory_bytes=1 << 22)
    settings = Settings(evaluate_every=2, evaluate_rollouts=10, evaluate_k=(1,))
    return Trainer(llm, [Letters()], SFT(SFTConfig(k=2, extra_tokens=1)), folder, settings=settings)


def test_before_the_first_iteration_a_few_tokens_are_measured(
    trainer: Trainer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rl.trainer, "measure", lambda *_: Speed(1.0, 10.0, 1000.0))
    with Journal.open(tmp_path / "run", {}) as journal:
        # 5 steps on 9 tokens; measurements after 0, 2, 4 and 5 of completions of 2 + 1 and 1 + 1 tokens.
        evaluation = (9 - 2) + (9 - 1) + 10 * 10 * (3 + 2)
        assert trainer.expected_seconds(journal, 5) == 5 * 9000 + 4 * evaluation
        assert trainer.iterations_done(journal) == 0


def test_afterwards_it_is_known(trainer: Trainer, tmp_path: Path) -> None:
    with Journal.open(tmp_path / "run", {}) as journal:
        trainer.run(journal, 2)
        assert trainer.iterations_done(journal) == 2
        lines = read_metrics(tmp_path / "run")
        for line in lines:
            line.update((name, 7.0 if "evaluation" in name else 3.0) for name in line if "seconds/" in name)
        (tmp_path / "run" / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        kinds = {name for line in lines for name in line if "seconds/" in name}
        assert kinds == {"seconds/training", "seconds/saving", "seconds/evaluation"}
        # Three more iterations of 3 + 3 s, and measurements after 4 and 5.
        assert trainer.expected_seconds(journal, 5) == 3 * 6 + 2 * 7
        assert trainer.expected_seconds(journal, 1) == 7


def test_measuring_leaves_no_trace(trainer: Trainer) -> None:
    before = [p.clone() for p in trainer.model.parameters()]
    speed = measure(trainer.llm, trainer._run.trainable, trainer.problems)
    assert min(speed.read, speed.sampled, speed.trained) > 0
    assert all(bool((p == was).all()) for p, was in zip(trainer.model.parameters(), before, strict=True))
    assert all(p.grad is None for p in trainer.model.parameters())
