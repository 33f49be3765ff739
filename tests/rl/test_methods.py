"""All methods over one problem: they learn, go on after a stop bit for bit, and save what can be loaded."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, fields, replace
from math import inf
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from minillm import LLM, MinillmError, Tokenizer, load_model, next_logprobs, token_logprobs
from minillm.lora import LoRA
from rl.evaluate import interval
from rl.grpo import GRPO, GRPOConfig, group_advantages
from rl.journal import Journal, read_records
from rl.metrics import read_metrics
from rl.reference import Reference
from rl.run import Method, Settings, batches
from rl.sft import SFT, SFTConfig
from rl.single_token import MethodConfig, SingleToken, saved_entries
from rl.trainer import Summary, Trainer

VOCABULARY, EOS = 20, 0
PROBE = ([2, 3, 4, 5, 6], [7, 8, 9])
METHOD = MethodConfig(
    k=2, states=2, actions=4, max_rollouts=12, extra_tokens=2, learning_rate=3e-3, max_drift=1e9, seed=5
)
METHODS: dict[str, Callable[[], Method]] = {
    "single-token": lambda: SingleToken(METHOD),
    "sft": lambda: SFT(SFTConfig(k=2, learning_rate=3e-3)),
    "grpo": lambda: GRPO(GRPOConfig(k=2, extra_tokens=2, learning_rate=3e-3, kl=0.01, seed=3)),
}


class Even:
    """Reward for four even ids; the golden ones among them."""

    stop = ("#",)

    def __init__(self, name: str = "even", golden: Sequence[int] = (2, 4, 6, 8, EOS)) -> None:
        self.id = name
        self.prompt_ids = [2 + ord(letter) % 18 for letter in name]
        self.golden_ids = list(golden)

    def rewards(self, completions: Sequence[Sequence[int]]) -> list[float]:
        return [float(len(c) >= 4 and all(t > 1 and t % 2 == 0 for t in c[:4])) for c in completions]


@pytest.fixture(scope="module")
def folder(letters_folder: Callable[..., Path]) -> Path:
    return letters_folder(VOCABULARY - 2)


def trainer_of(
    folder: Path,
    method: Method,
    precision: str = "fp32",
    lora: bool = False,
    scale: float = 1.0,
    **options: Any,
) -> Trainer:
    llm = LLM(load_model(folder, precision), Tokenizer.from_folder(folder), kv_cache_memory_bytes=1 << 22)
    with torch.no_grad():
        llm.model.head.mul_(scale)
    adapters = LoRA(llm.model, rank=4, alpha=8.0) if lora else None
    reference = Reference.of_lora(llm, adapters) if adapters else Reference.copy_of(llm.model, precision)
    problems = [Even(), Even("other", (6, 6, 2, 4, EOS))]
    given = {"probe": PROBE, "held_out": [Even("held out", (4, 2, 8, 2, EOS))], **options}
    return Trainer(llm, problems, method, folder, lora=adapters, reference=reference, **given)


def run(trainer: Trainer, path: Path, iterations: int) -> list[Summary]:
    with Journal.open(path, {}) as journal:
        return trainer.run(journal, iterations)


def parameters(trainer: Trainer) -> list[torch.Tensor]:
    return [p.detach().clone() for p in trainer.model.parameters()]


# ---------------------------------------------------------------- every method


@pytest.mark.parametrize("method", [GRPOConfig(k=1), GRPO])
def test_what_is_no_method_is_refused(folder: Path, method: Any) -> None:
    with pytest.raises(MinillmError, match=r"is not a method; give one, such as GRPO\(GRPOConfig\(k=1\)\)"):
        trainer_of(folder, method)


@pytest.mark.parametrize("name", METHODS)
def test_it_learns_and_goes_on_bit_for_bit(name: str, folder: Path, tmp_path: Path) -> None:
    whole = trainer_of(folder, METHODS[name]())
    before = parameters(whole)
    summaries = run(whole, tmp_path / "whole", 6)
    assert sum(s.reward_after - s.reward_before for s in summaries) > 0.2
    assert not all(map(torch.equal, before, parameters(whole)))

    class Stop(Exception):
        pass

    for stop_at in (2, 5):
        part = trainer_of(folder, METHODS[name]())

        def stop(done: int, message: str, at: int = stop_at) -> None:
            if done == at and message not in ("", "saving") and not message.startswith("measuring"):
                raise Stop

        with Journal.open(tmp_path / "part", {}) as journal, pytest.raises(Stop):
            part.run(journal, 6, stop)
    last = trainer_of(folder, METHODS[name]())
    assert run(last, tmp_path / "part", 6) == summaries
    journals = [(tmp_path / path / "journal.jsonl").read_bytes() for path in ("whole", "part")]
    assert journals[0] == journals[1]
    assert all(map(torch.equal, parameters(whole), parameters(last)))
    lines = [[line["iteration"] for line in read_metrics(tmp_path / path)] for path in ("whole", "part")]
    assert lines[0] == lines[1] == [*range(1, 9)]


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("kind", ["bf16", "lora", "bf16-master-fp32"])
def test_precisions_and_adapters(name: str, kind: str, folder: Path, tmp_path: Path) -> None:
    lora, precision = kind == "lora", "fp32" if kind == "lora" else kind
    trainer = trainer_of(folder, METHODS[name](), precision, lora)
    start = parameters(trainer)
    run(trainer, tmp_path / "run", 2)
    assert not all(map(torch.equal, start, parameters(trainer)))
    again = trainer_of(folder, METHODS[name](), precision, lora)
    run(again, tmp_path / "run", 2)  # only reports
    assert all(map(torch.equal, parameters(trainer), parameters(again)))
    if lora:
        assert (tmp_path / "run" / "checkpoint-4" / "adapter_model.safetensors").exists()
    else:
        saved = load_model(tmp_path / "run" / "checkpoint-4", precision)
        assert all(map(torch.equal, parameters(trainer), [p.detach() for p in saved.parameters()]))
    if name == "single-token":
        for group in saved_entries(tmp_path / "run"):
            for entry in group:
                assert "other bits than the trainer's" not in [action.verdict for action in entry.actions]


def test_sft_is_the_gradient_of_the_golden_tail(folder: Path, tmp_path: Path) -> None:
    trainer = trainer_of(folder, SFT(SFTConfig(k=3, learning_rate=1e-3)))
    model, problems = load_model(folder), trainer.problems
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.0, fused=True)
    sequences = [[*p.prompt_ids, *p.golden_ids] for p in problems]
    loss = torch.stack([-row[-3:].mean() for row in token_logprobs(model, sequences)]).mean()
    loss.backward()
    optimizer.step()
    run(trainer, tmp_path / "run", 1)
    for ours, theirs in zip(trainer.model.parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=2e-6)
    (record, *_) = [r for r in read_records(tmp_path / "run") if r["kind"] == "sft"]
    assert record["loss"] == pytest.approx(
        -token_logprobs(load_model(folder), sequences[:1])[0][-3:].mean().item(), rel=1e-6
    )


def test_grpo_goes_up_for_what_earned_more(folder: Path, tmp_path: Path) -> None:
    config = GRPOConfig(k=3, group=12, extra_tokens=1, learning_rate=1e-3, length="mean", seed=1)
    trainer = trainer_of(folder, GRPO(config))
    run(trainer, tmp_path / "run", 1)
    start, end = load_model(folder), trainer.model
    gain = 0.0
    for record in read_records(tmp_path / "run"):
        if record["kind"] == "grpo":
            prefix = record["state"]["prefix_ids"]
            whole = [[*prefix, *rollout["token_ids"]] for rollout in record["rollouts"]]
            with torch.no_grad():
                old, new = (token_logprobs(model, whole) for model in (start, end))
            for rollout, a, b in zip(record["rollouts"], old, new, strict=True):
                # The sampler's logprobs are the trainer's.
                assert torch.equal(a[len(prefix) - 1 :], torch.tensor(rollout["logprobs"]))
                gain += rollout["advantage"] * (b - a)[len(prefix) - 1 :].sum().item()
    assert gain > 0


def test_group_advantages() -> None:
    assert group_advantages([1.0, 1.0], True) == [0.0, 0.0]
    assert group_advantages([1.0, 0.0, 0.0, 1.0], True) == [1.0, -1.0, -1.0, 1.0]
    assert group_advantages([1.0, 0.0, 0.0, 0.0], False) == [0.75, -0.25, -0.25, -0.25]


def test_a_penalty_needs_a_reference(folder: Path, tmp_path: Path) -> None:
    trainer = trainer_of(folder, METHODS["grpo"]())
    trainer._run.reference = None
    with pytest.raises(MinillmError, match="kl is a penalty for leaving the reference"):
        run(trainer, tmp_path / "run", 1)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SFT(SFTConfig(learning_rate=0)), "learning_rate must be above 0, got 0"),
        (lambda: SFT(SFTConfig(k=-1)), "k must be at least 1, or 0"),
        (lambda: GRPO(GRPOConfig(group=1)), "group must be at least 2, got 1"),
        (lambda: GRPO(GRPOConfig(clip=0)), "clip must be above 0"),
        (lambda: SingleToken(MethodConfig(max_rollouts=2)), "max_rollouts must be at least rollouts"),
        (lambda: SingleToken(MethodConfig(states=0)), "states must be at least 1"),
        (lambda: SingleToken(METHOD, stale="maybe"), "stale must be"),  # type: ignore[arg-type]
        (lambda: SingleToken(MethodConfig(max_drift=inf)), "max_drift must be above 0, and finite, got inf"),
        (
            lambda: SingleToken(MethodConfig(grow_above=1.0)),
            "grow_above must be above shrink_below and below 1",
        ),
    ],
)
def test_options_that_make_no_sense(make: Callable[[], Method], message: str) -> None:
    with pytest.raises(MinillmError, match=message):
        make()


def test_options_are_those_that_a_method_uses() -> None:
    shared = {"k", "k_unit", "extra_tokens", "batch", "seed"}
    assert {f.name for f in fields(SFTConfig)} == shared | {"learning_rate", "weight_decay"}


def test_patience_wants_evaluations(folder: Path) -> None:
    with pytest.raises(MinillmError, match="patience must be 0, or above 0 with evaluate_every"):
        trainer_of(folder, SFT(SFTConfig()), settings=Settings(patience=2))


@pytest.mark.parametrize("name", METHODS)
def test_a_policy_of_no_numbers_is_an_error(name: str, folder: Path, tmp_path: Path) -> None:
    trainer = trainer_of(folder, METHODS[name]())
    begun = parameters(trainer)

    def break_it(done: int, message: str) -> None:
        if done == 1 and not message:
            with torch.no_grad():
                trainer.model.head.fill_(torch.nan)

    with (
        Journal.open(tmp_path, {}) as journal,
        pytest.raises(MinillmError, match=r"a rollout failed|training diverged|not numbers"),
    ):
        trainer.run(journal, 3, break_it)
    # What was learned before is kept.
    again = trainer_of(folder, METHODS[name]())
    run(again, tmp_path, 2)
    assert all(p.isfinite().all() for p in parameters(again))
    assert not all(map(torch.equal, begun, parameters(again)))


def test_a_step_along_no_numbers_is_not_made(folder: Path) -> None:
    trainer = trainer_of(folder, METHODS["sft"]())
    trainable = trainer._run.trainable
    optimizer = trainable.optimizer(1e-3)
    begun = parameters(trainer)
    for p in trainable.parameters:
        p.grad = torch.ones_like(p)
    for wrong in (torch.nan, torch.inf):
        trainable.parameters[2].grad.view(-1)[0] = wrong
        with pytest.raises(MinillmError, match="training diverged"):
            trainable.step(optimizer)
    assert all(map(torch.equal, begun, parameters(trainer)))
    trainable.parameters[2].grad.view(-1)[0] = 1.0
    trainable.step(optimizer)
    assert not any(map(torch.equal, begun, parameters(trainer)))
    assert all(p.grad is None for p in trainable.parameters)


# ---------------------------------------------------------------- single-token


def test_entries_have_the_reference_and_the_trainers_logprobs(folder: Path, tmp_path: Path) -> None:
    run(trainer_of(folder, SingleToken(METHOD)), tmp_path / "run", 3)
    start = load_model(folder)
    done = 0
    for group in saved_entries(tmp_path / "run"):
        assert len(group) == 4  # two problems, two states each
        for entry in group:
            with torch.no_grad():
                row = next_logprobs(start, [entry.state.prefix_ids])[0]
            for action in entry.actions:
                assert action.logprob_reference == row[action.token_id].item()
                trained, after = action.logprob_trained, action.logprob_after
                assert after is not None
                assert (action.target is None) == (trained is None) == (action.verdict is None)
                assert trained in (None, after)
                done += action.verdict == "reached"
    assert done > 0


def test_states_of_a_problem_lie_below_k_and_are_different(folder: Path, tmp_path: Path) -> None:
    trainer = trainer_of(folder, SingleToken(replace(METHOD, states=3)))
    method = trainer.method
    assert isinstance(method, SingleToken)
    found = method._states(trainer.problems, {"even": 4, "other": 2}, 7)
    ks = [state.k for _, state in found]
    assert ks[0] == 4 and len(set(ks[:3])) == 3 and all(1 <= k <= 4 for k in ks[:3]) and ks[3:] == [2, 1]


@pytest.mark.parametrize("stale", ["rescore", "drop"])
def test_a_warm_start_trains_on_saved_entries_first(stale: Any, folder: Path, tmp_path: Path) -> None:
    run(trainer_of(folder, SingleToken(METHOD)), tmp_path / "first", 3)
    saved = saved_entries(tmp_path / "first")

    method = SingleToken(METHOD, tmp_path / "first", stale)
    warm = trainer_of(folder, method)
    run(warm, tmp_path / "second", 1)
    records = list(read_records(tmp_path / "second"))
    kinds = [record["kind"] for record in records if record["kind"] != "measurement"]
    metrics = [line for line in read_metrics(tmp_path / "second") if "entries_dropped" in line]
    assert kinds[-4:] == ["training"] * 4 and len(metrics) == 4
    # The first entries are of the very policy that this run begins with.
    first = [record for record in records if record["kind"] == "warm"][:4]
    for record, entry in zip(first, saved[0], strict=True):
        assert record["actions"] == asdict(entry)["actions"]
    if stale == "rescore":
        assert kinds[:-4] == ["warm"] * 12
        assert [line["entries_dropped"] for line in metrics] == [0, 0, 0, 0]
    else:
        # The same updates were made, so the later ones are as fresh.
        assert kinds[:-4] == ["warm"] * 12
    other = trainer_of(folder, SingleToken(METHOD, tmp_path / "first", stale), scale=1.01)
    run(other, tmp_path / "third", 1)
    kinds = [record["kind"] for record in read_records(tmp_path / "third")]
    assert kinds.count("warm") == (12 if stale == "rescore" else 0)
    if stale == "rescore":
        record = next(record for record in read_records(tmp_path / "third") if record["kind"] == "warm")
        first_actions = asdict(saved[0][0])["actions"]
        assert [a["logprob"] for a in record["actions"]] != [a["logprob"] for a in first_actions]
        assert record["actions"][0]["rollouts"] == first_actions[0]["rollouts"]


def test_entries_of_as_many_other_steps_are_stale(folder: Path, tmp_path: Path) -> None:
    run(trainer_of(folder, SingleToken(METHOD)), tmp_path / "first", 3)
    slower = replace(METHOD, learning_rate=1e-3)
    run(trainer_of(folder, SingleToken(slower, tmp_path / "first", "drop")), tmp_path / "second", 1)
    warm = [record["iteration"] for record in read_records(tmp_path / "second") if record["kind"] == "warm"]
    assert len(warm) == 4 and len(set(warm)) == 1


def test_a_warm_start_ends_where_it_was_when_the_run_began(folder: Path, tmp_path: Path) -> None:
    run(trainer_of(folder, SingleToken(METHOD)), tmp_path / "first", 1)
    run(trainer_of(folder, SingleToken(METHOD, tmp_path / "first")), tmp_path / "second", 1)
    run(trainer_of(folder, SingleToken(METHOD)), tmp_path / "first", 2)
    run(trainer_of(folder, SingleToken(METHOD, tmp_path / "first")), tmp_path / "second", 2)
    kinds = [r["kind"] for r in read_records(tmp_path / "second") if r["kind"] != "measurement"]
    assert kinds == ["warm"] * 4 + ["training"] * 8


def test_what_was_there_already_is_no_move(folder: Path, tmp_path: Path) -> None:
    wide = replace(METHOD, tolerance=1.0)
    trainer = trainer_of(folder, SingleToken(wide))
    run(trainer, tmp_path, 3)
    kinds: dict[str, int] = {}
    for entry in (entry for group in saved_entries(tmp_path) for entry in group):
        for action in entry.actions:
            before, now, target = action.logprob, action.logprob_after, action.target
            said, moved = action.verdict, action.moved
            assert now is not None
            if target is None:
                assert said is None and moved is None
            elif abs(target - before) <= wide.tolerance:
                assert moved is None
                way = 1 if target > before else -1
                assert (said == "there already") == (way * (target - now) <= wide.tolerance)
            else:
                assert moved is not None and said != "there already"
            kinds[str(said)] = kinds.get(str(said), 0) + 1
    assert kinds["there already"] > 0
    lines = [line for line in read_metrics(tmp_path) if "targets" in line]
    asked = sum(count for said, count in kinds.items() if said not in ("None", "there already"))
    assert sum(line["targets"] for line in lines) == asked
    summaries = run(trainer_of(folder, SingleToken(wide)), tmp_path, 3)
    assert sum(s.moves_checked for s in summaries) <= asked


def test_entries_of_another_solution_are_left_out(folder: Path, tmp_path: Path) -> None:
    run(trainer_of(folder, SingleToken(METHOD)), tmp_path / "first", 1)
    method = SingleToken(METHOD, tmp_path / "first")
    warm = trainer_of(folder, method)
    warm.problems[0].golden_ids[0] = 8
    run(warm, tmp_path / "second", 1)
    records = [record for record in read_records(tmp_path / "second") if record["kind"] == "warm"]
    assert {record["state"]["problem_id"] for record in records} == {"other"}
    dropped = [line["entries_dropped"] for line in read_metrics(tmp_path / "second") if "targets" in line]
    assert dropped == [2, 0]


def test_a_warm_start_needs_a_run(tmp_path: Path) -> None:
    with pytest.raises(MinillmError, match="is not a run folder"):
        SingleToken(METHOD, tmp_path)


def test_lines_are_redacted_whole(folder: Path) -> None:
    tokenizer = Tokenizer.from_folder(folder)
    ends = {4: "a\n", 6: "b"}

    class Lines(Even):
        pass

    class Fake:
        def decode(self, ids: Sequence[int]) -> str:
            return "".join(ends.get(i, "x") for i in ids)

    problem = Lines(golden=(2, 4, 6, 4, 2, 2, EOS))
    config = replace(METHOD, k_unit="lines", k=1)
    assert config.stops(problem, tokenizer) == [7]  # no line breaks in letters
    assert config.stops(problem, Fake()) == [3, 5, 7]  # type: ignore[arg-type]
    assert config.first(problem, Fake()) == 3  # type: ignore[arg-type]
    assert config.next(3, 0.9, [3, 5, 7]) == 5 and config.next(5, 0.9, [3, 5, 7]) == 7
    assert config.next(5, 0.1, [3, 5, 7]) == 4 and config.next(4, 0.9, [3, 5, 7]) == 5
    assert config.next(5, 0.1, [3, 5, 7], golden_reward=0.9) == 5


# ---------------------------------------------------------------- evaluation, checkpoints


def test_evaluation_metrics_and_early_stop(folder: Path, tmp_path: Path) -> None:
    settings = Settings(evaluate_every=1, evaluate_k=(1, 3, 99), evaluate_rollouts=4, patience=2)
    # With so small a rate nothing changes, so the third evaluation is the last.
    method = SFT(SFTConfig(k=2, learning_rate=1e-12))
    trainer = trainer_of(folder, method, settings=settings)
    run(trainer, tmp_path / "run", 9)
    assert trainer.state.trained == 2
    records = [r for r in read_records(tmp_path / "run") if r["kind"] == "measurement"]
    assert {(r["split"], r["state"]["k"]) for r in records} == {
        (split, k) for split in ("trained", "held out") for k in (1, 2, 3)
    }
    assert all(len(r["rollouts"]) == 4 for r in records)
    measured = [line for line in read_metrics(tmp_path / "run") if "evaluation/held out" in line]
    assert len(measured) == 3 and all(line["evaluation/drift"] < 1e-9 for line in measured)
    assert list((tmp_path / "run" / "tensorboard").glob("events*"))


def test_checkpoints_are_pruned_by_rule(folder: Path, tmp_path: Path) -> None:
    with Journal.open(tmp_path, {}, keep_last=2, keep_every=3) as journal:
        trainer_of(folder, SFT(SFTConfig())).run(journal, 6)
    names = sorted(int(path.name.split("-")[1]) for path in tmp_path.glob("checkpoint-*"))
    assert names == [3, 6, 7, 8]
    saved = torch.load(tmp_path / "checkpoint-8" / "optimizer.pt", weights_only=True)
    assert saved["state"][0]["step"] == 6


def test_a_checkpoint_of_an_fp8_model_says_that_its_weights_are_plain(folder: Path, tmp_path: Path) -> None:
    published = tmp_path / "published"
    shutil.copytree(folder, published)
    config = json.loads((folder / "config.json").read_text())
    quantised = {"quant_method": "fp8", "weight_block_size": [16, 16]}
    (published / "config.json").write_text(json.dumps({**config, "quantization_config": quantised}))
    tensors = load_file(folder / "model.safetensors")
    for name, tensor in list(tensors.items()):
        if name.endswith("proj.weight"):
            tensors[name] = tensor.to(torch.float8_e4m3fn)
            tensors[f"{name}_scale_inv"] = torch.ones([-(-n // 16) for n in tensor.shape])
    save_file(tensors, published / "model.safetensors", metadata={"format": "pt"})
    trainer = trainer_of(published, METHODS["sft"]())
    run(trainer, tmp_path / "run", 1)
    checkpoint = tmp_path / "run" / "checkpoint-3"
    assert json.loads((checkpoint / "config.json").read_text()) == config
    saved = load_model(checkpoint)
    assert all(map(torch.equal, parameters(trainer), [p.detach() for p in saved.parameters()]))


def test_a_run_goes_on_with_its_own_model_only(folder: Path, tmp_path: Path) -> None:
    run(trainer_of(folder, SFT(SFTConfig())), tmp_path, 1)
    other = trainer_of(folder, SFT(SFTConfig()), scale=1.5)
    with pytest.raises(MinillmError, match="began with other weights"):
        run(other, tmp_path, 2)


def test_no_room_for_the_optimizer(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(trainer_of(folder, METHODS["sft"]()), tmp_path, 1)

    def full(state: object, path: Path) -> None:
        raise RuntimeError("PytorchStreamWriter failed writing file data/3: file write failed")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(MinillmError, match=r"iteration 4 could not be saved .* failed writing .* make room"):
        run(trainer_of(folder, METHODS["sft"]()), tmp_path, 2)
    monkeypatch.undo()
    run(trainer_of(folder, METHODS["sft"]()), tmp_path, 2)


def test_a_trainer_knows_what_it_began_with(folder: Path, tmp_path: Path) -> None:
    trainer = trainer_of(folder, SFT(SFTConfig()))
    run(trainer, tmp_path / "first", 1)
    run(trainer, tmp_path / "first", 2)
    with pytest.raises(MinillmError, match="the model was trained since this trainer was made"):
        run(trainer, tmp_path / "second", 1)
    fewer = trainer_of(folder, SFT(SFTConfig()))
    fewer.problems = fewer.problems[:1]
    begun = parameters(fewer)
    with pytest.raises(MinillmError, match="the run trains even, other; it goes on with those"):
        run(fewer, tmp_path / "first", 3)
    assert all(map(torch.equal, begun, parameters(fewer)))


def test_an_iteration_that_failed_leaves_no_state(folder: Path, tmp_path: Path) -> None:
    run(trainer_of(folder, SingleToken(METHOD)), tmp_path / "saved", 2)
    trainer = trainer_of(folder, SingleToken(METHOD, tmp_path / "saved"))

    def fail(done: int, message: str) -> None:
        if message.startswith("checking"):
            raise KeyboardInterrupt

    with Journal.open(tmp_path / "run", {}) as journal:
        for _ in range(2):
            with pytest.raises(KeyboardInterrupt):
                trainer.run(journal, 1, fail)
        trainer.run(journal, 1)
    groups = [r["iteration"] for r in read_records(tmp_path / "run") if r["kind"] == "warm"]
    assert len(set(groups)) == 2


def test_problems_take_turns(folder: Path, tmp_path: Path) -> None:
    config = replace(METHOD, batch=2)
    problems = [Even(name) for name in "abc"]
    turns = ["".join(p.id for p in config.turn(problems, i)) for i in range(4)]
    assert turns == ["ab", "ca", "bc", "ab"]
    assert (
        len(replace(config, batch=0).turn(problems, 5))
        == len(replace(config, batch=9).turn(problems, 5))
        == 3
    )
    run(trainer_of(folder, SFT(SFTConfig(batch=1))), tmp_path, 2)
    assert [r["state"]["problem_id"] for r in read_records(tmp_path) if r["kind"] == "sft"] == [
        "even",
        "other",
    ]


def test_batches_are_in_order_and_whole() -> None:
    assert batches([3, 4, 5, 20, 1], 9) == [[0, 1], [2], [3], [4]]
    assert batches([], 9) == []


def test_intervals_hold_the_mean() -> None:
    low, high = interval([[1.0, 0.0, 1.0, 1.0], [0.0, 0.0, 0.0, 1.0]] * 4)
    assert 0 < low < 0.5 < high < 1
    assert interval([[1.0] * 4] * 3) == (1.0, 1.0)
