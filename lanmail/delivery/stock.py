"""What Twisted's own ESMTP hands to a delivery, and takes from it, in our words. Our server never uses it."""

from __future__ import annotations

from twisted.internet.defer import Deferred, succeed
from twisted.mail.interfaces import IMessageSMTP
from zope.interface import implementer

from lanmail.address import Address
from lanmail.interfaces import Incoming
from lanmail.status import PermanentFailure, Status
from lanmail.twisted_mail import smtp


def address_of(origin: smtp.Address) -> Address:
    """An address as Twisted parsed it. Its grammar lets through what ours refuses, so control characters become ``?``."""
    local, domain = (_text(part) for part in (origin.local, origin.domain))
    return Address(local, domain.lower().removesuffix("."))


def _text(octets: bytes) -> str:
    return "".join(char if char.isprintable() else "?" for char in octets.decode("utf-8", "replace"))


@implementer(IMessageSMTP)
class StockMessage:
    """One message, line by line. A stock server cannot wait between lines, so the text is gathered in memory, up to ``MOST`` octets."""

    MOST = 10_240_000  # message_size_limit's default in Postfix

    def __init__(self, incoming: Incoming) -> None:
        self._incoming = incoming
        self._lines: list[bytes] = []
        self._size = 0

    def lineReceived(self, line: bytes) -> None:
        self._size += len(line) + 2
        if self._size <= self.MOST:
            self._lines.append(line)

    def eomReceived(self) -> Deferred[str]:
        return Deferred.fromCoroutine(self._commit())

    def connectionLost(self) -> None:
        self._incoming.abort()

    async def _commit(self) -> str:
        if self._size > self.MOST:
            self._incoming.abort()
            raise PermanentFailure(Status(552, "5.3.4", "Message size exceeds fixed limit"))
        await self._incoming.write(b"".join(line + b"\n" for line in self._lines))
        return await self._incoming.commit()


@implementer(IMessageSMTP)
class Echo:
    """What stands for every recipient but the first: Twisted gives each of them the message, and it is delivered once."""

    def lineReceived(self, line: bytes) -> None:
        pass

    def eomReceived(self) -> Deferred[None]:
        return succeed(None)

    def connectionLost(self) -> None:
        pass
