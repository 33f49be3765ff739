"""Tensors on disk: safetensors files, read strictly and written atomically.

Strict: a checkpoint holds exactly the tensors that the model expects, in the expected shapes.
Whatever does not fit is an error that names the tensors; nothing is skipped or matched by likeness.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from minillm.errors import MinillmError

WEIGHTS_NAME = "model.safetensors"
INDEX_NAME = "model.safetensors.index.json"

HARMLESS = re.compile(r"\.rotary_emb\.inv_freq$")
"""Extra tensors of old checkpoints that repeat what config.json says."""

_FLOATS = frozenset({"F64", "F32", "F16", "BF16"})


def load_tensors(
    folder: Path,
    expected: Mapping[str, torch.Size],
    *,
    ignore: re.Pattern[str] | None = HARMLESS,
) -> dict[str, torch.Tensor]:
    """The tensors of a checkpoint: those of `expected`, all of them, and no others.

    Args:
        folder: holds model.safetensors, or model.safetensors.index.json and its shards.
        expected: name -> shape of every tensor of the model.
        ignore: extra tensors whose name it finds a match in are dropped.

    Returns:
        name -> CPU tensor in the stored dtype (fp64, fp32, fp16 or bf16), in the order of
        `expected`. Tensors are memory mapped, privately: writing to one leaves the file as it is.

    Raises:
        MinillmError: no weights, a missing shard, a truncated or corrupt file, or a tensor that is
            missing, extra, of another shape, or quantised; names the tensors and the file.
    """
    files = _files(folder)
    where: dict[str, Path] = {}
    problems: dict[str, str] = {}
    for path, promised in files.items():
        held = _inspect(path)
        _refuse(path, "lacks tensors that its index promises", promised - held.keys())
        _refuse(path, "repeats tensors of another shard", held.keys() & where.keys())
        where.update(dict.fromkeys(held, path))
        for name, (dtype, shape) in held.items():
            if name not in expected:
                continue
            if dtype not in _FLOATS:
                problems[name] = f"{name} (dtype {dtype} is not a plain float)"
            elif shape != expected[name]:
                problems[name] = f"{name} (shape {list(shape)}, expected {list(expected[name])})"
    source = next(iter(files)) if len(files) == 1 else folder / INDEX_NAME
    _refuse(source, "lacks tensors of the model in config.json", expected.keys() - where.keys())
    extra = where.keys() - expected.keys()
    if ignore is not None:
        extra = {name for name in extra if not ignore.search(name)}
    _refuse(source, "has tensors that the model in config.json does not", extra)
    _refuse(source, "has tensors that do not fit config.json", problems.values())
    loaded: dict[str, torch.Tensor] = {}
    for path in files:
        with safe_open(path, framework="pt", device="cpu") as file:
            loaded.update({n: file.get_tensor(n) for n in expected if where[n] == path})
    return {name: loaded[name] for name in expected}


def save_tensors(
    folder: Path,
    tensors: Mapping[str, torch.Tensor],
    metadata: Mapping[str, str] | None = None,
) -> Path:
    """Write `tensors` to `folder`/model.safetensors: the old file or the new one, never a half.

    Args:
        folder: made where it does not exist.
        tensors: name -> tensor of any dtype and device; no two may share memory.
        metadata: text entries for the file's header.

    Returns:
        The path of the file.

    Raises:
        MinillmError: the file cannot be written.
    """
    target = folder / WEIGHTS_NAME
    temp: Path | None = None
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{WEIGHTS_NAME}.", dir=folder)
        os.close(handle)
        temp = Path(name)
        contiguous = {name: tensor.detach().contiguous() for name, tensor in tensors.items()}
        save_file(contiguous, temp, metadata={"format": "pt", **(metadata or {})})
        # mkstemp makes files that their owner alone may read; weights follow the umask instead.
        umask = os.umask(0)
        os.umask(umask)
        temp.chmod(0o666 & ~umask)
        fsync_path(temp)
        temp.replace(target)
        fsync_path(folder)
    except (OSError, SafetensorError) as error:
        raise MinillmError(f"cannot write {target}: {error}") from error
    finally:
        if temp is not None:
            with contextlib.suppress(OSError):
                temp.unlink(missing_ok=True)
    return target


def fsync_path(path: Path) -> None:
    """Flush a file, or a folder's list of names, to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _files(folder: Path) -> dict[Path, set[str]]:
    """Every weights file of a checkpoint -> the tensors that an index says it holds."""
    single, index = folder / WEIGHTS_NAME, folder / INDEX_NAME
    if not index.is_file():
        if not single.is_file():
            raise MinillmError(f"{folder} has neither {WEIGHTS_NAME} nor {INDEX_NAME}")
        return {single: set()}
    try:
        weight_map = json.loads(index.read_bytes())["weight_map"]
        shards: dict[Path, set[str]] = {}
        for name, file in weight_map.items():
            if Path(file).name != file:
                raise ValueError(f"{file!r} is not the name of a file")
            shards.setdefault(folder / file, set()).add(name)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise MinillmError(f"{index} is not an index of safetensors shards: {error}") from error
    _refuse(index, "names shards that are not there", [p.name for p in shards if not p.is_file()])
    if single.is_file() and single not in shards:
        raise MinillmError(
            f"{folder} has {WEIGHTS_NAME} and {INDEX_NAME}, two checkpoints; remove the stale one"
        )
    return shards


def _inspect(path: Path) -> dict[str, tuple[str, torch.Size]]:
    """Name -> dtype and shape of every tensor in a safetensors file, from its header."""
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
            return {n: (s.get_dtype(), torch.Size(s.get_shape())) for n, s in slices.items()}
    except (SafetensorError, OSError) as error:
        raise MinillmError(
            f"{path} is truncated or not a safetensors file ({error}); fetch it again"
        ) from error


def _refuse(path: Path, what: str, names: Iterable[str]) -> None:
    culprits = sorted(names)
    if culprits:
        more = f" and {len(culprits) - 4} more" if len(culprits) > 4 else ""
        raise MinillmError(f"{path} {what}: {', '.join(culprits[:4])}{more}")
