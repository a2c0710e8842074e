"""The kinds of values that name hosts, domains and networks, and where to listen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from lanmail.config import lists
from lanmail.config.kinds import Context, Kind
from lanmail.config.machine import Interface
from lanmail.config.problems import BadValue
from lanmail.config.syntax import SPACE, decoded, words
from lanmail.network import IPAddress, Networks, parse_ip

# Every address of a family; a machine without IPv6 has no address of it at all, and would not let us bind ::.
EVERYWHERE = (("0.0.0.0", 4), ("::", 6))  # noqa: S104


def _host(text: str, _: Context) -> str:
    try:
        name = "" if parse_ip(text) else lists.domain(text)
    except ValueError:
        name = ""
    if not name:
        raise BadValue(f"{text!r} is not a name, such as mail.example.com")
    return name


HOST = Kind("name of a host", _host)


def _origin(text: str, context: Context) -> str:
    if not text.startswith("/"):
        return _host(text, context)
    # Debian's Postfix alone reads a file here (myorigin = /etc/mailname), and Debian's main.cf uses it.
    try:
        lines = decoded(context.machine.read(text)).split("\n")
        return _host(next((line.strip(SPACE) for line in lines if line.strip(SPACE)), ""), context)
    except (OSError, BadValue) as error:
        name = context.text("myhostname").lower()
        context.warn(f"{text} names no domain ({getattr(error, 'strerror', None) or error}); using {name}")
        return name


ORIGIN = Kind("domain, or a file that holds one", _origin)

DOMAINS = Kind("list of domains", lambda text, context: lists.domains(text, context.machine, subdomains=False))
DOMAINS_AND_BELOW = Kind("list of domains", lambda text, context: lists.domains(text, context.machine, subdomains=True))
NETWORKS: Kind[Networks] = Kind("list of networks", lambda text, context: lists.networks(text, context.machine))


def _protocols(text: str, _: Context) -> frozenset[Literal[4, 6]]:
    versions: dict[str, frozenset[Literal[4, 6]]] = {
        "ipv4": frozenset({4}),
        "ipv6": frozenset({6}),
        "all": frozenset({4, 6}),
    }
    found: set[Literal[4, 6]] = set()
    for word in words(text):
        if word not in versions:
            raise BadValue(f"{word!r} is none of: all, ipv4, ipv6")
        found |= versions[word]
    if not found:
        raise BadValue("without a protocol nothing can be listened on; all is the default")
    return frozenset(found)


PROTOCOLS = Kind("list of `all`, `ipv4`, `ipv6`", _protocols)


@dataclass(frozen=True, slots=True)
class Listening:
    """addresses: where to bind, in order; ``0.0.0.0`` and ``::`` for all. own: with which networks those stand on this machine."""

    addresses: tuple[str, ...]
    own: tuple[Interface, ...]

    def is_own(self, host: str) -> bool:
        """Whether mail for ``user@[host]`` is for us."""
        address = parse_ip(host)
        return any(address == interface.ip for interface in self.own)


def _listening(text: str, context: Context) -> Listening:
    versions, where = _chosen_protocols(context)
    machine: Sequence[Interface] = [one for one in context.machine.interfaces() if one.version in versions]
    chosen: list[IPAddress] = []
    for word in words(text):
        if word == "all":
            every = [host for host, version in EVERYWHERE if any(one.version == version for one in machine)]
            if words(text) != ["all"]:
                raise BadValue(f"all stands beside other addresses in {text!r}")
            return Listening(tuple(every), tuple(machine))
        if word == "loopback-only":
            chosen += [one.ip for one in machine if one.ip.is_loopback]
        else:
            chosen += [address for address in _addresses(word, context, machine) if address.version in versions]
    unique = list(dict.fromkeys(chosen))
    if not unique:
        raise BadValue(f"{text!r}{where} leaves no address to listen on")
    own = [one for one in machine if one.ip in unique]
    for address in unique:
        if not (address.is_loopback or any(one.ip == address for one in machine)):
            context.warn(f"no interface of this machine has the address {address} now")
    return Listening(tuple(str(address) for address in unique), tuple(own))


def _chosen_protocols(context: Context) -> tuple[frozenset[Literal[4, 6]], str]:
    """Those of inet_protocols, and how a sentence names them. Where that value is wrong it is told of itself, and hides nothing here."""
    try:
        text = context.text("inet_protocols")
        return _protocols(text, context), f" with inet_protocols = {text}"
    except BadValue:
        return frozenset({4, 6}), ""


def _addresses(word: str, context: Context, machine: Sequence[Interface]) -> list[IPAddress]:
    if address := parse_ip(word.removeprefix("[").removesuffix("]")):
        return [address]
    if word.lower() == "localhost":
        # RFC 6761, 6.3, and no DNS or /etc/hosts can be wrong about it.
        return [
            address
            for address in map(parse_ip, ("127.0.0.1", "::1"))
            if any(one.ip == address for one in machine) and address
        ]
    found = [address for host in context.machine.hosts(word) if (address := parse_ip(host))]
    if not found:
        raise BadValue(f"{word}: /etc/hosts has no such name, and DNS is not asked; write the address itself")
    return found


LISTENING = Kind("list of addresses", _listening)
