from __future__ import annotations

import errno
import fcntl
import os
import threading
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from lanmail.delivery import local
from lanmail.delivery.local import Copy, Turns
from lanmail.interfaces import User
from lanmail.mailbox.store import LockedMailbox
from lanmail.spool import incoming
from lanmail.spool.incoming import Content
from lanmail.status import TemporaryFailure
from tests.delivery.house import House, at_once

BEFORE = b"From old  Mon Nov 23 12:00:00 2026\n\nold\n\n"
CALLS = ("write", "pwrite", "fsync", "fdatasync", "ftruncate", "open", "unlink", "link", "pread")


class LocalTestCase(SynchronousTestCase):
    def house(self, *users: str, **options: Any) -> House:
        house = House(self.mktemp(), *users, **options)
        self.addCleanup(house.close)
        return house

    def deliver(self, house: House, queue_id: str, *names: str, body: bytes = b"text\n\n") -> Deferred[None]:
        copies = [
            Copy(
                User(name, os.getuid(), os.getgid()), b"From a  Mon Nov 23 12:00:01 2026\nX: %s\n\n" % queue_id.encode()
            )
            for name in names
        ]
        return Deferred.fromCoroutine(house.delivery.deliver(queue_id, Content(len(body), body), copies))

    def expected(self, queue_id: str) -> bytes:
        return b"From a  Mon Nov 23 12:00:01 2026\nX: %s\n\ntext\n\n" % queue_id.encode()


class Elsewhere:
    """Another program, which holds a mailbox by a dotlock that it takes care of."""

    def __init__(self, house: House, name: str) -> None:
        self._path = os.path.join(house.spool, name + ".lock")
        # Process 1 is alive, and not us.
        with open(self._path, "w") as file:
            file.write("1\n")

    def let_go(self) -> None:
        os.unlink(self._path)


class DeliverTests(LocalTestCase):
    def test_one_message_into_several_mailboxes(self) -> None:
        house = self.house()
        house.put("ann", BEFORE)
        self.successResultOf(self.deliver(house, "A", "bob", "ann"))
        self.assertEqual(house.contents("ann"), BEFORE + self.expected("A"))
        self.assertEqual(house.contents("bob"), self.expected("A"))
        self.assertEqual(house.leftovers(), [])
        self.assertEqual(sorted(os.listdir(house.spool)), ["ann", "bob"])

    def test_before_anything_is_written_a_note_is_on_the_disk_and_after_the_mark_nothing_is(self) -> None:
        house = self.house()
        order: list[str] = []
        real: dict[str, Callable[..., Any]] = {
            name: getattr(os, name) for name in ("fsync", "fdatasync", "pwrite", "write")
        }

        def watch(name: str) -> Callable[..., Any]:
            def call(fd: int, *args: Any) -> Any:
                path = os.readlink(f"/proc/self/fd/{fd}")
                for kind, folder in (("note", house.intents.path), ("mailbox", house.spool)):
                    # A dotlock, which has no name yet when it is written, is no business of this test.
                    if path.startswith(folder) and not path.endswith((".lock", "(deleted)")):
                        order.append(f"{name} {kind}")
                return real[name](fd, *args)

            return call

        house.put("ann", BEFORE)
        house.put("bob", BEFORE)
        for name in real:
            self.patch(os, name, watch(name))
        self.successResultOf(self.deliver(house, "A", "ann", "bob"))
        told = [each.replace("pwrite", "write") for each in order]
        self.assertEqual(
            told,
            [
                "write note",
                "fsync note",
                "fsync note",  # the folder
                "write mailbox",
                "write mailbox",
                "fsync mailbox",
                "fsync mailbox",
                "write note",
                "fdatasync note",
            ],
        )

    def test_a_hundred_recipients_are_one_thread_s_work(self) -> None:
        hops: list[object] = []

        def count(work: Callable[..., Any], *args: Any, **kwargs: Any) -> Deferred[Any]:
            hops.append(work)
            return at_once(work, *args, **kwargs)

        house = self.house(in_thread=count)
        names = [f"u{number}" for number in range(100)]
        self.successResultOf(self.deliver(house, "A", *names))
        self.assertEqual(len(hops), 1)
        for name in names:
            self.assertEqual(house.contents(name), self.expected("A"))

    def test_dotlocks_are_kept_fresh_while_a_large_transaction_is_written(self) -> None:
        house = self.house()
        touched: list[str] = []
        now = [0.0]

        def monotonic() -> float:
            now[0] += 15
            return now[0]

        self.patch(local.time, "monotonic", monotonic)
        self.patch(LockedMailbox, "touch", lambda mailbox: touched.append(mailbox.path))
        self.successResultOf(self.deliver(house, "A", "ann", "bob"))
        self.assertGreater(touched.count(os.path.join(house.spool, "ann")), 1)


class BusyTests(LocalTestCase):
    def test_a_mailbox_that_another_program_holds_is_tried_again(self) -> None:
        house = self.house()
        other = Elsewhere(house, "bob")
        delivery = self.deliver(house, "A", "ann", "bob")
        for _ in range(5):
            house.clock.advance(1)
        self.assertNoResult(delivery)
        self.assertEqual((house.contents("ann"), house.leftovers()), (b"", []))
        self.assertFalse(os.path.exists(os.path.join(house.spool, "ann.lock")))
        other.let_go()
        house.clock.advance(2)
        self.successResultOf(delivery)
        self.assertEqual(house.contents("ann"), house.contents("bob"))

    def test_a_kernel_lock_counts_too(self) -> None:
        house = self.house()
        house.put("ann", BEFORE)
        with open(os.path.join(house.spool, "ann"), "rb") as held:
            fcntl.flock(held, fcntl.LOCK_EX)  # not the kind that we respect
            self.successResultOf(self.deliver(house, "A", "ann"))

    def test_after_twenty_seconds_the_client_is_told_later(self) -> None:
        house = self.house()
        Elsewhere(house, "bob")
        delivery = self.deliver(house, "A", "ann", "bob")
        for _ in range(60):
            house.clock.advance(0.5)
        failure = self.failureResultOf(delivery, TemporaryFailure).value
        self.assertRegex(str(failure), r"\A45[01] 4\.2\.0 ")
        self.assertIn("pid 1", house.report[-1])
        self.assertEqual((house.contents("ann"), house.contents("bob"), house.leftovers()), (b"", b"", []))

    def test_others_are_served_while_one_mailbox_is_held(self) -> None:
        house = self.house()
        other = Elsewhere(house, "bob")
        both = self.deliver(house, "A", "ann", "bob")
        self.successResultOf(self.deliver(house, "B", "ann"))
        self.successResultOf(self.deliver(house, "C", "eve", "ann"))
        other.let_go()
        house.clock.advance(2)
        self.successResultOf(both)
        self.assertEqual(house.contents("ann"), b"".join(map(self.expected, "BCA")))

    def test_a_lock_that_is_broken_under_our_hands_takes_nothing_from_anybody(self) -> None:
        house, thief = self.robbed()
        delivery = self.deliver(house, "A", "ann")
        house.clock.advance(2)
        self.successResultOf(delivery)
        self.assertEqual(house.contents("ann"), BEFORE + thief + self.expected("A"))
        self.assertEqual(house.leftovers(), [])

    def test_a_large_message_whose_lock_was_broken_is_asked_for_again(self) -> None:
        house, thief = self.robbed()
        self.patch(incoming, "IN_MEMORY", 100)
        sent = Deferred.fromCoroutine(house.send(b"\r\n" + b"text\r\n" * 1000, "ann"))
        house.clock.advance(2)
        self.assertEqual(self.failureResultOf(sent, TemporaryFailure).value.status.code, 451)
        self.assertFalse(any("No such file" in line for line in house.report), house.report)
        house.mailbox_of(User("ann", os.getuid(), os.getgid())).lock(create=False).release()
        self.assertEqual(house.contents("ann"), BEFORE + thief)
        self.assertEqual(house.leftovers(), [])

    def robbed(self) -> tuple[House, bytes]:
        """A house where, at the first delivery to ann, another program breaks the lock and appends what is given back too."""
        house = self.house("ann")
        house.put("ann", BEFORE)
        thief = b"From thief  Mon Nov 23 12:00:02 2026\n\nhis\n\n"
        path = os.path.join(house.spool, "ann")
        real = LockedMailbox.sync
        thieves = [thief]

        def sync(mailbox: LockedMailbox) -> None:
            real(mailbox)
            if thieves:
                os.unlink(path + ".lock")
                with open(path, "ab") as file:
                    file.write(thieves.pop())

        self.patch(LockedMailbox, "sync", sync)
        return house, thief


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
    def attempt(self, error: int, at: int, more: int, body: bytes = b"text\n\n") -> bool:
        """One delivery with these faults, and everything that must hold after it. Whether there was any fault."""
        house = self.house()
        house.put("ann", BEFORE)
        faults = Faults(self, error, at, more)
        delivery = self.deliver(house, "A", "ann", "bob", body=body)
        for _ in range(30):
            house.clock.advance(1)
        faults.over()
        told: list[Any] = []
        delivery.addBoth(told.append)
        (result,) = told
        what = (errno.errorcode[error], at, faults.failed)
        if result is not None:
            self.assertIsInstance(result.value, TemporaryFailure, what)
            if not os.listdir(house.intents.path):  # nothing was postponed
                self.assertEqual(house.contents("ann"), BEFORE, what)
                self.assertEqual(house.contents("bob"), b"", what)
        self.successResultOf(self.deliver(house, "B", "ann", "bob"))
        first = self.expected("A") if result is None else b""
        self.assertEqual(house.contents("ann"), BEFORE + first + self.expected("B"), what)
        self.assertEqual(house.contents("bob"), first + self.expected("B"), what)
        # A note may be left over that was never finished, or that says that all is done: it undoes nothing.
        house.close()
        next_start = House(house.folder)
        next_start.recovery.run()
        next_start.close()
        self.assertEqual(house.contents("ann"), BEFORE + first + self.expected("B"), what)
        self.assertEqual(house.contents("bob"), first + self.expected("B"), what)
        return bool(faults.failed)

    def test_whatever_fails_once_the_mailboxes_are_as_before_or_the_message_is_in_all(self) -> None:
        for error in (errno.ENOSPC, errno.EIO):
            at = 1
            while self.attempt(error, at, 0):
                at += 1
            self.assertGreater(at, 30)

    def test_whatever_fails_from_some_moment_on(self) -> None:
        for error in (errno.ENOSPC, errno.EIO):
            at = 1
            while self.attempt(error, at, 10_000):
                at += 1

    def test_a_full_disk_and_a_broken_one_are_told_apart(self) -> None:
        for error, status in ((errno.ENOSPC, "452 4.3.1"), (errno.EIO, "451 4.3.0")):
            house = self.house()
            house.put("ann", BEFORE)

            def fail(fd: int, *args: Any, error: int = error) -> Any:
                raise OSError(error, os.strerror(error))

            patch = self.patch(os, "fsync", fail)
            failure = self.failureResultOf(self.deliver(house, "A", "ann"), TemporaryFailure).value
            patch.restore()
            self.assertIn(status, str(failure))


class TurnsTests(SynchronousTestCase):
    def take(self, turns: Turns, *paths: str) -> Deferred[None]:
        return Deferred.fromCoroutine(turns.take(sorted(paths)))

    def test_who_comes_first_goes_first_at_each_mailbox(self) -> None:
        turns = Turns()
        self.successResultOf(self.take(turns, "a"))
        second = self.take(turns, "a", "b")
        third = self.take(turns, "b")
        self.successResultOf(self.take(turns, "c"))
        self.assertNoResult(second)
        self.assertNoResult(third)
        turns.give_back(["a"])
        self.successResultOf(second)
        self.assertNoResult(third)
        turns.give_back(["a", "b"])
        self.successResultOf(third)
        turns.give_back(["b"])
        turns.give_back(["c"])
        self.assertEqual(turns._queues, {})

    def test_a_thousand_who_wait_for_one_mailbox_are_not_a_thousand_frames_deep(self) -> None:
        turns = Turns()
        self.successResultOf(self.take(turns, "a"))
        done: list[int] = []

        async def one(number: int) -> None:
            await turns.take(["a"])
            done.append(number)
            turns.give_back(["a"])

        waiting = [Deferred.fromCoroutine(one(number)) for number in range(1000)]
        turns.give_back(["a"])
        for each in waiting:
            self.successResultOf(each)
        self.assertEqual(done, list(range(1000)))

    def test_crossing_transactions_all_come_to_an_end(self) -> None:
        turns = Turns()
        self.successResultOf(self.take(turns, "a", "b", "c"))
        done: list[str] = []

        async def one(*paths: str) -> None:
            await turns.take(sorted(paths))
            done.append("".join(paths))
            turns.give_back(sorted(paths))

        for paths in ("ab", "bc", "ca", "cb", "b"):
            Deferred.fromCoroutine(one(*paths))
        turns.give_back(["a", "b", "c"])
        self.assertEqual(sorted(done), ["ab", "b", "bc", "ca", "cb"])


class ThreadTests(LocalTestCase):
    def test_many_messages_from_real_threads_are_each_there_once(self) -> None:
        """Two processes' worth of delivery objects, which know nothing of each other's turns, on the same mailboxes."""
        first = self.house()
        second = House(first.folder)
        self.addCleanup(second.close)
        failures: list[BaseException] = []

        def work(house: House, name: str) -> None:
            copies = [
                Copy(User(user, os.getuid(), os.getgid()), b"From a  Mon Nov 23 12:00:01 2026\n\n")
                for user in ("ann", "bob")
            ]
            for number in range(20):
                while True:
                    try:
                        house.delivery._attempt(
                            f"{name}{number}", Content(8, b"%s %d\n\n" % (name.encode(), number)), copies
                        )
                        break
                    except local.MailboxBusy:
                        threading.Event().wait(0.001)
                    except BaseException as error:
                        failures.append(error)
                        return

        threads = [threading.Thread(target=work, args=(house, name)) for house, name in ((first, "A"), (second, "B"))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        self.assertEqual(failures, [])
        for user in ("ann", "bob"):
            text = first.contents(user)
            for name in "AB":
                for number in range(20):
                    self.assertEqual(text.count(b"%s %d\n" % (name.encode(), number)), 1)
