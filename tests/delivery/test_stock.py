"""Twisted's own ESMTP before our avatar: what the interface promises, it keeps."""

from __future__ import annotations

from twisted.internet.error import ConnectionLost
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from lanmail.twisted_mail import smtp
from tests.delivery.house import House


class StockTests(SynchronousTestCase):
    def talk(self, house: House, *lines: bytes) -> list[bytes]:
        server = smtp.ESMTP()
        server.delivery = house.reception(None)
        server.timeout = None
        transport = StringTransport()
        server.makeConnection(transport)
        for line in lines:
            server.dataReceived(line + b"\r\n")
        return [line[:3] for line in transport.value().split(b"\r\n") if line[3:4] == b" "]

    def test_a_message_for_two_is_delivered_once_to_each(self) -> None:
        house = House(self.mktemp(), "ann", "bob")
        self.addCleanup(house.close)
        codes = self.talk(
            house,
            b"EHLO pc",
            b"MAIL FROM:<julien@lan.example>",
            b"RCPT TO:<ann@lan.example>",
            b"RCPT TO:<bob@lan.example>",
            b"DATA",
            b"Subject: x",
            b"",
            b"..dot",
            b".",
        )
        self.assertEqual(codes, [b"220", b"250", b"250", b"250", b"250", b"354", b"250"])
        for name in ("ann", "bob"):
            self.assertEqual(house.contents(name).count(b"From julien@lan.example"), 1)
            self.assertTrue(house.contents(name).endswith(b"\nSubject: x\n\n.dot\n\n"))

    def test_refusals_come_through_with_their_codes(self) -> None:
        house = House(self.mktemp(), "ann")
        self.addCleanup(house.close)
        codes = self.talk(
            house, b"EHLO pc", b"MAIL FROM:<>", b"RCPT TO:<nobody@lan.example>", b"RCPT TO:<ann@elsewhere.example>"
        )
        self.assertEqual(codes, [b"220", b"250", b"250", b"550", b"550"])

    def test_a_connection_that_breaks_leaves_nothing(self) -> None:
        house = House(self.mktemp(), "ann")
        self.addCleanup(house.close)
        server = smtp.ESMTP()
        server.delivery = house.reception(None)
        server.timeout = None
        server.makeConnection(StringTransport())
        for line in (b"EHLO pc", b"MAIL FROM:<>", b"RCPT TO:<ann@lan.example>", b"DATA", b"x"):
            server.dataReceived(line + b"\r\n")
        server.connectionLost(Failure(ConnectionLost()))
        self.assertEqual((house.contents("ann"), house.leftovers()), (b"", []))
