"""How often each client may do what: at the limit it may, one past it it may not, and after a unit it may again."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from lanmail.anvil import Anvil, Rates, Windows, WindowsHere
from lanmail.network import Networks, Peer
from lanmail.status import TemporaryFailure

ANN, BOB = Peer("192.168.1.5"), Peer("192.168.1.6")


class AnvilTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.reports: list[str] = []

    def report(self, line: str, /, **fields: object) -> None:
        self.reports.append(line.format(**fields))

    def anvil(self, rates: Rates, exceptions: Networks | None = None, room: int = 100) -> Anvil:
        return Anvil(
            "smtp", rates, exceptions or Networks(), self.clock.seconds, self.report, lambda what: self.windows(room)
        )

    def windows(self, room: int) -> Windows:
        self.counts = WindowsHere(room)
        return self.counts

    def refusal(self, event: Callable[[Peer], None], peer: Peer = ANN) -> str:
        try:
            event(peer)
        except TemporaryFailure as failure:
            return str(failure.status)
        return ""

    def test_each_rate_is_refused_in_postfixs_words_one_past_its_limit(self) -> None:
        anvil = self.anvil(Rates(messages=2, recipients=2, logins=2))
        for event, words, told in (
            (anvil.message, "450 4.7.1 Error: too much mail from 192.168.1.5", "Message delivery request"),
            (anvil.recipient, "450 4.7.1 Error: too many recipients from 192.168.1.5", "Recipient address"),
            (anvil.login, "450 4.7.1 Error: too many AUTH commands from 192.168.1.5", "AUTH command"),
        ):
            self.assertEqual([self.refusal(event) for _ in range(3)], ["", "", words])
            self.assertEqual(self.refusal(event, BOB), "")
            expected = f"warning: {told} rate limit exceeded: 3 from unknown[192.168.1.5] for service smtp"
            self.assertEqual(self.reports.pop(), expected)

    def test_connections_too(self) -> None:
        anvil = self.anvil(Rates(connections=2))
        self.assertEqual([anvil.connection(ANN) for _ in range(3)], [True, True, False])
        self.assertEqual(
            self.reports, ["warning: Connection rate limit exceeded: 3 from unknown[192.168.1.5] for service smtp"]
        )

    def test_a_unit_after_the_first_all_is_forgotten(self) -> None:
        anvil = self.anvil(Rates(connections=1, unit=60))
        anvil.connection(ANN)
        self.clock.advance(59)
        self.assertFalse(anvil.connection(ANN))
        self.clock.advance(1)
        self.assertTrue(anvil.connection(ANN))
        self.assertFalse(anvil.connection(ANN))
        self.assertEqual(len(self.reports), 2)

    def test_the_log_is_told_once_in_a_unit(self) -> None:
        anvil = self.anvil(Rates(connections=1))
        for _ in range(100):
            anvil.connection(ANN)
        self.assertEqual(len(self.reports), 1)

    def test_no_limit_counts_nothing(self) -> None:
        anvil = self.anvil(Rates())
        self.assertTrue(all(anvil.connection(ANN) for _ in range(1000)))
        self.assertEqual(
            [self.refusal(anvil.message), self.refusal(anvil.recipient), self.refusal(anvil.login)], [""] * 3
        )
        self.assertFalse(anvil._counts)

    def test_exceptions_and_unix_sockets_are_not_counted(self) -> None:
        anvil = self.anvil(Rates(connections=1), Networks.of("!192.168.1.6", "192.168.1.0/24"))
        self.assertTrue(all(anvil.connection(Peer(host)) for host in ("192.168.1.5", "::ffff:192.168.1.5", "") * 3))
        self.assertEqual([anvil.connection(BOB) for _ in range(2)], [True, False])

    def test_the_addresses_of_one_ipv6_network_and_both_forms_of_an_ipv4_address_are_one_client(self) -> None:
        anvil = self.anvil(Rates(connections=1))
        for first, second in (("fd00::5", "fd00::6"), ("192.168.1.5", "::ffff:192.168.1.5")):
            self.assertEqual([anvil.connection(Peer(host)) for host in (first, second)], [True, False])

    def test_no_more_clients_are_remembered_than_there_is_room_for(self) -> None:
        anvil = self.anvil(Rates(connections=1), room=3)
        for number in range(1000):
            anvil.connection(ANN)
            anvil.connection(Peer(f"10.0.{number // 250}.{number % 250}"))
        self.assertEqual(len(self.counts), 3)
        self.assertFalse(anvil.connection(ANN), "who keeps coming is remembered")
