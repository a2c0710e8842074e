"""The SMTP avatar: one client's transactions, from MAIL FROM to a message in every mailbox.

The lines of the log are Postfix's, daemon by daemon (smtpd, cleanup, qmgr, local), so that the eyes and scripts that know
its log find their way.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from zope.interface import implementer

from lanmail.address import Address
from lanmail.delivery.local import Copy, LocalDelivery
from lanmail.delivery.routes import Client, Destination, Route, Router
from lanmail.delivery.stock import Echo, StockMessage, address_of
from lanmail.interfaces import Greeting, Incoming, ITransactions, MailParameters, RecipientParameters, User
from lanmail.mailbox.mbox import STATE_FIELDS
from lanmail.maillog import Logger
from lanmail.message import QueueIds, TopHeader, Trace, envelope_headers, from_line, protocol
from lanmail.network import Peer, parse_ip
from lanmail.spool.incoming import Content, IncomingFolder, IncomingMessage
from lanmail.status import DeliveryFailure, PermanentFailure, Status
from lanmail.twisted_mail import smtp

_smtpd = Logger("smtpd")
_cleanup = Logger("cleanup")
_qmgr = Logger("qmgr")
_local = Logger("local")


class Reception:
    """What all transactions share. Calling it makes the avatar of a user, or of the anonymous client: the realm's ``transactions``.

    myhostname, myorigin: for trace headers and for senders without a domain. drop_headers: ``message_drop_headers`` (the headers of
    state always go). hopcount_limit: so many Received headers, ours counted, are too many.
    clock: for delays; wall: seconds since the epoch, for dates.
    """

    def __init__(
        self,
        router: Router,
        delivery: LocalDelivery,
        folder: IncomingFolder,
        ids: QueueIds,
        *,
        myhostname: str,
        myorigin: str,
        drop_headers: Collection[str],
        hopcount_limit: int,
        clock: IReactorTime,
        wall: Callable[[], float],
    ) -> None:
        self.router = router
        self.delivery = delivery
        self.folder = folder
        self.ids = ids
        self.myhostname = myhostname
        self.myorigin = myorigin
        self.drop = STATE_FIELDS | {name.lower().encode("utf-8", "replace") for name in drop_headers}
        self.hopcount_limit = hopcount_limit
        self.clock = clock
        self.wall = wall

    def __call__(self, user: User | None) -> Transactions:
        return Transactions(self, user)


@dataclass(slots=True)
class _Envelope:
    """One transaction. ``queue_id`` is there from the first recipient on, as in Postfix."""

    sender: Address
    parameters: MailParameters
    greeting: Greeting
    peer: Peer
    queue_id: str = ""
    began: float = 0.0
    routes: list[Route] = field(default_factory=list)

    @property
    def client(self) -> str:
        return f"unknown[{self.peer.host or 'local'}]"

    @property
    def greeted(self) -> str:
        """How, as Postfix's log says it: ``proto=ESMTP helo=<pc>``."""
        helo = f" helo=<{self.greeting.name}>" if self.greeting.name else ""
        return ("proto=ESMTP" if self.greeting.extended else "proto=SMTP") + helo


@implementer(ITransactions)
class Transactions:
    """interfaces.ITransactions of one connection and login."""

    def __init__(self, reception: Reception, user: User | None) -> None:
        self._reception = reception
        self.login = None if user is None else user.name
        self._envelope: _Envelope | None = None

    async def begin(self, sender: Address, parameters: MailParameters, greeting: Greeting, peer: Peer) -> None:
        sender = sender.completed(self._reception.myorigin)
        self._envelope = _Envelope(sender, parameters, greeting, peer)

    async def recipient(self, address: Address, parameters: RecipientParameters = RecipientParameters()) -> None:
        envelope = self._current()
        try:
            route = await self._reception.router.recipient(address, Client(envelope.peer.host, self.login))
        except DeliveryFailure as failure:
            _smtpd.info(
                "{id}: reject: RCPT from {client}: {status}; from=<{sender}> to=<{address}> {greeting}",
                id=envelope.queue_id or "NOQUEUE",
                client=envelope.client,
                status=failure.status,
                sender=envelope.sender,
                address=address,
                greeting=envelope.greeted,
            )
            raise
        if not envelope.queue_id:
            envelope.queue_id = self._reception.ids.next()
            envelope.began = self._reception.clock.seconds()
            who = "" if self.login is None else f", sasl_username={self.login}"
            _smtpd.info("{id}: client={client}{who}", id=envelope.queue_id, client=envelope.client, who=who)
        envelope.routes.append(route)

    def data(self) -> Incoming:
        envelope, self._envelope = self._current(), None
        assert envelope.routes, "DATA without a recipient"
        return _Arrival(self._reception, envelope, self.login)

    def reset(self) -> None:
        self._envelope = None

    def _current(self) -> _Envelope:
        assert self._envelope is not None, "no transaction was begun"
        return self._envelope

    # IMessageDelivery: what Twisted's own ESMTP asks, should somebody put it before this avatar

    def receivedHeader(self, helo: tuple[bytes, bytes], origin: object, recipients: object) -> bytes:
        """Nothing: the Received header is written with the message, since only then is its id known."""
        return b""

    def validateFrom(self, helo: tuple[bytes, bytes] | None, origin: smtp.Address) -> Deferred[smtp.Address]:
        name, host = helo if helo else (b"", b"")
        ip = parse_ip(host.decode("ascii", "replace"))
        greeting = Greeting(name.decode("utf-8", "replace"), True)
        begun = self.begin(address_of(origin), MailParameters(), greeting, Peer(str(ip) if ip else ""))
        return Deferred.fromCoroutine(begun).addCallback(lambda _: origin)

    def validateTo(self, user: smtp.User) -> Deferred[Callable[[], StockMessage | Echo]]:
        return Deferred.fromCoroutine(self._validated(user))

    async def _validated(self, user: smtp.User) -> Callable[[], StockMessage | Echo]:
        try:
            await self.recipient(address_of(user.dest))
        except DeliveryFailure as failure:
            status = failure.status
            raise smtp.SMTPBadRcpt(user, code=status.code, resp=f"{status.enhanced} {status.text}") from failure
        return self._stock_message

    def _stock_message(self) -> StockMessage | Echo:
        return Echo() if self._envelope is None else StockMessage(self.data())


class _Arrival:
    """interfaces.Incoming: one message from DATA on, filtered, judged, delivered, and told about in the log."""

    def __init__(self, reception: Reception, envelope: _Envelope, login: str | None) -> None:
        self._reception = reception
        self._envelope = envelope
        self._login = login
        self._top = TopHeader(reception.drop)
        self._text = IncomingMessage(reception.folder, envelope.queue_id, self._top, self._delivered)
        # One copy for each mailbox, however many recipients led to it: the first of them is named in it.
        self._mailboxes: dict[str, Destination] = {}
        for route in envelope.routes:
            for destination in route.mailboxes:
                self._mailboxes.setdefault(destination.user.name, destination)

    async def write(self, chunk: bytes) -> None:
        await self._text.write(chunk)

    async def commit(self) -> str:
        envelope = self._envelope
        try:
            return await self._text.commit()
        except DeliveryFailure as failure:
            _cleanup.info(
                "{id}: reject: END-OF-MESSAGE from {client}: {status}; from=<{sender}> to=<{address}> {greeting}",
                id=envelope.queue_id,
                client=envelope.client,
                status=failure.status,
                sender=envelope.sender,
                address=envelope.routes[0].original,
                greeting=envelope.greeted,
            )
            raise

    def abort(self) -> None:
        self._text.abort()

    async def _delivered(self, content: Content) -> str:
        envelope, queue_id = self._envelope, self._envelope.queue_id
        _cleanup.info("{id}: message-id={message_id}", id=queue_id, message_id=self._top.message_id or "<>")
        self._must_have_an_end()
        _qmgr.info(
            "{id}: from=<{sender}>, size={size}, nrcpt={count} (queue active)",
            id=queue_id,
            sender=envelope.sender,
            size=self._top.size,
            count=len(envelope.routes),
        )
        if self._mailboxes:
            await self._reception.delivery.deliver(queue_id, content, self._copies())
        self._tell_success()
        return queue_id

    def _must_have_an_end(self) -> None:
        """The header, and the message's way."""
        if self._top.endless:
            raise PermanentFailure(Status(552, "5.3.4", "Error: message header too large"))
        if self._top.received + 1 >= self._reception.hopcount_limit:
            raise PermanentFailure(Status(554, "5.4.0", "Error: too many hops"))
        for destination in self._mailboxes.values():
            address = destination.delivered_to
            if str(address).lower() in self._top.delivered_to:
                raise PermanentFailure(Status(554, "5.4.6", f"mail forwarding loop for {address}"))

    def _copies(self) -> list[Copy]:
        envelope, when = self._envelope, self._reception.wall()
        routes = envelope.routes
        received = Trace(
            envelope.greeting.name,
            envelope.peer.literal,
            self._reception.myhostname,
            protocol(
                extended=envelope.greeting.extended,
                tls=envelope.peer.tls,
                authenticated=self._login is not None,
                smtputf8=envelope.parameters.smtputf8,
            ),
            envelope.queue_id,
            when,
            routes[0].original if len(routes) == 1 else None,
        ).received()
        first = from_line(envelope.sender, when)
        return [
            Copy(to.user, first + envelope_headers(envelope.sender, to.original, to.delivered_to) + received)
            for to in self._mailboxes.values()
        ]

    def _tell_success(self) -> None:
        delay = self._reception.clock.seconds() - self._envelope.began
        for to in self._mailboxes.values():
            self._tell(to.delivered_to, to.original, delay, "delivered to mailbox")
        for route in self._envelope.routes:
            if route.discarded:
                self._tell(route.original, route.original, delay, "delivered to file: /dev/null")
        _qmgr.info("{id}: removed", id=self._envelope.queue_id)

    def _tell(self, address: Address, original: Address, delay: float, how: str) -> None:
        _local.info(
            "{id}: to=<{address}>,{original} relay=local, delay={delay}, dsn=2.0.0, status=sent ({how})",
            id=self._envelope.queue_id,
            address=address,
            original=f" orig_to=<{original}>," if original != address else "",
            delay=f"{delay:.2f}",
            how=how,
        )
