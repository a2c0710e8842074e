"""What the journal has and memory has not: mail of an earlier run, of a flood, and what is tried again. It is read in portions."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from twisted.internet.defer import Deferred, DeferredList

from lanmail.interfaces import InThread, User, Users
from lanmail.maillog import Logger
from lanmail.queue.mail import Copy, Mail
from lanmail.queue.mailboxes import Mailbox, Mailboxes
from lanmail.queue.setbacks import Setbacks
from lanmail.spool.journal import Journal
from lanmail.status import DeliveryFailure, PermanentFailure, Status, TemporaryFailure

# One portion: so many mailboxes, and of each so many rows and so many octets of text (or one row).
MAILBOXES_TOGETHER = 20
ROWS = 100
OCTETS = 256 * 1024

Rows = list[Copy]

_log = Logger("qmgr")


class Backlog:
    """Reads what is due for mailboxes whose turn it is.

    users: who is looked up anew: whoever had mail waiting may be gone. also: who has a mailbox although ``users`` does not know them
    (root, whose mail nobody reads).
    """

    def __init__(
        self,
        journal: Journal,
        mailboxes: Mailboxes,
        users: Users,
        also: Collection[User],
        in_thread: InThread,
        now: Callable[[], float],
        setbacks: Setbacks,
    ) -> None:
        self._journal = journal
        self._mailboxes = mailboxes
        self._users = users
        self._also = {user.name: user for user in also}
        self._in_thread = in_thread
        self._now = now
        self._setbacks = setbacks

    async def load(self, wanting: Sequence[Mailbox]) -> None:
        """Read for these, which are LOADING, and let them rest. Raises what the journal raises; then they want as before."""
        loaded: list[Rows] | None = None
        try:
            people = await DeferredList([Deferred.fromCoroutine(self._look_up(mailbox.name)) for mailbox in wanting])
            loaded = await self._in_thread(self._read, [mailbox.name for mailbox in wanting], self._now())
        finally:
            if loaded is None:
                for mailbox in wanting:
                    mailbox.backlog = True
                    self._mailboxes.rest(mailbox)
        for mailbox, (_, person), copies in zip(wanting, people, loaded, strict=True):
            if isinstance(person, User):
                mailbox.user = person
                self._mailboxes.loaded(mailbox, copies)
                self._mailboxes.rest(mailbox)
            else:
                self._fail(mailbox, copies, person)

    def _fail(self, mailbox: Mailbox, copies: Rows, failure: DeliveryFailure) -> None:
        if not copies:
            self._mailboxes.rest(mailbox)
            return
        mailbox.backlog = True  # the next portion has the same lot

        self._setbacks.note([(copy, failure) for copy in copies], lambda _: self._mailboxes.rest(mailbox))

    async def _look_up(self, name: str) -> User | DeliveryFailure:
        try:
            user = await self._users.find(name) or self._also.get(name)
        except DeliveryFailure as failure:
            return failure
        except Exception:
            _log.failure("while looking up {name}", name=name)
            return TemporaryFailure(Status(451, "4.3.0", "its user cannot be looked up now"))
        return user or PermanentFailure(Status(550, "5.1.1", f'unknown user: "{name}"'))

    def _read(self, names: Sequence[str], now: float) -> list[Rows]:
        """In a thread."""
        return [
            [
                Copy(Mail(message, content, None), recipient, recipient.number, recipient.since)
                for message, recipient, content in self._journal.due(name, now, ROWS, OCTETS)
            ]
            for name in names
        ]
