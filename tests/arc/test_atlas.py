"""`python -m arc.atlas`: of a model, and of a run's checkpoint, in the run's folder."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from arc.atlas import main, table
from arc.train import main as train
from minillm import Tokenizer
from rl.atlas import read_atlas

TASK, OTHER = "e9afcf9a", "6150a2bd"
# Of the sandbox: so that a busy machine changes no reward.
SECONDS = ("--limits.seconds", "30")
QUICK = ("--atlas.states", "6", "--atlas.stride", "3", "--atlas.rollouts", "4", "--budget", "12")


def test_an_atlas_of_tasks(tiny: Path, tokenizer: Tokenizer, tmp_path: Path) -> None:
    out = tmp_path / "atlas"
    options = ["--model", str(tiny), "--out", str(out), *SECONDS, *QUICK]
    assert main(["--tasks", TASK, *options]) == 0
    config, (part,) = read_atlas(out)
    assert config["model"] == str(tiny) and config["limits"]["seconds"] == 30
    assert tokenizer.decode(part.golden_ids) == part.head + "".join(entry.text for entry in part.entries)
    assert [entry.k for entry in part.entries] == [6, 5, 4, 3, 2, 1]
    assert 8 <= part.drawn <= 12 and all(entry.value is not None for entry in part.entries)
    assert all(len(entry.likeliest) == 5 and entry.entropy > 0 for entry in part.entries)
    before = (out / f"{TASK}.json").read_bytes()
    assert main(["--tasks", TASK, OTHER, *options]) == 0
    assert [p.problem_id for p in read_atlas(out)[1]] == [OTHER, TASK]
    assert (out / f"{TASK}.json").read_bytes() == before
    assert table(read_atlas(out)[1]).row_count == 2


@pytest.mark.parametrize("lora", [(), ("--lora.rank", "2")])
def test_an_atlas_of_a_run(lora: tuple[str, ...], tiny: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    training = [
        "--model",
        str(tiny),
        "--run",
        str(run),
        "--tasks",
        TASK,
        "--algorithm",
        "sft",
        *SECONDS,
        *lora,
    ]
    assert train([*training, "--sft.k", "4", "--iterations", "1", "--settings.evaluate-rollouts", "1"]) == 0
    assert main(["--run", str(run), *QUICK]) == 0
    iteration = json.loads((run / "state.json").read_text())["iteration"]
    config, (part,) = read_atlas(run / f"atlas-{iteration}")
    assert config["model"] == f"{tiny}, checkpoint-{iteration}"
    # It is the trained model that was measured, not the one that the run began with.
    assert (
        main(["--model", str(tiny), "--tasks", TASK, "--out", str(tmp_path / "before"), *SECONDS, *QUICK])
        == 0
    )
    before, (untrained,) = read_atlas(tmp_path / "before")
    assert before["weights"] != config["weights"]
    assert sum(e.logprob for e in part.entries[-4:]) > sum(e.logprob for e in untrained.entries[-4:])


def test_what_is_refused(tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = str(tmp_path / "none")
    for arguments, word in (
        (["--run", run, "--model", str(tiny)], "leave out --model"),
        (["--run", run, "--reward-on", "train"], "leave out --reward-on"),
        (["--run", run], "not a run folder"),
        (["--limits.seconds", "0"], "no program could run"),
        (["--model", str(tiny), "--tasks", TASK, "--seconds", "0", "--out", run], "budget"),
        (["--model", str(tiny), "--tasks", TASK, "--atlas.stride", "0", "--out", run], "stride"),
    ):
        assert main(arguments) == 1
        error = capsys.readouterr().err
        assert error.startswith("error: ") and word in error and error.count("\n") == 1
    assert not Path(run).exists()
