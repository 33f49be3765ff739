"""Pages of the KV cache: who holds which, and prefixes that sequences share."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from minillm.model.batch import PAGE_SIZE


class PagePool:
    """Who holds which page, and which pages hold the start of which token sequence.

    A page is free, held by one or more sequences (counted), or idle: held by none but still indexed, so
    that a later sequence with the same prefix finds it. Idle pages are given out, least recently used
    first, once no free page is left.

    The index is a tree for each adapter: a page is a child of the page before it (a negative root for the
    first, ROOT without an adapter), labelled with the tokens whose keys it holds, at most PAGE_SIZE of them.
    """

    ROOT = -1

    def __init__(self, num_pages: int) -> None:
        self.num_pages = num_pages
        self._free = list(range(num_pages - 1, -1, -1))
        self._holders = [0] * num_pages
        self._idle: OrderedDict[int, None] = OrderedDict()
        self._label: dict[int, tuple[int, tuple[int, ...]]] = {}
        self._children: dict[int, set[int]] = {}

    @property
    def available(self) -> int:
        """Pages that `take` can give out."""
        return len(self._free) + len(self._idle)

    @property
    def held(self) -> int:
        """Pages that sequences hold."""
        return self.num_pages - self.available

    def take(self, count: int) -> list[int]:
        """Give `count` pages to one holder; the caller has looked at `available`."""
        pages = []
        for _ in range(count):
            if not self._free:
                self._forget(next(iter(self._idle)))
            pages.append(self._free.pop())
            self._holders[pages[-1]] = 1
        return pages

    def hold(self, page: int) -> None:
        """Count one more holder of an indexed page."""
        self._idle.pop(page, None)
        self._holders[page] += 1

    def drop(self, pages: Sequence[int]) -> None:
        """Count one holder less of each page; what nobody holds becomes idle if indexed, else free."""
        for page in reversed(pages):
            self._holders[page] -= 1
            if self._holders[page] == 0:
                if page in self._label:
                    self._idle[page] = None
                else:
                    self._free.append(page)

    def match(self, tokens: Sequence[int], root: int = ROOT) -> tuple[list[int], tuple[int, int]]:
        """Find (full pages that hold the start of tokens, (page, how many tokens it holds after those)).

        The second page is to be copied, not shared, since its other slots belong to another sequence;
        its count is 0 where there is none.
        """
        full: list[int] = []
        parent = root
        while True:
            rest = tuple(tokens[len(full) * PAGE_SIZE : (len(full) + 1) * PAGE_SIZE])
            below = self._children.get(parent, ())
            common = {page: n for page in below if (n := _common(self._label[page][1], rest))}
            best = max(common, key=common.__getitem__, default=-1)
            if common.get(best, 0) < PAGE_SIZE:
                return full, (best, common.get(best, 0))
            full.append(best)
            parent = best

    def index(self, tokens: Sequence[int], pages: Sequence[int], root: int = ROOT) -> None:
        """Enter a sequence's pages, which hold the keys of exactly these tokens."""
        parent = root
        for i, page in enumerate(pages):
            label = tuple(tokens[i * PAGE_SIZE : (i + 1) * PAGE_SIZE])
            if not label:
                return
            known = self._label.get(page)
            if known is None:
                self._label[page] = (parent, label)
                self._children.setdefault(parent, set()).add(page)
            elif known[0] != parent:
                return  # entered below a page with the same tokens: a twin of this path
            else:
                self._label[page] = (parent, max(known[1], label, key=len))
            parent = page

    def reset(self) -> None:
        """Forget every prefix; held pages stay with their holders."""
        self._free += self._idle
        self._idle.clear()
        self._label.clear()
        self._children.clear()

    def _forget(self, page: int) -> None:
        """Take a page, and all that hangs below it, out of the index; what nobody holds there is free."""
        self._children[self._label[page][0]].discard(page)
        below = [page]
        while below:
            gone = below.pop()
            del self._label[gone]
            below += self._children.pop(gone, ())
            if gone in self._idle:
                del self._idle[gone]
                self._free.append(gone)


def _common(a: Sequence[int], b: Sequence[int]) -> int:
    """Length of the common start of two sequences."""
    if a == b:
        return len(a)
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
