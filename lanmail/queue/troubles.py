"""Letters to postmaster about what the SMTP server refused or could not do, and about mailboxes that cannot be used: ``notify_classes``
beyond reports.

Postfix writes one for each session, with all that was said in it; somebody who wants to fill postmaster's mailbox need only misspell a
command. Here all of it is gathered, at most so much, and at most one letter is written in an hour.
"""

from __future__ import annotations

import textwrap
from collections.abc import Awaitable, Callable, Collection, Iterator, Sequence
from typing import Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from lanmail.address import Address
from lanmail.delivery.routes import Route
from lanmail.log_lines import printable
from lanmail.maillog import Logger
from lanmail.message import rfc5322_date
from lanmail.queue.bounce import LANGUAGES
from lanmail.queue.letterhead import Letterhead
from lanmail.queue.words import Words
from lanmail.queue.written import written
from lanmail.spool.entries import Message, Recipient
from lanmail.spool.incoming import Content, IncomingFolder
from lanmail.status import DeliveryFailure, Status

# Seconds from the first trouble to the letter, so that what belongs together is together, and from one letter to the next.
GATHER = 60.0
PERIOD = 3600.0
# Replies in one letter, and mailboxes; of more it is said how many there were.
MOST = 100
# Seconds for which postmaster knows what is wrong with a mailbox. It may be postmaster's own: then these letters wait before it too.
KNOWN = 86_400.0

_log = Logger("bounce")


class Accept(Protocol):
    """Runner.accept."""

    async def __call__(self, message: Message, recipients: Sequence[Recipient], content: Content) -> None: ...


def class_of(status: Status) -> str:
    """Which of notify_classes a reply belongs to, in Postfix's sense of them (postconf(5)).

    resource: there is no room for the message. software: something here is broken. protocol: the client spoke wrongly. bounce: the
    recipient is unknown. policy: everything else that we do not want.
    """
    what = status.enhanced.partition(".")[2]
    if what == "3.1":
        return "resource"
    if what in ("3.0", "3.5"):
        return "software"
    if what.startswith(("5.", "6.")) or what in ("1.3", "1.7"):
        return "protocol"
    return "bounce" if what in ("1.1", "1.2") else "policy"


class _Gathered:
    """Lines for a letter."""

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._more = 0

    def __len__(self) -> int:
        return len(self._lines) + self._more

    def add(self, when: float, text: str) -> None:
        self._add([printable(f"{rfc5322_date(when)} {text}")], 0)

    def followed_by(self, later: _Gathered) -> _Gathered:
        self._add(later._lines, later._more)
        return self

    def _add(self, lines: list[str], more: int) -> None:
        room = MOST - len(self._lines)
        self._lines += lines[:room]
        self._more += len(lines[room:]) + more

    def paragraphs(self, opening: str, words: Words) -> Iterator[str]:
        yield "\n".join(textwrap.wrap(words.typeset(opening), 72))
        yield "\n".join(self._lines)
        if self._more:
            yield words.more(self._more)


class Troubles:
    """``refused`` is what the SMTP server calls, and ``undelivered`` what the queue does.

    accept: the queue's. route, next_id, folder, language, wall: as for bounce.Reports.

    notify_classes: of them all count here but ``2bounce`` and ``delay``.
    """

    def __init__(
        self,
        accept: Accept,
        route: Callable[[Address], Awaitable[Route]],
        next_id: Callable[[], str],
        folder: IncomingFolder,
        *,
        myhostname: str,
        myorigin: str,
        language: str,
        notify_classes: Collection[str],
        clock: IReactorTime,
        wall: Callable[[], float],
    ) -> None:
        self._accept = accept
        self._route = route
        self._next_id = next_id
        self._folder = folder
        self.adopt(myhostname=myhostname, myorigin=myorigin, language=language, notify_classes=notify_classes)
        self._clock = clock
        self._wall = wall
        self._refusals, self._mailboxes = _Gathered(), _Gathered()
        self._known: dict[tuple[str, str], float] = {}  # when what was told of a mailbox; the oldest first
        self._written_at: float | None = None
        self._timer: IDelayedCall | None = None
        self._stopped = False

    def adopt(self, *, myhostname: str, myorigin: str, language: str, notify_classes: Collection[str]) -> None:
        """A reload: the next letter is written so."""
        self._myhostname = myhostname
        self._postmaster = Address("postmaster", myorigin)
        self._words = LANGUAGES[language]
        self._classes = frozenset(notify_classes) - {"2bounce", "delay"}

    def refused(self, client: str, verb: str, status: Status) -> None:
        """A client was told this. Never raises, never waits."""
        if self._concerns(status):
            self._refusals.add(self._wall(), f"{client}: {verb}: {status}")
            self._write_soon()

    def undelivered(self, mailbox: str, status: Status, why: str) -> None:
        """What waits for this mailbox cannot be delivered, because of itself or of us. why: for whoever may put it right, with paths."""
        now, known = self._clock.seconds(), self._known
        while known and next(iter(known.values())) + KNOWN <= now:
            del known[next(iter(known))]
        if self._concerns(status) and (mailbox, why) not in known:
            known[mailbox, why] = now
            self._mailboxes.add(self._wall(), f"{mailbox}: {why}")
            self._write_soon()

    def _concerns(self, status: Status) -> bool:
        return class_of(status) in self._classes and not self._stopped

    def stop(self) -> None:
        """Nothing is written any more; the log has it all."""
        self._stopped = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _write_soon(self) -> None:
        if self._timer is None:
            last = self._written_at
            wait = GATHER if last is None else max(GATHER, last + PERIOD - self._clock.seconds())
            self._timer = self._clock.callLater(wait, self._begin)

    def _begin(self) -> None:
        self._timer = None
        self._written_at = self._clock.seconds()
        Deferred.fromCoroutine(self._write()).addErrback(
            lambda failure: _log.failure("while writing to postmaster", failure)
        )

    async def _write(self) -> None:
        """What came in meanwhile goes into the next letter; so does all of it where this one comes to nothing, as on a full disk."""
        refusals, mailboxes = self._refusals, self._mailboxes
        self._refusals, self._mailboxes = _Gathered(), _Gathered()
        letter = Letterhead(self._next_id(), self._myhostname, self._postmaster, self._wall())
        text: Content | None = None
        try:
            route = await self._route(self._postmaster)
            if route.mailboxes:
                octets = _text(letter, self._words, refusals, mailboxes)
                text = await self._folder.in_thread(written, self._folder, letter.queue_id, [octets])
                await self._accept(*letter.admitted(route, text))
        except DeliveryFailure as failure:
            if text is not None:
                await self._folder.in_thread(text.discard)
            _log.warn("warning: cannot write to postmaster now: {status}", status=failure.status)
            self._refusals = refusals.followed_by(self._refusals)
            self._mailboxes = mailboxes.followed_by(self._mailboxes)
        if (self._refusals or self._mailboxes) and not self._stopped:
            self._write_soon()


def _text(letter: Letterhead, words: Words, refusals: _Gathered, mailboxes: _Gathered) -> bytes:
    subject, paragraphs = "", list[str]()
    for gathered, said in ((mailboxes, words.mailboxes(letter.host)), (refusals, words.troubles(letter.host))):
        if gathered:
            subject = subject or said[0]
            paragraphs += gathered.paragraphs(said[1], words)
    header = letter.header(subject, "Content-Type: text/plain; charset=utf-8", "Content-Transfer-Encoding: 8bit")
    return header + b"\n" + ("\n\n".join(paragraphs) + "\n").encode()
