"""The tokenizer of a GGUF file -> the files of a model folder: tokens, settings, and what ends a text.

Byte-level BPE (`gpt2`) becomes a tokenizer.json. SentencePiece vocabularies (`llama`) become a
tokenizer.model again, which their own library reads: their scores tie, and a list of merges cannot say so.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from typing import Any

import sentencepiece
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, processors

from minillm.checkpoint.gguf.file import GgufFile
from minillm.checkpoint.gguf.pretokenizers import PRE_TOKENIZERS

# gguf's TokenType: kinds of vocabulary entries that are not made by merges.
_UNKNOWN, _CONTROL, _USER_DEFINED, _UNUSED, _BYTE = 2, 3, 4, 5, 6

# Tokens that end a generation wherever a vocabulary has them, as llama.cpp finds them.
_ENDS = {
    *("<|eot_id|>", "<|im_end|>", "<|end|>", "<|return|>", "<|call|>", "<|flush|>", "<|calls|>"),
    *("<end_of_turn>", "<|endoftext|>", "<|end_of_text|>", "<|eom_id|>", "<end_of_utterance>"),
    *("< EOT >", "_< EOT >", "<EOT>", "_<EOT>", "[EOT]", "[EOS]", "<\uff5cend▁of▁sentence\uff5c>"),
}
# Keys of such tokens -> the texts that say the same where the key is missing.
_END_KEYS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("eos", "eot", "eom"), ()),
    "fim_pad": ("<|fim_pad|>", "<fim-pad>", "<fim_pad>", "<PAD>"),
    "fim_rep": ("<|fim_repo|>", "<|repo_name|>", "<fim-repo>", "<REPO>", "<reponame>"),
    "fim_sep": ("<|file_sep|>",),
}
# Of a vocabulary that has all of one of these sets, <|end|> only ends a part of an answer.
_PARTS = [{a, b} for a in ("<|return|>", "<|flush|>") for b in ("<|call|>", "<|calls|>")]


def tokenizer_files(file: GgufFile, rows: int, context: int) -> tuple[dict[str, bytes], dict[str, Any]]:
    """Make the tokenizer's files.

    Args:
        file: has it in its keys `tokenizer.*`.
        rows: of the embedding.
        context: the model's longest sequence.

    Returns:
        The content by name (tokenizer.json or tokenizer.model, tokenizer_config.json and
        generation_config.json); and bos_token_id, eos_token_id and pad_token_id, as far as there are such
        tokens.
    """
    vocabulary = _Vocabulary(file)
    if len(vocabulary.words) > rows:
        file.refuse(f"has {len(vocabulary.words)} tokens, but token_embd.weight has only {rows} rows")
    if vocabulary.model not in ("gpt2", "llama"):
        known = "'gpt2' (byte-level BPE) and 'llama' (SentencePiece)"
        file.refuse(f"has tokenizer {vocabulary.model!r}; those that can be imported are {known}")
    if vocabulary.merged:
        tokenizer = (_byte_level if vocabulary.model == "gpt2" else _merged)(vocabulary)
        files = {"tokenizer.json": tokenizer.to_str(pretty=True).encode()}
    else:
        files = {"tokenizer.model": _sentencepiece(vocabulary)}
    ends = vocabulary.ends()
    ids = {
        "bos_token_id": vocabulary.id("bos"),
        "eos_token_id": ends[0] if len(ends) == 1 else ends or None,
        "pad_token_id": vocabulary.id("padding"),
    }
    ids = {key: value for key, value in ids.items() if value is not None}
    files["tokenizer_config.json"] = as_json(_settings(vocabulary, context))
    files["generation_config.json"] = as_json(ids)
    return files, ids


def as_json(content: Mapping[str, Any]) -> bytes:
    """Write the content of a file of Hugging Face's layout."""
    return (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode()


class _Vocabulary:
    """The tokens of a file and what it says of them."""

    def __init__(self, file: GgufFile) -> None:
        self.file = file
        self.model = file.get("tokenizer.ggml.model")
        # Some files have rows of the embedding without a text.
        texts = enumerate(file.get("tokenizer.ggml.tokens"))
        self.words: list[str] = [text or f"[EMPTY_{i}]" for i, text in texts]
        count = len(self.words)
        self.kinds: list[int] = file.fields.get("tokenizer.ggml.token_type", [1] * count)
        self.scores: list[float] = file.fields.get("tokenizer.ggml.scores", [0.0] * count)
        self.merges: list[str] = file.fields.get("tokenizer.ggml.merges", [])
        if not len(self.kinds) == len(self.scores) == count:
            file.refuse(f"has {count} tokens, but {len(self.kinds)} types and {len(self.scores)} scores")
        if len(set(self.words)) != count:
            file.refuse("has a broken vocabulary (a token is in it twice)")
        self.pre = str(file.fields.get("tokenizer.ggml.pre"))

    @property
    def merged(self) -> bool:
        """Whether a list of merges, and no scores, says which tokens are made first."""
        scores = {s for s, kind in zip(self.scores, self.kinds, strict=True) if kind == 1}
        return self.model == "gpt2" or (bool(self.merges) and len(scores) <= 1)

    def id(self, name: str) -> int | None:
        """Read the id of the token that the file calls NAME_token_id."""
        key = f"tokenizer.ggml.{name}_token_id"
        usual = {"bos": 1, "eos": 2, "unknown": 0} if self.model == "llama" else {}
        token_id: int | None = self.file.fields.get(key, usual.get(name))
        if token_id is None or 0 <= token_id < len(self.words):
            return token_id
        if key in self.file.fields:
            self.file.refuse(f"has {key} = {token_id}, beyond its vocabulary")
        return None

    def token(self, name: str) -> str | None:
        """Read the text of that token."""
        token_id = self.id(name)
        return None if token_id is None else self.words[token_id]

    def adds(self, name: str) -> bool:
        """Whether this token is put around a text."""
        # llama.cpp's rule for a file that does not say.
        usual = self.model == "llama" or (self.pre in PRE_TOKENIZERS and PRE_TOKENIZERS[self.pre].bos)
        return bool(self.file.fields.get(f"tokenizer.ggml.add_{name}_token", usual and name == "bos"))

    @property
    def space(self) -> bool:
        """Whether a text gets a space before it."""
        return self.model == "llama" and bool(self.file.fields.get("tokenizer.ggml.add_space_prefix", True))

    def added(self) -> dict[int, tuple[str, bool]]:
        """Id -> text of the tokens that are found before all others, and whether they are special."""
        ids = (i for i, kind in enumerate(self.kinds) if kind in (_CONTROL, _USER_DEFINED))
        return {i: (self.words[i], self.kinds[i] == _CONTROL) for i in ids}

    def ends(self) -> list[int]:
        """List the tokens that end a generation: those that keys name, then those that their texts do."""
        texts, ids = set(_ENDS), []
        for key, texts_without_key in _END_KEYS.items():
            if (token_id := self.id(key)) is None:
                texts.update(texts_without_key)
            else:
                ids.append(token_id)
        ids += [i for i, word in enumerate(self.words) if word in texts and self.kinds[i] != _UNUSED]
        written = {self.words[i] for i in ids}
        if any(parts <= written for parts in _PARTS):
            ids = [i for i in ids if self.words[i] != "<|end|>"]
        return list(dict.fromkeys(ids))


# ---------------------------------------------------------------- tokenizer.json


def _byte_level(vocabulary: _Vocabulary) -> Tokenizer:
    if (pre := PRE_TOKENIZERS.get(vocabulary.pre)) is None:
        known = ", ".join(PRE_TOKENIZERS)
        vocabulary.file.refuse(f"splits text by {vocabulary.pre!r}; known are {known}")
    vocabulary.file.get("tokenizer.ggml.merges")
    tokenizer = _bpe(vocabulary, ignore_merges=pre.whole_words)
    tokenizer.pre_tokenizer = pre.build()
    if pre.nfc:
        tokenizer.normalizer = normalizers.NFC()
    tokenizer.decoder = decoders.ByteLevel()
    return _finished(vocabulary, tokenizer, processors.ByteLevel(trim_offsets=True))


def _merged(vocabulary: _Vocabulary) -> Tokenizer:
    """SentencePiece's way with spaces and unknown characters, over a list of merges."""
    unknown = vocabulary.token("unknown")
    bytes_known = _BYTE in vocabulary.kinds
    tokenizer = _bpe(vocabulary, unk_token=unknown, fuse_unk=True, byte_fallback=bytes_known)
    steps: list[Any] = [normalizers.Prepend("▁")] if vocabulary.space else []
    tokenizer.normalizer = normalizers.Sequence([*steps, normalizers.Replace(" ", "▁")])
    decode: list[Any] = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    tokenizer.decoder = decoders.Sequence(decode + [decoders.Strip(" ", 1, 0)] * vocabulary.space)
    return _finished(vocabulary, tokenizer)


def _bpe(vocabulary: _Vocabulary, **options: Any) -> Tokenizer:
    pairs = zip(vocabulary.words, vocabulary.kinds, strict=True)
    words = {word: i for i, (word, kind) in enumerate(pairs) if kind != _UNUSED}
    # A part can start with a space, but no part is empty.
    merges = [(merge[: (i := merge.find(" ", 1))], merge[i + 1 :]) for merge in vocabulary.merges]
    try:
        return Tokenizer(models.BPE(words, merges, **options))
    # The library raises bare exceptions, for one on a merge whose parts are not in the vocabulary.
    except Exception as error:
        vocabulary.file.refuse(f"has a broken vocabulary ({error})")


def _finished(vocabulary: _Vocabulary, tokenizer: Tokenizer, *post: Any) -> Tokenizer:
    """With the added tokens, and what is put around a text."""
    added = vocabulary.added().values()
    tokenizer.add_tokens([AddedToken(text, special=special, normalized=False) for text, special in added])
    first = vocabulary.token("bos") if vocabulary.adds("bos") else None
    last = vocabulary.token("eos") if vocabulary.adds("eos") else None
    if around := [t for t in (first, last) if t is not None]:
        template = processors.TemplateProcessing(
            single=[t for t in (first, "$A", last) if t is not None],
            pair=[t for t in (first, "$A", first, "$B:1", last) if t is not None],
            special_tokens=[(t, vocabulary.words.index(t)) for t in around],
        )
        post = (*post, template)
    if post:
        tokenizer.post_processor = processors.Sequence(list(post))
    return tokenizer


# ---------------------------------------------------------------- tokenizer.model


# Such a file is a protocol buffer: fields of a number, a wire type and a value. It is written here because
# sentencepiece's own module of its messages needs the library protobuf. Numbers of the fields of ModelProto
# and of its TrainerSpec:
_PIECES, _TRAINER, _NORMALIZER = 1, 2, 3
_MODEL_TYPE, _VOCAB_SIZE, _BYTE_FALLBACK = 3, 4, 35
_NAMES = {"unknown": 45, "bos": 46, "eos": 47}
_BPE = 2


def _sentencepiece(vocabulary: _Vocabulary) -> bytes:
    if (unknown := vocabulary.id("unknown")) is None:
        vocabulary.file.refuse("has no unknown_token_id that is in its vocabulary")
    # The library wants one unknown token.
    kinds = [_CONTROL if kind == _UNKNOWN else kind for kind in vocabulary.kinds]
    kinds[unknown] = _UNKNOWN
    # Added tokens are cut out of a text before the library gets it, which is to make no others of them.
    kinds = [_UNUSED if kind == _USER_DEFINED else kind for kind in kinds]
    model = b"".join(
        _field(_PIECES, _field(1, word.encode()) + _field(2, float(score)) + _field(3, kind))
        for word, score, kind in zip(vocabulary.words, vocabulary.scores, kinds, strict=True)
    )
    trainer = _field(_MODEL_TYPE, _BPE) + _field(_VOCAB_SIZE, len(kinds))
    trainer += _field(_BYTE_FALLBACK, int(_BYTE in kinds))
    names = {number: vocabulary.token(name) for name, number in _NAMES.items()}
    trainer += b"".join(_field(number, word.encode()) for number, word in names.items() if word is not None)
    # Texts are taken as they are: no rules, and no white space is dropped.
    normalizer = _field(1, b"identity") + _field(3, int(vocabulary.space)) + _field(4, 0) + _field(5, 1)
    model += _field(_TRAINER, trainer) + _field(_NORMALIZER, normalizer)
    try:
        sentencepiece.SentencePieceProcessor(model_proto=model)
    except RuntimeError as error:
        vocabulary.file.refuse(f"has a broken vocabulary ({error})")
    return model


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


# ---------------------------------------------------------------- settings


def _settings(vocabulary: _Vocabulary, context: int) -> dict[str, Any]:
    """Make the content of tokenizer_config.json."""
    names = {"bos": "bos", "eos": "eos", "padding": "pad", "unknown": "unk"}
    tokens = {f"{hf}_token": vocabulary.token(key) for key, hf in names.items()}
    settings: dict[str, Any] = {
        "tokenizer_class": "PreTrainedTokenizerFast" if vocabulary.merged else "LlamaTokenizer",
        "add_bos_token": vocabulary.adds("bos"),
        "add_eos_token": vocabulary.adds("eos"),
        "add_prefix_space": vocabulary.space,
        "clean_up_tokenization_spaces": False,
        "model_max_length": context,
        **{name: token for name, token in tokens.items() if token is not None},
    }
    if not vocabulary.merged:
        flags = {"lstrip": False, "normalized": False, "single_word": False}
        strips = _strips(vocabulary)
        settings["legacy"] = True
        settings["added_tokens_decoder"] = {
            str(i): {"content": text, **flags, "rstrip": text in strips, "special": special}
            for i, (text, special) in vocabulary.added().items()
        }
    if "tokenizer.chat_template" in vocabulary.file.fields:
        settings["chat_template"] = vocabulary.file.get("tokenizer.chat_template")
    return settings


def _strips(vocabulary: _Vocabulary) -> set[str]:
    """List added tokens that take white space after them along: no key says so; llama.cpp knows Phi-3's."""
    if "phi3" not in str(vocabulary.file.fields.get("general.name", "")).lower().replace("phi-3", "phi3"):
        return set()
    return {text for text, _ in vocabulary.added().values()} - {"<unk>", "<s>", "<|endoftext|>"}
