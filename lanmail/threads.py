"""Threads for what blocks, at a quarter of what Twisted's own pool costs: 15 µs a piece of work where many come at once, in place of 75.

A poll or a delivery takes some pieces of work, each of a few system calls; so the way into a thread and back is what they cost.
Here it is one queue, and one call of the event loop for all that is done by then.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorFromThreads
from twisted.python.failure import Failure

from lanmail.bell import Bell

P = ParamSpec("P")
T = TypeVar("T")


class Threads:
    """At most ``most`` of them, made when they are needed, and none before ``start``: until then work waits.

    ``run``, ``start`` and ``stop`` are the event loop's to call.
    """

    def __init__(self, reactor: IReactorFromThreads, most: int, name: str) -> None:
        self._bell = Bell(reactor.callFromThread)
        self._most = most
        self._name = name
        self._work: queue.SimpleQueue[Callable[[], tuple[Deferred[Any], object]] | None] = queue.SimpleQueue()
        self._under_way = 0
        self._threads: list[threading.Thread] = []
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
        for _ in self._threads:
            self._work.put(None)
        for thread in self._threads:
            thread.join()
        self._threads.clear()
        self._started = False

    # within

    def _make_threads(self) -> None:
        while len(self._threads) < min(self._under_way, self._most):
            thread = threading.Thread(target=self._live, name=f"{self._name}-{len(self._threads)}")
            self._threads.append(thread)
            thread.start()

    def _live(self) -> None:
        while (work := self._work.get()) is not None:
            self._bell.put(self._tell, work())
            del work

    def _tell(self, done_with: tuple[Deferred[Any], object]) -> None:
        done, result = done_with
        self._under_way -= 1
        done.callback(result)
