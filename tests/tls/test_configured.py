from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from lanmail.config.settings import read_text
from lanmail.tls.configured import given_files, plan_of
from lanmail.tls.given import GivenFiles
from lanmail.tls.openssl import Versions
from tests.config.fake import FakeMachine


class ConfiguredTests(SynchronousTestCase):
    def addresses(self, text: str, machine: FakeMachine | None = None) -> list[str]:
        settings = read_text(text, machine=FakeMachine()).accepted()
        return [str(one) for one in plan_of(settings, machine or FakeMachine()).addresses]

    def test_the_plan_is_who_main_cf_says_we_are(self) -> None:
        text = "myhostname = srv.lan.example\nmydestination = $mydomain, club.example, !other.example"
        plan = plan_of(read_text(text, machine=FakeMachine()).accepted(), FakeMachine())
        self.assertEqual((plan.host, plan.domain), ("srv.lan.example", "lan.example"))
        self.assertEqual(plan.domains, ("lan.example", "club.example", "localhost"))

    def test_every_interface_is_named_where_all_are_listened_on(self) -> None:
        self.assertEqual(self.addresses(""), ["127.0.0.1", "192.168.1.1", "::1", "fd00::1"])
        self.assertEqual(self.addresses("inet_protocols = ipv4"), ["127.0.0.1", "192.168.1.1"])

    def test_an_interface_that_came_later_is_named_too(self) -> None:
        machine = FakeMachine(networks=("127.0.0.1/8", "10.0.0.5/8", "fd00::2/64"))
        self.assertEqual(self.addresses("", machine), ["10.0.0.5", "127.0.0.1", "fd00::2"])

    def test_addresses_that_were_chosen_are_the_only_ones(self) -> None:
        machine = FakeMachine(networks=("127.0.0.1/8", "10.0.0.5/8"))
        self.assertEqual(self.addresses("inet_interfaces = 192.168.1.1, ::1", machine), ["192.168.1.1", "::1"])

    def test_addresses_of_a_day_are_not_named(self) -> None:
        listed = "fd000000000000000000000000000001 02 40 00 01     eth0\n"
        machine = FakeMachine(files={"/proc/net/if_inet6": listed})
        self.assertNotIn("fd00::1", self.addresses("", machine))

    def test_the_files_are_those_of_the_three_parameters(self) -> None:
        settings = read_text("smtpd_tls_cert_file = /c\nsmtpd_tls_key_file = /k", machine=FakeMachine()).accepted()
        self.assertEqual(given_files(settings), GivenFiles("/c", "/k"))
        self.assertEqual(given_files(read_text("", machine=FakeMachine()).accepted()), GivenFiles())

    def test_versions_are_a_lowest_and_a_highest(self) -> None:
        settings = read_text("smtpd_tls_protocols = !TLSv1.3", machine=FakeMachine()).accepted()
        self.assertIs(Versions.of(settings.smtpd_tls_protocols), Versions.ONLY_1_2)
        self.assertIs(Versions.of(settings.smtpd_tls_mandatory_protocols), Versions.TODAY)
        self.assertIs(Versions.of({"TLSv1.3"}), Versions.ONLY_1_3)
