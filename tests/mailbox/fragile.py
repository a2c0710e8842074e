"""A disk in memory that can be stopped before each of its operations, and then forgets of what was not synced as much as it likes."""

from __future__ import annotations

import errno
import random
from collections.abc import Callable

MAILBOX = "/var/mail/ann"
STATE = "/var/spool/lanmail/lanmail"
BLOCK = 32


class Crash(BaseException):
    """The power is gone, or the process was killed. No code of ours may catch it and go on."""


class Node:
    """One file: what is on the disk, and what was done since, in order. What programs see is both together."""

    def __init__(self, content: bytes = b"") -> None:
        self.durable = content
        self.seen = bytearray(content)
        self.pending: list[tuple[str, int, bytes]] = []

    def do(self, kind: str, at: int, data: bytes = b"") -> None:
        self.pending.append((kind, at, data))
        self.seen = apply(self.seen, kind, at, data)


def apply(content: bytearray, kind: str, at: int, data: bytes) -> bytearray:
    if kind == "truncate":
        return content[:at]
    if kind == "extend":
        return content + bytes(max(0, at - len(content)))
    if kind == "clear":  # what is there of it; no length changes
        end = min(at + len(data), len(content))
        content[at:end] = bytes(max(0, end - at))
        return content
    content = content + bytes(max(0, at - len(content)))
    content[at : at + len(data)] = data
    return content


class FragileDisk:
    """``stop_at``: the number of the operation before which it stops, or that fails if ``error`` is given."""

    def __init__(self, mailbox: bytes) -> None:
        self.mailbox = Node(mailbox)
        self.names: dict[str, Node] = {MAILBOX: self.mailbox}
        self.durable_names = dict(self.names)
        self.done = 0
        self.stop_at: int | None = None
        self.error: int | None = None
        self.dead = False
        self.boot_id = 1
        self._open: dict[int, Node] = {3: self.mailbox}

    def _count(self) -> None:
        if self.dead:
            raise Crash
        self.done += 1
        if self.stop_at is not None and self.done == self.stop_at:
            if self.error is None:
                self.dead = True
                raise Crash
            raise OSError(self.error, "it fails")

    # what lanmail.mailbox.disk.Disk promises

    def open(self, path: str, *, create: bool) -> int:
        if create:
            self._count()
            node = self.names.get(path)
            if node is None:
                node = self.names[path] = Node()
            else:
                node.do("truncate", 0)
        elif path not in self.names:
            raise FileNotFoundError(errno.ENOENT, "no such file", path)
        else:
            node = self.names[path]
        fd = max(self._open) + 1
        self._open[fd] = node
        return fd

    def close(self, fd: int) -> None:
        del self._open[fd]

    def identity(self, fd: int) -> tuple[int, int]:
        return (1 if self.boot_id == 1 else 77), id(self._open[fd])

    def size(self, fd: int) -> int:
        return len(self._open[fd].seen)

    def read(self, fd: int, count: int, offset: int) -> bytes:
        return bytes(self._open[fd].seen[offset : offset + count])

    def write(self, fd: int, data: bytes, offset: int) -> None:
        self._count()
        self._open[fd].do("write", offset, data)

    def reserve(self, fd: int, length: int) -> None:
        self._count()
        self._open[fd].do("extend", length)

    def truncate(self, fd: int, length: int) -> None:
        self._count()
        self._open[fd].do("truncate", length)

    def sync(self, fd: int) -> None:
        node = self._open[fd]
        try:
            self._count()
        except OSError:
            # As Linux does it: octets that could not be written count as clean, and a second fsync says nothing of them.
            # Lengths are the file system's own journal's, which does not forget.
            node.pending = [each for each in node.pending if each[0] != "write"]
            raise
        content = bytearray(node.durable)
        for each in node.pending:
            content = apply(content, *each)
        node.durable = bytes(content)
        node.pending = []

    def rename(self, old: str, new: str) -> None:
        self._count()
        self.names[new] = self.names.pop(old)

    def remove(self, path: str) -> None:
        self._count()
        if path not in self.names:
            raise FileNotFoundError(errno.ENOENT, "no such file", path)
        del self.names[path]

    def sync_folder(self, path: str) -> None:
        self._count()
        self.durable_names = dict(self.names)

    def boot(self) -> str:
        return str(self.boot_id)

    # what happens to it

    def restart(
        self, survives: Callable[[list[tuple[str, int, bytes]]], list[tuple[str, int, bytes]]], names: bool
    ) -> None:
        """After a crash: ``survives`` says what is left of what was not synced, ``names`` whether unsynced names are."""
        if names:
            self.durable_names = dict(self.names)
        self.names = dict(self.durable_names)
        for node in set(self.names.values()):
            content = bytearray(node.durable)
            for each in survives(node.pending):
                content = apply(content, *each)
            node.durable, node.seen, node.pending = bytes(content), content, []
        self._open = {3: self.mailbox}
        self.stop_at, self.done, self.dead = None, 0, False


def everything(pending: list[tuple[str, int, bytes]]) -> list[tuple[str, int, bytes]]:
    """As after kill -9: the system lives on and forgets nothing."""
    return pending


def nothing(pending: list[tuple[str, int, bytes]]) -> list[tuple[str, int, bytes]]:
    """As after a power cut, with a disk that writes late."""
    return []


def some(chance: random.Random) -> Callable[[list[tuple[str, int, bytes]]], list[tuple[str, int, bytes]]]:
    """As after a power cut, with a disk that writes in whatever order, and half of a write."""

    def survives(pending: list[tuple[str, int, bytes]]) -> list[tuple[str, int, bytes]]:
        left = []
        for kind, at, data in pending:
            fate = chance.random()
            if kind == "write" and fate < 0.3:
                cut = chance.randint(0, len(data))
                left.append((kind, at, data[:cut]) if chance.random() < 0.5 else (kind, at + cut, data[cut:]))
            elif kind == "truncate" and fate < 0.3:
                # The file system clears the block that the file is to end in, and then changes its length.
                left.append(("clear", at, bytes(-at % BLOCK)))
            elif fate < 0.65:
                left.append((kind, at, data))
        return left

    return survives
