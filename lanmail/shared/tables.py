"""The memory that the processes of one service share, and who writes where in it."""

from __future__ import annotations

import fcntl
import mmap
import os
from collections.abc import Callable
from contextlib import suppress

from lanmail.shared.counts import SharedBuckets, SharedFailures, SharedPresent, SharedWindows
from lanmail.shared.logins import CELL, WORDS, SharedLogins
from lanmail.shared.table import WAYS, Table

_WORD = 8  # octets
_PAGE = 4096
_SECRET = 64
_PRESENT = ("house", "smtp", "submission", "pop3")

# What each process has, in this order: a page of its own words, then the tables, each of so many buckets of so many words an entry.
# A page that nobody writes takes no memory. What is counted of a client counts for it at each door, and for each kind of event.
_TABLES = {
    "present": (4096, 3),
    "windows": (8192, 4),
    "failures": (4096, 3),
    "buckets": (2048, 3),
    "logins": (2048, WORDS),
}
_SIZES = {name: buckets * WAYS * words * _WORD for name, (buckets, words) in _TABLES.items()}
_PART = _PAGE + sum(_SIZES.values())
_TAKEN = 0  # of a process's own words: those of SharedPresent, a word each
_LOGINS = len(_PRESENT)  # and those of SharedLogins

# The child of a fork maps it too; no program that is executed does, since the descriptor is closed there.
_FLAGS = os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING


class Tables:
    """One process's sight of them: the supervisor's, that made them, or a worker's.

    fd: what the supervisor hands to its workers. worker: 1 and up; 0 for the supervisor, which counts nothing itself.
    """

    def __init__(self, fd: int, worker: int) -> None:
        self.fd = fd
        self.worker = worker
        size = os.fstat(fd).st_size
        self._map = mmap.mmap(fd, size)
        # In no core file, which has the key: proofs of passwords are in it.
        with suppress(OSError):
            self._map.madvise(mmap.MADV_DONTDUMP)
        self._workers = (size - _PAGE) // _PART
        self._secret = self._map[:_SECRET]
        self._words = memoryview(self._map).cast("Q")
        self._made: dict[str, Table] = {}

    @classmethod
    def create(cls, workers: int) -> Tables:
        """For so many; in the supervisor, before anything is forked. OSError where there is no memory for it."""
        fd = os.memfd_create("lanmail", _FLAGS)
        try:
            os.ftruncate(fd, _PAGE + workers * _PART)
            # Who shrank it would end everybody else who looks (SIGBUS).
            fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)
            os.pwrite(fd, os.urandom(_SECRET), 0)
            return cls(fd, 0)
        except BaseException:
            os.close(fd)
            raise

    @classmethod
    def attach(cls, fd: int, worker: int) -> Tables:
        """In a worker, which has inherited the descriptor. It may be closed afterwards."""
        return cls(fd, worker)

    def forget(self, worker: int) -> None:
        """The supervisor: that one died, and with it its connections. Before another of its number begins.

        What it counted of rates and failures, and the logins it remembers, stay: the next one goes on with them.
        """
        start = self._start(worker)
        for taken in range(start // _WORD, start // _WORD + len(_PRESENT)):
            self._words[_TAKEN + taken] = 0
        # A hole, which reads as zeros: to write them would take the memory that nobody used yet.
        self._map.madvise(mmap.MADV_REMOVE, start + _PAGE, _SIZES["present"])

    def present(self, name: str) -> SharedPresent:
        """admission.Present of a door; of all of them together, ``house``."""
        taken = self._cells(_TAKEN + _PRESENT.index(name), 1)
        return SharedPresent(self._table("present"), name, taken, self._mine)

    def windows(self, service: str) -> Callable[[str], SharedWindows]:
        """anvil.Windows of each kind of event at a door."""
        table = self._table("windows")
        return lambda what: SharedWindows(table, f"{service} {what}")

    def failures(self, of: str) -> SharedFailures:
        """throttle.Failures of addresses, or of names."""
        return SharedFailures(self._table("failures"), of)

    def buckets(self) -> SharedBuckets:
        """rates.Allowances of devices."""
        return SharedBuckets(self._table("buckets"))

    def logins(self) -> SharedLogins:
        """login_memory.LoginMemory."""
        cells = self._cells(_LOGINS, CELL)
        return SharedLogins(self._table("logins"), cells, self._mine, self._secret)

    @property
    def _mine(self) -> int:
        if not self.worker:
            raise ValueError("the supervisor counts nothing")
        return self.worker - 1

    def _table(self, name: str) -> Table:
        if name not in self._made:
            before = list(_SIZES).index(name)
            offset = _PAGE + sum(list(_SIZES.values())[:before])
            parts = self._cells(offset // _WORD, _SIZES[name] // _WORD)
            self._made[name] = Table(parts, self._mine, _TABLES[name][1], self._secret)
        return self._made[name]

    def _cells(self, first: int, count: int) -> list[memoryview]:
        """The same words of each worker."""
        starts = (self._start(worker) // _WORD + first for worker in range(1, self._workers + 1))
        return [self._words[start : start + count] for start in starts]

    def _start(self, worker: int) -> int:
        if not 1 <= worker <= self._workers:
            raise ValueError(f"there is no worker {worker}")
        return _PAGE + (worker - 1) * _PART
