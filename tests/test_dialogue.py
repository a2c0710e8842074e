"""The player of dialogues: that it hears what differs, and that both ways of playing hear the same."""

from __future__ import annotations

from typing import Any

from twisted.internet import reactor
from twisted.internet.protocol import Factory
from twisted.internet.task import Clock
from twisted.protocols.basic import LineReceiver
from twisted.trial.unittest import SynchronousTestCase, TestCase

from tests import dialogue
from tests.dialogue import Differs, parse

GOOD = r"""
# A server that repeats.
== one
S: hello
C: a
C: b {x}
S: a
S: b {x}
C| a\x00\xe9
S-
C| b\r\n
S: {...}b
C: id 7 7 8
S: id {n} {n} {m}
C: id 7
S: id {n}
C: QUIT
S! closes

== two
S: {...}
C! closes
"""


class Repeats(LineReceiver):
    """Says what it hears; after ``wait`` it says it half a minute later."""

    clock: Any = None

    def connectionMade(self) -> None:
        self.sendLine(b"hello")

    def lineReceived(self, line: bytes) -> None:
        if line == b"QUIT":
            self.transport.loseConnection()
        elif line == b"wait":
            self.clock.callLater(dialogue.PATIENCE - 1, self.sendLine, line)
        else:
            self.sendLine(line)


def server(clock: Any = None) -> Factory:
    factory = Factory.forProtocol(Repeats)
    Repeats.clock = clock
    return factory


def in_memory(text: str) -> dict[str, str]:
    clock = Clock()
    (one,) = parse(text)
    return one.play_in_memory(server(clock), clock)


WRONG = (
    "S: hullo",
    "S: hello\nC: a\nS: b",
    "S: hello\nC: a\nS: A",
    "S: hello\nC: id 1 2\nS: id {n} {n}",
    "S: hello\nC: id 1\nS: id {n}\nC: id 2\nS: id {n}",
    "S: hello\nC: a b\nS: {n}",
    "S: hello\nC: a\nS-",
    "S: hello\nC: QUIT\nS: bye",
    "S: hello\nC: a\nC: QUIT\nS! closes",
)


class InMemoryTests(SynchronousTestCase):
    def test_what_is_said_as_written_is_played_to_the_end(self) -> None:
        for one in parse(GOOD):
            names = one.play_in_memory(server(), Clock())
            self.assertEqual(names, {"x": "{x}", "n": "7", "m": "8"} if one.title == "one" else {})

    def test_what_is_said_differently_is_heard(self) -> None:
        for text in WRONG:
            with self.assertRaises(Differs, msg=text):
                in_memory(text)

    def test_a_server_that_stays_silent_or_stays_is_heard(self) -> None:
        for text in ("S: hello\nS: more", "S: hello\nS! closes"):
            with self.assertRaises(Differs):
                in_memory(text)

    def test_the_clock_is_turned_for_a_server_that_waits(self) -> None:
        in_memory("S: hello\nC: wait\nS: wait")
        in_memory("S: hello\nC: wait\nT: 28\nS-\nT: 1\nS: wait")

    def test_a_line_that_means_nothing_is_named(self) -> None:
        for text in ("S: a\nX: b", "S! stays", "hello", "T: soon"):
            self.assertRaises(ValueError, parse, text)


class OverTcpTests(TestCase):
    async def test_the_same_is_played_and_the_same_is_heard(self) -> None:
        port = reactor.listenTCP(0, server(), interface="127.0.0.1")  # type: ignore[attr-defined]
        self.addCleanup(port.stopListening)
        number = port.getHost().port
        for one in parse(GOOD):
            await one.play_over_tcp(reactor, number)
        for text in WRONG:
            (one,) = parse(text)
            try:
                await one.play_over_tcp(reactor, number)
            except Differs:
                continue
            self.fail(f"nobody heard what differs in {text!r}")
