"""After a crash: what no client was told about is taken out of the mailboxes again.

The piece of a message that was never answered 250 is found by its octets, not by its place alone: other programs may have
written behind it, or all over the file, and not an octet of theirs is touched.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator

from lanmail.interfaces import Report, User
from lanmail.mailbox.mbox import LONGEST_SEPARATOR, is_separator, separation
from lanmail.mailbox.store import LockedMailbox, MailboxFailure, MailboxFile
from lanmail.spool.incoming import IncomingFolder
from lanmail.spool.intents import Intended, Intents, Note, Torn

_WINDOW = 64 * 1024


class Uncertain(Exception):
    """The file is not the one that was noted, or no longer as it was: it is left alone. The text says why."""


class Recovery:
    """``mend`` goes into every MailboxFile; ``run`` is called once at start, in a thread.

    What a crash left is what lies in the folders when this is made: so it is made before anything can come in, and what comes in
    while ``run`` is at work is none of its business. Mailboxes may be used meanwhile, since ``mend`` comes before every use.

    mailbox_of: the MailboxFile of a user, made with this ``mend``. report: a line for each note, and for what stays uncertain.
    """

    def __init__(
        self, intents: Intents, incoming: IncomingFolder, mailbox_of: Callable[[User], MailboxFile], report: Report
    ) -> None:
        """OSError where the folders cannot be read."""
        self._intents = intents
        self._incoming = incoming
        self._mailbox_of = mailbox_of
        self._report = report
        self._mutex = threading.RLock()
        self._left: list[str] = intents.names()  # queue ids of notes that nobody has read yet
        self._orphans = incoming.names()
        self._pending: dict[str, list[str]] = {}  # path of a mailbox: queue ids of the notes that still speak of it

    def run(self) -> None:
        """Undo what the notes of a crash say, sweep what belongs to none. Blocks.

        What another program holds now stays pending until the mailbox is next used. Interrupted, it is simply run again, by
        the next process.
        """
        with self._mutex:
            self._read_notes()
            queue_ids = {queue_id for pending in self._pending.values() for queue_id in pending}
        for queue_id in sorted(queue_ids):
            try:
                self._resume(queue_id)
            except FileNotFoundError:
                pass  # somebody used the mailboxes, and so mended them, before we came
            except OSError as error:
                self._report("warning: cannot undo {id} now: {error}", id=queue_id, error=error)
        # A content's file is named as its note is.
        swept = self._incoming.sweep(set(self._orphans).difference(self._intents.names()))
        if swept:
            self._report(
                "removed {count} unfinished messages that an interruption left in {path}",
                count=swept,
                path=self._incoming.path,
            )

    def mend(self, mailbox: LockedMailbox) -> None:
        """Undo in this locked mailbox what is still to be undone. Raises MailboxFailure: then it must not be used yet."""
        if not (self._pending or self._left):  # nearly always
            return
        with self._mutex:  # two mailboxes of one note, and each would think that the other is still to come
            self._read_notes()
            for queue_id in list(self._pending.get(mailbox.path, ())):
                try:
                    self._mend_by(queue_id, mailbox)
                except OSError as error:
                    raise MailboxFailure.of(error, f"cannot undo {queue_id} in {mailbox.path}") from error

    def postpone(self, note: Note) -> None:
        """Something could not be cut back now: do so before each of these mailboxes is used again."""
        note.content.kept = note.content.name is not None
        queue_id = os.path.basename(note.path)
        with self._mutex:
            for _, mailbox in note.unsettled():
                self._pending.setdefault(mailbox.path, []).append(queue_id)

    # one note

    def _read_notes(self) -> None:
        while self._left:
            try:
                self._read_note(self._left[-1])
            except OSError as error:
                self._report("warning: cannot read the note of {id}: {error}", id=self._left[-1], error=error)
            self._left.pop()  # only now: without the mutex, mend looks whether there are any

    def _read_note(self, queue_id: str) -> None:
        try:
            note = self._intents.read(queue_id)
        except Torn:
            self._intents.forget(queue_id)
            return
        note.close()
        if note.delivered or note.undone:
            note.remove()
            note.content.discard()
        else:
            self.postpone(note)

    def _resume(self, queue_id: str) -> None:
        """Undo one note as far as it goes now."""
        note = self._intents.read(queue_id)
        note.close()
        for number, intended in note.unsettled():
            self._visit(queue_id, number, intended)
        if not os.path.lexists(note.path):
            self._report(
                "{id}: was interrupted before it was answered; what stood of it in mailboxes is undone", id=queue_id
            )

    def _visit(self, queue_id: str, number: int, intended: Intended) -> None:
        mailbox = self._mailbox_of(intended.user)
        if mailbox.path != intended.path:
            self._leave(queue_id, intended.path, "mailboxes are kept elsewhere now")
            self._settle(queue_id, number, intended.path)
            return
        try:
            mailbox.lock(create=False).release()  # which mends it
        except FileNotFoundError:
            if os.stat(os.path.dirname(intended.path)).st_dev != intended.device:
                # The folder is there and its disk is not: it is mounted later than we were started.
                self._report(
                    "warning: {id}: will be undone later: {path} is not there", id=queue_id, path=intended.path
                )
                return
            self._settle(queue_id, number, intended.path)
        except MailboxFailure as failure:
            self._report("warning: {id}: will be undone later: {reason}", id=queue_id, reason=failure.detail)

    def _mend_by(self, queue_id: str, mailbox: LockedMailbox) -> None:
        note = self._intents.read(queue_id)
        try:
            for number, intended in note.unsettled():
                if intended.path == mailbox.path:
                    try:
                        undo(mailbox, intended, note)
                    except Uncertain as reason:
                        self._leave(queue_id, mailbox.path, str(reason))
                    self._settled(note, queue_id, number, mailbox.path)
        finally:
            note.close()

    def _settle(self, queue_id: str, number: int, path: str) -> None:
        with self._mutex:
            note = self._intents.read(queue_id)
            try:
                self._settled(note, queue_id, number, path)
            finally:
                note.close()

    def _settled(self, note: Note, queue_id: str, number: int, path: str) -> None:
        note.mark_undone(number)
        queue_ids = self._pending.get(path, [])
        if queue_id in queue_ids:
            queue_ids.remove(queue_id)
        if not queue_ids:
            self._pending.pop(path, None)
        if note.undone:
            note.remove()
            note.content.discard()

    def _leave(self, queue_id: str, path: str, reason: str) -> None:
        self._report(
            "warning: {id}: {path} is left as it is, perhaps with this message in it: {reason}",
            id=queue_id,
            path=path,
            reason=reason,
        )


# one mailbox


def undo(mailbox: LockedMailbox, intended: Intended, note: Note) -> None:
    """Take out what stands in this mailbox of the note's message, whole or torn. Again and again is as good as once.

    At the end of the file it is cut back to the length noted; before what another program has written since, only our own
    octets go. Raises Uncertain, MailboxFailure, OSError, and then nothing was changed.
    """
    if (mailbox.device, mailbox.inode) != (intended.device, intended.inode):
        raise Uncertain("another file stands in its place")
    size = mailbox.length()
    if size < intended.length:
        raise Uncertain("it is shorter than it was")
    if size == intended.length:
        return
    tail = min(4, intended.length)  # as much as LockedMailbox.append looks at
    gap = separation(os.pread(mailbox.fd, tail, intended.length - tail))
    begin = intended.length + len(gap)
    try:
        matched, whole = _standing(mailbox.fd, intended.length, size, _expected(gap, intended, note))
    except FileNotFoundError:
        raise Uncertain("the message itself is gone") from None
    end = intended.length + matched
    if not whole:
        end = _cut(mailbox.fd, intended.length, end, size)
    if end == size:
        mailbox.cut_back(intended.length)
    elif end > begin:
        # The separation stays: it is now between the message before ours and the one behind.
        mailbox.take_out([(begin, end)])


def _expected(gap: bytes, intended: Intended, note: Note) -> Iterator[bytes]:
    yield gap + intended.head
    yield from note.content.pieces()


def _standing(fd: int, start: int, size: int, expected: Iterator[bytes]) -> tuple[int, bool]:
    """How many octets from ``start`` are ours, and whether that is all of ours.

    A NUL counts as ours in any place: it is what a power cut leaves of octets that never reached the disk.
    """
    matched = 0
    for piece in expected:
        for at in range(0, len(piece), _WINDOW):
            ours = piece[at : at + _WINDOW]
            theirs = os.pread(fd, len(ours), start + matched)
            if theirs != ours:
                pairs = zip(theirs, ours, strict=False)
                here = next((n for n, (found, wanted) in enumerate(pairs) if found != wanted and found), len(theirs))
                if here < len(ours):
                    return matched + here, False
            matched += len(ours)
    return matched, True


def _cut(fd: int, start: int, end: int, size: int) -> int:
    """Where our torn piece ends, when the octets from ``start`` are like ours up to ``end``. Raises Uncertain where nothing shows it.

    What follows begins with a separator, perhaps after an empty line, perhaps in the middle of our last line. Its first octets may be the
    very ones that ours would have had there (our "From:" against its "From "), so it may begin before ``end``; but its line cannot be
    ours to the last octet, since then ``end`` would lie behind it. The last such place counts: when our own separator is
    torn, it makes one with the other's behind it.
    """
    if end >= size:
        return size
    first = max(start, end - LONGEST_SEPARATOR)
    window = os.pread(fd, end - first + 2 * LONGEST_SEPARATOR, first)
    found = None
    position = window.find(b"From ")
    while position >= 0 and not window[end - first : position].strip(b"\n"):
        line, newline, _ = window[position:].partition(b"\n")
        if newline and is_separator(line) and first + position + len(line) + 1 > end:
            found = min(first + position, end)
        position = window.find(b"From ", position + 1)
    if found is None:
        raise Uncertain("another program has rewritten it")
    return found
