"""The SMTP avatar: one client's transactions, from MAIL FROM to a message that the queue answers for.

The lines of the log are Postfix's, daemon by daemon (smtpd, cleanup, and in queue/ qmgr and local), so that the eyes and scripts
that know its log find their way.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import NoReturn, Protocol

from twisted.internet.defer import Deferred
from zope.interface import implementer

from lanmail.accounts.devices import DeviceTable
from lanmail.address import Address
from lanmail.config.devices import Device
from lanmail.delivery.copies import copy_of, one_each
from lanmail.delivery.found import Destination
from lanmail.delivery.routes import Client, Route, Router
from lanmail.delivery.senders import Senders
from lanmail.delivery.stock import Echo, StockMessage, address_of
from lanmail.delivery.submitted import NOTED, additions, check_names
from lanmail.interfaces import (
    Greeting,
    Incoming,
    ITransactions,
    MailParameters,
    RecipientParameters,
    Tell,
    User,
)
from lanmail.mailbox.mbox import STATE_FIELDS
from lanmail.maillog import Logger
from lanmail.message import LONGEST_HEADER, QueueIds, TopHeader, Trace, protocol
from lanmail.network import Peer, parse_ip
from lanmail.spool.entries import Message, Recipient
from lanmail.spool.incoming import Content, IncomingFolder, IncomingMessage
from lanmail.status import DeliveryFailure, PermanentFailure, Status, TemporaryFailure
from lanmail.twisted_mail import smtp

_smtpd = Logger("smtpd")
_cleanup = Logger("cleanup")
_local = Logger("local")

_NOTHING_SAID = RecipientParameters()

# Copies that are made on the event loop: 3 ms. A way into a thread costs less than more would.
AT_ONCE = 200


class Accept(Protocol):
    """Takes a message over: when it returns, the message is on stable storage. Raises TemporaryFailure, and then nothing of it is kept.

    One without recipients, whose only way leads to /dev/null, is told about and not kept.
    """

    async def __call__(self, message: Message, recipients: Sequence[Recipient], content: Content) -> None: ...


@dataclass(frozen=True, slots=True)
class Submission:
    """What is done at the ports for submission. checks_names: ``submission_header_from``. hides_client: ``submission_hide_client``."""

    checks_names: bool = True
    hides_client: bool = False


class Reception:
    """What all transactions share. Calling it makes the avatar of a user, or of the anonymous client: the realm's ``transactions``.

    senders: who may send as whom. accept: the queue's. devices: who sends without a login, and as whom. trouble: what is wrong
    with the disk, as far as it is known; None where nothing is. tell: the story. myhostname: for our Received header. myorigin:
    for senders without a domain. drop_headers: ``message_drop_headers`` (the headers of state always go). hopcount_limit: so many
    Received headers, ours counted, are too many. header_size_limit: ``message_header_size_limit``. wall: seconds since the epoch.
    submission: what else is done with a message that is handed in by whoever wrote it.
    """

    def __init__(
        self,
        router: Router,
        senders: Senders,
        accept: Accept,
        folder: IncomingFolder,
        ids: QueueIds,
        devices: DeviceTable,
        *,
        trouble: Callable[[], Status | None],
        tell: Tell,
        myhostname: str,
        myorigin: str,
        drop_headers: Collection[str],
        hopcount_limit: int,
        header_size_limit: int = LONGEST_HEADER,
        wall: Callable[[], float],
        submission: Submission = Submission(),
    ) -> None:
        self.router = router
        self.senders = senders
        self.submission = submission
        self.accept = accept
        self.folder = folder
        self.ids = ids
        self.devices = devices
        self.myhostname = myhostname
        self.trouble = trouble
        self.tell = tell
        self.myorigin = myorigin
        self.drop = STATE_FIELDS | {name.lower().encode("utf-8", "replace") for name in drop_headers}
        self.hopcount_limit = hopcount_limit
        self.header_size_limit = header_size_limit
        self.wall = wall

    def __call__(self, user: User | None) -> Transactions:
        return Transactions(self, user)

    def refused(self, envelope: _Envelope, recipient: Address, status: Status) -> None:
        """Part of the story of what never came in."""
        self.tell(
            "refused",
            envelope.queue_id,
            client=envelope.peer.host or "local",
            helo=envelope.greeting.name,
            sender=str(envelope.sender),
            recipient=str(recipient),
            status=str(status),
        )


@dataclass(slots=True)
class _Envelope:
    """One transaction. ``queue_id`` is there from the first recipient on, as in Postfix."""

    sender: Address
    parameters: MailParameters
    greeting: Greeting
    peer: Peer
    device: Device | None = None
    queue_id: str = ""
    routes: list[tuple[Route, RecipientParameters]] = field(default_factory=list)

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
        if (trouble := self._reception.trouble()) is not None:
            raise TemporaryFailure(trouble)
        # Whoever logs in is a person, wherever they sit.
        device = None if self.login is not None else await self._reception.devices.sending(peer)
        sender = (sender if device is None else device.sender).completed(self._reception.myorigin)
        envelope = _Envelope(sender, parameters, greeting, peer, device)
        if (objection := await self._objection(envelope)) is not None:
            self._reject_sender(envelope, objection)
        self._envelope = envelope

    async def _objection(self, envelope: _Envelope) -> str | None:
        """Why this client may not send as this sender. Whoever logs in sends as themselves."""
        sender, senders = envelope.sender, self._reception.senders
        # The null sender says "do not answer", which anybody may say: receipts of mail programs do. A device has its sender from us.
        if sender.is_null or envelope.device is not None:
            return None
        if self.login is not None:
            return None if await senders.may_send_as(self.login, sender) else f"not owned by user {self.login}"
        if await senders.needs_login(sender, envelope.peer):
            return (
                "not logged in, and it is somebody's address here; switch on authentication in the program that sends,"
                " or let the administrator allow the machine (lanmail device add)"
            )
        return None

    def _reject_sender(self, envelope: _Envelope, objection: str) -> NoReturn:
        sender = envelope.sender
        status = Status(553, "5.7.1", f"<{sender}>: Sender address rejected: {objection}")
        _smtpd.info(
            "NOQUEUE: reject: MAIL from {client}: {status}; from=<{sender}> {greeting}",
            client=envelope.client,
            status=status,
            sender=sender,
            greeting=envelope.greeted,
        )
        raise PermanentFailure(status)

    async def recipient(self, address: Address, parameters: RecipientParameters = _NOTHING_SAID) -> None:
        envelope = self._current()
        try:
            device = envelope.device
            trusted = None if device is None else device.may_leave_to(address, self._reception.myorigin)
            client = Client(envelope.peer.host, self.login, trusted)
            route = await self._reception.router.recipient(address, client)
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
            self._reception.refused(envelope, address, failure.status)
            raise
        if not envelope.queue_id:
            envelope.queue_id = self._reception.ids.next()
            who = "" if self.login is None else f", sasl_username={self.login}"
            who += "" if envelope.device is None else f", device={envelope.device.sender}"
            _smtpd.info("{id}: client={client}{who}", id=envelope.queue_id, client=envelope.client, who=who)
        envelope.routes.append((route, parameters))

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
    """interfaces.Incoming: one message from DATA on, filtered, judged, handed over to the queue, and told about in the log."""

    def __init__(self, reception: Reception, envelope: _Envelope, login: str | None) -> None:
        self._reception = reception
        self._envelope = envelope
        self._login = login
        self._rules = reception.submission if envelope.peer.submission else None
        self._top = TopHeader(reception.drop, () if self._rules is None else NOTED, longest=reception.header_size_limit)
        self._text = IncomingMessage(reception.folder, envelope.queue_id, self._top, self._hand_over)

    async def write(self, chunk: bytes) -> None:
        await self._text.write(chunk)

    async def commit(self) -> str:
        envelope = self._envelope
        try:
            return await self._text.commit()
        except DeliveryFailure as failure:
            first = envelope.routes[0][0].original
            _cleanup.info(
                "{id}: reject: END-OF-MESSAGE from {client}: {status}; from=<{sender}> to=<{address}> {greeting}",
                id=envelope.queue_id,
                client=envelope.client,
                status=failure.status,
                sender=envelope.sender,
                address=first,
                greeting=envelope.greeted,
            )
            self._reception.refused(envelope, first, failure.status)
            raise

    def abort(self) -> None:
        self._text.abort()

    async def _hand_over(self, content: Content) -> str:
        envelope, top = self._envelope, self._top
        arrived = self._reception.wall()
        added, message_id = await self._submitted(arrived)
        _cleanup.info("{id}: message-id={message_id}", id=envelope.queue_id, message_id=message_id or "<>")
        message = Message(
            envelope.queue_id,
            envelope.sender,
            arrived,
            top.size,
            message_id,
            envelope.parameters.ret,
            envelope.parameters.envid,
            envelope.parameters.smtputf8,
            envelope.client,
            envelope.greeting.name,
            self._protocol,
            self._login or "",
        )
        if sum(len(route.mailboxes) for route, _ in envelope.routes) <= AT_ONCE:
            recipients = self._copies(message, added)
        else:
            recipients = await self._reception.folder.in_thread(self._copies, message, added)
        await self._reception.accept(message, recipients, content)
        for route, _ in envelope.routes:
            if route.discarded:
                self._tell_discarded(route)
        return envelope.queue_id

    def _copies(self, message: Message, added: bytes) -> list[Recipient]:
        """One for each mailbox. Nothing here changes but what is returned, so that it can be in a thread. Raises PermanentFailure."""
        ways = one_each(
            (destination, parameters.notify, parameters.orcpt)
            for route, parameters in self._envelope.routes
            for destination in route.mailboxes
        )
        self._must_have_an_end([to for to, _, _ in ways])
        received = self._received(message) + added
        return [copy_of(message, to, received, notify=notify, orcpt=orcpt) for to, notify, orcpt in ways]

    async def _submitted(self, arrived: float) -> tuple[bytes, str]:
        """What a message that somebody submits lacks, and its Message-ID; once it is found to be in their own name."""
        envelope, login = self._envelope, self._login
        if self._rules is None or login is None:
            return b"", self._top.message_id
        own = Address(login, self._reception.myorigin)
        if self._rules.checks_names:
            await check_names(self._top, login, own, self._reception.senders.may_send_as)
        writer = own if envelope.sender.is_null else envelope.sender
        return additions(self._top, writer, envelope.queue_id, self._reception.myhostname, arrived)

    def _must_have_an_end(self, destinations: Sequence[Destination]) -> None:
        """The header, and the message's way."""
        if self._top.endless:
            raise PermanentFailure(Status(552, "5.3.4", "Error: message header too large"))
        if self._top.received + 1 >= self._reception.hopcount_limit:
            raise PermanentFailure(Status(554, "5.4.0", "Error: too many hops"))
        for destination in destinations:
            address = destination.delivered_to
            if str(address).lower() in self._top.delivered_to:
                raise PermanentFailure(Status(554, "5.4.6", f"mail forwarding loop for {address}"))

    @property
    def _protocol(self) -> str:
        envelope = self._envelope
        return protocol(
            extended=envelope.greeting.extended,
            tls=envelope.peer.tls,
            authenticated=self._login is not None,
            smtputf8=envelope.parameters.smtputf8,
        )

    def _received(self, message: Message) -> bytes:
        routes = self._envelope.routes
        return Trace(
            self._envelope.greeting.name,
            self._envelope.peer.literal,
            self._reception.myhostname,
            message.protocol,
            message.queue_id,
            message.arrived,
            routes[0][0].original if len(routes) == 1 else None,
            self._rules is not None and self._rules.hides_client,
        ).received()

    def _tell_discarded(self, route: Route) -> None:
        _local.info(
            "{id}: to=<{address}>, relay=local, delay=0, dsn=2.0.0, status=sent (delivered to file: /dev/null)",
            id=self._envelope.queue_id,
            address=route.original,
        )
        self._reception.tell("discarded", self._envelope.queue_id, original=str(route.original))
