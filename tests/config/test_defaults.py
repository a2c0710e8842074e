from __future__ import annotations

from typing import ClassVar

from twisted.trial.unittest import SynchronousTestCase

from lanmail.config.settings import Reading, read_text
from tests.config.fake import FakeMachine


def reading(text: str, machine: FakeMachine | None = None) -> Reading:
    return read_text(text, machine=machine or FakeMachine())


class TestRememberedLogins(SynchronousTestCase):
    FILES: ClassVar = {
        "/etc/nsswitch.conf": "passwd: files systemd\n",
        "/etc/pam.d/lanmail": "auth required pam_unix.so\n",
    }

    def time(self, text: str = "", **files: str) -> int:
        changed = dict(self.FILES)
        changed |= {path: text for path in changed for name, text in files.items() if name in path}
        return reading(text, FakeMachine(files=changed)).settings.login_cache_time

    def test_they_last_20_minutes_where_the_system_has_its_own_files_alone(self) -> None:
        self.assertEqual(self.time(), 1200)

    def test_they_are_off_where_anything_else_has_a_say_unless_somebody_asks_for_them(self) -> None:
        self.assertEqual(self.time(nsswitch="passwd: files ldap\n"), 0)
        self.assertEqual(self.time(pam="auth required pam_sss.so\n"), 0)
        self.assertEqual(self.time("pam_service = other"), 0)
        self.assertEqual(self.time("login_cache_time = 5m", pam="auth required pam_sss.so\n"), 300)

    def test_a_passwd_file_alone_asks_neither(self) -> None:
        accounts = "accounts = passwd-file:/etc/lanmail/passwd"
        self.assertEqual(self.time(accounts, nsswitch="passwd: ldap\n"), 1200)
        self.assertEqual(self.time(f"{accounts}, system", nsswitch="passwd: ldap\n"), 0)
        self.assertEqual(self.time("accounts = { system }", nsswitch="passwd: ldap\n"), 0)


class TestNames(SynchronousTestCase):
    def test_myhostname_is_the_machines_name_and_mydomain_what_is_behind_its_first_dot(self) -> None:
        settings = reading("").accepted()
        self.assertEqual(settings.myhostname, "srvlinux.iscb-corporation.com")
        self.assertEqual(settings.mydomain, "iscb-corporation.com")

    def test_a_short_name_gets_a_domain_without_asking_dns(self) -> None:
        short = FakeMachine(name="srvlinux")
        settings = reading("", short).accepted()
        self.assertEqual((settings.myhostname, settings.mydomain), ("srvlinux.localdomain", "localdomain"))
        settings = reading("mydomain = lan.example", short).accepted()
        self.assertEqual((settings.myhostname, settings.mydomain), ("srvlinux.lan.example", "lan.example"))

    def test_mydomain_of_a_name_without_dots_is_localdomain(self) -> None:
        self.assertEqual(reading("myhostname = mail").accepted().mydomain, "localdomain")

    def test_a_name_made_of_a_domain_that_is_made_of_the_name_is_an_error(self) -> None:
        (error,) = reading("myhostname = mail.$mydomain\n").errors
        self.assertEqual(
            str(error), "main.cf:1: myhostname: it is made of $mydomain, which is made of it; set mydomain too"
        )

    def test_the_destinations_are_this_machine_and_localhost(self) -> None:
        self.assertEqual(
            reading("").accepted().mydestination.names,
            ("srvlinux.iscb-corporation.com", "localhost.iscb-corporation.com", "localhost"),
        )


class TestNetworks(SynchronousTestCase):
    def networks(self, text: str) -> str:
        return str(reading(text).accepted().mynetworks)

    def test_without_a_word_only_this_machine_is_trusted(self) -> None:
        self.assertEqual(self.networks(""), "127.0.0.1/32 192.168.1.1/32 ::1/128 fd00::1/128")

    def test_by_style(self) -> None:
        self.assertEqual(self.networks("mynetworks_style = subnet"), "127.0.0.0/8 192.168.1.0/24 ::1/128 fd00::/64")
        machine = FakeMachine(networks=("10.1.2.3/24", "172.16.5.1/24", "192.168.1.1/28"))
        found = str(reading("mynetworks_style = class", machine).accepted().mynetworks)
        self.assertEqual(found, "10.0.0.0/8 172.16.0.0/16 192.168.1.0/24")

    def test_only_of_the_addresses_that_we_listen_on(self) -> None:
        self.assertEqual(self.networks("inet_interfaces = loopback-only"), "127.0.0.1/32 ::1/128")
        self.assertEqual(self.networks("inet_protocols = ipv4"), "127.0.0.1/32 192.168.1.1/32")

    def test_below_level_2_the_subnets_are_trusted_and_destinations_relayed_as_in_old_postfixes(self) -> None:
        settings = reading("compatibility_level = 0").accepted()
        self.assertEqual(settings.mynetworks_style, "subnet")
        self.assertIn("192.168.1.77", settings.mynetworks)
        self.assertIn("localhost", settings.relay_domains)
        self.assertNotIn("localhost", reading("").accepted().relay_domains)


class TestPorts(SynchronousTestCase):
    def ports(self, text: str = "") -> tuple[int, int]:
        settings = reading(text).settings
        return settings.submission_port, settings.submissions_port

    def test_submission_has_its_known_ports_beside_the_known_ports(self) -> None:
        self.assertEqual(self.ports(), (587, 465))
        self.assertEqual(self.ports("smtp_port = 2525"), (0, 0))
        self.assertEqual(self.ports("pop3_port = 1110"), (0, 0))
        self.assertEqual(self.ports("smtp_endpoint = tcp:25"), (0, 0))
        self.assertEqual(self.ports("smtp_port = 2525\nsubmission_port = 5870"), (5870, 0))
