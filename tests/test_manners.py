from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from lanmail.manners import Manners
from lanmail.network import Networks, Peer
from lanmail.wire.terms import LOGIN_FIRST, TLS_FIRST, Terms

LAN = Peer("192.168.1.5")
HERE = Peer("127.0.0.1")
OVER_TLS = Peer("192.168.1.5", tls=True)


def manners(
    offered: bool = True, level: str = "may", auth_only: bool = False, networks: tuple[str, ...] = (), device: str = ""
) -> Manners:
    return Manners(
        offered=offered,
        level=level,
        auth_only=auth_only,
        plaintext_networks=Networks.of(*networks),
        is_device=lambda host: host == device,
    )


class MannersTests(SynchronousTestCase):
    def test_a_password_crosses_the_network_under_tls_alone(self) -> None:
        rules = manners()
        self.assertEqual((rules.smtp(LAN), rules.pop3(LAN)), (Terms(starttls=True), Terms(starttls=True)))
        self.assertEqual((rules.smtp(OVER_TLS), rules.pop3(OVER_TLS)), (Terms(login=True), Terms(login=True)))

    def test_what_stays_on_this_machine_and_the_networks_that_are_named_may_be_in_clear(self) -> None:
        self.assertTrue(manners().pop3(HERE).login)
        self.assertTrue(manners().pop3(Peer("::1")).login)
        self.assertTrue(manners().pop3(Peer("")).login)  # a UNIX socket
        rules = manners(networks=("192.168.1.0/24",))
        self.assertTrue(rules.pop3(LAN).login)
        self.assertTrue(rules.smtp(LAN).login)
        self.assertFalse(rules.pop3(Peer("192.168.2.5")).login)

    def test_auth_only_is_smtps_and_wins_over_the_networks(self) -> None:
        rules = manners(auth_only=True, networks=("192.168.1.0/24",))
        self.assertEqual((rules.smtp(LAN).login, rules.pop3(LAN).login), (False, True))

    def test_encrypt_takes_nothing_in_clear_but_from_devices(self) -> None:
        rules = manners(level="encrypt", device="192.168.1.40")
        self.assertEqual(rules.smtp(LAN).first, TLS_FIRST)
        self.assertIsNone(rules.smtp(Peer("192.168.1.40")).first)
        self.assertIsNone(rules.smtp(OVER_TLS).first)

    def test_none_offers_nothing_to_smtp(self) -> None:
        self.assertEqual(
            (manners(level="none").smtp(LAN).starttls, manners(level="none").pop3(LAN).starttls), (False, True)
        )

    def test_without_a_certificate_nothing_is_offered(self) -> None:
        self.assertEqual(manners(offered=False).smtp(LAN), Terms())

    def test_at_submission_nothing_goes_without_a_login_and_no_login_in_clear(self) -> None:
        rules = manners(networks=("192.168.2.0/24",), device="192.168.1.40")
        self.assertEqual(rules.submission(OVER_TLS), Terms(login=True, mail=LOGIN_FIRST))
        for host in ("192.168.1.5", "192.168.1.40", "203.0.113.9"):  # a device has its own way, at the other port
            self.assertEqual(rules.submission(Peer(host)), Terms(starttls=True, first=TLS_FIRST))
        for host in ("127.0.0.1", "::1", "", "192.168.2.5"):
            self.assertEqual(rules.submission(Peer(host)), Terms(starttls=True, login=True, mail=LOGIN_FIRST))

    def test_at_submission_auth_only_asks_even_this_machine_for_tls_and_no_level_takes_it_away(self) -> None:
        rules = manners(level="none", auth_only=True)
        self.assertEqual(rules.submission(HERE), Terms(starttls=True, first=TLS_FIRST))
        self.assertEqual(rules.submission(OVER_TLS), Terms(login=True, mail=LOGIN_FIRST))
