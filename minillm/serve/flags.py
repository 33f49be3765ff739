"""vLLM's flags of `serve` on our command line: what is not ours is noted, or refused by name."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import fields
from itertools import chain
from typing import Any

from minillm.api.engine_arguments import ALIASES, FOREIGN, LISTS, OF_SERVE, SWITCHES
from minillm.errors import MinillmError, note

KNOWN = {**FOREIGN, **OF_SERVE}


def own_flags(arguments: Sequence[str], command: type) -> list[str]:
    """Return the arguments of a command's own; of those that only vLLM has, some ask for nothing here.

    `command` is a dataclass, whose fields are its flags. What nobody knows is left, for its parser to refuse.

    Raises:
        MinillmError: a flag of vLLM's asks for something that minillm has not, or lacks its value.
    """
    own, kept, rest = {field.name: field.default for field in fields(command)}, list[str](), list(arguments)
    parts: dict[str, dict[str, Any]] = {}
    while rest:
        flag = rest.pop(0)
        if flag == "--":
            kept += [flag, *rest]
            break
        name, switched, value = _parts(flag)
        if name == "model" and flag.startswith("--"):  # as vLLM's older server has it
            kept.append(_value(flag, value, rest))
        elif name in own and "." in flag.partition("=")[0]:  # part of an object
            part = flag.partition("=")[0].partition(".")[2].replace("-", "_")
            parts.setdefault(name, {})[part] = _parsed(_value(flag, value, rest))
        elif type(default := own.get(name)) is bool and value is None:
            # Our parser has one of --flag and --no-flag, the one that changes something.
            kept += [flag] if switched is not default else []
        elif name in own or name not in KNOWN:
            kept.append(flag)
        else:
            before = list(rest)
            read = _read(flag, name, value, switched, rest)
            part = flag.partition("=")[0].partition(".")[2].replace("-", "_")
            shown = " ".join([flag, *before[: len(before) - len(rest)]])
            _check(shown, name, {part: read} if part else read)
    objects = (
        (f"--{name.replace('_', '-')}", json.dumps(content, separators=(",", ":")))
        for name, content in parts.items()
    )
    return [*chain.from_iterable(objects), *kept]


def _parts(flag: str) -> tuple[str, bool, str | None]:
    """Split "--a-b.c=1" into "a_b", True for no "--no-" before it, and "1"."""
    head, is_given, value = flag.partition("=")
    for short, long in ALIASES.items():
        # -O3 and -tp=2 as well as -tp 2
        if head == short or (short == "-O" and head[:2] == short and head[2:].isdecimal()):
            return long, True, head[2:] if head != short else value if is_given else None
    if not head.startswith("--"):
        return "", True, None
    name = head[2:].partition(".")[0].replace("-", "_")
    positive = name.removeprefix("no_")
    if name != positive and name not in KNOWN:
        return positive, False, None
    return name, True, value if is_given else None


def _read(flag: str, name: str, value: str | None, switched: bool, rest: list[str]) -> Any:
    if name in SWITCHES or type(KNOWN[name].default) is bool:
        return switched if value is None else _parsed(value)
    values = [_value(flag, value, rest)]
    while name in LISTS and rest and not rest[0].startswith("-"):
        values.append(rest.pop(0))
    read = [_parsed(text) for text in values]
    return read if name in LISTS else read[0]


def _value(flag: str, value: str | None, rest: list[str]) -> str:
    if value is not None:
        return value
    if not rest or rest[0].startswith("--"):
        raise MinillmError(f"{flag} needs a value")
    return rest.pop(0)


def _parsed(text: str) -> Any:
    try:
        return {"None": None, "True": True, "False": False}[text]
    except KeyError:
        pass
    try:
        return json.loads(text)
    except ValueError:
        return text


def _check(shown: str, name: str, value: Any) -> None:
    foreign = KNOWN[name]
    if not foreign.asks_for_nothing(value):
        raise MinillmError(f"{shown}: vLLM has this flag, minillm does not support it; {foreign.remedy}")
    if value != foreign.default:
        note(f"serve.{name}", f"{shown} asks for nothing here")
