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
from types import MappingProxyType
from typing import Any, NoReturn, TypeVar

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
        signature = inspect.signature(function)
        parameters = signature.parameters.values()
        positional = [x.name for x in parameters if x.kind is x.POSITIONAL_OR_KEYWORD]
        takes_any = any(x.kind is x.VAR_KEYWORD for x in parameters)
        variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
        needed = {x.name for x in parameters if x.default is x.empty and x.kind not in variadic}

        @wraps(function)
        def checked(*args: Any, **kwargs: Any) -> Any:
            name = type(args[0]).__name__ if isinstance(target, type) else target.__name__
            if kwargs and not takes_any:
                kwargs = _own(name, signature, known, kwargs)
            given = positional[: len(args)]
            fits = len(args) <= len(positional) and kwargs.keys().isdisjoint(given)
            if not (fits and needed.issubset((*given, *kwargs))):
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


class AbsentName(MinillmError, AttributeError):
    """A name that vLLM's class has and ours has not; to `hasattr` it is not there."""


class _Absent:
    """What stands in a class for such a name: whoever reads it, of the class or an object, is told."""

    def __init__(self, remedy: str) -> None:
        self._remedy = remedy

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, instance: object, owner: type) -> NoReturn:
        raise AbsentName(
            f"{owner.__name__}.{self._name}: vLLM has this, minillm does not support it; {self._remedy}"
        )


def in_vllms_place(
    absent: Mapping[str, str], arguments: Mapping[str, Arguments] = MappingProxyType({})
) -> Callable[[Class], Class]:
    """Make a class answer for all that vLLM's class of its name has.

    Its public methods are made `refusing`, `arguments` has for each what only vLLM's takes. `absent` has, for
    each name that is not here, what to do instead; reading it raises `AbsentName`.
    """

    def wrap(cls: Class) -> Class:
        for name, member in list(vars(cls).items()):
            check = refusing(arguments.get(name, {}))
            if name.startswith("_"):
                continue
            if isinstance(member, classmethod | staticmethod):
                setattr(cls, name, type(member)(check(member.__func__)))
            elif inspect.isfunction(member):
                setattr(cls, name, check(member))
        for name, remedy in absent.items():
            assert not hasattr(cls, name), f"{cls.__name__}.{name} is there"
            stand_in = _Absent(remedy)
            stand_in.__set_name__(cls, name)
            setattr(cls, name, stand_in)
        return cls

    return wrap
