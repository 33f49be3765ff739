"""Adapters that a server has by name, each a model to ask for: from its start on, or while it runs.

As in vLLM, clients may load and unload them only where the server was told so: whoever may name a folder of
the server's machine learns what is there.
"""

from __future__ import annotations

import asyncio
import json
import os
import reprlib
from collections.abc import Iterable, Sequence
from itertools import count
from typing import Any

from minillm.api.lora_request import LoRARequest
from minillm.api.parameters import FLAG, TEXT, WHOLE, Kind
from minillm.async_llm import AsyncLLM
from minillm.errors import MinillmError
from minillm.serve.exchange import Served
from minillm.serve.protocol import ApiError, given_fields

LOAD: dict[str, Kind] = {"lora_name": TEXT, "lora_path": TEXT, "load_inplace": FLAG}
UNLOAD: dict[str, Kind] = {"lora_name": TEXT, "lora_int_id": WHOLE}
_MODULE = ("name", "path", "base_model_name")


def read_modules(given: Iterable[str], names: Sequence[str]) -> list[LoRARequest]:
    """Read `--lora-modules`: name=path, or JSON of a name, a path and maybe a base_model_name.

    Args:
        given: one or several of them each, as a list in JSON has them.
        names: those of the model, of which a `base_model_name` must be one.

    Raises:
        MinillmError: one is neither, or has the name of another or of the model.
    """
    modules: list[LoRARequest] = []
    for text in filter(None, given):
        for module in _modules(text):
            name, path = module["name"], module["path"]
            base = module.get("base_model_name") or names[0]
            if name in names or any(name == other.lora_name for other in modules):
                raise MinillmError(f"--lora-modules: the name {name!r} is taken; give another")
            if base not in names:
                known = ", ".join(names)
                raise MinillmError(f"--lora-modules: base_model_name must be one of {known}, got {base!r}")
            modules.append(LoRARequest(name, len(modules) + 1, path, base_model_name=base))
    return modules


def _modules(text: str) -> list[dict[str, Any]]:
    name, is_pair, path = text.partition("=")
    if is_pair and "," not in text and not text.lstrip().startswith(("{", "[")):
        read: Any = {"name": name, "path": path}
    else:
        try:
            read = json.loads(text)
        except ValueError:
            read = None
    modules = read if isinstance(read, list) else [read]
    for module in modules:
        match module:
            case {"name": str(name), "path": str(path)} if name and path and module.keys() <= {*_MODULE}:
                if isinstance(module.get("base_model_name"), str | None):
                    continue
        rule = f"name=path, or JSON with {', '.join(_MODULE)}"
        raise MinillmError(f"--lora-modules must be {rule}, got {text}")
    return modules


class Adapters:
    """The adapters of a server; arguments as of `AsyncLLM.add_lora`, and those that are there at its start.

    Raises `MinillmError` as `LLM.add_lora` does, for one that cannot be read.
    """

    def __init__(self, llm: AsyncLLM, served: Served) -> None:
        self._llm, self._served = llm, served
        taken = [adapter.lora_int_id for adapter in served.adapters.values()]
        self._numbers, self._lock = count(max(taken, default=0) + 1), asyncio.Lock()

    async def load(self, body: Any) -> str:
        """Read an adapter, a model to ask for from then on."""
        given = given_fields(body, LOAD, {})
        name, path = (_needed(given, field) for field in ("lora_name", "lora_path"))
        if name in self._served.names:
            raise ApiError(f"lora_name {name!r} is the model's own; give another", param="lora_name")
        async with self._lock:
            before = self._served.adapters.get(name)
            if before is not None and not given.get("load_inplace"):
                raise ApiError(
                    f"lora_name {name!r} is loaded already; unload it, or give load_inplace: true",
                    param="lora_name",
                )
            if not os.path.isdir(os.path.expanduser(path)):  # which no path makes raise
                message = f"lora_path {reprlib.repr(path)} is no folder of the server's machine"
                raise ApiError(f"{message}; name that of an adapter", status=404, param="lora_path")
            number = next(self._numbers) if before is None else before.lora_int_id
            adapter = LoRARequest(name, number, path, self._served.name, load_inplace=True)
            await self._llm.add_lora(adapter)
            adapter.load_inplace = False  # once is enough
            self._served.adapters[name] = adapter
        return f"Success: LoRA adapter '{name}' added successfully."

    async def unload(self, body: Any) -> str:
        """Forget an adapter, but for requests that run with it."""
        given = given_fields(body, UNLOAD, {})
        name = _needed(given, "lora_name")
        async with self._lock:
            if (adapter := self._served.adapters.get(name)) is None:
                message = f"there is no adapter {reprlib.repr(name)}; /v1/models lists those there are"
                raise ApiError(message, status=404, param="lora_name")
            if given.get("lora_int_id", adapter.lora_int_id) != adapter.lora_int_id:
                message = f"lora_int_id of {name!r} is {adapter.lora_int_id}; give that, or leave it out"
                raise ApiError(message, param="lora_int_id")
            del self._served.adapters[name]
            await self._llm.remove_lora(adapter.lora_int_id)
        return f"Success: LoRA adapter '{name}' removed successfully."


def _needed(given: dict[str, Any], field: str) -> str:
    if not (value := given.get(field)):
        raise ApiError(f"{field} is missing; give one", param=field)
    return str(value)
