"""Clients behind a proxy: nothing is said to them, and nothing of theirs understood, before it is known who they are."""

from __future__ import annotations

import socket

from twisted.trial.unittest import SynchronousTestCase

from lanmail.proxied import HEADER_TIME, ProxiedFactory
from tests.dialogue import MemoryTransport
from tests.smtp.fakes import Door, said

HEADER = b"PROXY TCP4 203.0.113.9 192.168.1.1 5555 25\r\n"


class ProxiedTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.door = Door()
        self.transport = MemoryTransport(self.door.clock, "127.0.0.1", "192.168.1.1")
        factory = ProxiedFactory(self.door.factory, self.door.clock)
        self.transport.connect(factory.buildProtocol(self.transport.getPeer()))

    def test_the_greeting_waits_for_the_header(self) -> None:
        self.assertEqual(said(self.transport), [])
        self.assertEqual(self.door.capacity.taken, 0)
        self.transport.say(HEADER[:20])
        self.assertEqual(said(self.transport), [])
        self.transport.say(HEADER[20:])
        self.assertTrue(said(self.transport)[0].startswith("220 "))
        self.transport.drop()
        self.assertEqual(self.door.clock.getDelayedCalls(), [])

    def test_the_client_is_who_the_header_names(self) -> None:
        self.transport.say(HEADER + b"EHLO c\r\nMAIL FROM:<>\r\nRCPT TO:<nel>\r\n")
        self.assertEqual(said(self.transport)[-1], "250 2.1.5 Ok")
        self.assertEqual(self.door.avatar.peer.host, "203.0.113.9")
        self.assertEqual(len(self.door.factory.connections), 1)
        self.transport.drop()
        self.assertEqual((self.door.capacity.taken, len(self.door.factory.connections)), (0, 0))

    def test_the_binary_header_is_understood_too(self) -> None:
        addresses = socket.inet_aton("203.0.113.9") + socket.inet_aton("192.168.1.1") + b"\x15\xb3\x00\x19"
        self.transport.say(b"\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c" + addresses)
        self.assertTrue(said(self.transport)[0].startswith("220 "))
        self.transport.say(b"MAIL FROM:<>\r\n")
        self.assertEqual(self.door.avatar.peer.host, "203.0.113.9")

    def test_who_begins_without_a_header_hears_nothing(self) -> None:
        self.transport.say(b"EHLO somebody.example\r\n")
        self.assertTrue(self.transport.disconnecting)
        self.assertEqual(said(self.transport), [])

    def test_who_sends_nothing_is_dropped(self) -> None:
        self.door.clock.advance(HEADER_TIME)
        self.assertTrue(self.transport.aborted)
        self.door.clock.advance(0)
        self.assertEqual(self.door.clock.getDelayedCalls(), [])
