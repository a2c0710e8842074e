from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from lanmail.config.parameters import Settings
from lanmail.config.problems import Problem, Severity
from lanmail.config.settings import read_text
from tests.config.fake import FakeMachine

BOTH = frozenset({"TLSv1.2", "TLSv1.3"})


class KindsTests(SynchronousTestCase):
    def settings(self, text: str) -> Settings:
        return read_text(text, machine=FakeMachine()).accepted()

    def error(self, text: str) -> str:
        (problem,) = read_text(text, machine=FakeMachine()).errors
        return str(problem)

    def versions(self, text: str) -> tuple[frozenset[str], int]:
        """And how many warnings there are."""
        found = read_text(f"smtpd_tls_protocols = {text}", machine=FakeMachine())
        return found.accepted().smtpd_tls_protocols, len(found.warnings)

    def test_versions_are_written_as_in_postfix(self) -> None:
        for text, meant in (
            ("", BOTH),
            (">=TLSv1.2", BOTH),
            (">=tlsv1.3", {"TLSv1.3"}),
            ("<=TLSv1.2", {"TLSv1.2"}),
            (">=TLSv1.2, <=TLSv1.2", {"TLSv1.2"}),
            ("!TLSv1.3", {"TLSv1.2"}),
            ("!SSLv2, !SSLv3, !TLSv1, !TLSv1.1", BOTH),
            ("!SSLv2 !SSLv3", BOTH),
            ("TLSv1.3", {"TLSv1.3"}),
            ("TLSv1.2:TLSv1.3", BOTH),
        ):
            self.assertEqual(self.versions(text), (meant, 0), text)

    def test_to_ask_for_old_ones_is_a_warning_and_does_not_get_them(self) -> None:
        for text in (">=TLSv1", "TLSv1, TLSv1.2, TLSv1.3", ">=TLSv1.1"):
            self.assertEqual(self.versions(text), (BOTH, 1), text)
        (problem,) = read_text("smtpd_tls_mandatory_protocols = >=TLSv1", machine=FakeMachine()).problems
        self.assertIn("main.cf:1: smtpd_tls_mandatory_protocols: nothing older than TLSv1.2", str(problem))
        self.assertIn("tls_legacy_clients", str(problem))

    def test_nothing_but_old_ones_is_an_error(self) -> None:
        for text in ("TLSv1, TLSv1.1", "<=TLSv1.1", "!TLSv1.2 !TLSv1.3", ">=TLSv1.3 <=TLSv1.2"):
            self.assertIn("leaves neither TLSv1.2 nor TLSv1.3", self.error(f"smtpd_tls_protocols = {text}"), text)

    def test_an_unknown_version_is_an_error(self) -> None:
        for text in ("TLSv1.4", "!", ">=", ">TLSv1.2", "TLS"):
            self.assertIn("is none of: SSLv2, SSLv3", self.error(f"smtpd_tls_protocols = {text}"), text)

    def test_no_level_is_no_tls_as_in_postfix(self) -> None:
        for text, level in (("", "none"), ("none", "none"), ("MAY", "may")):
            self.assertEqual(self.settings(f"smtpd_tls_security_level = {text}").smtpd_tls_security_level, level)
        self.assertEqual(self.settings("").smtpd_tls_security_level, "may")
        self.assertIn("'dane' is none of: none, may, encrypt", self.error("smtpd_tls_security_level = dane"))

    def test_the_key_is_in_the_file_of_the_certificate_unless_it_is_said_to_be_elsewhere(self) -> None:
        self.assertEqual(self.settings("smtpd_tls_cert_file = /c.pem").smtpd_tls_key_file, "/c.pem")
        found = self.settings("smtpd_tls_cert_file = /c.pem\nsmtpd_tls_key_file = /k.pem")
        self.assertEqual((found.smtpd_tls_cert_file, found.smtpd_tls_key_file), ("/c.pem", "/k.pem"))
        found = self.settings("smtpd_tls_cert_file = none\nsmtpd_tls_chain_files = /a.pem, /b.pem")
        self.assertEqual((found.smtpd_tls_cert_file, found.smtpd_tls_key_file), ("", ""))
        self.assertEqual(found.smtpd_tls_chain_files, ("/a.pem", "/b.pem"))
        self.assertIn("absolute path", self.error("smtpd_tls_cert_file = c.pem"))

    def test_yes_and_no_are_all_there_is_between(self) -> None:
        self.assertIs(self.settings("smtpd_tls_auth_only = Yes").smtpd_tls_auth_only, True)
        self.assertIs(self.settings("").smtpd_tls_auth_only, False)
        self.assertIn("is none of: yes, no", self.error("smtpd_tls_auth_only = true"))

    def test_old_devices_have_no_port_unless_they_are_given_one(self) -> None:
        for text in ("tls_legacy_clients = off", "tls_legacy_clients = 0", ""):
            self.assertEqual(self.settings(text).tls_legacy_clients, 0)
        self.assertIn("'on' is not a whole number", self.error("tls_legacy_clients = on"))


class ChecksTests(SynchronousTestCase):
    def problems(self, text: str) -> list[Problem]:
        return list(read_text(text, machine=FakeMachine()).problems)

    def test_a_port_for_old_devices_is_said_to_be_what_it_is(self) -> None:
        (cost,) = [one for one in self.problems("tls_legacy_clients = 4650") if one.severity is Severity.WARNING]
        self.assertIn("main.cf:1: tls_legacy_clients: at port 4650 TLS 1.0 is good enough", str(cost))
        self.assertIn("an account of its own", cost.text)

    def test_it_is_a_port_of_its_own(self) -> None:
        found = [str(one) for one in self.problems("tls_legacy_clients = 25")]
        self.assertIn("main.cf:1: tls_legacy_clients: 25 is smtp_port too; old devices have a port of their own", found)

    def test_files_that_do_not_count_are_named(self) -> None:
        found = [str(one) for one in self.problems("smtpd_tls_cert_file = /a\nsmtpd_tls_chain_files = /b")]
        self.assertIn("main.cf:1: smtpd_tls_cert_file: it has no effect beside smtpd_tls_chain_files", found)
        (first, *_) = self.problems("smtpd_tls_key_file = /a")
        self.assertIn("it has no effect without smtpd_tls_cert_file", first.text)

    def test_what_old_installations_say_of_sessions_and_ciphers_is_nothing_to_speak_of(self) -> None:
        for text in (
            "smtpd_tls_session_cache_database = btree:${data_directory}/smtpd_scache",
            "smtpd_use_tls = yes",
            "smtpd_tls_mandatory_ciphers = high",
            "smtpd_tls_dh1024_param_file = /etc/postfix/dh2048.pem",
        ):
            self.assertEqual([one for one in self.problems(text) if one.severity is not Severity.NOTE], [], text)
