"""For a trainer in another process: stop sampling, give memory back, load weights, go on.

These paths are vLLM's, and like there only a server in its development mode has them.
"""

from __future__ import annotations

import asyncio
import reprlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from starlette.requests import Request

from minillm.api.parameters import FLAG, OBJECT, TEXT, TEXTS, WHOLE, Kind
from minillm.async_llm import PAUSE_MODES, AsyncLLM
from minillm.checkpoint.load import load_like, take_weights
from minillm.errors import MinillmError
from minillm.llm import LLM
from minillm.model.transformer import Transformer
from minillm.serve.protocol import ApiError, Json, given_fields

MODE = Kind({"enum": list(PAUSE_MODES)}, f"one of {', '.join(PAUSE_MODES)}")
PAUSE: dict[str, Kind] = {"mode": MODE, "wait_for_inflight_requests": FLAG, "clear_cache": FLAG}
SLEEP: dict[str, Kind] = {"level": WHOLE, "mode": MODE}
WAKE_UP: dict[str, Kind] = {"tags": TEXTS}
RESET: dict[str, Kind] = {"reset_running_requests": FLAG, "reset_external": FLAG}
UPDATE: dict[str, Kind] = {
    "update_info": Kind(
        OBJECT.schema,
        OBJECT.name,
        {"properties": {"path": TEXT.schema}, "required": ["path"], "additionalProperties": False},
    )
}


class Control:
    """What a trainer may do with the sampler of a server."""

    def __init__(self, llm: AsyncLLM) -> None:
        self._llm = llm

    async def pause(self, query: Json) -> Json:
        """Let nothing be sampled until `resume`; as `AsyncLLM.pause_generation`."""
        mode = "wait" if query.get("wait_for_inflight_requests") else query.get("mode", "abort")
        await self._llm.pause_generation(mode, query.get("clear_cache", True))
        return {"status": "paused"}

    async def resume(self, query: Json) -> Json:
        """Go on."""
        await self._llm.resume_generation()
        return {"status": "resumed"}

    async def is_paused(self, query: Json) -> Json:
        """Tell whether sampling stands still."""
        return {"is_paused": await self._llm.is_paused()}

    async def sleep(self, query: Json) -> Json:
        """Stop sampling, and give the KV cache's memory back."""
        if (level := query.get("level", 1)) != 1:
            raise ApiError(f"level must be 1, which keeps the weights, got {level}", param="level")
        await self._llm.sleep(level, query.get("mode", "abort"))
        return {"is_sleeping": True}

    async def wake_up(self, query: Json) -> Json:
        """Make the KV cache again, and go on."""
        await self._llm.wake_up(query.get("tags"))
        return await self.is_sleeping(query)

    async def is_sleeping(self, query: Json) -> Json:
        """Tell whether the KV cache was given back."""
        return {"is_sleeping": await self._llm.is_sleeping()}

    async def reset_prefix_cache(self, query: Json) -> Json:
        """Forget all prefixes."""
        if any(query.values()):
            raise MinillmError(
                f"{next(name for name in query if query[name])} is not supported; leave it out"
            )
        return {"success": await self._llm.reset_prefix_cache()}

    async def update_weights(self, body: Any) -> Json:
        """Load the weights of a folder into the live model: all of them, or none and an error.

        No request may be under way, since its answer would be of both: `pause` first, with "wait" or "abort".
        """
        info = given_fields(body, UPDATE).get("update_info", {})
        path = info.get("path")
        if type(path) is not str or not Path(path).is_absolute() or len(info) > 1:
            raise ApiError("update_info must hold the absolute path of a folder, alone", param="update_info")
        model = await self._llm.call(lambda llm: llm.model)
        other = await asyncio.to_thread(load_like, model, Path(path))
        await self._llm.call(lambda llm: _take(llm, other))
        return {"message": "Weights updated"}


def _take(llm: LLM, other: Transformer) -> None:
    if llm.has_unfinished_requests():
        raise ApiError(
            "requests are under way, and would be answered by old and new weights; pause with mode=wait or "
            "mode=abort first",
            status=409,
        )
    take_weights(llm.model, other)
    llm.weights_changed()


def given_query(request: Request, known: Mapping[str, Kind]) -> Json:
    """Read the parameters of a query; `MinillmError` for one that is not of its kind or not known."""
    given: Json = {}
    for name in request.query_params:
        if (kind := known.get(name)) is None:
            raise ApiError(f"there is no parameter {reprlib.repr(name)}; leave it out", param=name)
        values = request.query_params.getlist(name)
        given[name] = kind.read(name, values if kind is TEXTS else values[-1])
    return given
