"""Text <-> token ids, chat templates, and text that arrives token by token.

What encode() adds at the ends of a text is what tokenizer.json says, or else what tokenizer_config.json
does; a rendered chat template is encoded as it is, so a BOS token that the template writes is never doubled.
"""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterable, Mapping, Sequence
from copy import copy
from functools import cached_property
from itertools import islice
from pathlib import Path
from types import MappingProxyType
from typing import Any

import tokenizers

from minillm.errors import MinillmError
from minillm.tokenizer import finding
from minillm.tokenizer.arguments import (
    FETCHING,
    OF_FROM_PRETRAINED,
    SIDE_NAMES,
    UNSUPPORTED,
    check_side,
    check_tensors,
    refuse,
)
from minillm.tokenizer.backends import Backend, JsonBackend
from minillm.tokenizer.chat_templates import DEFAULT, ChatTemplates, read_templates
from minillm.tokenizer.files import load_backend
from minillm.tokenizer.from_huggingface import read_hugging_face
from minillm.tokenizer.huggingface import HuggingFaceMethods
from minillm.tokenizer.settings import ROLES, read_json, special_tokens, unnamed_special_tokens

_REPLACEMENT = "\ufffd"
# What `from_pretrained` may change.
_CHANGES = (*SIDE_NAMES, "model_max_length", "chat_template", *ROLES)


class Tokenizer(HuggingFaceMethods):
    """Text <-> token ids for one model; made by `Tokenizer.from_folder`, `from_pretrained` or `from_hf`.

    Beside what stands here, it has the methods and attributes of Hugging Face's tokenizers, as
    `HuggingFaceMethods` lists them.

    Attributes:
        bos_token_id: the beginning-of-sequence token, or None.
        eos_token_id: the end-of-sequence token, or None: of those that end a generation, its own.
        eos_token_ids: every token that ends a generation; in the order generation_config.json,
            config.json, the eos_token of tokenizer_config.json or special_tokens_map.json, without repeats.
    """

    def __init__(
        self,
        backend: Backend | tokenizers.Tokenizer,
        *,
        special_tokens: Mapping[str, str] | None = None,
        bos_token_id: int | None = None,
        eos_token_ids: Sequence[int] = (),
        chat_template: str | ChatTemplates | None = None,
        settings: Mapping[str, Any] = MappingProxyType({}),
        name_or_path: str = "",
        extra_special_tokens: Sequence[str] = (),
    ) -> None:
        super().__init__(settings, name_or_path, extra_special_tokens)
        self._backend: Backend = (
            JsonBackend(backend) if isinstance(backend, tokenizers.Tokenizer) else backend
        )
        self._special_tokens = dict(special_tokens or {})
        self.eos_token_ids = tuple(eos_token_ids)
        self._role_ids = {"bos_token": bos_token_id, "eos_token": next(iter(self.eos_token_ids), None)}
        if not isinstance(chat_template, ChatTemplates):
            chat_template = ChatTemplates.of(chat_template)
        self._templates = chat_template

    @classmethod
    def from_folder(cls, folder: str | Path) -> Tokenizer:
        """Read the tokenizer of a folder, which needs no model.

        Args:
            folder: holds tokenizer.json, or else tekken.json, or else tokenizer.model (SentencePiece, or
                for Llama 3 a list of ranks), and, where the model has them, tokenizer_config.json,
                added_tokens.json, special_tokens_map.json, chat_template.jinja, additional_chat_templates/,
                chat_template.json, generation_config.json and config.json.

        Raises:
            MinillmError: there is no tokenizer, or it is broken, or a setting has no valid value.
        """
        folder = Path(folder)
        settings, model = read_json(folder / "tokenizer_config.json"), read_json(folder / "config.json")
        roles = special_tokens(folder, settings)
        backend, special = load_backend(folder, settings, roles, model.get("model_type"))
        settings = {**backend.defaults, **settings}
        if backend.token_to_id(pad := backend.defaults.get("pad_token", "")) is not None:
            special.setdefault("pad_token", pad)
        bos = backend.token_to_id(special["bos_token"]) if "bos_token" in special else None
        if bos is None:
            bos = next(iter(_ids(folder / "config.json", "bos_token_id")), None)
        eos = backend.token_to_id(special["eos_token"]) if "eos_token" in special else None
        return cls(
            backend,
            special_tokens=special,
            bos_token_id=bos,
            eos_token_ids=() if eos is None else (eos,),
            chat_template=read_templates(folder, settings),
            settings=settings,
            name_or_path=str(folder),
            extra_special_tokens=unnamed_special_tokens(folder, settings),
        ).with_end_tokens(folder)

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | Path, **options: Any) -> Tokenizer:
        """Read a tokenizer as Hugging Face's users name it.

        Args:
            pretrained_model_name_or_path: a folder, the demo model's name, or a hub id, which is fetched
                where it is not in the hub's cache.
            **options: `revision`, `cache_dir`, `token`, `local_files_only`, `force_download`; and what takes
                the place of what the folder says: `padding_side`, `truncation_side`, `model_max_length`,
                `chat_template`, and tokens that have a role, such as `pad_token`.

        Raises:
            MinillmError: there is no such tokenizer, as of `from_folder`, or an option is not supported.
        """
        fetching = {name: options.pop(name) for name in FETCHING if options.get(name) is not None}
        changes = {name: options.pop(name) for name in _CHANGES if name in options}
        refuse("from_pretrained", {n: x for n, x in options.items() if n not in FETCHING}, OF_FROM_PRETRAINED)
        tokenizer = cls.from_folder(finding.find(pretrained_model_name_or_path, **fetching))
        tokenizer.name_or_path = str(pretrained_model_name_or_path)
        for name, value in changes.items():
            if name in SIDE_NAMES:
                check_side(name, value)
            setattr(tokenizer, name, value)
        return tokenizer

    @classmethod
    def from_hf(cls, tokenizer: Any) -> Tokenizer:
        """Make a tokenizer of one of transformers or of the library `tokenizers`, as it is in memory.

        Ids, texts, chat template and the end token are those of the object, with the tokens that were added
        to it; what is changed in it later is not seen here.

        Args:
            tokenizer: one of theirs, or a `Tokenizer`, which is returned as it is.

        Raises:
            MinillmError: it is none of these, or it encodes in Python, in a way that no file says.
        """
        return tokenizer if isinstance(tokenizer, cls) else cls(**read_hugging_face(tokenizer))

    def with_end_tokens(self, folder: Path) -> Tokenizer:
        """Make the same tokenizer for the model of `folder`: it ends where the model's two configs say, too.

        Raises:
            MinillmError: config.json or generation_config.json has an eos_token_id that is none.
        """
        # Hub files of this name are sometimes not valid JSON, and no weights depend on them.
        ids = _ids(folder / "generation_config.json", "eos_token_id", tolerant=True)
        ids += _ids(folder / "config.json", "eos_token_id")
        tokenizer = copy(self)
        tokenizer.eos_token_ids = tuple(dict.fromkeys((*ids, *self.eos_token_ids)))
        tokenizer._ends_of_model = self._ends_of_model.union(ids)
        tokenizer._special_tokens, tokenizer._role_ids = dict(self._special_tokens), dict(self._role_ids)
        if self.eos_token_id is None:
            tokenizer._role_ids["eos_token"] = next(iter(tokenizer.eos_token_ids), None)
        return tokenizer

    @property
    def chat_template(self) -> str | None:
        """The Jinja template of the model's chats, or None; of several, the one called "default"."""
        return self._templates.texts.get(DEFAULT)

    @chat_template.setter
    def chat_template(self, text: str | None) -> None:
        self._templates = ChatTemplates.of(text)

    @property
    def chat_templates(self) -> Mapping[str, str]:
        """The Jinja templates of the model's chats, by their names."""
        return self._templates.texts

    @cached_property
    def word_ids(self) -> tuple[int, ...]:
        """A token with a text of its own, no byte's and not special; none where all are."""
        others = self._backend.special_ids | self._backend.byte_ids.keys()
        words = (i for i in range(len(self)) if i not in others and self._backend.knows(i))
        return tuple(islice((i for i in words if self.decode([i]).isalnum()), 1))

    def token_bytes(self) -> list[bytes]:
        """By id, the bytes that a token adds to a text past its start: none for special and for no tokens.

        Raises:
            MinillmError: tokenizer.json decodes in a way that gives no bytes to single tokens.
        """
        tokens = self._backend.token_bytes()
        return [tokens.get(i, b"") for i in range(max(tokens, default=-1) + 1)]

    @cached_property
    def _token_bytes(self) -> list[bytes]:
        try:
            return self.token_bytes()
        except MinillmError:  # its tokens have no bytes of their own
            return []

    def bytes_of(self, token_id: int) -> bytes:
        """Return what a token adds to a text past its start, its space included; a special one its name."""
        known = self._token_bytes[token_id] if token_id < len(self._token_bytes) else b""
        return known or self.decode([token_id], skip_special_tokens=False).encode()

    def name_of(self, token_id: int) -> str:
        """Write a token by itself, its space included: its text, or `bytes:\\xe2\\x82` where it has none."""
        data = self.bytes_of(token_id)
        try:
            return data.decode()
        except UnicodeDecodeError:
            return "bytes:" + "".join(f"\\x{byte:02x}" for byte in data)

    def text_after(self, before: bytes, token_id: int) -> tuple[str, bytes]:
        """Return the text that a token completes, and the bytes that begin a character after it.

        Args:
            before: bytes of the tokens before it, which begin a character.
            token_id: any token.
        """
        data = before + self.bytes_of(token_id)
        text, length = codecs.utf_8_decode(data, "replace", False)
        return text, data[length:]

    def chat_text(
        self,
        messages: Sequence[Mapping[str, Any]],
        chat_template: str | None = None,
        add_generation_prompt: bool = True,
        continue_final_message: bool = False,
        **variables: Any,
    ) -> str:
        """Lay out the text of a chat, as the model was trained to see it.

        Args:
            messages: one mapping a turn, such as {"role": "user", "content": "Hello"}. A content of text
                parts is one text to a template that does not go through parts.
            chat_template: the name of one of the model's templates, or else Jinja text to use in their
                place; by default the model's only one, or of several "tool_use" where there are `tools`, or
                else "default".
            add_generation_prompt: whether to end with the opening of the assistant's turn.
            continue_final_message: leave the last message open, for the model to go on with.
            **variables: further ones of the template, such as `tools`.

        Raises:
            MinillmError: the model has no chat template, or several and none for this, or its template
                refuses the messages, or changes one that is to be continued.
        """
        if continue_final_message and add_generation_prompt:
            raise MinillmError("continue_final_message goes with add_generation_prompt=False")
        defaults = {"tools": None, "documents": None, **self._special_tokens}
        variables = {**defaults, **variables, "add_generation_prompt": add_generation_prompt}
        messages = self._templates.as_read(chat_template, variables, messages)
        mark, last = "<continue here> ", ""
        if continue_final_message:
            last = str(messages[-1]["content"])
            messages = [*messages[:-1], {**messages[-1], "content": last + mark}]
        text = self._templates.render(chat_template, {**variables, "messages": list(messages)})
        if not continue_final_message:
            return text
        # As in transformers: a template that strips its messages takes the mark's space, and ours too.
        at = text.rfind(mark.strip())
        if at < 0 or last.strip() not in text[:at]:
            raise MinillmError("the chat template changes the last message; it cannot be continued")
        return text[:at] if text.startswith(mark, at) else text[:at].rstrip()

    def apply_chat_template(
        self,
        conversation: Sequence[Any],
        tools: Sequence[Any] | None = None,
        documents: Sequence[Mapping[str, Any]] | None = None,
        chat_template: str | None = None,
        add_generation_prompt: bool = False,
        continue_final_message: bool = False,
        tokenize: bool = True,
        *,
        return_dict: bool = True,
        **others: Any,
    ) -> Any:
        """Lay out a chat, or several; `chat_text` says how.

        Args:
            conversation: one chat, or a list of them.
            tools: what the template is told of them.
            documents: the same.
            chat_template: as of `chat_text`.
            add_generation_prompt: as of `chat_text`, but with Hugging Face's default.
            continue_final_message: as of `chat_text`.
            tokenize: False for the text.
            return_dict: False for the token ids alone.
            **others: `padding`, `truncation`, `max_length` and `return_tensors` as of the tokenizer itself;
                all others are variables of the template.

        Raises:
            MinillmError: as `chat_text` does, and for arguments that are not supported.
        """
        names = ("padding", "truncation", "max_length", "return_tensors")
        options = {"truncation": False, **{name: others.pop(name) for name in names if name in others}}
        refuse("apply_chat_template", {name: others.pop(name) for name in UNSUPPORTED if name in others})
        check_tensors(options.get("return_tensors"))
        several = bool(conversation) and not isinstance(conversation[0], Mapping)
        template = (chat_template, add_generation_prompt, continue_final_message)
        variables = {**others, "tools": tools, "documents": documents}
        chats = conversation if several else [conversation]
        texts = [self.chat_text(chat, *template, **variables) for chat in chats]
        shown: Any = texts if several else texts[0]
        if not tokenize:
            return shown
        encoding = self(shown, add_special_tokens=False, **options)
        return encoding if return_dict else encoding.input_ids

    @property
    def init_kwargs(self) -> dict[str, Any]:
        """What tokenizer_config.json says of a tokenizer, as it is now."""
        return {
            **self.special_tokens_map,
            "extra_special_tokens": self.extra_special_tokens,
            **{name: getattr(self, name) for name in (*SIDE_NAMES, "model_max_length")},
        }

    def save_pretrained(self, save_directory: str | Path, **others: Any) -> tuple[str, ...]:
        """Write tokenizer.json, tokenizer_config.json and the chat templates into a folder.

        Returns:
            the paths of the files.

        Raises:
            MinillmError: the tokenizer is none of tokenizer.json, or another argument is given.
        """
        refuse("save_pretrained", others)
        if not isinstance(self._backend, JsonBackend):
            raise MinillmError(
                f"this tokenizer has no tokenizer.json to write; copy its files from {self.name_or_path!r}"
            )
        config = {
            **self.init_kwargs,
            "split_special_tokens": self._backend.splits_special,
            "tokenizer_class": "PreTrainedTokenizerFast",
        }
        texts = {"tokenizer.json": self._backend.json, "tokenizer_config.json": json.dumps(config, indent=2)}
        for name, template in self.chat_templates.items():
            path = "chat_template" if name == DEFAULT else f"additional_chat_templates/{name}"
            texts[f"{path}.jinja"] = template
        for name, text in texts.items():
            (file := Path(save_directory) / name).parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")
        return tuple(str(Path(save_directory) / name) for name in texts)

    def encode_chat(
        self, messages: Sequence[Mapping[str, Any]], add_generation_prompt: bool = True, **kwargs: Any
    ) -> list[int]:
        """Return token ids of `chat_text`, with nothing added at its ends."""
        text = self.chat_text(messages, add_generation_prompt=add_generation_prompt, **kwargs)
        return self.encode(text, add_special_tokens=False)


class IncrementalDecoder:
    """Decodes a sequence that arrives in pieces, a character as soon as it is whole.

    Everything that `add` returned, with what `flush` returns at the end, is `tokenizer.decode` of all ids;
    but of byte tokens in a row that are no UTF-8 as a whole, the characters among them stay, and only bytes
    of none become U+FFFD. A token costs the same wherever in the sequence it stands.
    """

    # A pending UTF-8 sequence has at most 3 bytes and a token at least 1, so the decoding of the
    # last 4 tokens ends in the same character as that of them all, whatever came before.
    _CONTEXT = 4

    def __init__(
        self, tokenizer: Tokenizer, skip_special_tokens: bool = True, shown: Iterable[int] | None = None
    ) -> None:
        """Decode a sequence; special tokens are skipped, or not, but for those that are `shown`."""
        self._tokenizer = tokenizer
        self._skipped = tokenizer._backend.special_ids if skip_special_tokens else frozenset[int]()
        self._skipped -= frozenset(shown or ())
        self._window: list[int] = []
        self._sent = 0  # characters of the window's text that have been returned
        self._bytes = b""  # of the byte tokens at the window's end, which begin a character

    def add(self, ids: Iterable[int]) -> str:
        """Return the text that `ids` complete; a trailing U+FFFD waits, as it may be half a character."""
        backend, new = self._tokenizer._backend, ""
        for i in ids:
            if i in self._skipped or not backend.knows(i):
                continue
            byte = backend.byte_ids.get(i)
            if self._bytes and (byte is None or not _may_be_text(self._bytes + byte)):
                new += self._take_all()
            self._window.append(i)
            if byte is None:
                new += self._take()
                continue
            self._bytes += byte
            if not _is_incomplete(self._bytes):
                new += self._take_all()
        return new

    def flush(self) -> str:
        """Return the text that was held back; the decoder is then ready for another sequence."""
        rest = self._decode()[self._sent :]
        self._window, self._sent, self._bytes = [], 0, b""
        return rest

    def _take(self) -> str:
        """Return the window's new text but for a trailing U+FFFD, and keep the end of the window."""
        text = self._decode()
        # One that has been given is known to be none: a token without text can follow it.
        held = int(text.endswith(_REPLACEMENT) and len(text) > self._sent)
        new = text[self._sent : len(text) - held]
        # To a decoder that strips a text, what follows tokens without any would be the start of one.
        kept = self._CONTEXT
        while not (context := self._decode(kept)) and kept < len(self._window):
            kept *= 2
        self._window, self._sent = self._window[-kept:], len(context) - held
        return new

    def _take_all(self) -> str:
        """Return all of the window's new text: byte tokens that follow begin another run.

        A decoder takes a run of them as a whole, so another token stands in for the text before.
        """
        new, self._bytes = self._decode()[self._sent :], b""
        self._window = list(self._tokenizer.word_ids)
        self._sent = len(self._decode())
        return new

    def _decode(self, last: int = 0) -> str:
        """Text of the window's `last` tokens, or of all."""
        return self._tokenizer.decode(self._window[-last:], skip_special_tokens=False)


def _may_be_text(data: bytes) -> bool:
    """Tell whether bytes are UTF-8, or its beginning."""
    try:
        codecs.utf_8_decode(data, "strict", False)
    except UnicodeDecodeError:
        return False
    return True


def _is_incomplete(data: bytes) -> bool:
    """Tell whether bytes end in the beginning of a character."""
    return _may_be_text(data) and codecs.utf_8_decode(data, "strict", False)[1] < len(data)


def _ids(path: Path, key: str, tolerant: bool = False) -> list[int]:
    settings = read_json(path, tolerant)
    value = settings.get(key)
    if value is None and isinstance(text := settings.get("text_config"), dict):
        value = text.get(key)  # of a model of text and images
    ids = value if isinstance(value, list) else [] if value is None else [value]
    if not all(type(i) is int and i >= 0 for i in ids):
        raise MinillmError(f"{path} has {key} = {value!r}; expected a token id or a list of them")
    return ids
