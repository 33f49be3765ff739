"""Logprobs of sampler and trainer are the same bits: `python minillm/examples/2_logprobs.py [MODEL]`."""

import sys

import torch

from minillm import LLM, SamplingParams, token_logprobs

llm = LLM(sys.argv[1] if len(sys.argv) > 1 else "smollm2-135m-instruct", precision="bf16")
params = SamplingParams(n=4, temperature=0.7, max_tokens=12, seed=0, logprobs=2)
(output,) = llm.generate(["Colours of the rainbow:"], params)

for sample in output.outputs:
    # What the sampler reports: of the full vocabulary, after the temperature.
    entries = sample.logprobs or []
    sampled = [entry[token].logprob for token, entry in zip(sample.token_ids, entries, strict=True)]
    # What the trainer computes of the same tokens, in one differentiable forward without a cache.
    (trained,) = token_logprobs(llm.model, [[*output.prompt_token_ids, *sample.token_ids]], temperature=0.7)
    trained = trained[len(output.prompt_token_ids) - 1 :].detach()
    equal = torch.equal(trained, torch.tensor(sampled))
    print(f"{sample.text!r}: {sum(sampled):.4f}, equal bits: {equal}")
    assert equal
