"""Text <-> token ids, chat templates, and text that arrives token by token.

Reads tokenizer.json, tekken.json or tokenizer.model (`minillm.tokenizer_files`), and the settings
around it. What encode() adds at the ends of a text is what tokenizer.json says, or else what
tokenizer_config.json does; a rendered chat template is encoded as it is, so a beginning-of-sequence
token that the template writes is never doubled.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, NoReturn

import jinja2
import jinja2.ext
import jinja2.nodes
import jinja2.parser
import jinja2.sandbox
import tokenizers

from minillm.errors import MinillmError
from minillm.tokenizer_backends import Backend, JsonBackend
from minillm.tokenizer_files import load_backend

_REPLACEMENT = "\ufffd"


class Tokenizer:
    """Text <-> token ids for one model; made by `Tokenizer.from_folder`.

    Attributes:
        bos_token_id: the beginning-of-sequence token, or None.
        eos_token_ids: every token that ends a generation; in the order generation_config.json,
            config.json, tokenizer_config.json, without repeats.
        chat_template: the Jinja template of the model's chats, or None.
    """

    def __init__(
        self,
        backend: Backend | tokenizers.Tokenizer,
        *,
        special_tokens: Mapping[str, str] | None = None,
        bos_token_id: int | None = None,
        eos_token_ids: Sequence[int] = (),
        chat_template: str | None = None,
        chat_template_path: Path | None = None,
    ) -> None:
        self._backend: Backend = (
            JsonBackend(backend) if isinstance(backend, tokenizers.Tokenizer) else backend
        )
        self._special_tokens = dict(special_tokens or {})
        self._template: jinja2.Template | None = None
        self.bos_token_id = bos_token_id
        self.eos_token_ids = tuple(eos_token_ids)
        self.chat_template = chat_template
        # Named in errors.
        self._template_name = f"the chat template of {chat_template_path or 'this model'}"

    @classmethod
    def from_folder(cls, folder: Path) -> Tokenizer:
        """The tokenizer of a model folder.

        Args:
            folder: holds tokenizer.json, or else tekken.json, or else tokenizer.model (SentencePiece, or
                for Llama 3 a list of ranks), and, where the model has them, tokenizer_config.json,
                added_tokens.json, chat_template.jinja, generation_config.json and config.json.

        Raises:
            MinillmError: there is no tokenizer, or it is broken, or a setting has no valid value.
        """
        settings = _read_json(folder / "tokenizer_config.json")
        model = _read_json(folder / "config.json")
        # Hub files of this name are sometimes not valid JSON, and no weights depend on them.
        generation = _read_json(folder / "generation_config.json", tolerant=True)
        backend, special = load_backend(folder, settings, _special_tokens(settings), model.get("model_type"))
        bos = backend.token_to_id(special["bos_token"]) if "bos_token" in special else None
        if bos is None:
            bos = next(iter(_ids(model, "bos_token_id", folder / "config.json")), None)
        eos = [
            *_ids(generation, "eos_token_id", folder / "generation_config.json"),
            *_ids(model, "eos_token_id", folder / "config.json"),
        ]
        named_eos = backend.token_to_id(special["eos_token"]) if "eos_token" in special else None
        if named_eos is not None:
            eos.append(named_eos)
        template, template_path = _chat_template(folder, settings)
        return cls(
            backend,
            special_tokens=special,
            bos_token_id=bos,
            eos_token_ids=tuple(dict.fromkeys(eos)),
            chat_template=template,
            chat_template_path=template_path,
        )

    @property
    def vocab_size(self) -> int:
        """Number of tokens, added ones included; a model may have more embedding rows than this."""
        return self._backend.vocab_size

    def encode(self, text: str, add_special_tokens: bool = True) -> list[int]:
        """Token ids of `text`; special tokens written out in it become their ids.

        Args:
            text: any text; half a surrogate pair, which no UTF-8 can hold, counts as U+FFFD.
            add_special_tokens: whether to add what the model has around a text (often BOS).

        Raises:
            MinillmError: `text` has 900,000 white spaces in a row, and the model lists ranks.
        """
        try:
            text.encode()
        except UnicodeEncodeError:
            text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        return self._backend.encode(text, add_special_tokens)

    def decode(self, ids: Sequence[int], skip_special_tokens: bool = True) -> str:
        """Text of `ids`; bytes that are not UTF-8 become U+FFFD, ids without a token nothing."""
        return self._backend.decode(ids, skip_special_tokens)

    def token_bytes(self) -> list[bytes]:
        """By id, the bytes that a token adds to a text past its start: none for special and for no tokens.

        Raises:
            MinillmError: tokenizer.json decodes in a way that gives no bytes to single tokens.
        """
        tokens = self._backend.token_bytes()
        return [tokens.get(i, b"") for i in range(max(tokens, default=-1) + 1)]

    def apply_chat_template(
        self,
        messages: Sequence[Mapping[str, Any]],
        add_generation_prompt: bool = True,
        chat_template: str | None = None,
        **kwargs: Any,
    ) -> str:
        """The text of a chat, as the model was trained to see it.

        Args:
            messages: one mapping a turn, such as {"role": "user", "content": "Hello"}.
            add_generation_prompt: whether to end with the opening of the assistant's turn.
            chat_template: Jinja text to use in place of the model's.
            **kwargs: further variables of the template, such as `tools`.

        Raises:
            MinillmError: the model has no chat template, or its template refuses the messages.
        """
        template_name = self._template_name if chat_template is None else "chat_template"
        if chat_template is None and self.chat_template is None:
            raise MinillmError("this model has no chat template; give the prompt as plain text")
        variables = {
            "tools": None,
            "documents": None,
            **self._special_tokens,
            "messages": list(messages),
            "add_generation_prompt": add_generation_prompt,
            **kwargs,
        }
        try:
            if chat_template is not None:
                return _environment().from_string(chat_template).render(variables)
            if self._template is None and self.chat_template is not None:
                self._template = _environment().from_string(self.chat_template)
            assert self._template is not None
            return self._template.render(variables)
        except jinja2.TemplateSyntaxError as error:
            raise MinillmError(
                f"{template_name} is not valid Jinja (line {error.lineno}: {error.message}); correct "
                "it there, or give the prompt as plain text"
            ) from error
        # A template is a program: on odd messages it can fail in any way that an expression can.
        except Exception as error:
            reason = " ".join(str(error).split())
            raise MinillmError(
                f"{template_name} refuses the messages: {reason}; change the roles or contents "
                "to what it takes, or give the prompt as plain text"
            ) from error

    def encode_chat(
        self,
        messages: Sequence[Mapping[str, Any]],
        add_generation_prompt: bool = True,
        **kwargs: Any,
    ) -> list[int]:
        """Token ids of a chat: `apply_chat_template`, with nothing added at its ends."""
        text = self.apply_chat_template(messages, add_generation_prompt, **kwargs)
        return self.encode(text, add_special_tokens=False)


class IncrementalDecoder:
    """Decodes a sequence that arrives in pieces, never giving half a character.

    Everything that `add` returned, with what `flush` returns at the end, is exactly
    `tokenizer.decode` of all ids. A token costs the same wherever in the sequence it stands.
    """

    # A pending UTF-8 sequence has at most 3 bytes and a token at least 1, so the decoding of the
    # last 4 tokens ends in the same character as that of them all, whatever came before.
    _CONTEXT = 4

    def __init__(self, tokenizer: Tokenizer, skip_special_tokens: bool = True) -> None:
        self._tokenizer = tokenizer
        self._skipped = tokenizer._backend.special_ids if skip_special_tokens else frozenset[int]()
        self._window: list[int] = []
        self._sent = 0  # characters of the window's text that have been returned

    def add(self, ids: Iterable[int]) -> str:
        """The text that `ids` complete; a trailing U+FFFD waits, as it may be half a character."""
        backend = self._tokenizer._backend
        self._window += [i for i in ids if i not in self._skipped and backend.knows(i)]
        # Byte-fallback tokens are decoded a run at a time: one that turns out not to be UTF-8 is
        # replaced from its beginning, so nothing of a run is known before its end.
        if not self._window or self._window[-1] in backend.byte_ids:
            return ""
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

    def flush(self) -> str:
        """The text that was held back; the decoder is then ready for another sequence."""
        rest = self._decode()[self._sent :]
        self._window, self._sent = [], 0
        return rest

    def _decode(self, last: int = 0) -> str:
        """Text of the window's `last` tokens, or of all."""
        return self._tokenizer.decode(self._window[-last:], skip_special_tokens=False)


def _read_json(path: Path, tolerant: bool = False) -> dict[str, Any]:
    """The JSON object in `path`; empty where there is no such file."""
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(content, dict):
            raise ValueError("not a JSON object")
    except ValueError as error:
        if not tolerant:
            raise MinillmError(f"{path} is not valid JSON ({error})") from error
        warnings.warn(f"{path} is not valid JSON ({error}) and is ignored", stacklevel=3)
        return {}
    return content


def _ids(settings: Mapping[str, Any], key: str, path: Path) -> list[int]:
    value = settings.get(key)
    ids = value if isinstance(value, list) else [] if value is None else [value]
    if not all(type(i) is int and i >= 0 for i in ids):
        raise MinillmError(f"{path} has {key} = {value!r}; expected a token id or a list of them")
    return ids


def _special_tokens(settings: Mapping[str, Any]) -> dict[str, str]:
    """bos_token, eos_token and the like -> their text, which some files wrap in an object."""
    tokens: dict[str, str] = {}
    for key, value in settings.items():
        text = value.get("content") if isinstance(value, dict) else value
        if key.endswith("_token") and isinstance(text, str):
            tokens[key] = text
    return tokens


def _chat_template(folder: Path, settings: Mapping[str, Any]) -> tuple[str | None, Path | None]:
    """The template and the file it is in."""
    path = folder / "chat_template.jinja"
    if path.is_file():
        return path.read_text(encoding="utf-8"), path
    template = settings.get("chat_template")
    if isinstance(template, list):
        # Several templates by name; the plain chat is the one called "default".
        template = {entry["name"]: entry["template"] for entry in template}.get("default")
    return (template, folder / "tokenizer_config.json") if isinstance(template, str) else (None, None)


class _GenerationTag(jinja2.ext.Extension):
    """`{% generation %}`: marks the assistant's text for training masks; here, nothing but it."""

    tags = {"generation"}  # noqa: RUF012 (as the base class declares it)

    def parse(self, parser: jinja2.parser.Parser) -> list[jinja2.nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def _environment() -> jinja2.Environment:
    # Templates come with downloaded models: the sandbox keeps them from anything but text.
    environment = jinja2.sandbox.ImmutableSandboxedEnvironment(
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=[_GenerationTag, jinja2.ext.loopcontrols],
    )

    def raise_exception(message: str) -> NoReturn:
        raise jinja2.TemplateError(message)

    def tojson(value: Any, **options: Any) -> str:
        # Jinja's own filter escapes HTML characters, which would change the prompt.
        return json.dumps(value, ensure_ascii=options.pop("ensure_ascii", False), **options)

    def strftime_now(layout: str) -> str:
        return datetime.now().strftime(layout)

    environment.filters["tojson"] = tojson
    environment.globals.update(raise_exception=raise_exception, strftime_now=strftime_now)
    return environment
