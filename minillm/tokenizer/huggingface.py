"""What Hugging Face's tokenizers can do beside encoding and decoding, by their names and with their defaults.

What they have and is not supported here (pairs of texts, offsets, other kinds of tensors and so on) is an
error that names it, never ignored.
"""

from __future__ import annotations

import reprlib
import warnings
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any, overload

import numpy as np
import torch

from minillm.errors import MinillmError
from minillm.tokenizer.backends import Backend, JsonBackend

# What Hugging Face has where no longest text is known, and how much is taken for that.
NO_LIMIT, UNLIMITED = int(1e30), int(1e20)
# Its tokenizers that pad on the left, unless tokenizer_config.json says otherwise.
_PAD_LEFT = ("LlamaTokenizer", "CodeLlamaTokenizer", "GemmaTokenizer", "CohereTokenizer")
SIDES = ("right", "left")

# Arguments of its methods that are not supported, with the values that ask for nothing.
UNSUPPORTED: dict[str, tuple[Any, ...]] = {
    "text_pair": (None,), "pair": (None,), "text_target": (None,), "text_pair_target": (None,),
    "stride": (0,), "is_split_into_words": (False,), "return_token_type_ids": (None, False),
    "return_overflowing_tokens": (False,), "return_special_tokens_mask": (False,),
    "return_offsets_mapping": (False,), "return_length": (False,), "split_special_tokens": (None, False),
    "verbose": (True, False), "tokenizer_kwargs": (None, {}), "clean_up_tokenization_spaces": (None, False),
    "return_assistant_tokens_mask": (False,), "sanitize_control_tokens": (False,),
    "push_to_hub": (False,), "filename_prefix": (None,), "legacy_format": (None, False),
}  # fmt: skip


class BatchEncoding(dict[str, Any]):
    """What a tokenizer makes of texts: `input_ids` and `attention_mask`, by key or by attribute."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None

    def to(self, device: torch.device | str | int, *, non_blocking: bool = False) -> BatchEncoding:
        """Move the tensors to a device, and return this encoding; what are no tensors stay."""
        for name, value in self.items():
            if isinstance(value, torch.Tensor):
                self[name] = value.to(device, non_blocking=non_blocking)
        return self


class _Role:
    """A token that has a role, such as `tokenizer.pad_token`: its text, or None; can be assigned to."""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, tokenizer: HuggingFaceMethods, owner: type | None = None) -> str | None:
        return tokenizer._special_tokens.get(self._name)

    def __set__(self, tokenizer: HuggingFaceMethods, token: str | None) -> None:
        token_id = None
        if token is not None and (token_id := tokenizer.get_vocab().get(str(token))) is None:
            raise MinillmError(
                f"{self._name}: the tokenizer has no token {reprlib.repr(token)}; take one of get_vocab()"
            )
        tokenizer._give_role(self._name, None if token is None else str(token), token_id)


class _RoleId:
    """The id of a token that has a role, such as `tokenizer.pad_token_id`, or None; can be assigned to."""

    def __set_name__(self, owner: type, name: str) -> None:
        self._role = name.removesuffix("_id")

    def __get__(self, tokenizer: HuggingFaceMethods, owner: type | None = None) -> int | None:
        if self._role in tokenizer._role_ids:
            return tokenizer._role_ids[self._role]
        token = tokenizer._special_tokens.get(self._role)
        return None if token is None else tokenizer._backend.token_to_id(token)

    def __set__(self, tokenizer: HuggingFaceMethods, token_id: int | None) -> None:
        token = None if token_id is None else tokenizer.convert_ids_to_tokens(token_id)
        if token_id is not None and token is None:
            raise MinillmError(f"{self._role}_id: the tokenizer has no token {token_id}")
        tokenizer._give_role(self._role, token, token_id)


class HuggingFaceMethods:
    """The methods and attributes of Hugging Face's tokenizers that `Tokenizer` has.

    Attributes:
        padding_side: where padding goes, "right" or "left".
        truncation_side: where tokens are cut off.
        model_max_length: the longest text that the model takes, as tokenizer_config.json says; 10**30 where
            it does not.
        name_or_path: the folder that the tokenizer was read from, or "".
        extra_special_tokens: special tokens without a role.
    """

    bos_token, bos_token_id = _Role(), _RoleId()
    eos_token, eos_token_id = _Role(), _RoleId()
    unk_token, unk_token_id = _Role(), _RoleId()
    sep_token, sep_token_id = _Role(), _RoleId()
    pad_token, pad_token_id = _Role(), _RoleId()
    cls_token, cls_token_id = _Role(), _RoleId()
    mask_token, mask_token_id = _Role(), _RoleId()

    _backend: Backend
    _special_tokens: dict[str, str]
    _role_ids: dict[str, int | None]
    eos_token_ids: tuple[int, ...]

    def __init__(self, settings: Mapping[str, Any], name_or_path: str, extra: Sequence[str]) -> None:
        self.name_or_path, self.extra_special_tokens = name_or_path, list(extra)
        kind = str(settings.get("tokenizer_class")).removesuffix("Fast")
        self.padding_side = settings.get("padding_side") or SIDES[kind in _PAD_LEFT]
        self.truncation_side = settings.get("truncation_side") or "right"
        longest = settings.get("model_max_length", settings.get("max_len"))
        self.model_max_length = NO_LIMIT if longest is None else longest
        for name in ("padding_side", "truncation_side"):
            _check_side(name, getattr(self, name))

    def _give_role(self, role: str, token: str | None, token_id: int | None) -> None:
        if role == "eos_token":
            kept = [i for i in self.eos_token_ids if i != self.eos_token_id or i in self._ends_of_model]
            self.eos_token_ids = tuple(dict.fromkeys((*kept, *([] if token_id is None else [token_id]))))
        self._role_ids[role] = token_id
        self._special_tokens.pop(role, None)
        if token is not None:
            self._special_tokens[role] = token

    # What a model's own configs say of its ends stays where a tokenizer is given another.
    _ends_of_model: frozenset[int] = frozenset()

    # ---------------------------------------------------------------- texts to ids

    @overload
    def encode(self, text: str, add_special_tokens: bool = True) -> list[int]: ...

    @overload
    def encode(self, text: Any, add_special_tokens: bool = True, **options: Any) -> Any: ...

    def encode(self, text: Any, add_special_tokens: bool = True, **options: Any) -> Any:
        """Token ids of `text`; special tokens written out in it become their ids.

        Args:
            text: any text; half a surrogate pair, which no UTF-8 can hold, counts as U+FFFD.
            add_special_tokens: whether to add what the model has around a text (often BOS).
            **options: `truncation`, `max_length`, `return_tensors` and others as of the tokenizer itself.

        Raises:
            MinillmError: `text` is no text, or has 900,000 white spaces in a row, and the model lists ranks;
                or an option is not supported.
        """
        if options or not isinstance(text, str):
            return self(text, add_special_tokens=add_special_tokens, **options).input_ids
        return self._backend.encode(well_formed(text), add_special_tokens)

    def __call__(
        self,
        text: str | Sequence[str],
        text_pair: None = None,
        *,
        add_special_tokens: bool = True,
        padding: bool | str = False,
        truncation: bool | str | None = None,
        max_length: int | None = None,
        pad_to_multiple_of: int | None = None,
        padding_side: str | None = None,
        return_tensors: str | None = None,
        return_attention_mask: bool | None = None,
        **others: Any,
    ) -> BatchEncoding:
        """Encode a text, or several.

        Args:
            text: one text, or a list of them.
            text_pair: not supported.
            add_special_tokens: whether to add what the model has around a text (often BOS).
            padding: True or "longest" for the length of the longest text, "max_length" for `max_length`.
            truncation: True or "longest_first" for at most `max_length`, special tokens included; by default
                it is so where there is a `max_length` and no padding.
            max_length: by default `model_max_length`.
            pad_to_multiple_of: what the length of padded texts is a multiple of.
            padding_side: "right" or "left"; by default the attribute.
            return_tensors: "pt" for torch, "np" for numpy; of one text there is then a batch too, (1, T).
            return_attention_mask: False for none.
            **others: arguments that Hugging Face has and that are not supported.

        Raises:
            MinillmError: an argument is not what it must be or not supported, there is no token to pad with,
                or texts of several lengths are to be one tensor.
        """
        refuse("tokenizer", {"text_pair": text_pair, **others})
        several = not isinstance(text, str)
        texts = _texts(text)
        check_tensors(return_tensors)
        padding, most, length = self._lengths(padding, truncation, max_length)
        ids = [self._encode_within(one, add_special_tokens, most) for one in texts]
        masks = [[1] * len(row) for row in ids]
        if padding != "do_not_pad":
            side = self.padding_side if padding_side is None else padding_side
            _check_side("padding_side", side)
            if (pad_id := self.pad_token_id) is None:
                raise MinillmError(
                    "padding needs a token to pad with, and the tokenizer has no pad_token; set it first, "
                    "such as tokenizer.pad_token = tokenizer.eos_token"
                )
            width = max(map(len, ids), default=0) if padding == "longest" else length or 0
            multiple = _multiple(pad_to_multiple_of)
            if most is not None and most % multiple:
                raise MinillmError(
                    f"max_length = {most} is no multiple of pad_to_multiple_of = {multiple}; give one that is"
                )
            width += -width % multiple
            ids = [_padded(row, width, pad_id, side) for row in ids]
            masks = [_padded(row, width, 0, side) for row in masks]
        elif pad_to_multiple_of is not None:
            raise MinillmError("pad_to_multiple_of goes with padding; give padding=True, or leave it out")
        encoding = BatchEncoding(input_ids=ids)
        if return_attention_mask is not False:
            encoding["attention_mask"] = masks
        for name, rows in encoding.items():
            if return_tensors is not None:
                encoding[name] = _tensor(rows, return_tensors)
            elif not several:
                encoding[name] = rows[0]
        return encoding

    def _lengths(
        self, padding: bool | str, truncation: bool | str | None, max_length: int | None
    ) -> tuple[str, int | None, int | None]:
        """Read what Hugging Face's three arguments mean: the padding, most tokens, and length to pad to."""
        if max_length is not None and (type(max_length) is not int or max_length < 0):
            raise MinillmError(f"max_length must be a whole number, at least 0, got {max_length!r}")
        if truncation is None:
            truncation = max_length is not None and padding is False
        pads = _strategy(padding, "longest", "do_not_pad")
        cuts = _strategy(truncation, "longest_first", "do_not_truncate")
        if pads not in ("longest", "max_length", "do_not_pad"):
            raise MinillmError(f"padding must be True, False, 'longest' or 'max_length', got {padding!r}")
        if cuts not in ("longest_first", "only_first", "do_not_truncate"):
            raise MinillmError(f"truncation must be True, False or 'longest_first', got {truncation!r}")
        if max_length is not None and pads == "longest" and cuts == "do_not_truncate":
            warnings.warn(
                "max_length has no effect with padding=True and no truncation; give padding='max_length' or "
                "truncation=True",
                stacklevel=3,
            )
        if max_length is None and self.model_max_length <= UNLIMITED:
            max_length = self.model_max_length
        if max_length is None and pads == "max_length":
            pads = "do_not_pad"  # as Hugging Face has it: there is no longest text
        return str(pads), None if cuts == "do_not_truncate" else max_length, max_length

    def _encode_within(self, text: str, add_special_tokens: bool, most: int | None) -> list[int]:
        if most is None:
            return self.encode(text, add_special_tokens)
        return self._backend.encode(
            well_formed(text), add_special_tokens, most, from_left=self.truncation_side == "left"
        )

    def tokenize(
        self, text: str, pair: None = None, add_special_tokens: bool = False, **others: Any
    ) -> list[str]:
        """Cut a text into tokens, as they are written in the vocabulary.

        Raises:
            MinillmError: `text` is no text, or another argument is given.
        """
        refuse("tokenize", {"pair": pair, **others})
        return self._backend.tokenize(well_formed(*_texts([text])), add_special_tokens)

    # ---------------------------------------------------------------- ids to texts

    @overload
    def decode(self, token_ids: Sequence[int], skip_special_tokens: bool = True) -> str: ...

    @overload
    def decode(self, token_ids: Any, skip_special_tokens: bool = True, **others: Any) -> Any: ...

    def decode(self, token_ids: Any, skip_special_tokens: bool = True, **others: Any) -> Any:
        """Text of token ids; bytes that are not UTF-8 become U+FFFD, ids without a token nothing.

        Args:
            token_ids: one, or a list, array or tensor of them, or several, whose texts are a list then.
            skip_special_tokens: whether special tokens are nothing; unlike Hugging Face's, by default.
            **others: arguments that Hugging Face has and that are not supported.

        Raises:
            MinillmError: `token_ids` are no ids, or another argument is given.
        """
        if others:
            refuse("decode", others)
        ids = as_ids(token_ids)
        if isinstance(ids, list) and ids and isinstance(ids[0], list):
            return [self.decode(row, skip_special_tokens) for row in ids]
        return self._backend.decode([ids] if isinstance(ids, int) else ids, skip_special_tokens)

    def batch_decode(self, sequences: Any, skip_special_tokens: bool = False, **others: Any) -> list[str]:
        """Decode several lists of token ids; as Hugging Face has it, special tokens are shown by default.

        Raises:
            MinillmError: they are no ids, or another argument is given.
        """
        text = self.decode(sequences, skip_special_tokens, **others)
        return [text] if isinstance(text, str) else list(text)

    def convert_ids_to_tokens(self, ids: Any, skip_special_tokens: bool = False) -> Any:
        """Write one token id, or a list of them, as in the vocabulary; None where there is no such token."""
        if isinstance(ids := as_ids(ids), int):
            return self._backend.id_to_token(ids)
        skipped = set(self.all_special_ids) if skip_special_tokens else set[int]()
        return [self._backend.id_to_token(i) for i in ids if i not in skipped]

    def convert_tokens_to_ids(self, tokens: Any) -> Any:
        """Find the id of one token, or of a list; that of the unknown token, or None, where there is none."""
        vocabulary, unknown = self._vocabulary, self.unk_token_id
        if isinstance(tokens, str):
            return vocabulary.get(tokens, unknown)
        return [vocabulary.get(token, unknown) for token in _texts(tokens)]

    def convert_tokens_to_string(self, tokens: Sequence[str]) -> str:
        """Join tokens to a text.

        Raises:
            MinillmError: one is none of the vocabulary, where tokenizer.json does not say how it reads.
        """
        return self._backend.text_of(_texts(tokens))

    # ---------------------------------------------------------------- the vocabulary

    def __len__(self) -> int:
        """Count the tokens, added ones included; a model may have more embedding rows than this."""
        return self._backend.vocab_size

    @property
    def vocab_size(self) -> int:
        """Number of tokens without those that were added to the vocabulary; `len` counts all."""
        return self._backend.base_size

    @property
    def is_fast(self) -> bool:
        """Whether the library `tokenizers` does the work."""
        return isinstance(self._backend, JsonBackend)

    @cached_property
    def _vocabulary(self) -> dict[str, int]:
        return self._backend.vocabulary()

    def get_vocab(self) -> dict[str, int]:
        """Return the id of each token, added ones included."""
        return dict(self._vocabulary)

    def get_added_vocab(self) -> dict[str, int]:
        """Return the id of each token that is found in a text before anything else is."""
        return self._backend.added_tokens()

    @property
    def special_tokens_map(self) -> dict[str, str]:
        """The text of each token that has a role."""
        return dict(self._special_tokens)

    @property
    def all_special_tokens(self) -> list[str]:
        """Tokens that have a role, then the other special ones that the folder names."""
        return list(dict.fromkeys((*self._special_tokens.values(), *self.extra_special_tokens)))

    @property
    def all_special_ids(self) -> list[int]:
        """The ids of `all_special_tokens`."""
        ids: list[int] = self.convert_tokens_to_ids(self.all_special_tokens)
        return ids


# ---------------------------------------------------------------- arguments


def refuse(method: str, arguments: Mapping[str, Any]) -> None:
    """Raise `MinillmError` for an argument that is not supported, unless its value asks for nothing."""
    for name, value in arguments.items():
        if name not in UNSUPPORTED:
            raise MinillmError(f"{method} has no argument {name!r}; leave it out")
        if not any(value is one or (value == one and type(value) is type(one)) for one in UNSUPPORTED[name]):
            raise MinillmError(
                f"{method}({name}={reprlib.repr(value)}): Hugging Face has this argument, minillm does not "
                "support it; leave it out"
            )


def well_formed(text: str) -> str:
    """Return a text with U+FFFD for half a surrogate pair, which no UTF-8 can hold."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def as_ids(ids: Any) -> Any:
    """Return token ids as an int, a list of them, or a list of lists; arrays and tensors become lists.

    Raises:
        MinillmError: they are something else.
    """
    if isinstance(ids, torch.Tensor | np.ndarray | np.generic):
        ids = ids.tolist()
    if isinstance(ids, int):
        return ids
    if isinstance(ids, str | bytes | Mapping) or not isinstance(ids, Iterable):
        raise MinillmError(f"token ids must be whole numbers, got {reprlib.repr(ids)}; give a list of them")
    ids = ids if isinstance(ids, list) else list(ids)
    return ids if all(type(i) is int for i in ids) else [as_ids(i) for i in ids]


def _texts(texts: str | Sequence[str]) -> list[str]:
    """Return one text or several as a list."""
    listed = [texts] if isinstance(texts, str) else texts
    if not isinstance(listed, list | tuple) or not all(isinstance(text, str) for text in listed):
        raise MinillmError(f"text must be a text or a list of them, got {reprlib.repr(texts)}")
    return list(listed)


def _strategy(asked: Any, yes: str, no: str) -> Any:
    """Return the name of what is asked for; Hugging Face has enumerations of them too."""
    return (yes if asked else no) if isinstance(asked, bool) else getattr(asked, "value", asked)


def _check_side(name: str, side: object) -> None:
    if side not in SIDES:
        raise MinillmError(f"{name} must be 'right' or 'left', got {side!r}")


def check_tensors(kind: object) -> None:
    """Raise `MinillmError` for a kind of tensors that is not supported."""
    if kind not in (None, "pt", "np"):
        raise MinillmError(f"return_tensors must be 'pt' (torch), 'np' (numpy) or None, got {kind!r}")


def _multiple(of: int | None) -> int:
    if of is not None and (type(of) is not int or of < 1):
        raise MinillmError(f"pad_to_multiple_of must be a whole number, at least 1, got {of!r}")
    return of or 1


def _padded(row: list[int], width: int, filler: int, side: str) -> list[int]:
    padding = [filler] * (width - len(row))
    return [*padding, *row] if side == "left" else [*row, *padding]


def _tensor(rows: list[list[int]], kind: str) -> Any:
    if len({len(row) for row in rows}) > 1:
        raise MinillmError(
            "texts of several lengths are no tensor; give padding=True, or padding='max_length' with "
            "truncation=True"
        )
    return torch.tensor(rows, dtype=torch.int64) if kind == "pt" else np.array(rows, dtype=np.int64)
