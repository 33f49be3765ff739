"""Tensors on disk: safetensors files, read strictly and written atomically.

Strict: a checkpoint holds exactly the tensors that the model expects, in the expected shapes.
Whatever does not fit is an error that names the tensors; nothing is skipped or matched by likeness.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import re
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from minillm.errors import MinillmError

WEIGHTS_NAME = "model.safetensors"
INDEX_NAME = "model.safetensors.index.json"

HARMLESS = re.compile(r"\.rotary_emb\.inv_freq$")
"""Extra tensors of old checkpoints that repeat what config.json says."""

_FLOATS = frozenset({"F64", "F32", "F16", "BF16"})


# Bytes of a file that are mapped before it is opened anew: what was read does not stay in memory.
MAPPED = 1 << 26


class Checkpoint:
    """A folder's safetensors, checked by their headers: all tensors that are expected, and no others.

    Args:
        folder: holds model.safetensors, or model.safetensors.index.json and its shards.
        expected: name -> shape of every tensor of the model.
        ignore: extra tensors whose name it finds a match in are dropped.
        bytes_allowed: some tensors hold bytes (uint8), whose meaning the caller knows.

    Raises:
        MinillmError: no weights, a missing shard, a truncated or corrupt file, or a tensor that is
            missing, extra, of another shape, or quantised; names the tensors and the file.
    """

    def __init__(
        self,
        folder: Path,
        expected: Mapping[str, torch.Size],
        *,
        ignore: re.Pattern[str] | None = HARMLESS,
        bytes_allowed: bool = False,
    ) -> None:
        files = _files(folder)
        self._where: dict[str, Path] = {}
        self._open: tuple[Path, Any] | None = None
        self._mapped = 0
        self.shapes = expected
        problems: dict[str, str] = {}
        for path, promised in files.items():
            held = _inspect(path)
            _refuse(path, "lacks tensors that its index promises", promised - held.keys())
            _refuse(path, "repeats tensors of another shard", held.keys() & self._where.keys())
            self._where.update(dict.fromkeys(held, path))
            for name, (dtype, shape) in held.items():
                if name not in expected:
                    continue
                if dtype not in _FLOATS and not (bytes_allowed and dtype == "U8"):
                    problems[name] = f"{name} (dtype {dtype} is not a plain float)"
                elif shape != expected[name]:
                    problems[name] = f"{name} (shape {list(shape)}, expected {list(expected[name])})"
        source = next(iter(files)) if len(files) == 1 else folder / INDEX_NAME
        _refuse(source, "lacks tensors of the model in config.json", expected.keys() - self._where.keys())
        extra = self._where.keys() - expected.keys()
        if ignore is not None:
            extra = {name for name in extra if not ignore.search(name)}
        _refuse(source, "has tensors that the model in config.json does not", extra)
        _refuse(source, "has tensors that do not fit config.json", problems.values())

    def __getitem__(self, name: str) -> torch.Tensor:
        """A whole tensor in its stored dtype, memory mapped, privately: writing to it leaves the file."""
        tensor: torch.Tensor = self._file(name).get_tensor(name)
        self._mapped += tensor.nbytes
        return tensor

    def blocks(self, name: str) -> Iterator[tuple[int, torch.Tensor]]:
        """(index of its first row, some rows) through a tensor; each is valid until the next is asked for."""
        shape = self.shapes[name]
        width = math.prod(shape[1:]) * 4
        rows = max(1, MAPPED // max(1, width)) if len(shape) > 1 else shape[0]
        for start in range(0, shape[0], rows):
            block = self._file(name).get_slice(name)[start : start + rows]
            self._mapped += block.nbytes
            yield start, block

    def _file(self, name: str) -> Any:
        """The open file that holds a tensor, opened anew once enough of it is mapped."""
        path = self._where[name]
        if self._open is None or self._open[0] != path or self._mapped > MAPPED:
            self.close()
            self._open = (path, safe_open(path, framework="pt", device="cpu").__enter__())
        return self._open[1]

    def close(self) -> None:
        """Let go of the open file; what was read of it stays mapped as long as it is held."""
        if self._open is not None:
            self._open[1].__exit__(None, None, None)
        self._open, self._mapped = None, 0


def load_tensors(
    folder: Path,
    expected: Mapping[str, torch.Size],
    *,
    ignore: re.Pattern[str] | None = HARMLESS,
) -> dict[str, torch.Tensor]:
    """All tensors of a `Checkpoint`, in the order of `expected`; arguments and errors are its own."""
    checkpoint = Checkpoint(folder, expected, ignore=ignore)
    return {name: checkpoint[name] for name in expected}


def main_dtype(folder: Path) -> str | None:
    """Name the dtype of most of a checkpoint's floats, such as "bfloat16"; None where it has no floats."""
    floats = {"F64": "float64", "F32": "float32", "BF16": "bfloat16", "F16": "float16"}
    sizes = dict.fromkeys(floats, 0)
    for path in _files(folder):
        for dtype, shape in _inspect(path).values():
            if dtype in floats:
                sizes[dtype] += shape.numel()
    most = max(sizes, key=sizes.__getitem__)
    return floats[most] if sizes[most] else None


def save_tensors(
    folder: Path,
    tensors: Mapping[str, torch.Tensor],
    metadata: Mapping[str, str] | None = None,
    max_shard_bytes: int | None = None,
) -> Path:
    """Write `tensors` to `folder`: the old checkpoint or the new one, never a half.

    Args:
        folder: made where it does not exist.
        tensors: name -> tensor of any dtype and device; no two may share memory.
        metadata: text entries for the files' headers.
        max_shard_bytes: start another file where one would get larger; None for one file.

    Returns:
        The path of the file, or of the index of several.

    Raises:
        MinillmError: a file cannot be written.
    """
    contiguous = {name: tensor.detach().contiguous() for name, tensor in tensors.items()}
    shards: list[dict[str, torch.Tensor]] = [{}]
    size = 0
    for name, tensor in contiguous.items():
        if max_shard_bytes is not None and shards[-1] and size + tensor.nbytes > max_shard_bytes:
            shards.append({})
            size = 0
        shards[-1][name] = tensor
        size += tensor.nbytes
    index = folder / INDEX_NAME
    stale = set(_stale(folder))
    header = {"format": "pt", **(metadata or {})}
    if len(shards) == 1:
        target = folder / WEIGHTS_NAME
        write_atomically(target, partial(save_file, shards[0], metadata=header))
        stale -= {target}
    else:
        weight_map: dict[str, str] = {}
        for number, shard in enumerate(shards, start=1):
            name = f"model-{number:05d}-of-{len(shards):05d}.safetensors"
            weight_map |= dict.fromkeys(shard, name)
            write_atomically(folder / name, partial(save_file, shard, metadata=header))
        total = sum(tensor.nbytes for tensor in contiguous.values())
        text = json.dumps({"metadata": {"total_size": total}, "weight_map": weight_map}, indent=2)
        target = index
        write_atomically(target, lambda temp: temp.write_text(text + "\n"))
        stale -= {index, *(folder / name for name in weight_map.values())}
    for path in stale:
        path.unlink(missing_ok=True)
    return target


def _stale(folder: Path) -> Iterator[Path]:
    """The files of the checkpoint that a new one replaces."""
    yield folder / WEIGHTS_NAME
    if (folder / INDEX_NAME).is_file():
        with contextlib.suppress(MinillmError):
            yield from _files(folder)
        yield folder / INDEX_NAME


def write_atomically(target: Path, write: Callable[[Path], Any]) -> None:
    """Let `write` fill a temporary file beside `target`, then give it that name.

    Raises `MinillmError` where that fails; `target` is then as it was.
    """
    temp: Path | None = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
        os.close(handle)
        temp = Path(name)
        write(temp)
        # mkstemp makes files that their owner alone may read; weights follow the umask instead.
        umask = os.umask(0)
        os.umask(umask)
        temp.chmod(0o666 & ~umask)
        fsync_path(temp)
        temp.replace(target)
        fsync_path(target.parent)
    except (OSError, SafetensorError) as error:
        raise MinillmError(f"cannot write {target}: {error}") from error
    finally:
        if temp is not None:
            with contextlib.suppress(OSError):
                temp.unlink(missing_ok=True)


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
