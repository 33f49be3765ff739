"""Hostile schemas, regexes and grammars: each works, or is one sentence that says what is wrong with it."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minillm import LLM, SamplingParams, StructuredOutputsParams, Tokenizer, Transformer
from minillm.api.grammars import Grammars
from minillm.errors import MinillmError

Params = StructuredOutputsParams
BIG = 10_000_000


def deep(levels: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "null"}
    for _ in range(levels):
        schema = {"properties": {"a": schema}, "required": ["a"], "additionalProperties": False}
    return schema


def shared(levels: int) -> dict[str, Any]:
    """2**levels schemas as text, but few in memory."""
    schema: dict[str, Any] = {"type": "null"}
    for _ in range(levels):
        schema = {"anyOf": [schema, {"items": schema}]}
    return schema


def circle() -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "object"}
    schema["properties"] = {"a": schema}
    return schema


def twice(levels: int, join: Callable[[dict[str, str]], dict[str, Any]]) -> dict[str, Any]:
    """Definitions that each name the one before twice."""
    defs: dict[str, Any] = {f"d{i}": join({"$ref": f"#/$defs/d{i - 1}"}) for i in range(1, levels)}
    return {"$ref": f"#/$defs/d{levels - 1}", "$defs": {"d0": {"type": "string"}, **defs}}


def array(items: Any, **limits: Any) -> dict[str, Any]:
    return {"type": "array", "items": items, **limits}


NEST = {"minItems": 1000, "maxItems": 10**6}
TREE = {"t": {"type": "object", "properties": {"c": array({"$ref": "#/$defs/t"})}}}
ENDLESS = {"type": "object", "properties": {"a": {"$ref": "#"}}, "required": ["a"]}

# By a name: the arguments.
WORKS: dict[str, dict[str, Any]] = {
    "a deep schema": {"json": deep(50)},
    "a tree": {"json": {"$ref": "#/$defs/t", "$defs": TREE}},
    "a schema without an end": {"json": ENDLESS},
    "itself or null": {"json": {"anyOf": [{"$ref": "#"}, {"type": "null"}]}},
    "2**30 references": {"json": twice(31, lambda ref: {"properties": {"a": ref, "b": ref}})},
    "2**30 references in allOf": {"json": twice(31, lambda ref: {"allOf": [ref, ref]})},
    "5,000 values": {"json": {"enum": [f"value {i}" for i in range(5000)]}},
    "60,000 values": {"json": {"enum": [f"a {i}" for i in range(60_000)]}},
    "a long value": {"json": {"const": "x" * 100_000}},
    "a long description": {"json": {"type": "null", "description": "x" * 500_000}},
    "a string of at least 10**9": {"json": {"type": "string", "minLength": 10**9}},
    "a string of at most 10**9": {"json": {"type": "string", "maxLength": 10**9}},
    "an array of at least 10**9": {"json": array({}, minItems=10**9)},
    "an array of at most 10**9": {"json": array({}, maxItems=10**9)},
    "arrays of arrays": {"json": array(array(array({"type": "integer"}, **NEST), **NEST), **NEST)},
    "small multiples": {"json": {"type": "number", "multipleOf": 1e-9}},
    "a range that is no number wide": {"json": {"exclusiveMinimum": 0, "exclusiveMaximum": 5e-324}},
    "a null character in a name": {"json": {"properties": {"\0": {}}, "required": ["\0"]}},
    "two keys of one name": {"json": '{"type": "string", "type": "null"}'},
    "a pattern that backtracks": {"json": {"type": "string", "pattern": "^(a+)+$"}},
    "a wide pattern": {"json": {"type": "string", "pattern": "^.{0,100000}$"}},
    "white space that is nothing": {"json_object": True, "whitespace_pattern": "(a*)*"},
    "white space that is no white space": {"json_object": True, "whitespace_pattern": '"'},
    "no regex": {"regex": ""},
    "(a+)+": {"regex": "(a+)+$"},
    "(a|aa)+": {"regex": "(a|aa)+b"},
    "(.*)*": {"regex": "(.*)*x(.*)*y(.*)*z"},
    "a million": {"regex": "a{1000000}"},
    "1000**3": {"regex": "((a{1000}){1000}){1000}"},
    "letters": {"regex": r"\p{L}{1,1000}"},
    "2**30 states": {"regex": "(a|b)*a(a|b){30}"},
    "any 40 and a b": {"regex": "(?s).*a.{40}b"},
    "a long regex": {"regex": "a" * 100_000},
    "10,000 words": {"regex": "|".join(f"word{i}" for i in range(10_000))},
    "a slash": {"regex": "//"},
    "a line": {"regex": "a\nb"},
    "a null character": {"regex": "\0"},
    "an empty choice": {"choice": [""]},
    "a choice twice": {"choice": ["a", "a"]},
    "30,000 choices": {"choice": [f"choice {i}" for i in range(30_000)]},
    "long choices": {"choice": ["".join(random.Random(i).choices("abc ", k=500)) for i in range(500)]},
    "control characters": {"choice": ["\0\x01"]},
    "left recursion": {"grammar": 'start: start "a" | "b"'},
    "every reading": {"grammar": 'start: start start | "a"'},
    "nothing": {"grammar": "start: a*\na: b*\nb:"},
    "a thousand million": {"grammar": 'start: "a"~1000000000'},
    "rules 1000**3": {"grammar": 'start: a~1000\na: b~1000\nb: "x"~1000'},
    "a long comment": {"grammar": 'start: "a" // ' + "x" * 500_000},
    "white space is anything": {"grammar": 'start: "a"+\n%ignore /(?s:.)*/'},
    "GBNF, left recursion": {"grammar": 'root ::= root "a" | "b"'},
    "GBNF, a thousand million": {"grammar": 'root ::= "a"{1000000000}'},
}
NONE_CAN_COME, TOO_LONG = "no token of the tokenizer can come next", "more than 1,048,576 characters"
LIMIT = "it takes more than 3 s, a gigabyte or a deep stack to compile; correct it"
# By a name: the arguments, and what the error says.
REFUSED: dict[str, tuple[Callable[[], dict[str, Any]] | dict[str, Any], str]] = {
    "a deeper schema": ({"json": deep(300)}, "recursion limit exceeded"),
    "a schema deeper than Python's stack": (lambda: {"json": deep(5000)}, "recursion"),
    "a deep text": ({"json": '{"a":' * 100_000 + "1" + "}" * 100_000}, "recursion"),
    "a circle": (lambda: {"json": circle()}, "Circular reference"),
    "2**20 schemas": (lambda: {"json": shared(20)}, TOO_LONG),
    "2**60 schemas": (lambda: {"json": shared(60)}, TOO_LONG),
    "no values": ({"json": {"enum": []}}, "anyOf is empty"),
    "10 MB of a value": (lambda: {"json": {"const": "x" * BIG}}, TOO_LONG),
    "10 MB of text": (lambda: {"json": '"' + "x" * BIG + '"'}, TOO_LONG),
    "10 MB of a regex": (lambda: {"regex": "a" * BIG}, TOO_LONG),
    "10 MB of a choice": (lambda: {"choice": ["x" * BIG]}, TOO_LONG),
    "10 MB of a grammar": (lambda: {"grammar": 'start: "' + "a" * BIG}, TOO_LONG),
    "10 MB of white space": (lambda: {"json_object": True, "whitespace_pattern": " " * BIG}, TOO_LONG),
    "10 MB of no choice": (lambda: {"choice": "x" * BIG}, "choice must be a list of strings"),
    "2**63": ({"json": {"type": "string", "minLength": 2**63}}, "decimal literal invalid"),
    "10**30": ({"json": {"type": "string", "minLength": 10**30}}, "Expected positive integer"),
    "less than none": ({"json": {"type": "string", "minLength": -1}}, "Expected positive integer"),
    "half a character": ({"json": {"type": "string", "minLength": 1.5}}, "Expected positive integer"),
    "no length": ({"json": {"type": "string", "minLength": 5, "maxLength": 2}}, "is greater than maxLength"),
    "no number": ({"json": {"type": "integer", "minimum": 5, "maximum": 2}}, "is greater than maximum"),
    "no type": ({"json": {"allOf": [{"type": "string"}, {"type": "null"}]}}, "incompatible types"),
    "no value": (
        {"json": {"type": "object", "properties": {"a": False}, "required": ["a"]}},
        "'a' is unsatisfiable",
    ),
    "infinity": ({"json": '{"minimum": 1e400}'}, "not JSON compliant"),
    "NaN": ({"json": {"const": float("nan")}}, "not JSON compliant"),
    "NaN as text": ({"json": '{"const": NaN}'}, "not JSON compliant"),
    "400 digits": ({"json": {"type": "integer", "minimum": 10**400}}, "number out of range"),
    "5,000 digits": ({"json": '{"minimum": 1' + "0" * 5000 + "}"}, "4300 digits"),
    "multiples of a prime": ({"json": {"type": "integer", "multipleOf": 10**15 + 37}}, "too many digits"),
    "multiples of nothing": ({"json": {"type": "integer", "multipleOf": 0}}, "invalid multiple of"),
    "itself": ({"json": {"$ref": "#"}}, NONE_CAN_COME),
    "all of itself": ({"json": {"allOf": [{"$ref": "#"}]}}, NONE_CAN_COME),
    "two that name each other": (
        {"json": {"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}}},
        NONE_CAN_COME,
    ),
    "a reference to nothing": ({"json": {"$ref": "#/$defs/a"}}, "'/\\$defs/a' does not exist"),
    "a reference to the web": ({"json": {"$ref": "http://example.com/a"}}, "does not fetch resources"),
    "a reference to a file": ({"json": {"$ref": "file:///etc/passwd"}}, "does not fetch resources"),
    "a reference that is a number": ({"json": {"$ref": 3}}, "must be a string"),
    "a product": (
        {"json": {"allOf": [{"anyOf": [{"properties": {a + b: {}}} for b in "abcdefgh"]} for a in "abcdef"]}},
        "schema too large",
    ),
    "50 patterns at once": ({"json": {"allOf": [{"pattern": f"a{i}b*"} for i in range(50)]}}, LIMIT),
    "a pattern that is none": ({"json": {"type": "string", "pattern": "("}}, "unclosed group"),
    "an unknown format": ({"json": {"type": "string", "format": "nope"}}, "Unknown format: nope"),
    "not": ({"json": {"not": {}}}, 'Unimplemented keys: \\["not"\\]'),
    "a name that is a number": ({"json": {3: 4}}, "the key 3 is no text"),
    "a name that is nothing": ({"json": {"properties": {None: {}}}}, "the key None is no text"),
    "an object": ({"json": {"const": object()}}, "not JSON serializable"),
    "bytes": ({"json": b"{}"}, "json must be a JSON schema"),
    "half a surrogate": ({"json": {"const": "\ud800"}}, "unexpected end of hex escape"),
    "no address": ({"json": {"$id": "http://[bad"}}, "Invalid URI reference"),
    "lookahead": ({"regex": "(?=a)b"}, "look-ahead"),
    "lookbehind": ({"regex": "(?<=a)b"}, "look-behind"),
    "a backreference": ({"regex": r"(a)\1"}, "backreferences"),
    "a word's edge": ({"regex": r"\bfoo"}, "lookarounds not supported"),
    "an end in the middle": ({"regex": "a$b"}, "lookarounds not supported"),
    "an atomic group": ({"regex": "(?>a+)b"}, "unrecognized flag"),
    "no character": ({"regex": r"[^\s\S]"}, NONE_CAN_COME),
    "a range from z to a": ({"regex": "[z-a]"}, "invalid character class range"),
    "10**10": ({"regex": "a{10000000000}"}, "decimal literal invalid"),
    "deep groups": ({"regex": "(" * 10_000 + "a" + ")" * 10_000}, "nested parentheses"),
    "no UTF-8": ({"regex": r"(?-u)\xff"}, "invalid UTF-8"),
    "no choices": ({"choice": []}, "at least one"),
    "a choice that is none": ({"choice": [None]}, "a list of strings"),
    "no grammar": ({"grammar": ""}, "No 'root' rule"),
    "a rule of itself": ({"grammar": "start: start"}, NONE_CAN_COME),
    "rules of each other": ({"grammar": "start: a\na: b\nb: a"}, NONE_CAN_COME),
    "another file": ({"grammar": '%import /etc/passwd\nstart: "a"'}, "Expected name"),
    "garbage": ({"grammar": "\x00\xff{}[]()%%%"}, "Expected name"),
    "deep rules": ({"grammar": "start: " + "(" * 50_000 + '"a"' + ")" * 50_000}, "too deeply nested"),
    "GBNF, deep rules": ({"grammar": "root ::= " + "(" * 5000 + '"a"' + ")" * 5000}, "recursion"),
    "a long chain of rules": (
        {"grammar": "\n".join(["start: r0", *(f'r{i}: "a" r{i + 1}' for i in range(50_000)), 'r50000: "c"'])},
        LIMIT,
    ),
    "an assertion of the library": (
        {"grammar": 'start: a::0\na::_: "x" a::incr(_)'},
        "beyond llguidance's limits",
    ),
    "a token that names itself": ({"grammar": 'start: T\nT: "a" T | "b"'}, "circular reference"),
    "ids past all": ({"grammar": "start: <[999999999]>"}, "too large"),
    "tokens that take all fuel": (
        {"grammar": "start: T\nT: /.{0,200}a.{200}/ & /.{0,300}b.{200}/"},
        "fuel exhausted",
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def grammars(demo_model_path: Path) -> Grammars:
    tokenizer = Tokenizer.from_folder(demo_model_path)
    return Grammars(tokenizer, len(tokenizer))


@pytest.mark.parametrize("name", WORKS)
def test_what_works(grammars: Grammars, name: str) -> None:
    constraint, rng = grammars.start(Params(**WORKS[name])), random.Random(0)
    for _ in range(10):
        allowed = np.flatnonzero(constraint.allowed().numpy())
        assert len(allowed)
        if constraint.finished:
            break
        constraint.accept(int(rng.choice(allowed)))


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused(grammars: Grammars, name: str) -> None:
    arguments, pattern = REFUSED[name]
    with pytest.raises(MinillmError, match=pattern) as error:
        grammars.start(Params(**(arguments() if callable(arguments) else arguments)))
    assert "\n" not in str(error.value) and len(str(error.value)) < 1000 and "panic" not in str(error.value)
    # Whatever became of it, the next one is tried.
    assert grammars.start(Params(choice=[name])).allowed().any()


def test_an_llm_works_after_them(tiny_llama: Callable[..., Transformer], demo_model_path: Path) -> None:
    model = tiny_llama(vocab_size=49152)
    llm = LLM(model, Tokenizer.from_folder(demo_model_path), kv_cache_memory_bytes=1 << 22)
    for name in ("a long chain of rules", "an assertion of the library", "itself", "no choices"):
        arguments: Any = REFUSED[name][0]
        with pytest.raises(MinillmError):
            llm.generate("a", SamplingParams(structured_outputs=Params(**arguments)))
    chosen = SamplingParams(structured_outputs=Params(choice=["yes"]))
    (output,) = llm.generate("a", chosen)
    assert output.outputs[0].text == "yes" and not llm.llm_engine.has_unfinished_requests()


def test_compiled_grammars_are_kept_up_to_a_length(grammars: Grammars) -> None:
    many = [Params(regex="a" * (900_000 + i)) for i in range(5)]
    for params in many:
        grammars.start(params)
    assert list(grammars._kept) == many[1:]
    grammars.start(many[1])
    grammars.start(Params(regex="a"))
    assert list(grammars._kept) == [*many[2:], many[1], Params(regex="a")]
