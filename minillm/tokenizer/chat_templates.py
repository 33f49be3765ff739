"""A model's chat templates: where they come from, which one is meant, and the text that it gives."""

from __future__ import annotations

import reprlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import jinja2

from minillm.apart.process import Apart
from minillm.errors import MinillmError
from minillm.tokenizer import jinja_templates
from minillm.tokenizer.jinja_templates import UntrustedTemplate, compiled, reads_parts
from minillm.tokenizer.settings import read_json

DEFAULT, TOOL_USE = "default", "tool_use"


@dataclass(frozen=True)
class ChatTemplates:
    """Jinja texts by their names.

    Attributes:
        texts: the template of each name; a model's only one is mostly called "default".
        paths: the file that each is in, where there is one.
    """

    texts: Mapping[str, str] = field(default_factory=dict)
    paths: Mapping[str, Path] = field(default_factory=dict)

    @classmethod
    def of(cls, text: str | None) -> ChatTemplates:
        """Make them of one template, or none."""
        return cls({} if text is None else {DEFAULT: text})

    def render(self, asked: str | None, variables: Mapping[str, Any]) -> str:
        """Lay out a chat.

        Args:
            asked: the name of a template, or Jinja text, or None for the one that goes with the `tools`.
            variables: those of the template: `messages`, `tools` and so on.

        Raises:
            MinillmError: there is no such template, or it refuses the variables.
        """
        label, text = self._choose(asked, variables.get("tools"))
        if isinstance(text, UntrustedTemplate):
            found = _ask({"template": text, "variables": dict(variables)})
        else:
            found = jinja_templates.answer(None, {"template": text, "variables": variables})
        match found:
            case {"text": str(laid_out)}:
                return laid_out
            case {"syntax": [message, line]}:
                raise MinillmError(
                    f"{label} is not valid Jinja (line {line}: {message}); correct it there, or give the "
                    "prompt as plain text"
                )
        # A template is a program: on odd messages it can fail in any way that an expression can.
        reason = " ".join(str(found.get("refusal", found.get("complaint"))).split())
        raise MinillmError(
            f"{label} refuses the messages: {reason}; change the roles or contents to what it takes, or give "
            "the prompt as plain text"
        )

    def as_read(
        self, asked: str | None, variables: Mapping[str, Any], messages: Sequence[Mapping[str, Any]]
    ) -> list[Mapping[str, Any]]:
        """Return messages as the template reads them: text parts are one text, unless it reads parts.

        What a tool has answered is always one text, as in vLLM.

        Raises:
            MinillmError: there is no such template, or it reads texts and a part is none.
        """
        if not any(isinstance(message.get("content"), list) for message in messages):
            return list(messages)
        text = self._choose(asked, variables.get("tools"))[1]
        is_foreign = isinstance(text, UntrustedTemplate)
        reads = _ask({"template": text}).get("reads", False) if is_foreign else reads_parts(text)
        return [
            {**m, "content": text_of(i, m["content"])}
            if isinstance(m.get("content"), list) and not (reads and m.get("role") != "tool")
            else m
            for i, m in enumerate(messages)
        ]

    def _choose(self, asked: str | None, tools: Any) -> tuple[str, str]:
        """Choose a template: what errors call it, and its text."""
        name = asked
        if name is None:
            name = TOOL_USE if tools is not None and TOOL_USE in self.texts else DEFAULT
        if name in self.texts:
            what = "chat template" if name == DEFAULT else f"chat template {name!r}"
            return f"the {what} of {self.paths.get(name, 'this model')}", self.texts[name]
        if asked is not None:
            return "chat_template", asked
        if not self.texts:
            raise MinillmError("this model has no chat template; give the prompt as plain text")
        raise MinillmError(
            f"this model has the chat templates {', '.join(map(repr, sorted(self.texts)))} and none called "
            f"{DEFAULT!r}; name one of them as chat_template"
        )


@cache
def _untrusted() -> Apart:
    return Apart(jinja_templates.__file__)


def _ask(question: Mapping[str, Any]) -> dict[str, Any]:
    """Ask in a process of its own."""
    return _untrusted().ask(question)


def read_templates(folder: Path, config: Mapping[str, Any]) -> ChatTemplates:
    """Read the chat templates of a folder.

    As in transformers, templates in files of their own take the place of all that tokenizer_config.json has.

    Args:
        folder: may hold chat_template.jinja, additional_chat_templates/NAME.jinja, and, as older processors
            have it, chat_template.json, which counts where there is nothing else.
        config: the content of tokenizer_config.json.

    Raises:
        MinillmError: a file is not UTF-8, or has something other than templates.
    """
    files = {path.stem: path for path in sorted((folder / "additional_chat_templates").glob("*.jinja"))}
    if (path := folder / "chat_template.jinja").is_file():
        files.setdefault(DEFAULT, path)
    if files:
        return ChatTemplates({name: _read(path) for name, path in files.items()}, files)
    path = folder / "tokenizer_config.json"
    if (value := config.get("chat_template")) is None:
        path = folder / "chat_template.json"
        value = read_json(path).get("chat_template")
    texts = _by_name(value, path)
    return ChatTemplates(texts, dict.fromkeys(texts, path))


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise MinillmError(f"{path} is not UTF-8 ({error}); fetch it again") from error


def _by_name(value: Any, path: Path) -> dict[str, str]:
    """List the templates that `chat_template` of a JSON file has: one, a list with names, or a mapping."""
    entries: Any = {} if value is None else {DEFAULT: value} if isinstance(value, str) else value
    if isinstance(value, list) and all(isinstance(entry, dict) for entry in value):
        entries = {entry.get("name"): entry.get("template") for entry in value}
    if not isinstance(entries, dict) or not all(isinstance(x, str) for pair in entries.items() for x in pair):
        raise MinillmError(
            f"{path} has a chat_template that is neither a text nor a list of objects with a name and a "
            "template; correct it there"
        )
    return entries


def text_of(i: int, content: list[Any]) -> str:
    """Join the text parts of message i's content; raise `MinillmError` for others."""
    for part in content:
        match part:
            case str() | {"type": "text", "text": str()}:
                continue
        what = f"must be {{'type': 'text', 'text': ...}}, got {reprlib.repr(part)}"
        raise MinillmError(f"messages[{i}]: a part of the content {what}")
    return "\n".join(part if isinstance(part, str) else part["text"] for part in content)


def given_template(given: str) -> str:
    """Read a template that a command line was given: a file's text, or what is given, if it has braces.

    Raises:
        MinillmError: there is no such file, or it holds no Jinja.
    """
    try:
        text = given if set(given) & set("{}\n") else Path(given).read_text(encoding="utf-8")
        compiled(text)
    except (OSError, UnicodeDecodeError) as error:
        raise MinillmError(
            f"cannot read the chat template {given} ({error}); give a file or Jinja"
        ) from error
    except jinja2.TemplateSyntaxError as error:
        reason = f"line {error.lineno}: {error.message}"
        raise MinillmError(f"the chat template is not valid Jinja ({reason}); correct it") from error
    return text
