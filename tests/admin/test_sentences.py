"""A story as it is told to whoever asks."""

from __future__ import annotations

import time

from twisted.trial.unittest import SynchronousTestCase

from lanmail.admin.sentences import moment, paragraph, reason, refused, size, span
from lanmail.spool.history_events import FACTS, Event, Fact
from lanmail.spool.stories import Refusal, Story

START = time.mktime((2026, 11, 24, 10, 31, 2, 0, 0, -1))
NOW = START + 3600
JULIEN, NEL, STAFF = "julien@iscb-corporation.com", "nel@iscb-corporation.com", "staff@iscb-corporation.com"


def story(*events: tuple[float, str, dict[str, Fact]], queue_id: str = "222CF6745D") -> Story:
    """Each event with its seconds after START."""
    return Story(queue_id, tuple(Event(n, kind, START + after, facts) for n, (after, kind, facts) in enumerate(events)))


def told(*events: tuple[float, str, dict[str, Fact]], queue_id: str = "222CF6745D") -> list[str]:
    return list(paragraph(story(*events, queue_id=queue_id), (), NOW))


RECEIVED: tuple[float, str, dict[str, Fact]] = (
    0,
    "received",
    {
        "sender": JULIEN,
        "client": "unknown[192.168.1.5]",
        "helo": "PC-JULIEN",
        "protocol": "ESMTP",
        "size": 1234,
        "message_id": "<1@pc>",
    },
)
FETCHED: tuple[float, str, dict[str, Fact]] = (68, "fetched", {"user": "nel", "client": "192.168.1.3", "uidl": "x"})
EXPUNGED: tuple[float, str, dict[str, Fact]] = (69, "expunged", {"user": "nel", "client": "192.168.1.3", "uidl": "x"})


class ParagraphTests(SynchronousTestCase):
    def test_a_message_from_its_client_to_its_reader(self) -> None:
        members: list[tuple[float, str, dict[str, Fact]]] = [
            (0, "recipient", {"original": STAFF, "delivered_to": f"{user}@x", "user": user, "rule": "alias staff"})
            for user in ("nel", "julien")
        ]
        lines = told(RECEIVED, *members, (0, "delivered", {"user": "nel", "delay": 0.1}), FETCHED, EXPUNGED)
        self.assertEqual(
            "\n".join(lines),
            """\
222CF6745D  from julien@iscb-corporation.com, 1.2 KB, <1@pc>
  10:31:02  received from 192.168.1.5 (PC-JULIEN) by ESMTP for staff@iscb-corporation.com
  10:31:02  staff@iscb-corporation.com became nel, julien (alias staff)
  10:31:02  delivered to the mailbox of nel
  10:32:10  fetched by nel from 192.168.1.3 with POP3
  10:32:11  deleted by nel there""",
        )

    def test_a_message_that_did_not_arrive(self) -> None:
        full = "452 4.2.2 <nel@x>: Recipient address rejected: Mailbox is full"
        lines = told(
            RECEIVED,
            (0, "recipient", {"original": NEL, "delivered_to": NEL, "user": "nel"}),
            (1, "deferred", {"recipient": NEL, "user": "nel", "status": full, "wait": 300}),
            (432001, "failed", {"recipient": NEL, "status": full}),
            (432001, "reported", {"what": "failed", "to": JULIEN, "report": "222CF6745E"}),
        )
        self.assertEqual(
            lines[2:],
            [
                f"  10:31:03  not delivered to {NEL} yet: Mailbox is full (452 4.2.2); the next try is in 5 min",
                f"  2026-11-29 10:31:03  given up for {NEL}: Mailbox is full (452 4.2.2)",
                f"  2026-11-29 10:31:03  {JULIEN} was told that it failed (report 222CF6745E)",
            ],
        )

    def test_what_was_refused_beside_it_comes_first(self) -> None:
        beside = Refusal("c", JULIEN, "nell@x", "550 5.1.1 <nell@x>: User unknown", "pc", "222CF6745D", START, START, 1)
        lines = list(paragraph(story(RECEIVED), [beside], NOW))
        self.assertEqual(lines[1], "  10:31:02  nell@x was refused: User unknown (550 5.1.1)")

    def test_what_came_from_us_with_tls_with_a_login_and_for_many(self) -> None:
        self.assertIn("written by lanmail itself", told((0, "received", {"client": "local"}))[1])
        facts: dict[str, Fact] = {**RECEIVED[2], "tls": "TLSv1.3", "login": "julien"}
        asked: list[tuple[float, str, dict[str, Fact]]] = [(0, "recipient", {"original": f"{n}@x"}) for n in range(9)]
        self.assertEqual(
            told((0, "received", facts), *asked)[1],
            "  10:31:02  received from 192.168.1.5 (PC-JULIEN) by ESMTP over TLSv1.3 from julien, who was logged in,"
            " for 0@x, 1@x, 2@x and 6 more",
        )
        self.assertTrue(
            told((0, "received", facts))[1].endswith("by ESMTP over TLSv1.3 from julien, who was logged in")
        )

    def test_deleted_elsewhere_and_deleted_unread(self) -> None:
        elsewhere: tuple[float, str, dict[str, Fact]] = (70, "expunged", {"user": "nel", "client": "192.168.1.9"})
        self.assertEqual(told(FETCHED, elsewhere)[-1], "  10:32:12  deleted by nel from 192.168.1.9 with POP3")
        self.assertTrue(
            told(EXPUNGED)[-1].endswith("deleted by nel from 192.168.1.3 with POP3, without having been fetched")
        )

    def test_of_a_letter_that_did_not_come_in_here_the_message_id_is_told(self) -> None:
        facts: dict[str, Fact] = {**FETCHED[2], "message_id": "<old@x>"}
        lines = told((0, "fetched", facts), queue_id="")
        self.assertEqual(lines[0], "a letter that did not come in here, <old@x>")
        self.assertEqual(told(FETCHED)[0], "222CF6745D  how it came in is not kept (any more)")

    def test_every_kind_has_its_sentence_also_where_no_fact_was_told(self) -> None:
        for kind in FACTS:
            if kind not in ("refused", "recipient"):
                line = told((0, kind, {}))[1].partition("  10:31:02  ")[2]
                self.assertIn(" ", line, kind)

    def test_what_an_administrator_did_is_told_with_the_account(self) -> None:
        self.assertEqual(told((0, "held", {"by": 0}))[1], "  10:31:02  put on hold by root")
        self.assertEqual(
            told((0, "deleted", {"by": 4294967290}))[1], "  10:31:02  deleted from the queue by uid 4294967290"
        )


class WordsTests(SynchronousTestCase):
    def test_a_refusal_tells_who_wrote_to_whom_why_and_how_often(self) -> None:
        many = Refusal("192.168.1.5", JULIEN, "julien@isbc", "550 5.4.4 no", "PC", "", START - 60, START, 3)
        self.assertEqual(
            refused(many, "unknown domain; nearest iscb", NOW),
            "10:31:02  julien@isbc was refused: unknown domain; nearest iscb."
            f" From {JULIEN} at 192.168.1.5 (PC), 3 times since 10:30:02",
        )
        once = Refusal("192.168.1.5", "", "nel@x", "452 4.2.2 full", "", "", START, START, 1)
        self.assertEqual(refused(once, "full", NOW), "10:31:02  nel@x was put off: full. From <> at 192.168.1.5")

    def test_a_status_in_words(self) -> None:
        self.assertEqual(reason("554 5.7.1 <a@b>: Relay access denied"), "Relay access denied (554 5.7.1)")
        self.assertEqual(reason("something else"), "something else")

    def test_sizes_and_spans_are_rounded_for_people(self) -> None:
        self.assertEqual(
            [size(n) for n in (0, 999, 1234, 51_200, 123_456, 10_240_000, 5e9)],
            ["0 octets", "999 octets", "1.2 KB", "51.2 KB", "123 KB", "10.2 MB", "5000 MB"],
        )
        self.assertEqual(
            [span(n) for n in (0.4, 119, 300, 7200, 86400, 432000)], ["0 s", "119 s", "5 min", "2 h", "24 h", "5 days"]
        )

    def test_only_today_goes_without_a_date(self) -> None:
        self.assertEqual(moment(START, NOW), "10:31:02")
        self.assertEqual(moment(START, NOW + 86400), "2026-11-24 10:31:02")
