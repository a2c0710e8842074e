"""The whole service, wired together: the only module that knows every class.

Read ``LanMail.__init__`` from top to bottom to see what mail passes through here.
"""

from __future__ import annotations

import grp
import os
import pwd
import resource
import signal
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, ParamSpec, TypeVar

from twisted.application.service import Service
from twisted.cred.checkers import ICredentialsChecker
from twisted.internet.defer import Deferred, DeferredList, maybeDeferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.protocol import ServerFactory
from twisted.internet.task import LoopingCall, deferLater
from twisted.internet.threads import deferToThreadPool
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.python.failure import Failure
from twisted.python.threadpool import ThreadPool

from lanmail import __version__
from lanmail.accounts.checkers import ForeignPasswords, PasswordChecker
from lanmail.accounts.devices import BadTable, DeviceTable
from lanmail.accounts.homes import forward_files
from lanmail.accounts.pam import SystemGuards
from lanmail.accounts.passwd_file import PasswdFile
from lanmail.accounts.realm import MailRealm, make_portal
from lanmail.accounts.remembered import RememberedLogins
from lanmail.accounts.sources import AccountList, Accounts, Passwords
from lanmail.accounts.throttle import Throttle
from lanmail.accounts.watched import ACCOUNTS, FOLDERS, Watched
from lanmail.admission import Admission, Capacity
from lanmail.config.foreign_accounts import obstacle_on
from lanmail.config.machine import THIS_MACHINE
from lanmail.config.parameters import Settings
from lanmail.delivery.aliases import Aliases
from lanmail.delivery.forward import ForwardsOfUsers
from lanmail.delivery.local import LocalDelivery
from lanmail.delivery.reception import Reception
from lanmail.delivery.routes import Domains, Router
from lanmail.interfaces import User, nothing_to_tell
from lanmail.mailbox import expunge
from lanmail.mailbox.adopted import AdoptedUidls, UidlFormat
from lanmail.mailbox.claims import Claims
from lanmail.mailbox.disk import SYSTEM
from lanmail.mailbox.index_cache import IndexCache
from lanmail.mailbox.maildrop import Maildrops
from lanmail.mailbox.saved_index import SavedIndexes
from lanmail.mailbox.store import Locking, MailboxFile
from lanmail.maillog import Logger, MailLogFile
from lanmail.manners import Manners
from lanmail.message import QueueIds
from lanmail.pop3.server import LanPOP3Factory
from lanmail.ports import CannotListen, Listening, listen
from lanmail.proxied import PREFIX, ProxiedFactory
from lanmail.queue.bounce import Reports
from lanmail.queue.clock import QueueClock
from lanmail.queue.control import ControlSocket
from lanmail.queue.desk import Desk
from lanmail.queue.runner import Runner
from lanmail.queue.schedule import Schedule
from lanmail.queue.troubles import Troubles
from lanmail.smtp.limits import SmtpLimits
from lanmail.smtp.server import LanSMTPFactory
from lanmail.spool.checkpoint import Checkpoints
from lanmail.spool.history import History
from lanmail.spool.incoming import IncomingFolder
from lanmail.spool.journal import Journal, JournalTrouble
from lanmail.spool.recovery import Recovery
from lanmail.state import HISTORY, JOURNAL, StateFolder
from lanmail.status import TemporaryFailure
from lanmail.tls.configured import given_files, order_of, plan_of
from lanmail.tls.given import DoesNotFit
from lanmail.tls.keeping import KeepingTrouble
from lanmail.tls.openssl import CannotServe, Versions
from lanmail.tls.serving import Certificates

P = ParamSpec("P")
T = TypeVar("T")

# Threads wait for disks, not for processors, and never for locks: this many keep one disk busy.
THREADS = 16
# A POP3 client's socket, its mailbox and its claim; an SMTP client's socket and the file of a large message.
CLIENT_DESCRIPTORS = 3
# Threads at their mailboxes and lock files, helper processes, folders, ports and the log.
OWN_DESCRIPTORS = 512
# Seconds between two tries to look for what a crash left, where another program held a mailbox, or it could not be read: twice as long
# each time, since most programs hold one for a moment.
RECOVER_AGAIN = 0.25
RECOVER_EVERY = 60.0
# Seconds between two looks at the files of certificates, and between two at their dates and our names.
CERTIFICATES_CHANGED = 10.0
CERTIFICATES_DUE = 3600.0
STDOUT = "/dev/stdout"  # what Postfix in a container is given as maillog_file: Twisted's log goes there already

log = Logger("master")


def open_ports(settings: Settings) -> list[Listening]:
    """Every port that main.cf asks for by number, bound. Raises CannotListen, and then none is bound."""
    wanted = [
        ("smtp", settings.smtp_port, "smtp_port") if not settings.smtp_endpoint else ("smtp", 0, ""),
        ("pop3", settings.pop3_port, "pop3_port") if not settings.pop3_endpoint else ("pop3", 0, ""),
        ("pop3s", settings.pop3s_port, "pop3s_port"),
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


class CannotStart(Exception):
    """Something that main.cf asks for cannot be had; the text says what."""


class LanMail(Service):
    """One mail service, from its bound ports to its mailboxes.

    warnings: of the configuration, for the log. foreign: checkers in place of our own (Twisted's ``--auth``).
    started: called when everything is under way. Raises CannotStart, and StateTrouble.
    """

    name = "lanmail"

    def __init__(
        self,
        settings: Settings,
        warnings: Sequence[object],
        state: StateFolder,
        ports: Sequence[Listening],
        foreign: Sequence[ICredentialsChecker],
        reactor: Any,
        started: Callable[[], None] = lambda: None,
    ) -> None:
        self._settings = settings
        self._warnings = [str(warning) for warning in warnings]
        self._state = state
        self._ports = ports
        self._reactor = reactor
        self._started = started
        self._listening: list[Any] = []
        self._looks: list[LoopingCall] = []
        self._log_file = _log_file(settings)
        self._guards: SystemGuards | None = None
        self._pool = ThreadPool(0, THREADS, "lanmail")
        self._owner = pwd.getpwnam(settings.mail_owner)

        # people
        accounts = self._accounts = AccountList(
            [self._source(source.kind, source.path) for source in settings.accounts]
        )
        throttle = Throttle(reactor)
        domains = settings.mydestination.names
        passwords = ForeignPasswords(foreign, accounts, domains, log.report) if foreign else self._remembering(accounts)
        checker = PasswordChecker(passwords, domains, throttle, Logger("auth").report)
        devices = DeviceTable(settings.device_table, self.in_thread, reactor.seconds, log.report)
        try:
            devices.load()
        except BadTable as bad:
            raise CannotStart("\n".join(bad.lines)) from bad

        # what is answered for, and what is told of it
        history = self._history = History(
            os.path.join(state.path, HISTORY), settings.history_days, log.report, wall=time.time
        )
        tell = history.tell if settings.history_days else nothing_to_tell
        incoming = self._incoming = IncomingFolder(state.folder("incoming"), self.in_thread, log.report)
        try:
            journal = self._journal = Journal(os.path.join(state.path, JOURNAL), incoming, log.report)
        except JournalTrouble as trouble:
            raise CannotStart(str(trouble)) from trouble

        # mailboxes
        locks = settings.mailbox_delivery_lock
        self._locking = Locking("dotlock" in locks, "fcntl" in locks, "flock" in locks, settings.stale_lock_time)
        self._mailbox_state = state.folder("mailboxes")
        expunge.sweep(self._mailbox_state)
        self._mail_group = _group("mail")
        self._root = User("root", os.geteuid(), os.getegid())
        boot = SYSTEM.boot()
        self._checkpoints = Checkpoints(journal, self.mailbox_of, log.report, before_forget=history.flush)
        try:
            self._recovery = Recovery(journal, self.mailbox_of, self._checkpoints, log.report, tell, boot=boot)
        except TemporaryFailure as failure:
            raise CannotStart(f"{os.path.join(state.path, JOURNAL)}: {failure}") from failure
        delivery = LocalDelivery(
            self.mailbox_of,
            journal,
            self._recovery,
            self._checkpoints,
            log.report,
            boot=boot,
            mailbox_size_limit=settings.mailbox_size_limit,
        )
        patience = settings.deliver_lock_attempts * settings.deliver_lock_delay

        # where mail goes
        self._aliases = Aliases(settings.alias_maps, log.report, reactor.seconds)
        router = Router(
            Domains(settings.myorigin, settings.mydestination, _Own(settings.inet_interfaces.is_own)),
            self._aliases,
            accounts,
            self.in_thread,
            log.report,
            root=self._root,
            mynetworks=settings.mynetworks,
            admin_user=settings.admin_user or None,
            recipient_delimiter=settings.recipient_delimiter,
            mailbox_size_limit=settings.mailbox_size_limit,
            mailbox_size=self._mailbox_size,
            forwards=self._forwards(),
            # Otherwise of no effect, which config/checks.py says.
            luser_relay="" if settings.local_recipient_maps else settings.luser_relay,
        )

        # the queue
        ids = QueueIds(time.time, journal.last_id_at_start)
        schedule = Schedule(
            settings.minimal_backoff_time,
            settings.maximal_backoff_time,
            settings.maximal_queue_lifetime,
            settings.bounce_queue_lifetime,
            settings.delay_warning_time,
        )
        queue_clock = QueueClock(journal.clock_at_start, time.monotonic)
        reports = Reports(
            router.report,
            ids.next,
            incoming,
            myhostname=settings.myhostname,
            myorigin=settings.myorigin,
            language=settings.report_language,
            size_limit=settings.bounce_size_limit,
            notify_classes=settings.notify_classes,
            schedule=schedule,
            wall=time.time,
            now=queue_clock.seconds,
        )
        runner = self._runner = Runner(
            journal,
            incoming,
            delivery,
            self._checkpoints,
            reports,
            accounts,
            also=[self._root],
            in_thread=self.in_thread,
            clock=reactor,
            queue_clock=queue_clock,
            call_from_thread=reactor.callFromThread,
            tell=tell,
            schedule=schedule,
            undelivered=lambda *trouble: self._troubles.undelivered(*trouble),
            queue_run_delay=settings.queue_run_delay,
            patience=patience,
        )
        self._recovery.waits_again = lambda: reactor.callFromThread(runner.look)
        troubles = self._troubles = Troubles(
            runner.accept,
            router.report,
            ids.next,
            incoming,
            myhostname=settings.myhostname,
            myorigin=settings.myorigin,
            language=settings.report_language,
            notify_classes=settings.notify_classes,
            clock=reactor,
            wall=time.time,
        )
        desk = Desk(runner, self.in_thread, queue_clock.seconds, time.time)
        self._control = ControlSocket(state.path, self._owner.pw_uid, self._owner.pw_gid, desk, reactor)

        # people's mail, in and out
        reception = Reception(
            router,
            runner.accept,
            incoming,
            ids,
            devices,
            trouble=lambda: journal.trouble,
            tell=tell,
            myhostname=settings.myhostname,
            myorigin=settings.myorigin,
            drop_headers=settings.message_drop_headers,
            hopcount_limit=settings.hopcount_limit,
            wall=time.time,
        )
        adopted = AdoptedUidls(state.folder("uidls"), UidlFormat(settings.pop3_uidl_format))
        maildrops = self._maildrops = Maildrops(
            self.mailbox_of,
            Claims(state.folder("claims")),
            IndexCache(),
            in_thread=self.in_thread,
            sleep=self.sleep,
            adopted=adopted.of,
            saved=SavedIndexes(state.folder("indexes")),
            claim_wait=settings.pop3_claim_wait,
            lock_wait=patience,
            tell=tell,
        )

        # TLS
        tls = self._certificates = self._made_certificates()
        manners = Manners(
            offered=tls is not None,
            level=settings.smtpd_tls_security_level,
            auth_only=settings.smtpd_tls_auth_only,
            plaintext_networks=settings.plaintext_login_networks,
            is_device=lambda host: devices.of(host) is not None,
        )

        # protocols
        portal = make_portal(MailRealm(accounts, reception, maildrops.open), checker)
        capacity = self._capacity = Capacity(settings.max_connections)
        per_client = settings.smtpd_client_connection_count_limit
        exceptions = settings.smtpd_client_event_limit_exceptions
        self.smtp = LanSMTPFactory(
            portal,
            hostname=settings.myhostname,
            banner=settings.smtpd_banner,
            limits=SmtpLimits(
                message_size_limit=settings.message_size_limit,
                line_length_limit=settings.line_length_limit,
                recipient_limit=settings.smtpd_recipient_limit,
                recipient_overshoot_limit=settings.smtpd_recipient_overshoot_limit,
                junk_command_limit=settings.smtpd_junk_command_limit,
                soft_error_limit=settings.smtpd_soft_error_limit,
                hard_error_limit=settings.smtpd_hard_error_limit,
                error_sleep_time=settings.smtpd_error_sleep_time,
                timeout=settings.smtpd_timeout,
            ),
            admission=Admission("smtp", capacity, per_client, exceptions, log.report),
            clock=reactor,
            refused=troubles.refused,
            terms=manners.smtp,
            contexts=None if tls is None else tls.clear,
        )
        self.pop3 = LanPOP3Factory(
            portal,
            clock=reactor,
            banner=settings.pop3_banner,
            admission=Admission("pop3", capacity, per_client, exceptions, log.report),
            login_timeout=settings.pop3_login_timeout,
            timeout=settings.pop3_timeout,
            takeover_after=settings.pop3_takeover_after,
            error_limit=settings.pop3_error_limit,
            terms=manners.pop3,
            contexts=None if tls is None else tls.mandatory,
        )
        maildrops.wanted = self.pop3.wanted

    # what the parts are handed

    def in_thread(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Deferred[T]:
        """interfaces.InThread."""
        return deferToThreadPool(self._reactor, self._pool, work, *args, **kwargs)

    def sleep(self, seconds: float) -> Deferred[None]:
        """interfaces.Sleep."""
        return deferLater(self._reactor, seconds)

    def mailbox_of(self, user: User) -> MailboxFile:
        """The mailbox file of a user, whose name is safe as the name of a file."""
        return MailboxFile(
            os.path.join(self._settings.mail_spool_directory, user.name),
            user,
            group=self._mail_group,
            locking=self._locking,
            state_folder=self._mailbox_state,
            report=log.report,
            mend=self._recovery.mend,
            settle=self._checkpoints.settle,
        )

    def _mailbox_size(self, user: User) -> int:
        try:
            return os.lstat(os.path.join(self._settings.mail_spool_directory, user.name)).st_size
        except FileNotFoundError:
            return 0

    # Service

    def startService(self) -> None:
        super().startService()  # type: ignore[no-untyped-call]
        # First, and before there are threads or processes: where an endpoint cannot be had the program ends here.
        self._listen()
        if self._log_file is not None:
            self._log_file.begin()
        self._state.sign()
        for warning in (*self._warnings, *self._missing_rights(), *self._missing_descriptors()):
            log.warn("warning: {warning}", warning=warning)
        self._pool.start()
        if self._guards is not None:
            self._guards.start()
        signal.signal(signal.SIGHUP, lambda *_: self._reactor.callFromThread(self._reopen_log))
        self._history.start()
        self._journal.start()
        # Mailboxes that a crash left half written are mended before they are used, whoever comes first; so the ports may answer.
        self._recovering = LoopingCall(self._recover)
        self._recovering.clock = self._reactor
        self._recovering.start(RECOVER_AGAIN)
        self._runner.start()
        self._open_control()
        for seconds, again in ((CERTIFICATES_CHANGED, False), (CERTIFICATES_DUE, True)):
            look = LoopingCall(self._look_at_certificates, again=again)
            look.clock = self._reactor
            look.start(seconds, now=False)
            self._looks.append(look)
        mending = self._maildrops.finish_expunges(self._mailbox_state, self._accounts, log.report)
        Deferred.fromCoroutine(mending).addErrback(lambda failure: log.failure("while finishing expunges", failure))
        Deferred.fromCoroutine(self._read_aliases()).addErrback(
            lambda failure: log.failure("while reading aliases", failure)
        )
        for place in (*(f"{port.protocol} on {port.place}" for port in self._ports), *self._endpoints()):
            log.info("listening: {place}", place=place)
        log.info("lanmail {version} is up", version=__version__)
        self._started()

    def _recover(self) -> Deferred[None] | None:
        """At start, and later what could not be looked into then."""
        if not self._recovery.left:
            self._recovering.interval = RECOVER_EVERY
            return None
        self._recovering.interval = min(2 * (self._recovering.interval or RECOVER_AGAIN), RECOVER_EVERY)

        def failed(failure: Failure) -> None:
            if failure.check(TemporaryFailure) is None:  # of that, the journal tells
                log.failure("while recovering", failure)

        # What was not found in its mailbox waits again.
        return self.in_thread(self._recovery.run).addErrback(failed).addCallback(lambda _: self._runner.look())

    def _open_control(self) -> None:
        try:
            self._control.listen(self._reactor)
        except OSError as error:
            log.warn(
                "warning: {path}: {error}; lanmail queue cannot ask this service", path=self._control.path, error=error
            )

    async def _read_aliases(self) -> None:
        """At start, so that what is wrong with them is said now and not to the first client; and who reads root's mail."""
        await self.in_thread(self._aliases.refresh)
        admin = self._settings.admin_user
        if admin and self._aliases.find(admin) is None and await self._accounts.find(admin) is None:
            log.warn(
                "warning: admin_user, {admin}, is nobody here: root's mail goes where an alias says, or to the mailbox file root",
                admin=admin,
            )

    def _listen(self) -> None:
        for port in self._ports:
            factory: Any = self.smtp if port.protocol == "smtp" else self.pop3
            if port.protocol == "pop3s":
                assert self._certificates is not None  # or the port would not have been bound
                factory = TLSMemoryBIOFactory(self._certificates.mandatory, False, self.pop3, self._reactor)
            self._listening.append(self._reactor.adoptStreamPort(port.socket.fileno(), port.socket.family, factory))
            port.socket.close()  # the reactor has its own descriptor of it
        for description in self._settings.smtp_endpoint:
            self._listen_on(description, self.smtp)
        for description in self._settings.pop3_endpoint:
            self._listen_on(description, self.pop3)

    def _listen_on(self, description: str, factory: ServerFactory) -> None:
        """SystemExit with a sentence where an endpoint cannot be had: it is not worth running without."""
        failed: list[Failure] = []
        try:
            served = ProxiedFactory(factory, self._reactor) if description.startswith(PREFIX) else factory
            endpoint = serverFromString(self._reactor, description.removeprefix(PREFIX))
            endpoint.listen(served).addCallbacks(self._listening.append, failed.append)
        except Exception:
            failed.append(Failure())
        if failed:
            raise SystemExit(f"lanmail: cannot listen on {description}: {failed[0].getErrorMessage()}")

    def _endpoints(self) -> list[str]:
        return [*self._settings.smtp_endpoint, *self._settings.pop3_endpoint]

    def stopService(self) -> Deferred[None]:
        """No new connections, commands under way finish, then everything is closed."""
        super().stopService()  # type: ignore[no-untyped-call]
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        signals = {number: signal.signal(number, self._hurry) for number in (signal.SIGTERM, signal.SIGINT)}
        await DeferredList([maybeDeferred(port.stopListening) for port in self._listening], consumeErrors=True)
        limit = self._settings.shutdown_timeout
        await DeferredList([self.smtp.stop(limit), self.pop3.stop(limit)], consumeErrors=True)
        await self._control.stop()
        self._recovering.stop()
        for look in self._looks:
            look.stop()
        self._recovery.stop()
        # What was answered 250 and is not in its mailbox yet stays in the journal, and is delivered by the next process.
        self._troubles.stop()
        await self._runner.stop()
        if self._guards is not None:
            await self._guards.stop()
        for number, before in signals.items():
            signal.signal(number, before)
        # Whatever a thread is at, it finishes: an append that was begun ends whole.
        self._pool.stop()
        self._checkpoints.close()
        self._journal.close()
        self._history.close()
        self._incoming.close()
        self._state.release()
        log.info("lanmail has stopped")
        if self._log_file is not None:
            self._log_file.end()

    def _hurry(self, *_: object) -> None:
        """Told to stop once more: nobody is waited for any longer. (Twisted's own answer to that is a traceback.)"""
        for server in (self.smtp, self.pop3, self._control):
            self._reactor.callFromThread(server.connections.hurry)

    # within

    def _source(self, kind: str, path: str) -> Accounts:
        """One entry of ``accounts``."""
        settings = self._settings
        if kind == "system":
            self._guards = SystemGuards(
                self._reactor,
                settings.pam_service,
                log.report,
                helpers=settings.pam_processes,
                time_limit=settings.pam_timeout,
            )
            return self._guards.accounts(self._reactor, settings.user_ids, log.report)
        owner = self._owner
        return PasswdFile(path, owner.pw_uid, owner.pw_gid, self.in_thread, self._reactor, log.report)

    def _made_certificates(self) -> Certificates | None:
        """None where none can be had: an ordinary user without a data_directory. CannotStart where somebody relies on it."""
        settings = self._settings
        try:
            return Certificates(
                given_files(settings),
                THIS_MACHINE.read,
                lambda: plan_of(settings),
                order_of(settings).keep,
                log.report,
                clock=self._reactor,
                versions=Versions.of(settings.smtpd_tls_protocols),
                mandatory_versions=Versions.of(settings.smtpd_tls_mandatory_protocols),
                handshake_limit=settings.smtpd_starttls_timeout,
            )
        except (DoesNotFit, CannotServe) as trouble:
            raise CannotStart(str(trouble)) from trouble
        except KeepingTrouble as trouble:
            if settings.pop3s_port or settings.smtpd_tls_security_level == "encrypt":
                raise CannotStart(str(trouble)) from trouble
            self._warnings.append(f"there is no TLS: {trouble}")
            return None

    def _look_at_certificates(self, *, again: bool = False) -> None:
        """Now and then whether one is due; at once when a file that main.cf names was changed."""
        tls = self._certificates
        if tls is not None and (again or tls.changed):
            Deferred.fromCoroutine(tls.look(self.in_thread)).addErrback(
                lambda failure: log.failure("while looking at certificates", failure)
            )

    def _remembering(self, accounts: AccountList) -> Passwords:
        """The accounts, and a memory of who has just logged in, as far as that is safe here."""
        settings = self._settings
        if not settings.login_cache_time:
            return accounts
        files = [source.path for source in settings.accounts if source.kind == "passwd-file"]
        system = any(source.kind == "system" for source in settings.accounts)
        # Asked for in main.cf it is done, whatever nsswitch.conf and PAM say.
        judged = system and settings.written["login_cache_time"].is_default
        return RememberedLogins(
            accounts,
            accounts,
            Watched([*ACCOUNTS, *files], FOLDERS) if system else Watched(files),
            self.in_thread,
            log.report,
            lasting=settings.login_cache_time,
            clock=self._reactor.seconds,
            wall=time.time,
            obstacle=partial(obstacle_on, THIS_MACHINE, settings.pam_service) if judged else str,
        )

    def _forwards(self) -> ForwardsOfUsers | None:
        """None where nobody's .forward is read: not asked for, no system accounts, or no right to be somebody else."""
        path = self._settings.forward_path
        if self._guards is None or os.geteuid() != 0 or not (path.plain or path.tagged):
            return None
        read = forward_files(self._guards.homes)
        return ForwardsOfUsers(read, self._reactor, log.report, plain=path.plain, tagged=path.tagged)

    def _missing_rights(self) -> list[str]:
        if os.geteuid() == 0 or self._guards is None:
            return []
        return [
            "started without root: PAM may refuse to check other users' passwords, and a mailbox that is missing cannot be made"
            f" for its user in {self._settings.mail_spool_directory}; .forward files are not read"
        ]

    def _missing_descriptors(self) -> list[str]:
        """Take all the descriptors we may have, and let in no more clients than they are for: what is let in must be served."""
        _soft, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
        room = max(1, (most - OWN_DESCRIPTORS) // CLIENT_DESCRIPTORS)
        if room >= self._capacity.limit:
            return []
        asked, self._capacity.limit = self._capacity.limit, room
        needed = OWN_DESCRIPTORS + CLIENT_DESCRIPTORS * asked
        return [
            f"max_connections is {asked}, and this process may have {most} descriptors: {room} connections are let in."
            f" For all of them it needs {needed} (LimitNOFILE= in systemd's unit, ulimit -n)"
        ]

    def _reopen_log(self) -> None:
        if self._log_file is None:
            return
        try:
            self._log_file.reopen()
        except OSError as error:
            log.warn("warning: cannot reopen {file}: {error}", file=self._settings.maillog_file, error=error.strerror)


class _Own:
    """A container of the texts of addresses that are ours."""

    def __init__(self, is_own: Callable[[str], bool]) -> None:
        self._is_own = is_own

    def __contains__(self, host: object) -> bool:
        return self._is_own(str(host))


def _log_file(settings: Settings) -> MailLogFile | None:
    """``maillog_file``, opened while it can still be said that it cannot be."""
    if settings.maillog_file in ("", STDOUT):
        return None
    try:
        return MailLogFile(settings.maillog_file, settings.myhostname)
    except OSError as error:
        raise CannotStart(f"cannot write {settings.maillog_file}: {error.strerror} (maillog_file)") from error


def _group(name: str) -> int | None:
    """The gid for new mailboxes; None where we cannot give them away, or there is no such group."""
    try:
        return grp.getgrnam(name).gr_gid if os.geteuid() == 0 else None
    except KeyError:
        return None
