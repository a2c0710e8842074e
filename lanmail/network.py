"""Where a client is: its address, ours, and whether a list of networks contains it."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from functools import lru_cache

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
IPNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network

# Only the address of an IPv6 network may stand in brackets, not its length.
_NETWORK = re.compile(
    r"(?P<plain>[0-9A-Fa-f.:]+(?:/[0-9]+)?)|\[(?P<bracketed>[0-9A-Fa-f.:]+)\](?P<length>(?:/[0-9]+)?)"
)


@lru_cache(maxsize=1024)
def parse_ip(text: str) -> IPAddress | None:
    """An address as the kernel writes it, a v4-mapped one (``::ffff:192.168.1.5``) as the IPv4 address it is."""
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return unmapped(address)


def unmapped(address: IPAddress) -> IPAddress:
    """The IPv4 address that an IPv6 one stands for (RFC 4291, 2.5.5.2); any other as it is.

    A socket for both (``tcp6`` endpoints, systemd's) has IPv4 clients in that form: each must be one client, by one name.
    """
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


def parse_network(text: str) -> IPNetwork:
    """A network as Postfix writes it: ``192.168.1.0/24``, ``[fd00::]/8``, or one address.

    A v4-mapped one (Debian's ``[::ffff:127.0.0.0]/104``) is the IPv4 network that it stands for: that is how clients are
    named here. ValueError, with a sentence, for anything else.
    """
    match = _NETWORK.fullmatch(text)
    try:
        if match is None:
            raise ValueError
        lax = ipaddress.ip_network(match["plain"] or match["bracketed"] + match["length"], strict=False)
    except ValueError:
        raise ValueError(f"{text} is not a network, such as 192.168.1.0/24 or [fd00::]/8") from None
    address = ipaddress.ip_address((match["plain"] or match["bracketed"]).partition("/")[0])
    if address != lax.network_address:
        written = f"[{lax.network_address}]/{lax.prefixlen}" if lax.version == 6 else str(lax)
        raise ValueError(f"{text} has bits set behind its netmask; perhaps you mean {written}")
    if isinstance(lax, ipaddress.IPv6Network) and lax.network_address.ipv4_mapped and lax.prefixlen >= 96:
        return ipaddress.IPv4Network((int(lax.network_address.ipv4_mapped), lax.prefixlen - 96))
    return lax


# The host of a client behind a proxy that does not say who it is: an address that nobody has, and with which nobody is trusted.
NOBODY_KNOWS = "0.0.0.0"  # noqa: S104


@dataclass(frozen=True, slots=True)
class Peer:
    """One connection's two ends. ``host`` is an address in its plain form, however it was written; empty for a UNIX socket."""

    host: str
    port: int = 0
    local_host: str = ""
    local_port: int = 0
    tls: bool = False
    submission: bool = False  # it came to a port where people hand in what they wrote (RFC 6409)

    def __post_init__(self) -> None:
        # Here, and not where peers are made: what is left out in one place would be a client that no list of networks knows.
        for end in ("host", "local_host"):
            address = parse_ip(getattr(self, end))
            if address is not None:
                object.__setattr__(self, end, str(address))

    @property
    def is_local(self) -> bool:
        """The client runs on this very machine: nobody on the network can listen. A UNIX socket's does."""
        address = parse_ip(self.host)
        return self.host == "" if address is None else address.is_loopback

    @property
    def block(self) -> str:
        """The addresses that one client has to choose from: the address itself; of IPv6, its /64."""
        if ":" not in self.host:
            return self.host
        return str(ipaddress.ip_network((self.host.partition("%")[0], 64), strict=False))

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
        """From the texts of networks, each perhaps after a ``!``.

        ValueError, with a sentence for the administrator, for one with host bits or for what is no network at all.
        """
        return cls(tuple(cls._rule(text) for text in networks))

    @staticmethod
    def _rule(text: str) -> tuple[bool, IPNetwork]:
        bare = text.lstrip("!")
        return (len(text) - len(bare)) % 2 == 0, parse_network(bare)

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
