"""The dotlock of a mailbox: a file beside it, which stands as long as somebody uses the mailbox. Made, judged, broken, removed."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import socket
import stat
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

from lanmail.mailbox.locks import MailboxBusy, MailboxFailure, named
from lanmail.mailbox.newborn import Newborn

_FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)

# Dotlocks that this process holds, by device and inode. It answers one question only: whether a dotlock with our own pid in
# it is held, or was left by an earlier life of ours; in a container we have the same pid each time.
_held: set[tuple[int, int]] = set()
_held_guard = threading.Lock()

# What programs write into a dotlock: the pid (liblockfile), the pid and the host (Dovecot), 0 (procmail), nothing (Postfix).
_PID = re.compile(rb"\s*(\d{1,10})(?::(\S+))?\s*\Z")


@dataclass(frozen=True, slots=True)
class _Standing:
    """A dotlock that stands already: who made it, as far as one can tell, and whether that still counts."""

    holder: str
    stale: bool


class Dotlock:
    """``PATH.lock`` beside a mailbox, in its open folder, with our pid in it and readable to all, so that others can judge it."""

    def __init__(self, folder: int, path: str, stale_lock_time: float) -> None:
        self._folder = folder
        self._path = path
        self._name = os.path.basename(path) + ".lock"
        self._stale_lock_time = stale_lock_time
        self._now = 0.0  # seconds, by the clock that stamps files in this folder, which over NFS is not ours
        self._fd = -1

    def take(self, mailbox_at_rest: Callable[[], AbstractContextManager[None]]) -> None:
        """Make it, breaking a stale one. Raises MailboxBusy, or MailboxFailure where the folder does not let us.

        mailbox_at_rest: holds the mailbox's kernel lock for a moment, whichever locks are configured; raises MailboxBusy where
        it is not free. A dotlock is broken only under it.
        """
        try:
            with Newborn(self._folder) as newborn:
                os.fchmod(newborn.fd, 0o644)
                os.write(newborn.fd, b"%d\n" % os.getpid())
                made = os.fstat(newborn.fd)
                self._now = made.st_mtime
                self._note(made, held=True)
                try:
                    self._place(newborn, mailbox_at_rest)
                except BaseException:
                    self._note(made, held=False)
                    raise
                self._fd = newborn.keep()
        except OSError as error:
            hint = (
                "; the folder must let this program write, as root:mail 2775 does" if error.errno in _FORBIDDEN else ""
            )
            raise MailboxFailure.of(error, f"cannot make the dotlock {self._path}.lock{hint}") from error

    def _place(self, newborn: Newborn, mailbox_at_rest: Callable[[], AbstractContextManager[None]]) -> None:
        holder = "another program, which was quicker"
        for _ in range(2):
            try:
                newborn.appear(self._name)
                return
            except FileExistsError:
                standing = self._look()
            if standing is None:  # gone again
                continue
            holder = standing.holder
            if not standing.stale:
                break
            with mailbox_at_rest():
                self._break()
        raise MailboxBusy(self._path, holder)

    def _break(self) -> None:
        """Remove the dotlock if it is still stale now that nobody else of us can be doing the same.

        The danger: two find the same stale lock, one removes it and makes its own, and the other then removes that one. So a
        breaker holds a lock on the folder itself and judges anew under it: what it removes was stale after the last breaker had
        gone. Programs that break without that lock (liblockfile, procmail) leave the instant between this look and the unlink.
        For it we hold the mailbox's kernel lock: who made a dotlock in that instant cannot have got further than that, and
        whoever then holds which lock, only one has the kernel's.
        """
        try:
            fcntl.flock(self._folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise MailboxBusy(self._path, "a program that breaks a stale dotlock") from None
        try:
            standing = self._look()
            if standing is not None and standing.stale:
                os.unlink(self._name, dir_fd=self._folder)
        finally:
            fcntl.flock(self._folder, fcntl.LOCK_UN)

    def _look(self) -> _Standing | None:
        """Judge the dotlock that stands. None: it is gone."""
        try:
            found = os.lstat(self._name, dir_fd=self._folder)
        except FileNotFoundError:
            return None
        age = self._now - found.st_mtime
        old = age > self._stale_lock_time
        pid = self._pid(found)
        if pid is None:
            return _Standing(f"whoever made {self._path}.lock, uid {found.st_uid}, {age:.0f} s old", old)
        ours = pid == os.getpid()
        runs = (found.st_dev, found.st_ino) in _held if ours else _runs(pid)
        return _Standing(named(pid), old or not runs)

    def _pid(self, found: os.stat_result) -> int | None:
        """The pid in the dotlock, where it is one of this host."""
        if not stat.S_ISREG(found.st_mode):
            return None
        try:
            fd = os.open(self._name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=self._folder)
        except OSError:  # made unreadable by its owner, or gone: then its age decides
            return None
        try:
            match = _PID.match(os.read(fd, 300))
        finally:
            os.close(fd)
        if match is None or (match[2] and match[2] != os.fsencode(socket.gethostname())):
            return None
        return int(match[1]) or None

    def touch(self) -> None:
        """Make it look new, since others judge it by its age. Never raises."""
        try:
            os.utime(self._fd)
        except OSError:  # an I/O error there: the kernel lock still stands
            pass

    def stands(self) -> bool:
        """Whether the dotlock in the folder is still this one."""
        try:
            found = os.lstat(self._name, dir_fd=self._folder)
        except OSError:
            return False
        return os.path.samestat(found, os.fstat(self._fd))

    def release(self, *, leave: bool = False) -> None:
        """Remove it, unless somebody broke it and the one there is theirs. Raises OSError where it cannot be removed.

        leave: let it stand although we hold it no longer. Others then keep away until they find it old; we ourselves break it.
        """
        try:
            if not leave and self.stands():
                os.unlink(self._name, dir_fd=self._folder)
        finally:
            self._note(os.fstat(self._fd), held=False)
            os.close(self._fd)

    @staticmethod
    def _note(found: os.stat_result, *, held: bool) -> None:
        with _held_guard:
            (_held.add if held else _held.discard)((found.st_dev, found.st_ino))


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):  # someone else's process; OverflowError: no pid is so large, so trust only the age
        return True
    return True
