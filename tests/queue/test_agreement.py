"""Who may take something out of a mailbox, as far as threads and the event loop are concerned."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

from twisted.trial.unittest import SynchronousTestCase

from lanmail.mailbox.store import LockedMailbox
from lanmail.mailbox.turns import WithColleague
from lanmail.queue.agreement import Agreement
from tests.delivery.house import at_once
from tests.queue.switchboard import Switchboard


class Worker:
    """left: users whose mailboxes recovery has not looked into. settled: whether others' questions end well."""

    def __init__(
        self, switchboard: Switchboard, number: int, call: Callable[[Callable[[], None]], object] = lambda work: work()
    ) -> None:
        self.left: set[str] = set()
        self.settled = True
        self.asked: list[str] = []
        self.agreement = Agreement(
            switchboard.desk(number),
            lambda: cast(Any, SimpleNamespace(let_go=self.let_go)),
            lambda: cast(Any, SimpleNamespace(is_left=lambda name: name in self.left)),
            at_once,
            call,
            lambda: None,
        )

    def let_go(self, name: str) -> bool:
        self.asked.append(name)
        return self.settled


def mailbox(name: str) -> LockedMailbox:
    return cast(LockedMailbox, SimpleNamespace(owner=SimpleNamespace(name=name), path=f"/var/mail/{name}"))


class AgreementTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.switchboard = Switchboard(3)
        self.workers = [Worker(self.switchboard, number) for number in (1, 2, 3)]

    def test_every_other_is_asked_and_all_must_have_done_it(self) -> None:
        first, second, third = self.workers
        first.agreement.settle(mailbox("ann"))
        self.assertEqual((first.asked, second.asked, third.asked), ([], ["ann"], ["ann"]))
        third.settled = False
        self.assertRaises(WithColleague, first.agreement.settle, mailbox("ann"))

    def test_who_puts_right_what_it_left_asks_nobody(self) -> None:
        first, second, _ = self.workers
        first.left.add("ann")
        first.agreement.settle(mailbox("ann"))
        self.assertEqual(second.asked, [])

    def test_at_a_stop_nobody_who_waits_is_forgotten(self) -> None:
        calls: list[Callable[[], None]] = []
        worker = Worker(Switchboard(2), 1, calls.append)  # an event loop that waits for threads
        caught: list[BaseException] = []

        def thread() -> None:
            try:
                worker.agreement.settle(mailbox("ann"))
            except BaseException as error:
                caught.append(error)

        waiting = threading.Thread(target=thread)
        waiting.start()
        while not calls:
            time.sleep(0.001)
        worker.agreement.stop()
        waiting.join(5)
        self.assertIsInstance(caught[0], WithColleague)
        self.assertRaises(WithColleague, worker.agreement.settle, mailbox("ann"))
