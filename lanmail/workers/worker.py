"""One worker: the whole service, but for what the supervisor does once for all, and its life from its birth to its end."""

from __future__ import annotations

import os
import signal
import socket
import struct
import sys
import time
from collections.abc import Sequence
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import globalLogBeginner

from lanmail.config.settings import Reading
from lanmail.maillog import standard_output
from lanmail.memory import collect_seldom
from lanmail.notify import Notices
from lanmail.ports import Listening
from lanmail.service import LanMail
from lanmail.shared.tables import Tables
from lanmail.state import StateFolder, StateTrouble
from lanmail.status import Status, TemporaryFailure
from lanmail.wiring.place import CannotStart, Place, log
from lanmail.wiring.reload import Prepared, Refused
from lanmail.wiring.rights import Attached, Rights, Unguarded
from lanmail.workers.colleagues import Colleagues
from lanmail.workers.line import LONGEST, Line, OneLine
from lanmail.workers.order import Order, settings_of
from lanmail.workers.switchboard import Said

PATIENCE = 20.0  # seconds for the order, which is on its way when we are born
CANNOT_START = 78
"""The status of one that can never serve as things are (EX_CONFIG of sysexits.h)."""


class Worker(LanMail):
    """Begins at once, and serves when it is told to.

    line: to the supervisor. status: for the end of the process.
    """

    def __init__(self, place: Place, ports: Sequence[Listening], colleagues: Colleagues) -> None:
        super().__init__(place, (), ports, (), _never, notices=Notices({}))
        self.status = 0
        self.over = False
        self._ending = False
        self.line = colleagues.line = Line(self._hear, self._cut_off)
        self._colleagues = colleagues
        self._prepared: Prepared | None = None
        for kind, answerer in (
            ("alive", self._alive_still),
            ("reopen", self._reopen),
            ("prepare", self._prepare),
        ):
            colleagues.answer(kind, answerer)

    def startService(self) -> None:
        self.running = 1
        missing = self._missing_descriptors()
        # What is the same in all of them is said by the first.
        first = (*self._doors.warnings, *self._people.missing_rights(), *missing)
        self._begin(first if self._colleagues.number == 1 else ())
        self.line.say({"ready": True})

    def stopService(self) -> Deferred[None]:
        def over(_: object) -> None:
            self.over = True

        return super().stopService().addCallback(over)

    def _hear(self, frame: Said) -> None:
        """Of the supervisor's."""
        if self._colleagues.heard(frame):
            return
        match frame:
            case {"serve": True}:
                self._entrances.open()
                collect_seldom()
            case {"adopt": True}:
                self._adopt()
            case {"stop": True}:
                self._end()
            case {"hurry": True}:
                self._hurry()

    def _cut_off(self, why: str) -> None:
        """The supervisor has gone, and nobody would stop us any more, or start another. We end as by kill -9."""
        if not self.over:
            os._exit(1)

    def _guard_is_lost(self, why: str) -> None:
        log.error("{why}; this worker ends, since nobody could log in", why=why)
        self.status = 1
        self._end()

    def _end(self) -> None:
        if not self._ending:
            self._ending = True
            self._place.reactor.stop()

    # what the supervisor asks

    async def _alive_still(self, said: Said) -> Said:
        return {}

    async def _reopen(self, said: Said) -> Said:
        self.reopen_log()
        return {}

    async def _prepare(self, said: Said) -> Said:
        """Read what these settings name, and keep it until ``adopt``."""
        self._prepared = None
        try:
            self._prepared = await self._reload.prepare(settings_of(said["settings"]))
        except Refused as refused:
            raise TemporaryFailure(Status(451, "4.3.5", str(refused))) from refused
        return {}

    def _adopt(self) -> None:
        prepared, self._prepared = self._prepared, None
        if prepared is not None:
            self._reload.adopt(prepared)
            self._missing_descriptors()


def _never() -> Reading:
    """A worker reads no configuration: it is given one."""
    raise AssertionError


def live(reactor: Any, line: int, guard: Sequence[int]) -> int:
    """The whole life of a worker, in a process that was just born. The status that it ends with.

    line, guard: descriptors of its end of the line, and of its channels to the guard, the loop's and the threads'.
    """
    sock = socket.socket(fileno=line)
    order = Order.of(_first_frame(sock))
    _log_to_standard_output(order)
    reactor.seconds = time.monotonic  # which never jumps (tap.go_steadily)
    try:
        service = _put_together(order, guard, reactor)
    except (CannotStart, StateTrouble) as trouble:
        log.error("worker {number} cannot start: {trouble}", number=order.number, trouble=trouble)
        return CANNOT_START
    reactor.adoptStreamConnection(sock.fileno(), socket.AF_UNIX, OneLine(service.line))
    sock.close()

    def start() -> None:
        try:
            service.startService()
        except Exception:
            log.failure("while starting worker {number}", number=order.number)
            os._exit(1)

    reactor.callWhenRunning(start)
    reactor.addSystemEventTrigger("before", "shutdown", service.stopService)
    # A hang-up is the supervisor's to hear.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    reactor.run()
    return service.status


def _put_together(order: Order, guard: Sequence[int], reactor: Any) -> Worker:
    """Raises CannotStart, StateTrouble."""
    settings = order.settings
    rights: Rights
    if order.duties is None:
        rights = Unguarded(settings)
    else:
        loop, threads = (socket.socket(fileno=fd) for fd in guard)
        rights = Attached(settings, order.duties, loop, threads, reactor)
    owner = rights.owner
    state = StateFolder(settings.queue_directory, owner.pw_uid, owner.pw_gid, lock=order.lock)
    ports = [Listening(protocol, socket.socket(fileno=fd), place) for protocol, fd, place in order.ports]
    colleagues = Colleagues(order.number, order.count, reactor)
    place = Place(settings, state, rights, reactor, colleagues, Tables.attach(order.tables, order.number))
    return Worker(place, ports, colleagues)


def _log_to_standard_output(order: Order) -> None:
    # Through the supervisor without a date: it has one of its own.
    observer = standard_output(sys.stdout) if order.plainly else standard_output(sys.stdout, host="")
    # What the supervisor had said before we were born is said by it.
    globalLogBeginner.beginLoggingTo([observer], redirectStandardIO=False, discardBuffer=True)


def _first_frame(sock: socket.socket) -> bytes:
    """Before there is a loop. EOFError; TimeoutError."""
    sock.settimeout(PATIENCE)
    (length,) = struct.unpack("!I", _read(sock, 4))
    if length > LONGEST:
        raise EOFError("noise instead of an order")
    text = _read(sock, length)
    sock.setblocking(False)
    return text


def _read(sock: socket.socket, length: int) -> bytes:
    found = bytearray()
    while len(found) < length:
        piece = sock.recv(min(length - len(found), 1 << 16))
        if not piece:
            raise EOFError("the supervisor has gone")
        found += piece
    return bytes(found)
