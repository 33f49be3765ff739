"""Train by hand, and serve each step at once: `python rl/examples/3_train_by_hand.py [MODEL]`.

The sampler reads the tensors that the optimizer writes. Nothing is saved, sent or loaded.
"""

import sys

from minillm import LLM, SamplingParams, token_logprobs
from rl.optim import make_optimizer

llm = LLM(sys.argv[1] if len(sys.argv) > 1 else "smollm2-135m-instruct")
tokenizer = llm.get_tokenizer()
prompt_ids = tokenizer.encode("My favourite colour is")
answer_ids = tokenizer.encode(" green", add_special_tokens=False)
optimizer = make_optimizer(llm.model, lr=1e-5)

for step in range(4):
    optimizer.zero_grad()
    (logprobs,) = token_logprobs(llm.model, [prompt_ids + answer_ids])
    answer = logprobs[len(prompt_ids) - 1 :]
    # The sampler's logprobs of the same tokens, before the step.
    (output,) = llm.generate([prompt_ids + answer_ids], SamplingParams(max_tokens=1, prompt_logprobs=0))
    entries = (output.prompt_logprobs or [])[len(prompt_ids) :]
    served = [entry[token].logprob for token, entry in zip(answer_ids, entries, strict=True) if entry]
    print(f"step {step}: trainer {answer.sum().item():.4f}, sampler {sum(served):.4f}")
    assert answer.tolist() == served  # bit for bit
    (-answer.sum()).backward()
    optimizer.step()
