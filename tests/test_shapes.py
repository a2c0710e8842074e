"""What must not depend on how fast a machine is: how often the disk is flushed for each message, and who waits for whom.

The figures that are printed are this machine's, just now; those in docs/queue.md were made here.
"""

from __future__ import annotations

import contextlib
import fcntl
import re
import statistics
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.caller import Caller, smtp
from tests.live import PATIENCE, Server, need, wait_for

PASSWORD = "secret"


def send(client: Caller, recipient: str, text: str) -> float:
    """A letter on a connection that is kept. The moment of its 250."""
    domain = "iscb-corporation.com"
    client.send(f"MAIL FROM:<load@{domain}>\r\nRCPT TO:<{recipient}@{domain}>\r\nDATA\r\n".encode())
    replies = [client.reply()[:3] for _ in range(3)]
    assert replies == ["250", "250", "354"], replies
    answer = client.say(f"{text}\r\n.")
    assert answer.startswith("250 "), answer
    return time.monotonic()


def together(works: Sequence[Callable[[], None]]) -> None:
    """All at once, each in a thread. Raises what one of them did."""
    wrong: list[Exception] = []

    def guarded(work: Callable[[], None]) -> None:
        try:
            work()
        except Exception as error:
            wrong.append(error)

    threads = [threading.Thread(target=guarded, args=[work]) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if wrong:
        raise wrong[0]


@contextlib.contextmanager
def held(mailbox: Path) -> Iterator[None]:
    """Another program has it open, and locks the kernel's way."""
    with mailbox.open("r+b") as file:
        fcntl.lockf(file, fcntl.LOCK_EX)
        yield


class Watch:
    """Sees when letters come to stand in mailboxes, each of which gets one."""

    def __init__(self, spool: Path, names: Sequence[str]) -> None:
        self.seconds: list[float] = []  # from the 250 to the mailbox
        self._before = {spool / name: self._size(spool / name) for name in names}
        self._spool = spool
        self._answered: dict[Path, float] = {}

    def answered(self, name: str, moment: float) -> None:
        """Its letter was answered with 250 then. From any thread."""
        self._answered[self._spool / name] = moment

    def wait(self) -> None:
        """Until the letters to all of them were answered, and stand there."""
        end = time.monotonic() + PATIENCE
        while not self._all_there():
            assert time.monotonic() < end, f"only {len(self.seconds)} letters are there"
            time.sleep(0.001)

    def _all_there(self) -> bool:
        for path, moment in list(self._answered.items()):
            if self._size(path) > self._before[path]:
                del self._answered[path]
                self.seconds.append(max(time.monotonic() - moment, 0.0))
        return len(self.seconds) == len(self._before)

    @staticmethod
    def _size(path: Path) -> int:
        try:
            return path.stat().st_size
        except FileNotFoundError:
            return 0

    def __str__(self) -> str:
        p99 = statistics.quantiles(self.seconds, n=100)[98]
        return f"p50 {statistics.median(self.seconds) * 1000:.0f} ms, p99 {p99 * 1000:.0f} ms"


class ShapeCase(SynchronousTestCase):
    timeout = 120

    def server(self, *names: str, before: Sequence[str] = ()) -> Server:
        """Running, with these people. before: what the command is put behind."""
        server = Server(self.mktemp(), people=dict.fromkeys(names, PASSWORD))
        self.addCleanup(server.stop)
        return server.start([*before, *server.command()])


class FlushTests(ShapeCase):
    CONNECTIONS = 20
    EACH = 100
    MAILBOXES = 50
    # Of a flush, added to what the disk here takes: on a slow disk it is plain who shares one with whom.
    MILLISECONDS = 5

    def test_many_messages_share_one_flush_of_the_disk(self) -> None:
        need("strace")
        record = Path(self.mktemp()).absolute()
        names = [f"user{number}" for number in range(self.MAILBOXES)]
        # -D: the server is our child, and strace its own. A filter in the kernel: other calls cost nothing.
        strace = ("strace", "-D", "-f", "--seccomp-bpf", "-q", "-y", "-o", str(record))
        calls = ("trace=fsync,fdatasync,sync,syncfs", f"inject=fsync,fdatasync:delay_exit={self.MILLISECONDS}ms")
        server = self.server(*names, before=[*strace, *(word for each in calls for word in ("-e", each))])

        def work(number: int) -> None:
            with smtp(server.smtp) as client:
                for turn in range(self.EACH):
                    send(client, names[(number + 7 * turn) % len(names)], f"Subject: {number}-{turn}\r\n\r\nBonjour.")

        begin = time.monotonic()
        together([lambda number=number: work(number) for number in range(self.CONNECTIONS)])  # type: ignore[misc]
        wait_for(lambda: not server.undelivered(), server.describe, server.process)
        assert server.process is not None
        end = re.compile(rf"(?m)^{server.process.pid} +\+\+\+ ")
        server.stop()
        seconds = time.monotonic() - begin

        wait_for(lambda: end.search(record.read_text()), lambda: "strace has not ended")
        messages = self.CONNECTIONS * self.EACH
        self.assertEqual(sum((server.spool / name).read_bytes().count(b"\nSubject: ") for name in names), messages)
        # A file that had no name when it was opened is shown without it, but in its folder.
        flushed = re.findall(r"(?m)^\d+ +f\w*sync\(\d+<([^>]+)>", record.read_text())
        journal = sum("/journal-0" in path for path in flushed)
        mailboxes = sum(path.startswith(f"{server.spool}/") for path in flushed)
        print(
            f"{messages} messages in {seconds:.1f} s, {len(flushed)} flushes, {len(flushed) / messages:.2f} for each message:"
            f" {journal} of the journal, {mailboxes} of mailboxes"
        )
        self.assertNotIn("sync()", record.read_text())
        self.assertGreater(mailboxes, self.MAILBOXES - 1)
        self.assertLess(len(flushed), messages)
        self.assertLess(journal, messages / 2)
        # Once a second, however many messages, and when a thousand were delivered; the last when it stops.
        self.assertLess(mailboxes, self.MAILBOXES * (seconds + messages / 1000 + 2))


class LockTests(ShapeCase):
    OTHERS = tuple(f"user{number}" for number in range(200))
    CONNECTIONS = 10

    def test_nobody_waits_for_a_mailbox_that_another_program_holds(self) -> None:
        self.hold("held")

    def test_nor_for_more_of_them_than_there_are_threads(self) -> None:
        self.hold(*(f"held{number}" for number in range(20)))

    def hold(self, *names: str) -> None:
        server = self.server(*names, *self.OTHERS)
        mailboxes = [server.put_mailbox(name, b"") for name in names]
        self.watched(server, [])  # which makes their mailboxes
        free = self.watched(server, [])
        with contextlib.ExitStack() as holding:
            for mailbox in mailboxes:
                holding.enter_context(held(mailbox))
            # For each letter of the others, one for a mailbox that is held.
            busy = self.watched(server, names)
            self.assertEqual([mailbox.stat().st_size for mailbox in mailboxes], [0] * len(names))
            # Much longer than any of this takes, and shorter than anybody who waits for a lock would wait.
            self.assertLess(max(busy.seconds), 5)
        wait_for(
            lambda: sum(mailbox.read_bytes().count(b"\nSubject: ") for mailbox in mailboxes) == len(self.OTHERS),
            server.describe,
            server.process,
        )
        print(
            f"200 mailboxes, from the 250 to the mailbox: {free}; while {len(names)} more are held and get as much: {busy}"
        )

    def watched(self, server: Server, also: Sequence[str]) -> Watch:
        """A letter to each of the others, which all come to stand in their mailboxes; and as many to those in ``also``, in turn."""
        watch = Watch(server.spool, self.OTHERS)

        def work(number: int) -> None:
            with smtp(server.smtp) as client:
                for turn, name in enumerate(self.OTHERS[number :: self.CONNECTIONS], number):
                    if also:
                        send(client, also[turn % len(also)], "Subject: held\r\n\r\nBonjour.")
                    watch.answered(name, send(client, name, "Subject: free\r\n\r\nBonjour."))

        sending = threading.Thread(
            target=together,
            args=[[lambda number=number: work(number) for number in range(self.CONNECTIONS)]],  # type: ignore[misc]
        )
        sending.start()
        try:
            watch.wait()
        finally:
            sending.join()
        return watch


class FloodTests(ShapeCase):
    FLOOD = 1000
    CONNECTIONS = 5

    def test_a_thousand_messages_for_one_user_are_not_in_the_way_of_anothers(self) -> None:
        server = self.server("flooded", "other")
        flooded, other = server.put_mailbox("flooded", b""), server.put_mailbox("other", b"")

        def work() -> None:
            with smtp(server.smtp) as client:
                for number in range(self.FLOOD // self.CONNECTIONS):
                    send(client, "flooded", f"Subject: {number}\r\n\r\n" + "Bonjour.\r\n" * 400)

        with held(flooded):
            together([work] * self.CONNECTIONS)
            self.assertEqual(flooded.stat().st_size, 0)
        # Now all of it may go, and so the other user gets letters, one after the other, until it is gone.
        between: list[float] = []
        with smtp(server.smtp) as client:
            wait_for(lambda: flooded.stat().st_size, server.describe, server.process)
            begin = time.monotonic()
            while flooded.read_bytes().count(b"\nSubject: ") < self.FLOOD:
                watch = Watch(server.spool, ["other"])
                watch.answered("other", send(client, "other", "Subject: other\r\n\r\nBonjour."))
                watch.wait()
                between += watch.seconds
            seconds = time.monotonic() - begin
        # The last of them may have come when the flood was over.
        slowest = max(between[:-1], default=seconds)
        print(
            f"{self.FLOOD} messages for one user in {seconds:.1f} s; {len(between)} for another meanwhile, the slowest in {slowest:.3f} s"
        )
        self.assertGreater(len(between), 3)
        self.assertEqual(other.read_bytes().count(b"\nSubject: "), len(between))
