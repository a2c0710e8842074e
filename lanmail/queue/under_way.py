"""What was begun and has not ended, so that a stop can wait for it."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from lanmail.driving import drive
from lanmail.maillog import Logger

_log = Logger("qmgr")


def _is_over(failure: Failure | None) -> None:
    if failure is not None:  # in what was to follow
        _log.failure("behind what was under way", failure)


class UnderWay:
    """Counts what is under way. Call it with a coroutine to begin that; what it raises is logged whole, and nobody else hears of it.

    doing: in words, for that line of the log. then: called when it is over, however it ended.
    """

    def __init__(self) -> None:
        self._count = 0
        self._waiting: list[Deferred[None]] = []

    def __len__(self) -> int:
        return self._count

    def __call__(self, work: Coroutine[Any, Any, object], doing: str, then: Callable[[], object] | None = None) -> None:
        self.begin()
        drive(self._see_through(work, doing, then), _is_over)

    async def _see_through(
        self, work: Coroutine[Any, Any, object], doing: str, then: Callable[[], object] | None
    ) -> None:
        try:
            await work
        except Exception:
            _log.failure("while {doing}", doing=doing)
        self.end()
        if then is not None:
            then()

    def begin(self) -> None:
        """Something without a coroutine, which calls ``end``."""
        self._count += 1

    def end(self) -> None:
        self._count -= 1
        if not self._count:
            waiting, self._waiting = self._waiting, []
            for one in waiting:
                one.callback(None)

    async def ended(self) -> None:
        """Return when nothing is under way."""
        if self._count:
            over: Deferred[None] = Deferred()
            self._waiting.append(over)
            await over
