from __future__ import annotations

import errno
import fcntl
import itertools
import os
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from lanmail.address import Address
from lanmail.delivery import local
from lanmail.delivery.batch import Batch, Outcome
from lanmail.interfaces import User
from lanmail.mailbox.disk import SYSTEM
from lanmail.mailbox.locks import MailboxBusy, MailboxFailure, MailboxUnsafe
from lanmail.mailbox.store import LockedMailbox
from lanmail.spool.entries import Message, Recipient
from lanmail.spool.incoming import Content
from lanmail.status import Status, TemporaryFailure
from tests.delivery.house import House

BEFORE = b"From old  Mon Nov 23 12:00:00 2026\n\nold\n\n"
THIEF = b"From thief  Mon Nov 23 12:00:02 2026\n\nhis\n\n"
SENDER = Address("julien", "lan.example")
CALLS = ("write", "pwrite", "fsync", "ftruncate", "open", "unlink", "link", "pread")


def head(queue_id: str) -> bytes:
    return b"From a  Mon Nov 23 12:00:01 2026\nX: %s\n\n" % queue_id.encode()


def expected(queue_id: str, body: bytes = b"text\n\n") -> bytes:
    return head(queue_id) + body


class LocalTestCase(SynchronousTestCase):
    def house(self, *users: str, **options: Any) -> House:
        house = House(self.mktemp(), *users, **options)
        self.addCleanup(house.close)
        return house

    def admit(self, house: House, queue_id: str, *names: str, body: bytes | Content = b"text\n\n") -> list[Batch]:
        content = Content(len(body), body) if isinstance(body, bytes) else body
        copies = []
        for name in names:
            to = Address(name, "lan.example")
            copies.append(Recipient(User(name, os.getuid(), os.getgid()), head(queue_id), SENDER, to, to))
        return house.admit(Message(queue_id, SENDER, 0.0, content.size), copies, content)

    def deliver(self, house: House, queue_id: str, *names: str, body: bytes = b"text\n\n") -> list[Outcome]:
        return house.deliver(*self.admit(house, queue_id, *names, body=body))

    def file(self, house: House, queue_id: str, octets: bytes) -> Content:
        path = house.incoming.path_of(queue_id)
        with open(path, "wb") as file:
            file.write(octets)
        return Content(len(octets), name=queue_id, path=path)


class Elsewhere:
    """Another program, which holds a mailbox by a dotlock that it takes care of."""

    def __init__(self, house: House, name: str) -> None:
        self._path = os.path.join(house.spool, name + ".lock")
        # Process 1 is alive, and not us.
        with open(self._path, "w") as file:
            file.write("1\n")

    def let_go(self) -> None:
        os.unlink(self._path)


class RoundTests(LocalTestCase):
    def test_one_message_into_several_mailboxes(self) -> None:
        house = self.house()
        house.put("ann", BEFORE)
        batches = self.admit(house, "A", "bob", "ann")
        outcomes = house.deliver(*batches)
        self.assertEqual([outcome.user.name for outcome in outcomes], ["bob", "ann"])
        for batch, outcome in zip(batches, outcomes, strict=True):
            self.assertEqual((outcome.delivered, outcome.failed), ([batch.entries[0].number], []))
            self.assertIsNone(outcome.trouble)
        self.assertEqual(house.contents("ann"), BEFORE + expected("A"))
        self.assertEqual(house.contents("bob"), expected("A"))
        self.assertEqual(sorted(os.listdir(house.spool)), ["ann", "bob"])

    def test_several_messages_stand_in_a_mailbox_in_their_order_each_where_the_journal_says(self) -> None:
        for before in (b"", BEFORE, BEFORE[:-1], BEFORE[:-2]):
            house = self.house()
            house.put("ann", before)
            batches = [batch for queue_id in "ABC" for batch in self.admit(house, queue_id, "ann")]
            asked: list[int] = []
            real = house.journal.intend
            self.patch(
                house.journal, "intend", lambda intents, real=real: (asked.append(len(intents)), real(intents))[1]
            )
            house.deliver(*batches)
            self.assertEqual(asked, [3], "one flush of the journal is enough")
            whole = BEFORE + b"".join(map(expected, "ABC")) if before else b"".join(map(expected, "ABC"))
            self.assertEqual(house.contents("ann"), whole)
            standing = house.standing()
            self.assertTrue(all(row.marked for row in standing))
            offsets = [row.intent.offset for row in standing]
            self.assertEqual(offsets[0], len(before))
            self.assertEqual(offsets[1:], [len(whole) - len(expected("C")) * left for left in (2, 1)])
            self.assertEqual({row.intent.inode for row in standing}, {os.stat(os.path.join(house.spool, "ann")).st_ino})

    def test_the_journal_knows_of_an_append_before_it_begins_and_of_its_end_before_the_lock_is_let_go(self) -> None:
        house = self.house()
        order: list[str] = []

        def watched(name: str, place: Any) -> None:
            real = getattr(place, name)

            def call(*args: Any) -> Any:
                order.append(name)
                result = real(*args)
                if name == "mark":
                    result.add_done_callback(lambda _: order.append("marked"))
                return result

            self.patch(place, name, call)

        for name in ("intend", "mark"):
            watched(name, house.journal)
        for name in ("append_at", "release"):
            watched(name, LockedMailbox)
        self.deliver(house, "A", "ann", "bob")
        self.assertEqual(order, ["intend", "append_at", "append_at", "mark", "marked", "release", "release"])

    def test_a_round_syncs_no_mailbox(self) -> None:
        house = self.house()
        house.put("ann", BEFORE)
        batches = self.admit(house, "A", "ann")
        self.patch(os, "fsync", lambda fd: self.fail("it does"))
        house.deliver(*batches)

    def test_what_the_journal_refuses_is_left_out_and_the_rest_moves_up(self) -> None:
        house = self.house()
        batches = [batch for queue_id in "ABCD" for batch in self.admit(house, queue_id, "ann")]
        house.journal.hold(["B"]).result()
        house.journal.delete(["C"]).result()
        (outcome,) = house.deliver(*batches)
        self.assertEqual(house.contents("ann"), expected("A") + expected("D"))
        self.assertEqual(len(outcome.delivered), 2)
        self.assertEqual((outcome.failed, outcome.trouble), ([], None))
        self.assertEqual([row.intent.offset for row in house.standing()], [0, len(expected("A"))])
        self.assertEqual([(name, count) for name, count, _ in house.journal.waiting()], [])

    def test_what_is_under_way_already_is_not_delivered_twice(self) -> None:
        house = self.house()
        batches = self.admit(house, "A", "ann")
        house.deliver(*batches)
        (outcome,) = house.deliver(*batches)
        self.assertEqual((outcome.delivered, outcome.failed, outcome.trouble), ([], [], None))
        self.assertEqual(house.contents("ann"), expected("A"))

    def test_a_message_that_cannot_be_read_is_no_other_s_trouble(self) -> None:
        house = self.house()
        house.put("ann", BEFORE)
        octets = b"line\n" * 60_000 + b"\n"
        batches = []
        for queue_id in "ABC":
            batches += self.admit(house, queue_id, "ann", body=self.file(house, queue_id, octets))
        os.truncate(house.incoming.path_of("B"), 100_000)
        (outcome,) = house.deliver(*batches)
        self.assertEqual(house.contents("ann"), BEFORE + expected("A", octets) + expected("C", octets))
        self.assertIsNone(outcome.trouble)
        ((number, failure),) = outcome.failed
        self.assertEqual((number, failure.status.code), (batches[1].entries[0].number, 451))
        self.assertIn("B: cannot read the message", house.report[-1])
        self.assertEqual([row.marked for row in house.standing()], [True, True])
        self.assertEqual([(name, count) for name, count, _ in house.journal.waiting()], [("ann", 1)])

    def test_a_mailbox_does_not_grow_beyond_its_limit(self) -> None:
        house = self.house(delivery_limit=len(BEFORE) + len(expected("A")) + len(expected("C")))
        house.put("ann", BEFORE)
        batches = self.admit(house, "A", "ann")
        batches += self.admit(house, "B", "ann", body=b"a longer text\n\n")
        batches += self.admit(house, "C", "ann")
        (outcome,) = house.deliver(*batches)
        self.assertEqual(house.contents("ann"), BEFORE + expected("A") + expected("C"))
        ((number, failure),) = outcome.failed
        self.assertEqual(number, batches[1].entries[0].number)
        self.assertEqual(str(failure.status), "452 4.2.2 Mailbox is full")
        self.assertIsNone(outcome.trouble)

    def test_dotlocks_are_kept_fresh_while_a_long_round_is_written(self) -> None:
        house = self.house()
        touched: list[str] = []
        seconds = itertools.count(0.0, 15.0)

        class Slow:
            """A time module in which everything takes long; not the one that everybody else has."""

            @staticmethod
            def monotonic() -> float:
                return next(seconds)

        batches = [batch for queue_id in "ABC" for batch in self.admit(house, queue_id, "ann", "bob")]
        self.patch(local, "time", Slow)
        self.patch(LockedMailbox, "touch", lambda mailbox: touched.append(mailbox.path))
        house.deliver(*batches)
        self.assertGreater(touched.count(os.path.join(house.spool, "ann")), 1)

    def test_more_mailboxes_than_descriptors_may_wait_for_are_flushed_at_once(self) -> None:
        house = self.house()
        self.patch(local.Checkpoints, "crowded", True)
        self.deliver(house, "A", "ann", "bob")
        self.assertEqual(house.leftovers(), [])


class TroubleTests(LocalTestCase):
    def test_a_mailbox_that_another_program_holds_is_not_waited_for_and_holds_up_nobody(self) -> None:
        house = self.house()
        other = Elsewhere(house, "bob")
        batches = self.admit(house, "A", "ann", "bob", "eve")
        ann, bob, eve = house.deliver(*batches)
        self.assertIsInstance(bob.trouble, MailboxBusy)
        self.assertEqual((bob.delivered, bob.failed), ([], []))
        for outcome in (ann, eve):
            self.assertEqual((len(outcome.delivered), outcome.trouble), (1, None))
        self.assertEqual((house.contents("ann"), house.contents("bob")), (expected("A"), b""))
        other.let_go()
        (outcome,) = house.deliver(batches[1])
        self.assertIsNone(outcome.trouble)
        self.assertEqual(house.contents("bob"), expected("A"))

    def test_a_mailbox_that_is_not_safe_gets_nothing(self) -> None:
        house = self.house()
        os.symlink("/etc/passwd", os.path.join(house.spool, "bob"))
        ann, bob = self.deliver(house, "A", "ann", "bob")
        self.assertIsInstance(bob.trouble, MailboxUnsafe)
        self.assertEqual(len(ann.delivered), 1)

    def test_a_kernel_lock_of_a_kind_that_we_do_not_respect_is_none(self) -> None:
        house = self.house()
        house.put("ann", BEFORE)
        with open(os.path.join(house.spool, "ann"), "rb") as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            (outcome,) = self.deliver(house, "A", "ann")
        self.assertIsNone(outcome.trouble)

    def test_locks_are_taken_in_one_order_whatever_the_order_of_the_batches(self) -> None:
        house = self.house()
        taken: list[str] = []
        real = local.MailboxFile.lock

        def lock(mailbox: Any, **options: Any) -> LockedMailbox:
            taken.append(os.path.basename(mailbox.path))
            return real(mailbox, **options)

        self.patch(local.MailboxFile, "lock", lock)
        self.deliver(house, "A", "eve", "ann", "bob")
        self.assertEqual(taken, ["ann", "bob", "eve"])

    def test_where_nothing_can_be_intended_nothing_is_written(self) -> None:
        house = self.house()
        house.put("ann", BEFORE)
        batches = self.admit(house, "A", "ann", "bob")
        house.journal.close()
        for outcome in house.deliver(*batches):
            self.assertNotIsInstance(outcome.trouble, MailboxFailure)
            self.assertEqual((outcome.delivered, outcome.failed), ([], []))
        self.assertEqual((house.contents("ann"), house.contents("bob")), (BEFORE, b""))

    def test_a_full_disk_stops_that_mailbox_where_a_message_ends(self) -> None:
        for error, status in ((errno.ENOSPC, "452 4.3.1"), (errno.EIO, "451 4.3.0"), (errno.EDQUOT, "452 4.2.2")):
            house = self.house()
            house.put("ann", BEFORE)
            batches = [batch for queue_id in "ABCD" for batch in self.admit(house, queue_id, "ann", "bob")]
            third = batches[4].entries[0].number
            patch = self.fail_at(house, "ann", BEFORE + expected("A") + expected("B") + b"From", error)
            ann, bob = house.deliver(*batches)
            patch.restore()
            self.assertIn(status, str(ann.trouble))
            self.assertEqual(ann.delivered, [batch.entries[0].number for batch in batches[:4:2]])
            self.assertEqual(house.contents("ann"), BEFORE + expected("A") + expected("B"))
            self.assertEqual(len(bob.delivered), 4)
            self.assertNotIn(third, {row.recipient.number for row in house.standing()})
            self.assertEqual(self.retried(house, "ann"), BEFORE + b"".join(map(expected, "ABCD")))

    def fail_at(self, house: House, name: str, octets: bytes, error: int) -> Any:
        """The disk has room for so many octets of that mailbox."""
        real = os.pwrite
        path = os.path.join(house.spool, name)

        def pwrite(fd: int, data: Any, offset: int) -> int:
            if os.readlink(f"/proc/self/fd/{fd}") != path or offset + len(data) <= len(octets):
                return real(fd, data, offset)
            room = max(0, len(octets) - offset)
            if not room:
                raise OSError(error, os.strerror(error))
            return real(fd, bytes(data)[:room], offset)

        return self.patch(os, "pwrite", pwrite)

    def retried(self, house: House, name: str) -> bytes:
        """The mailbox, after what waits was tried again."""
        house.deliver(*house.waiting(name))
        return house.contents(name)

    def test_what_could_not_be_cut_back_is_taken_out_before_the_mailbox_is_next_used(self) -> None:
        house = self.house()
        house.put("ann", BEFORE)
        batches = [batch for queue_id in "ABC" for batch in self.admit(house, queue_id, "ann")]
        torn = BEFORE + expected("A") + expected("B")[:20]
        patches = [self.fail_at(house, "ann", torn, errno.EIO)]

        def fail(fd: int, length: int) -> None:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

        patches.append(self.patch(os, "ftruncate", fail))
        (outcome,) = house.deliver(*batches)
        for patch in patches:
            patch.restore()
        self.assertEqual(house.contents("ann"), torn)
        self.assertEqual(outcome.delivered, [batches[0].entries[0].number])
        self.assertIsInstance(outcome.trouble, MailboxFailure)
        self.assertEqual([row.marked for row in house.standing()], [True, False])
        with house.mailbox_of(batches[0].user).lock(create=False):
            self.assertEqual(house.contents("ann"), BEFORE + expected("A"))
        self.assertEqual(self.retried(house, "ann"), BEFORE + b"".join(map(expected, "ABC")))

    def test_octets_that_a_program_without_locks_puts_in_between_move_the_rest_to_the_next_round(self) -> None:
        house = self.house()
        batches = [batch for queue_id in "AB" for batch in self.admit(house, queue_id, "ann")]
        real = house.journal.intend

        def intend(intents: Any) -> Any:
            with open(os.path.join(house.spool, "ann"), "ab") as file:
                file.write(THIEF)
            return real(intents)

        patch = self.patch(house.journal, "intend", intend)
        (outcome,) = house.deliver(*batches)
        patch.restore()
        self.assertIsInstance(outcome.trouble, MailboxBusy)
        self.assertEqual((house.contents("ann"), house.standing()), (THIEF, []))
        self.assertEqual(self.retried(house, "ann"), THIEF + expected("A") + expected("B"))

    def test_where_the_mark_fails_the_message_is_delivered_all_the_same(self) -> None:
        house = self.house()
        batches = self.admit(house, "A", "ann")
        failed: Future[None] = Future()
        failed.set_exception(TemporaryFailure(Status(451, "4.3.0", "Error: queue file write error")))
        patch = self.patch(house.journal, "mark", lambda numbers: failed)
        (outcome,) = house.deliver(*batches)
        patch.restore()
        self.assertEqual(len(outcome.delivered), 1)
        house.checkpoints.run()
        self.assertEqual((house.contents("ann"), house.leftovers()), (expected("A"), []))


class BrokenLockTests(LocalTestCase):
    """Another program breaks our lock between the append and the mark."""

    def broken(self, house: House, act: Callable[[str], None]) -> tuple[list[Batch], Outcome]:
        house.put("ann", BEFORE)
        batches = [batch for queue_id in "AB" for batch in self.admit(house, queue_id, "ann")]
        path = os.path.join(house.spool, "ann")
        real = LockedMailbox.append_at
        appended: list[int] = []

        def append_at(mailbox: LockedMailbox, begin: int, gap: bytes, pieces: Any) -> bool:
            done = real(mailbox, begin, gap, pieces)
            appended.append(begin)
            if len(appended) == 2:
                os.unlink(path + ".lock")
                act(path)
            return done

        patch = self.patch(LockedMailbox, "append_at", append_at)
        (outcome,) = house.deliver(*batches)
        patch.restore()
        self.assertIsInstance(outcome.trouble, MailboxBusy)
        self.assertEqual(outcome.delivered, [])
        return batches, outcome

    def again(self, house: House, batches: list[Batch]) -> bytes:
        """The mailbox after the queue's next round, with what it has in memory and then with what waits."""
        house.deliver(*batches)
        house.deliver(*house.waiting("ann"))
        house.checkpoints.run()
        self.assertEqual(house.leftovers(), [])
        return house.contents("ann")

    def test_what_stands_there_all_the_same_is_found_and_not_delivered_again(self) -> None:
        def append(path: str) -> None:
            with open(path, "ab") as file:
                file.write(THIEF)

        house = self.house()
        batches, _ = self.broken(house, append)
        self.assertEqual(self.again(house, batches), BEFORE + expected("A") + expected("B") + THIEF)
        found = [line for line in house.report if "found in the mailbox" in line]
        self.assertEqual(len(found), 2)
        self.assertEqual([kind for kind, _, _ in house.told], ["delivered", "delivered"])

    def test_what_was_in_a_file_that_is_no_longer_the_mailbox_is_delivered_again(self) -> None:
        def replace(path: str) -> None:
            with open(path + ".new", "wb") as file:
                file.write(BEFORE + THIEF)
            os.chmod(path + ".new", 0o600)
            os.rename(path + ".new", path)

        house = self.house()
        batches, _ = self.broken(house, replace)
        self.assertEqual(self.again(house, batches), BEFORE + THIEF + expected("A") + expected("B"))
        self.assertEqual([kind for kind, _, _ in house.told], ["duplicate", "duplicate"])

    def test_what_was_cut_in_the_middle_is_taken_out_and_delivered_again(self) -> None:
        house = self.house()
        cut = len(BEFORE) + len(expected("A")) + 30
        batches, _ = self.broken(house, lambda path: os.truncate(path, cut))
        self.assertEqual(self.again(house, batches), BEFORE + expected("A") + expected("B"))

    def test_an_append_that_fails_once_the_lock_is_broken_cuts_nobody_s_octets(self) -> None:
        house = self.house()
        house.put("ann", BEFORE)
        path = os.path.join(house.spool, "ann")
        body = self.file(house, "A", b"line\n" * 60_000 + b"\n")
        batches = self.admit(house, "A", "ann", body=body)
        real = os.pwrite

        def pwrite(fd: int, data: Any, offset: int) -> int:
            if os.readlink(f"/proc/self/fd/{fd}") == path and offset > 100_000:
                os.unlink(path + ".lock")
                with open(path, "ab") as file:
                    file.write(THIEF)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return real(fd, data, offset)

        # As between two file systems.
        self.patch(SYSTEM, "copy", lambda source, fd, offset: 0)
        patch = self.patch(os, "pwrite", pwrite)
        (outcome,) = house.deliver(*batches)
        patch.restore()
        self.assertIsNotNone(outcome.trouble)
        self.assertTrue(house.contents("ann").endswith(THIEF))
        octets = b"".join(body.pieces())
        self.assertEqual(self.again(house, batches), BEFORE + THIEF + expected("A", octets))


class Faults:
    """Makes the system call of number ``at``, and the following ``more``, fail with ``error``. ``calls`` counts them all."""

    def __init__(self, test: SynchronousTestCase, error: int, at: int, more: int = 0) -> None:
        self.calls = 0
        self.failed: list[str] = []
        self._patches = [
            test.patch(os, name, self._failing(name, getattr(os, name), error, at, more)) for name in CALLS
        ]

    def _failing(self, name: str, real: Callable[..., Any], error: int, at: int, more: int) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            self.calls += 1
            if at <= self.calls <= at + more:
                self.failed.append(name)
                raise OSError(error, os.strerror(error))
            return real(*args, **kwargs)

        return call

    def over(self) -> None:
        for patch in self._patches:
            patch.restore()


class FaultTests(LocalTestCase):
    def attempt(self, error: int, at: int, more: int) -> bool:
        """Rounds and checkpoints with these faults, and everything that must hold after them. Whether there was any fault."""
        house = self.house()
        house.put("ann", BEFORE)
        batches = [batch for queue_id in "AB" for batch in self.admit(house, queue_id, "ann", "bob")]
        faults = Faults(self, error, at, more)
        outcomes = house.deliver(*batches)
        house.checkpoints.run()
        faults.over()
        what = (errno.errorcode[error], at, faults.failed)
        for outcome in outcomes:
            self.assertEqual(outcome.failed, [], what)
            self.assertTrue(outcome.trouble is not None or len(outcome.delivered) == 2, what)
        # The next try, and the next checkpoint, once the trouble is over.
        for _ in range(2):
            house.clock.advance(60)
            house.checkpoints.run()
            house.recovery.run()
            for name in ("ann", "bob"):
                house.deliver(*house.waiting(name))
        house.checkpoints.run()
        for name, before in (("ann", BEFORE), ("bob", b"")):
            self.assertEqual(house.contents(name), before + expected("A") + expected("B"), (name, what))
        self.assertEqual(house.leftovers(), [], what)
        house.close()
        return bool(faults.failed)

    def test_whatever_fails_once_each_message_is_there_once_in_the_end(self) -> None:
        for error in (errno.ENOSPC, errno.EIO):
            at = 1
            while self.attempt(error, at, 0):
                at += 1
            self.assertGreater(at, 20)

    def test_whatever_fails_from_some_moment_on_each_message_is_there_once_in_the_end(self) -> None:
        for error in (errno.ENOSPC, errno.EIO):
            at = 1
            while self.attempt(error, at, 10_000):
                at += 3


class ThreadTests(LocalTestCase):
    def test_many_messages_from_real_threads_are_each_there_once_though_pop3_s_locks_and_checkpoints_come_between(
        self,
    ) -> None:
        house = self.house()
        failures: list[BaseException] = []
        over = threading.Event()

        def work(name: str) -> None:
            try:
                for number in range(20):
                    todo = self.admit(
                        house, f"{name}{number}", "ann", "bob", body=b"%s %d\n\n" % (name.encode(), number)
                    )
                    while todo:
                        outcomes = house.deliver(*todo)
                        todo = [b for b, outcome in zip(todo, outcomes, strict=True) if outcome.trouble is not None]
            except BaseException as error:
                failures.append(error)

        def disturb() -> None:
            try:
                while not over.wait(0.001):
                    house.checkpoints.run()
                    try:
                        with house.mailbox_of(User("ann", os.getuid(), os.getgid())).lock(create=True) as mailbox:
                            house.checkpoints.settle(mailbox)
                    except MailboxBusy:
                        pass
            except BaseException as error:
                failures.append(error)

        threads = [threading.Thread(target=work, args=(name,)) for name in "AB"]
        disturber = threading.Thread(target=disturb)
        for thread in (*threads, disturber):
            thread.start()
        for thread in threads:
            thread.join(60)
        over.set()
        disturber.join(60)
        self.assertEqual(failures, [])
        for user in ("ann", "bob"):
            text = house.contents(user)
            for name in "AB":
                for number in range(20):
                    self.assertEqual(text.count(b"\n\n%s %d\n" % (name.encode(), number)), 1)
        house.checkpoints.run()
        self.assertEqual(house.leftovers(), [])
