"""What Hugging Face's tokenizers can do beside encoding and decoding, by their names and with their defaults.

What they have and is not supported here (pairs of texts, offsets, other kinds of tensors and so on) is an
error that names it, never ignored.
"""

from __future__ import annotations

import reprlib
import warnings
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, overload

from minillm.errors import MinillmError
from minillm.tokenizer.arguments import (
    SIDE_NAMES,
    SIDES,
    BatchEncoding,
    as_ids,
    as_tensor,
    as_texts,
    check_side,
    check_tensors,
    padded,
    read_multiple,
    refuse,
    strategy,
    well_formed,
)
from minillm.tokenizer.backends import AddedToken, Backend, JsonBackend
from minillm.tokenizer.settings import ROLES

# What Hugging Face has where no longest text is known, and how much is taken for that.
NO_LIMIT, UNLIMITED = int(1e30), int(1e20)
# Its tokenizers that pad on the left, unless tokenizer_config.json says otherwise.
_PAD_LEFT = ("LlamaTokenizer", "CodeLlamaTokenizer", "GemmaTokenizer", "CohereTokenizer")
# Its methods and attributes that are not built, and what to do instead; "" where there is nothing.
_KEPT_OUT = {
    "encode_plus": "call the tokenizer itself",
    "batch_encode_plus": "call the tokenizer itself",
    "prepare_for_model": "call the tokenizer itself",
    "build_inputs_with_special_tokens": "call the tokenizer itself",
    "create_token_type_ids_from_sequences": "",
    "get_special_tokens_mask": "compare the ids with all_special_ids",
    "encode_message_with_chat_template": "use apply_chat_template",
    "clean_up_tokenization": "",
    "train_new_from_iterator": "train it with the library `tokenizers`",
    "push_to_hub": "use save_pretrained, and upload the folder",
    "save_vocabulary": "use save_pretrained",
    "save_chat_templates": "use save_pretrained",
    "register_for_auto_class": "",
    "parse_response": "",
    "get_response_parser": "",
    "set_truncation_and_padding": "give padding and truncation with the call",
    "update_post_processor": "",
    "backend_tokenizer": "read tokenizer.json with the library `tokenizers`",
    "max_len_sentences_pair": "",
}


class _NotBuilt(MinillmError, AttributeError):
    """To `hasattr` and `getattr` it is an attribute that is missing."""


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
        for name in SIDE_NAMES:
            check_side(name, getattr(self, name))

    def _give_role(self, role: str, token: str | None, token_id: int | None) -> None:
        if role == "eos_token":
            kept = [i for i in self.eos_token_ids if i != self.eos_token_id or i in self._ends_of_model]
            self.eos_token_ids = tuple(dict.fromkeys((*kept, *([] if token_id is None else [token_id]))))
        self._role_ids[role] = token_id
        tokens = {**self._special_tokens, role: token}
        # In the order in which they are listed, a model's own last.
        order = [name for name in ROLES if name in tokens] + [name for name in tokens if name not in ROLES]
        self._special_tokens = {name: text for name in order if (text := tokens[name]) is not None}

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
        texts = as_texts(text)
        check_tensors(return_tensors)
        padding, most, length = self._lengths(padding, truncation, max_length)
        ids = [self._encode_within(one, add_special_tokens, most) for one in texts]
        masks = [[1] * len(row) for row in ids]
        if padding != "do_not_pad":
            width = length if padding == "max_length" else None
            ids, masks = self._padded(ids, masks, width, most, pad_to_multiple_of, padding_side)
        elif pad_to_multiple_of is not None:
            raise MinillmError("pad_to_multiple_of goes with padding; give padding=True, or leave it out")
        encoding = BatchEncoding(input_ids=ids)
        if return_attention_mask is not False:
            encoding["attention_mask"] = masks
        for name, rows in encoding.items():
            if return_tensors is not None:
                encoding[name] = as_tensor(rows, return_tensors)
            elif not several:
                encoding[name] = rows[0]
        return encoding

    def _padded(
        self,
        ids: list[list[int]],
        masks: list[list[int]],
        width: int | None,
        most: int | None,
        pad_to_multiple_of: int | None,
        padding_side: str | None,
    ) -> tuple[list[list[int]], list[list[int]]]:
        """Fill ids and masks up to a width, or that of the longest."""
        side = self.padding_side if padding_side is None else padding_side
        check_side("padding_side", side)
        if (pad_id := self.pad_token_id) is None:
            raise MinillmError(
                "padding needs a token to pad with, and the tokenizer has no pad_token; set it first, "
                "such as tokenizer.pad_token = tokenizer.eos_token"
            )
        width = max(map(len, ids), default=0) if width is None else width
        multiple = read_multiple(pad_to_multiple_of)
        if most is not None and most % multiple:
            raise MinillmError(
                f"max_length = {most} is no multiple of pad_to_multiple_of = {multiple}; give one that is"
            )
        width += -width % multiple
        ids = [padded(row, width, pad_id, side) for row in ids]
        return ids, [padded(row, width, 0, side) for row in masks]

    def pad(
        self,
        encoded_inputs: Mapping[str, Any] | Sequence[Mapping[str, Any]],
        padding: bool | str = True,
        max_length: int | None = None,
        pad_to_multiple_of: int | None = None,
        padding_side: str | None = None,
        return_attention_mask: bool | None = None,
        return_tensors: str | None = None,
        verbose: bool = True,
    ) -> BatchEncoding:
        """Fill encodings up to one length; what is neither `input_ids` nor `attention_mask` stays as it is.

        Args:
            encoded_inputs: an encoding of one text or of several, or a list of them, as a data loader has.
            padding: as of the tokenizer itself, like those that follow.
            max_length: the same.
            pad_to_multiple_of: the same.
            padding_side: the same.
            return_attention_mask: the same.
            return_tensors: the same.
            verbose: has no effect.

        Raises:
            MinillmError: there are no `input_ids`, or an argument is not what it must be.
        """
        if not isinstance(encoded_inputs, Mapping):
            names = list(encoded_inputs[0]) if encoded_inputs else ["input_ids"]
            encoded_inputs = {name: [one[name] for one in encoded_inputs] for name in names}
        if "input_ids" not in encoded_inputs:
            raise MinillmError(f"pad needs encodings with input_ids, got {', '.join(encoded_inputs)}")
        check_tensors(return_tensors)
        ids = as_ids(encoded_inputs["input_ids"])
        several = not ids or isinstance(ids[0], list)
        rows = ids if several else [ids]
        masks = as_ids(encoded_inputs.get("attention_mask", [[1] * len(row) for row in rows]))
        masks = masks if not masks or isinstance(masks[0], list) else [masks]
        kind, _, length = self._lengths(padding, False, max_length)
        if kind != "do_not_pad":
            width = length if kind == "max_length" else None
            rows, masks = self._padded(rows, masks, width, None, pad_to_multiple_of, padding_side)
        others = {name: value for name, value in encoded_inputs.items() if name != "attention_mask"}
        encoding = BatchEncoding(others, input_ids=rows if several else rows[0])
        if return_attention_mask is not False:
            encoding["attention_mask"] = masks if several else masks[0]
        if return_tensors is not None:
            for name, value in encoding.items():
                encoding[name] = as_tensor(value, return_tensors)
        return encoding

    def _lengths(
        self, padding: bool | str, truncation: bool | str | None, max_length: int | None
    ) -> tuple[str, int | None, int | None]:
        """Read what Hugging Face's three arguments mean: the padding, most tokens, and length to pad to."""
        if max_length is not None and (type(max_length) is not int or max_length < 0):
            raise MinillmError(f"max_length must be a whole number, at least 0, got {max_length!r}")
        if truncation is None:
            truncation = max_length is not None and padding is False
        pads = strategy(padding, "longest", "do_not_pad")
        cuts = strategy(truncation, "longest_first", "do_not_truncate")
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
        return self._backend.tokenize(well_formed(*as_texts([text])), add_special_tokens)

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
        return [vocabulary.get(token, unknown) for token in as_texts(tokens)]

    def convert_tokens_to_string(self, tokens: Sequence[str]) -> str:
        """Join tokens to a text.

        Raises:
            MinillmError: one is none of the vocabulary, where tokenizer.json does not say how it reads.
        """
        return self._backend.text_of(as_texts(tokens))

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
    def vocab(self) -> dict[str, int]:
        """The same as `get_vocab`."""
        return self.get_vocab()

    @property
    def added_tokens_encoder(self) -> dict[str, int]:
        """The same as `get_added_vocab`."""
        return self.get_added_vocab()

    @property
    def model_input_names(self) -> list[str]:
        """What an encoding holds."""
        return ["input_ids", "attention_mask"]

    @property
    def max_len_single_sentence(self) -> int:
        """The longest text that the model takes, without the special tokens around it."""
        return self.model_max_length - self.num_special_tokens_to_add()

    def num_special_tokens_to_add(self, pair: bool = False) -> int:
        """Count the special tokens around a text.

        Raises:
            MinillmError: it is asked for of a pair.
        """
        refuse("num_special_tokens_to_add", {"pair": pair or None})
        return len(self.encode("")) - len(self.encode("", add_special_tokens=False))

    def add_tokens(self, new_tokens: Any, special_tokens: bool = False) -> int:
        """Add tokens that are found in a text before anything else is; those that are new get the next ids.

        An `LLM` that has the tokenizer already does not see them, and a model has no embeddings for them.

        Args:
            new_tokens: a text or a `tokenizers.AddedToken`, or a list of them.
            special_tokens: whether they are special.

        Returns:
            how many were no added tokens before, though they may have been in the vocabulary.

        Raises:
            MinillmError: one is something else.
        """
        listed = list(new_tokens) if isinstance(new_tokens, list | tuple) else [new_tokens]
        before = len(self.get_added_vocab())
        self._backend = self._backend.with_tokens([AddedToken.of(one, special_tokens) for one in listed])
        for name in ("_vocabulary", "_token_bytes", "word_ids"):
            self.__dict__.pop(name, None)
        return len(self.get_added_vocab()) - before

    def add_special_tokens(
        self, special_tokens_dict: Mapping[str, Any], replace_extra_special_tokens: bool = True
    ) -> int:
        """Give tokens roles, and add those that are new to the vocabulary.

        Args:
            special_tokens_dict: `pad_token` and so on to a token; `extra_special_tokens` to a list of them.
            replace_extra_special_tokens: whether the list takes the place of the one before.

        Returns:
            as of `add_tokens`.

        Raises:
            MinillmError: a role is none, or its value no token.
        """
        extra, count = "extra_special_tokens", 0
        for key, value in special_tokens_dict.items():
            role = extra if key == "additional_special_tokens" else key
            if role != extra and not isinstance(vars(HuggingFaceMethods).get(role), _Role):
                raise MinillmError(f"add_special_tokens: {key!r} is no role; use pad_token or {extra}")
            if role == extra and not isinstance(value, list | tuple):
                raise MinillmError(f"add_special_tokens: {key} must be a list, got {reprlib.repr(value)}")
            count += self.add_tokens(value, special_tokens=True)
            if role != extra:
                setattr(self, role, AddedToken.of(value, True).text)
                continue
            kept = [] if replace_extra_special_tokens else self.extra_special_tokens
            new = [AddedToken.of(one, True).text for one in value]
            self.extra_special_tokens = list(dict.fromkeys((*kept, *new)))
        return count

    def __getattr__(self, name: str) -> Any:
        """Refuse what Hugging Face's tokenizers have and these have not."""
        if name in _KEPT_OUT:
            remedy = f"; {_KEPT_OUT[name]}" if _KEPT_OUT[name] else ""
            raise _NotBuilt(f"Hugging Face's tokenizers have {name}, minillm's do not{remedy}")
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

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
