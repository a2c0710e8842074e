"""Twin of lanmail/shared/counts.py: one after the other, several processes count what one would; and so do their doors."""

from __future__ import annotations

import itertools
from collections.abc import Callable

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from lanmail.accounts.rates import Buckets
from lanmail.accounts.throttle import MEMORY, FailuresHere, Throttle
from lanmail.admission import Admission, Capacity, PresentHere
from lanmail.anvil import Anvil, Rates, WindowsHere
from lanmail.network import Networks, Peer
from lanmail.shared.counts import SharedFailures
from lanmail.shared.tables import Tables
from tests import test_admission
from tests.accounts import test_throttle

ANN, BOB = Peer("192.168.1.5"), Peer("192.168.1.6")
STEPS = st.lists(
    st.tuples(st.integers(0, 2), st.sampled_from(["ann", "bob", "eve"]), st.integers(0, 40), st.booleans()),
    max_size=60,
)
Steps = list[tuple[int, str, int, bool]]


def workers(count: int = 3) -> list[Tables]:
    supervisor = Tables.create(count)
    return [Tables.attach(supervisor.fd, number) for number in range(1, count + 1)]


class AsOneTests(SynchronousTestCase):
    """Each step is one worker's, some seconds after the one before."""

    @given(STEPS)
    @settings(max_examples=60, deadline=None)
    def test_who_is_present(self, steps: Steps) -> None:
        here, shared = PresentHere(), [each.present("smtp") for each in workers()]
        inside: set[tuple[int, str]] = set()
        for worker, client, _seconds, _ in steps:
            if (worker, client) in inside:
                inside.remove((worker, client))
                shared[worker].go(client), here.go(client)
            else:
                inside.add((worker, client))
                shared[worker].come(client), here.come(client)
            for each in shared:
                self.assertEqual((each.taken, each.of(client)), (here.taken, here.of(client)))

    @given(STEPS)
    @settings(max_examples=60, deadline=None)
    def test_rates(self, steps: Steps) -> None:
        here, shared = WindowsHere(), [each.windows("smtp")("Connection") for each in workers()]
        now = 5.0
        for worker, client, seconds, tell in steps:
            now += seconds
            self.assertEqual(shared[worker].another(client, now, 60), here.another(client, now, 60))
            if tell:
                self.assertEqual(shared[worker].tell(client, now, 60), here.tell(client, now, 60))

    @given(STEPS)
    @settings(max_examples=60, deadline=None)
    def test_failures(self, steps: Steps) -> None:
        here, shared = FailuresHere(), [each.failures("names") for each in workers()]
        now = 5.0
        for worker, name, seconds, _ in steps:
            now += seconds * 30
            self.assertEqual(shared[worker].another(name, now), here.another(name, now))

    @given(STEPS)
    @settings(max_examples=60, deadline=None)
    def test_allowances(self, steps: Steps) -> None:
        here, shared = Buckets(10), [each.buckets() for each in workers()]
        now = 5.0
        for worker, client, seconds, tell in steps:
            now += seconds
            mine, theirs = shared[worker].of(client), here.of(client)
            self.assertEqual(mine.take(3, 90, now), theirs.take(3, 90, now))
            self.assertEqual(mine.told, theirs.told)
            if tell:
                mine.told = theirs.told = True


class DoorsTests(SynchronousTestCase):
    """The limits of a service hold over its processes."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.reports: list[str] = []
        self.supervisor = Tables.create(3)
        self.tables = [Tables.attach(self.supervisor.fd, number) for number in (1, 2, 3)]

    def report(self, line: str, /, **fields: object) -> None:
        self.reports.append(line.format(**fields))

    def doors(self, limit: int = 100, per_client: int = 0, rates: Rates = Rates()) -> list[Admission]:
        made = []
        for table in self.tables:
            anvil = Anvil("smtp", rates, Networks(), self.clock.seconds, self.report, table.windows("smtp"))
            house = Capacity(limit, present=table.present("house"))
            made.append(Admission("smtp", house, per_client, Networks(), self.report, anvil, table.present("smtp")))
        return made

    def let_in(self, doors: list[Admission], times: int, peer: Peer = ANN) -> int:
        return sum(door.admit(peer) is None for door in itertools.islice(itertools.cycle(doors), times))

    def test_of_the_house(self) -> None:
        self.assertEqual(self.let_in(self.doors(limit=7), 20), 7)

    def test_of_each_client_wherever_it_comes(self) -> None:
        doors = self.doors(per_client=5)
        self.assertEqual((self.let_in(doors, 20), self.let_in(doors, 20, BOB)), (5, 5))
        doors[0].leave(ANN)
        self.assertEqual(self.let_in(doors[1:], 20), 1)

    def test_of_how_often_and_the_log_is_told_once(self) -> None:
        doors = self.doors(rates=Rates(connections=4))
        self.assertEqual(self.let_in(doors, 20), 4)
        self.assertEqual(len(self.reports), 1)
        self.clock.advance(60)
        self.assertEqual(self.let_in(doors, 20), 4)

    def test_who_was_connected_to_a_process_that_died_is_gone(self) -> None:
        doors = self.doors(limit=6, per_client=4)
        for door in doors[:2]:
            door.admit(ANN), door.admit(ANN), door.admit(BOB)
        self.assertEqual(self.let_in(doors, 3), 0)
        self.supervisor.forget(2)
        self.assertEqual(self.let_in([doors[0]], 20), 2)
        self.assertEqual(self.let_in([doors[2]], 20, BOB), 1)

    def test_one_that_begins_anew_goes_on_with_its_rates_and_failures(self) -> None:
        self.let_in(self.doors(rates=Rates(connections=4)), 6)
        self.supervisor.forget(2)
        self.tables[1] = Tables.attach(self.supervisor.fd, 2)
        self.assertEqual(self.let_in(self.doors(rates=Rates(connections=4)), 6), 0)


class SharedThrottleTests(test_throttle.ThrottleTests):
    """The throttle's own tests, each failure counted by the next of three processes."""

    def setUp(self) -> None:
        self.clock = Clock()
        turns = [itertools.cycle(each.failures(kind) for each in workers()) for kind in ("addresses", "names")]
        self.throttle = Throttle(self.clock, *(_Turns(lambda turn=turn: next(turn)) for turn in turns))  # type: ignore[misc]


class _Turns:
    def __init__(self, following: Callable[[], SharedFailures]) -> None:
        self._following = following

    def another(self, key: str, now: float) -> int:
        return self._following().another(key, now)


class SharedReserveTests(test_admission.ReserveTests):
    """The reserve's own tests, where the house is counted in shared memory."""

    def setUp(self) -> None:
        super().setUp()
        (tables,) = workers(1)
        self.capacity.present = tables.present("house")


class AgreementTests(SynchronousTestCase):
    def test_failures_are_remembered_as_long_as_in_one_process(self) -> None:
        (tables,) = workers(1)
        self.assertEqual(tables.failures("names")._memory, int(MEMORY * 1e9))
