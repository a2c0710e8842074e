"""Connections, rates and failures over all processes: behind what admission, anvil, throttle and rates have for one process.

Moments are those of the monotonic clock, which is one for all processes of a machine; in nanoseconds, as whole numbers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence

from lanmail.shared.table import STAMP, WAYS, Table

MEMORY = 600.0
"""throttle.MEMORY."""

# Where the words of an entry stand, from its key on.
_STAMP = STAMP * WAYS
_SECOND = 2 * WAYS
_THIRD = 3 * WAYS


def _moment(seconds: float) -> int:
    return int(seconds * 1e9)


class SharedPresent:
    """admission.Present over all processes. name: the door's; empty for the house. taken: of each process a word, ours is ``mine``.

    Our own are counted exactly, here; what is shared is what the others must know. Two that let somebody in at the same moment do
    not see each other: a limit may be passed by as many as there are processes, less one. Where a client finds no place among the
    others of its process (eight of tens of thousands), the colleagues do not see its connections there.
    """

    def __init__(self, table: Table, name: str, taken: Sequence[memoryview], mine: int) -> None:
        self._table = table
        self._name = name
        self._all = taken
        self._taken = taken[mine]
        self._here: Counter[str] = Counter()

    @property
    def taken(self) -> int:
        return sum(word[0] for word in self._all)

    def ahead(self) -> int:
        return self._taken[0] - min(word[0] for word in self._all)

    def of(self, client: str) -> int:
        return self._here[client] + sum(part[at + _SECOND] for part, at in self._table.others(self._key(client)))

    def come(self, client: str) -> None:
        self._taken[0] += 1
        self._here[client] += 1
        self._show(client)

    def go(self, client: str) -> None:
        self._taken[0] -= 1
        self._here[client] -= 1
        self._show(client)
        if not self._here[client]:
            del self._here[client]

    def _show(self, client: str) -> None:
        key, count = self._key(client), self._here[client]
        entry = self._table.own(key)
        if entry is None:
            if count:
                self._table.place_if_free(key, 0, count)
        elif count:
            part, at = entry
            part[at + _SECOND] = count
        else:
            self._table.drop(entry)

    def _key(self, client: str) -> int:
        return self._table.key(f"{self._name} {client}")


class SharedWindows:
    """anvil.Windows over all processes: each counts its own events, from the moment on at which the first of all counted one.

    name: what is counted. An entry: when the window began (which is its stamp), how many events, and whether the log was told.
    """

    def __init__(self, table: Table, name: str) -> None:
        self._table = table
        self._name = name

    def another(self, client: str, now: float, unit: float) -> int:
        key, moment, length = self._key(client), _moment(now), _moment(unit)
        since, elsewhere = moment, 0
        for part, at in self._table.others(key):
            began = part[at + _STAMP]
            if moment - began < length:
                since = min(since, began)
                elsewhere += part[at + _SECOND]
        entry = self._table.own(key)
        if entry is None:
            entry = self._table.place(key, since)
        part, at = entry
        if moment - part[at + _STAMP] >= length:
            part[at + _SECOND] = part[at + _THIRD] = 0
            part[at + _STAMP] = since
        part[at + _SECOND] += 1
        count: int = part[at + _SECOND]
        return elsewhere + count

    def tell(self, client: str, now: float, unit: float) -> bool:
        key, moment, length = self._key(client), _moment(now), _moment(unit)
        told = any(part[at + _THIRD] for part, at in self._table.others(key) if moment - part[at + _STAMP] < length)
        entry = self._table.own(key)
        if entry is not None:
            part, at = entry
            told = told or bool(part[at + _THIRD])
            part[at + _THIRD] = 1
        return not told

    def _key(self, client: str) -> int:
        return self._table.key(f"{self._name} {client}")


class SharedFailures:
    """throttle.Failures over all processes: each writes the whole, as far as it sees it, so that none is lost with one of them.

    name: of what. An entry: the moment of the last (its stamp), and how many.
    """

    def __init__(self, table: Table, name: str, memory: float = MEMORY) -> None:
        self._table = table
        self._name = name
        self._memory = _moment(memory)

    def another(self, key: str, now: float) -> int:
        where, moment = self._table.key(f"{self._name} {key}"), _moment(now)
        own = self._table.own(where)
        entries = [*self._table.others(where), *([own] if own else [])]
        counts = (part[at + _SECOND] for part, at in entries if moment - part[at + _STAMP] <= self._memory)
        count: int = max(counts, default=0) + 1
        if own is None:
            self._table.place(where, moment, count)
        else:
            part, at = own
            part[at + _SECOND] = count
            part[at + _STAMP] = moment
        return count


class SharedBuckets:
    """rates.Buckets over all processes. What two do at the same moment may cost one token instead of two."""

    def __init__(self, table: Table) -> None:
        self._table = table

    def of(self, client: Hashable) -> SharedBucket:
        return SharedBucket(self._table, self._table.key(repr(client)))


class SharedBucket:
    """rates.Bucket. An entry: when it is full again (its stamp), and up to which such moment the log was told."""

    def __init__(self, table: Table, key: int) -> None:
        self._table = table
        self._key = key

    def take(self, count: int, seconds: int, now: float) -> bool:
        moment, room = _moment(now), _moment(seconds)
        full_at = max(self._greatest(_STAMP), moment) + room // count
        # A token's worth of rounding must not cost a token.
        if full_at - moment > room + 1000:
            return False
        own = self._table.own(self._key)
        if own is None:
            self._table.place(self._key, full_at)
        else:
            part, at = own
            part[at + _STAMP] = full_at
        return True

    @property
    def told(self) -> bool:
        """That it is not full before that moment. Whatever is let through makes it a later one, which nobody was told of."""
        full_at = self._greatest(_STAMP)
        return full_at > 0 and self._greatest(_SECOND) >= full_at

    @told.setter
    def told(self, value: bool) -> None:
        full_at = self._greatest(_STAMP) if value else 0
        own = self._table.own(self._key)
        if own is None:
            own = self._table.place(self._key, full_at)
        part, at = own
        part[at + _SECOND] = full_at

    def _greatest(self, word: int) -> int:
        own = self._table.own(self._key)
        entries = [*self._table.others(self._key), *([own] if own else [])]
        return max((part[at + word] for part, at in entries), default=0)
