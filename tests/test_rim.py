"""The carrier between a conversation and a transport: order, back-pressure, silence and goodbye."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionLost
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.logger import Logger
from twisted.trial.unittest import SynchronousTestCase

from lanmail.network import Peer
from lanmail.rim import GRACE, LOOK_AGAIN, Carrier, Gone, peer_of, socket_of
from lanmail.wire.conversation import INPUT_HIGH_WATER, LARGE_READ
from tests.dialogue import MemoryTransport
from tests.wire.test_conversation import Echo

IDLE = 100.0


class Rim:
    """An Echo carried over memory. ``answers`` holds what the events wait for, unless ``at_once``."""

    def __init__(self, *, at_once: bool = False, **limits: Any) -> None:
        self.clock = Clock()
        self.transport = MemoryTransport(self.clock)
        self.echo = Echo()
        self.at_once = at_once
        self.events: list[bytes] = []
        self.answers: list[Deferred[None]] = []
        self.before_answer: Callable[[bytes], Any] | None = None
        self.carrier = Carrier(
            self.transport, self.echo, self._answer, lambda: IDLE, self.clock, Logger("rim"), **limits
        )
        self.closed: list[object] = []
        self.carrier.closed.addCallback(self.closed.append)
        self.transport.connect(self)

    # the protocol's side

    def makeConnection(self, transport: object) -> None:
        self.carrier.start()

    def dataReceived(self, data: bytes) -> None:
        self.carrier.received(data)

    def connectionLost(self, reason: object) -> None:
        self.carrier.lost()

    async def _answer(self, event: bytes) -> None:
        self.events.append(event)
        if not self.at_once:
            self.answers.append(Deferred())
            await self.answers[-1]
        if self.before_answer is not None:
            await self.before_answer(event)
        if self.echo.awaiting:
            self.echo.accept()

    def said(self) -> bytes:
        octets = self.transport.value()
        self.transport.clear()
        return octets


class OrderTests(SynchronousTestCase):
    def test_replies_of_one_turn_are_one_write(self) -> None:
        rim = Rim(at_once=True)
        writes: list[bytes] = []
        rim.said()
        rim.transport.write = writes.append  # type: ignore[method-assign]
        rim.transport.say(b"NOOP\none\nNOOP\ntwo\n")
        self.assertEqual(writes, [b"+noop\n+one\n+noop\n+two\n"])

    def test_a_quit_behind_a_slow_command_waits_for_it(self) -> None:
        rim = Rim()
        rim.transport.say(b"one\nQUIT\n")
        self.assertEqual(rim.said(), b"+hello\n")
        self.assertFalse(rim.transport.disconnecting)
        rim.answers[0].callback(None)
        self.assertEqual(rim.said(), b"+one\n+bye\n")
        self.assertTrue(rim.transport.disconnecting)

    def test_the_next_command_waits_for_the_end_of_the_work_not_only_for_the_reply(self) -> None:
        clock, echo, transport = Clock(), Echo(), StringTransport()
        begun: list[bytes] = []
        work: Deferred[None] = Deferred()

        async def answers_first_and_tidies_up_after(event: bytes) -> None:
            begun.append(event)
            echo.accept()
            await work

        carrier = Carrier(transport, echo, answers_first_and_tidies_up_after, lambda: IDLE, clock, Logger("rim"))
        carrier.start()
        carrier.received(b"one\ntwo\n")
        self.assertEqual(begun, [b"one"])
        work.callback(None)
        self.assertEqual(begun, [b"one", b"two"])

    def test_nagle_is_switched_off(self) -> None:
        self.assertTrue(Rim().transport.no_delay)

    def test_a_transport_without_nagle_is_carried_as_well(self) -> None:
        clock, echo = Clock(), Echo()
        transport = StringTransport()

        async def answer(event: bytes) -> None:
            echo.accept()

        Carrier(transport, echo, answer, lambda: IDLE, clock, Logger("rim")).start()
        self.assertEqual(transport.value(), b"+hello\n")

    @given(st.lists(st.sampled_from([b"NOOP", b"one", b"two", b"three"]), min_size=1, max_size=8), st.data())
    @settings(max_examples=100, deadline=None)
    def test_k_commands_get_k_replies_in_order_whenever_they_are_answered(
        self, commands: list[bytes], data: st.DataObject
    ) -> None:
        rim = Rim()
        waiting = [*commands]
        rim.said()
        heard = b""
        while waiting or any(not answer.called for answer in rim.answers):
            pending = [answer for answer in rim.answers if not answer.called]
            self.assertLessEqual(len(pending), 1)
            if pending and (not waiting or data.draw(st.booleans())):
                pending[0].callback(None)
            else:
                count = data.draw(st.integers(1, len(waiting)))
                rim.transport.say(b"".join(line + b"\n" for line in waiting[:count]))
                del waiting[:count]
            heard += rim.said()
        self.assertEqual(heard, b"".join(b"+" + line.replace(b"NOOP", b"noop") + b"\n" for line in commands))


class TroubleTests(SynchronousTestCase):
    def test_what_an_answer_raises_is_logged_and_the_client_is_told_later(self) -> None:
        rim = Rim(at_once=True)

        async def trouble(event: bytes) -> None:
            if event == b"one":
                raise ZeroDivisionError

        rim.before_answer = trouble
        rim.transport.say(b"one\ntwo\n")
        self.assertEqual(rim.said(), b"+hello\n-broken\n+two\n")
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_an_answer_that_answers_nothing_is_trouble_too(self) -> None:
        clock, echo, transport = Clock(), Echo(), StringTransport()

        async def forgets(event: bytes) -> None:
            return

        carrier = Carrier(transport, echo, forgets, lambda: IDLE, clock, Logger("rim"))
        carrier.start()
        carrier.received(b"one\n")
        self.assertEqual(transport.value(), b"+hello\n-broken\n")
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)


class PressureTests(SynchronousTestCase):
    def test_a_client_that_pipelines_past_all_measure_is_not_read_until_it_is_answered(self) -> None:
        rim = Rim()
        rim.transport.say(b"one\n" + b"NOOP\n" * INPUT_HIGH_WATER)
        self.assertEqual(rim.transport.producerState, "paused")
        rim.answers[0].callback(None)
        self.assertEqual(rim.transport.producerState, "producing")
        self.assertEqual(rim.said().count(b"+noop\n"), INPUT_HIGH_WATER)

    def test_a_client_that_does_not_read_is_not_served_further(self) -> None:
        rim = Rim(at_once=True)
        rim.carrier.pauseProducing()
        rim.said()
        rim.transport.say(b"NOOP\n" * 1000)
        self.assertEqual(rim.said(), b"")
        rim.transport.say(b"NOOP\n" * INPUT_HIGH_WATER)
        self.assertEqual(rim.transport.producerState, "paused")
        rim.carrier.resumeProducing()
        self.assertEqual(rim.transport.producerState, "producing")
        self.assertEqual(rim.said().count(b"+noop\n"), INPUT_HIGH_WATER + 1000)

    def test_output_does_not_gather_past_what_the_transport_takes(self) -> None:
        rim = Rim(at_once=True)
        rim.said()
        write = rim.transport.write

        def full_at_once(data: bytes) -> None:
            write(data)
            rim.carrier.pauseProducing()

        rim.transport.write = full_at_once  # type: ignore[method-assign]
        rim.transport.say(b"HUGE\n" * 50)
        self.assertEqual(rim.said().count(b"\n"), 1)
        rim.carrier.resumeProducing()
        self.assertEqual(rim.said().count(b"\n"), 1)

    def test_what_a_client_may_leave_unread_is_what_was_asked_for_wherever_the_socket_is(self) -> None:
        class Socket(MemoryTransport):
            bufferSize = 65536

        class Tls:
            def __init__(self, below: object) -> None:
                self.transport = below

        socket = Socket(Clock())
        self.assertIs(socket_of(Tls(Tls(socket))), socket)
        self.assertIs(socket_of(socket), socket)
        rim = Rim(at_once=True)
        for owed in (1, 65536, 1_000_000):
            rim.carrier = Carrier(socket, Echo(), rim._answer, lambda: IDLE, rim.clock, Logger("rim"), owed=owed)
            rim.carrier.start()
            self.assertEqual(socket.bufferSize, owed)
            socket.unregisterProducer()

    def test_in_the_middle_of_a_large_text_more_is_read_at_once(self) -> None:
        class Texts(Echo):
            text_octets: int | None = None  # type: ignore[assignment]

        class Socket(MemoryTransport):
            bufferSize = 65536

        socket, texts, rim = Socket(Clock()), Texts(), Rim(at_once=True)
        carrier = Carrier(socket, texts, rim._answer, lambda: IDLE, rim.clock, Logger("rim"), owed=65536)
        carrier.start()
        for octets, size in ((0, 65536), (65535, 65536), (65536, LARGE_READ), (10**7, LARGE_READ), (None, 65536)):
            texts.text_octets = octets
            carrier.received(b"")
            self.assertEqual(socket.bufferSize, size, octets)

    def test_answers_of_one_turn_are_sent_when_they_are_more_than_a_client_may_leave_unread(self) -> None:
        for owed, writes in ((12, 1), (11, 2)):  # two answers of six octets
            rim = Rim(at_once=True, owed=owed)
            sent: list[bytes] = []
            rim.transport.write = sent.append  # type: ignore[method-assign]
            rim.transport.say(b"NOOP\nNOOP\nNOOP\n")
            self.assertEqual(b"".join(sent), b"+noop\n" * 3)
            self.assertEqual(len(sent), writes, sent)

    def test_whoever_wants_to_know_is_told_when_the_transport_has_all_of_it(self) -> None:
        told: list[bytes] = []
        rims: list[Rim] = []
        rims.append(Rim(at_once=True, handed_over=lambda: told.extend(rim.said() for rim in rims)))
        rim = rims[0]
        rim.said()
        rim.transport.say(b"one\ntwo\n")
        self.assertEqual(told, [b"+one\n+two\n"])
        rim.carrier.pauseProducing()
        rim.transport.say(b"three\n")
        self.assertEqual(told[1:], [])
        rim.carrier.resumeProducing()
        self.assertEqual(told[1:], [b"", b"+three\n"])

    def test_an_answer_that_writes_waits_for_room(self) -> None:
        rim = Rim(at_once=True)
        rim.said()
        written: list[bytes] = []

        async def letter(event: bytes) -> None:
            for piece in (b"a", b"b", b"c"):
                await rim.carrier.write(piece)
                written.append(piece)
                if piece == b"a":
                    rim.carrier.pauseProducing()

        rim.before_answer = letter
        rim.transport.say(b"one\nNOOP\n")
        self.assertEqual((written, rim.said()), ([b"a"], b"ab"))
        rim.carrier.resumeProducing()
        self.assertEqual((written, rim.said()), ([b"a", b"b", b"c"], b"c+one\n+noop\n"))

    def test_who_waits_for_room_hears_that_the_client_is_gone(self) -> None:
        rim = Rim(at_once=True)
        heard: list[str] = []

        async def letter(event: bytes) -> None:
            rim.carrier.pauseProducing()
            try:
                await rim.carrier.write(b"a")
            except Gone:
                heard.append("gone")
            try:
                await rim.carrier.write(b"b")
            except Gone:
                heard.append("still gone")
                raise

        rim.before_answer = letter
        rim.transport.say(b"one\n")
        rim.transport.drop()
        self.assertEqual(heard, ["gone", "still gone"])
        self.assertEqual(len(rim.closed), 1)


class SilenceTests(SynchronousTestCase):
    def test_a_silent_client_is_told_and_let_go(self) -> None:
        rim = Rim(at_once=True)
        rim.said()
        rim.clock.advance(IDLE - 1)
        self.assertFalse(rim.transport.disconnecting)
        rim.clock.advance(1)
        self.assertEqual(rim.said(), b"-too slow\n")
        self.assertTrue(rim.transport.disconnecting)

    def test_a_command_begins_the_silence_anew(self) -> None:
        rim = Rim(at_once=True)
        rim.clock.advance(IDLE - 1)
        rim.transport.say(b"NOOP\n")
        rim.clock.advance(IDLE - 1)
        self.assertFalse(rim.transport.disconnecting)
        rim.clock.advance(1)
        self.assertTrue(rim.transport.disconnecting)

    def test_octets_that_complete_nothing_are_silence(self) -> None:
        rim = Rim(at_once=True)
        for _ in range(int(IDLE)):
            rim.transport.say(b"x")
            rim.clock.advance(1)
        self.assertTrue(rim.transport.disconnecting)

    def test_no_time_runs_while_it_is_our_turn(self) -> None:
        rim = Rim()
        rim.transport.say(b"one\n")
        rim.clock.pump([IDLE] * 10)
        self.assertFalse(rim.transport.disconnecting)
        self.assertEqual(rim.carrier.silence, 0)
        rim.answers[0].callback(None)
        rim.clock.advance(IDLE - 1)
        self.assertFalse(rim.transport.disconnecting)
        self.assertEqual(rim.carrier.silence, IDLE - 1)
        rim.clock.advance(1)
        self.assertTrue(rim.transport.disconnecting)

    def test_a_client_that_takes_a_letter_slowly_has_its_time_for_each_bufferful(self) -> None:
        rim = Rim(at_once=True)
        sent = 0

        async def letter(event: bytes) -> None:
            nonlocal sent
            for _ in range(10):
                rim.carrier.pauseProducing()
                await rim.carrier.write(b"a piece")
                sent += 1

        rim.before_answer = letter
        rim.transport.say(b"one\n")
        for count in range(10):
            rim.clock.advance(IDLE - 1)
            self.assertEqual((sent, rim.transport.aborted), (count, False))
            rim.carrier.resumeProducing()
        self.assertEqual(sent, 10)
        self.assertEqual(rim.carrier.silence, 0)

    def test_a_time_that_ran_out_just_as_our_turn_came_is_looked_at_when_it_is_over(self) -> None:
        rim = Rim()
        rim.transport.say(b"one\n")
        rim.carrier._patience.credit(-2 * IDLE)  # as a message that came too slowly up to here
        rim.clock.pump([IDLE, LOOK_AGAIN, LOOK_AGAIN])
        self.assertFalse(rim.transport.disconnecting)
        rim.answers[0].callback(None)
        self.assertFalse(rim.transport.disconnecting)
        rim.clock.advance(LOOK_AGAIN)
        self.assertTrue(rim.transport.disconnecting)

    def test_a_connection_has_one_timer_whatever_is_said(self) -> None:
        rim = Rim(at_once=True)
        for _ in range(100):
            rim.transport.say(b"NOOP\none\nx")
            rim.clock.advance(1)
            self.assertEqual(len(rim.clock.getDelayedCalls()), 1)

    def test_a_client_that_does_not_take_a_letter_is_cut_without_a_word(self) -> None:
        rim = Rim(at_once=True)

        async def letter(event: bytes) -> None:
            rim.carrier.pauseProducing()
            await rim.carrier.write(b"half of a letter")

        rim.before_answer = letter
        rim.transport.say(b"one\n")
        rim.said()
        rim.clock.advance(IDLE)
        self.assertTrue(rim.transport.aborted)
        self.assertEqual(rim.said(), b"")
        rim.clock.advance(0)
        self.assertEqual(len(rim.closed), 1)


class GoodbyeTests(SynchronousTestCase):
    def test_a_goodbye_that_the_client_does_not_hear_ends_all_the_same(self) -> None:
        rim = Rim(at_once=True)
        rim.transport.loseConnection = lambda: None  # type: ignore[method-assign]  # never done: the buffer stays full
        rim.transport.say(b"QUIT\n")
        rim.clock.advance(GRACE - 1)
        self.assertFalse(rim.transport.aborted)
        rim.clock.advance(1)
        self.assertTrue(rim.transport.aborted)

    def test_a_client_that_goes_leaves_no_timer_behind(self) -> None:
        for last_words in (b"", b"NOOP\n", b"QUIT\n", b"one\n"):
            rim = Rim(at_once=True)
            rim.transport.say(last_words)
            rim.transport.drop(ConnectionLost)
            rim.clock.advance(0)
            self.assertEqual(rim.clock.getDelayedCalls(), [], last_words)
            self.assertEqual(len(rim.closed), 1)

    def test_closed_fires_only_when_nothing_is_under_way_any_more(self) -> None:
        rim = Rim()
        rim.transport.say(b"one\ntwo\n")
        rim.transport.drop()
        self.assertEqual(rim.closed, [])
        rim.answers[0].callback(None)
        self.assertEqual(len(rim.closed), 1)
        self.assertEqual(rim.events, [b"one"])

    def test_a_client_that_closed_its_half_hears_the_answers_to_all_it_said(self) -> None:
        rim = Rim()
        rim.transport.say(b"one\ntwo\nthr")
        rim.said()
        rim.carrier.heard_all()
        self.assertFalse(rim.transport.disconnecting)
        rim.answers[0].callback(None)
        rim.answers[1].callback(None)
        self.assertEqual(rim.said(), b"+one\n+two\n")
        self.assertTrue(rim.transport.disconnecting)
        rim.clock.advance(0)
        self.assertEqual(len(rim.closed), 1)

    def test_a_client_that_closed_while_nothing_was_owed_to_it_is_let_go(self) -> None:
        rim = Rim()
        rim.carrier.heard_all()
        self.assertTrue(rim.transport.disconnecting)

    def test_a_stop_tells_the_idle_at_once(self) -> None:
        rim = Rim()
        rim.said()
        rim.carrier.stop()
        self.assertEqual(rim.said(), b"-going\n")
        self.assertTrue(rim.transport.disconnecting)

    def test_a_stop_lets_the_busy_finish_what_they_began_and_no_more(self) -> None:
        rim = Rim()
        rim.transport.say(b"one\ntwo\n")
        rim.said()
        rim.carrier.stop()
        self.assertEqual(rim.said(), b"")
        rim.answers[0].callback(None)
        self.assertEqual(rim.said(), b"+one\n-going\n")

    def test_a_cut_says_nothing_more_and_answers_nothing_more(self) -> None:
        rim = Rim()
        rim.transport.say(b"one\ntwo\n")
        rim.said()
        rim.carrier.cut()
        rim.clock.advance(0)
        rim.answers[0].callback(None)
        self.assertEqual(rim.said(), b"")
        self.assertEqual(rim.events, [b"one"])
        self.assertEqual(len(rim.closed), 1)


class PeerTests(SynchronousTestCase):
    def test_an_ipv4_client_of_a_dual_stack_socket_has_its_plain_address(self) -> None:
        transport = StringTransport(
            hostAddress=IPv6Address("TCP", "::ffff:192.168.1.1", 25),
            peerAddress=IPv6Address("TCP", "::ffff:192.168.1.5", 40000),
        )
        self.assertEqual(peer_of(transport), Peer("192.168.1.5", 40000, "192.168.1.1", 25))

    def test_a_unix_socket_has_no_address(self) -> None:
        transport = StringTransport(hostAddress=UNIXAddress("/run/smtp"), peerAddress=UNIXAddress(None))  # type: ignore[arg-type]
        self.assertEqual(peer_of(transport), Peer(""))

    def test_other_addresses_are_as_they_are(self) -> None:
        transport = StringTransport(
            hostAddress=IPv4Address("TCP", "127.0.0.1", 25), peerAddress=IPv6Address("TCP", "fd00::5", 1)
        )
        self.assertEqual(peer_of(transport), Peer("fd00::5", 1, "127.0.0.1", 25))
