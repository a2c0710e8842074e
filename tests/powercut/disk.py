"""What a disk holds while programs work on it: what is on it for certain, and what has only been said to the kernel so far.

A sync of a file makes its octets and its length last, and no name of it; a sync of a folder makes the names in it last, and nothing
else. That is what POSIX promises. Journalling file systems give more, and a program must not need it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from tests.powercut.recorder import Step

# Files that are mapped into memory and written there, and that nobody reads again: SQLite's index of its write-ahead log, which it makes
# anew after a power cut, and what spool/ground.py tries a file system with.
PASSING = re.compile(r"-shm\Z|/probe-[0-9a-f]+\Z")


class Unknown(AssertionError):
    """A program did something whose effect on the disk is not known here, so nothing can be said about it."""


@dataclass(frozen=True, slots=True)
class Change:
    """Of a file's octets. W: ``data`` at ``at``. Z: cut or extended to ``at`` octets. A: extended to at least ``at`` octets."""

    kind: str
    at: int
    data: bytes = b""

    def length(self, before: int) -> int:
        """How long it leaves a file that was ``before`` octets long."""
        if self.kind == "Z":
            return self.at
        return max(before, self.at + len(self.data))

    def apply(self, content: bytearray) -> None:
        length = self.length(len(content))
        del content[length:]
        content.extend(bytes(length - len(content)))
        if self.kind == "W":
            content[self.at : self.at + len(self.data)] = self.data


class File:
    """A file or a folder, by whatever name. ``number``: its inode. Folders have no octets here."""

    def __init__(self, number: int, durable: bytes = b"", *, folder: bool = False) -> None:
        self.number = number
        self.folder = folder
        self.durable = bytearray(durable)
        self.pending: list[Change] = []
        self._settled = 0  # changes that went from pending into durable

    @property
    def count(self) -> int:
        """Changes that were ever made."""
        return self._settled + len(self.pending)

    def settle(self, count: int) -> None:
        """So many of the changes that were ever made are on the disk."""
        some = max(0, count - self._settled)
        for change in self.pending[:some]:
            change.apply(self.durable)
        del self.pending[:some]
        self._settled += some

    def seen(self) -> bytes:
        """The octets as programs see them."""
        content = bytearray(self.durable)
        for change in self.pending:
            change.apply(content)
        return bytes(content)


Names = dict[str, File]


@dataclass(slots=True)
class Naming:
    """A change of names: ``path`` is ``file`` now, or nothing where that is None; ``gone``: the name that it had, where it was renamed."""

    number: int
    path: str
    file: File | None
    gone: str = ""
    synced: bool = False

    @property
    def folder(self) -> str:
        return os.path.dirname(self.path)

    def apply(self, names: Names) -> None:
        if self.gone:
            names.pop(self.gone, None)
        if self.file is None:
            names.pop(self.path, None)
        else:
            names[self.path] = self.file


@dataclass(slots=True)
class _Sync:
    """One that has begun: what it will have made last when it ends."""

    file: File
    path: str
    count: int  # of the file's changes, or of all namings


@dataclass(slots=True)
class Disk:
    """Some folders (``tops``), empty at first unless ``of`` reads them, on which recorded steps are done again."""

    tops: tuple[str, ...]
    files: dict[int, File] = field(default_factory=dict)  # by inode, the newest of each
    names: Names = field(default_factory=dict)  # as programs see them
    durable: Names = field(default_factory=dict)
    namings: list[Naming] = field(default_factory=list)  # since ``durable``
    _named: int = 0
    _syncs: dict[tuple[int, int], _Sync] = field(default_factory=dict)

    @classmethod
    def empty(cls, *folders: str) -> Disk:
        """Nothing but these folders, of which nobody keeps the inode: they are found by their path."""
        disk = cls(folders)
        for number, folder in enumerate(folders):
            disk._put(folder, File(-1 - number, folder=True))
        disk.durable = dict(disk.names)
        return disk

    @classmethod
    def of(cls, folders: Iterable[str]) -> Disk:
        """What is in these folders now, all of it on the disk for certain."""
        disk = cls(tuple(folders))
        for top in disk.tops:
            for path, _, names in os.walk(top):
                disk._put(path, File(os.lstat(path).st_ino, folder=True))
                for name in names:
                    place = os.path.join(path, name)
                    if PASSING.search(place) is None:
                        with open(place, "rb") as file:
                            disk._put(place, File(os.fstat(file.fileno()).st_ino, file.read()))
        disk.durable = dict(disk.names)
        return disk

    def _put(self, path: str, file: File) -> None:
        self.files[file.number] = self.names[path] = file

    def do(self, step: Step) -> None:
        """Raises Unknown."""
        if PASSING.search(step.path):
            return
        match step.kind:
            case "C" | "D":
                self.files[step.inode] = File(step.inode, folder=step.kind == "D")
                self._name(step.path, self.files[step.inode])
            case "T":
                self.files[step.inode] = File(step.inode)
            case "L":
                self._name(step.path, self.files[step.inode])
            case "N":
                if os.path.dirname(step.path) != os.path.dirname(step.other) or self.names[step.path].folder:
                    raise Unknown(f"{step.path} moved to {step.other}")
                self._name(step.other, self.names[step.path], gone=step.path)
            case "U":
                self._name(step.path, None)
            case "W" | "Z" | "A":
                if step.inode in self.files:  # else it is one of PASSING
                    self.files[step.inode].pending.append(Change(step.kind, step.number, step.data))
            case "S":
                file = self.files.get(step.inode) or self.names.get(step.path)
                if file is not None:
                    count = self._named if file.folder else file.count
                    self._syncs[step.process, step.number] = _Sync(file, step.path, count)
            case "E":
                self._synced(self._syncs.pop((step.process, step.number), None))
            case "M":
                pass
            case _:
                raise Unknown(f"{step.other} of {step.path}")

    def _name(self, path: str, file: File | None, gone: str = "") -> None:
        naming = Naming(self._named, path, file, gone)
        self._named += 1
        naming.apply(self.names)
        self.namings.append(naming)

    def _synced(self, sync: _Sync | None) -> None:
        if sync is None:
            return
        if not sync.file.folder:
            sync.file.settle(sync.count)
            return
        for naming in self.namings:
            if naming.folder == sync.path and naming.number < sync.count:
                naming.synced = True
        while self.namings and self.namings[0].synced:
            self.namings.pop(0).apply(self.durable)
