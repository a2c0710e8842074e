from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from lanmail.config import hosts
from lanmail.config.problems import BadValue
from tests.config.fake import FakeMachine
from tests.config.test_kinds import FakeContext


class TestListening(SynchronousTestCase):
    def listening(self, text: str, protocols: str = "all", machine: FakeMachine | None = None) -> hosts.Listening:
        self.context = FakeContext(machine or FakeMachine(), {"inet_protocols": protocols})
        return hosts.LISTENING.read(text, self.context)

    def test_all_is_every_address_of_the_protocols_that_the_machine_has(self) -> None:
        self.assertEqual(self.listening("all").addresses, ("0.0.0.0", "::"))
        self.assertEqual(self.listening("all", "ipv4").addresses, ("0.0.0.0",))
        self.assertEqual(self.listening("all", "ipv6").addresses, ("::",))
        without = FakeMachine(networks=("127.0.0.1/8", "192.168.1.1/24"))
        self.assertEqual(self.listening("all", machine=without).addresses, ("0.0.0.0",))

    def test_loopback_only_is_what_the_machine_has_of_it(self) -> None:
        self.assertEqual(self.listening("loopback-only").addresses, ("127.0.0.1", "::1"))

    def test_addresses_and_names_from_the_hosts_file(self) -> None:
        machine = FakeMachine(names={"mail.lan": ["192.168.1.1", "fd00::1"]})
        found = self.listening("mail.lan, localhost [::1]", machine=machine)
        self.assertEqual(found.addresses, ("192.168.1.1", "fd00::1", "127.0.0.1", "::1"))
        self.assertEqual(self.listening("mail.lan", "ipv4", machine).addresses, ("192.168.1.1",))

    def test_a_name_that_only_dns_could_know_is_refused(self) -> None:
        with self.assertRaises(BadValue) as caught:
            self.listening("mail.example.com")
        self.assertIn("DNS is not asked", str(caught.exception))

    def test_an_address_that_no_interface_has_is_a_warning(self) -> None:
        self.assertEqual(self.listening("192.168.7.7").addresses, ("192.168.7.7",))
        self.assertEqual(self.context.warnings, ["no interface of this machine has the address 192.168.7.7 now"])
        self.listening("127.0.0.5")
        self.assertEqual(self.context.warnings, [])

    def test_nothing_to_listen_on_is_refused(self) -> None:
        for text, protocols in (("", "all"), ("::1", "ipv4"), ("all 127.0.0.1", "all")):
            with self.assertRaises(BadValue):
                self.listening(text, protocols)

    def test_wrong_protocols_are_not_held_against_the_addresses_and_do_not_hide_what_is_wrong_with_them(self) -> None:
        self.assertEqual(self.listening("192.168.1.1", "ipv5").addresses, ("192.168.1.1",))
        for text, why in (("eth0", "eth0: /etc/hosts has no such name"), ("", "'' leaves no address")):
            with self.assertRaises(BadValue) as caught:
                self.listening(text, "ipv5")
            self.assertTrue(str(caught.exception).startswith(why), str(caught.exception))

    def test_a_literal_is_our_own_where_we_listen(self) -> None:
        self.assertTrue(self.listening("all").is_own("192.168.1.1"))
        self.assertTrue(self.listening("all").is_own("::ffff:192.168.1.1"))
        self.assertFalse(self.listening("loopback-only").is_own("192.168.1.1"))
        self.assertFalse(self.listening("all").is_own("192.168.1.2"))


class TestNames(SynchronousTestCase):
    def test_a_host_has_a_name_not_an_address(self) -> None:
        self.assertEqual(hosts.HOST.read("Mail.Example.com", FakeContext()), "mail.example.com")
        for text in ("", "192.168.1.1", "mail example", r"\$mydomain"):
            with self.assertRaises(BadValue):
                hosts.HOST.read(text, FakeContext())

    def test_myorigin_may_be_a_file_as_in_debian(self) -> None:
        context = FakeContext(FakeMachine(files={"/etc/mailname": "\nIscb-corporation.com\n"}))
        self.assertEqual(hosts.ORIGIN.read("/etc/mailname", context), "iscb-corporation.com")

    def test_a_file_without_a_domain_is_a_warning_and_myhostname_stands_in(self) -> None:
        for files in ({}, {"/etc/mailname": "\n"}, {"/etc/mailname": "no domain\n"}):
            context = FakeContext(FakeMachine(files=files))
            self.assertEqual(hosts.ORIGIN.read("/etc/mailname", context), "mail.lan")
            self.assertEqual(len(context.warnings), 1)

    def test_protocols(self) -> None:
        self.assertEqual(hosts.PROTOCOLS.read("ipv4, ipv6", FakeContext()), {4, 6})
        for text in ("", "ipv5"):
            with self.assertRaises(BadValue):
                hosts.PROTOCOLS.read(text, FakeContext())
