"""Twin of lanmail/pop3/takeover.py."""

from __future__ import annotations

from collections.abc import Collection

from twisted.trial.unittest import SynchronousTestCase

from lanmail.interfaces import Alone, User
from lanmail.pop3.takeover import Takeover
from tests.queue.switchboard import Switchboard

NEL = User("nel", 1000, 8)


class RememberedSessions:
    def __init__(self, *waiting: str) -> None:
        self.waiting = set(waiting)
        self.asked: list[tuple[str, list[str]]] = []

    def waiting_from(self, user: User) -> set[str]:
        return self.waiting

    def give_way(self, name: str, hosts: Collection[str]) -> None:
        self.asked.append((name, sorted(hosts)))


class TakeoverTests(SynchronousTestCase):
    def test_every_worker_hears_who_waits_and_from_where(self) -> None:
        switchboard = Switchboard(3)
        sessions = [RememberedSessions("192.168.1.5"), RememberedSessions(), RememberedSessions()]
        workers = [Takeover(one, switchboard.desk(number)) for number, one in enumerate(sessions, 1)]
        workers[0].wanted(NEL)
        for one in sessions:
            self.assertEqual(one.asked, [("nel", ["192.168.1.5"])])

    def test_one_that_is_down_keeps_nobody_waiting(self) -> None:
        switchboard = Switchboard(2)
        sessions = RememberedSessions("192.168.1.5")
        switchboard.down.add(2)
        Takeover(sessions, switchboard.desk(1)).wanted(NEL)
        self.assertEqual(sessions.asked, [("nel", ["192.168.1.5"])])

    def test_the_only_process_asks_itself(self) -> None:
        sessions = RememberedSessions("192.168.1.5")
        Takeover(sessions, Alone()).wanted(NEL)
        self.assertEqual(sessions.asked, [("nel", ["192.168.1.5"])])
