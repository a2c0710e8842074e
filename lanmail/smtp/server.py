"""SMTP as Twisted knows it: a protocol and its factory, which carry the conversation of ``session`` over a transport.

Of Twisted's ESMTP the name is kept, its attributes and its hooks; from ``dataReceived`` down everything is ours.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from twisted.cred.credentials import Anonymous, ICredentials
from twisted.cred.error import UnauthorizedLogin, UnhandledCredentials
from twisted.cred.portal import Portal
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress, IHalfCloseableProtocol, IHandshakeListener, IReactorTime
from twisted.internet.task import deferLater
from twisted.mail.interfaces import IMessageDelivery, IMessageDeliveryFactory
from twisted.python.failure import Failure
from zope.interface import implementer

from lanmail.accounts.credentials import LoginCredentials
from lanmail.admission import Admission
from lanmail.anvil import UNLIMITED, Anvil
from lanmail.connections import STOP_LIMIT, Connections
from lanmail.interfaces import Greeting, Incoming, ITransactions, Login
from lanmail.maillog import Logger
from lanmail.network import Peer
from lanmail.rim import Carrier, peer_of
from lanmail.smtp import replies
from lanmail.smtp.events import Auth, Content, Data, EndOfMessage, Event, Hold, Mail, Recipient, Reset, StartTls
from lanmail.smtp.limits import SmtpLimits
from lanmail.smtp.session import SmtpSession
from lanmail.smtp.stock import StockTransactions
from lanmail.status import DeliveryFailure, PermanentFailure, Status
from lanmail.tls.contexts import spoken
from lanmail.twisted_mail import smtp
from lanmail.wire.terms import LOGIN_FIRST, Terms

log = Logger("smtpd")


@implementer(IHalfCloseableProtocol, IHandshakeListener)
class LanSMTP(smtp.ESMTP):
    """One connection of an SMTP client.

    The client is anonymous until it logs in; its avatar is asked for at the first MAIL. What the Portal gave is given
    back once the connection is gone and nothing is being done for it any more, in whatever order these two come.
    """

    factory: LanSMTPFactory
    portal: Portal  # type: ignore[assignment]
    transport: Any

    # Twisted's side

    def connectionMade(self) -> None:
        factory = self.factory
        self.peer = peer_of(self.transport, submission=factory.submission)
        self._refusal = factory.refusal_of(self)
        self._transactions: ITransactions | None = None
        self._incoming: Incoming | None = None
        # No name is looked up: a network's DNS may be down, and Postfix says this then.
        self._client = f"unknown[{self.peer.host or 'local'}]"
        self.session = SmtpSession(
            self._client,
            factory.limits,
            factory.hostname,
            factory.banner,
            log.report,
            terms=factory.terms(self.peer),
            refusal=self._refusal,
            refused=factory.refused,
        )
        limits = factory.limits
        self._carrier = Carrier(
            self.transport,
            self.session,
            self._answer,
            self._patience,
            factory.clock,
            log,
            least_rate=limits.min_data_rate if limits.per_request_deadline else 0,
            owed=limits.unread_octets,
        )
        factory.connections.opened(self)
        self._carrier.closed.addCallback(self._over)  # one callback: a connection that waits has few things
        self._carrier.start()

    def handshakeCompleted(self) -> None:
        """TLS has begun: whoever the client was before, it is nobody yet (RFC 3207, 4.2)."""
        self.peer = replace(self.peer, tls=True)
        self._log_out()
        # Behind STARTTLS it is the transport's own protocol that speaks TLS; at a port for TLS alone it is the transport.
        how = spoken(self.transport) or spoken(getattr(self.transport, "protocol", None))
        if how is not None:
            log.info(
                "Anonymous TLS connection established from {client}: {version} with cipher {cipher}",
                client=self._client,
                version=how.version,
                cipher=how.cipher,
            )
        self.session.secured(self.factory.terms(self.peer))
        self._carrier.handshaken()

    def dataReceived(self, data: bytes) -> None:
        self._carrier.received(data)

    def readConnectionLost(self) -> None:
        self._carrier.heard_all()

    def writeConnectionLost(self) -> None:
        """We never close our half alone."""

    def connectionLost(self, reason: Failure | None = None) -> None:
        self.session.lost()
        self._carrier.lost()

    # what the factory does

    @property
    def closed(self) -> Deferred[None]:
        return self._carrier.closed

    def stop(self) -> None:
        """An idle client is told and let go; a busy one after its command."""
        self._carrier.stop()

    def cut(self, why: str) -> None:
        """Drop the connection at once."""
        log.info("{client} was cut off: {why}", client=self._client, why=why)
        self._carrier.cut()

    # answers

    async def _answer(self, event: Event) -> None:
        queue_id = ""
        try:
            match event:
                case Mail(sender, parameters):
                    self.factory.anvil.message(self.peer)
                    greeting = self.session.greeting or Greeting("", extended=False)
                    transactions = await self._anybody()
                    await transactions.begin(sender, parameters, greeting, self.peer)
                case Recipient(address, parameters):
                    self.factory.anvil.recipient(self.peer)
                    await self._avatar.recipient(address, parameters)
                case Data():
                    self._incoming = self._avatar.data()
                case Content(chunk):
                    await self._write(chunk)
                case EndOfMessage():
                    queue_id = await self._commit()
                case Reset():
                    self._forget()
                case Auth():
                    self.factory.anvil.login(self.peer)
                    await self._log_in(event)
                case StartTls():
                    self._forget()
                case Hold():
                    await deferLater(self.factory.clock, self.factory.limits.error_sleep_time)
        except DeliveryFailure as failure:
            # Twisted's own avatars know no log.
            self.session.refuse(failure.status, told=not isinstance(self._transactions, StockTransactions))
        else:
            self.session.accept(queue_id)
            if isinstance(event, StartTls):
                self._carrier.start_tls(self.factory.contexts)

    @property
    def _avatar(self) -> ITransactions:
        assert self._transactions is not None, "the conversation lets nothing come before MAIL"
        return self._transactions

    async def _write(self, chunk: bytes) -> None:
        assert self._incoming is not None
        try:
            await self._incoming.write(chunk)
        except BaseException:
            self._forget()
            raise

    async def _commit(self) -> str:
        incoming, self._incoming = self._incoming, None
        assert incoming is not None
        return await incoming.commit()

    async def _anybody(self) -> ITransactions:
        """The avatar of whoever the client is; the anonymous one where nobody has logged in."""
        if self._transactions is None:
            try:
                self._take(*await self._ask(Anonymous()))
            except (UnauthorizedLogin, UnhandledCredentials):
                raise PermanentFailure(LOGIN_FIRST) from None
        return self._avatar

    async def _log_in(self, event: Auth) -> None:
        credentials = LoginCredentials(event.username, event.password, Login("smtp", self.peer))
        try:
            self._take(*await self._ask(credentials))
        except UnauthorizedLogin:
            raise PermanentFailure(replies.AUTH_FAILED) from None
        except DeliveryFailure as failure:
            # RFC 4954, 6: 454 says "later" of a login, whatever the reason.
            raise type(failure)(Status(454, "4.7.0", failure.status.text)) from None

    def _ask(self, credentials: ICredentials) -> Any:
        return self.portal.login(credentials, None, ITransactions, IMessageDelivery, IMessageDeliveryFactory)

    def _take(self, interface: Any, avatar: Any, logout: Any) -> None:
        """From now on the client is ``avatar``. Whoever it was before is logged out."""
        self._log_out()
        self._onLogout = logout
        self.deliveryFactory = avatar if interface is IMessageDeliveryFactory else None
        self.delivery = None if self.deliveryFactory else avatar
        self._transactions = avatar if ITransactions.providedBy(avatar) else StockTransactions(self)

    def _log_out(self) -> None:
        self._forget()
        self._transactions = None
        logout, self._onLogout = self._onLogout, None
        if logout is not None:
            logout()

    def _forget(self) -> None:
        """Nothing is left of a message that was coming in, nor of its transaction."""
        incoming, self._incoming = self._incoming, None
        if incoming is not None:
            incoming.abort()
        if self._transactions is not None:
            self._transactions.reset()

    def _patience(self) -> float:
        return self.factory.limits.timeout

    def _over(self, _: object) -> None:
        try:
            self._give_back()
        except Exception:
            log.failure("while ending a session", Failure())

    def _give_back(self) -> None:
        """The connection is gone and nothing is under way for it."""
        self.factory.connections.gone(self)
        if self._refusal is None:
            self.factory.admission.leave(self.peer)
        self._log_out()


class LanSMTPFactory(smtp.SMTPFactory):
    """Makes a LanSMTP for every connection, and knows those that are open.

    portal: asked for ITransactions, and for Twisted's own IMessageDelivery where a realm has nothing better.
    hostname: ``myhostname``. banner: what follows ``220 ``. clock: any IReactorTime. anvil: how often each client may do what.
    terms: what a client may do, by where it is and whether it speaks TLS. contexts: for STARTTLS, as ITLSTransport takes them.
    A connection that comes in wrapped in TLS is one of the same kind.
    refused: is told every reply that says no: client, verb, status.
    submission: at its ports people hand in what they wrote (RFC 6409); the terms ask them to log in.
    """

    protocol: Any = LanSMTP
    noisy = False

    def __init__(
        self,
        portal: Portal,
        *,
        hostname: str,
        banner: str,
        limits: SmtpLimits,
        admission: Admission,
        clock: IReactorTime,
        anvil: Anvil = UNLIMITED,
        terms: Callable[[Peer], Terms] = lambda peer: Terms(),
        contexts: object = None,
        refused: Callable[[str, str, Status], None] = lambda client, verb, status: None,
        submission: bool = False,
    ) -> None:
        super().__init__(portal)  # type: ignore[no-untyped-call]
        self.domain = hostname.encode()
        self.hostname = hostname
        self.banner = banner
        self.limits = limits
        self.admission = admission
        self.clock = clock
        self.anvil = anvil
        self.terms = terms
        self.contexts = contexts
        self.refused = refused
        self.submission = submission
        self.connections: Connections[LanSMTP] = Connections(clock)

    def buildProtocol(self, addr: IAddress | None) -> LanSMTP:  # type: ignore[override]
        """Never None: behind a TLS wrapper that leaves a connection open which nobody serves."""
        made: LanSMTP = super().buildProtocol(addr)  # type: ignore[no-untyped-call]
        return made

    def refusal_of(self, connection: LanSMTP) -> Status | None:
        """Why this client cannot come in now; None where it is in, and is counted until it is ``gone``."""
        if self.connections.stopping:
            return replies.shutting_down(self.hostname)
        refusal = self.admission.admit(connection.peer)
        # RFC 5321, 4.2.3: behind 421 stands who says it.
        return refusal and replace(refusal, text=f"{self.hostname} {refusal.text}")

    def stop(self, time_limit: float = STOP_LIMIT) -> Deferred[None]:
        """Connections.stop."""
        return self.connections.stop(time_limit)
