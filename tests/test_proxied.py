"""Clients behind a proxy: nothing is said to them, and nothing of theirs understood, before it is known who they are."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

from twisted.internet import reactor
from twisted.internet.address import IPv6Address
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.trial.unittest import SynchronousTestCase, TestCase

from lanmail.maillog import mail_events
from lanmail.manners import Manners
from lanmail.network import NOBODY_KNOWS, Networks
from lanmail.proxied import WAITING, ProxiedFactory
from tests.dialogue import MemoryTransport, TcpWire
from tests.smtp.fakes import Door, said

HEADER = b"PROXY TCP4 203.0.113.9 192.168.1.1 5555 25\r\n"
PROXY = "192.168.1.9"
PATIENCE = 5.0
SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"


def binary(source: str, destination: str = "192.168.1.1", command: int = 0x21, behind: bytes = b"") -> bytes:
    family = socket.AF_INET6 if ":" in source else socket.AF_INET
    ends = b"".join(socket.inet_pton(family, end) for end in (source, destination)) + b"\x15\xb3\x00\x19" + behind
    return SIGNATURE + bytes((command, 0x21 if ":" in source else 0x11)) + len(ends).to_bytes(2, "big") + ends


class BehindProxies(SynchronousTestCase):
    def setUp(self) -> None:
        self.door = Door()
        self.factory = ProxiedFactory(
            self.door.factory, self.door.clock, Networks.of("192.168.1.9", "127.0.0.0/8"), patience=PATIENCE
        )
        self.told: list[str] = []
        note: Callable[[Any], None] = lambda event: self.told.append(str(event.get("why", event.get("client"))))  # noqa: E731
        mail_events.addObserver(note)
        self.addCleanup(mail_events.removeObserver, note)

    def come(self, host: str = PROXY, factory: ProxiedFactory | None = None) -> MemoryTransport:
        transport = MemoryTransport(self.door.clock, host, "192.168.1.1")
        protocol = (factory or self.factory).buildProtocol(transport.getPeer())
        if protocol is None:
            transport.gone = True  # Twisted closes the connection
        else:
            transport.connect(protocol)
        return transport

    def peer_of(self, transport: MemoryTransport) -> Any:
        transport.say(b"MAIL FROM:<>\r\n")
        return self.door.avatar.peer


class HeaderTests(BehindProxies):
    def test_the_greeting_waits_for_the_header(self) -> None:
        for header in (HEADER, binary("203.0.113.9"), binary("203.0.113.9", behind=b"\x20\x00\x01\x07")):
            transport = self.come()
            for octet in header[:-1]:
                transport.say(bytes((octet,)))
            self.assertEqual(said(transport), [])
            self.assertEqual(self.door.capacity.taken, 0)
            transport.say(header[-1:])
            self.assertTrue(said(transport)[0].startswith("220 "))
            self.assertEqual(self.door.capacity.taken, 1)
            transport.drop()
            self.assertEqual((self.door.clock.getDelayedCalls(), self.door.capacity.taken), ([], 0))

    def test_the_client_is_who_the_header_names(self) -> None:
        for header in (HEADER, binary("203.0.113.9")):
            transport = self.come()
            transport.say(header + b"EHLO c\r\nMAIL FROM:<>\r\nRCPT TO:<nel>\r\n")
            self.assertEqual(said(transport)[-1], "250 2.1.5 Ok")
            peer = self.door.avatar.peer
            self.assertEqual(
                (peer.host, peer.port, peer.local_host, peer.local_port), ("203.0.113.9", 5555, "192.168.1.1", 25)
            )
            self.assertEqual(len(self.door.factory.connections), 1)
            transport.drop()
            self.assertEqual((self.door.capacity.taken, len(self.door.factory.connections)), (0, 0))

    def test_an_announced_ipv6_address_is_one_and_a_mapped_one_is_ipv4(self) -> None:
        for source, host in (("2001:db8::9", "2001:db8::9"), ("::ffff:203.0.113.9", "203.0.113.9")):
            for header in (binary(source, "fd00::1"), f"PROXY TCP6 {source} fd00::1 5555 25\r\n".encode()):
                transport = self.come()
                transport.say(header)
                self.assertEqual(self.peer_of(transport).host, host)

    def test_a_proxy_that_comes_by_a_mapped_address_is_one_too(self) -> None:
        transport = MemoryTransport(self.door.clock, "::ffff:192.168.1.9", "::ffff:192.168.1.1")
        transport.getPeer = lambda: IPv6Address("TCP", "::ffff:192.168.1.9", 40000)  # type: ignore[method-assign]
        transport.connect(self.factory.buildProtocol(transport.getPeer()))
        self.assertEqual(said(transport), [])
        transport.say(HEADER)
        self.assertEqual(self.peer_of(transport).host, "203.0.113.9")

    def test_who_is_no_proxy_is_served_at_once_and_a_header_is_just_a_bad_command(self) -> None:
        transport = self.come("192.168.1.5")
        self.assertTrue(said(transport)[0].startswith("220 "))
        transport.say(b"PROXY TCP4 127.0.0.1 192.168.1.1 5555 25\r\n")
        self.assertEqual(said(transport), ["502 5.5.2 Error: command not recognized"])
        self.assertEqual(self.peer_of(transport).host, "192.168.1.5")
        said(transport)
        # Its authors put a QUIT into the header of version 2, so that who does not know it ends there.
        transport.say(binary("127.0.0.1"))
        self.assertEqual([line[:3] for line in said(transport)], ["500", "500", "221"])

    def test_a_second_header_is_just_a_bad_command(self) -> None:
        transport = self.come()
        transport.say(HEADER)
        said(transport)
        transport.say(b"PROXY TCP4 127.0.0.1 192.168.1.1 5555 25\r\n")
        self.assertEqual(said(transport), ["502 5.5.2 Error: command not recognized"])
        self.assertEqual(self.peer_of(transport).host, "203.0.113.9")


class NobodyKnowsTests(BehindProxies):
    """Where the proxy does not say who the client is, it is a stranger, however much the proxy is trusted: never the proxy."""

    def test_a_check_of_the_proxys_own_and_a_client_it_does_not_know_are_served_as_strangers(self) -> None:
        for header in (
            b"PROXY UNKNOWN\r\n",
            b"PROXY UNKNOWN 127.0.0.1 127.0.0.1 1 2\r\n",
            binary("127.0.0.1", "127.0.0.1", command=0x20),
            SIGNATURE + b"\x20\x00\x00\x00",
            SIGNATURE + b"\x21\x00\x00\x00",
        ):
            for proxy in (PROXY, "127.0.0.1"):
                transport = self.come(proxy)
                transport.say(header)
                self.assertTrue(said(transport)[0].startswith("220 "), header)
                peer = self.peer_of(transport)
                self.assertEqual((peer.host, peer.is_local), (NOBODY_KNOWS, False))
                transport.say(b"QUIT\r\n")
                self.assertTrue(said(transport)[-1].startswith("221 "))

    def test_the_loopback_of_another_machine_is_not_ours(self) -> None:
        for source in ("127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"):
            header = binary(source, "::1" if ":" in source else "127.0.0.1")
            for proxy, local in ((PROXY, False), ("127.0.0.1", True)):
                transport = self.come(proxy)
                transport.say(header)
                self.assertEqual(self.peer_of(transport).is_local, local, (source, proxy))

    def test_passwords_in_clear_and_trust_go_by_the_announced_address(self) -> None:
        manners = Manners(
            offered=True,
            level="may",
            auth_only=False,
            plaintext_networks=Networks.of("203.0.113.9", PROXY),
            is_device=lambda host: False,
        )
        self.door.factory.terms = manners.smtp
        for header, login in (
            (HEADER, True),
            (binary("203.0.113.10"), False),
            (binary("127.0.0.1"), False),
            (b"PROXY UNKNOWN\r\n", False),
        ):
            transport = self.come()
            transport.say(header + b"EHLO c\r\n")
            self.assertEqual("250-AUTH PLAIN LOGIN" in said(transport), login, header)


class RefusalTests(BehindProxies):
    def test_a_proxy_that_begins_without_a_header_hears_nothing_and_the_log_says_why(self) -> None:
        for begin, why in (
            (b"EHLO somebody.example\r\n", "does not begin with the header of the PROXY protocol"),
            (b"PROXY TCP4 203.0.113.9\r\n", "has a PROXY line that makes no sense"),
            (SIGNATURE + b"\x11\x11\x00\x0c", "has a PROXY header of another version, or with a command that is none"),
        ):
            transport = self.come()
            transport.say(begin)
            self.assertTrue(transport.aborted)
            transport.say(b"QUIT\r\n")
            self.assertEqual(said(transport), [])
            self.door.clock.advance(0)
            self.assertEqual((self.told.pop(), self.factory.waiting), (why, 0))
            self.assertEqual(self.door.clock.getDelayedCalls(), [])

    def test_a_header_that_is_not_whole_in_time_is_not_waited_for(self) -> None:
        for begin in (b"", HEADER[:-1], SIGNATURE):
            transport = self.come()
            for octet in begin:
                transport.say(bytes((octet,)))
                self.door.clock.advance(PATIENCE / 100)
            self.door.clock.advance(PATIENCE * (1 - len(begin) / 100) - 0.01)
            self.assertFalse(transport.aborted)
            self.door.clock.advance(0.02)
            self.assertTrue(transport.aborted)
            self.door.clock.advance(0)
            self.assertEqual(self.door.clock.getDelayedCalls(), [])
            self.assertEqual((self.told.pop(), self.factory.waiting), ("has sent no whole PROXY header within 5 s", 0))

    def test_a_header_in_the_last_moment_is_one(self) -> None:
        transport = self.come()
        self.door.clock.advance(PATIENCE - 0.01)
        transport.say(HEADER)
        self.door.clock.advance(PATIENCE)
        self.assertFalse(transport.aborted)

    def test_no_more_than_so_many_are_waited_for_at_once(self) -> None:
        waiting = [self.come() for _ in range(WAITING)]
        self.assertFalse(any(transport.aborted for transport in waiting))
        self.assertTrue(self.come().aborted)
        self.door.clock.advance(0)
        waiting[0].drop()
        again = self.come()
        self.assertFalse(again.aborted)
        again.say(HEADER)
        self.assertFalse(self.come().aborted)
        self.assertTrue(self.come().aborted)

    def test_who_leaves_before_the_header_leaves_nothing(self) -> None:
        transport = self.come()
        transport.say(HEADER[:10])
        transport.drop()
        self.assertEqual((self.door.clock.getDelayedCalls(), self.factory.waiting), ([], 0))
        self.assertEqual(self.factory.protocols, {})


class EndpointTests(BehindProxies):
    """``haproxy:`` before an endpoint: only proxies come there."""

    def setUp(self) -> None:
        super().setUp()
        self.only = ProxiedFactory(self.door.factory, self.door.clock, Networks.of(PROXY), only=True)

    def test_a_proxy_is_believed_and_anybody_else_is_not_let_in(self) -> None:
        transport = self.come(PROXY, self.only)
        transport.say(HEADER)
        self.assertEqual(self.peer_of(transport).host, "203.0.113.9")
        self.assertTrue(self.come("192.168.1.5", self.only).gone)
        self.assertEqual(self.told.pop(), "192.168.1.5")

    def test_whoever_may_open_its_unix_socket_is_a_proxy(self) -> None:
        transport = self.come("", self.only)
        self.assertEqual(said(transport), [])
        transport.say(binary("127.0.0.1"))
        self.assertEqual(self.peer_of(transport).host, "127.0.0.1")


class OverTcpTests(TestCase):
    async def test_a_client_that_closes_its_half_is_answered_through_the_proxy_too(self) -> None:
        door = Door(clock=reactor)
        factory = ProxiedFactory(door.factory, reactor, Networks.of("127.0.0.1"))  # type: ignore[arg-type]
        port = reactor.listenTCP(0, factory, interface="127.0.0.1")  # type: ignore[attr-defined]
        self.addCleanup(port.stopListening)
        for begin, expected in (
            (HEADER + b"HELO c\r\nNOOP\r\n", ["220", "250", "250", ""]),
            (b"", [""]),
            (HEADER[:10], [""]),
        ):
            wire = TcpWire(reactor)
            await connectProtocol(TCP4ClientEndpoint(reactor, "127.0.0.1", port.getHost().port), wire)
            wire.send(begin)
            wire.transport.loseWriteConnection()
            self.assertEqual([(await wire.line() or b"")[:3].decode() for _ in expected], expected)
            await wire.hang_up()
        await self._quiet(door)

    async def _quiet(self, door: Door) -> None:
        """Until the server has noticed that its clients are gone."""
        while door.capacity.taken:
            turn: Deferred[None] = Deferred()
            reactor.callLater(0.01, turn.callback, None)  # type: ignore[attr-defined]
            await turn
