"""Noise, greed and sloth, against a whole server: clients that mean nothing, never end or never read. Nobody else notices."""

from __future__ import annotations

import contextlib
import errno
import random
import re
import select
import socket
import time
from collections.abc import Iterator

from twisted.trial.unittest import SynchronousTestCase

from tests.caller import PYTHON, Caller, pop3, smtp, transaction
from tests.live import Server, shared

PASSWORD = "dianaël"
PEOPLE = dict.fromkeys(("noise", "deaf", "endless", "large", "well"), PASSWORD)
MIB = 1024 * 1024
ALLOWED = 8 * MIB  # octets of memory that any of this may cost while it lasts
LINE = re.compile(rb"[\x20-\x7e]+\r\n")

server = shared(lambda folder: Server(folder, people=PEOPLE))

NOISE = {
    "octets": random.Random(1).randbytes(MIB),
    "lines": b"\r\n".join(random.Random(n).randbytes(40).replace(b"\n", b"") for n in range(25000)),
    "zeros": bytes(MIB),
    "line ends": b"\r\n" * (MIB // 2),
    "a web browser": b"GET / HTTP/1.1\r\nHost: mail\r\n" + b"X: y\r\n" * (MIB // 6),
    "a TLS client": bytes.fromhex("16030100c8010000c40303") + random.Random(2).randbytes(MIB),
    "verbs without sense": b"".join(
        b"%b %b\r\n" % (verb, argument)
        for verb in (b"MAIL", b"RCPT", b"AUTH", b"EHLO", b"USER", b"PASS", b"RETR", b"TOP", b"DELE", b"BDAT", b"STLS")
        for argument in (b"", b"FROM:<", b"\xff\xfe", b"PLAIN =", b"-1", b"9" * 400, b"{0!r}", b"%s%n", b"1 -1")
    )
    * 1000,
}


class AbuseCase(SynchronousTestCase):
    def setUp(self) -> None:
        begin = len(server().describe())
        self.addCleanup(lambda: self.assertNotIn("Traceback", server().describe()[begin:]))

    @contextlib.contextmanager
    def bounded(self) -> Iterator[None]:
        """What is done within costs the server no more memory than is allowed, at any moment, and others are served meanwhile.

        Logins belong before it: a good hash takes 32 MiB for a moment, on purpose.
        """
        self.others_are_served()
        process = server().process
        assert process is not None
        with open(f"/proc/{process.pid}/clear_refs", "w") as file:
            file.write("5")  # proc(5): the peak begins anew from here
        before = server().resident()
        yield
        self.others_are_served()
        grown = server().resident("VmHWM") - before
        self.assertLess(grown, ALLOWED, f"{grown / MIB:.1f} MiB more than the {before / MIB:.1f} MiB before")

    def others_are_served(self) -> None:
        began = time.monotonic()
        with smtp(server().smtp, *transaction("well")) as client:
            self.assertRegex(client.say("Subject: x\r\n\r\nx\r\n."), "^250 ")
        with Caller(server().pop3) as client:
            self.assertRegex(client.say("QUIT"), r"^\+OK ")
        self.assertLess(time.monotonic() - began, 5)

    def log_in(self, name: str) -> Caller:
        client = pop3(server().pop3, name, PASSWORD)
        self.addCleanup(client.close)
        self.assertRegex(client.answer, r"^\+OK ")
        return client

    def send_and_hear(self, client: Caller, data: bytes) -> bytes:
        """Say all of it, as far as the server listens, and hear all it answers until it closes."""
        sock = client.socket
        sock.setblocking(False)
        view, heard = memoryview(data), b""
        while True:
            readable, writable, _ = select.select([sock], [sock] if view else [], [], 20)
            self.assertTrue(readable or writable, "it stands still")
            try:
                if readable:
                    said = sock.recv(65536)
                    heard += said
                    if not said:
                        return heard
                if writable:
                    view = view[sock.send(view[:65536]) :]
                    if not view:
                        sock.shutdown(socket.SHUT_WR)
            except OSError as error:  # it has had enough of us
                if isinstance(error, ConnectionError) or error.errno == errno.ENOTCONN:
                    return heard
                raise


class NoiseTests(AbuseCase):
    def make_noise(self, client: Caller, noise: bytes) -> None:
        heard = self.send_and_hear(client, noise)
        client.close()
        for line in heard.splitlines(keepends=True):
            self.assertRegex(line, LINE)
            self.assertLessEqual(len(line), 512)
            self.assertNotRegex(line, PYTHON)

    def test_a_megabyte_of_noise_as_smtp(self) -> None:
        for noise in NOISE.values():
            with self.bounded():
                self.make_noise(Caller(server().smtp), noise)

    def test_a_megabyte_of_noise_in_a_transaction(self) -> None:
        for noise in NOISE.values():
            with self.bounded():
                self.make_noise(smtp(server().smtp, *transaction("noise")[:-1]), noise)

    def test_a_megabyte_of_noise_as_a_message(self) -> None:
        for noise in NOISE.values():
            with self.bounded(), smtp(server().smtp, *transaction("noise")) as client:
                # A dot between two line ends in the noise would end the message before its time.
                client.send(noise.replace(b"\n.", b"\n..") + b"\r\n.\r\n")
                self.assertRegex(client.reply(), "^250 ")

    def test_a_megabyte_of_noise_as_pop3(self) -> None:
        for noise in NOISE.values():
            with self.bounded():
                self.make_noise(Caller(server().pop3), noise)

    def test_a_megabyte_of_noise_from_a_user(self) -> None:
        for noise in NOISE.values():
            client = self.log_in("noise")
            with self.bounded():
                self.make_noise(client, noise)


class EndlessTests(AbuseCase):
    def test_a_command_that_never_ends(self) -> None:
        for port, code in ((server().smtp, "^500 5.5.2 "), (server().pop3, "^-ERR ")):
            with self.bounded(), Caller(port) as client:
                for _ in range(20):
                    client.send(b"x" * MIB)
                client.send(b"\r\n")
                self.assertRegex(client.reply(), code)
                self.assertRegex(client.say("QUIT"), r"^221 |^\+OK ")

    def test_a_login_that_never_ends(self) -> None:
        for port in (server().smtp, server().pop3):
            with self.bounded(), Caller(port) as client:
                client.say("AUTH PLAIN")
                for _ in range(20):
                    client.send(b"A" * MIB)
                client.send(b"\r\n")
                self.assertRegex(client.reply(), "^5|^-ERR ")

    def test_a_header_line_that_never_ends(self) -> None:
        with self.bounded(), smtp(server().smtp, *transaction("endless")) as client:
            client.send(b"Subject: ")
            for _ in range(20):
                client.send(b"x" * MIB)
            client.send(b"\r\n\r\n.\r\n")
            self.assertRegex(client.reply(), "^250 ")

    def test_a_header_that_never_ends(self) -> None:
        for line, answer in (
            (b"X-Header: value\r\n", "552 5.3.4 "),
            (b"Status: RO\r\n", "552 5.3.4 "),
            (b" folded, and folded again\r\n", "250 "),  # behind nothing it is text
            (b"\tat the end", "250 "),
        ):
            with self.bounded(), smtp(server().smtp, *transaction("endless")) as client:
                for _ in range(10):
                    client.send(line * (MIB // len(line)))
                client.send(b"\r\n.\r\n")
                self.assertRegex(client.reply(), f"^{answer}")

    def test_a_line_of_text_that_never_ends(self) -> None:
        with self.bounded(), smtp(server().smtp, *transaction("endless")) as client:
            client.send(b"Subject: x\r\n\r\n")
            for _ in range(20):
                client.send(b"x" * MIB)
            client.send(b"\r\n.\r\n")
            self.assertRegex(client.reply(), "^250 ")


class DeafTests(AbuseCase):
    """Clients that say and say and never listen."""

    def say_until_nobody_listens(self, client: Caller, data: bytes) -> int:
        """How many octets went out before the server stopped taking them, for a second."""
        sock = client.socket
        sock.setblocking(False)
        sent = 0
        with contextlib.suppress(ConnectionError):
            while select.select([], [sock], [], 1)[1]:
                sent += sock.send(data)
        return sent

    def test_smtp(self) -> None:
        with self.bounded():
            for _ in range(10):
                client = smtp(server().smtp)
                self.addCleanup(client.close)
                # Answers of 180 octets to commands of eight. After a hundred such the server has had enough.
                self.assertLess(self.say_until_nobody_listens(client, b"EHLO x\r\n" * 5000), 64 * MIB)
            self.others_are_served()

    def test_pop3(self) -> None:
        server().put_mailbox("deaf", b"From x Fri Nov 21 15:42:42 2003\nSubject: x\n\n" + b"line\n" * (4 * MIB))
        client = self.log_in("deaf")
        with self.bounded():
            client.send(b"RETR 1\r\n" * 1000)
            self.say_until_nobody_listens(client, b"RETR 1\r\nLIST\r\nUIDL\r\n" * 1000)
            self.others_are_served()


class LargeTests(AbuseCase):
    def test_fifty_megabytes_in_and_out(self) -> None:
        line = b"x" * 70 + b"\r\n"
        count = 50_000_000 // len(line)
        with self.bounded(), smtp(server().smtp, *transaction("large")) as client:
            client.send(b"Subject: large\r\n\r\n")
            for _ in range(count // 1000):
                client.send(line * 1000)
            client.send(b".\r\n")
            self.assertRegex(client.reply(), "^250 ")
        client = self.log_in("large")
        with self.bounded():
            octets = int(client.say("RETR 1").split()[1])
            self.assertGreater(octets, 49_000_000)
            self.assertEqual(client.pass_text(), octets)
            self.assertEqual(client.say("DELE 1"), "+OK Message deleted")
            self.assertEqual(client.say("QUIT"), "+OK Sayonara")
        self.assertEqual(server().mailbox("large"), b"")
