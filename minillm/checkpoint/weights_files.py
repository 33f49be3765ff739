"""One file of weights, read tensor by tensor: safetensors, or what `torch.save` wrote.

A file is opened and checked by its header. What is read of it stays mapped as long as it is held.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, cast

import torch
from safetensors import SafetensorError, safe_open

from minillm.errors import MinillmError

# As a safetensors header names them.
_DTYPES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.float8_e4m3fn: "F8_E4M3",
    torch.float8_e8m0fnu: "F8_E8M0",
    torch.uint8: "U8",
    torch.int8: "I8",
    torch.bool: "BOOL",
}


class WeightsFile(Protocol):
    """An open file; `mapped` says that what is read takes no memory but the file's own pages."""

    mapped: bool

    def header(self) -> dict[str, tuple[str, torch.Size]]:
        """Map the name of every tensor to its dtype and shape."""

    def tensor(self, name: str) -> torch.Tensor:
        """Read a whole tensor; writing to it leaves the file as it is."""

    def rows(self, name: str, start: int, stop: int) -> torch.Tensor:
        """Read some of a tensor, along its first dimension."""

    def close(self) -> None:
        """Let go of the file."""


def open_weights(path: Path) -> WeightsFile:
    """Open a file of weights, of the kind that its name says.

    Raises `MinillmError` for one that is truncated or something else.
    """
    return _Safetensors(path) if path.suffix == ".safetensors" else _Pickled(path)


class _Safetensors:
    mapped = True

    def __init__(self, path: Path) -> None:
        try:
            self._file: Any = safe_open(path, framework="pt", device="cpu").__enter__()
        except (SafetensorError, OSError) as error:
            raise MinillmError(
                f"{path} is truncated or not a safetensors file ({error}); fetch it again"
            ) from error

    def header(self) -> dict[str, tuple[str, torch.Size]]:
        slices = {name: self._file.get_slice(name) for name in self._file.keys()}  # noqa: SIM118
        return {n: (s.get_dtype(), torch.Size(s.get_shape())) for n, s in slices.items()}

    def tensor(self, name: str) -> torch.Tensor:
        return cast(torch.Tensor, self._file.get_tensor(name))

    def rows(self, name: str, start: int, stop: int) -> torch.Tensor:
        return cast(torch.Tensor, self._file.get_slice(name)[start:stop])

    def close(self) -> None:
        self._file.__exit__(None, None, None)


class _Pickled:
    """A pickle that holds tensors by name and nothing else: no code of its own is run to read it."""

    def __init__(self, path: Path) -> None:
        try:
            with path.open("rb") as file:
                self.mapped = file.read(4) == b"PK\x03\x04"  # before torch 1.6, files were no archives
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=self.mapped)
        except Exception as error:  # a broken stream can end in any
            raise MinillmError(_reason(path, str(error))) from error
        if not isinstance(content, Mapping):
            raise MinillmError(f"{path} holds a {type(content).__name__}, not tensors by name")
        for name, value in content.items():
            if not isinstance(name, str) or not isinstance(value, torch.Tensor):
                raise MinillmError(
                    f"{path} holds {name!r}, which is a {type(value).__name__} and not a tensor; "
                    "save the model's state_dict alone"
                )
        self._tensors: dict[str, torch.Tensor] = {n: value.detach() for n, value in content.items()}

    def header(self) -> dict[str, tuple[str, torch.Size]]:
        return {n: (_DTYPES.get(t.dtype, str(t.dtype)), t.shape) for n, t in self._tensors.items()}

    def tensor(self, name: str) -> torch.Tensor:
        return self._tensors[name]

    def rows(self, name: str, start: int, stop: int) -> torch.Tensor:
        return self._tensors[name][start:stop]

    def close(self) -> None:
        self._tensors = {}


def _reason(path: Path, message: str) -> str:
    """Say why a pickle was not read, in one sentence."""
    if code := re.search(r"GLOBAL (\S+)", message):
        return (
            f"{path} holds {code[1]}, which is no tensor and might run code when it is read; "
            "convert it to safetensors"
        )
    first = next(iter(message.strip().splitlines()), "no message")[:120].rstrip(". ")
    return f"{path} is truncated or not a file of torch.save ({first}); fetch it again"
