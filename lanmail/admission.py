"""Who may connect now: a limit for the whole house, a part of it that strangers cannot take, and a limit for each client at each door.

Postfix counts in its anvil(8) for the same reason: a client that opens connections without end takes them from others.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from lanmail.anvil import Anvil
from lanmail.interfaces import Report
from lanmail.network import Networks, Peer
from lanmail.status import Status

# As long as the house is not full, those of mynetworks may have as many connections as they want (Postfix's default). In what is
# reserved each of them may have so many: one machine gone mad must not lock out its neighbours either.
EACH_IN_RESERVE = 50


class Present(Protocol):
    """Who is there now, in the whole house or at one door."""

    @property
    def taken(self) -> int:
        """How many connections, of all."""

    def of(self, client: str) -> int:
        """How many of one client (Peer.block)."""

    def ahead(self) -> int:
        """How many more this process has than the one with the fewest."""

    def come(self, client: str) -> None:
        """One more of it."""

    def go(self, client: str) -> None:
        """One less."""


class PresentHere:
    """Present in this process alone."""

    __slots__ = ("_clients", "taken")

    def __init__(self) -> None:
        self.taken = 0
        self._clients: Counter[str] = Counter()

    def of(self, client: str) -> int:
        return self._clients[client]

    def ahead(self) -> int:
        return 0

    def come(self, client: str) -> None:
        self.taken += 1
        self._clients[client] += 1

    def go(self, client: str) -> None:
        self.taken -= 1
        self._clients[client] -= 1
        if not self._clients[client]:
            del self._clients[client]

    def __len__(self) -> int:
        """How many clients."""
        return len(self._clients)


@dataclass(slots=True)
class Capacity:
    """How many connections the whole service may have at once (``max_connections``); one object, shared by all doors.

    reserved: how many of them are for our own alone (``reserved_connections``). own: who that is: ``mynetworks``, and this machine
    itself in any case. present: at all doors together.
    """

    limit: int
    reserved: int = 0
    own: Networks = field(default_factory=Networks)
    present: Present = field(default_factory=PresentHere)

    def adopt(self, limit: int, reserved: int, own: Networks) -> None:
        """What main.cf says, at the start and at a reload. Who is in stays in."""
        self.limit, self.reserved, self.own = limit, reserved, own

    def shrink(self, limit: int) -> None:
        """There can be no more than so many; what is reserved becomes less in the same measure."""
        self.reserved = self.reserved * limit // self.limit
        self.limit = limit

    @property
    def taken(self) -> int:
        return self.present.taken

    @property
    def has_room_for_all(self) -> bool:
        return self.taken < self.limit - self.reserved

    def has_room_for(self, peer: Peer) -> bool:
        if self.has_room_for_all:
            return True
        if self.taken >= self.limit:
            return False
        # A UNIX socket's clients have no address to be told apart by.
        return (peer.is_local or peer.host in self.own) and (
            not peer.host or self.present.of(peer.block) < EACH_IN_RESERVE
        )

    def take(self, peer: Peer) -> None:
        self.present.come(peer.block)

    def give_back(self, peer: Peer) -> None:
        self.present.go(peer.block)


class Admission:
    """Lets connections in at one door (SMTP, or POP3).

    per_client: connections at once from one client (smtpd_client_connection_count_limit); 0 for no limit. An IPv6
        client is its /64 (Peer.block).
    exceptions: clients whose own number is not limited (smtpd_client_event_limit_exceptions). They count in the whole.
    report: told of a refusal once, until that client, or the house, is below its limit again.
    anvil: how often each may come; None: as often as it likes. present: at this door; None: counted in this process.
    """

    def __init__(
        self,
        service: str,
        capacity: Capacity,
        per_client: int,
        exceptions: Networks,
        report: Report,
        anvil: Anvil | None = None,
        present: Present | None = None,
    ) -> None:
        self._service = service
        self._capacity = capacity
        self.adopt(per_client, exceptions)
        self._report = report
        self._comes: Callable[[Peer], bool] = (lambda peer: True) if anvil is None else anvil.connection
        self._present = PresentHere() if present is None else present
        self._told: set[str] = set()
        self._told_full = False

    def adopt(self, per_client: int, exceptions: Networks) -> None:
        """A reload: who is in stays in."""
        self._per_client = per_client
        self._exceptions = exceptions

    def admit(self, peer: Peer) -> Status | None:
        """None lets the client in, and ``leave`` must follow when it goes. A Status says why not; nothing follows."""
        often = not self._comes(peer)  # counted whatever else is wrong
        if not self._capacity.has_room_for(peer):
            if not self._told_full:
                self._told_full = True
                self._report(
                    "warning: {limit} connections (max_connections) are in use; {service} refuses more",
                    limit=self._capacity.taken,
                    service=self._service,
                )
            return Status(421, "4.7.0", "Error: too many connections; try again later")
        client = peer.block
        if self._is_limited(peer) and self._present.of(client) >= self._per_client:
            if client not in self._told:
                self._told.add(client)
                self._report(
                    "warning: Connection concurrency limit exceeded: {count} from {client} for service {service}",
                    count=self._present.of(client) + 1,
                    client=peer.host,
                    service=self._service,
                )
            return _too_many(peer)
        if often:
            return _too_many(peer)
        self._told_full = self._told_full and not self._capacity.has_room_for_all
        self._capacity.take(peer)
        self._present.come(client)
        return None

    def leave(self, peer: Peer) -> None:
        """A connection that was admitted is over."""
        client = peer.block
        self._capacity.give_back(peer)
        self._present.go(client)
        self._told.discard(client)

    def _is_limited(self, peer: Peer) -> bool:
        # A UNIX socket has no address: whoever may open it is this machine's own.
        return self._per_client > 0 and peer.host != "" and peer.host not in self._exceptions


def _too_many(peer: Peer) -> Status:
    return Status(421, "4.7.0", f"Error: too many connections from {peer.host}")
