"""The base of the errors a user of `arc` can cause and can mend."""

from __future__ import annotations


class ArcError(ValueError):
    """One sentence that names the culprit and, where there is one, the remedy."""
