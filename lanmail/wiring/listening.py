"""Which conversation is spoken at which port and endpoint of main.cf, and under what: TLS, or a proxy's header before it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from twisted.internet.defer import Deferred, DeferredList, maybeDeferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.protocol import ServerFactory
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.python.failure import Failure

from lanmail.config.parameters import Settings
from lanmail.ports import CannotListen, Listening, listen
from lanmail.proxied import PREFIX, ProxiedFactory
from lanmail.sharing import Shared
from lanmail.wiring.doors import Doors
from lanmail.wiring.place import Place

# At the port of tls_legacy_clients, under TLS 1.0 too.
OLD_SMTPS = "smtps-old"
# What is spoken where nobody listens without a certificate.
NEED_TLS = ("submission", "submissions", "pop3s", OLD_SMTPS)


def open_ports(settings: Settings) -> list[Listening]:
    """Every port that main.cf asks for by number, bound. Raises CannotListen, and then none is bound."""
    wanted = [
        ("smtp", settings.smtp_port, "smtp_port") if not settings.smtp_endpoint else ("smtp", 0, ""),
        ("pop3", settings.pop3_port, "pop3_port") if not settings.pop3_endpoint else ("pop3", 0, ""),
        ("pop3s", settings.pop3s_port, "pop3s_port"),
        ("submission", settings.submission_port, "submission_port"),
        ("submissions", settings.submissions_port, "submissions_port"),
        (OLD_SMTPS, settings.tls_legacy_clients, "tls_legacy_clients"),
    ]
    ports: list[Listening] = []
    try:
        for protocol, port, parameter in wanted:
            if port:
                ports += [listen(protocol, host, port, parameter) for host in settings.inet_interfaces.addresses]
    except CannotListen:
        for port_ in ports:
            port_.socket.close()
        raise
    return ports


class Entrances:
    """The ports and endpoints of one service. ports: of open_ports; those that nobody can serve without TLS are closed here."""

    def __init__(self, place: Place, doors: Doors, ports: Sequence[Listening]) -> None:
        self._place = place
        self._doors = doors
        self._ports = []
        for port in ports:
            if doors.certificates is None and port.protocol in NEED_TLS:
                port.socket.close()
            else:
                self._ports.append(port)
        self._listening: list[Any] = []

    def open(self) -> None:
        """Serve. SystemExit with a sentence where an endpoint cannot be had: it is not worth running without."""
        for port in self._ports:
            factory = self._behind_proxies(self._factory(port.protocol))
            sock = port.socket
            listening = self._place.reactor.adoptStreamPort(sock.fileno(), sock.family, factory)
            self._listening.append(listening)
            sock.close()  # the reactor has its own descriptor of it
            if self._place.colleagues.count > 1:
                Shared(listening, self._place.reactor, self._doors.capacity.present.ahead)
        for description in self._place.settings.smtp_endpoint:
            self._listen_on(description, self._doors.smtp)
        for description in self._place.settings.pop3_endpoint:
            self._listen_on(description, self._doors.pop3)

    def close(self) -> Deferred[Any]:
        """No new connections. Fires when it is so."""
        return DeferredList([maybeDeferred(port.stopListening) for port in self._listening], consumeErrors=True)

    def described(self) -> list[str]:
        """What is spoken where, for the log."""
        settings = self._place.settings
        return [
            *(f"{port.protocol} on {port.place}" for port in self._ports),
            *settings.smtp_endpoint,
            *settings.pop3_endpoint,
        ]

    def _factory(self, protocol: str) -> Any:
        """Of what is spoken at a port, as open_ports calls it."""
        doors = self._doors
        if protocol == "smtp":
            return doors.smtp
        if protocol == "pop3":
            return doors.pop3
        if protocol == "submission":
            return doors.submission
        assert doors.certificates is not None  # or nobody would listen at the port
        if protocol == OLD_SMTPS:
            # Who may do what is as at smtp_port: such a device may send without a password where its address may.
            old = doors.certificates.old_devices
            assert old is not None
            return TLSMemoryBIOFactory(old, False, doors.smtp, self._place.reactor)
        within: ServerFactory = doors.pop3 if protocol == "pop3s" else doors.submission
        return TLSMemoryBIOFactory(doors.certificates.mandatory, False, within, self._place.reactor)

    def _behind_proxies(self, factory: ServerFactory, *, only: bool = False) -> Any:
        """The header comes before anything else, TLS too."""
        settings = self._place.settings
        if not (only or settings.proxy_networks.rules):
            return factory
        patience = settings.smtpd_upstream_proxy_timeout
        return ProxiedFactory(factory, self._place.reactor, settings.proxy_networks, patience=patience, only=only)

    def _listen_on(self, description: str, factory: ServerFactory) -> None:
        failed: list[Failure] = []
        try:
            served = self._behind_proxies(factory, only=description.startswith(PREFIX))
            endpoint = serverFromString(self._place.reactor, description.removeprefix(PREFIX))
            endpoint.listen(served).addCallbacks(self._listening.append, failed.append)
        except Exception:
            failed.append(Failure())
        if failed:
            raise SystemExit(f"lanmail: cannot listen on {description}: {failed[0].getErrorMessage()}")
