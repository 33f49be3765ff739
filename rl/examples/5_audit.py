"""See what an update did to the weights and to what is served: `python rl/examples/5_audit.py [MODEL]`.

With fp32 masters and a bf16 forward, a step too small for bf16 is in the weights and not in what is served:
the audit calls such a move "vanished".
"""

import sys

from minillm import LLM, token_logprobs
from rl.audit import Audit, Move
from rl.optim import make_optimizer

llm = LLM(sys.argv[1] if len(sys.argv) > 1 else "smollm2-135m-instruct", precision="bf16-master-fp32")
encode = llm.get_tokenizer().encode
prefix_ids, (token_id, *_) = encode("The sky is"), encode(" green", add_special_tokens=False)

audit = Audit(llm, probe=[encode("Water boils at one hundred degrees.")])  # what should stay as it is
for lr in (1e-7, 1e-4):
    update = audit.begin([Move(prefix_ids, token_id, target=-0.5)])
    optimizer = make_optimizer(llm.model, lr=lr)
    (-token_logprobs(llm.model, [[*prefix_ids, token_id]])[0][-1]).backward()
    optimizer.step()
    report = update.end()
    report.print()
    llm.model.zero_grad()
