"""How fast prompts are read and programs are sampled, and so how many can be begun that will end in time."""

from __future__ import annotations


class Pace:
    """A measure of sampling: seconds a prompt token and a step, and the length of programs.

    A step gives a token to each program that is being sampled: `width` of them.

    A step reads the weights once for all programs, and takes a share of that time more for each: here a
    sixteenth, as on two cores; a GPU's is less. It matters only until as many are measured.

    Args:
        longest: most tokens of a program, which is what one is expected to have before any has ended.
        most: programs that are sampled at a time.
    """

    # Programs of a request before anything is known.
    FIRST = 4
    _SHARES = 16

    def __init__(self, longest: int, most: int) -> None:
        self._longest, self._most = longest, most
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
        """Tell whether prompts of so many tokens and `width` programs end in time; None: not known."""
        if self._read is None or self._step is None:
            return None
        return prompts * self._read + self.length * self._step_of(width) <= seconds

    def count(self, seconds: float, prompt: int) -> int:
        """Count the programs of a task that can be sampled in its share of the time, at least 1."""
        if self._read is None or self._step is None:
            return self.FIRST
        speed = self._most / self._step_of(self._most)
        return max(1, int((seconds - prompt * self._read) * speed / self.length))

    def _step_of(self, width: int) -> float:
        """Estimate the seconds of a step of so many programs."""
        assert self._step is not None
        return self._step * (self._SHARES + width) / (self._SHARES + self._width)
