"""How threads reach the event loop without waking it for each word: what they have to say is collected, and the bell rings once."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from lanmail.maillog import Logger

T = TypeVar("T")

_log = Logger("master")


class Bell:
    """Calls, on the event loop, what other threads put here.

    call_from_thread: the reactor's. The journal resolves a hundred Futures after one flush, one after the other and in its own thread: the
    reactor is woken for the first of them, and finds the others when it comes.
    """

    def __init__(self, call_from_thread: Callable[[Callable[[], None]], object]) -> None:
        self._call_from_thread = call_from_thread
        self._said: deque[tuple[Callable[[Any], object], Any]] = deque()
        self._rung = False

    def put(self, word: Callable[[T], object], what: T) -> None:
        """``word(what)`` is called on the event loop, in the order of ``put``. From any thread; never waits."""
        self._said.append((word, what))
        # Read after the append, and taken back in _answer before anything is taken out: whoever finds it rung is heard.
        if not self._rung:
            self._rung = True
            self._call_from_thread(self._answer)

    def when_done(self, future: Future[T], word: Callable[[Future[T]], object]) -> None:
        """``word(future)`` is called on the event loop when the future is resolved, whichever way."""
        future.add_done_callback(lambda done: self.put(word, done))

    def outcome(self, future: Future[T]) -> Deferred[T]:
        """The future's result, or its failure, for whoever awaits it on the event loop. Letting go of it does not stop the work."""
        answer: Deferred[T] = Deferred()
        future.add_done_callback(lambda done: self.put(answer_with(answer), done))
        return answer

    def _answer(self) -> None:
        self._rung = False
        # Not until it is empty: who is heard may say more at once, and the event loop has others to serve.
        for _ in range(len(self._said)):
            word, what = self._said.popleft()
            try:
                word(what)
            except Exception:
                _log.failure("while hearing what became of {what}", what=what)


def answer_with(answer: Deferred[T]) -> Callable[[Future[T]], None]:
    """Gives a future's outcome to a Deferred."""

    def give(done: Future[T]) -> None:
        error = done.exception()
        if error is None:
            answer.callback(done.result())
        else:
            answer.errback(Failure(error))

    return give
