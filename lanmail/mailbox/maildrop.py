"""One user's maildrop as POP3 sees it: an exclusive snapshot of a mailbox that others go on delivering to.

Nothing here blocks the event loop: what reads or locks (snapshot.py) runs through ``in_thread``, what waits through ``sleep``.
"""

from __future__ import annotations

import errno
import random
import tempfile
from array import array
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import suppress
from itertools import count
from typing import IO, TypeVar, overload

from zope.interface import implementer

from lanmail.interfaces import (
    IMaildrop,
    InThread,
    Letter,
    MessageGone,
    Report,
    Sleep,
    Tell,
    Torn,
    User,
    Users,
    nothing_to_tell,
)
from lanmail.mailbox.ahead import FIRST, Ahead, Shelf
from lanmail.mailbox.claims import Claim, Claims
from lanmail.mailbox.expunge import interrupted
from lanmail.mailbox.holdings import Closed, Holdings
from lanmail.mailbox.index_cache import IndexCache
from lanmail.mailbox.locks import MailboxBusy, MailboxFailure
from lanmail.mailbox.origin import Origin, origin_of
from lanmail.mailbox.saved_index import SavedIndexes
from lanmail.mailbox.snapshot import Adopted, Snapshot, Told
from lanmail.mailbox.store import MailboxFile
from lanmail.status import Status, TemporaryFailure

T = TypeVar("T")

# A second login waits so long for the first session's end: a client that connects again at once is faster than its own FIN.
CLAIM_PATIENCE = 3.0
# Another program's lock lasts as long as it takes to read or write a mailbox. Clients give up after 30 s or a minute.
LOCK_PATIENCE = 20.0
# Between two tries; the real pause is between half of it and all of it, so that two who wait do not meet for ever.
PAUSE = 0.2
# What one hop into a thread reads of a letter. Beside it the hop's 50 us are nothing, and it is all that a slow client costs.
WINDOW = 128 * 1024
# Of so many letters it is known which messages they are, until ``fetched``: more than a client is owed before it reads.
_GIVEN = 4096


class MaildropInUse(TemporaryFailure):
    """Another POP3 session has this maildrop open, and did not end within the time that a login waits."""

    def __init__(self) -> None:
        super().__init__(Status(451, "4.2.0", "Mailbox is open in another session; try again later"))


def nobody(user: User) -> None:
    """Is told that a maildrop is wanted, where there is no session to end."""


class Maildrops:
    """Opens maildrops; ``open`` is what the realm takes as ``open_maildrop``.

    mailbox: gives a user's MailboxFile. adopted: gives the UIDLs of an older server (AdoptedUidls.of), in a thread.
    saved: keeps the indexes of large mailboxes over a restart. claim_wait, lock_wait: seconds that a login waits for another session to
    end, and that anything waits for another program's lock.
    tell: the story of what is fetched and deleted. dice: from 0 up to 1.
    """

    def __init__(
        self,
        mailbox: Callable[[User], MailboxFile],
        claims: Claims,
        indexes: IndexCache,
        *,
        in_thread: InThread,
        sleep: Sleep,
        adopted: Adopted = lambda name, fd, index: {},
        saved: SavedIndexes | None = None,
        claim_wait: float = CLAIM_PATIENCE,
        lock_wait: float = LOCK_PATIENCE,
        tell: Tell = nothing_to_tell,
        dice: Callable[[], float] = random.random,
    ) -> None:
        self._mailbox = mailbox
        self._claims = claims
        self.indexes = indexes
        self.in_thread = in_thread
        self._sleep = sleep
        self.adopted = adopted
        self.saved = saved
        self.claim_wait = claim_wait
        self.lock_wait = lock_wait
        self.tell = tell
        self._dice = dice
        self.shelf = Shelf()
        self.wanted: Callable[[User], None] = nobody
        """Told of the user whenever a login finds the maildrop in use: whoever has it may be ended (pop3.server)."""

    async def open(self, user: User) -> Maildrop:
        """Raises MaildropInUse, or a MailboxFailure: busy, unsafe, unreadable. Where there is no mailbox file it is empty."""
        maildrop = Maildrop(user, self._mailbox(user), self._claims.of(user.name), self)
        try:
            waited = 0.0
            while not await self.patiently(maildrop.begin):
                if waited >= self.claim_wait:
                    raise MaildropInUse
                self.wanted(user)
                waited += await self.pause()
        except BaseException:  # also where nobody waits for the login any more: a thread may be on its way to the claim
            maildrop.close()
            raise
        return maildrop

    async def finish_expunges(self, state_folder: str, users: Users, report: Report) -> None:
        """At start: finish what a crash interrupted, since until then every other program sees the file half moved.

        state_folder: as MailboxFile's. What cannot be finished now is said, and finished when the mailbox is next used. OSError.
        """
        for name in await self.in_thread(interrupted, state_folder):
            try:
                user = await users.find(name)
                if user is None or user.name != name:
                    raise FileNotFoundError(errno.ENOENT, "there is no such user")
                mailbox = self._mailbox(user)
                await self.patiently(lambda mailbox=mailbox: mailbox.lock(create=False).release())  # type: ignore[misc]
            except (TemporaryFailure, OSError) as trouble:
                why = getattr(trouble, "detail", trouble)
                report("warning: mailbox of {name}: an interrupted expunge is not finished: {why}", name=name, why=why)

    # what an open maildrop needs of the house

    async def pause(self) -> float:
        seconds = PAUSE * (1 + self._dice()) / 2
        await self._sleep(seconds)
        return seconds

    async def patiently(self, work: Callable[[], T]) -> T:
        """``work`` in a thread, again while another program holds a lock. Raises MailboxBusy after lock_wait."""
        waited = 0.0
        while True:
            try:
                return await self.in_thread(work)
            except MailboxBusy:
                if waited >= self.lock_wait:
                    raise
            waited += await self.pause()


class Letters(Sequence[Letter]):
    """The letters of a snapshot: eight octets for each, however many there are.

    octets: of each letter, not to be changed. total: of all of them.
    """

    def __init__(self, octets: array[int], total: int) -> None:
        self.octets = octets
        self.total = total

    def __len__(self) -> int:
        return len(self.octets)

    @overload
    def __getitem__(self, at: int) -> Letter: ...
    @overload
    def __getitem__(self, at: slice) -> Sequence[Letter]: ...
    def __getitem__(self, at: int | slice) -> Letter | Sequence[Letter]:
        if isinstance(at, slice):
            return [self[position] for position in range(*at.indices(len(self)))]
        return Letter(range(1, len(self) + 1)[at], self.octets[at])

    def __iter__(self) -> Iterator[Letter]:
        return map(Letter, count(1), self.octets)


@implementer(IMaildrop)
class Maildrop:
    """An open maildrop; its obligations are IMaildrop's. Made by ``Maildrops.open``."""

    letters = Letters(array("Q"), 0)

    def __init__(self, user: User, mailbox: MailboxFile, claim: Claim, maildrops: Maildrops) -> None:
        self.user = user
        self._path = mailbox.path
        self._claim = claim
        self._holdings = Holdings(claim)
        self._maildrops = maildrops
        self._snapshot = Snapshot(user.name, mailbox, self._holdings, maildrops.saved)
        self._unique_ids: Sequence[str] | None = None
        self._given: dict[int, Origin] = {}  # the letters that were last given out, and which messages they are
        self._fetched: dict[int, Origin] = {}  # the same of letters that were fetched: most are deleted then
        self._ahead = Ahead(maildrops.shelf)
        self._marked: set[int] = set()  # through Twisted's interface only
        self._claimed = self._closed = False

    def begin(self) -> bool:
        """Claim the maildrop and take the snapshot; False where another session has it. In one go, since it takes a thread.

        Blocks. MailboxBusy: come again.
        """
        try:
            if not self._claim.take():
                return False
        except OSError as error:
            raise MailboxFailure.of(error, "cannot claim a maildrop") from error
        if not self._claimed:
            # Not before: the session that had the claim leaves its index to the next one.
            self._claimed = True
            self._snapshot.know(self._maildrops.indexes.take(self._path))
        self.letters = Letters(*self._snapshot.look())
        return True

    async def unique_ids(self) -> Sequence[str]:
        if self._unique_ids is None:
            known = self._snapshot.names
            self._unique_ids = await self._maildrops.patiently(self._name_all) if known is None else known
        return self._unique_ids

    def at_hand(self, number: int) -> bytes | None:
        letter = self._ahead.take(number)
        if letter is None:
            return None
        self._note_given(number, letter.origin)
        return letter.text

    async def text(self, number: int, body_lines: int | None = None) -> AsyncIterator[bytes]:
        if self._snapshot.must_look_again:
            await self._maildrops.patiently(self._snapshot.look_again)
        if body_lines is None and self.letters[number - 1].octets < FIRST:
            window = self._ahead.window(number)
            letters = await self._maildrops.in_thread(self._snapshot.several, number, window)
            self._ahead.keep(number, letters)
            if (text := self.at_hand(number)) is not None:
                yield text
                return
        reading = _Reading(self._snapshot, self._holdings, number, body_lines)
        try:
            pieces = await self._maildrops.in_thread(reading.window)
        except (MessageGone, Torn):
            # Another program has rewritten the file since. The letter may stand elsewhere in it now.
            await self._maildrops.patiently(self._snapshot.look_again)
            reading = _Reading(self._snapshot, self._holdings, number, body_lines)
            try:
                pieces = await self._maildrops.in_thread(reading.window)
            except Torn:
                raise MessageGone from None  # nothing of it has been given to anybody
        self._note_given(number, reading.origin)
        while pieces:
            for piece in pieces:
                yield piece
            pieces = [] if reading.ended else await self._maildrops.in_thread(reading.window)

    def fetched(self, number: int, client: str) -> None:
        origin = self._given.pop(number, None)
        if origin is not None:
            if len(self._fetched) < _GIVEN:
                self._fetched[number] = origin
            self._tell("fetched", number, origin, client, octets=self.letters.octets[number - 1])

    def _note_given(self, number: int, origin: Origin) -> None:
        self._given[number] = origin
        if len(self._given) > _GIVEN:
            del self._given[next(iter(self._given))]

    async def commit(self, deleted: frozenset[int], client: str = "") -> int:
        left = len(self.letters)
        if deleted:
            told = self._deleted_from(client)
            left = await self._maildrops.patiently(lambda: self._snapshot.expunge(deleted, told, self._fetched))
        if self._snapshot.has_news:
            with suppress(Closed):  # the client did not wait for our answer, and what it asked for is done
                await self._maildrops.in_thread(self._snapshot.remember)
        return left

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        if (index := self._snapshot.latest) is not None:
            self._maildrops.indexes.keep(self._path, index)
        self._ahead.close()
        self._holdings.close()

    def _deleted_from(self, client: str) -> Told | None:
        """Told in the thread that deletes: what is gone must be told also where the client did not wait for our answer.

        None where no story is kept: then no letter is looked at before it goes.
        """
        if self._maildrops.tell is nothing_to_tell:
            return None
        return lambda number, origin: self._tell("expunged", number, origin, client)

    def _tell(self, kind: str, number: int, origin: Origin, client: str, **more: float) -> None:
        uidl = self._unique_ids[number - 1] if self._unique_ids is not None else ""
        facts: dict[str, str | float] = {"user": self.user.name, "client": client, "uidl": uidl, **more}
        if origin.message_id:
            facts["message_id"] = origin.message_id
        self._maildrops.tell(kind, origin.queue_id, **facts)

    def _name_all(self) -> Sequence[str]:
        return self._snapshot.unique_ids(self._maildrops.adopted)

    # Twisted's IMailbox, which counts from 0 and blocks; our own protocol does not use it

    @overload
    def listMessages(self) -> list[int]: ...
    @overload
    def listMessages(self, i: int) -> int: ...
    def listMessages(self, i: int | None = None) -> int | list[int]:
        if i is None:
            return [0 if letter.number in self._marked else letter.octets for letter in self.letters]
        return 0 if self._number(i) in self._marked else self.letters[i].octets

    def getMessage(self, i: int) -> IO[bytes]:
        file = tempfile.SpooledTemporaryFile(WINDOW)  # noqa: SIM115  the caller closes it
        with self._holdings:
            if self._snapshot.must_look_again:
                self._snapshot.look_again()
            file.writelines(self._snapshot.text(self._number(i), None))
        file.seek(0)
        return file

    def getUidl(self, i: int) -> bytes:
        if self._unique_ids is None:
            self._unique_ids = self._name_all()
        return self._unique_ids[self._number(i) - 1].encode("ascii")

    def deleteMessage(self, i: int) -> None:
        self._marked.add(self._number(i))

    def undeleteMessages(self) -> None:
        self._marked.clear()

    def sync(self) -> None:
        if self._marked:
            self._snapshot.expunge(frozenset(self._marked), self._deleted_from(""))

    def _number(self, i: int) -> int:
        if not 0 <= i < len(self.letters):
            raise ValueError("no such message")
        return i + 1


class _Reading:
    """One letter read window by window, each in one hop into a thread."""

    def __init__(self, snapshot: Snapshot, holdings: Holdings, number: int, body_lines: int | None) -> None:
        self._snapshot = snapshot
        self._holdings = holdings
        self._number = number
        self._body_lines = body_lines
        self._text: Iterator[bytes] | None = None
        self.ended = False
        self.origin = Origin()

    def window(self) -> list[bytes]:
        with self._holdings:
            first = self._text is None
            if self._text is None:
                self._text = self._snapshot.text(self._number, self._body_lines)
            pieces: list[bytes] = []
            room = WINDOW
            for piece in self._text:
                if first:
                    self.origin = origin_of(piece)
                    first = False
                pieces.append(piece)
                room -= len(piece)
                if room <= 0:
                    return pieces
            self.ended = True
            return pieces
