"""Twin of lanmail/queue/control.py, over real sockets, with a clock that stands still."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import stat
import tempfile
from collections.abc import AsyncGenerator, Callable
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred, ensureDeferred, gatherResults
from twisted.internet.interfaces import IReactorTime, IReactorUNIX
from twisted.internet.protocol import ClientCreator, Protocol, connectionDone
from twisted.internet.task import Clock, deferLater
from twisted.python.failure import Failure
from twisted.trial.unittest import SkipTest, TestCase

from lanmail.maillog import Logger
from lanmail.queue import control
from lanmail.queue.control import AT_ONCE, PATIENCE, TELL_EVERY, ControlSocket
from lanmail.queue.questions import LONGEST_QUESTION, Question, line_of
from lanmail.queue.reach import Reach
from lanmail.status import Status, TemporaryFailure
from tests.live import descriptors

assert IReactorTime.providedBy(reactor) and IReactorUNIX.providedBy(reactor)
PING = Question("ping").line()
STRANGER = 4242


class Answering:
    """control.Answers: says ``ok`` to everything, once ``gate`` opens; remembers who asked what."""

    def __init__(self) -> None:
        self.asked: list[tuple[Question, int]] = []
        self.gate: Deferred[None] | None = None
        self.pieces = 0  # of 64 KiB, before the last line
        self.given = 0
        self.ended = 0
        self.trouble: Exception | None = None

    async def answer(self, question: Question, uid: int) -> AsyncGenerator[bytes, None]:
        self.asked.append((question, uid))
        try:
            if self.gate is not None:
                await self.gate
            for _ in range(self.pieces):
                self.given += 1
                yield line_of({"text": "x" * 65536})
            if self.trouble is not None:
                raise self.trouble
            yield line_of({"ok": {}})
        finally:
            self.ended += 1


class Asker(Protocol):
    """The other end, in Twisted."""

    transport: Any

    def __init__(self) -> None:
        self.heard = b""
        self.closed: Deferred[bytes] = Deferred()

    def dataReceived(self, data: bytes) -> None:
        self.heard += data

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.closed.callback(self.heard)


class ControlTests(TestCase):
    def setUp(self) -> None:
        self.folder = os.path.abspath(self.mktemp())
        os.mkdir(self.folder, 0o700)
        self.clock = Clock()
        self.answering = Answering()
        self.told: list[str] = []
        self.patch(control, "log", Logger("control", observer=lambda event: self.told.append(self.line(event))))
        self.control = self.make()

    @staticmethod
    def line(event: dict[str, Any]) -> str:
        return str(event.get("log_format", "")).format(**event)

    def make(self, folder: str = "") -> ControlSocket:
        made = ControlSocket(folder or self.folder, os.geteuid(), os.getegid(), self.answering, self.clock)
        made.listen(reactor)
        self.addCleanup(lambda: ensureDeferred(made.stop()))
        return made

    async def connected(self) -> Asker:
        reach = Reach(self.control.path)
        try:
            asker: Asker = await ClientCreator(reactor, Asker).connectUNIX(reach.open())
        finally:
            reach.close()
        self.addCleanup(asker.transport.abortConnection)
        return asker

    async def said(self, *pieces: bytes) -> bytes:
        """What is heard until the service closes."""
        asker = await self.connected()
        for piece in pieces:
            asker.transport.write(piece)
            await self.turn()
        return await asker.closed

    async def turn(self, until: Callable[[], bool] = lambda: True) -> None:
        for _ in range(500):
            await deferLater(reactor, 0.001)
            if until():
                return
        self.fail("it did not happen")

    def raw(self) -> socket.socket:
        sock = socket.socket(socket.AF_UNIX)
        self.addCleanup(sock.close)
        sock.setblocking(False)
        reach = Reach(self.control.path)
        try:
            sock.connect(reach.open())
        except BlockingIOError:
            sock.close()
            raise
        finally:
            reach.close()
        return sock

    # the file

    def test_the_socket_is_its_owners_alone_and_gone_after_the_stop(self) -> Deferred[None]:
        async def scene() -> None:
            self.assertEqual(stat.S_IMODE(os.stat(self.control.path).st_mode), 0o600)
            await self.control.stop()
            self.assertEqual(os.listdir(self.folder), [])

        return ensureDeferred(scene())

    def test_it_has_its_mode_before_anybody_can_connect(self) -> Deferred[None]:
        async def scene() -> None:
            await self.control.stop()
            modes = []

            class Port(socket.socket):
                def listen(self, *backlog: int) -> None:
                    modes.append(stat.S_IMODE(os.stat(path).st_mode))
                    super().listen(*backlog)

            path = self.control.path
            self.patch(socket, "socket", Port)
            old = os.umask(0)
            try:
                self.make()
            finally:
                os.umask(old)
            self.assertEqual(modes, [0o600])

        return ensureDeferred(scene())

    def test_as_root_it_is_given_to_the_owner(self) -> Deferred[None]:
        if os.geteuid() != 0:
            raise SkipTest("only root can give a file away")

        async def scene() -> None:
            await self.control.stop()
            given = ControlSocket(self.folder, STRANGER, 8, self.answering, self.clock)
            given.listen(reactor)
            found = os.lstat(given.path)
            await given.stop()
            self.assertEqual((found.st_uid, found.st_gid), (STRANGER, 8))

        return ensureDeferred(scene())

    def test_the_socket_of_a_dead_service_is_replaced_and_nothing_else_is(self) -> Deferred[None]:
        async def scene() -> None:
            await self.control.stop()
            reach = Reach(self.control.path)
            with socket.socket(socket.AF_UNIX) as dead:
                dead.bind(reach.open())
            reach.close()
            self.control = self.make()
            self.assertEqual(await self.said(PING), b'{"ok":{}}\n')
            await self.control.stop()
            with open(self.control.path, "wb") as file:
                file.write(b"precious")
            self.assertRaises(OSError, self.make)
            with open(self.control.path, "rb") as file:
                self.assertEqual(file.read(), b"precious")

        return ensureDeferred(scene())

    def test_a_stop_ends_although_somebody_removed_the_socket(self) -> Deferred[None]:
        os.unlink(self.control.path)
        return ensureDeferred(self.control.stop())

    # a question

    def test_a_question_is_answered_and_who_asked_is_known(self) -> Deferred[None]:
        async def scene() -> None:
            self.assertEqual(await self.said(b'{"verb":"hold",', b'"ids":"ALL"}\n'), b'{"ok":{}}\n')
            self.assertEqual(self.answering.asked, [(Question("hold"), os.geteuid())])

        return ensureDeferred(scene())

    def test_trouble_is_a_sentence_and_a_fault_of_ours_shows_nothing_of_itself(self) -> Deferred[None]:
        async def scene() -> None:
            self.answering.trouble = TemporaryFailure(Status(451, "4.3.0", "the disk is away"))
            self.assertEqual(await self.said(PING), b'{"error":"the disk is away"}\n')
            self.answering.trouble = ZeroDivisionError("oops")
            heard = await self.said(PING)
            self.assertEqual(json.loads(heard), {"error": "the service failed at this; its log says how"})
            self.assertEqual(self.told, ["while answering ping"])

        return ensureDeferred(scene())

    def test_garbage_is_refused_and_hurts_nobody(self) -> Deferred[None]:
        async def scene() -> None:
            for garbage in (
                b"\n",
                b"\xff\xfe\n",
                b"GET / HTTP/1.0\r\n\r\n",
                b"[" * 60_000 + b"\n",
                b'{"verb":"die"}\n',
                b"\0" * 9 + b"\n",
            ):
                heard = await self.said(garbage)
                self.assertEqual(list(json.loads(heard)), ["error"], garbage[:20])
            self.assertEqual(await self.said(PING), b'{"ok":{}}\n')
            self.assertEqual(len(self.answering.asked), 1)

        return ensureDeferred(scene())

    def test_a_line_without_end_is_refused_when_it_is_too_long(self) -> Deferred[None]:
        async def scene() -> None:
            for size in (LONGEST_QUESTION + 1, LONGEST_QUESTION + 5000):
                self.assertIn(b"65536 octets", await self.said(b"x" * size))
            self.assertEqual(self.answering.asked, [])

        return ensureDeferred(scene())

    def test_whoever_says_more_than_a_question_is_cut(self) -> Deferred[None]:
        async def scene() -> None:
            self.answering.gate = Deferred()
            asker = await self.connected()
            asker.transport.write(PING)
            await self.turn(lambda: bool(self.answering.asked))
            asker.transport.write(PING)
            self.assertEqual(await asker.closed, b"")
            self.answering.gate.callback(None)
            await self.turn(lambda: self.answering.ended == 1)

        return ensureDeferred(scene())

    def test_silence_and_half_a_question_have_their_time_and_no_more(self) -> Deferred[None]:
        async def scene() -> None:
            silent, half = await self.connected(), await self.connected()
            half.transport.write(PING[:-1])
            await self.turn(lambda: len(self.control.connections) == 2)
            self.clock.advance(PATIENCE - 1)
            await self.turn()
            self.assertEqual(len(self.control.connections), 2)
            self.clock.advance(1)
            await gatherResults([silent.closed, half.closed])
            await self.turn(lambda: len(self.control.connections) == 0)
            self.assertEqual(self.clock.getDelayedCalls(), [])

        return ensureDeferred(scene())

    # an answer

    def test_while_we_owe_an_answer_no_time_runs(self) -> Deferred[None]:
        async def scene() -> None:
            self.answering.gate = Deferred()
            asker = await self.connected()
            asker.transport.write(PING)
            await self.turn(lambda: bool(self.answering.asked))
            self.clock.advance(100 * PATIENCE)
            self.answering.gate.callback(None)
            self.assertEqual(await asker.closed, b'{"ok":{}}\n')

        return ensureDeferred(scene())

    def test_a_reader_who_stops_reading_holds_the_answer_up_and_is_cut_in_time(self) -> Deferred[None]:
        async def scene() -> None:
            self.answering.pieces = 1000
            asker = await self.connected()
            asker.transport.pauseProducing()
            asker.transport.write(PING)
            await self.turn(lambda: bool(self.clock.getDelayedCalls()) and self.answering.given > 0)
            given = self.answering.given
            self.assertLess(given, 20)
            await self.turn()
            self.assertEqual(self.answering.given, given)
            self.clock.advance(PATIENCE)
            await self.turn(lambda: self.answering.ended == 1)
            await self.turn(lambda: len(self.control.connections) == 0)
            self.assertEqual(self.clock.getDelayedCalls(), [])

        return ensureDeferred(scene())

    def test_a_slow_reader_gets_all(self) -> Deferred[None]:
        async def scene() -> None:
            self.answering.pieces = 100
            asker = await self.connected()
            asker.transport.pauseProducing()
            asker.transport.write(PING)
            await self.turn(lambda: self.answering.given > 0)
            asker.transport.resumeProducing()
            heard = await asker.closed
            self.assertEqual(heard.count(b"\n"), 101)
            self.assertTrue(heard.endswith(b'{"ok":{}}\n'))
            self.assertEqual(self.clock.getDelayedCalls(), [])

        return ensureDeferred(scene())

    def test_nothing_more_is_read_for_whoever_left(self) -> Deferred[None]:
        async def scene() -> None:
            self.answering.pieces = 1000
            asker = await self.connected()
            asker.transport.pauseProducing()
            asker.transport.write(PING)
            await self.turn(lambda: self.answering.given > 0)
            asker.transport.abortConnection()
            await self.turn(lambda: self.answering.ended == 1)
            self.assertLess(self.answering.given, 20)

        return ensureDeferred(scene())

    # many, and strangers

    def test_a_thousand_connections_are_a_few_and_leave_nothing_behind(self) -> Deferred[None]:
        limits = contextlib.ExitStack()
        limits.enter_context(descriptors())
        self.addCleanup(limits.close)

        async def scene() -> None:
            await self.turn()  # the reactor has begun, and has its own descriptors
            before = len(os.listdir("/proc/self/fd"))
            kept: list[socket.socket] = []
            for _ in range(1000):
                while True:
                    try:
                        kept.append(self.raw())
                        break
                    except BlockingIOError:  # the backlog is short
                        await self.turn()
                if len(kept) % 100 == 0:
                    # Linux lets one more wait than listen(2) was told; all that waited may have been let in at once.
                    self.assertLessEqual(len(self.control.connections), AT_ONCE + AT_ONCE + 1)
            await self.turn(lambda: len(self.control.connections) == AT_ONCE)
            self.assertIn(b"too many", await self.said())
            self.clock.advance(PATIENCE)
            await self.turn(lambda: len(self.control.connections) == 0)
            for sock in kept:
                sock.close()
            self.assertEqual(await self.said(PING), b'{"ok":{}}\n')
            await self.turn(lambda: len(os.listdir("/proc/self/fd")) <= before)
            self.assertEqual(self.clock.getDelayedCalls(), [])

        return ensureDeferred(scene())

    def test_a_stranger_hears_nothing_and_the_log_of_him_is_bounded(self) -> Deferred[None]:
        async def scene() -> None:
            self.patch(control, "_peer_uid", lambda sock: STRANGER)
            for _ in range(5):
                self.assertEqual(await self.said(PING), b"")
            self.assertEqual([line[:47] for line in self.told], ["warning: refused a connection of uid 4242 to th"])
            self.clock.advance(TELL_EVERY)
            self.assertEqual(await self.said(), b"")
            self.assertIn("(5 refused", self.told[1])
            self.assertEqual(self.answering.asked, [])
            await self.turn(lambda: len(self.control.connections) == 0)

        return ensureDeferred(scene())

    def test_strangers_take_no_place_from_root(self) -> Deferred[None]:
        async def scene() -> None:
            self.patch(control, "_peer_uid", lambda sock: STRANGER)
            for _ in range(3 * AT_ONCE):
                try:
                    self.raw()
                except BlockingIOError:
                    await self.turn()
            self.patch(control, "_peer_uid", lambda sock: os.geteuid())
            self.assertEqual(await self.said(PING), b'{"ok":{}}\n')

        return ensureDeferred(scene())

    def test_the_kernel_says_who_a_stranger_is_even_where_every_door_was_opened(self) -> Deferred[None]:
        if os.geteuid() != 0:
            raise SkipTest("only root can become somebody else")

        async def scene() -> None:
            with tempfile.TemporaryDirectory() as folder:
                os.chmod(folder, 0o755)
                self.control = self.make(folder)
                os.chmod(self.control.path, 0o666)
                heard = await self.as_a_stranger()
                await self.control.stop()
            self.assertEqual(heard, b"")
            self.assertIn(f"uid {STRANGER} ", self.told[0])

        return ensureDeferred(scene())

    async def as_a_stranger(self) -> bytes:
        """What somebody else hears at the socket."""
        there, here = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                os.setgroups([])
                os.setgid(STRANGER)
                os.setuid(STRANGER)
                with socket.socket(socket.AF_UNIX) as sock:
                    sock.settimeout(10)
                    sock.connect(self.control.path)
                    try:
                        sock.sendall(PING)
                        os.write(here, sock.recv(99))
                    except ConnectionError:
                        pass
                os._exit(0)
            finally:
                os._exit(1)
        os.close(here)
        await self.turn(lambda: os.waitpid(child, os.WNOHANG) == (child, 0))
        heard = os.read(there, 99)
        os.close(there)
        return heard

    # the end

    def test_a_stop_lets_the_idle_go_and_waits_for_an_answer(self) -> Deferred[None]:
        async def scene() -> None:
            self.answering.gate = Deferred()
            idle, busy = await self.connected(), await self.connected()
            busy.transport.write(PING)
            await self.turn(lambda: bool(self.answering.asked))
            stopped = ensureDeferred(self.control.stop())
            self.assertEqual(await idle.closed, b"")
            await self.turn()
            self.assertNoResult(stopped)
            self.answering.gate.callback(None)
            self.assertEqual(await busy.closed, b'{"ok":{}}\n')
            await stopped

        return ensureDeferred(scene())

    def test_a_stop_has_a_limit(self) -> Deferred[None]:
        async def scene() -> None:
            self.answering.gate = Deferred()
            busy = await self.connected()
            busy.transport.write(PING)
            await self.turn(lambda: bool(self.answering.asked))
            stopped = ensureDeferred(self.control.stop(5.0))
            await self.turn(lambda: not os.path.exists(self.control.path))
            self.clock.advance(5.0)
            await stopped
            self.assertEqual(await busy.closed, b"")
            self.answering.gate.callback(None)

        return ensureDeferred(scene())
