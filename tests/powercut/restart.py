"""The service on what a power cut left, in processes forked from one that has loaded everything, since a start takes a second.

What runs is lanmail as main.cf wires it. It sees the files under the inodes that they had before the cut, which a copy cannot have;
the boot id is another one, since the program that was recorded saw a made-up one.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from typing import Any

from tests.live import ROOT
from tests.powercut.recorder import environment

PATIENCE = 20.0  # seconds until a service that has not delivered what waits is given up

_BEYOND_THE_TEN = (
    "st_atime",
    "st_mtime",
    "st_ctime",
    "st_atime_ns",
    "st_mtime_ns",
    "st_ctime_ns",
    "st_blksize",
    "st_blocks",
)


def keep_inodes(inodes: Mapping[int, int], other_device: bool) -> None:
    """In this process, files have the inode that stands behind theirs; all are on another device if asked for."""

    def patched(real: Callable[..., os.stat_result]) -> Callable[..., os.stat_result]:
        def look(*args: Any, **kwargs: Any) -> os.stat_result:
            found = real(*args, **kwargs)
            plain = list(found[:10])
            plain[1] = inodes.get(found.st_ino, found.st_ino)
            plain[2] += other_device
            return os.stat_result(plain, {name: getattr(found, name) for name in _BEYOND_THE_TEN})

        return look

    for name in ("stat", "lstat", "fstat"):
        setattr(os, name, patched(getattr(os, name)))


def unsettled(journal: str, *, hopeful: bool = False) -> int:
    """How many rows wait for their mailbox, or are of before the cut. hopeful: without those that will be tried again, in minutes."""
    if not os.path.exists(journal):
        return 0
    connection = sqlite3.connect(f"file:{journal}?mode=ro", uri=True, timeout=5)
    try:
        question = "SELECT count(*) FROM recipient WHERE synced = 0" + (" AND tries = 0" if hopeful else "")
        return int(connection.execute(question).fetchone()[0])
    finally:
        connection.close()


def serve(main_cf: str, journal: str, log: str) -> None:
    """Start, wait until nothing waits, stop."""
    from twisted.internet import task

    reactor = _new_reactor()
    from twisted.logger import globalLogBeginner

    from lanmail.maillog import standard_output
    from lanmail.tap import Options, makeService

    with open(log, "a", encoding="utf-8") as file:
        globalLogBeginner.beginLoggingTo([standard_output(file)], redirectStandardIO=False)
        service = makeService(Options.of(main_cf))
        service.privilegedStartService()
        service.startService()
        end = time.monotonic() + PATIENCE

        def look() -> None:
            if not unsettled(journal, hopeful=True) or time.monotonic() > end:
                reactor.stop()

        polling = task.LoopingCall(look)
        polling.start(0.02, now=False)
        reactor.addSystemEventTrigger("before", "shutdown", polling.stop)
        reactor.addSystemEventTrigger("before", "shutdown", service.stopService)
        reactor.run()


def _new_reactor() -> Any:
    """Of this process alone. twisted.mail has made one when it was loaded, whose epoll is the parent's too."""
    import twisted.internet

    sys.modules.pop("twisted.internet.reactor", None)
    twisted.internet.__dict__.pop("reactor", None)
    from twisted.internet import reactor

    return reactor


def _child(job: dict[str, Any]) -> None:
    log = os.open(job["log"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.dup2(log, 1)  # the parent's is for the parent's answers
    os.dup2(log, 2)
    try:
        if job["record"]:
            ctypes.CDLL(None).recorder_begin(job["record"].encode(), job["boot"].encode())
        keep_inodes({int(ours): theirs for ours, theirs in job["inodes"].items()}, job["other_device"])
        serve(job["main_cf"], job["journal"], job["log"])
        os._exit(0)
    except BaseException:
        traceback.print_exc()
        os._exit(1)


def _worker() -> None:
    """For each line on standard input a process is forked; its exit status is the line on standard output."""
    import lanmail.tap  # noqa: F401

    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            signal.alarm(int(2 * PATIENCE))
            _child(json.loads(line))
        _, status = os.waitpid(pid, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


class Worker:
    """One process that forks. A context manager. library: the recorder, which spares it the waiting for a disk."""

    def __init__(self, library: str, folder: str) -> None:
        variables = environment(library, [folder], "", sync=0.0)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.powercut.restart"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(ROOT), **variables},
            cwd=ROOT,
            text=True,
        )

    def run(
        self,
        main_cf: str,
        journal: str,
        log: str,
        inodes: Mapping[int, int],
        *,
        other_device: bool,
        record: str = "",
        boot: str = "",
    ) -> int:
        """The exit status of a service that was started there, has delivered what waits, and was stopped.

        inodes, other_device: of ``keep_inodes``. record: the file into which it is recorded, seeing the boot id in the file ``boot``.
        """
        assert self._process.stdin is not None and self._process.stdout is not None
        job = {
            "main_cf": main_cf,
            "journal": journal,
            "log": log,
            "inodes": dict(inodes),
            "other_device": other_device,
            "record": record,
            "boot": boot,
        }
        self._process.stdin.write(json.dumps(job) + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())

    def close(self) -> None:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait()

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


if __name__ == "__main__":
    _worker()
