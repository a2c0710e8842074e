"""POP3 as Twisted knows it: a protocol and its factory, which carry the conversation of ``session`` over a transport."""

from __future__ import annotations

import socket
from array import array
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any

from twisted.cred.error import UnauthorizedLogin
from twisted.cred.portal import Portal
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress, IHalfCloseableProtocol, IHandshakeListener, IReactorTime
from twisted.internet.protocol import ServerFactory
from twisted.mail.interfaces import IMailboxPOP3, IServerFactoryPOP3
from twisted.python.failure import Failure
from zope.interface import implementer

from lanmail.accounts.credentials import LoginCredentials
from lanmail.admission import Admission
from lanmail.anvil import UNLIMITED, Anvil
from lanmail.connections import STOP_LIMIT, Connections
from lanmail.interfaces import IMaildrop, Letter, Login, MessageGone, Torn, User
from lanmail.mailbox.maildrop import Letters, MaildropInUse
from lanmail.maillog import Logger
from lanmail.network import Peer
from lanmail.pop3.events import Authenticate, Commit, Event, ListScan, ListUids, Retrieve, StartTls, TellUid
from lanmail.pop3.marks import PIECE
from lanmail.pop3.session import ERROR_LIMIT, LOGIN_COMMANDS, LOGIN_TRIES, STOPPING, Pop3Session
from lanmail.pop3.stock import StockMaildrop
from lanmail.rim import Carrier, Gone, peer_of, socket_of
from lanmail.status import DeliveryFailure
from lanmail.twisted_mail import pop3
from lanmail.wire.conversation import OUTPUT_HIGH_WATER
from lanmail.wire.terms import Terms

# RFC 1939, 3: an autologout timer is of at least ten minutes. Before the login nothing obliges us to be patient, but with whoever
# types the commands: three minutes for all of them is what Dovecot gives.
TIMEOUT = 600.0
LOGIN_TIMEOUT = 180.0
# A client that has said nothing for so long, and comes again from the same address, has lost its first connection.
TAKEOVER_AFTER = 30.0
# A peer that is gone without a word is found after 30 + 4 * 15 = 90 s. TCP_USER_TIMEOUT would also find one that vanished
# in the middle of a letter, but it cuts off a living client that reads nothing for so long (a full disk, a question on
# the screen). Such a connection ends by TIMEOUT, or by takeover.
KEEPALIVE = ((socket.TCP_KEEPIDLE, 30), (socket.TCP_KEEPINTVL, 15), (socket.TCP_KEEPCNT, 4))
# So many letters are counted before others get their turn: 2 ms.
_SLICE = 8192

log = Logger("pop3")


@implementer(IHalfCloseableProtocol, IHandshakeListener)
class LanPOP3(pop3.POP3):
    """One connection of a POP3 client. Of Twisted's POP3 it keeps the name, the attributes and ``authenticateUserPASS``.

    Login and logout are paired: what the Portal gave is given back once the connection is gone and nothing is being done
    for it any more, in whatever order PAM's answer, the end of the connection and the end of the work come.
    """

    factory: LanPOP3Factory  # type: ignore[assignment]  # Twisted's stubs know only the None it begins with
    portal: Portal  # type: ignore[assignment]
    transport: Any
    mbox: Any = None
    user = ""
    """Who is logged in: the canonical name; empty before."""

    # Twisted's side

    def connectionMade(self) -> None:
        factory = self.factory
        self.peer = peer_of(self.transport)
        refusal = factory.refusal_of(self)
        self._admitted = not refusal
        self.session = Pop3Session(
            factory.banner,
            implementation=factory.implementation,
            error_limit=factory.error_limit,
            refusal=refusal,
            terms=factory.terms(self.peer),
            login_commands=factory.login_commands,
            login_tries=factory.login_tries,
        )
        self._carrier = Carrier(
            self.transport,
            self.session,
            self._answer,
            self._patience,
            factory.clock,
            log,
            owed=factory.unread_octets,
            handed_over=self._tell_what_was_fetched,
        )
        self._attempt = b""  # whose password is being checked now
        self._retrieved = self._deleted = self._left = 0
        self._fetched: set[int] = set()
        self._untold: list[int] = []  # of these, not all is known to have reached the transport
        self._ending = ""
        self._keep_alive()
        factory.connections.opened(self)
        self._carrier.closed.addCallback(self._over)  # one callback: a connection that waits has few things
        self._carrier.start()

    def handshakeCompleted(self) -> None:
        """TLS has begun."""
        self.peer = replace(self.peer, tls=True)
        self.session.secured(self.factory.terms(self.peer))
        self._carrier.handshaken()

    def dataReceived(self, data: bytes) -> None:
        self._carrier.received(data)

    def readConnectionLost(self) -> None:
        self._carrier.heard_all()

    def writeConnectionLost(self) -> None:
        """We never close our half alone."""

    def connectionLost(self, reason: Failure | None = None) -> None:
        self._carrier.lost()

    def authenticateUserPASS(self, user: bytes, password: bytes) -> Deferred[tuple[Any, Any, Callable[[], None]]]:
        """Ask the Portal. Name and result are Twisted's; the peer goes with the credentials."""
        credentials = LoginCredentials(user, password, Login("pop3", self.peer))
        return self.portal.login(credentials, None, IMaildrop, IMailboxPOP3)

    # what the factory asks and does

    @property
    def silence(self) -> float:
        """Seconds since the client last said or took anything; 0 while we owe it an answer."""
        return self._carrier.silence

    @property
    def closed(self) -> Deferred[None]:
        return self._carrier.closed

    def is_logging_in(self, user: User) -> bool:
        """Whether this user's login, by whatever form of the name, is being decided here now."""
        name = self._attempt.decode("utf-8", "replace").partition("@")[0]
        return name.casefold() == user.name.casefold()

    def stop(self) -> None:
        """An idle client is told and let go; a busy one after its command."""
        self._carrier.stop()

    def cut(self, why: str) -> None:
        """Drop the connection at once. Nothing that was marked is deleted."""
        self._ending = why
        self._carrier.cut()

    # answers

    async def _answer(self, event: Event) -> None:
        match event:
            case Authenticate():
                await self._log_in(event)
            case ListScan():
                await self._send_lines(self.session.scan_listing())
            case ListUids() | TellUid():
                await self._tell_uids(event)
            case Retrieve():
                if not self._sent_at_once(event):
                    await self._send_letter(event)
            case Commit():
                await self._commit(event)
            case StartTls():
                self.session.starting_tls()
                self._carrier.start_tls(self.factory.contexts)

    async def _log_in(self, event: Authenticate) -> None:
        told: dict[str, Any] = {"user": event.username, "method": event.method, "rip": self.peer.host}
        self._attempt = event.username
        try:
            self.factory.anvil.login(self.peer)
            _, mailbox, self._onLogout = await self.authenticateUserPASS(event.username, event.password)
        except UnauthorizedLogin:  # of which the log was told by whoever refused (accounts/checkers.py)
            self.session.refuse("Wrong user name or password", "AUTH")
            return
        except DeliveryFailure as trouble:
            log.info("login failed: user=<{user}>, method={method}, rip={rip}: {why}", why=_why(trouble), **told)
            self.session.refuse(trouble.status.text, "IN-USE" if isinstance(trouble, MaildropInUse) else "SYS/TEMP")
            return
        finally:
            self._attempt = b""
        # Whatever happens from here on, _over logs out: also where the client did not wait for our answer.
        self.mbox = mailbox if IMaildrop.providedBy(mailbox) else StockMaildrop(mailbox, event.username)
        self.user = told["user"] = self.mbox.user.name
        log.info("login: user=<{user}>, method={method}, rip={rip}", **told)
        letters = self.mbox.letters
        octets = await self._octets(letters)
        self._left = len(octets)
        self.session.logged_in(octets, letters.total if isinstance(letters, Letters) else None)

    async def _octets(self, letters: Sequence[Letter]) -> Sequence[int]:
        """Of each letter."""
        if isinstance(letters, Letters):
            return letters.octets
        octets = array("Q")
        each = iter(letters)
        while counted := [letter.octets for letter in islice(each, _SLICE)]:
            octets.extend(counted)
            if len(counted) == _SLICE:
                await self._let_others()
        return octets

    async def _tell_uids(self, event: ListUids | TellUid) -> None:
        try:
            unique_ids = await self.mbox.unique_ids()
        except DeliveryFailure as trouble:
            self._refuse_for_now(trouble)
            return
        if isinstance(event, TellUid):
            self.session.unique_id(unique_ids[event.number - 1])
        else:
            await self._send_lines(self.session.uid_listing(unique_ids))

    async def _send_lines(self, pieces: Iterable[bytes]) -> None:
        """A listing as fast as the client takes it, so that it is never whole in memory, and others have their turn between."""
        held = self.session.heading()
        for piece in pieces:
            if len(held) >= PIECE:
                await self._carrier.write(held)
                await self._let_others()
                held = b""
            held += piece
        self.session.finish(held)

    def _sent_at_once(self, event: Retrieve) -> bool:
        """A letter that is at hand: as most are that are fetched one after the other."""
        text = self.mbox.at_hand(event.number) if event.body_lines is None else None
        if text is None:
            return False
        self.session.letter(text)
        self._note_fetched(event.number)
        return True

    async def _send_letter(self, event: Retrieve) -> None:
        held = self.session.heading()
        begun = False
        given = 0
        try:
            async for chunk in self.mbox.text(event.number, event.body_lines):
                if len(held) >= PIECE:
                    begun = True
                    await self._carrier.write(held)
                    held = b""
                held += self.session.piece(chunk)
                given += len(chunk)
        except Gone:
            raise
        except Exception as trouble:
            if begun:
                # Nothing may follow, not even -ERR: the client would take it for text, or a part for the whole letter.
                log.warn(
                    "letter {number} of {user} broke off: {why}", number=event.number, user=self.user, why=_why(trouble)
                )
                self.cut("a letter broke off")
                return
            if isinstance(trouble, DeliveryFailure):
                self._refuse_for_now(trouble)
            elif isinstance(trouble, MessageGone | Torn):
                self.session.refuse("Another program has changed or removed this message")
            else:
                raise
        else:
            self.session.finish(held)
            # fetchmail says TOP with 99999999 lines where it means RETR.
            if given >= self.mbox.letters[event.number - 1].octets:
                self._note_fetched(event.number)

    def _note_fetched(self, number: int) -> None:
        """It is told once the transport has all of the letter: not where the client is gone before."""
        self._retrieved += 1
        # A client that fetches one letter over and over is told of once, or it could fill the history with it.
        if number not in self._fetched:
            self._fetched.add(number)
            self._untold.append(number)

    def _tell_what_was_fetched(self) -> None:
        if self._untold:
            untold, self._untold = self._untold, []
            for number in untold:
                self.mbox.fetched(number, self.peer.host)

    async def _commit(self, event: Commit) -> None:
        if self._untold:
            await self._carrier.write(b"")  # that a letter was fetched is told before it is that it was deleted
        try:
            self._left = await self.mbox.commit(event.deleted, self.peer.host)
        except DeliveryFailure as trouble:
            self._refuse_for_now(trouble)
        else:
            self._deleted = len(event.deleted)
            self.session.committed()

    # within

    def _refuse_for_now(self, trouble: DeliveryFailure) -> None:
        log.warn("{why}, user=<{user}>", why=_why(trouble), user=self.user)
        self.session.refuse(trouble.status.text, "SYS/TEMP")

    def _patience(self) -> float:
        return self.factory.timeout if self.session.is_open else self.factory.login_timeout

    def _let_others(self) -> Deferred[None]:
        turn: Deferred[None] = Deferred()
        self.factory.clock.callLater(0, turn.callback, None)
        return turn

    def _keep_alive(self) -> None:
        transport = socket_of(self.transport)
        if not (hasattr(transport, "setTcpKeepAlive") and hasattr(transport, "getHandle")):
            return  # a UNIX socket: its peer cannot vanish
        transport.setTcpKeepAlive(True)
        for option, value in KEEPALIVE:
            transport.getHandle().setsockopt(socket.IPPROTO_TCP, option, value)

    def _over(self, _: object) -> None:
        try:
            self._give_back()
        except Exception:
            log.failure("while ending a session", Failure())

    def _give_back(self) -> None:
        """The connection is gone and nothing is under way for it: give back what was given."""
        self.factory.connections.gone(self)
        if self._admitted:
            self.factory.admission.leave(self.peer)
        why = self._ending or self.session.ending
        logout, self._onLogout = self._onLogout, None
        if logout is not None:
            log.info(
                "logout: user=<{user}> retrieved {retrieved}, deleted {deleted}, left {left}{why}",
                user=self.user,
                retrieved=self._retrieved,
                deleted=self._deleted,
                left=self._left,
                why=f" ({why})" if why else "",
            )
            logout()
        elif why and self._admitted:
            log.info("disconnected before a login: rip={rip} ({why})", rip=self.peer.host, why=why)


def _why(trouble: BaseException) -> str:
    """For the log: what names the mailbox and its trouble, where there is such a text; the client has got another."""
    return str(getattr(trouble, "detail", "")) or str(trouble) or type(trouble).__name__


@implementer(IServerFactoryPOP3)
class LanPOP3Factory(ServerFactory):
    """Makes a LanPOP3 for every connection, and knows those that are open.

    portal: asked for IMaildrop, and for Twisted's own IMailbox where a realm has nothing better.
    clock: any IReactorTime. banner: the greeting behind ``+OK ``, without ``<``.
    login_timeout: how many seconds a client has for all it says up to the login. timeout: for each thing after it. takeover_after:
    see ``wanted``. anvil: how often each client may log in.
    terms: what a client may do, by where it is and whether it speaks TLS. contexts: for STLS, as ITLSTransport takes them. A connection
    that comes in wrapped in TLS is one of the same kind.
    """

    protocol: Any = LanPOP3
    noisy = False
    challengers: dict[bytes, Callable[[], Any]] = {}  # noqa: RUF012  Twisted's name; SASL is the conversation's here
    implementation = "lanmail"

    def __init__(
        self,
        portal: Portal,
        *,
        clock: IReactorTime,
        banner: str,
        admission: Admission,
        login_timeout: float = LOGIN_TIMEOUT,
        timeout: float = TIMEOUT,
        takeover_after: float = TAKEOVER_AFTER,
        error_limit: int = ERROR_LIMIT,
        login_commands: int = LOGIN_COMMANDS,
        login_tries: int = LOGIN_TRIES,
        unread_octets: int = OUTPUT_HIGH_WATER,
        anvil: Anvil = UNLIMITED,
        terms: Callable[[Peer], Terms] = lambda peer: Terms(login=True),
        contexts: object = None,
    ) -> None:
        self.portal = portal
        self.clock = clock
        self.banner = banner
        self.admission = admission
        self.login_timeout = login_timeout
        self.timeout = timeout
        self.takeover_after = takeover_after
        self.error_limit = error_limit
        self.login_commands = login_commands
        self.login_tries = login_tries
        self.unread_octets = unread_octets
        self.anvil = anvil
        self.terms = terms
        self.contexts = contexts
        self.connections: Connections[LanPOP3] = Connections(clock)

    def buildProtocol(self, addr: IAddress | None) -> Any:
        protocol: Any = super().buildProtocol(addr)
        protocol.portal = self.portal
        return protocol

    def wanted(self, user: User) -> None:
        """A login waits for this user's maildrop; give this to Maildrops.

        Ends the session that holds it if that one's client has been silent for ``takeover_after`` seconds and the login comes
        from the same address: a phone that left the Wi-Fi and is back.
        """
        self.give_way(user.name, self.waiting_from(user))

    def waiting_from(self, user: User) -> set[str]:
        """takeover.Sessions."""
        return {connection.peer.host for connection in self.connections if connection.is_logging_in(user)}

    def give_way(self, name: str, hosts: Collection[str]) -> None:
        """takeover.Sessions."""
        for connection in self.connections:
            if connection.user == name and connection.peer.host in hosts and connection.silence >= self.takeover_after:
                connection.cut("taken over by a new login from the same address")

    def refusal_of(self, connection: LanPOP3) -> str:
        """Why this client cannot come in now; empty where it is in, and is counted until it is gone."""
        if self.connections.stopping:
            return STOPPING
        return "" if self.admission.admit(connection.peer) is None else "[SYS/TEMP] too many connections"

    def stop(self, time_limit: float = STOP_LIMIT) -> Deferred[None]:
        """Connections.stop."""
        return self.connections.stop(time_limit)

    # IServerFactoryPOP3: what Twisted's own POP3 would ask

    def cap_IMPLEMENTATION(self) -> bytes:
        return self.implementation.encode("ascii")

    def cap_EXPIRE(self) -> None:
        """Never: we delete nothing by ourselves."""

    def perUserExpiration(self) -> bool:
        return False

    def cap_LOGIN_DELAY(self) -> int:
        raise NotImplementedError

    def perUserLoginDelay(self) -> bool:
        raise NotImplementedError
