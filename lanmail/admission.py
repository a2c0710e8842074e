"""Who may connect now: a limit for the whole house, and one for each client at each door.

Postfix counts in its anvil(8) for the same reason: a client that opens connections without end takes them from others.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from lanmail.interfaces import Report
from lanmail.network import Networks, Peer
from lanmail.status import Status


@dataclass(slots=True)
class Capacity:
    """How many connections the whole service may have at once (``max_connections``); one object, shared by all doors."""

    limit: int
    taken: int = 0


class Admission:
    """Lets connections in at one door (SMTP, or POP3).

    per_client: connections at once from one client (smtpd_client_connection_count_limit); 0 for no limit. An IPv6
        client is its /64 (Peer.block).
    exceptions: clients whose own number is not limited (smtpd_client_event_limit_exceptions). They count in the whole.
    report: told of a refusal once, until that client, or the house, is below its limit again.
    """

    def __init__(self, service: str, capacity: Capacity, per_client: int, exceptions: Networks, report: Report) -> None:
        self._service = service
        self._capacity = capacity
        self._per_client = per_client
        self._exceptions = exceptions
        self._report = report
        self._clients: Counter[str] = Counter()
        self._told: set[str] = set()
        self._told_full = False

    def admit(self, peer: Peer) -> Status | None:
        """None lets the client in, and ``leave`` must follow when it goes. A Status says why not; nothing follows."""
        if self._capacity.taken >= self._capacity.limit:
            if not self._told_full:
                self._told_full = True
                self._report(
                    "warning: {limit} connections (max_connections) are in use; {service} refuses more",
                    limit=self._capacity.limit,
                    service=self._service,
                )
            return Status(421, "4.7.0", "Error: too many connections; try again later")
        client = peer.block
        if self._is_limited(peer) and self._clients[client] >= self._per_client:
            if client not in self._told:
                self._told.add(client)
                self._report(
                    "warning: Connection concurrency limit exceeded: {count} from {client} for service {service}",
                    count=self._clients[client] + 1,
                    client=peer.host,
                    service=self._service,
                )
            return Status(421, "4.7.0", f"Error: too many connections from {peer.host}")
        self._capacity.taken += 1
        self._told_full = False
        self._clients[client] += 1
        return None

    def leave(self, peer: Peer) -> None:
        """A connection that was admitted is over."""
        client = peer.block
        self._capacity.taken -= 1
        self._clients[client] -= 1
        self._told.discard(client)
        if not self._clients[client]:
            del self._clients[client]

    def _is_limited(self, peer: Peer) -> bool:
        # A UNIX socket has no address: whoever may open it is this machine's own.
        return self._per_client > 0 and peer.host != "" and peer.host not in self._exceptions
