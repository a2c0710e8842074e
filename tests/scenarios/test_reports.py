"""What senders are told, as it comes into their mailboxes: a whole server, a real SMTP client, Python's reader of mailboxes."""

from __future__ import annotations

import mailbox
import smtplib
from collections.abc import Sequence
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.live import Server, wait_for
from tests.queue.reporting import Parsed

DOMAIN = "iscb-corporation.com"
PEOPLE = dict.fromkeys(("julien", "nel", "zoe", "folder", "postmaster"), "x")
ALIASES = "staff: nel, zoe\nlist: nel, folder\nowner-list: zoe\n"


class ReportsTests(SynchronousTestCase):
    # A server whose letters to postmaster do not wait a minute for what else there may be to tell.
    soon = (
        "import sys; from lanmail.queue import troubles; troubles.GATHER = 0.5;"
        "from twisted.application.twist._twist import Twist; sys.exit(Twist.main())"
    )

    def server(self, extra: str = "", program: str = "") -> Server:
        folder = self.mktemp()
        Path(folder).mkdir()
        aliases = (Path(folder) / "aliases").resolve()
        aliases.write_text(ALIASES)
        server = Server(folder, f"alias_maps = hash:{aliases}\nmaximal_queue_lifetime = 0\n{extra}", people=PEOPLE)
        self.addCleanup(server.stop)
        (server.spool / "folder").mkdir()  # where a mailbox should be: nothing can be delivered there
        command = server.command()
        return server.start((command[0], "-c", program, *command[3:]) if program else command)

    def send(
        self,
        server: Server,
        to: str,
        sender: str = f"julien@{DOMAIN}",
        *,
        mail: Sequence[str] = (),
        rcpt: Sequence[str] = (),
    ) -> None:
        with smtplib.SMTP("127.0.0.1", server.smtp) as client:
            client.ehlo("portable")
            self.assertTrue(client.has_extn("dsn"))
            client.sendmail(
                sender, f"{to}@{DOMAIN}", b"Subject: Essai\r\n\r\nFrom me.\r\n", mail_options=mail, rcpt_options=rcpt
            )

    def heard(self, server: Server, who: str) -> Parsed:
        """The report in that mailbox, once it is there."""
        wait_for(lambda: b"MAILER-DAEMON" in server.mailbox(who), server.describe, server.process)
        (letter,) = mailbox.mbox(server.spool / who)
        self.assertEqual(letter["Return-Path"], "<>")
        return Parsed(letter.as_bytes())

    def test_who_wants_to_know_is_told_that_it_arrived(self) -> None:
        server = self.server("report_language = fr\n")
        self.send(server, "nel", mail=["ENVID=QQ+2B1"], rcpt=["NOTIFY=SUCCESS,FAILURE", f"ORCPT=rfc822;nelly@{DOMAIN}"])
        told = self.heard(server, "julien")
        self.assertEqual(told.about["Original-Envelope-Id"], "QQ+1")
        self.assertEqual(
            (told.field("Action"), told.field("Original-Recipient")), (["delivered"], [f"rfc822; nelly@{DOMAIN}"])
        )
        self.assertIn("a été remis à nel@", told.paragraphs[0])
        self.assertIn(b"From me.", server.mailbox("nel"))

    def test_an_alias_of_many_is_told_of_once(self) -> None:
        server = self.server()
        self.send(server, "staff", rcpt=["NOTIFY=SUCCESS"])
        told = self.heard(server, "julien")
        self.assertEqual(
            (told.field("Action"), told.field("Final-Recipient")), (["expanded"], [f"rfc822; staff@{DOMAIN}"])
        )

    def test_the_sender_gets_back_what_failed_as_they_wished(self) -> None:
        server = self.server()
        self.send(server, "folder", mail=["RET=FULL"])
        told = self.heard(server, "julien")
        self.assertEqual(told.field("Action"), ["failed"])
        self.assertEqual(told.original.get_content_type(), "message/rfc822")
        self.assertIn("From me.", str(told.returned.get_payload()))

    def test_the_owner_of_a_list_hears_what_failed_and_the_sender_does_not(self) -> None:
        server = self.server()
        self.send(server, "list")
        told = self.heard(server, "zoe")
        self.assertEqual(told.field("Final-Recipient"), [f"rfc822; folder@{DOMAIN}"])
        self.assertEqual(server.mailbox("julien"), b"")

    def test_what_failed_of_a_foreign_sender_comes_to_postmaster_and_a_sender_who_wants_nothing_gets_nothing(
        self,
    ) -> None:
        server = self.server()
        self.send(server, "folder", rcpt=["NOTIFY=NEVER"])
        self.send(server, "folder", "someone@elsewhere.example")
        self.assertIn("someone@elsewhere.example", self.heard(server, "postmaster").paragraphs[0])
        self.assertEqual(server.mailbox("julien"), b"")

    def test_postmaster_hears_of_a_mailbox_that_cannot_be_used(self) -> None:
        server = self.server("maximal_queue_lifetime = 5d\n", self.soon)
        self.send(server, "folder")
        self.send(server, "folder")
        wait_for(lambda: b"MAILER-DAEMON" in server.mailbox("postmaster"), server.describe, server.process)
        (letter,) = mailbox.mbox(server.spool / "postmaster")
        self.assertEqual(letter["Subject"], "Mailboxes that cannot be used on srvlinux.iscb-corporation.com")
        self.assertEqual(letter.get_payload().count(f"folder: {server.spool}/folder is a folder\n"), 1)
