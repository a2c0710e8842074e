"""A worker's side of the switchboard: interfaces.IColleagues of a process that has some."""

from __future__ import annotations

import itertools
import json
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from lanmail.workers.line import Line
from lanmail.workers.switchboard import MOST, TIME_LIMIT, Answerer, Answers, Said, trouble

LONGEST_QUESTION = 256 << 10
"""Octets of what is asked or answered, as JSON."""
# The supervisor has a limit of its own and says who is missing; ours is for when it says nothing.
PATIENCE = TIME_LIMIT + 5.0


class Colleagues:
    """number: ours. count: of all. line: to the supervisor. clock: for time limits."""

    def __init__(self, number: int, count: int, clock: IReactorTime) -> None:
        self.number = number
        self.count = count
        self.line: Line | None = None
        self._clock = clock
        self._answers = Answers()
        self._numbers = itertools.count(1)
        self._asked: dict[int, tuple[Deferred[list[tuple[int, Said]]], IDelayedCall]] = {}

    def ask(self, kind: str, payload: Said, to: int | None = None) -> Deferred[list[tuple[int, Said]]]:
        """IColleagues.ask."""
        done: Deferred[list[tuple[int, Said]]] = Deferred()
        if to is None and self.count == 1:
            done.callback([])
            return done
        if self.line is None or not self.line.open or len(self._asked) >= MOST:
            done.errback(trouble("the other workers cannot be asked"))
            return done
        if len(json.dumps(payload)) > LONGEST_QUESTION:
            done.errback(trouble("that is too long to be asked"))
            return done
        number = next(self._numbers)
        limit = self._clock.callLater(PATIENCE, self._told, number, None, "the supervisor does not answer")
        self._asked[number] = done, limit
        self.line.say({"ask": number, "kind": kind, "said": payload, "to": to})
        return done

    def answer(self, kind: str, answerer: Answerer) -> None:
        """IColleagues.answer."""
        self._answers.answer(kind, answerer)

    def heard(self, frame: Said) -> bool:
        """Whether that frame of the supervisor's was for us."""
        match frame:
            case {"question": int(number), "kind": str(kind), "said": dict(said)}:
                Deferred.fromCoroutine(self._answer(number, kind, said))
            case {"told": int(number), "said": list(answers)}:
                self._told(number, [(int(worker), said) for worker, said in answers], "")
            case {"told": int(number), "trouble": str(text)}:
                self._told(number, None, text)
            case _:
                return False
        return True

    async def _answer(self, number: int, kind: str, said: dict[str, Any]) -> None:
        answer = await self._answers.to(kind, said)
        if self.line is not None:
            self.line.say({"answer": number, **answer})

    def _told(self, number: int, answers: list[tuple[int, Said]] | None, why: str) -> None:
        if number not in self._asked:
            return
        done, limit = self._asked.pop(number)
        if limit.active():
            limit.cancel()
        if answers is None:
            done.errback(trouble(why))
        else:
            done.callback(answers)
