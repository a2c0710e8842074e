from __future__ import annotations

import errno
import os
from typing import Any

from lanmail.mailbox.locks import MailboxFailure
from lanmail.spool import checkpoint
from lanmail.status import TemporaryFailure
from tests.delivery.house import House
from tests.spool.crashed import BODY, NOW, OLD, OTHER, CrashTestCase, head, piece, user


class CheckpointTestCase(CrashTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.order: list[str] = []

    def deliver(self, name: str, *queue_ids: str) -> None:
        """They stand in the mailbox, marked and noted."""
        numbers = self.begin(name, *queue_ids)
        with self.house.mailbox_of(user(name)).lock(create=True) as mailbox:
            for queue_id in queue_ids:
                mailbox.append([head(queue_id), BODY])
            self.house.journal.mark(numbers).result()
            self.house.checkpoints.note(mailbox, numbers)

    def path(self, name: str) -> str:
        return os.path.join(self.house.spool, name)

    def watch(self, *failing: str, error: int = errno.EIO) -> None:
        """Write down what is synced in the spool, and what is forgotten. failing: names whose sync fails."""
        self.order = []
        self.failing = set(failing)
        real_sync, real_forget = os.fsync, self.house.journal.forget

        def fsync(fd: int) -> None:
            path = os.readlink(f"/proc/self/fd/{fd}").removesuffix(" (deleted)")
            if path.startswith(self.house.spool):
                name = os.path.relpath(path, self.house.spool)
                self.order.append(f"sync {name}")
                if name in self.failing:
                    raise OSError(error, os.strerror(error))
            real_sync(fd)

        def forget(numbers: Any) -> Any:
            self.order.append("forget")
            return real_forget(numbers)

        self.patch(os, "fsync", fsync)
        self.patch(self.house.journal, "forget", forget)

    def left(self) -> list[str]:
        return [row.message.queue_id for row in self.house.standing()]


class RunTests(CheckpointTestCase):
    def test_each_mailbox_is_synced_once_then_their_folder_and_only_then_are_rows_forgotten(self) -> None:
        self.house.put("bob", OLD)
        self.deliver("ann", "A", "B")
        self.deliver("ann", "C")
        self.deliver("bob", "D")
        self.assertTrue(self.house.checkpoints.wanted)
        self.watch()
        self.house.checkpoints.run()
        self.assertEqual(self.order, ["sync ann", "sync bob", "sync .", "forget"])
        self.assertEqual((self.left(), self.house.checkpoints.wanted), ([], False))
        self.house.checkpoints.run()
        self.assertEqual(len(self.order), 4, "nothing to do is nothing done")

    def test_the_folder_is_synced_only_for_a_mailbox_that_may_be_new(self) -> None:
        self.house.put("bob", OLD)
        self.deliver("bob", "A")
        self.watch()
        self.house.checkpoints.run()
        self.assertEqual(self.order, ["sync bob", "forget"])

    def test_the_story_is_kept_before_rows_are_forgotten(self) -> None:
        self.deliver("ann", "A")
        self.watch()
        self.house.checkpoints._before_forget = lambda: self.order.append("story")
        self.house.checkpoints.run()
        self.assertEqual(self.order[-2:], ["story", "forget"])

    def test_what_is_noted_while_it_runs_is_for_the_next_one(self) -> None:
        self.deliver("ann", "A")
        self.watch()
        self.house.checkpoints._before_forget = lambda: self.deliver("ann", "B")
        self.house.checkpoints.run()
        self.assertEqual(self.left(), ["B"])
        self.house.checkpoints._before_forget = lambda: None
        self.house.checkpoints.run()
        self.assertEqual(self.left(), [])

    def test_it_is_the_descriptor_that_wrote_which_is_synced(self) -> None:
        self.deliver("ann", "A")
        (one,) = self.house.checkpoints._written["ann"].values()
        fd = one.fd
        os.rename(self.path("ann"), self.path("moved"))
        synced: list[int] = []
        real = os.fsync
        self.patch(os, "fsync", lambda fd: (synced.append(fd), real(fd)))
        self.house.checkpoints.run()
        self.assertEqual((synced[0], self.left()), (fd, []))

    def test_descriptors_are_let_go_of(self) -> None:
        before = len(os.listdir("/proc/self/fd"))
        for number in range(10):
            self.deliver(f"u{number}", f"A{number}")
        self.assertEqual(len(os.listdir("/proc/self/fd")), before + 10)
        self.house.checkpoints.run()
        self.assertEqual(len(os.listdir("/proc/self/fd")), before)

    def test_many_that_wait_make_it_crowded(self) -> None:
        self.patch(checkpoint, "DESCRIPTORS", 2)
        self.deliver("ann", "A")
        self.assertFalse(self.house.checkpoints.crowded)
        self.deliver("bob", "B")
        self.assertTrue(self.house.checkpoints.crowded)
        self.house.checkpoints.run()
        self.assertFalse(self.house.checkpoints.crowded)

    def test_without_a_descriptor_to_spare_the_mailbox_is_synced_at_once(self) -> None:
        def dup(fd: int) -> int:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

        self.watch()
        patch = self.patch(os, "dup", dup)
        self.deliver("ann", "A")
        patch.restore()
        self.assertEqual(self.order[-2:], ["sync ann", "sync ."])
        self.house.checkpoints.run()
        self.assertEqual((self.order[-1], self.left()), ("forget", []))

    def test_where_the_journal_does_not_work_all_stays_for_the_next_time(self) -> None:
        self.deliver("ann", "A")
        self.house.journal.close()
        self.assertRaises(TemporaryFailure, self.house.checkpoints.run)
        self.assertTrue(self.house.checkpoints.wanted)
        self.assertEqual(self.left(), ["A"])

    def test_the_last_one_is_at_the_end(self) -> None:
        self.deliver("ann", "A")
        self.house.checkpoints.close()
        self.assertEqual(self.left(), [])
        self.house.checkpoints.close()


class ReplacedTests(CheckpointTestCase):
    """Another program has put another file in the mailbox's place. What it did to our message is its act, but must last."""

    def replace(self, octets: bytes) -> None:
        self.house.put("new", octets)
        os.rename(self.path("new"), self.path("ann"))

    def test_the_new_file_and_its_name_are_synced_too(self) -> None:
        self.house.put("ann", OLD)
        self.deliver("ann", "A")
        self.replace(OTHER + piece("A"))
        self.watch()
        self.house.checkpoints.run()
        self.assertEqual(self.order, ["sync ann", "sync ann", "sync .", "forget"])
        self.assertEqual(self.left(), [])

    def test_a_message_that_it_took_out_is_not_brought_back(self) -> None:
        self.house.put("ann", OLD)
        self.deliver("ann", "A")
        self.replace(OTHER)
        self.house.checkpoints.run()
        self.assertEqual((self.left(), self.kinds()), ([], []))

    def test_a_mailbox_that_was_removed_or_made_shorter_needs_nothing_more(self) -> None:
        self.deliver("ann", "A")
        os.unlink(self.path("ann"))
        self.deliver("bob", "B")
        os.truncate(self.path("bob"), 0)
        self.house.checkpoints.run()
        self.assertEqual(self.left(), [])

    def test_two_files_of_one_mailbox_are_both_synced(self) -> None:
        self.house.put("ann", OLD)
        self.deliver("ann", "A")
        self.replace(OTHER)
        self.deliver("ann", "B")
        self.watch()
        self.house.checkpoints.run()
        self.assertEqual(self.order.count("sync ann"), 3)
        self.assertEqual(self.left(), [])


class FailedTests(CheckpointTestCase):
    """A sync fails: the kernel may have forgotten what it could not write."""

    def test_what_stands_there_is_written_again_before_the_next_sync_counts(self) -> None:
        self.house.put("ann", OLD)
        self.deliver("ann", "A", "B")
        self.watch("ann")
        self.house.checkpoints.run()
        self.assertEqual(self.left(), ["A", "B"])
        self.assertNotIn("forget", self.order)
        self.assertFalse(self.house.checkpoints.wanted)
        self.house.clock.advance(checkpoint.RETRY)
        self.assertTrue(self.house.checkpoints.wanted)
        self.failing.clear()
        written: list[tuple[int, int]] = []
        real = os.pwrite

        def pwrite(fd: int, data: Any, offset: int) -> int:
            if os.readlink(f"/proc/self/fd/{fd}") == self.path("ann"):
                self.assertEqual(os.pread(fd, len(data), offset), bytes(data))
                written.append((offset, offset + len(data)))
                self.order.append("write ann")
            return real(fd, data, offset)

        self.patch(os, "pwrite", pwrite)
        self.order = []
        self.house.checkpoints.run()
        ends = [len(OLD), len(OLD + piece("A")), len(OLD + piece("A") + piece("B"))]
        self.assertEqual(written, [(ends[0], ends[1]), (ends[1], ends[2])])
        self.assertEqual(self.order, ["write ann", "write ann", "sync ann", "forget"])
        self.assertEqual(self.left(), [])
        self.assertEqual(self.house.contents("ann"), OLD + piece("A") + piece("B"))

    def test_it_is_said_once_and_holds_up_no_other_mailbox(self) -> None:
        self.deliver("ann", "A")
        self.deliver("bob", "B")
        self.watch("ann")
        for _ in range(3):
            self.house.checkpoints.run()
            self.house.clock.advance(checkpoint.RETRY)
        self.assertEqual(self.left(), ["A"])
        said = [line for line in self.house.report if "stay in the queue too" in line]
        self.assertEqual(len(said), 1, self.house.report)

    def test_what_the_disk_has_lost_is_delivered_again(self) -> None:
        self.house.put("ann", OLD)
        self.deliver("ann", "A", "B")
        self.append("ann", OTHER)
        self.watch("ann")
        self.house.checkpoints.run()
        lost = bytes(len(piece("A")) - 30)
        with open(self.path("ann"), "r+b") as file:
            file.seek(len(OLD) + 30)
            file.write(lost)
        self.failing.clear()
        self.house.clock.advance(checkpoint.RETRY)
        self.house.checkpoints.run()
        self.assertEqual((self.left(), self.house.recovery.left), (["A"], 1))
        self.house.recovery.run()
        self.assertEqual(self.house.contents("ann"), OLD + piece("B") + OTHER)
        self.deliver_what_waits("ann")
        self.assertEqual(self.house.contents("ann"), OLD + piece("B") + OTHER + piece("A"))
        self.assertEqual(self.house.leftovers(), [])

    def test_what_another_program_moved_is_written_again_where_it_is(self) -> None:
        self.house.put("ann", OLD)
        self.deliver("ann", "A")
        self.watch("ann")
        self.house.checkpoints.run()
        self.house.put("ann", OTHER + piece("A"))
        self.failing.clear()
        self.house.clock.advance(checkpoint.RETRY)
        self.house.checkpoints.run()
        self.assertEqual((self.left(), self.house.contents("ann")), ([], OTHER + piece("A")))

    def test_a_mailbox_that_is_locked_then_is_tried_later(self) -> None:
        self.deliver("ann", "A")
        self.watch("ann")
        with self.house.mailbox_of(user("ann")).lock(create=False):
            self.house.checkpoints.run()
        self.failing.clear()
        self.assertEqual(self.left(), ["A"])
        self.house.clock.advance(checkpoint.RETRY)
        self.house.checkpoints.run()
        self.assertEqual(self.left(), [])

    def test_a_sync_of_somebody_else_that_failed_is_not_taken_for_a_success(self) -> None:
        """A write error is told to an open file once: an append that failed was told of it, and the checkpoint would not be."""
        numbers = self.begin("ann", "A")
        self.watch("ann")
        with self.house.mailbox_of(user("ann")).lock(create=False) as mailbox:
            mailbox.append([head("A"), BODY])
            self.house.journal.mark(numbers).result()
            self.assertRaises(MailboxFailure, mailbox.cut_back, 1 << 30)
            self.house.checkpoints.note(mailbox, numbers)
        self.failing.clear()
        self.order = []
        written: list[int] = []
        real = os.pwrite
        self.patch(os, "pwrite", lambda fd, data, offset: (written.append(offset), real(fd, data, offset))[1])
        self.house.checkpoints.run()
        self.assertEqual((self.left(), written[-1:]), ([], [0]))

    def test_a_folder_that_cannot_be_synced_keeps_the_rows_of_new_mailboxes_only(self) -> None:
        self.house.put("bob", OLD)
        self.deliver("ann", "A")
        self.deliver("bob", "B")
        self.watch(".")
        self.house.checkpoints.run()
        self.assertEqual(self.left(), ["A"])
        self.failing.clear()
        self.house.clock.advance(checkpoint.RETRY)
        self.house.checkpoints.run()
        self.assertEqual(self.left(), [])


class SettleTests(CheckpointTestCase):
    """Before anything is taken out, what the journal has of this mailbox is settled: no crash may bring back what was fetched."""

    def take_out(self, name: str = "ann") -> None:
        with self.house.mailbox_of(user(name)).lock(create=False) as mailbox:
            mailbox.take_out([(0, mailbox.length())])

    def test_taking_out_settles_this_mailbox_first(self) -> None:
        self.deliver("ann", "A")
        self.deliver("bob", "B")
        self.watch()
        self.take_out()
        self.assertEqual(self.order, ["sync ann", "sync .", "forget", "sync ann"])
        self.assertEqual(self.left(), ["B"])
        self.house.kill()
        self.house = House(self.house.folder, boot="another")
        self.house.recovery.run()
        self.deliver_what_waits("ann")
        self.assertEqual(self.house.contents("ann"), b"")

    def test_without_a_settlement_nothing_is_taken_out(self) -> None:
        self.deliver("ann", "A")
        self.watch("ann")
        self.assertRaises(MailboxFailure, self.take_out)
        self.assertEqual((self.house.contents("ann"), self.left()), (piece("A"), ["A"]))
        self.failing.clear()
        self.take_out()
        self.assertEqual((self.house.contents("ann"), self.left()), (b"", []))

    def test_without_the_journal_nothing_is_taken_out(self) -> None:
        self.deliver("ann", "A")
        self.house.journal.close()
        failure = self.assertRaises(MailboxFailure, self.take_out)
        self.assertEqual(failure.status.code, 451)
        self.assertIn("nothing is taken out of", self.house.report[-1])
        self.assertEqual(self.house.contents("ann"), piece("A"))

    def test_without_rows_it_costs_nothing(self) -> None:
        self.house.put("ann", OLD)
        self.watch()
        self.take_out()
        self.assertEqual(self.order, ["sync ann"])

    def test_what_failed_before_is_written_again_under_the_same_lock(self) -> None:
        self.deliver("ann", "A")
        self.watch("ann")
        self.house.checkpoints.run()
        self.failing.clear()
        self.take_out()
        self.assertEqual((self.house.contents("ann"), self.left()), (b"", []))

    def test_recovery_settles_what_stands_whole_before_it_takes_a_torn_one_out(self) -> None:
        self.begin("ann", "A", "B", boot="before", marked=True)
        self.append("ann", bytes(len(piece("A"))) + piece("B"))
        self.restart()
        self.watch()
        self.house.recovery.run()
        self.assertLess(self.order.index("forget"), len(self.order) - 1)
        self.assertEqual(self.order[0], "sync ann")
        self.assertEqual((self.house.contents("ann"), self.left()), (piece("B"), []))
        self.assertEqual(NOW, self.house.boot)
