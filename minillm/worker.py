"""The worker of vLLM's `collective_rpc`, of which there is one, in this process; and its profiler."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch

from minillm.api.parameters import is_list
from minillm.errors import MinillmError
from minillm.model.transformer import Transformer

T = TypeVar("T")


@dataclass(frozen=True)
class Worker:
    """What functions of `collective_rpc` are given."""

    model: Transformer
    rank: int = 0
    local_rank: int = 0

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return self.model.head.device

    def get_model(self) -> Transformer:
        """Return the live model."""
        return self.model

    def apply_model(self, func: Callable[[Transformer], T]) -> T:
        """Return `func(model)`."""
        return expect_function(func)(self.model)  # type: ignore[no-any-return]

    def check_health(self) -> None:
        """Return: it runs in this process."""


def call(
    worker: Worker, method: str | Callable[..., T], args: tuple[Any, ...], kwargs: Mapping[str, Any] | None
) -> T:
    """Call a function of the worker, or a method by its name; `MinillmError` for a name that it has not."""
    if not is_list(args) or not isinstance(kwargs, Mapping | None):
        raise MinillmError(f"args must be a tuple and kwargs a dict, got {args!r} and {kwargs!r}")
    if isinstance(method, str):
        if method.startswith("_") or not callable(bound := getattr(worker, method, None)):
            known = [name for name, x in vars(Worker).items() if callable(x) and name[0] != "_"]
            raise MinillmError(
                f"the worker has no method {method!r}, only {', '.join(known)}; give a function"
            )
        return bound(*args, **(kwargs or {}))  # type: ignore[no-any-return]
    return expect_function(method)(worker, *args, **(kwargs or {}))  # type: ignore[no-any-return]


def expect_function(given: Any) -> Callable[..., Any]:
    """Return a function; `MinillmError` for anything else."""
    if not callable(given):
        raise MinillmError(f"what is called must be a function, or a name of the worker's, got {given!r}")
    return given  # type: ignore[no-any-return]


class Profiler:
    """Records what torch does, into traces in a folder.

    `profiler_config` is None, or {"profiler": "torch", "torch_profiler_dir": folder}. Raises `MinillmError`
    for anything else.
    """

    def __init__(self, profiler_config: Mapping[str, Any] | None) -> None:
        self._folder: Path | None = None
        self._recording: torch.profiler.profile | None = None
        self._prefix = ""
        if profiler_config is None:
            return
        rule = "profiler_config must be {'profiler': 'torch', 'torch_profiler_dir': folder}"
        if not isinstance(profiler_config, Mapping):
            raise MinillmError(f"{rule}, got {profiler_config!r}")
        folder = profiler_config.get("torch_profiler_dir")
        kind = profiler_config.get("profiler", "torch")
        unknown = profiler_config.keys() - {"profiler", "torch_profiler_dir"}
        if unknown or kind != "torch" or not isinstance(folder, str | Path) or not str(folder):
            raise MinillmError(f"{rule}, got {profiler_config!r}")
        self._folder = Path(folder)

    def start(self, prefix: str | None) -> None:
        """Start to record; `MinillmError` where there is no folder, and while it records."""
        if self._folder is None:
            raise MinillmError(
                "start_profile() has no folder to write to; make the LLM with "
                "profiler_config={'profiler': 'torch', 'torch_profiler_dir': ...}"
            )
        if self._recording is not None:
            raise MinillmError("start_profile() was called already; call stop_profile() first")
        if not isinstance(prefix, str | None):
            raise MinillmError(f"profile_prefix must be a text, got {prefix!r}")
        self._prefix = prefix or "minillm"
        self._recording = torch.profiler.profile()
        self._recording.start()

    def stop(self) -> None:
        """Write the trace; `MinillmError` where nothing records."""
        if self._recording is None or self._folder is None:
            raise MinillmError("stop_profile() without start_profile()")
        self._recording.stop()
        self._folder.mkdir(parents=True, exist_ok=True)
        number = sum(1 for _ in self._folder.glob(f"{self._prefix}.*.json"))
        self._recording.export_chrome_trace(str(self._folder / f"{self._prefix}.{number}.json"))
        self._recording = None
