"""``lanmail queue`` and a service that runs; test_queue_stopped.py has the other half."""

from __future__ import annotations

import json
import os
import socket
import threading
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result
from twisted.internet import reactor
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SynchronousTestCase, TestCase

from lanmail.admin import asking
from lanmail.admin.command import main
from lanmail.config.settings import read
from lanmail.queue.control import ControlSocket
from lanmail.queue.desk import Desk
from lanmail.queue.reach import Reach
from lanmail.spool.incoming import Content
from lanmail.state import StateFolder
from lanmail.status import Status, TemporaryFailure
from tests.queue.waiting import LOCKED, ListedQueue, content, here, message, recipient

assert IReactorTime.providedBy(reactor)
ONE, TWO, NONE = "222CF6745D", "222CF6745E", "0000000001"


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["queue", *arguments])


class RunningTests(TestCase):
    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).resolve()
        self.folder.mkdir()
        self.main_cf = self.folder / "main.cf"
        self.main_cf.write_text(f"queue_directory = {self.folder}/queue\nmydestination = *\n")
        late = recipient(1, reason=LOCKED, tries=1, due=1060.0)
        self.queue = ListedQueue((message(ONE), [late]), (message(TWO, ""), [recipient(2, "bert", held=True)]))
        self.state = StateFolder(f"{self.folder}/queue", os.geteuid(), os.getegid())
        self.addCleanup(self.state.release)
        desk = Desk(self.queue, here, lambda: 1000.0, lambda: 1795552600.0)
        self.control = ControlSocket(self.state.path, os.geteuid(), os.getegid(), desk, reactor)
        self.control.listen(reactor)
        self.addCleanup(lambda: ensureDeferred(self.control.stop()))

    def run_it(self, *arguments: str) -> Deferred[Result]:
        return deferToThread(run, *arguments, "--config", str(self.main_cf))

    async def says(self, status: int, output: str, *arguments: str) -> None:
        result = await self.run_it(*arguments)
        self.assertEqual((result.exit_code, result.output), (status, output), result.exception)

    def test_what_waits_is_listed(self) -> Deferred[None]:
        async def scene() -> None:
            result = await self.run_it("list")
            self.assertEqual(result.exit_code, 0, result.output)
            lines = result.output.splitlines()
            self.assertTrue(lines[1].startswith(f"{ONE}     3000 "))
            self.assertTrue(lines[5].startswith(f"{TWO}!    3000 "))
            self.assertEqual(lines[-1], "-- 5 Kbytes in 2 Requests.")

        return ensureDeferred(scene())

    def test_as_json_a_message_is_a_line(self) -> Deferred[None]:
        async def scene() -> None:
            result = await self.run_it("list", "--json")
            told = [json.loads(line) for line in result.output.splitlines()]
            self.assertEqual([(one["queue_id"], one["queue_name"]) for one in told], [(ONE, "deferred"), (TWO, "hold")])
            self.queue.entries.clear()
            await self.says(0, "", "list", "--json")

        return ensureDeferred(scene())

    def test_an_empty_queue_is_no_error(self) -> Deferred[None]:
        self.queue.entries.clear()
        return ensureDeferred(self.says(0, "Mail queue is empty\n", "list"))

    def test_the_config_may_stand_before_the_command_too(self) -> Deferred[None]:
        async def scene() -> None:
            self.queue.entries.clear()
            result = await deferToThread(run, "-c", str(self.main_cf), "list")
            self.assertEqual(result.output, "Mail queue is empty\n")

        return ensureDeferred(scene())

    def test_a_message_is_shown_with_its_text_as_it_was_sent(self) -> Deferred[None]:
        async def scene() -> None:
            result = await self.run_it("show", ONE.lower())
            self.assertEqual(result.exit_code, 0, result.output)
            head, _, text = result.output.partition(f"*** MESSAGE {ONE} ***\n")
            self.assertTrue(head.startswith(f"*** ENVELOPE {ONE} ***\nqueue id:   {ONE} (deferred)\n"))
            self.assertEqual(text, f"From: julien\nSubject: Dianaël\n\nFrom here\n\n*** END {ONE} ***\n")

        return ensureDeferred(scene())

    def test_a_letter_cut_in_the_middle_by_the_wire_is_whole_again_and_an_octet_that_is_none_is_shown(
        self,
    ) -> Deferred[None]:
        async def scene() -> None:
            self.queue.text = content(b"x" + "ë".encode() * 50_000 + b"\xff\x1b")
            result = await self.run_it("show", ONE)
            self.assertIn(f"\nx{'ë' * 50_000}\\xff\\x1b*** END", result.output)

        return ensureDeferred(scene())

    def test_of_several_messages_those_that_are_there_are_shown(self) -> Deferred[None]:
        async def scene() -> None:
            result = await self.run_it("show", NONE, TWO)
            self.assertEqual(result.exit_code, 1)
            self.assertIn(f"lanmail queue: {NONE} is not in the queue\n", result.output)
            self.assertIn(f"*** END {TWO} ***", result.output)

        return ensureDeferred(scene())

    def test_changes_are_counted_in_postfix_words(self) -> Deferred[None]:
        async def scene() -> None:
            await self.says(0, "Flushed: 1 message\n", "flush")
            await self.says(0, "Flushed: 1 message\n", "flush", ONE)
            await self.says(0, "Placed on hold: 1 message\n", "hold", ONE)
            await self.says(0, "Released from hold: 2 messages\n", "release", "ALL")
            await self.says(0, "Requeued: 2 messages\n", "requeue", ONE, TWO)
            await self.says(0, "Deleted: 2 messages\n", "delete", "ALL")
            await self.says(0, "Deleted: 0 messages\n", "delete", "ALL")
            uid = os.geteuid()
            self.assertEqual(
                self.queue.asked,
                [
                    ("flush", None, uid),
                    ("flush", (ONE,), uid),
                    ("hold", (ONE,), uid),
                    ("release", None, uid),
                    ("requeue", (ONE, TWO), uid),
                    ("delete", None, uid),
                    ("delete", None, uid),
                ],
            )

        return ensureDeferred(scene())

    def test_what_could_not_be_done_is_told_of_each_message(self) -> Deferred[None]:
        async def scene() -> None:
            await self.says(
                1,
                f"Placed on hold: 1 message\nlanmail queue: {NONE} is not in the queue\n"
                f"lanmail queue: {TWO}: it is on hold already, or being delivered just now\n",
                *("hold", ONE, NONE, TWO),
            )
            await self.says(1, f"lanmail queue: {NONE} is not in the queue\n", "delete", NONE)

        return ensureDeferred(scene())

    def test_more_ids_than_one_question_holds_are_asked_for_in_several(self) -> Deferred[None]:
        async def scene() -> None:
            many = [f"{number:010X}" for number in range(4001)]
            result = await self.run_it("delete", ONE, *many)
            self.assertEqual((result.exit_code, result.output.count("is not in the queue")), (1, 4001))
            self.assertEqual([len(ids) for _, ids, _ in self.queue.asked], [4000, 2])  # type: ignore[arg-type]

        return ensureDeferred(scene())

    def test_trouble_of_the_service_is_a_sentence_after_what_was_told(self) -> Deferred[None]:
        async def scene() -> None:
            self.queue.text = Content(10, name=ONE, path=f"{self.folder}/gone")
            result = await self.run_it("show", ONE)
            self.assertEqual(result.exit_code, 1)
            self.assertIn("Error: its text cannot be read: No such file or directory\n", result.output)

            async def broken(*_: object) -> list[Any]:
                raise TemporaryFailure(Status(451, "4.3.0", "Error: queue file read error\x1b"))

            self.patch(self.queue, "listing", broken)
            await self.says(1, "Error: Error: queue file read error\\x1b\n", "list")

        return ensureDeferred(scene())

    def test_a_service_that_stops_in_the_middle_is_a_sentence(self) -> Deferred[None]:
        async def scene() -> None:
            gate: Deferred[list[Any]] = Deferred()
            entered = threading.Event()

            async def slow(*_: object) -> list[Any]:
                entered.set()
                return await gate

            self.patch(self.queue, "listing", slow)
            asking_ = self.run_it("list")
            await deferToThread(entered.wait, 10)
            await self.control.stop(0.0)
            result = await asking_
            gate.callback([])
            self.assertEqual(result.exit_code, 1)
            self.assertEqual(
                result.output, "Error: the service ended before its answer did; it may have done what was asked\n"
            )

        return ensureDeferred(scene())


class NobodyAnswersTests(SynchronousTestCase):
    """Somebody has the lock, and the socket leads nowhere."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).resolve()
        self.folder.mkdir()
        self.main_cf = self.folder / "main.cf"
        self.main_cf.write_text(f"queue_directory = {self.folder}/queue\n")
        self.patch(asking, "PAUSE", 0.0)

    def run_it(self, *arguments: str) -> Result:
        return run(*arguments, "--config", str(self.main_cf))

    def test_a_service_without_its_socket_is_named_by_its_pid(self) -> None:
        state = StateFolder(f"{self.folder}/queue", os.geteuid(), os.getegid())
        self.addCleanup(state.release)
        state.sign()
        result = self.run_it("list")
        self.assertEqual(result.exit_code, 1)
        self.assertEqual(
            result.output,
            f"Error: a lanmail (pid {os.getpid()}) has the queue, but does not answer at {self.folder}/queue/lanmail/control;"
            " its log may say why\n",
        )

    def socket(self) -> socket.socket:
        folder = self.folder / "queue" / "lanmail"
        folder.mkdir(mode=0o700, parents=True)
        sock = socket.socket(socket.AF_UNIX)
        self.addCleanup(sock.close)
        sock.bind(Reach(str(folder / "control")).open())
        sock.listen(0)
        return sock

    def test_a_service_that_hangs_is_a_sentence(self) -> None:
        self.socket()
        settings = read(str(self.main_cf)).settings
        with self.assertRaises(asking.CannotAsk) as raised, asking.asked(settings, patience=0.01):
            pass
        self.assertIn("is silent at", str(raised.exception))

    def test_an_answer_without_sense_is_a_sentence(self) -> None:
        server = self.socket()

        def answer() -> None:
            for said in (b"\xff\n", b"[]\n", b'{"error": "\\u001b[2J"}\n'):
                connection, _ = server.accept()
                connection.recv(99)
                connection.sendall(said)
                connection.close()

        thread = threading.Thread(target=answer)
        thread.start()
        self.addCleanup(thread.join)
        for told in ("the answer makes no sense", "the answer makes no sense", "\\x1b[2J"):
            result = self.run_it("list")
            self.assertEqual((result.exit_code, result.output), (1, f"Error: {told}\n"))


class UsageTests(SynchronousTestCase):
    def test_an_impossible_call_says_what_is_wanted_before_anything_is_opened(self) -> None:
        for arguments in (
            ("hold",),
            ("delete",),
            ("show",),
            ("show", "ALL"),
            ("delete", "all"),
            ("delete", "222CF6745"),
            ("delete", "../222CF67"),
            ("hold", "ALL", ONE),
            ("hold", ONE, "x"),
            ("list", ONE),
            ("stop",),
        ):
            result = run(*arguments)
            self.assertEqual(result.exit_code, 2, (arguments, result.output))

    def test_a_wrong_id_is_named(self) -> None:
        self.assertIn(
            "'222CF6745' is no queue id, ten hexadecimal digits as in 222CF6745D, or ALL",
            run("hold", "222CF6745").output,
        )

    def test_a_main_cf_that_is_missing_or_wrong_about_the_queue_is_a_sentence(self) -> None:
        main_cf = Path(self.mktemp()).resolve()
        result = run("list", "-c", str(main_cf))
        self.assertEqual(
            (result.exit_code, result.output), (1, f"Error: {main_cf}: cannot be read: No such file or directory\n")
        )
        main_cf.write_text("queue_directory = spool\n")
        result = run("list", "-c", str(main_cf))
        self.assertEqual(result.exit_code, 1)
        self.assertIn(f"{main_cf}:1: queue_directory", result.output)
