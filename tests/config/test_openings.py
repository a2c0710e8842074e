from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from lanmail.config.openings import openings
from lanmail.config.settings import read_text
from tests.config.fake import FakeMachine


def said(text: str) -> tuple[str, str]:
    senders, passwords = openings(read_text(text, machine=FakeMachine()).accepted())
    return senders, passwords


class TestOpenings(SynchronousTestCase):
    def test_both_are_said_whether_they_are_open_or_not(self) -> None:
        senders, passwords = said("")
        self.assertEqual(
            senders,
            "open: without a login anybody may send as anybody here (mynetworks_may_send_as = anyone); whoever logs in sends as themselves",
        )
        self.assertRegex(passwords, "^closed: passwords are taken under TLS alone, but from this machine itself")
        senders, passwords = said("mynetworks_may_send_as = nobody-local\nplaintext_login_networks = 192.168.1.0/24")
        self.assertRegex(senders, "^closed: nobody sends without a login as somebody who has an account here")
        self.assertRegex(
            passwords, r"^open: 192\.168\.1\.0/24 \(plaintext_login_networks\) may send passwords without TLS"
        )

    def test_what_a_line_takes_back_is_said_in_the_same_line(self) -> None:
        senders, _ = said("submission_header_from = off")
        self.assertTrue(senders.endswith("but may write anybody into the From header (submission_header_from = off)"))
        self.assertNotIn("From header", said("submission_header_from = off\nsmtp_port = 2525")[0])
        _, passwords = said("plaintext_login_networks = 192.168.1.0/24\nsmtpd_tls_auth_only = yes")
        self.assertTrue(passwords.endswith("at SMTP not even they (smtpd_tls_auth_only)"))

    def test_of_many_networks_some_are_shown(self) -> None:
        many = " ".join(f"10.{n}.0.0/16" for n in range(9))
        self.assertIn("10.4.0.0/16 and 4 more", said(f"plaintext_login_networks = {many}")[1])
