"""Token ids as text: by the tokenizer that a run's checkpoints have."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from minillm.errors import MinillmError

if TYPE_CHECKING:
    from minillm.tokenizer.tokenizer import Tokenizer


class Tokens:
    """Names token ids; without a tokenizer, by their numbers.

    `name` says whose tokenizer it is, or is None.
    """

    def __init__(self) -> None:
        self.name: str | None = None
        self._tokenizer: Tokenizer | None = None
        self._names: dict[int, str] = {}

    def find(self, folder: Path, model: Any) -> bool:
        """Look for a tokenizer in a run's checkpoints; tell whether it was found now."""
        if self._tokenizer is not None:
            return False
        from minillm.tokenizer.tokenizer import Tokenizer  # here: it is slow to import

        places = [*sorted(folder.glob("checkpoint-*")), folder]
        for place in places:
            if (place / "tokenizer.json").is_file() or (place / "tokenizer.model").is_file():
                try:
                    self._tokenizer = Tokenizer.from_folder(place)
                except (MinillmError, OSError):  # a checkpoint that is being replaced
                    continue
                self.name = str(model or folder.name)
                return True
        return False

    def learn(self, texts: Mapping[int, str]) -> None:
        """Take in texts of tokens, for where there is no tokenizer."""
        if self._tokenizer is None:
            self._names.update(texts)

    def text(self, token_id: int) -> str:
        """Write one token."""
        if (known := self._names.get(token_id)) is None:
            try:
                known = f"⟨{token_id}⟩" if self._tokenizer is None else self._tokenizer.name_of(token_id)
            except (MinillmError, LookupError, TypeError, OverflowError):  # no token of this tokenizer
                known = f"⟨{token_id}⟩"
            self._names[token_id] = known
        return known

    def decode(self, ids: Sequence[int]) -> str:
        """Write several tokens as one text."""
        if self._tokenizer is None:
            return "".join(map(self.text, ids))
        return self._tokenizer.decode(list(ids), skip_special_tokens=False)

    def table(self, ids: Iterable[int]) -> list[list[Any]]:
        """List the texts of some tokens: ids, and texts."""
        chosen = sorted(set(ids))
        return [chosen, [self.text(i) for i in chosen]]
