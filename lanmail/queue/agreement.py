"""What workers owe each other before one of them takes messages out of a mailbox: the others' rows of it are flushed and forgotten first.

Else a power cut may bring a message back that was fetched and deleted: its row would still be there, and it would not be in the mailbox.
"""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from typing import Any

from twisted.internet.defer import Deferred

from lanmail.interfaces import IColleagues, InThread
from lanmail.mailbox.store import LockedMailbox
from lanmail.mailbox.turns import WithColleague
from lanmail.spool.checkpoint import Checkpoints
from lanmail.spool.recovery import Recovery

KIND = "settle"
# Seconds that a thread waits for the others; they have ten to answer in.
PATIENCE = 15.0


class Agreement:
    """One worker's part in it: it asks, and it answers.

    in_thread: threads that do nothing else. Those of the house may all be waiting for others' answers, who wait for ours.
    call_from_thread: the reactor's. look_again: called where a colleague waits for what recovery has not looked into yet.
    """

    def __init__(
        self,
        colleagues: IColleagues,
        checkpoints: Callable[[], Checkpoints],
        recovery: Callable[[], Recovery],
        in_thread: InThread,
        call_from_thread: Callable[[Callable[[], None]], object],
        look_again: Callable[[], None],
    ) -> None:
        self._colleagues = colleagues
        self._checkpoints = checkpoints
        self._recovery = recovery
        self._in_thread = in_thread
        self._call_from_thread = call_from_thread
        self._look_again = look_again
        self._mutex = threading.Lock()
        self._waiting: set[Future[bool]] = set()
        self._stopped = False
        colleagues.answer(KIND, self._answer)

    def settle(self, mailbox: LockedMailbox) -> None:
        """Blocks, and is not for the event loop. Raises WithColleague where one of them cannot do it now."""
        name = mailbox.owner.name
        if self._recovery().is_left(name):
            # Our own torn piece goes. Nobody has fetched it, and the others' messages stay, wherever they then stand.
            return
        asked: Future[bool] = Future()
        with self._mutex:
            if self._stopped:
                raise WithColleague(mailbox.path)
            self._waiting.add(asked)
        try:
            self._call_from_thread(lambda: self._ask(name, asked))
            settled = asked.result(PATIENCE)
        except TimeoutError:
            settled = False
        finally:
            with self._mutex:
                self._waiting.discard(asked)
        if not settled:
            raise WithColleague(mailbox.path)

    def stop(self) -> None:
        """Nobody waits any longer, for the event loop will wait for the threads."""
        with self._mutex:
            self._stopped = True
            waiting, self._waiting = self._waiting, set()
        for asked in waiting:
            _tell(asked, False)

    def _ask(self, name: str, asked: Future[bool]) -> None:
        Deferred.fromCoroutine(self._all(name)).addCallbacks(
            lambda settled: _tell(asked, settled),
            # One is down: what stands in its journal nobody can say. Or it failed, and has said so.
            lambda failure: _tell(asked, False),
        )

    async def _all(self, name: str) -> bool:
        answers = await self._colleagues.ask(KIND, {"user": name})
        return all(answer.get("settled") is True for _, answer in answers)

    async def _answer(self, payload: dict[str, Any]) -> dict[str, Any]:
        name = str(payload.get("user", ""))
        if self._recovery().is_left(name):
            self._look_again()
            return {"settled": False}
        work: Awaitable[bool] = self._in_thread(self._checkpoints().let_go, name)
        return {"settled": await work}


def _tell(asked: Future[bool], settled: bool) -> None:
    if not asked.done():
        asked.set_result(settled)
