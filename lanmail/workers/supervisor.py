"""The service of which workers are the hands: it has the ports and serves nobody, starts them and starts them again, and speaks for them.

It is who a service manager knows: it is ready when the first workers serve, reads again when told to, all or nothing over all of them,
and ends when the last of them has.
"""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredLock
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.task import LoopingCall
from twisted.python.failure import Failure

from lanmail.config.reloading import applied
from lanmail.config.settings import Reading
from lanmail.maillog import Logger
from lanmail.notify import Notices
from lanmail.ports import Listening
from lanmail.queue.control import ControlSocket
from lanmail.queue.far import FarDesk
from lanmail.queue.together import Together
from lanmail.service import announce, give_up_root, log_file_of, reopen, told_again
from lanmail.shared.tables import Tables
from lanmail.status import DeliveryFailure
from lanmail.wiring.place import Place
from lanmail.wiring.post import listen
from lanmail.wiring.reload import Refused, read_again, refuse, tell
from lanmail.wiring.rights import Guarded
from lanmail.workers.births import Births
from lanmail.workers.line import Line, OneLine
from lanmail.workers.order import Order, settings_text
from lanmail.workers.output import Output
from lanmail.workers.switchboard import Said, Switchboard
from lanmail.workers.worker import CANNOT_START

# Seconds before a dead worker is started again: at first, at most, and how long one must have served for the next to come at once again.
AGAIN_FIRST = 1.0
AGAIN_LAST = 30.0
SERVED_WELL = 60.0
# Seconds for workers to end beyond shutdown_timeout, which holds for their clients: a thread may be at a slow disk. Then they are killed.
TO_END = 20.0
# Seconds for one to end whose line has ended.
TO_LEAVE = 5.0
# Seconds between two questions whether workers are alive, where no manager asks us; and for certificates and tables to be read in each.
LOOK_EVERY = 10.0
TO_READ = 60.0

log = Logger("workers")


@dataclass(slots=True)
class _Child:
    """One worker of whom we know. pid: 0 until it is born. since: when it began to serve, by the reactor's clock."""

    pid: int = 0
    line: Line | None = None
    ready: bool = False
    since: float | None = None


class Supervisor(Service):
    """place: of which the parts that serve are not used. ports: bound. births: a nursery that is on its way. tables: what workers count
    together. output: where it writes, None
    for where we do. reread: the configuration as it is now; blocks. started: called when all workers serve.
    """

    name = "lanmail"

    def __init__(
        self,
        place: Place,
        warnings: Sequence[object],
        ports: Sequence[Listening],
        births: Births,
        tables: Tables,
        output: Output | None,
        reread: Callable[[], Reading],
        started: Callable[[], None] = lambda: None,
    ) -> None:
        self._place = place
        self._warnings = [str(warning) for warning in warnings]
        self._ports = ports
        self._births = births
        self._tables = tables
        self._output = output
        self._reread = reread
        self._started = started
        self._count = place.settings.workers
        self._log_file = log_file_of(place.settings, place.rights)
        self._notices = Notices()
        self._looking = LoopingCall(self._look)
        self._looking.clock = place.reactor
        self._reloading = DeferredLock()
        self.switchboard = Switchboard(place.reactor, self._count)
        owner = place.rights.owner
        desks = [FarDesk(self.switchboard.ask, number) for number in range(1, self._count + 1)]
        self._control = ControlSocket(place.state.path, owner.pw_uid, owner.pw_gid, Together(desks), place.reactor)
        self._children: dict[int, _Child] = {}
        self._pauses: dict[int, float] = {}
        self._later: set[IDelayedCall] = set()
        self._serving = False  # the first workers have all been ready
        self._gone: Deferred[None] | None = None

    # its life

    def startService(self) -> None:
        super().startService()  # type: ignore[no-untyped-call]
        reactor = self._place.reactor
        give_up_root(self._place.rights)
        if self._log_file is not None:
            self._log_file.begin(lambda write: reactor.callLater(0, write))
        self._place.state.sign()
        for warning in self._warnings:
            log.warn("warning: {warning}", warning=warning)
        self._place.rights.begin().addCallback(self._cannot_go_on)
        self._place.threads.start()
        if self._output is not None:
            self._output.start(reactor)
        signal.signal(signal.SIGHUP, lambda *_: reactor.callFromThread(self.reload))
        self._births.start(reactor, self)

    def stopService(self) -> Deferred[None]:
        """Workers stop side by side, each as a service of its own does; then everything is closed."""
        super().stopService()  # type: ignore[no-untyped-call]
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        self._notices.stopping()
        with told_again(self._hurry):
            for call in [*self._later]:
                call.cancel()
            await self._control.stop()
            # Whoever holds a listening socket open lets clients in, to wait for nobody.
            for port in self._ports:
                port.socket.close()
            self._births.close_ports()
            await self._end_workers()
        self._place.threads.stop()
        self._births.stop()
        self._place.rights.end()
        self._place.state.release()
        if self._looking.running:
            self._looking.stop()
        log.info("lanmail has stopped")
        if self._log_file is not None:
            self._log_file.end()

    async def _end_workers(self) -> None:
        self._tell_all({"stop": True})
        for child in self._children.values():
            if child.line is not None and not child.ready:
                child.line.end()  # it has not begun anything that it could finish
        if self._children:
            self._gone = Deferred()
            limit = self._place.reactor.callLater(self._place.settings.shutdown_timeout + TO_END, self._kill)
            await self._gone
            if limit.active():
                limit.cancel()

    def _hurry(self, *_: object) -> None:
        """Told to stop once more."""
        self._place.reactor.callFromThread(self._control.connections.hurry)
        self._place.reactor.callFromThread(self._tell_all, {"hurry": True})

    def _kill(self) -> None:
        for number, child in self._children.items():
            log.error("worker {number} (pid {pid}) does not end: it is killed", number=number, pid=child.pid)
            self._births.kill(number)

    def _cannot_go_on(self, why: str) -> None:
        """Whoever watches us starts us anew."""
        if self.running:
            log.error("{why}; the service ends", why=why)
            # Neither twist nor twistd knows of another status than 0.
            self._place.reactor.addSystemEventTrigger("after", "shutdown", os._exit, 1)
            self._place.reactor.stop()

    # births.Listener

    def nursery_is_ready(self) -> None:
        for number in range(1, self._count + 1):
            self._bear(number)

    def born(self, number: int, pid: int) -> None:
        self._children[number].pid = pid

    def died(self, number: int, status: int) -> None:
        child = self._children.pop(number)
        self._lost(number)
        self._tables.forget(number)
        if child.line is not None:
            child.line.end()
        if self._gone is not None:
            if not self._children:
                self._gone.callback(None)
            return
        if not self.running:
            return
        code = os.waitstatus_to_exitcode(status)
        if code == CANNOT_START and not self._serving:
            self._cannot_go_on(f"worker {number} cannot start")
            return
        now = self._place.reactor.seconds()
        if child.since is not None and now - child.since >= SERVED_WELL:
            self._pauses.pop(number, None)
        pause = self._pauses.get(number, AGAIN_FIRST)
        self._pauses[number] = min(2 * pause, AGAIN_LAST)
        log.error(
            "worker {number} (pid {pid}) {how}; another is started in {pause} s, the others serve on",
            number=number,
            pid=child.pid,
            how=_how(code),
            pause=f"{pause:g}",
        )

        def again() -> None:
            self._later.discard(call)
            self._bear(number)

        call = self._place.reactor.callLater(pause, again)
        self._later.add(call)

    def nursery_is_lost(self, why: str) -> None:
        if self._gone is not None:
            if not self._gone.called:
                self._gone.callback(None)
            return
        self._children.clear()
        self._cannot_go_on(f"the nursery of the workers is lost: {why}")

    # workers

    def _bear(self, number: int) -> None:
        if not self.running:
            return
        place, rights = self._place, self._place.rights
        ours, theirs = socket.socketpair()
        guard: list[socket.socket] = []
        with ours, theirs:
            try:
                if isinstance(rights, Guarded):
                    guard += rights.attach()
                self._births.bear(number, theirs.fileno(), [sock.fileno() for sock in guard])
            except OSError as error:
                self._cannot_go_on(f"worker {number} cannot be started: {error.strerror}")
                return
            finally:
                for sock in guard:
                    sock.close()
            child = self._children[number] = _Child()
            line = child.line = Line(
                lambda frame: self._hear(number, child, frame), lambda why: self._line_ended(number, child)
            )
            place.reactor.adoptStreamConnection(ours.fileno(), socket.AF_UNIX, OneLine(line))
        line.send(self._order(number).text())
        self.switchboard.lines[number] = line

    def _order(self, number: int) -> Order:
        place = self._place
        return Order(
            number,
            self._count,
            place.settings,
            [(port.protocol, port.socket.fileno(), port.place) for port in self._ports],
            place.state.lock,
            self._tables.fd,
            place.rights.duties if isinstance(place.rights, Guarded) else None,
            self._output is None,
        )

    def _hear(self, number: int, child: _Child, frame: Said) -> None:
        if self.switchboard.heard(number, frame):
            return
        match frame:
            case {"ready": True}:
                child.ready = True
                self._let_serve()

    def _line_ended(self, number: int, child: _Child) -> None:
        """It is on its way out; or it has gone mad, and then the nursery ends it."""

        def kill() -> None:
            self._later.discard(call)
            if self._children.get(number) is child:
                self._births.kill(number)

        if self._children.get(number) is child:
            self._lost(number)
            call = self._place.reactor.callLater(TO_LEAVE, kill)
            self._later.add(call)

    def _lost(self, number: int) -> None:
        """Nothing comes from it any more."""
        self.switchboard.gone(number)

    def _let_serve(self) -> None:
        """The first only when each has seen what its journal left open: until then nobody may touch what another must mend."""
        ready = {number: child for number, child in self._children.items() if child.ready and child.since is None}
        if not self.running or (not self._serving and len(ready) < self._count):
            return
        for number, child in ready.items():
            child.since = self._place.reactor.seconds()
            if child.line is not None:
                child.line.say({"serve": True})
            log.info("worker {number} (pid {pid}) serves", number=number, pid=child.pid)
        if not self._serving:
            self._serving = True
            listen(self._control, self._place.reactor)
            announce([f"{port.protocol} on {port.place}" for port in self._ports], self._place.settings)
            self._notices.ready()
            interval = self._notices.watchdog_interval
            self._looking.start(LOOK_EVERY if interval is None else interval / 2, now=False)
            self._started()

    def _tell_all(self, frame: Said) -> None:
        for child in self._children.values():
            if child.line is not None:
                child.line.say(frame)

    def _look(self) -> None:
        """Whether every worker answers; only then are we alive to the manager. One that is just being started again is not missed."""
        asked = [number for number, child in self._children.items() if child.since is not None]

        def silent(failure: Failure) -> None:
            if self.running and isinstance(failure.value, DeliveryFailure):
                log.warn("warning: {trouble}", trouble=failure.value.status.text)

        if len(asked) < self._count:
            self._notices.alive()
            return
        self.switchboard.ask("alive", {}).addCallback(lambda _: self._notices.alive()).addErrback(silent)

    # SIGHUP

    def reload(self) -> Deferred[None]:
        """The log is opened anew in every process, and everything that may change is read again: all of it in all of them, or nothing."""
        reopen(self._log_file, self._place.settings)
        return self._reloading.run(lambda: Deferred.fromCoroutine(self._read_again())).addErrback(
            lambda failure: log.failure("while reading again", failure)
        )

    async def _read_again(self) -> None:
        if not self.running or not self._serving:
            return
        self._notices.reloading()
        running = self._place.settings
        try:
            await self.switchboard.ask("reopen", {})
            settings, kept = applied(running, await read_again(self._place, self._reread))
            await self.switchboard.ask("prepare", {"settings": settings_text(settings)}, time_limit=TO_READ)
            # One that is born from here on has these. Who is told to adopt what it has read cannot fail; who dies instead is born again.
            self._place.settings = settings
            self._tell_all({"adopt": True})
            tell(running, settings, kept)
        except Refused as refused:
            refuse(str(refused))
        except DeliveryFailure as failure:
            refuse(failure.status.text)
        finally:
            self._notices.ready()


def _how(code: int) -> str:
    """How a process ended, by os.waitstatus_to_exitcode."""
    if code >= 0:
        return f"ended with status {code}"
    try:
        return f"was ended by {signal.Signals(-code).name}"
    except ValueError:
        return f"was ended by signal {-code}"
