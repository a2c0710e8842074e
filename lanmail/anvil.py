"""How often each client did something lately at one door, counted as Postfix's anvil(8) counts, in bounded memory."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from lanmail.interfaces import Report, nothing_to_say
from lanmail.network import Networks, Peer
from lanmail.status import Status, TemporaryFailure

# So many clients' counts are kept of each kind; who has not come for longest is forgotten first.
ROOM = 10_000


@dataclass(frozen=True, slots=True)
class Rates:
    """How often one client may do each in ``unit`` seconds; 0 for no limit. (smtpd_client_..._rate_limit, anvil_rate_time_unit.)"""

    connections: int = 0
    messages: int = 0
    recipients: int = 0
    logins: int = 0
    unit: float = 60.0


class Windows(Protocol):
    """Counts events of one kind for each client, in windows of time that begin with a client's first event."""

    def another(self, client: str, now: float, unit: float) -> int:
        """One more: how many there are now, since the window of ``unit`` seconds began."""

    def tell(self, client: str, now: float, unit: float) -> bool:
        """Whether this is the first time in the window that somebody wants to tell of it."""


@dataclass(slots=True)
class _Count:
    since: float
    count: int = 0
    told: bool = False


class WindowsHere:
    """Windows of this process alone."""

    def __init__(self, room: int = ROOM) -> None:
        self._room = room
        self._counts: OrderedDict[str, _Count] = OrderedDict()

    def another(self, client: str, now: float, unit: float) -> int:
        counts = self._counts
        count = counts.get(client)
        if count is None or now - count.since >= unit:
            count = counts[client] = _Count(now)
            if len(counts) > self._room:
                counts.popitem(last=False)
        counts.move_to_end(client)
        count.count += 1
        return count.count

    def tell(self, client: str, now: float, unit: float) -> bool:
        count = self._counts[client]
        told, count.told = count.told, True
        return not told

    def __len__(self) -> int:
        return len(self._counts)


class Anvil:
    """One door's counts. A client is an address; of IPv6, its /64 (Peer.block).

    What was refused counts too, as with Postfix: a client that does not slow down is not served again before a whole unit has
    passed since the first of its events. service: the door's name in the log. exceptions: clients that are not counted
    (smtpd_client_event_limit_exceptions); nor are those of a UNIX socket. clock: monotonic seconds. report: told once for each client
    and unit. windows: where each kind of event is counted; None: in this process.
    """

    def __init__(
        self,
        service: str,
        rates: Rates,
        exceptions: Networks,
        clock: Callable[[], float],
        report: Report,
        windows: Callable[[str], Windows] | None = None,
    ) -> None:
        self._service = service
        self.adopt(rates, exceptions)
        self._clock = clock
        self._report = report
        self._windows = windows or (lambda what: WindowsHere())
        self._counts: dict[str, Windows] = {}

    def adopt(self, rates: Rates, exceptions: Networks) -> None:
        """A reload: these hold from now on; what was counted counts."""
        self._rates = rates
        self._exceptions = exceptions

    def connection(self, peer: Peer) -> bool:
        """A client connects: whether it has not done so too often."""
        return self._allowed("Connection", self._rates.connections, peer)

    def message(self, peer: Peer) -> None:
        """MAIL. Raises TemporaryFailure, in Postfix's words, as do those below."""
        if not self._allowed("Message delivery request", self._rates.messages, peer):
            raise TemporaryFailure(Status(450, "4.7.1", f"Error: too much mail from {peer.host}"))

    def recipient(self, peer: Peer) -> None:
        """RCPT."""
        if not self._allowed("Recipient address", self._rates.recipients, peer):
            raise TemporaryFailure(Status(450, "4.7.1", f"Error: too many recipients from {peer.host}"))

    def login(self, peer: Peer) -> None:
        """A name and a password."""
        if not self._allowed("AUTH command", self._rates.logins, peer):
            raise TemporaryFailure(Status(450, "4.7.1", f"Error: too many AUTH commands from {peer.host}"))

    def _allowed(self, what: str, limit: int, peer: Peer) -> bool:
        if not limit or not peer.host or peer.host in self._exceptions:
            return True
        if what not in self._counts:
            self._counts[what] = self._windows(what)
        counts, client, now, unit = self._counts[what], peer.block, self._clock(), self._rates.unit
        count = counts.another(client, now, unit)
        if count > limit and counts.tell(client, now, unit):
            self._report(
                "warning: {what} rate limit exceeded: {count} from {client} for service {service}",
                what=what,
                count=count,
                client=f"unknown[{peer.host}]",
                service=self._service,
            )
        return count <= limit


UNLIMITED = Anvil("", Rates(), Networks(), lambda: 0.0, nothing_to_say)
