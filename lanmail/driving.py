"""A coroutine that is run to its end without a Deferred of its own: most answers to a command never wait for anything."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure


def drive(work: Coroutine[Deferred[Any], Any, object], over: Callable[[Failure | None], object]) -> None:
    """Run ``work`` until it waits for a Deferred, and on from there when that fires; ``over`` hears how it ended, perhaps before we return.

    As Deferred.fromCoroutine, for whoever wants neither its result, nor to cancel it, nor a context of its own: these cost 10 µs, and a
    message is five commands.
    """
    _Drive(work, over).go_on(None)


class _Drive:
    __slots__ = ("_over", "_work")

    def __init__(self, work: Coroutine[Deferred[Any], Any, object], over: Callable[[Failure | None], object]) -> None:
        self._work = work
        self._over = over

    def go_on(self, result: object) -> None:
        """As a callback of what was waited for: it fires with ``result``, and whoever awaits it takes that from it."""
        try:
            if isinstance(result, Failure):
                assert result.value is not None
                waited = self._work.throw(result.value)
            else:
                waited = self._work.send(None)
        except StopIteration:
            failure = None
        except Exception:
            failure = Failure()
        else:
            waited.addBoth(self.go_on)
            return
        self._over(failure)
