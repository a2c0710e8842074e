"""The letters of one mailbox as they stood at one moment, found again in a file that others write to. All of it blocks."""

from __future__ import annotations

import os
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress

from lanmail.interfaces import MessageGone
from lanmail.mailbox.ahead import Whole
from lanmail.mailbox.holdings import Holdings
from lanmail.mailbox.index import SMALL, Index, Stamp, refresh
from lanmail.mailbox.locks import MailboxFailure
from lanmail.mailbox.names import Names
from lanmail.mailbox.origin import Origin, origin_at, origin_of
from lanmail.mailbox.saved_index import SavedIndexes
from lanmail.mailbox.store import LockedMailbox, MailboxFile
from lanmail.mailbox.text import read_several, read_text
from lanmail.mailbox.uidl import find_again, unique_ids
from lanmail.mailbox.windows import Changed
from lanmail.status import Status

# A program that ignores locks may write while we read. After so many tries it is its turn to stop.
TRIES = 3

_REWRITTEN = Status(451, "4.2.0", "Another program has changed the mailbox; please come again")
# After so many letters whose heads were read the lock is kept fresh: from a slow disk, some seconds.
_OFTEN = 1000


# Is told of a letter that was taken out: its number, and which message it was.
Told = Callable[[int, Origin], None]
# Gives the UIDLs of an older server: of whom, from where, for which letters (adopted.AdoptedUidls.of).
Adopted = Callable[[str, int, Index], Mapping[bytes, Sequence[str]]]


class Snapshot:
    """Numbers mean what they meant at ``look``, whatever happens to the file meanwhile.

    name: of the user. ``saved`` may have an index of the mailbox, where nobody tells of a newer one (``know``).
    One thing at a time; ``close`` of the holdings may come at any moment. What fails raises MailboxFailure (MailboxBusy: try
    again), or holdings.Closed.
    """

    def __init__(self, name: str, mailbox: MailboxFile, holdings: Holdings, saved: SavedIndexes | None) -> None:
        self._name = name
        self._mailbox = mailbox
        self._holdings = holdings
        self._taken: Index | None = None
        self._latest: Index | None = None
        self._saved = saved
        self._remembered: tuple[int, int] | None = None
        self._doubted = False
        self._numbers: Sequence[int | None] | None = None  # in the latest index, by ours; None while they are the same

    def know(self, index: Index | None) -> None:
        """Before the first look: an index of the mailbox from earlier, if there is one."""
        self._latest = index
        self._remembered = _state(index)

    @property
    def latest(self) -> Index | None:
        """The newest index of the file, for the next session. None where there is none that it may believe."""
        return None if self._doubted else self._latest

    def look(self) -> tuple[array[int], int]:
        """Take the snapshot; the octets of each letter, not to be changed, and of all of them. No mailbox file is an empty one.

        A mailbox that is as it was under the lock when somebody looked last is neither locked nor opened: most sessions only ask
        whether there is something new.
        """
        with self._holdings:
            known = self._latest
            if known is not None and known.settled:
                there = self._mailbox.glance()
                if there is not None and Stamp.of(there) == known.stamp:
                    self._taken = known
                    return known.octets, known.total
            try:
                locked = self._mailbox.lock(create=False)
            except FileNotFoundError:
                self._latest = None
                return array("Q"), 0
            with locked:
                if self._latest is None and self._saved is not None:
                    self._latest = self._saved.load(self._name)
                    self._remembered = _state(self._latest)
                self._latest = self._taken = self._read(locked)
            return self._taken.octets, self._taken.total

    @property
    def must_look_again(self) -> bool:
        """Nothing was opened yet, and no letter can be read before ``look_again``."""
        return self._taken is not None and not self._holdings.has_file

    def look_again(self) -> None:
        """Find the letters in the file as it is now."""
        with self._holdings:
            try:
                locked = self._mailbox.lock(create=False)
            except FileNotFoundError:
                self._numbers = [None] * self._count
                return
            with locked:
                self._renew(locked)

    @property
    def names(self) -> Names | None:
        """What ``unique_ids`` gives, where it is known already. Does not block."""
        return None if self._taken is None else self._taken.names

    def unique_ids(self, adopted: Adopted) -> Names:
        """The UIDL of every letter."""
        with self._holdings:
            taken = self._taken
            if taken is None or taken.names is not None:
                return self.names or Names(b"")
            if not self._holdings.has_file:
                self.look_again()
            if not self._holdings.has_file:
                raise MailboxFailure(f"{self._mailbox.path} was removed before its letters were named", _REWRITTEN)
            for _ in range(TRIES):
                try:
                    older = adopted(self._name, self._holdings.fd, taken)
                    taken.names = Names.of(unique_ids(self._holdings.fd, taken, older))
                    return taken.names
                except Changed:
                    continue
                except OSError as error:
                    raise self._failure(error) from error
            self._doubted = True
            raise MailboxFailure(f"{self._mailbox.path} was rewritten while its letters were being named", _REWRITTEN)

    def text(self, number: int, body_lines: int | None) -> Iterator[bytes]:
        """As text.read_text, without the lock. Each step of it must be made inside the holdings."""
        assert self._latest is not None
        there = self._number(number)
        if there is None:
            raise MessageGone
        return read_text(self._holdings.fd, self._latest, there, body_lines)

    def several(self, number: int, most: int) -> list[Whole]:
        """This letter and those behind it, whole, as many as stand in so many octets of the file; none where ``text`` must say why.

        As text.read_several, without the lock, and not where the file was rewritten since the look.
        """
        with self._holdings:
            if self._latest is None or self._numbers is not None or not self._holdings.has_file:
                return []
            try:
                texts = read_several(self._holdings.fd, self._latest, number, most)
            except OSError:
                return []
            return [Whole(text, origin_of(text)) for text in texts[: self._count - number + 1]]

    def expunge(
        self, numbers: frozenset[int], told: Told | None = None, origins: Mapping[int, Origin] | None = None
    ) -> int:
        """Take these letters out and keep all others, whoever brought them; how many are left.

        told: called for each letter that we took out, once it is gone and the mailbox is free again. origins: which messages some of
        them are, where that is known already, by number; the heads of the others are read.
        """
        with self._holdings:
            try:
                locked = self._mailbox.lock(create=False)
            except FileNotFoundError:  # another program took everything, ours too
                return 0
            with locked:
                index = self._renew(locked)
                found = sorted((there, number) for number in numbers if (there := self._number(number)) is not None)
                if not all(self._number(number) or self._is_gone(number) for number in numbers):
                    raise MailboxFailure(
                        f"{self._mailbox.path} was rewritten; what to delete is not certain", _REWRITTEN
                    )
                if index.glanced and not all(index.begins(locked.fd, there) for there, _ in found):
                    self._doubted = True
                    raise MailboxFailure(
                        f"{self._mailbox.path} was rewritten; what to delete is not certain", _REWRITTEN
                    )
                gone = _origins(locked, index, found, origins or {}) if told else []
                if found:
                    locked.take_out(_joined(index.extent(there) for there, _ in found))
                    self._forget(index, [there for there, _ in found], locked)
        if told is not None:
            for (_, number), origin in zip(found, gone, strict=True):
                told(number, origin)
        return len(index) - len(found)

    @property
    def has_news(self) -> bool:
        """Whether ``remember`` has something to write that was not known before."""
        return self._saved is not None and _state(self.latest) != self._remembered

    def remember(self) -> None:
        """Keep the index on disk, where that spares reading a large mailbox again after a restart."""
        with self._holdings:
            if self._saved is not None and (latest := self.latest) is not None:
                self._remembered = _state(latest)
                # A cache that cannot be written costs time, and no more.
                with suppress(OSError):
                    self._saved.keep(self._name, latest)

    # within

    @property
    def _count(self) -> int:
        return len(self._taken) if self._taken is not None else 0

    def _number(self, number: int) -> int | None:
        return number if self._numbers is None else self._numbers[number - 1]

    def _is_gone(self, number: int) -> bool:
        """Of a letter that was not found again: whether it is certain that another program removed it."""
        # Identities cost reading the whole mailbox, and only UIDL asks for them. Without them nothing can be recognised.
        return self._taken is not None and self._taken.identity(number) is not None

    def _read(self, locked: LockedMailbox) -> Index:
        """The index of the file as it is now, under the lock; and keep it open for reading after the lock."""
        for _ in range(TRIES):
            try:
                index = refresh(locked.fd, os.fstat(locked.fd), self._latest)
                # A copy of the descriptor has its locks too, until they are let go, which LockedMailbox does not leave to close().
                self._holdings.read_from(os.dup(locked.fd))
            except Changed:
                continue
            except OSError as error:
                raise self._failure(error) from error
            return index
        raise MailboxFailure(f"{locked.path} changes although it is locked", _REWRITTEN)

    def _renew(self, locked: LockedMailbox) -> Index:
        before = self._latest
        index = self._read(locked)
        assert before is not None and self._taken is not None
        if index is not before and not index.continues(before):
            try:
                self._numbers = find_again(locked.fd, self._taken, index)
            except Changed:
                raise MailboxFailure(f"{locked.path} changes although it is locked", _REWRITTEN) from None
            except OSError as error:
                raise self._failure(error) from error
        self._latest = index
        return index

    def _forget(self, index: Index, found: Sequence[int], locked: LockedMailbox) -> None:
        """What was just taken out is no longer in the index. Where that cannot be had the next session reads the file again."""
        try:
            self._latest = index.without(frozenset(found), locked.fd, os.fstat(locked.fd))
        except (Changed, OSError):
            self._latest = None

    def _failure(self, error: OSError) -> MailboxFailure:
        return MailboxFailure.of(error, f"cannot read {self._mailbox.path}")


def _state(index: Index | None) -> tuple[int, int] | None:
    """What makes one index worth writing down and another not: which it is, and how many names it holds."""
    return None if index is None or index.size <= SMALL else (id(index), len(index.identities))


def _origins(
    locked: LockedMailbox, index: Index, letters: Iterable[tuple[int, int]], known: Mapping[int, Origin]
) -> list[Origin]:
    """Which messages these are, while they still stand there. letters: their numbers in the index, and in ``known``."""
    found: list[Origin] = []
    for there, number in letters:
        origin = known.get(number)
        if origin is None:
            entry = index.entry(there)
            try:
                origin = origin_at(locked.fd, entry.text, entry.end)
            except OSError:
                origin = Origin()  # a letter whose story lacks its end is better than one that cannot be deleted
        found.append(origin)
        if len(found) % _OFTEN == 0:
            locked.touch()
    return found


def _joined(ranges: Iterator[tuple[int, int]]) -> list[tuple[int, int]]:
    """Ranges in order, those that touch as one."""
    joined: list[tuple[int, int]] = []
    for start, end in ranges:
        if joined and joined[-1][1] == start:
            joined[-1] = (joined[-1][0], end)
        else:
            joined.append((start, end))
    return joined
