"""Tokens and chat templates that stand in the small files of a folder, as transformers reads them."""

from __future__ import annotations

import io
import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import sentencepiece
import tokenizers
from tokenizers import AddedToken, decoders, models, normalizers, pre_tokenizers

from minillm.errors import MinillmError
from minillm.tokenizer.tokenizer import IncrementalDecoder, Tokenizer

ALPHABET = sorted(pre_tokenizers.ByteLevel.alphabet())
N = len(ALPHABET)
USER = {"content": "<|user|>", "special": True}
TEXT = "a <|user|>  b <tool> é<|end|> c<|user|>"


def byte_level(*added: AddedToken) -> tokenizers.Tokenizer:
    """One token a byte, and `added`."""
    backend = tokenizers.Tokenizer(models.BPE({char: i for i, char in enumerate(ALPHABET)}, []))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_tokens(list(added))
    return backend


# The end of a text, which tokenizer.json does not call special.
END = AddedToken("<|end|>", special=False, normalized=False)


def folder_with(path: Path, backend: tokenizers.Tokenizer | None = None, **files: Any) -> Path:
    path.mkdir(exist_ok=True)
    (backend or byte_level(END)).save(str(path / "tokenizer.json"))
    for name, content in files.items():
        (path / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")
    return path


def theirs(folder: Path) -> Any:
    transformers: Any = pytest.importorskip("transformers")
    return transformers.AutoTokenizer.from_pretrained(folder)


def check_equal(folder: Path, text: str = TEXT) -> Tokenizer:
    """Ours, after it was seen to equal transformers' in ids, texts and the roles of tokens."""
    ours, other = Tokenizer.from_folder(folder), theirs(folder)
    assert len(ours) == len(other)
    for add_special_tokens in (True, False):
        ids = ours.encode(text, add_special_tokens)
        assert ids == other.encode(text, add_special_tokens=add_special_tokens)
        for skip in (True, False):
            whole = other.decode(ids, skip_special_tokens=skip)
            decoder = IncrementalDecoder(ours, skip_special_tokens=skip)
            assert ours.decode(ids, skip) == whole
            assert "".join([*(decoder.add([i]) for i in ids), decoder.flush()]) == whole
    roles = "{{ [bos_token, eos_token, pad_token, image_token] }}"
    chat = [{"role": "user", "content": ""}]
    said = other.apply_chat_template(chat, chat_template=roles, tokenize=False)
    assert ours.chat_text(chat, chat_template=roles) == said
    assert ours.bos_token_id == other.bos_token_id
    assert ours.eos_token_ids == (() if other.eos_token_id is None else (other.eos_token_id,))
    return ours


# ---------------------------------------------------------------- tokens

NAMED: list[dict[str, Any]] = [
    {"tokenizer_config": {"added_tokens_decoder": {str(N + 1): USER}}},
    {"tokenizer_config": {"added_tokens_decoder": {str(N + 1): {**USER, "special": False, "lstrip": True}}}},
    {"tokenizer_config": {"added_tokens_decoder": {str(N + 1): {**USER, "rstrip": True}}, "eos_token": "a"}},
    {"added_tokens": {"<|user|>": N + 1}},
    {"added_tokens": {"<|end|>": N, "<|user|>": N + 1, "<tool>": N + 2}},
    {"added_tokens": {"<|user|>": N + 1}, "special_tokens_map": {"additional_special_tokens": ["<|user|>"]}},
    {"special_tokens_map": {"bos_token": "<|user|>", "eos_token": "<|end|>"}},
    {"special_tokens_map": {"eos_token": {"content": "<|user|>", "rstrip": True, "lstrip": True}}},
    {"special_tokens_map": {"additional_special_tokens": ["<tool>", "<|user|>"], "pad_token": "<pad>"}},
    {"special_tokens_map": {"extra_special_tokens": [{"content": "<tool>", "rstrip": True}, "<|user|>"]}},
    {"special_tokens_map": {"eos_token": "<|end|>"}, "tokenizer_config": {"eos_token": "<|user|>"}},
    {"tokenizer_config": {"eos_token": "<|end|>", "image_token": "<|user|>", "add_bos_token": True}},
    {"tokenizer_config": {"eos_token": {"__type": "AddedToken", "content": "<|user|>", "rstrip": True}}},
    {"tokenizer_config": {"mask_token": "<m>", "extra_special_tokens": ["<|user|>"], "sep_token": "<tool>"}},
    {"tokenizer_config": {"extra_special_tokens": {"image_token": "<|end|>", "own": "<|user|>"}}},
    {"tokenizer_config": {"eos_token": "c", "pad_token": "c", "bos_token": None}},
    {"tokenizer_config": {"image_token": "<|user|>"}, "special_tokens_map": {"own_token": "<tool>"}},
    {"tokenizer_config": {"extra_special_tokens": [{"__type": "AddedToken", "content": "<|user|>"}, "<t>"]}},
    {"tokenizer_config": {"extra_special_tokens": [{"__type": "AddedToken", **USER, "lstrip": True}]}},
    {"tokenizer_config": {"eos_token": "<|end|>", "pad_token": "<|user|>", "split_special_tokens": True}},
    {"added_tokens": {"<tool>": N + 1}, "tokenizer_config": {"pad_token": "b", "split_special_tokens": True}},
]


@pytest.mark.parametrize("files", NAMED, ids=range(len(NAMED)))
def test_named_tokens_are_transformers(tmp_path: Path, files: dict[str, Any]) -> None:
    check_equal(folder_with(tmp_path, **files))


def random_files(rng: random.Random) -> dict[str, Any]:
    """Files of an older folder or of a newer one, in which all kinds of tokens are named in all ways."""

    def some(texts: Sequence[str], most: int) -> list[str]:
        return rng.sample(texts, rng.randint(0, most))

    def flags() -> dict[str, bool]:
        names = some(["lstrip", "rstrip", "single_word", "normalized"], 3)
        return {name: rng.random() < 0.5 for name in names}

    def said(text: str, **more: Any) -> Any:
        return rng.choice([text, {"content": text, **flags(), **more}])

    texts = ["<|end|>", "<|user|>", "<tool>", "<a>", "b", "c"]
    new = {text: N + 1 + i for i, text in enumerate(some(texts[1:4], 3))}
    newer, typed = rng.random() < 0.5, {"__type": "AddedToken", "special": True}
    config: dict[str, Any] = {
        role: said(rng.choice(texts), **typed) for role in some(["eos_token", "bos_token", "pad_token"], 3)
    }
    if rng.random() < 0.5:
        config["additional_special_tokens"] = [said(text, **typed) if newer else text for text in texts[3:5]]
    if newer:
        listed = {"<|end|>": N, **new}
        decoder = {
            str(i): {"content": text, "special": rng.random() < 0.5, **flags()} for text, i in listed.items()
        }
        return {"tokenizer_config": {**config, "added_tokens_decoder": decoder}}
    roles = {role: said(rng.choice(texts)) for role in some(["eos_token", "pad_token", "own_token"], 3)}
    roles["extra_special_tokens"] = [said(text) for text in some(texts, 2)]
    return {"tokenizer_config": config, "special_tokens_map": roles, "added_tokens": new}


@pytest.mark.parametrize("seed", range(30))
def test_any_folder_is_transformers(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    folder = folder_with(tmp_path, **random_files(rng))
    pieces = ["<|end|>", "<|user|>", "<tool>", "<a>", "b", "c", " ", "  ", "é", "<", "x"]
    check_equal(folder, "".join(rng.choices(pieces, k=40)))


def test_a_role_makes_a_token_special_before_text_is_normalized(tmp_path: Path) -> None:
    backend = byte_level(END)
    backend.normalizer = normalizers.Lowercase()
    decoder = {str(N + 1): {"content": "<|user|>", "special": False}}
    config: dict[str, Any] = {"added_tokens_decoder": decoder}
    text = "<|user|><|USER|>"
    folder = folder_with(tmp_path, backend, tokenizer_config=config)
    assert check_equal(folder, text).encode(text) == [N + 1, N + 1]
    folder = folder_with(tmp_path, backend, tokenizer_config={**config, "pad_token": "<|user|>"})
    assert len(check_equal(folder, text).encode(text)) == 9


def test_each_file_makes_one_token(tmp_path: Path) -> None:
    files: dict[str, Any] = {
        "tokenizer_config": {"added_tokens_decoder": {str(N + 1): USER}},
        "added_tokens": {"<tool>": N + 2},
        "special_tokens_map": {"eos_token": "<|end|>", "pad_token": "<pad>"},
    }
    tokenizer = Tokenizer.from_folder(folder_with(tmp_path, **files))
    ids = tokenizer.encode("<|user|><tool><|end|><pad>", False)
    assert ids == [N + 1, N + 2, N, N + 3]
    # The two that have a role or a flag are special, <|end|> too, which tokenizer.json does not call so.
    assert tokenizer.decode(ids) == "<tool>" and tokenizer.eos_token_ids == (N,)


def test_flags_of_tokenizer_json_stay_where_no_file_has_others(tmp_path: Path) -> None:
    backend = byte_level(AddedToken("<|user|>", special=True, lstrip=True, rstrip=True))
    folder = folder_with(tmp_path, backend, added_tokens={"<|user|>": N})
    assert check_equal(folder).encode("a <|user|> b", False) == check_equal(folder).encode(
        "a<|user|>b", False
    )
    plain = {"added_tokens_decoder": {str(N): {"content": "<|user|>", "special": False}}}
    ours = check_equal(folder_with(tmp_path, backend, tokenizer_config=plain))
    assert len(ours.encode("a <|user|> b", False)) == 5
    assert ours.decode([N]) == ""  # special for one file is special


def test_what_is_special(tmp_path: Path) -> None:
    ends = {"added_tokens_decoder": {str(N + 1): USER}}
    # A role says more than tokenizer.json, which another list of added tokens does not change.
    role = Tokenizer.from_folder(folder_with(tmp_path, tokenizer_config={**ends, "eos_token": "<|end|>"}))
    assert role.decode([N, N + 1]) == "" and role.eos_token_ids == (N,)
    # A list says less.
    for key in ("additional_special_tokens", "extra_special_tokens"):
        listed = check_equal(folder_with(tmp_path, tokenizer_config={key: ["<|end|>", "<|user|>"]}))
        assert listed.decode([N, N + 1]) == "<|end|>"


def test_ids_with_a_gap_are_those_given(tmp_path: Path) -> None:
    config = {"added_tokens_decoder": {"400": USER, "300": {"content": "<tool>"}}, "pad_token": "<pad>"}
    tokenizer = Tokenizer.from_folder(folder_with(tmp_path, tokenizer_config=config))
    ids = tokenizer.encode("a<|user|><tool><|end|><pad>", False)
    assert ids == [tokenizer.encode("a")[0], 400, 300, N, 401]
    assert tokenizer.decode(ids) == "a<tool><|end|>"
    # A list of pieces, in which an id is a place, can have no gap.
    pieces = tokenizers.Tokenizer(models.Unigram([("<unk>", 0.0), ("a", -1.0)], 0, False))
    with pytest.raises(MinillmError, match=r"tokenizer\.json ends before the token '<\|user\|>' of id 400"):
        Tokenizer.from_folder(folder_with(tmp_path, pieces, tokenizer_config=config))


def test_text_and_image_models_have_their_ids_inside(tmp_path: Path) -> None:
    config = {"model_type": "mistral3", "text_config": {"eos_token_id": [7, 8], "bos_token_id": 3}}
    tokenizer = Tokenizer.from_folder(folder_with(tmp_path, config=config))
    assert tokenizer.eos_token_ids == (7, 8) and tokenizer.bos_token_id == 3


def test_sentencepiece_takes_names_from_every_file(tmp_path: Path) -> None:
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(["the quick brown fox"] * 4), model_writer=model, vocab_size=300,
        model_type="bpe", byte_fallback=True, hard_vocab_limit=False, minloglevel=2,
    )  # fmt: skip
    (tmp_path / "tokenizer.model").write_bytes(model.getvalue())
    size = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue()).vocab_size()
    files = {
        "special_tokens_map": {"eos_token": "<|end|>", "additional_special_tokens": ["<|user|>", "<unk>"]},
        "tokenizer_config": {"extra_special_tokens": {"image_token": "<img>"}},
        "added_tokens": {"<|end|>": size, "<tool>": size + 1},
    }
    for name, content in files.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")
    tokenizer = Tokenizer.from_folder(tmp_path)
    ids = tokenizer.encode("<|end|><tool><img><|user|><unk>", False)
    assert ids == [size, size + 1, size + 2, size + 3, 0] and tokenizer.decode(ids) == "<tool>"
    assert tokenizer.eos_token_ids == (size,) and tokenizer.bos_token_id == 1
    (tmp_path / "tokenizer_config.json").write_text('{"split_special_tokens": true}')
    ids = Tokenizer.from_folder(tmp_path).encode("<tool><|end|>", False)
    # What is not special is found all the same.
    assert ids[0] == size + 1 and size not in ids and len(ids) > 2


@pytest.mark.parametrize(
    ("files", "pattern"),
    [
        (
            {"tokenizer_config": {"added_tokens_decoder": {"5": USER}}},
            r"tokenizer\.json has '&' as the token 5, but the files beside it have '<\|user\|>'; take all",
        ),
        (
            {"added_tokens": {"<|end|>": N + 3}},
            rf"tokenizer\.json has '<\|end\|>' as the token {N}, but the files beside it as {N + 3}; take",
        ),
        (
            {"tokenizer_config": {"added_tokens_decoder": {"300": USER, "301": USER}}},
            r"tokenizer_config\.json gives '<\|user\|>' the id 301, but it is 300 too; correct",
        ),
        (
            {"added_tokens": {"<a>": N + 1, "<b>": N + 1}},
            rf"added_tokens\.json gives '<b>' the id {N + 1}, which '<a>' has too; correct",
        ),
        ({"tokenizer_config": {"eos_token": 5}}, r"tokenizer_config\.json has eos_token = 5; expected"),
        ({"special_tokens_map": {"pad_token": ["a"]}}, r"special_tokens_map\.json has pad_token = \['a'\]"),
        ({"tokenizer_config": {"extra_special_tokens": {"own": 1}}}, r"tokenizer_config\.json has own = 1"),
        (
            {"special_tokens_map": {"additional_special_tokens": "<a>"}},
            r"special_tokens_map\.json does not list added tokens .*additional_special_tokens: '<a>' is not",
        ),
        ({"tokenizer_config": {"extra_special_tokens": [1]}}, r"extra_special_tokens: 1 is not a token"),
        ({"tokenizer_config": {"added_tokens_decoder": ["a"]}}, r"does not list .*added_tokens_decoder"),
        ({"tokenizer_config": {"chat_template": [{"name": "a"}]}}, r"tokenizer_config\.json has a chat_temp"),
        ({"tokenizer_config": {"chat_template": 5}}, r"tokenizer_config\.json has a chat_template that is"),
        ({"special_tokens_map": []}, r"special_tokens_map\.json is not valid JSON \(not a JSON object\); f"),
    ],
)
def test_what_is_broken_is_named(tmp_path: Path, files: dict[str, Any], pattern: str) -> None:
    with pytest.raises(MinillmError, match=pattern) as caught:
        Tokenizer.from_folder(folder_with(tmp_path, **files))
    assert "\n" not in str(caught.value)


# ---------------------------------------------------------------- chat templates

CHAT = [{"role": "user", "content": "hi"}]
TOOLS = [{"type": "function", "function": {"name": "f", "parameters": {}}}]


def rendered(folder: Path, **options: Any) -> str:
    """The text of `CHAT`, the same as transformers'."""
    said = theirs(folder).apply_chat_template(CHAT, tokenize=False, **options)
    assert Tokenizer.from_folder(folder).chat_text(CHAT, add_generation_prompt=False, **options) == said
    return str(said)


def named(**templates: str) -> list[dict[str, str]]:
    return [{"name": name, "template": text} for name, text in templates.items()]


def test_named_templates(tmp_path: Path) -> None:
    listed = named(default="D {{ messages[0].content }}", tool_use="T{{ tools | length }}", rag="R")
    folder = folder_with(tmp_path, tokenizer_config={"chat_template": listed})
    assert rendered(folder) == "D hi" and rendered(folder, chat_template="rag") == "R"
    assert rendered(folder, tools=TOOLS) == "T1" and rendered(folder, tools=[]) == "T0"
    assert rendered(folder, tools=TOOLS, chat_template="default") == "D hi"
    assert rendered(folder, chat_template="J {{ messages[0].role }}") == "J user"
    tokenizer = Tokenizer.from_folder(folder)
    assert tokenizer.chat_template == "D {{ messages[0].content }}"
    assert tokenizer.encode_chat(CHAT, tools=TOOLS) == tokenizer.encode("T1", False)
    tokenizer.chat_template = "mine"
    assert tokenizer.chat_text(CHAT, tools=TOOLS) == "mine"


def test_no_default_names_the_others(tmp_path: Path) -> None:
    folder = folder_with(tmp_path, tokenizer_config={"chat_template": named(rag="R", tool_use="T")})
    assert rendered(folder, chat_template="rag") == "R" and rendered(folder, tools=TOOLS) == "T"
    tokenizer = Tokenizer.from_folder(folder)
    assert tokenizer.chat_template is None
    with pytest.raises(MinillmError, match="the chat templates 'rag', 'tool_use' and none called 'default'"):
        tokenizer.chat_text(CHAT)


def test_templates_in_files(tmp_path: Path) -> None:
    listed = {"chat_template": named(default="config", tool_use="T")}
    folder = folder_with(tmp_path, tokenizer_config=listed)
    (folder / "chat_template.json").write_text('{"chat_template": "processor"}')
    assert rendered(folder) == "config"
    (folder / "additional_chat_templates").mkdir()
    (folder / "additional_chat_templates" / "rag.jinja").write_text("R é\n", encoding="utf-8")
    # Files take the place of all that tokenizer_config.json has.
    assert rendered(folder, chat_template="rag") == "R é"
    with pytest.raises(MinillmError, match="the chat templates 'rag' and none called 'default'"):
        Tokenizer.from_folder(folder).chat_text(CHAT, tools=TOOLS)
    (folder / "chat_template.jinja").write_text("own file")
    assert rendered(folder) == rendered(folder, tools=TOOLS) == "own file"
    (folder / "additional_chat_templates" / "tool_use.jinja").write_text("{{ raise_exception('no') }}")
    with pytest.raises(
        MinillmError, match=r"template 'tool_use' of .*tool_use\.jinja refuses .*: no; change"
    ):
        Tokenizer.from_folder(folder).chat_text(CHAT, tools=TOOLS)
    (folder / "chat_template.jinja").write_bytes(b"\xff")
    with pytest.raises(MinillmError, match=r"chat_template\.jinja is not UTF-8"):
        Tokenizer.from_folder(folder)


def test_template_of_an_older_processor(tmp_path: Path) -> None:
    folder = folder_with(tmp_path, chat_template={"chat_template": "{{ messages[0].content }}!"})
    assert Tokenizer.from_folder(folder).chat_text(CHAT) == "hi!"
