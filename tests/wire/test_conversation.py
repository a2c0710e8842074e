"""The order of a conversation, with the smallest protocol there can be: every line is an event, NOOP is not."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from lanmail.wire.conversation import INPUT_HIGH_WATER, OUTPUT_HIGH_WATER, Conversation, Turn
from lanmail.wire.lines import TooLong
from tests.wire.cuts import cut_up


class Echo(Conversation[bytes]):
    """Gives each line as an event and says it when it is accepted. NOOP answers itself; QUIT ends; HUGE says much."""

    def _advance(self) -> bytes | Turn:
        line = self._input.line(100)
        if line is None:
            return Turn.STARVED
        if isinstance(line, TooLong):
            self._send(b"-too long\n")
            return Turn.ANSWERED
        if line == b"NOOP":
            self._send(b"+noop\n")
            return Turn.ANSWERED
        if line == b"HUGE":
            self._send(b"+" + b"x" * OUTPUT_HIGH_WATER + b"\n")
            return Turn.ANSWERED
        if line == b"QUIT":
            self._send(b"+bye\n")
            self._close()
            return Turn.ANSWERED
        self._line = line
        return line

    def accept(self) -> None:
        self._answered()
        self._send(b"+" + self._line + b"\n")

    def greet(self) -> None:
        self._send(b"+hello\n")

    def time_out(self) -> None:
        self._send(b"-too slow\n")
        self._close()

    def shut_down(self) -> None:
        self._send(b"-going\n")
        self._close()

    def fail(self) -> None:
        self._answered()
        self._send(b"-broken\n")


class ConversationTests(SynchronousTestCase):
    def test_one_thing_at_a_time(self) -> None:
        echo = Echo()
        echo.receive(b"one\ntwo\n")
        self.assertEqual(echo.next_event(), b"one")
        self.assertTrue(echo.awaiting)
        self.assertIsNone(echo.next_event())
        echo.accept()
        self.assertEqual(echo.next_event(), b"two")
        self.assertEqual(echo.output(), b"+one\n")

    def test_what_needs_no_answer_keeps_its_place_in_the_order(self) -> None:
        echo = Echo()
        echo.receive(b"NOOP\none\nNOOP\ntwo\nQUIT\n")
        while echo.next_event() is not None:
            echo.accept()
        self.assertEqual(echo.output(), b"+noop\n+one\n+noop\n+two\n+bye\n")

    def test_after_the_goodbye_nothing_is_understood(self) -> None:
        echo = Echo()
        echo.receive(b"QUIT\none\n")
        self.assertIsNone(echo.next_event())
        echo.receive(b"two\n")
        self.assertIsNone(echo.next_event())
        self.assertTrue(echo.closing)
        self.assertEqual(echo.output(), b"+bye\n")

    def test_output_that_gathers_is_to_be_sent_before_more_is_understood(self) -> None:
        echo = Echo()
        echo.receive(b"HUGE\nNOOP\n")
        self.assertIsNone(echo.next_event())
        self.assertTrue(echo.congested)
        echo.output()
        self.assertFalse(echo.congested)
        self.assertIsNone(echo.next_event())
        self.assertEqual(echo.output(), b"+noop\n")

    def test_input_that_nobody_can_take_yet_makes_it_full(self) -> None:
        echo = Echo()
        echo.receive(b"one\n" + b"NOOP\n" * (INPUT_HIGH_WATER // 5 + 1))
        echo.next_event()
        self.assertTrue(echo.full)
        echo.accept()
        while echo.next_event() is None and echo.congested:
            echo.output()
        self.assertFalse(echo.full)

    def test_only_a_whole_step_is_progress(self) -> None:
        echo = Echo()
        for octet in b"abcdefgh":
            echo.receive(bytes([octet]))
            echo.next_event()
        self.assertEqual(echo.progress, 0)
        echo.receive(b"\nNOOP\n")
        echo.next_event()
        self.assertEqual(echo.progress, 1)
        echo.accept()
        echo.next_event()
        self.assertEqual(echo.progress, 2)

    def test_an_answer_to_nothing_is_a_mistake_of_ours(self) -> None:
        self.assertRaises(AssertionError, Echo().fail)

    @given(st.lists(st.sampled_from([b"NOOP\n", b"one\r\n", b"two\n", b"x" * 200 + b"\n"]), max_size=8), st.data())
    @settings(max_examples=200, deadline=None)
    def test_however_it_is_cut_and_whenever_it_is_answered_the_order_is_the_same(
        self, lines: list[bytes], data: st.DataObject
    ) -> None:
        said = {b"NOOP\n": b"+noop\n", b"one\r\n": b"+one\n", b"two\n": b"+two\n"}
        echo = Echo()
        for piece in data.draw(cut_up(b"".join(lines))):
            echo.receive(piece)
            if data.draw(st.booleans()):
                echo.next_event()
            if echo.awaiting and data.draw(st.booleans()):
                echo.accept()
        while echo.awaiting or echo.next_event() is not None:
            echo.accept()
        self.assertEqual(echo.output(), b"".join(said.get(line, b"-too long\n") for line in lines))
