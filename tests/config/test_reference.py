from __future__ import annotations

import os

from twisted.trial.unittest import SynchronousTestCase

from lanmail.config import reference
from lanmail.config.parameters import PARAMETERS
from lanmail.config.settings import read_text
from tests.config.fake import FakeMachine

PROJECT = os.path.dirname(os.path.dirname(os.path.dirname(__file__)))
DOSSIER = (
    *("queue_directory", "command_directory", "daemon_directory", "mail_owner", "inet_interfaces", "mynetworks"),
    *("myhostname", "mydomain", "mydestination", "myorigin", "relay_domains", "mail_spool_directory"),
)


class TestWhatIsMade(SynchronousTestCase):
    def test_both_files_are_up_to_date(self) -> None:
        for path, made in ((reference.REFERENCE, reference.reference()), (reference.MAIN_CF, reference.main_cf())):
            with open(os.path.join(PROJECT, path), encoding="utf-8") as file:
                self.assertEqual(file.read(), made, f"{path}: run python -m lanmail.config.reference")

    def test_the_shipped_main_cf_starts_a_server_without_a_word(self) -> None:
        found = read_text(reference.main_cf(), machine=FakeMachine())
        self.assertEqual(found.problems, ())
        settings = found.accepted()
        self.assertEqual((settings.message_size_limit, settings.mailbox_size_limit), (52428800, 0))
        self.assertEqual(settings.mail_owner, "lanmail")
        self.assertEqual(settings.smtpd_banner, "srvlinux.iscb-corporation.com ESMTP lanmail")
        for client in ("192.168.1.5", "127.0.0.1", "::1"):
            self.assertIn(client, settings.mynetworks)

    def test_the_shipped_main_cf_sets_the_dossiers_twelve_the_two_limits_and_who_may_send_as_whom(self) -> None:
        written = read_text(reference.main_cf(), machine=FakeMachine()).settings.written
        set_there = {name for name in PARAMETERS if not written[name].is_default}
        self.assertEqual(set_there, {*DOSSIER, "message_size_limit", "mailbox_size_limit", "mynetworks_may_send_as"})

    def test_every_parameter_has_its_entry_and_its_line(self) -> None:
        page, shipped = reference.reference(), reference.main_cf()
        for name, parameter in PARAMETERS.items():
            self.assertIn(f"\n### {name}\n", page)
            self.assertIn(parameter.meaning, page)
            self.assertTrue(f"\n#{name} =" in shipped or f"\n{name} =" in shipped, name)
