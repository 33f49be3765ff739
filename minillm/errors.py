"""The errors that a user can mend: one sentence that names the culprit and the remedy."""

from __future__ import annotations

import difflib
import inspect
import logging
import reprlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import wraps
from math import isfinite
from typing import Any, TypeVar

logger = logging.getLogger("minillm")


class MinillmError(ValueError):
    """Base of every error that bad input can raise here; command lines print it without a traceback."""


def install_hint(extra: str) -> str:
    """Say how to install the packages of `extra`, one of pyproject.toml's, in a clone."""
    return f"pip install -e '.[{extra}]' in the folder of the clone"


def check_values(values: object, rules: Mapping[str, tuple[bool, str]]) -> None:
    """Raise `MinillmError` for the first attribute of `values` whose rule does not hold, or that is infinite.

    `rules` has, for each name, whether it holds and the end of the sentence "<name> must be ...".
    """
    for name, (holds, rule) in rules.items():
        value = getattr(values, name)
        if not holds or (isinstance(value, float) and not isfinite(value)):
            shown = repr(value)
            shown = shown if len(shown) <= 200 else reprlib.repr(value)
            raise MinillmError(f"{name} must be {rule}{', and finite' * holds}, got {shown}")


_noted: set[str] = set()


def note(about: str, sentence: str) -> None:
    """Write a sentence into the log "minillm", the first time that there is something to say about this."""
    if about not in _noted:
        _noted.add(about)
        logger.warning("%s", sentence)


# ---------------------------------------------------------------- arguments that vLLM has


@dataclass(frozen=True)
class Foreign:
    """An argument that vLLM has and minillm has not.

    Attributes:
        default: vLLM's own value, which passes in silence.
        harmless: other values that ask for nothing here, and pass with a note; None for any value.
        remedy: what to do about a value that asks for something.
    """

    default: Any
    harmless: tuple[Any, ...] | None = ()
    remedy: str = "leave it out"

    def asks_for_nothing(self, value: object) -> bool:
        """Tell whether a value may pass, with a note unless it is the default."""
        return self.harmless is None or any(_same(value, other) for other in (self.default, *self.harmless))


_PLAIN = (str, int, float, tuple, list, dict)


def _same(a: object, b: object) -> bool:
    # Of arrays and tensors, `==` is no bool.
    return a is b or (isinstance(a, _PLAIN) and isinstance(b, _PLAIN) and bool(a == b))


def nothing(default: Any, *harmless: Any, remedy: str = "leave it out") -> Foreign:
    """Declare a foreign argument of which these values ask for nothing."""
    return Foreign(default, harmless, remedy)


def anything(default: Any = None) -> Foreign:
    """Declare a foreign argument of which no value asks for anything here."""
    return Foreign(default, None)


Arguments = Mapping[str, Any]
Target = TypeVar("Target", bound=Callable[..., Any])
Class = TypeVar("Class", bound=type)


def refusing(arguments: Arguments) -> Callable[[Target], Target]:
    """Make a function, or a class's constructor, know vLLM's arguments that are not its own.

    `arguments` has a `Foreign` for each, or just vLLM's default. A value that asks for nothing passes, with
    a note in the log, once; any other, an argument that nobody has, and one too many or too few, is a
    `MinillmError`, never ignored and never a bare `TypeError`.
    """
    known = {name: x if isinstance(x, Foreign) else Foreign(x) for name, x in arguments.items()}

    def wrap(target: Target) -> Target:
        function: Any = target.__init__ if isinstance(target, type) else target  # type: ignore[misc]
        signature, name = inspect.signature(function), target.__name__

        @wraps(function)
        def checked(*args: Any, **kwargs: Any) -> Any:
            kwargs = _own(name, signature, known, kwargs)
            try:
                signature.bind(*args, **kwargs)
            except TypeError as error:
                raise MinillmError(f"{name}(): {error}") from None
            return function(*args, **kwargs)

        if not isinstance(target, type):
            return checked  # type: ignore[return-value]
        target.__init__ = checked  # type: ignore[misc]
        return target

    return wrap


def _own(
    name: str, signature: inspect.Signature, known: Mapping[str, Foreign], kwargs: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the arguments that the function itself takes; the others may ask for nothing."""
    own: dict[str, Any] = {}
    for argument, value in kwargs.items():
        foreign = known.get(argument)
        if argument in signature.parameters:
            own[argument] = value
        elif foreign is None:
            near = difflib.get_close_matches(argument, [*signature.parameters, *known], n=1)
            hint = f"did you mean {near[0]}?" if near else "leave it out"
            raise MinillmError(f"{name}() has no argument {argument!r}; {hint}")
        elif not foreign.asks_for_nothing(value):
            raise MinillmError(
                f"{name}({argument}={reprlib.repr(value)}): vLLM has this argument, minillm does not support "
                f"it; {foreign.remedy}"
            )
        elif not _same(value, foreign.default):
            note(f"{name}.{argument}", f"{name}({argument}={reprlib.repr(value)}) asks for nothing here")
    return own
