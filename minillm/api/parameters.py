"""How a sampling parameter is declared: once, with all that follows from it.

`param` is the default of a dataclass's field. What it declares is what `rules` checks,
`SamplingParams.is_plain` asks, the command line offers (`minillm.cli_options.offering`) and the HTTP protocol
takes (`minillm.serve.protocol`).
"""

from __future__ import annotations

import re
import reprlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cache
from typing import Any, TypeVar

from minillm.errors import MinillmError

T = TypeVar("T")


@dataclass(frozen=True)
class Check:
    """What a value must be.

    Attributes:
        holds: whether it is so, of (the value, all parameters).
        rule: the end of the sentence "<name> must be ..."; may name other parameters in braces.
        schema: what of it a JSON schema can say.
    """

    holds: Callable[[Any, Any], bool]
    rule: str
    schema: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Kind:
    """A kind of JSON values.

    Attributes:
        schema: a JSON schema of the keywords of `conforms`: what `read` checks and descriptions show.
        name: the end of the sentence "<name> must be ...".
        narrowed: what else the schema says where it is described, and something later checks.
    """

    schema: Mapping[str, Any]
    name: str
    narrowed: Mapping[str, Any] = field(default_factory=dict, compare=False)

    def read(self, name: str, value: Any) -> Any:
        """Return a JSON value of this kind; `MinillmError` for one that is not, which calls it `name`.

        As in vLLM, numbers and flags may also come as text, whole numbers with a point, flags as 0 and 1.
        """
        for reading in (value, *_readings(value)):
            if conforms(reading, self.schema):
                return reading
        raise MinillmError(f"{name} must be {self.name}, got {reprlib.repr(value)}")

    @property
    def described(self) -> dict[str, Any]:
        """The whole JSON schema, with what else `read` takes."""
        schema = {**self.schema, **self.narrowed}
        if (also := _ALSO.get(schema.get("type", ""))) is None:
            return schema
        return {"anyOf": [schema, also]}


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
    values = vars(params)
    return {
        name: (
            check.holds(values[name], params),
            check.rule.format_map(values) if "{" in check.rule else check.rule,
        )
        for name, parameter in parameters(params.__class__).items()
        if (check := parameter.check) is not None
    }


def http_fields(cls: type) -> dict[str, Kind]:
    """Return the kinds of the parameters that the body of an HTTP request may have."""
    return {
        name: kind if parameter.check is None else replace(kind, narrowed=parameter.check.schema)
        for name, parameter in parameters(cls).items()
        if (kind := parameter.http) is not None
    }


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
    schema = {"minimum": low, "maximum": high}
    return Check(lambda x, _: is_number(x, low, high), rule.format(low=low, high=high), schema)


def whole(low: int, rule: str, none: bool = False) -> Check:
    """Demand an int of at least low, or None too."""
    return Check(lambda x, _: (none and x is None) or is_whole(x, low), rule, {"minimum": low})


def tokens(least: int, rule: str) -> Check:
    """Demand None, or a list of at least so many token ids."""
    return Check(
        lambda x, _: x is None or (is_list(x) and len(x) >= least and all(is_whole(t, 0) for t in x)),
        rule,
        {"minItems": least},
    )


def instance(kind: type, name: str, none: bool = False) -> Check:
    """Demand an instance of a class, or None too."""
    return Check(lambda x, _: (none and x is None) or isinstance(x, kind), name)


# ---------------------------------------------------------------- kinds of JSON values

# Beside a number or a flag itself.
_FLAGS = {"true": True, "True": True, "false": False, "False": False}
_ALSO: dict[str, dict[str, Any]] = {
    "integer": {"type": "string", "pattern": r"^-?[0-9]{1,19}$"},
    "number": {"type": "string", "pattern": r"^-?[0-9]{1,19}(\.[0-9]{1,19})?$"},
    "boolean": {"enum": [0, 1, "0", "1", *_FLAGS]},
}
_NUMBER = re.compile(r"(-?[0-9]{1,19})(\.[0-9]{1,19})?")


def _readings(value: Any) -> Iterator[Any]:
    """Give what else a JSON value may be meant as."""
    if type(value) is str:
        if value in _FLAGS:
            yield _FLAGS[value]
        elif (found := _NUMBER.fullmatch(value)) is not None:
            number = float(value) if found[2] else int(value)
            yield number
            yield from _readings(number)
    elif type(value) is float and value.is_integer():
        yield int(value)
    elif type(value) is int and value in (0, 1):
        yield bool(value)


_TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "array": (list,),
    "object": (dict,),
    "null": (type(None),),
}


def _is(value: Any, *names: str) -> bool:
    return any(type(value) in _TYPES[name] for name in names)


def _items_conform(values: Any, schema: Mapping[str, Any]) -> bool:
    if type(values) is not list or not values:
        return True
    if schema.keys() <= {"type", "minimum"}:  # token ids, of which there can be millions
        types_hold = {*map(type, values)} <= {*_TYPES[schema["type"]]}
        return types_hold and ("minimum" not in schema or min(values) >= schema["minimum"])
    return all(conforms(value, schema) for value in values)


_KEYWORDS: dict[str, Callable[[Any, Any], bool]] = {
    "type": lambda x, name: _is(x, name),
    "enum": lambda x, values: x in values,
    "anyOf": lambda x, schemas: any(conforms(x, schema) for schema in schemas),
    "items": _items_conform,
    "minItems": lambda x, least: not _is(x, "array") or len(x) >= least,
    "minLength": lambda x, least: not _is(x, "string") or len(x) >= least,
    "minimum": lambda x, low: not _is(x, "number") or x >= low,
    "maximum": lambda x, high: not _is(x, "number") or x <= high,
}


def conforms(value: Any, schema: Mapping[str, Any]) -> bool:
    """Return whether a JSON value is what a JSON schema wants; of its keywords, those of `_KEYWORDS`.

    A whole number is one that is written without a point.
    """
    return all(_KEYWORDS[keyword](value, wanted) for keyword, wanted in schema.items())


_TOKEN = {"type": "integer", "minimum": 0}
_STRING = {"type": "string"}

NUMBER = Kind({"type": "number"}, "a number")
WHOLE = Kind({"type": "integer", "minimum": -(2**63), "maximum": 2**63 - 1}, "a whole number of 64 bits")
FLAG = Kind({"type": "boolean"}, "true or false")
TEXT = Kind(_STRING, "a string")
TEXTS = Kind({"type": "array", "items": _STRING}, "a list of strings")
TEXT_OR_TEXTS = Kind({"anyOf": [_STRING, TEXTS.schema]}, "a string or a list of strings")
IDS = Kind({"type": "array", "items": _TOKEN}, "a list of token ids")
OBJECT = Kind({"type": "object"}, "an object")
PROMPT = Kind(
    {
        "anyOf": [
            {"type": "string"},
            {**IDS.schema, "minItems": 1},
            {**TEXTS.schema, "minItems": 1},
            {"type": "array", "items": {**IDS.schema, "minItems": 1}, "minItems": 1},
        ]
    },
    "a string, a list of token ids, or a list of either, and not empty",
)
