"""Serve a model over OpenAI's API and ask it: `python minillm/examples/6_serve.py [MODEL]`.

Needs the extras `serve` and `test` (for the client): `pip install -e '.[serve,test]'` in a clone.
"""

import re
import subprocess
import sys

from openai import OpenAI

model = sys.argv[1] if len(sys.argv) > 1 else "smollm2-135m-instruct"
command = [sys.executable, "-m", "minillm", "serve", model, "--port", "0", "--served-model-name", "demo"]
server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
try:
    assert server.stdout is not None
    address = next(found[0] for line in server.stdout if (found := re.search(r"http://[\d.]+:\d+", line)))
    client = OpenAI(base_url=f"{address}/v1", api_key="none")
    answer = client.completions.create(model="demo", prompt="Once upon a", max_tokens=8, logprobs=1, seed=0)
    print(answer.choices[0].text, answer.choices[0].logprobs)
    for part in client.completions.create(model="demo", prompt="One, two,", max_tokens=4, stream=True):
        print(part.choices[0].text, end="", flush=True)
    print()
finally:
    server.terminate()
    server.wait()
