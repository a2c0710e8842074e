"""Letters to postmaster about what the SMTP server refused or could not do: ``notify_classes`` beyond reports.

Postfix writes one for each session, with all that was said in it; somebody who wants to fill postmaster's mailbox need only misspell a
command. Here the replies are gathered, at most so many, and at most one letter is written in an hour.
"""

from __future__ import annotations

import textwrap
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from lanmail.address import Address
from lanmail.delivery.routes import Route
from lanmail.maillog import Logger, printable
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
# Replies in one letter; of more it is said how many there were.
MOST = 100

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


@dataclass(frozen=True, slots=True)
class _Trouble:
    when: float
    client: str
    verb: str
    status: Status


class Troubles:
    """``refused`` is what the SMTP server calls. accept: the queue's. route, next_id, folder, language, wall: as for bounce.Reports.

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
        self._myhostname = myhostname
        self._postmaster = Address("postmaster", myorigin)
        self._words = LANGUAGES[language]
        self._classes = frozenset(notify_classes) - {"2bounce", "delay"}
        self._clock = clock
        self._wall = wall
        self._gathered: list[_Trouble] = []
        self._more = 0
        self._written_at: float | None = None
        self._timer: IDelayedCall | None = None
        self._stopped = False

    def refused(self, client: str, verb: str, status: Status) -> None:
        """A client was told this. Never raises, never waits."""
        if class_of(status) not in self._classes or self._stopped:
            return
        if len(self._gathered) < MOST:
            self._gathered.append(_Trouble(self._wall(), client, verb, status))
        else:
            self._more += 1
        self._write_soon()

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
        told, more = len(self._gathered), self._more
        letter = Letterhead(self._next_id(), self._myhostname, self._postmaster, self._wall())
        text: Content | None = None
        try:
            route = await self._route(self._postmaster)
            if route.mailboxes:
                octets = _text(letter, self._words, self._gathered, more)
                text = await self._folder.in_thread(written, self._folder, letter.queue_id, [octets])
                await self._accept(*letter.admitted(route, text))
        except DeliveryFailure as failure:
            if text is not None:
                await self._folder.in_thread(text.discard)
            _log.warn("warning: cannot write to postmaster now: {status}", status=failure.status)
            if not self._stopped:
                self._write_soon()
            return
        del self._gathered[:told]
        self._more -= more
        if self._gathered and not self._stopped:
            self._write_soon()


def _text(letter: Letterhead, words: Words, troubles: Sequence[_Trouble], more: int) -> bytes:
    subject, opening = words.troubles(letter.host)
    paragraphs = ["\n".join(textwrap.wrap(words.typeset(opening), 72)), "\n".join(map(_line, troubles))]
    if more:
        paragraphs.append(words.more(more))
    header = letter.header(subject, "Content-Type: text/plain; charset=utf-8", "Content-Transfer-Encoding: 8bit")
    return header + b"\n" + ("\n\n".join(paragraphs) + "\n").encode()


def _line(trouble: _Trouble) -> str:
    return printable(f"{rfc5322_date(trouble.when)} {trouble.client}: {trouble.verb}: {trouble.status}")
