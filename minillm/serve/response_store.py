"""Responses that are kept, for clients to go on from, and to look at again."""

from __future__ import annotations

import json
import threading
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

from minillm.api.parameters import TEXT, Kind
from minillm.serve import protocol
from minillm.serve.protocol import ApiError, Json

# Most bytes, as JSON, of the responses that are kept.
KEPT_BYTES = 64 << 20
# Of a list of items.
PAGE: dict[str, Kind] = {
    "limit": Kind({"type": "integer", "minimum": 1, "maximum": 100}, "a number from 1 to 100"),
    "order": Kind({"enum": ["asc", "desc"]}, "'asc' or 'desc'"),
    "after": TEXT,
}


class ResponseStore:
    """Responses by id, with the items that led to them; where they are too many, the oldest go."""

    def __init__(self, max_bytes: int = KEPT_BYTES) -> None:
        self._max_bytes, self._bytes = max_bytes, 0
        self._kept: OrderedDict[str, str] = OrderedDict()
        self._places: dict[str, set[str]] = {}  # of each item, the responses that have it
        self._lock = threading.Lock()

    def add(self, response: Json, items: Sequence[Json]) -> None:
        """Keep a response, and the items of the conversation before it."""
        conversation = [*items, *response["output"]]
        text = protocol.dumps({"response": response, "items": conversation})
        with self._lock:
            self._drop(response["id"])  # where clients choose ids, one can come again
            self._kept[response["id"]] = text
            self._bytes += len(text)
            for item in _ids(conversation):
                self._places.setdefault(item, set()).add(response["id"])
            while self._bytes > self._max_bytes:
                self._drop(next(iter(self._kept)))

    def response(self, name: str) -> Json:
        """Return the response of this id; `ApiError` where there is none."""
        kept: Json = self._get(name, f"Response with id {name!r}", param=None, code=None)["response"]
        return kept

    def items(self, name: str) -> list[Json]:
        """Return the conversation that ends with the response of this id; `ApiError` where there is none."""
        what, code = f"Previous response with id {name!r}", "previous_response_not_found"
        kept: list[Json] = self._get(name, what, param="previous_response_id", code=code)["items"]
        return kept

    def item(self, name: str) -> Json:
        """Return the item of this id, of any response; `ApiError` where there is none."""
        with self._lock:
            places = sorted(self._places.get(name, ()))
        for place in places:
            if (kept := self._kept.get(place)) is not None:
                return next(item for item in json.loads(kept)["items"] if item.get("id") == name)
        message = f"input: item with id {name!r} not found; no response that is kept has it"
        raise ApiError(message, status=404, param="input")

    def input_items(self, name: str, query: Json) -> Json:
        """List a page of what led to a response; `ApiError` where there is none, or no item `after` it."""
        kept = self._get(name, f"Response with id {name!r}", param=None, code=None)
        items: list[Json] = kept["items"][: len(kept["items"]) - len(kept["response"]["output"])]
        if query.get("order", "desc") == "desc":
            items = items[::-1]
        if (after := query.get("after")) is not None:
            if after not in _ids(items):
                raise ApiError(f"after: the response has no input item {after!r}", param="after")
            items = items[1 + [item.get("id") for item in items].index(after) :]
        page = items[: query.get("limit", 20)]
        ends = [one["id"] for one in page[:1] + page[-1:]] or [None, None]
        return {
            "object": "list", "data": page, "first_id": ends[0], "last_id": ends[-1],
            "has_more": len(page) < len(items),
        }  # fmt: skip

    def remove(self, name: str) -> None:
        """Forget the response of this id; `ApiError` where there is none."""
        self.response(name)
        with self._lock:
            self._drop(name)

    def _drop(self, name: str) -> None:
        if (text := self._kept.pop(name, None)) is None:
            return
        self._bytes -= len(text)
        for item in _ids(json.loads(text)["items"]):
            places = self._places.get(item, set())
            places.discard(name)
            if not places:
                self._places.pop(item, None)

    def _get(self, name: str, what: str, param: str | None, code: str | None) -> Any:
        if (kept := self._kept.get(name)) is None:  # another thread may add one meanwhile
            message = f"{what} not found; it had store: false, or was one of the oldest, which have to go"
            raise ApiError(message, status=404, param=param, code=code)
        return json.loads(kept)


def _ids(items: Sequence[Json]) -> list[str]:
    return [item["id"] for item in items if "id" in item]
