"""How long a run will take: what its method asks for, and how fast this machine is, measured once."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from minillm.api.sampling_params import SamplingParams
from minillm.llm import LLM
from minillm.model.logprobs import token_logprobs
from rl.trainable import Trainable
from rl.types import Problem

_SAMPLES, _TOKENS = 16, 8


@dataclass(frozen=True)
class Work:
    """About so many tokens are read by the sampler, sampled, and trained: forward and backward."""

    read: float = 0.0
    sampled: float = 0.0
    trained: float = 0.0


@dataclass(frozen=True)
class Speed:
    """Seconds a token, by the kind of work."""

    read: float
    sampled: float
    trained: float

    def seconds(self, work: Work) -> float:
        """Say how long a work takes."""
        parts = (work.read, self.read), (work.sampled, self.sampled), (work.trained, self.trained)
        return sum(tokens * seconds for tokens, seconds in parts)


def measure(llm: LLM, trainable: Trainable, problems: Sequence[Problem]) -> Speed:
    """Time a prompt, a few samples, and a forward and backward, on the shortest of the problems.

    It leaves the weights alone, and no gradients. The first time of each compiles, and does not count.
    """
    problem = min(problems, key=lambda p: len(p.prompt_ids) + len(p.golden_ids))
    whole = [*problem.prompt_ids, *problem.golden_ids]

    def read() -> None:
        llm.reset_prefix_cache()
        llm.generate([problem.prompt_ids], SamplingParams(max_tokens=1, seed=0), use_tqdm=False)

    def sample() -> None:
        params = SamplingParams(n=_SAMPLES, max_tokens=_TOKENS, min_tokens=_TOKENS, seed=0)
        llm.generate([problem.prompt_ids], params, use_tqdm=False)

    def train() -> None:
        token_logprobs(llm.model, [whole])[0].sum().backward()
        trainable.forget_gradients()

    return Speed(
        _seconds(read) / len(problem.prompt_ids),
        _seconds(sample) / (_SAMPLES * _TOKENS),
        _seconds(train) / len(whole),
    )


def _seconds(work: Callable[[], None]) -> float:
    work()
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin
