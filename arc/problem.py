"""An ARC task as a problem of the `rl` protocol. Knows no model: the tokenizer comes in as functions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from math import isfinite
from typing import Literal

from arc.check import reward
from arc.errors import ArcError
from arc.prompt import ASSISTANT_PREFIX, STOP, PromptOptions, completion_text, messages, program
from arc.sandbox import Limits, RunResult, run_many
from arc.tasks import Grid, Task

Render = Callable[[list[dict[str, str]]], list[int]]
Encode = Callable[[str], list[int]]
Decode = Callable[[Sequence[int]], str]
RewardOn = Literal["all", "train"]


class ArcProblem:
    """One task with its golden solution.

    Args:
        task: the task.
        source: its golden solution; `ArcError` where it is not in the golden format.
        render: chat messages -> token ids, up to where the assistant's answer begins.
        encode: text -> token ids without special tokens.
        decode: the inverse of encode.
        options: how the task is shown.
        limits: of each run of a program.
        reward_on: pairs that a program has to get right: "all", or those of "train", which are all that a
            test task gives. `ArcError` for "all" where a test output is not known.
    """

    def __init__(
        self,
        task: Task,
        source: str,
        render: Render,
        encode: Encode,
        decode: Decode,
        options: PromptOptions,
        limits: Limits,
        reward_on: RewardOn = "all",
    ) -> None:
        if reward_on == "all" and not task.answered:
            raise ArcError(f"task {task.id} has a test output that is not known; use --reward-on train")
        self.task, self.id = task, task.id
        self.examples = task.train if reward_on == "train" else task.examples
        # The answer's beginning is given; what the model writes starts at the first observation.
        self.prompt_ids = [*render(messages(self.task, options)), *encode(ASSISTANT_PREFIX)]
        self.golden_ids = encode(completion_text(source))
        self.stop = STOP
        self._decode, self._limits = decode, limits
        self._right: set[str] = set()
        self._results: dict[str, RunResult] = {}  # of the programs that `rewards` was last asked about

    def rewards(self, completions: Sequence[Sequence[int]]) -> list[float]:
        """Give 1.0 for each completion whose program is right on all examples that count, else 0.0.

        A program that was right is not run again. A wrong one is, for it may only have run out of time.
        """
        inputs = [example.input for example in self.examples]
        sources = [program(self._decode(ids)) for ids in completions]
        unknown = [source for source in dict.fromkeys(sources) if source not in self._right]
        results = run_many([(source, inputs) for source in unknown], self._limits)
        self._results = dict(zip(unknown, results, strict=True))
        for source, result in zip(unknown, results, strict=True):
            if reward(result, self.examples) == 1.0:
                self._right.add(source)
        return [float(source in self._right) for source in sources]

    def cases(self) -> list[tuple[str, Grid, Grid]]:
        """List the pairs that count: name, input, expected output."""
        pairs = zip(self._names(), self.examples, strict=False)
        return [(name, example.input, example.output) for name, example in pairs]

    def failure(self, completion: Sequence[int]) -> tuple[int | None, Grid | None, str | None] | None:
        """Tell what a completion that `rewards` was last asked about made of the first pair it fails.

        That is the pair's number, the output or None, and the error where there is one; None where nothing is
        known of the completion.
        """
        if (result := self._results.get(program(self._decode(completion)))) is None:
            return None
        pairs = zip(result.outputs, self.examples, strict=True)
        wrong = (i for i, (output, example) in enumerate(pairs) if output != example.output)
        case = next(wrong, None)
        output = None if case is None else result.outputs[case]
        return case, output, result.error if output is None else None

    def explain(self, completion: Sequence[int]) -> str:
        """Say in one line why a completion does not earn 1: its first error, or what comes out wrong."""
        job = program(self._decode(completion)), [example.input for example in self.examples]
        (result,) = run_many([job], self._limits)
        if result.error:
            limits = ", ".join(f"{name} {value:g}" for name, value in asdict(self._limits).items())
            return f"{result.error} (limits: {limits})"
        pairs = zip(result.outputs, self.examples, strict=True)
        wrong = [number for number, (output, example) in enumerate(pairs) if output != example.output]
        names = self._names()
        places = ", ".join(names[number] for number in wrong)
        return f"its output for {places} is not the expected one" if wrong else "it is right now"

    def _names(self) -> list[str]:
        train, test = len(self.task.train), len(self.task.test)
        return [*(f"train {n + 1}" for n in range(train)), *(f"test {n + 1}" for n in range(test))]


def check_limits(limits: Limits) -> None:
    """Raise `ArcError` for a limit of the sandbox that lets no program run: 0, negative, or no number."""
    for name, value in asdict(limits).items():
        if not (value > 0 and isfinite(value)):
            raise ArcError(f"limits.{name} must be above 0 and finite, got {value:g}: no program could run")
