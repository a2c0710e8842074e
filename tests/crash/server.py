"""The process that is killed, and what is seen of it from outside."""

from __future__ import annotations

import contextlib
import os
import pwd
import random
import shutil
import signal
import socket
import sqlite3
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from lanmail.mailbox.expunge import interrupted
from lanmail.spool.shares import journals
from tests.live import PATIENCE, Server, wait_for
from tests.powercut.load import PASSWORD, SETTINGS, cheap_hash
from tests.scenarios.test_least_privilege import called, children

USERS = tuple(f"user{number}" for number in range(20))
# Ports that the system gives to nobody who does not ask for them: they must be free again after each kill.
_PORTS = range(20_000, 32_000)


class MortalServer(Server):
    """owner: who runs it, and then this must be root; None: whoever runs the tests. workers: how many serve; all of them are killed."""

    def __init__(self, folder: str, chance: random.Random, owner: str | None = None, workers: int = 1) -> None:
        super().__init__(folder, f"{SETTINGS}\nworkers = {workers}\n", owner=owner, people={})
        self._workers = workers
        ports = _free_port(chance), _free_port(chance)
        settings = self.main_cf.read_text()
        for name, before, port in (("smtp", self.smtp, ports[0]), ("pop3", self.pop3, ports[1])):
            settings = settings.replace(f"{name}_port = {before}\n", f"{name}_port = {port}\n")
        self.main_cf.write_text(settings)
        self.smtp, self.pop3 = ports
        self.passwd.write_text("".join(f"{name}:{cheap_hash(PASSWORD)}\n" for name in USERS))
        self.queue.mkdir(exist_ok=True)
        self._prefix: tuple[str, ...] = ()
        if owner is not None:
            person = pwd.getpwnam(owner)
            for path in (self.folder, self.passwd, self.main_cf, self.queue, self.spool):
                os.chown(path, person.pw_uid, person.pw_gid)
            self._prefix = ("setpriv", f"--reuid={owner}", f"--regid={person.pw_gid}", "--clear-groups")

    def command(self) -> Sequence[str]:
        return (*self._prefix, *super().command())

    @property
    def journals(self) -> list[Path]:
        return (
            [Path(path) for path in journals(str(self.queue / "lanmail"))]
            if self.queue.joinpath("lanmail").exists()
            else []
        )

    def kill(self) -> None:
        assert self.process is not None
        family = descendants(self.process.pid) if self._workers > 1 else []
        self.process.kill()
        if self.process.wait() != -signal.SIGKILL:
            raise AssertionError(f"the server has ended by itself\n{self.describe()}")
        # Gone, and taken note of by whoever adopts them: whose pid stands in a lock is looked for in /proc.
        wait_for(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in family), self.describe)

    def kill_one(self, chance: random.Random) -> None:
        """One of the workers; the others serve on, and another comes in its place."""
        assert self.process is not None
        nursery = next(pid for pid in children(self.process.pid) if called(pid) == "lanmail-nursery")
        workers = children(nursery)
        if workers:
            with contextlib.suppress(ProcessLookupError):
                os.kill(chance.choice(workers), signal.SIGKILL)

    def whole_log(self) -> str:
        return super().describe()

    def describe(self) -> str:
        """Only the end of it: the log is of all rounds."""
        return self.whole_log()[-5_000:]

    def settle(self) -> None:
        """Wait until it is seen what the kill has left. AssertionError where that does not come."""
        end = time.monotonic() + PATIENCE
        while left := self._unsettled():
            if time.monotonic() > end:
                raise AssertionError(f"{left} copies and expunges are still left\n{self.describe()}")
            time.sleep(0.01)

    def _unsettled(self) -> int:
        """Copies to be delivered or looked for, and expunges to be finished."""
        rows = 0
        for journal in self.journals:
            with contextlib.closing(sqlite3.connect(f"file:{journal}?mode=ro", uri=True, timeout=5)) as connection:
                rows += connection.execute(
                    "SELECT count(*) FROM recipient WHERE boot IS NULL OR marked = 0"
                ).fetchone()[0]
        return rows + len(self.half_moved())

    def half_moved(self) -> list[str]:
        """Whose mailboxes letters were being taken out of when it was killed."""
        return interrupted(str(self.queue / "lanmail" / "mailboxes"))

    def remains(self) -> Counter[str]:
        """What a kill has left, while nothing runs: by the names of docs/queue.md. Nothing is touched."""
        return Counter(self._rows(), **{"expunge begun": len(self.half_moved())})

    def _rows(self) -> dict[str, int]:
        rows: Counter[str] = Counter()
        named: set[str] = set()
        for journal in self.journals:
            of_one, names = self._rows_of(journal)
            rows.update(of_one)
            named |= names
        incoming = self.queue / "lanmail" / "incoming"
        if incoming.exists():
            rows["coming in"] = len({path.name for path in incoming.iterdir()} - named)
        return dict(rows)

    def _rows_of(self, journal: Path) -> tuple[dict[str, int], set[str]]:
        """How much of which state is in one journal, and the bodies that it names."""
        with tempfile.TemporaryDirectory() as folder:
            # A copy: whoever opens the journal itself first makes its write-ahead log's index anew.
            for suffix in ("", "-wal"):
                with contextlib.suppress(FileNotFoundError):
                    shutil.copyfile(f"{journal}{suffix}", os.path.join(folder, f"journal{suffix}"))
            with contextlib.closing(sqlite3.connect(os.path.join(folder, "journal"))) as connection:
                try:
                    states = connection.execute(
                        "SELECT CASE WHEN boot IS NULL THEN 'waiting' WHEN marked = 0 THEN 'begun' ELSE 'standing' END,"
                        " count(*) FROM recipient GROUP BY 1"
                    ).fetchall()
                    begun = connection.execute(
                        "SELECT user, place, place + length(head) + octets FROM recipient JOIN message ON message.number = message"
                        " WHERE boot IS NOT NULL AND marked = 0"
                    ).fetchall()
                    named = {name for (name,) in connection.execute("SELECT name FROM message WHERE name IS NOT NULL")}
                except sqlite3.OperationalError:  # killed before it had its tables
                    states, begun, named = [], [], set()
        torn = sum(place < self._length(user) < end for user, place, end in begun)
        return {**dict(states), "torn": torn}, named

    def _length(self, user: str) -> int:
        try:
            return (self.spool / user).stat().st_size
        except FileNotFoundError:
            return 0


def descendants(pid: int) -> list[int]:
    """All that it has started, and they in turn."""
    found = children(pid)
    return [*found, *(below for child in found for below in descendants(child))]


def _free_port(chance: random.Random) -> int:
    while True:
        port = chance.choice(_PORTS)
        with contextlib.suppress(OSError), socket.socket() as sock:
            sock.bind(("127.0.0.1", port))
            return port
