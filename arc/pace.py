"""How fast programs are sampled, and so how many can be begun that will end in time."""

from __future__ import annotations

from collections import deque


class Pace:
    """A measure of the last seconds of sampling.

    Args:
        longest: most tokens of a program.
        window: seconds over which the speed is taken.
    """

    # Programs that are begun while no speed is known: few, since they might be too many.
    FIRST = 4

    def __init__(self, longest: int, window: float = 20.0) -> None:
        self._longest, self._window = longest, window
        self._marks: deque[tuple[float, int]] = deque()
        self._programs = self._tokens = 0

    def note(self, now: float, tokens: int) -> None:
        """Note how many tokens have come in all, `now`."""
        self._marks.append((now, tokens))
        while now - self._marks[1 if len(self._marks) > 1 else 0][0] > self._window:
            self._marks.popleft()

    def ended(self, tokens: int) -> None:
        """Note that a program ended with so many tokens."""
        self._programs += 1
        self._tokens += tokens

    @property
    def speed(self) -> float | None:
        """Tokens a second; None before there is a second to measure."""
        if not self._marks:
            return None
        (first, had), (last, has) = self._marks[0], self._marks[-1]
        return (has - had) / (last - first) if last - first >= 1.0 and has > had else None

    @property
    def length(self) -> float:
        """Tokens that a program is expected to have: the mean of those that ended, or the most."""
        return self._tokens / self._programs if self._programs else float(self._longest)

    def room(self, seconds: float, begun: int) -> int:
        """Count the programs that can be begun beside those `begun` and end within `seconds`.

        One can always be tried where nothing else runs, since it may be short.
        """
        if self.speed is None:
            return 0 if begun else self.FIRST
        fits = int(self.speed * seconds / max(1.0, self.length)) - begun
        return max(fits, 0 if begun else 1)
