"""The dotlock of a mailbox: a file beside it, which stands as long as somebody uses the mailbox. Made, judged, broken, removed."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import socket
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
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

    file: int  # open only for as long as it is looked at
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
        self._made = (0, 0)  # device and inode
        self.leave = False
        """At ``release`` it stands although we hold it no longer. Others then keep away until they find it old; we ourselves break it."""

    def take(self, mailbox_at_rest: Callable[[], AbstractContextManager[None]]) -> None:
        """Make it, breaking a stale one. Raises MailboxBusy, or MailboxFailure where the folder does not let us.

        mailbox_at_rest: holds the mailbox's kernel lock for a moment, whichever locks are configured; raises MailboxBusy where
        it is not free. A dotlock is broken only under it.
        """
        try:
            with Newborn(self._folder) as newborn:
                os.fchmod(newborn.fd, 0o644)
                self._sign(newborn.fd)
                made = os.fstat(newborn.fd)
                self._now = made.st_mtime
                self._made = (made.st_dev, made.st_ino)
                self._note(held=True)
                try:
                    self._place(newborn, mailbox_at_rest)
                except BaseException:
                    self._note(held=False)
                    raise
                self._fd = newborn.keep()
        except OSError as error:
            hint = (
                "; the folder must let this program write, as root:mail 2775 does" if error.errno in _FORBIDDEN else ""
            )
            raise MailboxFailure.of(error, f"cannot make the dotlock {self._path}.lock{hint}") from error

    @staticmethod
    def _sign(fd: int) -> None:
        try:
            os.write(fd, b"%d\n" % os.getpid())
        except OSError as error:
            # On a full disk it stays empty, like Postfix's: then only its age says when it is stale. Without a dotlock nobody
            # could fetch mail there and delete it, and so make room.
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise

    def _place(self, newborn: Newborn, mailbox_at_rest: Callable[[], AbstractContextManager[None]]) -> None:
        holder = "another program, which was quicker"
        for _ in range(2):
            try:
                newborn.appear(self._name)
                return
            except FileExistsError:
                pass
            with self._standing() as standing:
                if standing is None:  # gone again
                    continue
                holder = standing.holder
                if not standing.stale:
                    break
            with mailbox_at_rest():
                self._break()
        raise MailboxBusy(self._path, holder)

    def _break(self) -> None:
        """Remove the dotlock if it is stale, now that nobody else of us can be doing the same.

        The danger: two find the same stale lock, one removes it and makes its own, and the other then removes that one. So a
        breaker holds a lock on the folder itself and judges anew under it, and looks once more whether what it judged is still
        what stands there. (First judged, then looked: the other way round, a lock that its owner lets go in between seems stale,
        and the next owner's is removed.) What is stale and stands has no owner who will let it go, and other breakers of ours
        have to wait, so nothing can come into its place before the unlink.

        Except through programs that break without our lock (liblockfile, procmail), and the owner of an old one that wakes up, in
        just that instant. For it we hold the mailbox's kernel lock: who makes a dotlock then cannot have got further than that,
        and whoever of us afterwards has which dotlock, only one has the kernel's.
        """
        try:
            fcntl.flock(self._folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise MailboxBusy(self._path, "a program that breaks a stale dotlock") from None
        try:
            with self._standing() as standing:
                if standing is not None and standing.stale and self._is_there(standing.file):
                    self._remove(standing.holder)
        finally:
            fcntl.flock(self._folder, fcntl.LOCK_UN)

    def _remove(self, holder: str) -> None:
        try:
            os.unlink(self._name, dir_fd=self._folder)
        except FileNotFoundError:
            pass
        except PermissionError:  # in a folder with the sticky bit it is only its owner's to remove
            raise MailboxBusy(self._path, f"{holder}, and stale, but not ours to remove") from None

    @contextmanager
    def _standing(self) -> Iterator[_Standing | None]:
        """The dotlock that stands, judged, and its inode kept from being given to the next one meanwhile; None where there is none."""
        try:
            # O_PATH: also what we may not read, and what is a fifo, a link or worse.
            file = os.open(self._name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self._folder)
        except FileNotFoundError:
            yield None
            return
        try:
            yield self._judge(file)
        finally:
            os.close(file)

    def _judge(self, file: int) -> _Standing:
        found = os.fstat(file)
        age = self._now - found.st_mtime
        old = age > self._stale_lock_time
        pid = _pid_in(file) if stat.S_ISREG(found.st_mode) else None
        if pid is None:
            return _Standing(file, f"whoever made {self._path}.lock, uid {found.st_uid}, {age:.0f} s old", old)
        ours = pid == os.getpid()
        runs = (found.st_dev, found.st_ino) in _held if ours else _runs(pid)
        return _Standing(file, named(pid), old or not runs)

    def _is_there(self, file: int) -> bool:
        try:
            return os.path.samestat(os.lstat(self._name, dir_fd=self._folder), os.fstat(file))
        except OSError:
            return False

    def touch(self) -> None:
        """Make it look new, since others judge it by its age. Never raises."""
        try:
            os.utime(self._fd)
        except OSError:  # an I/O error there: the kernel lock still stands
            pass

    def stands(self) -> bool:
        """Whether the dotlock in the folder is still this one."""
        try:
            there = os.lstat(self._name, dir_fd=self._folder)
        except OSError:
            return False
        return (there.st_dev, there.st_ino) == self._made  # which is open, so no other can have its number

    def release(self) -> None:
        """Remove it, unless somebody broke it and the one there is theirs. Raises OSError where it cannot be removed."""
        try:
            if not self.leave and self.stands():
                os.unlink(self._name, dir_fd=self._folder)
        finally:
            self._note(held=False)
            os.close(self._fd)

    def _note(self, *, held: bool) -> None:
        with _held_guard:
            (_held.add if held else _held.discard)(self._made)


def _pid_in(file: int) -> int | None:
    """The pid in a dotlock, where it is one of this host. None: its age decides."""
    try:
        fd = os.open(f"/proc/self/fd/{file}", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:  # its owner made it unreadable
        return None
    try:
        match = _PID.match(os.read(fd, 300))
    finally:
        os.close(fd)
    if match is None or (match[2] and match[2] != os.fsencode(socket.gethostname())):
        return None
    return int(match[1]) or None


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):  # someone else's process; OverflowError: no pid is so large, so trust only the age
        return True
    return True
