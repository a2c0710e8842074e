"""The shared flush: mailboxes are synced together, some time after they were written to, and only then does the journal forget.

What is synced is the descriptor that was written with, since that is told of a write error. And a sync that failed is never just tried
again: the kernel has by then forgotten which octets it could not write, and would say that all is well. So what stands there is
written once more, the same octets in the same place, before the next sync counts.
"""

from __future__ import annotations

import os
import stat
import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import suppress

from lanmail.interfaces import Report, User
from lanmail.mailbox.disk import SYSTEM
from lanmail.mailbox.store import LockedMailbox, MailboxFailure, MailboxFile
from lanmail.mailbox.windows import read_exactly
from lanmail.spool.journal import Journal, Standing
from lanmail.spool.whereabouts import Whereabouts
from lanmail.status import TemporaryFailure

# So many mailboxes may wait with a descriptor each before somebody must run a checkpoint, whatever the time.
DESCRIPTORS = 128
# Seconds between two tries where a disk does not take what is written.
RETRY = 5.0

_WINDOW = 64 * 1024


class _Written:
    """One mailbox file that was written to, and the numbers of the rows whose octets that were.

    fd: a copy of the first descriptor that wrote to it, None where it could not be kept; then the file was synced at once.
    new: its name is not on the disk yet. failed: a sync failed, and what stands there must be written again.
    """

    def __init__(self, mailbox: LockedMailbox) -> None:
        self.owner = mailbox.owner
        self.path = mailbox.path
        self.file = (mailbox.device, mailbox.inode)
        self.fd: int | None = None
        self.numbers: set[int] = set()
        self.new = False
        self.failed = False
        self.told = False
        self.again_at = 0.0
        # Held for a sync: a write error is told to a descriptor once, and whoever syncs it too must not hear that all is well.
        self.syncing = threading.Lock()


# What of it a checkpoint is about: rows that were noted before it.
_Share = tuple[_Written, frozenset[int]]


class Checkpoints:
    """What delivery has written and the journal may not forget yet. All methods may be called from any thread; they block.

    mailbox_of: the MailboxFile of a user, made with ``settle``. before_forget: called before rows are forgotten, since a mail's story
    must outlast them (History.flush). clock: in seconds, never set back. settle_others: has the other workers do ``let_go`` for a locked
    mailbox of which something is to be taken out; raises MailboxFailure.
    """

    def __init__(
        self,
        journal: Journal,
        mailbox_of: Callable[[User], MailboxFile],
        report: Report,
        *,
        before_forget: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
        settle_others: Callable[[LockedMailbox], None] | None = None,
    ) -> None:
        self._journal = journal
        self._settle_others = settle_others
        self._before_forget = before_forget
        self._mailbox_of = mailbox_of
        self._report = report
        self._clock = clock
        self._running = threading.Lock()
        self._mutex = threading.Lock()
        self._written: dict[str, dict[tuple[int, int], _Written]] = {}  # by the owner's name, by device and inode
        self._descriptors = 0

        self.doubt: Callable[[str, Collection[int]], None] = lambda name, numbers: None
        """Called with the rows of a user's that a disk may have lost: Recovery.postpone."""

    @property
    def wanted(self) -> bool:
        """Whether mailboxes were written to that are not synced. What failed is wanted again after a while."""
        now = self._clock()
        with self._mutex:
            return any(one.again_at <= now for files in self._written.values() for one in files.values())

    @property
    def crowded(self) -> bool:
        """Whether so many are waiting that it should not wait for its time."""
        return self._descriptors >= DESCRIPTORS

    def note(self, mailbox: LockedMailbox, numbers: Collection[int]) -> None:
        """These rows' octets stand in the locked mailbox. Never raises."""
        with self._mutex:
            files = self._written.setdefault(mailbox.owner.name, {})
            one = files.get((mailbox.device, mailbox.inode))
            if one is None:
                one = files[mailbox.device, mailbox.inode] = _Written(mailbox)
            one.numbers.update(numbers)
            one.new = one.new or mailbox.new
            one.failed = one.failed or mailbox.unsound
            if one.fd is None:
                with suppress(OSError):
                    # It has our locks too, but not for longer than they are held: letting go does not wait for close.
                    one.fd = os.dup(mailbox.fd)
                    self._descriptors += 1
            unkept = one.fd is None and not one.failed
        if unkept:
            try:
                mailbox.sync()
            except MailboxFailure:
                one.failed = True

    def run(self) -> None:
        """A checkpoint of all that is noted by now. What cannot be synced stays, is reported once, and is tried again later.

        Raises TemporaryFailure where the journal does not work: then all stays.
        """
        with self._running:
            now = self._clock()
            done: list[_Share] = []
            for share in self._shares():
                if share[0].again_at <= now:
                    done += self._synced(share)
            self._forget(self._named(done))

    def settle(self, mailbox: LockedMailbox) -> None:
        """A checkpoint of this locked mailbox alone, before anything is taken out of it: no crash may bring back what was fetched.

        Raises MailboxFailure, after it was reported, where that cannot be had.
        """
        if self._settle_others is not None:
            self._settle_others(mailbox)
        shares = list(self._shares(mailbox.owner.name))
        if not shares:  # nearly always
            return
        try:
            done: list[_Share] = []
            for one, numbers in shares:
                try:
                    self._sync(one)
                    done.append((one, numbers))
                except OSError as error:
                    self._say(one, error)
                    done.append((one, self._write_again(one, numbers, mailbox)))
            if any(one.file != (mailbox.device, mailbox.inode) for one, _ in shares):
                mailbox.sync()
            named = self._named(done)
            if len(named) < len(done):
                raise MailboxFailure(f"cannot sync the folder of {mailbox.path}")
            self._forget(named)
        except MailboxFailure:
            raise
        except TemporaryFailure as trouble:
            detail = f"nothing is taken out of {mailbox.path} while the journal does not work"
            self._report("warning: {detail}", detail=detail)
            raise MailboxFailure(detail, trouble.status) from trouble

    def let_go(self, name: str) -> bool:
        """``settle`` for another worker, which has that user's mailbox locked: whether nothing is noted of it any more.

        What cannot be synced has to be written again, and for that the lock is ours to have first. Raises TemporaryFailure where the
        journal does not work.
        """
        shares = list(self._shares(name))
        done: list[_Share] = []
        for share in shares:
            one = share[0]
            try:
                self._sync(one)
                self._sync_successor(one)
                done.append(share)
            except OSError as error:
                self._say(one, error)
        named = self._named(done)
        self._forget(named)
        return len(named) == len(shares)

    def forget(self, numbers: Sequence[int]) -> None:
        """These rows are done with, and no mailbox has to be synced for it. Raises TemporaryFailure."""
        if numbers:
            self._before_forget()
            self._journal.forget(numbers).result()

    def close(self) -> None:
        """A last checkpoint, when nothing is delivered any more. Never raises: what is not forgotten is looked for at the next start."""
        with suppress(TemporaryFailure):
            self.run()
        for one, numbers in list(self._shares()):
            self._let_go(one, numbers)

    # which

    def _shares(self, name: str | None = None) -> Iterator[_Share]:
        """Of one user's mailbox or of all, each as it is when its turn comes."""
        with self._mutex:
            if name is not None:
                some = list(self._written.get(name, {}).values())
            else:
                some = [one for files in self._written.values() for one in files.values()]
        for one in some:
            with self._mutex:
                numbers = frozenset(one.numbers)
            if numbers:
                yield one, numbers

    def _let_go(self, one: _Written, numbers: Collection[int]) -> None:
        """Nothing is to be done for these rows any more."""
        with self._mutex:
            one.numbers.difference_update(numbers)
            if one.numbers:
                return
            name = one.owner.name
            files = self._written.get(name, {})
            if files.get(one.file) is one:
                del files[one.file]
                if not files:
                    del self._written[name]
        with one.syncing:
            fd, one.fd = one.fd, None
            if fd is not None:
                os.close(fd)
                with self._mutex:
                    self._descriptors -= 1

    # syncing

    def _synced(self, share: _Share) -> list[_Share]:
        """The same share where its file is on stable storage, what of it is where it was written again, or nothing."""
        one, numbers = share
        try:
            self._sync(one)
            self._sync_successor(one)
            return [share]
        except OSError as error:
            self._say(one, error)
        try:
            with self._mailbox_of(one.owner).lock(create=False) as mailbox:
                return [(one, self._write_again(one, numbers, mailbox))]
        except FileNotFoundError:
            self._give_up(one, numbers)
        except MailboxFailure:
            one.again_at = self._clock() + RETRY
        return []

    @staticmethod
    def _sync(one: _Written) -> None:
        """Raises OSError, also where an earlier sync of it failed."""
        with one.syncing:
            if one.failed:
                raise OSError("what stands there must be written again")
            if one.fd is None:
                return
            try:
                SYSTEM.sync(one.fd)
            except OSError:
                one.failed = True
                raise

    @staticmethod
    def _sync_successor(one: _Written) -> None:
        """Where another program has replaced the file: what it put there may be all that is left of the mail. Raises OSError."""
        try:
            there = os.lstat(one.path)
            if (there.st_dev, there.st_ino) == one.file or not stat.S_ISREG(there.st_mode):
                return
            fd = os.open(one.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
        except FileNotFoundError:  # it took everything out
            return
        except PermissionError:  # it made it for its user's eyes only; the kernel may still be told to write all it has
            os.sync()
            return
        try:
            SYSTEM.sync(fd)
        finally:
            os.close(fd)
        SYSTEM.sync_folder(one.path)

    def _named(self, done: Sequence[_Share]) -> list[_Share]:
        """Without those whose name in the folder cannot be brought to the disk."""
        folders: dict[str, OSError | None] = {}
        good: list[_Share] = []
        for one, numbers in done:
            if one.new:
                folder = os.path.dirname(one.path)
                if folder not in folders:
                    folders[folder] = self._sync_folder(one.path)
                error = folders[folder]
                if error is not None:
                    one.failed = True
                    self._say(one, error)
                    one.again_at = self._clock() + RETRY
                    continue
            good.append((one, numbers))
        return good

    @staticmethod
    def _sync_folder(path: str) -> OSError | None:
        try:
            SYSTEM.sync_folder(path)
        except OSError as error:
            return error
        return None

    def _write_again(self, one: _Written, numbers: frozenset[int], mailbox: LockedMailbox) -> frozenset[int]:
        """Under the lock: what stands there of these rows once more, and sync that. Which of them that did.

        What is not whole any more was perhaps lost with the octets that could not be written: its rows are doubted. Raises
        MailboxFailure.
        """

        def rows() -> Iterator[Standing]:
            return (row for row in self._journal.standing(one.owner.name) if row.recipient.number in numbers)

        doubtful: set[int] = set()
        # No boot: nothing is believed that is not seen.
        for spot in Whereabouts(mailbox, rows, boot="").spots():
            if spot.found and spot.piece is not None:
                write_again(mailbox, spot.piece.start, spot.piece.end)
            else:
                doubtful.add(spot.row.recipient.number)
        mailbox.sync()
        one.failed = one.told = False
        one.again_at = 0.0
        if doubtful:
            self._give_up(one, doubtful)
        return numbers - doubtful

    def _give_up(self, one: _Written, numbers: Collection[int]) -> None:
        self.doubt(one.owner.name, numbers)
        self._let_go(one, numbers)

    def _say(self, one: _Written, error: OSError) -> None:
        if not one.told:
            one.told = True
            self._report(
                "warning: cannot sync {path}: {reason}; its newest messages stay in the queue too, until that works",
                path=one.path,
                reason=error.strerror or error,
            )

    def _forget(self, done: Sequence[_Share]) -> None:
        self.forget(sorted({number for _, numbers in done for number in numbers}))
        for one, numbers in done:
            self._let_go(one, numbers)


def write_again(mailbox: LockedMailbox, start: int, end: int) -> None:
    """The same octets in the same place, so that the kernel knows that they are to be written. Raises MailboxFailure."""
    try:
        for at in range(start, end, _WINDOW):
            SYSTEM.write(mailbox.fd, read_exactly(mailbox.fd, min(_WINDOW, end - at), at), at)
            mailbox.touch()
    except OSError as error:
        raise MailboxFailure.of(error, f"cannot write to {mailbox.path}") from error
