"""Tokenizers of GGUF files: the tokens of the tokenizer that a file was made from, and what ends a text."""

from __future__ import annotations

import io
import json
import random
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import sentencepiece
import tokenizers
from tokenizers import Regex, decoders, models, normalizers, pre_tokenizers, trainers

from minillm.checkpoint.gguf.convert import import_gguf
from minillm.checkpoint.gguf.pretokenizers import PRE_TOKENIZERS
from minillm.errors import MinillmError
from minillm.tokenizer.tokenizer import Tokenizer

WriteGguf = Callable[..., Any]

TEXTS = [
    "",
    " ",
    "Hello world, it's 12345 o'clock; HE'LL go!",
    "  two  spaces\n\n\n  and\ttabs \r\n here   ",
    "3 33 333 3333 33333 333333 3.3 3..3 ½ ² ٣٤٥ 1,234,567",
    "naïve café cafe\u0301 Straße ΑΒΓ αβγ Привет мир שלום नमस्ते",
    "我想在apple工作1314151天\uff5e ひらがな カタカナ 한국어 🦙🚀 👩\u200d👩",
    "def f(x):\n    return x**2  # [square] {of} <x>\n\n\tpass/ `a` ~b^c| $5",
    "camelCaseWord HTTPServer iPhone ǅungla ''''''```````\"\"\"\" ------=======",
    "a\u00a0b\u3000c\u2028d <s> </s> [INST] <|im_end|><|im_start|>x",
    "don't DON'T we'Ve you'RE i'M 'tis",
    "trailing space ",
]
CORPUS = [*TEXTS, "the quick brown fox jumps over the lazy dog 1234567890 " * 3, "我想 工作 的 天 了 是"] * 4

WORDS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|"
REST = r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
UP, LOW = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"


def cased(contractions: str, digits: str) -> str:
    return (
        rf"[^\r\n\p{{L}}\p{{N}}]?{UP}*{LOW}+{contractions}|[^\r\n\p{{L}}\p{{N}}]?{UP}+{LOW}*{contractions}|"
        rf"\p{{N}}{digits}| ?[^\s\p{{L}}\p{{N}}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    )


BYTES = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
GPT2 = pre_tokenizers.ByteLevel(add_prefix_space=False)
DIGITS = pre_tokenizers.Digits(individual_digits=True)


def cut(*patterns: str) -> Any:
    splits = [pre_tokenizers.Split(Regex(p), "isolated") for p in patterns]
    return pre_tokenizers.Sequence([*splits, BYTES])


def steps(*parts: Any) -> Any:
    return pre_tokenizers.Sequence(list(parts))


def of_transformers(module: str, name: str) -> tuple[Any, Any]:
    """(pre-tokenizer, normalizer) of a class of transformers."""
    pytest.importorskip("transformers")
    import importlib

    made = getattr(importlib.import_module(f"transformers.models.{module}"), name)(vocab={}, merges=[])
    return made.backend_tokenizer.pre_tokenizer, made.backend_tokenizer.normalizer


# Name in GGUF files -> pre-tokenizer and normalizer of the model's own tokenizer.
REFERENCES: dict[str, Callable[[], tuple[Any, Any]]] = {
    "gpt-2": lambda: of_transformers("gpt2", "GPT2Tokenizer"),
    "phi-2": lambda: of_transformers("codegen", "CodeGenTokenizer"),
    "exaone4": lambda: (GPT2, None),
    "trillion": lambda: (GPT2, None),
    "mpt": lambda: of_transformers("gpt_neox", "GPTNeoXTokenizer"),
    "olmo": lambda: of_transformers("gpt_neox", "GPTNeoXTokenizer"),
    "smollm": lambda: (steps(DIGITS, GPT2), None),
    "starcoder": lambda: (steps(DIGITS, GPT2), None),
    "refact": lambda: (steps(DIGITS, GPT2), None),
    "command-r": lambda: of_transformers("cohere", "CohereTokenizer"),
    "llama-bpe": lambda: (cut(WORDS + r"\p{N}{1,3}|" + REST), None),
    "llama3": lambda: (cut(WORDS + r"\p{N}{1,3}|" + REST), None),
    "llama-v3": lambda: (cut(WORDS + r"\p{N}{1,3}|" + REST), None),
    "dbrx": lambda: (cut(WORDS + r"\p{N}{1,3}|" + REST), None),
    "smaug-bpe": lambda: (cut(WORDS + r"\p{N}{1,3}|" + REST), None),
    "glm4": lambda: (cut(WORDS + r"\p{N}{1,3}|" + REST), None),
    "chatglm-bpe": lambda: (cut(WORDS + r"\p{N}{1,3}|" + REST), None),
    "qwen2": lambda: of_transformers("qwen2", "Qwen2Tokenizer"),
    "deepseek-r1-qwen": lambda: of_transformers("qwen2", "Qwen2Tokenizer"),
    "stablelm2": lambda: (cut(WORDS + r"\p{N}|" + REST), None),
    "hunyuan": lambda: (cut(WORDS + r"\p{N}|" + REST), None),
    "qwen35": lambda: of_transformers("qwen3_5", "Qwen3_5Tokenizer"),
    "gpt-4o": lambda: (cut(cased("(?i:'s|'t|'re|'ve|'m|'ll|'d)?", "{1,3}")), None),
    "llama4": lambda: (cut(cased("(?i:'s|'t|'re|'ve|'m|'ll|'d)?", "{1,3}")), None),
    "minimax-m2": lambda: (cut(cased("(?i:'s|'t|'re|'ve|'m|'ll|'d)?", "{1,3}")), None),
    "tekken": lambda: (cut(cased("", "")), None),
    "deepseek-v3": lambda: (cut(*DEEPSEEK_V3), None),
    "hunyuan-dense": lambda: (cut(*DEEPSEEK_V3), None),
    "deepseek-coder": lambda: (
        steps(
            *(pre_tokenizers.Split(Regex(p), "isolated") for p in (r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+")),
            pre_tokenizers.Split(Regex("[一-龥ࠀ-一가-퟿]+"), "isolated"),
            DIGITS,
            BYTES,
        ),
        None,
    ),
    "falcon": lambda: (
        steps(
            pre_tokenizers.Punctuation("contiguous"),
            GPT2,
            pre_tokenizers.Digits(individual_digits=False),
            pre_tokenizers.Split(Regex("[0-9][0-9][0-9]"), "isolated"),
        ),
        None,
    ),
    "seed-coder": lambda: (
        cut(WORDS + r"\p{N}{1}| ?[^\s\p{L}\p{N}\r\n]+|\s*[\r\n]+|\s+(?!\S)|\s+"),
        None,
    ),
    "superbpe": lambda: (cut(r"\p{N}+", r"(?=(\d{3})+(?!\d))"), None),
    "jais-2": lambda: (cut(WORDS + r"\p{N}{1,3}|" + REST.removesuffix(r"\s+(?!\S)|\s+") + CASCADE), None),
    "default": lambda: (
        cut(
            r"[\p{P}\$\+<=>\^~\|]+",
            r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)",
            r"\p{N}+",
            "[0-9][0-9][0-9]",
        ),
        None,
    ),
}
DEEPSEEK_V3 = (
    r"\p{N}{1,3}",
    "[一-龥\u3040-\u309f\u30a0-\u30ff]+",
    r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+|"
    r" ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
)
CASCADE = r"\s{512}(?!\S)|\s{256}(?!\S)|\s{128}(?!\S)|\s{64}(?!\S)|\s{32}(?!\S)|\s{16}(?!\S)|\s{8}(?!\S)|"
CASCADE += r"\s{4}(?!\S)|\s{1,2}(?!\S)|\s{1}"

SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]


def vocabulary_of(tokenizer: tokenizers.Tokenizer) -> tuple[list[str], list[int], list[str], list[float]]:
    """Tokens, types and merges as GGUF files have them."""
    state = json.loads(tokenizer.to_str())
    words = sorted(tokenizer.get_vocab(with_added_tokens=True).items(), key=lambda pair: pair[1])
    added = {token["content"]: token["special"] for token in state["added_tokens"]}
    kinds = [3 if added.get(word) else 4 if word in added else 1 for word, _ in words]
    return [word for word, _ in words], kinds, [" ".join(pair) for pair in state["model"]["merges"]], []


def test_every_pre_tokenizer_has_a_reference() -> None:
    assert REFERENCES.keys() == PRE_TOKENIZERS.keys()


@pytest.mark.parametrize("pre", REFERENCES)
def test_byte_level(pre: str, tmp_path: Path, write_gguf: WriteGguf) -> None:
    whole_words = pre in ("llama-bpe", "llama3", "llama-v3", "tekken")
    theirs = tokenizers.Tokenizer(models.BPE(ignore_merges=whole_words))
    theirs.pre_tokenizer, normalizer = REFERENCES[pre]()
    if normalizer is not None:
        theirs.normalizer = normalizer
    theirs.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=420, initial_alphabet=alphabet, special_tokens=SPECIAL, show_progress=False
    )
    theirs.train_from_iterator(CORPUS, trainer)
    theirs.add_tokens([tokenizers.AddedToken("[INST]", normalized=False)])
    path = write_gguf(tmp_path / "a.gguf", pre=pre, vocabulary=vocabulary_of(theirs)).path
    import_gguf(path, tmp_path)
    ours = Tokenizer.from_folder(tmp_path)
    for text in TEXTS:
        ids = ours.encode(text)
        assert ids == theirs.encode(text).ids, text
        assert ours.decode(ids, skip_special_tokens=False) == theirs.decode(ids, skip_special_tokens=False)


@pytest.mark.parametrize(
    ("pre", "keys", "first", "last"),
    [
        ("llama-bpe", {}, True, False),
        ("tekken", {}, True, False),
        ("qwen2", {}, False, False),
        ("llama-bpe", {"add_bos_token": False}, False, False),
        ("qwen2", {"add_bos_token": True, "add_eos_token": True}, True, True),
    ],
)
def test_around_a_text(
    tmp_path: Path, write_gguf: WriteGguf, pre: str, keys: dict[str, bool], first: bool, last: bool
) -> None:
    extra = {f"tokenizer.ggml.{key}": value for key, value in keys.items()}
    import_gguf(write_gguf(tmp_path / "a.gguf", pre=pre, extra_keys=extra).path, tmp_path)
    tokenizer = Tokenizer.from_folder(tmp_path)
    plain = tokenizer.encode("hi", add_special_tokens=False)
    assert tokenizer.encode("hi") == [1] * first + plain + [2] * last


# ---------------------------------------------------------------- SentencePiece


def trained(**options: Any) -> bytes:
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(CORPUS),
        model_writer=model,
        model_type="bpe",
        vocab_size=600,
        byte_fallback=True,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        hard_vocab_limit=False,
        minloglevel=2,
        **options,
    )
    return model.getvalue()


def pieces_of(model: bytes) -> tuple[list[str], list[int], list[str], list[float]]:
    plain = sentencepiece.SentencePieceProcessor(model_proto=model)
    ids = range(plain.vocab_size())
    kinds = [
        2 if plain.is_unknown(i) else 3 if plain.is_control(i) else 6 if plain.is_byte(i) else 1 for i in ids
    ]
    return [plain.id_to_piece(i) for i in ids], kinds, [], [plain.get_score(i) for i in ids]


def strings() -> list[str]:
    """Random mixtures of the texts' characters, with runs of spaces."""
    chars = random.Random(0)
    letters = sorted(set("".join(TEXTS[:9]))) + [" "] * 40 + list("etaoin")
    return ["".join(chars.choices(letters, k=chars.randrange(1, 30))) for _ in range(200)]


@pytest.mark.parametrize("prefix", [True, False])
def test_sentencepiece(tmp_path: Path, write_gguf: WriteGguf, prefix: bool) -> None:
    model = trained(add_dummy_prefix=prefix)
    words, kinds, merges, scores = pieces_of(model)
    # All runs of spaces score alike in published models: which is made first is a matter of place.
    scores = [-5.0 if set(word) == {"▁"} else score for word, score in zip(words, scores, strict=True)]
    words, kinds, scores = [*words, "<tool>", "  "], [*kinds, 4, 4], [*scores, -1000.0, -1000.0]
    keys = {
        "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.ggml.eos_token_id": 2,
        "tokenizer.ggml.unknown_token_id": 0,
        "tokenizer.ggml.add_space_prefix": prefix,
    }
    tiny = write_gguf(
        tmp_path / "a.gguf", tokenizer="llama", pre="default", extra_keys=keys,
        vocabulary=(words, kinds, merges, scores),
    )  # fmt: skip
    import_gguf(tiny.path, tmp_path)
    ours = Tokenizer.from_folder(tmp_path)
    tool, pair = len(words) - 2, len(words) - 1
    for text in (text for text in [*TEXTS, *strings()] if "  " not in text and "<s>" not in text):
        expected = in_pairs(text, words, scores, kinds, prefix)
        assert ours.encode(text) == [1, *expected], text
        assert ours.decode([1, *expected]) == text
    assert ours.encode("a<tool>b", add_special_tokens=False) == [
        *in_pairs("a", words, scores, kinds, prefix), tool, *in_pairs("b", words, scores, kinds, prefix)
    ]  # fmt: skip
    assert pair in ours.encode("a  b")
    assert ours.encode("</s>", add_special_tokens=False) == [2]
    assert (ours.bos_token_id, ours.eos_token_ids) == (1, (2,))


def in_pairs(text: str, words: list[str], scores: list[float], kinds: list[int], prefix: bool) -> list[int]:
    """llama.cpp's way: the best token that a pair makes is made, the leftmost of equals, until none is."""
    ids = {word: i for i, word in enumerate(words) if kinds[i] == 1}
    parts = list((" " * (prefix and bool(text)) + text).replace(" ", "▁"))
    while True:
        pairs = [(i, a + b) for i, (a, b) in enumerate(pairwise(parts)) if a + b in ids]
        if not pairs:
            break
        place, word = max(pairs, key=lambda pair: (scores[ids[pair[1]]], -pair[0]))
        parts[place : place + 2] = [word]
    found: list[int] = []
    for part in parts:
        tokens = [part] if part in ids else [f"<0x{byte:02X}>" for byte in part.encode()]
        found += [words.index(token) for token in tokens]
    return found


def test_broken_vocabularies(tmp_path: Path, write_gguf: WriteGguf) -> None:
    words = ["<unk>", "<s>", "</s>", "<0x41>", "a"]
    cases = (
        ("broken vocabulary", (words, [2, 3, 3, 6, 1], [], [])),  # one byte alone
        ("is in it twice", ([*words[:4], "<s>"], [2, 3, 3, 1, 1], [], [])),
        ("5 tokens, but 5 types and 2 scores", (words, [2, 3, 3, 1, 1], [], [1.0, 2.0])),
    )
    for message, vocabulary in cases:
        path = write_gguf(tmp_path / "a.gguf", tokenizer="llama", vocabulary=vocabulary).path
        with pytest.raises(MinillmError, match=message):
            import_gguf(path, tmp_path)
    assert not (tmp_path / "config.json").exists()


def test_without_scores(tmp_path: Path, write_gguf: WriteGguf) -> None:
    """Where scores say nothing but there are merges, those count."""
    theirs = tokenizers.Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    theirs.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    special = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    trainer = trainers.BpeTrainer(vocab_size=500, special_tokens=special, show_progress=False)
    theirs.train_from_iterator([word for text in CORPUS for word in text.split(" ")], trainer)
    words, _, merges, _ = vocabulary_of(theirs)
    kinds = [2, 3, 3, *[6] * 256, *[1] * (len(words) - 259)]
    theirs = tokenizers.Tokenizer.from_str(without_bytes_added(theirs))
    tiny = write_gguf(
        tmp_path / "a.gguf", tokenizer="llama", vocabulary=(words, kinds, merges, [-1000.0] * len(words))
    )
    import_gguf(tiny.path, tmp_path)
    ours = Tokenizer.from_folder(tmp_path)
    for text in TEXTS:
        if "<s>" not in text:
            expected = theirs.encode(text, add_special_tokens=False).ids
            assert ours.encode(text, add_special_tokens=False) == expected, text
            assert ours.decode(expected) == text
    assert ours.encode("a")[0] == 1


def without_bytes_added(tokenizer: tokenizers.Tokenizer) -> str:
    state = json.loads(tokenizer.to_str())
    state["added_tokens"] = [token for token in state["added_tokens"] if token["id"] in (1, 2)]
    return json.dumps(state)


# ---------------------------------------------------------------- ends


@pytest.mark.parametrize(
    ("words", "keys", "expected"),
    [
        (["<|begin|>", "<|end_of_text|>", "<|eom_id|>", "<|eot_id|>"], {"eos": 1}, [1, 2, 3]),
        (["<s>", "</s>", "<end_of_turn>"], {"eos": 1}, [1, 2]),
        (["<|endoftext|>", "<|im_start|>", "<|im_end|>"], {"eos": 2}, [2, 0]),
        (["a!", "b!", "c!", "d!"], {"eos": 3, "eot": 1, "eom": 0}, [3, 1, 0]),
        (["<|return|>", "<|call|>", "<|end|>"], {"eos": 0}, [0, 1]),
        (["<|user|>", "<|end|>", "<|endoftext|>"], {"eos": 2}, [2, 1]),
        (["<\uff5cend▁of▁sentence\uff5c>", "[EOT]", "[EOS]", "<EOT>"], {}, [0, 1, 2, 3]),
        (["<|user|>", "<|assistant|>"], {"eot": 0}, [0]),
        (["<|file_sep|>", "<|fim_pad|>", "<|fim_prefix|>"], {}, [0, 1]),
        (["<|user|>"], {}, []),
    ],
)
def test_ends(
    tmp_path: Path, write_gguf: WriteGguf, words: list[str], keys: dict[str, int], expected: list[int]
) -> None:
    tokens = [*words, *sorted(pre_tokenizers.ByteLevel.alphabet()), "ab"]
    kinds = [3] * len(words) + [1] * (len(tokens) - len(words))
    extra = {f"tokenizer.ggml.{key}_token_id": value for key, value in keys.items()}
    tiny = write_gguf(tmp_path / "a.gguf", extra_keys=extra, vocabulary=(tokens, kinds, ["a b"], []))
    import_gguf(tiny.path, tmp_path)
    generation = json.loads((tmp_path / "generation_config.json").read_text())
    listed = generation.get("eos_token_id", [])
    assert (listed if isinstance(listed, list) else [listed]) == expected
    assert Tokenizer.from_folder(tmp_path).eos_token_ids == tuple(expected)
