"""Who may come in: the whole house's limit, each client's, and who is told of a refusal."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from lanmail.admission import EACH_IN_RESERVE, Admission, Capacity
from lanmail.anvil import Anvil, Rates
from lanmail.network import Networks, Peer

ANN, BOB = Peer("192.168.1.5"), Peer("192.168.1.6")


class AdmissionTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.reports: list[str] = []

    def report(self, line: str, /, **fields: object) -> None:
        self.reports.append(line.format(**fields))

    def door(
        self,
        per_client: int = 2,
        *,
        capacity: Capacity | None = None,
        exceptions: Networks | None = None,
        anvil: Anvil | None = None,
    ) -> Admission:
        return Admission("smtp", capacity or Capacity(100), per_client, exceptions or Networks(), self.report, anvil)

    def test_each_client_has_its_own_limit(self) -> None:
        door = self.door()
        self.assertEqual([door.admit(ANN) is None for _ in range(3)], [True, True, False])
        self.assertIsNone(door.admit(BOB))
        status = door.admit(ANN)
        assert status is not None
        self.assertEqual((status.code, status.enhanced), (421, "4.7.0"))

    def test_who_leaves_makes_room(self) -> None:
        door = self.door(1)
        door.admit(ANN)
        self.assertIsNotNone(door.admit(ANN))
        door.leave(ANN)
        self.assertIsNone(door.admit(ANN))

    def test_the_house_has_a_limit_that_its_doors_share(self) -> None:
        capacity = Capacity(2)
        smtp, pop3 = self.door(0, capacity=capacity), self.door(0, capacity=capacity)
        self.assertEqual([smtp.admit(ANN), pop3.admit(ANN)], [None, None])
        for door in (smtp, pop3):
            self.assertIsNotNone(door.admit(BOB))
        pop3.leave(ANN)
        self.assertIsNone(smtp.admit(BOB))

    def test_exceptions_and_local_sockets_count_in_the_whole_only(self) -> None:
        capacity = Capacity(5)
        door = self.door(1, capacity=capacity, exceptions=Networks.of("!192.168.1.6/32", "192.168.1.0/24"))
        self.assertEqual([door.admit(peer) is None for peer in (ANN, ANN, BOB, BOB)], [True, True, True, False])
        self.assertEqual([door.admit(Peer("")) is None for _ in range(3)], [True, True, False])

    def test_no_limit_is_none(self) -> None:
        door = self.door(0)
        self.assertTrue(all(door.admit(ANN) is None for _ in range(100)))

    def test_the_addresses_of_one_ipv6_network_are_one_client(self) -> None:
        door = self.door(1)
        self.assertIsNone(door.admit(Peer("fd00::5")))
        self.assertIsNotNone(door.admit(Peer("fd00::6")))
        self.assertIsNone(door.admit(Peer("fd00:0:0:1::6")))
        self.assertIsNone(door.admit(Peer("fe80::1%eth0")))

    def test_a_refusal_is_told_once_until_there_was_room_again(self) -> None:
        door = self.door(1)
        for _ in range(3):
            door.admit(ANN)
        self.assertEqual(
            self.reports, ["warning: Connection concurrency limit exceeded: 2 from 192.168.1.5 for service smtp"]
        )
        door.leave(ANN)
        door.admit(ANN)
        door.admit(ANN)
        self.assertEqual(len(self.reports), 2)

    def test_a_full_house_is_told_once_until_there_was_room_again(self) -> None:
        door = self.door(0, capacity=Capacity(1))
        for _ in range(3):
            door.admit(ANN)
        self.assertEqual(self.reports, ["warning: 1 connections (max_connections) are in use; smtp refuses more"])
        door.leave(ANN)
        door.admit(ANN)
        door.admit(ANN)
        self.assertEqual(len(self.reports), 2)

    def test_a_client_that_comes_too_often_is_refused_in_the_same_words(self) -> None:
        clock = Clock()
        door = self.door(0, anvil=Anvil("smtp", Rates(connections=2), Networks(), clock.seconds, self.report))
        for _ in range(2):
            self.assertIsNone(door.admit(ANN))
            door.leave(ANN)
        self.assertEqual(str(door.admit(ANN)), "421 4.7.0 Error: too many connections from 192.168.1.5")
        self.assertIsNone(door.admit(BOB))
        clock.advance(60)
        self.assertIsNone(door.admit(ANN))

    @given(st.lists(st.tuples(st.sampled_from([ANN, BOB, Peer("fd00::1"), Peer("")]), st.booleans()), max_size=40))
    @settings(max_examples=200, deadline=None)
    def test_when_all_have_left_nothing_is_counted(self, steps: list[tuple[Peer, bool]]) -> None:
        capacity = Capacity(6)
        door = self.door(3, capacity=capacity)
        inside: list[Peer] = []
        for peer, comes in steps:
            if comes and door.admit(peer) is None:
                inside.append(peer)
            elif not comes and peer in inside:
                inside.remove(peer)
                door.leave(peer)
            self.assertEqual(capacity.taken, len(inside))
            self.assertLessEqual(len(inside), 6)
        for peer in inside:
            door.leave(peer)
        self.assertEqual(capacity.taken, 0)
        self.assertEqual(door._present.taken, 0)
        self.assertEqual(
            [there.of(peer.block) for there in (door._present, capacity.present) for peer in (ANN, BOB)], [0] * 4
        )
        self.assertIsNone(door.admit(ANN))


def strangers(count: int) -> list[Peer]:
    return [Peer(f"10.0.{number // 250}.{number % 250 + 1}") for number in range(count)]


class ReserveTests(SynchronousTestCase):
    """Strangers cannot lock out the network's own clients, nor can one of these its neighbours."""

    def setUp(self) -> None:
        self.reports: list[str] = []
        self.capacity = Capacity(800, 100, Networks.of("192.168.1.0/24"))
        self.exceptions = Networks.of("192.168.1.0/24")
        self.smtp, self.pop3 = (
            Admission(name, self.capacity, 50, self.exceptions, self.report) for name in ("smtp", "pop3")
        )

    def report(self, line: str, /, **fields: object) -> None:
        self.reports.append(line.format(**fields))

    def let_in(self, peers: list[Peer], door: Admission | None = None) -> int:
        return sum((door or self.smtp).admit(peer) is None for peer in peers)

    def test_strangers_get_all_but_the_reserve(self) -> None:
        self.assertEqual(self.let_in(strangers(701)), 700)
        self.assertEqual(len(self.reports), 1)

    def test_our_own_and_this_machine_come_in_all_the_same_until_all_is_full(self) -> None:
        self.let_in(strangers(800))
        for peer in (ANN, BOB, Peer("127.0.0.1"), Peer("::1"), Peer(""), Peer("::ffff:192.168.1.9")):
            for door in (self.smtp, self.pop3):
                self.assertIsNone(door.admit(peer), peer)
        others = [Peer(f"192.168.1.{number}") for number in range(10, 250)]
        self.assertEqual(self.let_in(others), 100 - 12)
        self.assertEqual(str(self.pop3.admit(Peer(""))), "421 4.7.0 Error: too many connections; try again later")

    def test_nobody_is_let_in_from_where_nobody_knows(self) -> None:
        self.let_in(strangers(700))
        self.assertIsNotNone(self.smtp.admit(Peer("0.0.0.0")))

    def test_one_of_our_own_that_goes_mad_leaves_its_neighbours_the_reserve(self) -> None:
        self.assertEqual(self.let_in([ANN] * 1000), 700)
        self.assertEqual(self.let_in([BOB] * 1000), EACH_IN_RESERVE)
        self.assertIsNone(self.pop3.admit(Peer("192.168.1.7")))

    def test_a_stranger_who_is_refused_again_and_again_is_told_of_once_whoever_else_comes(self) -> None:
        self.let_in(strangers(700))
        for peer in (Peer("10.1.0.1"), ANN, Peer("10.1.0.1"), BOB, Peer("10.1.0.1")):
            self.smtp.admit(peer)
        self.assertEqual(self.reports, ["warning: 700 connections (max_connections) are in use; smtp refuses more"])

    def test_who_leaves_makes_room_for_a_stranger_again(self) -> None:
        inside = strangers(700)
        self.let_in(inside)
        self.smtp.leave(inside[0])
        self.assertIsNone(self.smtp.admit(Peer("10.1.0.1")))
        self.assertIsNotNone(self.smtp.admit(Peer("10.1.0.2")))
