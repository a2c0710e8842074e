"""Makes do with an avatar that knows only Twisted's own interfaces (IMessageDelivery, IMessage), such as other people have.

They cannot say "later" by status, nor wait for room, nor hear how a report is wanted (RFC 3461); everything else is as with ours.
The hooks of the protocol are called, not those of the avatar, so that an ESMTP subclass's own ``validateFrom`` counts here as it
does with Twisted.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from twisted.internet.defer import DeferredList, maybeDeferred
from zope.interface import implementer

from lanmail.address import Address
from lanmail.interfaces import Greeting, Incoming, ITransactions, MailParameters, RecipientParameters
from lanmail.network import Peer
from lanmail.status import DeliveryFailure, PermanentFailure, Status, TemporaryFailure
from lanmail.twisted_mail import smtp

_NOTHING_SAID = RecipientParameters()


@implementer(ITransactions)
class StockTransactions:
    login = None

    def __init__(self, protocol: Any) -> None:
        self._protocol = protocol
        self._messages: list[tuple[Any, Callable[[], Any]]] = []
        self._helo: tuple[bytes, bytes] = (b"", b"")
        self._origin: Any = None

    async def begin(self, sender: Address, parameters: MailParameters, greeting: Greeting, peer: Peer) -> None:
        self.reset()
        self._helo = (greeting.name.encode(), peer.host.encode())
        self._origin = await _told(self.validateFrom, self._helo, _stock_address(sender))

    async def recipient(self, address: Address, parameters: RecipientParameters = _NOTHING_SAID) -> None:
        user = smtp.User(_stock_address(address), self._helo, self._protocol, self._origin)
        self._messages.append((user, await _told(self.validateTo, user)))

    def data(self) -> Incoming:
        messages = []
        try:
            for user, message_for in self._messages:
                message = message_for()
                messages.append(message)
                if header := self.receivedHeader(self._helo, self._origin, [user]):
                    for line in header.split(b"\n"):
                        message.lineReceived(line)
        except BaseException as error:
            for message in messages:
                message.connectionLost()
            raise _ours(error) from error
        return _StockMessages(messages)

    def reset(self) -> None:
        self._messages.clear()

    # IMessageDelivery, by way of the protocol

    def validateFrom(self, helo: Any, origin: Any) -> Any:
        return self._protocol.validateFrom(helo, origin)

    def validateTo(self, user: Any) -> Any:
        return self._protocol.validateTo(user)

    def receivedHeader(self, helo: Any, origin: Any, recipients: Any) -> Any:
        return self._protocol.receivedHeader(helo, origin, recipients)


class _StockMessages:
    """One IMessage for each recipient, fed line by line, as Twisted wants it."""

    def __init__(self, messages: list[Any]) -> None:
        self._messages = messages
        self._begun: list[bytes] = []  # the pieces of a line whose end has not come
        self._trouble: BaseException | None = None

    async def write(self, chunk: bytes) -> None:
        self._begun.append(chunk)
        if b"\n" in chunk:  # so that one endless line is not copied anew with each of its pieces
            *lines, begun = b"".join(self._begun).split(b"\n")
            self._begun = [begun]
            self._give(lines)

    def _give(self, lines: list[bytes]) -> None:
        try:
            for line in lines:
                for message in self._messages:
                    message.lineReceived(line)
        except Exception as error:
            self._trouble = self._trouble or error

    async def commit(self) -> str:
        if self._trouble is not None:
            self.abort()
            raise _ours(self._trouble) from self._trouble
        # All have to end before it is said how: one of them failing stops none of the others.
        ended = await DeferredList(
            [maybeDeferred(message.eomReceived) for message in self._messages], consumeErrors=True
        )
        for well, result in ended:
            if not well:
                raise _ours(result.value)
        return ""

    def abort(self) -> None:
        for message in self._messages:
            message.connectionLost()


async def _told(hook: Callable[..., Any], *args: Any) -> Any:
    asked: Awaitable[Any] = maybeDeferred(hook, *args)
    try:
        return await asked
    except Exception as error:
        raise _ours(error) from error


def _ours(error: BaseException) -> BaseException:
    """Twisted's refusals with our status, other errors as they are."""
    if not isinstance(error, smtp.SMTPServerError):
        return error
    text = error.resp.decode("ascii", "replace") if isinstance(error.resp, bytes) else str(error.resp)
    status = Status(error.code, f"{error.code // 100}.0.0", text)
    kind: type[DeliveryFailure] = TemporaryFailure if error.code < 500 else PermanentFailure
    return kind(status)


def _stock_address(address: Address) -> Any:
    # Twisted's parser knows no literals and no UTF-8; so it is not asked.
    made = smtp.Address(b"")
    made.local, made.domain = address.local.encode(), address.domain.encode()
    return made
