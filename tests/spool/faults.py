"""System calls and statements that fail where a test says so, or at which the process dies. Only lanmail's are meant, nobody else's."""

from __future__ import annotations

import errno
import fcntl
import os
import sqlite3
import struct
import sys
import threading
from collections.abc import Callable
from types import ModuleType, TracebackType
from typing import Any, cast

from lanmail.spool import database

ERRORS = (errno.ENOSPC, errno.EIO, errno.EDQUOT, errno.EMFILE, errno.EROFS)
NO_ROOM = (errno.ENOSPC, errno.EDQUOT)

# What the disk is asked by; dup because it takes a descriptor.
CALLS: tuple[tuple[ModuleType, tuple[str, ...]], ...] = (
    (
        os,
        (
            "open",
            "dup",
            "lstat",
            "write",
            "pwrite",
            "copy_file_range",
            "pread",
            "fsync",
            "fdatasync",
            "ftruncate",
            "posix_fallocate",
        ),
    ),
    (os, ("link", "unlink", "rename", "fchmod", "fchown")),
    (fcntl, ("fcntl", "flock")),
)
_WRITES = ("write", "pwrite")
_LOCKS = ("fcntl", "flock")


class Dead(BaseException):
    """The process was killed in this call. Whatever it still wants of the system comes to nothing."""


class Faults:
    """While it is entered, lanmail's call of the number ``at``, counted from 1, fails; where it is ``lasting``, all that follow too.

    At 0 none does. error: of errno; None: the process dies there, a write half done. here: only calls of the thread that made this are
    meant, and always so for a death, so that the journal's writer comes to its end. but_for: a module whose calls go through.
    when: only calls at which it says so are counted. lost: is told the descriptor of a sync that failed. failed: which calls did, as
    ``pwrite in lanmail.mailbox.disk``.
    """

    def __init__(
        self,
        at: int,
        error: int | None,
        *,
        lasting: bool = False,
        here: bool = False,
        but_for: str = "",
        when: Callable[[], object] = lambda: True,
        lost: Callable[[int], None] = lambda fd: None,
    ) -> None:
        self.calls = 0
        self.failed: list[str] = []
        self._at = at
        self._error = error
        self._lasting = lasting or error is None
        self._but_for = but_for
        self._when = when
        self._lost = lost
        self._thread = threading.get_ident() if here or error is None else None
        self._real: list[tuple[ModuleType, str, Any]] = []

    def __enter__(self) -> Faults:
        for module, names in CALLS:
            for name in names:
                real = getattr(module, name)
                self._real.append((module, name, real))
                setattr(module, name, self._failing(name, real))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        for module, name, real in self._real:
            setattr(module, name, real)

    def _failing(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            caller = sys._getframe(1).f_globals["__name__"]
            if not caller.startswith("lanmail.") or self._thread not in (None, threading.get_ident()):
                return real(*args, **kwargs)
            if self._error is not None and caller == self._but_for:
                return real(*args, **kwargs)
            if self._error is not None and (name == "lstat" or (name in _LOCKS and _lets_go(args))):
                return real(*args, **kwargs)
            self.calls += bool(self.failed or self._when())
            if not self._at or self.calls < self._at or (self.calls > self._at and not self._lasting):
                return real(*args, **kwargs)
            if name == "copy_file_range" and self._error is not None:
                # Whatever that fails with, what follows is read and written, and has its own call to fail at.
                return 0
            first = not self.failed
            self.failed.append(f"{name} in {caller}")
            if first and self._lasting and name in _WRITES and (half := len(args[1]) // 2):
                # A disk that runs full, and one that dies, take some of it.
                written = real(args[0], args[1][:half], *args[2:])
                if self._error is not None:
                    return written
            if first and self._lasting and name == "copy_file_range":
                real(*args[:2], args[2] // 2, *args[3:])
            if self._error is None:
                raise Dead
            if name == "fsync":
                self._lost(args[0])
            raise OSError(self._error, os.strerror(self._error))

        return call


def _lets_go(args: tuple[Any, ...]) -> bool:
    """Whether a lock is let go of, which no local disk refuses."""
    if isinstance(args[-1], bytes):
        return int(struct.unpack_from("h", args[-1])[0]) == fcntl.F_UNLCK
    return bool(args[-1] & fcntl.LOCK_UN)


class Statements:
    """A database on whose connections the statement of the number ``at``, counted from 1, fails; where ``lasting``, all that follow too.

    code: SQLite's. done: after it was done all the same, as a commit can be whose flush failed. ``connect`` is what a Journal is given.
    """

    def __init__(self) -> None:
        self.count = 0
        self.failed: list[str] = []
        self._at = 0
        self._code = 0
        self._done = self._lasting = False

    def fail(self, at: int, code: int, *, done: bool = False, lasting: bool = False) -> None:
        """From now on; at 0, nothing does."""
        self.count, self.failed = 0, []
        self._at, self._code, self._done, self._lasting = at, code, done, lasting

    def over(self) -> None:
        """All is well again."""
        self._at = 0

    def connect(self, path: str) -> sqlite3.Connection:
        """Raises JournalTrouble."""
        try:
            self.next("connect")
        except sqlite3.Error as error:
            raise database.JournalTrouble(f"{path}: {error}") from error
        return cast(sqlite3.Connection, _Fragile(database.connect(path), self))

    def connect_to_read(self, path: str) -> sqlite3.Connection:
        """In place of database.connect_to_read."""
        self.next("connect to read")
        return cast(sqlite3.Connection, _Fragile(database.connect_to_read(path), self))

    def next(self, statement: str, do: Callable[[], object] = lambda: None) -> None:
        """Count it, and have it fail if it is its turn."""
        self.count += 1
        if not self._at or self.count < self._at or (self.count > self._at and not self._lasting):
            return
        self.failed.append(statement)
        if self._done:
            do()
        error = sqlite3.OperationalError("failed as it was told")
        error.sqlite_errorcode = self._code
        raise error


class _Fragile:
    def __init__(self, real: sqlite3.Connection, statements: Statements) -> None:
        self._real = real
        self._statements = statements

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def execute(self, statement: str, *values: Any) -> Any:
        # A transaction that cannot even be rolled back is no worse than one whose connection is closed.
        if statement != "ROLLBACK":
            self._statements.next(statement, lambda: self._real.execute(statement, *values))
        return self._real.execute(statement, *values)


def descriptors() -> int:
    """How many this process has open."""
    return len(os.listdir("/proc/self/fd"))
