"""How a sampling parameter is declared: once, with all that follows from it.

`param` is the default of a dataclass's field. What it declares is what `rules` checks,
`SamplingParams.is_plain` asks, the command line offers (`minillm.cli.offering`) and the HTTP protocol takes
(`minillm.serve.protocol`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from functools import cache
from typing import Any, TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Check:
    """What a value must be.

    Attributes:
        holds: whether it is so, of (the value, all parameters).
        rule: the end of the sentence "<name> must be ..."; may name other parameters in braces.
    """

    holds: Callable[[Any, Any], bool]
    rule: str


# Whether a JSON value is of the kind, and what the kind is called.
Kind = tuple[Callable[[Any], bool], str]


@dataclass(frozen=True)
class Parameter:
    """What is declared of a parameter.

    Attributes:
        check: what a value must be; None for anything.
        changes: whether a value changes the distribution that tokens are sampled from, beyond its
            temperature; None if none does.
        cli: its help on the command line, or True for what the dataclass's docstring says of it; None if it
            is no option there.
        http: its kind in the body of an HTTP request; None if it is no field there.
        cuts: whether what it does is to cut tokens off, after the temperature.
    """

    check: Check | None
    changes: Callable[[Any], bool] | None
    cli: str | bool | None
    http: Kind | None
    cuts: bool = False


def param(default: T, **declared: Any) -> T:
    """Declare a parameter as a field of a dataclass, by the attributes of `Parameter`."""
    return field(default=default, metadata={Parameter: Parameter(**declared)})


@cache
def parameters(cls: type) -> dict[str, Parameter]:
    """Return what is declared of each parameter of a dataclass.

    Raises:
        TypeError: a field is not declared by `param`.
    """
    declared = {field.name: field.metadata.get(Parameter) for field in fields(cls) if field.init}
    if missing := [name for name, parameter in declared.items() if parameter is None]:
        raise TypeError(f"{cls.__name__}.{missing[0]} must be declared by param()")
    return declared  # type: ignore[return-value]


def rules(params: Any) -> dict[str, tuple[bool, str]]:
    """Return, for each parameter that is checked, whether its check holds, and what it must be."""
    return {
        name: (check.holds(getattr(params, name), params), check.rule.format_map(vars(params)))
        for name, parameter in parameters(params.__class__).items()
        if (check := parameter.check) is not None
    }


def http_fields(cls: type) -> dict[str, Kind]:
    """Return the kinds of the parameters that the body of an HTTP request may have."""
    return {name: kind for name, parameter in parameters(cls).items() if (kind := parameter.http) is not None}


# ---------------------------------------------------------------- checks


def is_number(x: object, low: float, high: float) -> bool:
    """Return whether x is a number from low to high, and no bool."""
    return isinstance(x, int | float) and not isinstance(x, bool) and low <= x <= high


def is_whole(x: object, low: int) -> bool:
    """Return whether x is an int of at least low, and no bool."""
    return isinstance(x, int) and not isinstance(x, bool) and x >= low


def is_list(x: object) -> bool:
    """Return whether x is a sequence, and no string."""
    return isinstance(x, Sequence) and not isinstance(x, str)


def number(low: float, high: float, rule: str = "a number from {low:g} to {high:g}") -> Check:
    """Demand a number from low to high."""
    return Check(lambda x, _: is_number(x, low, high), rule.format(low=low, high=high))


def whole(low: int, rule: str, none: bool = False) -> Check:
    """Demand an int of at least low, or None too."""
    return Check(lambda x, _: (none and x is None) or is_whole(x, low), rule)


def tokens(least: int, rule: str) -> Check:
    """Demand None, or a list of at least so many token ids."""
    return Check(
        lambda x, _: x is None or (is_list(x) and len(x) >= least and all(is_whole(t, 0) for t in x)), rule
    )


def instance(kind: type, name: str, none: bool = False) -> Check:
    """Demand an instance of a class, or None too."""
    return Check(lambda x, _: (none and x is None) or isinstance(x, kind), name)


# ---------------------------------------------------------------- kinds of JSON values


def is_ids(x: Any) -> bool:
    """Return whether x is a JSON list of whole numbers."""
    return type(x) is list and all(type(i) is int for i in x)


def is_texts(x: Any) -> bool:
    """Return whether x is a JSON list of strings."""
    return type(x) is list and all(type(text) is str for text in x)


NUMBER: Kind = (lambda x: type(x) in (int, float), "a number")
WHOLE: Kind = (lambda x: type(x) is int, "a whole number")
WHOLE64: Kind = (lambda x: type(x) is int and -(2**63) <= x < 2**63, "a whole number of 64 bits")
FLAG: Kind = (lambda x: type(x) is bool, "true or false")
TEXT: Kind = (lambda x: type(x) is str, "a string")
TEXTS: Kind = (is_texts, "a list of strings")
TEXT_OR_TEXTS: Kind = (lambda x: type(x) is str or is_texts(x), "a string or a list of strings")
IDS: Kind = (is_ids, "a list of token ids")
OBJECT: Kind = (lambda x: type(x) is dict, "an object")
