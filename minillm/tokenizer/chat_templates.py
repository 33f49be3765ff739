"""A model's chat templates: where they come from, which one is meant, and the text that it gives."""

from __future__ import annotations

import json
import reprlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache, lru_cache, partial
from pathlib import Path
from typing import Any, NoReturn

import jinja2
import jinja2.ext
import jinja2.nodes
import jinja2.parser
import jinja2.sandbox

from minillm.errors import MinillmError
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
        try:
            return _compiled(text).render(variables)
        except jinja2.TemplateSyntaxError as error:
            raise MinillmError(
                f"{label} is not valid Jinja (line {error.lineno}: {error.message}); correct it there, or "
                "give the prompt as plain text"
            ) from error
        # A template is a program: on odd messages it can fail in any way that an expression can.
        except Exception as error:
            reason = " ".join(str(error).split())
            raise MinillmError(
                f"{label} refuses the messages: {reason}; change the roles or contents to what it takes, or "
                "give the prompt as plain text"
            ) from error

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
        reads = _reads_parts(self._choose(asked, variables.get("tools"))[1])
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


def _is_content(node: jinja2.nodes.Node) -> bool:
    """Tell whether an expression is, or filters or cuts, a message's content."""
    match node:
        case (
            jinja2.nodes.Getattr(attr="content")
            | jinja2.nodes.Getitem(arg=jinja2.nodes.Const(value="content"))
        ):
            return True
        case jinja2.nodes.Name(name=name):
            return name == "content"
        case jinja2.nodes.Filter(node=inner) | jinja2.nodes.Getitem(node=inner):
            return inner is not None and _is_content(inner)
    return False


@lru_cache(maxsize=32)
def _reads_parts(text: str) -> bool:
    """Tell whether a template goes through the parts of a content; vLLM's rule."""
    try:
        tree = _environment().parse(text)
    except jinja2.TemplateSyntaxError:
        return False  # which `render` says
    return any(_is_content(loop.iter) for loop in tree.find_all(jinja2.nodes.For))


class _GenerationTag(jinja2.ext.Extension):
    """`{% generation %}`: marks the assistant's text for training masks; here, nothing but it."""

    tags = {"generation"}  # noqa: RUF012 (as the base class declares it)

    def parse(self, parser: jinja2.parser.Parser) -> list[jinja2.nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def given_template(given: str) -> str:
    """Read a template that a command line was given: a file's text, or what is given, if it has braces.

    Raises:
        MinillmError: there is no such file, or it holds no Jinja.
    """
    try:
        text = given if set(given) & set("{}\n") else Path(given).read_text(encoding="utf-8")
        _compiled(text)
    except (OSError, UnicodeDecodeError) as error:
        raise MinillmError(
            f"cannot read the chat template {given} ({error}); give a file or Jinja"
        ) from error
    except jinja2.TemplateSyntaxError as error:
        reason = f"line {error.lineno}: {error.message}"
        raise MinillmError(f"the chat template is not valid Jinja ({reason}); correct it") from error
    return text


@lru_cache(maxsize=32)
def _compiled(text: str) -> jinja2.Template:
    return _environment().from_string(text)


@cache
def _environment() -> jinja2.Environment:
    # Templates come with downloaded models: the sandbox keeps them from anything but text.
    environment = jinja2.sandbox.ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_GenerationTag, jinja2.ext.loopcontrols]
    )

    def raise_exception(message: str) -> NoReturn:
        raise jinja2.TemplateError(message)

    # Jinja's own filter escapes HTML characters, which would change the prompt.
    environment.filters["tojson"] = partial(json.dumps, ensure_ascii=False)
    environment.globals["raise_exception"] = raise_exception
    environment.globals["strftime_now"] = lambda layout: datetime.now().strftime(layout)
    return environment
