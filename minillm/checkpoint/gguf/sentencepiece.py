"""A vocabulary with scores -> the content of a SentencePiece tokenizer.model.

Such a file is a protocol buffer: fields of a number, a wire type and a value, in any order. It is written
here because sentencepiece's own module of its messages needs the library protobuf, which ours does not.
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
    """Make a tokenizer.model of a BPE vocabulary.

    Args:
        pieces: text, score and type of each token; the types are numbered as GGUF has them too.
        names: the unk, bos and eos tokens' texts.
        prefix: whether a text gets a space before it.
        byte_fallback: whether unknown characters are written as bytes.
    """
    model = [
        _field(_PIECES, _field(1, word.encode()) + _field(2, float(score)) + _field(3, kind))
        for word, score, kind in pieces
    ]
    trainer = _field(_MODEL_TYPE, _BPE) + _field(_VOCAB_SIZE, len(pieces))
    trainer += _field(_BYTE_FALLBACK, int(byte_fallback))
    trainer += b"".join(_field(_NAMED[key], word.encode()) for key, word in names.items() if word is not None)
    # Texts are taken as they are: no rules, and no white space is dropped.
    normalizer = _field(1, b"identity") + _field(3, int(prefix)) + _field(4, 0) + _field(5, 1)
    return b"".join((*model, _field(_TRAINER, trainer), _field(_NORMALIZER, normalizer)))


def _field(number: int, value: int | float | bytes) -> bytes:
    match value:
        case int():
            return _varint(number << 3) + _varint(value)
        case bytes():
            return _varint(number << 3 | 2) + _varint(len(value)) + value
    return _varint(number << 3 | 5) + struct.pack("<f", value)


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value >= 0x80:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes(encoded) + bytes([value])
