"""Who takes the next clients, where several wait for them: real sockets, and a reactor of each test's own."""

from __future__ import annotations

import contextlib
import socket
import time

from twisted.internet.epollreactor import EPollReactor
from twisted.internet.error import ConnectionDone
from twisted.internet.protocol import Factory, Protocol
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from lanmail.sharing import MOMENT, PART, Shared


class SharingTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.reactor = EPollReactor()
        self.ahead = 0
        self.port = self.reactor.listenTCP(0, Factory.forProtocol(Protocol), interface="127.0.0.1")
        Shared(self.port, self.reactor, lambda: self.ahead)
        self.stack = contextlib.ExitStack()
        self.addCleanup(self.end)

    def end(self) -> None:
        self.stack.close()
        for reader in self.reactor.removeAll():
            reader.connectionLost(Failure(ConnectionDone()))
        self.reactor._poller.close()

    def call(self, clients: int) -> None:
        """So many come at once, and stay."""
        for _ in range(clients):
            self.stack.enter_context(socket.create_connection(("127.0.0.1", self.port.getHost().port)))

    def turn(self, seconds: float = 0.0) -> int:
        """One of the event loop, that waits so long: how many clients have been taken by now, all together."""
        self.reactor.runUntilCurrent()
        self.reactor.doPoll(seconds)
        return int(self.port.sessionno)

    def test_a_part_of_those_that_are_there_in_each_turn(self) -> None:
        self.call(2 * PART + 1)
        self.assertEqual([self.turn(1.0) for _ in range(3)], [PART, 2 * PART, 2 * PART + 1])

    def test_who_has_more_leaves_the_next_to_the_others_for_a_moment_and_no_longer(self) -> None:
        self.call(2 * PART)
        self.ahead = PART
        self.assertEqual(self.turn(1.0), 0)
        self.assertEqual(self.turn(), 0)
        time.sleep(MOMENT)
        self.assertEqual(self.turn(1.0), PART)
        # And again.
        self.assertEqual(self.turn(1.0), PART)
        time.sleep(MOMENT)
        self.assertEqual(self.turn(1.0), 2 * PART)

    def test_a_few_more_are_no_matter(self) -> None:
        self.ahead = PART - 1
        self.call(1)
        self.assertEqual(self.turn(1.0), 1)

    def test_what_was_left_is_not_taken_once_nobody_listens_any_more(self) -> None:
        self.call(1)
        self.ahead = PART
        self.assertEqual(self.turn(1.0), 0)
        self.port.stopListening()
        time.sleep(MOMENT)
        self.assertEqual([self.turn() for _ in range(3)], [0, 0, 0])
        self.assertFalse(self.port.connected)
        self.assertEqual([reader for reader in self.reactor.getReaders() if isinstance(reader, Shared)], [])
