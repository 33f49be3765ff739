"""How fast prompts are read and programs are sampled, and so how many can be begun that will end in time."""

from __future__ import annotations


class Pace:
    """A measure of sampling: seconds a prompt token and a step, and the length of programs.

    A step gives a token to each program that is being sampled: `width` of them.

    Args:
        longest: most tokens of a program, which is what one is expected to have before any has ended.
    """

    # Programs of a request before anything is known.
    FIRST = 4

    def __init__(self, longest: int) -> None:
        self._longest = longest
        self._read: float | None = None
        self._step: float | None = None
        self._width = 1.0
        self._programs = self._tokens = 0

    def read(self, tokens: int, seconds: float) -> None:
        """Note how long it took to read prompts."""
        self._read = seconds / tokens

    def step(self, seconds: float, width: float) -> None:
        """Note how long a step took; of many, the last few count most."""
        if self._step is None:
            self._step, self._width = seconds, width
        self._step += (seconds - self._step) / 4
        self._width += (width - self._width) / 4

    def ended(self, tokens: int) -> None:
        """Note that a program ended with so many tokens."""
        self._programs += 1
        self._tokens += tokens

    @property
    def length(self) -> float:
        """Tokens that a program is expected to have: the mean of those that ended, or the most."""
        return max(1.0, self._tokens / self._programs) if self._programs else float(self._longest)

    def fits(self, seconds: float, prompts: int, width: int) -> bool | None:
        """Tell whether prompts of so many tokens and `width` programs end within `seconds`; None: not known.

        A step is taken to last as long for few programs as for those measured, and longer for more in
        proportion, which is more than it does.
        """
        if self._read is None or self._step is None:
            return None
        step = self._step * max(1.0, width / self._width)
        return prompts * self._read + self.length * step <= seconds

    def count(self, seconds: float, prompt: int) -> int:
        """Count the programs of a task that can be sampled in its share of the time, at least 1."""
        if self._read is None or self._step is None:
            return self.FIRST
        left = seconds - prompt * self._read
        return max(1, int(left * self._width / (self._step * self.length)))
