from __future__ import annotations

import os
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from lanmail.delivery.local import Copy
from lanmail.interfaces import User
from lanmail.mailbox.mbox import separation
from lanmail.mailbox.store import LockedMailbox
from lanmail.spool.incoming import Content
from lanmail.spool.intents import Intended, Note
from tests.delivery.house import House

OLD = b"From old  Mon Nov 23 12:00:00 2026\n\nold\n\n"
OTHER = b"From other@lan.example  Mon Nov 23 12:00:05 2026\nSubject: by another program\n\nother\n\n"
HEAD = (
    b"From ann@lan.example  Mon Nov 23 12:00:01 2026\nReturn-Path: <ann@lan.example>\nX-Original-To: ann@lan.example\n"
    b"Delivered-To: ann@lan.example\nReceived: from pc (unknown [192.168.1.5])\n\tby srv (lanmail) with ESMTP id A;\n\tdate\n"
)
BODY = b"From: ann\nTo: ann\n\n>From here\nFrome\nmid From bob  Mon Nov 23 12:00:00 2026\nend\n\n"
PIECE = HEAD + BODY
ID = "222CF6745D"


class RecoveryTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.house = House(self.mktemp())
        self.addCleanup(lambda: self.house.close())

    def move(self, folder: str) -> None:
        """From now on the house is the one in that folder."""
        self.house.close()
        self.house = House(folder)

    def user(self, name: str) -> User:
        return User(name, os.getuid(), os.getgid())

    def intend(self, *names: str, content: Content | None = None, queue_id: str = ID) -> Note:
        """The note that delivery writes for these mailboxes, as they are now."""
        intended = []
        for name in names:
            with self.house.mailbox_of(self.user(name)).lock(create=True) as mailbox:
                intended.append(
                    Intended(self.user(name), mailbox.path, mailbox.device, mailbox.inode, mailbox.length(), HEAD)
                )
        note = self.house.intents.write(queue_id, intended, content or Content(len(BODY), BODY))
        note.close()
        return note

    def append(self, name: str, octets: bytes) -> None:
        with open(os.path.join(self.house.spool, name), "ab") as file:
            file.write(octets)

    def restart(self) -> None:
        """The process is gone; another begins with what lies on the disk."""
        self.move(self.house.folder)

    def recover(self) -> None:
        self.restart()
        self.house.recovery.run()


class WholeTests(RecoveryTestCase):
    def test_a_message_that_was_not_answered_is_in_no_mailbox_afterwards(self) -> None:
        self.house.put("ann", OLD)
        self.intend("ann", "bob", "eve")
        self.append("ann", PIECE)
        self.append("bob", PIECE[:100])
        self.recover()
        self.assertEqual(self.house.contents("ann"), OLD)
        self.assertEqual((self.house.contents("bob"), self.house.contents("eve")), (b"", b""))
        self.assertEqual(self.house.leftovers(), [])
        self.assertEqual(
            self.house.report,
            [f"{ID}: was interrupted before it was answered; what stood of it in mailboxes is undone"],
        )

    def test_a_message_that_was_answered_stays(self) -> None:
        note = self.intend("ann")
        self.append("ann", PIECE)
        reread = self.house.intents.read(ID)
        reread.mark_delivered()
        reread.close()
        self.recover()
        self.assertEqual(self.house.contents("ann"), PIECE)
        self.assertEqual((self.house.leftovers(), self.house.report), ([], []))
        self.assertFalse(os.path.exists(note.path))

    def test_a_torn_note_is_forgotten(self) -> None:
        self.house.put("ann", OLD)
        note = self.intend("ann")
        os.truncate(note.path, os.path.getsize(note.path) - 1)
        self.recover()
        self.assertEqual((self.house.contents("ann"), self.house.leftovers()), (OLD, []))

    def test_a_large_message_is_found_by_its_file_which_then_goes(self) -> None:
        body = b"x" * 70 + b"\n"
        body *= 5000
        path = self.house.incoming.path_of(ID)
        with open(path, "wb") as file:
            file.write(body)
        self.house.put("ann", OLD)
        self.intend("ann", content=Content(len(body), name=ID, path=path))
        self.append("ann", HEAD + body[:300_000] + OTHER)
        self.recover()
        self.assertEqual((self.house.contents("ann"), self.house.leftovers()), (OLD + OTHER, []))

    def test_contents_that_no_note_names_are_swept_but_not_those_that_come_in_meanwhile(self) -> None:
        for name in ("A", "B"):
            with open(self.house.incoming.path_of(name), "w"):
                pass
        self.restart()
        with open(self.house.incoming.path_of("C"), "w"):
            pass
        self.house.recovery.run()
        self.assertEqual(self.house.leftovers(), ["C"])

    def test_a_message_under_way_while_recovery_runs_is_none_of_its_business(self) -> None:
        self.restart()
        self.intend("ann", queue_id="B")
        self.append("ann", PIECE)
        self.house.recovery.run()
        self.assertEqual(self.house.contents("ann"), PIECE)
        self.assertEqual(self.house.leftovers(), ["B"])

    def test_a_mailbox_that_is_gone_needs_nothing(self) -> None:
        self.intend("ann")
        os.unlink(os.path.join(self.house.spool, "ann"))
        self.recover()
        self.assertEqual(self.house.leftovers(), [])
        self.assertFalse(os.path.exists(os.path.join(self.house.spool, "ann")))

    def test_a_mailbox_on_a_disk_that_is_not_mounted_yet_is_undone_later(self) -> None:
        self.house.put("ann", OLD)
        self.intend("ann")
        self.append("ann", PIECE)
        disk = os.path.join(self.house.folder, "disk")
        os.rename(self.house.spool, disk)
        os.symlink("/proc", self.house.spool)
        self.recover()
        self.assertTrue(any("will be undone later" in line for line in self.house.report), self.house.report)
        os.unlink(self.house.spool)
        os.rename(disk, self.house.spool)
        with self.house.mailbox_of(self.user("ann")).lock(create=False):
            self.assertEqual(self.house.contents("ann"), OLD)
        self.assertEqual(self.house.leftovers(), [])


class UncertainTests(RecoveryTestCase):
    def left_alone(self, octets: bytes, why: str) -> None:
        self.house.put("ann", octets)
        self.recover()
        self.assertEqual((self.house.contents("ann"), self.house.leftovers()), (octets, []))
        self.assertTrue(any(why in line for line in self.house.report), self.house.report)

    def test_another_file_in_its_place_is_left_alone(self) -> None:
        self.intend("ann")
        os.rename(os.path.join(self.house.spool, "ann"), os.path.join(self.house.spool, "old"))
        self.left_alone(PIECE, "another file stands in its place")

    def test_a_shorter_file_is_left_alone(self) -> None:
        self.house.put("ann", OLD * 2)
        self.intend("ann")
        self.left_alone(OLD, "shorter than it was")

    def test_a_file_that_another_program_rewrote_is_left_alone(self) -> None:
        self.house.put("ann", OLD)
        self.intend("ann")
        stamped = PIECE.replace(b"\n\n>From", b"\nStatus: RO\n\n>From")
        for octets in (
            OLD.replace(b"\n\n", b"\nStatus: RO\n\n", 1) + PIECE + OTHER,
            OLD + stamped,
            OLD + stamped + OTHER,
            OLD + PIECE[:200] + b"something else\n",
            OLD + PIECE.replace(b"id A", b"id B"),
        ):
            with self.subTest(octets):
                self.left_alone(octets, "rewritten it")
                self.intend_again(len(OLD))

    def intend_again(self, length: int) -> None:
        path = os.path.join(self.house.spool, "ann")
        found = os.stat(path)
        intended = Intended(self.user("ann"), path, found.st_dev, found.st_ino, length, HEAD)
        self.house.intents.write(ID, [intended], Content(len(BODY), BODY)).close()

    def test_mailboxes_that_are_kept_elsewhere_now_are_left_alone(self) -> None:
        self.intend("ann")
        self.append("ann", PIECE)
        self.restart()
        elsewhere = House(self.mktemp())
        self.addCleanup(elsewhere.close)
        self.house.recovery._mailbox_of = elsewhere.mailbox_of
        self.house.recovery.run()
        self.assertEqual((self.house.contents("ann"), self.house.leftovers()), (PIECE, []))
        self.assertIn("kept elsewhere", self.house.report[0])


class PendingTests(RecoveryTestCase):
    def test_what_another_program_holds_is_undone_before_it_is_next_used(self) -> None:
        self.house.put("ann", OLD)
        self.intend("ann", "bob")
        self.append("ann", PIECE[:60])
        self.append("bob", PIECE)
        lock = os.path.join(self.house.spool, "ann.lock")
        with open(lock, "w") as file:
            file.write("1\n")
        self.recover()
        self.assertEqual((self.house.contents("ann"), self.house.contents("bob")), (OLD + PIECE[:60], b""))
        self.assertEqual(self.house.leftovers(), [ID])
        os.unlink(lock)
        copies = [Copy(self.user(name), b"From x  Mon Nov 23 12:00:09 2026\n\n") for name in ("ann", "bob")]
        self.successResultOf(Deferred.fromCoroutine(self.house.delivery.deliver("B", Content(3, b"x\n\n"), copies)))
        self.assertEqual(self.house.contents("ann"), OLD + copies[0].head + b"x\n\n")
        self.assertEqual(self.house.contents("bob"), copies[0].head + b"x\n\n")
        self.assertEqual(self.house.leftovers(), [])

    def test_a_mailbox_that_is_used_before_recovery_came_to_it_is_mended_first(self) -> None:
        self.house.put("ann", OLD)
        self.intend("ann")
        self.append("ann", PIECE[:60])
        self.restart()
        with self.house.mailbox_of(self.user("ann")).lock(create=False) as mailbox:
            self.assertEqual(mailbox.length(), len(OLD))
        self.house.recovery.run()
        self.assertEqual(self.house.leftovers(), [])

    def test_what_was_mended_and_used_since_is_not_touched_when_the_rest_is_undone_after_another_crash(self) -> None:
        self.intend("ann", "bob")
        self.append("ann", PIECE)
        self.append("bob", PIECE)
        lock = os.path.join(self.house.spool, "bob.lock")
        with open(lock, "w") as file:
            file.write("1\n")
        self.recover()
        self.append("ann", PIECE)  # the client sent it again, and it was answered
        os.unlink(lock)
        self.recover()
        self.assertEqual((self.house.contents("ann"), self.house.contents("bob")), (PIECE, b""))

    def test_a_mailbox_that_cannot_be_mended_is_not_used(self) -> None:
        self.house.put("ann", OLD)
        self.intend("ann")
        self.append("ann", PIECE[:60])
        self.restart()

        def fail(*args: object) -> None:
            raise OSError(5, "Input/output error")

        patch = self.patch(os, "ftruncate", fail)
        with self.assertRaises(Exception) as caught:
            self.house.mailbox_of(self.user("ann")).lock(create=False)
        self.assertIn("451 4.3.0", str(caught.exception))
        patch.restore()
        self.house.recovery.run()
        self.assertEqual((self.house.contents("ann"), self.house.leftovers()), (OLD, []))

    def test_a_crash_in_the_middle_of_recovery_is_recovered_from(self) -> None:
        class Crash(BaseException):
            pass

        points = 0
        while True:
            self.move(self.mktemp())
            self.house.put("ann", OLD)
            self.intend("ann", "bob")
            self.append("ann", PIECE + OTHER)
            self.append("bob", PIECE[:90])
            self.restart()
            calls = [0]

            def crashing(real: Any, calls: list[int] = calls, at: int = points) -> Any:
                def call(*args: Any, **kwargs: Any) -> Any:
                    calls[0] += 1
                    if calls[0] > at:
                        raise Crash
                    return real(*args, **kwargs)

                return call

            patches = [
                self.patch(os, name, crashing(getattr(os, name)))
                for name in ("pwrite", "ftruncate", "fsync", "fdatasync", "unlink", "rename")
            ]
            finished = True
            try:
                self.house.recovery.run()
            except Crash:
                finished = False
            for patch in patches:
                patch.restore()
            for name in ("ann", "bob"):  # a process that is gone holds no lock
                if os.path.exists(os.path.join(self.house.spool, name + ".lock")):
                    os.unlink(os.path.join(self.house.spool, name + ".lock"))
            self.recover()
            self.assertEqual((self.house.contents("ann"), self.house.contents("bob")), (OLD + OTHER, b""), points)
            self.assertEqual(self.house.leftovers(), [], points)
            if finished:
                break
            points += 1
        self.assertGreater(points, 8)


class OctetTests(RecoveryTestCase):
    def setUp(self) -> None:
        super().setUp()
        # Thousands of recoveries, and what is asked here is not whether they reach the disk.
        self.patch(os, "fsync", lambda fd: None)
        self.patch(os, "fdatasync", lambda fd: None)

    def outcome(self, before: bytes, written: int, other: bytes, holes: tuple[int, int] = (0, 0)) -> bytes:
        """What is left of a mailbox when so many octets of ours were written, and another program wrote behind them."""
        self.move(self.mktemp())
        self.house.put("ann", before)
        self.intend("ann")
        ours = bytearray((separation(before[-4:]) + PIECE)[:written])
        first, count = holes
        ours[first : first + count] = bytes(len(ours[first : first + count]))
        self.append("ann", bytes(ours) + other)
        self.recover()
        self.assertEqual(self.house.leftovers(), [])
        return self.house.contents("ann")

    def test_wherever_it_was_torn_the_mailbox_is_as_it_was(self) -> None:
        for before, step in ((OLD, 3), (b"", 29), (OLD[:-1], 31), (OLD[:-2], 37)):
            for written in (*range(0, len(PIECE), step), len(PIECE), len(PIECE) + 1, len(PIECE) + 2):
                self.assertEqual(self.outcome(before, written, b""), before, (before, written))

    def test_wherever_it_was_torn_what_others_wrote_behind_it_stays(self) -> None:
        others = {
            OTHER: 1,
            b"From ann@lan.example  Mon Nov 23 12:00:01 2026\nX: y\n\n": 7,
            b"\n" + OTHER: 11,
            b"From  Mon Nov 23 12:00:05 2026\n\n": 13,
        }
        for other, step in others.items():
            for before in (OLD, OLD[:-2]):
                for written in range(0, len(separation(before[-4:]) + PIECE) + 1, step if before is OLD else 17):
                    left = self.outcome(before, written, other)
                    self.assertTrue(left.startswith(before), (written, other))
                    kept = left[len(before) :]
                    self.assertEqual(kept.strip(b"\n"), other.strip(b"\n"), (written, other, left))

    @settings(max_examples=60, deadline=None)
    @given(st.integers(0, len(PIECE)), st.integers(0, len(PIECE)), st.integers(0, len(PIECE)), st.booleans())
    def test_octets_that_a_power_cut_left_as_nuls_are_ours(
        self, written: int, first: int, count: int, other: bool
    ) -> None:
        behind = OTHER if other else b""
        self.assertEqual(self.outcome(OLD, written, behind, (first, count)), OLD + behind)

    def test_again_is_as_good_as_once(self) -> None:
        self.house.put("ann", OLD)
        note = self.intend("ann")
        self.append("ann", PIECE + OTHER)
        with open(note.path, "rb") as file:
            text = file.read()
        for _ in range(3):
            self.recover()
            self.assertEqual(self.house.contents("ann"), OLD + OTHER)
            with open(note.path, "wb") as file:
                file.write(text)


class PostponedTests(RecoveryTestCase):
    def test_what_could_not_be_cut_back_at_once_is_before_the_next_use(self) -> None:
        self.house.put("ann", OLD)
        real_sync, real_cut = LockedMailbox.sync, LockedMailbox.cut_back

        def fail(mailbox: LockedMailbox, *args: object) -> None:
            raise OSError(5, "Input/output error")

        patches = [self.patch(LockedMailbox, name, fail) for name in ("sync", "cut_back")]
        copies = [Copy(self.user("ann"), HEAD)]
        delivery = self.house.delivery.deliver(ID, Content(len(BODY), BODY), copies)
        self.failureResultOf(Deferred.fromCoroutine(delivery))
        for patch in patches:
            patch.restore()
        self.assertEqual((LockedMailbox.sync, LockedMailbox.cut_back), (real_sync, real_cut))
        self.assertEqual(self.house.contents("ann"), OLD + PIECE)
        with self.house.mailbox_of(self.user("ann")).lock(create=False) as mailbox:
            self.assertEqual(mailbox.length(), len(OLD))
        self.assertEqual(self.house.leftovers(), [])
