"""Two workers of one service at the same mailboxes: each with a journal of its own, killed and started again."""

from __future__ import annotations

import os
from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from lanmail.mailbox.disk import SYSTEM
from lanmail.mailbox.store import LockedMailbox
from lanmail.mailbox.turns import WithColleague
from lanmail.queue.agreement import Agreement
from lanmail.spool.adoption import adopt
from lanmail.spool.entries import Intent
from lanmail.spool.shares import Share
from lanmail.status import Status, TemporaryFailure
from tests.delivery.house import House, at_once
from tests.queue.switchboard import Desk, Switchboard

LETTER = b"Subject: %d\r\n\r\nHello\r\n"


class WorkersTestCase(SynchronousTestCase):
    """workers: those that are there, by their number."""

    count = 2

    def setUp(self) -> None:
        self.folder = self.mktemp()
        self.switchboard = Switchboard(self.count)
        self.asked_again: list[int] = []
        self.workers: dict[int, House] = {}
        for number in range(1, self.count + 1):
            self.start(number)
        self.addCleanup(lambda: [house.close() for house in self.workers.values()])

    def start(self, number: int) -> House:
        desk: Desk = self.switchboard.desk(number)
        agreement: list[Agreement] = []

        def settle(mailbox: LockedMailbox) -> None:
            agreement[0].settle(mailbox)

        house = House(self.folder, "ann", "bob", worker=Share(number, self.count), settle_others=settle)
        agreement.append(
            Agreement(
                desk,
                lambda: house.checkpoints,
                lambda: house.recovery,
                at_once,
                lambda work: work(),
                lambda: self.asked_again.append(number),
            )
        )
        assert house.turns is not None
        house.turns.begin(house.recovery.names)
        self.workers[number] = house
        return house

    def kill(self, number: int) -> None:
        self.workers.pop(number).kill()
        self.switchboard.down.add(number)

    def again(self, number: int) -> House:
        self.switchboard.down.discard(number)
        return self.start(number)

    def accept(self, house: House, number: int, user: str = "ann") -> list[Any]:
        """Into its journal; what is to be delivered."""
        taken: list[Any] = []

        async def admit(message: Any, recipients: Any, content: Any) -> None:
            taken.extend(house.admit(message, recipients, content))

        before, house.reception.accept = house.reception.accept, admit
        try:
            self.successResultOf(Deferred.fromCoroutine(house.send(LETTER % number, f"{user}@lan.example")))
        finally:
            house.reception.accept = before
        return taken

    def letters(self, user: str = "ann") -> list[bytes]:
        text = self.workers[min(self.workers)].contents(user)
        return [line[9:] for line in text.split(b"\n") if line.startswith(b"Subject: ")]

    def expunge_all(self, house: House, user: str = "ann") -> None:
        with house.mailbox_of(house.users.known[user]).lock(create=False) as mailbox:
            mailbox.take_out([(0, mailbox.length())])


class DeadWorkerTests(WorkersTestCase):
    def test_an_open_end_keeps_the_others_away_until_it_is_put_right(self) -> None:
        first, second = self.workers[1], self.workers[2]
        (batch,) = self.accept(first, 1)
        first.deliver(batch)
        first.checkpoints.run()
        (batch,) = self.accept(first, 2)
        (entry,) = batch.entries
        mailbox = first.mailbox_of(batch.user).lock(create=True)
        place = mailbox.length()
        first.journal.intend([Intent(entry.number, first.boot, mailbox.device, mailbox.inode, place)]).result()
        os.pwrite(mailbox.fd, mailbox.gap() + entry.head[:40], place)
        # The kernel lets go of a dead process's locks; its note stands.
        first.recovery.postpone("ann", [entry.number])
        mailbox.release()
        self.kill(1)

        (theirs,) = self.accept(second, 3)
        (outcome,) = second.deliver(theirs)
        self.assertIsInstance(outcome.trouble, WithColleague)
        assert isinstance(outcome.trouble, WithColleague)
        self.assertTrue(outcome.trouble.left)
        self.assertEqual(self.letters(), [b"1"])

        first = self.again(1)
        first.recovery.run()
        (outcome,) = second.deliver(theirs)
        self.assertIsNone(outcome.trouble)
        (mine,) = first.waiting("ann")
        first.deliver(mine)
        self.assertEqual(self.letters(), [b"1", b"3", b"2"])
        self.assertEqual(first.contents("ann").count(b"From "), 3, first.contents("ann"))

    def test_what_stood_whole_when_it_died_keeps_nobody_away(self) -> None:
        first, second = self.workers[1], self.workers[2]
        (batch,) = self.accept(first, 1)
        first.deliver(batch)
        self.kill(1)
        (theirs,) = self.accept(second, 2)
        (outcome,) = second.deliver(theirs)
        self.assertIsNone(outcome.trouble)
        self.assertEqual(self.letters(), [b"1", b"2"])


class ExpungeTests(WorkersTestCase):
    def test_before_anything_is_taken_out_the_others_forget_their_rows(self) -> None:
        first, second = self.workers[1], self.workers[2]
        (batch,) = self.accept(first, 1)
        first.deliver(batch)
        self.assertEqual(len(first.standing()), 1)
        self.expunge_all(second)
        self.assertEqual(first.standing(), [])
        self.assertEqual(self.letters(), [])

    def test_while_one_is_down_nothing_is_taken_out(self) -> None:
        first, second = self.workers[1], self.workers[2]
        (batch,) = self.accept(first, 1)
        first.deliver(batch)
        self.kill(1)
        self.assertRaises(WithColleague, self.expunge_all, second)
        self.assertEqual(self.letters(), [b"1"])

    def test_one_that_has_just_come_back_looks_first_and_nothing_comes_back(self) -> None:
        first, second = self.workers[1], self.workers[2]
        (batch,) = self.accept(first, 1)
        first.deliver(batch)
        self.kill(1)
        first = self.again(1)
        self.assertRaises(WithColleague, self.expunge_all, second)
        first.recovery.run()
        self.expunge_all(second)
        self.assertEqual((self.letters(), first.standing(), first.waiting("ann")), ([], [], []))

    def test_what_a_disk_may_have_lost_is_looked_for_first(self) -> None:
        first, second = self.workers[1], self.workers[2]
        (batch,) = self.accept(first, 1)
        first.deliver(batch)
        first.recovery.postpone("ann", [row.recipient.number for row in first.standing()])
        self.assertRaises(WithColleague, self.expunge_all, second)
        self.assertEqual(self.asked_again, [1])
        first.recovery.run()
        self.expunge_all(second)
        self.assertEqual((self.letters(), first.standing(), first.waiting("ann")), ([], [], []))

    def test_where_another_cannot_sync_nothing_is_taken_out(self) -> None:
        first, second = self.workers[1], self.workers[2]
        (batch,) = self.accept(first, 1)
        first.deliver(batch)

        def fail(fd: int) -> None:
            raise OSError(5, "Input/output error")

        self.patch(SYSTEM, "sync", fail)
        self.assertRaises(WithColleague, self.expunge_all, second)
        self.assertEqual(self.letters(), [b"1"])

    def test_where_anothers_journal_does_not_work_nothing_is_taken_out(self) -> None:
        first, second = self.workers[1], self.workers[2]
        (batch,) = self.accept(first, 1)
        first.deliver(batch)

        def fail(*args: object) -> None:
            raise TemporaryFailure(Status(451, "4.3.0", "Error: queue file write error"))

        self.patch(first.checkpoints, "forget", fail)
        self.assertRaises(WithColleague, self.expunge_all, second)
        self.assertEqual(self.letters(), [b"1"])


class ColdStartTests(WorkersTestCase):
    count = 3

    def test_what_three_left_open_in_one_mailbox_is_put_right_by_one(self) -> None:
        for number, house in list(self.workers.items()):
            (batch,) = self.accept(house, number)
            house.deliver(batch)
            self.kill(number)
        adopt(os.path.join(self.folder, "state"), lambda line, /, **fields: None)
        self.switchboard.down.clear()
        house = self.start(1)
        self.assertEqual(len(house.standing()), 3)
        house.recovery.run()
        house.checkpoints.run()
        self.assertEqual(house.standing(), [])
        self.assertEqual(self.letters(), [b"1", b"2", b"3"])
