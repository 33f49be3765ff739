"""Grammars of structured outputs: which tokens may come next, for a text to be what its request wants.

`llguidance` does the parsing. It is told the bytes of each token and nothing else of the tokenizer: every
way to cut an allowed text into tokens is allowed, also where a grammar leaves no choice of text. Special
tokens are no text, so they are never allowed, not even where a grammar names them. A space that begins a
text counts, though the decoders of most SentencePiece models take it off.

Legend: X rows of logits, V vocabulary, W bytes of a bit for each token.
"""

from __future__ import annotations

import copy
import re
import threading
from collections import OrderedDict, deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

import numpy as np
import numpy.typing as npt
import torch

from kernels.ops.logprobs import masked
from minillm.apart.process import Apart
from minillm.api.structured_outputs import StructuredOutputsParams
from minillm.errors import MinillmError, install_hint
from minillm.tokenizer.tokenizer import Tokenizer

if TYPE_CHECKING:
    import llguidance

Bits = npt.NDArray[np.uint8]

# In llguidance's complaints, lines that point at a place in a grammar, and what is for its developers.
_EXCERPT = re.compile(r"\s*(\d+ \||\^+$)")
_DUMP = re.compile(r"\s*<(?:state|backtrace)>")
_LONGEST = 400

# Of the texts of grammars that are kept: compiled, each takes up to a hundred times as much.
_KEPT_CHARACTERS = 1 << 22


class Grammars:
    """Compiles grammars for one tokenizer, and keeps those that were used last.

    Args:
        tokenizer: its `eos_token_ids` are what may come where the text may end.
        vocab_size: that of the model; ids that the tokenizer has no token for are never allowed.

    Raises:
        MinillmError: llguidance is not installed, or the bytes of the tokenizer's tokens are not known.
    """

    def __init__(self, tokenizer: Tokenizer, vocab_size: int) -> None:
        try:
            import llguidance  # noqa: F401 (that the program and the module below need)

            from minillm.api import grammar_trial
        except ImportError as error:
            hint = install_hint("structured")
            raise MinillmError(f"structured outputs need the package llguidance; {hint}") from error
        eos = frozenset(i for i in tokenizer.eos_token_ids if i < vocab_size)
        tokens = [token if b"\xff" not in token else b"" for token in tokenizer.token_bytes()[:vocab_size]]
        tokens += [b""] * (vocab_size - len(tokens))
        tokens = [b"" if i in eos else token for i, token in enumerate(tokens)]
        self._text_W = _packed([bool(token) for token in tokens])
        self._end_W = _packed([i in eos for i in range(vocab_size)])
        self._vocab_size = vocab_size
        self._library, self._tokenizer = grammar_trial, grammar_trial.make_tokenizer(tokens)
        self._trial = Apart(grammar_trial.__file__, lambda: [token.decode("latin-1") for token in tokens])
        # The last that were used, by what was asked for, and others that somebody holds.
        self._kept: OrderedDict[StructuredOutputsParams, Grammar] = OrderedDict()
        self._held: WeakValueDictionary[StructuredOutputsParams, Grammar] = WeakValueDictionary()
        self._lock = threading.Lock()

    def start(self, params: StructuredOutputsParams) -> Constraint:
        """Place a sample at the start of its grammar.

        Raises:
            MinillmError: the grammar is not one, or llguidance lacks a part of it, or takes too long or too
                much memory for it, or no token can begin it.
        """
        after = tuple(params.after_token_ids or ())
        bits = (self._text_W, self._end_W, self._vocab_size)
        return Constraint(self.grammar(params).matcher.deep_copy(), params.named, *bits, after)

    def has(self, params: StructuredOutputsParams) -> bool:
        """Tell whether a grammar is compiled, so that `start` takes no time."""
        return params in self._held

    def grammar(self, params: StructuredOutputsParams) -> Grammar:
        """Return the grammar, which is compiled where it is not there; raise `MinillmError` as `start` does.

        That can take seconds; it may be done on any thread, for `start` on another, while it is held.
        """
        if (grammar := self._held.get(params)) is None:
            answer = self._trial.ask(asdict(params))
            if "grammar" not in answer:
                raise MinillmError(f"{params.named} is refused: {_brief(answer['complaint'])}; correct it")
            with _refusing(f"{params.named} is refused", "correct it"):
                grammar = Grammar(self._library.compiled(self._tokenizer, answer["grammar"]))
        with self._lock:
            self._held[params] = self._kept[params] = grammar
            self._kept.move_to_end(params)
            while len(self._kept) > 1 and sum(kept.characters for kept in self._kept) > _KEPT_CHARACTERS:
                self._kept.popitem(last=False)
        return grammar


@dataclass(eq=False)
class Grammar:
    """A compiled grammar at its start, which is not to be moved."""

    matcher: llguidance.LLMatcher


class Constraint:
    """Where one sample stands in its grammar, or before it; made by `Grammars.start`.

    Attributes:
        finished: whether nothing but the end can follow; so it may be before the first token.
        bits_W: (W,) uint8, a bit for each token that may come next, as `allowed` has them.
    """

    def __init__(
        self,
        matcher: llguidance.LLMatcher,
        name: str,
        text_W: Bits,
        end_W: Bits,
        vocab_size: int,
        after: tuple[int, ...] = (),
    ) -> None:
        self._matcher, self._name, self._vocab_size = matcher, name, vocab_size
        self._text_W, self._end_W = text_W, end_W
        self.bits_W = self._next()
        # Tokens that are still to come before the grammar holds, and the last that came.
        self._after, self._last = after, deque[int](maxlen=len(after))
        if after:
            self.bits_W, self.finished = ~end_W, False

    def fork(self) -> Constraint:
        """Return one that stands where this one does, and goes on by itself."""
        other = copy.copy(self)
        other._matcher, other._last = self._matcher.deep_copy(), self._last.copy()
        return other

    def allowed(self) -> torch.Tensor:
        """(V,) bool, on the CPU: which tokens may come next.

        Those that end a text are among them exactly where it may end. At the end it is those alone, or none
        where the tokenizer has no such token.
        """
        bits_V = np.unpackbits(self.bits_W, count=self._vocab_size, bitorder="little")
        return torch.from_numpy(bits_V).bool()

    def accept(self, token_id: int) -> None:
        """Take the token that was sampled.

        Raises:
            MinillmError: it is not allowed, or with it the grammar becomes too complex, or the text is one
                that no token of the tokenizer can go on with.
        """
        if self._after:
            self._last.append(token_id)
            if tuple(self._last) == self._after:
                self._after, self.bits_W = (), self._next()
            return
        if not (0 <= token_id < self._vocab_size and _has(self.bits_W, token_id)):
            raise MinillmError(f"{self._name}: token {token_id} cannot come here; take one that is allowed")
        if _has(self._text_W, token_id):
            with _refusing(f"{self._name} cannot be followed further", "change it"):
                self._matcher.consume_token(token_id)
            self.bits_W = self._next()
        else:
            self.bits_W, self.finished = self.bits_W & ~self._text_W, True

    def _next(self) -> Bits:
        with _refusing(f"{self._name} cannot be followed further", "change it"):
            bits_W: Bits = np.frombuffer(self._matcher.compute_bitmask(), dtype=np.uint8) & self._text_W
            more, ends = bool(bits_W.any()), self._matcher.is_accepting()
            if self._matcher.is_error() or not (more or ends):
                complaint = _brief(self._matcher.get_error())
                nothing = complaint in ("", "NoExtensionBias")
                raise ValueError("no token of the tokenizer can come next" if nothing else complaint)
        self.finished = not more
        return bits_W | self._end_W if ends else bits_W


def constrain(constraints: Sequence[Constraint], logits_XV: torch.Tensor) -> torch.Tensor:
    """Return the logits, (X, V), with -inf for the tokens that may not come next, a constraint each row."""
    bits_XW = np.stack([constraint.bits_W for constraint in constraints])
    # What goes to a GPU is the bits.
    return masked(logits_XV, torch.from_numpy(bits_XW).to(logits_XV.device))


def _packed(flags: Sequence[bool]) -> Bits:
    """Pack flags of tokens, and none for the end past the vocabulary, into whole words of 32 bits."""
    filled = np.zeros(-(-(len(flags) + 1) // 32) * 32, dtype=np.bool_)
    filled[: len(flags)] = flags
    return np.packbits(filled, bitorder="little")


def _has(bits_W: Bits, token_id: int) -> bool:
    return bool(bits_W[token_id >> 3] >> (token_id & 7) & 1)


@contextmanager
def _refusing(what: str, remedy: str) -> Iterator[None]:
    """Put what llguidance complains of between two parts of a sentence, and raise it as `MinillmError`."""
    try:
        yield
    # It raises bare exceptions, and a panic of its own is not even that.
    except BaseException as error:
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        raise MinillmError(f"{what}: {_brief(str(error))}; {remedy}") from error


def _brief(complaint: str) -> str:
    """Write llguidance's complaint as one line, not too long, without its excerpts and dumps."""
    lines = _DUMP.split(complaint, maxsplit=1)[0].splitlines()
    text = " ".join(line.strip() for line in lines if not _EXCERPT.match(line))
    if text.startswith("panic: "):
        text = f"it is beyond llguidance's limits ({text.removeprefix('panic: ')})"
    half = _LONGEST // 2
    return text if len(text) <= _LONGEST else f"{text[:half]} ... {text[-half:]}"
