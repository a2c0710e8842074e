"""What lanmail does for one message and for one session, in numbers that do not depend on the machine.

A time says little on a machine that others use; a system call more is a system call more everywhere. So what CI looks at is these.
Everything is done by one client after the other: with several at once it would be chance how many of them share a flush.
"""

from __future__ import annotations

import collections
import json
import os
import poplib
import re
import signal
import smtplib
import struct
import subprocess
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from bench.machine import family
from bench.seeds import mbox_message
from bench.surroundings import HERE
from tests.live import PATIENCE, Server, wait_for

LIMITS = os.path.join(HERE, "limits.json")
PASSWORDS = {f"u{number:03d}": "a-password" for number in range(1, 4)}
LETTERS = 20  # in each mailbox, before anybody sends

# How often a thread waits, and for whom, is the scheduler's doing.
_CHANCE = {
    "futex",
    "epoll_wait",
    "epoll_pwait",
    "poll",
    "select",
    "restart_syscall",
    "clock_nanosleep",
    "sched_yield",
    "wait4",
}
_OPENS = {"open", "openat", "openat2", "creat"}
_FLUSHES = {"fsync", "fdatasync", "sync", "syncfs", "msync", "sync_file_range"}
# One write-ahead log is flushed once for each transaction (synchronous = FULL).
_LOG = re.compile(r"journal-\d+-wal>")
_CALL = re.compile(r"^\d+ +(\w+)\((.*)", re.MULTILINE)
MEMORY = ("allocations", "octets copied")
_SETTLED = 1.6  # seconds: mailboxes are flushed one second after they were written to, and their rows go


@dataclass(frozen=True, slots=True)
class Work:
    """What is counted: ``act`` does it, and says how many times it did."""

    name: str
    act: Callable[[Server], int]


def one_connection_each(server: Server) -> int:
    for number in range(30):
        with smtplib.SMTP("127.0.0.1", server.smtp, timeout=PATIENCE) as client:
            _send(client, number)
    return 30


def kept_connection(server: Server) -> int:
    with smtplib.SMTP("127.0.0.1", server.smtp, timeout=PATIENCE) as client:
        for number in range(60):
            _send(client, number)
    return 60


def _send(client: smtplib.SMTP, number: int) -> None:
    text = (
        b"From: Bench <bench@iscb-corporation.com>\r\nSubject: one of many\r\n\r\n"
        + b"A line of text, as it may be.\r\n" * 130
    )
    client.sendmail("bench@iscb-corporation.com", [f"u{number % 3 + 1:03d}@iscb-corporation.com"], text)


def polls(server: Server) -> int:
    for number in range(30):
        box = _logged_in(server, f"u{number % 3 + 1:03d}")
        box.stat()
        box.list()
        box.uidl()
        box.quit()
    return 30


def letters(server: Server) -> int:
    """Fetched and deleted, all in one session."""
    box = _logged_in(server, "u003")
    there = box.stat()[0]
    for number in range(1, there + 1):
        box.retr(number)
        box.dele(number)
    box.quit()
    return there


def _logged_in(server: Server, name: str) -> poplib.POP3:
    box = poplib.POP3("127.0.0.1", server.pop3, timeout=PATIENCE)
    box.user(name)
    box.pass_(PASSWORDS[name])
    return box


# In this order: the mailboxes grow, and are emptied at the end.
WORKS = (
    Work("message, a connection each", one_connection_each),
    Work("message on a kept connection", kept_connection),
    Work("POP3 poll of an unchanged mailbox", polls),
    Work("letter fetched and deleted", letters),
)


def prepared(folder: str, preload: bool = False) -> Server:
    """A server that runs, with mailboxes that were polled and sent to: nothing is counted that happens the first time only.

    preload: its memory is counted (``memory_counted``) and its system calls are others; needs a C compiler.
    """
    server = Server(folder, people=PASSWORDS)
    if preload:
        library = server.folder / "counted.so"
        source = os.path.join(HERE, "counted.c")
        flags = ("-O2", "-fno-builtin", "-shared", "-fPIC")
        subprocess.run(["cc", *flags, "-o", str(library), source, "-ldl"], check=True)
        _numbers(server).write_bytes(bytes(16))
        _numbers(server).chmod(0o666)  # a process that has given up root maps it too
        # Python's own allocator asks the system for a quarter of a megabyte at a time, and for nothing most of the time.
        said = (f"LD_PRELOAD={library}", f"BENCH_COUNTED={_numbers(server)}", "PYTHONMALLOC=malloc", "PYTHONHASHSEED=0")
        server.start(("env", *said, *server.command()))
    else:
        server.start()
    for name in PASSWORDS:
        server.put_mailbox(name, b"".join(mbox_message(name, number, 4096, "seed") for number in range(LETTERS)))
    kept_connection(server)
    time.sleep(_SETTLED)
    polls(server)
    return server


def counted(server: Server, work: Work) -> dict[str, float]:
    """How many system calls, opens, flushes and transactions one of it takes, all processes and threads of the server together."""
    assert server.process is not None
    log = server.folder / "strace"
    pids = family([server.process.pid])
    command = ["strace", "-f", "-qq", "-y", "-s", "0", "-e", "signal=none", "-o", str(log)]
    with subprocess.Popen([*command, *_named(pids)], stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as strace:
        wait_for(lambda: all(map(_traced, pids)), lambda: "strace could not attach", strace)
        try:
            times = work.act(server)
            time.sleep(_SETTLED)
        finally:
            strace.send_signal(signal.SIGINT)
    return {name: round(number / times, 2) for name, number in totals(log.read_text(errors="replace")).items()}


def _numbers(server: Server) -> Path:
    return server.folder / "counted"


def memory_counted(server: Server, work: Work) -> dict[str, float]:
    """How often one of it asks for memory, and how many octets it copies in memory, all processes and threads together."""
    before = struct.unpack("QQ", _numbers(server).read_bytes())
    times = work.act(server)
    time.sleep(_SETTLED)
    after = struct.unpack("QQ", _numbers(server).read_bytes())
    return {name: float(round((b - a) / times)) for name, a, b in zip(MEMORY, before, after, strict=True)}


def totals(trace: str) -> dict[str, int]:
    """What strace -f -y has seen, by what it means."""
    total = collections.Counter({"system calls": 0, "opens": 0, "flushes": 0, "transactions": 0})
    for name, rest in _CALL.findall(trace):
        if name in _CHANCE:
            continue
        total["system calls"] += 1
        total["opens"] += name in _OPENS
        if name in _FLUSHES:
            total["flushes"] += 1
            total["transactions"] += bool(_LOG.search(rest))
    return dict(total)


def _traced(pid: int) -> bool:
    """Whether all threads of the process are looked at."""
    for thread in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{thread}/status") as f:
            if "TracerPid:\t0\n" in f.read():
                return False
    return True


def _named(pids: Iterable[int]) -> list[str]:
    return [word for pid in pids for word in ("-p", str(pid))]


def instructions(server: Server, work: Work) -> float | None:
    """Instructions in user space that one of it takes, as perf counts them. None where the machine hides it: most virtual ones do."""
    assert server.process is not None
    log = server.folder / "perf"
    pids = ",".join(map(str, family([server.process.pid])))
    try:
        perf = subprocess.Popen(
            ["perf", "stat", "-x", ",", "-e", "instructions:u", "-o", str(log), "-p", pids], stderr=subprocess.DEVNULL
        )
    except FileNotFoundError:
        return None
    with perf:
        time.sleep(0.5)
        times = work.act(server)
        time.sleep(_SETTLED)
        perf.send_signal(signal.SIGINT)
    found = re.search(r"^(\d+),", log.read_text() if log.exists() else "", re.MULTILINE)
    return round(int(found.group(1)) / times) if found else None


def limits() -> dict[str, dict[str, float]]:
    """By the name of the work: how many of what it may take at most."""
    with open(LIMITS) as f:
        read: dict[str, dict[str, float]] = json.load(f)
    return read


def above(counts: dict[str, dict[str, float]]) -> list[str]:
    """A sentence for each number that is above its limit."""
    return [
        f"{work}: {counts[work][name]:g} {name}, where bench/limits.json allows {limit:g}"
        for work, allowed in limits().items()
        if work in counts
        for name, limit in allowed.items()
        if counts[work].get(name, 0) > limit
    ]
