"""What of the mailboxes in a folder, and of the journal, is on stable storage, and what a power cut may leave of them.

What programs wrote since the last sync of a file is lost or kept by sectors; the file's length may run ahead of its octets, and then
there are NULs. What other programs wrote is kept whole or lost whole, with all that came after it: whether they sync is their affair.
A file's sync brings a name to the disk that another program gave it, as the file systems of Linux have it.
A sync that failed has forgotten what it was for, so that a later one does not bring it to the disk; but each descriptor that was open
then is told of the error once (fsync(2)).
"""

from __future__ import annotations

import contextlib
import errno
import os
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

from tests.delivery.house import House

_SECTOR = 64  # a small one, so that small messages are torn too


@dataclass(frozen=True)
class _Change:
    """``at`` and octets written there; without octets the file's length is set to ``at``. foreign: another program's."""

    at: int
    octets: bytes | None
    foreign: bool = False
    whole: bool = False  # and there is nothing else in the file then


@dataclass
class _File:
    durable: bytes = b""
    pending: list[_Change] = field(default_factory=list)

    def sync(self) -> None:
        self.durable = self._after(self.pending, lambda: True)
        self.pending = []

    def lose(self) -> None:
        """A sync failed: lengths are the file system's own affair, which does not forget; and others may sync better."""
        self.pending = [
            change if change.foreign or change.octets is None else _Change(change.at + len(change.octets), None)
            for change in self.pending
        ]

    def cut(self, chance: random.Random) -> bytes:
        """What may be left."""
        rewritten = max((n + 1 for n, change in enumerate(self.pending) if change.whole), default=0)
        count = chance.choice((len(self.pending), chance.randint(rewritten, len(self.pending))))
        likely = chance.choice((0.0, 0.5, 0.9, 1.0))
        left = self._after(self.pending[:count], lambda: chance.random() < likely)
        last = self.pending[count - 1] if count else None
        if last is not None and last.octets is not None and not last.foreign and chance.random() < 0.6:
            # What made it longer did so in part.
            length = len(self._after(self.pending[: count - 1], lambda: True))
            if length < len(left):
                left = left[: chance.randint(length, len(left))]
        return left

    def _after(self, changes: list[_Change], kept: Callable[[], bool]) -> bytes:
        content = bytearray(self.durable)
        for change in changes:
            if change.octets is None:
                # Longer than it is, it was written to once: what became of that is decided.
                content = content[: change.at] + bytes(max(0, change.at - len(content)))
                continue
            if change.whole:
                content.clear()
            end = change.at + len(change.octets)
            content += bytes(max(0, end - len(content)))
            for at in range(change.at, end, _SECTOR):
                if change.foreign or kept():
                    piece = change.octets[at - change.at :][:_SECTOR]
                    content[at : at + len(piece)] = piece
        return bytes(content)


class JournalFiles:
    """Of a house's journal, from now on: what was flushed of it, and what was written since."""

    def __init__(self, house: House) -> None:
        self._path = os.path.join(house.state, "journal-0")
        self._kept: list[dict[str, bytes]] = []
        ledger = house.journal._commits._ledger
        real = ledger.transaction

        def transaction(work: Any, *, flush: bool) -> Any:
            try:
                return real(work, flush=flush)
            finally:
                self._keep(flushed=flush)

        ledger.transaction = transaction  # type: ignore[method-assign]
        self._keep(flushed=True)

    def _keep(self, *, flushed: bool) -> None:
        kept = {}
        for end in ("", "-wal"):
            with contextlib.suppress(FileNotFoundError), open(self._path + end, "rb") as file:
                kept[end] = file.read()
        if flushed:
            self._kept.clear()
        self._kept.append(kept)

    def cut(self, chance: random.Random | None = None) -> None:
        """Leave what was flushed, and perhaps some transactions more. Nobody has it open."""
        left = self._kept[0]
        if chance is not None:
            left = chance.choice((left, self._kept[-1], chance.choice(self._kept)))
        for end in ("", "-wal", "-shm"):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._path + end)
            if end in left:
                with open(self._path + end, "wb") as file:
                    file.write(left[end])


class Medium:
    """Under the mailboxes of ``folder``, from the moment that it is entered; all that is there then is on stable storage."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._files: dict[int, _File] = {}
        self._names: dict[str, int] = {}  # on stable storage, with the inode they stand for
        self._real: dict[str, Any] = {}
        self._to_be_told: set[int] = set()  # descriptors
        self._of_others: set[str] = set()  # names that other programs made: not even fsync(2) asks us to know of those

    def __enter__(self) -> Medium:
        self._real = {name: getattr(os, name) for name in ("pwrite", "copy_file_range", "ftruncate", "fsync", "close")}
        for name in self._real:
            setattr(os, name, getattr(self, "_" + name))
        self._all_is_durable()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        for name, real in self._real.items():
            setattr(os, name, real)

    # what lanmail does

    def _pwrite(self, fd: int, octets: bytes, at: int) -> int:
        written: int = self._real["pwrite"](fd, octets, at)
        file = self._of(fd)
        if file is not None:
            file.pending.append(_Change(at, bytes(octets[:written])))
        return written

    def _copy_file_range(self, source: int, fd: int, count: int, at: int, there: int) -> int:
        return self._pwrite(fd, os.pread(source, count, at), there)

    def _ftruncate(self, fd: int, length: int) -> None:
        self._real["ftruncate"](fd, length)
        file = self._of(fd)
        if file is not None:
            file.pending.append(_Change(length, None))

    def _fsync(self, fd: int) -> None:
        file = self._of(fd)
        if fd in self._to_be_told:
            self._to_be_told.discard(fd)
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        path = os.readlink(f"/proc/self/fd/{fd}")
        if file is not None:
            file.sync()
            if os.path.basename(path) in self._of_others:
                self._names[os.path.basename(path)] = os.fstat(fd).st_ino
        elif path == self._folder:
            self._names = self._there()

    def _close(self, fd: int) -> None:
        self._to_be_told.discard(fd)
        self._real["close"](fd)

    def lost(self, fd: int) -> None:
        """Its sync failed."""
        file = self._of(fd)
        if file is None:
            return
        file.lose()
        inode = os.fstat(fd).st_ino
        for name in os.listdir("/proc/self/fd"):
            with contextlib.suppress(OSError):
                if int(name) != fd and self._of(int(name)) is not None and os.fstat(int(name)).st_ino == inode:
                    self._to_be_told.add(int(name))

    def is_settled(self, name: str) -> bool:
        """Whether that mailbox and its name are as they would be after a power cut."""
        inode = self._there().get(name)
        return inode == self._names.get(name) and (inode is None or not self._files.setdefault(inode, _File()).pending)

    # what other programs do: they have done it, and say so

    def appended(self, name: str, octets: bytes, at: int, *, synced: bool) -> None:
        self._by_others(name, _Change(at, octets, foreign=True), synced)

    def rewritten(self, name: str, octets: bytes, *, synced: bool) -> None:
        """In place, or in a new file that took its name."""
        self._by_others(name, _Change(0, octets, foreign=True, whole=True), synced)

    def _by_others(self, name: str, change: _Change, synced: bool) -> None:
        inode = self._there()[name]
        if self._names.get(name) != inode and (change.whole or change.at == 0):
            self._of_others.add(name)
        file = self._files.setdefault(inode, _File())
        file.pending.append(change)
        if synced:
            file.sync()
            self._names[name] = inode

    # the power cut

    def cut(self, chance: random.Random) -> None:
        """Nobody has a mailbox open."""
        for name, inode in sorted(self._there().items()):
            path = os.path.join(self._folder, name)
            file = self._files.setdefault(inode, _File())
            if name not in self._names and chance.random() < 0.5:
                os.unlink(path)
                continue
            left = file.cut(chance)
            with open(path, "r+b") as opened:
                opened.truncate()
                opened.write(left)
        self._all_is_durable()

    def _all_is_durable(self) -> None:
        self._names = self._there()
        self._files = {}
        for name, inode in self._names.items():
            with open(os.path.join(self._folder, name), "rb") as opened:
                self._files[inode] = _File(opened.read())

    def _there(self) -> dict[str, int]:
        with os.scandir(self._folder) as found:
            return {one.name: one.inode() for one in found if not one.name.endswith(".lock")}

    def _of(self, fd: int) -> _File | None:
        """The mailbox that this is, also one that has no name yet; None for any other file."""
        if os.path.dirname(os.readlink(f"/proc/self/fd/{fd}")) != self._folder:
            return None
        return self._files.setdefault(os.fstat(fd).st_ino, _File())
