"""Twin of lanmail/admin/mailq.py."""

from __future__ import annotations

import os
import time
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from lanmail.admin.mailq import Listing, date, envelope, text

NEL: dict[str, Any] = {"address": "nel@x.de", "mailbox": "nel", "tries": 0, "held": False}
LOCKED = "mailbox is locked by pid 4711 (mutt)"


def told(*recipients: dict[str, Any], **facts: Any) -> dict[str, Any]:
    return {
        "queue_name": "deferred",
        "queue_id": "222CF6745D",
        "arrival_time": 1795552594,
        "message_size": 3000,
        "sender": "julien@x.de",
        "recipients": [NEL | one for one in recipients or ({},)],
    } | facts


class MailqTests(SynchronousTestCase):
    def setUp(self) -> None:
        zone = os.environ.get("TZ")
        self.addCleanup(time.tzset)
        self.addCleanup(lambda: os.environ.pop("TZ") if zone is None else os.environ.update(TZ=zone))
        os.environ["TZ"] = "CET-1"
        time.tzset()

    def list(self, *messages: dict[str, Any]) -> str:
        listing = Listing()
        lines = [line for message in messages for line in listing.lines(message)]
        return "\n".join((*lines, *listing.end()))

    def test_an_empty_queue_says_so(self) -> None:
        self.assertEqual(self.list(), "Mail queue is empty")

    def test_a_listing_looks_like_mailq(self) -> None:
        locked = {"delay_reason": LOCKED}
        self.assertEqual(
            self.list(
                told(locked, locked | {"address": "bert@x.de"}, queue_name="active"),
                told(queue_name="hold", queue_id="222CF6745E", message_size=123, sender="MAILER-DAEMON"),
            ),
            """\
-Queue ID-  --Size-- ----Arrival Time---- -Sender/Recipient-------
222CF6745D*    3000 Tue Nov 24 21:36:34  julien@x.de
                                        (mailbox is locked by pid 4711 (mutt))
                                         nel@x.de
                                         bert@x.de

222CF6745E!     123 Tue Nov 24 21:36:34  MAILER-DAEMON
                                         nel@x.de

-- 3 Kbytes in 2 Requests.""",
        )

    def test_one_request_is_one(self) -> None:
        self.assertTrue(self.list(told()).endswith("\n-- 2 Kbytes in 1 Request."))

    def test_a_long_reason_is_not_cut_and_none_behind_another_is_unavailable(self) -> None:
        listed = self.list(told({"delay_reason": "x" * 90}, {"address": "bert@x.de"}))
        self.assertIn(f"\n({'x' * 90})\n", listed)
        self.assertIn("(reason unavailable)\n" + " " * 41 + "bert@x.de", listed)

    def test_what_came_from_outside_moves_no_cursor(self) -> None:
        evil = "\x1b[2J\x9b2J\r\n\u202efoo"
        facts = {
            "sender": evil,
            "client": evil,
            "helo": evil,
            "login": "",
            "protocol": "",
            "message_id": evil,
            "ret": "",
            "envid": evil,
        }
        message = told(
            {"address": evil, "delay_reason": evil, "status": evil, "original_address": evil, "rule": evil}, **facts
        )
        for line in (*self.list(message).split("\n"), *envelope(message)):
            self.assertTrue(line.isprintable(), ascii(line))

    def test_a_text_keeps_its_lines_and_tabs_and_nothing_else_of_a_terminal(self) -> None:
        self.assertEqual(text("a\tb\r\n\x1b]0;x\x07\n\nDianaël\n"), "a\tb\\r\n\\x1b]0;x\\x07\n\nDianaël\n")

    def test_an_envelope_says_how_each_recipient_stands(self) -> None:
        late = {
            "delay_reason": LOCKED,
            "status": "451 4.2.0",
            "tries": 2,
            "next_try": 1795552694,
            "original_address": "staff@x.de",
            "rule": "alias staff",
        }
        held = {
            "address": "bert@x.de",
            "mailbox": "bert",
            "held": True,
            "tries": 1,
            "delay_reason": LOCKED,
            "status": "451 4.2.0",
        }
        facts = {
            "client": "pc5[192.168.1.5]",
            "helo": "pc5",
            "login": "julien",
            "protocol": "ESMTPA",
            "message_id": "<a@b>",
        }
        self.assertEqual(
            "\n".join(envelope(told(late, held, ret="FULL", envid="QQ7", **facts))),
            """\
queue id:   222CF6745D (deferred)
arrived:    Tue Nov 24 21:36:34 2026
size:       3000 octets
sender:     julien@x.de
client:     pc5[192.168.1.5], ESMTPA, helo pc5, logged in as julien
message id: <a@b>
report:     RET=FULL ENVID=QQ7
recipient:  nel@x.de (for staff@x.de, alias staff, mailbox nel)
            next try Tue Nov 24 21:38:14 2026, tried 2 times: 451 4.2.0 mailbox is locked by pid 4711 (mutt)
recipient:  bert@x.de (mailbox bert)
            on hold, tried 1 time: 451 4.2.0 mailbox is locked by pid 4711 (mutt)""",
        )

    def test_a_recipient_may_be_at_its_turn_or_without_a_service_or_done(self) -> None:
        facts = {"client": "local", "helo": "", "login": "", "protocol": "", "message_id": "", "ret": "", "envid": ""}
        turn = list(envelope(told({"next_try": 1}, queue_name="active", **facts)))
        self.assertEqual(turn[-1].strip(), "about to be delivered")
        self.assertEqual(list(envelope(told(**facts)))[-1].strip(), "waits until the service runs")
        done = list(envelope(told(**facts) | {"recipients": []}))
        self.assertEqual(done[-1], "recipient:  none that waits: every mailbox has it")

    def test_a_date_is_english_and_has_its_second_space(self) -> None:
        self.assertEqual(date(1), "Thu Jan  1 01:00:01 1970")
