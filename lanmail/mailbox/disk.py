"""The few things that an expunge asks of the system, so that a test can stop it at each of them and lose what was not synced."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Extent:
    """A part of another file, which is open: ``size`` octets from ``start`` on."""

    fd: int
    start: int
    size: int


class Disk(Protocol):
    """Files by descriptor, names by path. Offsets and lengths are octets. Everything raises OSError."""

    def open(self, path: str, *, create: bool) -> int:
        """Open for reading and writing. With ``create`` the file is new and empty, with mode 0600, whatever was there."""

    def close(self, fd: int) -> None:
        """Close."""

    def identity(self, fd: int) -> tuple[int, int]:
        """Device and inode."""

    def size(self, fd: int) -> int:
        """The length of the file."""

    def read(self, fd: int, count: int, offset: int) -> bytes:
        """So many octets from there; fewer only where the file ends."""

    def write(self, fd: int, data: bytes, offset: int) -> None:
        """All of them."""

    def copy(self, source: Extent, fd: int, offset: int) -> int:
        """How many octets of ``source``, from its first, are there now without having been in our memory; 0 where there is no such way."""

    def reserve(self, fd: int, length: int) -> None:
        """Have the space now, so that no later write below that length fails for want of it."""

    def truncate(self, fd: int, length: int) -> None:
        """Cut the file off there."""

    def sync(self, fd: int) -> None:
        """Returns when the file's octets and length are on stable storage."""

    def rename(self, old: str, new: str) -> None:
        """Atomic; replaces."""

    def remove(self, path: str) -> None:
        """Remove the name."""

    def sync_folder(self, path: str) -> None:
        """Returns when the names in the folder of ``path`` are on stable storage."""

    def boot(self) -> str:
        """Another one after each start of the system; empty where it cannot be known."""


class SystemDisk:
    """The real one."""

    def open(self, path: str, *, create: bool) -> int:
        flags = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NOCTTY
        fd = os.open(path, flags | os.O_CREAT | os.O_TRUNC if create else flags, 0o600)
        try:
            if create:
                os.fchmod(fd, 0o600)
        except BaseException:
            os.close(fd)
            raise
        return fd

    def close(self, fd: int) -> None:
        os.close(fd)

    def identity(self, fd: int) -> tuple[int, int]:
        found = os.fstat(fd)
        return found.st_dev, found.st_ino

    def size(self, fd: int) -> int:
        return os.fstat(fd).st_size

    def read(self, fd: int, count: int, offset: int) -> bytes:
        data = os.pread(fd, count, offset)
        while data and len(data) < count:
            more = os.pread(fd, count - len(data), offset + len(data))
            if not more:
                break
            data += more
        return data

    def write(self, fd: int, data: bytes, offset: int) -> None:
        rest = memoryview(data)
        while rest:
            # A short write says that the next one will fail, and why.
            written = os.pwrite(fd, rest, offset)
            rest = rest[written:]
            offset += written

    def copy(self, source: Extent, fd: int, offset: int) -> int:
        try:
            return os.copy_file_range(source.fd, fd, source.size, source.start, offset)
        except OSError:
            # Another file system, an old kernel, or trouble with either file: whoever reads and writes it hears which.
            return 0

    def reserve(self, fd: int, length: int) -> None:
        os.posix_fallocate(fd, 0, length)

    def truncate(self, fd: int, length: int) -> None:
        os.ftruncate(fd, length)

    def sync(self, fd: int) -> None:
        os.fsync(fd)

    def rename(self, old: str, new: str) -> None:
        os.rename(old, new)

    def remove(self, path: str) -> None:
        os.unlink(path)

    def sync_folder(self, path: str) -> None:
        folder = os.open(os.path.dirname(path) or ".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def boot(self) -> str:
        try:
            with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
                return file.read().strip()
        except OSError:
            return ""


SYSTEM = SystemDisk()
