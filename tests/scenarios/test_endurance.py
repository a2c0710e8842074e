"""Thousands who say nothing and dozens who say an octet at a time: beside them a normal client is served as if they were not there."""

from __future__ import annotations

import contextlib
import gc
import socket
import statistics
import threading
import time

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from lanmail.service import CLIENT_DESCRIPTORS, OWN_DESCRIPTORS
from tests.caller import Caller, pop3, smtp, transaction
from tests.live import Server, descriptors

IDLE = 5000
SLOW = 50
LETTERS = 20  # of the normal client, each time
# Octets of memory that a connection may cost which says nothing. Measured: see docs/limits.md.
EACH = 24 * 1024
PASSWORD = "dianaël"
SPEECH = (
    b"EHLO slow\r\nNOOP\r\nMAIL FROM:<>\r\nRCPT TO:<nel@iscb-corporation.com>\r\nDATA\r\nSubject: slow\r\n\r\n"
    + b"x" * 10_000
)


def idle_connections(ports: list[int], count: int) -> list[socket.socket]:
    """So many, by turns at each of the ports, greeted and silent from then on."""
    silent = []
    for number in range(count):
        # One address has some twenty-eight thousand ports to call from; of loopback there are enough.
        sock = socket.create_connection(
            ("127.0.0.1", ports[number % len(ports)]), 30, (f"127.0.4.{number % 200 + 1}", 0)
        )
        silent.append(sock)
    for sock in silent:
        assert sock.recv(200)[:3] in (b"220", b"+OK")
    return silent


class Slow:
    """Clients that each say an octet, and then another, as long as the block lasts."""

    def __init__(self, ports: list[int]) -> None:
        self._sockets = [socket.create_connection(("127.0.0.1", ports[number % 2]), 30) for number in range(SLOW)]
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._speak)
        self.said = 0

    def _speak(self) -> None:
        for octet in SPEECH:
            for sock in self._sockets:
                with contextlib.suppress(OSError):
                    sock.send(bytes((octet,)))
            self.said += 1
            if self._ended.wait(0.02):
                return

    def __enter__(self) -> Slow:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        for sock in self._sockets:
            sock.close()


class EnduranceTests(SynchronousTestCase):
    def test_thousands_of_idle_connections_and_dozens_of_slow_ones_cost_a_normal_client_nothing(self) -> None:
        with descriptors() as most:
            room = (most - OWN_DESCRIPTORS) // CLIENT_DESCRIPTORS
            count = min(IDLE, room - room // 8 - 2 * SLOW)
            if count < 500:
                raise SkipTest(f"a process may have {most} descriptors here, too few for a crowd")
            server = Server(self.mktemp(), "smtpd_client_connection_count_limit = 0\n", people={"nel": PASSWORD})
            self.addCleanup(server.stop)
            server.start()
            ports = [server.smtp, server.pop3]
            alone = self.served(server)
            before = server.resident()
            silent = idle_connections(ports, count)
            try:
                each = (server.resident() - before) / count
                with Slow(ports) as slow:
                    beside = self.served(server)
                    begun = slow.said
                    beside += self.served(server)
                self.assertGreater(slow.said, begun, "they went on speaking")
                self.still_there(silent, ports)
            finally:
                for sock in silent:
                    sock.close()
                del silent
                gc.collect()
            after = self.served(server)
            self.told = (count, each, statistics.median(alone), statistics.median(beside), max(beside))
            print(
                f"\n{count} idle connections of {each:.0f} octets each; a letter in and out takes"
                f" {statistics.median(alone) * 1000:.0f} ms alone, {statistics.median(beside) * 1000:.0f} ms"
                f" (at most {max(beside) * 1000:.0f}) beside them, {statistics.median(after) * 1000:.0f} ms afterwards"
            )
            self.assertLess(each, EACH)
            # Whatever else this machine is doing: nobody waits for seconds, and hardly anybody at all.
            self.assertLess(max(beside), 10)
            self.assertLess(statistics.median(beside), 0.5 + 5 * statistics.median(alone))
            self.assertNotIn("Traceback", server.describe())

    def served(self, server: Server) -> list[float]:
        """How long each letter took, from the call to its sender's goodbye and from its fetching to that reader's."""
        times = []
        for number in range(LETTERS):
            began = time.monotonic()
            with smtp(server.smtp, *transaction("nel")) as client:
                self.assertRegex(client.say(f"Subject: {number}\r\n\r\nBonjour.\r\n."), "^250 ")
                self.assertRegex(client.say("QUIT"), "^221 ")
            sent = time.monotonic() - began
            server.wait_until_delivered()
            began = time.monotonic()
            with pop3(server.pop3, "nel", PASSWORD) as reader:
                self.assertRegex(reader.answer, r"^\+OK ")
                self.assertRegex(reader.say("RETR 1"), r"^\+OK ")
                self.assertIn(f"Subject: {number}", reader.text())
                reader.say("DELE 1")
                self.assertRegex(reader.say("QUIT"), r"^\+OK ")
            times.append(sent + time.monotonic() - began)
        return times

    def still_there(self, silent: list[socket.socket], ports: list[int]) -> None:
        """Those who said nothing are answered when they do."""
        for number in range(0, len(silent), len(silent) // 100):
            silent[number].sendall(b"NOOP\r\n" if number % len(ports) == 0 else b"QUIT\r\n")
            self.assertIn(silent[number].recv(200)[:3], (b"250", b"+OK"))
        with Caller(ports[0]) as another:
            self.assertRegex(another.greeting, "^220 ")
