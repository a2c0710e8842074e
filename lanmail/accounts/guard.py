"""The guard: asks what may hang or crash (PAM's modules, the name service) in helper processes, one call at a time each.

A helper that does not answer within the time limit is killed, with all that its modules started, and another takes its place
at the next question: so trouble holds up only whoever asked. Questions wait in a bounded queue, in turn by client address,
and few at once for one name: nobody's flood, and nobody's hanging account, keeps another's question waiting long.
"""

from __future__ import annotations

import importlib.util
import os
import struct
import sys
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from twisted.internet.defer import Deferred, DeferredList, succeed
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.interfaces import IDelayedCall, IProcessProtocol, IProcessTransport, IReactorProcess, IReactorTime
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure

from lanmail.accounts import helper
from lanmail.interfaces import Report

# Modules leak: after so many answers a helper is replaced.
_ANSWERS_IN_A_LIFE = 1000

Launch = Callable[[IProcessProtocol], IProcessTransport]
"""Starts a helper whose channel is the given protocol's file descriptors REQUESTS and ANSWERS."""


class GuardTrouble(Exception):
    """A question that has no answer now: the helper hung or died, or too many wait. The text is for the log."""


@dataclass(frozen=True, slots=True)
class Answer:
    """Yes or no, and what came with it."""

    yes: bool
    fields: Sequence[bytes]


@dataclass(eq=False, slots=True)
class _Question:
    frame: bytes = field(repr=False)  # may hold a password
    name: str
    host: str
    answer: Deferred[Answer] = field(default_factory=Deferred)
    patience: IDelayedCall | None = None  # while it waits for its turn


def helper_launcher(reactor: IReactorProcess, service: str = "") -> Launch:
    """Starts helpers with ``reactor``: for PAM ``service``, or for names alone where that is empty.

    They inherit nothing: no socket of ours, no environment. RuntimeError where python-pam is not installed.
    """
    program = helper.__file__
    spec = importlib.util.find_spec("pam")
    if spec is None or spec.origin is None:
        raise RuntimeError("python-pam is not installed")
    folder = os.path.dirname(os.path.dirname(spec.origin))
    # -I and -S: nothing that the environment, the working folder or a .pth file says is run in a process that sees passwords.
    command = [sys.executable, "-I", "-S", program, service, folder]
    environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"}

    def launch(protocol: IProcessProtocol) -> IProcessTransport:
        nothing = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        try:
            pipes: dict[int, int | str] = {
                0: nothing,
                1: nothing,
                2: nothing,
                helper.REQUESTS: "w",
                helper.ANSWERS: "r",
            }
            transport: IProcessTransport = reactor.spawnProcess(
                protocol, sys.executable, command, environment, childFDs=pipes
            )
            return transport
        finally:
            os.close(nothing)

    return launch


class Guard:
    """Several helpers and the questions that wait for them.

    helpers: how many work at once. A call that has taken ``slow`` seconds counts no longer, so that hanging ones leave room
        for others, but there are never more than ``most``.
    time_limit: seconds a call may take before its helper is killed; also how long a question waits for its turn.
    waiting: how many questions may wait, half of them from one address, and fewer where others come.
    per_name: how many are asked at once about one name.
    spare: seconds without a question after which a helper ends.
    called: what the log calls a helper.
    """

    def __init__(
        self,
        launch: Launch,
        clock: IReactorTime,
        report: Report,
        *,
        helpers: int = 4,
        most: int = 16,
        time_limit: float = 15.0,
        slow: float = 2.0,
        waiting: int = 256,
        per_name: int = 2,
        spare: float = 60.0,
        called: str = "login helper",
    ) -> None:
        self._launch = launch
        self._clock = clock
        self._report = report
        self._helpers = helpers
        self._most = most
        self._time_limit = time_limit
        self._slow = slow
        self._waiting = waiting
        self._per_name = per_name
        self._spare = spare
        self._called = called
        self._queue: OrderedDict[str, deque[_Question]] = OrderedDict()  # by address; the next turn is the first's
        self._queued = 0
        self._asked: Counter[str] = Counter()  # names of the calls under way
        self._idle: list[_Helper] = []
        self._alive: set[_Helper] = set()
        self._thinning: IDelayedCall | None = None
        self._stopped = False

    def start(self) -> None:
        """Have a first helper ready before anybody asks. Never waits."""
        if not self._alive:
            try:
                self._have_idle(self._new_helper())
            except OSError as error:
                self._report("warning: cannot start a {helper}: {error}", helper=self._called, error=error)

    def ask(self, kind: bytes, *fields: bytes, name: str = "", host: str = "") -> Deferred[Answer]:
        """One question; GuardTrouble where it has no answer now.

        name, host: about whom, and for which client; by these the turns are given. Cancelling lets go of the answer.
        """
        octets = helper.frame(kind, *fields)
        if len(octets) - 4 > helper.LONGEST_REQUEST:
            raise ValueError("a question of that length is not answered")
        question = _Question(octets, name, host)
        if self._stopped:
            question.answer.errback(Failure(GuardTrouble("the service is stopping")))
            return question.answer
        mine = len(self._queue.get(host, ()))
        if mine >= (self._waiting + 1) // 2 or (self._queued >= self._waiting and not self._make_room(mine)):
            question.answer.errback(Failure(GuardTrouble(f"too many questions wait ({self._queued})")))
            return question.answer
        self._queue.setdefault(host, deque()).append(question)
        self._queued += 1
        question.patience = self._clock.callLater(self._time_limit, self._give_up, question)
        self._go_on()
        return question.answer

    def stop(self) -> Deferred[None]:
        """Kill every helper and refuse what waits; fires when all processes are gone."""
        self._stopped = True
        if self._thinning is not None:
            self._thinning.cancel()
            self._thinning = None
        for question in [question for turn in self._queue.values() for question in turn]:
            self._leave_queue(question)
            question.answer.errback(Failure(GuardTrouble("the service is stopping")))
        gone = [each.gone for each in self._alive]
        for each in list(self._alive):
            each.kill("the service is stopping")
        return DeferredList(gone).addCallback(lambda _: None) if gone else succeed(None)

    # within

    def _go_on(self) -> None:
        """Ask what can be asked now."""
        while not self._stopped and self._queued and self._has_room() and (question := self._next()) is not None:
            try:
                worker = self._idle_helper() or self._new_helper()
            except OSError as error:
                question.answer.errback(Failure(GuardTrouble(f"cannot start a helper: {error.strerror}")))
                continue
            self._asked[question.name] += 1
            worker.ask(question, self._time_limit, self._slow)

    def _idle_helper(self) -> _Helper | None:
        while self._idle:
            if (idle := self._idle.pop()).reachable:
                return idle
        return None

    def _has_room(self) -> bool:
        busy = [each for each in self._alive if each.busy]
        quick = sum(not each.slow for each in busy)
        return quick < self._helpers and len(busy) < self._most

    def _next(self) -> _Question | None:
        """The next question whose name is not asked about too often already. Addresses take turns."""
        for turn in self._queue.values():
            for question in turn:
                if not question.name or self._asked[question.name] < self._per_name:
                    self._leave_queue(question)
                    if turn:
                        self._queue.move_to_end(question.host)
                    return question
        return None

    def _make_room(self, mine: int) -> bool:
        """Whoever has most waiting loses its last, so that a few addresses that fill the queue keep nobody else out of it.

        mine: how many whoever asks has waiting. False where nobody has much more than that.
        """
        longest = max(self._queue.values(), key=len)
        if len(longest) <= mine + 1:
            return False
        crowded_out = longest[-1]
        self._leave_queue(crowded_out)
        crowded_out.answer.errback(Failure(GuardTrouble("too many questions of its address wait")))
        return True

    def _leave_queue(self, question: _Question) -> None:
        turn = self._queue[question.host]
        turn.remove(question)
        self._queued -= 1
        if not turn:
            del self._queue[question.host]
        if question.patience is not None and question.patience.active():
            question.patience.cancel()

    def _give_up(self, question: _Question) -> None:
        self._leave_queue(question)
        question.answer.errback(Failure(GuardTrouble("every helper is held up")))

    def _new_helper(self) -> _Helper:
        new = _Helper(self._clock, self._done, self._ended, self._go_on)
        self._launch(new)
        self._alive.add(new)
        return new

    def _done(self, worker: _Helper, question: _Question) -> None:
        self._release(question)
        if len(self._idle) < self._helpers and worker.answers < _ANSWERS_IN_A_LIFE:
            self._have_idle(worker)
        else:
            worker.kill("")  # it is old, or stood in for a hanging one
        self._go_on()

    def _have_idle(self, worker: _Helper) -> None:
        worker.idle_since = self._clock.seconds()
        self._idle.append(worker)
        if self._thinning is None and not self._stopped:
            self._thinning = self._clock.callLater(self._spare, self._thin_out)

    def _thin_out(self) -> None:
        """End those that nobody has needed for a while, and look again when the next has been idle as long."""
        self._thinning = None
        now = self._clock.seconds()
        for worker in [each for each in self._idle if now - each.idle_since >= self._spare]:
            worker.kill("")
        if self._idle:
            longest = min(each.idle_since for each in self._idle)
            self._thinning = self._clock.callLater(longest + self._spare - now, self._thin_out)

    def _ended(self, worker: _Helper, question: _Question | None, why: str) -> None:
        self._alive.discard(worker)
        if worker in self._idle:
            self._idle.remove(worker)
        if why and not self._stopped:
            self._report("warning: a {helper} was lost: {why}", helper=self._called, why=why)
        if question is not None:
            self._release(question)
        self._go_on()

    def _release(self, question: _Question) -> None:
        self._asked[question.name] -= 1
        if not self._asked[question.name]:
            del self._asked[question.name]


class _Helper(ProcessProtocol):
    """One helper process, and the question that it is at."""

    def __init__(
        self,
        clock: IReactorTime,
        done: Callable[[_Helper, _Question], None],
        ended: Callable[[_Helper, _Question | None, str], None],
        slower: Callable[[], None],
    ) -> None:
        self._clock = clock
        self._done = done
        self._ended = ended
        self._slower = slower
        self._question: _Question | None = None
        self._received = b""
        self._timers: list[IDelayedCall] = []
        self._dead = False
        self.slow = False
        self.reachable = True
        self.answers = 0
        self.idle_since = 0.0
        self.gone: Deferred[None] = Deferred()

    @property
    def busy(self) -> bool:
        return self._question is not None

    def ask(self, question: _Question, limit: float, slow: float) -> None:
        self._question = question
        self.slow = False
        self._timers = [
            self._clock.callLater(slow, self._grown_slow),
            self._clock.callLater(limit, self.kill, f"no answer within {limit:g} s"),
        ]
        assert self.transport is not None  # since spawnProcess returned
        self.transport.writeToChild(helper.REQUESTS, question.frame)
        question.frame = b""

    def childDataReceived(self, childFD: int, data: bytes) -> None:
        self._received += data
        if len(self._received) < 4 or self._dead:
            return
        (length,) = struct.unpack_from("!I", self._received)
        if not 0 < length <= helper.LONGEST_ANSWER or len(self._received) > 4 + length:
            self.kill("it answered with noise")
        elif len(self._received) == 4 + length:
            body, self._received = self._received[4:], b""
            self._understand(body)

    def _understand(self, body: bytes) -> None:
        question = self._question
        try:
            kind, fields = helper.parts(body)
            if kind in (helper.TROUBLE, helper.BROKEN):
                reason = b" ".join(fields).decode("utf-8", "replace")
            elif kind not in (helper.YES, helper.NO):
                raise ValueError
        except ValueError:
            self.kill("it answered with noise")
            return
        if kind == helper.BROKEN:
            self.kill(reason)
            return
        if question is None:
            self.kill("it answered what nobody had asked")
            return
        self._rest()
        self.answers += 1
        # Free before the answer is told: whoever hears it may ask the next question at once.
        self._done(self, question)
        if kind == helper.TROUBLE:
            question.answer.errback(Failure(GuardTrouble(reason)))
        else:
            question.answer.callback(Answer(kind == helper.YES, fields))

    def _rest(self) -> None:
        self._question = None
        for timer in self._timers:
            if timer.active():
                timer.cancel()

    def _grown_slow(self) -> None:
        self.slow = True
        self._slower()

    def kill(self, why: str) -> None:
        """At once, with everything its modules started. Whoever asked is told; the guard no longer counts it."""
        if self.transport is not None and not self._dead:
            if self.transport.pid:
                helper.end(self.transport.pid)
            else:  # root's, which its parent alone can end; or reaped already
                with suppress(ProcessExitedAlready):
                    self.transport.signalProcess("KILL")
        self._lost(why)

    def _lost(self, why: str) -> None:
        if self._dead:
            return
        self._dead = True
        question = self._question
        self._rest()
        self._ended(self, question, why)
        if question is not None:
            question.answer.errback(Failure(GuardTrouble(why)))

    def childConnectionLost(self, childFD: int) -> None:
        """It is ending. processExited says it better; until that comes, nothing more can be asked of it."""
        self.reachable = False

    def processExited(self, reason: Failure) -> None:
        self._lost(str(reason.value).rstrip("."))
        if self.transport is not None:
            self.transport.loseConnection()

    def processEnded(self, reason: Failure) -> None:
        self._lost(str(reason.value).rstrip("."))
        if not self.gone.called:
            self.gone.callback(None)
