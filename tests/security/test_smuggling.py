"""SMTP smuggling: whatever stands around a dot that is not CRLF.CRLF, one message stays one, in clear and under TLS, however it is cut."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from twisted.trial.unittest import SynchronousTestCase

from tests.live import Server, shared
from tests.mailbox import second_reader
from tests.security.wires import Wire
from tests.wire.test_dots import by_the_line

ENDS = (b"\r\n", b"\n", b"\r", b"\r\r\n", b"\n\r", b"\r\n\r", b"\0\r\n", b"\r\0\n", b"\n\0")
EVIL = b"MAIL FROM:<evil@x.example>\r\nRCPT TO:<victim@iscb-corporation.com>\r\nDATA\r\nSubject: smuggled\r\n\r\nx"
DOMAIN = "iscb-corporation.com"

server = shared(lambda folder: Server(folder, people={"nel": "x", "victim": "x"}))


def texts() -> Iterator[tuple[bytes, bytes]]:
    """Each with what it is said to be: how it was made, and what follows DATA, its end included."""
    for before, after in itertools.product(ENDS, repeat=2):
        if b"\r\n.\r\n" in before + b"." + after:
            continue
        name = repr(before + b"." + after).encode()
        yield name, b"Subject: " + name + b"\r\n\r\nhello" + before + b"." + after + EVIL + b"\r\n.\r\n"


def whole(text: bytes) -> list[bytes]:
    return [text]


def by_octets(text: bytes) -> list[bytes]:
    """What is around the dots octet by octet, the rest in one piece."""
    at = text.index(b"hello") + 5
    return [
        text[:at],
        *(text[place : place + 1] for place in range(at, at + 12)),
        text[at + 12 : -5],
        *map(bytes, zip(text[-5:], strict=True)),
    ]


class SmugglingTests(SynchronousTestCase):
    def play(self, wire: Wire, cut: object, *, together: bool = False) -> None:
        """All of them in one session. together: the pieces are records in one segment."""
        assert callable(cut)
        before = len(server().mailbox("nel"))
        expected = []
        wire.say("EHLO client.example")
        for name, text in texts():
            for command in ("MAIL FROM:<a@x.example>", f"RCPT TO:<nel@{DOMAIN}>"):
                self.assertRegex(wire.say(command), "^250 ")
            self.assertRegex(wire.say("DATA"), "^354 ")
            pieces = cut(text)
            if together:
                wire.send_many([piece for piece in pieces if piece])
            else:
                for piece in filter(None, pieces):
                    wire.send(piece)
            self.assertRegex(wire.reply(), "^250 2.0.0 Ok: queued as ", name)
            # Nothing of it was a command: this is answered next.
            self.assertRegex(wire.say("HELP"), "^214 ", name)
            meant = by_the_line(text)
            assert meant is not None
            expected.append(meant[0].replace(b"\n", b"\r\n"))
        self.assertRegex(wire.say("QUIT"), "^221 ")
        self.assertEqual(wire.line(), "")
        wire.close()
        letters = second_reader.read(server().mailbox("nel")[before:])
        self.assertEqual(len(letters), len(expected))
        for letter, text in zip(letters, expected, strict=True):
            self.assertTrue(letter.wire.endswith(text), (letter.wire, text))
        self.assertEqual(server().mailbox("victim"), b"")

    def come(self, *, tls: bool = False) -> Wire:
        wire = Wire(server().smtp)
        self.addCleanup(wire.close)
        self.assertRegex(wire.reply(), "^220 ")
        if tls:
            wire.say("EHLO client.example")
            self.assertRegex(wire.say("STARTTLS"), "^220 ")
            wire.handshake()
        return wire

    def test_in_clear_in_one_piece(self) -> None:
        self.play(self.come(), whole)

    def test_in_clear_octet_by_octet(self) -> None:
        self.play(self.come(), by_octets)

    def test_under_tls_in_one_record(self) -> None:
        self.play(self.come(tls=True), whole)

    def test_under_tls_in_a_record_and_a_segment_for_each_octet(self) -> None:
        self.play(self.come(tls=True), by_octets)

    def test_under_tls_in_many_records_of_one_segment(self) -> None:
        self.play(self.come(tls=True), by_octets, together=True)

    def test_behind_the_true_end_everything_is_commands(self) -> None:
        """That is no smuggling but pipelining: two messages, each of who said it and to whom it was said."""
        wire = self.come(tls=True)
        wire.say("EHLO client.example")
        for command in ("MAIL FROM:<a@x.example>", f"RCPT TO:<nel@{DOMAIN}>"):
            wire.say(command)
        wire.say("DATA")
        wire.send(b"Subject: one\r\n\r\n..\r\n.\r\nNOOP\r\nQUIT\r\n")
        self.assertEqual([wire.reply()[:3] for _ in range(3)], ["250", "250", "221"])
