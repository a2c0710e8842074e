"""What our certificate should name: every name and address that a client on this network may know us by."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice

from lanmail.network import IPAddress, parse_ip

# What mail programs try before the domain when they are told nothing but an address (Thunderbird's guesses, Outlook's, Apple's).
GUESSED = ("mail", "smtp", "pop", "pop3", "imap")
LOCALHOST = "localhost"
# Every client is sent every address of the certificate, and has every domain in the authority's: more is a mistake, and no network.
MOST_ADDRESSES = 200
MOST_DOMAINS = 200


@dataclass(frozen=True, slots=True)
class Plan:
    """Who we are to clients.

    host: myhostname, which the certificate is called by. domain: mydomain. destinations: the names of mydestination.
    addresses: those that we listen on, each once.
    """

    host: str
    domain: str
    destinations: tuple[str, ...]
    addresses: tuple[IPAddress, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """Every name that a client will try, ours first."""
        guessed = (f"{first}.{self.domain}" for first in GUESSED)
        return tuple(dict.fromkeys((self.host, self.domain, *guessed, LOCALHOST)))

    @property
    def domains(self) -> tuple[str, ...]:
        """What an authority that is made now may speak for: each of these, and what lies below it.

        The name of this machine is one of them: it may stand outside of its domain.
        """
        wanted = dict.fromkeys((self.domain, *self.destinations, LOCALHOST, self.host))
        return tuple(name for name in wanted if not any(_below(name, other) for other in wanted))


def plan_for(
    host: str,
    domain: str,
    destinations: Iterable[str],
    listening: Iterable[str],
    interfaces: Iterable[IPAddress] = (),
    if_inet6: str = "",
) -> Plan:
    """The plan for a machine that listens on these addresses.

    listening: as text; ``0.0.0.0`` and ``::`` stand for every address of interfaces. if_inet6: the text of /proc/net/if_inet6. Temporary
    addresses (RFC 8981) change every day and are nobody's to write into a mail program: a certificate with them would be made anew
    every day.
    """
    passing = _temporary(if_inet6)
    chosen = {address for text in listening if (address := parse_ip(text))}
    versions = {one.version for one in chosen if one.is_unspecified}
    chosen |= {one for one in interfaces if one.version in versions and one not in passing}
    kept = (one for one in chosen if not (one.is_unspecified or one.is_multicast))
    names = (name.lower() for name in destinations)
    return Plan(
        host.lower(),
        domain.lower(),
        # A pattern of mydestination that begins with a dot is nobody's name.
        tuple(islice((name for name in names if not name.startswith(".")), MOST_DOMAINS)),
        tuple(sorted(kept, key=lambda one: (one.version, int(one)))[:MOST_ADDRESSES]),
    )


def _below(name: str, other: str) -> bool:
    return name.endswith("." + other)


_TEMPORARY = 0x01  # IFA_F_TEMPORARY, linux/if_addr.h


def _temporary(if_inet6: str) -> frozenset[IPAddress]:
    """Each line: the address in 32 hexadecimal digits, then index, length, scope and flags in hexadecimal, then the interface's name."""
    found = set()
    for line in if_inet6.splitlines():
        words = line.split()
        try:
            if int(words[4], 16) & _TEMPORARY:
                found.add(ipaddress.IPv6Address(int(words[0], 16)))
        except (IndexError, ValueError):  # another kernel's form: then nothing is known of it
            continue
    return frozenset(found)
