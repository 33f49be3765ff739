"""Ids and texts equal to those of the libraries that the tokenizers were made for, on 2,000 strings."""

from __future__ import annotations

import base64
import json
import random
import re
import shutil
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import sentencepiece
import tiktoken
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st

from minillm.tokenizer.tokenizer import IncrementalDecoder, Tokenizer

# By name rather than by a listing of the package's data, so that where it is not there the skip is seen.
SENTENCEPIECE = (
    "tokenizer.model.v1",
    "mistral_instruct_tokenizer_240216.model.v2",
    "mistral_instruct_tokenizer_240323.model.v3",
    "mistral_instruct_tokenizer_241114.model.v7",
    "mistral_instruct_tokenizer_241114.model.v7m1",
)
TEKKEN = ("tekken_240718.json", "tekken_240911.json")


# ---------------------------------------------------------------- strings


def scripts() -> list[list[str]]:
    """Every assigned character outside the private planes, by its script (as its name begins)."""
    found: dict[str, list[str]] = {}
    for code in range(0x20, 0x20000):
        if name := unicodedata.name(chr(code), ""):
            found.setdefault(name.split()[0], []).append(chr(code))
    return [*found.values(), [chr(code) for code in range(0x20000, 0x20100)]]


SCRIPTS = scripts()
CONTROLS = [chr(code) for code in (*range(0x20), *range(0x7F, 0xA0), 0xAD, 0x200B, 0x200E, 0x202E, 0xFEFF)]
SPACES = [" ", "  ", "\t", "\n", "\r\n", "\u00a0", "\u2003", "\u3000", "\u2581", "\u2581\u2581"]
EMOJI = [
    "👋",
    "👩‍👩‍👧‍👦",
    "🏳️‍🌈",
    "🇩🇪",
    "👍🏽",
    "❤️",
    "1️⃣",
    "🧑🏿‍🚀",
    "\u200d",
    "\ufe0f",
    "🏴\U000e0067\U000e007f",
]
WORDS = ["the", " Quick", "don't", "WE'LL", "def f(x):\n", "    return", "3.14159", "1234567", "é", "e\u0301"]
LOOKALIKES = [
    "<s",
    "<|im_",
    "[INST",
    "INST]",
    "</ s>",
    "<0x41>",
    "<0xZZ>",
    "<pad>",
    "<S>",
    "< s >",
    "[[/INST]]",
]


def strings(special: Sequence[str], count: int = 2000) -> list[str]:
    """`count` strings of every kind that has broken a tokenizer; the same ones at every call."""
    rng = random.Random(0)

    def some(parts: Sequence[str], most: int = 12) -> str:
        return "".join(rng.choices(parts, k=rng.randint(1, most)))

    def invalid(errors: str) -> str:
        data = some(["é漢👋", "ab", *EMOJI]).encode()
        noise = bytes(rng.choice((0x80, 0xC3, 0xE2, 0xED, 0xF0, 0xFF)) for _ in range(3))
        cut = rng.randrange(len(data))
        return (data[:cut] + noise + data[cut + 1 :]).decode("utf-8", errors)

    def mixed() -> str:
        return "".join(rng.choice(kinds[:-1])() for _ in range(3))

    kinds: list[Callable[[], str]] = [
        lambda: some(rng.choice(SCRIPTS)),
        lambda: some([*rng.choice(SCRIPTS), " "], 30),
        lambda: some(EMOJI),
        lambda: some([*CONTROLS, "a"]),
        lambda: some(SPACES, 6) + some(WORDS, 3) + some(SPACES, 6),
        lambda: " " * rng.randint(1, 200) + some(["x", "\n", ""], 2),
        lambda: some([*WORDS, *SPACES], 40),
        lambda: some([*special, *LOOKALIKES, *WORDS, " "], 8),
        lambda: invalid("replace"),
        lambda: invalid("surrogateescape"),
        lambda: some(["\ud83d", "\udc4b", "a", " "]),
        mixed,
    ]
    return ["", *(kinds[i % len(kinds)]() for i in range(count - 1))]


def well_formed(text: str) -> str:
    """`text` with U+FFFD for each half of a surrogate pair that stands alone."""
    out = []
    for i, char in enumerate(text):
        high, low = "\ud800" <= char <= "\udbff", "\udc00" <= char <= "\udfff"
        if high and "\udc00" <= text[i + 1 : i + 2] <= "\udfff":
            out.append(chr(0x10000 + ((ord(char) - 0xD800) << 10) + (ord(text[i + 1]) - 0xDC00)))
        elif low and "\ud800" <= text[i - 1 : i] <= "\udbff":
            continue
        else:
            out.append("\ufffd" if high or low else char)
    return "".join(out)


def around(text: str, special: Iterable[str]) -> list[str]:
    """`text` cut at special tokens: plain, special, plain, ..., plain."""
    parts, at = [""], 0
    while at < len(text):
        # Looked for where one can begin only: some tokenizers have a thousand.
        token = (
            max((t for t in special if text.startswith(t, at)), key=len, default="")
            if text[at] in "<["
            else ""
        )
        if token:
            parts += [token, ""]
        else:
            parts[-1] += text[at]
        at += len(token) or 1
    return parts


# ---------------------------------------------------------------- references


@dataclass(frozen=True)
class Case:
    """One of mistral_common's tokenizers, theirs and ours."""

    ours: Tokenizer
    plain_ids: Callable[[str], list[int]]  # of a text in which nothing is special
    plain_text: Callable[[list[int]], str]  # of ids that are not special
    special: dict[str, int] = field(repr=False)

    def ids(self, text: str) -> list[int]:
        """What their library gives for a text with special tokens: BOS, then part by part."""
        parts = around(well_formed(text), self.special)
        ids = [self.special["<s>"]]
        for i, part in enumerate(parts):
            ids += [self.special[part]] if i % 2 else self.plain_ids(part)
        return ids


@pytest.fixture(scope="module", params=[*SENTENCEPIECE, *TEKKEN])
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Case:
    name = request.param
    source = mistral_data() / name
    folder = tmp_path_factory.mktemp("tokenizer")
    shutil.copy(source, folder / ("tekken.json" if name in TEKKEN else "tokenizer.model"))
    ours = Tokenizer.from_folder(folder)
    if name in TEKKEN:
        from mistral_common.tokens.tokenizers.base import SpecialTokenPolicy
        from mistral_common.tokens.tokenizers.tekken import Tekkenizer

        tekken = Tekkenizer.from_file(source)
        special = {tekken.id_to_piece(i): i for i in tekken.special_ids}
        return Case(
            ours,
            lambda text: tekken.encode(text, bos=False, eos=False),
            lambda ids: tekken.decode(ids, SpecialTokenPolicy.IGNORE),
            special,
        )
    from mistral_common.tokens.tokenizers.sentencepiece import SentencePieceTokenizer

    theirs = SentencePieceTokenizer(source)
    model = sentencepiece.SentencePieceProcessor(model_file=str(source))
    special = {model.id_to_piece(i): i for i in [*theirs.special_ids, model.unk_id()]}
    return Case(ours, lambda text: theirs.encode(text, bos=False, eos=False), model.decode, special)


def mistral_data() -> Path:
    return Path(pytest.importorskip("mistral_common").__file__).parent / "data"


# ---------------------------------------------------------------- mistral_common


def test_every_tokenizer_of_mistral_common_is_tested() -> None:
    shipped = {
        path.name for path in mistral_data().iterdir() if ".model" in path.name or ".json" in path.name
    }
    assert shipped == {*SENTENCEPIECE, *TEKKEN}


def test_mistral_ids_and_texts(case: Case) -> None:
    ours, special_ids = case.ours, set(case.special.values())
    texts = strings(["<s>", "</s>", "[INST]", "[/INST]", "<unk>", "[TOOL_CALLS]"])
    assert len(texts) == 2000
    for text in texts:
        ids = case.ids(text)
        assert ours.encode(text) == ids, ascii(text)
        assert ours.encode(text, add_special_tokens=False) == ids[1:], ascii(text)
        plain = [i for i in ids if i not in special_ids]
        assert ours.decode(ids) == case.plain_text(plain), ascii(text)


def test_mistral_texts_of_any_ids(case: Case) -> None:
    rng, special_ids = random.Random(1), set(case.special.values())
    every = range(len(case.ours))
    short = [i for i in every if len(case.ours.decode([i])) < 2]  # bytes and parts of characters too
    for i in range(500):
        ids = rng.choices(short if i % 2 else every, k=rng.randint(0, 12))
        expected = case.plain_text([i for i in ids if i not in special_ids])
        assert case.ours.decode(ids) == expected, ids


def test_mistral_settings(case: Case) -> None:
    ours = case.ours
    assert ours.bos_token_id == case.special["<s>"] and ours.eos_token_ids == (case.special["</s>"],)
    ids = ours.encode("[unused] héllo")
    assert ours.decode(ids, skip_special_tokens=False).startswith("<s>")
    assert ours.decode([*ids, len(ours), 10**6]) == "[unused] héllo"


@settings(max_examples=40)
@given(data=st.data())
def test_mistral_streams(case: Case, data: st.DataObject) -> None:
    ours, skip = case.ours, data.draw(st.booleans())
    ids = st.integers(0, len(ours) + 3)
    # The first thousand hold the special tokens and, in SentencePiece models, the bytes.
    low = st.integers(0, 1300)
    text = st.text(max_size=8).map(lambda t: ours.encode(t, add_special_tokens=False))
    pieces = data.draw(st.lists(st.one_of(st.lists(ids, max_size=4), st.lists(low, max_size=6), text)))
    whole = ours.decode([i for piece in pieces for i in piece], skip_special_tokens=skip)
    assert "".join(stream(ours, pieces, skip)) == whole


@settings(max_examples=40)
@given(text=st.text())
def test_mistral_text_comes_whole(case: Case, text: str) -> None:
    # Without what is no text to begin with: special tokens, and SentencePiece's other sign for a space.
    text = re.sub("[<\\[\ufffd\u2581]", "_", text)
    ids = case.ours.encode(text, add_special_tokens=False)
    parts = stream(case.ours, [[i] for i in ids], skip=False)
    assert "".join(parts) == case.ours.decode(ids) == text
    assert not any("\ufffd" in part for part in parts)


def stream(tokenizer: Tokenizer, pieces: Iterable[Sequence[int]], skip: bool) -> list[str]:
    decoder = IncrementalDecoder(tokenizer, skip_special_tokens=skip)
    return [*(decoder.add(piece) for piece in pieces), decoder.flush()]


# What each version of Mistral's own code writes around a chat, as a template.
TURNS = (
    "{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}{{ USER }}"
    "{% else %}{{ ASSISTANT }}{{ eos_token }}{% endif %}{% endfor %}"
)
CHAT: list[Any] = [
    {"role": "user", "content": "Wie heißt du?\n 你好 👋"},
    {"role": "assistant", "content": "Mistral  7B"},
    {"role": "user", "content": "[inst] <s"},
]


@pytest.mark.parametrize(
    ("name", "user", "assistant"),
    [
        ("tokenizer.model.v1", "'[INST] ' + m.content + ' [/INST]'", "' ' + m.content"),
        ("mistral_instruct_tokenizer_240323.model.v3", "'[INST]' + m.content + '[/INST]'", "m.content"),
        ("mistral_instruct_tokenizer_241114.model.v7", "'[INST]' + m.content + '[/INST]'", "m.content"),
        ("tekken_240718.json", "'[INST]' + m.content + '[/INST]'", "m.content"),
    ],
)
def test_mistral_chats(tmp_path: Path, name: str, user: str, assistant: str) -> None:
    source = mistral_data() / name
    from mistral_common.protocol.instruct.request import ChatCompletionRequest
    from mistral_common.tokens.tokenizers.mistral import MistralTokenizer

    shutil.copy(source, tmp_path / ("tekken.json" if name in TEKKEN else "tokenizer.model"))
    template = TURNS.replace("USER", user).replace("ASSISTANT", assistant)
    (tmp_path / "chat_template.jinja").write_text(template)
    ids = Tokenizer.from_folder(tmp_path).encode_chat(CHAT)
    request = ChatCompletionRequest.from_openai(CHAT)
    assert ids == MistralTokenizer.from_file(source).encode_chat_completion(request).tokens
    assert ids.count(1) == 1


# ---------------------------------------------------------------- tiktoken


def test_ranks_are_tiktoken(tmp_path: Path) -> None:
    """A folder as Llama 3's: tokenizer.model of ranks, and the special tokens beside it."""
    vocabulary = json.loads((mistral_data() / "tekken_240718.json").read_text(encoding="utf-8"))["vocab"]
    words = vocabulary[:20_000]
    ranks = "".join(f"{entry['token_bytes']} {entry['rank']}\n" for entry in words)
    (tmp_path / "tokenizer.model").write_text(ranks)
    names = ["<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|eot_id|>"]
    special = {text: len(words) + 2 * i for i, text in enumerate(names)}
    (tmp_path / "config.json").write_text('{"model_type": "llama", "eos_token_id": [20002, 20006]}')
    config = {
        "added_tokens_decoder": {str(i): {"content": t, "special": True} for t, i in special.items()},
        "bos_token": names[0],
        "eos_token": names[1],
    }
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    ours = Tokenizer.from_folder(tmp_path)

    pattern = (
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
        r"|\s*[\r\n]+|\s+(?!\S)|\s+"
    )
    theirs = tiktoken.Encoding(
        "test",
        pat_str=pattern,
        mergeable_ranks={base64.b64decode(entry["token_bytes"]): entry["rank"] for entry in words},
        special_tokens=special,
    )
    assert len(ours) == 20_004 and ours.eos_token_ids == (20_002, 20_006)
    for text in strings(names):
        ids = theirs.encode(text, allowed_special="all")
        assert ours.encode(text) == [special[names[0]], *ids], ascii(text)
        assert ours.decode(ids, skip_special_tokens=False) == theirs.decode(ids), ascii(text)


# ---------------------------------------------------------------- the demo model


def test_demo_is_tokenizers_and_transformers(demo_model_path: Path) -> None:
    ours = Tokenizer.from_folder(demo_model_path)
    library = tokenizers.Tokenizer.from_file(str(demo_model_path / "tokenizer.json"))
    transformers: Any = pytest.importorskip("transformers")
    theirs = transformers.AutoTokenizer.from_pretrained(demo_model_path)
    texts = strings(["<|im_start|>", "<|im_end|>", "<|endoftext|>", "<file_sep>"])
    for text in texts:
        clean = well_formed(text)
        ids = ours.encode(text)
        assert ids == library.encode(clean).ids == theirs(clean)["input_ids"], ascii(text)
        for skip in (False, True):
            decoded = ours.decode(ids, skip_special_tokens=skip)
            assert decoded == library.decode(ids, skip_special_tokens=skip), ascii(text)
            assert decoded == theirs.decode(
                ids, skip_special_tokens=skip, clean_up_tokenization_spaces=False
            ), ascii(text)
            assert "".join(stream(ours, [[i] for i in ids], skip)) == decoded, ascii(text)
