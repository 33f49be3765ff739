"""Writes smollm2_logprobs.json: what transformers makes of the demo model in float32.

    python tests/golden/write_smollm2.py FOLDER_OF_THE_DEMO_MODEL

Logprobs of the first 512 tokens of smollm2_english.txt and smollm2_python.txt, and greedy continuations of
20 prompts cut from the two. Each prompt is continued alone, so that no padding takes part; ends of
sequence are not obeyed.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

HERE = Path(__file__).parent
TOKENS = 512
PROMPT_LENGTHS = (5, 7, 9, 12, 15, 16, 17, 21, 28, 33, 40, 47, 55, 63, 64, 65, 90, 111, 128, 150)
NEW_TOKENS = 64
# Above a continuation's smallest lead of the first token over the second, equality is not a matter of luck.
MARGIN = 1e-3


@torch.no_grad()
def main() -> None:
    folder = sys.argv[1]
    torch.manual_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    model.generation_config.eos_token_id = None
    texts = {}
    for name in ("english", "python"):
        ids = tokenizer((HERE / f"smollm2_{name}.txt").read_text())["input_ids"][:TOKENS]
        assert len(ids) == TOKENS, (name, len(ids))
        logits = model(torch.tensor([ids])).logits[0, :-1]
        chosen = torch.log_softmax(logits, dim=-1).gather(1, torch.tensor(ids[1:]).unsqueeze(1))
        texts[name] = {"ids": ids, "logprobs": [round(x, 6) for x in chosen.squeeze(1).tolist()]}
    prompts = []
    for i, length in enumerate(PROMPT_LENGTHS):
        source = texts[("english", "python")[i % 2]]["ids"]
        start = 17 * i
        prompt = source[start : start + length]
        generated = model.generate(
            torch.tensor([prompt]),
            attention_mask=torch.ones(1, length, dtype=torch.long),
            do_sample=False,
            max_new_tokens=NEW_TOKENS,
            return_dict_in_generate=True,
            output_logits=True,
        )
        continuation = generated.sequences[0, length:].tolist()
        top = torch.cat(generated.logits).topk(2).values
        margin = float((top[:, 0] - top[:, 1]).min())
        print(f"{length:4} tokens, smallest lead {margin:.5f}: {tokenizer.decode(continuation)!r}")
        assert len(continuation) == NEW_TOKENS
        assert margin > MARGIN, "a near tie: choose another prompt"
        prompts.append({"prompt": prompt, "continuation": continuation})
    lines = ",\n".join(json.dumps(prompt) for prompt in prompts)
    body = ",\n".join(f'"{name}": {json.dumps(text)}' for name, text in texts.items())
    (HERE / "smollm2_logprobs.json").write_text(f'{{{body},\n"greedy": [\n{lines}\n]}}\n')


if __name__ == "__main__":
    main()
