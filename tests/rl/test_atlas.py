"""The atlas of token values: its intervals, where rollouts go, and that it finds values that are known."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from math import comb, exp, log
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from minillm import LLM, MinillmError
from rl.atlas import AtlasConfig, AtlasEntry, ProblemAtlas, main, next_rollouts, path_of, read_atlas
from rl.atlas_rollouts import make_atlas, states_of
from rl.intervals import exact_interval
from rl.types import Rollout

EOS, WRONG = 0, 1


# ---------------------------------------------------------------- intervals


def test_interval_ends_are_where_the_tails_are() -> None:
    def tail(chance: float, least: int, n: int) -> float:
        return sum(comb(n, x) * chance**x * (1 - chance) ** (n - x) for x in range(least, n + 1))

    for n in (1, 4, 16, 57):
        for s in range(n + 1):
            low, high = exact_interval(s, n, 0.9)
            assert low == 0.0 if s == 0 else tail(low, s, n) == pytest.approx(0.05, rel=1e-9)
            assert high == 1.0 if s == n else 1 - tail(high, s + 1, n) == pytest.approx(0.05, rel=1e-9)
            assert exact_interval(n - s, n, 0.9) == pytest.approx((1 - high, 1 - low), abs=1e-12)


def test_interval_of_published_counts() -> None:
    # 0 of n: 1 - 0.025 ** (1 / n), the rule of three's exact form; 10 of 20 as in tables of the method.
    assert exact_interval(0, 10) == (0.0, pytest.approx(0.308497, abs=1e-6))
    assert exact_interval(10, 20) == pytest.approx((0.272, 0.728), abs=5e-4)
    assert exact_interval(0, 0) == (0.0, 1.0)
    assert exact_interval(2.5, 10) == (exact_interval(2, 10)[0], exact_interval(3, 10)[1])
    for wrong in ((3, 2, 0.9), (-1, 2, 0.9), (1, 2, 1.0)):
        with pytest.raises(MinillmError):
            exact_interval(*wrong)


# ---------------------------------------------------------------- a fake policy, whose values are known


class Tail:
    """Golden tokens 2, 3, ...; all of them earn 1, and none of them but all."""

    id, stop = "a tail/of tokens", ("#",)

    def __init__(self, length: int) -> None:
        self.prompt_ids = [9]
        self.golden_ids = [2 + i % 7 for i in range(length - 1)] + [EOS]

    def rewards(self, completions: Sequence[Sequence[int]]) -> list[float]:
        return [float(list(ids) == self.golden_ids) for ids in completions]


class FakeLLM:
    """Of one `Tail` problem: state k's golden token has the probability `probs[k]`, by default 1."""

    max_model_len = 10_000

    def __init__(self, problem: Tail, probs: dict[int, float]) -> None:
        self.problem, self.probs, self.sampled = problem, probs, 0
        weights = [torch.ones(2)]
        self.model = SimpleNamespace(parameters=lambda: weights, check_tokens=lambda *_, **__: None)

    def value(self, k: int) -> float:
        value = 1.0
        for j in range(1, k + 1):
            value *= self.probs.get(j, 1.0)
        return value

    def get_tokenizer(self) -> Any:
        return SimpleNamespace(text_after=lambda before, i: (f"<{i}>", b""), name_of=lambda i: f"<{i}>")

    def _k(self, prefix: Sequence[int]) -> int:
        return len(self.problem.golden_ids) + 1 - len(prefix)

    def next_token_logprobs(self, prompts: Sequence[Sequence[int]]) -> torch.Tensor:
        rows = torch.full((len(prompts), 10), -torch.inf)
        for row, prefix in zip(rows, prompts, strict=True):
            k = self._k(prefix)
            golden, prob = self.problem.golden_ids[-k], self.probs.get(k, 1.0)
            row[golden] = log(prob)
            if prob < 1:
                row[WRONG] = log(1 - prob)
        return rows

    def generate(self, prompts: Sequence[Sequence[int]], params: Sequence[Any]) -> list[Any]:
        outputs = []
        for prefix, param in zip(prompts, params, strict=True):
            generator, k = random.Random(param.seed), self._k(prefix)
            completions = []
            for _ in range(param.n):
                ids = []
                for j in range(k, 0, -1):
                    right = generator.random() < self.probs.get(j, 1.0)
                    ids.append(self.problem.golden_ids[-j] if right else WRONG)
                    if not right:
                        break
                self.sampled += len(ids)
                completions.append(
                    SimpleNamespace(token_ids=ids, token_logprobs=[0.0] * len(ids), finish_reason="stop")
                )
            outputs.append(SimpleNamespace(outputs=completions))
        return outputs


def fake(
    folder: Path, length: int, probs: dict[int, float], config: AtlasConfig, **budget: Any
) -> tuple[FakeLLM, ProblemAtlas]:
    problem = Tail(length)
    llm = FakeLLM(problem, probs)
    (part,) = make_atlas(llm, [problem], config, folder, {"by": "test"}, **budget)  # type: ignore[arg-type]
    return llm, part


def test_one_jump_is_found_and_all_else_left_alone(tmp_path: Path) -> None:
    config = AtlasConfig(states=256, stride=64, rollouts=16, max_rollouts=16)
    _, part = fake(tmp_path, 300, {41: 0.0625}, config)
    assert [entry.k for entry in part.entries] == list(range(256, 0, -1))
    jumps = {entry.k: entry.jump for entry in part.entries}
    assert max(jumps, key=lambda k: jumps[k] or 0.0) == 41
    by_k = {entry.k: entry for entry in part.entries}
    assert by_k[40].value == 1.0 and by_k[41].value == by_k[41].mean < 0.5
    # A grid of 4 states, and 6 halvings of 64; a uniform map would take 256 * 16.
    assert part.drawn <= (4 + 6) * 16
    drawn_at = [entry.k for entry in part.entries if entry.drawn]
    assert len(drawn_at) <= 10 and {256, 192, 128, 64, 41} <= {*drawn_at, 41}
    # What lies before the jump is passed through, and known, without a rollout of its own.
    assert by_k[250].rollouts == 16 and by_k[250].drawn == 0
    assert by_k[41].logprob == pytest.approx(log(0.0625)) and by_k[41].rank == 2
    entropy = -(0.0625 * log(0.0625) + 0.9375 * log(0.9375))
    assert by_k[41].entropy == pytest.approx(entropy, rel=1e-5) and by_k[40].entropy == 0.0
    assert [likely.token_id for likely in by_k[41].likeliest[:2]] == [WRONG, by_k[41].token_id]


def test_intervals_hold_the_values_as_often_as_they_say(tmp_path: Path) -> None:
    """Counts that rollouts share, and rounds that follow from earlier ones, take nothing from coverage."""
    probs = {3: 0.8, 4: 0.9, 11: 0.5, 12: 0.9, 30: 0.7, 31: 0.3}
    inside = known = 0
    sums = dict.fromkeys((4, 12, 31), 0.0)
    for seed in range(150):
        config = AtlasConfig(states=48, stride=16, rollouts=8, max_rollouts=32, confidence=0.9, seed=seed)
        llm, part = fake(tmp_path / str(seed), 48, probs, config)
        for entry in part.entries:
            if entry.rollouts:
                known += 1
                inside += entry.low <= llm.value(entry.k) <= entry.high
            if entry.k in sums:
                assert entry.value is not None
                sums[entry.k] += entry.value / 150
    assert inside / known >= 0.9
    for k, mean in sums.items():
        assert mean == pytest.approx(llm.value(k), abs=0.04)


def test_rollouts_count_where_they_come_through() -> None:
    golden = [5, 6, 7, 8, EOS]

    def states(*ids: int) -> list[int]:
        return states_of(Rollout(list(ids), [0.0] * len(ids), 0.0, "stop"), 4, golden)

    assert states(1, 7, 8, EOS) == [4]
    assert states(6, 7, 1) == [4, 3, 2]
    assert states(6, 7) == [4, 3]  # it ends in state 2, and shows nothing of what follows
    assert states(6, 7, 8, EOS) == [4, 3, 2, 1]
    assert states(6, 7, 8, EOS, 5) == [4, 3, 2, 1]
    assert states() == [4]


def entry_of(k: int, successes: float, rollouts: int) -> AtlasEntry:
    interval = exact_interval(successes, rollouts)
    mean = successes / rollouts if rollouts else None
    counts = rollouts, rollouts, float(successes), mean, *interval
    return AtlasEntry(k, 0, "", 0.0, 1, 0.0, [], *counts)


def test_next_rollouts() -> None:
    config = AtlasConfig(stride=4, rollouts=8, max_rollouts=16)
    counts = dict.fromkeys(range(1, 11), (0, 0))

    def choose(**more: tuple[int, int]) -> dict[int, int]:
        now = counts | {int(k[1:]): count for k, count in more.items()}
        return next_rollouts([entry_of(k, *count) for k, count in now.items()], config)

    assert choose() == {4: 8, 8: 8, 10: 8}
    assert choose(k8=(1, 3)) == {4: 8, 8: 5, 10: 8}
    # A jump between 4 and 8: half way. What is there already counts.
    assert choose(k4=(8, 8), k8=(0, 8), k10=(0, 8), k6=(1, 2)) == {6: 6}
    # At the token: twice the rollouts, but not for 10, where nothing changes.
    at = {"k4": (8, 8), "k5": (8, 8), "k6": (8, 8), "k7": (0, 8), "k8": (0, 8), "k10": (0, 8)}
    assert choose(**at) == {6: 8, 7: 8}
    done = {"k4": (16, 16), "k5": (16, 16), "k6": (16, 16), "k7": (0, 16), "k8": (0, 16), "k10": (0, 8)}
    assert choose(**done) == {}
    assert choose(k4=(8, 8), k8=(8, 8), k10=(8, 8)) == {}


# ---------------------------------------------------------------- folders and budgets


def read(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("*.json")}


PROBS = {2: 0.9, 5: 0.5, 11: 0.8}
SMALL = AtlasConfig(states=20, stride=8, rollouts=8, max_rollouts=64, seed=3)


def test_smaller_budgets_lead_to_the_same_counts(tmp_path: Path) -> None:
    _, whole = fake(tmp_path / "whole", 24, PROBS, SMALL)
    for budget in (24, 60, 100, 10_000):
        _, part = fake(tmp_path / "parts", 24, PROBS, SMALL, budget=budget)
        assert part.drawn <= budget
    assert read(tmp_path / "parts") == read(tmp_path / "whole")
    config, (again,) = read_atlas(tmp_path / "whole")
    assert again == whole
    assert config["by"] == "test" and config["atlas"]["stride"] == 8
    assert path_of(tmp_path, Tail.id).name == "a%20tail%2Fof%20tokens.json"
    assert again.head + "".join(entry.text for entry in again.entries) == "".join(
        f"<{token}>" for token in again.golden_ids
    )
    _, other = fake(tmp_path / "other", 24, PROBS, replace(SMALL, seed=4))
    assert [e.successes for e in other.entries] != [e.successes for e in whole.entries]


def test_what_is_refused(tmp_path: Path) -> None:
    fake(tmp_path, 24, PROBS, SMALL, budget=24)
    for match, length, config, budget in (
        ("atlas.seed", 24, replace(SMALL, seed=4), {}),
        ("another prompt or solution", 25, SMALL, {}),
        ("stride must be", 24, replace(SMALL, stride=0), {}),
        ("budget", 24, SMALL, {"seconds": 0.0}),
        ("budget", 24, SMALL, {"budget": 0}),
    ):
        with pytest.raises(MinillmError, match=match):
            fake(tmp_path, length, PROBS, config, **budget)
    path = path_of(tmp_path, Tail.id)
    path.write_text(path.read_text()[:-20])
    with pytest.raises(MinillmError, match="damaged"):
        read_atlas(tmp_path)
    path.write_text("{}\n")
    with pytest.raises(MinillmError, match="no problem of an atlas"):
        read_atlas(tmp_path)
    with pytest.raises(MinillmError, match="not a run folder"):
        read_atlas(tmp_path / "nothing")


# ---------------------------------------------------------------- a real model


class Word:
    """Reward 1 for the word, 0.25 for one whose last letter alone is wrong."""

    id, stop = "word", ("#",)

    def __init__(self, prompt_ids: Sequence[int], golden_ids: Sequence[int]) -> None:
        self.prompt_ids, self.golden_ids = list(prompt_ids), list(golden_ids)

    def rewards(self, completions: Sequence[Sequence[int]]) -> list[float]:
        word = self.golden_ids[:-1]
        return [
            1.0 if ids[: len(word)] == word else 0.25 * (ids[: len(word) - 1] == word[:-1])
            for ids in map(list, completions)
        ]


def exact_values(llm: LLM, problem: Word) -> dict[int, float]:
    """Of states that lack letters: 1/4 for all letters but the last, and 3/4 more for that one."""
    golden = problem.golden_ids
    prefixes = [[*problem.prompt_ids, *golden[:i]] for i in range(len(golden) - 1)]
    rows = llm.next_token_logprobs(prefixes)
    chance = [exp(row[token].item()) for row, token in zip(rows, golden, strict=False)]
    values, last = {1: 1.0}, chance[-1]
    product = 1.0
    for k in range(2, len(golden) + 1):
        values[k] = product * (0.25 + 0.75 * last)
        product *= chance[-k] if k < len(golden) else 1.0
    return values


def test_values_of_a_real_model(letters_folder: Callable[..., Path], tmp_path: Path) -> None:
    """Three letters and an end: nearly uniform, so values fall by four with each token."""
    llm = LLM(letters_folder(2))
    problem = Word([3, 2], [2, 3, 3, EOS])
    config = AtlasConfig(states=0, stride=1, rollouts=64, max_rollouts=512, extra_tokens=2, confidence=0.99)
    (part,) = make_atlas(llm, [problem], config, tmp_path, {}, budget=1500)
    values = exact_values(llm, problem)
    assert part.head == "" and len(part.entries) == 4
    for entry in part.entries:
        assert entry.low <= values[entry.k] <= entry.high, entry
        assert entry.rollouts >= 64
    shared = {entry.k: entry.rollouts - entry.drawn for entry in part.entries}
    assert shared[4] == 0 and shared[3] > 0
    rows = llm.next_token_logprobs([[3, 2], [3, 2, 2]])
    first = part.entries[0]
    assert (first.k, first.text, first.logprob) == (4, "a", rows[0, 2].item())
    assert [likely.token_id for likely in first.likeliest] == rows[0].argsort(descending=True).tolist()
    assert first.entropy == pytest.approx(-(rows[0].exp() * rows[0]).sum().item(), rel=1e-6)


SCRIPT = """
import sys
from pathlib import Path
from minillm import LLM
from rl.atlas import AtlasConfig
from rl.atlas_rollouts import make_atlas
from tests.rl.test_atlas import Word

problems = []
for name in ("one", "two"):
    problem = Word([3, 2], [2, 3, 3, 0] if name == "one" else [3, 3, 0])
    problem.id = name
    problems.append(problem)
config = AtlasConfig(states=0, stride=1, rollouts=8, max_rollouts=64, extra_tokens=2)
make_atlas(LLM(sys.argv[1]), problems, config, sys.argv[2], {})
"""


def test_a_killed_atlas_goes_on_to_the_same_counts(
    letters_folder: Callable[..., Path], tmp_path: Path
) -> None:
    model = letters_folder(2)
    root = Path(__file__).resolve().parents[2]

    def start(folder: Path) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-c", SCRIPT, str(model), str(folder)]
        return subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(root)}, cwd=root)

    assert start(tmp_path / "whole").wait() == 0
    killed, rounds = tmp_path / "killed", [0]
    for _ in range(3):
        process = start(killed)
        while process.poll() is None and rounds_of(killed) <= rounds[-1]:
            time.sleep(0.001)
        process.send_signal(signal.SIGKILL)
        process.wait()
        rounds.append(rounds_of(killed))
    assert rounds[1] > 0
    assert start(killed).wait() == 0
    assert read(killed) == read(tmp_path / "whole")


def rounds_of(folder: Path) -> int:
    files = [path for path in folder.glob("*.json") if path.name != "config.json"]
    return sum(json.loads(path.read_bytes())["rounds"] for path in files)


def test_the_module_names_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main() == 2
    said = capsys.readouterr().err
    assert "python -m arc.atlas" in said and said.count("\n") == 1
