"""Where mail goes, and the queue: what comes in through the doors ends in a mailbox, or in a report."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from typing import Any, TypedDict

from lanmail.address import Address
from lanmail.config.parameters import Settings
from lanmail.delivery.aliases import Aliases
from lanmail.delivery.reception import Reception, Submission
from lanmail.delivery.routes import Domains, Route, Router
from lanmail.delivery.sender_logins import SenderLogins
from lanmail.delivery.senders import Senders
from lanmail.files import open_plainly
from lanmail.message import QueueIds
from lanmail.queue.bounce import Reports
from lanmail.queue.clock import QueueClock
from lanmail.queue.control import ControlSocket
from lanmail.queue.desk import Desk
from lanmail.queue.far import Window
from lanmail.queue.runner import Runner
from lanmail.queue.schedule import Schedule
from lanmail.queue.troubles import Troubles
from lanmail.wiring.keeping import Keeping
from lanmail.wiring.people import People
from lanmail.wiring.place import Place, log


class Post:
    """aliases, router: where mail goes. runner: the queue. troubles: what postmaster hears of. reception: of messages that come in."""

    def __init__(self, place: Place, people: People, keeping: Keeping) -> None:
        settings, reactor, tell = place.settings, place.reactor, keeping.tell
        self._place = place
        self._people = people
        self._keeping = keeping
        journal, incoming = keeping.journal, keeping.incoming
        self._opened = place.rights.opened or open_plainly
        share = keeping.share
        self._ids = QueueIds(time.time, keeping.last_id, place=share.place, count=share.count)
        self._schedule = _schedule(settings)
        queue_clock = QueueClock(journal.clock_at_start, time.monotonic)
        self._reports = Reports(
            self._where,
            self._ids.next,
            incoming,
            **_letters(settings),
            size_limit=settings.bounce_size_limit,
            schedule=self._schedule,
            wall=time.time,
            now=queue_clock.seconds,
        )
        self.runner = Runner(
            journal,
            incoming,
            keeping.delivery,
            keeping.checkpoints,
            self._reports,
            people.accounts,
            also=[place.rights.root],
            in_thread=place.in_thread,
            clock=reactor,
            queue_clock=queue_clock,
            call_from_thread=reactor.callFromThread,
            tell=tell,
            schedule=self._schedule,
            undelivered=lambda *trouble: self.troubles.undelivered(*trouble),
            queue_run_delay=settings.queue_run_delay,
            patience=lock_patience(settings),
        )
        self.troubles = Troubles(
            self.runner.accept,
            self._where,
            self._ids.next,
            incoming,
            **_letters(settings),
            clock=reactor,
            wall=time.time,
        )
        desk = Desk(self.runner, place.in_thread, queue_clock.seconds, time.time)
        self._window = Window(place.colleagues, desk, reactor)
        owner = place.rights.owner
        # Where there are several processes, one is asked for all of them.
        alone = place.colleagues.number == 0
        self.control = ControlSocket(place.state.path, owner.pw_uid, owner.pw_gid, desk, reactor) if alone else None
        self._obey(settings, self.aliases_of(settings))

    def aliases_of(self, settings: Settings) -> Aliases:
        """Not read yet."""
        return Aliases(settings.alias_maps, log.report, self._place.reactor.seconds, opened=self._opened)

    def adopt(self, settings: Settings, aliases: Aliases) -> None:
        """A reload, which has read the aliases. Messages that are coming in go by what held when they began."""
        self._schedule.adopt(_schedule(settings))
        self._reports.adopt(**_letters(settings), size_limit=settings.bounce_size_limit)
        self.troubles.adopt(**_letters(settings))
        self.runner.adopt(queue_run_delay=settings.queue_run_delay, patience=lock_patience(settings))
        self._obey(settings, aliases)

    def _obey(self, settings: Settings, aliases: Aliases) -> None:
        """Where mail goes, and what is done with it on the way, by these."""
        self.aliases = aliases
        domains = Domains(settings.myorigin, settings.mydestination, _Own(settings.inet_interfaces.is_own))
        router = self.router = self._router(settings, domains)
        logins = self._logins = SenderLogins(
            settings.smtpd_sender_login_maps,
            domains,
            settings.recipient_delimiter,
            self._place.in_thread,
            log.report,
            self._place.reactor.seconds,
            opened=self._opened,
        )
        local_need_login = settings.mynetworks_may_send_as == "nobody-local"
        journal = self._keeping.journal
        self.reception = Reception(
            router,
            Senders(router, logins, self._place.in_thread, local_need_login=local_need_login),
            self.runner.accept,
            self._keeping.incoming,
            self._ids,
            self._people.devices,
            trouble=lambda: journal.trouble,
            tell=self._keeping.tell,
            myhostname=settings.myhostname,
            myorigin=settings.myorigin,
            drop_headers=settings.message_drop_headers,
            hopcount_limit=settings.hopcount_limit,
            header_size_limit=settings.message_header_size_limit,
            wall=time.time,
            submission=Submission(settings.submission_header_from == "check", settings.submission_hide_client),
        )

    def _router(self, settings: Settings, domains: Domains) -> Router:
        return Router(
            domains,
            self.aliases,
            self._people.accounts,
            self._place.in_thread,
            log.report,
            root=self._place.rights.root,
            mynetworks=settings.mynetworks,
            admin_user=settings.admin_user or None,
            recipient_delimiter=settings.recipient_delimiter,
            mailbox_size_limit=settings.mailbox_size_limit,
            mailbox_size=self._keeping.size_of,
            forwards=self._people.forwards_of(settings),
            # Otherwise of no effect, which config/checks.py says.
            luser_relay="" if settings.local_recipient_maps else settings.luser_relay,
        )

    async def _where(self, address: Address) -> Route:
        """Router.report of whichever router there is by then."""
        return await self.router.report(address)

    def start(self) -> None:
        """The queue runs, and can be asked about."""
        self.runner.start()
        if self.control is not None:
            listen(self.control, self._place.reactor)

    async def read_aliases(self) -> None:
        """At start, so that what is wrong with them is said now and not to the first client; and who reads root's mail."""
        await self._place.in_thread(self.aliases.refresh)
        await self._place.in_thread(self._logins.refresh)
        admin = self._place.settings.admin_user
        if admin and self.aliases.find(admin) is None and await self._people.accounts.find(admin) is None:
            log.warn(
                "warning: admin_user, {admin}, is nobody here: root's mail goes where an alias says, or to the mailbox file root",
                admin=admin,
            )


def listen(control: ControlSocket, reactor: Any) -> None:
    """Where its socket cannot be had, the service runs without it."""
    try:
        control.listen(reactor)
    except OSError as error:
        log.warn("warning: {path}: {error}; lanmail queue cannot ask this service", path=control.path, error=error)


class _Letters(TypedDict):
    myhostname: str
    myorigin: str
    language: str
    notify_classes: Collection[str]


def _letters(settings: Settings) -> _Letters:
    """In whose name letters are written, in what language, and about what."""
    return _Letters(
        myhostname=settings.myhostname,
        myorigin=settings.myorigin,
        language=settings.report_language,
        notify_classes=settings.notify_classes,
    )


def lock_patience(settings: Settings) -> float:
    """Seconds that anything waits for another program's lock on a mailbox."""
    return settings.deliver_lock_attempts * settings.deliver_lock_delay


def _schedule(settings: Settings) -> Schedule:
    return Schedule(
        settings.minimal_backoff_time,
        settings.maximal_backoff_time,
        settings.maximal_queue_lifetime,
        settings.bounce_queue_lifetime,
        settings.delay_warning_time,
    )


class _Own:
    """A container of the texts of addresses that are ours."""

    def __init__(self, is_own: Callable[[str], bool]) -> None:
        self._is_own = is_own

    def __contains__(self, host: object) -> bool:
        return self._is_own(str(host))
