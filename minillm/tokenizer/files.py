"""A model folder's tokenizer file -> what encodes and decodes with it (`minillm.tokenizer.backends`)."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import tokenizers

from minillm.errors import MinillmError
from minillm.tokenizer.backends import AddedToken, Backend, JsonBackend, Ranks, SentencePiece, SplicedBackend
from minillm.tokenizer.settings import TOKEN_FLAGS, AddedTokens, added_tokens, read_id, read_token

CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
WHITE_SPACE = r"\s*[\r\n]+|\s+(?!\S)|\s+"


def gpt4_words(number: str, symbols: str = r" ?[^\s\p{L}\p{N}]+[\r\n]*", letters: str = r"\p{L}+") -> str:
    """Build GPT-4's pattern of contractions, words, numbers, symbols and white space, or one like it."""
    return rf"{CONTRACTIONS}|[^\r\n\p{{L}}\p{{N}}]?{letters}|{number}|{symbols}|{WHITE_SPACE}"


LLAMA3_WORDS = gpt4_words(r"\p{N}{1,3}")
# Model type -> how words are cut; a list of ranks does not say.
_WORDS = {"llama": LLAMA3_WORDS}

_RANK_LINE = re.compile(rb"[A-Za-z0-9+/]+={0,2} [0-9]+\r?\n")

# The first tekken.json files have no list of special tokens; these are meant.
_FIRST_TEKKEN_SPECIAL = (
    *("<unk>", "<s>", "</s>", "[INST]", "[/INST]", "[AVAILABLE_TOOLS]", "[/AVAILABLE_TOOLS]"),
    *("[TOOL_RESULTS]", "[/TOOL_RESULTS]", "[TOOL_CALLS]", "[IMG]", "<pad>", "[IMG_BREAK]", "[IMG_END]"),
    *("[PREFIX]", "[MIDDLE]", "[SUFFIX]", "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]", "[TOOL_CONTENT]"),
)


def load_backend(
    folder: Path, settings: Mapping[str, Any], special_tokens: Mapping[str, AddedToken], model_type: object
) -> tuple[Backend, dict[str, str]]:
    """Read the backend of a model folder, and how its bos_token, eos_token and so on are written.

    Args:
        folder: holds tokenizer.json, or else tekken.json, or else tokenizer.model.
        settings: the content of tokenizer_config.json.
        special_tokens: bos_token, eos_token and so on, as `minillm.tokenizer.settings` reads them.
        model_type: that of config.json.

    Raises:
        MinillmError: there is none of the three, or it is broken or lacks what is needed.
    """
    more = added_tokens(folder, settings, special_tokens)
    names = {name: token.text for name, token in special_tokens.items()}
    split_special = settings.get("split_special_tokens") is True
    plain: SentencePiece | Ranks
    if (path := folder / "tokenizer.json").is_file():
        return _read_tokenizer_json(path, more, split_special), names
    if (path := folder / "tekken.json").is_file():
        plain, added, own_names = _read_tekken(path)
    elif (path := folder / "tokenizer.model").is_file():
        model = path.read_bytes()
        if _RANK_LINE.match(model):
            plain, added, own_names = _read_ranks(path, model, model_type), {}, {}
        else:
            plain, added, own_names = _read_sentencepiece(path, model, settings)
    else:
        raise MinillmError(
            f"{folder} has no tokenizer.json, tekken.json or tokenizer.model, the tokenizers that are "
            "read; fetch one of them from where the model comes from"
        )
    names = own_names | names
    if isinstance(plain, Ranks) and not added and not more.given:
        raise MinillmError(
            f"{path} lists ranks, which leave out the special tokens, and tokenizer_config.json has no "
            "added_tokens_decoder that names them; take tokenizer.json, or that file, from the model's "
            "page on the Hugging Face hub"
        )
    own, added = [*added], _joined(path, plain, added, more)
    backend = SplicedBackend(plain, added)
    ends: list[list[int]] = []
    for name, by_default in (("bos_token", True), ("eos_token", False)):
        i = backend.token_to_id(names[name]) if name in names else None
        wanted = settings.get(f"add_{name}")
        ends.append([i] if i is not None and (by_default if wanted is None else wanted) else [])
    return SplicedBackend(plain, added, ends[0], ends[1], split_special, own), names


def _joined(
    path: Path, plain: SentencePiece | Ranks, marks: Mapping[int, AddedToken], more: AddedTokens
) -> dict[int, AddedToken]:
    """Join special tokens of a vocabulary file and what the files beside it say of them and of others."""
    token_to_id = SplicedBackend(plain, marks).token_to_id
    _check_ids(path, more, token_to_id)
    # A token can take the place of one that the vocabulary has in reserve, under another name.
    added = {**marks, **more.given}
    for i in more.bare & marks.keys():
        added[i] = replace(more.given[i], special=True)
    for token in more.others:
        known = token_to_id(token.text)
        added[max((*plain.ids[-1:], *added)) + 1 if known is None else known] = token
    return added


def _check_ids(path: Path, more: AddedTokens, token_to_id: Callable[[str], int | None]) -> None:
    for i, token in more.given.items():
        if (stored := token_to_id(token.text)) not in (None, i):
            raise MinillmError(
                f"{path} has {token.text!r} as the token {stored}, but the files beside it as {i}; take all "
                "of them from one place"
            )


def _read_tokenizer_json(path: Path, more: AddedTokens, split_special: bool) -> JsonBackend:
    try:
        tokenizer = tokenizers.Tokenizer.from_file(str(path))
    # The library raises bare exceptions.
    except Exception as error:
        raise MinillmError(f"{path} is not a valid tokenizer.json ({error}); fetch it again") from error
    _check_ids(path, more, tokenizer.token_to_id)
    for i, token in more.given.items():
        if (stored := tokenizer.id_to_token(i)) not in (None, token.text):
            raise MinillmError(
                f"{path} has {stored!r} as the token {i}, but the files beside it have {token.text!r}; take "
                "all of them from one place"
            )
    present = {token.content: token for token in tokenizer.get_added_tokens_decoder().values()}

    def ready(token: AddedToken, flags_count: bool) -> tokenizers.AddedToken:
        known = present.get(token.text)
        if known is not None and not flags_count:
            known.special = known.special or token.text in more.roles
            return known
        special = token.special or (known is not None and known.special)
        flags = {name: getattr(token, name) for name in (*TOKEN_FLAGS, "normalized")}
        return tokenizers.AddedToken(token.text, special=special, **flags)

    tokens = [ready(token, i not in more.bare) for i, token in more.given.items()]
    tokenizer.add_tokens(tokens)
    if any(tokenizer.token_to_id(token.text) != i for i, token in more.given.items()):
        tokenizer = _with_vocabulary(path, {token.text: i for i, token in more.given.items()})
        tokenizer.add_tokens(tokens)
    tokenizer.add_tokens([ready(token, False) for token in more.others])
    tokenizer.encode_special_tokens = split_special
    return JsonBackend(tokenizer)


def _with_vocabulary(path: Path, ids: Mapping[str, int]) -> tokenizers.Tokenizer:
    """Read the tokenizer, with `ids` in its vocabulary: the library gives other new tokens the next id."""
    state = json.loads(path.read_text(encoding="utf-8"))
    vocabulary = state["model"]["vocab"]
    if not isinstance(vocabulary, dict):
        text, i = max(ids.items(), key=lambda item: item[1])
        raise MinillmError(
            f"{path} ends before the token {text!r} of id {i}, which the files beside it add, and its kind "
            "of vocabulary can have no gap; add the tokens between them"
        )
    vocabulary |= {token["content"]: token["id"] for token in state["added_tokens"]}
    vocabulary |= ids
    return tokenizers.Tokenizer.from_str(json.dumps(state))


def _read_sentencepiece(
    path: Path, model: bytes, settings: Mapping[str, Any]
) -> tuple[SentencePiece, dict[int, AddedToken], dict[str, str]]:
    prefix = "first" if settings.get("legacy") is False else "always"
    if settings.get("add_prefix_space") is False:
        prefix = "never"
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
        marks |= {read_id(e["rank"]): AddedToken(read_token(e["token_str"], True).text) for e in listed}
        if len(marks) != count:
            raise ValueError(f"special tokens beyond the {count} that are announced")
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise MinillmError(f"{path} is not a valid tekken.json ({reason}); fetch it again") from error
    written = {mark.text for mark in marks.values()}
    names = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"}
    return plain, marks, {name: text for name, text in names.items() if text in written}
