from __future__ import annotations

import ipaddress

from twisted.trial.unittest import SynchronousTestCase

from lanmail.tls.plan import plan_for
from tests.tls.made import plan


class PlanTests(SynchronousTestCase):
    def test_it_has_every_name_that_a_mail_program_guesses_and_each_once(self) -> None:
        self.assertEqual(
            plan(host="mail.lan.example").names,
            (
                *("mail.lan.example", "lan.example", "smtp.lan.example", "pop.lan.example", "pop3.lan.example"),
                *("imap.lan.example", "localhost"),
            ),
        )

    def test_the_authority_speaks_for_the_domains_and_not_twice_for_what_lies_in_one(self) -> None:
        domains = plan(destinations=("lan.example", "srv.lan.example", "club.example", ".odd.example")).domains
        self.assertEqual(domains, ("lan.example", "club.example", "localhost"))

    def test_a_host_outside_of_its_domain_is_one_of_them(self) -> None:
        self.assertIn("srv.elsewhere.example", plan(host="srv.elsewhere.example").domains)
        self.assertNotIn("elsewhere.example", plan(host="srv.elsewhere.example").domains)

    def test_a_name_that_only_ends_alike_lies_in_no_domain(self) -> None:
        self.assertIn("wlan.example", plan(destinations=("wlan.example",)).domains)

    def test_addresses_are_in_order_and_those_of_nobody_are_left_away(self) -> None:
        found = plan(addresses=("::1", "192.168.1.10", "0.0.0.0", "::", "224.0.0.1", "127.0.0.1", "::1")).addresses
        self.assertEqual([str(one) for one in found], ["127.0.0.1", "192.168.1.10", "::1"])

    def test_all_addresses_are_those_of_the_interfaces_of_that_version(self) -> None:
        here = [ipaddress.ip_address(one) for one in ("10.0.0.1", "127.0.0.1", "fd00::1")]
        found = plan_for("srv.lan.example", "lan.example", (), ["0.0.0.0", "fd00::7"], here).addresses
        self.assertEqual([str(one) for one in found], ["10.0.0.1", "127.0.0.1", "fd00::7"])

    def test_a_mistake_of_thousands_makes_no_certificate_of_a_megabyte(self) -> None:
        many = [str(ipaddress.ip_address("10.0.0.0") + number) for number in range(3000)]
        found = plan_for("srv.lan.example", "lan.example", (f"d{number}.example" for number in range(3000)), many)
        self.assertEqual((len(found.addresses), len(found.destinations)), (200, 200))

    def test_addresses_that_change_every_day_are_left_away(self) -> None:
        listed = (
            "fd000000000000000000000000000010 02 40 00 80     eth0\n"
            "fd00000000000000a1b2c3d4e5f60718 02 40 00 01     eth0\n"
            "nonsense\n"
        )
        addresses = [ipaddress.ip_address(one) for one in ("fd00::10", "fd00::a1b2:c3d4:e5f6:718", "fd00::20")]
        found = plan_for("srv.lan.example", "lan.example", (), ["::"], addresses, listed).addresses
        self.assertEqual([str(one) for one in found], ["fd00::10", "fd00::20"])

    def test_names_are_compared_in_lower_case(self) -> None:
        found = plan(host="Srv.LAN.example", domain="LAN.example", destinations=("Club.Example",))
        self.assertEqual(found.names[:2], ("srv.lan.example", "lan.example"))
        self.assertIn("club.example", found.domains)
