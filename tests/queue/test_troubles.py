"""Letters to postmaster about refusals: of the classes that were asked for, and never many."""

from __future__ import annotations

import email
import email.policy
from collections.abc import Sequence
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from lanmail.mailbox.locks import NO_SPACE, UNSAFE
from lanmail.message import QueueIds
from lanmail.queue.letterhead import is_ours
from lanmail.queue.troubles import GATHER, KNOWN, MOST, PERIOD, Troubles, class_of
from lanmail.smtp import replies
from lanmail.spool.entries import Message, Recipient
from lanmail.spool.incoming import Content
from lanmail.status import Status, TemporaryFailure
from tests.queue.reporting import DOMAIN, HOST, NOON, POSTMASTER
from tests.queue.test_bounce import Office

CLIENT = "unknown[192.168.1.5]"
NO_ROOM = Status(452, "4.3.1", "Insufficient system storage")
DENIED = Status(554, "5.7.1", "<a@elsewhere>: Relay access denied")


class Desk:
    """Troubles over an Office's router, a clock to turn, and what was accepted."""

    def __init__(self, folder: str, *classes: str, language: str = "en") -> None:
        self.office = Office(folder)
        self.clock = Clock()
        self.accepted: list[tuple[Message, Sequence[Recipient], Content]] = []
        self.trouble: Exception | None = None
        self.troubles = Troubles(
            self.accept,
            self.office.route,
            QueueIds(lambda: NOON).next,
            self.office.folder,
            myhostname=HOST,
            myorigin=DOMAIN,
            language=language,
            notify_classes=classes,
            clock=self.clock,
            wall=lambda: NOON,
        )

    async def accept(self, message: Message, recipients: Sequence[Recipient], content: Content) -> None:
        if self.trouble is not None:
            raise self.trouble
        self.accepted.append((message, recipients, content))

    @property
    def letters(self) -> list[Any]:
        return [
            email.message_from_bytes(b"".join(text.pieces()), policy=email.policy.default)
            for _, _, text in self.accepted
        ]


class ClassTests(SynchronousTestCase):
    def test_a_reply_belongs_to_one_class(self) -> None:
        for status, expected in (
            (NO_ROOM, "resource"),
            (replies.BROKEN, "software"),
            (Status(451, "4.3.5", "Server configuration problem"), "software"),
            (replies.UNKNOWN_COMMAND, "protocol"),
            (Status(501, "5.1.7", "Bad sender address syntax"), "protocol"),
            (Status(550, "5.1.1", "User unknown"), "bounce"),
            (DENIED, "policy"),
            (replies.SIZE_ANNOUNCED, "policy"),
            (replies.AUTH_FAILED, "policy"),
        ):
            self.assertEqual(class_of(status), expected, status)


class TroublesTests(SynchronousTestCase):
    def desk(self, *classes: str, **more: Any) -> Desk:
        return Desk(self.mktemp(), *classes, **more)

    def test_what_belongs_together_comes_in_one_letter_to_postmaster(self) -> None:
        desk = self.desk("resource", "policy")
        desk.troubles.refused(CLIENT, "MAIL", NO_ROOM)
        desk.clock.advance(GATHER / 2)
        desk.troubles.refused(CLIENT, "RCPT", DENIED)
        desk.clock.advance(GATHER / 2)
        ((message, (to,), _),) = desk.accepted
        self.assertTrue(is_ours(message))
        self.assertEqual(to.original, POSTMASTER)
        (letter,) = desk.letters
        self.assertEqual(letter["To"], str(POSTMASTER))
        self.assertEqual(letter["Auto-Submitted"], "auto-replied")
        text = letter.get_content()
        self.assertIn(f"{CLIENT}: MAIL: {NO_ROOM}\n", text)
        self.assertIn(f"{CLIENT}: RCPT: {DENIED}\n", text)

    def test_only_the_classes_that_were_asked_for_are_told(self) -> None:
        desk = self.desk("resource", "software", "2bounce", "delay")
        for status in (DENIED, replies.UNKNOWN_COMMAND, Status(550, "5.1.1", "User unknown")):
            desk.troubles.refused(CLIENT, "RCPT", status)
        desk.clock.advance(PERIOD)
        self.assertEqual((desk.accepted, desk.clock.getDelayedCalls()), ([], []))

    def test_a_flood_is_one_letter_an_hour_of_so_many_lines(self) -> None:
        desk = self.desk("protocol")
        for _ in range(3 * 3600):
            desk.troubles.refused(CLIENT, "unknown", replies.UNKNOWN_COMMAND)
            desk.clock.advance(1)
        self.assertEqual(len(desk.letters), 3)
        self.assertEqual(desk.letters[1].get_content().count("not recognized"), MOST)
        self.assertIn("and 3500 more", desk.letters[1].get_content())

    def test_what_cannot_be_written_on_a_full_disk_is_written_when_there_is_room(self) -> None:
        desk = self.desk("resource")
        desk.trouble = TemporaryFailure(NO_ROOM)
        desk.troubles.refused(CLIENT, "MAIL", NO_ROOM)
        desk.clock.advance(GATHER)
        self.assertEqual(desk.accepted, [])
        desk.trouble = None
        desk.clock.advance(PERIOD)
        self.assertIn("4.3.1", desk.letters[0].get_content())
        desk.clock.advance(PERIOD)
        self.assertEqual(len(desk.letters), 1)

    def test_what_a_client_said_stays_in_its_line(self) -> None:
        desk = self.desk("policy", language="fr")
        desk.troubles.refused(CLIENT, "RCPT", Status(554, "5.7.1", "<a\r\n\r\nEvil: x\x1b@y>: no\u2028"))
        desk.clock.advance(GATHER)
        text = desk.letters[0].get_content()
        self.assertIn("<a\\r\\n\\r\\nEvil: x\\x1b@y>: no\\u2028\n", text)
        self.assertEqual(desk.letters[0]["Subject"], f"Serveur SMTP : refus et erreurs sur {HOST}")

    def test_after_a_stop_nothing_is_written(self) -> None:
        desk = self.desk("policy")
        desk.troubles.refused(CLIENT, "RCPT", DENIED)
        desk.troubles.stop()
        desk.troubles.refused(CLIENT, "RCPT", DENIED)
        self.assertEqual(desk.clock.getDelayedCalls(), [])


class MailboxTests(SynchronousTestCase):
    def desk(self, *classes: str, **more: Any) -> Desk:
        return Desk(self.mktemp(), *classes, **more)

    def test_a_mailbox_that_cannot_be_used_is_told_once_however_often_it_is_tried(self) -> None:
        desk = self.desk("resource", "software")
        for _ in range(20):
            desk.troubles.undelivered("nel", UNSAFE, "/var/mail/nel is a symbolic link")
            desk.clock.advance(KNOWN / 24)
        (letter,) = desk.letters
        self.assertEqual(letter["Subject"], f"Mailboxes that cannot be used on {HOST}")
        self.assertEqual(letter.get_content().count("nel: /var/mail/nel is a symbolic link\n"), 1)

    def test_after_a_day_and_for_another_reason_it_is_told_again(self) -> None:
        desk = self.desk("resource", "software")
        for status, why in ((UNSAFE, "a fifo"), (NO_SPACE, "no space"), (UNSAFE, "a fifo")):
            desk.troubles.undelivered("nel", status, why)
            desk.clock.advance(KNOWN / 2)
        self.assertEqual(["a fifo" in letter.get_content() for letter in desk.letters], [True, False, True])

    def test_refusals_stand_in_the_same_letter_behind_it(self) -> None:
        desk = self.desk("resource", "software", language="fr")
        desk.troubles.refused(CLIENT, "MAIL", NO_ROOM)
        desk.troubles.undelivered("nel", UNSAFE, "/var/mail/nel is a symbolic link")
        desk.clock.advance(GATHER)
        (letter,) = desk.letters
        self.assertEqual(letter["Subject"], f"Boîtes aux lettres inutilisables sur {HOST}")
        mailbox, refusal = letter.get_content().split("Le serveur SMTP", 1)
        self.assertIn("nel: /var/mail/nel is a symbolic link\n", mailbox)
        self.assertIn(f"{CLIENT}: MAIL: {NO_ROOM}\n", refusal)

    def test_who_does_not_want_that_class_is_not_told(self) -> None:
        desk = self.desk("resource")
        desk.troubles.undelivered("nel", UNSAFE, "/var/mail/nel is a symbolic link")
        self.assertEqual(desk.clock.getDelayedCalls(), [])

    def test_what_could_not_be_written_comes_before_what_came_meanwhile(self) -> None:
        desk = self.desk("resource", "software")
        desk.trouble = TemporaryFailure(NO_ROOM)
        desk.troubles.undelivered("nel", UNSAFE, "a link")
        desk.clock.advance(GATHER)
        desk.trouble = None
        desk.troubles.undelivered("zoe", UNSAFE, "a fifo")
        desk.clock.advance(PERIOD)
        (letter,) = desk.letters
        self.assertRegex(letter.get_content(), r"(?s)nel: a link\n.*zoe: a fifo\n")

    def test_ten_thousand_mailboxes_on_a_full_disk_are_a_hundred_lines(self) -> None:
        desk = self.desk("resource")
        for number in range(10_000):
            desk.troubles.undelivered(f"u{number}", NO_SPACE, "no space")
        desk.clock.advance(GATHER)
        (letter,) = desk.letters
        self.assertEqual(letter.get_content().count("no space"), MOST)
        self.assertIn("and 9900 more", letter.get_content())
