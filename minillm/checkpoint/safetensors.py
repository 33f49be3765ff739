"""Tensors on disk: files of weights read strictly, and safetensors written atomically.

Strict: a checkpoint holds exactly the tensors that the model expects, in the expected shapes, under names
that a rule (`minillm.checkpoint.naming`) brings to the model's own. Whatever does not fit is an error that
names the tensors; what the rule skips is counted in one line of the log.
"""

from __future__ import annotations

import contextlib
import json
import logging
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors.torch import save_file

from minillm.checkpoint import fp8
from minillm.checkpoint.durable import write_atomically
from minillm.checkpoint.naming import CONSTANTS, COPIES, Naming
from minillm.checkpoint.weights_files import WeightsFile, open_weights
from minillm.errors import MinillmError

WEIGHTS_NAME = "model.safetensors"
INDEX_NAME = "model.safetensors.index.json"
TORCH_NAME = "pytorch_model.bin"
TORCH_INDEX_NAME = "pytorch_model.bin.index.json"

FLOATS = frozenset({"F64", "F32", "F16", "BF16"})

# What a number may have been rounded to before it was saved in another dtype.
_ROUNDED = (torch.bfloat16, torch.float16, torch.float32)

# Bytes of a file that are mapped before it is reopened: what was read does not stay in memory.
MAPPED = 1 << 26

logger = logging.getLogger("minillm")


class _Held(NamedTuple):
    path: Path
    stored: str  # the tensor's name in the file
    dtype: str
    shape: torch.Size


class Checkpoint:
    """A folder's weights, checked by their headers: all tensors that are expected, and no others.

    Args:
        folder: holds model.safetensors, or model.safetensors.index.json and its shards; or where there are
            none, pytorch_model.bin or its index and shards.
        expected: name -> shape of every tensor of the model.
        naming: what the names in the files mean.
        bytes_allowed: some tensors hold bytes (uint8), whose meaning the caller knows.

    Raises:
        MinillmError: no weights, a missing shard, a truncated or corrupt file, a tensor that is missing,
            extra, there under two names, of another shape, or quantised otherwise than said, or a copy of a
            tied embedding that differs from it; names the tensors and the file.
    """

    def __init__(
        self, folder: Path, expected: Mapping[str, torch.Size], naming: Naming, *, bytes_allowed: bool = False
    ) -> None:
        source, files = _files(folder)
        self._source = next(iter(files)) if len(files) == 1 else source
        self._fp8 = naming.fp8
        self._held: dict[str, _Held] = {}
        self._open: tuple[Path, WeightsFile] | None = None
        self._mapped = 0
        skipped = self._find(files, expected, naming)
        copies = {copy: name for copy, name in naming.copies.items() if copy in self._held}
        for copy, name in copies.items():
            self._held.setdefault(name, self._held[copy])
        constants = naming.constants.keys() & self._held.keys()
        needed = dict(expected) | {copy: expected[name] for copy, name in copies.items()}
        self._check(needed, constants, bytes_allowed)
        for name in constants:
            self._check_constant(name, naming.constants[name])
        for copy, name in copies.items():
            if self._held[copy] is not self._held[name]:
                self._check_copy(copy, name)
                skipped[COPIES] += 1
        skipped[CONSTANTS] = len(constants)
        for name in (*copies, *constants):
            del self._held[name]
        if skipped.total():
            kinds = ", ".join(f"{kind} {number}" for kind, number in sorted(skipped.items()) if number)
            logger.info("%s: tensors skipped: %d (%s)", folder, skipped.total(), kinds)

    def _find(
        self, files: Mapping[Path, set[str]], expected: Mapping[str, torch.Size], naming: Naming
    ) -> Counter[str]:
        """Note where every tensor is, and count those of each kind that are skipped."""
        skipped: Counter[str] = Counter()
        seen: set[str] = set()
        for path, promised in files.items():
            held = header(path)
            refuse(path, "lacks tensors that its index promises", promised - held.keys())
            refuse(path, "repeats tensors of another shard", held.keys() & seen)
            seen |= held.keys()
            for stored, (dtype, shape) in held.items():
                name, kind = naming.read(stored, expected)
                if kind:
                    skipped[kind] += 1
                elif name in self._held:
                    raise MinillmError(
                        f"{path} has {stored}, which is {self._held[name].stored} under another name; "
                        "keep one of the two"
                    )
                else:
                    self._held[name] = _Held(path, stored, dtype, shape)
        return skipped

    def _check(self, needed: Mapping[str, torch.Size], constants: set[str], bytes_allowed: bool) -> None:
        """Refuse what is missing, left over or unfit."""
        lacking, scales, problems = set(needed.keys() - self._held.keys()), set[str](), []
        for name in needed.keys() & self._held.keys():
            shape, (_, stored, dtype, stored_shape) = needed[name], self._held[name]
            if self._fp8 is not None and dtype == fp8.DTYPE and len(shape) > 1:
                scale = f"{name}{fp8.SCALES}"
                scales.add(scale)
                if scale not in self._held:
                    lacking.add(scale)
                elif (of_scale := self._held[scale]).dtype not in fp8.SCALE_DTYPES:
                    problems.append(f"{of_scale.stored} (dtype {of_scale.dtype} is not that of a scale)")
                elif of_scale.shape not in (allowed := self._fp8.scale_shapes(shape)):
                    problems.append(
                        f"{of_scale.stored} (shape {list(of_scale.shape)}, expected {list(allowed[0])})"
                    )
            elif dtype not in FLOATS and not (bytes_allowed and dtype == "U8"):
                problems.append(f"{stored} (dtype {dtype} is not a plain float)")
            if stored_shape != shape:
                problems.append(f"{stored} (shape {list(stored_shape)}, expected {list(shape)})")
        refuse(self._source, "lacks tensors of the model in config.json", lacking)
        refuse(self._source, "has tensors that do not fit config.json", problems)
        extra = self._held.keys() - needed.keys() - scales - constants
        names = (self._held[name].stored for name in extra)
        refuse(self._source, "has tensors that the model in config.json does not", names)

    def _check_copy(self, copy: str, name: str) -> None:
        """Refuse a tied head that is not the embedding."""
        wide = torch.promote_types(self[copy].dtype, self[name].dtype)
        if not all(
            torch.equal(*(self._rows(stored, start, stop).to(wide) for stored in (copy, name)))
            for start, stop in self._bounds(name)
        ):
            raise MinillmError(
                f"{self._source} has {self._held[copy].stored} that differs from {self._held[name].stored}, "
                "to which config.json ties it; set tie_word_embeddings to false if it is meant"
            )

    def _check_constant(self, name: str, value: float) -> None:
        """Refuse a number in place of which the model computes with another one."""
        tensor, stored = self[name], self._held[name].stored
        as_saved = {torch.tensor(value, dtype=dtype).item() for dtype in (tensor.dtype, *_ROUNDED)}
        if tensor.numel() != 1 or tensor.item() not in as_saved:
            raise MinillmError(
                f"{self._source} has {stored} = {tensor.tolist()}, where only {value} is computed"
            )

    def __getitem__(self, name: str) -> torch.Tensor:
        """Read a whole tensor, memory mapped, privately: writing to it leaves the file.

        Its dtype is the stored one, but for 8 bits, which become bfloat16.
        """
        tensor = self._file(name).tensor(self._held[name].stored)
        self._mapped += tensor.nbytes
        return self._plain(name, tensor)

    def blocks(self, name: str) -> Iterator[tuple[int, torch.Tensor]]:
        """Go through a tensor: (index of the first row, some rows), valid until the next are asked for."""
        for start, stop in self._bounds(name):
            yield start, self._rows(name, start, stop)

    def part(self, name: str, index: int) -> torch.Tensor:
        """Read one of the tensors that are stacked in one: an expert's."""
        tensor = self._file(name).rows(self._held[name].stored, index, index + 1)[0]
        self._mapped += tensor.nbytes
        if self._fp8 is None or self._held[name].dtype != fp8.DTYPE:
            return tensor
        return self._fp8.dequantize(tensor, self.part(f"{name}{fp8.SCALES}", index))

    def _bounds(self, name: str) -> Iterator[tuple[int, int]]:
        shape = self._held[name].shape
        width = math.prod(shape[1:]) * 4
        rows = max(1, MAPPED // max(1, width)) if len(shape) > 1 else shape[0]
        for start in range(0, shape[0], rows):
            yield start, min(start + rows, shape[0])

    def _rows(self, name: str, start: int, stop: int) -> torch.Tensor:
        rows = self._file(name).rows(self._held[name].stored, start, stop)
        self._mapped += rows.nbytes
        return self._plain(name, rows, start)

    def _plain(self, name: str, tensor: torch.Tensor, start: int = 0) -> torch.Tensor:
        """All of a tensor, or of a matrix the rows from `start` on, in a plain dtype."""
        if self._fp8 is None or self._held[name].dtype != fp8.DTYPE:
            return tensor
        return self._fp8.dequantize(tensor, self[f"{name}{fp8.SCALES}"], start)

    def _file(self, name: str) -> WeightsFile:
        """Open the file that holds a tensor, or reopen it once enough of it is mapped."""
        path = self._held[name].path
        if self._open is None or self._open[0] != path or (self._open[1].mapped and self._mapped > MAPPED):
            self.close()
            self._open = (path, open_weights(path))
        return self._open[1]

    def close(self) -> None:
        """Let go of the open file; what was read of it stays mapped as long as it is held."""
        if self._open is not None:
            self._open[1].close()
        self._open, self._mapped = None, 0


def main_dtype(folder: Path) -> str | None:
    """Name the dtype of most of a checkpoint's floats, such as "bfloat16"; None where it has no floats."""
    floats = {"F64": "float64", "F32": "float32", "BF16": "bfloat16", "F16": "float16"}
    sizes = dict.fromkeys(floats, 0)
    for path in _files(folder)[1]:
        for dtype, shape in header(path).values():
            if dtype in floats:
                sizes[dtype] += shape.numel()
    main = max(sizes, key=sizes.__getitem__)
    return floats[main] if sizes[main] else None


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
        size += tensor.nbytes
        if max_shard_bytes is not None and shards[-1] and size > max_shard_bytes:
            shards.append({})
            size = tensor.nbytes
        shards[-1][name] = tensor
    single, index, stale = folder / WEIGHTS_NAME, folder / INDEX_NAME, {folder / WEIGHTS_NAME}
    if index.is_file():
        stale.add(index)
        with contextlib.suppress(MinillmError):
            stale |= _shards(index, single).keys()
    count, metadata = len(shards), {"format": "pt", **(metadata or {})}
    files = (
        [single]
        if count == 1
        else [folder / f"model-{i + 1:05d}-of-{count:05d}.safetensors" for i in range(count)]
    )
    for path, shard in zip(files, shards, strict=True):
        write_atomically(path, partial(save_file, shard, metadata=metadata))
    if count > 1:
        total = sum(tensor.nbytes for tensor in contiguous.values())
        weight_map = {name: path.name for path, shard in zip(files, shards, strict=True) for name in shard}
        text = json.dumps({"metadata": {"total_size": total}, "weight_map": weight_map}, indent=2)
        write_atomically(index, lambda temp: temp.write_text(text + "\n"))
        files.append(index)
    for path in stale.difference(files):
        path.unlink(missing_ok=True)
    return files[-1]


def _files(folder: Path) -> tuple[Path, dict[Path, set[str]]]:
    """Find a checkpoint's index or only file, and each file's tensors by the index; safetensors go first."""
    for name, index_name in ((WEIGHTS_NAME, INDEX_NAME), (TORCH_NAME, TORCH_INDEX_NAME)):
        single, index = folder / name, folder / index_name
        if index.is_file():
            return index, _shards(index, single)
        if single.is_file():
            return single, {single: set()}
    raise MinillmError(
        f"{folder} has neither {WEIGHTS_NAME} nor {INDEX_NAME}, nor {TORCH_NAME} or {TORCH_INDEX_NAME}"
    )


def _shards(index: Path, single: Path) -> dict[Path, set[str]]:
    """Map the shards that an index names to the tensors that it says they hold."""
    folder = index.parent
    try:
        weight_map = json.loads(index.read_bytes())["weight_map"]
        shards: dict[Path, set[str]] = {}
        for name, file in weight_map.items():
            if Path(file).name != file:
                raise ValueError(f"{file!r} is not the name of a file")
            shards.setdefault(folder / file, set()).add(name)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise MinillmError(f"{index} is not an index of shards: {error}") from error
    refuse(index, "names shards that are not there", [p.name for p in shards if not p.is_file()])
    if single.is_file() and single not in shards:
        raise MinillmError(
            f"{folder} has {single.name} and {index.name}, two checkpoints; remove the stale one"
        )
    return shards


def header(path: Path) -> dict[str, tuple[str, torch.Size]]:
    """Read the dtype and the shape of every tensor in a file, by their names."""
    with contextlib.closing(open_weights(path)) as file:
        return file.header()


def refuse(path: Path, what: str, names: Iterable[str]) -> None:
    """Raise `MinillmError` that says this of a file, with the names that it is about, if there are any."""
    if culprits := sorted(names):
        more = f" and {len(culprits) - 4} more" if len(culprits) > 4 else ""
        raise MinillmError(f"{path} {what}: {', '.join(culprits[:4])}{more}")
