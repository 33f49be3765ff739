"""Jinja as chat templates need it: compiled, and asked whether they go through the parts of a content.

A template that nobody here vouches for is a program that may never end: `minillm.apart` runs this file by
itself for those, so it imports nothing of minillm's.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from functools import cache, lru_cache, partial
from typing import Any, NoReturn

import jinja2
import jinja2.ext
import jinja2.nodes
import jinja2.parser
import jinja2.sandbox

TASK = "to lay out the messages"


class UntrustedTemplate(str):
    """The text of a template that came from who knows where; it is run in a process of its own."""


def prepare(_: None) -> None:
    """Do nothing: each template is compiled where it is asked for."""


def answer(_: None, asked: Mapping[str, Any]) -> dict[str, Any]:
    """Lay out `variables` by a `template`, or tell whether it reads parts where there are none."""
    try:
        if "variables" not in asked:
            return {"reads": reads_parts(asked["template"])}
        return {"text": compiled(asked["template"]).render(asked["variables"])}
    except jinja2.TemplateSyntaxError as error:
        return {"syntax": [error.message, error.lineno]}
    except Exception as error:
        return {"refusal": str(error)}


class _GenerationTag(jinja2.ext.Extension):
    """`{% generation %}`: marks the assistant's text for training masks; here, nothing but it."""

    tags = {"generation"}  # noqa: RUF012 (as the base class declares it)

    def parse(self, parser: jinja2.parser.Parser) -> list[jinja2.nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


@lru_cache(maxsize=32)
def compiled(text: str) -> jinja2.Template:
    """Compile a template; raise `jinja2.TemplateSyntaxError` for what is none."""
    return _environment().from_string(text)


@lru_cache(maxsize=32)
def reads_parts(text: str) -> bool:
    """Tell whether a template goes through the parts of a content; vLLM's rule."""
    try:
        tree = _environment().parse(text)
    except jinja2.TemplateSyntaxError:
        return False  # which whoever renders it is told
    return any(_is_content(loop.iter) for loop in tree.find_all(jinja2.nodes.For))


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
