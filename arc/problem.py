"""An ARC task as a problem of the `rl` protocol. Knows no model: the tokenizer comes in as functions."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from arc.check import reward
from arc.prompt import ASSISTANT_PREFIX, STOP, PromptOptions, completion_text, messages, program
from arc.sandbox import Limits, run_many
from arc.tasks import golden_source, load_task

Render = Callable[[list[dict[str, str]]], list[int]]
Encode = Callable[[str], list[int]]
Decode = Callable[[Sequence[int]], str]


class ArcProblem:
    """One task with its golden solution.

    Args:
        task_id: of a task that `arc.golden` has a solution for; `ArcError` otherwise.
        render: chat messages -> token ids, up to where the assistant's answer begins.
        encode: text -> token ids without special tokens.
        decode: the inverse of encode.
        options: how the task is shown.
        limits: of each run of a program.
    """

    def __init__(
        self,
        task_id: str,
        render: Render,
        encode: Encode,
        decode: Decode,
        options: PromptOptions,
        limits: Limits,
    ) -> None:
        source = golden_source(task_id)
        self.task = load_task(task_id)
        self.id = task_id
        # The answer's beginning is given; what the model writes starts at the first observation.
        self.prompt_ids = [*render(messages(self.task, options)), *encode(ASSISTANT_PREFIX)]
        self.golden_ids = encode(completion_text(source))
        self.stop = STOP
        self._decode, self._limits = decode, limits
        self._right: set[str] = set()

    def rewards(self, completions: Sequence[Sequence[int]]) -> list[float]:
        """Give 1.0 for each completion whose program is right on all train and test examples, else 0.0.

        A program that was right is not run again. A wrong one is, for it may only have run out of time.
        """
        inputs = [example.input for example in self.task.examples]
        sources = [program(self._decode(ids)) for ids in completions]
        unknown = [source for source in dict.fromkeys(sources) if source not in self._right]
        results = run_many([(source, inputs) for source in unknown], self._limits)
        for source, result in zip(unknown, results, strict=True):
            if reward(result, self.task.examples) == 1.0:
                self._right.add(source)
        return [float(source in self._right) for source in sources]
