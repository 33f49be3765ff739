"""Adapters that are served: a request may run with one, in a batch with requests of others and of none.

The model of an adapter is a `Transformer` that shares every parameter with the base, but those that the
adapter changes. Of these it has merged copies, made by the arithmetic of `minillm.lora.LoRA`, which a trainer
trains: so its logprobs have a trainer's bits. A copy is as large as what it is of.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from weakref import WeakKeyDictionary

import torch
from torch import nn

from kernels.cpu.memory import zeros
from minillm.adapters import Adapter, check_free, factors
from minillm.api.lora_request import LoRARequest
from minillm.checkpoint.peft import files as peft_files
from minillm.engine.decode_graph import DecodeGraphs
from minillm.errors import MinillmError
from minillm.model.kv_cache import KVCache
from minillm.model.transformer import Transformer

_numbers = count(1)


@dataclass(eq=False)
class ServedLoRA:
    """An adapter as it was read. Who runs with it holds it, whatever is forgotten or read again meanwhile.

    `number` is given once, and names the adapter's prefixes in the cache; `state` tells whether the folder's
    files are still those that were read.
    """

    path: Path
    read: peft_files.PeftAdapter
    state: tuple[object, ...]
    number: int = field(default_factory=lambda: next(_numbers))


class ServedLoRAs:
    """The adapters of one engine.

    Args:
        model: the base.
        max_loras: most adapters that run at a time, which is as many as have merged copies.
        max_lora_rank: most of an adapter's ranks.
        max_cpu_loras: most adapters that are kept as they were read, the least recently used going first;
            who waits or runs with one keeps it anyway. By default `max_loras`.

    Raises `MinillmError` for numbers below 1, fewer `max_cpu_loras` than `max_loras`, and integer-quantised
    weights.
    """

    def __init__(
        self, model: Transformer, max_loras: int, max_lora_rank: int, max_cpu_loras: int | None
    ) -> None:
        kept = max_loras if max_cpu_loras is None else max_cpu_loras
        for name, value in (("max_loras", max_loras), ("max_lora_rank", max_lora_rank)):
            if value < 1:
                raise MinillmError(f"{name} must be at least 1, got {value}")
        if kept < max_loras:
            raise MinillmError(f"max_cpu_loras = {kept} must be at least max_loras = {max_loras}")
        check_free(model)
        self._model, self.max_loras, self._max_rank, self._max_kept = model, max_loras, max_lora_rank, kept
        self._known: OrderedDict[int, ServedLoRA] = OrderedDict()
        self._pinned: set[int] = set()
        # The last used comes last; a copy goes with the adapter, once nobody holds that.
        self._merged: WeakKeyDictionary[ServedLoRA, tuple[Transformer, DecodeGraphs]] = WeakKeyDictionary()

    # ---------------------------------------------------------------- as they were read

    def get(self, request: LoRARequest) -> ServedLoRA:
        """Find an adapter, read where it is not known, or, with `load_inplace`, where its files have changed.

        Raises `MinillmError` as `LoRA.from_folder` does, for a rank above `max_lora_rank`, and for the number
        of an adapter from another folder.
        """
        check_free(self._model)
        path, number = Path(os.path.abspath(os.path.expanduser(request.lora_path))), request.lora_int_id
        lora = self._known.get(number)
        if lora is not None and lora.path != path and not request.load_inplace:
            raise MinillmError(
                f"lora_int_id {number} is the adapter in {lora.path}, not that in {path}; give another "
                "number, or load_inplace=True"
            )
        if lora is None or (request.load_inplace and (lora.path, lora.state) != (path, _state(path))):
            lora = self._read(path)
        self._known[number] = lora
        self._known.move_to_end(number)
        idle = [n for n in self._known if n not in self._pinned and n != number]
        for other in idle[: max(0, len(self._known) - self._max_kept)]:
            del self._known[other]
        return lora

    def _read(self, path: Path) -> ServedLoRA:
        if not os.path.isdir(path):  # which no path makes raise
            raise MinillmError(f"lora_path {path} is not a folder; name the folder of an adapter of PEFT's")
        parameters, state = dict(self._model.named_parameters()), _state(path)
        read = peft_files.read(self._model.config, parameters, path)
        rank = max((pair.rank for pair in read.pairs), default=0)
        if rank > self._max_rank:
            raise MinillmError(
                f"{path}: LoRA rank {rank} is greater than max_lora_rank = {self._max_rank}; make the LLM "
                "with a larger one"
            )
        return ServedLoRA(path, read, state)

    def remove(self, number: int) -> bool:
        """Forget an adapter, for requests to come; tell whether it was known."""
        self._pinned.discard(number)
        return self._known.pop(number, None) is not None

    def pin(self, number: int) -> bool:
        """Keep an adapter until it is removed; `MinillmError` where it is not known."""
        if number not in self._known:
            raise MinillmError(f"there is no adapter with lora_int_id {number}; add it first")
        self._pinned.add(number)
        return True

    def numbers(self) -> set[int]:
        """List the `lora_int_id`s of known adapters."""
        return set(self._known)

    # ---------------------------------------------------------------- merged

    def merged(self, lora: ServedLoRA, cache: KVCache) -> tuple[Transformer, DecodeGraphs]:
        """Give the model of an adapter and its decode steps, in the place of the least recently used."""
        if (made := self._merged.pop(lora, None)) is None:
            while len(self._merged) >= self.max_loras:
                del self._merged[next(iter(self._merged))]
            model = self._merge(lora)
            made = model, DecodeGraphs(model, cache)
        self._merged[lora] = made
        return made

    def forget_merged(self) -> None:
        """Let go of all merged copies, as after an update of the base; they are made again on demand."""
        self._merged.clear()

    @torch.no_grad()
    def _merge(self, lora: ServedLoRA) -> Transformer:
        check_free(self._model)
        parameters = dict(self._model.named_parameters())
        changed: dict[str, nn.Parameter] = {}

        def copy(name: str) -> nn.Parameter:
            base = parameters[name]
            w = zeros(tuple(base.shape), base.dtype, base.device).copy_(base)
            return changed.setdefault(name, nn.Parameter(w, requires_grad=False))

        with torch.inference_mode(False):
            for name, made in factors(lora.read, self._model.config, parameters).items():
                Adapter(copy(name), parameters[name].detach(), *made).merge()
            for place, tensor, rows in lora.read.values:
                w = changed[place.ours] if place.ours in changed else copy(place.ours)
                place.put(w, tensor, rows)
        return self._model.sharing(changed)


def _state(folder: Path) -> tuple[object, ...]:
    """Tell an adapter's files apart from all that were there before, by what a write of one changes."""
    stats = [(path.name, path.stat()) for path in sorted(folder.glob("adapter_*"))]
    return tuple((name, x.st_ino, x.st_size, x.st_mtime_ns, x.st_ctime_ns) for name, x in stats)
