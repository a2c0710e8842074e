"""Who is told what became of a message, and when it is nobody (RFC 3461, 5.2; RFC 5321, 6.1). What they are told is reports.py's.

A report is never answered by a report: one that cannot be delivered is shown to postmaster, and one to postmaster that cannot be
delivered is told to the log.
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass

from lanmail.address import Address
from lanmail.delivery.routes import Route
from lanmail.maillog import Logger
from lanmail.queue.letterhead import Admitted, is_ours
from lanmail.queue.original import Unreadable
from lanmail.queue.reports import Report, Told
from lanmail.queue.schedule import Schedule, age
from lanmail.queue.words import Hearer, Kind, Words
from lanmail.queue.words_en import English
from lanmail.queue.words_fr import French
from lanmail.queue.written import written
from lanmail.spool.entries import Message, Recipient
from lanmail.spool.incoming import Content, IncomingFolder
from lanmail.status import PermanentFailure, Status, TemporaryFailure

__all__ = ["LANGUAGES", "Kind", "Reports"]

LANGUAGES: dict[str, Words] = {"en": English(), "fr": French()}
_NOBODY = Status(451, "4.3.5", "There is nobody to be told: mail for postmaster has no mailbox here")
# By which word of NOTIFY it is wished for, else by SUCCESS (RFC 3461, 4.1); and what a client hears of that says nothing.
_WISH: dict[Kind, str] = {"failed": "FAILURE", "delayed": "DELAY"}
_UNSAID = ("FAILURE", "DELAY")
_COPIED: dict[Kind, str] = {"failed": "bounce", "delayed": "delay"}

_log = Logger("bounce")


class Reports:
    """Makes the reports about one message.

    route: where mail for an address of a report goes, as for a client that may send anywhere; PermanentFailure: nobody here. It should
    not refuse for want of room in a mailbox: a report waits in the queue for that. next_id: QueueIds.next. folder: where a large
    report is kept. myorigin: of ``postmaster``. language: ``en`` or ``fr``. size_limit: ``bounce_size_limit``, octets.
    notify_classes: of them ``bounce`` and ``delay`` count here, and ``2bounce`` is always done. wall: seconds since the epoch.
    now: of the queue's clock.
    """

    def __init__(
        self,
        route: Callable[[Address], Awaitable[Route]],
        next_id: Callable[[], str],
        folder: IncomingFolder,
        *,
        myhostname: str,
        myorigin: str,
        language: str,
        size_limit: int,
        notify_classes: Collection[str],
        schedule: Schedule,
        wall: Callable[[], float],
        now: Callable[[], float],
    ) -> None:
        self._route = route
        self._next_id = next_id
        self._folder = folder
        self._schedule = schedule
        self._wall = wall
        self._now = now
        self.adopt(
            myhostname=myhostname,
            myorigin=myorigin,
            language=language,
            size_limit=size_limit,
            notify_classes=notify_classes,
        )

    def adopt(
        self, *, myhostname: str, myorigin: str, language: str, size_limit: int, notify_classes: Collection[str]
    ) -> None:
        """A reload: the next report is written so."""
        self._myhostname = myhostname
        self._postmaster = Address("postmaster", myorigin)
        self._words = LANGUAGES[language]
        self._size_limit = size_limit
        self._notify_classes = frozenset(notify_classes)

    async def about(
        self, kind: Kind, message: Message, recipients: Sequence[tuple[Recipient, Status]], content: Content
    ) -> list[Admitted]:
        """What is to be admitted: none, one, or a few messages from the null sender. content: of ``message``.

        A large report's file is on stable storage already; whoever does not admit it discards it. Raises TemporaryFailure where it
        cannot be made now; then nothing is left of it, and what was to be reported is still to be reported.
        """
        made: list[Admitted] = []
        try:
            for to, told in self._by_sender(kind, message, recipients).items():
                await self._tell(_About(kind, message, told, content, made), to)
        except BaseException:
            for _, _, report in made:
                await self._folder.in_thread(report.discard)
            raise
        return made

    # who

    def _by_sender(
        self, kind: Kind, message: Message, recipients: Sequence[tuple[Recipient, Status]]
    ) -> dict[Address, list[Told]]:
        """Who should hear of which recipients; the null sender stands for whoever hears of what cannot be told to it."""
        found: dict[Address, list[Told]] = {}
        for recipient, status in recipients:
            if not _wished(kind, recipient.notify):
                continue
            # Of trouble with a list its owner hears; that it was served, whoever sent the message (RFC 3461, 5.2.7.1).
            to = recipient.sender if kind in ("failed", "delayed") else message.sender
            if kind == "failed" and _is_for_postmaster(message, recipient):
                _log.warn(
                    "warning: {id}: a report to {postmaster} cannot be delivered and is dropped: {status}",
                    id=message.queue_id,
                    postmaster=recipient.original,
                    status=status,
                )
            elif kind == "failed" or not to.is_null:
                found.setdefault(to, []).append(Told(recipient, status, self._until(kind, recipient)))
        return found

    async def _tell(self, about: _About, to: Address) -> None:
        """One sender's report, or postmaster's in its place, and postmaster's copy of it."""
        route = None if to.is_null else await self._where(to)
        if route is not None:
            await self._make(about, "sender", to, route)
            if _COPIED.get(about.kind) in self._notify_classes:
                root = await self._where(self._postmaster)
                if root is not None:
                    await self._make(about, "copy", self._postmaster, root)
        elif about.kind == "failed":
            root = await self._where(self._postmaster)
            if root is None:
                # Their mail goes at last into root's mailbox, so here something is broken, and the message must not be lost by that.
                raise TemporaryFailure(_NOBODY)
            await self._make(about, "postmaster", self._postmaster, root)
        else:
            _log.info(
                "{id}: {sender} cannot be told that it is {kind}", id=about.message.queue_id, sender=to, kind=about.kind
            )

    async def _where(self, to: Address) -> Route | None:
        """None: nobody here has that address."""
        try:
            return await self._route(to)
        except PermanentFailure:
            return None

    def _until(self, kind: Kind, recipient: Recipient) -> float:
        if kind != "delayed":
            return 0.0
        return self._wall() + max(0.0, recipient.since + self._schedule.lifetime - self._now())

    # what

    async def _make(self, about: _About, hearer: Hearer, to: Address, route: Route) -> None:
        if not route.mailboxes:
            return  # an alias throws it away
        full = self._wants_all(about, hearer, to)
        report = self._report(about, hearer, to, full)
        try:
            text = await self._written(report, about.content)
        except Unreadable as error:
            _log.warn("warning: {id}: only its header is reported: {error}", id=about.message.queue_id, error=error)
            report = self._report(about, hearer, to, False)
            text = await self._written(report, about.content)
        about.made.append(report.admitted(route, text))

    def _report(self, about: _About, hearer: Hearer, to: Address, full: bool) -> Report:
        expired = [told.recipient.since for told in about.told if told.status.code < 500]
        tried = about.kind == "failed" and len(expired) == len(about.told)
        return Report(
            self._next_id(),
            self._myhostname,
            to,
            self._wall(),
            self._postmaster,
            self._words,
            _kind_for(about),
            hearer,
            about.message,
            about.told,
            # What nobody could know when the message was written does not stand in it.
            secrets.token_hex(16),
            age(self._now(), min(expired)) if tried else 0.0,
            full,
        )

    async def _written(self, report: Report, content: Content) -> Content:
        return await self._folder.in_thread(written, self._folder, report.queue_id, report.pieces(content))

    def _wants_all(self, about: _About, hearer: Hearer, to: Address) -> bool:
        """Whether the whole message goes back. Where postmaster hears in a sender's place, this may be the last copy that there is."""
        if about.kind != "failed" or about.content.size > self._size_limit:
            return False
        asked = about.message.ret == "FULL" and to == about.message.sender
        return hearer == "postmaster" or (hearer == "sender" and asked)


@dataclass(frozen=True, slots=True)
class _About:
    """What is told to one sender. made: takes what comes of it."""

    kind: Kind
    message: Message
    told: Sequence[Told]
    content: Content
    made: list[Admitted]


def _wished(kind: Kind, notify: str) -> bool:
    return _WISH.get(kind, "SUCCESS") in (notify.split(",") if notify else _UNSAID)


def _is_for_postmaster(message: Message, recipient: Recipient) -> bool:
    """Whether it is a report that we made, to the last who could be told."""
    return is_ours(message) and recipient.original.local.casefold() == "postmaster"


def _kind_for(about: _About) -> Kind:
    """What a list with an owner was handed is delivered: whatever becomes of it then is between the list and its members."""
    if about.kind == "expanded" and all(told.recipient.sender != about.message.sender for told in about.told):
        return "delivered"
    return about.kind
