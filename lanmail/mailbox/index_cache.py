"""Indexes of mailboxes that nobody has open now, so that the next login reads only what is new."""

from __future__ import annotations

from collections import OrderedDict

from lanmail.mailbox.index import Index


class IndexCache:
    """Forgets the one that has been unused longest when there are too many.

    letters: how many the indexes may hold together. A letter costs up to 36 octets, so a million is 36 MB.
    """

    def __init__(self, letters: int = 1_000_000) -> None:
        self._limit = letters
        self._letters = 0
        self._indexes: OrderedDict[str, Index] = OrderedDict()

    def take(self, path: str) -> Index | None:
        """The index of the mailbox there, which is the caller's now."""
        index = self._indexes.pop(path, None)
        if index is not None:
            self._letters -= len(index)
        return index

    def keep(self, path: str, index: Index) -> None:
        self.take(path)
        self._indexes[path] = index
        self._letters += len(index)
        while self._letters > self._limit:
            self.take(next(iter(self._indexes)))
