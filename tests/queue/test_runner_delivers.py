"""The queue between a real journal and real mailboxes, in real threads."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred, DeferredList, ensureDeferred
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThreadPool
from twisted.logger import LogEvent, formatEvent, globalLogPublisher
from twisted.python.threadpool import ThreadPool
from twisted.trial.unittest import TestCase

from lanmail.queue.bounce import Reports
from lanmail.queue.clock import QueueClock
from lanmail.queue.runner import Runner
from lanmail.queue.schedule import Schedule
from tests.delivery.house import House

USERS = [f"user{number}" for number in range(20)]
LIMIT = 30.0  # seconds after which a test is told that it does not end


class RunnerDeliversTests(TestCase):
    def setUp(self) -> None:
        self.folder = self.mktemp()
        self.pool = ThreadPool(0, 8, "queue")
        self.pool.start()
        self.addCleanup(self.pool.stop)
        self.events: list[LogEvent] = []
        globalLogPublisher.addObserver(self.events.append)
        self.addCleanup(globalLogPublisher.removeObserver, self.events.append)

    def in_thread(self, work: Callable[..., Any], *args: Any, **kwargs: Any) -> Deferred[Any]:
        return deferToThreadPool(reactor, self.pool, work, *args, **kwargs)

    def house(self, *users: str, schedule: Schedule = Schedule(), **options: Any) -> tuple[House, Runner]:
        house = House(self.folder, *USERS, "julien", *users, in_thread=self.in_thread, clock=reactor)
        queue_clock = QueueClock(house.journal.clock_at_start, time.monotonic)
        reports = Reports(
            house.router.report,
            house.reception.ids.next,
            house.incoming,
            myhostname="srv.lan.example",
            myorigin="lan.example",
            language="en",
            size_limit=50_000,
            notify_classes=(),
            schedule=schedule,
            wall=time.time,
            now=queue_clock.seconds,
        )
        runner = Runner(
            house.journal,
            house.incoming,
            house.delivery,
            house.checkpoints,
            reports,
            house.users,
            in_thread=self.in_thread,
            clock=reactor,
            queue_clock=queue_clock,
            call_from_thread=reactor.callFromThread,
            tell=house.tell,
            schedule=schedule,
            **options,
        )
        house.reception.accept = runner.accept
        self.addCleanup(house.close)
        return house, runner

    async def until(self, true: Callable[[], object]) -> None:
        end = time.monotonic() + LIMIT
        while not true():
            if time.monotonic() > end:
                self.fail(f"it does not come true: {true}")
            await deferLater(reactor, 0.01)

    def log(self) -> list[str]:
        return [
            formatEvent(event) for event in self.events if event.get("log_namespace") in ("qmgr", "local", "bounce")
        ]

    def subjects(self, house: House, name: str) -> list[int]:
        return [int(number) for number in re.findall(rb"^Subject: (\d+)$", house.contents(name), re.MULTILINE)]

    async def send_all(self, house: House, count: int) -> None:
        """Side by side, each to two users."""
        sent = [
            ensureDeferred(
                house.send(
                    b"Subject: %d\r\n\r\nBonjour\r\n" % number,
                    f"{USERS[number % 20]}@lan.example",
                    f"{USERS[(number + 7) % 20]}@lan.example",
                )
            )
            for number in range(count)
        ]
        for success, failure in await DeferredList(sent, consumeErrors=True):
            self.assertTrue(success, failure)

    def assert_all_there(self, house: House, count: int) -> None:
        found = sorted(number for name in USERS for number in self.subjects(house, name))
        self.assertEqual(found, sorted([*range(count), *range(count)]))

    async def test_what_many_send_at_once_stands_once_in_every_mailbox_and_leaves_nothing_behind(self) -> None:
        house, runner = self.house()
        runner.start()
        await self.send_all(house, 300)
        await runner.stop()
        self.assert_all_there_or_waiting(house, 300)
        house.close()
        house, runner = self.house()
        runner.start()
        await self.until(lambda: sum(len(self.subjects(house, name)) for name in USERS) >= 600)
        await runner.stop()
        self.assert_all_there(house, 300)
        self.assertEqual(house.leftovers(), [])
        removed = [line for line in self.log() if line.endswith(": removed")]
        self.assertEqual(len(removed), len(set(removed)))

    def assert_all_there_or_waiting(self, house: House, count: int) -> None:
        """A stop may come before a message is handed on."""
        standing = sum(len(self.subjects(house, name)) for name in USERS)
        waiting = sum(rows for _, rows, _ in house.journal.waiting())
        self.assertEqual(standing + waiting, 2 * count)

    async def test_what_waits_from_an_earlier_run_is_delivered_and_its_end_is_told(self) -> None:
        house, _ = self.house()
        house.reception.accept = self.house_accept(house)
        await self.send_all(house, 200)
        house.close()
        house, runner = self.house()
        runner.start()
        await self.until(lambda: sum(len(self.subjects(house, name)) for name in USERS) == 400)
        await self.until(lambda: sum(line.endswith(": removed") for line in self.log()) >= 200)
        await runner.stop()
        self.assert_all_there(house, 200)
        self.assertEqual(house.leftovers(), [])

    async def test_a_mailbox_that_another_program_has_locked_delays_nobody_else(self) -> None:
        house, runner = self.house()
        runner.start()
        lock = os.path.join(house.spool, "user0.lock")
        with open(lock, "w") as file:
            file.write("1\n")  # init's, which does not end
        await house.send(b"Subject: 1\r\n\r\n\r\n", *(f"{name}@lan.example" for name in USERS))
        await self.until(lambda: all(self.subjects(house, name) == [1] for name in USERS[1:]))
        self.assertEqual(self.subjects(house, "user0"), [])
        os.unlink(lock)
        await self.until(lambda: self.subjects(house, "user0") == [1])
        await runner.stop()
        self.assertEqual(house.leftovers(), [])

    async def test_a_locked_mailbox_s_mail_is_deferred_with_its_reason_and_flushed_on_demand(self) -> None:
        house, runner = self.house(patience=0.2)
        runner.start()
        lock = os.path.join(house.spool, "user0.lock")
        with open(lock, "w") as file:
            file.write("1\n")
        queue_id = await house.send(b"Subject: 1\r\n\r\n\r\n", "user0@lan.example")
        await self.until(lambda: any("status=deferred (cannot lock" in line for line in self.log()))
        found = await runner.show(queue_id)
        assert found is not None
        self.assertEqual([(to.tries, to.reason is not None) for to in found[1]], [(1, True)])
        os.unlink(lock)
        self.assertEqual(await runner.flush([queue_id], 0), [queue_id])
        await self.until(lambda: self.subjects(house, "user0") == [1])
        await self.until(lambda: any(line == f"{queue_id}: removed" for line in self.log()))
        await runner.stop()

    async def test_mail_of_a_user_who_is_gone_comes_back_as_a_report(self) -> None:
        house, _ = self.house("nel")
        house.reception.accept = self.house_accept(house)
        await house.send(b"Subject: 1\r\n\r\nBonjour\r\n", "nel@lan.example", "user0@lan.example")
        house.close()
        house, runner = self.house()
        runner.start()
        await self.until(lambda: b"multipart/report" in house.contents("julien"))
        self.assertIn(b"Status: 5.1.1", house.contents("julien"))
        self.assertEqual(self.subjects(house, "user0"), [1])
        await runner.stop()
        self.assertEqual(house.leftovers(), [])

    async def test_a_large_message_goes_through_its_file_and_the_file_goes_after_it(self) -> None:
        house, runner = self.house()
        runner.start()
        await house.send(
            b"Subject: 1\r\n\r\n" + 40_000 * (b"x" * 70 + b"\r\n"), "user0@lan.example", "user1@lan.example"
        )
        await self.until(lambda: len(house.contents("user0")) > 2_800_000 < len(house.contents("user1")))
        await self.until(lambda: house.leftovers() == [])
        await runner.stop()

    def house_accept(self, house: House) -> Any:
        """Answered for, and not handed on: what a kill leaves."""

        async def accept(message: Any, recipients: Any, content: Any) -> None:
            house.admit(message, recipients, content)

        return accept
