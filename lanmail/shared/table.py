"""A table of numbers in shared memory: for each key, what each process wrote of it. Fixed in size, without a lock."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence

WAYS = 8
"""A key can stand in so many places; all of them are looked at together."""

KEY, STAMP = 0, 1
"""The first words of each entry; what the others are, whoever uses the table says. stamp: when it is worth least, the entry that has
the least makes room."""

Entry = tuple[memoryview, int]
"""A process's part, and where in it the entry's key stands. Its word n stands ``n * WAYS`` further."""


class Table:
    """One worker's sight of it.

    parts: each worker's, as words of 64 bits, of which there are ``buckets * WAYS * words``. mine: which of them is ours to write.
    secret: the same in all processes, and known to nobody else: a client that chose its keys by it could have others forgotten.

    Words are read and written whole, since they are aligned, and on the processors we know in the order in which we do it; an entry of
    several words may be read while it is written. Then one event is counted once too often or not at all, or the entry is not found.
    Where that would not do (logins.py), the entry proves itself.
    """

    def __init__(self, parts: Sequence[memoryview], mine: int, words: int, secret: bytes) -> None:
        self._own = parts[mine]
        self._others = [part for number, part in enumerate(parts) if number != mine]
        self._words = words
        self._bucket = words * WAYS
        self._buckets = len(self._own) // self._bucket
        self._secret = secret

    def key(self, text: str) -> int:
        """What stands for the text: two texts of the same key are one in 2 to the 64th."""
        digest = hashlib.blake2b(text.encode("utf-8", "backslashreplace"), digest_size=8, key=self._secret).digest()
        return int.from_bytes(digest, "little") or 1  # 0 is an empty place

    def own(self, key: int) -> Entry | None:
        """What we wrote of it."""
        return self._find(self._own, key)

    def others(self, key: int) -> Iterator[Entry]:
        """What the others wrote of it."""
        for part in self._others:
            entry = self._find(part, key)
            if entry is not None:
                yield entry

    def place(self, key: int, *values: int) -> Entry:
        """A new entry of ours, which is not there yet: ``values`` from the stamp on, 0 for the rest.

        Where all places of the key are taken, the entry with the least stamp is forgotten.
        """
        return self._write(self._place(key), key, values)

    def place_if_free(self, key: int, *values: int) -> Entry | None:
        """The same; None where all places are taken, for entries that must not be forgotten."""
        at = self._place(key)
        return None if self._own[at] else self._write(at, key, values)

    def drop(self, entry: Entry) -> None:
        """An entry of ours is gone, and its place free."""
        part, at = entry
        part[at] = 0

    def _find(self, part: memoryview, key: int) -> Entry | None:
        start = key % self._buckets * self._bucket
        keys = part[start : start + WAYS].tolist()
        return (part, start + keys.index(key)) if key in keys else None

    def _place(self, key: int) -> int:
        start = key % self._buckets * self._bucket
        keys = self._own[start : start + WAYS].tolist()
        if 0 in keys:
            return start + keys.index(0)
        stamps = self._own[start + WAYS : start + 2 * WAYS].tolist()
        return start + stamps.index(min(stamps))

    def _write(self, at: int, key: int, values: Sequence[int]) -> Entry:
        part = self._own
        # Nobody finds it before it is whole.
        part[at] = 0
        for word in range(1, self._words):
            part[at + word * WAYS] = values[word - 1] if word <= len(values) else 0
        part[at] = key
        return part, at
