"""The header of the PROXY protocol: however it is cut, whatever stands behind it, and what Twisted's parser makes of the same."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable
from typing import Any

from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.protocols.haproxy._exceptions import InvalidProxyHeader
from twisted.protocols.haproxy._v1parser import V1Parser
from twisted.protocols.haproxy._v2parser import V2Parser
from twisted.trial.unittest import SynchronousTestCase

from lanmail.network import parse_ip
from lanmail.wire.proxy_header import LONGEST, LONGEST_LINE, Announced, Header, HeaderReader, NotAHeader

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
FOUR, SIX = ipaddress.ip_address("203.0.113.9"), ipaddress.ip_address("2001:db8::9")
OURS4, OURS6 = ipaddress.ip_address("192.168.1.1"), ipaddress.ip_address("fd00::1")
ANNOUNCED = Announced(FOUR, 5555, OURS4, 25)
LINE = b"PROXY TCP4 203.0.113.9 192.168.1.1 5555 25\r\n"


def binary(said: bytes, kind: int = 0x11, command: int = 0x21) -> bytes:
    return SIGNATURE + bytes((command, kind)) + len(said).to_bytes(2, "big") + said


ADDRESSES = FOUR.packed + OURS4.packed + (5555).to_bytes(2, "big") + (25).to_bytes(2, "big")
ADDRESSES6 = SIX.packed + OURS6.packed + (5555).to_bytes(2, "big") + (25).to_bytes(2, "big")
BINARY = binary(ADDRESSES)
# PP2_TYPE_SSL: the client spoke TLS and showed a certificate; PP2_TYPE_AUTHORITY; PP2_TYPE_CRC32C with a sum that is wrong.
TLVS = b"\x20\x00\x05\x07\0\0\0\0" + b"\x02\x00\x04mail" + b"\x03\x00\x04\0\0\0\0"


def read(octets: bytes) -> Header | None:
    return HeaderReader().feed(octets)


class LineTests(SynchronousTestCase):
    def test_both_ends_are_announced(self) -> None:
        self.assertEqual(read(LINE + b"EHLO x\r\n"), Header(ANNOUNCED, b"EHLO x\r\n"))
        self.assertEqual(
            read(b"PROXY TCP6 2001:db8::9 fd00::1 5555 25\r\n"), Header(Announced(SIX, 5555, OURS6, 25), b"")
        )

    def test_a_mapped_address_is_the_ipv4_address_it_stands_for(self) -> None:
        header = read(b"PROXY TCP6 ::ffff:203.0.113.9 ::ffff:192.168.1.1 5555 25\r\n")
        self.assertEqual(header, Header(ANNOUNCED, b""))

    def test_a_client_that_is_not_known_is_not_announced_whatever_else_is_said(self) -> None:
        for line in (b"PROXY UNKNOWN\r\n", b"PROXY UNKNOWN 127.0.0.1 127.0.0.1 1 1\r\n", b"PROXY UNKNOWN \r\n"):
            self.assertEqual(read(line + b"x"), Header(None, b"x"))

    def test_the_longest_line_is_taken_and_one_octet_more_is_not(self) -> None:
        longest = b"PROXY UNKNOWN ".ljust(LONGEST_LINE - 2, b"x") + b"\r\n"
        self.assertEqual(read(longest), Header(None, b""))
        for part in (longest[:-2] + b"x\r\n", longest[:-2] + b"xx", longest[:-2] + b"x\r"):
            with self.assertRaises(NotAHeader):
                read(part)

    def test_it_is_written_in_one_way_only(self) -> None:
        for line in (
            b"PROXY\r\n",
            b"PROXY \r\n",
            b"PROXY TCP4\r\n",
            b"PROXY TCP4 203.0.113.9 192.168.1.1 5555\r\n",
            b"PROXY TCP4 203.0.113.9 192.168.1.1 5555 25 \r\n",
            b"PROXY TCP4  203.0.113.9 192.168.1.1 5555 25\r\n",
            b"PROXY TCP4 203.0.113.9 192.168.1.1 05555 25\r\n",
            b"PROXY TCP4 203.0.113.9 192.168.1.1 65536 25\r\n",
            b"PROXY TCP4 203.0.113.9 192.168.1.1 -1 25\r\n",
            "PROXY TCP4 203.0.113.9 192.168.1.1 ٣ 25\r\n".encode(),
            b"PROXY TCP4 203.0.113.09 192.168.1.1 5555 25\r\n",
            b"PROXY TCP4 203.0.113 192.168.1.1 5555 25\r\n",
            b"PROXY TCP4 2001:db8::9 fd00::1 5555 25\r\n",
            b"PROXY TCP6 203.0.113.9 192.168.1.1 5555 25\r\n",
            b"PROXY TCP6 fe80::1%eth0 fd00::1 5555 25\r\n",
            b"PROXY TCP5 203.0.113.9 192.168.1.1 5555 25\r\n",
            b"PROXY UDP4 203.0.113.9 192.168.1.1 5555 25\r\n",
            b"proxy TCP4 203.0.113.9 192.168.1.1 5555 25\r\n",
            b"PROXY TCP4 203.0.113.9\n192.168.1.1 5555 25\r\n",
            b"PROXY TCP4 \xff 192.168.1.1 5555 25\r\n",
        ):
            with self.assertRaises(NotAHeader, msg=line):
                read(line)

    def test_a_bare_line_feed_does_not_end_it(self) -> None:
        self.assertIsNone(read(LINE.replace(b"\r\n", b"\n")))


class BinaryTests(SynchronousTestCase):
    def test_both_ends_are_announced(self) -> None:
        self.assertEqual(read(BINARY + b"EHLO x\r\n"), Header(ANNOUNCED, b"EHLO x\r\n"))
        self.assertEqual(read(binary(ADDRESSES6, 0x21)), Header(Announced(SIX, 5555, OURS6, 25), b""))

    def test_what_stands_behind_the_addresses_is_skipped(self) -> None:
        self.assertEqual(read(binary(ADDRESSES + TLVS) + b"x"), Header(ANNOUNCED, b"x"))
        self.assertEqual(read(binary(ADDRESSES + b"\x20\xff\xffx") + b"x"), Header(ANNOUNCED, b"x"))

    def test_a_mapped_address_is_the_ipv4_address_it_stands_for(self) -> None:
        mapped = [b"\0" * 10 + b"\xff\xff" + address.packed for address in (FOUR, OURS4)]
        self.assertEqual(read(binary(b"".join(mapped) + ADDRESSES[-4:], 0x21)), Header(ANNOUNCED, b""))

    def test_a_proxy_that_speaks_for_itself_announces_nobody(self) -> None:
        for said in (b"", ADDRESSES, TLVS):
            self.assertEqual(read(binary(said, command=0x20) + b"x"), Header(None, b"x"))
            self.assertEqual(read(binary(said, kind=0xFF, command=0x20)), Header(None, b""))

    def test_a_client_that_is_not_of_the_internet_is_not_announced(self) -> None:
        for kind in (0x00, 0x01, 0x10, 0x31):
            self.assertEqual(read(binary(ADDRESSES, kind) + b"x"), Header(None, b"x"), kind)

    def test_what_is_no_connection_is_no_client(self) -> None:
        for kind in (0x12, 0x22, 0x32, 0x41, 0xF1, 0x13):
            with self.assertRaises(NotAHeader, msg=kind):
                read(binary(ADDRESSES6, kind))

    def test_other_versions_and_commands_are_refused_at_their_octet(self) -> None:
        for command in (0x01, 0x11, 0x31, 0x22, 0x2F):
            with self.assertRaises(NotAHeader, msg=command):
                read(binary(ADDRESSES, command=command)[:16])

    def test_addresses_that_are_cut_short_are_none(self) -> None:
        for length in range(12):
            with self.assertRaises(NotAHeader):
                read(binary(ADDRESSES[:length]))
        with self.assertRaises(NotAHeader):
            read(binary(ADDRESSES, 0x21))

    def test_the_longest_is_taken_and_one_octet_more_is_not_waited_for(self) -> None:
        longest = binary(ADDRESSES.ljust(LONGEST - 16, b"\0"))
        self.assertEqual(read(longest + b"x"), Header(ANNOUNCED, b"x"))
        with self.assertRaises(NotAHeader):
            read(binary(ADDRESSES.ljust(LONGEST - 15, b"\0"))[:16])


class WhateverComesTests(SynchronousTestCase):
    def test_who_sends_anything_else_is_found_out_at_the_first_octet_that_differs(self) -> None:
        for begun, other in ((b"", b"E"), (b"PROX", b"X"), (b"\r\n\r\n\0", b"\r\nQUIt"), (b"\r", b"\r")):
            self.assertIsNone(read(begun))
            with self.assertRaises(NotAHeader):
                read(begun + other)

    @given(
        st.sampled_from([LINE, BINARY, binary(ADDRESSES + TLVS), b"PROXY UNKNOWN\r\n", binary(b"", 0, 0x20)]),
        st.lists(st.integers(0, 80), max_size=6),
        st.binary(max_size=20),
    )
    @settings(max_examples=150, deadline=None)
    def test_however_it_is_cut_it_says_the_same(self, header: bytes, cuts: list[int], rest: bytes) -> None:
        whole = header + rest
        expected = read(whole)
        reader, at, found = HeaderReader(), 0, None
        for cut in [*sorted(cuts), len(whole)]:
            found = reader.feed(whole[at:cut])
            at = max(at, cut)
            if found is not None:
                break
        assert found is not None and expected is not None
        self.assertEqual(found.announced, expected.announced)
        self.assertEqual(found.rest + whole[at:], rest)

    @given(st.one_of(st.binary(max_size=200), st.binary(max_size=60).map(SIGNATURE.__add__), st.binary().map(binary)))
    @settings(max_examples=300, deadline=None)
    def test_nothing_but_its_own_refusal_is_raised_and_nothing_grows_without_end(self, octets: bytes) -> None:
        try:
            header = read(octets)
        except NotAHeader:
            return
        if header is not None:
            self.assertTrue(octets.endswith(header.rest))
        else:
            self.assertLess(len(octets), LONGEST)


def twisted_reads(parser: Any, octets: bytes) -> tuple[object, bytes] | None:
    """What Twisted's own makes of it: (source, destination) or None, and the rest."""
    info, rest = parser.feed(octets)
    return None if info is None else ((info.source, info.destination), rest)


class TwistedsParserTests(SynchronousTestCase):
    """What we take, Twisted's parser takes and understands in the same way. (It takes more: it does not look at addresses.)"""

    def agree(self, parse: Callable[[], Any], octets: bytes) -> None:
        try:
            header = read(octets)
        except NotAHeader:
            return
        assume(header is not None)
        assert header is not None
        try:
            theirs = twisted_reads(parse(), octets)
        except InvalidProxyHeader as error:
            self.fail(f"{octets!r}: {error!r}")
        assert theirs is not None
        (source, destination), rest = theirs  # type: ignore[misc]
        self.assertEqual(header.rest, rest)
        if header.announced is None:
            self.assertFalse(isinstance(source, IPv4Address | IPv6Address))
            return
        self.assertEqual((parse_ip(source.host), source.port), (header.announced.source, header.announced.source_port))
        self.assertEqual(
            (parse_ip(destination.host), destination.port),
            (header.announced.destination, header.announced.destination_port),
        )

    @given(
        st.sampled_from(["TCP4", "TCP6", "UNKNOWN"]),
        st.one_of(st.ip_addresses().map(str), st.text("0123456789.:af", max_size=9)),
        st.one_of(st.ip_addresses().map(str), st.sampled_from(["::ffff:1.2.3.4", "127.0.0.1"])),
        st.one_of(st.integers(0, 70000).map(str), st.text("0123456789 +-", max_size=4)),
        st.sampled_from(["", " ", "\r", "\n"]),
        st.binary(max_size=12),
    )
    @settings(max_examples=300, deadline=None)
    @example("TCP4", "1.2.3.4", "5.6.7.8", "1", "", b"EHLO x\r\n")
    def test_lines(self, kind: str, source: str, destination: str, port: str, odd: str, rest: bytes) -> None:
        line = f"PROXY {kind} {source} {destination} {port} 25{odd}\r\n".encode()
        self.agree(V1Parser, line + rest)

    @given(
        st.sampled_from([0x20, 0x21, 0x21, 0x21, 0x11, 0x2F]),
        st.sampled_from([0x11, 0x21, 0x00, 0x01, 0x10]),
        st.binary(min_size=0, max_size=60),
        st.binary(max_size=12),
    )
    @settings(max_examples=300, deadline=None)
    @example(0x21, 0x11, ADDRESSES, b"")
    def test_binary_headers(self, command: int, kind: int, said: bytes, rest: bytes) -> None:
        self.agree(V2Parser, binary(said, kind, command) + rest)

    def test_the_examples_are_those_that_a_program_of_others_would_write(self) -> None:
        """Addresses in network order, as the C library makes them."""
        self.assertEqual(socket.inet_pton(socket.AF_INET, "203.0.113.9"), FOUR.packed)
        self.assertEqual(socket.inet_pton(socket.AF_INET6, "2001:db8::9"), SIX.packed)
