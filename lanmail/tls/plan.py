"""What our certificate should name: every name and address that a client on this network may know us by."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass

from lanmail.network import IPAddress

# What mail programs try before the domain when they are told nothing but an address (Thunderbird's guesses, Outlook's, Apple's).
GUESSED = ("mail", "smtp", "pop", "pop3", "imap")
LOCALHOST = "localhost"


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
    host: str, domain: str, destinations: Iterable[str], addresses: Iterable[IPAddress], if_inet6: str = ""
) -> Plan:
    """The plan for a machine with these addresses.

    if_inet6: the text of /proc/net/if_inet6. Temporary addresses (RFC 8981) change every day and are nobody's to write into a mail
    program: a certificate with them would be made anew every day.
    """
    passing = _temporary(if_inet6)
    kept = {one for one in addresses if not (one.is_unspecified or one.is_multicast or one in passing)}
    names = (name.lower() for name in destinations)
    # A pattern of mydestination that begins with a dot is nobody's name.
    return Plan(
        host.lower(),
        domain.lower(),
        tuple(name for name in names if not name.startswith(".")),
        tuple(sorted(kept, key=lambda one: (one.version, int(one)))),
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
