"""One user's mbox file: opened safely and locked, or refused. What is done with it then is in ``locked.py``."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TypeVar

from lanmail.interfaces import Report, User
from lanmail.mailbox import expunge
from lanmail.mailbox.dotlock import Dotlock
from lanmail.mailbox.locked import LockedMailbox
from lanmail.mailbox.locks import (
    Locking,
    MailboxBusy,
    MailboxFailure,
    MailboxUnsafe,
    lock_kernel,
    unlock_kernel,
)
from lanmail.mailbox.opening import Opener, PlainOpener
from lanmail.mailbox.turns import Turns

__all__ = ["LockedMailbox", "Locking", "MailboxBusy", "MailboxFailure", "MailboxFile", "MailboxUnsafe"]

T = TypeVar("T")


class MailboxFile:
    """One user's mbox file. Cheap, holds nothing open, and nothing in it must be shared with another process.

    group: the group that a new mailbox gets, with mode 0660; None: the owner's own, with mode 0600.
    state_folder: where the redo journal of an interrupted expunge lies; it exists, is ours alone, and outlives a reboot.
    mend: called with the mailbox each time it was locked and an interrupted expunge was finished, before anybody else sees it.
    settle: called with the locked mailbox before messages are taken out of it. Both raise MailboxFailure.
    opener: opens and makes the file where our own rights, which are the default, do not reach. turns: where other workers use the
    mailbox too; its turn comes before every lock.

    Run as root, the mailbox belongs to ``owner``. Run as somebody else it may also belong to whoever we are, as it does when we
    made it; it is then no other user's, since nobody but root could have given it to us.
    """

    def __init__(
        self,
        path: str,
        owner: User,
        *,
        group: int | None,
        locking: Locking,
        state_folder: str,
        report: Report,
        mend: Callable[[LockedMailbox], None] | None = None,
        settle: Callable[[LockedMailbox], None] | None = None,
        opener: Opener | None = None,
        turns: Turns | None = None,
    ) -> None:
        self.path = path
        self._name = os.path.basename(path)
        self._owner = owner
        self._opener = opener or PlainOpener(group)
        self._locking = locking
        self._journal = expunge.journal_path(state_folder, owner.name)
        self._report = report
        self._mend = mend
        self._settle = settle
        self._turns = turns

    def glance(self) -> os.stat_result | None:
        """What stands at the path, where that is a file of the owner's with one name: without a lock, and nothing is opened. Else None.

        Whoever finds it as it was under the lock (index.Stamp: its change time says also whose it is, and how many names it has) has no
        need of the lock. Blocks, on a disk alone.
        """
        try:
            there = os.lstat(self.path)
        except OSError:
            return None
        safe = stat.S_ISREG(there.st_mode) and there.st_nlink == 1 and there.st_uid == self._owner.uid
        return there if safe else None

    def lock(self, *, create: bool) -> LockedMailbox:
        """Try once, never wait. Raises MailboxBusy; MailboxUnsafe; MailboxFailure; FileNotFoundError, only where not ``create``.

        MailboxUnsafe and MailboxFailure have been reported before they are raised, here and in all that the mailbox does.
        """
        with ExitStack() as held:
            if self._turns is not None:
                turns = self._turns
                held.callback(self._reporting(lambda: turns.take(self._owner.name)))
            mailbox = self._reporting(lambda: self._lock(held, create))
            self._reporting(mailbox.finish_expunge)
            if self._mend is not None:
                self._mend(mailbox)
            mailbox.keep(held.pop_all())
        return mailbox

    def _reporting(self, work: Callable[[], T]) -> T:
        try:
            return work()
        except (MailboxBusy, FileNotFoundError):
            raise
        except MailboxFailure as failure:
            self._tell(failure)
            raise
        except OSError as error:
            unusable = MailboxFailure.of(error, f"cannot use {self.path}")
            self._tell(unusable)
            raise unusable from error

    def _tell(self, failure: MailboxFailure) -> None:
        self._report("warning: mailbox of {user} refused: {detail}", user=self._owner.name, detail=failure.detail)

    def _lock(self, held: ExitStack, create: bool) -> LockedMailbox:
        folder = self._open_folder()
        held.callback(os.close, folder)
        if not create:
            os.lstat(self._name, dir_fd=folder)  # a dotlock for a mailbox that does not exist would be a surprise
        dotlock = None
        if self._locking.dotlock:
            dotlock = Dotlock(folder, self.path, self._locking.stale_lock_time)
            dotlock.take(lambda: self._at_rest(folder))
            held.callback(self._let_go, dotlock)
        # The dotlock comes before the open: another program may replace the file in between, and we would then write to a
        # mailbox that nobody can see any more. Some programs use the kernel lock alone, so it is looked at once more below.
        fd, created = self._open(folder, create)
        held.callback(os.close, fd)
        held.callback(unlock_kernel, fd)
        if not created:
            self._lock_kernel(fd)
        mailbox = LockedMailbox(
            self.path, self._owner, fd, folder, created, dotlock, self._journal, self._report, self._settle
        )
        if not mailbox.intact():
            raise MailboxBusy(self.path, "a program that has just replaced it")
        return mailbox

    def _open_folder(self) -> int:
        folder = os.path.dirname(self.path) or "."
        try:
            return os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:  # a folder that is missing is somebody's mistake, and not a user without mail
            raise OSError(
                errno.EIO if error.errno == errno.ENOENT else error.errno, f"{error.strerror}: {folder}"
            ) from error

    def _open(self, folder: int, create: bool) -> tuple[int, bool]:
        for _ in range(3):
            try:
                return self._opener.open(folder, self.path, self._owner), False
            except FileNotFoundError:
                if not create:
                    raise
            try:
                return self._opener.create(folder, self.path, self._owner, self._lock_kernel), True
            except FileExistsError:  # somebody without a dotlock made it in between
                pass
        raise MailboxBusy(self.path, "a program that keeps replacing it")

    def _lock_kernel(self, fd: int) -> None:
        lock_kernel(fd, self.path, ofd=self._locking.fcntl, flock=self._locking.flock)

    @contextmanager
    def _at_rest(self, folder: int) -> Iterator[None]:
        """Hold the kernel lock of the mailbox, if there is one, while a stale dotlock is broken."""
        try:
            fd = self._opener.open(folder, self.path, self._owner)
        except FileNotFoundError:
            yield
            return
        try:
            lock_kernel(fd, self.path, ofd=True, flock=self._locking.flock)
            yield
            unlock_kernel(fd)
        finally:
            os.close(fd)

    def _let_go(self, dotlock: Dotlock) -> None:
        try:
            dotlock.release()
        except OSError as error:
            self._report(
                "warning: cannot remove the dotlock {path}.lock: {error}", path=self.path, error=error.strerror
            )
