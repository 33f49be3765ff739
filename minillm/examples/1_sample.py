"""Sample text: `python minillm/examples/1_sample.py [MODEL]`.

MODEL is a folder in Hugging Face's layout, a hub id, or the demo model, which is fetched once (98 MB).
"""

import sys

from minillm import LLM, SamplingParams

llm = LLM(sys.argv[1] if len(sys.argv) > 1 else "smollm2-135m-instruct")
prompts = ["The capital of France is", "One, two, three,"]

# A batch of prompts, two samples of each. The same seed gives the same tokens in any batch.
params = SamplingParams(n=2, temperature=0.8, max_tokens=16, seed=0)
for output in llm.generate(prompts, params):
    for sample in output.outputs:
        print(f"{output.prompt!r} -> {sample.text!r} ({sample.finish_reason})")

# One after the other, as soon as each is there.
for output in llm.stream(prompts, SamplingParams(temperature=0, max_tokens=4)):
    print(output.request_id, output.outputs[0].token_ids)
