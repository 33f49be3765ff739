"""A model folder's tokenizer file -> what encodes and decodes with it (`minillm.tokenizer_backends`)."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tokenizers

from minillm.errors import MinillmError
from minillm.tokenizer_backends import (
    AddedToken,
    Backend,
    JsonBackend,
    PlainText,
    Ranks,
    SentencePiece,
    SplicedBackend,
)

# Words as GPT-4 and Llama 3 cut them; a list of ranks does not say.
_GPT4_WORDS = "|".join(
    (
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)",
        r"[^\r\n\p{L}\p{N}]?\p{L}+",
        r"\p{N}{1,3}",
        r" ?[^\s\p{L}\p{N}]+[\r\n]*",
        r"\s*[\r\n]+",
        r"\s+(?!\S)",
        r"\s+",
    )
)
_WORDS = {"llama": _GPT4_WORDS}

_TOKEN_FLAGS = ("special", "lstrip", "rstrip", "single_word")

_RANK_LINE = re.compile(rb"[A-Za-z0-9+/]+={0,2} [0-9]+\r?\n")

# The first tekken.json files have no list of special tokens; these are meant.
_FIRST_TEKKEN_SPECIAL = (
    *("<unk>", "<s>", "</s>", "[INST]", "[/INST]", "[AVAILABLE_TOOLS]", "[/AVAILABLE_TOOLS]"),
    *("[TOOL_RESULTS]", "[/TOOL_RESULTS]", "[TOOL_CALLS]", "[IMG]", "<pad>", "[IMG_BREAK]", "[IMG_END]"),
    *("[PREFIX]", "[MIDDLE]", "[SUFFIX]", "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]", "[TOOL_CONTENT]"),
)


def load_backend(
    folder: Path, settings: Mapping[str, Any], special_tokens: Mapping[str, str], model_type: object
) -> tuple[Backend, dict[str, str]]:
    """The backend of a model folder, and its bos_token, eos_token and so on.

    Args:
        folder: holds tokenizer.json, or else tekken.json, or else tokenizer.model.
        settings: the content of tokenizer_config.json.
        special_tokens: bos_token, eos_token and so on as `settings` have them.
        model_type: that of config.json.

    Raises:
        MinillmError: there is none of the three, or it is broken or lacks what is needed.
    """
    plain: PlainText
    if (path := folder / "tokenizer.json").is_file():
        return _read_tokenizer_json(path), dict(special_tokens)
    if (path := folder / "tekken.json").is_file():
        plain, added, names = _read_tekken(path)
    elif (path := folder / "tokenizer.model").is_file():
        model = path.read_bytes()
        if _RANK_LINE.match(model):
            plain, added, names = _read_ranks(path, model, model_type), {}, {}
        else:
            plain, added, names = _read_sentencepiece(path, model, settings)
    else:
        raise MinillmError(
            f"{folder} has no tokenizer.json, tekken.json or tokenizer.model, the tokenizers that are "
            "read; fetch one of them from where the model comes from"
        )
    # An empty name is that of no token: old conversions of Llama have it.
    names |= {name: text for name, text in special_tokens.items() if text}
    added |= _added_tokens(folder, settings, names)
    if isinstance(plain, Ranks) and not added:
        raise MinillmError(
            f"{path} lists ranks, which leave out the special tokens, and tokenizer_config.json has no "
            "added_tokens_decoder that names them; take tokenizer.json, or that file, from the model's "
            "page on the Hugging Face hub"
        )
    backend = SplicedBackend(plain, added)
    ends: list[list[int]] = []
    for name, by_default in (("bos_token", True), ("eos_token", False)):
        i = backend.token_to_id(names[name]) if name in names else None
        wanted = settings.get(f"add_{name}")
        ends.append([i] if i is not None and (by_default if wanted is None else wanted) else [])
    return SplicedBackend(plain, added, *ends), names


def _read_tokenizer_json(path: Path) -> JsonBackend:
    try:
        return JsonBackend(tokenizers.Tokenizer.from_file(str(path)))
    # The library raises bare exceptions.
    except Exception as error:
        raise MinillmError(f"{path} is not a valid tokenizer.json ({error}); fetch it again") from error


def _read_sentencepiece(
    path: Path, model: bytes, settings: Mapping[str, Any]
) -> tuple[SentencePiece, dict[int, AddedToken], dict[str, str]]:
    prefix = "always"
    if settings.get("add_prefix_space") is False:
        prefix = "never"
    elif settings.get("legacy") is False:
        prefix = "first"
    try:
        plain = SentencePiece(model, prefix)
    except RuntimeError as error:
        raise MinillmError(
            f"{path} is neither a SentencePiece model nor a list of ranks, or it was cut short ({error}); "
            "fetch it again"
        ) from error
    marks = {i: AddedToken(text) for i, text in plain.special_tokens().items()}
    return plain, marks, plain.names()


def _read_ranks(path: Path, model: bytes, model_type: object) -> Ranks:
    if model_type not in _WORDS:
        raise MinillmError(
            f"{path} lists ranks, and how words are cut depends on the model: it is known for model_type "
            f"{', '.join(_WORDS)}, but config.json has {model_type!r}; take tokenizer.json from the "
            "model's page on the Hugging Face hub"
        )
    try:
        pairs = (line.split() for line in model.splitlines() if line)
        tokens = {base64.b64decode(token, validate=True): int(rank) for token, rank in pairs}
        return Ranks(_WORDS[str(model_type)], tokens)
    except ValueError as error:
        raise MinillmError(
            f"{path} is not a valid list of a base64 token and a rank a line ({error}); fetch it again"
        ) from error


def _read_tekken(path: Path) -> tuple[Ranks, dict[int, AddedToken], dict[str, str]]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        config = content["config"]
        count: int = config["default_num_special_tokens"]
        # The file holds more tokens than the model has.
        size: int = config["default_vocab_size"] - count
        entries = (entry for entry in content["vocab"] if entry["rank"] < size)
        tokens = {base64.b64decode(e["token_bytes"], validate=True): e["rank"] + count for e in entries}
        if len(tokens) != size:
            raise ValueError(f"{len(tokens)} tokens where {size} are announced")
        plain = Ranks(config["pattern"], tokens)
        marks = {i: AddedToken(f"<SPECIAL_{i}>") for i in range(count)}
        listed = content.get("special_tokens")
        if listed is None:
            listed = [{"rank": i, "token_str": text} for i, text in enumerate(_FIRST_TEKKEN_SPECIAL)]
        marks |= {_id(entry["rank"]): AddedToken(_text(entry["token_str"])) for entry in listed}
        if len(marks) != count:
            raise ValueError(f"special tokens beyond the {count} that are announced")
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise MinillmError(f"{path} is not a valid tekken.json ({reason}); fetch it again") from error
    written = {mark.text for mark in marks.values()}
    names = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"}
    return plain, marks, {name: text for name, text in names.items() if text in written}


def _added_tokens(
    folder: Path, settings: Mapping[str, Any], names: Mapping[str, str]
) -> dict[int, AddedToken]:
    """What added_tokens.json, and over it tokenizer_config.json, add to a vocabulary."""
    added: dict[int, AddedToken] = {}
    path = folder / "added_tokens.json"
    try:
        if path.is_file():
            more = settings.get("additional_special_tokens") or []
            special = {*names.values(), *(_text(token) for token in more)}
            ids = json.loads(path.read_text(encoding="utf-8"))
            added = {_id(i): AddedToken(text, special=text in special) for text, i in ids.items()}
        path = folder / "tokenizer_config.json"
        for i, token in (settings.get("added_tokens_decoder") or {}).items():
            flags = {name: bool(token.get(name, False)) for name in _TOKEN_FLAGS}
            added[_id(int(i))] = AddedToken(_text(token), **flags)
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise MinillmError(f"{path} does not list added tokens as it should ({reason})") from error
    return added


def _text(token: Any) -> str:
    text = token["content"] if isinstance(token, dict) else token
    if not isinstance(text, str) or not text:
        raise ValueError(f"{text!r} is not the text of a token")
    return text


def _id(token_id: Any) -> int:
    if type(token_id) is not int or token_id < 0:
        raise ValueError(f"{token_id!r} is not a token id")
    return token_id
