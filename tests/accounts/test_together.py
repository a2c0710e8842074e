"""A look that several have together."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from lanmail.accounts.together import Together


class TogetherTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.looks: list[Deferred[str]] = []
        self.together = Together(self.look)

    async def look(self) -> str:
        self.looks.append(Deferred())
        return await self.looks[-1]

    def test_who_asks_while_one_looks_has_the_next_look_with_all_others(self) -> None:
        first, second, third = (self.together.ask() for _ in range(3))
        self.assertEqual(len(self.looks), 1)
        self.looks[0].callback("before")
        self.assertEqual(self.successResultOf(first), "before")
        self.assertNoResult(second)
        self.looks[1].callback("after")
        self.assertEqual([self.successResultOf(each) for each in (second, third)], ["after", "after"])
        self.assertEqual(len(self.looks), 2)

    def test_trouble_is_everybodys_and_the_next_look_is_a_new_one(self) -> None:
        self.together.ask().addErrback(lambda _: None)
        several = [self.together.ask() for _ in range(2)]
        self.looks[0].errback(OSError())
        self.looks[1].errback(OSError())
        for each in several:
            self.failureResultOf(each, OSError)
        again = self.together.ask()
        self.looks[2].callback("well")
        self.assertEqual(self.successResultOf(again), "well")

    def test_one_that_waits_no_longer_holds_nobody_up(self) -> None:
        self.together.ask()
        one, other = self.together.ask(), self.together.ask()
        one.cancel()
        self.failureResultOf(one)
        self.looks[0].callback("before")
        self.looks[1].callback("after")
        self.assertEqual(self.successResultOf(other), "after")
