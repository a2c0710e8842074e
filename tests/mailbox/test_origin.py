"""Which message a letter is, seen from the top of it."""

from __future__ import annotations

import os
import re
import tempfile

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from lanmail.address import NULL_SENDER, Address
from lanmail.mailbox.origin import HEAD, Origin, origin_at, origin_of
from lanmail.message import QueueIds, Trace, envelope_headers, protocol

ID = "222CF6745D"
JULIEN, NEL = Address("julien", "iscb-corporation.com"), Address("nel", "iscb-corporation.com")


def trace(
    queue_id: str = ID, helo: str = "PC-JULIEN", with_protocol: str = "ESMTP", to: Address | None = None
) -> bytes:
    return Trace(helo, "[192.168.1.5]", "srvlinux.iscb-corporation.com", with_protocol, queue_id, 1e9, to).received()


def head(sender: Address = JULIEN, to: Address = NEL, **more: str) -> bytes:
    """What delivery puts before a message, behind the ``From `` line."""
    return envelope_headers(sender, to, to) + trace(**more)


MESSAGE = b"Received: from elsewhere\n\tby other (lanmail) with ESMTP id AAAAAAAAAA\nMessage-ID: <1@pc>\nSubject: x\n\nBonjour\n"


_PIECES = (
    b"Message-ID: ",
    b"MESSAGE-id :",
    b"<1@pc>",
    b"<2@pc>",
    b"<",
    b" ",
    b"\n",
    b"\r\n",
    b"\r",
    b"X: y\n",
    b"(lanmail)",
)


class OriginTests(SynchronousTestCase):
    def test_our_own_received_on_top_says_the_queue_id(self) -> None:
        self.assertEqual(origin_of(head() + MESSAGE), Origin(ID))
        self.assertEqual(origin_of((head() + MESSAGE).replace(b"\n", b"\r\n")), Origin(ID))

    @settings(max_examples=50, deadline=None)
    @given(
        st.integers(0, 2**40 - 1),
        st.booleans(),
        st.booleans(),
        st.booleans(),
        st.booleans(),
        st.sampled_from([JULIEN, NULL_SENDER, Address('a b"c', "x.org"), Address("é" * 64, "x.org")]),
        st.sampled_from([None, NEL]),
    )
    def test_however_it_came_in_its_id_is_found(
        self, number: int, extended: bool, tls: bool, login: bool, utf8: bool, sender: Address, to: Address | None
    ) -> None:
        last = f"{number:010X}"
        queue_id = QueueIds(last=last).next() if number else last
        said = protocol(extended=extended, tls=tls, authenticated=login, smtputf8=utf8)
        letter = envelope_headers(sender, NEL, NEL) + trace(queue_id, "pc" * 100, said, to) + MESSAGE
        self.assertEqual(origin_of(letter), Origin(queue_id))

    def test_what_readers_write_on_top_is_passed_over(self) -> None:
        self.assertEqual(origin_of(b"Status: RO\nX-IMAPbase: 1 2\n" + head() + MESSAGE), Origin(ID))

    def test_any_other_letter_is_known_by_its_message_id(self) -> None:
        self.assertEqual(origin_of(MESSAGE), Origin("", "<1@pc>"))
        self.assertEqual(origin_of(b"Subject: x\r\nMESSAGE-id:\r\n <a b@pc>\r\n\r\n"), Origin("", "<a b@pc>"))
        self.assertEqual(origin_of(b"Subject: x\n\nMessage-ID: <in the body@pc>\n"), Origin())
        self.assertEqual(origin_of(b"Subject: x\nMessage-ID: no brackets\n\n"), Origin())
        self.assertEqual(origin_of(b"\nMessage-ID: <1@pc>\n"), Origin())
        self.assertEqual(origin_of(b""), Origin())

    def test_another_server_s_id_is_none_of_ours(self) -> None:
        for other in (
            head().replace(b"(lanmail)", b"(Postfix)"),
            head(queue_id="222CF6745DD"),
            head(queue_id="222cf6745d"),
            head(queue_id="4ZWBhp0Yx5z"),
        ):
            self.assertEqual(origin_of(other + b"Message-ID: <1@pc>\n\n").queue_id, "")

    @settings(max_examples=200, deadline=None)
    @given(st.binary(max_size=300), st.integers(0, 400))
    def test_whatever_stands_there_is_no_error(self, octets: bytes, cut: int) -> None:
        origin_of(octets)
        origin_of((head() + MESSAGE)[:cut] + octets)

    @settings(max_examples=300, deadline=None)
    @given(st.lists(st.sampled_from(_PIECES), max_size=8).map(b"".join))
    def test_the_message_id_is_the_first_field_of_that_name(self, head: bytes) -> None:
        end = re.search(rb"^\r?\n", head, re.MULTILINE)
        field = rb"^message-id[ \t]*:[ \t\r\n]*(<[^<>\r\n]+>)"
        found = re.search(field, head[: end.start() if end else None], re.MULTILINE | re.IGNORECASE)
        self.assertEqual(origin_of(head), Origin("", found[1].decode() if found else ""))

    def test_a_long_head_takes_no_longer_than_its_beginning(self) -> None:
        self.assertEqual(origin_of(b"X: " + b"y" * HEAD + b"\nMessage-ID: <1@pc>\n\n"), Origin())
        for octets in (b"Status: x\n \n" * 10**5, b"message-id:" + b" " * 10**6, b"message-id: <" * 10**5):
            origin_of(octets)

    def test_in_a_file_the_letter_s_end_is_not_passed(self) -> None:
        with tempfile.TemporaryFile() as file:
            file.write(b"Subject: x\n\n" + head() + MESSAGE)
            file.flush()
            self.assertEqual(origin_at(file.fileno(), 12, os.fstat(file.fileno()).st_size), Origin(ID))
            self.assertEqual(origin_at(file.fileno(), 0, 12), Origin())
            self.assertEqual(origin_at(file.fileno(), 12, 80), Origin())
