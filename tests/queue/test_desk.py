"""Twin of lanmail/queue/desk.py."""

from __future__ import annotations

import base64
import dataclasses
import json
import os
from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from lanmail.address import Address
from lanmail.queue.desk import PAGE, Desk
from lanmail.queue.questions import LONGEST_QUESTION, Question
from lanmail.spool.incoming import Content
from lanmail.status import TemporaryFailure
from tests.queue.waiting import LOCKED, ListedQueue, content, here, message, recipient

ONE = "222CF6745D"
TWO = "222CF6745E"


class DeskTests(SynchronousTestCase):
    def ask(self, queue: ListedQueue, verb: str, *ids: str, running: bool = True) -> list[dict[str, Any]]:
        desk = Desk(queue, here, lambda: 1000.0, lambda: 5000.0, running=running)

        async def whole() -> bytes:
            return b"".join([piece async for piece in desk.answer(Question(verb, ids or None), 42)])

        said = self.successResultOf(Deferred.fromCoroutine(whole()))
        assert said.endswith(b"\n")
        return [json.loads(line) for line in said.splitlines()]

    def test_a_message_is_told_in_the_words_of_postqueue(self) -> None:
        row = recipient(1, original=Address("staff", "x.de"), rule="alias staff", reason=LOCKED, tries=2, due=1060.0)
        told = self.ask(ListedQueue((message(ONE), [row])), "list")
        self.assertEqual(
            told,
            [
                {
                    "messages": [
                        {
                            "queue_name": "deferred",
                            "queue_id": ONE,
                            "arrival_time": 1795552594,
                            "message_size": 3000,
                            "forced_expire": False,
                            "sender": "julien@iscb-corporation.com",
                            "recipients": [
                                {
                                    "address": "nel@iscb-corporation.com",
                                    "delay_reason": LOCKED.text,
                                    "status": "451 4.2.0",
                                    "original_address": "staff@x.de",
                                    "rule": "alias staff",
                                    "mailbox": "nel",
                                    "tries": 2,
                                    "held": False,
                                    "next_try": 5060,
                                }
                            ],
                        }
                    ]
                },
                {"ok": {"messages": 1}},
            ],
        )

    def name_of(self, *rows: Any, running: bool = True) -> str:
        told = self.ask(ListedQueue((message(ONE), list(rows))), "list", running=running)
        return str(told[0]["messages"][0]["queue_name"])

    def test_a_message_is_active_while_some_recipient_is_due_and_on_hold_when_all_are(self) -> None:
        late, now, held = recipient(1, due=1001.0), recipient(2, due=1000.0), recipient(3, due=0.0, held=True)
        self.assertEqual(self.name_of(late), "deferred")
        self.assertEqual(self.name_of(late, now, held), "active")
        self.assertEqual(self.name_of(late, held), "deferred")
        self.assertEqual(self.name_of(held), "hold")
        self.assertEqual(self.name_of(now, running=False), "deferred")

    def test_a_message_whose_mailboxes_all_have_it_is_about_to_go(self) -> None:
        told = self.ask(ListedQueue((message(ONE), [])), "show", ONE)[0]["message"]
        self.assertEqual((told["queue_name"], told["recipients"]), ("active", []))

    def test_the_null_sender_has_a_name(self) -> None:
        told = self.ask(ListedQueue((message(ONE, ""), [recipient(1)])), "list")
        self.assertEqual(told[0]["messages"][0]["sender"], "MAILER-DAEMON")

    def test_a_long_queue_is_read_a_page_at_a_time_and_each_message_once(self) -> None:
        count = 3 * PAGE + 1
        queue = ListedQueue(
            *(
                (message(f"{number:010X}"), [recipient(2 * number + 1), recipient(2 * number + 2)])
                for number in range(count)
            )
        )
        told = self.ask(queue, "list")
        self.assertEqual([one["queue_id"] for line in told[:-1] for one in line["messages"]], list(queue.entries))
        self.assertEqual(told[-1], {"ok": {"messages": count}})
        self.assertEqual(queue.pages, 8)
        self.assertEqual({len(line["messages"]) for line in told[:6]}, {PAGE // 2})

    def test_nothing_is_read_before_somebody_takes_what_was(self) -> None:
        queue = ListedQueue(*((message(f"{number:010X}"), [recipient(number + 1)]) for number in range(3 * PAGE)))
        answer = Desk(queue, here, lambda: 0.0, lambda: 0.0).answer(Question("list"), 0)
        self.successResultOf(Deferred.fromCoroutine(anext(answer)))  # type: ignore[arg-type]
        self.assertEqual(queue.pages, 1)

    def test_a_text_of_any_length_comes_in_short_lines_and_as_it_was_sent(self) -> None:
        sent = b"Subject: x\n\nFrom here\n>From there\n" + os.urandom(300_000)
        queue = ListedQueue(
            (message(ONE), [recipient(1)]),
            text=content(sent.replace(b">From ", b">>From ").replace(b"\nFrom ", b"\n>From ")),
        )
        told = self.ask(queue, "show", ONE)
        self.assertEqual(b"".join(base64.b64decode(line.get("text", "")) for line in told), sent)
        self.assertLess(max(len(json.dumps(line)) for line in told), LONGEST_QUESTION + 100)
        self.assertEqual(told[-1], {"ok": {}})

    def test_the_envelope_says_where_it_came_from(self) -> None:
        told = self.ask(ListedQueue((message(ONE, login="julien", helo="pc5"), [recipient(1)])), "show", ONE)[0][
            "message"
        ]
        self.assertEqual((told["client"], told["helo"], told["login"]), ("pc5[192.168.1.5]", "pc5", "julien"))

    def test_a_message_that_is_not_there_is_said_to_be_missing(self) -> None:
        self.assertEqual(self.ask(ListedQueue(), "show", ONE), [{"ok": {"missing": [ONE]}}])

    def test_a_file_that_cannot_be_read_is_trouble_as_long_as_its_message_is_there(self) -> None:
        gone = Content(10, name=ONE, path=os.path.join(self.mktemp(), ONE))
        queue = ListedQueue((message(ONE), [recipient(1)]), text=gone)
        desk = Desk(queue, here, lambda: 0.0, lambda: 0.0)

        async def whole(delivered_meanwhile: bool) -> None:
            async for _ in desk.answer(Question("show", (ONE,)), 0):
                if delivered_meanwhile:
                    queue.entries.clear()

        self.failureResultOf(Deferred.fromCoroutine(whole(False)), TemporaryFailure)
        self.successResultOf(Deferred.fromCoroutine(whole(True)))

    def test_a_change_says_how_many_it_changed_and_why_not_the_others(self) -> None:
        queue = ListedQueue((message(ONE), [recipient(1)]), (message(TWO), [recipient(2, held=True)]))
        told = self.ask(queue, "hold", ONE, TWO, "0000000001")
        self.assertEqual(told, [{"ok": {"messages": 1, "missing": ["0000000001"], "idle": [TWO], "running": True}}])
        self.assertEqual(queue.asked, [("hold", (ONE, TWO, "0000000001"), 42)])

    def test_every_change_is_passed_on_for_some_and_for_all(self) -> None:
        for verb in ("flush", "hold", "release", "requeue", "delete"):
            row = dataclasses.replace(recipient(1), reason=LOCKED, held=verb == "release")
            queue = ListedQueue((message(ONE), [row]))
            told = self.ask(queue, verb)
            self.assertEqual(queue.asked, [(verb, None, 42)])
            self.assertEqual(told, [{"ok": {"messages": 1, "missing": [], "idle": [], "running": True}}])
