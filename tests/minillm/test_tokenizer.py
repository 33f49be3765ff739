"""Encoding, chat templates, ends of generation, and text that arrives token by token."""

from __future__ import annotations

import datetime
import json
from collections.abc import Callable, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest
import tokenizers
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import AddedToken, decoders, models, pre_tokenizers, processors

from minillm.errors import MinillmError
from minillm.tokenizer.tokenizer import IncrementalDecoder, Tokenizer

GOLDEN = Path(__file__).parents[1] / "golden" / "smollm2_tokenizer.json"


def byte_level() -> tokenizers.Tokenizer:
    """One token a byte, tokens that straddle characters, and three added tokens."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    by_byte = {bytes_of(char): char for char in alphabet}
    # The last byte of one emoji with the first of the next, as real vocabularies have them.
    straddling = [by_byte[b"\x80"] + by_byte[b"\xf0"], by_byte[b"\x9f"] + by_byte[b"\x98"]]
    words = [*alphabet, *straddling, "ab"]
    merges = [(word[0], word[1]) for word in words[len(alphabet) :]]
    backend = tokenizers.Tokenizer(models.BPE({word: i for i, word in enumerate(words)}, merges))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    special = [AddedToken(text, special=True) for text in ("<s>", "</s>")]
    backend.add_tokens([*special, AddedToken("<tool→>", special=False)])
    backend.post_processor = processors.TemplateProcessing(
        single=["<s>", "$A"], special_tokens=[("<s>", backend.token_to_id("<s>"))]
    )
    return backend


def bytes_of(char: str) -> bytes:
    """The byte that a character of the byte-level alphabet stands for."""
    table = tokenizers.Tokenizer(models.BPE({char: 0}, []))
    table.decoder = decoders.ByteLevel()
    code = ord(char)
    # Printable Latin-1 stands for itself; the other 68 bytes, in order, for U+0100 and on.
    others = [b for b in range(256) if not (33 <= b <= 126 or 161 <= b <= 172 or b >= 174)]
    return bytes([others[code - 256] if code >= 256 else code])


def byte_fallback() -> tokenizers.Tokenizer:
    """As in Llama 2: words with a mark for their space, and bytes for what is not in them."""
    words = ["<unk>", "<s>", *(f"<0x{b:02X}>" for b in range(256)), "▁", "▁a", "b", "▁▁", "é"]
    backend = tokenizers.Tokenizer(
        models.BPE({word: i for i, word in enumerate(words)}, [], unk_token="<unk>", byte_fallback=True)
    )
    backend.add_tokens([AddedToken("<s>", special=True)])
    backend.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    return backend


BYTE_LEVEL, BYTE_FALLBACK = Tokenizer(byte_level()), Tokenizer(byte_fallback())


def folder_with(path: Path, backend: tokenizers.Tokenizer | None = None, **files: Any) -> Path:
    (backend or byte_level()).save(str(path / "tokenizer.json"))
    for name, content in files.items():
        text = content if isinstance(content, str) else json.dumps(content)
        (path / f"{name}.json").write_text(text, encoding="utf-8")
    return path


# ---------------------------------------------------------------- settings


def test_encode_and_decode(tmp_path: Path) -> None:
    tokenizer = Tokenizer.from_folder(folder_with(tmp_path))
    start, plain = tokenizer.encode("<s>", add_special_tokens=False)[0], "ab héllo 👋\n"
    ids = tokenizer.encode(plain)
    assert ids[0] == start and ids[1:] == tokenizer.encode(plain, add_special_tokens=False)
    assert tokenizer.decode(ids) == plain
    assert tokenizer.decode(ids, skip_special_tokens=False) == f"<s>{plain}"
    assert len(tokenizer) == 256 + 3 + 3
    # Rows of an embedding may exceed the vocabulary: such an id has no text.
    assert tokenizer.decode([len(tokenizer) + 5]) == ""


def test_saved_truncation_and_padding_do_nothing(tmp_path: Path) -> None:
    backend = byte_level()
    backend.enable_truncation(4)
    backend.enable_padding(length=16)
    tokenizer = Tokenizer.from_folder(folder_with(tmp_path, backend))
    assert len(tokenizer.encode("123456789", add_special_tokens=False)) == 9
    assert len(tokenizer.encode("1", add_special_tokens=False)) == 1


def test_no_tokenizer(tmp_path: Path) -> None:
    with pytest.raises(MinillmError, match=r"has no tokenizer\.json, tekken\.json or tokenizer\.model"):
        Tokenizer.from_folder(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(MinillmError, match=r"not a valid tokenizer\.json"):
        Tokenizer.from_folder(tmp_path)


@pytest.mark.parametrize("wrapped", [False, True])
def test_ids_from_every_file(tmp_path: Path, wrapped: bool) -> None:
    end = "</s>"
    folder = folder_with(
        tmp_path,
        tokenizer_config={"bos_token": "<s>", "eos_token": {"content": end} if wrapped else end},
        config={"eos_token_id": 7, "bos_token_id": 9},
        generation_config={"eos_token_id": [5, 7]},
    )
    tokenizer = Tokenizer.from_folder(folder)
    assert tokenizer.bos_token_id == tokenizer.encode("", add_special_tokens=True)[0]
    assert tokenizer.eos_token_ids == (5, 7, *tokenizer.encode(end, add_special_tokens=False))


def test_no_ids_at_all(tmp_path: Path) -> None:
    tokenizer = Tokenizer.from_folder(folder_with(tmp_path))
    assert tokenizer.bos_token_id is None and tokenizer.eos_token_ids == ()
    config = {"bos_token_id": 3, "eos_token_id": None}
    assert Tokenizer.from_folder(folder_with(tmp_path, config=config)).bos_token_id == 3


def test_broken_generation_config_is_a_warning(tmp_path: Path) -> None:
    folder = folder_with(tmp_path, config={"eos_token_id": 7}, generation_config='{"a": 1,}')
    with pytest.warns(UserWarning, match=r"generation_config\.json is not valid JSON"):
        assert Tokenizer.from_folder(folder).eos_token_ids == (7,)


@pytest.mark.parametrize(
    ("files", "pattern"),
    [
        ({"tokenizer_config": "{"}, r"tokenizer_config\.json is not valid JSON"),
        ({"config": {"eos_token_id": "2"}}, r"config\.json has eos_token_id = '2'"),
        ({"generation_config": {"eos_token_id": [1, None]}}, "expected a token id or a list"),
    ],
)
def test_broken_settings(tmp_path: Path, files: dict[str, Any], pattern: str) -> None:
    with pytest.raises(MinillmError, match=pattern):
        Tokenizer.from_folder(folder_with(tmp_path, **files))


# ---------------------------------------------------------------- chat templates


def with_template(template: Any) -> Tokenizer:
    return Tokenizer(byte_level(), special_tokens={"bos_token": "<s>"}, chat_template=template)


CHAT = [{"role": "user", "content": "a <b> 'é'"}, {"role": "assistant", "content": "ok"}]


def test_template_rules() -> None:
    template = """{{ bos_token }}
    {%- for m in messages %}
        {%- if m.role == "user" %}
U:{{ m | tojson }}
        {%- else %}
            {%- generation %}A:{{ m.content }}{% endgeneration %}
        {%- endif %}
        {% if loop.first %}
            {% continue %}
        {% endif %}
    {% endfor %}
    {% if tools is none and add_generation_prompt %}
A:{{ extra }}{% endif %}"""
    text = with_template(template).chat_text(CHAT, extra=1)
    assert text == '<s>U:{"role": "user", "content": "a <b> \'é\'"}A:okA:1'


def test_encode_chat_does_not_double_the_start() -> None:
    tokenizer = with_template("{{ bos_token }}{{ messages[0].content }}")
    start = tokenizer.encode("")
    assert tokenizer.encode_chat([{"role": "user", "content": "x"}]) == [
        *start,
        *tokenizer.encode("x", add_special_tokens=False),
    ]


def test_strftime_now() -> None:
    text = with_template("{{ strftime_now('%Y') }}").chat_text([])
    assert abs(int(text) - datetime.date.today().year) <= 1


@pytest.mark.parametrize(
    ("template", "pattern"),
    [
        (None, "no chat template"),
        ("{{ raise_exception('roles must alternate') }}", "refuses .*: roles must alternate"),
        ("{{ messages[9].content.x }}", "refuses the messages"),
        ("{{ 1 + messages }}", "refuses the messages"),
        ("{% for", "this model is not valid Jinja"),
        ("{{ ''.__class__.__mro__ }}", "unsafe"),
        ("{{ messages.append(1) }}", "unsafe"),
    ],
)
def test_template_errors(template: str | None, pattern: str) -> None:
    with pytest.raises(MinillmError, match=pattern):
        with_template(template).chat_text(CHAT)


def test_template_error_is_one_line() -> None:
    with pytest.raises(MinillmError) as caught:
        with_template("{{ raise_exception('a\\nb') }}").chat_text(CHAT)
    assert "a b" in str(caught.value)


def test_where_the_template_comes_from(tmp_path: Path) -> None:
    named = [{"name": "tool_use", "template": "t"}, {"name": "default", "template": "d"}]
    folder = folder_with(tmp_path, tokenizer_config={"chat_template": named})
    assert Tokenizer.from_folder(folder).chat_text([]) == "d"
    folder_with(tmp_path, tokenizer_config={"chat_template": "plain"})
    assert Tokenizer.from_folder(folder).chat_text([]) == "plain"
    (tmp_path / "chat_template.jinja").write_text("own file")
    assert Tokenizer.from_folder(folder).chat_text([]) == "own file"


# ---------------------------------------------------------------- streaming


def stream(tokenizer: Tokenizer, pieces: Sequence[Sequence[int]], skip: bool) -> list[str]:
    decoder = IncrementalDecoder(tokenizer, skip_special_tokens=skip)
    return [*(decoder.add(piece) for piece in pieces), decoder.flush()]


def pieces_of(tokenizer: Tokenizer) -> st.SearchStrategy[list[list[int]]]:
    # A few ids beyond the vocabulary too, as a padded embedding has them.
    ids = st.integers(0, len(tokenizer) + 3)
    text = st.text(max_size=8).map(lambda t: tokenizer.encode(t, add_special_tokens=False))
    return st.lists(st.one_of(ids.map(lambda i: [i]), st.lists(ids, max_size=6), text))


@pytest.mark.parametrize("tokenizer", [BYTE_LEVEL, BYTE_FALLBACK])
@given(st.data(), st.booleans())
def test_stream_equals_decode(tokenizer: Tokenizer, data: st.DataObject, skip: bool) -> None:
    pieces = data.draw(pieces_of(tokenizer))
    ids = [i for piece in pieces for i in piece]
    text = "".join(stream(tokenizer, pieces, skip))
    if (whole := tokenizer.decode(ids, skip_special_tokens=skip)) != text:
        # Byte tokens in a row that are no UTF-8 as a whole: the library then takes all of them for none.
        assert tokenizer is BYTE_FALLBACK and len(whole) >= len(text)
        assert text == by_character(ids, skip)


def by_character(ids: Sequence[int], skip: bool) -> str:
    """Decode by `BYTE_FALLBACK`, with each byte that is part of no character as U+FFFD."""
    backend, texts = BYTE_FALLBACK._backend, dict(enumerate(BYTE_FALLBACK.token_bytes()))
    if not skip:
        texts |= {i: BYTE_FALLBACK.decode([i], False).encode() for i in backend.special_ids}
    text = ""
    # Half a character is over where another token follows.
    for _, run in groupby(filter(backend.knows, ids), lambda i: i in backend.byte_ids):
        rest = b"".join(texts[i] for i in run)
        while rest:
            try:
                text, rest = text + rest.decode(), b""
            except UnicodeDecodeError as error:
                text += rest[: error.start].decode() + "\ufffd"
                rest = rest[error.start + 1 :]
    return text.removeprefix(" ")


@pytest.mark.parametrize("tokenizer", [BYTE_LEVEL, BYTE_FALLBACK])
@given(text=st.text())
def test_valid_text_never_comes_in_halves(tokenizer: Tokenizer, text: str) -> None:
    text = text.replace("\ufffd", "").strip()
    ids = [[i] for i in tokenizer.encode(text, add_special_tokens=False)]
    parts = stream(tokenizer, ids, skip=True)
    assert "".join(parts) == text and "\ufffd" not in "".join(parts)


def test_stream_is_prompt() -> None:
    ids = [[i] for i in BYTE_LEVEL.encode("é👋", add_special_tokens=False)]
    assert stream(BYTE_LEVEL, ids, skip=True) == ["", "é", "", "", "", "👋", ""]


def test_half_a_character_comes_at_the_flush() -> None:
    ids = BYTE_LEVEL.encode("é", add_special_tokens=False)[:1]
    decoder = IncrementalDecoder(BYTE_LEVEL)
    assert (decoder.add(ids), decoder.flush(), decoder.flush()) == ("", "\ufffd", "")
    assert decoder.add(BYTE_LEVEL.encode("ab", add_special_tokens=False)) == "ab"


@pytest.mark.parametrize("text", ["a", "é", "👋", "<s>", "<tool→>"])
def test_a_token_costs_the_same_anywhere(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    longest = 0
    decode = Tokenizer.decode

    def counted(self: Tokenizer, ids: Sequence[int], skip_special_tokens: bool = True) -> str:
        nonlocal longest
        longest = max(longest, len(ids))
        return decode(self, ids, skip_special_tokens)

    monkeypatch.setattr(Tokenizer, "decode", counted)
    decoder = IncrementalDecoder(BYTE_LEVEL)
    # The last byte of each alone as well: a model may write bytes that never make a character.
    ids = BYTE_LEVEL.encode(text, add_special_tokens=False)
    for i in ids * 300 + ids[-1:] * 300:
        decoder.add([i])
    assert longest <= 5


# ---------------------------------------------------------------- the real one


def golden() -> Any:
    return json.loads(GOLDEN.read_text(encoding="utf-8"))


def test_demo_ids_are_transformers(demo_model_path: Path) -> None:
    tokenizer = Tokenizer.from_folder(demo_model_path)
    for text, ids in golden()["texts"]:
        assert tokenizer.encode(text) == ids, text
        assert tokenizer.decode(ids, skip_special_tokens=False) == text
        assert "".join(stream(tokenizer, [[i] for i in ids], skip=False)) == text


def test_demo_chat(demo_model_path: Path) -> None:
    tokenizer = Tokenizer.from_folder(demo_model_path)
    assert tokenizer.eos_token_ids == (2,)
    assert tokenizer.decode([2], skip_special_tokens=False) == "<|im_end|>"
    for chat in golden()["chats"]:
        assert tokenizer.chat_text(chat["messages"]) == chat["text"]
        assert tokenizer.encode_chat(chat["messages"]) == chat["ids"]


def test_transformers_reads_the_demo_folder(demo_model_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    theirs: Callable[..., Any] = transformers.AutoTokenizer.from_pretrained(demo_model_path)
    for text, ids in golden()["texts"]:
        assert theirs(text)["input_ids"] == ids, text
