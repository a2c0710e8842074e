"""Who asks whom: questions of one worker to others, and the supervisor's own, find their way, and their answers back.

Frames from a worker: ``{"ask": N, "kind": K, "said": {...}, "to": W}`` (to: a number, or null for all the others), and as the answer to
a question ``{"answer": N, "said": {...}}`` or ``{"answer": N, "trouble": TEXT}``. To it: ``{"question": N, "kind": K, "said": {...}}``, and
``{"told": N, "said": [[W, {...}], ...]}`` or ``{"told": N, "trouble": TEXT}``. Other frames are the supervisor's business.
"""

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from lanmail.maillog import Logger
from lanmail.status import DeliveryFailure, Status, TemporaryFailure
from lanmail.workers.line import Line

TIME_LIMIT = 10.0  # seconds for an answer
MOST = 4096  # questions under way at once; each is bounded in time, so this only keeps an error from becoming a full memory

Said = dict[str, Any]
Answerer = Callable[[Said], Awaitable[Said]]

log = Logger("workers")


def trouble(text: str) -> TemporaryFailure:
    """Nobody knows what would have been answered."""
    return TemporaryFailure(Status(451, "4.3.0", text))


@dataclass(slots=True)
class _Question:
    """asked: who has not answered yet. answers: of those who have."""

    asked: set[int]
    done: Deferred[list[tuple[int, Said]]]
    limit: IDelayedCall | None = None
    answers: dict[int, Said] = field(default_factory=dict)


class Switchboard:
    """The supervisor's side. lines: those of workers that are there, by their numbers; whoever starts and loses workers keeps them up."""

    def __init__(self, clock: IReactorTime, count: int) -> None:
        self.lines: dict[int, Line] = {}
        self._clock = clock
        self._count = count
        self._numbers = itertools.count(1)
        self._questions: dict[int, _Question] = {}

    def ask(
        self, kind: str, said: Said, to: int | None = None, asker: int = 0, time_limit: float = TIME_LIMIT
    ) -> Deferred[list[tuple[int, Said]]]:
        """Of one worker, or of all but the asker. Errback TemporaryFailure where one is not there, does not answer in time, or cannot."""
        wanted = [number for number in range(1, self._count + 1) if number != asker] if to is None else [to]
        done: Deferred[list[tuple[int, Said]]] = Deferred()
        missing = [number for number in wanted if number not in self.lines]
        if missing or len(self._questions) >= MOST:
            done.errback(trouble(f"worker {missing[0]} is not there" if missing else "too much is asked at once"))
            return done
        if not wanted:
            done.callback([])
            return done
        number = next(self._numbers)
        question = self._questions[number] = _Question(set(wanted), done)
        question.limit = self._clock.callLater(time_limit, self._late, number)
        for worker in wanted:
            self.lines[worker].say({"question": number, "kind": kind, "said": said})
        return done

    def heard(self, worker: int, frame: Said) -> bool:
        """Whether that frame of a worker's was for us."""
        match frame:
            case {"ask": int(number), "kind": str(kind), "said": dict(said)}:
                to = frame.get("to")
                self.ask(kind, said, to if isinstance(to, int) else None, worker).addCallbacks(
                    lambda answers: self._tell(worker, {"told": number, "said": answers}),
                    lambda failure: self._tell(worker, {"told": number, "trouble": failure.value.status.text}),
                )
            case {"answer": int(number), "said": dict(said)}:
                self._answered(number, worker, said)
            case {"answer": int(number), "trouble": str(text)}:
                self._fail(number, f"worker {worker}: {text}")
            case _:
                return False
        return True

    def gone(self, worker: int) -> None:
        """Its line has ended: nobody hears from it any more."""
        self.lines.pop(worker, None)
        for number, question in [*self._questions.items()]:
            if worker in question.asked:
                self._fail(number, f"worker {worker} has gone")

    # within

    def _tell(self, worker: int, frame: Said) -> None:
        if worker in self.lines:
            self.lines[worker].say(frame)

    def _answered(self, number: int, worker: int, said: Said) -> None:
        question = self._questions.get(number)
        if question is None or worker not in question.asked:
            return  # nobody waits for it any longer
        question.asked.discard(worker)
        question.answers[worker] = said
        if not question.asked:
            self._over(number)
            question.done.callback(sorted(question.answers.items()))

    def _fail(self, number: int, text: str) -> None:
        question = self._questions.get(number)
        if question is not None:
            self._over(number)
            question.done.errback(trouble(text))

    def _late(self, number: int) -> None:
        self._fail(number, f"worker {min(self._questions[number].asked)} does not answer")

    def _over(self, number: int) -> None:
        limit = self._questions.pop(number).limit
        if limit is not None and limit.active():
            limit.cancel()


class Answers:
    """Who answers which kind of question in this process."""

    def __init__(self) -> None:
        self._answerers: dict[str, Answerer] = {}

    def answer(self, kind: str, answerer: Answerer) -> None:
        """IColleagues.answer."""
        self._answerers[kind] = answerer

    async def to(self, kind: str, said: Said) -> Said:
        """A frame without its number: ``said``, or ``trouble``. Never raises."""
        answerer = self._answerers.get(kind)
        if answerer is None:
            return {"trouble": f"it knows nothing of {kind}"}
        try:
            return {"said": await answerer(said)}
        except DeliveryFailure as failure:
            return {"trouble": failure.status.text}
        except Exception:
            log.failure("while answering {kind}", kind=kind)
            return {"trouble": "it failed at this; its log says how"}
