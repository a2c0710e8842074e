"""The durable note of what is about to be written into which mailboxes, from which a crash is undone.

One file for each message under way. It is written and synced before the first octet reaches a mailbox, and marked when
the last one is on stable storage; whatever finds it unmarked knows what to take out again. Here a journal will stand.

    lanmail-intent 1 JSON-OCTETS BODY-OCTETS CRC32
    .....                                           the marks: of the whole, then of each mailbox
    {...}                                           the mailboxes, and where the body is
    ...                                             the body, where it is small
"""

from __future__ import annotations

import contextlib
import json
import os
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from lanmail.interfaces import User
from lanmail.spool.folder import Folder
from lanmail.spool.incoming import Content, IncomingFolder

OPEN, SETTLED = b".", b"+"
_MAGIC = b"lanmail-intent 1"


class Torn(Exception):
    """The note was never finished: nothing was written to a mailbox on its account."""


@dataclass(frozen=True, slots=True)
class Intended:
    """One mailbox of a note: the file as it was under our lock, and what is to stand before the body in it.

    length: octets before anything of ours was written.
    """

    user: User
    path: str
    device: int
    inode: int
    length: int
    head: bytes


class Note:
    """One note on disk. Its methods block and raise OSError."""

    def __init__(
        self, path: str, fd: int, marks_at: int, marks: bytes, mailboxes: Sequence[Intended], content: Content
    ) -> None:
        self.path = path
        self.mailboxes = mailboxes
        self.content = content
        self._fd = fd
        self._marks_at = marks_at
        self._marks = bytearray(marks)

    @property
    def delivered(self) -> bool:
        """The message is in every mailbox, on stable storage."""
        return self._marks[:1] == SETTLED

    @property
    def undone(self) -> bool:
        """The message is out of every mailbox again."""
        return self._marks[1:].count(SETTLED) == len(self.mailboxes)

    def unsettled(self) -> Iterator[tuple[int, Intended]]:
        """The mailboxes from which it is still to be taken, unless it is ``delivered``, with their numbers."""
        return ((n, mailbox) for n, mailbox in enumerate(self.mailboxes) if self._marks[n + 1 : n + 2] != SETTLED)

    def mark_delivered(self) -> None:
        self._mark(0, SETTLED)

    def mark_failed(self) -> None:
        """Not delivered, should ``mark_delivered`` have reached the disk and failed all the same."""
        self._mark(0, OPEN)

    def mark_undone(self, number: int) -> None:
        self._mark(number + 1, SETTLED)

    def _mark(self, position: int, mark: bytes) -> None:
        # On stable storage. One octet is overwritten in place, which no crash can tear.
        os.pwrite(self._fd, mark, self._marks_at + position)
        os.fdatasync(self._fd)
        self._marks[position : position + 1] = mark

    def remove(self) -> None:
        """Never raises, and is not synced: a note that stays, or that a power cut brings back, is still marked."""
        with contextlib.suppress(OSError):
            os.unlink(self.path)

    def close(self) -> None:
        os.close(self._fd)


class Intents(Folder):
    """``<state>/intents``. Notes are named by queue ids."""

    def __init__(self, path: str, incoming: IncomingFolder) -> None:
        super().__init__(path)
        self.incoming = incoming

    def write(self, queue_id: str, mailboxes: Sequence[Intended], content: Content) -> Note:
        """A note on stable storage, and the content with it. OSError, and then there is none."""
        self.incoming.sync(content)
        facts = json.dumps(
            {"mailboxes": [_facts(mailbox) for mailbox in mailboxes], "file": content.name, "size": content.size}
        )
        rest = facts.encode() + content.memory
        first = b"%s %d %d %08x\n" % (_MAGIC, len(rest) - len(content.memory), len(content.memory), zlib.crc32(rest))
        marks = OPEN * (1 + len(mailboxes))
        path = os.path.join(self.path, queue_id)
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            view = memoryview(first + marks + b"\n" + rest)
            while view:
                view = view[os.write(fd, view) :]
            os.fsync(fd)
            self.sync_names()
        except BaseException:
            os.close(fd)
            with contextlib.suppress(OSError):
                os.unlink(path)
            raise
        return Note(path, fd, len(first), marks, mailboxes, content)

    def read(self, queue_id: str) -> Note:
        """Raises Torn, OSError."""
        path = os.path.join(self.path, queue_id)
        fd = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            with os.fdopen(os.dup(fd), "rb") as file:
                text = file.read()
            return self._understood(path, fd, text)
        except BaseException:
            os.close(fd)
            raise

    def forget(self, queue_id: str) -> None:
        """Remove a note that was never finished. OSError."""
        os.unlink(os.path.join(self.path, queue_id))

    def _understood(self, path: str, fd: int, text: bytes) -> Note:
        try:
            first, marks, rest = text.split(b"\n", 2)
            magic, facts_size, body_size, checksum = first.rsplit(b" ", 3)
            if (
                magic != _MAGIC
                or len(rest) != int(facts_size) + int(body_size)
                or zlib.crc32(rest) != int(checksum, 16)
            ):
                raise Torn(path)
        except ValueError:
            raise Torn(path) from None
        facts = json.loads(rest[: int(facts_size)])
        mailboxes = [
            Intended(
                User(*of["user"]), of["path"], of["device"], of["inode"], of["length"], of["head"].encode("latin-1")
            )
            for of in facts["mailboxes"]
        ]
        if len(marks) != 1 + len(mailboxes):
            raise Torn(path)
        name = facts["file"]
        content = Content(facts["size"], rest[int(facts_size) :], name, self.incoming.path_of(name) if name else "")
        return Note(path, fd, len(first) + 1, marks, mailboxes, content)


def _facts(mailbox: Intended) -> dict[str, object]:
    user = mailbox.user
    return {
        "user": [user.name, user.uid, user.gid, user.home],
        "path": mailbox.path,
        "device": mailbox.device,
        "inode": mailbox.inode,
        "length": mailbox.length,
        "head": mailbox.head.decode("latin-1"),
    }
