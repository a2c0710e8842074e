"""Who may come in: the whole house's limit, each client's, and who is told of a refusal."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from lanmail.admission import Admission, Capacity
from lanmail.network import Networks, Peer

ANN, BOB = Peer("192.168.1.5"), Peer("192.168.1.6")


class AdmissionTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.reports: list[str] = []

    def report(self, line: str, /, **fields: object) -> None:
        self.reports.append(line.format(**fields))

    def door(
        self, per_client: int = 2, *, capacity: Capacity | None = None, exceptions: Networks | None = None
    ) -> Admission:
        return Admission("smtp", capacity or Capacity(100), per_client, exceptions or Networks(), self.report)

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
        self.assertFalse(door._clients)
        self.assertIsNone(door.admit(ANN))
