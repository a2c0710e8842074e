"""``lanmail queue`` while no service runs: each call in a process of its own, since root becomes the folder's owner for good."""

from __future__ import annotations

import json
import os
import stat
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from click.testing import CliRunner
from twisted.trial.unittest import SkipTest, SynchronousTestCase

from lanmail.admin import asking
from lanmail.admin.command import main
from lanmail.config.settings import read
from lanmail.spool.entries import Deferral
from lanmail.spool.incoming import Content, IncomingFolder
from lanmail.spool.journal import Journal
from lanmail.spool.stories import Stories
from lanmail.state import HISTORY, JOURNAL, StateFolder
from tests.queue.waiting import LOCKED, here, message, recipient

ONE, TWO, NONE = "222CF6745D", "222CF6745E", "0000000001"
OWNER, STRANGER = 4242, 4243
SECRET = "Subject: only for nel"


def quiet(line: str, /, **fields: object) -> None: ...


def in_child(work: Callable[[], tuple[int, str]], uid: int | None = None) -> tuple[int, str]:
    """What ``work`` gives in a process of its own, as ``uid``."""
    there, ours = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(there)
            if uid is not None:
                os.setgroups([])
                os.setgid(uid)
                os.setuid(uid)
            with os.fdopen(ours, "w") as pipe:
                json.dump(work(), pipe)
        finally:
            os._exit(0)
    os.close(ours)
    with os.fdopen(there) as pipe:
        said = pipe.read()
    os.waitpid(child, 0)
    status, output = json.loads(said)
    return status, output


class StoppedTests(SynchronousTestCase):
    def setUp(self) -> None:
        # Not mktemp: another uid must be able to come here, whatever lies above trial's folder.
        place = tempfile.TemporaryDirectory()
        self.addCleanup(place.cleanup)
        self.folder = Path(place.name)
        self.folder.chmod(0o755)
        self.main_cf = self.folder / "main.cf"
        self.main_cf.write_text(f"queue_directory = {self.folder}/queue\n")
        self.state = self.folder / "queue" / "lanmail"
        read(str(self.main_cf))  # what is imported for it may lie where only root comes
        self.owner = OWNER if os.geteuid() == 0 else os.geteuid()
        self.patch(asking, "PAUSE", 0.0)

    def as_a_service(self, work: Callable[[Journal, IncomingFolder], object]) -> None:
        """With the rights that the tests have; for root, those of a service that keeps root's."""
        state = StateFolder(f"{self.folder}/queue", self.owner, self.owner if os.geteuid() == 0 else os.getegid())
        incoming = IncomingFolder(state.folder("incoming"), here, quiet)
        journal = Journal(str(self.state / JOURNAL), incoming, quiet)
        journal.start()
        try:
            work(journal, incoming)
        finally:
            journal.close()
            incoming.close()
            state.release()

    def two_messages(self, journal: Journal, incoming: IncomingFolder) -> None:
        text = f"{SECRET}\n\n{'x' * 100_000}\n\n".encode()
        path = incoming.path_of(ONE)
        Path(path).write_bytes(text)
        os.chmod(path, 0o600)
        large = Content(len(text), name=ONE, path=path)
        incoming.sync(large)
        (first,) = journal.admit(message(ONE), [recipient(0)], large, now=0.0).result()
        journal.defer([Deferral(first, 1e6, LOCKED)]).result()
        small = b"Subject: two\n\nx\n\n"
        journal.admit(message(TWO, ""), [recipient(0, "bert")], Content(len(small), small), now=0.0).result()

    def run_it(self, *arguments: str, uid: int | None = None) -> tuple[int, str]:
        def work() -> tuple[int, str]:
            result = CliRunner().invoke(main, ["queue", *arguments, "-c", str(self.main_cf)])
            if result.exception is not None and not isinstance(result.exception, SystemExit):
                return -1, repr(result.exception)
            return result.exit_code, result.output

        return in_child(work, uid)

    def test_what_waits_is_listed_and_shown(self) -> None:
        self.as_a_service(self.two_messages)
        status, output = self.run_it("list")
        self.assertEqual(status, 0, output)
        lines = output.splitlines()
        self.assertTrue(lines[1].startswith(f"{ONE}     3000 "), output)
        self.assertIn(f"({LOCKED.text})", lines[2])
        self.assertEqual(lines[-1], "-- 5 Kbytes in 2 Requests.")
        status, output = self.run_it("show", ONE, TWO)
        self.assertEqual(status, 0, output)
        self.assertIn(
            f"waits until the service runs, tried 1 time: {LOCKED}\n*** MESSAGE {ONE} ***\n{SECRET}\n", output
        )
        self.assertIn(f"\n*** MESSAGE {TWO} ***\nSubject: two\n", output)

    def test_what_several_workers_left_is_one_queue(self) -> None:
        self.as_a_service(self.two_messages)
        os.rename(self.state / JOURNAL, self.state / "journal-2")
        status, output = self.run_it("list")
        self.assertEqual((status, output.splitlines()[-1]), (0, "-- 5 Kbytes in 2 Requests."), output)
        self.assertEqual(self.run_it("delete", ONE), (0, "Deleted: 1 message\n"))
        self.assertEqual([name for name in os.listdir(self.state) if "-2" in name], [])

    def test_what_is_done_is_there_for_the_next_one(self) -> None:
        self.as_a_service(self.two_messages)
        self.assertEqual(self.run_it("hold", ONE), (0, "Placed on hold: 1 message\n"))
        names = [json.loads(line)["queue_name"] for line in self.run_it("list", "--json")[1].splitlines()]
        self.assertEqual(names, ["hold", "deferred"])
        self.assertEqual(self.run_it("release", "ALL"), (0, "Released from hold: 1 message\n"))
        self.assertEqual(
            self.run_it("flush"), (0, "Flushed: 2 messages\nNo service is running: tried when it starts.\n")
        )
        self.as_a_service(lambda journal, _: self.assertTrue(journal.due("nel", journal.clock_at_start + 60, 9, 10**6)))
        self.assertEqual(self.run_it("requeue", ONE), (0, "Requeued: 1 message\n"))
        self.assertEqual(
            self.run_it("delete", ONE, NONE), (1, f"Deleted: 1 message\nlanmail queue: {NONE} is not in the queue\n")
        )
        self.assertEqual(os.listdir(self.state / "incoming"), [])
        self.assertEqual(self.run_it("delete", "ALL"), (0, "Deleted: 1 message\n"))
        self.assertEqual(self.run_it("list"), (0, "Mail queue is empty\n"))

    def test_the_story_says_who_did_it(self) -> None:
        self.as_a_service(self.two_messages)
        self.run_it("hold", ONE)
        self.run_it("delete", ONE)
        story = Stories(str(self.state / HISTORY)).of(ONE)
        assert story is not None
        self.assertEqual(
            [(one.kind, one.number("by")) for one in story.events], [("held", os.geteuid()), ("deleted", os.geteuid())]
        )

    def test_all_that_lies_there_is_the_owners_afterwards_and_closed_to_others(self) -> None:
        if os.geteuid() != 0:
            raise SkipTest("only root becomes somebody else")
        self.as_a_service(self.two_messages)
        self.run_it("hold", TWO)
        for path in (self.state, *self.state.rglob("*")):
            found = path.lstat()
            self.assertEqual((found.st_uid, stat.S_IMODE(found.st_mode) & 0o077), (OWNER, 0), path)
        self.assertEqual(self.run_it("list", uid=OWNER)[0], 0)
        self.as_a_service(lambda journal, _: self.assertIsNotNone(journal.find(ONE)))

    def test_the_journal_is_not_opened_with_the_rights_of_root(self) -> None:
        if os.geteuid() != 0:
            raise SkipTest("only root becomes somebody else")
        self.as_a_service(self.two_messages)

        def work() -> tuple[int, str]:
            with asking.asked(read(str(self.main_cf)).settings):
                return os.getuid(), f"{os.getresuid()} {os.getresgid()} {os.getgroups()}"

        owner = (OWNER, OWNER, OWNER)
        self.assertEqual(in_child(work), (OWNER, f"{owner} {owner} []"))

    def test_links_that_the_owner_put_there_are_not_given_to_him(self) -> None:
        if os.geteuid() != 0:
            raise SkipTest("only root can give files away")
        self.as_a_service(self.two_messages)
        precious = self.folder / "precious"
        precious.write_text("root's")
        os.link(precious, self.state / "hard")
        os.symlink(precious, self.state / "soft")
        os.symlink(precious, self.state / "incoming" / "soft")
        os.mkfifo(self.state / "fifo")
        self.assertEqual(self.run_it("list")[0], 0)
        self.assertEqual(precious.stat().st_uid, 0)

    def test_an_ordinary_user_gets_a_sentence(self) -> None:
        if os.geteuid() != 0:
            raise SkipTest("only root can become somebody else")
        for arguments in (("list",), ("show", ONE), ("delete", "ALL")):
            status, output = self.run_it(*arguments, uid=STRANGER)
            self.assertEqual((status, output), (1, f"Error: {self.state} is not there: has the service run yet?\n"))
        self.as_a_service(self.two_messages)
        for arguments in (("list",), ("show", ONE), ("delete", "ALL")):
            status, output = self.run_it(*arguments, uid=STRANGER)
            self.assertEqual(status, 1)
            self.assertRegex(output, r"\AError: only root .*may do this.*\n\Z")
        self.assertEqual(self.run_it("delete", "ALL"), (0, "Deleted: 2 messages\n"))

    def test_where_no_service_ever_ran_nothing_is_made(self) -> None:
        self.assertEqual(self.run_it("list"), (1, f"Error: {self.state} is not there: has the service run yet?\n"))
        self.assertEqual(os.listdir(self.folder), ["main.cf"])

    def test_while_somebody_else_has_the_lock_nothing_is_opened(self) -> None:
        self.as_a_service(self.two_messages)
        state = StateFolder(f"{self.folder}/queue", self.owner, self.owner)
        self.addCleanup(state.release)
        state.sign()
        status, output = self.run_it("delete", "ALL")
        self.assertEqual(status, 1)
        self.assertIn(f"a lanmail (pid {os.getpid()}) has the queue, but does not answer at ", output)

    def test_a_service_that_comes_up_meanwhile_is_told_our_pid(self) -> None:
        self.as_a_service(self.two_messages)

        def work() -> tuple[int, str]:
            with asking.asked(read(str(self.main_cf)).settings):
                return os.getpid(), (self.state / "lock").read_text()

        pid, lock = in_child(work)
        self.assertEqual(lock, f"{pid}\n")

    def test_a_journal_that_cannot_be_read_is_a_sentence(self) -> None:
        self.as_a_service(lambda *_: None)
        for name in os.listdir(self.state):
            if name.startswith(JOURNAL):
                (self.state / name).unlink()
        (self.state / JOURNAL).write_bytes(b"no database at all" * 1000)
        status, output = self.run_it("list")
        self.assertEqual(status, 1, output)
        self.assertRegex(output, r"\AError: .*journal-0.*\n\Z")

    def test_a_listing_of_many_is_quick(self) -> None:
        def many(journal: Journal, _: IncomingFolder) -> None:
            text = b"Subject: x\n\nx\n\n"
            admitted = [
                journal.admit(message(f"{number:010X}"), [recipient(0)], Content(len(text), text), now=0.0)
                for number in range(2000)
            ]
            for future in admitted:
                future.result()

        self.as_a_service(many)
        began = time.monotonic()
        status, output = self.run_it("list")
        self.assertEqual((status, output.splitlines()[-1]), (0, "-- 5859 Kbytes in 2000 Requests."))
        self.assertLess(time.monotonic() - began, 10)
