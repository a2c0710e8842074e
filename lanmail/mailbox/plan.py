"""What an expunge will do to a mailbox file: which octets go, where the others come to stand, and how to know the file again."""

from __future__ import annotations

import bisect
import errno
import hashlib
import json
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from lanmail.mailbox.disk import Disk

CHUNK = 256 * 1024  # octets of a mailbox that are in memory at once
_LANDMARK = 4096
_FAR = 1 << 20  # a landmark in each MiB of what moves, but no more than so many:
_LANDMARKS = 4096


@dataclass(frozen=True)
class Landmark:
    """A short piece of the mailbox, as it was: by these we know the file again."""

    offset: int
    length: int
    digest: str


@dataclass(frozen=True)
class Plan:
    """What is to be taken out of which file. ``ranges`` are in order and apart, and something is kept before or behind the first.

    The result is seen as octets at their new offsets, from the first removed one (``first``) to ``end``: what is kept, and then the
    mark, which stands where the file is to be cut off.
    """

    device: int
    inode: int
    boot: str
    length: int  # of the file before
    ranges: tuple[tuple[int, int], ...]
    window: int
    secret: bytes  # 16 octets, the first a NUL, with which no message that another program appends begins
    landmarks: tuple[Landmark, ...]

    @classmethod
    def of(cls, disk: Disk, fd: int, ranges: Sequence[tuple[int, int]], window: int) -> Plan:
        """For this file as it is now, with landmarks taken from it."""
        device, inode = disk.identity(fd)
        secret = b"\0" + secrets.token_bytes(15)
        plan = cls(device, inode, disk.boot(), disk.size(fd), tuple(ranges), window, secret, ())
        marks = []
        for offset, length in plan._places():
            marks.append(Landmark(offset, length, _digest(disk.read(fd, length, offset))))
        return plan.resized(min(window, plan.end - plan.first), tuple(marks))

    def resized(self, window: int, landmarks: tuple[Landmark, ...] | None = None) -> Plan:
        """The same with another window."""
        marks = self.landmarks if landmarks is None else landmarks
        return Plan(self.device, self.inode, self.boot, self.length, self.ranges, window, self.secret, marks)

    def _places(self) -> Iterator[tuple[int, int]]:
        yield 0, min(_LANDMARK, self.first)
        yield max(0, self.first - _LANDMARK), min(_LANDMARK, self.first)
        apart = max(_FAR, (self.length - self.first) // _LANDMARKS)
        for offset in range(self.first, self.length, apart):
            yield offset, min(_LANDMARK, self.length - offset)
        # The last octets that nothing of ours ever overwrites: a file whose messages were shifted differs here.
        begin = max(self.end, self.length - _LANDMARK)
        yield begin, self.length - begin

    @property
    def first(self) -> int:
        """The offset of the first octet removed; before it nothing changes."""
        return self.ranges[0][0]

    @cached_property
    def new_length(self) -> int:
        """Of the file when all is done."""
        return self.length - sum(end - start for start, end in self.ranges)

    @property
    def mark(self) -> bytes:
        """What stands behind the result until the file is cut off there."""
        return self.secret[: self.length - self.new_length]

    @property
    def end(self) -> int:
        """Where the mark ends."""
        return self.new_length + len(self.mark)

    @property
    def steps(self) -> int:
        """How many windows there are."""
        return -(-(self.end - self.first) // self.window)

    def span(self, step: int) -> tuple[int, int]:
        """Where, in the file, that step's octets go: start and end."""
        start = self.first + step * self.window
        return start, min(start + self.window, self.end)

    @cached_property
    def _kept(self) -> tuple[list[int], list[int], list[int]]:
        """What is kept behind ``first``, in three columns: new offsets, old offsets, lengths."""
        new, old, lengths = [], [], []
        at = self.first
        edges = [start for start, _ in self.ranges[1:]] + [self.length]
        for (_, begin), stop in zip(self.ranges, edges, strict=True):
            if stop > begin:
                new.append(at)
                old.append(begin)
                lengths.append(stop - begin)
                at += stop - begin
        return new, old, lengths

    def moved(self, offset: int, length: int) -> int | None:
        """The new offset of a piece of the old file, None if it is not kept in one."""
        if offset + length <= self.first:
            return offset
        new, old, lengths = self._kept
        row = bisect.bisect_right(old, offset) - 1
        if row < 0 or offset + length > old[row] + lengths[row]:
            return None
        return new[row] + offset - old[row]

    def result(self, disk: Disk, fd: int, step: int) -> Iterator[bytes]:
        """The octets of one step, read where the file still has them."""
        at, end = self.span(step)
        new, old, lengths = self._kept
        row = bisect.bisect_right(new, at) - 1
        while at < min(end, self.new_length):
            skip = at - new[row]
            count = min(lengths[row] - skip, end - at, CHUNK)
            data = disk.read(fd, count, old[row] + skip)
            if len(data) < count:
                raise OSError(errno.EIO, "another program shortened the mailbox under our locks")
            yield data
            at += count
            if at == new[row] + lengths[row]:
                row += 1
        if end > self.new_length:
            yield self.mark[max(0, at - self.new_length) : end - self.new_length]

    def written(self) -> bytes:
        """As it stands in the journal."""
        marks = [[mark.offset, mark.length, mark.digest] for mark in self.landmarks]
        return json.dumps(
            {
                "device": self.device,
                "inode": self.inode,
                "boot": self.boot,
                "length": self.length,
                "window": self.window,
                "secret": self.secret.hex(),
                "ranges": self.ranges,
                "landmarks": marks,
            }
        ).encode()

    @classmethod
    def read(cls, text: bytes) -> Plan:
        """From the journal. Raises KeyError, TypeError or ValueError where it is something else."""
        said = json.loads(text)
        ranges = tuple((int(start), int(end)) for start, end in said["ranges"])
        marks = tuple(Landmark(int(offset), int(length), str(digest)) for offset, length, digest in said["landmarks"])
        secret = bytes.fromhex(said["secret"])
        return cls(said["device"], said["inode"], said["boot"], said["length"], ranges, said["window"], secret, marks)


def _digest(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=8).hexdigest()


def matches(mark: Landmark, data: bytes) -> bool:
    """Whether these octets are the landmark's."""
    return _digest(data) == mark.digest
