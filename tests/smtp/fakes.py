"""Stand-ins that remember: the avatar and the message of SMTP, the realm that hands them out, and a whole door."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from twisted.cred.checkers import AllowAnonymousAccess, ICredentialsChecker
from twisted.cred.credentials import IUsernamePassword
from twisted.cred.error import UnauthorizedLogin
from twisted.cred.portal import IRealm, Portal
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from zope.interface import implementer

from lanmail.address import Address
from lanmail.admission import Admission, Capacity
from lanmail.interfaces import Greeting, Incoming, ITransactions, MailParameters, RecipientParameters
from lanmail.network import Networks, Peer
from lanmail.smtp.limits import SmtpLimits
from lanmail.smtp.server import LanSMTPFactory
from lanmail.status import PermanentFailure, Status, TemporaryFailure
from lanmail.wire.terms import Terms
from tests.dialogue import MemoryTransport

HOSTNAME = "srvlinux.iscb-corporation.com"
BANNER = f"{HOSTNAME} ESMTP Postfix"

NOBODY = Status(550, "5.1.1", "Recipient address rejected: User unknown in local recipient table")
FULL = Status(452, "4.3.1", "Insufficient system storage")


class RememberingIncoming:
    """Keeps what it was given, or only counts it; ``ended`` is "commit" or "abort", once."""

    def __init__(self, transactions: RememberingTransactions) -> None:
        self._transactions = transactions
        self.text = b""
        self.octets = 0
        self.chunks = 0
        self.largest = 0
        self.ended = ""

    async def write(self, chunk: bytes) -> None:
        assert not self.ended, "written to after its end"
        self.chunks += 1
        self.octets += len(chunk)
        self.largest = max(self.largest, len(chunk))
        if self._transactions.keeps_text:
            self.text += chunk
        await self._transactions.wait("write")

    async def commit(self) -> str:
        self._end("commit")
        await self._transactions.wait("commit")
        self._transactions.delivered.append(self)
        return f"{0x222CF6745D + len(self._transactions.delivered) - 1:010X}"

    def abort(self) -> None:
        self._end("abort")

    def _end(self, how: str) -> None:
        assert not self.ended, f"{how} after {self.ended}"
        self.ended = how


@implementer(ITransactions)
class RememberingTransactions:
    """Knows nel and julien. ``troubles`` and ``waits`` hold, by the name of a step, what it raises and what it waits for."""

    def __init__(self, login: str | None = None) -> None:
        self.login = login
        self.keeps_text = True
        self.said: list[Any] = []
        self.incoming: list[RememberingIncoming] = []
        self.delivered: list[RememberingIncoming] = []
        self.troubles: dict[str, BaseException] = {}
        self.waits: dict[str, Callable[[], Awaitable[None]]] = {}
        self.peer: Peer | None = None
        self.greeting: Greeting | None = None

    async def wait(self, step: str) -> None:
        if step in self.waits:
            await self.waits[step]()
        if step in self.troubles:
            raise self.troubles[step]

    async def begin(self, sender: Address, parameters: MailParameters, greeting: Greeting, peer: Peer) -> None:
        self.said.append(("begin", str(sender), parameters))
        self.peer, self.greeting = peer, greeting
        await self.wait("begin")

    async def recipient(self, address: Address, parameters: RecipientParameters = RecipientParameters()) -> None:
        said = () if parameters == RecipientParameters() else (parameters,)
        self.said.append(("recipient", str(address), *said))
        await self.wait("recipient")
        if address.local not in ("nel", "julien"):
            raise PermanentFailure(Status(NOBODY.code, NOBODY.enhanced, f"<{address}>: {NOBODY.text}"))

    def data(self) -> Incoming:
        self.said.append(("data",))
        if "data" in self.troubles:
            raise self.troubles["data"]
        self.incoming.append(RememberingIncoming(self))
        return self.incoming[-1]

    def reset(self) -> None:
        self.said.append(("reset",))

    # Twisted's side, which our rim does not use

    def validateFrom(self, helo: Any, origin: Any) -> Any: ...

    def validateTo(self, user: Any) -> Any: ...

    def receivedHeader(self, helo: Any, origin: Any, recipients: Any) -> Any: ...


@implementer(IRealm)
class RememberingRealm:
    """Makes an avatar for each login and counts who is in."""

    def __init__(self) -> None:
        self.avatars: list[Any] = []
        self.logins: list[str | None] = []
        self.logouts: list[str | None] = []
        self.make: Callable[[str | None], Any] = RememberingTransactions
        self.offers: Any = ITransactions

    def requestAvatar(self, avatarId: Any, mind: object, *interfaces: Any) -> Any:
        name = avatarId.decode() if avatarId else None
        assert self.offers in interfaces
        self.avatars.append(self.make(name))
        self.logins.append(name)
        return succeed((self.offers, self.avatars[-1], lambda: self.logouts.append(name)))


@implementer(ICredentialsChecker)
class RememberingChecker:
    """julien's password is "secret". ``trouble`` is raised instead of an answer; ``answer`` makes it wait."""

    credentialInterfaces = (IUsernamePassword,)

    def __init__(self) -> None:
        self.asked: list[Any] = []
        self.trouble: BaseException | None = None
        self.answers: list[Deferred[None]] = []
        self.waits = False

    def requestAvatarId(self, credentials: Any) -> Deferred[bytes]:
        return Deferred.fromCoroutine(self._check(credentials))

    async def _check(self, credentials: Any) -> bytes:
        self.asked.append(credentials)
        if self.waits:
            self.answers.append(Deferred())
            await self.answers[-1]
        if self.trouble is not None:
            raise self.trouble
        if (credentials.username, credentials.password) != (b"julien", b"secret"):
            raise UnauthorizedLogin()
        return b"julien"


class Door:
    """A LanSMTPFactory with everything behind it remembered, and a clock to turn."""

    def __init__(
        self,
        limits: SmtpLimits | None = None,
        *,
        clock: Any = None,
        offer_auth: bool = False,
        anonymous: bool = True,
        capacity: int = 100,
        per_client: int = 50,
    ) -> None:
        self.clock = clock or Clock()
        self.realm = RememberingRealm()
        self.checker = RememberingChecker()
        self.reports: list[str] = []
        self.portal = Portal(self.realm, [self.checker, *([AllowAnonymousAccess()] if anonymous else [])])
        self.capacity = Capacity(capacity)
        self.admission = Admission("smtp", self.capacity, per_client, Networks(), self.report)
        self.factory = LanSMTPFactory(
            self.portal,
            hostname=HOSTNAME,
            banner=BANNER,
            limits=limits or SmtpLimits(),
            admission=self.admission,
            clock=self.clock,
            terms=lambda peer: Terms(login=offer_auth),
        )

    def report(self, line: str, /, **fields: object) -> None:
        self.reports.append(line.format(**fields))

    def connect(self, peer: str = "192.168.1.5") -> MemoryTransport:
        """A client that has read the greeting."""
        transport = MemoryTransport(self.clock, peer, "192.168.1.1")
        transport.connect(self.factory.buildProtocol(transport.getPeer()))
        transport.clear()
        return transport

    @property
    def avatar(self) -> Any:
        return self.realm.avatars[-1]


def said(transport: MemoryTransport) -> list[str]:
    """The lines that the server has sent since this was asked last."""
    octets = transport.value()
    transport.clear()
    assert not octets or octets.endswith(b"\r\n"), octets
    return octets.decode("utf-8").split("\r\n")[:-1]


def temporary(text: str = FULL.text) -> TemporaryFailure:
    return TemporaryFailure(Status(FULL.code, FULL.enhanced, text))
