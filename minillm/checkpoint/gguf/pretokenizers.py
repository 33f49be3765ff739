"""How byte-level vocabularies cut a text before they encode it, by the names that GGUF files have for it.

Each is what the tokenizer.json says of the model that a name comes from. A name that is not here is refused:
another way to cut would make other tokens.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tokenizers import Regex, pre_tokenizers

from minillm.tokenizer.files import CONTRACTIONS, LLAMA3_WORDS, WHITE_SPACE, gpt4_words

# The steps that are no regular expression.
_BYTES = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
_DIGITS = pre_tokenizers.Digits(individual_digits=True)
_RUNS = pre_tokenizers.Digits(individual_digits=False)
_PUNCTUATION = pre_tokenizers.Punctuation("contiguous")


@dataclass(frozen=True)
class PreTokenizer:
    """A row.

    Attributes:
        steps: regular expressions, whose matches and what is between them are cut apart, one after the other;
            or steps of the library `tokenizers`.
        nfc: text is composed first (Unicode's NFC).
        whole_words: a word that is a token is taken as it is, whatever merges make of it.
        bos: without a key, the beginning-of-sequence token is put before a text.
    """

    steps: tuple[Any, ...]
    nfc: bool = False
    whole_words: bool = False
    bos: bool = False

    def build(self) -> Any:
        """Build it for a `tokenizers.Tokenizer`."""
        steps = [pre_tokenizers.Split(Regex(s), "isolated") if isinstance(s, str) else s for s in self.steps]
        if _BYTES not in self.steps:
            steps.append(pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False))
        return steps[0] if len(steps) == 1 else pre_tokenizers.Sequence(steps)


def _cased(number: str, contractions: str) -> str:
    """Write the pattern of words that begin at each capital letter, as GPT-4o cuts them."""
    upper, lower = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
    first = r"[^\r\n\p{L}\p{N}]?"
    words = f"{first}{upper}*{lower}+{contractions}|{first}{upper}+{lower}*{contractions}"
    return rf"{words}|{number}| ?[^\s\p{{L}}\p{{N}}]+[\r\n/]*|{WHITE_SPACE}"


_QWEN2 = gpt4_words(r"\p{N}")
_QWEN35 = gpt4_words(r"\p{N}", r" ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*", r"[\p{L}\p{M}]+")
_SEED = gpt4_words(r"\p{N}{1}", r" ?[^\s\p{L}\p{N}\r\n]+")
_GPT4O = _cased(r"\p{N}{1,3}", CONTRACTIONS + "?")
_GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
_JAIS2 = LLAMA3_WORDS.removesuffix(r"\s+(?!\S)|\s+") + "|".join(
    (*(rf"\s{{{n}}}(?!\S)" for n in (512, 256, 128, 64, 32, 16, 8, 4)), r"\s{1,2}(?!\S)", r"\s{1}")
)
_IDEOGRAPHS = "[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+"
_DEEPSEEK_V3 = (
    r"\p{N}{1,3}",
    "[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+",
    r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+|"""
    r" ?[\p{P}\p{S}]+[\r\n]*|" + WHITE_SPACE,
)

PRE_TOKENIZERS: dict[str, PreTokenizer] = {
    # What llama.cpp does where no model is named.
    "default": PreTokenizer((r"[\p{P}\$\+<=>\^~\|]+", _GPT2, r"\p{N}+", "[0-9][0-9][0-9]")),
    **dict.fromkeys(("gpt-2", "phi-2", "exaone4", "trillion"), PreTokenizer((_BYTES,))),
    **dict.fromkeys(("mpt", "olmo"), PreTokenizer((_BYTES,), nfc=True)),
    **dict.fromkeys(("smollm", "starcoder", "refact"), PreTokenizer((_DIGITS, _BYTES))),
    "command-r": PreTokenizer((_DIGITS, _BYTES), nfc=True),
    **dict.fromkeys(
        ("llama-bpe", "llama3", "llama-v3"), PreTokenizer((LLAMA3_WORDS,), whole_words=True, bos=True)
    ),
    **dict.fromkeys(("dbrx", "smaug-bpe", "glm4", "chatglm-bpe"), PreTokenizer((LLAMA3_WORDS,))),
    **dict.fromkeys(("qwen2", "deepseek-r1-qwen"), PreTokenizer((_QWEN2,), nfc=True)),
    **dict.fromkeys(("stablelm2", "hunyuan"), PreTokenizer((_QWEN2,))),
    "qwen35": PreTokenizer((_QWEN35,), nfc=True),
    **dict.fromkeys(("gpt-4o", "llama4", "minimax-m2"), PreTokenizer((_GPT4O,))),
    "tekken": PreTokenizer((_cased(r"\p{N}", ""),), whole_words=True, bos=True),
    **dict.fromkeys(("deepseek-v3", "hunyuan-dense"), PreTokenizer(_DEEPSEEK_V3)),
    "deepseek-coder": PreTokenizer((r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", _IDEOGRAPHS, _DIGITS)),
    "falcon": PreTokenizer((_PUNCTUATION, _BYTES, _RUNS, "[0-9][0-9][0-9]")),
    "seed-coder": PreTokenizer((_SEED,)),
    "superbpe": PreTokenizer((r"\p{N}+", r"(?=(\d{3})+(?!\d))")),
    "jais-2": PreTokenizer((_JAIS2,)),
}
