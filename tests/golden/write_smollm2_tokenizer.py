"""Writes smollm2_tokenizer.json: what transformers makes of texts, from the demo model's GGUF file.

    python tests/golden/write_smollm2_tokenizer.py SmolLM2-135M-Instruct.Q4_1.gguf

transformers' GGUF import builds the vocabulary and the merges but, as of 5.23, ignores how the file
says that text is split ("smollm": single digits, then GPT-2's rule), so that is set here.
"""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path

from tokenizers import pre_tokenizers
from transformers import AutoTokenizer

TEXTS = [
    "",
    " ",
    "Hello, world!",
    "The quick brown fox jumps over the lazy dog. It's 7 o'clock; don't be late, they've said.",
    "def solve(grid: list[list[int]]) -> list[list[int]]:\n    import numpy as np\n\n"
    "    result = np.array(grid).T.tolist()\n    return result\n",
    "class A:\n\tdef f(self):\n\t\tif x is None:\n\t\t\treturn  # tabs\n",
    "0 1 2\n3 4 5\n6 7 8\n",
    "0120\n3450\n",
    "3.14159 12,345 1e-05 0x1F 2024-02-29",
    "½ ²³ ١٢٣ ४५ Ⅳ",
    "naïve café, e\u0301 and é; Straße, ΑΒΓ αβγ, Привет мир, שלום, مرحبا, नमस्ते",
    "你好，世界。日本語のテキスト。한국어",  # noqa: RUF001 (what looks alike must stay apart)
    "👋 👩‍👩‍👧‍👦 🏳️‍🌈 🤖🤖",
    "tabs\tand  double   spaces    \n\n\n  trailing \n",
    "\r\n\r\n a\u00a0b\u3000c\u200bd",
    "\x00\x01\x7f",
    "<|im_start|>user\nhi<|im_end|>\n",
    "a<|endoftext|>b <|im_end|> c<file_sep>",
    "<|im_start|<|im_end|> <|im_",
    "Observation:\n1. The grid is square.\n2. Colours stay.\n\nProcedure:\n1. Transpose it.\n",
]
CHATS = [
    [{"role": "user", "content": "What is 12 + 30?"}],
    [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Say <hi> & 'é'."},
        {"role": "assistant", "content": "hi"},
        {"role": "user", "content": "Again"},
    ],
]
RANGES = [(32, 127), (0xA0, 0x250), (0x370, 0x600), (0x4E00, 0x5000), (0x1F300, 0x1F700)]


def noise(count: int) -> list[str]:
    rng = random.Random(0)
    texts = []
    for _ in range(count):
        low, high = rng.choice(RANGES)
        ranges = [(low, high), (48, 58), (32, 33), (10, 11)]
        texts.append("".join(chr(rng.randrange(*rng.choice(ranges))) for _ in range(40)))
    return texts


def main() -> None:
    gguf = Path(sys.argv[1])
    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    chats = []
    for messages in CHATS:
        text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        chats.append({"messages": messages, "text": text, "ids": ids})
    pairs = [[text, tokenizer(text)["input_ids"]] for text in TEXTS + noise(40)]
    lines = ",\n".join(json.dumps(pair) for pair in pairs)
    target = Path(__file__).with_name("smollm2_tokenizer.json")
    target.write_text(f'{{"chats": {json.dumps(chats)},\n"texts": [\n{lines}\n]}}\n')


if __name__ == "__main__":
    main()
