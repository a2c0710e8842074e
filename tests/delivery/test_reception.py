from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.logger import LogEvent, formatEvent, globalLogPublisher
from twisted.mail.interfaces import IMessageDelivery
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from lanmail.address import NULL_SENDER
from lanmail.delivery.reception import AT_ONCE
from lanmail.interfaces import Greeting, ITransactions, MailParameters, RecipientParameters, User
from lanmail.mailbox.index import scan
from lanmail.mailbox.text import read_text
from lanmail.network import Peer
from lanmail.spool.entries import Message, Recipient
from lanmail.spool.incoming import Content
from lanmail.status import DeliveryFailure, PermanentFailure, Status, TemporaryFailure
from tests.delivery.house import House, address, at_once


class ReceptionTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.events: list[LogEvent] = []
        globalLogPublisher.addObserver(self.events.append)
        self.addCleanup(globalLogPublisher.removeObserver, self.events.append)

    def house(self, *users: str, **options: Any) -> House:
        house = House(self.mktemp(), *users, **options)
        self.addCleanup(house.close)
        return house

    def log(self) -> list[str]:
        mine = ("smtpd", "cleanup", "qmgr", "local")
        return [
            f"{event['log_namespace']}: {formatEvent(event)}"
            for event in self.events
            if event.get("log_namespace") in mine
        ]

    def send(self, house: House, text: bytes, *recipients: str, **options: Any) -> str:
        return self.successResultOf(Deferred.fromCoroutine(house.send(text, *recipients, **options)))

    def refusal(self, house: House, text: bytes, *recipients: str) -> str:
        sent = Deferred.fromCoroutine(house.send(text, *recipients))
        failure = self.failureResultOf(sent, PermanentFailure, TemporaryFailure).value
        assert isinstance(failure, DeliveryFailure)
        return str(failure.status)


class DeliveryTests(ReceptionTestCase):
    def test_a_message_stands_in_the_mailbox_as_postfix_would_write_it(self) -> None:
        house = self.house("nel")
        queue_id = self.send(house, b"Subject: essai\r\n\r\nBonjour\r\nFrom here on\r\n", "nel@lan.example")
        lines = house.contents("nel").decode().split("\n")
        self.assertRegex(lines[0], r"\AFrom julien@lan\.example  Mon Nov 23 \d\d:\d\d:\d\d 2026\Z")
        self.assertEqual(
            lines[1:4],
            ["Return-Path: <julien@lan.example>", "X-Original-To: nel@lan.example", "Delivered-To: nel@lan.example"],
        )
        self.assertEqual(
            lines[4:6],
            [
                "Received: from [192.168.1.5] (unknown [192.168.1.5])",
                f"\tby srv.lan.example (lanmail) with ESMTP id {queue_id}",
            ],
        )
        self.assertRegex(lines[6], r"\A\tfor <nel@lan\.example>; Mon, 23 Nov 2026 ")
        self.assertEqual(lines[7:], ["Subject: essai", "", "Bonjour", ">From here on", "", ""])
        self.assertEqual(house.leftovers(), [])

    def test_a_few_copies_are_made_at_once_and_many_in_a_thread(self) -> None:
        names = [f"u{number}" for number in range(AT_ONCE + 1)]
        works: list[str] = []

        def in_thread(work: Any, *arguments: Any) -> Any:
            works.append(work.__name__)
            return at_once(work, *arguments)

        house = self.house(*names, aliases=f"all: {', '.join(names)}\n", in_thread=in_thread)
        self.send(house, b"Subject: x\r\n\r\n", "u1")
        self.assertNotIn("_copies", works)
        self.send(house, b"Subject: x\r\n\r\n", "all")
        self.assertEqual(works.count("_copies"), 1)
        self.assertTrue(all(b"Delivered-To: " in house.contents(name) for name in names))
        looped = b"Delivered-To: u7@lan.example\r\n\r\n"
        self.assertIn("5.4.6", self.refusal(house, looped, "all"))

    def test_one_message_for_overlapping_recipients_is_one_copy_in_each_mailbox(self) -> None:
        house = self.house("ann", "bob", "eve", aliases="all: ann, bob, eve\nboys: bob\n", recipient_delimiter="+")
        self.send(
            house,
            b"\r\nx\r\n",
            "boys@lan.example",
            "all@lan.example",
            "ann@lan.example",
            "ann+x@lan.example",
            "ann@lan.example",
        )
        for name in ("ann", "bob", "eve"):
            self.assertEqual(house.contents(name).count(b"From julien@"), 1, name)
        self.assertIn(b"X-Original-To: boys@lan.example\nDelivered-To: bob@lan.example\n", house.contents("bob"))
        self.assertIn(b"X-Original-To: all@lan.example\nDelivered-To: ann@lan.example\n", house.contents("ann"))
        self.assertNotIn(b"\tfor <", house.contents("ann"))

    def test_second_messages_follow_after_an_empty_line(self) -> None:
        house = self.house("ann")
        house.put("ann", b"From x  Mon Nov 23 12:00:00 2026\n\nno line end")
        self.send(house, b"\r\nx\r\n", "ann@lan.example")
        self.assertIn(b"no line end\n\nFrom julien@lan.example  ", house.contents("ann"))

    def test_the_null_sender_is_taken_and_written(self) -> None:
        house = self.house("ann")
        self.send(house, b"\r\nx\r\n", "ann@lan.example", sender="")
        self.assertTrue(house.contents("ann").startswith(b"From MAILER-DAEMON  "))
        self.assertIn(b"\nReturn-Path: <>\n", house.contents("ann"))

    def test_a_sender_without_a_domain_is_completed(self) -> None:
        house = self.house("ann")
        avatar = house.reception(User("ann", 0, 0))
        self.assertEqual(avatar.login, "ann")
        self.successResultOf(
            Deferred.fromCoroutine(
                avatar.begin(address("ann"), MailParameters(smtputf8=True), Greeting("h", True), Peer("203.0.113.9"))
            )
        )
        self.successResultOf(Deferred.fromCoroutine(avatar.recipient(address("ann"))))
        self.successResultOf(Deferred.fromCoroutine(avatar.data().commit()))
        self.assertIn(b"Return-Path: <ann@lan.example>", house.contents("ann"))
        self.assertIn(b"with UTF8SMTPA id ", house.contents("ann"))

    def test_state_and_dropped_headers_do_not_arrive(self) -> None:
        house = self.house("ann")
        self.send(
            house,
            b"Status: RO\r\nBcc: eve,\r\n bob\r\nX-UIDL: 1\r\nReturn-Path: <x>\r\nTo: ann\r\n\r\nBcc: body\r\n",
            "ann",
        )
        text = house.contents("ann")
        for gone in (b"Status:", b"X-UIDL", b"Return-Path: <x>", b"eve", b" bob"):
            self.assertNotIn(gone, text)
        self.assertTrue(text.endswith(b"\nTo: ann\n\nBcc: body\n\n"))

    def test_dev_null_is_accepted_and_told_of(self) -> None:
        house = self.house("ann", aliases="nobody: /dev/null\n")
        queue_id = self.send(house, b"\r\nx\r\n", "nobody@lan.example")
        self.assertIn(
            f"local: {queue_id}: to=<nobody@lan.example>, relay=local, delay=0, dsn=2.0.0,"
            " status=sent (delivered to file: /dev/null)",
            self.log(),
        )

    def test_an_aborted_message_leaves_nothing(self) -> None:
        house = self.house("ann")
        avatar = house.reception(None)

        async def begin() -> None:
            await avatar.begin(NULL_SENDER, MailParameters(), Greeting("h", True), Peer("192.168.1.5"))
            await avatar.recipient(address("ann"))
            incoming = avatar.data()
            for _ in range(10):
                await incoming.write(b"x" * 50_000 + b"\n")
            self.assertNotEqual(house.leftovers(), [])
            incoming.abort()

        self.successResultOf(Deferred.fromCoroutine(begin()))
        self.assertEqual((house.leftovers(), house.contents("ann")), ([], b""))

    @settings(max_examples=60, deadline=None)
    @given(
        st.lists(
            st.one_of(
                st.binary(max_size=20).map(lambda line: line.replace(b"\n", b"").rstrip(b"\r")),
                st.sampled_from(
                    [b"", b"From x", b">From x", b">>From y", b"Subject: z", b" more", b".", b"From: a", b"x" * 90_000]
                ),
            ),
            max_size=8,
        ),
        st.integers(1, 5000),
    )
    def test_what_was_sent_stands_there_to_the_octet(self, lines: list[bytes], size: int) -> None:
        text = b"".join(line + b"\r\n" for line in lines)
        house = self.house("ann", drop_headers=())
        self.send(house, text, "ann", size=size)
        self.send(house, b"Subject: the next one\r\n\r\n", "ann")
        house.close()
        path = os.path.join(house.spool, "ann")
        fd = os.open(path, os.O_RDONLY)
        try:
            index = scan(fd, os.fstat(fd))
            self.assertEqual(len(index), 2)
            back = b"".join(read_text(fd, index, 1))
        finally:
            os.close(fd)
        self.assertEqual(len(back), index.entry(1).octets)
        self.assertTrue(back.endswith(text), (back, text))
        added = back[: len(back) - len(text)]
        self.assertRegex(added, rb"(?s)\AReturn-Path: .*\r\nReceived: .* 2026 [^\n]*\r\n(\r\n)?\Z")


class SenderTests(ReceptionTestCase):
    def mail_from(self, house: House, login: str, sender: str) -> str:
        begun = Deferred.fromCoroutine(
            house.reception(house.users.known[login]).begin(
                address(sender) if sender else NULL_SENDER, MailParameters(), Greeting("pc", True), Peer("203.0.113.9")
            )
        )
        results: list[object] = []
        begun.addBoth(results.append)
        return str(results[0].value.status) if isinstance(results[0], Failure) else ""  # type: ignore[attr-defined]

    def test_whoever_logs_in_sends_as_themselves_their_tags_and_their_aliases(self) -> None:
        house = self.house("ann", "bob", aliases="sales: ann, bob\nboys: bob\n", recipient_delimiter="+")
        for mine in ("ann@lan.example", "ANN@srv.lan.example", "ann", "ann+lists@lan.example", "sales@lan.example", ""):
            self.assertEqual(self.mail_from(house, "ann", mine), "", mine)
        for other in ("bob@lan.example", "boys@lan.example", "nobody@lan.example", "ann@elsewhere.example"):
            self.assertRegex(self.mail_from(house, "ann", other), r"^553 5\.7\.1 .*not owned by user ann")


class RefusalTests(ReceptionTestCase):
    def test_a_message_that_made_too_many_hops(self) -> None:
        house = self.house("ann", hopcount_limit=5)
        self.send(house, b"Received: x\r\n" * 3 + b"\r\nReceived: y\r\n", "ann")
        self.assertEqual(self.refusal(house, b"Received: x\r\n" * 4 + b"\r\n", "ann"), "554 5.4.0 Error: too many hops")
        self.assertEqual(house.contents("ann").count(b"From julien"), 1)

    def test_a_message_whose_header_does_not_end(self) -> None:
        text = b"Bcc: a@lan.example,\r\n" + b" another@lan.example,\r\n" * 60_000 + b"\r\ntext\r\n"
        house = self.house("ann")
        self.assertEqual(self.refusal(house, text, "ann"), "552 5.3.4 Error: message header too large")
        self.assertEqual((house.contents("ann"), house.leftovers()), (b"", []))

    def test_a_message_that_was_here_before(self) -> None:
        house = self.house("ann", "bob", aliases="x: ann\n")
        text = b"Delivered-To: Ann@lan.example\r\n\r\n"
        self.assertEqual(self.refusal(house, text, "x", "bob"), "554 5.4.6 mail forwarding loop for ann@lan.example")
        self.assertEqual(house.contents("bob"), b"")
        self.send(house, text, "bob")

    def test_one_refused_recipient_leaves_the_others(self) -> None:
        house = self.house("ann")
        avatar = house.reception(None)

        async def talk() -> None:
            await avatar.begin(address("a@b.example"), MailParameters(), Greeting("pc", False), Peer("203.0.113.9"))
            for wanted in ("who@lan.example", "x@elsewhere.example"):
                try:
                    await avatar.recipient(address(wanted))
                except PermanentFailure:
                    pass
            await avatar.recipient(address("ann@lan.example"))
            await avatar.data().commit()

        self.successResultOf(Deferred.fromCoroutine(talk()))
        self.assertEqual(house.contents("ann").count(b"From a@b.example"), 1)
        self.assertEqual(
            self.log()[:2],
            [
                "smtpd: NOQUEUE: reject: RCPT from unknown[203.0.113.9]: 550 5.1.1 <who@lan.example>: Recipient address rejected:"
                " User unknown in local recipient table; from=<a@b.example> to=<who@lan.example> proto=SMTP helo=<pc>",
                "smtpd: NOQUEUE: reject: RCPT from unknown[203.0.113.9]: 554 5.7.1 <x@elsewhere.example>: Relay access denied;"
                " from=<a@b.example> to=<x@elsewhere.example> proto=SMTP helo=<pc>",
            ],
        )


class LogTests(ReceptionTestCase):
    def test_the_story_of_a_message_in_postfix_s_words_until_the_queue_has_it(self) -> None:
        house = self.house("nel", "bob", aliases="sales: bob\n")
        queue_id = self.send(house, b"Message-ID: <1@pc>\r\n\r\nx\r\n", "nel@lan.example", "sales@lan.example")
        self.assertEqual(
            self.log(),
            [f"smtpd: {queue_id}: client=unknown[192.168.1.5]", f"cleanup: {queue_id}: message-id=<1@pc>"],
        )

    def test_who_was_refused_and_why_is_part_of_the_story(self) -> None:
        house = self.house("ann")
        self.assertIn("5.1.1", self.refusal(house, b"x\r\n", "eve@lan.example"))
        (told,) = house.told
        self.assertEqual(told[:2], ("refused", ""))
        self.assertEqual(
            (told[2]["client"], told[2]["sender"], told[2]["recipient"]),
            ("192.168.1.5", "julien@lan.example", "eve@lan.example"),
        )

    def test_a_disk_that_is_known_to_fail_is_told_at_mail(self) -> None:
        house = self.house("ann")
        full = Status(452, "4.3.1", "Insufficient system storage")
        house.reception.trouble = lambda: full
        sent = Deferred.fromCoroutine(house.send(b"x\r\n", "ann@lan.example"))
        self.assertEqual(self.failureResultOf(sent, TemporaryFailure).value.status, full)

    def test_the_queue_gets_what_rcpt_and_mail_asked_for(self) -> None:
        house = self.house("ann", "bob")
        taken = []

        async def accept(message: Message, recipients: Sequence[Recipient], content: Content) -> None:
            taken.append((message, recipients))

        house.reception.accept = accept
        avatar = house.reception(None)

        async def send() -> None:
            parameters = MailParameters(ret="FULL", envid="e1")
            await avatar.begin(address("julien@a.example"), parameters, Greeting("pc", True), Peer("192.168.1.5"))
            await avatar.recipient(address("ann"), RecipientParameters("SUCCESS", "rfc822;ann@old.example"))
            await avatar.recipient(address("bob"))
            incoming = avatar.data()
            await incoming.write(b"Message-ID: <1@pc>\n\nx\n")
            await incoming.commit()

        self.successResultOf(Deferred.fromCoroutine(send()))
        ((message, (ann, bob)),) = taken
        self.assertEqual((message.ret, message.envid, message.message_id, message.size), ("FULL", "e1", "<1@pc>", 22))
        self.assertEqual((ann.notify, ann.orcpt, bob.notify, bob.orcpt), ("SUCCESS", "rfc822;ann@old.example", "", ""))

    def test_a_refused_message_is_told_once_with_its_id_and_without_a_helo_that_nobody_gave(self) -> None:
        house = self.house("ann", hopcount_limit=1)
        for greeting, told in ((Greeting("pc", True), "proto=ESMTP helo=<pc>"), (Greeting("", False), "proto=SMTP")):
            self.events.clear()
            self.assertIsInstance(self.failure(house, b"\r\n", greeting), PermanentFailure)
            queue_id, _, _ = self.log()[0].removeprefix("smtpd: ").partition(":")
            rejected = [line for line in self.log() if "reject" in line]
            self.assertEqual(
                rejected,
                [
                    f"cleanup: {queue_id}: reject: END-OF-MESSAGE from unknown[192.168.1.5]: 554 5.4.0 Error: too many hops;"
                    f" from=<a@b.example> to=<ann@lan.example> {told}"
                ],
            )

    def test_a_message_for_which_the_spool_has_no_room_is_told_once_with_its_id_and_the_reason(self) -> None:
        house = self.house("ann")
        os.rmdir(house.incoming.path)
        self.assertIsInstance(self.failure(house, b"x" * 100_000, Greeting("pc", True)), TemporaryFailure)
        client, *rest = self.log()
        queue_id, _, _ = client.removeprefix("smtpd: ").partition(":")
        (rejected,) = rest
        self.assertIn(f"cleanup: {queue_id}: reject: END-OF-MESSAGE from unknown[192.168.1.5]: 451 4.3.0 ", rejected)
        path = os.path.join(house.incoming.path, queue_id)
        self.assertEqual(house.report, [f"warning: {queue_id}: cannot write {path}: No such file or directory"])

    def failure(self, house: House, text: bytes, greeting: Greeting) -> object:
        """What the end of such a message to ann raises."""

        async def talk() -> str:
            avatar = house.reception(None)
            await avatar.begin(address("a@b.example"), MailParameters(), greeting, Peer("192.168.1.5"))
            await avatar.recipient(address("ann@lan.example"))
            incoming = avatar.data()
            await incoming.write(text.replace(b"\r\n", b"\n"))
            return await incoming.commit()

        return self.failureResultOf(Deferred.fromCoroutine(talk())).value


class InterfaceTests(ReceptionTestCase):
    def test_the_avatar_is_what_it_says(self) -> None:
        avatar = self.house("ann").reception(None)
        self.assertIsNone(avatar.login)
        self.assertTrue(verifyObject(ITransactions, avatar))
        self.assertTrue(verifyObject(IMessageDelivery, avatar))
