"""The dashboard's data: what the journal says, as it grows, and a sentence for what is wrong."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from minillm.errors import MinillmError
from rl.dashboard.__main__ import main
from rl.dashboard.records import Facts
from rl.dashboard.site import Dashboard
from rl.intervals import exact_interval
from tests.rl.large_run import records, write_large_run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_large_run(
        tmp_path_factory.mktemp("runs") / "drawn", states=24, rollouts=24 * 100, problems=3
    )


def chunk(pages: Path, name: str) -> Any:
    text = (pages / "data" / f"{name}.js").read_text()
    match = re.fullmatch(r"chunk\(\"[^\"]*\",'(.*)'\);\n", text)
    assert match is not None
    return json.loads(re.sub(r"\\(.)", r"\1", match[1]))


def states(pages: Path, run: int = 0) -> list[dict[str, Any]]:
    index = chunk(pages, f"{run}/index")
    names = dict.fromkeys(index["states"]["chunk"])
    return [state for number in names for state in chunk(pages, f"{run}/states-{number}")["states"]]


def test_all_of_the_journal_is_there(run: Path, tmp_path: Path) -> None:
    dashboard = Dashboard([run], tmp_path / "pages")
    assert dashboard.update() and not dashboard.update()
    index, shown = chunk(tmp_path / "pages", "0/index"), states(tmp_path / "pages")
    written = list(records(run))
    assert [problem["golden"] for problem in index["problems"]] == [220] * 3
    assert index["states"]["k"] == [record["state"]["k"] for record in written]
    assert index["states"]["rollouts"] == [100] * 24 and len(shown) == 24
    assert index["messages"] == ["No checkpoint with a tokenizer is there: tokens are shown by number."]
    for number, (state, record) in enumerate(zip(shown, written, strict=True)):
        assert state["number"] == number and state["value"] == record["state_reward"]
        for action, old in zip(state["actions"], record["actions"], strict=True):
            for name in (
                "logprob",
                "logprob_after",
                "logprob_trained",
                "logprob_reference",
                "target",
                "rank",
                "stopped",
            ):
                assert action[name] == old[name]
            rewards = [rollout["reward"] for rollout in old["rollouts"]]
            assert sum(group["count"] for group in action["groups"]) == len(rewards) == action["trials"]
            assert sum(group["count"] * group["reward"] for group in action["groups"]) == sum(rewards)
            assert (action["low"], action["high"]) == exact_interval(sum(rewards), len(rewards))
            counts = [group["count"] for group in action["groups"]]
            assert counts == sorted(counts, reverse=True) and len(counts) < len(rewards)
    failures = [g["failure"] for s in shown for a in s["actions"] for g in a["groups"] if g["reward"] < 1]
    assert sum(failure is not None for failure in failures) > 50


def test_a_run_that_goes_on_is_followed(run: Path, tmp_path: Path) -> None:
    lines = (run / "journal.jsonl").read_bytes().splitlines(keepends=True)
    growing = tmp_path / "drawn"
    shutil.copytree(run, growing)

    def write(data: bytes, counted: int) -> None:
        (growing / "journal.jsonl").write_bytes(data)
        (growing / "state.json").write_text(
            json.dumps({"iteration": 1, "journal_bytes": counted, "state": {}})
        )

    write(b"", 0)
    dashboard = Dashboard([growing], tmp_path / "pages", live=True)
    dashboard.update()
    assert chunk(tmp_path / "pages", "index")["live"] is True
    assert chunk(tmp_path / "pages", "0/index")["states"]["k"] == []
    for end in (5, 6, 17):
        data = b"".join(lines[:end])
        # What is not counted in does not exist yet, a torn line least of all.
        write(data + lines[end][:50], len(data))
        assert dashboard.update()
        assert len(states(tmp_path / "pages")) == end
    write(b"".join(lines), sum(map(len, lines)))
    dashboard.update()
    Dashboard([run], tmp_path / "whole").update()
    assert states(tmp_path / "pages") == states(tmp_path / "whole")
    # A process that was killed leaves a shorter journal behind.
    data = b"".join(lines[:4])
    write(data, len(data))
    assert dashboard.update() and len(states(tmp_path / "pages")) == 4


def test_what_is_wrong_is_a_sentence(run: Path, tmp_path: Path) -> None:
    def messages(change: str, *files: tuple[str, bytes | None]) -> str:
        folder = tmp_path / change
        shutil.copytree(run, folder)
        for name, data in files:
            (folder / name).unlink() if data is None else (folder / name).write_bytes(data)
        Dashboard([folder], tmp_path / f"{change} pages").update()
        return "\n".join(chunk(tmp_path / f"{change} pages", "0/index")["messages"])

    journal = (run / "journal.jsonl").read_bytes()
    assert "last line of journal.jsonl is torn after 40 bytes" in messages(
        "torn", ("journal.jsonl", journal + journal[:40]), ("state.json", None)
    )
    assert "state.json is damaged" in messages("state", ("state.json", b"{"))
    assert "journal.jsonl is missing" in messages("journal", ("journal.jsonl", None))
    assert "bytes written; what is there is shown" in messages("short", ("journal.jsonl", journal[:-9]))
    assert "A line of journal.jsonl is damaged" in messages(
        "line", ("journal.jsonl", b"{}" + b"x" + journal[3:])
    )
    assert "This run left no looks.jsonl" in messages("looks", ("looks.jsonl", None))
    assert "metrics.jsonl is missing" in messages("metrics", ("metrics.jsonl", None))
    assert "is of journal format 99" in messages("format", ("config.json", b'{"format": 99, "config": {}}'))
    assert "has no config.json" in messages("config", ("config.json", None))
    other = journal.replace(b'"token_id"', b'"token"', 1)
    assert "An entry of kind 'training' is not one of this version: 'token_id'" in messages(
        "entry", ("journal.jsonl", other), ("state.json", None)
    )


def test_a_damaged_entry_leaves_nothing_behind(run: Path, tmp_path: Path) -> None:
    lines = (run / "journal.jsonl").read_text().splitlines(keepends=True)
    folder = tmp_path / "drawn"
    shutil.copytree(run, folder)
    (folder / "state.json").unlink()

    def without(name: str) -> str:
        entry = json.loads(lines[3])
        del entry[name]
        return json.dumps(entry) + "\n"

    deep = "[" * 100_000 + "\n"
    odd = [without("model_version"), lines[4].replace('"k":', '"k": "x", "old_k":'), deep]
    (folder / "journal.jsonl").write_text("".join([*lines[:3], *odd, *lines[5:]]))
    dashboard = Dashboard([folder], tmp_path / "pages", live=True)
    dashboard.update()
    index = chunk(tmp_path / "pages", "0/index")
    assert [state["number"] for state in states(tmp_path / "pages")] == list(range(len(lines) - 2))
    assert {len(column) for column in index["states"].values()} == {len(lines) - 2}
    # What was left out is said for as long as the page is there.
    with (folder / "journal.jsonl").open("a") as journal:
        journal.write(lines[4])
    assert dashboard.update() and len(states(tmp_path / "pages")) == len(lines) - 1
    messages = "\n".join(chunk(tmp_path / "pages", "0/index")["messages"])
    assert "is not one of this version: 'model_version'" in messages
    assert "problem_id is to be text, and k a whole number" in messages
    assert "A line of journal.jsonl is damaged" in messages


def test_a_journal_of_another_run_is_read_from_its_start(run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "drawn"
    shutil.copytree(run, folder)
    (folder / "state.json").unlink()
    lines = (folder / "journal.jsonl").read_text().splitlines(keepends=True)
    (folder / "journal.jsonl").write_text("".join(lines[:4]))
    dashboard = Dashboard([folder], tmp_path / "pages", live=True)
    dashboard.update()
    (folder / "other").write_text("".join(lines[6:]))
    (folder / "other").rename(folder / "journal.jsonl")
    assert dashboard.update()
    shown = [state["k"] for state in states(tmp_path / "pages")]
    assert shown == [json.loads(line)["state"]["k"] for line in lines[6:]]


def test_numbers_that_json_has_not_are_left_out(run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "drawn"
    shutil.copytree(run, folder)
    (folder / "metrics.jsonl").write_bytes(
        b'{"iteration": 1, "loss": NaN, "drift": 1e999}\n\xff\n{"iteration": 2, "loss": 0.5}\n'
    )
    Dashboard([folder], tmp_path / "pages").update()
    metrics = chunk(tmp_path / "pages", "0/index")["metrics"]
    assert metrics == {"iteration": [1, 2], "names": ["drift", "loss"], "values": [[None, None], [None, 0.5]]}


def test_data_of_other_runs_is_not_sent_along(run: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(run, other)
    Dashboard([run, other], tmp_path / "pages").update()
    assert (tmp_path / "pages/data/1/index.js").exists()
    Dashboard([run], tmp_path / "pages").update()
    assert sorted(path.name for path in (tmp_path / "pages/data").iterdir()) == ["0", "index.js"]


def test_solutions_are_pieced_together_without_looks(run: Path, tmp_path: Path) -> None:
    old = tmp_path / "old"
    shutil.copytree(run, old)
    (old / "looks.jsonl").unlink()
    Dashboard([run, old], tmp_path / "pages").update()
    for number in range(3):
        new, pieced = (chunk(tmp_path / "pages", f"{r}/problem-{number}") for r in (0, 1))
        whole, known = ([*p["prompt"], *p["golden"]] for p in (new, pieced))
        assert known == whole[: len(known)] and pieced["missing"] == len(whole) - len(known)
        assert not pieced["known"] and len(pieced["prompt"]) >= len(new["prompt"])


def test_entries_of_other_methods_are_shown(run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "grpo"
    shutil.copytree(run, folder)
    rollout = {
        "token_ids": [5, 6],
        "logprobs": [-1.0, -2.0],
        "reward": 1.0,
        "finish_reason": "stop",
        "advantage": 0.5,
    }
    state = next(records(run))["state"]
    shared = {"iteration": 1, "state": state, "model_version": 0}
    lines = [
        {"kind": "grpo", "rollouts": [rollout, rollout], "state_reward": 1.0, **shared},
        {"kind": "sft", "loss": 0.5, **shared},
        {"kind": "measurement", "split": "trained", "rollouts": [rollout], "state_reward": 1.0, **shared},
    ]
    (folder / "journal.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (folder / "state.json").unlink()
    Dashboard([folder], tmp_path / "pages").update()
    grpo, sft, measured = states(tmp_path / "pages")
    assert (
        grpo["actions"][0]["groups"][0]["count"] == 2 and grpo["actions"][0]["groups"][0]["advantage"] == 0.5
    )
    assert sft["loss"] == 0.5 and sft["actions"] == [] and measured["split"] == "trained"


def test_an_atlas_is_shown(run: Path, tmp_path: Path) -> None:
    """By itself, and of a run: its values are rows of the solution view."""
    likely = [{"token_id": 7, "text": " a", "logprob": -0.5}]
    entry = {"token_id": 7, "text": " a", "logprob": -0.5, "rank": 1, "entropy": 0.7, "likeliest": likely}
    counts = {"drawn": 16, "rollouts": 16, "successes": 4.0, "mean": 0.25, "low": 0.07, "high": 0.52}
    name = next(records(run))["state"]["problem_id"]
    problem = {
        "problem_id": name,
        "prompt_ids": [3, 4],
        "golden_ids": [5, 7, 7],
        "head": "begin",
        "rounds": 1,
        "entries": [{"k": k, "value": 0.25, "jump": 0.0, **entry, **counts} for k in (2, 1)],
    }
    both = tmp_path / "drawn"
    shutil.copytree(run, both)
    for atlas in (tmp_path / "alone", both / "atlas-7"):
        atlas.mkdir()
        (atlas / "config.json").write_text('{"format": "atlas 1", "config": {}}')
        (atlas / f"{name}.json").write_text(json.dumps(problem))
    Dashboard([tmp_path / "alone", both], tmp_path / "pages").update()
    alone, whole = (chunk(tmp_path / "pages", f"{number}/problem-0") for number in (0, 1))
    assert chunk(tmp_path / "pages", "0/index")["messages"] == []
    assert (
        alone["rows"]["k"] == [2, 1]
        and alone["rows"]["low"] == [0.07, 0.07]
        and alone["head"] == ["begin", 1]
    )
    assert whole["rows"]["iteration"][-2:] == [7, 7] and len(whole["rows"]["k"]) == 8 + 2
    assert len(whole["golden"]) == 220


def test_facts_of_a_problem() -> None:
    facts = Facts(0, "p")
    facts.see({"prefix_ids": [1, 2, 3], "k": 2}, 4)
    assert (facts.prompt_ids, facts.golden_ids, facts.whole) == ([1, 2, 3], [4], 5)
    facts.see({"prefix_ids": [1, 2], "k": 3}, 3)
    assert (facts.prompt_ids, facts.golden_ids) == ([1, 2], [3, 4])
    facts.see({"prefix_ids": [1, 2, 3, 4], "k": 1}, 5)
    assert (facts.prompt_ids, facts.golden_ids) == ([1, 2], [3, 4, 5])


def test_the_command_line(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(run), "--out", str(tmp_path / "pages"), "--zip", str(tmp_path / "run.zip")]) == 0
    assert (tmp_path / "pages/index.html").exists() and (tmp_path / "run.zip").stat().st_size > 10_000
    capsys.readouterr()
    for arguments, sentence in (
        ([str(tmp_path / "nothing"), "--out", str(tmp_path / "p")], "is not a folder"),
        ([str(run), str(run), "--out", str(tmp_path / "p")], "two runs are called drawn"),
        ([str(run), "--out", str(run)], "holds something else than pages"),
    ):
        assert main(arguments) == 1
        out = capsys.readouterr()
        assert sentence in out.err and out.err.count("\n") == 1
    with pytest.raises(MinillmError, match="there is no run to show"):
        Dashboard([], tmp_path / "p")
