"""Journal: killed or failing at any moment, a run goes on from its last finished iteration."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from minillm.errors import MinillmError
from rl.journal import FORMAT, Journal, read_records

CONFIG: dict[str, Any] = {"lr": 3e-6, "model": {"name": "demo", "dtype": "fp32"}, "tasks": ["a"]}
LINES = 3


def checkpoint(iteration: int) -> Callable[[Path], None]:
    def save(folder: Path) -> None:
        (folder / "weights").write_text(str(iteration))
        (folder / "optimizer").mkdir()
        (folder / "optimizer" / "moments").write_text(str(iteration))

    return save


def finish(journal: Journal, save: Callable[[Path], None] | None = None) -> None:
    """Commits the next iteration, whose lines go on counting where the last one's ended."""
    iteration, first = journal.iteration + 1, journal.state.get("lines", 0)
    journal.commit(
        iteration,
        [{"n": n, "text": "two\nlines \u2028"} for n in range(first, first + LINES)],
        {"lines": first + LINES},
        save or checkpoint(iteration),
    )


def check_whole(folder: Path) -> int:
    """Asserts that the folder holds so many whole iterations and nothing else; returns how many."""
    with Journal.open(folder, CONFIG) as journal:
        done = journal.iteration
        assert journal.state.get("lines", 0) == LINES * done
        assert (journal.checkpoint_path is None) == (done == 0)
        if journal.checkpoint_path is not None:
            assert (journal.checkpoint_path / "weights").read_text() == str(done)
            assert (journal.checkpoint_path / "optimizer" / "moments").read_text() == str(done)
    assert [record["n"] for record in read_records(folder)] == list(range(LINES * done))
    if done:
        lines = (folder / "journal.jsonl").read_bytes().split(b"\n")
        assert [json.loads(line)["n"] for line in lines[:-1]] == list(range(LINES * done))
        assert lines[-1] == b""
    names = {path.name for path in folder.iterdir()}
    expected = {"config.json", "lock", "state.json"}
    if done:
        expected |= {"journal.jsonl", f"checkpoint-{done}"}
    assert names - {"journal.jsonl"} == expected - {"journal.jsonl"}
    return done


def test_commits_are_read_back_and_gone_on_with(tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "one"
    for done in range(4):
        assert check_whole(folder) == done
        with Journal.open(folder, CONFIG) as journal:
            finish(journal)
            assert journal.iteration == done + 1
    assert check_whole(folder) == 4


def test_readers_see_finished_iterations_while_the_run_goes_on(tmp_path: Path) -> None:
    with Journal.open(tmp_path, CONFIG) as journal:
        assert list(read_records(tmp_path)) == []
        finish(journal)

        def save(folder: Path) -> None:
            assert (tmp_path / "journal.jsonl").read_bytes().count(b"\n") == 2 * LINES
            assert len(list(read_records(tmp_path))) == LINES
            checkpoint(2)(folder)

        finish(journal, save)
        assert next(islice(read_records(tmp_path), 1, None))["n"] == 1
    assert len(list(read_records(tmp_path))) == 2 * LINES


# In a process of its own, which forks: a fork of pytest's would inherit its threads' locks.
KILLER = """
import os, random, signal, sys, time
sys.path[:0] = sys.argv[2:]
from pathlib import Path
from test_journal import CONFIG, check_whole, finish
from rl.journal import Journal
folder, rng, done = Path(sys.argv[1]), random.Random(0), [0]
for _ in range(12):
    opened, tell = os.pipe()
    child = os.fork()
    if not child:
        journal = Journal.open(folder, CONFIG)
        os.write(tell, b"!")
        while True:
            finish(journal)
    assert os.read(opened, 1) == b"!"
    time.sleep(rng.uniform(0, 0.1))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    done.append(check_whole(folder))
assert done == sorted(done) and done[-1] > 0, done
"""


def test_sigkill_at_random_moments(tmp_path: Path) -> None:
    here = Path(__file__).resolve()
    folders = [str(path) for path in (tmp_path / "run", here.parent, here.parents[2])]
    command = [sys.executable, "-c", KILLER, *folders]
    killer = subprocess.run(command, stderr=subprocess.PIPE, text=True, timeout=300)
    assert killer.returncode == 0, killer.stderr


def announced(name: str, real: Callable[..., Any], before: Callable[[str], None]) -> Callable[..., Any]:
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        before(name)
        return real(*args, **kwargs)

    return wrapped


def steps(monkeypatch: pytest.MonkeyPatch, before: Callable[[str], None]) -> None:
    """Calls `before` with its name ahead of every call that changes what is on the disk."""
    for owner, name in (
        (os, "fsync"),
        (os, "truncate"),
        (Path, "mkdir"),
        (Path, "rename"),
        (Path, "replace"),
        (Path, "unlink"),
        (shutil, "rmtree"),
    ):
        monkeypatch.setattr(owner, name, announced(name, getattr(owner, name), before))


def test_killed_before_every_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder as a process killed there leaves it, once for each step of two iterations."""
    folder, copies = tmp_path / "run", tmp_path / "copies"
    copies.mkdir()
    names: list[str] = []
    copying = False  # which itself makes the calls that are announced

    def copy(name: str) -> None:
        nonlocal copying
        if not copying:
            copying = True
            if folder.exists():
                shutil.copytree(folder, copies / str(len(names)))
                names.append(name)
            copying = False

    with monkeypatch.context() as patch:
        steps(patch, copy)
        with Journal.open(folder, CONFIG) as journal:
            finish(journal)
            finish(journal)
    assert {"fsync", "mkdir", "rename", "replace", "rmtree"} <= set(names)
    found = [check_whole(copies / str(i)) for i in range(len(names))]
    assert found == sorted(found)
    assert set(found) == {0, 1, 2}
    for i in range(len(names)):  # and each goes on
        with Journal.open(copies / str(i), CONFIG) as journal:
            finish(journal)
        assert check_whole(copies / str(i)) == found[i] + 1


def test_a_torn_line_is_cut_away(tmp_path: Path) -> None:
    with Journal.open(tmp_path, CONFIG) as journal:
        finish(journal)
    with (tmp_path / "journal.jsonl").open("ab") as lines:
        lines.write(b'{"n":3}\n{"n":4,"te')
    assert len(list(read_records(tmp_path))) == LINES
    assert check_whole(tmp_path) == 1


class Failing:
    """Raises `error` at the step of this number, once."""

    def __init__(self, at: int, error: BaseException) -> None:
        self.left, self.error = at, error

    def __call__(self, name: str) -> None:
        self.left -= 1
        if self.left == -1:
            raise self.error


def outcomes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: Callable[[], BaseException]
) -> Iterator[tuple[Path, BaseException]]:
    """Folders whose second iteration failed at step 0, 1, 2, ..., and what the caller saw."""
    for at in range(99):
        folder = tmp_path / str(at)
        with Journal.open(folder, CONFIG) as journal:
            finish(journal)
            failing = Failing(at, make())
            with monkeypatch.context() as patch:
                steps(patch, failing)
                try:
                    finish(journal)
                except BaseException as error:
                    yield folder, error
                if failing.left >= 0:
                    return


def test_full_disk_at_every_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for folder, error in outcomes(
        tmp_path, monkeypatch, lambda: OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    ):
        assert isinstance(error, MinillmError)
        assert "iteration 2 could not be saved" in str(error)
        assert "No space left on device" in str(error)
        found.append(folder)
    assert len(found) > 5
    assert {check_whole(folder) for folder in found} == {1, 2}


def test_interrupt_at_every_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for folder, error in outcomes(tmp_path, monkeypatch, KeyboardInterrupt):
        assert isinstance(error, KeyboardInterrupt)
        found.append(folder)
    assert len(found) > 5
    assert {check_whole(folder) for folder in found} == {1, 2}


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "full"), RuntimeError("bug")])
def test_a_failed_checkpoint_can_be_tried_again(tmp_path: Path, error: Exception) -> None:
    def save(folder: Path) -> None:
        (folder / "weights").write_text("half")
        raise error

    with Journal.open(tmp_path, CONFIG) as journal:
        finish(journal)
        expected = MinillmError if isinstance(error, OSError) else RuntimeError
        with pytest.raises(expected, match=r"full|bug"):
            finish(journal, save)
        assert journal.iteration == 1
        finish(journal)
    assert check_whole(tmp_path) == 2


def test_another_configuration_is_refused_by_key(tmp_path: Path) -> None:
    with Journal.open(tmp_path, CONFIG) as journal:
        finish(journal)
    other = {"lr": 3e-6, "model": {"name": "other", "dtype": "fp32"}, "tasks": ["a"], "seed": 1}
    with pytest.raises(MinillmError) as caught:
        Journal.open(tmp_path, other)
    message = str(caught.value)
    assert "model.name was 'demo' and is now 'other'" in message
    assert "seed was 'not set' and is now 1" in message
    assert "choose another folder" in message
    assert "lr" not in message
    assert check_whole(tmp_path) == 1


def test_a_journal_of_another_format_is_refused(tmp_path: Path) -> None:
    with Journal.open(tmp_path, CONFIG) as journal:
        finish(journal)
    path = tmp_path / "config.json"
    written = json.loads(path.read_text())
    assert written == {"format": FORMAT, "config": CONFIG}
    # One from before there was a format, and one of a later version.
    for text, found in ((CONFIG, 1), ({**written, "format": FORMAT + 1}, FORMAT + 1)):
        path.write_text(json.dumps(text))
        for use in (lambda: Journal.open(tmp_path, CONFIG), lambda: read_records(tmp_path)):
            with pytest.raises(MinillmError) as caught:
                use()
            message = str(caught.value)
            assert (
                f"{path} is of journal format {found}, and this version of rl reads format {FORMAT}"
                in message
            )
            assert "choose another folder" in message and "\n" not in message
    path.write_text(json.dumps(written))
    assert check_whole(tmp_path) == 1


def test_a_configuration_is_compared_as_json(tmp_path: Path) -> None:
    Journal.open(tmp_path, {"tasks": ("a", "b")}).close()
    Journal.open(tmp_path, {"tasks": ["a", "b"]}).close()


def test_one_process_at_a_time(tmp_path: Path) -> None:
    with (
        Journal.open(tmp_path, CONFIG),
        pytest.raises(MinillmError, match=f"in use by process {os.getpid()}"),
    ):
        Journal.open(tmp_path, CONFIG)
    Journal.open(tmp_path, CONFIG).close()


def test_other_folders_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years")
    with pytest.raises(MinillmError, match="not empty and holds no run"):
        Journal.open(tmp_path, CONFIG)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]
    with pytest.raises(MinillmError, match="cannot use"):
        Journal.open(tmp_path / "thesis.txt", CONFIG)
    with pytest.raises(MinillmError, match="not a run folder"):
        read_records(tmp_path)


def test_damage_is_named(tmp_path: Path) -> None:
    with Journal.open(tmp_path, CONFIG) as journal:
        finish(journal)
    whole = tmp_path / "journal.jsonl"
    kept = whole.read_bytes()
    whole.write_bytes(kept[:-1])
    with pytest.raises(MinillmError, match=r"journal\.jsonl is damaged"):
        Journal.open(tmp_path, CONFIG)
    whole.write_bytes(b"x" * len(kept))
    with pytest.raises(MinillmError, match=r"journal\.jsonl is damaged"):
        list(read_records(tmp_path))
    whole.write_bytes(kept)
    (tmp_path / "checkpoint-1").rename(tmp_path / "elsewhere")
    with pytest.raises(MinillmError, match="lacks checkpoint-1"):
        Journal.open(tmp_path, CONFIG)
    for text in ("{", "[]", "{}"):
        (tmp_path / "state.json").write_text(text)
        with pytest.raises(MinillmError, match=r"state\.json is damaged"):
            Journal.open(tmp_path, CONFIG)


@pytest.mark.parametrize("done", [0, 1])
def test_without_its_state_a_run_is_damaged_and_left_alone(done: int, tmp_path: Path) -> None:
    with Journal.open(tmp_path / "run", CONFIG) as journal:
        for _ in range(done):
            finish(journal)
    run = tmp_path / "run"
    state = (run / "state.json").read_bytes()
    (run / "state.json").unlink()
    before = {path: path.is_dir() or path.read_bytes() for path in run.rglob("*") if path.name != "lock"}
    for use in (lambda: Journal.open(run, CONFIG), lambda: read_records(run)):
        with pytest.raises(MinillmError, match=r"is damaged: its state\.json is gone"):
            use()
    after = {path: path.is_dir() or path.read_bytes() for path in run.rglob("*") if path.name != "lock"}
    assert after == before
    (run / "state.json").write_bytes(state)
    assert check_whole(run) == done


def test_a_run_that_never_began_leaves_no_folder(tmp_path: Path) -> None:
    """But one that is interrupted does, one that began, and all that was there before."""

    def fail(error: type[BaseException], folder: Path, finished: int = 0) -> None:
        with pytest.raises(error), Journal.open(folder, CONFIG) as journal:
            for _ in range(finished):
                finish(journal)
            (folder / "tensorboard").mkdir(exist_ok=True)
            raise error

    fail(MinillmError, tmp_path / "runs" / "deep" / "one")
    assert list(tmp_path.iterdir()) == []
    fail(KeyboardInterrupt, tmp_path / "runs" / "one")
    fail(MinillmError, tmp_path / "runs" / "one")  # born by the call before
    fail(ValueError, tmp_path / "runs" / "two", finished=1)
    fail(ValueError, tmp_path / "runs" / "three")
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == ["one", "two"]
    (tmp_path / "mine").mkdir()
    fail(ValueError, tmp_path / "mine")
    assert list((tmp_path / "mine").iterdir()) == []


def test_what_json_cannot_hold_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MinillmError, match="the configuration cannot be written"):
        Journal.open(tmp_path / "a", {"path": tmp_path})
    with Journal.open(tmp_path / "b", CONFIG) as journal:
        with pytest.raises(MinillmError, match="a record of iteration 1 cannot be written"):
            journal.commit(1, [{"logprob": float("nan")}], {}, checkpoint(1))
        with pytest.raises(MinillmError, match="the state after iteration 1 cannot be written"):
            journal.commit(1, [], {"rng": object()}, checkpoint(1))
        with pytest.raises(MinillmError, match="iteration 0 was the last to finish, so 2 cannot"):
            journal.commit(2, [], {}, checkpoint(2))
        finish(journal)
    assert check_whole(tmp_path / "b") == 1
