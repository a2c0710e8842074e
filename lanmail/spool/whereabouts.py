"""Where the copies are that the journal says were begun in one mailbox: in their place, elsewhere in it, torn, or nowhere.

Nothing is written here. Bodies go by in pieces; of a row no more is kept than a few numbers, and that only where its place did not answer.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from dataclasses import dataclass

from lanmail.mailbox.index import Index, refresh
from lanmail.mailbox.locks import MailboxFailure
from lanmail.mailbox.store import LockedMailbox
from lanmail.mailbox.uidl import identify, identity_of
from lanmail.mailbox.windows import Changed
from lanmail.spool.journal import Standing
from lanmail.spool.torn import Piece, overlaps, piece_at, piece_from

# A program that ignores locks may write while we read. After so many tries it is its turn to stop.
_TRIES = 3


@dataclass(frozen=True, slots=True)
class Spot:
    """One row, and where its octets are. piece: whole, or torn; None where nothing is, or where a mark was believed.

    found: the whole message is in the mailbox. unwritten: it is not, and the file, still the same one, and not lost in a power cut, is
    no longer than it was before the append: so it seems that nobody ever saw the message there.
    """

    row: Standing
    found: bool
    piece: Piece | None = None
    unwritten: bool = False


# What says that a text will not be readable the next time either. All else passes: too many open files, a journal that is locked.
_LOST = frozenset((errno.ENOENT, errno.EIO, errno.EBADMSG, errno.EUCLEAN, errno.ENODATA, errno.ELOOP))


class _Unreadable(Exception):
    """The text of a message cannot be read, and never will be."""


class Whereabouts:
    """In a locked mailbox.

    rows: those with an intent, the same each time it is called. boot: the id of this start of the system; empty where it is not known.
    doubted: numbers whose mark says nothing, although it is of this boot: their octets may never have reached the disk.
    """

    def __init__(
        self,
        mailbox: LockedMailbox,
        rows: Callable[[], Iterable[Standing]],
        *,
        boot: str,
        doubted: Container[int] = frozenset(),
    ) -> None:
        self._mailbox = mailbox
        self._rows = rows
        self._boot = boot
        self._doubted = doubted
        self._taken: list[tuple[int, int]] = []  # what whole copies in their places cover

    def spots(self) -> Iterator[Spot]:
        """Every row once. Raises MailboxFailure where the mailbox cannot be read, TemporaryFailure where the journal cannot."""
        try:
            yield from self._spots()
        except Changed:
            raise MailboxFailure(f"{self._mailbox.path} changes although it is locked") from None
        except OSError as error:
            raise MailboxFailure.of(error, f"cannot look into {self._mailbox.path}") from error

    def _spots(self) -> Iterator[Spot]:
        unsure: dict[int, Piece | None] = {}
        for row in self._rows():
            if row.marked and self._of_this_life(row):
                # It was written whole, under the lock. What others did with it since is their act.
                yield Spot(row, True)
                continue
            piece = self._in_place(row)
            if piece is not None and piece.whole:
                self._taken.append((piece.begin, piece.end))
                yield Spot(row, True, piece)
            else:
                unsure[row.recipient.number] = piece
        if not unsure:
            return
        index = self._index()
        elsewhere = self._elsewhere(unsure, index)
        moved = self._moved({number for number, torn in unsure.items() if torn is None} - elsewhere.keys(), index)
        for row in self._rows():
            number = row.recipient.number
            if number not in unsure:
                continue
            torn = unsure[number] or moved.get(number)
            if number in elsewhere:
                yield Spot(row, True, elsewhere[number])
            elif torn is not None and not overlaps(torn, self._taken):
                yield Spot(row, False, torn)
            else:
                yield Spot(row, False, unwritten=self._is_unwritten(row))

    def _of_this_life(self, row: Standing) -> bool:
        """Whether its intent is of this boot, so that nothing that was written since can have been lost."""
        return self._boot != "" and row.intent.boot == self._boot and row.recipient.number not in self._doubted

    def _is_unwritten(self, row: Standing) -> bool:
        same_boot = self._boot != "" and row.intent.boot == self._boot
        return same_boot and not row.marked and self._same_file(row) and row.intent.offset >= self._mailbox.length()

    def _same_file(self, row: Standing) -> bool:
        # The number of a device may be another after a restart of the system.
        mailbox, intent = self._mailbox, row.intent
        return intent.inode == mailbox.inode and (intent.boot != self._boot or intent.device == mailbox.device)

    def _in_place(self, row: Standing) -> Piece | None:
        if not self._same_file(row):
            return None
        mailbox, intent = self._mailbox, row.intent
        mailbox.touch()
        try:
            return piece_at(mailbox.fd, intent.offset, lambda: _octets(row), holes=not self._of_this_life(row))
        except _Unreadable:
            return None

    def _elsewhere(self, unsure: Mapping[int, Piece | None], index: Index) -> dict[int, Piece]:
        """By content identity, each copy in the mailbox for one row: those that were found."""
        wanted: dict[int, bytes] = {}
        for row in self._rows():
            if row.recipient.number in unsure:
                self._mailbox.touch()
                try:
                    wanted[row.recipient.number] = identity_of(_text(row))
                except _Unreadable:
                    pass
        # A torn piece that lacks no more than its last line ends would seem to be the message. It is to be as if never torn.
        passed_over = {start for start, _ in self._taken} | {piece.begin for piece in unsure.values() if piece}
        copies = self._copies(index, frozenset(wanted.values()), passed_over)
        found: dict[int, Piece] = {}
        for number, identity in wanted.items():
            if copies.get(identity):
                start, end = copies[identity].pop(0)
                self._taken.append((start, end))
                found[number] = Piece(start, start, end, True)
        return found

    @staticmethod
    def _copies(
        index: Index, identities: Container[bytes], passed_over: Container[int]
    ) -> dict[bytes, list[tuple[int, int]]]:
        """Where messages of these identities stand, in the order of the file; without those that begin at a place to be passed over."""
        copies: dict[bytes, list[tuple[int, int]]] = {}
        for number in range(1, len(index) + 1):
            identity = index.identity(number)
            if identity in identities and index.extent(number)[0] not in passed_over:
                assert identity is not None
                copies.setdefault(identity, []).append(index.extent(number))
        return copies

    def _moved(self, numbers: Container[int], index: Index) -> dict[int, Piece]:
        """Torn pieces that have come to another place, since another program has rewritten what stands before them.

        Such a piece is known by its head, which says for whom it is and under which queue id it came in: nothing less will do.
        """
        fd = self._mailbox.fd
        heads: dict[bytes, list[tuple[bytes, int]]] = {}  # by their first line
        for row in self._rows():
            if row.recipient.number in numbers:
                head = row.recipient.head
                heads.setdefault(head[: head.index(b"\n") + 1], []).append((head, row.recipient.number))
        places: dict[int, int] = {}
        for entry in map(index.entry, range(1, len(index) + 1)) if heads else ():
            for head, number in heads.get(os.pread(fd, entry.text - entry.start, entry.start), ()):
                if number not in places and os.pread(fd, len(head), entry.start) == head:
                    places[number] = entry.start
                    break
        found: dict[int, Piece] = {}
        for row in self._rows() if places else ():
            number = row.recipient.number
            if number in places:
                self._mailbox.touch()
                try:
                    piece = piece_from(fd, places[number], _octets(row), holes=not self._of_this_life(row))
                except _Unreadable:
                    continue
                if piece is not None and not piece.whole:
                    found[number] = piece
        return found

    def _index(self) -> Index:
        fd = self._mailbox.fd
        for tried in range(_TRIES):
            try:
                index = refresh(fd, os.fstat(fd), None)
                self._mailbox.touch()
                identify(fd, index)
                self._mailbox.touch()
                return index
            except Changed:
                if tried == _TRIES - 1:
                    raise
        raise AssertionError("not reached")


def _octets(row: Standing) -> Iterator[bytes]:
    yield row.recipient.head
    try:
        yield from row.content.pieces()
    except OSError as error:
        if error.errno not in _LOST:
            raise
        raise _Unreadable from error


def _text(row: Standing) -> Iterator[bytes]:
    """What uidl.py takes for the message: behind its `From ` line."""
    octets = _octets(row)
    yield next(octets).partition(b"\n")[2]
    yield from octets
