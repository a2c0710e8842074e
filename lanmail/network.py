"""Where a client is: its address, ours, and whether a list of networks contains it."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
IPNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network


def parse_ip(text: str) -> IPAddress | None:
    """An address as the kernel writes it, a v4-mapped one (``::ffff:192.168.1.5``) as the IPv4 address it is."""
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    mapped = getattr(address, "ipv4_mapped", None)
    return mapped or address


@dataclass(frozen=True, slots=True)
class Peer:
    """One connection's two ends. ``host`` is an address in its plain form; empty for a UNIX socket."""

    host: str
    port: int = 0
    local_host: str = ""
    local_port: int = 0
    tls: bool = False

    @property
    def literal(self) -> str:
        """As RFC 5321 writes it in a Received header: ``[192.168.1.5]``, ``[IPv6:fd00::5]``."""
        return f"[IPv6:{self.host}]" if ":" in self.host else f"[{self.host or 'local'}]"


@dataclass(frozen=True, slots=True)
class Networks:
    """A list of networks, read from left to right; the first that contains the address decides, ``!`` turns it round.

    (mynetworks and every list like it; postconf(5).)
    """

    rules: tuple[tuple[bool, IPNetwork], ...] = ()

    @classmethod
    def of(cls, *networks: str) -> Networks:
        """From the texts of networks, each perhaps after a ``!``. ValueError for one with host bits, or no network at all."""
        return cls(tuple(cls._rule(text) for text in networks))

    @staticmethod
    def _rule(text: str) -> tuple[bool, IPNetwork]:
        bare = text.lstrip("!")
        # Postfix writes IPv6 as [fd00::]/8.
        network = ipaddress.ip_network(bare.replace("[", "").replace("]", ""), strict=True)
        return (len(text) - len(bare)) % 2 == 0, network

    def __contains__(self, host: object) -> bool:
        address = parse_ip(str(host))
        if address is None:
            return False
        for verdict, network in self.rules:
            if address.version == network.version and address in network:
                return verdict
        return False

    def __str__(self) -> str:
        return " ".join(("" if verdict else "!") + str(network) for verdict, network in self.rules)
