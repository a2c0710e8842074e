"""Another program that delivers into mailboxes as it should: both locks, all of its message, a sync, and only then "done".

python -m tests.powercut.foreign SPOOL RECORD SEED NAME...  works until it is told to stop (SIGTERM).
"""

from __future__ import annotations

import fcntl
import os
import random
import signal
import sys
import time

from tests.powercut.letters import foreign_text
from tests.powercut.recorder import Marks

_PAUSE = 0.04


def append(path: str, text: bytes) -> bool:
    """Whether it did; not where the mailbox is locked or missing."""
    lock = f"{path}.lock"
    try:
        fd = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        return False
    try:
        with open(lock, "x") as file:
            file.write(f"{os.getpid()}\n")
    except FileExistsError:
        os.close(fd)
        return False
    try:
        fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        end = os.lseek(fd, 0, os.SEEK_END)
        gap = b"" if end == 0 or os.pread(fd, 2, end - 2) == b"\n\n" else b"\n"
        os.write(fd, gap + text[: len(text) // 2])
        os.write(fd, text[len(text) // 2 :])
        os.fsync(fd)
        return True
    except BlockingIOError:
        return False
    finally:
        os.unlink(lock)
        os.close(fd)


def main(spool: str, record: str, seed: str, *names: str) -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    marks = Marks(record)
    chance = random.Random(seed)
    number = 0
    while True:
        number += 1
        token = f"foreign-{number}-{chance.choice((200, 2000, 9000))}"
        name = chance.choice(names)
        marks.put("foreign begins", user=name, token=token)
        if append(os.path.join(spool, name), foreign_text(token)):
            marks.put("foreign done", user=name, token=token)
        else:
            marks.put("foreign gave up", user=name, token=token)
        time.sleep(_PAUSE * chance.random())


if __name__ == "__main__":
    main(*sys.argv[1:])
