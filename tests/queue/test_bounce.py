"""Who is told what became of a message, who is not, and that a report is never answered by a report."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.trial.unittest import SynchronousTestCase

from lanmail.address import NULL_SENDER, Address
from lanmail.delivery.found import Destination
from lanmail.delivery.routes import Route
from lanmail.interfaces import User
from lanmail.mailbox.mbox import is_ours
from lanmail.message import QueueIds
from lanmail.queue.bounce import Kind, Reports
from lanmail.queue.schedule import Schedule
from lanmail.spool.entries import Message, Recipient
from lanmail.spool.incoming import IN_MEMORY, Content, IncomingFolder
from lanmail.status import DeliveryFailure, PermanentFailure, Status, TemporaryFailure
from tests.queue.reporting import (
    ARRIVED,
    BUSY,
    DOMAIN,
    FULL,
    HOST,
    JULIEN,
    LETTER,
    NEL,
    NOON,
    POSTMASTER,
    STAFF,
    UNKNOWN,
    Parsed,
    content,
    message,
    parsed,
    recipient,
)

STRANGER = Address("someone", "elsewhere.example")
OWNER = Address("owner-staff", DOMAIN)
LATER = TemporaryFailure(Status(451, "4.3.0", "later"))


class Office:
    """Reports with a router that knows julien, nel, owner-staff and postmaster, and a queue clock that stands at 1000 s."""

    def __init__(self, folder: str, *classes: str, language: str = "en", size_limit: int = 50_000) -> None:
        os.mkdir(folder, 0o700)
        self.lines: list[str] = []
        self.folder = IncomingFolder(folder, self.in_thread, self.report)
        self.path = folder
        self.mailboxes: dict[str, tuple[str, ...]] = {
            name: (name,) for name in ("julien", "nel", "owner-staff", "postmaster")
        }
        self.trouble: dict[str, DeliveryFailure] = {}
        self.asked: list[str] = []
        self.reports = Reports(
            self.route,
            QueueIds(lambda: NOON).next,
            self.folder,
            myhostname=HOST,
            myorigin=DOMAIN,
            language=language,
            size_limit=size_limit,
            notify_classes=classes,
            schedule=Schedule(lifetime=432_000),
            wall=lambda: NOON,
            now=lambda: 1000.0,
        )

    def in_thread(self, work: Callable[..., Any], *args: Any, **kwargs: Any) -> Deferred[Any]:
        return maybeDeferred(work, *args, **kwargs)

    def report(self, line: str, /, **fields: object) -> None:
        self.lines.append(line.format(**fields))

    async def route(self, address: Address) -> Route:
        self.asked.append(str(address))
        if address.local in self.trouble:
            raise self.trouble[address.local]
        if address.domain != DOMAIN or address.local not in self.mailboxes:
            raise PermanentFailure(UNKNOWN)
        users = self.mailboxes[address.local]
        return Route(
            address, tuple(Destination(User(n, 1000, 1000), address, Address(n, DOMAIN)) for n in users), not users
        )

    def about(
        self, kind: Kind, about: Message, *told: tuple[Recipient, Status], text: Content | None = None
    ) -> list[tuple[Message, list[Recipient], Content]]:
        asked = self.reports.about(kind, about, told, content() if text is None else text)
        results: list[Any] = []
        Deferred.fromCoroutine(asked).addBoth(results.append)
        if hasattr(results[0], "raiseException"):
            results[0].raiseException()
        made: list[tuple[Message, list[Recipient], Content]] = results[0]
        return made

    def heard(self, *args: Any, **kwargs: Any) -> dict[str, Parsed]:
        """The reports by whom they are for."""
        found = {}
        for envelope, recipients, text in self.about(*args, **kwargs):
            assert envelope.sender == NULL_SENDER
            found[str(recipients[0].original)] = parsed(text)
        return found


class BounceCase(SynchronousTestCase):
    def office(self, *classes: str, **more: Any) -> Office:
        return Office(self.mktemp(), *classes, **more)

    def told(self, office: Office, kind: Kind, about: Message, *told: tuple[Recipient, Status]) -> Sequence[str]:
        return list(office.heard(kind, about, *told))


class TheReportTests(BounceCase):
    def test_it_is_a_message_from_nobody_to_the_senders_mailbox(self) -> None:
        ((envelope, (to,), text),) = self.office().about("failed", message(), (recipient(), UNKNOWN))
        self.assertEqual((envelope.sender, envelope.client, envelope.arrived), (NULL_SENDER, "local", NOON))
        self.assertEqual((to.user.name, to.sender, to.original, to.notify), ("julien", NULL_SENDER, JULIEN, ""))
        lines = to.head.decode().splitlines()
        self.assertTrue(lines[0].startswith("From MAILER-DAEMON  "))
        self.assertEqual(
            lines[1:4],
            ["Return-Path: <>", f"X-Original-To: {JULIEN}", f"Delivered-To: {JULIEN}"],
        )
        self.assertIn(envelope.queue_id, lines[5])
        self.assertTrue(is_ours(to.head.partition(b"\n")[2]))
        self.assertEqual(parsed(text).whole["Message-ID"], envelope.message_id)
        self.assertEqual((text.name, text.size), (None, len(text.memory)))

    def test_it_is_quoted_for_a_mailbox_and_ends_as_a_message_there_does(self) -> None:
        ((_, _, text),) = self.office().about("failed", message(ret="FULL"), (recipient(), UNKNOWN))
        self.assertIn(b"\n>From me.\n", text.memory)
        self.assertTrue(text.memory.endswith(b"--\n\n"))

    def test_a_sender_behind_an_alias_is_told_in_every_mailbox(self) -> None:
        office = self.office()
        office.mailboxes["julien"] = ("nel", "zoe")
        ((_, recipients, _),) = office.about("failed", message(), (recipient(), UNKNOWN))
        self.assertEqual([to.user.name for to in recipients], ["nel", "zoe"])

    def test_a_sender_whose_alias_throws_mail_away_gets_what_they_asked_for(self) -> None:
        office = self.office()
        office.mailboxes["julien"] = ()
        self.assertEqual(office.about("failed", message(), (recipient(), UNKNOWN)), [])

    def test_one_report_tells_of_all_recipients(self) -> None:
        heard = self.office().heard("failed", message(), (recipient(), UNKNOWN), (recipient(POSTMASTER), FULL))
        self.assertEqual(heard[str(JULIEN)].field("Status"), ["5.1.1", "4.2.2"])

    def test_what_expired_says_for_how_long_it_was_tried(self) -> None:
        office = self.office(language="fr")
        words = office.heard("failed", message(), (recipient(since=1000 - 432_000.0), FULL))[str(JULIEN)].paragraphs
        self.assertIn("malgré des tentatives répétées pendant 5 jours", words[0])

    def test_what_was_tried_once_is_not_said_to_have_been_tried_for_a_minute(self) -> None:
        for language in ("en", "fr"):
            office = self.office(language=language)
            words = office.heard("failed", message(), (recipient(since=999.0), FULL))[str(JULIEN)].paragraphs
            self.assertNotIn("minute", words[0])

    def test_a_delay_says_until_when_by_the_queues_clock(self) -> None:
        heard = self.office().heard("delayed", message(), (recipient(since=1000 - 86_400.0), BUSY))
        self.assertIn("27 Nov 2026", heard[str(JULIEN)].field("Will-Retry-Until")[0])


class WhoHearsTests(BounceCase):
    def test_who_said_nothing_hears_of_failures_and_delays(self) -> None:
        for kind, expected in (
            ("failed", [str(JULIEN)]),
            ("delayed", [str(JULIEN)]),
            ("delivered", []),
            ("relayed", []),
        ):
            self.assertEqual(self.told(self.office(), kind, message(), (recipient(), UNKNOWN)), expected, kind)

    def test_who_said_what_they_want_hears_that_and_no_more(self) -> None:
        kinds: tuple[Kind, ...] = ("failed", "delayed", "delivered", "expanded", "relayed")
        for notify, expected in (
            ("NEVER", ""),
            ("FAILURE", "failed"),
            ("DELAY", "delayed"),
            ("SUCCESS", "delivered expanded relayed"),
            ("SUCCESS,FAILURE,DELAY", " ".join(kinds)),
        ):
            office = self.office("bounce", "delay")
            heard = [kind for kind in kinds if office.about(kind, message(), (recipient(notify=notify), UNKNOWN))]
            self.assertEqual(" ".join(heard), expected, notify)

    def test_of_several_recipients_only_those_are_told_of_for_whom_it_was_wished(self) -> None:
        heard = self.office().heard(
            "failed", message(), (recipient(notify="NEVER"), UNKNOWN), (recipient(STAFF, notify="FAILURE"), FULL)
        )
        self.assertEqual(heard[str(JULIEN)].field("Final-Recipient"), [f"rfc822; {STAFF}"])

    def test_the_owner_of_a_list_hears_of_its_trouble_and_the_sender_that_it_was_served(self) -> None:
        member = recipient(NEL, STAFF, OWNER, notify="SUCCESS,FAILURE,DELAY", expanded=True)
        for kind in ("failed", "delayed"):
            self.assertEqual(self.told(self.office(), kind, message(), (member, BUSY)), [str(OWNER)], kind)
        heard = self.office().heard("expanded", message(), (member, ARRIVED))[str(JULIEN)]
        self.assertEqual(heard.field("Action"), ["delivered"])
        self.assertEqual(heard.field("Final-Recipient"), [f"rfc822; {STAFF}"])

    def test_that_an_alias_of_many_was_served_is_told_as_expanded(self) -> None:
        heard = self.office().heard(
            "expanded", message(), (recipient(NEL, STAFF, notify="SUCCESS", expanded=True), ARRIVED)
        )
        self.assertEqual(heard[str(JULIEN)].field("Action"), ["expanded"])


class HowMuchComesBackTests(BounceCase):
    def returned(
        self, office: Office, kind: Kind, about: Message, *told: tuple[Recipient, Status], **more: Any
    ) -> list[str]:
        return [one.original.get_content_type() for one in office.heard(kind, about, *told, **more).values()]

    def test_the_header_or_all_of_it_where_the_sender_wants_it_back(self) -> None:
        for ret, expected in (("", "text/rfc822-headers"), ("HDRS", "text/rfc822-headers"), ("FULL", "message/rfc822")):
            self.assertEqual(
                self.returned(self.office(), "failed", message(ret=ret), (recipient(), UNKNOWN)), [expected], ret
            )

    def test_of_a_larger_message_the_header_and_of_what_did_not_fail_too(self) -> None:
        office = self.office(size_limit=100)
        self.assertEqual(
            self.returned(office, "failed", message(ret="FULL"), (recipient(), UNKNOWN)), ["text/rfc822-headers"]
        )
        self.assertEqual(
            self.returned(self.office(), "delayed", message(ret="FULL"), (recipient(), BUSY)), ["text/rfc822-headers"]
        )

    def test_the_owner_of_a_list_has_not_asked_for_it(self) -> None:
        told = (recipient(NEL, STAFF, OWNER), UNKNOWN)
        self.assertEqual(self.returned(self.office(), "failed", message(ret="FULL"), told), ["text/rfc822-headers"])

    def test_postmaster_gets_all_of_what_nobody_else_will_get(self) -> None:
        told = (recipient(sender=STRANGER), UNKNOWN)
        self.assertEqual(self.returned(self.office(), "failed", message(STRANGER), told), ["message/rfc822"])

    def test_a_large_report_is_a_flushed_file_that_can_be_discarded(self) -> None:
        office = self.office(size_limit=10_000_000)
        letter = content(LETTER + b"From: here\n" * 10_000)
        ((envelope, _, text),) = office.about("failed", message(ret="FULL"), (recipient(), UNKNOWN), text=letter)
        self.assertEqual(os.listdir(office.path), [envelope.queue_id])
        path = os.path.join(office.path, envelope.queue_id)
        self.assertEqual((os.stat(path).st_mode & 0o777, os.stat(path).st_size), (0o600, text.size))
        self.assertGreater(text.size, IN_MEMORY)
        self.assertEqual(parsed(text).returned.get_payload().count("From: here\n"), 10_000)
        text.discard()
        self.assertEqual(os.listdir(office.path), [])

    def test_a_message_that_cannot_be_read_any_more_is_reported_all_the_same(self) -> None:
        for lost in (Content(500, name="GONE", path="/nonexistent/GONE"), self.shortened()):
            office = self.office()
            heard = office.heard("failed", message(ret="FULL"), (recipient(), UNKNOWN), text=lost)[str(JULIEN)]
            self.assertEqual(heard.field("Status"), ["5.1.1"])
            self.assertEqual(heard.original.get_content_type(), "text/rfc822-headers")
            self.assertIn("portable", heard.returned["Received"])
            self.assertEqual(os.listdir(office.path), [])

    def shortened(self) -> Content:
        path = self.mktemp()
        with open(path, "wb") as file:
            file.write(LETTER)
        return Content(len(LETTER) + 1000, name="SHORT", path=path)


class NobodyToTellTests(BounceCase):
    def test_of_mail_from_nobody_postmaster_hears_that_it_failed_and_of_nothing_else(self) -> None:
        told = (recipient(sender=NULL_SENDER), UNKNOWN)
        heard = self.office().heard("failed", message(NULL_SENDER), told)
        self.assertEqual(list(heard), [str(POSTMASTER)])
        self.assertIn("its sender cannot be told", heard[str(POSTMASTER)].paragraphs[0])
        self.assertIn("without a sender", heard[str(POSTMASTER)].paragraphs[0])
        for kind in ("delayed", "delivered", "expanded"):
            self.assertEqual(self.told(self.office("delay"), kind, message(NULL_SENDER), told), [], kind)

    def test_a_sender_who_wished_for_no_report_is_not_replaced_by_postmaster(self) -> None:
        told = (recipient(sender=NULL_SENDER, notify="NEVER"), UNKNOWN)
        self.assertEqual(self.told(self.office(), "failed", message(NULL_SENDER), told), [])

    def test_an_unknown_or_foreign_sender_is_replaced_by_postmaster(self) -> None:
        for sender in (STRANGER, Address("gone", DOMAIN)):
            told = (recipient(sender=sender, notify="SUCCESS,FAILURE,DELAY"), UNKNOWN)
            heard = self.office("bounce").heard("failed", message(sender), told)
            self.assertEqual(list(heard), [str(POSTMASTER)])
            self.assertIn(f"from {sender} to", heard[str(POSTMASTER)].paragraphs[0])
            self.assertEqual(self.told(self.office("delay"), "delayed", message(sender), told), [])
            self.assertEqual(self.told(self.office(), "delivered", message(sender), told), [])

    def test_a_report_that_cannot_be_delivered_is_shown_to_postmaster_and_then_to_nobody(self) -> None:
        office = self.office()
        ((first, (to,), text),) = office.about("failed", message(), (recipient(), UNKNOWN))
        ((second, (to_postmaster,), text),) = office.about("failed", first, (to, UNKNOWN), text=text)
        self.assertEqual(to_postmaster.original, POSTMASTER)
        self.assertEqual(parsed(text).returned.get_content_type(), "multipart/report")
        self.assertEqual(office.about("failed", second, (to_postmaster, UNKNOWN), text=text), [])

    def test_mail_from_nobody_outside_to_postmaster_is_not_taken_for_a_report_of_ours(self) -> None:
        foreign = message(NULL_SENDER, client="unknown[192.168.1.5]", protocol="ESMTP")
        told = (recipient(POSTMASTER, sender=NULL_SENDER), BUSY)
        self.assertEqual(self.told(self.office(), "failed", foreign, told), [str(POSTMASTER)])

    def test_where_not_even_postmaster_can_be_told_the_message_stays(self) -> None:
        office = self.office()
        del office.mailboxes["postmaster"]
        with self.assertRaises(TemporaryFailure):
            office.about("failed", message(STRANGER), (recipient(sender=STRANGER), UNKNOWN))
        self.assertEqual(self.told(office, "failed", message(), (recipient(), UNKNOWN)), [str(JULIEN)])

    def test_where_it_cannot_be_known_now_it_is_said_later_and_nothing_is_left(self) -> None:
        office = self.office(size_limit=10_000_000)
        office.trouble["owner-staff"] = LATER
        letter = content(LETTER + b"From: here\n" * 10_000)
        told = ((recipient(), UNKNOWN), (recipient(NEL, STAFF, OWNER), UNKNOWN))
        with self.assertRaises(TemporaryFailure):
            office.about("failed", message(ret="FULL"), *told, text=letter)
        self.assertIn(str(JULIEN), office.asked)
        self.assertEqual(os.listdir(office.path), [])

    def test_a_disk_without_room_is_told_as_such(self) -> None:
        office = self.office(size_limit=10_000_000)
        os.rmdir(office.path)
        letter = content(LETTER + b"x\n" * 100_000)
        with self.assertRaises(TemporaryFailure) as raised:
            office.about("failed", message(STRANGER), (recipient(sender=STRANGER), UNKNOWN), text=letter)
        self.assertEqual(raised.exception.status.enhanced, "4.3.0")
        self.assertIn("cannot make a report", office.lines[0])


class CopiesTests(BounceCase):
    def test_postmaster_gets_copies_of_the_classes_that_are_set(self) -> None:
        for kind, name in (("failed", "bounce"), ("delayed", "delay")):
            both = [str(JULIEN), str(POSTMASTER)]
            self.assertEqual(self.told(self.office(name), kind, message(), (recipient(), BUSY)), both)
            others = {"bounce", "delay", "2bounce", "policy", "protocol", "resource", "software"} - {name}
            self.assertEqual(self.told(self.office(*others), kind, message(), (recipient(), BUSY)), both[:1])

    def test_a_copy_has_the_header_alone_and_says_what_it_is(self) -> None:
        heard = self.office("bounce").heard("failed", message(ret="FULL"), (recipient(), UNKNOWN))
        copy = heard[str(POSTMASTER)]
        self.assertEqual(copy.original.get_content_type(), "text/rfc822-headers")
        self.assertTrue(copy.whole["Subject"].startswith("Postmaster Copy: "))
        self.assertIn("its sender is told", copy.paragraphs[0])

    def test_successes_are_between_sender_and_recipient(self) -> None:
        told = (recipient(notify="SUCCESS"), ARRIVED)
        self.assertEqual(self.told(self.office("bounce", "delay"), "delivered", message(), told), [str(JULIEN)])
