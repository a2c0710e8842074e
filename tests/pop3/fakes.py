"""Maildrops, accounts and transports that remember what was done with them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any

from twisted.cred.error import UnauthorizedLogin
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from zope.interface import implementer

from lanmail.admission import Admission, Capacity
from lanmail.interfaces import IMaildrop, Letter, User
from lanmail.network import Networks
from lanmail.pop3.server import LanPOP3, LanPOP3Factory
from tests.dialogue import MemoryTransport

NEL = User("nel", 1001, 1001)


def letter(octets: int, subject: str = "essai") -> bytes:
    """A message of exactly so many octets, CRLF line ends."""
    head = f"From: julien@iscb-corporation.com\r\nSubject: {subject}\r\n\r\n".encode()
    lines = (octets - len(head)) // 64
    body = (b"." + b"x" * 61 + b"\r\n") * lines
    rest = octets - len(head) - len(body)
    return head + body + (b"y" * (rest - 2) + b"\r\n" if rest >= 2 else b"y" * rest)


@implementer(IMaildrop)
class RememberingMaildrop:
    """Letters in memory. What is set as ``trouble`` is raised by the next thing that is asked."""

    def __init__(self, *texts: bytes, user: User = NEL, uids: Sequence[str] | None = None, chunk: int = 64) -> None:
        self.user = user
        self.texts = texts
        self.letters: Any = [Letter(n, len(text)) for n, text in enumerate(texts, 1)]
        self.uids = uids if uids is not None else [f"uid-{n}" for n, _ in enumerate(texts, 1)]
        self.chunk = chunk
        self.trouble: BaseException | None = None
        self.tear_after: tuple[int, BaseException] | None = None
        self.committed: list[frozenset[int]] = []
        self.committed_from = ""
        self.told: list[tuple[int, str]] = []
        self.commit_waits: Deferred[None] | None = None
        self.closed = 0

    async def unique_ids(self) -> Sequence[str]:
        self._fail_now()
        return self.uids

    def at_hand(self, number: int) -> bytes | None:
        return None

    async def text(self, number: int, body_lines: int | None = None) -> AsyncIterator[bytes]:
        self._fail_now()
        text = self.texts[number - 1]
        if body_lines is not None:
            header, _, body = text.partition(b"\r\n\r\n")
            text = header + b"\r\n\r\n" + b"".join(body.splitlines(keepends=True)[:body_lines])
        for start in range(0, len(text), self.chunk):
            if self.tear_after is not None and start >= self.tear_after[0]:
                raise self.tear_after[1]
            yield text[start : start + self.chunk]

    def fetched(self, number: int, client: str) -> None:
        self.told.append((number, client))

    async def commit(self, deleted: frozenset[int], client: str = "") -> int:
        self.committed_from = client
        if self.commit_waits is not None:
            await self.commit_waits
        self._fail_now()
        self.committed.append(deleted)
        return len(self.letters) - len(deleted)

    def close(self) -> None:
        self.closed += 1

    def _fail_now(self) -> None:
        if self.trouble is not None:
            trouble, self.trouble = self.trouble, None
            raise trouble


class Accounts:
    """Stands where the Portal stands. With ``slow`` the test decides when, and how, each login is answered."""

    def __init__(self, *maildrops: RememberingMaildrop, password: bytes = "naël".encode(), slow: bool = False) -> None:
        self.maildrops = list(maildrops)
        self.password = password
        self.slow = slow
        self.asked: list[tuple[Any, Deferred[Any]]] = []
        self.logins: list[RememberingMaildrop] = []

    def login(self, credentials: Any, mind: None, *interfaces: Any) -> Deferred[Any]:
        answer: Deferred[Any] = Deferred()
        self.asked.append((credentials, answer))
        return answer if self.slow else self._judged(credentials)

    def answer(self, asked: int = -1, trouble: BaseException | None = None) -> None:
        credentials, answer = self.asked[asked]
        result = fail(trouble) if trouble is not None else self._judged(credentials)
        result.chainDeferred(answer)

    def _judged(self, credentials: Any) -> Deferred[Any]:
        if not self.maildrops or credentials.password != self.password:
            return fail(UnauthorizedLogin())
        maildrop = self.maildrops.pop(0) if len(self.maildrops) > 1 else self.maildrops[0]
        self.logins.append(maildrop)
        return succeed((IMaildrop, maildrop, maildrop.close))


class SlowTransport(MemoryTransport):
    """Holds what is written until the client reads, and tells its producer so, as Twisted's do with more than 64 KiB."""

    HIGH_WATER = 64 * 1024

    def __init__(self, clock: Clock, peer: str = "127.0.0.1") -> None:
        super().__init__(clock, peer)
        self.most = 0
        self.writes = 0

    def write(self, data: bytes) -> None:
        super().write(data)
        self.writes += 1
        self.most = max(self.most, len(self.value()))
        if len(self.value()) > self.HIGH_WATER and self.producer is not None:
            self.producer.pauseProducing()

    def read(self) -> bytes:
        """The client takes everything that is there."""
        data = self.value()
        self.clear()
        if self.producer is not None:
            self.producer.resumeProducing()
        return data


def admission(limit: int = 100, per_client: int = 0) -> Admission:
    return Admission("pop3", Capacity(limit), per_client, Networks(), lambda line, /, **fields: None)


def make_factory(accounts: Any, clock: Clock, **options: Any) -> LanPOP3Factory:
    options.setdefault("admission", admission())
    return LanPOP3Factory(accounts, clock=clock, banner="POP3 server ready", **options)


class Client:
    """One connection in memory, from the client's side."""

    def __init__(
        self, factory: LanPOP3Factory, clock: Clock, transport: MemoryTransport | None = None, peer: str = "192.168.1.3"
    ) -> None:
        self.clock = clock
        self.transport = transport or MemoryTransport(clock, peer)
        self.protocol: LanPOP3 = factory.buildProtocol(self.transport.getPeer())
        self.transport.connect(self.protocol)

    def say(self, *lines: bytes) -> bytes:
        """Send the lines together; what the server has said since the last time, all that it has to say without a clock."""
        self.transport.say(b"".join(line + b"\r\n" for line in lines))
        return self.hear()

    def hear(self) -> bytes:
        self.clock.advance(0)
        data: bytes = self.transport.value()
        self.transport.clear()
        return data

    def log_in(self) -> bytes:
        return self.say(b"USER nel", "PASS naël".encode())

    @property
    def gone(self) -> bool:
        self.clock.advance(0)
        return self.transport.gone
