"""The header of the PROXY protocol, versions 1 and 2: who the client is that a proxy stands before.

https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt. Nothing but addresses is taken from it. That the proxy's client spoke
TLS (PP2_TYPE_SSL) counts for nothing here: what came to us from the proxy did so in clear.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

from lanmail.network import IPAddress, unmapped

# Section 2.1: with its line end, a line of version 1 has 107 octets at most.
LONGEST_LINE = 107
# Of version 2, with all that stands behind the addresses. 2^16 would be possible, and nobody sends more than some hundred.
LONGEST = 4096

_LINE = b"PROXY "
_SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
_FIXED = 16
_PORT = re.compile(rb"0|[1-9][0-9]{0,4}")
_VERSION_2 = 0x20
_LOCAL, _PROXY = 0, 1
_STREAM = 1
# The family: the octets of one address.
_ADDRESSES = {1: 4, 2: 16}
_UNSPECIFIED, _UNIX = 0, 3


class NotAHeader(ValueError):
    """What came is no such header. The text says why, in the middle of a sentence."""


@dataclass(frozen=True, slots=True)
class Announced:
    """The two ends of the connection between the client and the proxy."""

    source: IPAddress
    source_port: int
    destination: IPAddress
    destination_port: int


@dataclass(frozen=True, slots=True)
class Header:
    """announced: None where the proxy does not say (UNKNOWN, or a family that is not the Internet's), or speaks for itself (LOCAL,
    a check whether we are well). rest: what came behind the header.
    """

    announced: Announced | None
    rest: bytes


class HeaderReader:
    """Takes octets as they come, until the header is whole."""

    def __init__(self) -> None:
        self._octets = b""

    def feed(self, data: bytes) -> Header | None:
        """None: there must be more. Raises NotAHeader, as soon as that is certain."""
        self._octets += data
        octets = self._octets
        if octets.startswith(_SIGNATURE):
            return _binary(octets)
        if octets.startswith(_LINE):
            return _line(octets)
        if _SIGNATURE.startswith(octets) or _LINE.startswith(octets):
            return None
        raise NotAHeader("does not begin with the header of the PROXY protocol")


def _line(octets: bytes) -> Header | None:
    end = octets.find(b"\r\n", 0, LONGEST_LINE)
    if end < 0:
        if len(octets) >= LONGEST_LINE:
            raise NotAHeader("has a PROXY line that is too long")
        return None
    words, rest = octets[:end].split(b" "), octets[end + 2 :]
    if words[1] == b"UNKNOWN":
        return Header(None, rest)  # section 2.1: whatever stands behind it is to be ignored
    if len(words) != 6 or words[1] not in (b"TCP4", b"TCP6"):
        raise NotAHeader("has a PROXY line that makes no sense")
    ipv4 = words[1] == b"TCP4"
    source, destination = _address(words[2], ipv4=ipv4), _address(words[3], ipv4=ipv4)
    return Header(Announced(source, _port(words[4]), destination, _port(words[5])), rest)


def _address(word: bytes, *, ipv4: bool) -> IPAddress:
    try:
        text = word.decode("ascii")
        address = ipaddress.IPv4Address(text) if ipv4 else ipaddress.IPv6Address(text)
    except ValueError:
        raise NotAHeader("has a PROXY line with an address that is none") from None
    if "%" in text:  # an interface of the proxy's
        raise NotAHeader("has a PROXY line with an address that is none")
    return unmapped(address)


def _port(word: bytes) -> int:
    if not _PORT.fullmatch(word) or int(word) > 65535:
        raise NotAHeader("has a PROXY line with a port that is none")
    return int(word)


def _binary(octets: bytes) -> Header | None:
    if len(octets) < _FIXED:
        return None
    version, command = octets[12] & 0xF0, octets[12] & 0x0F
    if version != _VERSION_2 or command not in (_LOCAL, _PROXY):
        raise NotAHeader("has a PROXY header of another version, or with a command that is none")
    length = _FIXED + int.from_bytes(octets[14:16], "big")
    if length > LONGEST:
        raise NotAHeader("has a PROXY header that is too long")
    if len(octets) < length:
        return None
    announced = None if command == _LOCAL else _announced(octets[13], octets[_FIXED:length])
    return Header(announced, octets[length:])


def _announced(kind: int, said: bytes) -> Announced | None:
    """said: the addresses, and behind them what is skipped (TLVs, section 2.2)."""
    family, transport = kind >> 4, kind & 0x0F
    if family == _UNSPECIFIED or transport == 0 or (family == _UNIX and transport == _STREAM):
        return None
    if family not in _ADDRESSES or transport != _STREAM:
        raise NotAHeader("has a PROXY header for what is no connection")
    size = _ADDRESSES[family]
    if len(said) < 2 * size + 4:
        raise NotAHeader("has a PROXY header without all of its addresses")
    source, destination = (ipaddress.ip_address(said[at : at + size]) for at in (0, size))
    ports = said[2 * size :]
    return Announced(
        unmapped(source),
        int.from_bytes(ports[:2], "big"),
        unmapped(destination),
        int.from_bytes(ports[2:4], "big"),
    )
