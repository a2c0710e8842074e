"""A desk in another process, asked in steps: what is said between workers is bounded, and an answer is not.

``{"question": LINE, "uid": N}`` begins, ``{"more": NUMBER}`` goes on; both are answered ``{"said": TEXT, "more": NUMBER or null}``. The
texts, one after the other, are the answer's lines. An answer that nobody goes on with is given up.
"""

from __future__ import annotations

import itertools
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from lanmail.interfaces import IColleagues
from lanmail.maillog import Logger
from lanmail.queue.questions import LONGEST_ANSWER, BadQuestion, Question, question_of
from lanmail.queue.together import Answers
from lanmail.status import Status, TemporaryFailure

KIND = "desk"
# Octets in one step: as JSON in JSON twice as many at most, and 256 KiB may be said.
STEP = 96 * 1024
# Answers under way at once, and seconds after which one is given up. The control socket has fewer of them, and less patience.
AT_ONCE = 16
PATIENCE = 60.0

Said = dict[str, Any]
Ask = Callable[[str, Said, int | None], Awaitable[list[tuple[int, Said]]]]

log = Logger("control")


class FarDesk:
    """together.Answers. ask: IColleagues.ask, or the same of who started the workers. worker: whose desk it is."""

    def __init__(self, ask: Ask, worker: int) -> None:
        self._ask = ask
        self._worker = worker

    async def answer(self, question: Question, uid: int) -> AsyncGenerator[bytes, None]:
        """As Desk.answer. Raises TemporaryFailure."""
        payload: Said = {"question": question.line().decode("ascii"), "uid": uid}
        rest = b""
        while True:
            ((_, said),) = await self._ask(KIND, payload, self._worker)
            whole = rest + str(said["said"]).encode("ascii")
            end = whole.rfind(b"\n") + 1
            rest = whole[end:]
            if end:
                yield whole[:end]
            if len(rest) > LONGEST_ANSWER:
                raise _failure("an answer has a line that is too long")
            if said["more"] is None:
                return
            payload = {"more": said["more"]}


class Window:
    """The other side: answers for this worker's desk."""

    def __init__(self, colleagues: IColleagues, desk: Answers, clock: IReactorTime) -> None:
        self._desk = desk
        self._clock = clock
        self._numbers = itertools.count(1)
        self._open: dict[int, _Open] = {}
        colleagues.answer(KIND, self._answer)

    async def _answer(self, said: Said) -> Said:
        """Raises TemporaryFailure."""
        match said:
            case {"question": str(line), "uid": int(uid)}:
                if len(self._open) >= AT_ONCE:
                    raise _failure("too many are asking at once; try again")
                try:
                    question = question_of(line.encode("ascii", "replace"))
                except BadQuestion as bad:
                    raise _failure(str(bad)) from bad
                number = next(self._numbers)
                self._open[number] = _Open(self._desk.answer(question, uid))
            case {"more": int(number)} if number in self._open:
                pass
            case _:
                raise _failure("nobody has asked that, or it was too long ago")
        return await self._step(number)

    async def _step(self, number: int) -> Said:
        answer = self._open[number]
        answer.wait_no_longer()
        try:
            text = await answer.step()
        except BaseException:
            self._open.pop(number, None)
            raise
        if answer.over:
            self._open.pop(number, None)
            return {"said": text, "more": None}
        answer.timer = self._clock.callLater(PATIENCE, self._give_up, number)
        return {"said": text, "more": number}

    def _give_up(self, number: int) -> None:
        answer = self._open.pop(number)
        Deferred.fromCoroutine(answer.close()).addErrback(lambda failure: log.failure("while giving up", failure))


class _Open:
    """An answer under way."""

    def __init__(self, pieces: AsyncGenerator[bytes, None]) -> None:
        self._pieces = pieces
        self._rest = b""
        self._ended = False
        self.timer: IDelayedCall | None = None

    @property
    def over(self) -> bool:
        return self._ended and not self._rest

    async def step(self) -> str:
        while len(self._rest) < STEP and not self._ended:
            try:
                self._rest += await anext(self._pieces)
            except StopAsyncIteration:
                self._ended = True
        text, self._rest = self._rest[:STEP], self._rest[STEP:]
        return text.decode("ascii")

    def wait_no_longer(self) -> None:
        timer, self.timer = self.timer, None
        if timer is not None and timer.active():
            timer.cancel()

    async def close(self) -> None:
        await self._pieces.aclose()


def _failure(text: str) -> TemporaryFailure:
    return TemporaryFailure(Status(451, "4.3.0", text))
