from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from lanmail.queue.under_way import UnderWay


class UnderWayTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.under_way = UnderWay()
        self.gate: Deferred[None] = Deferred()
        self.said: list[str] = []

    async def work(self) -> None:
        await self.gate
        self.said.append("worked")

    def test_an_end_is_waited_for(self) -> None:
        self.under_way(self.work(), "working", lambda: self.said.append("then"))
        self.under_way.begin()
        ended = Deferred.fromCoroutine(self.under_way.ended())
        self.gate.callback(None)
        self.assertEqual(self.said, ["worked", "then"])
        self.assertNoResult(ended)
        self.under_way.end()
        self.successResultOf(ended)

    def test_where_nothing_is_under_way_nobody_waits(self) -> None:
        self.successResultOf(Deferred.fromCoroutine(self.under_way.ended()))

    def test_what_fails_is_logged_whole_and_has_ended_all_the_same(self) -> None:
        self.under_way(self.work(), "working", lambda: self.said.append("then"))
        self.gate.errback(ZeroDivisionError())
        self.assertEqual((len(self.under_way), self.said), (0, ["then"]))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_what_follows_may_begin_the_next(self) -> None:
        second: Deferred[None] = Deferred()

        async def more() -> None:
            await second

        self.under_way(self.work(), "working", lambda: self.under_way(more(), "working on"))
        self.gate.callback(None)
        self.assertEqual(len(self.under_way), 1)
        second.callback(None)
        self.assertEqual(len(self.under_way), 0)
