"""Twin of lanmail/sending.py: over a real socket."""

from __future__ import annotations

from typing import Any

from twisted.internet import reactor as global_reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP4ServerEndpoint, connectProtocol
from twisted.internet.error import ConnectionDone
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import deferLater
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import TestCase

from lanmail.sending import hang_up, send

reactor: Any = global_reactor
LARGE = 3 << 20


class Hearing(Protocol):
    def __init__(self) -> None:
        self.heard = bytearray()
        self.over: Deferred[bytes] = Deferred()

    def dataReceived(self, data: bytes) -> None:
        self.heard += data

    def connectionLost(self, reason: object = None) -> None:
        self.over.callback(bytes(self.heard))


class Saying(Protocol):
    def connectionMade(self) -> None:
        assert isinstance(self.factory, Factory)
        self.factory.made.callback(self)  # type: ignore[attr-defined]


class SendTests(TestCase):
    async def connect(self) -> tuple[Any, Hearing]:
        factory: Any = Factory.forProtocol(Saying)
        factory.made = Deferred()
        port = await TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1").listen(factory)
        self.addCleanup(port.stopListening)
        hearing = await connectProtocol(TCP4ClientEndpoint(reactor, "127.0.0.1", port.getHost().port), Hearing())
        return await factory.made, hearing

    async def test_a_line_is_gone_before_the_reactor_comes_by(self) -> None:
        saying, hearing = await self.connect()
        send(saying.transport, b"250 Ok\r\n")
        self.assertNotIn(saying.transport, reactor.getWriters())
        saying.transport.loseConnection()
        self.assertEqual(await hearing.over, b"250 Ok\r\n")

    async def test_what_the_kernel_does_not_take_follows_in_order(self) -> None:
        saying, hearing = await self.connect()
        pieces = [bytes([n]) * LARGE for n in range(3)]
        for piece in pieces:
            send(saying.transport, piece)
        self.assertIn(saying.transport, reactor.getWriters())
        send(saying.transport, b"end")
        saying.transport.loseConnection()
        self.assertEqual(await hearing.over, b"".join(pieces) + b"end")

    async def test_a_connection_behind_which_nothing_waits_is_over_in_the_next_turn(self) -> None:
        saying, hearing = await self.connect()
        ends: list[Any] = []
        saying.connectionLost = ends.append
        send(saying.transport, b"221 Bye\r\n")
        self.assertTrue(hang_up(saying.transport))
        self.assertEqual(ends, [])
        saying.transport.loseConnection()
        self.assertFalse(hang_up(saying.transport))
        self.assertNotIn(saying.transport, [*reactor.getReaders(), *reactor.getWriters()])
        self.assertEqual(await hearing.over, b"221 Bye\r\n")
        self.assertEqual([type(end.value) for end in ends], [ConnectionDone])

    async def test_who_is_cut_off_meanwhile_ends_once(self) -> None:
        saying, hearing = await self.connect()
        ends: list[Any] = []
        saying.connectionLost = ends.append
        self.assertTrue(hang_up(saying.transport))
        saying.transport.abortConnection()
        await hearing.over
        await deferLater(reactor, 0)
        self.assertEqual(len(ends), 1)

    async def test_one_with_something_to_send_is_left_to_twisted(self) -> None:
        saying, hearing = await self.connect()
        send(saying.transport, bytes(LARGE))
        self.assertFalse(hang_up(saying.transport))
        saying.transport.loseConnection()
        self.assertEqual(len(await hearing.over), LARGE)
        self.assertFalse(hang_up(StringTransport()))

    async def test_to_one_that_has_gone_nothing_is_sent_and_nothing_raised(self) -> None:
        saying, hearing = await self.connect()
        saying.transport.abortConnection()
        await hearing.over
        send(saying.transport, b"250 Ok\r\n")

    def test_any_other_transport_writes_as_it_does(self) -> None:
        transport = StringTransport()
        send(transport, b"220 here\r\n")
        self.assertEqual(transport.value(), b"220 here\r\n")
