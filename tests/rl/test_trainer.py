"""Trainer: the whole loop on a toy problem, with a tiny random model that learns within seconds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import permutations
from math import exp, sqrt
from pathlib import Path
from typing import Any

import pytest
import torch

from minillm import LLM, MinillmError, Tokenizer, Transformer, load_model, token_logprobs
from minillm.model.batch import Batch
from minillm.model.logprobs import logprobs
from rl.journal import Journal, read_records
from rl.rollout import sample_actions
from rl.run import Settings
from rl.trainer import MethodConfig, Summary, Trainer
from rl.types import Action, TrainingEntry, from_dict

VOCAB = 40
EOS, STOP = 0, 1
CONTEXT = 64
LETTERS = 5  # of a solution
METHOD = MethodConfig(
    k=2, actions=4, rollouts=4, max_rollouts=12, extra_tokens=2, learning_rate=3e-3, inner_steps=8, seed=5
)
ITERATIONS = 8


class GoodLetters:
    """Reward 1 for a completion whose first five ids are all good ones; about half of the ids are."""

    stop = ("#",)

    def __init__(self, name: str, parity: int = 0, golden_ids: Sequence[int] | None = None) -> None:
        self.id = name
        self.parity = parity
        self.prompt_ids = [2 + ord(letter) % 38 for letter in f"prompt of {name}"]
        good = [token for token in range(2, VOCAB) if self._good(token)]
        self.golden_ids = list(golden_ids or [*good[3 : 3 + LETTERS], EOS])
        self.calls: list[list[list[int]]] = []
        self.fails_at_call = -1

    def _good(self, token: int) -> bool:
        return token > STOP and token % 2 == self.parity

    def reward(self, completion: Sequence[int]) -> float:
        return float(len(completion) >= LETTERS and all(map(self._good, completion[:LETTERS])))

    def rewards(self, completions: Sequence[Sequence[int]]) -> list[float]:
        if len(self.calls) == self.fails_at_call:
            raise ConnectionError("the grader is away")
        self.calls.append([list(ids) for ids in completions])
        return [self.reward(ids) for ids in completions]


@pytest.fixture(scope="module")
def folder(letters_folder: Callable[..., Path]) -> Path:
    return letters_folder(VOCAB - 2)


def problems() -> list[GoodLetters]:
    return [GoodLetters("even"), GoodLetters("odd", parity=1)]


def trainer_of(folder: Path, toys: Sequence[GoodLetters], method: MethodConfig = METHOD) -> Trainer:
    llm = LLM(load_model(folder), Tokenizer.from_folder(folder), kv_cache_memory_bytes=1 << 22)
    return Trainer(llm, toys, method, folder)


def entries_of(run: Path) -> list[TrainingEntry]:
    return [from_dict(TrainingEntry, record) for record in read_records(run) if record["kind"] == "training"]


def own_logprobs(model: Transformer, entries: Sequence[TrainingEntry]) -> list[list[float]]:
    """Of each entry's actions, by the forward that the trainer takes gradients of."""
    tokens = torch.tensor([t for entry in entries for t in entry.state.prefix_ids])
    batch = Batch.packed([len(entry.state.prefix_ids) for entry in entries])
    rows = logprobs(model.logits(model(tokens, batch)[torch.tensor(batch.bounds[1:]) - 1]))
    return [
        [row[action.token_id].item() for action in entry.actions]
        for row, entry in zip(rows, entries, strict=True)
    ]


class Run:
    """One finished run, and what was seen from outside while it went on."""

    def __init__(self, folder: Path, path: Path) -> None:
        self.path, self.problems = path, problems()
        self.trainer = trainer_of(folder, self.problems)
        self.model = self.trainer.model
        # Of each finished iteration: (before, after) as the trainer's own forward has them.
        self.forwards: list[tuple[list[list[float]], list[list[float]]]] = []
        weights = [parameter.detach().clone() for parameter in self.model.parameters()]

        def watch(done: int, message: str) -> None:
            if message:
                return
            entries = entries_of(path)[-len(self.problems) :]
            after = own_logprobs(self.model, entries)
            trained = [parameter.detach().clone() for parameter in self.model.parameters()]
            with torch.no_grad():
                for parameter, old in zip(self.model.parameters(), weights, strict=True):
                    parameter.copy_(old)
                self.forwards.append((own_logprobs(self.model, entries), after))
                for parameter, new in zip(self.model.parameters(), trained, strict=True):
                    parameter.copy_(new)
            weights[:] = trained

        with Journal.open(path, {}) as journal:
            self.summaries: list[Summary] = self.trainer.run(journal, ITERATIONS, watch)
            assert journal.checkpoint_path is not None
            self.checkpoint = journal.checkpoint_path
        self.entries = entries_of(path)


@pytest.fixture(scope="module")
def finished(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return Run(folder, tmp_path_factory.mktemp("runs") / "finished")


def completions(entry: TrainingEntry | dict[str, Any], problem: GoodLetters) -> list[list[int]]:
    """What a record says was rewarded, in its order."""
    state = entry.state if isinstance(entry, TrainingEntry) else entry["state"]
    prefix_ids = state["prefix_ids"] if isinstance(state, dict) else state.prefix_ids
    start = prefix_ids[len(problem.prompt_ids) :]
    if isinstance(entry, dict) and entry["kind"] == "measurement":
        return [[*start, *rollout["token_ids"]] for rollout in entry["rollouts"]]
    actions = (
        entry.actions
        if isinstance(entry, TrainingEntry)
        else [from_dict(Action, action) for action in entry["actions"]]
    )
    return [
        [*start, action.token_id, *rollout.token_ids] for action in actions for rollout in action.rollouts
    ]


def test_state_rewards_rise_and_k_grows(finished: Run) -> None:
    for summary, problem in zip(finished.summaries, finished.problems, strict=True):
        assert summary.problem_id == problem.id
        assert summary.k_start == METHOD.k
        assert summary.k_end > METHOD.k
        assert summary.reward_before < 0.8
        assert summary.reward_after > summary.reward_before + 0.1
        assert summary.moves_checked > 0


def test_the_journal_holds_every_rollout(finished: Run) -> None:
    records = list(read_records(finished.path))
    count = len(finished.problems)
    measured = ["measurement"] * count
    assert [record["kind"] for record in records] == [
        *measured,
        *["training"] * count * ITERATIONS,
        *measured,
    ]
    assert [record["iteration"] for record in records] == [i for i in range(1, ITERATIONS + 3) for _ in "12"]
    for problem in finished.problems:
        mine = [record for record in records if record["state"]["problem_id"] == problem.id]
        # The first call was the check of the golden solution; the others are a round of rollouts each.
        assert problem.calls[0] == [problem.golden_ids]
        asked = sorted(ids for call in problem.calls[1:] for ids in call)
        assert sorted(ids for record in mine for ids in completions(record, problem)) == asked
        for record in mine:
            prefix = [*problem.prompt_ids, *problem.golden_ids[: -record["state"]["k"]]]
            assert record["state"]["prefix_ids"] == prefix
            if record["kind"] == "measurement":
                assert record["state"]["k"] == METHOD.k
                assert len(record["rollouts"]) == Settings().evaluate_rollouts
                continue
            actions = [from_dict(Action, action) for action in record["actions"]]
            tokens = [action.token_id for action in actions]
            golden = problem.golden_ids[-record["state"]["k"]]
            assert len(set(tokens)) == len(tokens) and METHOD.actions <= len(tokens) <= METHOD.actions + 1
            assert [token for token, action in zip(tokens, actions, strict=True) if action.golden] == [golden]
            rewards = [rollout.reward for action in actions for rollout in action.rollouts]
            assert rewards == [problem.reward(ids) for ids in completions(record, problem)]
            for action in actions:
                assert METHOD.rollouts <= action.trials <= METHOD.max_rollouts
                ends = action.token_id in (EOS, STOP)
                for rollout in action.rollouts:
                    assert bool(rollout.token_ids) != ends
                    assert len(rollout.token_ids) <= record["state"]["k"] - 1 + METHOD.extra_tokens
        assert mine[1]["state"]["k"] == METHOD.k
    # Some were decided at once, and others looked at again.
    trials = {action.trials for entry in finished.entries for action in entry.actions}
    assert len(trials) > 1


def test_moves_go_where_they_were_meant_to(finished: Run) -> None:
    checked = confirmed = 0
    for entry in finished.entries:
        for action in entry.actions:
            before, after, target = action.logprob, action.logprob_after, action.target
            advantage, moved = action.advantage, action.moved
            assert after is not None
            assert (target is None) == (moved is None)
            if target is None:
                continue
            assert advantage * (target - before) > 0
            assert moved == (advantage * (after - before) > 0)
            checked, confirmed = checked + 1, confirmed + bool(moved)
        # An entry that asks for something costs steps, and no more than were allowed.
        assert entry.steps <= METHOD.inner_steps
        assert not any(action.moved for action in entry.actions) or entry.steps > 0
    assert checked == sum(summary.moves_checked for summary in finished.summaries)
    assert confirmed == sum(summary.moves_confirmed for summary in finished.summaries)
    assert confirmed >= 0.9 * checked > 0
    # An action better than the others was asked up, and one worse than them down.
    asked = {action.advantage for entry in finished.entries for action in entry.actions}
    assert asked == {-1, 0, 1}


def test_versions_count_optimizer_steps(finished: Run) -> None:
    version = 0
    for entries in zip(*[iter(finished.entries)] * len(finished.problems), strict=True):
        assert {entry.model_version for entry in entries} == {version}
        assert len({entry.steps for entry in entries}) == 1
        version += entries[0].steps
    assert version > 0


def test_sampler_and_trainer_agree_bit_for_bit(finished: Run) -> None:
    count = len(finished.problems)
    assert len(finished.forwards) == ITERATIONS
    for i, (before, after) in enumerate(finished.forwards):
        entries = finished.entries[i * count : (i + 1) * count]
        assert [[action.logprob for action in entry.actions] for entry in entries] == before
        assert [[action.logprob_after for action in entry.actions] for entry in entries] == after


def test_rollout_logprobs_are_those_of_the_model(folder: Path, finished: Run) -> None:
    model = load_model(folder)
    for entry in finished.entries[: len(finished.problems)]:
        for action in entry.actions:
            sequences = [
                [*entry.state.prefix_ids, action.token_id, *rollout.token_ids] for rollout in action.rollouts
            ]
            start = len(entry.state.prefix_ids) - 1
            for own, rollout in zip(token_logprobs(model, sequences), action.rollouts, strict=True):
                sampled = torch.tensor([action.logprob, *rollout.logprobs])
                assert torch.equal(own[start:].detach(), sampled)


def test_the_checkpoint_is_a_model_folder(finished: Run) -> None:
    loaded = load_model(finished.checkpoint)
    for (name, ours), theirs in zip(finished.model.named_parameters(), loaded.parameters(), strict=True):
        assert torch.equal(ours, theirs), name
    assert Tokenizer.from_folder(finished.checkpoint).eos_token_ids == (EOS,)


def test_a_finished_run_only_reports(folder: Path, finished: Run) -> None:
    journal_bytes = (finished.path / "journal.jsonl").read_bytes()
    toys = problems()
    again = trainer_of(folder, toys)
    with Journal.open(finished.path, {}) as journal:
        assert again.run(journal, ITERATIONS) == finished.summaries
    assert (finished.path / "journal.jsonl").read_bytes() == journal_bytes
    assert [len(toy.calls) for toy in toys] == [1, 1]


@pytest.mark.parametrize("where", ["rewards", "step 2", "checking", "saving"])
def test_an_interrupted_run_goes_on_as_if_it_had_not_been(
    where: str, folder: Path, finished: Run, tmp_path: Path
) -> None:
    toys = problems()
    if where == "rewards":
        # After the check, the first measurement and some rounds of rollouts: one problem is through.
        toys[1].fails_at_call = 6

    def interrupt(done: int, message: str) -> None:
        if done == 2 and message.startswith(where):
            raise ConnectionError("the grader is away")

    expected = MinillmError if where == "rewards" else ConnectionError
    with Journal.open(tmp_path / "run", {}) as journal, pytest.raises(expected, match="grader"):
        trainer_of(folder, toys).run(journal, ITERATIONS, interrupt)
    kinds = [record["kind"] for record in read_records(tmp_path / "run")]
    assert kinds[: len(toys)] == ["measurement"] * len(toys)
    assert set(kinds[len(toys) :]) == {"training"}
    again = trainer_of(folder, problems())
    with Journal.open(tmp_path / "run", {}) as journal:
        assert journal.iteration == len(kinds) / len(toys)
        assert again.run(journal, ITERATIONS) == finished.summaries
    whole = (finished.path / "journal.jsonl").read_bytes()
    assert (tmp_path / "run" / "journal.jsonl").read_bytes() == whole
    for (name, ours), theirs in zip(again.model.named_parameters(), finished.model.parameters(), strict=True):
        assert torch.equal(ours, theirs), name


def test_a_longer_run_goes_on_from_a_shorter_one(folder: Path, tmp_path: Path) -> None:
    for iterations in (1, 2):
        with Journal.open(tmp_path, {}) as journal:
            trainer_of(folder, problems()).run(journal, iterations)
    kinds = [record["kind"] for record in read_records(tmp_path)]
    assert kinds == ["measurement"] * 2 + ["training", "training", "measurement", "measurement"] * 2


def test_bad_problems_are_refused_by_name(folder: Path) -> None:
    wrong = GoodLetters("wrong", golden_ids=[3, 3, 3, 3, 3, EOS])
    with pytest.raises(MinillmError, match=r"problem wrong: its golden solution earns 0, not 1"):
        trainer_of(folder, [GoodLetters("right"), wrong])
    long = GoodLetters("long")
    room = CONTEXT - len(long.golden_ids) - METHOD.extra_tokens
    long.prompt_ids = [2] * room
    trainer_of(folder, [long])
    long.prompt_ids = [2] * (room + 1)
    with pytest.raises(MinillmError, match=f"problem long: .* longer than the model's context of {CONTEXT}"):
        trainer_of(folder, [long])
    for what in ("prompt", "golden"):
        empty = GoodLetters("empty")
        setattr(empty, f"{what}_ids", [])
        with pytest.raises(MinillmError, match=f"problem empty: its {what}( solution)? is empty"):
            trainer_of(folder, [empty])
    small = LLM(load_model(folder), Tokenizer.from_folder(folder), max_model_len=24)
    fits = len((right := GoodLetters("right")).prompt_ids) + len(right.golden_ids) + METHOD.extra_tokens
    with pytest.raises(MinillmError, match=r"problem right: its .* above the sampler's max_model_len of 24"):
        Trainer(small, [right], replace(METHOD, extra_tokens=METHOD.extra_tokens + 25 - fits), folder)
    Trainer(small, [right], replace(METHOD, extra_tokens=METHOD.extra_tokens + 24 - fits), folder)
    odd = GoodLetters("odd one")
    odd.prompt_ids = [VOCAB]
    with pytest.raises(MinillmError, match="problem odd one: token id 40 is out of vocabulary"):
        trainer_of(folder, [odd])
    with pytest.raises(MinillmError, match="no problem"):
        trainer_of(folder, [])


def test_no_iterations_are_refused(folder: Path, tmp_path: Path) -> None:
    with Journal.open(tmp_path, {}) as journal, pytest.raises(MinillmError, match="iterations"):
        trainer_of(folder, problems()).run(journal, 0)


def test_actions_are_drawn_without_repetition_from_the_policy() -> None:
    probs = [0.5, 0.25, 0.15, 0.1, 0.0]
    policy = torch.tensor(probs).log()
    tries = 4000
    pairs = Counter(tuple(sample_actions(policy, 0, 2, seed)[:2]) for seed in range(tries))
    expected = {(i, j): probs[i] * probs[j] / (1 - probs[i]) for i, j in permutations(range(4), 2)}
    assert set(pairs) == set(expected)
    for pair, p in expected.items():
        assert abs(pairs[pair] / tries - p) < 4 * sqrt(p * (1 - p) / tries), pair
    assert policy.exp().tolist() == pytest.approx(probs)  # left as it was


def test_the_golden_action_is_always_there_and_changes_no_draw() -> None:
    policy = torch.log_softmax(torch.randn(40, generator=torch.Generator().manual_seed(1)), 0)
    for seed in range(50):
        drawn = sample_actions(policy, 7, 4, seed)
        other = sample_actions(policy, 8, 4, seed)
        assert drawn[:4] == other[:4] == sample_actions(policy, 7, 4, seed)[:4]
        assert drawn.count(7) == 1 and len(set(drawn)) == len(drawn)
        assert len(drawn) == (4 if 7 in drawn[:4] else 5)


def test_more_actions_than_tokens_are_all_tokens() -> None:
    policy = torch.tensor([0.5, 0.5, 0.0]).log()
    assert sorted(sample_actions(policy, 0, 9, seed=3)) == [0, 1]
    assert sorted(sample_actions(policy, 2, 9, seed=3)) == [0, 1, 2]
    assert exp(policy[0].item()) == pytest.approx(0.5)
