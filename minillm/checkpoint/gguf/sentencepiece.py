"""A vocabulary with scores -> the content of a SentencePiece tokenizer.model.

Such a file is a protocol buffer: fields of a number, a wire type and a value, in any order.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence

_BPE = 2
# Numbers of the fields of ModelProto, and of the messages inside it.
_PIECES, _TRAINER, _NORMALIZER = 1, 2, 3
_MODEL_TYPE, _VOCAB_SIZE, _BYTE_FALLBACK = 3, 4, 35
_NAMED = {"unk": 45, "bos": 46, "eos": 47}


def sentencepiece_model(
    pieces: Sequence[tuple[str, float, int]],
    names: Mapping[str, str | None],
    prefix: bool,
    byte_fallback: bool,
) -> bytes:
    """A tokenizer.model of a BPE vocabulary.

    Args:
        pieces: text, score and type of each token; the types are numbered as GGUF has them too.
        names: the unk, bos and eos tokens' texts.
        prefix: whether a text gets a space before it.
        byte_fallback: whether unknown characters are written as bytes.
    """
    model = b"".join(
        _text(_PIECES, _text(1, word.encode()) + _tag(2, 5) + struct.pack("<f", score) + _number(3, kind))
        for word, score, kind in pieces
    )
    trainer = _number(_MODEL_TYPE, _BPE) + _number(_VOCAB_SIZE, len(pieces))
    trainer += _number(_BYTE_FALLBACK, int(byte_fallback))
    trainer += b"".join(_text(_NAMED[key], word.encode()) for key, word in names.items() if word is not None)
    # Texts are taken as they are: no rules, and no white space is dropped.
    normalizer = _text(1, b"identity") + _number(3, int(prefix)) + _number(4, 0) + _number(5, 1)
    return model + _text(_TRAINER, trainer) + _text(_NORMALIZER, normalizer)


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value >= 0x80:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes(encoded) + bytes([value])


def _tag(field: int, wire_type: int) -> bytes:
    return _varint(field << 3 | wire_type)


def _number(field: int, value: int) -> bytes:
    return _tag(field, 0) + _varint(value)


def _text(field: int, value: bytes) -> bytes:
    return _tag(field, 2) + _varint(len(value)) + value
