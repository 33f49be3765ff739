"""tokenizer.model and tekken.json in a folder, and the settings beside them; on vocabularies made here."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import sentencepiece
from hypothesis import given
from hypothesis import strategies as st

from minillm.errors import MinillmError
from minillm.tokenizer.backends import AddedToken, Ranks, SentencePiece, SplicedBackend
from minillm.tokenizer.files import load_backend
from minillm.tokenizer.tokenizer import IncrementalDecoder, Tokenizer

TEXT = ["the quick brown fox jumps over the lazy dog", "Hello world, hello  there", "a b c d e f g h [x]"] * 4


@cache
def trained(**options: Any) -> bytes:
    """A small SentencePiece model, by default such as Llama 2's."""
    settings = {
        "vocab_size": 330,
        "model_type": "bpe",
        "byte_fallback": True,
        "normalization_rule_name": "identity",
        "remove_extra_whitespaces": False,
        "hard_vocab_limit": False,
        "minloglevel": 2,
        **options,
    }
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(sentence_iterator=iter(TEXT), model_writer=model, **settings)
    return model.getvalue()


# As Gemma's: no space before a text, and tokens that no pair is merged into.
GEMMA: dict[str, Any] = {"add_dummy_prefix": False, "user_defined_symbols": "\n\n,▁▁,<start_of_turn>"}
OTHERS: list[dict[str, Any]] = [
    GEMMA,
    {"model_type": "unigram", "vocab_size": 300},
    {"model_type": "unigram", "vocab_size": 40, "byte_fallback": False},
    {"normalization_rule_name": "nmt_nfkc", "remove_extra_whitespaces": True},
    {"control_symbols": "[INST],[/INST]", "pad_id": 3},
]


def folder_with(path: Path, model: bytes, **files: Any) -> Path:
    (path / "tokenizer.model").write_bytes(model)
    for name, content in files.items():
        (path / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")
    return path


def reference(model: bytes) -> sentencepiece.SentencePieceProcessor:
    return sentencepiece.SentencePieceProcessor(model_proto=model)


# ---------------------------------------------------------------- SentencePiece


def test_beginning_and_end_are_settings(tmp_path: Path) -> None:
    plain = reference(trained()).encode("hello 👋")
    tokenizer = Tokenizer.from_folder(folder_with(tmp_path, trained()))
    assert tokenizer.encode("hello 👋") == [1, *plain]
    assert tokenizer.encode("hello 👋", add_special_tokens=False) == plain
    assert tokenizer.bos_token_id == 1 and tokenizer.eos_token_ids == (2,)
    assert len(tokenizer) == reference(trained()).vocab_size()
    for add_bos, add_eos in ((False, True), (True, True), (None, None)):
        config = {"add_bos_token": add_bos, "add_eos_token": add_eos, "bos_token": ""}
        tokenizer = Tokenizer.from_folder(folder_with(tmp_path, trained(), tokenizer_config=config))
        before, after = [1] * (add_bos is not False), [2] * bool(add_eos)
        assert tokenizer.encode("hello 👋") == [*before, *plain, *after]
        assert tokenizer.encode("") == [*before, *after]


def test_generation_config_adds_ends(tmp_path: Path) -> None:
    folder = folder_with(tmp_path, trained(), generation_config={"eos_token_id": [7, 2]})
    assert Tokenizer.from_folder(folder).eos_token_ids == (7, 2)


def test_special_tokens_in_a_text(tmp_path: Path) -> None:
    sp = reference(trained())
    tokenizer = Tokenizer.from_folder(folder_with(tmp_path, trained()))
    ids = tokenizer.encode("<s>the<unk> the</s></s>", add_special_tokens=False)
    assert ids == [1, *sp.encode("the"), 0, *sp.encode(" the"), 2, 2]
    assert tokenizer.decode(ids) == "the  the"
    assert tokenizer.decode(ids, skip_special_tokens=False) == "<s> the<unk>  the</s></s>"


@pytest.mark.parametrize(
    ("config", "before", "after"),
    [
        ({}, "▁the", "▁the"),
        ({"legacy": True}, "▁the", "▁the"),
        ({"legacy": False}, "▁the", "the"),
        ({"add_prefix_space": False}, "the", "the"),
    ],
)
def test_space_before_a_text(tmp_path: Path, config: dict[str, Any], before: str, after: str) -> None:
    sp = reference(trained(user_defined_symbols="the,▁the"))
    folder = folder_with(tmp_path, sp.serialized_model_proto(), tokenizer_config=config)
    tokenizer = Tokenizer.from_folder(folder)
    ids = tokenizer.encode("the</s>the", add_special_tokens=False)
    assert ids == [sp.piece_to_id(before), 2, sp.piece_to_id(after)]
    text = "the" if before == "▁the" else " the"
    assert tokenizer.decode([sp.piece_to_id("▁the")]) == text
    assert "".join(stream(tokenizer, [[i] for i in ids], skip=False)) == tokenizer.decode(ids, False)


@pytest.mark.parametrize("options", [{}, *OTHERS])
@given(text=st.text() | st.text("the quick\n ▁ab<>_"))
def test_any_model_is_the_librarys(options: dict[str, Any], text: str) -> None:
    model = trained(**options)
    sp, plain = reference(model), SentencePiece(model)
    assert plain.encode(text, at_start=True) == sp.encode(text)
    ids = [i for i in sp.encode(text) if i != sp.unk_id()]
    marks = {i: AddedToken(mark) for i, mark in plain.special_tokens().items()}
    tokenizer = Tokenizer(SplicedBackend(plain, marks))
    assert tokenizer.decode(ids) == sp.decode(ids) == "".join(stream(tokenizer, [[i] for i in ids], True))


def test_added_tokens(tmp_path: Path) -> None:
    size = reference(trained()).vocab_size()
    decoder = {
        "1": {"content": "<s>", "special": True},
        str(size): {"content": "<|im_start|>", "special": True, "rstrip": True},
        str(size + 1): {"content": "<|im_end|>", "special": True, "lstrip": True},
        str(size + 9): {"content": "tool", "special": False, "single_word": True},
        str(size + 10): {"content": "<|im_start|>now", "special": False},
    }
    config = {"added_tokens_decoder": decoder, "eos_token": {"content": "<|im_end|>"}}
    tokenizer = Tokenizer.from_folder(folder_with(tmp_path, trained(), tokenizer_config=config))
    assert tokenizer.eos_token_ids == (size + 1,) and len(tokenizer) == size + 4
    sp = reference(trained())
    ids = tokenizer.encode("<|im_start|> \nthe  <|im_end|>tool<|im_start|>now stool", False)
    assert ids == [size, *sp.encode("the"), size + 1, size + 9, size + 10, *sp.encode(" stool")]
    assert tokenizer.decode(ids) == "thetool<|im_start|>now  stool"
    # Ids between the vocabulary and the added tokens, or beyond them, have no text.
    assert tokenizer.decode([size + 5, size + 9, size + 11], False) == "tool"


def test_white_space_that_two_tokens_want(tmp_path: Path) -> None:
    size = reference(trained()).vocab_size()
    decoder = {
        str(size): {"content": "<a>", "rstrip": True},
        str(size + 1): {"content": "<b>", "lstrip": True},
        str(size + 2): {"content": "\n\n"},
    }
    config = {"added_tokens_decoder": decoder}
    tokenizer = Tokenizer.from_folder(folder_with(tmp_path, trained(), tokenizer_config=config))
    assert tokenizer.encode("<a> \n\n <b>", False) == [size, size + 1]


def test_added_tokens_json(tmp_path: Path) -> None:
    size = reference(trained()).vocab_size()
    folder = folder_with(
        tmp_path,
        trained(),
        added_tokens={"[PAD]": size, "[MORE]": size + 1, "plain": size + 2},
        tokenizer_config={"pad_token": "[PAD]", "additional_special_tokens": ["[MORE]"]},
    )
    tokenizer = Tokenizer.from_folder(folder)
    ids = tokenizer.encode("[PAD][MORE]plain", False)
    assert ids == [size, size + 1, size + 2] and tokenizer.decode(ids) == "plain"


def test_gemma_decodes_listed_pieces_as_the_model_does(tmp_path: Path) -> None:
    sp = reference(trained(**GEMMA))
    pieces = ["▁▁", "\n\n", "<start_of_turn>"]
    decoder = {str(sp.piece_to_id(p)): {"content": p, "special": p.startswith("<")} for p in pieces}
    config = {"added_tokens_decoder": decoder}
    tokenizer = Tokenizer.from_folder(folder_with(tmp_path, trained(**GEMMA), tokenizer_config=config))
    text = "<start_of_turn>the\n\n  quick   "
    ids = tokenizer.encode(text, False)
    assert ids == sp.encode(text) and sp.piece_to_id("▁▁") in ids
    assert tokenizer.decode(ids, skip_special_tokens=False) == text
    assert tokenizer.decode(ids) == text.removeprefix("<start_of_turn>")


# ---------------------------------------------------------------- ranks and tekken

BYTES = {bytes([b]): b for b in range(256)}
RANKS = {**BYTES, b"th": 256, b"the": 257, b"\x9f\x91": 258, b"\x8b\xf0": 259}


def ranks_file(tokens: dict[bytes, int]) -> bytes:
    return b"".join(base64.b64encode(token) + b" %d\n" % rank for token, rank in tokens.items())


def tekken_file(path: Path, **changes: Any) -> Path:
    vocabulary = [
        {"rank": rank, "token_bytes": base64.b64encode(token).decode(), "token_str": None}
        for token, rank in RANKS.items()
    ]
    config = {"pattern": r"\w+|\W", "default_vocab_size": 258 + 30, "default_num_special_tokens": 30}
    content = {"config": config, "vocab": vocabulary, **changes}
    (path / "tekken.json").write_text(json.dumps(content))
    return path


LLAMA_3: dict[str, Any] = {
    "config": {"model_type": "llama"},
    "tokenizer_config": {"added_tokens_decoder": {"300": {"content": "<|bos|>", "special": True}}},
}


def test_ranks(tmp_path: Path) -> None:
    files = {**LLAMA_3, "tokenizer_config": {**LLAMA_3["tokenizer_config"], "bos_token": "<|bos|>"}}
    tokenizer = Tokenizer.from_folder(folder_with(tmp_path, ranks_file(RANKS), **files))
    assert tokenizer.encode("the") == [300, 257] and len(tokenizer) == 261
    assert tokenizer.encode("<|bos|>th👋", False) == [300, 256, 0xF0, 258, 0x8B]
    assert stream(tokenizer, [[256], [0xF0], [258], [259], [300], [258]], skip=False) == [
        *("th", "", "", "👋", "\ufffd<|bos|>", "\ufffd", "\ufffd")
    ]


def test_tekken(tmp_path: Path) -> None:
    tokenizer = Tokenizer.from_folder(tekken_file(tmp_path))
    # Two of the file's tokens are beyond the vocabulary; the special tokens come first.
    assert len(tokenizer) == 288 and tokenizer.bos_token_id == 1 and tokenizer.eos_token_ids == (2,)
    assert tokenizer.encode("[INST]the<SPECIAL_29>") == [1, 3, 287, 29]
    listed = [{"rank": 0, "token_str": "<s>", "is_control": True}]
    tokenizer = Tokenizer.from_folder(tekken_file(tmp_path, special_tokens=listed))
    assert tokenizer.encode("[INST]") == [0, *(30 + b for b in b"[INST]")]
    assert tokenizer.eos_token_ids == ()


def test_a_million_spaces() -> None:
    ranks = Ranks(r"\s+(?!\S)|\s+|\w", RANKS)
    assert len(ranks.encode(" " * 800_000 + "x", True)) == 800_001
    with pytest.raises(MinillmError, match="900,000 white spaces in a row"):
        ranks.encode(" " * 1_100_000, True)


# ---------------------------------------------------------------- order and errors


def test_tokenizer_json_comes_first(tmp_path: Path, demo_model_path: Path) -> None:
    tekken_file(folder_with(tmp_path, trained()))
    assert len(Tokenizer.from_folder(tmp_path)) == 288
    (tmp_path / "tokenizer.json").write_bytes((demo_model_path / "tokenizer.json").read_bytes())
    assert len(Tokenizer.from_folder(tmp_path)) > 40_000


@pytest.mark.parametrize("content", [b"", b"version https://git-lfs", b"\n\x03abc", trained()[:2000]])
def test_broken_model(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(MinillmError, match=r"tokenizer\.model is neither .* fetch it again"):
        Tokenizer.from_folder(folder_with(tmp_path, content))


@pytest.mark.parametrize(
    ("tokens", "files", "pattern"),
    [
        (
            RANKS,
            {"config": {"model_type": "glm4"}},
            r"tokenizer\.model lists .* 'glm4'; take tokenizer\.json",
        ),
        (RANKS, {"config": {"model_type": "llama"}}, r"no added_tokens_decoder .*; take tokenizer\.json"),
        ({b"a": 97}, LLAMA_3, r"tokenizer\.model is not .*no token for byte 0\); fetch it again"),
        ({**BYTES, b"th": 300}, LLAMA_3, "257 tokens with 301 ids"),
        ({**BYTES, b"th": 255}, LLAMA_3, "257 tokens with 256 ids"),
    ],
)
def test_broken_ranks(tmp_path: Path, tokens: dict[bytes, int], files: Any, pattern: str) -> None:
    with pytest.raises(MinillmError, match=pattern):
        Tokenizer.from_folder(folder_with(tmp_path, ranks_file(tokens), **files))


@pytest.mark.parametrize("line", [b"IQ== 0 1\n", b"IQ== x\n", b"!!!! 1\n", b"\xff\n"])
def test_broken_line_of_ranks(tmp_path: Path, line: bytes) -> None:
    with pytest.raises(MinillmError, match=r"tokenizer\.model is not a valid list"):
        Tokenizer.from_folder(folder_with(tmp_path, ranks_file(RANKS) + line, **LLAMA_3))


@pytest.mark.parametrize(
    "changes",
    [
        {"vocab": []},
        {"vocab": [{"rank": 0}]},
        {"config": {}},
        {"config": {"pattern": "(", "default_vocab_size": 288, "default_num_special_tokens": 30}},
        {"special_tokens": [1]},
        {"special_tokens": [{"rank": "a", "token_str": "<s>"}]},
        {"special_tokens": [{"rank": 30, "token_str": "<s>"}]},
    ],
)
def test_broken_tekken(tmp_path: Path, changes: dict[str, Any]) -> None:
    with pytest.raises(MinillmError, match=r"tekken\.json is not a valid tekken\.json .* fetch it again"):
        Tokenizer.from_folder(tekken_file(tmp_path, **changes))


@pytest.mark.parametrize("content", ["", "[]", "{", "\ufffe"])
def test_tekken_that_is_none(tmp_path: Path, content: str) -> None:
    (tmp_path / "tekken.json").write_bytes(content.encode("utf-16"))
    with pytest.raises(MinillmError, match=r"tekken\.json is not a valid tekken\.json"):
        Tokenizer.from_folder(tmp_path)


@pytest.mark.parametrize(
    "files",
    [
        {"added_tokens": ["a"]},
        {"added_tokens": {"a": "b"}},
        {"added_tokens": {"a": -1}},
        {"tokenizer_config": {"added_tokens_decoder": {"a": {"content": "b"}}}},
        {"tokenizer_config": {"added_tokens_decoder": {"7": {"content": ""}}}},
        {"tokenizer_config": {"added_tokens_decoder": {"7": "b"}}},
        {"tokenizer_config": {"added_tokens_decoder": {"-7": {"content": "b"}}}},
    ],
)
def test_broken_added_tokens(tmp_path: Path, files: dict[str, Any]) -> None:
    with pytest.raises(MinillmError, match=rf"{next(iter(files))}\.json does not list added tokens"):
        Tokenizer.from_folder(folder_with(tmp_path, trained(), **files))


def test_nothing_to_read(tmp_path: Path) -> None:
    with pytest.raises(MinillmError, match="fetch one of them"):
        load_backend(tmp_path, {}, {}, None)


# ---------------------------------------------------------------- streaming


def stream(tokenizer: Tokenizer, pieces: Sequence[Sequence[int]], skip: bool) -> list[str]:
    decoder = IncrementalDecoder(tokenizer, skip_special_tokens=skip)
    return [*(decoder.add(piece) for piece in pieces), decoder.flush()]


def spliced(plain: Ranks | SentencePiece) -> Tokenizer:
    size = len(plain.ids)
    added = {0: AddedToken("<s>"), size: AddedToken("<→>"), size + 2: AddedToken("tool", special=False)}
    return Tokenizer(SplicedBackend(plain, added))


STREAMED = [
    spliced(Ranks(r"\w+|\W", RANKS)),
    *(spliced(SentencePiece(trained(), prefix)) for prefix in ("always", "first", "never")),
    *(spliced(SentencePiece(trained(**options))) for options in OTHERS),
]


@pytest.mark.parametrize("tokenizer", STREAMED)
@given(data=st.data(), skip=st.booleans())
def test_stream_equals_decode(tokenizer: Tokenizer, data: st.DataObject, skip: bool) -> None:
    ids = st.integers(0, len(tokenizer) + 3)
    text = st.text(max_size=8).map(lambda t: tokenizer.encode(t, add_special_tokens=False))
    pieces = data.draw(st.lists(st.one_of(ids.map(lambda i: [i]), st.lists(ids, max_size=6), text)))
    whole = tokenizer.decode([i for piece in pieces for i in piece], skip_special_tokens=skip)
    assert "".join(stream(tokenizer, pieces, skip)) == whole


@pytest.mark.parametrize("options", [{}, *OTHERS])
def test_spaces_in_a_row_stream(options: dict[str, Any]) -> None:
    sp = reference(trained(**options))
    space, word = sp.piece_to_id("▁"), sp.piece_to_id("b")
    ids = [*[space] * 9, word, *[space] * 9, word]
    tokenizer = spliced(SentencePiece(trained(**options)))
    assert (
        "".join(stream(tokenizer, [[i] for i in ids], skip=True)) == tokenizer.decode(ids) == sp.decode(ids)
    )
