"""Addresses take turns."""

from __future__ import annotations

from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import SynchronousTestCase

from lanmail.accounts.turns import TooMany, Turns
from tests.accounts.fakes import begin


class TurnsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.turns = Turns(1, 4)

    def take(self, address: str) -> Deferred[None]:
        return begin(self.turns.take(address))

    def test_addresses_take_turns_and_each_keeps_its_order(self) -> None:
        self.successResultOf(self.take("a"))
        waiting = {name: self.take(name[0]) for name in ("a1", "a2", "a3", "b1")}
        order = []
        for _ in range(4):
            self.turns.done()
            order.append(next(name for name, turn in waiting.items() if turn.called))
            del waiting[order[-1]]
        self.assertEqual(order, ["a1", "b1", "a2", "a3"])

    def test_who_is_alone_waits_for_nobody(self) -> None:
        for _ in range(3):
            self.successResultOf(self.take("a"))
            self.turns.done()

    def test_where_too_many_wait_whoever_has_most_waiting_loses_its_last(self) -> None:
        self.successResultOf(self.take("a"))
        flood = [self.take("a") for _ in range(4)]
        self.failureResultOf(self.take("a"), TooMany)
        other = self.take("b")
        self.assertNoResult(other)
        self.failureResultOf(flood[-1], TooMany)
        for turn in flood[:-1]:
            self.assertNoResult(turn)

    def test_where_nobody_has_more_waiting_the_newcomer_is_refused(self) -> None:
        self.successResultOf(self.take("a"))
        waiting = [self.take(f"{n}") for n in range(4)]
        self.failureResultOf(self.take("5"), TooMany)
        for turn in waiting:
            self.assertNoResult(turn)

    def test_without_room_to_wait_everybody_else_is_refused(self) -> None:
        turns = Turns(1, 0)
        self.successResultOf(begin(turns.take("a")))
        self.failureResultOf(begin(turns.take("b")), TooMany)

    def test_who_stops_waiting_takes_no_turn(self) -> None:
        self.successResultOf(self.take("a"))
        gone, next_one = self.take("a"), self.take("a")
        gone.cancel()
        self.failureResultOf(gone, CancelledError)
        self.turns.done()
        self.successResultOf(next_one)
        self.turns.done()
        self.successResultOf(self.take("c"))
