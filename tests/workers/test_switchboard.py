"""Questions find their way to the other workers, and answers back, whatever happens to a worker meanwhile."""

from __future__ import annotations

import json
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase

from lanmail.status import Status, TemporaryFailure
from lanmail.workers.colleagues import LONGEST_QUESTION, Colleagues
from lanmail.workers.line import Line
from lanmail.workers.switchboard import TIME_LIMIT, Answers, Switchboard

Said = dict[str, Any]


class _Wire:
    """A supervisor and a worker on the two ends of a line, whose frames are carried by hand."""

    def __init__(self, board: Switchboard, number: int, count: int, clock: Clock) -> None:
        self.worker = Colleagues(number, count, clock)
        self.board = board
        self.number = number
        self.theirs = Line(lambda frame: self._known(board.heard(number, frame)), lambda why: board.gone(number))
        self.ours = self.worker.line = Line(lambda frame: self._known(self.worker.heard(frame)), lambda why: None)
        self.ends = [(self.theirs, StringTransport(), self.ours), (self.ours, StringTransport(), self.theirs)]
        for line, transport, _ in self.ends:
            line.makeConnection(transport)
        board.lines[number] = self.theirs

    def _known(self, known: bool) -> None:
        assert known

    def carry(self) -> bool:
        moved = False
        for _, transport, other in self.ends:
            octets = transport.value()
            transport.clear()
            if octets:
                moved = True
                other.dataReceived(octets)
        return moved


class SwitchboardTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.board = Switchboard(self.clock, 3)
        self.wires = [_Wire(self.board, number, 3, self.clock) for number in (1, 2, 3)]
        self.workers = [wire.worker for wire in self.wires]

    def run_wires(self) -> None:
        while sum(wire.carry() for wire in self.wires):
            pass

    def name_themselves(self) -> None:
        for worker in self.workers:

            async def tell(said: Said, number: int = worker.number) -> Said:
                return {"name": number, **said}

            worker.answer("who", tell)

    def test_a_question_goes_to_all_the_others_and_their_answers_come_back_in_order(self) -> None:
        self.name_themselves()
        asked = self.workers[1].ask("who", {"by": "two"})
        self.run_wires()
        self.assertEqual(self.successResultOf(asked), [(1, {"name": 1, "by": "two"}), (3, {"name": 3, "by": "two"})])

    def test_one_alone_may_be_asked(self) -> None:
        self.name_themselves()
        asked = self.workers[0].ask("who", {}, to=3)
        self.run_wires()
        self.assertEqual(self.successResultOf(asked), [(3, {"name": 3})])

    def test_the_supervisor_asks_all(self) -> None:
        self.name_themselves()
        asked = self.board.ask("who", {})
        self.run_wires()
        self.assertEqual([number for number, _ in self.successResultOf(asked)], [1, 2, 3])

    def test_who_answers_later_is_waited_for_and_who_never_does_is_not(self) -> None:
        self.name_themselves()
        later: Deferred[Said] = Deferred()

        async def wait(said: Said) -> Said:
            return await later

        self.workers[2].answer("who", wait)
        first = self.workers[0].ask("who", {})
        self.run_wires()
        self.assertNoResult(first)
        later.callback({"late": True})
        self.run_wires()
        self.assertEqual(self.successResultOf(first)[1], (3, {"late": True}))
        self.workers[2].answer("who", lambda said: Deferred())
        third = self.workers[0].ask("who", {})
        self.run_wires()
        self.clock.advance(TIME_LIMIT)
        self.run_wires()
        self.assertIn("worker 3 does not answer", self.failed(third))

    def failed(self, asked: Deferred[Any]) -> str:
        failure = self.failureResultOf(asked, TemporaryFailure)
        assert isinstance(failure.value, TemporaryFailure)
        return failure.value.status.text

    def test_a_worker_that_goes_is_not_waited_for(self) -> None:
        self.workers[1].answer("who", lambda said: Deferred())
        asked = self.workers[0].ask("who", {}, to=2)
        self.run_wires()
        self.board.gone(2)
        self.run_wires()
        self.assertIn("worker 2 has gone", self.failed(asked))
        again = self.workers[0].ask("who", {})
        self.run_wires()
        self.assertIn("worker 2 is not there", self.failed(again))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_an_answer_that_is_trouble_is_trouble_to_who_asked(self) -> None:
        async def refuse(said: Said) -> Said:
            raise TemporaryFailure(Status(451, "4.3.0", "not now"))

        async def break_down(said: Said) -> Said:
            raise KeyError("secret")

        for answerer, text in ((refuse, "worker 2: not now"), (break_down, "worker 2: it failed at this")):
            self.workers[1].answer("who", answerer)
            asked = self.workers[0].ask("who", {}, to=2)
            self.run_wires()
            self.assertIn(text, self.failed(asked))
        self.assertEqual(len(self.flushLoggedErrors(KeyError)), 1)
        asked = self.workers[0].ask("what", {}, to=2)
        self.run_wires()
        self.assertIn("knows nothing of what", self.failed(asked))

    def test_a_late_answer_is_nobodys(self) -> None:
        later: Deferred[Said] = Deferred()

        async def wait(said: Said) -> Said:
            return await later

        self.workers[1].answer("who", wait)
        asked = self.workers[0].ask("who", {}, to=2)
        self.run_wires()
        self.clock.advance(TIME_LIMIT)
        later.callback({})
        self.run_wires()
        self.failed(asked)

    def test_what_is_too_long_is_not_asked(self) -> None:
        self.assertIn("too long", self.failed(self.workers[0].ask("who", {"text": "x" * LONGEST_QUESTION})))

    def test_without_a_line_nobody_is_asked(self) -> None:
        self.assertIn("cannot be asked", self.failed(Colleagues(1, 2, self.clock).ask("who", {})))


class LineTests(SynchronousTestCase):
    def test_noise_ends_it(self) -> None:
        for noise in (b"\x00\x00\x00\x01x", b"\x00\x00\x00\x021x", b"\x00\x00\x00\x011", b"\xff\xff\xff\xff"):
            heard: list[Said] = []
            line = Line(heard.append, lambda why: None)
            transport = _Aborted()
            line.makeConnection(transport)
            line.dataReceived(noise)
            self.assertEqual((heard, line.open, transport.aborted), ([], False, True), noise)
            line.say({"to": "nobody"})
            self.assertEqual(transport.value(), b"")

    def test_a_frame_comes_whole_however_it_is_cut(self) -> None:
        heard: list[Said] = []
        line = Line(heard.append, lambda why: None)
        line.makeConnection(StringTransport())
        text = json.dumps({"a": "é"}).encode()
        for octet in len(text).to_bytes(4, "big") + text:
            line.dataReceived(bytes([octet]))
        self.assertEqual(heard, [{"a": "é"}])


class _Aborted(StringTransport):
    aborted = False

    def abortConnection(self) -> None:
        self.aborted = True


class AnswersTests(SynchronousTestCase):
    def test_the_latest_to_say_so_answers(self) -> None:
        answers = Answers()

        async def one(said: Said) -> Said:
            return {"one": said}

        answers.answer("kind", one)
        answers.answer("other", lambda said: succeed({"two": said}))
        self.assertEqual(self.successResultOf(Deferred.fromCoroutine(answers.to("kind", {}))), {"said": {"one": {}}})
        self.assertEqual(self.successResultOf(Deferred.fromCoroutine(answers.to("other", {}))), {"said": {"two": {}}})
