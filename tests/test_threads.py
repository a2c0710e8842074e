"""Work in threads: all of it is done, whoever waits for it, and the event loop hears how it ended."""

from __future__ import annotations

import threading

from twisted.internet import reactor
from twisted.internet.defer import CancelledError, gatherResults
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from lanmail.threads import HELD_UP, Threads


class ThreadsTests(TestCase):
    def setUp(self) -> None:
        self.threads = Threads(reactor, 3, "tried")
        self.addCleanup(self.threads.stop)

    async def test_what_it_returns_and_what_it_raises_comes_back_to_the_event_loop(self) -> None:
        self.threads.start()
        here = threading.get_ident()
        self.assertNotEqual(await self.threads.run(threading.get_ident), here)
        self.assertEqual(await self.threads.run(int, "12", base=16), 18)
        await self.assertFailure(self.threads.run(int, "no number"), ValueError)
        self.assertEqual(threading.get_ident(), here)

    async def test_there_is_no_thread_before_the_start(self) -> None:
        before = threading.active_count()
        waiting = self.threads.run(threading.get_ident)
        self.assertEqual(threading.active_count(), before)
        self.threads.start()
        self.assertNotEqual(await waiting, threading.get_ident())

    async def test_no_more_than_so_many_work_at_once_and_all_that_may(self) -> None:
        self.threads.start()
        together = threading.Barrier(3, timeout=10)
        before = threading.active_count()
        await gatherResults([self.threads.run(together.wait) for _ in range(9)])
        self.assertEqual(threading.active_count(), before + 3)

    async def test_few_work_at_once_but_for_those_that_are_held_up_and_then_they_are_few_again(self) -> None:
        threads = Threads(reactor, 5, "few", at_once=2)
        self.addCleanup(threads.stop)
        threads.start()
        go_on = threading.Event()
        before = threading.active_count()
        held = [threads.run(go_on.wait, 10) for _ in range(3)]
        self.assertEqual(threading.active_count(), before + 2)
        for _ in range(20):
            await threads.run(int)
        self.assertLessEqual(threading.active_count(), before + 5)
        go_on.set()
        await gatherResults(held)
        for _ in range(500):
            await threads.run(int)
            if threading.active_count() <= before + 2:
                break
        self.assertLessEqual(threading.active_count(), before + 2)

    async def test_never_more_than_the_most_whatever_holds_them_up(self) -> None:
        threads = Threads(reactor, 3, "most", at_once=1)
        self.addCleanup(threads.stop)
        threads.start()
        go_on = threading.Event()
        before = threading.active_count()
        held = [threads.run(go_on.wait, 10) for _ in range(6)]
        await deferLater(reactor, 10 * HELD_UP)
        self.assertEqual(threading.active_count(), before + 3)
        go_on.set()
        await gatherResults(held)

    async def test_work_that_nobody_waits_for_is_done_all_the_same(self) -> None:
        self.threads.start()
        go_on, done = threading.Event(), threading.Event()
        self.threads.run(go_on.wait, 10)
        forgotten = self.threads.run(done.set)
        forgotten.cancel()
        await self.assertFailure(forgotten, CancelledError)
        go_on.set()
        await self.threads.run(done.wait, 10)
        self.assertTrue(done.is_set())

    def test_a_stop_waits_for_what_was_begun(self) -> None:
        self.threads.start()
        done: list[int] = []
        for number in range(20):
            self.threads.run(done.append, number)
        self.threads.stop()
        self.assertEqual(sorted(done), [*range(20)])
