"""One mail service as Twisted knows it: it is put together, starts, and stops. What it is made of, ``lanmail.wiring`` says."""

from __future__ import annotations

import os
import resource
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from twisted.application.service import Service
from twisted.cred.checkers import ICredentialsChecker
from twisted.internet.defer import Deferred, DeferredLock
from twisted.internet.task import LoopingCall
from twisted.python.failure import Failure

from lanmail import __version__
from lanmail.config.openings import openings
from lanmail.config.parameters import Settings
from lanmail.config.settings import Reading
from lanmail.maillog import MailLogFile
from lanmail.notify import Notices
from lanmail.ports import Listening
from lanmail.rights.privileges import CannotDrop
from lanmail.wiring.doors import Doors
from lanmail.wiring.keeping import Keeping
from lanmail.wiring.listening import Entrances
from lanmail.wiring.people import People
from lanmail.wiring.place import CannotStart, Place, log
from lanmail.wiring.post import Post
from lanmail.wiring.reload import Reload
from lanmail.wiring.rights import Rights

# A POP3 client's socket, its mailbox and its claim; an SMTP client's socket and the file of a large message.
CLIENT_DESCRIPTORS = 3
# Threads at their mailboxes and lock files, helper processes, folders, ports and the log.
OWN_DESCRIPTORS = 512
STDOUT = "/dev/stdout"  # what Postfix in a container is given as maillog_file: Twisted's log goes there already


class LanMail(Service):
    """One mail service, from its bound ports to its mailboxes.

    place: where its parts are put together. warnings: of the configuration, for the log. foreign: checkers in place of our own
    (Twisted's ``--auth``). reread: the configuration as it is now; blocks. started: called when everything is under way.
    Raises CannotStart, and StateTrouble.
    """

    name = "lanmail"

    def __init__(
        self,
        place: Place,
        warnings: Sequence[object],
        ports: Sequence[Listening],
        foreign: Sequence[ICredentialsChecker],
        reread: Callable[[], Reading],
        started: Callable[[], None] = lambda: None,
        notices: Notices | None = None,
    ) -> None:
        self._warnings = [str(warning) for warning in warnings]
        self._started = started
        self._place = place
        self._log_file = log_file_of(place.settings, place.rights)
        self._notices = Notices() if notices is None else notices
        self._alive = LoopingCall(self._notices.alive)
        self._alive.clock = place.reactor

        people = self._people = People(place, foreign)
        with place.rights.as_owner():
            keeping = self._keeping = Keeping(place)
        post = self._post = Post(place, people, keeping)
        doors = self._doors = Doors(place, people, keeping, post)
        self._entrances = Entrances(place, doors, ports)
        self._reload = Reload(place, people, keeping, post, doors)
        self._reread = reread
        self._reloading = DeferredLock()

    def startService(self) -> None:
        super().startService()  # type: ignore[no-untyped-call]
        # First, and before there are threads or processes: where an endpoint cannot be had, or root not be given up, the program ends here.
        self._entrances.open()
        missing = self._missing_descriptors()
        give_up_root(self._place.rights)
        self._place.state.sign()
        signal.signal(signal.SIGHUP, lambda *_: self._place.reactor.callFromThread(self.reload))
        self._begin((*self._warnings, *self._doors.warnings, *self._people.missing_rights(), *missing))
        announce(self._entrances.described(), self._place.settings)
        self._notices.ready()
        if self._notices.watchdog_interval is not None:
            self._alive.start(self._notices.watchdog_interval)
        self._started()

    def _begin(self, warnings: Sequence[str]) -> None:
        """Everything is under way but the ports."""
        if self._log_file is not None:
            self._log_file.begin(lambda write: self._place.reactor.callLater(0, write))
        for warning in warnings:
            log.warn("warning: {warning}", warning=warning)
        self._place.rights.begin().addCallback(self._guard_is_lost)
        self._place.threads.start()
        self._people.start()
        self._keeping.start(self._post.runner.look)
        self._post.start()
        self._doors.start()
        mending = self._doors.maildrops.finish_expunges(self._keeping.mailbox_state, self._people.accounts, log.report)
        for work, what in ((mending, "finishing expunges"), (self._post.read_aliases(), "reading aliases")):
            Deferred.fromCoroutine(work).addErrback(_broken, what)

    def reload(self) -> Deferred[None]:
        """SIGHUP: the log file is opened anew, and everything that may change is read again, all or nothing. Fires when it is done."""
        self.reopen_log()
        return self._reloading.run(lambda: Deferred.fromCoroutine(self._read_again())).addErrback(
            _broken, "reading again"
        )

    async def _read_again(self) -> None:
        if not self.running:
            return
        self._notices.reloading()
        try:
            if await self._reload.run(self._reread):
                for warning in self._missing_descriptors():
                    log.warn("warning: {warning}", warning=warning)
                for opening in openings(self._place.settings):
                    log.info("{opening}", opening=opening)
        finally:
            self._notices.ready()

    def stopService(self) -> Deferred[None]:
        """No new connections, commands under way finish, then everything is closed."""
        super().stopService()  # type: ignore[no-untyped-call]
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        self._notices.stopping()
        with told_again(self._hurry):
            await self._entrances.close()
            await self._doors.stop(self._place.settings.shutdown_timeout)
            if self._post.control is not None:
                await self._post.control.stop()
            self._keeping.stop_recovering()
            # What was answered 250 and is not in its mailbox yet stays in the journal, and is delivered by the next process.
            self._post.troubles.stop()
            await self._post.runner.stop()
            await self._people.stop()
        # Whatever a thread is at, it finishes: an append that was begun ends whole.
        self._place.threads.stop()
        self._place.rights.end()
        self._keeping.close()
        self._place.state.release()
        if self._alive.running:
            self._alive.stop()
        log.info("lanmail has stopped")
        if self._log_file is not None:
            self._log_file.end()

    def _hurry(self, *_: object) -> None:
        """Told to stop once more: nobody is waited for any longer."""
        self._place.reactor.callFromThread(self._doors.hurry)
        if self._post.control is not None:
            self._place.reactor.callFromThread(self._post.control.connections.hurry)

    def _guard_is_lost(self, why: str) -> None:
        """Nobody could log in any more, and no mailbox be made; whoever watches us starts us anew."""
        log.error("{why}; the service ends, since nobody could log in", why=why)
        # Neither twist nor twistd knows of another status than 0.
        self._place.reactor.addSystemEventTrigger("after", "shutdown", os._exit, 1)
        self._place.reactor.stop()

    def _missing_descriptors(self) -> list[str]:
        """Take all the descriptors we may have, and let in no more clients than they are for: what is let in must be served."""
        _soft, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
        room = max(1, (most - OWN_DESCRIPTORS) // CLIENT_DESCRIPTORS)
        capacity = self._doors.capacity
        if room >= capacity.limit:
            return []
        asked = capacity.limit
        capacity.shrink(room)
        needed = OWN_DESCRIPTORS + CLIENT_DESCRIPTORS * asked
        return [
            f"max_connections is {asked}, and this process may have {most} descriptors: {room} connections are let in."
            f" For all of them it needs {needed} (LimitNOFILE= in systemd's unit, ulimit -n)"
        ]

    def reopen_log(self) -> None:
        """SIGHUP, for whoever has renamed the file."""
        reopen(self._log_file, self._place.settings)


def give_up_root(rights: Rights) -> None:
    """Where that cannot be, the program ends (SystemExit)."""
    try:
        rights.give_up()
    except CannotDrop as trouble:
        raise SystemExit(f"lanmail: {trouble}") from trouble


@contextmanager
def told_again(hurry: Callable[..., object]) -> Iterator[None]:
    """During a stop: whoever tells us to stop once more is heard by ``hurry``. (Twisted's own answer to that is a traceback.)"""
    before = {number: signal.signal(number, hurry) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def announce(described: Sequence[str], settings: Settings) -> None:
    """What is spoken where, and to whom."""
    for place in described:
        log.info("listening: {place}", place=place)
    for opening in openings(settings):
        log.info("{opening}", opening=opening)
    log.info("lanmail {version} is up", version=__version__)


def reopen(log_file: MailLogFile | None, settings: Settings) -> None:
    """Go on in a new file of that name; where there can be none, in the old one."""
    if log_file is None:
        return
    try:
        log_file.reopen()
    except OSError as error:
        log.warn("warning: cannot reopen {file}: {error}", file=settings.maillog_file, error=error.strerror)


def _broken(failure: Failure, what: str) -> None:
    log.failure("while {what}", failure, what=what)


def log_file_of(settings: Settings, rights: Rights) -> MailLogFile | None:
    """``maillog_file``, opened while it can still be said that it cannot be."""
    if settings.maillog_file in ("", STDOUT):
        return None
    try:
        return MailLogFile(settings.maillog_file, settings.myhostname, owner=rights.owner.pw_uid)
    except OSError as error:
        raise CannotStart(f"cannot write {settings.maillog_file}: {error.strerror} (maillog_file)") from error
