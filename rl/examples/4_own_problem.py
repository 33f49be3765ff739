"""Train on a problem of your own: `python rl/examples/4_own_problem.py [MODEL [RUN]]`.

A problem is a prompt, one solution that is known to be right, and a reward for whatever is sampled.
"""

import sys
import tempfile
from collections.abc import Sequence

from minillm import LLM, Tokenizer
from minillm.checkpoint import hub
from rl.journal import Journal
from rl.trainer import MethodConfig, Trainer


class Opposite:
    """Say the opposite of a word; see `rl.types.Problem`."""

    stop = ("\n",)

    def __init__(self, word: str, answer: str, tokenizer: Tokenizer) -> None:
        self.id, self.answer, self.tokenizer = f"opposite-of-{word}", answer, tokenizer
        self.prompt_ids = tokenizer.encode(f"big -> small\nup -> down\nopen -> closed\n{word} ->")
        self.golden_ids = tokenizer.encode(f" {answer}\n", add_special_tokens=False)

    def rewards(self, completions: Sequence[Sequence[int]]) -> list[float]:
        """1 for each completion that is the answer, else 0."""
        return [float(self.tokenizer.decode(ids).strip() == self.answer) for ids in completions]


folder = hub.resolve(sys.argv[1] if len(sys.argv) > 1 else "smollm2-135m-instruct")
llm = LLM(folder)
pairs = (("hot", "cold"), ("day", "night"), ("rich", "poor"))
problems = [Opposite(word, answer, llm.get_tokenizer()) for word, answer in pairs]
# The last two tokens are cut off, sampled again, rolled out and judged; k grows where that is solved.
trainer = Trainer(llm, problems, MethodConfig(k=2), folder)
with Journal.open(sys.argv[2] if len(sys.argv) > 2 else tempfile.mkdtemp(), {}) as journal:
    for summary in trainer.run(journal, iterations=3):
        print(f"{summary.problem_id}: reward {summary.reward_before:.2f} -> {summary.reward_after:.2f}")
