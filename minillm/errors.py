"""The errors that a user can mend: one sentence that names the culprit and the remedy."""

from __future__ import annotations


class MinillmError(ValueError):
    """Base of every error that bad input can raise here; command lines print it without a traceback."""
