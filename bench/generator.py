"""The load: mailload's command line, what is measured around it, and one POP3 session that is timed step by step."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from typing import Any

from bench.machine import CORES, cpu_busy, disk, kernel_threads_cpu, own_cpu
from bench.surroundings import LOAD
from bench.target import Broken, Target

Result = dict[str, Any]

# What a server puts off is its work too: a queue's rows that go, mailboxes that are flushed a second after they were
# written. So CPU and disk are read only when that is done. The same seconds for everybody.
AFTERWARDS = 2.0

_runs = 0


def run_id() -> str:
    """A name for one load, which its messages bear."""
    global _runs
    _runs += 1
    return f"b{os.getpid()}x{_runs}"


def load_command(target: Target, mode: str, **options: object) -> list[str]:
    """mailload's command line. True is an option without a value; None and False are none."""
    port = target.smtp if mode == "smtp" else target.pop3
    command = [LOAD, "--host", target.host, "--mode", mode, "--port", str(port)]
    for name, value in options.items():
        option = "--" + name.replace("_", "-")
        if value is True:
            command.append(option)
        elif value is not None and value is not False:
            command += [option, str(value)]
    said = target.said
    if mode == "smtp":
        return [*command, "--rcpt", said.get("rcpt", "u###@iscb-corporation.com")]
    user, password = said.get("user", "u###"), said.get("pass", "pw-u###")
    return [*command, "--user", user, "--pass", password, "--auth", said.get("auth", "userpass")]


def load(target: Target, mode: str, **options: object) -> Result:
    """Run it to its end; what it measured. Broken where it says nothing."""
    ran = subprocess.run(load_command(target, mode, **options), capture_output=True, text=True, timeout=400)
    try:
        result: Result = json.loads(ran.stdout.strip().splitlines()[-1])
    except (ValueError, IndexError):
        raise Broken(f"mailload: status {ran.returncode}: {ran.stderr[-300:]} {ran.stdout[-300:]}") from None
    return result


@contextlib.contextmanager
def metered(target: Target, out: Result) -> Iterator[None]:
    """CPU time and disk of what happens inside, and of the two seconds after it."""

    def read() -> tuple[float, ...]:
        return cpu_busy(), target.group.usage(), kernel_threads_cpu(), own_cpu(), time.monotonic()

    disk_before, before = disk(target.mail_dir), read()
    yield
    time.sleep(AFTERWARDS)
    disk_after, after = disk(target.mail_dir), read()
    total, server, kernel, own, seconds = (b - a for a, b in zip(before, after, strict=True))
    if not target.group.path:  # no control groups here: what nobody else has used
        server = total - kernel - own
    out["meter_s"] = round(seconds, 3)
    out["cpu_s_all"], out["server_cpu_s"] = round(total, 3), round(server, 4)
    out["kthreads_cpu_s"] = round(kernel, 3)
    out["foreign_share"] = round(max(0.0, total - server - kernel - own) / seconds / CORES, 4)
    for name in disk_before:
        out["disk_" + name] = round(disk_after[name] - disk_before[name], 2)


def wait_delivered(target: Target, run: str, want: int, limit: float, octets: float = 0) -> tuple[int, int, float]:
    """Look until ``want`` copies have arrived, for ``limit`` seconds; Target.delivered's answer.

    octets: before the mailboxes are so large there is no use in reading them. A look costs CPU that the server may still
    need, so the pause after it is at least as long as it took.
    """
    end = time.monotonic() + limit
    found = (0, 0, 0.0)
    while time.monotonic() < end:
        began = time.monotonic()
        if target.store != "mbox" or target.octets() >= octets:
            found = target.delivered(run)
            if found[0] >= want:
                break
        time.sleep(max(0.05, time.monotonic() - began))
    return found


class Session:
    """One POP3 session, logged in, with the time that each step took."""

    def __init__(self, target: Target, user: str, password: str, timeout: float = 120) -> None:
        self.socket = socket.create_connection((target.host, target.pop3 or 0), timeout=timeout)
        self.file = self.socket.makefile("rb", buffering=1 << 18)
        self._line()
        self.command(f"USER {user}")
        began = time.monotonic()
        self.command(f"PASS {password}")
        self.login_s = time.monotonic() - began
        self.messages = int(self.command("STAT").split()[1])
        self.open_s = time.monotonic() - began
        """From PASS sent to STAT answered: a server may open the mailbox at either."""

    def _line(self) -> str:
        said = self.file.readline()
        if not said.startswith(b"+OK"):
            raise OSError(f"POP3 {said!r}")
        return said.decode("latin-1")

    def command(self, line: str) -> str:
        self.socket.sendall(line.encode() + b"\r\n")
        return self._line()

    def listing(self, line: str) -> tuple[float, int]:
        """Seconds until an answer of many lines was here, and how many they were."""
        began, lines = time.monotonic(), 0
        self.command(line)
        for said in self.file:
            if said == b".\r\n":
                break
            lines += 1
        return time.monotonic() - began, lines

    def quit(self) -> float:
        began = time.monotonic()
        self.command("QUIT")
        self.file.close()
        self.socket.close()
        return time.monotonic() - began
