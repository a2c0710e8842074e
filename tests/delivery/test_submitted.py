from __future__ import annotations

import re
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from lanmail.address import NULL_SENDER
from lanmail.delivery.reception import Submission
from lanmail.interfaces import Greeting, MailParameters
from lanmail.mailbox.mbox import our_queue_id
from lanmail.network import Peer
from tests.delivery.house import House, address
from tests.delivery.test_reception import ReceptionTestCase

WHOLE = b"Date: Mon, 23 Nov 2026 12:00:00 +0000\r\nMessage-ID: <1@pc>\r\n"


class SubmittedTestCase(ReceptionTestCase):
    def office(self, **options: Any) -> House:
        return self.house("ann", "bob", aliases="a.smith: ann\nstaff: ann, bob\n", recipient_delimiter="+", **options)

    def submit(
        self,
        house: House,
        text: bytes,
        *,
        login: str = "ann",
        sender: str = "ann@lan.example",
        size: int = 4096,
        submission: bool = True,
    ) -> str:
        """The status of the refusal; empty where the message was taken. bob gets it."""
        peer = Peer("203.0.113.9", 1061, tls=True, submission=submission)

        async def say() -> None:
            avatar = house.reception(house.users.known[login])
            await avatar.begin(
                address(sender) if sender else NULL_SENDER, MailParameters(), Greeting("anns-pc", True), peer
            )
            await avatar.recipient(address("bob"))
            incoming = avatar.data()
            lines = text.replace(b"\r\n", b"\n")
            for start in range(0, len(lines), size):
                await incoming.write(lines[start : start + size])
            await incoming.commit()

        results: list[Any] = []
        Deferred.fromCoroutine(say()).addBoth(results.append)
        if not isinstance(results[0], Failure):
            return ""
        self.assertEqual(house.leftovers(), [])
        return str(results[0].value.status)  # type: ignore[attr-defined]


class AddedTests(SubmittedTestCase):
    def added(self, text: bytes, **options: Any) -> bytes:
        """What stands between our Received header and the text as it was sent."""
        house = self.office()
        self.assertEqual(self.submit(house, text, **options), "")
        arrived = house.contents("bob")
        received = re.search(rb"Received: .*\n(?:\t.*\n)+", arrived)
        assert received is not None
        return arrived[received.end() :].removesuffix(text.replace(b"\r\n", b"\n") + b"\n")

    def test_a_whole_message_stays_as_it_was_sent(self) -> None:
        self.assertEqual(self.added(WHOLE + b"From: ann@lan.example\r\n\r\nHello\r\n"), b"")

    def test_what_is_missing_is_added_above_it(self) -> None:
        self.assertRegex(
            self.added(b"Subject: x\r\n\r\nHello\r\n"),
            rb"\AMessage-ID: <20261123120000\.[0-9A-F]{10}@srv\.lan\.example>\n"
            rb"Date: Mon, 23 Nov 2026 [0-9:]{8} [+-][0-9]{4}[^\n]*\nFrom: ann@lan\.example\n\Z",
        )
        self.assertRegex(self.added(b"From: ann@lan.example\r\nmessage-id : <1@pc>\r\n\r\n"), rb"\ADate: [^\n]*\n\Z")

    def test_a_text_without_any_header_gets_one(self) -> None:
        self.assertRegex(self.added(b"Hello\r\n"), rb"(?s)\AMessage-ID: .*\nDate: .*\nFrom: ann@lan.example\n\n\Z")

    def test_who_writes_from_nobody_is_named_nevertheless(self) -> None:
        self.assertIn(b"\nFrom: ann@lan.example\n", self.added(b"Subject: seen\r\n\r\n", sender=""))
        self.assertIn(b"\nFrom: ann+x@lan.example\n", self.added(b"Subject: seen\r\n\r\n", sender="ann+x@lan.example"))

    def test_the_message_id_that_is_added_is_the_messages_in_the_log(self) -> None:
        house = self.office()
        self.submit(house, b"\r\nHello\r\n")
        self.assertRegex(self.log()[-1], r"cleanup: [0-9A-F]{10}: message-id=<20261123120000\.\w+@srv\.lan\.example>")

    def test_at_the_other_port_nothing_is_added_or_asked(self) -> None:
        house = self.office()
        self.assertEqual(self.submit(house, b"From: bob@lan.example\r\n\r\n", submission=False), "")
        self.assertNotIn(b"Message-ID", house.contents("bob"))

    def test_a_client_that_is_to_be_hidden_is(self) -> None:
        for hidden in (True, False):
            house = self.office(submission=Submission(hides_client=hidden))
            self.submit(house, WHOLE + b"From: ann@lan.example\r\n\r\n")
            arrived = house.contents("bob")
            self.assertEqual(b"203.0.113.9" in arrived, not hidden)
            self.assertEqual(b"anns-pc" in arrived, not hidden)
            # It is known as one of ours nevertheless, and by its id.
            self.assertTrue(our_queue_id(arrived.partition(b"\n")[2]))
            # Whoever runs the service knows.
            self.assertIn("client=unknown[203.0.113.9]", "\n".join(self.log()))


class NameTests(SubmittedTestCase):
    def header(self, *lines: str, house: House | None = None, **options: Any) -> str:
        text = "".join(f"{line}\r\n" for line in lines).encode() + WHOLE + b"\r\nHello\r\n"
        return self.submit(house or self.office(), text, **options)

    def test_whoever_writes_in_their_own_name_is_heard(self) -> None:
        for author in (
            "ann@lan.example",
            "Ann Smith <ANN@srv.lan.example>",
            '"The boss" <ann+work@lan.example>',
            "a.smith@lan.example",
            "Staff <staff@lan.example>",
            "ann",
            "=?utf-8?q?bob=40lan=2Eexample?= <ann@lan.example>",
        ):
            self.assertEqual(self.header(f"From: {author}"), "", author)

    def test_whoever_does_not_is_told_what_to_change(self) -> None:
        self.assertEqual(
            self.header("From: Bob <bob@lan.example>"),
            "550 5.7.1 The From header says <bob@lan.example>, which is not an address of ann (<ann@lan.example>):"
            " set the sender in your mail program to <ann@lan.example>",
        )
        for author in ("ceo@elsewhere.example", "nobody@lan.example", "bob"):
            self.assertRegex(self.header(f"From: {author}"), r"^550 5\.7\.1 The From header says <", author)

    def test_however_the_header_is_cut_into_pieces(self) -> None:
        for size in (1, 2, 3, 7):
            house = self.office()
            self.assertEqual(self.header("From: Ann\r\n <ann@lan.example>", house=house, size=size), "")
            self.assertRegex(self.header("From: Ann\r\n <bob@lan.example>", house=house, size=size), "^550 5.7.1 ")

    def test_of_several_authors_the_one_who_sends_is_in_sender(self) -> None:
        both = "From: ann@lan.example, bob@lan.example"
        self.assertIn("name who sends in Sender: <ann@lan.example>", self.header(both))
        self.assertEqual(self.header(both, "Sender: ann@lan.example"), "")
        self.assertIn("The Sender header says <bob@lan.example>", self.header(both, "Sender: bob@lan.example"))
        self.assertEqual(self.header("From: ann@lan.example, a.smith@lan.example"), "")

    def test_a_sender_who_is_somebody_else_is_shown_by_programs_and_so_is_refused(self) -> None:
        self.assertIn("leave that header out", self.header("From: ann@lan.example", "Sender: bob@lan.example"))
        self.assertIn("more than one", self.header("From: ann@lan.example", "Sender: ann@lan.example, bob@lan.example"))
        # One author, who is somebody else, is not made true by a Sender: programs show the author.
        self.assertIn("The From header", self.header("From: bob@lan.example", "Sender: ann@lan.example"))

    def test_two_of_one_kind_are_refused(self) -> None:
        self.assertIn("more than one From header", self.header("From: ann@lan.example", "FROM : bob@lan.example"))
        self.assertIn("more than one Sender", self.header("From: ann", "Sender: ann", "Sender: ann"))

    def test_what_cannot_be_understood_is_refused_with_the_reason(self) -> None:
        self.assertEqual(
            self.header("From: Ann <ann@lan.example"),
            "550 5.7.1 The From header cannot be understood: < and > do not match",
        )
        self.assertIn("it names nobody", self.header("From: "))
        self.assertIn("it has more than", self.header("From: " + "(x)\r\n " * 4000 + "ann@lan.example"))
        self.assertIn("it has more than", self.header("From: " + "x" * 100_000))

    def test_a_header_that_others_would_read_otherwise_is_refused(self) -> None:
        for lines in (
            # To a reader that takes CR for a line end, and to one that goes on behind a line that is no field.
            ("From: ann@lan.example", "Subject: x\rFrom: bob@lan.example"),
            ("From: ann@lan.example", "Hello", "From: bob@lan.example"),
            ("From: ann@lan.example", "Sübject: x"),
            ("From: ann@lan.example", "Subject: \0"),
            ("From someone\rFrom: bob@lan.example", "Subject: x"),
        ):
            for size in (1, 5000):
                self.assertRegex(self.header(*lines, size=size), r"^550 5\.6\.0 The header is not one", lines)
        text = b"Subject: " + b"x" * 5000 + b"\r" + b"y" * 5000 + b"\r\n\r\n"
        self.assertRegex(self.submit(self.office(), text), r"^550 5\.6\.0 ")

    def test_the_table_of_senders_counts_here_too(self) -> None:
        house = self.office(sender_logins="@shop.example ann\n")
        self.assertEqual(self.header("From: sales@shop.example", house=house), "")
        self.assertRegex(self.header("From: sales@shop.example", house=house, login="bob", sender="bob"), "^550 5.7.1")

    def test_switched_off_nothing_is_refused(self) -> None:
        house = self.office(submission=Submission(checks_names=False))
        self.assertEqual(self.header("From: bob@lan.example", "From: x", "Sender: \0", house=house), "")

    @settings(max_examples=60, deadline=None)
    @given(
        st.lists(
            st.sampled_from(
                [
                    b"From: ann@lan.example\r\n",
                    b"From: bob@lan.example\r\n",
                    b" <bob@lan.example>\r\n",
                    b"\tx\r\n",
                    b"Sender: ann@lan.example\r\n",
                    b"Sender: bob@lan.example\r\n",
                    b"Bcc: bob@lan.example\r\n",
                    b"Status: RO\r\n",
                    b"X: y\r",
                    b"X: y\r\n",
                    b"\r\n",
                    b"hello\r\n",
                    b"From x\r\n",
                ]
            ),
            max_size=7,
        ),
        st.integers(1, 40),
    )
    def test_no_header_that_is_taken_shows_anybody_somebody_else(self, lines: list[bytes], size: int) -> None:
        """Read as generously as anybody may: every line up to the first empty one, whatever ends a line."""
        house = self.office()
        self.addCleanup(house.close)
        try:
            if self.submit(house, b"".join(lines) + b"\r\ntext\r\n", size=size):
                return
            arrived = house.contents("bob")
        finally:
            house.close()
        header = re.split(rb"\n\n", arrived.replace(b"\r", b"\n"), maxsplit=1)[0]
        unfolded = re.sub(rb"\n[ \t]+", b" ", header).split(b"\n")
        named = [line for line in unfolded if re.match(rb"(?i)(from|sender)[ \t]*:", line)]
        self.assertTrue(named)
        self.assertEqual([line for line in named if b"bob" in line], [], arrived)
