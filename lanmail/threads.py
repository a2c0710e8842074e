"""Threads for what blocks, at a quarter of what Twisted's own pool costs: 15 µs a piece of work where many come at once, in place of 75.

A poll or a delivery takes some pieces of work, each of a few system calls; so the way into a thread and back is what they cost.
Here it is one queue, and one call of the event loop for all that is done by then.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.python.failure import Failure

from lanmail.bell import Bell

# So many threads where none is held up. Each has its turns at the interpreter; the event loop, which asks for it anew behind every system
# call, is one among them: beside sixteen it waits for most of them.
AT_ONCE = 3
# Seconds after which a thread waits for a disk, or whatever it is, more than for the interpreter: others may work in its place.
HELD_UP = 0.02

P = ParamSpec("P")
T = TypeVar("T")


class Threads:
    """At most ``most`` of them, made when they are needed, and none before ``start``: until then work waits.

    Few work at once, but for those that are held up: each of them has another in its place, which ends when it is one too many again.

    reactor: Twisted's, for its callFromThread and its clock. ``run``, ``start`` and ``stop`` are the event loop's to call.
    """

    def __init__(self, reactor: Any, most: int, name: str, *, at_once: int = AT_ONCE) -> None:
        self._reactor = reactor
        self._bell = Bell(reactor.callFromThread)
        self._most = most
        self._at_once = at_once
        self._name = name
        self._work: queue.SimpleQueue[Callable[[], tuple[Deferred[Any], object]] | None] = queue.SimpleQueue()
        self._under_way = 0
        self._threads: list[_Worker] = []
        self._leaving = 0  # of them, have been told to, and will be when they come by
        self._watch: IDelayedCall | None = None  # while work waits that may need another thread
        self._started = False

    def run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Deferred[T]:
        """interfaces.InThread."""
        done: Deferred[T] = Deferred()

        def at_work() -> tuple[Deferred[Any], object]:
            try:
                return done, work(*args, **kwargs)
            except BaseException:
                return done, Failure()

        self._under_way += 1
        self._work.put(at_work)
        if self._started:
            self._make_threads()
        return done

    def start(self) -> None:
        """From here on there may be threads."""
        self._started = True
        self._make_threads()

    def stop(self) -> None:
        """What was begun, or waits, is done before this returns; nobody may be told of it any more."""
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None
        for _ in self._threads:
            self._work.put(None)
        for worker in self._threads:
            worker.thread.join()
        self._threads.clear()
        self._leaving = 0
        self._work = queue.SimpleQueue()  # nobody is left whom it could tell to leave
        self._started = False

    # within

    def _make_threads(self) -> None:
        while (staying := len(self._threads) - self._leaving) < min(self._under_way, self._most):
            if staying >= self._at_once + self._held_up():
                if self._watch is None:
                    self._watch = self._reactor.callLater(HELD_UP, self._look_again)
                return
            worker = _Worker()
            worker.thread = threading.Thread(
                target=self._live, args=(worker, self._work), name=f"{self._name}-{len(self._threads)}"
            )
            self._threads.append(worker)
            worker.thread.start()

    def _held_up(self) -> int:
        then = time.monotonic() - HELD_UP
        return sum(0.0 < worker.since < then for worker in self._threads)

    def _look_again(self) -> None:
        self._watch = None
        self._make_threads()

    def _live(
        self, worker: _Worker, source: queue.SimpleQueue[Callable[[], tuple[Deferred[Any], object]] | None]
    ) -> None:
        while (work := source.get()) is not None:
            worker.since = time.monotonic()
            done = work()
            worker.since = 0.0
            self._bell.put(self._tell, done)
            del work, done
        self._bell.put(self._gone, worker)

    def _tell(self, done_with: tuple[Deferred[Any], object]) -> None:
        done, result = done_with
        self._under_way -= 1
        staying = len(self._threads) - self._leaving
        if staying > self._at_once and staying > self._at_once + self._held_up():
            self._leaving += 1
            self._work.put(None)
        done.callback(result)

    def _gone(self, worker: _Worker) -> None:
        if worker in self._threads:  # else that was the stop, which has waited for it
            self._threads.remove(worker)
            self._leaving -= 1


class _Worker:
    """A thread. since: when it began what it does, in seconds of time.monotonic; 0 while it does nothing."""

    __slots__ = ("since", "thread")
    thread: threading.Thread

    def __init__(self) -> None:
        self.since = 0.0
