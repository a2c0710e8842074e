"""One look for everybody who asks at about the same time, begun after each of them asked."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from lanmail.driving import drive

T = TypeVar("T")


class Together(Generic[T]):
    """look: takes a while. While one is under way, whoever asks waits for the next: the one under way may have seen what was before."""

    def __init__(self, look: Callable[[], Awaitable[T]]) -> None:
        self._look = look
        self._looking = False
        self._waiting: list[Deferred[T]] = []

    def ask(self) -> Deferred[T]:
        """What a look gives, or raises, that begins now or later."""
        waiting: Deferred[T] = Deferred()
        self._waiting.append(waiting)
        if not self._looking:
            self._begin()
        return waiting

    def _begin(self) -> None:
        asked, self._waiting = self._waiting, []
        self._looking = True
        drive(self._look_for(asked), lambda _: None)

    async def _look_for(self, asked: list[Deferred[T]]) -> None:
        seen: T | Failure
        try:
            seen = await self._look()
        except Exception:
            seen = Failure()
        self._looking = False
        if self._waiting:
            self._begin()
        for each in asked:
            each.callback(seen)
