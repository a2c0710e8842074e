from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Any

from lanmail.mailbox.store import LockedMailbox, MailboxFailure
from lanmail.spool.incoming import Content
from tests.delivery.house import House
from tests.spool.crashed import BEFORE_THE_CUT, BODY, NOW, OLD, OTHER, CrashTestCase, head, piece, user


class KillTests(CrashTestCase):
    """The process died, the system did not: what was written is written."""

    def test_what_was_marked_is_done_whatever_became_of_it_since(self) -> None:
        self.house.put("ann", OLD)
        self.begin("ann", "A", marked=True)
        for octets in (OLD + piece("A"), OLD, OLD + piece("A")[:50] + OTHER, b""):
            self.house.put("ann", octets)
            self.recover()
            self.assertEqual(self.house.contents("ann"), octets)
            self.assertEqual((self.kinds(), len(self.house.standing())), ([], 1))
        self.house.checkpoints.run()
        self.assertEqual(self.house.leftovers(), [])

    def test_what_stands_whole_without_a_mark_is_done_and_told_of(self) -> None:
        self.house.put("ann", OLD)
        self.begin("ann", "A", "B")
        self.append("ann", piece("A") + piece("B") + OTHER)
        self.recover()
        self.assertEqual(self.house.contents("ann"), OLD + piece("A") + piece("B") + OTHER)
        self.assertEqual(
            [(kind, queue_id) for kind, queue_id, _ in self.house.told], [("delivered", "A"), ("delivered", "B")]
        )
        self.assertTrue(all(row.marked for row in self.house.standing()))
        self.house.checkpoints.run()
        self.assertEqual(self.house.leftovers(), [])

    def test_a_torn_one_goes_and_waits_again_and_so_does_what_was_not_begun(self) -> None:
        self.house.put("ann", OLD)
        self.begin("ann", "A", "B", "C")
        self.append("ann", piece("A") + piece("B")[:100])
        self.restart()
        calls: list[str] = []
        self.house.recovery.waits_again = lambda: calls.append("look")
        self.house.recovery.run()
        self.assertEqual(calls, ["look"])
        self.assertEqual(self.house.contents("ann"), OLD + piece("A"))
        self.assertEqual(self.kinds(), ["delivered"])
        self.assertEqual(
            self.house.report[-1],
            "recovery: of 3 deliveries whose end was not known, in 1 mailboxes, 1 were in the mailbox, 1 were torn and taken out,"
            " 1 were not there; mailboxes to be looked into later: 0",
        )
        self.deliver_what_waits("ann")
        self.assertEqual(self.house.contents("ann"), OLD + piece("A") + piece("B") + piece("C"))
        self.assertEqual(self.house.leftovers(), [])

    def test_a_torn_one_before_another_program_s_message_goes_and_nothing_of_the_other(self) -> None:
        self.house.put("ann", OLD)
        self.begin("ann", "A", "B")
        self.append("ann", piece("A")[:150] + OTHER)
        self.recover()
        self.assertEqual(self.house.contents("ann"), OLD + OTHER)
        self.deliver_what_waits("ann")
        self.assertEqual(self.house.contents("ann"), OLD + OTHER + piece("A") + piece("B"))

    def test_what_another_program_moved_or_gave_a_status_is_found_by_its_content(self) -> None:
        read = piece("A").replace(b"\n\n>From", b"\nStatus: RO\n\n>From")
        assert read != piece("A")
        for octets in (OTHER + piece("A"), OTHER + read + OLD, read):
            self.move(self.mktemp())
            self.house.put("ann", OLD)
            self.begin("ann", "A")
            self.house.put("ann", octets)
            self.recover()
            self.house.checkpoints.run()
            self.assertEqual((self.house.contents("ann"), self.house.leftovers()), (octets, []))
            self.assertEqual(self.kinds(), ["delivered"])

    def test_in_another_file_in_its_place_it_is_found_by_its_content_or_not_at_all(self) -> None:
        for octets, kinds in ((OTHER + piece("A"), ["delivered"]), (OTHER, ["duplicate"])):
            self.move(self.mktemp())
            self.house.put("ann", OLD)
            self.begin("ann", "A")
            self.append("ann", piece("A"))
            path = os.path.join(self.house.spool, "ann")
            self.house.put("new", octets)
            os.rename(os.path.join(self.house.spool, "new"), path)
            self.recover()
            self.assertEqual((self.house.contents("ann"), self.kinds()), (octets, kinds))
            self.deliver_what_waits("ann")
            self.assertEqual(self.house.contents("ann").count(piece("A")), 1)
            self.assertEqual(self.house.leftovers(), [])

    def test_a_torn_one_goes_also_where_another_program_moved_it(self) -> None:
        torn = piece("A")[: len(head("A")) + 40]
        for left, behind in ((OLD, b""), (OLD, b"\n" + OTHER), (b"", b"\n" + OTHER), (OLD * 3, b"\n" + OTHER)):
            self.move(self.mktemp())
            self.house.put("ann", OLD * 2)
            self.begin("ann", "A", "B")
            self.house.put("ann", left + torn + behind)
            self.recover()
            self.assertEqual(self.house.contents("ann"), left + behind)
            self.deliver_what_waits("ann")
            self.assertEqual(self.house.contents("ann"), left + behind + piece("A") + piece("B"))
            self.assertEqual(self.house.leftovers(), [])

    def test_but_only_where_all_of_our_head_is_and_what_follows_is_not_somebodys_own(self) -> None:
        edited = piece("A").replace(b"mid From bob", b"without bob")
        for octets in (OTHER + piece("A")[: len(head("A")) - 5] + b"\n\n" + OTHER, OTHER + edited + OTHER, edited):
            self.move(self.mktemp())
            self.house.put("ann", OLD * 2)
            self.begin("ann", "A")
            self.house.put("ann", octets)
            self.recover()
            self.assertEqual(self.house.contents("ann"), octets)

    def test_what_is_nowhere_is_delivered_again_and_told_as_a_possible_duplicate(self) -> None:
        self.house.put("ann", OLD * 3)
        self.begin("ann", "A")
        self.house.put("ann", OLD + OTHER + OLD + OTHER)
        self.recover()
        self.assertEqual(self.house.contents("ann"), OLD + OTHER + OLD + OTHER)
        self.assertEqual(self.house.told, [("duplicate", "A", {"user": "ann"})])
        self.assertTrue(any("A: not found in the mailbox of ann" in line for line in self.house.report))
        self.deliver_what_waits("ann")
        self.assertEqual(self.house.contents("ann"), OLD + OTHER + OLD + OTHER + piece("A"))

    def test_a_mailbox_that_is_used_while_it_is_visited_is_put_right_once(self) -> None:
        """Whoever uses it has let all rows wait again, and not yet said so, when the visit looks for them and finds none."""
        self.house.put("ann", OLD)
        self.begin("ann", "A")
        self.restart()
        recovery, journal = self.house.recovery, self.house.journal
        unbegin = journal.unbegin
        visit = threading.Thread(target=recovery.run)
        asked = threading.Event()

        def unbegin_and_be_slow(numbers: Any) -> Any:
            unbegin(numbers).result()
            visit.start()
            asked.wait(10)  # for the visit to have looked
            return unbegin([])

        standing = journal.standing

        def standing_and_say_so(name: str) -> Any:
            rows = list(standing(name))
            if not rows:
                asked.set()
            return iter(rows)

        self.patch(journal, "unbegin", unbegin_and_be_slow)
        self.patch(journal, "standing", standing_and_say_so)
        self.house.mailbox_of(user("ann")).lock(create=False).release()
        visit.join(10)
        self.assertEqual(recovery.left, 0)
        self.assertFalse(visit.is_alive())

    def test_what_stands_is_written_once_more_before_the_sync_that_counts(self) -> None:
        """The process that is gone may have heard that its own sync failed: then another one would say that all is well."""
        self.house.put("ann", OLD)
        self.begin("ann", "A", marked=True)
        self.begin("bob", "B")
        self.append("ann", piece("A") + OTHER)
        self.append("bob", piece("B"))
        self.restart()
        done: list[tuple[str, str, bytes, int]] = []
        write, sync = os.pwrite, os.fsync

        def pwrite(fd: int, octets: bytes, at: int) -> int:
            done.append(("write", os.path.basename(os.readlink(f"/proc/self/fd/{fd}")), bytes(octets), at))
            return write(fd, octets, at)

        def fsync(fd: int) -> None:
            done.append(("sync", os.path.basename(os.readlink(f"/proc/self/fd/{fd}")), b"", 0))
            sync(fd)

        self.patch(os, "pwrite", pwrite)
        self.patch(os, "fsync", fsync)
        self.house.recovery.run()
        self.house.checkpoints.run()
        self.assertEqual(
            [one for one in done if one[1] in ("ann", "bob")],
            [
                ("write", "ann", piece("A") + OTHER, len(OLD)),
                ("write", "bob", piece("B"), 0),
                ("sync", "ann", b"", 0),
                ("sync", "bob", b"", 0),
            ],
        )
        self.assertEqual((self.house.contents("ann"), self.house.leftovers()), (OLD + piece("A") + OTHER, []))

    def test_what_was_only_intended_is_no_duplicate_when_it_comes(self) -> None:
        self.house.put("ann", OLD)
        self.begin("ann", "A", "B")
        self.recover()
        self.assertEqual(self.kinds(), [])
        self.deliver_what_waits("ann")
        self.assertEqual(self.house.contents("ann"), OLD + piece("A") + piece("B"))

    def test_one_copy_in_the_mailbox_stands_for_one_row(self) -> None:
        """Which can only be of a message that was put into the journal twice: a queue id is in every copy."""
        self.house.put("ann", OLD)
        self.begin("ann", "A")
        (row,) = self.house.standing()
        twin = self.begin("bob", "B")
        self.house.kill()
        self.same_head_and_user(twin[0], row.recipient.number)
        self.house = House(self.house.folder, boot=NOW)
        self.house.put("ann", OTHER + piece("A"))
        self.house.recovery.run()
        self.assertEqual(sorted(self.kinds()), ["delivered", "duplicate"])

    def same_head_and_user(self, number: int, like: int) -> None:
        import sqlite3

        with sqlite3.connect(os.path.join(self.house.state, "journal-0")) as db:
            db.execute(
                "UPDATE recipient SET (user, head, inode, device) = (SELECT user, head, inode, device FROM recipient WHERE number = ?)"
                " WHERE number = ?",
                (like, number),
            )
        db.close()

    def test_a_large_message_is_found_by_its_file(self) -> None:
        octets = (b"x" * 70 + b"\n") * 5000 + b"\n"
        for written, whole in ((len(octets), True), (300_000, False)):
            self.move(self.mktemp())
            path = self.house.incoming.path_of("A")
            with open(path, "wb") as file:
                file.write(octets)
            self.house.put("ann", OLD)
            self.begin("ann", "A", content=Content(len(octets), name="A", path=path))
            self.append("ann", head("A") + octets[:written] + OTHER)
            self.recover()
            self.assertEqual(self.house.contents("ann"), OLD + (head("A") + octets if whole else b"") + OTHER)
            self.deliver_what_waits("ann")
            self.house.checkpoints.run()
            self.assertEqual(self.house.contents("ann").count(head("A") + octets), 1)
            self.assertEqual(self.house.leftovers(), [])

    def test_a_message_whose_text_is_gone_does_not_keep_the_mailbox_shut(self) -> None:
        path = self.house.incoming.path_of("A")
        with open(path, "wb") as file:
            file.write(BODY)
        self.begin("ann", "A", content=Content(len(BODY), name="A", path=path))
        self.append("ann", piece("A"))
        os.unlink(path)
        self.recover()
        self.assertEqual((self.kinds(), self.house.recovery.left), (["duplicate"], 0))


class PowerCutTests(CrashTestCase):
    """Another boot id: what was written may not be there, marked or not."""

    def test_what_stands_there_is_done_and_what_does_not_is_delivered_again(self) -> None:
        self.house.put("ann", OLD)
        self.begin("ann", "A", "B", boot=BEFORE_THE_CUT, marked=True)
        self.append("ann", piece("A"))
        self.recover()
        self.assertEqual(self.house.told, [("duplicate", "B", {"user": "ann"})])
        self.deliver_what_waits("ann")
        self.assertEqual((self.house.contents("ann"), self.house.leftovers()), (OLD + piece("A") + piece("B"), []))

    def test_the_number_of_the_device_may_be_another(self) -> None:
        self.house.put("ann", OLD)
        self.begin("ann", "A", boot=BEFORE_THE_CUT, marked=True)
        self.append("ann", piece("A")[:150])
        self.house.kill()
        import sqlite3

        with sqlite3.connect(os.path.join(self.house.state, "journal-0")) as db:
            db.execute("UPDATE recipient SET device = device + 1")
        db.close()
        self.house = House(self.house.folder, boot=NOW)
        self.house.recovery.run()
        self.assertEqual(self.house.contents("ann"), OLD)

    def test_several_torn_ones_go_and_what_stands_whole_between_them_stays(self) -> None:
        self.house.put("ann", OLD[:-1])
        self.begin("ann", "A", "B", "C", "D", boot=BEFORE_THE_CUT, marked=True)
        a, c, d = (bytearray(piece(queue_id)) for queue_id in "ACD")
        a[100:180] = bytes(80)
        c[:] = bytes(len(c))
        d[30:] = b""
        self.append("ann", b"\n" + bytes(a) + piece("B") + bytes(c) + bytes(d))
        self.recover()
        self.assertEqual(self.house.contents("ann"), OLD + piece("B"))
        self.assertEqual(self.house.journal.waiting()[0][:2], ("ann", 3))
        # B was settled before the octets before it went: no later look depends on where its intent says that it is.
        self.assertEqual(self.house.standing(), [])
        self.deliver_what_waits("ann")
        self.assertEqual(self.house.contents("ann"), OLD + b"".join(map(piece, "BACD")))

    def test_a_separation_that_was_lost_is_put_back_where_something_stands_behind_it(self) -> None:
        """Else what stands behind the torn one would have no empty line before it, and belong to the message before."""
        old = OLD.rstrip(b"\n")
        torn = bytes(200) + piece("A")[200:]
        for gap in (b"\0\0", b"\n\0", b"\0\n", b"\n\n"):
            self.move(self.mktemp())
            self.house.put("ann", old)
            self.begin("ann", "A", "B", boot=BEFORE_THE_CUT, marked=True)
            self.append("ann", gap + torn + piece("B"))
            self.recover()
            self.assertEqual(self.house.contents("ann"), OLD + piece("B"), gap)
            self.deliver_what_waits("ann")
            self.assertEqual(self.house.contents("ann"), OLD + piece("B") + piece("A"))

    def test_an_intent_that_was_taken_back_and_came_again_cuts_nothing_of_what_stands_there_now(self) -> None:
        """Taking it back is not flushed. The next message has begun in the same place."""
        self.house.put("ann", OLD)
        self.begin("ann", "A", boot=BEFORE_THE_CUT)
        self.begin("ann", "B", boot=BEFORE_THE_CUT)
        self.append("ann", piece("B"))
        self.recover()
        self.assertEqual(self.house.contents("ann"), OLD + piece("B"))
        self.deliver_what_waits("ann")
        self.assertEqual((self.house.contents("ann"), self.house.leftovers()), (OLD + piece("B") + piece("A"), []))

    def test_nor_where_both_are_alike_up_to_what_looks_like_a_separator(self) -> None:
        begins = b"From ann@lan.example  Mon Nov 23 12:00:01 2026\nSubject: one\n\nthe same"
        first = begins + b"\nend\n\n"
        second = begins + b"From bob  Mon Nov 23 12:00:00 2026\nend\n\n"
        self.house.put("ann", OLD)
        for queue_id, octets in (("A", first), ("B", second)):
            content = Content(len(octets) - 10, octets[10:])
            self.begin("ann", queue_id, boot=BEFORE_THE_CUT, content=content, head=lambda queue_id: begins[:10])
        self.append("ann", second + OTHER)
        self.recover()
        self.assertEqual(self.house.contents("ann"), OLD + second + OTHER)

    def test_two_torn_ones_in_the_same_place_are_taken_out_once(self) -> None:
        self.house.put("ann", OLD)
        self.begin("ann", "A", boot=BEFORE_THE_CUT)
        self.begin("ann", "B", boot=BEFORE_THE_CUT)
        self.append("ann", bytes(len(piece("B"))) + OTHER)
        self.recover()
        self.assertEqual(self.house.contents("ann"), OLD + OTHER)

    def test_where_the_boot_is_not_known_nothing_is_believed(self) -> None:
        self.house.put("ann", OLD)
        self.begin("ann", "A", boot="", marked=True)
        self.house.kill()
        self.house = House(self.house.folder, boot="")
        self.house.recovery.run()
        self.assertEqual(self.kinds(), ["duplicate"])


class MailboxTests(CrashTestCase):
    def test_a_mailbox_that_is_gone_gets_what_was_not_certainly_in_it(self) -> None:
        self.begin("ann", "A", marked=True)
        self.begin("ann", "B")
        os.unlink(os.path.join(self.house.spool, "ann"))
        self.recover()
        self.assertFalse(os.path.exists(os.path.join(self.house.spool, "ann")))
        self.assertEqual(self.house.told, [("duplicate", "B", {"user": "ann"})])
        self.deliver_what_waits("ann")
        self.assertEqual((self.house.contents("ann"), self.house.leftovers()), (piece("B"), []))

    def test_a_mailbox_on_a_disk_that_is_not_mounted_yet_is_looked_into_later(self) -> None:
        self.house.put("ann", OLD)
        self.begin("ann", "A")
        self.append("ann", piece("A")[:100])
        disk = os.path.join(self.house.folder, "disk")
        os.rename(self.house.spool, disk)
        os.symlink("/proc", self.house.spool)
        self.recover()
        self.assertEqual((self.house.recovery.left, len(self.house.standing())), (1, 1))
        self.assertIn("mailboxes to be looked into later: 1", self.house.report[-1])
        os.unlink(self.house.spool)
        os.rename(disk, self.house.spool)
        self.house.recovery.run()
        self.assertEqual((self.house.contents("ann"), self.house.recovery.left), (OLD, 0))

    def test_what_another_program_holds_is_put_right_before_it_is_next_used(self) -> None:
        self.house.put("ann", OLD)
        self.begin("ann", "A")
        self.begin("bob", "B")
        self.append("ann", piece("A")[:60])
        self.append("bob", piece("B"))
        lock = os.path.join(self.house.spool, "ann.lock")
        with open(lock, "w") as file:
            file.write("1\n")
        self.recover()
        self.assertEqual(self.house.contents("ann"), OLD + piece("A")[:60])
        self.assertEqual([(kind, queue_id) for kind, queue_id, _ in self.house.told], [("delivered", "B")])
        said = len(self.house.report)
        self.house.recovery.run()
        self.assertEqual(len(self.house.report), said, "nothing new is nothing to say")
        os.unlink(lock)
        self.begin("ann", "C")  # locks it
        self.assertEqual(self.house.contents("ann"), OLD)
        self.assertEqual(self.house.recovery.left, 0)

    def test_a_mailbox_that_is_used_before_recovery_came_to_it_is_put_right_first(self) -> None:
        self.house.put("ann", OLD)
        self.begin("ann", "A")
        self.append("ann", piece("A")[:60])
        self.restart()
        with self.house.mailbox_of(user("ann")).lock(create=False) as mailbox:
            self.assertEqual(mailbox.length(), len(OLD))
        self.house.recovery.run()
        self.assertEqual((self.house.contents("ann"), self.house.recovery.left), (OLD, 0))

    def test_a_mailbox_that_cannot_be_put_right_is_not_used(self) -> None:
        self.house.put("ann", OLD)
        self.begin("ann", "A")
        self.append("ann", piece("A")[:60])
        self.restart()

        def fail(*args: object) -> None:
            raise OSError(5, "Input/output error")

        patch = self.patch(os, "ftruncate", fail)
        with self.assertRaises(MailboxFailure) as caught:
            self.house.mailbox_of(user("ann")).lock(create=False)
        self.assertIn("451 4.3.0", str(caught.exception))
        self.assertIn("is not used until it is known what an interruption left in it", self.house.report[-1])
        patch.restore()
        self.house.recovery.run()
        self.assertEqual((self.house.contents("ann"), self.house.recovery.left), (OLD, 0))

    def test_without_the_journal_it_is_not_used_either(self) -> None:
        self.begin("ann", "A")
        self.restart()
        self.house.journal.close()
        self.house.recovery.run()
        self.assertEqual(self.house.recovery.left, 1)
        self.assertRaises(MailboxFailure, self.house.mailbox_of(user("ann")).lock, create=False)

    def test_what_is_under_way_while_recovery_runs_is_none_of_its_business(self) -> None:
        self.restart()
        self.begin("ann", "A")
        self.append("ann", piece("A")[:60])
        self.house.recovery.run()
        with self.house.mailbox_of(user("ann")).lock(create=False):
            self.assertEqual(self.house.contents("ann"), piece("A")[:60])
        self.assertEqual(self.house.report, [])

    def test_told_to_stop_it_ends_with_the_mailbox_that_it_is_at(self) -> None:
        for name in ("ann", "bob", "eve"):
            self.begin(name, f"{name.upper()}")
        self.restart()
        real = self.house.recovery.mend

        def mend(mailbox: LockedMailbox) -> None:
            self.house.recovery.stop()
            real(mailbox)

        self.patch(self.house.recovery, "mend", mend)
        self.house.recovery.run()
        self.assertEqual(self.house.recovery.left, 2)

    def test_what_is_added_while_it_looks_is_looked_for_the_next_time(self) -> None:
        self.begin("ann", "A")
        self.restart()
        (number,) = self.begin("bob", "B")
        real = self.house.journal.unbegin

        def unbegin(numbers: Any) -> Any:
            self.house.recovery.postpone("ann", [number])
            return real(numbers)

        patch = self.patch(self.house.journal, "unbegin", unbegin)
        self.house.recovery.run()
        patch.restore()
        self.assertEqual(self.house.recovery.left, 1)
        self.house.recovery.run()
        self.assertEqual(self.house.recovery.left, 0)

    def test_nothing_that_was_done_is_done_again_by_the_next_process(self) -> None:
        self.house.put("ann", OLD)
        self.begin("ann", "A", "B")
        self.append("ann", piece("A") + piece("B")[:40])
        self.recover()
        for _ in range(2):
            self.recover()
            self.assertEqual(self.house.contents("ann"), OLD + piece("A"))
        self.deliver_what_waits("ann")
        self.assertEqual(self.house.contents("ann"), OLD + piece("A") + piece("B"))

    def test_a_crash_in_the_middle_of_recovery_is_recovered_from(self) -> None:
        points = 0
        while self.interrupted(points):
            points += 2
        self.assertGreater(points, 8)

    def interrupted(self, point: int) -> bool:
        """Recovery dies before its system call of that number; whether it did. The next one comes to a good end."""
        self.move(self.mktemp())
        self.house.put("ann", OLD)
        self.begin("ann", "A", "B", "C", boot=BEFORE_THE_CUT)
        self.begin("bob", "D")
        self.append("ann", piece("A")[:60] + bytes(len(piece("A")) - 60) + piece("B") + piece("C")[:30] + OTHER)
        self.append("bob", piece("D")[:90])
        self.restart()

        class Crash(BaseException):
            pass

        calls = [0]

        def crashing(real: Callable[..., Any]) -> Callable[..., Any]:
            def call(*args: Any, **kwargs: Any) -> Any:
                calls[0] += 1
                if calls[0] > point:
                    raise Crash
                return real(*args, **kwargs)

            return call

        names = ("pwrite", "ftruncate", "fsync", "unlink", "rename")
        patches = [self.patch(os, name, crashing(getattr(os, name))) for name in names]
        crashed = False
        try:
            self.house.recovery.run()
        except Crash:
            crashed = True
        for patch in patches:
            patch.restore()
        for name in ("ann.lock", "bob.lock"):  # a process that is gone holds no lock
            if os.path.exists(os.path.join(self.house.spool, name)):
                os.unlink(os.path.join(self.house.spool, name))
        self.recover()
        self.assertEqual(self.house.contents("ann"), OLD + piece("B") + OTHER, point)
        self.assertEqual(self.house.contents("bob"), b"", point)
        for name in ("ann", "bob"):
            self.deliver_what_waits(name)
        self.assertEqual(self.house.contents("ann"), OLD + piece("B") + OTHER + piece("A") + piece("C"), point)
        self.assertEqual((self.house.contents("bob"), self.house.leftovers()), (piece("D"), []), point)
        return crashed
