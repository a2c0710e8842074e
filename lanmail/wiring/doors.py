"""TLS and the conversations: what is said to whoever comes, and who may come."""

from __future__ import annotations

from functools import partial
from typing import Any

from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.task import LoopingCall

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
from lanmail.mailbox.snapshot import Adopted
from lanmail.manners import Manners
from lanmail.network import Networks
from lanmail.pop3.server import LanPOP3Factory
from lanmail.pop3.takeover import Takeover
from lanmail.smtp.server import LanSMTPFactory
from lanmail.tls.configured import given_files, plan_of
from lanmail.tls.given import DoesNotFit
from lanmail.tls.keeping import KeepingTrouble
from lanmail.tls.openssl import CannotServe, Versions
from lanmail.tls.serving import Certificates
from lanmail.wiring.counting import HOUSE
from lanmail.wiring.keeping import Keeping
from lanmail.wiring.limits import client_rates, pop3_limits, smtp_limits
from lanmail.wiring.people import People
from lanmail.wiring.place import CannotStart, Place, log
from lanmail.wiring.post import Post, lock_patience

# Seconds between two looks at the files of certificates, and between two at their dates and our names.
CERTIFICATES_CHANGED = 10.0
CERTIFICATES_DUE = 3600.0
SUBMISSION = ("submission_port", "submissions_port")
SERVICES = ("smtp", "submission", "pop3")
"""Each counts its clients for itself."""


class Doors:
    """smtp, submission, pop3: the factories of their protocols. certificates: None where there is no TLS. capacity: of all of them
    together. warnings: for the log.

    Raises CannotStart.
    """

    def __init__(self, place: Place, people: People, keeping: Keeping, post: Post) -> None:
        settings, reactor = place.settings, place.reactor
        self._place = place
        self.warnings: list[str] = []
        self._looks: list[LoopingCall] = []

        # As their owner: whoever is mail_owner may have put a link above them since, and root would follow it.
        with place.rights.as_owner():
            uidls, claims, indexes = map(place.state.folder, ("uidls", "claims", "indexes"))
        self._uidls = uidls
        maildrops = self.maildrops = Maildrops(
            keeping.mailbox_of,
            Claims(claims),
            IndexCache(),
            in_thread=place.in_thread,
            sleep=place.sleep,
            adopted=self._adopted(settings),
            saved=SavedIndexes(indexes),
            claim_wait=settings.pop3_claim_wait,
            lock_wait=lock_patience(settings),
            tell=keeping.tell,
        )

        tls = self.certificates = self._made_certificates()
        self._is_device = lambda host: people.devices.of(host) is not None
        portal = make_portal(
            MailRealm(people.accounts, lambda user: post.reception(user), maildrops.open), people.checker
        )
        counting = place.counting
        self.capacity = Capacity(settings.max_connections, present=counting.present(HOUSE))
        self._anvils = {
            name: Anvil(name, Rates(), Networks(), reactor.seconds, log.report, counting.windows(name))
            for name in SERVICES
        }
        self._admissions = {
            name: Admission(name, self.capacity, 0, Networks(), log.report, anvil, counting.present(name))
            for name, anvil in self._anvils.items()
        }
        talk = partial(
            LanSMTPFactory,
            portal,
            hostname=settings.myhostname,
            banner=settings.smtpd_banner,
            limits=smtp_limits(settings),
            clock=reactor,
            refused=post.troubles.refused,
        )
        self.smtp = talk(**self._counted("smtp"), contexts=None if tls is None else tls.clear)
        # One for both ports. Its clients are counted apart from those of SMTP, as Postfix counts them for each service: a machine that
        # sends too much mail without a login does not keep the people who work at it from theirs.
        self.submission = talk(
            **self._counted("submission"), contexts=None if tls is None else tls.mandatory, submission=True
        )
        self.pop3 = LanPOP3Factory(
            portal,
            clock=reactor,
            **self._counted("pop3"),
            **pop3_limits(settings),
            contexts=None if tls is None else tls.mandatory,
        )
        maildrops.wanted = Takeover(self.pop3, place.colleagues).wanted
        self._servers = (self.smtp, self.submission, self.pop3)
        self._obey(settings)

    def _adopted(self, settings: Settings) -> Adopted:
        """UIDLs that an older server gave."""
        return AdoptedUidls(self._uidls, UidlFormat(settings.pop3_uidl_format)).of

    def _counted(self, service: str) -> dict[str, Any]:
        return {"admission": self._admissions[service], "anvil": self._anvils[service]}

    def adopt(self, settings: Settings, certificates: Certificates | None) -> None:
        """A reload; ``certificates`` were made by it. Whoever is connected goes by what held when they came, but for TLS."""
        if self.certificates is not None and certificates is not None:
            self.certificates.adopt(certificates)
        for smtp in (self.smtp, self.submission):
            smtp.domain = settings.myhostname.encode()
            smtp.hostname = settings.myhostname
            smtp.banner = settings.smtpd_banner
            smtp.limits = smtp_limits(settings)
        for name, value in pop3_limits(settings).items():
            setattr(self.pop3, name, value)
        self.maildrops.claim_wait = settings.pop3_claim_wait
        self.maildrops.lock_wait = lock_patience(settings)
        self.maildrops.adopted = self._adopted(settings)
        self._obey(settings)

    def _obey(self, settings: Settings) -> None:
        """Who may come, how many and how often, and what they may do there."""
        manners = Manners(
            offered=self.certificates is not None,
            level=settings.smtpd_tls_security_level,
            auth_only=settings.smtpd_tls_auth_only,
            plaintext_networks=settings.plaintext_login_networks,
            is_device=self._is_device,
        )
        self.smtp.terms, self.submission.terms, self.pop3.terms = manners.smtp, manners.submission, manners.pop3
        self.capacity.adopt(settings.max_connections, settings.reserved_connections, settings.mynetworks)
        rates = client_rates(settings)
        exceptions = settings.smtpd_client_event_limit_exceptions
        for anvil in self._anvils.values():
            anvil.adopt(rates, exceptions)
        for admission in self._admissions.values():
            admission.adopt(settings.smtpd_client_connection_count_limit, exceptions)

    # their whole life

    def start(self) -> None:
        """Certificates are looked at again from now on."""
        for seconds, again in ((CERTIFICATES_CHANGED, False), (CERTIFICATES_DUE, True)):
            look = LoopingCall(self._look_at_certificates, again=again)
            look.clock = self._place.reactor
            look.start(seconds, now=False)
            self._looks.append(look)

    async def stop(self, limit: float) -> None:
        """Commands under way finish, within ``limit`` seconds."""
        for look in self._looks:
            look.stop()
        await DeferredList([server.stop(limit) for server in self._servers], consumeErrors=True)

    def hurry(self) -> None:
        """Nobody is waited for any longer."""
        for server in self._servers:
            server.connections.hurry()

    # TLS

    def _made_certificates(self) -> Certificates | None:
        """None where none can be had: an ordinary user without a data_directory. CannotStart where somebody relies on it."""
        settings = self._place.settings
        try:
            return self.certificates_of(settings)
        except (DoesNotFit, CannotServe) as trouble:
            raise CannotStart(str(trouble)) from trouble
        except KeepingTrouble as trouble:
            asked = [name for name in SUBMISSION if settings.values[name] and not settings.written[name].is_default]
            needed = settings.pop3s_port or settings.tls_legacy_clients
            if needed or asked or settings.smtpd_tls_security_level == "encrypt":
                raise CannotStart(str(trouble)) from trouble
            self.warnings.append(f"there is no TLS, and so no submission: {trouble}")
            return None

    def certificates_of(self, settings: Settings) -> Certificates:
        """Blocks. DoesNotFit, KeepingTrouble, CannotServe."""
        opened = self._place.rights.opened or open_plainly
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

    def _look_at_certificates(self, *, again: bool = False) -> None:
        """Now and then whether one is due; at once when a file that main.cf names was changed."""
        tls = self.certificates
        if tls is not None:
            look = tls.look if again else tls.look_if_changed
            Deferred.fromCoroutine(look(self._place.in_thread)).addErrback(
                lambda failure: log.failure("while looking at certificates", failure)
            )
