"""How often each client did something lately at one door, counted as Postfix's anvil(8) counts, in bounded memory."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

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


@dataclass(slots=True)
class _Count:
    since: float
    count: int = 0


class Anvil:
    """One door's counts. A client is an address; of IPv6, its /64 (Peer.block).

    What was refused counts too, as with Postfix: a client that does not slow down is not served again before a whole unit has
    passed since the first of its events. service: the door's name in the log. exceptions: clients that are not counted
    (smtpd_client_event_limit_exceptions); nor are those of a UNIX socket. clock: monotonic seconds. report: told once for each client
    and unit.
    """

    def __init__(
        self,
        service: str,
        rates: Rates,
        exceptions: Networks,
        clock: Callable[[], float],
        report: Report,
        *,
        room: int = ROOM,
    ) -> None:
        self._service = service
        self.adopt(rates, exceptions)
        self._clock = clock
        self._report = report
        self._room = room
        self._counts: dict[str, OrderedDict[str, _Count]] = {}

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
        counts = self._counts.setdefault(what, OrderedDict())
        client, now = peer.block, self._clock()
        count = counts.get(client)
        if count is None or now - count.since >= self._rates.unit:
            count = counts[client] = _Count(now)
            if len(counts) > self._room:
                counts.popitem(last=False)
        counts.move_to_end(client)
        count.count += 1
        if count.count == limit + 1:
            self._report(
                "warning: {what} rate limit exceeded: {count} from {client} for service {service}",
                what=what,
                count=count.count,
                client=f"unknown[{peer.host}]",
                service=self._service,
            )
        return count.count <= limit


UNLIMITED = Anvil("", Rates(), Networks(), lambda: 0.0, nothing_to_say)
