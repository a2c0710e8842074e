from __future__ import annotations

import stat

from twisted.trial.unittest import SynchronousTestCase

from lanmail.config.machine import Facts
from lanmail.config.settings import read_text
from tests.config.fake import FakeMachine


class TestChecks(SynchronousTestCase):
    def problems(self, text: str, machine: FakeMachine | None = None) -> list[str]:
        return [f"{one.severity.value}: {one}" for one in read_text(text, machine=machine or FakeMachine()).problems]

    def one(self, text: str, machine: FakeMachine | None = None) -> str:
        (problem,) = self.problems(text, machine)
        return problem

    def test_every_bad_line_of_the_device_table_is_an_error_with_its_place(self) -> None:
        machine = FakeMachine()
        machine.files["/etc/lanmail/devices"] = "192.168.1.50 from=scan@x.example\nprinter\n"
        self.assertEqual(
            [line.partition(": ")[2].partition(" ")[0] for line in self.problems("", machine)],
            ["/etc/lanmail/devices:2:"] * 2,
        )
        self.assertEqual(self.problems("device_table =", machine), [])

    def test_a_device_table_that_the_server_would_not_use_is_an_error(self) -> None:
        machine = FakeMachine(rights={"/d": Facts(stat.S_IFREG | 0o646, 0)})
        machine.files["/d"] = ""
        self.assertIn("error: main.cf:1: device_table: /d can be written", self.one("device_table = /d", machine))
        machine.rights["/d"] = Facts(stat.S_IFLNK | 0o777, 0)
        self.assertIn("symbolic link", self.one("device_table = /d", machine))
        machine.rights["/d"] = Facts(stat.S_IFREG | 0o644, 0)
        self.assertEqual(self.problems("device_table = /d", machine), [])

    def test_a_missing_device_table_is_a_warning_where_it_was_named(self) -> None:
        self.assertEqual(self.problems(""), [])
        self.assertIn("warning: main.cf:1: device_table: there is no /d", self.one("device_table = /d"))

    def test_a_missing_mail_owner_is_an_error_with_the_command_that_makes_it(self) -> None:
        self.assertEqual(
            self.one("mail_owner = mailer"),
            "error: main.cf:1: mail_owner: there is no account 'mailer'; make it with:"
            " useradd -r -M -d /nonexistent -s /usr/sbin/nologin mailer",
        )

    def test_root_cannot_own_the_mail(self) -> None:
        self.assertIn("error: main.cf:1: mail_owner: 'root' is root; another", self.one("mail_owner = root"))

    def test_the_spool_must_be_there(self) -> None:
        self.assertIn("install -d -g mail -m 2775 /var/post", self.one("mail_spool_directory = /var/post"))

    def test_a_spool_that_is_a_file_is_called_one(self) -> None:
        self.assertEqual(
            self.one("mail_spool_directory = /etc/aliases"),
            "error: main.cf:1: mail_spool_directory: /etc/aliases is a file, not a folder",
        )

    def test_a_log_file_needs_a_folder_and_is_none(self) -> None:
        machine = FakeMachine(folders=("/var/mail", "/var/log"))
        self.assertEqual(self.problems("maillog_file = /var/log/mail.log", machine), [])
        self.assertIn("/var/log is a folder; name the file in it", self.one("maillog_file = /var/log/", machine))
        self.assertEqual(
            self.one("maillog_file = /var/lgo/mail.log", machine),
            "error: main.cf:1: maillog_file: there is no folder /var/lgo; make it with: install -d /var/lgo",
        )
        self.assertIn("/etc/aliases is a file", self.one("maillog_file = /etc/aliases/log", machine))

    def test_a_queue_that_is_a_file_is_an_error_and_a_missing_one_is_not(self) -> None:
        self.assertEqual(self.problems("queue_directory = /var/spool/new"), [])
        self.assertIn("is a file, not a folder", self.one("queue_directory = /etc/aliases"))

    def test_missing_aliases_and_a_missing_pam_service_are_warnings(self) -> None:
        found = self.problems("", FakeMachine(files={}))
        self.assertEqual(
            [one.split(":")[:3] for one in found],
            [["warning", " default", " pam_service"], ["warning", " default", " alias_maps"]],
        )
        self.assertIn("cp etc/pam.d/lanmail /etc/pam.d/lanmail", found[0])

    def test_without_system_accounts_pam_is_nobodys_business(self) -> None:
        machine = FakeMachine(files={"/etc/aliases": "", "/p": ""})
        self.assertEqual(self.problems("accounts = passwd-file:/p", machine), [])
        self.assertIn("warning: main.cf:1: accounts: there is no /q", self.one("accounts = passwd-file:/q", machine))

    def test_a_passwd_file_that_the_server_would_refuse_is_a_warning(self) -> None:
        for mode, uid, why in (
            (stat.S_IFREG | 0o640, 0, "open to others (mode 0640), and nobody of it can log in; chmod 600 /p"),
            (stat.S_IFREG | 0o604, 901, "open to others (mode 0604)"),
            (stat.S_IFREG | 0o600, 1000, "belongs to uid 1000"),
            (stat.S_IFLNK | 0o777, 0, "a symbolic link"),
            (stat.S_IFDIR | 0o700, 0, "not a regular file"),
        ):
            machine = FakeMachine(rights={"/p": Facts(mode, uid)})
            found = self.one("accounts = passwd-file:/p", machine)
            self.assertTrue(found.startswith("warning: main.cf:1: accounts: /p "), found)
            self.assertIn(why, found)
        for uid in (0, 901):
            machine = FakeMachine(rights={"/p": Facts(stat.S_IFREG | 0o600, uid)})
            self.assertEqual(self.problems("accounts = passwd-file:/p", machine), [])

    def test_a_mailbox_smaller_than_a_message_is_an_error(self) -> None:
        for text in ("mailbox_size_limit = 1000", "message_size_limit = 99999999", "message_size_limit = 0"):
            self.assertIn("mailbox_size_limit", self.one(text))
            self.assertIn("is less than message_size_limit", self.one(text))
        self.assertEqual(self.problems("mailbox_size_limit = 0\nmessage_size_limit = 0"), [])

    def test_each_port_is_for_one_thing(self) -> None:
        self.assertIn("25 is smtp_port too", self.one("submission_port = 25"))
        self.assertIn("587 is submission_port too", self.one("submissions_port = 587"))
        self.assertIn("465 is submissions_port too", self.one("pop3s_port = 465"))
        self.assertEqual(self.problems("submission_port = 25\nsmtp_endpoint = tcp:2525"), [])

    def test_a_table_of_senders_that_is_not_there_is_a_warning(self) -> None:
        self.assertIn("cannot read /nowhere: ", self.one("smtpd_sender_login_maps = hash:/nowhere"))

    def test_there_must_be_something_to_listen_on_and_each_on_its_own_port(self) -> None:
        self.assertIn("nothing would be listened on", self.one("smtp_port = 0\npop3_port = 0"))
        self.assertEqual(self.problems("smtp_port = 0\npop3_port = 0\nsmtp_endpoint = tcp:25"), [])
        self.assertIn("25 is smtp_port too", self.one("pop3_port = 25"))

    def test_who_exists_here_is_known_or_asked_of_luser_relay(self) -> None:
        self.assertIn("warning: main.cf:1: local_recipient_maps: empty", self.one("local_recipient_maps ="))
        self.assertIn(
            "error: main.cf:1: local_recipient_maps: only its default", self.one("local_recipient_maps = hash:/etc/x")
        )
        self.assertEqual(self.problems("local_recipient_maps = unix:passwd.byname, $alias_maps"), [])
        self.assertEqual(self.problems("local_recipient_maps =\nluser_relay = admin+$local"), [])

    def test_luser_relay_is_of_no_effect_where_unknown_recipients_are_refused(self) -> None:
        self.assertEqual(
            self.one("luser_relay = admin"),
            "warning: main.cf:1: luser_relay: it has no effect: unknown recipients are refused,"
            " unless local_recipient_maps is set to nothing",
        )

    def test_luser_relay_elsewhere_is_said_to_lead_nowhere(self) -> None:
        empty = "local_recipient_maps =\nmydestination = lan.example\nluser_relay = "
        self.assertIn("other.example is not in mydestination", self.one(empty + "$user@other.example"))
        for here in ("$user@LAN.example", "$user@$domain", "$recipient"):
            self.assertEqual(self.problems(empty + here), [])

    def test_what_is_odd_is_a_warning(self) -> None:
        self.assertIn("warning: main.cf:1: smtpd_banner", self.one("smtpd_banner = Hello"))
        self.assertIn("the whole Internet", self.one("mynetworks = 0.0.0.0/0"))
        self.assertIn("makes no mail local", self.one("mydestination ="))
