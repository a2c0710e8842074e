"""A server under test, as a JSON file of targets/ describes it: its start and stop, its processes, its mailboxes."""

from __future__ import annotations

import collections
import contextlib
import glob
import json
import os
import re
import socket
import subprocess
import time
from collections.abc import Iterator
from typing import Any

from bench.machine import Group, family
from bench.surroundings import SCRATCH


class Broken(Exception):
    """A server that does not start, or a load generator that does not work; the text says what it said."""


class Target:
    def __init__(self, path: str) -> None:
        self.folder = os.path.dirname(os.path.abspath(path))
        with open(path) as f:
            self.said: dict[str, Any] = json.load(f)
        self.name: str = self.said["name"]
        self.host: str = self.said.get("host", "127.0.0.1")
        self.smtp: int | None = self.said.get("smtp_port")
        self.pop3: int | None = self.said.get("pop3_port")
        self.mail_dir: str = self.said.get("mail_dir", "/var/mail")
        self.store: str = self.said.get("store", "mbox")
        self.in_turn: bool = self.said.get("pop3_exclusive", False)  # users are polled in turn, not at random
        self.up = False
        self.group = Group(self.name)

    def ports(self) -> list[int]:
        return [port for port in (self.smtp, self.pop3) if port]

    def can(self, needs: str) -> bool:
        """Whether it speaks what a workload needs: ``s``, ``p``, both or neither."""
        return all(self.smtp if need == "s" else self.pop3 for need in needs)

    def pids(self) -> list[int]:
        """Its processes, helpers too."""
        roots = []
        for command in self.said.get("pids", []):
            said = subprocess.run(command, shell=True, cwd=self.folder, capture_output=True, text=True, timeout=20)
            roots += [int(x) for x in re.findall(r"\b\d+\b", said.stdout)]
        return family(roots)

    def start(self) -> dict[int, float]:
        """Seconds from the start command to each port's first banner."""
        began = time.monotonic()
        said = self._run("start")
        ready: dict[int, float] = {}
        for port in self.ports():
            while port not in ready:
                try:
                    banner(self.host, port, 5)
                    ready[port] = time.monotonic() - began
                except OSError:
                    if time.monotonic() - began > 30:
                        raise Broken(f"{self.name}: no banner on port {port}: {said[-600:]}") from None
                    time.sleep(0.005)
        self.up = True
        return ready

    def stop(self) -> None:
        if self.up:
            self._run("stop")
            began = time.monotonic()
            while time.monotonic() - began < 20 and self.answers():
                time.sleep(0.05)
            time.sleep(0.2)
            self.up = False

    def end_leftovers(self) -> None:
        """Stop it if it runs: it is up, or did not start whole, or somebody has left it running.

        A port that answers is the sign, and not a file of process ids: by now those may be somebody else's.
        """
        if self.up or self.answers():
            self.up = True
            self.stop()

    def answers(self) -> bool:
        """Whether anybody listens on one of its ports."""
        for port in self.ports():
            with contextlib.suppress(OSError):
                socket.create_connection((self.host, port), timeout=1).close()
                return True
        return False

    def reset(self) -> None:
        """The mailboxes of u001 and so on are emptied, and what the server keeps of them."""
        again = self.up and self.said.get("reset_needs_stop")
        if again:
            self.stop()
        if self.store == "mbox":
            for path in glob.glob(os.path.join(self.mail_dir, "u[0-9][0-9][0-9]*")):
                with contextlib.suppress(OSError):
                    os.unlink(path)
        self._run("reset")
        if again:
            self.start()

    def _run(self, key: str) -> str:
        """Run the commands of ``key``; what they said. A daemon keeps its output open: so that is a file, not a pipe."""
        said = ""
        for command in self.said.get(key, []):
            with open(os.path.join(SCRATCH, "bench-commands.log"), "w+") as log:
                line = (self.group.join() if key == "start" else "") + command
                subprocess.run(
                    line, shell=True, cwd=self.folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log, timeout=120
                )
                log.seek(0)
                said += log.read()
        return said

    # --- what has arrived

    def octets(self) -> int:
        """Of all mailboxes together: a cheap sign of whether looking into them is worth while."""
        total = 0
        for path in self._mailboxes():
            with contextlib.suppress(OSError):
                total += os.stat(path).st_size
        return total

    def delivered(self, run: str) -> tuple[int, int, float]:
        """Copies of the run's messages that stand in mailboxes, how many of them stand twice in one, and the time of the last change.

        A copy is known by its own X-Bench header: a message counts once in each mailbox, however often it stands there.
        """
        once, twice, last = 0, 0, 0.0
        mark = re.compile(rb"^X-Bench: " + run.encode() + rb"-(\d+)", re.MULTILINE)
        for text, changed in self._texts():
            numbers = collections.Counter(mark.findall(text))
            once += len(numbers)
            twice += numbers.total() - len(numbers)
            if numbers:
                last = max(last, changed)
        return once, twice, last

    def _mailboxes(self) -> list[str]:
        return glob.glob(os.path.join(self.mail_dir, "u[0-9][0-9][0-9]"))

    def _texts(self) -> Iterator[tuple[bytes, float]]:
        """Each mailbox, or each file of a maildir (its header), and when it was last changed."""
        if self.store == "mbox":
            for path in self._mailboxes():
                with contextlib.suppress(OSError), open(path, "rb") as f:
                    yield f.read(), os.fstat(f.fileno()).st_mtime
        elif self.store == "maildir":
            for folder in glob.glob(os.path.expandvars(self.said["maildir_glob"])):
                for entry in os.scandir(folder):
                    with open(entry.path, "rb") as f:
                        yield f.read(2000), entry.stat().st_ctime


def banner(host: str, port: int, timeout: float) -> None:
    """OSError where no server greets."""
    with socket.create_connection((host, port), timeout=timeout) as sock:
        said = sock.recv(200)
        if not said or said[:1] not in b"2+":
            raise OSError(f"banner {said!r}")
