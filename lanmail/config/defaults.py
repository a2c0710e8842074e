"""Defaults that depend on the machine, as Postfix makes them: never with DNS."""

from __future__ import annotations

import ipaddress

from lanmail.config.foreign_accounts import obstacle_on
from lanmail.config.hosts import LISTENING
from lanmail.config.kinds import COUNT_FROM_1, Context
from lanmail.config.machine import Interface
from lanmail.config.problems import BadValue
from lanmail.config.syntax import words


def myhostname(context: Context) -> str:
    """The machine's own name; where that is short, with ``mydomain`` behind it if that was set, else ``localdomain``."""
    name = context.machine.host_name().removesuffix(".")
    if "." in name:
        return name
    written = context.written("mydomain")
    return f"{name or 'localhost'}.{'localdomain' if written is None else '$mydomain'}"


def mydomain(context: Context) -> str:
    """What is behind the first dot of ``myhostname``; ``localdomain`` where there is none."""
    return context.text("myhostname").partition(".")[2] or "localdomain"


def pop3s_port(context: Context) -> str:
    """The known port beside the known ports; who moves those, or tries us out, is asked for nothing more."""
    return "995" if _usual(context) and not context.text("pop3_endpoint") else "0"


def submission_port(context: Context) -> str:
    """As pop3s_port."""
    return "587" if _usual(context) and not context.text("smtp_endpoint") else "0"


def submissions_port(context: Context) -> str:
    """As pop3s_port."""
    return "465" if _usual(context) and not context.text("smtp_endpoint") else "0"


def _usual(context: Context) -> bool:
    return context.text("smtp_port") == "25" and context.text("pop3_port") == "110"


def reserved_connections(context: Context) -> str:
    return str(COUNT_FROM_1.read(context.text("max_connections"), context) // 8)


def mynetworks(context: Context) -> str:
    """The networks of our own addresses, by ``mynetworks_style``."""
    style = context.text("mynetworks_style").lower()
    own = LISTENING.read(context.text("inet_interfaces"), _Silent(context)).own
    found = dict.fromkeys(_network(interface, style) for interface in own)
    return " ".join(f"[{one.network_address}]/{one.prefixlen}" if one.version == 6 else str(one) for one in found)


def _network(interface: Interface, style: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    if style == "host":
        return ipaddress.ip_network(interface.ip)
    if style == "subnet" or interface.version == 6:  # there are no classes for IPv6
        return interface.network
    if style != "class":
        raise BadValue(f"{style!r} is none of: host, subnet, class")
    first = int(interface.ip) >> 24
    length = 8 if first < 128 else 16 if first < 192 else 24
    return ipaddress.ip_network((int(interface.ip), length), strict=False)


def login_cache_time(context: Context) -> str:
    """20 minutes; none where the system's logins depend on more than its files, since a change of the rest is not seen."""
    if "system" not in (word.strip("{} ") for word in words(context.text("accounts"))):
        return "20m"  # a passwd-file is watched

    return "0" if obstacle_on(context.machine, context.text("pam_service")) else "20m"


class _Silent:
    """A context whose warnings have been given already, where inet_interfaces was read for itself."""

    def __init__(self, context: Context) -> None:
        self.machine = context.machine
        self.text = context.text
        self.written = context.written

    def warn(self, text: str) -> None:
        pass
