"""Indexes of mailboxes that nobody has open now, so that the next login reads only what is new."""

from __future__ import annotations

import threading
from collections import OrderedDict

from lanmail.mailbox.index import Index

# Of the names of one mailbox, in octets: 25,000 letters.
LARGEST_LISTING = 1 << 20


class IndexCache:
    """For any thread. Forgets the one that has been unused longest when there are too many.

    octets: of memory that the indexes may take together. A letter takes 36, and 37 more where its name was asked for.
    """

    def __init__(self, octets: int = 36_000_000) -> None:
        self._limit = octets
        self._octets = 0
        self._mutex = threading.RLock()
        self._indexes: OrderedDict[str, tuple[Index, int]] = OrderedDict()

    def take(self, path: str) -> Index | None:
        """The index of the mailbox there, which is the caller's now."""
        with self._mutex:
            index, weight = self._indexes.pop(path, (None, 0))
            self._octets -= weight
            return index

    def keep(self, path: str, index: Index) -> None:
        if index.names is not None and len(index.names.lines) > LARGEST_LISTING:
            index.names = None  # made anew in 50 ms, for whom a gigabyte is read otherwise
        with self._mutex:
            self.take(path)
            self._indexes[path] = index, index.weight
            self._octets += index.weight
            while self._octets > self._limit:
                self.take(next(iter(self._indexes)))
