"""The device table (``device_table``): machines that send without a login, and what each may. Pure text; docs/devices.md.

A line is ``NETWORK from=ADDRESS [to=ADDRESS,…|local|anywhere] [rate=60/h|none]``. A word that begins with ``#`` begins a comment.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from lanmail.address import Address
from lanmail.config import lists
from lanmail.config.problems import BadParts, BadValue, Place, Problem, Severity
from lanmail.config.syntax import decoded
from lanmail.network import IPNetwork, parse_ip, parse_network
from lanmail.status import PermanentFailure, Status

T = TypeVar("T")

# A wider network than this is nobody's printers: with to=anywhere it would be an open relay.
_WIDEST = 8
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_KEYS = ("from", "to", "rate")
# No quotes: a device's address is one that somebody chose for it. No comma: it parts addresses.
_LOCAL_PART = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*")


@dataclass(frozen=True, slots=True)
class Rate:
    """So many messages in so many seconds, which may also come all at once."""

    count: int
    seconds: int

    def __str__(self) -> str:
        return f"{self.count}/{next(unit for unit, seconds in _SECONDS.items() if seconds == self.seconds)}"


USUAL_RATE = Rate(60, 3600)
"""More than people scan, and less than a machine sends that was taken over."""


@dataclass(frozen=True, slots=True)
class Device:
    """One line of the table.

    network: its clients, one machine or several. sender: the envelope sender of all that they send. recipients: the only ones that
    they may send to; none where the table names none. anywhere: to whomever. rate: of each client; None where there is no limit.
    """

    network: IPNetwork
    sender: Address
    recipients: tuple[Address, ...] = ()
    anywhere: bool = False
    rate: Rate | None = USUAL_RATE

    @property
    def place(self) -> str:
        """The network as the table writes it: one machine is its address alone."""
        return str(
            self.network.network_address if self.network.prefixlen == self.network.max_prefixlen else self.network
        )

    @property
    def to(self) -> str:
        return "anywhere" if self.anywhere else ",".join(map(str, self.recipients)) or "local"

    def __str__(self) -> str:
        """The line of the table; what is usual is left out."""
        to = "" if self.to == "local" else f" to={self.to}"
        rate = "" if self.rate == USUAL_RATE else f" rate={self.rate or 'none'}"
        return f"{self.place} from={self.sender}{to}{rate}"

    def may_leave_to(self, address: Address, origin: str) -> bool:
        """Whether mail for this recipient may leave the network too; where not, it may go to whoever has mail here.

        origin: completes an address without a domain (``myorigin``). Raises PermanentFailure where the table names this device's
        recipients, and this is none of them.
        """
        if not self.recipients:
            return self.anywhere
        if address.completed(origin).key in {recipient.key for recipient in self.recipients}:
            return True
        text = f"<{address}>: Recipient address rejected: this device may not send there"
        raise PermanentFailure(Status(554, "5.7.1", text))


def parse(data: bytes, file: str) -> tuple[tuple[Device, ...], tuple[Problem, ...]]:
    """Every line that can be understood, and everything that is wrong with the others. Two lines for one network are wrong too."""
    devices: list[Device] = []
    problems: list[Problem] = []
    lines: dict[IPNetwork, int] = {}
    for number, line in enumerate(decoded(data).removeprefix("\ufeff").split("\n"), 1):
        words = said(line)
        if not words:
            continue
        try:
            device = _device(words)
            if device.network in lines:
                raise BadValue(f"{device.place} is on line {lines[device.network]} already")
        except BadValue as bad:
            problems += [Problem(Severity.ERROR, Place(file, number), fault) for fault in bad.faults]
        else:
            lines[device.network] = number
            devices.append(device)
    return tuple(devices), tuple(problems)


def said(line: str) -> list[str]:
    """The words of a line, without its comment."""
    words = line.split()
    comment = next((place for place, word in enumerate(words) if word.startswith("#")), len(words))
    return words[:comment]


def network(text: str) -> IPNetwork:
    """Whose line it is. BadValue."""
    try:
        found = parse_network(text)
    except ValueError as error:
        raise BadValue(str(error)) from None
    if found.prefixlen < _WIDEST:
        raise BadValue(f"{text} is wider than a /{_WIDEST}: name the devices, or their own network")
    return found


def address(text: str) -> Address:
    """``scan@example.com``, whole. BadValue."""
    local, _, domain = text.rpartition("@")
    try:
        if len(text) > 254 or not _LOCAL_PART.fullmatch(local) or parse_ip(domain):
            raise ValueError
        return Address(local, lists.domain(domain))
    except ValueError:
        raise BadValue(f"{text!r} is not a whole address, such as scan@example.com") from None


def rate(text: str) -> Rate | None:
    """``60/h``; None for ``none``. BadValue."""
    if text == "none":
        return None
    match = re.fullmatch(r"([1-9][0-9]{0,8})/([smhd])", text)
    if match is None:
        raise BadValue(
            f"{text!r} is not a rate, such as 60/h (messages in a second, minute, hour or day: s, m, h, d), or none"
        )
    return Rate(int(match[1]), _SECONDS[match[2]])


def recipients(text: str) -> tuple[tuple[Address, ...], bool]:
    """What stands behind ``to=``: the addresses, and whether it is ``anywhere``. BadValue."""
    if text in ("local", "anywhere"):
        return (), text == "anywhere"
    return tuple(address(part) for part in text.split(",")), False


def _device(words: Sequence[str]) -> Device:
    """BadParts with everything that is wrong with the line."""
    faults: list[str] = []
    values = _values(words[1:], faults)
    where = _read(network, words[0], faults)
    sender = _read(address, values["from"], faults) if "from" in values else None
    to = _read(recipients, values.get("to", "local"), faults) or ((), False)
    often = _read(rate, values["rate"], faults) if "rate" in values else USUAL_RATE
    if "from" not in values:
        faults.append("from= is missing: the address that this device's mail comes from")
    if faults or where is None or sender is None:
        raise BadParts(faults)
    return Device(where, sender, *to, often)


def _values(words: Sequence[str], faults: list[str]) -> Mapping[str, str]:
    found: dict[str, str] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or key not in _KEYS:
            faults.append(f"{word!r} is none of from=, to=, rate=; white space parts them, and stands in none of them")
        elif key in found:
            faults.append(f"{key}= stands there twice")
        else:
            found[key] = value
    return found


def _read(read: Callable[[str], T], text: str, faults: list[str]) -> T | None:
    try:
        return read(text)
    except BadValue as bad:
        faults += bad.faults
        return None
