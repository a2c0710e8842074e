from __future__ import annotations

import os

from click.testing import CliRunner, Result
from twisted.trial.unittest import SynchronousTestCase

from lanmail.admin.configuration import config_command
from lanmail.config import settings


class TestConfigCommand(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = self.mktemp()
        os.mkdir(self.folder)
        self.file = os.path.join(self.folder, "main.cf")
        with open(self.file, "w") as file:
            file.write("mydomain = lan.example\nmyorigin = $mydomain\nmail_owner = no-such-account\n")

    def run_it(self, *arguments: str) -> Result:
        return CliRunner().invoke(config_command, ["--config", self.file, *arguments])

    def test_it_shows_the_file_and_ends_with_a_verdict_and_a_status(self) -> None:
        result = self.run_it()
        self.assertEqual(result.exit_code, 1)
        self.assertIn("myorigin = $mydomain\n", result.output)
        self.assertIn(f"{self.file}:3: mail_owner: there is no account 'no-such-account'", result.output)
        self.assertIn("the server would not start with it", result.output.splitlines()[-1])

    def test_it_judges_the_certificates_that_are_named(self) -> None:
        with open(self.file, "a") as file:
            file.write("smtpd_tls_cert_file = /nowhere/cert.pem\n")
        expected = (
            f"{self.file}:4: smtpd_tls_cert_file: /nowhere/cert.pem: No such file or directory; our own certificate"
        )
        self.assertIn(expected, self.run_it().output)

    def test_all_shows_the_defaults_too(self) -> None:
        self.assertNotIn("smtp_port", self.run_it().output)
        self.assertIn("smtp_port = 25\n", self.run_it("--all").output)

    def test_names_are_shown_as_postconf_shows_them(self) -> None:
        self.assertEqual(self.run_it("myorigin", "smtp_port").output, "myorigin = $mydomain\nsmtp_port = 25\n")
        self.assertEqual(self.run_it("-x", "myorigin").output, "myorigin = lan.example\n")
        self.assertEqual(self.run_it("-h", "-x", "myorigin").output, "lan.example\n")
        self.assertEqual(self.run_it("admin_user").output, "admin_user =\n")

    def test_an_override_counts(self) -> None:
        self.assertEqual(self.run_it("-o", "mydomain=x.example", "-x", "myorigin").output, "myorigin = x.example\n")

    def test_a_misspelt_name_is_told_and_the_status_says_so(self) -> None:
        result = self.run_it("mydomian")
        self.assertEqual(result.exit_code, 1)
        self.assertIn('unknown parameter "mydomian"; did you mean "mydomain"?', result.output)

    def test_a_name_of_postfixs_alone_is_told_with_what_it_means_here(self) -> None:
        result = self.run_it("relayhost", "biff", "virtual_alias_maps", "smtpd_helo_required")
        self.assertEqual(result.exit_code, 1)
        dangerous = "it is not implemented, and it would change who may send or where mail goes"
        self.assertEqual(
            result.output.splitlines(),
            [
                f"lanmail config: {name} is Postfix's; lanmail does not have it: {why}"
                for name, why in (
                    ("relayhost", dangerous),
                    ("biff", "it has no effect here"),
                    ("virtual_alias_maps", dangerous),
                    ("smtpd_helo_required", "it is not implemented, and nothing is done about it"),
                )
            ],
        )

    def test_without_any_main_cf_it_says_where_it_looked(self) -> None:
        self.patch(settings, "PLACES", ("main.cf", "/no/such/main.cf"))
        with CliRunner().isolated_filesystem(self.folder):
            result = CliRunner().invoke(config_command, [])
        self.assertEqual(result.exit_code, 1)
        self.assertIn("there is no ./main.cf", result.output)
