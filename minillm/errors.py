"""The errors that a user can mend: one sentence that names the culprit and the remedy."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import wraps
from math import isfinite
from typing import Any, TypeVar


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
            raise MinillmError(f"{name} must be {rule}{', and finite' * holds}, got {value!r}")


Class = TypeVar("Class", bound=type)


def refusing(arguments: Mapping[str, Any]) -> Callable[[Class], Class]:
    """Make a class's constructor know vLLM's arguments that are not supported, and say so.

    `arguments` has, for each, the value that asks for nothing: with it the argument is let pass, with any
    other it is a `MinillmError`, never ignored.
    """

    def wrap(cls: Class) -> Class:
        init = cls.__init__  # type: ignore[misc]

        @wraps(init)
        def checked(self: Any, *args: Any, **kwargs: Any) -> None:
            for name in arguments.keys() & kwargs.keys():
                if (value := kwargs.pop(name)) != arguments[name]:
                    raise MinillmError(
                        f"{cls.__name__}({name}={value!r}): vLLM has this argument, minillm does not support "
                        "it; leave it out"
                    )
            init(self, *args, **kwargs)

        cls.__init__ = checked  # type: ignore[misc]
        return cls

    return wrap
