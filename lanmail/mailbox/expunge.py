"""Taking messages out of an mbox file in place, so that a crash at any instant leaves it as before or as after.

In place, because the file's inode, owner and mode are other programs' business too, and because the program may not be allowed to
make a file in the spool folder. So what follows a removed message is moved down over it, and a crash in the middle would leave
neither the one nor the other. Therefore a redo journal, one file in our state folder:

    plan    which file, how long, what goes, and digests of short pieces of it ("landmarks"): by these we know it again
    cut     16 octets, a secret of this expunge once everything is moved, else zero
    slots   two, each with a step: the octets of one window of the result, the step's number, and a digest of both

The result is written in steps of one window (some MiB) each:

    0. The plan and step 0 go to the journal, are synced, and only now it gets its name, which is synced too.
    1. The step is in the journal, synced. Its octets go to the mailbox, which is synced.
    2. The next step goes to the other slot, synced; and so on from 1.
    3. Behind the result, where the file will end, stands a mark: the secret. It is part of the last step.
    4. The cut is noted, synced. The mailbox is cut off at the mark and synced. The journal is removed, its folder synced.

Why this is enough. Before 0 is done the mailbox is untouched, and without the journal's name it stays so. After it, let k be the
highest step whose slot is whole. Steps before k are in the mailbox for good: step k was only noted after they were synced. Step k
may be there in part, and is simply written again from its slot, which nothing overwrites before k + 1 is done (there are two).
Steps after k have not begun, and what they will move is where it always was: moving goes down, so a step ends, in the file, at or
before where the next one's octets begin. The window is at once all that is copied twice: a mailbox of 1 GiB needs no second GiB.

Others do not know of the journal, and may append to the half-moved file before we are back; they may not lose by it. While the cut
is not noted, the file has not been cut: what is beyond the old length is theirs. When it is noted, the mark says whether: still
there, the file is not yet cut, and again what is beyond the old length is theirs; gone, the file was cut, and everything behind
the result is theirs. (Without it one could not tell: what was appended after a cut may be equal, octet for octet, to what the
cut removed: a copy of the last message.) Of the mark it is the first octet that says so, a NUL, with which nothing of theirs begins: a
file system that cuts a file clears the rest of its last block first, and a power cut may leave that without the new length. For the
same reason what ends the file goes by a journal too, unless it is the whole file. Octets of theirs beyond the old length make the
rest of the work an expunge of its own, of what lies between the result and them, whose journal takes the place of the first in one
rename.

If the file is not the one of the journal, or its landmarks are not where they must be, then somebody has rewritten it: what we would
do to it now is wrong, and it is left alone. The journal is put aside under another name, for whoever wants to look into it.
"""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Callable, Sequence
from contextlib import closing

from lanmail.mailbox.disk import SYSTEM, Disk
from lanmail.mailbox.plan import Plan, matches
from lanmail.mailbox.redo import Journal, Unreadable

_SUFFIX = ".expunge"
_DRAFT = ".new"

# What is moved between two syncs: so much that a GiB takes some hundred syncs at most, and so little that it fits beside a nearly
# full mailbox. Where not even that fits (people delete because the disk is full) the small one is tried.
WINDOW = 16 << 20
_SMALL_WINDOW = 256 * 1024
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def journal_path(state_folder: str, owner: str) -> str:
    """Where the redo journal of that user's mailbox lies while there is one."""
    return os.path.join(state_folder, owner + _SUFFIX)


def interrupted(state_folder: str) -> list[str]:
    """The owners whose mailbox waits for an expunge to be finished. Locking it does that, and should be done at start."""
    return sorted(name.removesuffix(_SUFFIX) for name in os.listdir(state_folder) if name.endswith(_SUFFIX))


def sweep(state_folder: str) -> None:
    """Remove journals that a crash left before they counted, since room is reserved in them. Before any mailbox is used. OSError."""
    for name in os.listdir(state_folder):
        if name.endswith(_SUFFIX + _DRAFT):
            os.unlink(os.path.join(state_folder, name))


def take_out(
    fd: int,
    journal: str,
    ranges: Sequence[tuple[int, int]],
    *,
    keep_alive: Callable[[], None],
    disk: Disk = SYSTEM,
    window: int = WINDOW,
) -> None:
    """Remove these octets (start, end; in order, apart) from the open and locked file. On stable storage when it returns.

    Raises OSError, and then either nothing has changed, or the journal lies there and ``finish`` goes on. ValueError for ranges
    that are no such thing. ``keep_alive`` is called after each window.
    """
    length = disk.size(fd)
    joined = _joined(ranges, length)
    if not joined:
        return
    if joined == [(0, length)]:
        # Nothing is kept: one truncate, which is whole or not at all, as there is no block that is kept in part.
        disk.truncate(fd, 0)
        disk.sync(fd)
        return
    with closing(_Work.begin(disk, fd, journal, joined, keep_alive, window)) as work:
        work.go_on(0)


def finish(fd: int, journal: str, *, keep_alive: Callable[[], None], disk: Disk = SYSTEM, window: int = WINDOW) -> str:
    """Finish what a journal says was begun, in the open and locked file; what was done, in words for the log, or "".

    Raises OSError: then the mailbox is half done and must not be used; the journal stays.
    """
    try:
        book = Journal.open(disk, journal)
    except FileNotFoundError:
        return ""
    except Unreadable:
        return _put_aside(disk, journal, "the journal of an interrupted expunge is damaged")
    with closing(_Work(disk, fd, book, keep_alive, window)) as work:
        step = book.newest()
        if step < 0:
            return _put_aside(disk, journal, "the journal of an interrupted expunge is damaged")
        if book.cut_noted and work.was_cut():
            disk.sync(fd)
            book.remove()
            return "an interrupted expunge had only its journal left to remove"
        foreign = work.foreign(step)
        if foreign:
            return _put_aside(
                disk, journal, f"another program rewrote the file after an interrupted expunge: {foreign}"
            )
        book.settle()
        if book.cut_noted:
            work.cut()
        else:
            work.go_on(step)
    return "finished an interrupted expunge"


class _Work:
    """One mailbox and the journal by which it is thinned out."""

    def __init__(self, disk: Disk, fd: int, book: Journal, keep_alive: Callable[[], None], window: int) -> None:
        self._disk = disk
        self._fd = fd
        self._book = book
        self._plan = book.plan
        self._keep_alive = keep_alive
        self._window = window

    @classmethod
    def begin(
        cls,
        disk: Disk,
        fd: int,
        path: str,
        ranges: Sequence[tuple[int, int]],
        keep_alive: Callable[[], None],
        window: int,
    ) -> _Work:
        """Journal and step 0 are on stable storage, in the place of a journal that was there. The mailbox is untouched."""
        plan = Plan.of(disk, fd, ranges, window)
        draft = path + _DRAFT
        try:
            try:
                book = Journal.make(disk, draft, plan)
            except OSError as error:
                if error.errno not in _NO_SPACE or plan.window <= _SMALL_WINDOW:
                    raise
                plan = plan.resized(_SMALL_WINDOW)
                book = Journal.make(disk, draft, plan)
        except OSError:
            _forget(disk, draft)
            raise
        work = cls(disk, fd, book, keep_alive, window)
        try:
            book.note(0, plan.result(disk, fd, 0))
            book.sync()
            book.rename(path)
        except BaseException:
            # If only its folder could not be synced it has its name, and is good: it describes the file as it is, whether it
            # replaced another journal or not. Then the next use of the mailbox takes the messages out after all.
            work.close()
            _forget(disk, draft)
            raise
        return work

    def go_on(self, step: int) -> None:
        """This step is noted: from here to the end."""
        while True:
            at, _ = self._plan.span(step)
            for octets in self._book.octets(step):
                self._disk.write(self._fd, octets, at)
                at += len(octets)
            self._disk.sync(self._fd)
            self._keep_alive()
            step += 1
            if step == self._plan.steps:
                break
            self._book.note(step, self._plan.result(self._disk, self._fd, step))
            self._book.sync()
        self._book.note_cut()
        self.cut()

    def cut(self) -> None:
        """The result and the mark are in place and the cut is noted: what is left to do."""
        plan = self._plan
        size = self._disk.size(self._fd)
        if size < plan.end:
            raise OSError(errno.EIO, "another program shortened the mailbox under our locks")
        if size <= plan.length:
            self._disk.truncate(self._fd, plan.new_length)
            self._disk.sync(self._fd)
            self._book.remove()
            return
        # Others appended. What is left of the old octets lies between the result and theirs.
        rest = [(plan.new_length, plan.length)]
        with closing(_Work.begin(self._disk, self._fd, self._book.path, rest, self._keep_alive, self._window)) as work:
            work.go_on(0)

    def was_cut(self) -> bool:
        """Whether the mark is gone, once it was there."""
        return self._disk.read(self._fd, 1, self._plan.new_length) != self._plan.mark[:1]

    def _cut_began(self) -> bool:
        """Whether what stands behind the result may have been cleared."""
        mark = self._plan.mark
        return self._book.cut_noted and self._disk.read(self._fd, len(mark), self._plan.new_length) != mark

    def foreign(self, step: int) -> str:
        """Why this cannot be the file that the journal speaks of, stopped in that step; "" if it can."""
        plan = self._plan
        device, inode = self._disk.identity(self._fd)
        # The number of a device may be another after a restart of the system.
        same_boot = plan.boot != "" and plan.boot == self._disk.boot()
        if inode != plan.inode or (same_boot and device != plan.device):
            return "it is another file"
        if self._disk.size(self._fd) < plan.length:
            return "it is shorter"
        done, written = plan.span(step)
        if self._book.cut_noted:
            done = plan.new_length
        if self._cut_began():
            written = plan.length
        for mark in plan.landmarks:
            places = []
            if mark.offset + mark.length <= plan.first or mark.offset >= written:
                places.append(mark.offset)
            moved = plan.moved(mark.offset, mark.length)
            if moved is not None and moved + mark.length <= done:
                places.append(moved)
            for place in places:
                if not matches(mark, self._disk.read(self._fd, mark.length, place)):
                    return f"octets {place} to {place + mark.length} are not what they were"
        return ""

    def close(self) -> None:
        """Close the journal; whether it is still needed is another matter."""
        self._book.close()


def _joined(ranges: Sequence[tuple[int, int]], length: int) -> list[tuple[int, int]]:
    """Without empty ones, and those that touch made one. Raises ValueError."""
    joined: list[tuple[int, int]] = []
    at = 0
    for start, end in ranges:
        if not at <= start <= end <= length:
            raise ValueError(f"octets {start} to {end} are out of order or beyond {length}")
        at = end
        if start == end:
            continue
        if joined and joined[-1][1] == start:
            joined[-1] = (joined[-1][0], end)
        else:
            joined.append((start, end))
    return joined


def _put_aside(disk: Disk, path: str, why: str) -> str:
    """The journal is kept, where nobody takes it for one that is to be finished."""
    kept = f"{path}.aside-{secrets.token_hex(4)}"
    disk.rename(path, kept)
    disk.sync_folder(path)
    return f"{why}; nothing was done, the journal is kept as {kept}"


def _forget(disk: Disk, path: str) -> None:
    try:
        disk.remove(path)
    except OSError:  # it never came to be, or will be overwritten by the next one
        pass
