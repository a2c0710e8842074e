"""TLS, the conversations, and which of them is spoken at which port."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from twisted.internet.defer import Deferred, DeferredList, maybeDeferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.protocol import ServerFactory
from twisted.internet.task import LoopingCall
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.python.failure import Failure

from lanmail.accounts.realm import MailRealm, make_portal
from lanmail.admission import Admission, Capacity
from lanmail.anvil import Anvil, Rates
from lanmail.config.machine import MAX_FILE
from lanmail.config.parameters import Settings
from lanmail.files import open_plainly, read_whole
from lanmail.mailbox.adopted import AdoptedUidls, UidlFormat
from lanmail.mailbox.claims import Claims
from lanmail.mailbox.index_cache import IndexCache
from lanmail.mailbox.maildrop import Maildrops
from lanmail.mailbox.saved_index import SavedIndexes
from lanmail.manners import Manners
from lanmail.pop3.server import LanPOP3Factory
from lanmail.ports import CannotListen, Listening, listen
from lanmail.proxied import PREFIX, ProxiedFactory
from lanmail.smtp.limits import SmtpLimits
from lanmail.smtp.server import LanSMTPFactory
from lanmail.tls.configured import given_files, plan_of
from lanmail.tls.given import DoesNotFit
from lanmail.tls.keeping import KeepingTrouble
from lanmail.tls.openssl import CannotServe, Versions
from lanmail.tls.serving import Certificates
from lanmail.wiring.keeping import Keeping
from lanmail.wiring.people import People
from lanmail.wiring.place import CannotStart, Place, log
from lanmail.wiring.post import Post, lock_patience

# Seconds between two looks at the files of certificates, and between two at their dates and our names.
CERTIFICATES_CHANGED = 10.0
CERTIFICATES_DUE = 3600.0
# Where passwords are what a port is for, and its parameters; what is spoken where nobody listens without a certificate.
SUBMISSION = ("submission_port", "submissions_port")
# OLD_SMTPS: at the port of tls_legacy_clients, under TLS 1.0 too.
OLD_SMTPS = "smtps-old"
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


class Doors:
    """smtp, submission, pop3: the factories of their protocols. capacity: of all of them together. warnings: for the log.

    Raises CannotStart.
    """

    def __init__(self, place: Place, people: People, keeping: Keeping, post: Post) -> None:
        settings, reactor = place.settings, place.reactor
        self._place = place
        self.warnings: list[str] = []
        self._listening: list[Any] = []
        self._looks: list[LoopingCall] = []

        adopted = AdoptedUidls(place.state.folder("uidls"), UidlFormat(settings.pop3_uidl_format))
        maildrops = self.maildrops = Maildrops(
            keeping.mailbox_of,
            Claims(place.state.folder("claims")),
            IndexCache(),
            in_thread=place.in_thread,
            sleep=place.sleep,
            adopted=adopted.of,
            saved=SavedIndexes(place.state.folder("indexes")),
            claim_wait=settings.pop3_claim_wait,
            lock_wait=lock_patience(settings),
            tell=keeping.tell,
        )

        tls = self._certificates = self._made_certificates()
        manners = Manners(
            offered=tls is not None,
            level=settings.smtpd_tls_security_level,
            auth_only=settings.smtpd_tls_auth_only,
            plaintext_networks=settings.plaintext_login_networks,
            is_device=lambda host: people.devices.of(host) is not None,
        )
        portal = make_portal(MailRealm(people.accounts, post.reception, maildrops.open), people.checker)
        self.capacity = Capacity(settings.max_connections, settings.reserved_connections, settings.mynetworks)
        talk = partial(
            LanSMTPFactory,
            portal,
            hostname=settings.myhostname,
            banner=settings.smtpd_banner,
            limits=_smtp_limits(settings),
            clock=reactor,
            refused=post.troubles.refused,
        )
        self.smtp = talk(
            **self._limited("smtp"),
            terms=manners.smtp,
            contexts=None if tls is None else tls.clear,
        )
        # One for both ports. Its clients are counted apart from those of SMTP, as Postfix counts them for each service: a machine that
        # sends too much mail without a login does not keep the people who work at it from theirs.
        self.submission = talk(
            **self._limited("submission"),
            terms=manners.submission,
            contexts=None if tls is None else tls.mandatory,
            submission=True,
        )
        self.pop3 = LanPOP3Factory(
            portal,
            clock=reactor,
            banner=settings.pop3_banner,
            **self._limited("pop3"),
            login_timeout=settings.pop3_login_timeout,
            timeout=settings.pop3_timeout,
            takeover_after=settings.pop3_takeover_after,
            error_limit=settings.pop3_error_limit,
            login_commands=settings.pop3_login_command_limit,
            login_tries=settings.login_tries_limit,
            unread_octets=settings.unread_octets_limit,
            terms=manners.pop3,
            contexts=None if tls is None else tls.mandatory,
        )
        maildrops.wanted = self.pop3.wanted
        self._servers = (self.smtp, self.submission, self.pop3)

    def _limited(self, service: str) -> dict[str, Any]:
        """How many may come to one door, and how often each."""
        settings = self._place.settings
        exceptions = settings.smtpd_client_event_limit_exceptions
        rates = Rates(
            settings.smtpd_client_connection_rate_limit,
            settings.smtpd_client_message_rate_limit,
            settings.smtpd_client_recipient_rate_limit,
            settings.smtpd_client_auth_rate_limit,
            settings.anvil_rate_time_unit,
        )
        anvil = Anvil(service, rates, exceptions, self._place.reactor.seconds, log.report)
        per_client = settings.smtpd_client_connection_count_limit
        return {
            "admission": Admission(service, self.capacity, per_client, exceptions, log.report, anvil),
            "anvil": anvil,
        }

    # ports

    def listen(self, ports: Sequence[Listening]) -> None:
        """Serve at bound ports and at endpoints. SystemExit with a sentence where an endpoint cannot be had: it is not worth running
        without."""
        for port in ports:
            if self._certificates is None and port.protocol in NEED_TLS:
                port.socket.close()
                continue
            self._listening.append(
                self._place.reactor.adoptStreamPort(
                    port.socket.fileno(), port.socket.family, self._behind_proxies(self._factory(port.protocol))
                )
            )
            port.socket.close()  # the reactor has its own descriptor of it
        for description in self._place.settings.smtp_endpoint:
            self._listen_on(description, self.smtp)
        for description in self._place.settings.pop3_endpoint:
            self._listen_on(description, self.pop3)

    def _factory(self, protocol: str) -> Any:
        """Of what is spoken at a port, as open_ports calls it."""
        if protocol == "smtp":
            return self.smtp
        if protocol == "pop3":
            return self.pop3
        if protocol == "submission":
            return self.submission
        assert self._certificates is not None  # or nobody would listen at the port
        if protocol == OLD_SMTPS:
            # Who may do what is as at smtp_port: such a device may send without a password where its address may.
            old = self._certificates.old_devices
            assert old is not None
            return TLSMemoryBIOFactory(old, False, self.smtp, self._place.reactor)
        within: ServerFactory = self.pop3 if protocol == "pop3s" else self.submission
        return TLSMemoryBIOFactory(self._certificates.mandatory, False, within, self._place.reactor)

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

    def places(self, ports: Sequence[Listening]) -> list[str]:
        """What is spoken where, for the log."""
        settings = self._place.settings
        return [
            *(
                f"{port.protocol} on {port.place}"
                for port in ports
                if self._certificates is not None or port.protocol not in NEED_TLS
            ),
            *settings.smtp_endpoint,
            *settings.pop3_endpoint,
        ]

    # their whole life

    def start(self) -> None:
        """Certificates are looked at again from now on."""
        for seconds, again in ((CERTIFICATES_CHANGED, False), (CERTIFICATES_DUE, True)):
            look = LoopingCall(self._look_at_certificates, again=again)
            look.clock = self._place.reactor
            look.start(seconds, now=False)
            self._looks.append(look)

    async def stop(self, limit: float) -> None:
        """No new connections; commands under way finish, within ``limit`` seconds."""
        for look in self._looks:
            look.stop()
        await DeferredList([maybeDeferred(port.stopListening) for port in self._listening], consumeErrors=True)
        await DeferredList([server.stop(limit) for server in self._servers], consumeErrors=True)

    def hurry(self) -> None:
        """Nobody is waited for any longer."""
        for server in self._servers:
            server.connections.hurry()

    # TLS

    def _made_certificates(self) -> Certificates | None:
        """None where none can be had: an ordinary user without a data_directory. CannotStart where somebody relies on it."""
        settings = self._place.settings
        opened = self._place.rights.opened or open_plainly
        try:
            return Certificates(
                given_files(settings),
                lambda path: read_whole(path, opened, MAX_FILE),
                lambda: plan_of(settings),
                self._place.rights.keep,
                log.report,
                opened=opened,
                clock=self._place.reactor,
                versions=Versions.of(settings.smtpd_tls_protocols),
                mandatory_versions=Versions.of(settings.smtpd_tls_mandatory_protocols),
                handshake_limit=settings.smtpd_starttls_timeout,
                old=bool(settings.tls_legacy_clients),
            )
        except (DoesNotFit, CannotServe) as trouble:
            raise CannotStart(str(trouble)) from trouble
        except KeepingTrouble as trouble:
            asked = [name for name in SUBMISSION if settings.values[name] and not settings.written[name].is_default]
            needed = settings.pop3s_port or settings.tls_legacy_clients
            if needed or asked or settings.smtpd_tls_security_level == "encrypt":
                raise CannotStart(str(trouble)) from trouble
            self.warnings.append(f"there is no TLS, and so no submission: {trouble}")
            return None

    def _look_at_certificates(self, *, again: bool = False) -> None:
        """Now and then whether one is due; at once when a file that main.cf names was changed."""
        tls = self._certificates
        if tls is not None:
            look = tls.look if again else tls.look_if_changed
            Deferred.fromCoroutine(look(self._place.in_thread)).addErrback(
                lambda failure: log.failure("while looking at certificates", failure)
            )


def _smtp_limits(settings: Settings) -> SmtpLimits:
    return SmtpLimits(
        message_size_limit=settings.message_size_limit,
        line_length_limit=settings.line_length_limit,
        recipient_limit=settings.smtpd_recipient_limit,
        recipient_overshoot_limit=settings.smtpd_recipient_overshoot_limit,
        junk_command_limit=settings.smtpd_junk_command_limit,
        soft_error_limit=settings.smtpd_soft_error_limit,
        hard_error_limit=settings.smtpd_hard_error_limit,
        error_sleep_time=settings.smtpd_error_sleep_time,
        timeout=settings.smtpd_timeout,
        per_request_deadline=settings.smtpd_per_request_deadline,
        min_data_rate=settings.smtpd_min_data_rate,
        login_tries=settings.login_tries_limit,
        unread_octets=settings.unread_octets_limit,
    )
