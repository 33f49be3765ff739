"""One GGUF file, or all parts of a split one: metadata, tensors, and errors that name the file."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn

import gguf
import numpy as np

from minillm.errors import MinillmError

Array = np.ndarray[Any, Any]

_PART = re.compile(r"(?P<stem>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf")
# What one stacked matrix is cut from again and again: experts are taken out one at a time.
_KEPT = 2


class GgufFile:
    """The metadata and tensors of a GGUF file; the parts of a split one are found beside it and joined.

    Attributes:
        path: as given.
        architecture: what `general.architecture` says.
        tensors: name -> the reader's entry, or the numbers of a tensor that the file has as a key.

    Raises:
        MinillmError: the file is missing, truncated or corrupt, or a part of it is.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.fields: Mapping[str, Any] = {}
        self.tensors: dict[str, Any] = {}
        self._arrays: dict[str, Array] = {}
        self._asked: set[str] = set()
        for number, part in enumerate(self._parts()):
            reader, fields = _read(part)
            if number == 0:
                self.fields = fields
            elif fields.get("split.no") != number:
                raise MinillmError(f"{part} says that it is part {fields.get('split.no')}, not {number}")
            for entry in reader.tensors:
                if entry.name in self.tensors:
                    raise MinillmError(f"{part} repeats tensor {entry.name} of another part")
                self.tensors[entry.name] = entry
        count = self.fields.get("split.tensors.count", len(self.tensors))
        if count != len(self.tensors):
            self.refuse(f"has {len(self.tensors)} tensors in all parts instead of {count}; fetch it again")
        if (kind := self.fields.get("general.type", "model")) != "model":
            self.refuse(f"is of general.type {kind!r}; only a model can be imported")
        self.architecture = str(self.get("general.architecture"))

    def _parts(self) -> Iterator[Path]:
        """Every file of the model, in order; all are there, or the one that is not is named."""
        _, fields = _read(self.path)
        count = fields.get("split.count", 1)
        match = _PART.fullmatch(self.path.name)
        if count <= 1:
            if match is not None and int(match["count"]) > 1:
                self.refuse(f"is named as one of {int(match['count'])} parts, but has no key split.count")
            yield self.path
            return
        if match is None or int(match["count"]) != count:
            self.refuse(f"is one of {count} parts; name them NAME-00001-of-{count:05d}.gguf and so on")
        for number in range(1, count + 1):
            part = self.path.with_name(f"{match['stem']}-{number:05d}-of-{count:05d}.gguf")
            if not part.is_file():
                self.refuse(
                    f"is one of {count} parts, of which {part.name} is missing; put it beside this one"
                )
            yield part

    def refuse(self, why: str) -> NoReturn:
        raise MinillmError(f"{self.path} {why}")

    # ------------------------------------------------------------ metadata

    def get(self, key: str) -> Any:
        """Read the value of a key that must be there."""
        if key not in self.fields:
            self.refuse(f"has no key {key}")
        return self.fields[key]

    def own(self, name: str, default: Any = None) -> Any:
        """Read the value of the architecture's own key, `ARCHITECTURE.name`.

        A real number is the shortest one that is stored so; a list of one number for each layer is that
        number where all are the same.
        """
        self._asked.add(name)
        value = self.fields.get(f"{self.architecture}.{name}", default)
        if isinstance(value, list) and value and name.rpartition(".")[2] in _FOR_EACH_LAYER:
            if any(other != value[0] for other in value):
                shown = f"{self.architecture}.{name} = {str(value)[:60]}"
                self.refuse(f"has {shown}; only one number for all layers is known")
            value = value[0]
        # Stored in fp32: the shortest decimal that rounds to it is what config.json once said.
        return float(str(np.float32(value))) if isinstance(value, float) else value

    def need(self, name: str) -> Any:
        """`own` of a key that must be there."""
        value = self.own(name)
        if value is None:
            self.refuse(f"has no key {self.architecture}.{name}")
        return value

    def check_keys(self) -> None:
        """Refuse a key of the architecture that was not asked for: it may change what the model computes."""
        prefix = f"{self.architecture}."
        for key in self.fields:
            if key.startswith(prefix) and key.removeprefix(prefix) not in self._asked | _HARMLESS_KEYS:
                self.refuse(f"has key {key}, which the import of {self.architecture} does not know")

    # ------------------------------------------------------------ tensors

    def array(self, name: str) -> Array:
        """Read a tensor in fp32, whatever its quantisation; to be copied, not written to."""
        entry = self.tensors[name]
        if isinstance(entry, np.ndarray):
            return entry
        if name not in self._arrays:
            try:
                array = gguf.dequantize(entry.data, entry.tensor_type)
            except NotImplementedError:
                self.refuse(f"has {name} in {entry.tensor_type.name}, which cannot be undone")
            while len(self._arrays) >= _KEPT:
                del self._arrays[next(iter(self._arrays))]
            # fp32, although most checkpoints are bf16: values of a quantised block (scale times integer
            # plus minimum) are not exact in bf16, and a bf16 model can be derived from this one.
            self._arrays[name] = np.asarray(array, dtype=np.float32)
        return self._arrays[name]


# Keys that may be a list of one value for each layer.
_FOR_EACH_LAYER = frozenset({"head_count", "head_count_kv", "feed_forward_length"})
# Keys that say nothing about what a model computes, or that its tensors say again.
_HARMLESS_KEYS = frozenset({"vocab_size", "rope.scaling.finetuned", "tensor_data_layout"})


def _read(path: Path) -> tuple[gguf.GGUFReader, dict[str, Any]]:
    try:
        reader = gguf.GGUFReader(path)
        return reader, {name: field.contents() for name, field in reader.fields.items()}
    except OSError as error:
        raise MinillmError(f"cannot read {path}: {error.strerror or error}") from error
    # The reader does not check lengths: a file cut short fails wherever it happened to be.
    except (ValueError, IndexError, KeyError, TypeError, OverflowError) as error:
        raise MinillmError(f"{path} is truncated or not a GGUF file ({error})") from error
