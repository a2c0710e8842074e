"""A mailbox whose locks we hold: written at its end, cut back, thinned out. What is in it is not looked at here."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from types import TracebackType

from lanmail.interfaces import Report, User
from lanmail.mailbox import expunge
from lanmail.mailbox.disk import SYSTEM, Extent
from lanmail.mailbox.dotlock import Dotlock
from lanmail.mailbox.locks import MailboxBusy, MailboxFailure
from lanmail.mailbox.mbox import separation

# Small pieces are gathered into writes of this many octets.
_WRITE = 64 * 1024
# What is read and written again where the system does not copy from file to file.
_READ = 128 * 1024


class Uncut(MailboxFailure):
    """An append failed, and it is not certain that all of it is gone again: octets of it may stand at the end of the file."""


class LockedMailbox:
    """The file while we hold its locks: a context manager that releases at its end. To be used by one thread at a time.

    fd: open for reading and writing, not to be closed. device, inode: which file it is. created: this lock made it. new: it was
    empty, so whoever made it may not have come to sync its name. unsound: a sync failed, so what was written before it may never get there.
    settle: called before anything is taken out, for what must be on stable storage by then; raises MailboxFailure.
    What fails raises MailboxFailure, after it was reported, and nothing is lost.
    """

    def __init__(
        self,
        path: str,
        owner: User,
        fd: int,
        folder: int,
        created: bool,
        dotlock: Dotlock | None,
        journal: str,
        report: Report,
        settle: Callable[[LockedMailbox], None] | None = None,
    ) -> None:
        found = os.fstat(fd)
        self.path = path
        self.owner = owner
        self.fd = fd
        self.device = found.st_dev
        self.inode = found.st_ino
        self.created = created
        self.new = not created and found.st_size == 0
        self.unsound = False
        self._folder = folder
        self._dotlock = dotlock
        self._journal = journal
        self._report = report
        self._settle = settle
        self._held = ExitStack()

    def keep(self, held: ExitStack) -> None:
        """Take over what is to be undone at ``release``."""
        self._held = held

    def length(self) -> int:
        """Octets in the file now."""
        return os.fstat(self.fd).st_size

    def gap(self, length: int | None = None) -> bytes:
        """The separation that a message appended now begins with. length: of the file, where that is known."""
        # Four octets are enough to see an empty line, also behind a CRLF that another program wrote.
        return separation(self._read(max(0, (self.length() if length is None else length) - 4), 4))

    def append(self, pieces: Iterable[bytes | Extent]) -> int:
        """Write the pieces at the end, after the separation that the end needs; where our octets (separation included) begin.

        Whole or not at all while we live: whatever fails, also in ``pieces``, the file is cut back, or Uncut is raised. It is not
        synced. Raises MailboxBusy where another program has taken our locks or replaced the file since.
        """
        self.must_be_intact()
        begin = self.length()
        if not self.append_at(begin, self.gap(), pieces):
            raise self._uncut(self._written_to)
        return begin

    def append_at(self, begin: int, gap: bytes, pieces: Iterable[bytes | Extent]) -> bool:
        """As ``append``, for whoever has just looked at all that it looks at. False: the end is elsewhere by now, and nothing was done."""
        end = begin
        try:
            for batch in _gathered(gap, pieces):
                if self.length() != end:
                    if end == begin:
                        return False
                    raise self._uncut(self._written_to)
                if isinstance(batch, Extent):
                    end += batch.size
                    self._copy(batch, end - batch.size)
                else:
                    end += len(batch)
                    self._write(batch, end - len(batch))
        except Uncut:
            raise
        except BaseException as error:
            self._take_back(begin, end, error)
            raise
        return True

    def sync(self) -> None:
        """What was written is on stable storage, and the name of a file that was empty too."""
        try:
            os.fsync(self.fd)
            if self.new:
                os.fsync(self._folder)
                self.new = False
        except OSError as error:
            self.unsound = True
            raise self._failure(error, f"cannot sync {self.path}") from error

    def cut_back(self, length: int) -> None:
        """Make the file so long again, on stable storage. A file that is shorter stays as it is."""
        try:
            if self.length() > length:
                os.ftruncate(self.fd, length)
            os.fsync(self.fd)
        except OSError as error:
            self.unsound = True
            raise self._failure(error, f"cannot cut {self.path} back to {length} octets") from error

    def take_out(self, ranges: Sequence[tuple[int, int]]) -> None:
        """Remove these octets (start, end), in order and apart, in place and on stable storage: all of them or none.

        It is fit for any size. Raises MailboxBusy where another program has taken our locks or replaced the file since. After a
        MailboxFailure in the middle the next ``lock`` finishes the work; after one before that nothing has changed.
        """
        self.must_be_intact()
        if self._settle is not None:
            self._settle(self)
        try:
            with self._left_locked_if_it_fails():
                expunge.take_out(self.fd, self._journal, ranges, keep_alive=self.touch)
        except OSError as error:
            self.unsound = True
            raise self._failure(error, f"cannot take messages out of {self.path}") from error

    def finish_expunge(self) -> None:
        """Finish what an earlier ``take_out`` was stopped in; ``MailboxFile.lock`` calls it. Raises OSError."""
        with self._left_locked_if_it_fails():
            told = expunge.finish(self.fd, self._journal, keep_alive=self.touch)
        if told:
            self._report("{path}: {told}", path=self.path, told=told)

    @contextmanager
    def _left_locked_if_it_fails(self) -> Iterator[None]:
        """An expunge that failed in the middle leaves a mailbox that only we can put right, with its journal. Until then the dotlock stays,
        which keeps the others out for as long as they believe in old dotlocks. We break our own at the next use."""
        try:
            yield
        except BaseException:
            if self._dotlock is not None:
                self._dotlock.leave = os.path.lexists(self._journal)
            raise

    def touch(self) -> None:
        """Keep our dotlock fresh: call it at least every minute while the lock is held. Never raises."""
        if self._dotlock is not None:
            self._dotlock.touch()

    def intact(self) -> bool:
        """Whether our dotlock and the file are where they were: another program may have broken the one or replaced the other."""
        try:
            there = os.lstat(os.path.basename(self.path), dir_fd=self._folder)
        except OSError:
            return False
        # One name only, and it is this one: a link to somebody's file that was put here, taken away while the file was judged, and put
        # here again would be the file that we have open.
        same = (there.st_ino, there.st_dev) == (self.inode, self.device) and there.st_nlink == 1
        return same and (self._dotlock is None or self._dotlock.stands())

    def release(self) -> None:
        """Let go, in the opposite order. May be called more than once."""
        self._held.close()

    def __enter__(self) -> LockedMailbox:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    def must_be_intact(self) -> None:
        """Raises MailboxBusy where it is not ``intact``."""
        if not self.intact():
            raise MailboxBusy(self.path, "a program that broke our lock or replaced the file")

    def _take_back(self, begin: int, end: int, why: BaseException) -> None:
        """Cut back after an append that failed when it had come no further than ``end``."""
        # Whoever broke our lock, or respects none, may have appended since: then the end of the file is not ours to cut.
        if not self.intact() or self.length() > end:
            raise self._uncut(f"cannot cut {self.path} back to {begin} octets: another program broke our lock") from why
        try:
            self.cut_back(begin)
        except MailboxFailure as failure:
            raise Uncut(failure.detail, failure.status) from why

    @property
    def _written_to(self) -> str:
        return f"another program writes to {self.path} although it is locked"

    def _uncut(self, detail: str) -> Uncut:
        self._report("warning: mailbox: {detail}", detail=detail)
        return Uncut(detail)

    def _read(self, offset: int, count: int) -> bytes:
        try:
            return os.pread(self.fd, count, offset)
        except OSError as error:
            raise self._failure(error, f"cannot read {self.path}") from error

    def _write(self, data: bytes, offset: int) -> None:
        try:
            SYSTEM.write(self.fd, data, offset)
        except OSError as error:
            raise self._failure(error, f"cannot write to {self.path}") from error

    def _copy(self, source: Extent, offset: int) -> None:
        """Raises OSError where it is the source that cannot be read."""
        done = 0
        while done < source.size:
            rest = Extent(source.fd, source.start + done, source.size - done)
            copied = SYSTEM.copy(rest, self.fd, offset + done)
            if not copied:
                break
            done += copied
        while done < source.size:
            piece = os.pread(source.fd, min(_READ, source.size - done), source.start + done)
            if not piece:
                raise OSError(errno.EIO, "a message's file has lost its end")
            self._write(piece, offset + done)
            done += len(piece)

    def _failure(self, error: OSError, doing: str) -> MailboxFailure:
        failure = MailboxFailure.of(error, doing)
        self._report("warning: mailbox: {detail}", detail=failure.detail)
        return failure


def _gathered(first: bytes, pieces: Iterable[bytes | Extent]) -> Iterator[bytes | Extent]:
    """The octets in batches that are worth a system call."""
    batch = bytearray(first)
    for piece in pieces:
        if isinstance(piece, Extent):
            if batch:
                yield bytes(batch)
                batch.clear()
            yield piece
            continue
        batch += piece
        if len(batch) >= _WRITE:
            yield bytes(batch)
            batch.clear()
    if batch:
        yield bytes(batch)
