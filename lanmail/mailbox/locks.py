"""Locks on one mailbox file that other programs respect: a dotlock, then a kernel lock. Each is tried, never waited for.

The order is the same on every path. Holding one lock while waiting for the other is what starves on Debian's defaults, where
Postfix and Dovecot take the two in opposite orders; so whoever finds the second one taken lets the first go and comes again.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct
from contextlib import suppress
from dataclasses import dataclass

from lanmail.status import Status, TemporaryFailure

UNUSABLE = Status(451, "4.3.0", "Mailbox cannot be used now; try again later")
BUSY = Status(451, "4.2.0", "Mailbox is in use; try again later")
UNSAFE = Status(451, "4.3.0", "Mailbox cannot be used safely; its owner should ask the postmaster")
NO_SPACE = Status(452, "4.3.1", "Not enough space for mail; try again later")
OVER_QUOTA = Status(452, "4.2.2", "Mailbox is full")


class MailboxFailure(TemporaryFailure):
    """The mailbox cannot be used now. ``status`` is for the client; ``detail`` is for the log and names the path."""

    def __init__(self, detail: str, status: Status = UNUSABLE) -> None:
        super().__init__(status)
        self.detail = detail

    @classmethod
    def of(cls, error: OSError, detail: str) -> MailboxFailure:
        """The failure that an error of the system means; ``detail`` says what could not be done."""
        status = UNUSABLE
        if error.errno in (errno.ENOSPC, errno.EFBIG):  # EFBIG: RLIMIT_FSIZE, whose signal Python ignores
            status = NO_SPACE
        elif error.errno == errno.EDQUOT:
            status = OVER_QUOTA
        return cls(f"{detail}: {error.strerror or error}", status)


class MailboxBusy(MailboxFailure):
    """Another program holds a lock. ``holder`` says who where that is known, ``pid 4711 (mutt)``, else what is known."""

    def __init__(self, path: str, holder: str) -> None:
        super().__init__(f"cannot lock {path}: held by {holder}", BUSY)
        self.holder = holder


class MailboxUnsafe(MailboxFailure):
    """A link, a fifo, a file with two names, someone else's file: nothing is read from it or written to it."""

    def __init__(self, detail: str) -> None:
        super().__init__(detail, UNSAFE)


@dataclass(frozen=True, slots=True)
class Locking:
    """Which locks a mailbox gets (``mailbox_delivery_lock``). They are taken in the order below, whatever the order there.

    stale_lock_time: seconds after which a dotlock that nobody touches counts for nothing, if the kernel lock is free.
    """

    dotlock: bool = True
    fcntl: bool = True
    flock: bool = False
    stale_lock_time: float = 500.0


def lock_kernel(fd: int, path: str, *, ofd: bool = True, flock: bool = False) -> None:
    """Lock the whole open file against others' fcntl locks, and against flock if wanted. Raises MailboxBusy, or OSError.

    The lock is of the open file description (fcntl(2), F_OFD_SETLK): it conflicts with everybody's fcntl locks, also with one of
    another thread of this process, and is not lost when some other descriptor of the file is closed, as a classic one is.
    """
    if ofd and not lock_range(fd):
        raise MailboxBusy(path, _holder(fd))
    if flock:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise MailboxBusy(path, "a program that uses flock") from None


def lock_range(fd: int, start: int = 0, length: int = 0) -> bool:
    """Lock these octets of the open file against others' fcntl locks; whether that could be had. Never waits. OSError."""
    try:
        fcntl.fcntl(fd, fcntl.F_OFD_SETLK, _range(fcntl.F_WRLCK, start, length))
    except OSError as error:
        if error.errno not in (errno.EAGAIN, errno.EACCES):
            raise
        return False
    return True


def unlock_range(fd: int, start: int = 0, length: int = 0) -> None:
    """OSError."""
    fcntl.fcntl(fd, fcntl.F_OFD_SETLK, _range(fcntl.F_UNLCK, start, length))


def unlock_kernel(fd: int) -> None:
    """Let go now. Closing is not enough: a child that was just forked has the same open file until it executes its program.

    Never raises: where a file system cannot be told (NFS without its server), closing has to do, and what was done stays done.
    """
    with suppress(OSError):
        unlock_range(fd)
    with suppress(OSError):
        fcntl.flock(fd, fcntl.LOCK_UN)


def named(pid: int) -> str:
    """``pid 4711 (mutt)``, or without the name where /proc does not tell it."""
    try:
        with open(f"/proc/{pid}/comm", encoding="ascii", errors="replace") as file:
            name = file.read(64).strip()
    except OSError:
        return f"pid {pid}"
    return f"pid {pid} ({name})"


def _range(kind: int, start: int = 0, length: int = 0) -> bytes:
    # struct flock: type, whence, start, length (0: to the end, wherever that will be), and a pid that must be 0 here.
    return struct.pack("hhqqi4x", kind, os.SEEK_SET, start, length, 0)


def _holder(fd: int) -> str:
    """Who holds a kernel lock on the file. The system tells it of a classic lock only: an open file has no pid."""
    answer = fcntl.fcntl(fd, fcntl.F_OFD_GETLK, _range(fcntl.F_WRLCK))
    kind, _whence, _start, _length, pid = struct.unpack("hhqqi4x", answer)
    if kind == fcntl.F_UNLCK:
        return "another program, which has just let go"
    return named(pid) if pid > 0 else "a kernel lock of an unnamed process, perhaps our own"
