"""A real lanmail under load, recorded: clients that send, clients that fetch and delete, and another program, all at once."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import os
import poplib
import pwd
import random
import signal
import smtplib
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from lanmail.accounts.hashes import PasswordHash
from tests.live import ROOT, Server, mail_owner
from tests.powercut.letters import DOMAIN, SENDER, text_of
from tests.powercut.recorder import Marks, compiled, environment

USERS = tuple(f"user{number}" for number in range(12))
PASSWORD = "secret"
# Most mail is small. The others are larger than a journal's row takes, and than memory holds.
SIZES = (300, 300, 900, 900, 3000, 3000, 9000, 9000, 30_000, 100_000)
# Seconds that a sync takes: a slow disk, so that messages come together on one, and much is open at every moment.
SYNC = 0.004
# How a process that works on what a cut left sees the disk, beside the server's other settings.
SETTINGS = """\
smtpd_client_connection_count_limit = 0
stale_lock_time = 60s
"""


@dataclass(frozen=True, slots=True)
class Recording:
    """What was recorded. queue, spool: the folders, which were empty at first. record: the file."""

    queue: str
    spool: str
    record: str
    library: str

    @classmethod
    def kept(cls, folder: str) -> Recording:
        """The one that ``record_load`` made in that folder."""
        queue, spool, record, library = (
            os.path.join(folder, name) for name in ("queue", "mail", "record", "recorder.so")
        )
        return cls(queue, spool, record, library)


class RecordedServer(Server):
    """With a cheap hash for its passwords, since a login is not what is tried here."""

    def __init__(self, folder: str, extra: str = "") -> None:
        super().__init__(folder, SETTINGS + extra, people={})
        self.passwd.write_text("".join(f"{name}:{cheap_hash(PASSWORD)}\n" for name in USERS))
        self.queue.mkdir(exist_ok=True)


def cheap_hash(password: str) -> PasswordHash:
    """For a test with thousands of logins."""
    salt = b"salt" * 4
    return PasswordHash(1, 1, 1, salt, hashlib.scrypt(password.encode(), salt=salt, n=2, r=1, p=1, dklen=32))


def record_load(
    folder: str, seconds: float, seed: int, senders: int = 8, fetchers: int = 4, workers: int = 1
) -> Recording:
    """Some seconds of it. AssertionError where a client was told something that it should not have been."""
    os.makedirs(folder)
    server = RecordedServer(folder, f"workers = {workers}\n" if workers > 1 else "")
    record = os.path.join(folder, "record")
    boot = Path(folder, "boot")
    boot.write_text("00000000-0000-4000-8000-000000000000\n")
    library = compiled(folder)
    watched = [str(server.queue), str(server.spool)]
    variables = environment(library, watched, record, sync=SYNC, boot=str(boot))
    program = (sys.executable, "-m", "tests.powercut.program", *server.command()[3:])
    marks = Marks(record)
    if os.geteuid() == 0:
        # A process that has given up root opens it anew after a fork.
        person = pwd.getpwnam(mail_owner())
        os.chown(record, person.pw_uid, person.pw_gid)
    server.start(["env", *(f"{name}={value}" for name, value in variables.items()), *program])
    marks.put("up")
    other = subprocess.Popen(
        [sys.executable, "-m", "tests.powercut.foreign", str(server.spool), record, str(seed), *USERS],
        env={**os.environ, "PYTHONPATH": str(ROOT), **variables},
        cwd=ROOT,
    )
    end = time.monotonic() + seconds
    wrong: list[str] = []
    threads = [
        threading.Thread(target=_until, args=(end, wrong, work, Client(server, marks, f"{kind}{number}", seed)))
        for kind, count, work in (("s", senders, Client.send), ("f", fetchers, Client.fetch))
        for number in range(count)
    ]
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        other.terminate()
        other.wait()
        if server.process is not None and server.process.poll() is None:
            server.stop(signal.SIGKILL)
        else:
            wrong.append("the server ended by itself")
        marks.close()
    if wrong:
        raise AssertionError("\n".join([*wrong, server.describe()]))
    return Recording.kept(str(server.folder))


def _until(end: float, wrong: list[str], work: Callable[[Client, float], None], client: Client) -> None:
    try:
        work(client, end)
    except Exception as error:
        wrong.append(f"{client.name}: {error!r}")


class Client:
    """One of many. What it did and heard goes into the record."""

    def __init__(self, server: Server, marks: Marks, name: str, seed: int) -> None:
        self.name = name
        self._server = server
        self._marks = marks
        self._chance = random.Random(f"{seed} {name}")

    def send(self, end: float) -> None:
        """Message after message, to one to three people."""
        with smtplib.SMTP("127.0.0.1", self._server.smtp, timeout=30) as smtp:
            smtp.ehlo("localhost")
            for number in itertools.count():
                if time.monotonic() > end:
                    break
                to = self._chance.sample(USERS, self._chance.choice((1, 1, 1, 2, 3)))
                token = f"{self.name}-{number}-{self._chance.choice(SIZES)}"
                self._marks.put("sending", token=token, to=to)
                refused = smtp.sendmail(SENDER, [f"{name}@{DOMAIN}" for name in to], text_of(token))
                if refused:
                    raise AssertionError(f"{token}: {refused}")
                self._marks.put("answered", token=token)
                # On average they stand still half of the time, so that what is fetched keeps pace with what comes in.
                time.sleep(self._chance.choice((0, 0, 0.02, 0.1)))

    def fetch(self, end: float) -> None:
        """Session after session: everything is fetched, and half of it deleted."""
        while time.monotonic() < end:
            with contextlib.suppress(poplib.error_proto):  # another fetcher's mailbox, or the other program's just now
                self._session(self._chance.choice(USERS))
            time.sleep(0.05 * self._chance.random())

    def _session(self, user: str) -> None:
        pop3 = poplib.POP3("127.0.0.1", self._server.pop3, timeout=30)
        try:
            pop3.user(user)
            pop3.pass_(PASSWORD)
            uidls = [line.split()[1].decode() for line in pop3.uidl()[1]]
            tokens = [self._token(b"\n".join(pop3.retr(number)[1])) for number in range(1, len(uidls) + 1)]
            self._marks.put("fetched", user=user, uidls=dict(zip(tokens, uidls, strict=True)))
            deleted = [number for number in range(len(uidls)) if self._chance.random() < 0.5]
            for number in deleted:
                pop3.dele(number + 1)
            self._marks.put("deleting", user=user, tokens=[tokens[number] for number in deleted])
            pop3.quit()
            self._marks.put("deleted", user=user, tokens=[tokens[number] for number in deleted])
        finally:
            pop3.close()

    def _token(self, letter: bytes) -> str:
        """Of a letter as it was fetched. Its text is looked at when the power is gone."""
        for line in letter.split(b"\n\n")[0].split(b"\n"):
            if line.startswith(b"Subject: "):
                return line[9:].decode()
        raise AssertionError(f"a letter without a subject: {letter[:200]!r}")
