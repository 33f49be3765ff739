"""Hugging Face's methods equal transformers' own, and tokenizers of transformers are taken as they are."""

from __future__ import annotations

import random
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tokenizers
import torch
from tokenizers import AddedToken, models, normalizers, pre_tokenizers, processors

from minillm import LLM, SamplingParams, Transformer
from minillm.errors import MinillmError
from minillm.tokenizer.tokenizer import Tokenizer
from tests.minillm.test_tokenizer_folders import END, NAMED, TEXT, byte_level, folder_with, random_files
from tests.minillm.test_tokenizer_parity import SENTENCEPIECE, TEKKEN, mistral_data, strings

TEXTS = [TEXT, "", "Hello there, 你好 👋 <s>", " a\n\n  b ", "<|end|><|user|>x"]


def hugging_face() -> Any:
    return pytest.importorskip("transformers")


def theirs(folder: Path, **options: Any) -> Any:
    return hugging_face().AutoTokenizer.from_pretrained(folder, **options)


@pytest.fixture(scope="module")
def demo(demo_model_path: Path) -> tuple[Tokenizer, Any]:
    return Tokenizer.from_folder(demo_model_path), theirs(demo_model_path)


def same(found: Any, expected: Any) -> None:
    """Two encodings have the same keys and values, of the same kinds."""
    assert found.keys() == expected.keys()
    for name in expected:
        ours, other = found[name], expected[name]
        assert type(ours) is type(other) and getattr(found, name) is ours
        if isinstance(other, list):
            assert ours == other
        else:
            assert ours.dtype == other.dtype and ours.shape == other.shape and (ours == other).all()


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"use_fast": True, "trust_remote_code": True, "revision": "main", "token": None},
        {"padding_side": "left", "pad_token": "<|im_end|>", "model_max_length": 7},
        {
            "truncation_side": "left",
            "eos_token": "<|im_start|>",
            "chat_template": "{{ messages[0].content }}!",
        },
    ],
)
def test_from_pretrained_is_that_of_hugging_face(options: dict[str, Any], demo_model_path: Path) -> None:
    ours, other = (
        Tokenizer.from_pretrained(str(demo_model_path), **options),
        theirs(demo_model_path, **options),
    )
    for name in (
        "eos_token_id",
        "pad_token",
        "padding_side",
        "truncation_side",
        "name_or_path",
        "vocab_size",
    ):
        assert getattr(ours, name) == getattr(other, name), name
    same(ours(TEXTS, padding=True, truncation=True), other(TEXTS, padding=True, truncation=True))
    chat = [{"role": "user", "content": "Hello"}]
    assert ours.apply_chat_template(chat, tokenize=False) == other.apply_chat_template(chat, tokenize=False)


def test_what_from_pretrained_refuses(demo_model_path: Path, tmp_path: Path) -> None:
    for options, message in (
        ({"subfolder": "a"}, r"from_pretrained\(subfolder='a'\): Hugging Face has this argument"),
        ({"add_bos_token": True}, "add_bos_token=True"),
        ({"pad_tokens": "a"}, "from_pretrained has no argument 'pad_tokens'"),
        ({"padding_side": "top"}, "padding_side must be 'right' or 'left'"),
        ({"pad_token": "no such token"}, "the tokenizer has no token"),
    ):
        with pytest.raises(MinillmError, match=message):
            Tokenizer.from_pretrained(demo_model_path, **options)
    with pytest.raises(MinillmError, match="unknown tokenizer gpt5"):
        Tokenizer.from_pretrained("gpt5")
    with pytest.raises(MinillmError, match="~nobody/a"):
        Tokenizer.from_pretrained("~nobody/a")


@pytest.mark.parametrize("name", ["owner/words", "words"])
def test_from_pretrained_finds_what_the_hubs_cache_holds(
    name: str, demo_model_path: Path, tmp_path: Path
) -> None:
    """Also by a name of one word, as some of the oldest have."""
    pytest.importorskip("huggingface_hub")
    folder = tmp_path / f"models--{name.replace('/', '--')}"
    (folder / "refs").mkdir(parents=True)
    for branch, commit in (("main", "a" * 40), ("other", "b" * 40)):
        (folder / "refs" / branch).write_text(commit)
        (folder / "snapshots" / commit).mkdir(parents=True)
        shutil.copy(demo_model_path / "tokenizer.json", folder / "snapshots" / commit)
    (folder / "snapshots" / ("b" * 40) / "tokenizer_config.json").write_text('{"padding_side": "left"}')
    cached: dict[str, Any] = {"cache_dir": str(tmp_path), "local_files_only": True}
    for revision, side in ((None, "right"), ("main", "right"), ("other", "left"), ("b" * 40, "left")):
        ours = Tokenizer.from_pretrained(name, revision=revision, **cached)
        assert (ours.padding_side, ours.name_or_path) == (side, name)
        assert ours.encode(TEXT) == Tokenizer.from_pretrained(demo_model_path).encode(TEXT)
    message = "could not be fetched" if "/" in name else "unknown tokenizer"
    with pytest.raises(MinillmError, match=message):
        Tokenizer.from_pretrained(name, revision="none", **cached)


CALLS: list[dict[str, Any]] = [
    {},
    {"add_special_tokens": False},
    {"max_length": 5},
    {"max_length": 5, "truncation": False},
    {"truncation": True, "max_length": 3},
    {"truncation": "longest_first", "max_length": 4, "add_special_tokens": False},
    {"truncation": True},
    {"padding": True},
    {"padding": True, "padding_side": "left"},
    {"padding": "longest", "padding_side": "right", "pad_to_multiple_of": 8},
    {"padding": "max_length", "max_length": 30, "truncation": True},
    {"padding": "max_length", "max_length": 4},
    {"padding": True, "return_tensors": "pt"},
    {"padding": True, "return_tensors": "np", "truncation": True, "max_length": 7},
    {"padding": True, "return_attention_mask": False},
]


def check_calls(ours: Tokenizer, other: Any) -> None:
    """Every way to call the tokenizer gives what it gives in transformers."""
    other.pad_token = ours.pad_token = next(iter(ours.get_vocab()))
    assert ours.pad_token_id == other.pad_token_id and ours.pad_token == other.pad_token
    for options in CALLS:
        same(ours(TEXTS, **options), other(TEXTS, **options))
        for text in TEXTS:
            same(ours(text, **options), other(text, **options))
    ids = ours.encode(TEXT, max_length=4, return_tensors="pt")
    assert torch.equal(ids, other.encode(TEXT, max_length=4, return_tensors="pt"))
    other.truncation_side = ours.truncation_side = "left"
    same(ours(TEXTS, max_length=4), other(TEXTS, max_length=4))
    other.truncation_side = ours.truncation_side = "right"


def check_tokens(ours: Tokenizer, other: Any) -> None:
    """Tokens, vocabulary and roles are what they are in transformers."""
    assert len(ours) == len(other) and ours.vocab_size == other.vocab_size and ours.is_fast == other.is_fast
    assert ours.get_vocab() == other.get_vocab() and ours.get_added_vocab() == other.get_added_vocab()
    for text in TEXTS:
        for special in (True, False):
            assert ours.tokenize(text, add_special_tokens=special) == other.tokenize(
                text, add_special_tokens=special
            )
        tokens, ids = ours.tokenize(text), ours.encode(text)
        assert ours.convert_ids_to_tokens(ids) == other.convert_ids_to_tokens(ids)
        assert ours.convert_ids_to_tokens(ids, skip_special_tokens=True) == other.convert_ids_to_tokens(
            ids, skip_special_tokens=True
        )
        assert ours.convert_tokens_to_ids(tokens) == other.convert_tokens_to_ids(tokens)
        assert ours.convert_tokens_to_string(tokens) == other.convert_tokens_to_string(tokens)
    missing = [0, len(ours) + 7]
    assert ours.convert_ids_to_tokens(missing) == other.convert_ids_to_tokens(missing)
    assert ours.convert_ids_to_tokens(0) == other.convert_ids_to_tokens(0)
    assert ours.convert_tokens_to_ids("no such") == other.convert_tokens_to_ids("no such")
    batch = [ours.encode(text) for text in TEXTS]
    for skip in ({}, {"skip_special_tokens": True}):
        assert ours.batch_decode(batch, **skip) == other.batch_decode(batch, **skip)
        assert ours.batch_decode(batch[0], **skip) == other.batch_decode(batch[0], **skip)
    for role in ("bos", "eos", "unk", "sep", "pad", "cls", "mask"):
        for name in (f"{role}_token", f"{role}_token_id"):
            assert getattr(ours, name) == getattr(other, name), name
    assert ours.all_special_tokens == other.all_special_tokens
    assert ours.all_special_ids == other.all_special_ids
    assert ours.special_tokens_map == other.special_tokens_map
    for name in ("padding_side", "truncation_side", "model_max_length", "name_or_path", "chat_template"):
        assert getattr(ours, name) == getattr(other, name), name


def test_demo(demo: tuple[Tokenizer, Any], demo_model_path: Path) -> None:
    check_tokens(*demo)
    check_calls(Tokenizer.from_folder(demo_model_path), theirs(demo_model_path))


@pytest.mark.parametrize("files", NAMED, ids=range(len(NAMED)))
def test_folders(tmp_path: Path, files: dict[str, Any]) -> None:
    folder = folder_with(tmp_path, **files)
    check_tokens(Tokenizer.from_folder(folder), theirs(folder))
    check_calls(Tokenizer.from_folder(folder), theirs(folder))


@pytest.mark.parametrize("seed", range(30))
def test_any_folder(tmp_path: Path, seed: int) -> None:
    folder = folder_with(tmp_path, **random_files(random.Random(seed)))
    check_tokens(Tokenizer.from_folder(folder), theirs(folder))


def with_ends() -> tokenizers.Tokenizer:
    """A tokenizer.json that puts a token before a text and one after it."""
    backend = byte_level(AddedToken("<s>", special=True), AddedToken("</s>", special=True), END)
    ends = [(text, backend.token_to_id(text)) for text in ("<s>", "</s>")]
    backend.post_processor = processors.TemplateProcessing(single=["<s>", "$A", "</s>"], special_tokens=ends)
    return backend


def test_tokens_around_a_text(tmp_path: Path) -> None:
    settings = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "a", "model_max_length": 9}
    folder = folder_with(tmp_path, with_ends(), tokenizer_config=settings)
    ours = Tokenizer.from_folder(folder)
    check_tokens(ours, theirs(folder))
    check_calls(ours, theirs(folder))
    assert ours("abcdef", max_length=4).input_ids == [ours.bos_token_id, *ours.encode("ab", False), 257]
    assert ours("abc", max_length=2).input_ids == [256, 257]
    assert len(ours("a" * 50, truncation=True).input_ids) == 9
    with pytest.raises(MinillmError, match="max_length = 1 is less than the 2 special tokens"):
        ours("abc", max_length=1)


@pytest.mark.parametrize("kind", ["LlamaTokenizer", "GemmaTokenizer", "CohereTokenizerFast", "GPT2Tokenizer"])
@pytest.mark.parametrize("more", [{}, {"padding_side": "right", "truncation_side": "left"}])
def test_sides(tmp_path: Path, kind: str, more: dict[str, str]) -> None:
    folder = folder_with(tmp_path, tokenizer_config={"tokenizer_class": kind, **more})
    ours, other = Tokenizer.from_folder(folder), getattr(hugging_face(), kind.removesuffix("Fast"))
    other = other.from_pretrained(folder)
    assert (ours.padding_side, ours.truncation_side) == (other.padding_side, other.truncation_side)


@pytest.mark.parametrize("name", [*SENTENCEPIECE, *TEKKEN])
def test_mistral(tmp_path: Path, name: str) -> None:
    is_tekken = name in TEKKEN
    shutil.copy(mistral_data() / name, tmp_path / ("tekken.json" if is_tekken else "tokenizer.model"))
    ours = Tokenizer.from_folder(tmp_path)
    vocabulary = ours.get_vocab()
    assert len(ours) == ours.vocab_size and not ours.is_fast
    for text in strings(["<s>", "[INST]"], 60):
        ids, tokens = ours.encode(text), ours.tokenize(text, add_special_tokens=True)
        assert ours.convert_ids_to_tokens(ids) == tokens and ours.convert_tokens_to_string(
            tokens
        ) == ours.decode(ids, skip_special_tokens=False)
        if len(vocabulary) == len(ours):
            assert ours.convert_tokens_to_ids(tokens) == ids
        assert ours(text, max_length=3).input_ids == ids[:3]
    assert ours.bos_token == "<s>" and ours.eos_token == "</s>" and ours.unk_token_id == 0
    if not is_tekken:
        from sentencepiece import SentencePieceProcessor

        model = SentencePieceProcessor(model_file=str(mistral_data() / name))
        assert vocabulary == {model.id_to_piece(i): i for i in range(model.vocab_size())}


# ---------------------------------------------------------------- roles


def test_roles_can_be_given(tmp_path: Path) -> None:
    files = {"tokenizer_config": {"eos_token": "<|end|>"}, "config": {"eos_token_id": [7, 8]}}
    ours = Tokenizer.from_folder(folder_with(tmp_path, **files))
    assert ours.pad_token is None and ours.pad_token_id is None
    ours.pad_token = ours.eos_token
    assert ours.pad_token_id == ours.eos_token_id == 256 and ours.all_special_tokens == ["<|end|>"]
    assert ours.eos_token_ids == (7, 8, 256)
    ours.eos_token = "a"
    assert ours.eos_token_id == ours.encode("a")[0] and ours.eos_token_ids == (7, 8, ours.eos_token_id)
    ours.eos_token_id = 7
    assert ours.eos_token == ours.convert_ids_to_tokens(7) and ours.eos_token_ids == (7, 8)
    ours.eos_token = None
    assert ours.eos_token_id is None and ours.eos_token_ids == (7, 8)
    with pytest.raises(MinillmError, match=r"pad_token: the tokenizer has no token '\[PAD\]'; take one of"):
        ours.pad_token = "[PAD]"
    with pytest.raises(MinillmError, match="pad_token_id: the tokenizer has no token 999"):
        ours.pad_token_id = 999
    chat = [{"role": "user", "content": ""}]
    assert ours.chat_text(chat, chat_template="{{ pad_token }}") == "<|end|>"


def test_a_copy_has_roles_of_its_own(tmp_path: Path) -> None:
    ours = Tokenizer.from_folder(folder_with(tmp_path))
    copy = ours.with_end_tokens(tmp_path)
    copy.pad_token = "a"
    assert ours.pad_token is None and copy.pad_token == "a"


# ---------------------------------------------------------------- arguments


@pytest.mark.parametrize(
    ("arguments", "pattern"),
    [
        ({"text_pair": "b"}, r"tokenizer\(text_pair='b'\): Hugging Face has this argument, minillm does not"),
        ({"text_target": "b"}, "text_target"),
        ({"stride": 2}, r"stride=2"),
        ({"is_split_into_words": True}, "is_split_into_words"),
        ({"return_offsets_mapping": True}, "return_offsets_mapping"),
        ({"return_token_type_ids": True}, "return_token_type_ids"),
        ({"return_length": True}, "return_length"),
        ({"return_overflowing_tokens": True}, "return_overflowing_tokens"),
        ({"return_special_tokens_mask": True}, "return_special_tokens_mask"),
        ({"tokenizer_kwargs": {"a": 1}}, "tokenizer_kwargs"),
        ({"split_special_tokens": True}, "split_special_tokens"),
        ({"verbose": "yes"}, "verbose"),
        ({"paddding": True}, "tokenizer has no argument 'paddding'; leave it out"),
        ({"return_tensors": "tf"}, "return_tensors must be 'pt'"),
        ({"padding": "longer"}, "padding must be True"),
        ({"padding": ["a"]}, "padding must be True"),
        ({"padding": None}, "padding must be True"),
        ({"truncation": "only_second"}, "truncation must be True"),
        ({"max_length": -1}, "max_length must be a whole number"),
        ({"max_length": 2.5}, "max_length must be a whole number"),
        ({"max_length": True}, "max_length must be a whole number"),
        ({"padding_side": "up", "padding": True}, "padding_side must be 'right' or 'left', got 'up'"),
        ({"pad_to_multiple_of": 8}, "pad_to_multiple_of goes with padding"),
        ({"padding": True, "pad_to_multiple_of": 0}, "pad_to_multiple_of must be"),
        (
            {"padding": True, "truncation": True, "max_length": 5, "pad_to_multiple_of": 8},
            "max_length = 5 is no multiple of pad_to_multiple_of = 8",
        ),
    ],
)
def test_bad_arguments(demo_model_path: Path, arguments: dict[str, Any], pattern: str) -> None:
    ours = Tokenizer.from_folder(demo_model_path)
    with pytest.raises(MinillmError, match=pattern):
        ours("a", **arguments)


@pytest.mark.parametrize("text", [None, 3, b"a", [1, 2], [["a"]], [None], {"a": 1}])
def test_what_is_no_text(demo: tuple[Tokenizer, Any], text: Any) -> None:
    ours, _ = demo
    for method in (ours, ours.encode, ours.tokenize):
        with pytest.raises(MinillmError, match="text must be a text or a list of them, got"):
            method(text)


@pytest.mark.parametrize("ids", ["abc", None, 1.5, [1.5], ["a"], {"input_ids": [1]}, b"a"])
def test_what_are_no_ids(demo: tuple[Tokenizer, Any], ids: Any) -> None:
    ours, _ = demo
    for method in (ours.decode, ours.batch_decode, ours.convert_ids_to_tokens):
        with pytest.raises(MinillmError, match="token ids must be whole numbers, got"):
            method(ids)


def test_ids_of_every_kind(demo: tuple[Tokenizer, Any]) -> None:
    ours, other = demo
    ids = ours.encode("Hello there")
    kinds = (ids, tuple(ids), np.array(ids), torch.tensor(ids), [np.int64(i) for i in ids], iter(ids))
    assert {ours.decode(kind) for kind in kinds} == {"Hello there"}
    rows = [ids, ids[:1]]
    assert ours.decode(rows) == other.decode(rows) == ["Hello there", "Hello"]
    assert ours.decode(torch.tensor([ids, ids])) == ["Hello there"] * 2
    assert ours.decode(ids[0]) == ours.decode(torch.tensor(ids[0])) == "Hello"
    assert ours.decode([]) == "" and ours.batch_decode([]) == other.batch_decode([])
    with pytest.raises(MinillmError, match=r"decode\(clean_up_tokenization_spaces=True\)"):
        ours.decode(ids, clean_up_tokenization_spaces=True)
    with pytest.raises(MinillmError, match="decode has no argument 'spaces'"):
        ours.decode(ids, spaces=True)


def test_tensors_of_several_lengths(demo: tuple[Tokenizer, Any]) -> None:
    for kind in ("pt", "np"):
        with pytest.raises(MinillmError, match="texts of several lengths are no tensor; give padding=True"):
            demo[0](["a", "a b c"], return_tensors=kind)


def test_padding_needs_a_token(tmp_path: Path) -> None:
    ours = Tokenizer.from_folder(folder_with(tmp_path))
    with pytest.raises(MinillmError, match=r"no pad_token; set it first"):
        ours(["a", "bb"], padding=True)


def test_a_length_without_effect_is_a_warning(demo: tuple[Tokenizer, Any]) -> None:
    with pytest.warns(UserWarning, match="max_length has no effect"):
        assert len(demo[0]("a b c d", padding=True, max_length=2).input_ids) == 4


def test_an_encoding_goes_to_a_device(demo: tuple[Tokenizer, Any]) -> None:
    encoding = demo[0]("a b", return_tensors="pt").to("meta")
    assert encoding.input_ids.device.type == "meta" and {**encoding}.keys() == {"input_ids", "attention_mask"}
    with pytest.raises(AttributeError, match="token_type_ids"):
        _ = encoding.token_type_ids


def test_no_texts(demo: tuple[Tokenizer, Any]) -> None:
    assert demo[0]([]) == {"input_ids": [], "attention_mask": []}


# ---------------------------------------------------------------- changes, and files


@pytest.fixture(params=["demo", "ends"])
def folder(request: pytest.FixtureRequest, tmp_path: Path, demo_model_path: Path) -> Path:
    return demo_model_path if request.param == "demo" else folder_with(tmp_path, with_ends())


def test_tokens_are_added_as_theirs(folder: Path) -> None:
    ours, other = Tokenizer.from_folder(folder), theirs(folder)
    steps: list[tuple[str, tuple[Any, ...]]] = [
        ("add_tokens", ("newword",)),
        ("add_tokens", (["a", "newword", AddedToken("<act>", lstrip=True)],)),
        ("add_tokens", (["<mark>"], True)),
        ("add_special_tokens", ({"pad_token": "<pad>", "extra_special_tokens": ["<tool>", "<x>"]},)),
        ("add_special_tokens", ({"additional_special_tokens": ["<y>"]}, False)),
        ("add_special_tokens", ({"eos_token": AddedToken("<end>", special=True)},)),
        ("add_tokens", ([],)),
    ]
    for method, arguments in steps:
        assert getattr(ours, method)(*arguments) == getattr(other, method)(*arguments)
        check_tokens(ours, other)
        for text in ("a newword  <act> b<tool><pad><mark>", "<y><x><end>"):
            assert ours.encode(text) == other.encode(text)
            assert ours.decode(ours.encode(text)) == other.decode(ours.encode(text), skip_special_tokens=True)
    assert ours.num_special_tokens_to_add() == other.num_special_tokens_to_add()
    assert ours.max_len_single_sentence == other.max_len_single_sentence
    assert ours.vocab == other.vocab and ours.added_tokens_encoder == other.added_tokens_encoder


def test_tokens_are_added_to_ranks_and_pieces(tmp_path: Path) -> None:
    for name in (SENTENCEPIECE[0], TEKKEN[0]):
        target = "tekken.json" if name in TEKKEN else "tokenizer.model"
        shutil.copy(mistral_data() / name, tmp_path / target)
        ours = Tokenizer.from_folder(tmp_path)
        before, plain = len(ours), ours.encode("b", add_special_tokens=False)
        assert ours.add_tokens(["newword", "<s>"]) == 1 and len(ours) == before + 1
        assert ours.encode("newword", add_special_tokens=False) == [before]
        assert ours.encode("b", add_special_tokens=False) == plain and ours.decode([before]) == "newword"
        with pytest.raises(
            MinillmError, match=f"no tokenizer.json to write; copy its files from '{tmp_path}"
        ):
            ours.save_pretrained(tmp_path / "saved")
        (tmp_path / target).unlink()


@pytest.mark.parametrize("wrong", [{"pad": "a"}, {"pad_token": 3}, {"extra_special_tokens": "a"}])
def test_special_tokens_that_are_none(demo_model_path: Path, wrong: dict[str, Any]) -> None:
    with pytest.raises(MinillmError, match=r"is no role|a token must be|must be a list"):
        Tokenizer.from_folder(demo_model_path).add_special_tokens(wrong)


def test_files_are_read_by_both(folder: Path, tmp_path: Path) -> None:
    ours = Tokenizer.from_folder(folder)
    ours.add_special_tokens({"pad_token": "<pad>", "extra_special_tokens": ["<tool>"]})
    ours.chat_template, ours.padding_side, ours.model_max_length = "{{ messages }}", "left", 77
    paths = ours.save_pretrained(tmp_path / "saved", push_to_hub=False)
    assert all(Path(path).is_file() for path in paths)
    again, other = Tokenizer.from_folder(tmp_path / "saved"), theirs(tmp_path / "saved")
    check_tokens(again, other)
    assert again.get_vocab() == ours.get_vocab() and again.special_tokens_map == ours.special_tokens_map
    assert (again.padding_side, again.model_max_length) == ("left", 77)
    assert again.chat_templates == ours.chat_templates
    with pytest.raises(MinillmError, match="push_to_hub=True"):
        ours.save_pretrained(tmp_path, push_to_hub=True)


@pytest.mark.parametrize("config", [{}, {"padding_side": "right", "pad_token": "b"}])
def test_padding_and_truncation_in_the_file_say_only_how(tmp_path: Path, config: dict[str, str]) -> None:
    backend = byte_level(AddedToken("<pad>", special=True))
    backend.enable_truncation(2, direction="left")
    backend.enable_padding(direction="left", pad_id=256, pad_token="<pad>", length=20)
    folder = folder_with(tmp_path, backend, tokenizer_config=config)
    ours, other = Tokenizer.from_folder(folder), theirs(folder)
    check_tokens(ours, other)
    assert ours.padding_side == config.get("padding_side", "left") and ours.truncation_side == "left"
    calls: list[dict[str, Any]] = [{}, {"padding": True}, {"truncation": True, "max_length": 3}]
    for options in calls:
        same(ours(TEXTS, **options), other(TEXTS, **options))


PADDINGS: list[dict[str, Any]] = [
    {},
    {"padding": "max_length", "max_length": 30},
    {"padding_side": "left"},
    {"pad_to_multiple_of": 8},
    {"padding": False},
    {"return_attention_mask": False},
    {"return_tensors": "pt"},
    {"return_tensors": "np"},
]


@pytest.mark.parametrize("options", PADDINGS)
def test_encodings_are_padded_as_theirs(demo: tuple[Tokenizer, Any], options: dict[str, Any]) -> None:
    ours, other = demo
    one, several = ours("a b c"), ours(["a b c", "a", "b c d e f g"])
    rows = [{name: several[name][i] for name in several} for i in range(3)]
    bare: dict[str, Any] = {"input_ids": several.input_ids}
    encodings: list[Any] = [one, several, rows, bare, [{**row, "label": i} for i, row in enumerate(rows)]]
    for encoding in encodings[1:] if "return_tensors" in options else encodings:
        mine = other.pad(encoding, **{"return_attention_mask": True, **options})
        found = ours.pad(encoding, **options)
        if "return_attention_mask" in options:
            assert "attention_mask" not in found
            mine.pop("attention_mask", None)
        assert found.keys() == mine.keys()
        for name in mine:
            assert type(found[name]) is type(mine[name])
            assert (
                np.array_equal(found[name], mine[name])
                if "return_tensors" in options
                else (found[name] == mine[name])
            )
    with pytest.raises(MinillmError, match="pad needs encodings with input_ids, got ids"):
        ours.pad({"ids": [1]})


def test_what_is_not_built_is_named(demo: tuple[Tokenizer, Any]) -> None:
    ours, _ = demo
    with pytest.raises(MinillmError, match="have encode_plus, minillm's do not; call the tokenizer itself"):
        ours.encode_plus("a")
    assert not hasattr(ours, "backend_tokenizer") and getattr(ours, "parse_response", None) is None
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = ours.nonsense


# ---------------------------------------------------------------- their tokenizers, taken as they are

TEMPLATE = "{{ bos_token }}{% for m in messages %}<{{ m.role }}>{{ m.content }}{{ eos_token }}{% endfor %}"


def changed(folder: Path) -> Any:
    """A tokenizer of transformers that its user changed in memory."""
    other = theirs(folder)
    other.add_tokens(["newword", AddedToken("<act>", special=False, lstrip=True)])
    other.add_special_tokens({"pad_token": "<pad>", "extra_special_tokens": ["<tool>"]})
    other.eos_token, other.chat_template, other.padding_side = "<tool>", TEMPLATE, "left"
    other.model_max_length = 77
    return other


CHAT = [{"role": "user", "content": "hi newword"}, {"role": "assistant", "content": " yes  <act>"}]


def check_taken(other: Any) -> Tokenizer:
    ours = Tokenizer.from_hf(other)
    check_tokens(ours, other)
    for text in (*strings([*other.get_added_vocab()], 200), "a newword  <act> <tool><pad>"):
        clean = text.encode("utf-8", "replace").decode()
        for flag in (True, False):
            ids = other.encode(clean, add_special_tokens=flag)
            assert ours.encode(clean, flag) == ids, ascii(clean)
            assert ours.decode(ids, flag) == other.decode(ids, skip_special_tokens=flag), ascii(clean)
    assert ours.eos_token_ids == (() if other.eos_token_id is None else (other.eos_token_id,))
    return ours


def test_a_changed_tokenizer_is_taken_as_it_is(demo_model_path: Path) -> None:
    other = changed(demo_model_path)
    ours = check_taken(other)
    assert ours.chat_text(CHAT, add_generation_prompt=False) == other.apply_chat_template(
        CHAT, tokenize=False
    )
    same(ours.apply_chat_template(CHAT), other.apply_chat_template(CHAT))
    check_calls(ours, other)
    # A copy: what follows is not seen.
    other.add_tokens(["laterword"])
    assert "laterword" not in ours.get_vocab() and Tokenizer.from_hf(ours) is ours


@pytest.mark.parametrize("seed", range(5))
def test_any_changed_tokenizer_is_taken_as_it_is(tmp_path: Path, seed: int) -> None:
    folder = folder_with(tmp_path, with_ends(), **random_files(random.Random(seed)))
    other = theirs(folder)
    check_taken(other)
    other.add_tokens(["newword", "<act>"])
    other.split_special_tokens = seed % 2 == 1
    check_taken(other)


def test_several_templates_are_taken(demo_model_path: Path) -> None:
    other = theirs(demo_model_path)
    other.chat_template = {"default": "d", "tool_use": "t"}
    ours = Tokenizer.from_hf(other)
    assert ours.chat_text(CHAT) == "d" and ours.chat_text(CHAT, tools=[{}]) == "t"
    other.chat_template = None
    with pytest.raises(MinillmError, match="no chat template"):
        Tokenizer.from_hf(other).chat_text(CHAT)


def test_a_tokenizer_of_tokenizers_is_taken(demo_model_path: Path) -> None:
    library = tokenizers.Tokenizer.from_file(str(demo_model_path / "tokenizer.json"))
    library.add_tokens(["newword"])
    library.enable_truncation(3)
    ours = Tokenizer.from_hf(library)
    assert ours.encode("a newword b c d") == [*library.encode("a newword").ids, *library.encode(" b c d").ids]
    assert ours.eos_token_ids == () and ours.chat_template is None
    assert library.truncation["max_length"] == 3  # it is left as it was


def test_slow_tokenizers_are_taken_or_refused(tmp_path: Path) -> None:
    transformers = hugging_face()
    bytes_only = transformers.ByT5Tokenizer()
    with pytest.raises(MinillmError, match="a ByT5Tokenizer, is run by Python code of transformers"):
        Tokenizer.from_hf(bytes_only)


def test_a_class_that_encodes_in_its_own_way_is_refused(demo_model_path: Path) -> None:
    transformers = hugging_face()

    class Shouting(transformers.PreTrainedTokenizerFast):  # type: ignore[misc, name-defined]
        def _encode_plus(self, text: Any, **options: Any) -> Any:
            return super()._encode_plus(text.upper(), **options)

    other = Shouting(tokenizer_file=str(demo_model_path / "tokenizer.json"))
    with pytest.raises(MinillmError, match="a Shouting, is read otherwise than it works: 'Hello"):
        Tokenizer.from_hf(other)


def test_texts_that_are_cleaned_up_are_refused() -> None:
    transformers = hugging_face()
    backend = tokenizers.Tokenizer(models.WordLevel({"[UNK]": 0, "No": 1, ".": 2}, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    options = {"tokenizer_object": backend, "unk_token": "[UNK]"}
    check_plain = Tokenizer.from_hf(transformers.PreTrainedTokenizerFast(**options))
    assert check_plain.decode([1, 2]) == "No ."
    cleaned = transformers.PreTrainedTokenizerFast(**options, clean_up_tokenization_spaces=True)
    with pytest.raises(MinillmError, match="its decoded texts differ"):
        Tokenizer.from_hf(cleaned)


def test_parts_in_python_are_refused() -> None:
    class Python:
        def normalize(self, normalized: Any) -> None:
            normalized.uppercase()

    backend = byte_level()
    backend.normalizer = normalizers.Normalizer.custom(Python())
    with pytest.raises(MinillmError, match="the tokenizer cannot be stored"):
        Tokenizer.from_hf(backend)


@pytest.mark.parametrize("wrong", [3, ["a"], object(), lambda text: [1], {"a": 1}, np.zeros(3)])
def test_what_is_no_tokenizer(wrong: Any, tiny_llama: Callable[..., Transformer]) -> None:
    with pytest.raises(MinillmError, match=r"a tokenizer must be a folder, a hub id, .* got"):
        LLM(tiny_llama(), tokenizer=wrong)


def test_without_transformers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "transformers", raising=False)
    with pytest.raises(MinillmError, match="a tokenizer must be"):
        Tokenizer.from_hf(object())
    assert "transformers" not in sys.modules


def test_a_processor_is_told_from_its_tokenizer() -> None:
    class Processor:
        tokenizer = None

    with pytest.raises(MinillmError, match=r"give its \.tokenizer$"):
        Tokenizer.from_hf(Processor())


def test_an_llm_samples_with_their_tokenizer(
    tiny_llama: Callable[..., Transformer], demo_model_path: Path
) -> None:
    other = changed(demo_model_path)
    model = tiny_llama(vocab_size=len(other))
    llm = LLM(model, tokenizer=other, kv_cache_memory_bytes=1 << 22)
    (output,) = llm.generate("a newword<act>", SamplingParams(max_tokens=3, temperature=0))
    assert output.prompt_token_ids == other.encode("a newword<act>")
    assert output.outputs[0].text == other.decode(output.outputs[0].token_ids, skip_special_tokens=True)
    (output,) = llm.chat(CHAT, SamplingParams(max_tokens=1))
    assert output.prompt == other.apply_chat_template(CHAT, tokenize=False)
    # The end token is the one that its user chose.
    end = SamplingParams(max_tokens=5, allowed_token_ids=[other.eos_token_id])
    (output,) = llm.generate("a", end)
    assert output.outputs[0].finish_reason == "stop" and len(output.outputs[0].token_ids) == 1
