"""Where each message of an mbox stands and how many octets it has: compact, and cheap to bring up to date.

The index is a cache and never the truth. Nothing in it is hashed that only UIDL needs: identities are added to it
when somebody asks (uidl.py).
"""

from __future__ import annotations

import os
import time
from array import array
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import partial
from hashlib import blake2b

from lanmail.mailbox.found import DOUBTED, HEADER_READ, PSEUDO, Entry, Run
from lanmail.mailbox.names import Names
from lanmail.mailbox.scan import Scan
from lanmail.mailbox.windows import Changed, read_exactly

__all__ = ["IDENTITY", "SMALL", "Changed", "Entry", "Index", "Stamp", "refresh", "scan"]

IDENTITY = 16  # octets of a content identity
SMALL = 1 << 20  # a mailbox up to this size is compared whole, and its index is not worth keeping on disk

# The kernel stamps files with the time of its last tick, 1 to 10 ms ago: two changes within one tick leave the same
# stamp. Only a file that had been left alone for longer than this when it was read is believed by its stamp alone.
_TICK_NS = 50_000_000

_TAIL = 4 << 10

# Of a large mailbox that has grown, so many places where a message began are looked at: 2 ms. Of 100,000 it would take 150.
_GLANCES = 2048


@dataclass(frozen=True, slots=True)
class Stamp:
    """What tells whether a file is the same as when it was read. The change time cannot be set back by any program."""

    device: int
    inode: int
    size: int
    mtime_ns: int
    ctime_ns: int

    @classmethod
    def of(cls, stat: os.stat_result) -> Stamp:
        return cls(stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)

    def settled(self, now_ns: int) -> bool:
        """Whether whatever changes the file from now on changes this stamp too."""
        return now_ns - self.ctime_ns > _TICK_NS


_COLUMNS = ("starts", "lines", "gaps", "octets", "flags")
_OBJECT = 1000  # octets of an index without messages


class Index:
    """The messages of one mbox that POP3 shows, numbered from 1. c-client's pseudo message is not among them.

    It does not change, except that identities and names are added. 20 octets a message, 36 with its identity; ``weight`` is of all.
    octets: of each message, as POP3 counts them. total: of all of them together, since the event loop has no time to add up 500,000.
    """

    def __init__(self, stamp: Stamp, *, settled: bool) -> None:
        self.stamp = stamp
        self.settled = settled
        self.starts = array("Q")
        self.lines = array("H")  # octets of each `From ` line with its line end
        self.gaps = array("B")  # octets of the empty line behind each message
        self.octets = array("Q")
        self.total = 0
        self.flags = array("B")
        self.end = 0  # of the last message
        self.awaited: int | None = None  # see scan.Scan
        self.identities = bytearray()  # of the first messages; uidl.identify adds the rest
        self.witness = b""  # digest of what must be found again when the file has grown
        self.lineage: object = object()  # what is the same in all indexes in which a number means the same message
        self.names: Names | None = None  # of all messages, once somebody asked for them (snapshot.py)
        # It was believed of a grown file without a look at each place where a message began: a message must be looked at
        # before it is given out or taken out (``begins``).
        self.glanced = False

    @property
    def size(self) -> int:
        """Octets of the file when it was read."""
        return self.stamp.size

    def __len__(self) -> int:
        return len(self.starts)

    def entry(self, number: int) -> Entry:
        """Raises IndexError where there is no such number."""
        if number < 1:
            raise IndexError(number)
        at = number - 1
        start, next_ = self.extent(number)
        text, end = start + self.lines[at], next_ - self.gaps[at]
        return Entry(start, text, end, next_, self.octets[at], self.flags[at])

    @property
    def weight(self) -> int:
        """Octets of memory, about."""
        names = 0 if self.names is None else len(self.names.lines)
        return _OBJECT + 20 * len(self) + len(self.identities) + names

    def extent(self, number: int) -> tuple[int, int]:
        """The octets of the file to take out when this message is expunged: from its `From ` line to the next one."""
        return self.starts[number - 1], self.starts[number] if number < len(self.starts) else self.end

    def identity(self, number: int) -> bytes | None:
        """The content identity of a message (from 1) where it is known already."""
        return bytes(self.identities[(number - 1) * IDENTITY : number * IDENTITY]) or None

    def continues(self, earlier: Index) -> bool:
        """Whether each number of ``earlier`` means the same message here."""
        return self.lineage is earlier.lineage and len(self) >= len(earlier)

    def holds(self, fd: int, stat: os.stat_result, number: int | None = None) -> bool:
        """Whether each message (or the one asked for) still stands where the index says, in a file of which ``stat`` was just taken.

        Believed of a file that is unchanged, and of one that has grown where header and tail of the last message (a small
        mailbox: all of it) are as they were and a message starts exactly at the old end. In a large one a message must also begin
        wherever one began: Dovecot moves what lies between two headers with room in them, and nothing else. Of very many
        messages some are looked at, all over the file; then whoever gives one out looks at that one (``glanced``). Raises OSError.
        """
        stamp = Stamp.of(stat)
        if (stamp.device, stamp.inode) != (self.stamp.device, self.stamp.inode) or stamp.size < self.size:
            return False
        if stamp == self.stamp and self.settled:
            return number is None or not self.glanced or self.begins(fd, number)
        grown = stamp.size > self.size
        if not grown and stamp != self.stamp and self.size > SMALL:
            return (
                False  # a change somewhere, perhaps in the middle, which the witness of a large mailbox would not show
            )
        if grown and (not len(self) or (self.awaited is not None and stamp.size >= self.awaited)):
            return False
        try:
            if self.witness != _witness(fd, self) or (grown and not Scan(fd, stamp.size, self.size).starts_there()):
                return False
        except Changed:
            return False
        if self.size <= SMALL:
            return True
        if number is not None:
            return self.begins(fd, number)
        return all(map(partial(_begins_at, fd), self._some_starts()))

    def begins(self, fd: int, number: int) -> bool:
        """Whether a message begins where this one did, and where the next one did: there it ends. Raises OSError."""
        return all(_begins_at(fd, start) for start in self.starts[number - 1 : number + 1])

    def _some_starts(self) -> Sequence[int]:
        """Of up to so many messages all."""
        return self.starts[:: -(-len(self) // _GLANCES) or 1]

    def without(
        self, numbers: Collection[int], fd: int, stat: os.stat_result, *, now_ns: int | None = None
    ) -> Index | None:
        """The index of the file after the extents of these messages, and nothing else, were taken out of it.

        So that an expunge does not cost reading and naming again all that it kept. ``stat`` was just taken of ``fd``, under the lock
        under which they were taken out. None where the file must be read: a Content-Length that was not believed may be now, as other
        octets stand where it points to; and c-client's pseudo message is one only at the start. Raises Changed, OSError.
        """
        stamp, settled = _stamped(stat, now_ns)
        index = Index(stamp, settled=settled)
        gone = kept = 0
        # From one that goes to the next one, all that is kept in one stroke.
        for number in (*sorted(numbers), len(self) + 1):
            index._take(self, kept, number - 1, gone)
            kept = number
            if number <= len(self):
                start, next_ = self.extent(number)
                gone += next_ - start
        if any(flags & DOUBTED for flags in index.flags):
            return None
        index.glanced = self.glanced
        before = self.starts[0] if len(self) else 0
        reading = Scan(fd, stamp.size)
        if stamp.size != self.size - gone or reading.hidden() != before or reading.awaited is not None:
            return None
        index.end = self.end - gone if len(index) else 0
        index.witness = _witness(fd, index)
        return index

    def _add(self, found: Entry) -> None:
        self.starts.append(found.start)
        self.lines.append(found.text - found.start)
        self.gaps.append(found.next - found.end)
        self.octets.append(found.octets)
        self.total += found.octets
        self.flags.append(found.flags)
        self.end = found.next

    def _add_run(self, run: Run) -> None:
        if not run.starts:
            return
        for name in _COLUMNS:
            getattr(self, name).extend(getattr(run, name))
        self.total += sum(run.octets)
        self.end = run.next

    def _take(self, other: Index, begin: int, end: int, shift: int) -> None:
        """Messages of another index (positions from 0), which stood ``shift`` octets further."""
        self.starts.extend([start - shift for start in other.starts[begin:end]])
        for name in _COLUMNS[1:]:
            getattr(self, name).extend(getattr(other, name)[begin:end])
        self.total += sum(other.octets[begin:end])
        self.identities += other.identities[begin * IDENTITY : end * IDENTITY]

    def _grown(self, stamp: Stamp, *, settled: bool) -> Index:
        """A copy to which more messages can be added."""
        index = Index(stamp, settled=settled)
        for name in (*_COLUMNS, "identities"):
            setattr(index, name, getattr(self, name)[:])
        index.end, index.awaited, index.lineage, index.total = self.end, self.awaited, self.lineage, self.total
        index.glanced = self.glanced or (self.size > SMALL and len(self) > _GLANCES)
        return index


def scan(fd: int, stat: os.stat_result, *, now_ns: int | None = None) -> Index:
    """Read the whole file of which ``stat`` was just taken. Raises Changed where it is not the same file at the end; OSError.

    now_ns: the time when ``stat`` was taken, in nanoseconds since the epoch.
    """
    stamp, settled = _stamped(stat, now_ns)
    return _read(fd, Index(stamp, settled=settled), 0)


def refresh(fd: int, stat: os.stat_result, previous: Index | None, *, now_ns: int | None = None) -> Index:
    """An index that is true for the file of which ``stat`` was just taken (fstat of ``fd``, under the lock).

    Unchanged: ``previous`` or its like. Grown: ``previous`` and what was appended. Anything else: read again.
    ``continues`` of the result says whether the numbers of ``previous`` still mean the same messages.
    Raises Changed, OSError.
    """
    stamp, settled = _stamped(stat, now_ns)
    if previous is None or not previous.holds(fd, stat):
        return _read(fd, Index(stamp, settled=settled), 0)
    if stamp == previous.stamp and previous.settled:
        return previous
    index = previous._grown(stamp, settled=settled)
    if stamp.size > previous.size:
        return _read(fd, index, previous.size)
    index.witness, index.names = previous.witness, previous.names
    return index


def _begins_at(fd: int, start: int) -> bool:
    """At a glance, whether a message begins there: one read of six octets, as there may be 100,000 to look at. Raises OSError."""
    return os.pread(fd, 6, start - 1) == b"\nFrom " if start else os.pread(fd, 5, 0) == b"From "


def _stamped(stat: os.stat_result, now_ns: int | None) -> tuple[Stamp, bool]:
    stamp = Stamp.of(stat)
    return stamp, stamp.settled(time.time_ns() if now_ns is None else now_ns)


def _read(fd: int, index: Index, start: int) -> Index:
    """Add the messages from there on to the end of the file."""
    reading = Scan(fd, index.size, start)
    for found in reading.messages():
        if isinstance(found, Run):
            index._add_run(found)
        elif not found.flags & PSEUDO:
            index._add(found)
    if reading.awaited is not None:
        index.awaited = reading.awaited if index.awaited is None else min(index.awaited, reading.awaited)
    index.witness = _witness(fd, index)
    if Stamp.of(os.fstat(fd)) != index.stamp:
        raise Changed
    return index


def _witness(fd: int, index: Index) -> bytes:
    """Digest of a small mailbox, or of header and tail of the last message of a large one."""
    digest = blake2b(digest_size=IDENTITY)
    if index.size <= SMALL:
        digest.update(read_exactly(fd, index.size, 0))
    elif len(index):
        start, end = index.extent(len(index))
        digest.update(read_exactly(fd, min(HEADER_READ, end - start), start))
        tail = max(start, end - _TAIL)
        digest.update(read_exactly(fd, end - tail, tail))
    return digest.digest()
