"""What the small files beside a vocabulary say of its tokens, by transformers' rules.

tokenizer_config.json and special_tokens_map.json give tokens their roles (bos_token, image_token and so
on); added_tokens.json and `added_tokens_decoder` of tokenizer_config.json give tokens their ids. A token
that has a role is special, whatever else says that it is not; one that is merely listed as special is so
where no other file has it.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from minillm.errors import MinillmError
from minillm.tokenizer.backends import AddedToken

# Every model can have these; others, such as image_token, are a model's own.
ROLES = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
TOKEN_FLAGS = ("lstrip", "rstrip", "single_word")
_CONFIG, _MAP, _ADDED = "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"


@dataclass(frozen=True)
class AddedTokens:
    """Tokens to lay over a vocabulary.

    Attributes:
        given: those that a file gives an id, in the order of their ids.
        bare: ids of those whose file says nothing else of them.
        others: special ones without an id; a vocabulary that lacks one gets it as its next token.
        roles: texts of those that have a role, and are special for that.
    """

    given: Mapping[int, AddedToken]
    bare: frozenset[int]
    others: tuple[AddedToken, ...]
    roles: frozenset[str]


def read_json(path: Path, tolerant: bool = False) -> dict[str, Any]:
    """Read the JSON object in `path`; empty where there is no such file.

    Raises:
        MinillmError: it is no JSON object. If `tolerant`, that is a warning, and the file counts as empty.
    """
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(content, dict):
            raise ValueError("not a JSON object")
    except ValueError as error:
        if not tolerant:
            raise MinillmError(f"{path} is not valid JSON ({error}); fetch it again") from error
        warnings.warn(f"{path} is not valid JSON ({error}) and is ignored", stacklevel=4)
        return {}
    return content


def special_tokens(folder: Path, config: Mapping[str, Any]) -> dict[str, AddedToken]:
    """Read which token has which role; the roles that all models can have first, then a model's own.

    Args:
        folder: may hold special_tokens_map.json.
        config: the content of tokenizer_config.json.

    Raises:
        MinillmError: a role has something other than a token.
    """
    tokens: dict[str, AddedToken] = {}
    order = [*ROLES]
    for path, content in _files(folder, config):
        # As in transformers: before there was added_tokens_decoder, special_tokens_map.json was the file.
        older = path.name == _MAP and "added_tokens_decoder" not in config
        # Roles among `extra_special_tokens` may have any name.
        more = content.get("extra_special_tokens")
        named = more if isinstance(more, dict) else {}
        roles = {key: value for key, value in content.items() if key in ROLES or key.endswith("_token")}
        decided = {*ROLES, *named} if older else set()
        order += roles if older else ()
        for key, value in {**roles, **named}.items():
            text = value.get("content") if isinstance(value, dict) else value
            # An empty name is that of no token: old conversions of Llama have it.
            if value is None or text == "" or (key in tokens and key not in decided):
                continue
            if isinstance(text, str):
                tokens[key] = read_token(value, special=True)
            elif key in ROLES or key in named:  # others can be settings, such as add_bos_token
                raise MinillmError(
                    f"{path} has {key} = {value!r}; expected the text of a token, or null for none"
                )
    return {role: tokens[role] for role in (*order, *tokens) if role in tokens}


def unnamed_special_tokens(folder: Path, config: Mapping[str, Any]) -> list[str]:
    """List the texts of special tokens without a role; arguments as of `special_tokens`."""
    return list(dict.fromkeys(token.text for listed in _listed_tokens(folder, config) for token in listed))


def added_tokens(folder: Path, config: Mapping[str, Any], roles: Mapping[str, AddedToken]) -> AddedTokens:
    """Read what is to be added to a vocabulary.

    Args:
        folder: may hold added_tokens.json and special_tokens_map.json.
        config: the content of tokenizer_config.json.
        roles: what `special_tokens` gives.

    Raises:
        MinillmError: a file lists no tokens where it should, or two entries contradict each other.
    """
    texts = frozenset(token.text for token in roles.values())
    listed, late = _listed_tokens(folder, config)
    by_id: dict[int, AddedToken] = {}
    ids: dict[str, int] = {}
    bare: set[int] = set()
    for path, i, token in _tokens_with_ids(folder, config, texts, {token.text for token in listed}):
        if ids.setdefault(token.text, i) != i:
            raise MinillmError(
                f"{path} gives {token.text!r} the id {i}, but it is {ids[token.text]} too; correct it there"
            )
        if i in by_id and by_id[i].text != token.text:
            raise MinillmError(
                f"{path} gives {token.text!r} the id {i}, which {by_id[i].text!r} has too; correct it there"
            )
        by_id[i] = token
        (bare.add if path.name == _ADDED else bare.discard)(i)
    # Of a token that is named with other flags again, the last of these count.
    every = dict.fromkeys((*roles.values(), *listed, *late))
    named = {token.text: token for token in every if token.text not in ids}
    return AddedTokens(dict(sorted(by_id.items())), frozenset(bare), tuple(named.values()), texts)


def _files(folder: Path, config: Mapping[str, Any]) -> list[tuple[Path, Mapping[str, Any]]]:
    """Read the files that name special tokens: path and content of each."""
    return [(folder / _CONFIG, config), (folder / _MAP, read_json(folder / _MAP))]


def _listed_tokens(folder: Path, config: Mapping[str, Any]) -> tuple[list[AddedToken], list[AddedToken]]:
    """List special tokens without a role.

    The second list is what special_tokens_map.json has under the older name: as in transformers, it makes no
    token of added_tokens.json special.
    """
    tokens: list[AddedToken] = []
    late: list[AddedToken] = []
    for path, content in _files(folder, config):
        # Under the newer name there can be roles instead of a list, and lists of both files are one.
        new = content.get("extra_special_tokens")
        key = "extra_special_tokens" if isinstance(new, list) and new else "additional_special_tokens"
        older = path.name == _MAP and key == "additional_special_tokens"
        if older and tokens:
            continue
        with _listing(path, key):
            listed = content.get(key) or []
            if not isinstance(listed, list):
                raise ValueError(f"{listed!r} is not a list")
            # What tokenizer_config.json writes as a whole token says itself whether it is special.
            special = [path.name == _MAP or not isinstance(value, dict) or None for value in listed]
            (late if older else tokens).extend(map(read_token, listed, special))
    return tokens, late


def _tokens_with_ids(
    folder: Path, config: Mapping[str, Any], roles: frozenset[str], listed: set[str]
) -> list[tuple[Path, int, AddedToken]]:
    """List each token with its file and its id; of two alike, the later has the flags that count."""
    tokens: list[tuple[Path, int, AddedToken]] = []
    path, special = folder / _ADDED, roles | listed
    if path.is_file():
        with _listing(path, "its tokens"):
            ids = json.loads(path.read_text(encoding="utf-8"))
            tokens += [(path, read_id(i), read_token(text, text in special)) for text, i in ids.items()]
    path, key = folder / _CONFIG, "added_tokens_decoder"
    with _listing(path, key):
        entries = (config.get(key) or {}).items()
        if wrong := [value for _, value in entries if not isinstance(value, dict)]:
            raise ValueError(f"{wrong[0]!r} is not an object with a content")
        # A role makes a token special before it is asked whether it is found in normalized text.
        tokens += [
            (path, read_id(int(i)), read_token(value, value.get("content") in roles or None))
            for i, value in entries
        ]
    return tokens


@contextmanager
def _listing(path: Path, key: str) -> Iterator[None]:
    try:
        yield
    except (ValueError, AttributeError) as error:
        raise MinillmError(
            f"{path} does not list added tokens as it should ({key}: {error}); correct it there"
        ) from error


def read_token(value: Any, special: bool | None = None) -> AddedToken:
    """Read a text, or an object with a content and flags; raise ValueError where it is neither."""
    flags = value if isinstance(value, dict) else {"content": value}
    text = flags.get("content")
    if not isinstance(text, str) or not text:
        raise ValueError(f"{value!r} is not a token")
    special = bool(flags.get("special", False)) if special is None else special
    strips = {name: bool(flags.get(name, False)) for name in TOKEN_FLAGS}
    return AddedToken(text, special, normalized=bool(flags.get("normalized", not special)), **strips)


def read_id(token_id: Any) -> int:
    """Return a token id, or raise ValueError where it is none."""
    if type(token_id) is not int or token_id < 0:
        raise ValueError(f"{token_id!r} is not a token id")
    return token_id
