from __future__ import annotations

import ipaddress

from twisted.trial.unittest import SynchronousTestCase

from lanmail.admission import Admission, Capacity
from lanmail.manners import Manners
from lanmail.network import Networks, Peer, parse_ip, parse_network, unmapped


class TestNetworks(SynchronousTestCase):
    def test_the_first_network_that_contains_the_address_decides(self) -> None:
        networks = Networks.of("!192.168.1.7", "192.168.1.0/24")
        self.assertIn("192.168.1.5", networks)
        self.assertNotIn("192.168.1.7", networks)
        self.assertNotIn("192.168.2.5", networks)

    def test_two_exclamation_marks_are_none(self) -> None:
        self.assertIn("10.0.0.1", Networks.of("!!10.0.0.0/8"))

    def test_a_mapped_network_is_the_ipv4_network_it_stands_for(self) -> None:
        # As Debian's installation writes mynetworks.
        networks = Networks.of("[::ffff:127.0.0.0]/104")
        self.assertEqual(str(networks), "127.0.0.0/8")
        self.assertIn("127.0.0.1", networks)
        self.assertIn("::ffff:127.0.0.1", networks)

    def test_the_whole_of_the_mapped_addresses_is_the_whole_of_ipv4(self) -> None:
        self.assertEqual(parse_network("[::ffff:0:0]/96"), ipaddress.ip_network("0.0.0.0/0"))

    def test_what_contains_the_mapped_addresses_and_more_stays_ipv6(self) -> None:
        self.assertEqual(parse_network("[::]/0"), ipaddress.ip_network("::/0"))

    def test_ipv6_is_written_with_brackets_or_without(self) -> None:
        for text in ("[fd00::]/8", "fd00::/8"):
            self.assertIn("fd00::5", Networks.of(text))
        self.assertIn("::1", Networks.of("[::1]/128"))

    def test_one_address_is_a_network(self) -> None:
        self.assertIn("192.168.1.5", Networks.of("192.168.1.5"))
        self.assertIn("fd00::5", Networks.of("[fd00::5]"))

    def test_bits_behind_the_netmask_are_refused_with_what_was_meant(self) -> None:
        with self.assertRaises(ValueError) as caught:
            Networks.of("192.168.1.1/24")
        self.assertIn("perhaps you mean 192.168.1.0/24", str(caught.exception))
        with self.assertRaises(ValueError) as caught:
            Networks.of("[fd00::1]/64")
        self.assertIn("[fd00::]/64", str(caught.exception))

    def test_what_is_no_network_is_refused(self) -> None:
        for text in (
            "",
            "!",
            "lan",
            "192.168.1/24",
            "1.2.3.4/33",
            "[fd00::/8]",
            "[1.2.3.4",
            "1.2.3.4/24/3",
            "1.2.3.0/-1",
        ):
            with self.assertRaises(ValueError, msg=text):
                Networks.of(text)

    def test_nobody_is_in_an_empty_list_and_no_name_is_in_any(self) -> None:
        self.assertNotIn("127.0.0.1", Networks())
        self.assertNotIn("localhost", Networks.of("127.0.0.0/8"))
        self.assertNotIn("", Networks.of("0.0.0.0/0"))


class TestAddresses(SynchronousTestCase):
    def test_a_mapped_address_is_ipv4_and_a_zone_is_no_part_of_an_address(self) -> None:
        self.assertEqual(parse_ip("::ffff:192.168.1.5"), ipaddress.ip_address("192.168.1.5"))
        self.assertEqual(parse_ip("fe80::1%eth0"), ipaddress.ip_address("fe80::1"))
        self.assertIsNone(parse_ip("mail.example.com"))

    def test_the_addresses_that_one_client_has_to_choose_from(self) -> None:
        for host, block in (
            ("192.168.1.5", "192.168.1.5"),
            ("fd00::1:2:3", "fd00::/64"),
            ("fe80::1%eth0", "fe80::/64"),
            ("", ""),
        ):
            self.assertEqual(Peer(host).block, block)

    def test_a_peer_is_written_as_a_literal(self) -> None:
        self.assertEqual(Peer("192.168.1.5").literal, "[192.168.1.5]")
        self.assertEqual(Peer("fd00::5").literal, "[IPv6:fd00::5]")
        self.assertEqual(Peer("").literal, "[local]")


class MappedTests(SynchronousTestCase):
    """A socket for both families has IPv4 clients as ``::ffff:192.168.1.5``: whatever asks who a client is sees 192.168.1.5.

    (Devices: tests/accounts/test_devices.py. Rates: tests/test_anvil.py. What a proxy announces: tests/test_proxied.py.)
    """

    FORMS = ("192.168.1.5", "::ffff:192.168.1.5", "::FFFF:c0a8:105", "0:0:0:0:0:ffff:192.168.1.5")

    def test_a_peer_is_the_same_in_whatever_form_its_address_comes(self) -> None:
        self.assertEqual({Peer(form, 1, form, 2) for form in self.FORMS}, {Peer("192.168.1.5", 1, "192.168.1.5", 2)})
        self.assertEqual({Peer(form).block for form in self.FORMS}, {"192.168.1.5"})
        self.assertEqual({Peer(form).literal for form in self.FORMS}, {"[192.168.1.5]"})

    def test_lists_of_networks_contain_it_in_every_form_of_theirs_and_of_its_own(self) -> None:
        for network in ("192.168.1.0/24", "192.168.1.5", "[::ffff:192.168.1.0]/120", "[::ffff:192.168.1.5]"):
            for form in self.FORMS:
                self.assertIn(form, Networks.of(network))
                self.assertIn(Peer(form).host, Networks.of(network))
                self.assertNotIn(form, Networks.of(f"!{network}", "192.168.0.0/16"))
        for form in self.FORMS[1:]:
            self.assertNotIn(form, Networks.of("[::]/0"))

    def test_loopback_is_loopback_and_what_only_looks_like_it_is_not(self) -> None:
        for host in ("127.0.0.1", "::ffff:127.0.0.1", "::ffff:7f00:1", "::ffff:127.9.9.9", "::1", ""):
            self.assertTrue(Peer(host).is_local, host)
        for host in (
            "::127.0.0.1",
            "::ffff:0:127.0.0.1",
            "64:ff9b::7f00:1",
            "0.0.0.0",
            "::",
            "2002:7f00:1::",
            "localhost",
        ):
            self.assertFalse(Peer(host).is_local, host)

    def test_only_the_mapped_form_stands_for_an_ipv4_address(self) -> None:
        for text in ("::192.168.1.5", "64:ff9b::192.168.1.5", "2002:c0a8:105::", "192.168.1.5", "fd00::5"):
            address = ipaddress.ip_address(text)
            self.assertEqual(unmapped(address), address)

    def test_passwords_in_clear_go_by_it(self) -> None:
        manners = Manners(
            offered=True,
            level="may",
            auth_only=False,
            plaintext_networks=Networks.of("192.168.1.0/24"),
            is_device=lambda host: False,
        )
        for host, login in ((self.FORMS[1], True), ("::ffff:192.168.2.5", False), ("::ffff:127.0.0.1", True)):
            self.assertEqual((manners.smtp(Peer(host)).login, manners.pop3(Peer(host)).login), (login, login), host)

    def test_one_client_has_one_limit_in_both_forms_and_is_an_exception_in_both(self) -> None:
        def door(exceptions: Networks) -> Admission:
            return Admission("smtp", Capacity(100), 1, exceptions, lambda line, /, **fields: None)

        limited, free = door(Networks()), door(Networks.of("192.168.1.0/24"))
        self.assertEqual([limited.admit(Peer(form)) is None for form in self.FORMS], [True, False, False, False])
        self.assertEqual([free.admit(Peer(form)) is None for form in self.FORMS], [True] * 4)
