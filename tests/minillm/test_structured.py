"""Structured outputs: walks over what is allowed give the texts that are asked for, and those alone."""

from __future__ import annotations

import io
import json
import random
import re
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sentencepiece
import tokenizers
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, decoders, models, pre_tokenizers

from minillm.api.grammars import Constraint, Grammars
from minillm.api.structured_outputs import StructuredOutputsParams
from minillm.errors import MinillmError
from minillm.tokenizer.backends import AddedToken as Mark
from minillm.tokenizer.backends import Ranks, SplicedBackend
from minillm.tokenizer.tokenizer import Tokenizer

Params = StructuredOutputsParams
SEEDS = st.integers(0, 2**32)
# Ids of an embedding that no token has.
EXTRA = 9


@pytest.fixture(scope="module")
def tokenizer(demo_model_path: Path) -> Tokenizer:
    return Tokenizer.from_folder(demo_model_path)


@pytest.fixture(scope="module")
def grammars(tokenizer: Tokenizer) -> Grammars:
    return Grammars(tokenizer, len(tokenizer) + EXTRA)


def allowed_ids(constraint: Constraint) -> list[int]:
    ids: list[int] = np.flatnonzero(constraint.allowed().numpy()).tolist()
    return ids


token_bytes = cache(Tokenizer.token_bytes)


def pass_all(text: bytes, ends: bool) -> None:
    pass


def walk(
    constraint: Constraint,
    tokenizer: Tokenizer,
    seed: int,
    check: Callable[[bytes, bool], None] = pass_all,
    most: int = 400,
) -> bytes | None:
    """The bytes of a uniform walk; None where it was cut off. `check` sees each prefix, and if it may end."""
    rng, tokens, eos = random.Random(seed), token_bytes(tokenizer), tokenizer.eos_token_ids[0]
    text, ids = b"", list[int]()
    for _ in range(most):
        allowed_V = constraint.allowed()
        check(text, bool(allowed_V[eos]))
        token_id = int(rng.choice(np.flatnonzero(allowed_V.numpy())))
        constraint.accept(token_id)
        if token_id == eos:
            assert constraint.finished and allowed_ids(constraint) == [eos]
            assert tokenizer.decode(ids) == text.decode()
            return text
        ids.append(token_id)
        text += tokens[token_id]
    return None


# ---------------------------------------------------------------- tokenizers made here


def sentencepiece_folder(path: Path, **options: Any) -> Path:
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(["the quick brown fox jumps over the lazy dog [x]"] * 4),
        model_writer=model,
        **{
            "vocab_size": 320,
            "model_type": "bpe",
            "byte_fallback": True,
            "normalization_rule_name": "identity",
            "remove_extra_whitespaces": False,
            "hard_vocab_limit": False,
            "minloglevel": 2,
            **options,
        },
    )
    (path / "tokenizer.model").write_bytes(model.getvalue())
    return path


def words(*texts: str, decoder: Any = None, eos: tuple[int, ...] = ()) -> Tokenizer:
    """A tokenizer.json with these tokens, byte-level unless it has another decoder."""
    backend = tokenizers.Tokenizer(models.BPE({text: i for i, text in enumerate(texts)}, []))
    backend.decoder = decoder or decoders.ByteLevel()
    return Tokenizer(backend, eos_token_ids=eos)


def byte_fallback() -> Tokenizer:
    llama = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    pieces = [*(f"<0x{b:02X}>" for b in range(256)), "a", "▁", "▁a", "▁▁b", "é"]
    return words(*pieces, decoder=decoders.Sequence(llama))


def with_added_tokens() -> Tokenizer:
    backend = tokenizers.Tokenizer(
        models.BPE({char: i for i, char in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}, [])
    )
    backend.decoder = decoders.ByteLevel()
    backend.add_tokens([AddedToken("<s>", special=True), AddedToken("<tool→>"), AddedToken("<é>")])
    return Tokenizer(backend)


def ranks() -> Tokenizer:
    tokens = {**{bytes([b]): b for b in range(256)}, b"th": 256, b"\x9f\x98": 257}
    marks = {258: Mark("<s>"), 259: Mark("<tool>", special=False)}
    return Tokenizer(SplicedBackend(Ranks(r"\w+|\W", tokens), marks))


MADE: dict[str, Callable[[Path], Tokenizer]] = {
    "sentencepiece": lambda path: Tokenizer.from_folder(sentencepiece_folder(path)),
    "unigram": lambda path: Tokenizer.from_folder(
        sentencepiece_folder(path, model_type="unigram", vocab_size=40, byte_fallback=False)
    ),
    "byte fallback": lambda path: byte_fallback(),
    "metaspace": lambda path: words("a", "▁", "▁a", "b▁b", decoder=decoders.Metaspace()),
    "added tokens": lambda path: with_added_tokens(),
    "ranks": lambda path: ranks(),
}


def check_token_bytes(tokenizer: Tokenizer) -> None:
    """Each token's bytes are what it adds to the text of an "a"."""
    tokens = tokenizer.token_bytes()
    a = tokens.index(b"a")
    for i, token in enumerate(tokens):
        if token and b"\xef\xbf\xbd" not in token:
            shown = token.decode(errors="replace")
            decoded = tokenizer.decode([a, i])
            assert decoded == f"a{shown}" or ("\ufffd" in shown and "\ufffd" in decoded), (i, token)
    special = tokenizer._backend.special_ids
    assert all(not tokens[i] for i in special if i < len(tokens))
    assert sum(map(bool, tokens)) == len(tokenizer) - len(special)


@pytest.mark.parametrize("kind", MADE)
def test_bytes_of_tokens(tmp_path: Path, kind: str) -> None:
    check_token_bytes(MADE[kind](tmp_path))


def test_bytes_of_the_demo_models_tokens(tokenizer: Tokenizer) -> None:
    check_token_bytes(tokenizer)
    text = "The cat — 猫 🐈‍⬛ sat\n\tdown. <|im_start|\x00é"
    tokens = tokenizer.token_bytes()
    assert b"".join(tokens[i] for i in tokenizer.encode(text)) == text.encode()


@pytest.mark.parametrize("decoder", [decoders.WordPiece(), decoders.Sequence([decoders.Strip(" ", 1, 0)])])
def test_bytes_that_are_not_known(decoder: Any) -> None:
    with pytest.raises(MinillmError, match="structured outputs need ByteLevel"):
        Grammars(words("a", decoder=decoder), 1)


# ---------------------------------------------------------------- texts


def every_text(grammars: Grammars, params: Params, tokenizer: Tokenizer) -> list[str]:
    """The text of every path of tokens to an end."""
    tokens, (eos,) = token_bytes(tokenizer), tokenizer.eos_token_ids
    texts, paths = list[str](), [list[int]()]
    while paths:
        path = paths.pop()
        constraint = grammars.start(params)
        for i in path:
            assert not constraint.finished
            constraint.accept(i)
        following = allowed_ids(constraint)
        assert constraint.finished == (following == [eos])
        if eos in following:
            texts.append(b"".join(tokens[i] for i in path).decode())
        paths += [[*path, i] for i in following if i != eos]
    return texts


def test_every_path_of_a_choice_is_one_of_the_choices(grammars: Grammars, tokenizer: Tokenizer) -> None:
    choices = ["yes", "yes!", "no", " no", "né", "😀", "a\n\\\"b'", "x/y"]
    texts = every_text(grammars, Params(choice=choices), tokenizer)
    assert set(texts) == set(choices)
    # However a text is cut into tokens: "y" "es", "ye" "s", and so on.
    assert texts.count("yes") >= 4 and texts.count("😀") >= 2


def test_choices_that_look_like_special_tokens(grammars: Grammars, tokenizer: Tokenizer) -> None:
    (ends,) = tokenizer.encode("<|im_end|>")
    assert ends in tokenizer.eos_token_ids
    for seed in range(5):
        text = walk(grammars.start(Params(choice=["<|im_end|>"])), tokenizer, seed)
        assert text == b"<|im_end|>"


@pytest.mark.parametrize(
    "regex",
    [
        r"[a-z]{1,8}(-[0-9]{2})?",
        r"(é|→|😀|日本)+|x{3,5}",
        r"[^a-z\n]{0,12}",
        r"^\s*(yes|no|)$",
        r"a/b|\"\\\"|#\|c",
        r"(?i)hello,? w[oö]rld",
        r"(a|ab)(c|bcd)*\\\\",
    ],
)
@settings(max_examples=12)
@given(seed=SEEDS)
def test_regex(grammars: Grammars, tokenizer: Tokenizer, regex: str, seed: int) -> None:
    def check(text: bytes, ends: bool) -> None:
        try:
            matches = re.fullmatch(regex, text.decode())
        except UnicodeDecodeError:
            matches = None
        assert ends == bool(matches), text

    walk(grammars.start(Params(regex=regex)), tokenizer, seed, check)


# The demo model has no token for some control characters, and for bytes that those past U+3FFFF begin with.
CHARACTERS = st.characters(max_codepoint=0x3FFFF, exclude_categories=["Cs", "Cc"])


@settings(max_examples=25)
@given(choices=st.lists(st.text(CHARACTERS, max_size=8), min_size=1, max_size=5), seed=SEEDS)
def test_any_choices(grammars: Grammars, tokenizer: Tokenizer, choices: list[str], seed: int) -> None:
    text = walk(grammars.start(Params(choice=choices)), tokenizer, seed)
    assert text is not None and text.decode() in choices


SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 6},
        "age": {"type": "integer", "minimum": 0, "maximum": 130},
        "kinds": {"type": "array", "items": {"enum": ["ä", "b", 3]}, "minItems": 1, "maxItems": 3},
        "more": {"anyOf": [{"type": "null"}, {"$ref": "#/$defs/point"}]},
    },
    "required": ["name", "age", "kinds"],
    "additionalProperties": False,
    "$defs": {
        "point": {
            "type": "object",
            "properties": {"x": {"type": "boolean"}},
            "required": ["x"],
            "additionalProperties": False,
        }
    },
}


@pytest.mark.parametrize("space", [None, " ", "\n\t?"])
@settings(max_examples=20)
@given(seed=SEEDS, as_text=st.booleans())
def test_json_schema(
    grammars: Grammars, tokenizer: Tokenizer, space: str | None, seed: int, as_text: bool
) -> None:
    schema = json.dumps(SCHEMA) if as_text else SCHEMA
    params = Params(json=schema, disable_any_whitespace=space is None, whitespace_pattern=space)
    text = walk(grammars.start(params), tokenizer, seed)
    assert text is not None
    value = json.loads(text)
    assert list(value) == [name for name in SCHEMA["properties"] if name in value]
    assert {"name", "age", "kinds"} <= value.keys()
    assert isinstance(value["name"], str) and len(value["name"]) <= 6
    assert type(value["age"]) is int and 0 <= value["age"] <= 130
    assert 1 <= len(value["kinds"]) <= 3 and set(value["kinds"]) <= {"ä", "b", 3}
    assert value.get("more") in (None, {"x": True}, {"x": False})
    outside = re.sub(rb'"([^"\\]|\\.)*"', b"", text).decode()
    spaces = re.findall(r"\s+", outside)
    assert all(space is not None and re.fullmatch(f"({space}){{1,2}}", run) for run in spaces)


@settings(max_examples=10)
@given(seed=SEEDS)
def test_json_object(grammars: Grammars, tokenizer: Tokenizer, seed: int) -> None:
    def check(text: bytes, ends: bool) -> None:
        try:
            whole = isinstance(json.loads(text), dict)
        except ValueError:
            whole = False
        assert ends == whole

    params = Params(json_object=True, disable_any_whitespace=True)
    walk(grammars.start(params), tokenizer, seed, check, most=40)


LARK = r"""
start: sum
sum: term (("+" | "-") term)*   // a comment
term: /[1-9][0-9]{0,3}/ | "(" /[1-9]/ "*" /[1-9]/ ")"
%ignore / /
"""
GBNF = r"""
root ::= "(" inner ")"  # a comment
inner ::= [a-c]{1,3} | "é" | root
"""


@settings(max_examples=20)
@given(seed=SEEDS)
def test_grammars(grammars: Grammars, tokenizer: Tokenizer, seed: int) -> None:
    text = walk(grammars.start(Params(grammar=LARK)), tokenizer, seed)
    assert text is None or (re.fullmatch(rb"[0-9+*() -]+", text) and isinstance(eval(text.strip()), int))
    text = walk(grammars.start(Params(grammar=GBNF)), tokenizer, seed)
    if text is not None:
        inner = text.decode().strip("()")
        assert re.fullmatch("[a-c]{1,3}|é", inner)
        depth = text.count(b"(")
        assert depth and text.decode() == "(" * depth + inner + ")" * depth


@pytest.mark.parametrize("options", [{}, {"add_dummy_prefix": False}])
def test_sentencepiece(tmp_path: Path, options: dict[str, Any]) -> None:
    tokenizer = Tokenizer.from_folder(sentencepiece_folder(tmp_path, **options))
    grammars = Grammars(tokenizer, len(tokenizer))
    pattern = r"[a-z]( the|😀|ö){1,4}  \[x\]"
    for seed in range(20):
        text = walk(grammars.start(Params(regex=pattern)), tokenizer, seed)
        assert text is not None and re.fullmatch(pattern, text.decode())
    choice = Params(choice=["a b", "the"])
    assert set(every_text(grammars, choice, tokenizer)) == {"a b", "the"}


# ---------------------------------------------------------------- tokens


def test_anything_is_every_text_token_and_the_end(grammars: Grammars, tokenizer: Tokenizer) -> None:
    (eos,) = tokenizer.eos_token_ids
    allowed_V = grammars.start(Params(regex=r"(?s:.*)")).allowed()
    assert allowed_V.dtype == torch.bool and allowed_V.shape == (len(tokenizer) + EXTRA,)
    starts = {*range(0x80), *range(0xC2, 0xF5)}
    for i, token in enumerate(tokenizer.token_bytes()):
        if not token or token[0] not in starts:
            assert bool(allowed_V[i]) == (i == eos)
        elif "\ufffd" not in token.decode(errors="replace"):
            assert allowed_V[i]
    assert not allowed_V[len(tokenizer) :].any()


@pytest.mark.parametrize("grammar", ["start: <[*]>*", "start: ~/a/", "start: <[^2]>*"])
def test_no_grammar_gives_special_tokens_or_ids_without_one(
    grammars: Grammars, tokenizer: Tokenizer, grammar: str
) -> None:
    (eos,) = tokenizer.eos_token_ids
    allowed_V = grammars.start(Params(grammar=grammar)).allowed()
    special = sorted(tokenizer._backend.special_ids)
    assert [i for i in special if allowed_V[i]] == [eos]
    assert not allowed_V[len(tokenizer) :].any() and allowed_V.sum() > 1000


def test_every_end_is_the_end() -> None:
    tokenizer = words("a", "b", "ab", "x", eos=(3, 1, 77))
    grammars = Grammars(tokenizer, 6)
    constraint = grammars.start(Params(regex="(ab?)*"))
    # "b" ends a text, so that it is in none; 77 is beyond the vocabulary.
    assert allowed_ids(constraint) == [0, 1, 2, 3] and not constraint.finished
    constraint.accept(1)
    assert allowed_ids(constraint) == [1, 3] and constraint.finished
    with pytest.raises(MinillmError, match=r"'a'.* token 3 cannot come here"):
        grammars.start(Params(regex="a")).accept(3)


def test_without_an_end() -> None:
    grammars = Grammars(words("a", "b"), 2)
    constraint = grammars.start(Params(choice=["a", "ab"]))
    constraint.accept(0)
    assert allowed_ids(constraint) == [1] and not constraint.finished
    constraint.accept(1)
    assert allowed_ids(constraint) == [] and constraint.finished


def test_finished_before_the_first_token(grammars: Grammars, tokenizer: Tokenizer) -> None:
    for params in (Params(regex=""), Params(choice=[""]), Params(grammar='start: "a"~0')):
        constraint = grammars.start(params)
        assert constraint.finished and allowed_ids(constraint) == list(tokenizer.eos_token_ids)


def test_samples_of_one_grammar_are_apart(grammars: Grammars, tokenizer: Tokenizer) -> None:
    first, second = (grammars.start(Params(choice=["ab", "cd"])) for _ in range(2))
    before = second.allowed().clone()
    first.accept(tokenizer.encode("ab")[0])
    assert first.finished and torch.equal(second.allowed(), before)
    assert torch.equal(grammars.start(Params(choice=["ab", "cd"])).allowed(), before)


def test_vocabulary_smaller_than_the_tokenizers() -> None:
    tokenizer = words("a", "b", "ab", "x", eos=(3,))
    constraint = Grammars(tokenizer, 2).start(Params(regex="[ab]*"))
    assert constraint.allowed().tolist() == [True, True]


@pytest.mark.parametrize("token_id", [-1, 0, 10**6])
def test_tokens_that_are_not_allowed(grammars: Grammars, token_id: int) -> None:
    constraint = grammars.start(Params(regex="ab"))
    before = constraint.allowed()
    with pytest.raises(MinillmError, match=f"regex='ab': token {token_id} cannot come here"):
        constraint.accept(token_id)
    assert torch.equal(constraint.allowed(), before)


def test_texts_that_the_tokenizer_cannot_write() -> None:
    grammars = Grammars(words("a", "b", eos=(1,)), 2)
    with pytest.raises(MinillmError, match=r"regex='x' .* no token of the tokenizer can come next"):
        grammars.start(Params(regex="x"))
    constraint = grammars.start(Params(regex="a(x|aé)"))
    constraint.accept(0)
    with pytest.raises(MinillmError, match="no token of the tokenizer can come next"):
        constraint.accept(0)


# ---------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("arguments", "pattern"),
    [
        ({}, "exactly one of json, regex, choice, grammar, json_object, got none"),
        ({"json": {}, "regex": "a"}, "exactly one of .*, got json and regex"),
        ({"json": "{"}, r"json='\{' is not a JSON schema .*; give one"),
        ({"json": "[]"}, "not a JSON object"),
        ({"json": {"minimum": float("inf")}}, "not a JSON schema"),
        ({"json": {"enum": {1}}}, "not a JSON schema"),
        ({"json": 3}, "json must be a JSON schema"),
        ({"regex": 3}, "regex must be a string .*, got 3"),
        ({"regex": "a\\\\\\"}, "regex must be .* lone backslash"),
        ({"grammar": ["a"]}, "grammar must be a string"),
        ({"choice": "abc"}, "choice must be a list of strings"),
        ({"choice": []}, "choice must be a list of strings"),
        ({"choice": [1]}, "choice must be a list of strings"),
        ({"json_object": False}, "json_object must be True or left out"),
        ({"regex": "a", "whitespace_pattern": " "}, "whitespace_pattern must be a string with json"),
        ({"regex": "a", "disable_any_whitespace": True}, "left out without json"),
        (
            {"json": {}, "disable_any_whitespace": True, "whitespace_pattern": " "},
            "whitespace_pattern must be .* left out with disable_any_whitespace",
        ),
        (
            {"json": {}, "disable_additional_properties": True},
            "properties=True.* vLLM has",
        ),
        ({"structural_tag": "{}"}, "structural_tag='{}'.* vLLM has"),
    ],
)
def test_bad_arguments(arguments: dict[str, Any], pattern: str) -> None:
    with pytest.raises(MinillmError, match=pattern):
        Params(**arguments)


@pytest.mark.parametrize(
    ("arguments", "pattern"),
    [
        ({"regex": "("}, r"regex='\(' is refused: .* unclosed group; correct it$"),
        ({"regex": "(?=a)b"}, "look-ahead"),
        ({"regex": "\ud800"}, "surrogates"),
        ({"choice": ["\ud800"]}, "choice=.* is refused"),
        ({"json": {"type": "foo"}}, "json=.* is refused: .*Invalid type: foo"),
        ({"json": {"not": {}}}, "Unimplemented keys"),
        ({"json": {"type": "string", "format": "foo"}}, "Unknown format: foo"),
        ({"json": {"x-guidance": 3}, "whitespace_pattern": "a"}, "json=.* is refused"),
        ({"json_object": True, "whitespace_pattern": "("}, "json_object=True is refused: .*unclosed group"),
        ({"grammar": "start: foo"}, 'grammar=.* is refused: .*unknown name: "foo"; correct it$'),
        ({"grammar": "start: <|im_start|>"}, "unknown special token"),
        ({"grammar": "root := 3"}, "Expected ::="),
    ],
)
def test_bad_grammars(grammars: Grammars, arguments: dict[str, Any], pattern: str) -> None:
    with pytest.raises(MinillmError, match=pattern) as error:
        grammars.start(Params(**arguments))
    assert "\n" not in str(error.value)


def test_params_are_values() -> None:
    schema = {"type": "object"}
    params = Params(json=schema, disable_additional_properties=False, structural_tag=None)  # type: ignore[call-arg]
    schema["type"] = "array"
    assert params == Params(json='{"type":"object"}') and hash(params) == hash(
        Params(json={"type": "object"})
    )


def test_without_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "llguidance", None)
    with pytest.raises(MinillmError, match=r"pip install -e '\.\[structured\]' in the folder of the clone"):
        Grammars(words("a"), 1)
