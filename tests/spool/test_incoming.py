from __future__ import annotations

import errno
import os
import tracemalloc
from collections.abc import Awaitable, Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from lanmail.message import TopHeader
from lanmail.queue.written import written
from lanmail.spool import incoming
from lanmail.spool.incoming import Content, IncomingFolder, IncomingMessage
from lanmail.status import PermanentFailure, Status, TemporaryFailure
from tests.delivery.house import Reports, at_once


class IncomingTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.path = os.path.abspath(self.mktemp())
        self.report = Reports()
        self.folder = IncomingFolder(self.path, at_once, self.report)
        self.addCleanup(lambda: self.folder.close())
        self.given: list[bytes] = []
        self.contents: list[Content] = []

    async def deliver(self, content: Content) -> str:
        self.contents.append(content)
        self.given.append(b"".join(content.pieces()))
        return "222CF6745D"

    def message(self, deliver: Callable[[Content], Awaitable[str]] | None = None) -> IncomingMessage:
        return IncomingMessage(self.folder, "222CF6745D", TopHeader({b"status"}), deliver or self.deliver)

    def run_(self, work: Awaitable[Any]) -> Any:
        async def whole() -> Any:
            return await work

        return self.successResultOf(Deferred.fromCoroutine(whole()))

    def write(self, message: IncomingMessage, *pieces: bytes) -> None:
        for piece in pieces:
            self.run_(message.write(piece))

    def files(self) -> list[str]:
        return os.listdir(self.path)


class MemoryTests(IncomingTestCase):
    def test_a_small_message_stays_in_memory(self) -> None:
        message = self.message()
        self.write(message, b"Subject: a\nStatus: x\n\nFrom b", b"\n")
        self.assertEqual(self.run_(message.commit()), "222CF6745D")
        self.assertEqual(self.given, [b"Subject: a\n\n>From b\n\n"])
        self.assertIsNone(self.contents[0].name)

    def test_an_empty_message_is_one_empty_line(self) -> None:
        self.run_(self.message().commit())
        self.assertEqual(self.given, [b"\n"])

    def test_a_large_one_goes_to_a_file_of_ours_alone_and_comes_back_whole(self) -> None:
        message = self.message()
        chunk = b"x" * 998 + b"\n"
        self.write(message, b"A: b\n\n", *([chunk * 60] * 20))
        self.assertEqual(self.files(), ["222CF6745D"])
        self.assertEqual(os.stat(os.path.join(self.path, "222CF6745D")).st_mode & 0o7777, 0o600)
        self.run_(message.commit())
        self.assertEqual(self.given, [b"A: b\n\n" + chunk * 1200 + b"\n"])
        self.assertEqual(self.contents[0].size, len(self.given[0]))
        self.assertEqual(self.files(), [])

    def test_fifty_megabytes_cost_less_than_eight(self) -> None:
        async def look(content: Content) -> str:
            self.assertEqual(sum(map(len, content.pieces())), content.size)
            return "X"

        message = self.message(look)
        chunk = (b"y" * 76 + b"\n") * 840
        tracemalloc.start()
        try:
            self.run_(message.write(b"A: b\n\n"))
            for _ in range(50_000_000 // len(chunk)):
                self.run_(message.write(chunk))
            self.run_(message.commit())
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        self.assertLess(peak, 8_000_000)

    def test_pieces_for_the_disk_are_worth_a_thread(self) -> None:
        sizes: list[int] = []
        real = os.write

        def write(fd: int, data: bytes) -> int:
            sizes.append(len(data))
            return real(fd, data)

        self.patch(incoming.os, "write", write)
        message = self.message()
        self.write(message, *([b"x" * 4094 + b"\n"] * 500))
        self.run_(message.commit())
        self.assertGreaterEqual(min(sizes[1:-1]), 128 * 1024)


class EndTests(IncomingTestCase):
    def test_what_the_client_breaks_off_leaves_nothing(self) -> None:
        message = self.message()
        self.write(message, b"x" * 100_000, b"y" * 200_000)
        self.assertEqual(len(self.files()), 1)
        message.abort()
        self.assertEqual(self.files(), [])
        message.abort()

    def test_a_client_that_leaves_while_a_thread_writes_leaves_nothing(self) -> None:
        held: list[tuple[Deferred[Any], Callable[[], Any]]] = []

        def later(work: Callable[..., Any], *args: Any) -> Deferred[Any]:
            held.append((Deferred(), lambda: work(*args)))
            return held[-1][0]

        self.folder.close()
        self.folder = IncomingFolder(self.path, later, self.report)
        message = self.message()
        writing = Deferred.fromCoroutine(message.write(b"x" * 100_000))
        message.abort()
        for fired, work in reversed(held):  # the removal comes first
            work()
            fired.callback(None)
        self.successResultOf(writing)
        self.assertEqual(self.files(), [])

    def test_a_refusal_at_the_end_leaves_nothing(self) -> None:
        async def refuse(content: Content) -> str:
            raise PermanentFailure(Status(554, "5.4.0", "Error: too many hops"))

        message = self.message(refuse)
        self.write(message, b"x" * 100_000)
        self.failureResultOf(Deferred.fromCoroutine(message.commit()), PermanentFailure)
        self.assertEqual(self.files(), [])

    def test_what_a_note_still_needs_is_kept(self) -> None:
        async def fail(content: Content) -> str:
            content.kept = True
            raise TemporaryFailure(Status(451, "4.3.0", "later"))

        message = self.message(fail)
        self.write(message, b"x" * 100_000)
        self.failureResultOf(Deferred.fromCoroutine(message.commit()), TemporaryFailure)
        self.assertEqual(self.files(), ["222CF6745D"])


class TroubleTests(IncomingTestCase):
    def fail_with(self, number: int, at: int = 0) -> None:
        calls = [0]
        real = os.write

        def write(fd: int, data: bytes) -> int:
            calls[0] += 1
            if calls[0] > at:
                raise OSError(number, os.strerror(number))
            return real(fd, data)

        self.patch(incoming.os, "write", write)

    def status_after(self, *pieces: bytes) -> str:
        message = self.message()
        self.write(message, *pieces)
        failure = self.failureResultOf(Deferred.fromCoroutine(message.commit()), TemporaryFailure).value
        assert isinstance(failure, TemporaryFailure)
        self.assertEqual((self.files(), self.given), ([], []))
        return str(failure.status)

    def test_a_full_disk_is_told_at_the_end_and_the_rest_costs_nothing(self) -> None:
        for at in (0, 1, 2):
            self.fail_with(errno.ENOSPC, at)
            told = self.status_after(*([b"x" * 140_000] * 5))
            self.assertEqual(told, "452 4.3.1 Insufficient system storage")
            path = os.path.join(self.path, "222CF6745D")
            self.assertEqual(self.report, [f"warning: 222CF6745D: cannot write {path}: No space left on device"])
            self.report.clear()

    def test_an_error_of_the_disk_is_told_at_the_end(self) -> None:
        self.fail_with(errno.EIO, 1)
        self.assertEqual(self.status_after(*([b"x" * 140_000] * 3))[:9], "451 4.3.0")

    def test_a_file_that_cannot_be_made(self) -> None:
        os.rmdir(self.path)
        message = self.message()
        self.write(message, b"x" * 100_000)
        failure = self.failureResultOf(Deferred.fromCoroutine(message.commit()), TemporaryFailure).value
        self.assertIn("451 4.3.0", str(failure))

    def test_another_file_of_that_name_is_left_alone(self) -> None:
        other = os.path.join(self.path, "222CF6745D")
        with open(other, "w") as file:
            file.write("another's")
        message = self.message()
        self.write(message, b"x" * 100_000)
        self.failureResultOf(Deferred.fromCoroutine(message.commit()), TemporaryFailure)
        with open(other) as file:
            self.assertEqual(file.read(), "another's")

    def test_a_link_in_the_folder_s_place_leads_nowhere(self) -> None:
        elsewhere = self.path + ".elsewhere"
        os.mkdir(elsewhere)
        os.rename(self.path, self.path + ".away")
        os.symlink(elsewhere, self.path)
        message = self.message()
        self.write(message, b"x" * 100_000)
        self.failureResultOf(Deferred.fromCoroutine(message.commit()), TemporaryFailure)
        self.assertRaises(TemporaryFailure, written, self.folder, "222CF6745E", [b"x" * 100_000])
        self.assertEqual(os.listdir(elsewhere), [])
        with open(os.path.join(elsewhere, "shadow"), "w") as file:
            file.write("root's")
        content = Content(6, name="shadow", path=os.path.join(self.path, "shadow"))
        self.assertRaises(OSError, list, content.pieces())

    def test_a_link_in_a_message_s_place_is_not_read(self) -> None:
        with open(self.path + ".precious", "w") as file:
            file.write("root's")
        for put in (os.link, os.symlink):
            put(self.path + ".precious", os.path.join(self.path, "X"))
            content = Content(6, name="X", path=os.path.join(self.path, "X"))
            self.assertRaises(OSError, list, content.pieces())
            content.discard()

    def test_a_file_that_lost_its_end_is_not_taken_for_the_message(self) -> None:
        async def shorten(content: Content) -> str:
            os.truncate(content.path, 10)
            for _ in content.pieces():
                pass
            return "X"

        message = self.message(shorten)
        self.write(message, b"x" * 100_000)
        self.failureResultOf(Deferred.fromCoroutine(message.commit()), OSError)


class FolderTests(IncomingTestCase):
    def test_it_is_made_for_us_alone(self) -> None:
        self.assertEqual(os.stat(self.path).st_mode & 0o077, 0)

    def test_orphans_are_swept(self) -> None:
        for name in ("A", "B"):
            with open(os.path.join(self.path, name), "w"):
                pass
        self.assertEqual(sorted(self.folder.names()), ["A", "B"])
        self.assertEqual(self.folder.sweep(["A", "gone"]), 1)
        self.assertEqual(self.files(), ["B"])

    def test_a_closed_folder_holds_no_descriptor_and_may_be_closed_again(self) -> None:
        before = len(os.listdir("/proc/self/fd"))
        folder = IncomingFolder(self.path, at_once, self.report)
        folder.close()
        folder.close()
        self.assertEqual(len(os.listdir("/proc/self/fd")), before)
