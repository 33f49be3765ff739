"""What turns text into token ids and back, one class for each kind of tokenizer.

Each is run by the library that it was made for: tokenizer.json by `tokenizers`, lists of ranks by
`tiktoken`, SentencePiece models by `sentencepiece`. To convert them all into the first would take less
code, but give other ids: it wants every merge in an order, where the other two break ties by place.
Converted, Mistral's first SentencePiece model encoded 207 of our tests' 2,000 strings differently.
"""

from __future__ import annotations

import json
import re
import reprlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from types import MappingProxyType
from typing import Any

import sentencepiece
import tiktoken
import tokenizers

from minillm.errors import MinillmError

# ---------------------------------------------------------------- tokenizer.json

_MOST_IDS = 1 << 32  # what the library can be asked for
_BYTE_TOKEN = re.compile(r"<0x[0-9A-F]{2}>")

# The characters that byte-level vocabularies write for bytes: printable Latin-1 for itself, and for the
# other 68, in order, U+0100 and on.
_PRINTABLE = (*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100))
_BYTE_LEVEL = {chr(b): b for b in _PRINTABLE} | {
    chr(0x100 + i): b for i, b in enumerate(sorted(set(range(0x100)) - set(_PRINTABLE)))
}
_OF_BYTE = {b: char for char, b in _BYTE_LEVEL.items()}


class JsonBackend:
    """tokenizer.json, through the library `tokenizers`.

    Attributes:
        special_ids: tokens that decode() can skip.
        byte_ids: tokens for a byte, of which the decoder takes a run at a time, and their bytes.
        defaults: what tokenizer.json says of padding and cutting off, as tokenizer_config.json names it.
    """

    def __init__(self, tokenizer: tokenizers.Tokenizer) -> None:
        padding, truncation = tokenizer.padding or {}, tokenizer.truncation or {}
        said = {
            "pad_token": padding.get("pad_token"),
            "padding_side": padding.get("direction"),
            "truncation_side": truncation.get("direction"),
        }
        self.defaults = {name: str(value) for name, value in said.items() if value is not None}
        # A length limit or padding saved with a tokenizer would silently cut or fill a prompt.
        tokenizer.no_truncation()
        tokenizer.no_padding()
        self._tokenizer = tokenizer
        added = tokenizer.get_added_tokens_decoder()
        self.special_ids = frozenset(i for i, token in added.items() if token.special)
        state = json.loads(tokenizer.decoder.__getstate__()) if tokenizer.decoder else {}
        self._steps: list[dict[str, Any]] = state.get("decoders", [state])
        has_bytes = any(step.get("type") == "ByteFallback" for step in self._steps)
        vocabulary = tokenizer.get_vocab() if has_bytes else {}
        self.byte_ids = {i: _byte(token) for token, i in vocabulary.items() if _BYTE_TOKEN.fullmatch(token)}

    @property
    def json(self) -> str:
        """The content of tokenizer.json."""
        return str(self._tokenizer.to_str(pretty=True))

    @property
    def splits_special(self) -> bool:
        """Whether a special token that is written out in a text is text like any other."""
        return bool(self._tokenizer.encode_special_tokens)

    @property
    def vocab_size(self) -> int:
        """Number of tokens, added ones included."""
        return int(self._tokenizer.get_vocab_size(with_added_tokens=True))

    @property
    def base_size(self) -> int:
        """Number of tokens without those that were added to the vocabulary."""
        return int(self._tokenizer.get_vocab_size(with_added_tokens=False))

    def encode(
        self, text: str, add_special_tokens: bool, most: int | None = None, from_left: bool = False
    ) -> list[int]:
        """Token ids of `text`, with what belongs at its ends where that is asked for.

        Args:
            text: any text that has a UTF-8.
            add_special_tokens: whether it is.
            most: of how many tokens the text is cut off, so that what belongs at its ends has room.
            from_left: whether it is cut off at its start.

        Raises:
            MinillmError: `most` leaves no room for what belongs at the ends.
        """
        if most is None:
            ids: list[int] = self._tokenizer.encode(text, add_special_tokens=add_special_tokens).ids
            return ids
        encoding = self._tokenizer.encode(text, add_special_tokens=False)
        around = self._tokenizer.num_special_tokens_to_add(False) if add_special_tokens else 0
        encoding.truncate(_room(most, around), direction="left" if from_left else "right")
        cut: list[int] = self._tokenizer.post_process(encoding, None, add_special_tokens).ids
        return cut

    def tokenize(self, text: str, add_special_tokens: bool) -> list[str]:
        """Cut a text into tokens, as they are written."""
        tokens: list[str] = self._tokenizer.encode(text, add_special_tokens=add_special_tokens).tokens
        return tokens

    def decode(self, ids: Sequence[int], skip_special_tokens: bool) -> str:
        """Text of `ids`; an id without a token is nothing."""
        known = [i for i in ids if 0 <= i < _MOST_IDS]
        return str(self._tokenizer.decode(known, skip_special_tokens=skip_special_tokens))

    def token_to_id(self, token: str) -> int | None:
        """Find the id of the token that is written so, or None."""
        token_id: int | None = self._tokenizer.token_to_id(token)
        return token_id

    def id_to_token(self, token_id: int) -> str | None:
        """Write the token of an id as the vocabulary has it, or None."""
        known = 0 <= token_id < _MOST_IDS
        token: str | None = self._tokenizer.id_to_token(token_id) if known else None
        return token

    def knows(self, token_id: int) -> bool:
        """Whether there is a token of this id."""
        return self.id_to_token(token_id) is not None

    def vocabulary(self) -> dict[str, int]:
        """Token, as it is written -> id; added ones included."""
        return dict(self._tokenizer.get_vocab(with_added_tokens=True))

    def added_tokens(self) -> dict[str, int]:
        """Token -> id, of those that are found in a text before anything else is."""
        return {token.content: i for i, token in sorted(self._tokenizer.get_added_tokens_decoder().items())}

    def with_tokens(self, tokens: Sequence[AddedToken]) -> JsonBackend:
        """Make the same backend with further added tokens; those that are new get the next ids."""
        copy = tokenizers.Tokenizer.from_str(self._tokenizer.to_str())
        copy.encode_special_tokens = self._tokenizer.encode_special_tokens
        copy.add_tokens([tokenizers.AddedToken(one.text, **one.flags) for one in tokens])
        return JsonBackend(copy)

    def text_of(self, tokens: Sequence[str]) -> str:
        """Join tokens, as they are written, to a text."""
        decoder = self._tokenizer.decoder
        return " ".join(tokens) if decoder is None else str(decoder.decode(list(tokens)))

    def token_bytes(self) -> dict[int, bytes]:
        """Id -> what the token adds to a text past its start; of every token that is not special."""
        vocabulary = self._tokenizer.get_vocab().items()
        return {i: _decoded(token, self._steps) for token, i in vocabulary if i not in self.special_ids}


def _room(most: int, around: int) -> int:
    """Return how many tokens of a text there may be, beside those at its ends."""
    if most < around:
        raise MinillmError(f"max_length = {most} is less than the {around} special tokens around a text")
    return most - around


def _byte(token: str) -> bytes:
    """Read a byte written as `<0x0A>`."""
    return bytes.fromhex(token[3:5])


def _decoded(token: str, steps: Sequence[Mapping[str, Any]]) -> bytes:
    """Decode a token that is not the first by the steps of its decoder."""
    text, fused = token, False
    for step in steps:
        match step:
            case {"type": "ByteLevel"}:
                known = all(char in _BYTE_LEVEL for char in text)
                return bytes(_BYTE_LEVEL[char] for char in text) if known else text.encode()
            case {"type": "ByteFallback"}:
                if _BYTE_TOKEN.fullmatch(text):
                    return _byte(text)
            case {"type": "Replace", "pattern": {"String": old}, "content": new}:
                text = text.replace(old, new)
            case {"type": "Metaspace", "replacement": space}:
                text = text.replace(space, " ")
            case {"type": "Fuse"}:
                fused = True
            # What is taken off the start of a whole text is there past its start.
            case {"type": "Strip", "stop": 0} if fused:
                pass
            case _:
                raise MinillmError(
                    f"tokenizer.json has the decoder {step}, with which the bytes of single tokens are not "
                    "known; structured outputs need ByteLevel, or the decoders of SentencePiece models"
                )
    return text.encode()


# ---------------------------------------------------------------- plain text, without special tokens


class SentencePiece:
    """A SentencePiece model, read by its own library.

    Args:
        model: the content of tokenizer.model.
        prefix: which stretches of text get the space that most models put before a text: "always",
            as the library does it, only the "first", or "never".

    Attributes:
        ids: every id that has a token.
        byte_ids: as in `JsonBackend`.

    Raises:
        RuntimeError: `model` is no such model.
    """

    # The protocol-buffer encoding of `normalizer_spec { add_dummy_prefix: false }`. Encoded messages
    # that follow each other are read as one, in which the last value of a field counts.
    _NO_PREFIX = bytes([3 << 3 | 2, 2, 3 << 3, 0])

    def __init__(self, model: bytes, prefix: str = "always") -> None:
        whole, bare = sentencepiece.SentencePieceProcessor(), sentencepiece.SentencePieceProcessor()
        whole.LoadFromSerializedProto(model)
        bare.LoadFromSerializedProto(model + self._NO_PREFIX)
        self._first = bare if prefix == "never" else whole
        self._inner = whole if prefix == "always" else bare
        self._bare = bare
        self.ids = range(whole.vocab_size())
        self.byte_ids = {i: _byte(whole.id_to_piece(i)) for i in self.ids if whole.is_byte(i)}

    def encode(self, text: str, at_start: bool) -> list[int]:
        """Token ids of a stretch between two special tokens, or of the one that starts the text."""
        ids: list[int] = (self._first if at_start else self._inner).encode(text)
        return ids

    def decode(self, ids: Sequence[int], at_start: bool) -> str:
        """Text of such a stretch; every id is one of `self.ids`."""
        # The library takes the prefix off what it is given; past the start it is a space like others.
        return str((self._first if at_start else self._bare).decode(list(ids)))

    def token_to_id(self, token: str) -> int | None:
        token_id = int(self._bare.piece_to_id(token))  # that of "unknown" where there is none
        return token_id if self._bare.id_to_piece(token_id) == token else None

    def written(self, token_id: int) -> str:
        """Write a token as the vocabulary has it."""
        return str(self._bare.id_to_piece(token_id))

    def token_bytes(self, token_id: int) -> bytes:
        """Return what a token adds to a text past its start; nothing for the model's own marks."""
        if self._is_mark(token_id):
            return b""
        piece = str(self._bare.id_to_piece(token_id))
        return self.byte_ids.get(token_id) or piece.replace("▁", " ").encode()

    def special_tokens(self) -> dict[int, str]:
        """List the model's own marks, which are never the encoding of a text."""
        return {i: str(self._bare.id_to_piece(i)) for i in self.ids if self._is_mark(i)}

    def _is_mark(self, token_id: int) -> bool:
        return bool(self._bare.is_control(token_id) or self._bare.is_unknown(token_id))

    def names(self) -> dict[str, str]:
        """bos_token, eos_token and so on -> how the model writes them; without those it lacks."""
        model = self._bare
        ids = {"bos": model.bos_id(), "eos": model.eos_id(), "unk": model.unk_id(), "pad": model.pad_id()}
        return {f"{name}_token": str(model.id_to_piece(i)) for name, i in ids.items() if i >= 0}


class Ranks:
    """Byte-level BPE by ranks, read by `tiktoken`; its methods are those of `SentencePiece`.

    Args:
        pattern: the regular expression that cuts a text into words.
        tokens: the bytes of each token -> its id; of two that fit, BPE makes the lower one first.

    Raises:
        ValueError: a byte has no token, the ids have gaps, or `pattern` is no regular expression.
    """

    byte_ids: Mapping[int, bytes] = MappingProxyType({})

    # The library dies of a million white spaces in a row.
    _MOST_SPACES = 900_000
    _TOO_MANY_SPACES = re.compile(rf"\s{{{_MOST_SPACES}}}")

    def __init__(self, pattern: str, tokens: Mapping[bytes, int]) -> None:
        if missing := [b for b in range(256) if bytes([b]) not in tokens]:
            raise ValueError(f"no token for byte {missing[0]}")
        self.ids = range(min(tokens.values()), max(tokens.values()) + 1)
        self._tokens = dict(tokens)
        self._bytes = {i: token for token, i in tokens.items()}
        if not len(self.ids) == len(tokens) == len(self._bytes):
            raise ValueError(f"{len(tokens)} tokens with {len(self.ids)} ids")
        self._encoding = tiktoken.Encoding(
            "ranks", pat_str=pattern, mergeable_ranks=self._tokens, special_tokens={}
        )

    def encode(self, text: str, at_start: bool) -> list[int]:
        if len(text) >= self._MOST_SPACES and self._TOO_MANY_SPACES.search(text):
            raise MinillmError(f"a text of {self._MOST_SPACES:,} white spaces in a row cannot be encoded")
        return self._encoding.encode_ordinary(text)

    def decode(self, ids: Sequence[int], at_start: bool) -> str:
        return b"".join(self._bytes[i] for i in ids).decode("utf-8", "replace")

    def token_to_id(self, token: str) -> int | None:
        return self._tokens.get(token.encode("utf-8", "replace"))

    def written(self, token_id: int) -> str:
        return "".join(_OF_BYTE[byte] for byte in self._bytes[token_id])

    def token_bytes(self, token_id: int) -> bytes:
        return self._bytes[token_id]


# ---------------------------------------------------------------- special tokens


@dataclass(frozen=True)
class AddedToken:
    """A token that is found in a text before anything else is.

    Attributes:
        text: how it is written.
        special: whether decode() can skip it.
        lstrip: whether it takes the white space before it along.
        rstrip: the same of what follows.
        single_word: whether it has to stand alone, next to no letter, digit or underscore.
        normalized: whether tokenizer.json's normalizer changes it too before it is looked for.
    """

    text: str
    special: bool = True
    lstrip: bool = False
    rstrip: bool = False
    single_word: bool = False
    normalized: bool = False

    @property
    def flags(self) -> dict[str, bool]:
        """All but the text, by their names."""
        names = ("special", "lstrip", "rstrip", "single_word", "normalized")
        return {name: getattr(self, name) for name in names}

    @classmethod
    def of(cls, token: Any, special: bool) -> AddedToken:
        """Make one of a text, or of a token of the library `tokenizers`; raise `MinillmError` for others."""
        if isinstance(token, str) and token:
            return cls(token, special, normalized=not special)
        if not isinstance(token, tokenizers.AddedToken):
            raise MinillmError(
                f"a token must be a text or a tokenizers.AddedToken, got {reprlib.repr(token)}"
            )
        strips = (token.lstrip, token.rstrip, token.single_word)
        return cls(token.content, special or token.special, *strips, token.normalized)


class SplicedBackend:
    """Special and other added tokens, laid over a vocabulary that has none; its methods are `JsonBackend`'s.

    Args:
        plain: encodes what stands between added tokens.
        added: added tokens by their id, which may lie within or beyond those of `plain`.
        before: ids to put before a text.
        after: ids to put after it.
        split_special: whether a special token that is written out in a text is text like any other.
        own: ids of added tokens that the vocabulary has in itself.
    """

    defaults: Mapping[str, str] = MappingProxyType({})
    _SPACES = re.compile(r"\s*")

    def __init__(
        self,
        plain: SentencePiece | Ranks,
        added: Mapping[int, AddedToken],
        before: Sequence[int] = (),
        after: Sequence[int] = (),
        split_special: bool = False,
        own: Iterable[int] = (),
    ) -> None:
        self._own = frozenset(own)
        self.base_size = len({*plain.ids, *self._own})
        self._plain, self._added, self._split_special = plain, dict(added), split_special
        self._before, self._after = list(before), list(after)
        self._by_text = {token.text: i for i, token in added.items()}
        self.special_ids = frozenset(i for i, token in added.items() if token.special)
        self.byte_ids = {i: byte for i, byte in plain.byte_ids.items() if i not in self.special_ids}
        # Of two tokens that start at one place, the longer is meant.
        shown = (token for token in added.values() if not (split_special and token.special))
        longest = sorted({token.text for token in shown if token.text}, key=len, reverse=True)
        self._pattern = re.compile("|".join(map(self._expression, longest)) or r"(?!)")

    def _expression(self, text: str) -> str:
        escaped = re.escape(text)
        return rf"(?<!\w){escaped}(?!\w)" if self._added[self._by_text[text]].single_word else escaped

    @property
    def vocab_size(self) -> int:
        return len(self._plain.ids) + sum(i not in self._plain.ids for i in self._added)

    def encode(
        self, text: str, add_special_tokens: bool, most: int | None = None, from_left: bool = False
    ) -> list[int]:
        before, after = (self._before, self._after) if add_special_tokens else ([], [])
        ids = self._encode(text)
        if most is not None:
            room = _room(most, len(before) + len(after))
            ids = ids[max(0, len(ids) - room) :] if from_left else ids[:room]
        return [*before, *ids, *after]

    def _encode(self, text: str) -> list[int]:
        ids: list[int] = []
        done = 0
        for match in self._pattern.finditer(text):
            if match.start() < done:
                continue  # white space, which the token before it took along
            i = self._by_text[match.group()]
            stretch = text[done : match.start()]
            ids += self._stretch(stretch.rstrip() if self._added[i].lstrip else stretch, done == 0)
            ids.append(i)
            done = match.end()
            if self._added[i].rstrip and (spaces := self._SPACES.match(text, done)):
                done = spaces.end()
        return ids + self._stretch(text[done:], done == 0)

    def tokenize(self, text: str, add_special_tokens: bool) -> list[str]:
        return [self._written(i) for i in self.encode(text, add_special_tokens)]

    def _stretch(self, text: str, at_start: bool) -> list[int]:
        return self._plain.encode(text, at_start) if text else []

    def decode(self, ids: Sequence[int], skip_special_tokens: bool) -> str:
        skipped = self.special_ids if skip_special_tokens else frozenset[int]()
        text = ""
        kept = (i for i in ids if self.knows(i) and i not in skipped)
        # Added tokens can be pieces of the vocabulary too, which knows best how they read: "▁▁".
        for plain, stretch in groupby(kept, lambda i: i in self._plain.ids and i not in self.special_ids):
            if plain:
                text += self._plain.decode(list(stretch), at_start=not text)
            else:
                text += "".join(self._added[i].text for i in stretch)
        return text

    def token_to_id(self, token: str) -> int | None:
        token_id = self._by_text.get(token)
        return self._plain.token_to_id(token) if token_id is None else token_id

    def _written(self, token_id: int) -> str:
        return self._added[token_id].text if token_id in self._added else self._plain.written(token_id)

    def id_to_token(self, token_id: int) -> str | None:
        return self._written(token_id) if self.knows(token_id) else None

    def knows(self, token_id: int) -> bool:
        return token_id in self._plain.ids or token_id in self._added

    def vocabulary(self) -> dict[str, int]:
        return {self._written(i): i for i in (*self._plain.ids, *self._added)}

    def added_tokens(self) -> dict[str, int]:
        return {token.text: i for i, token in sorted(self._added.items())}

    def with_tokens(self, tokens: Sequence[AddedToken]) -> SplicedBackend:
        added = dict(self._added)
        for token in tokens:
            known = SplicedBackend(self._plain, added).token_to_id(token.text)
            added[max((*self._plain.ids[-1:], *added)) + 1 if known is None else known] = token
        ends = (self._before, self._after)
        return SplicedBackend(self._plain, added, *ends, self._split_special, self._own)

    def text_of(self, tokens: Sequence[str]) -> str:
        vocabulary = self.vocabulary()
        if unknown := [token for token in tokens if token not in vocabulary]:
            raise MinillmError(f"the vocabulary has no token {unknown[0]!r}; give tokens as tokenize() does")
        return self.decode([vocabulary[token] for token in tokens], skip_special_tokens=False)

    def token_bytes(self) -> dict[int, bytes]:
        added = {i: token.text.encode() for i, token in self._added.items()}
        tokens = added | {i: self._plain.token_bytes(i) for i in self._plain.ids}
        return {i: token for i, token in tokens.items() if i not in self.special_ids}


Backend = JsonBackend | SplicedBackend
