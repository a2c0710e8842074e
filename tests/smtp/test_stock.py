"""An avatar that knows only Twisted's interfaces takes mail as well."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, fail
from twisted.logger import formatEvent
from twisted.mail.interfaces import IMessageDelivery, IMessageDeliveryFactory, IMessageSMTP
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from lanmail.interfaces import ITransactions
from lanmail.maillog import mail_events
from lanmail.smtp.stock import StockTransactions
from lanmail.twisted_mail import smtp
from tests.dialogue import MemoryTransport
from tests.smtp.fakes import Door, said

BEGIN = b"EHLO c\r\nMAIL FROM:<julien@x>\r\nRCPT TO:<nel@[192.168.1.1]>\r\nRCPT TO:<julien@x>\r\n"
MESSAGE = BEGIN + b"DATA\r\nHello\r\n\r\n..dot\r\n.\r\n"


@implementer(IMessageSMTP)
class StockMessage:
    def __init__(self) -> None:
        self.lines: list[bytes] = []
        self.lost = False
        self.result: Any = None

    def lineReceived(self, line: bytes) -> None:
        if line == b"boom":
            raise ZeroDivisionError
        self.lines.append(line)

    def eomReceived(self) -> Any:
        return self.result

    def connectionLost(self) -> None:
        self.lost = True


@implementer(IMessageDelivery)
class StockDelivery:
    """As in Twisted's documentation: everybody may write to nel and julien."""

    def __init__(self) -> None:
        self.origins: list[str] = []
        self.messages: list[StockMessage] = []
        self.results: list[Any] = []

    def validateFrom(self, helo: tuple[bytes, bytes], origin: Any) -> Any:
        self.origins.append(str(origin))
        if origin.local == b"evil":
            raise smtp.SMTPBadSender(origin, 553, "Not you")
        return origin

    def validateTo(self, user: Any) -> Callable[[], StockMessage]:
        if user.dest.local not in (b"nel", b"julien"):
            raise smtp.SMTPBadRcpt(user)
        return self._message

    def _message(self) -> StockMessage:
        message = StockMessage()
        message.result = self.results.pop(0) if self.results else None
        self.messages.append(message)
        return message

    def receivedHeader(self, helo: tuple[bytes, bytes], origin: Any, recipients: list[Any]) -> bytes:
        return b"Received: from %s ([%s])\n\tfor %s" % (*helo, str(recipients[0]).encode())


@implementer(IMessageDeliveryFactory)
class StockFactory:
    def __init__(self) -> None:
        self.made: list[StockDelivery] = []

    def getMessageDelivery(self) -> StockDelivery:
        self.made.append(StockDelivery())
        return self.made[-1]


class StockTests(SynchronousTestCase):
    def connected(self) -> tuple[StockDelivery, MemoryTransport]:
        door, delivery = Door(), StockDelivery()
        door.realm.make, door.realm.offers = lambda name: delivery, IMessageDelivery
        return delivery, door.connect()

    def test_the_adapter_keeps_our_contract(self) -> None:
        verifyObject(ITransactions, StockTransactions(None))

    def test_each_recipient_gets_the_message_with_a_header_of_its_own(self) -> None:
        delivery, client = self.connected()
        client.say(MESSAGE)
        self.assertEqual(said(client)[-1], "250 2.0.0 Ok")
        self.assertEqual(delivery.origins, ["julien@x"])
        self.assertEqual(
            [message.lines for message in delivery.messages],
            [
                [b"Received: from c ([192.168.1.5])", b"\tfor " + who, b"Hello", b"", b".dot"]
                for who in (b"nel@[192.168.1.1]", b"julien@x")
            ],
        )

    def test_a_line_comes_whole_wherever_it_was_cut(self) -> None:
        delivery, client = self.connected()
        client.say(BEGIN + b"DATA\r\n")
        for piece in (b"x" * 70_000, b"y" * 70_000, b"z\r", b"\nnext", b"\r\n.\r\n"):
            client.say(piece)
        self.assertEqual(delivery.messages[0].lines[-2:], [b"x" * 70_000 + b"y" * 70_000 + b"z", b"next"])

    def test_its_refusals_keep_their_codes(self) -> None:
        _, client = self.connected()
        client.say(b"EHLO c\r\nMAIL FROM:<evil@x>\r\nMAIL FROM:<a@x>\r\nRCPT TO:<x@y>\r\n")
        self.assertEqual([line[:9] for line in said(client)[-3:]], ["553 5.0.0", "250 2.1.0", "550 5.0.0"])

    def test_its_refusals_are_told_to_the_log_since_it_knows_none(self) -> None:
        lines: list[str] = []
        observer = lambda event: lines.append(formatEvent(event))  # noqa: E731
        mail_events.addObserver(observer)
        self.addCleanup(mail_events.removeObserver, observer)
        delivery, client = self.connected()
        delivery.results = [fail(smtp.SMTPServerError(451, "The disk is full"))]
        client.say(b"EHLO c\r\nMAIL FROM:<a@x>\r\nRCPT TO:<x@y>\r\nRCPT TO:<nel@x>\r\nDATA\r\n.\r\n")
        rejected = [line for line in lines if "reject" in line]
        self.assertEqual([line.split()[2] for line in rejected], ["RCPT", "END-OF-MESSAGE"], rejected)

    def test_later_stays_later(self) -> None:
        """Twisted's own server makes 550 of this 451."""
        delivery, client = self.connected()
        delivery.results = [None, fail(smtp.SMTPServerError(451, "The disk is full"))]
        client.say(MESSAGE)
        self.assertEqual(said(client)[-1], "451 4.0.0 The disk is full")

    def test_what_it_does_in_its_own_time_is_waited_for(self) -> None:
        delivery, client = self.connected()
        slow: Deferred[None] = Deferred()
        delivery.results = [slow]
        client.say(MESSAGE + b"QUIT\r\n")
        self.assertTrue(said(client)[-1].startswith("354"))
        slow.callback(None)
        self.assertEqual(said(client), ["250 2.0.0 Ok", "221 2.0.0 Bye"])

    def test_a_message_that_breaks_is_logged_and_told_as_451(self) -> None:
        delivery, client = self.connected()
        client.say(BEGIN + b"DATA\r\nboom\r\n.\r\n")
        self.assertTrue(said(client)[-1].startswith("451 4.3.0"))
        self.assertEqual([message.lost for message in delivery.messages], [True, True])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_a_client_that_leaves_is_told_to_the_messages(self) -> None:
        delivery, client = self.connected()
        client.say(BEGIN + b"DATA\r\nhalf")
        client.drop()
        self.assertEqual([message.lost for message in delivery.messages], [True, True])

    def test_a_factory_of_deliveries_makes_one_for_each_mail(self) -> None:
        door, factory = Door(), StockFactory()
        door.realm.make, door.realm.offers = lambda name: factory, IMessageDeliveryFactory
        client = door.connect()
        client.say(MESSAGE + MESSAGE[8:])
        self.assertEqual([len(delivery.messages) for delivery in factory.made], [2, 2])
