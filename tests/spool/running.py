"""A house with its queue at work, on an event loop that is turned by hand and a clock that only runs then."""

from __future__ import annotations

import queue
import time
from collections.abc import Callable

from twisted.internet.defer import Deferred

from lanmail.queue.bounce import Reports
from lanmail.queue.clock import QueueClock
from lanmail.queue.runner import Runner
from lanmail.queue.schedule import Schedule
from tests.delivery.house import NOON, House, at_once

_PATIENCE = 20.0  # real seconds; it takes some hundredths


class Running:
    """The runner of this house, started. Threads' work is done at once; what the journal's writer says is heard in ``until``."""

    def __init__(self, house: House) -> None:
        self._clock = house.clock
        self._said: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        now = QueueClock(house.journal.clock_at_start, self._clock.seconds)
        schedule = Schedule()
        reports = Reports(
            house.router.report,
            house.reception.ids.next,
            house.incoming,
            myhostname="srv.lan.example",
            myorigin="lan.example",
            language="en",
            size_limit=50_000,
            notify_classes=(),
            schedule=schedule,
            wall=lambda: NOON,
            now=now.seconds,
        )
        self.runner = Runner(
            house.journal,
            house.incoming,
            house.delivery,
            house.checkpoints,
            reports,
            house.users,
            in_thread=at_once,
            clock=self._clock,
            queue_clock=now,
            call_from_thread=self._said.put,
            tell=house.tell,
            schedule=schedule,
        )
        self.runner.start()

    def until(self, true: Callable[[], object]) -> None:
        """Let time pass until that is so. AssertionError where it does not come to be."""
        end = time.monotonic() + _PATIENCE
        while not true():
            assert time.monotonic() < end, "it does not come true"
            self._turn()

    def stop(self) -> None:
        ended: list[object] = []
        Deferred.fromCoroutine(self.runner.stop()).addBoth(ended.append)
        self.until(lambda: ended)

    def _turn(self) -> None:
        self._clock.advance(5.0)
        try:
            while True:
                self._said.get(timeout=0.002)()
        except queue.Empty:
            pass
