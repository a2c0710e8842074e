"""Another program that delivers into mailboxes as it should: both locks, all of its message, a sync, and only then "done".

python -m tests.powercut.foreign SPOOL RECORD SEED NAME...  works until it is told to stop (SIGTERM).
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import random
import signal
import sys
import time
from collections.abc import Iterator

from tests.powercut.letters import foreign_text
from tests.powercut.recorder import Marks

_PAUSE = 0.04


@contextlib.contextmanager
def locked(path: str) -> Iterator[int]:
    """A descriptor of the mailbox, which nobody else has meanwhile.

    Raises FileNotFoundError where it is missing, FileExistsError or BlockingIOError where somebody has it.
    """
    lock = f"{path}.lock"
    fd = os.open(path, os.O_RDWR)
    try:
        with open(lock, "x") as file:
            file.write(f"{os.getpid()}\n")
        try:
            fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield fd
        finally:
            os.unlink(lock)
    finally:
        os.close(fd)


def put(fd: int, text: bytes) -> None:
    """A message at the end of the locked mailbox, on stable storage."""
    end = os.lseek(fd, 0, os.SEEK_END)
    gap = b"" if end == 0 or os.pread(fd, 2, end - 2) == b"\n\n" else b"\n"
    os.write(fd, gap + text[: len(text) // 2])
    os.write(fd, text[len(text) // 2 :])
    os.fsync(fd)


def append(path: str, text: bytes) -> bool:
    """Whether it did; not where the mailbox is locked or missing."""
    try:
        with locked(path) as fd:
            put(fd, text)
        return True
    except (FileNotFoundError, FileExistsError, BlockingIOError):
        return False


def main(spool: str, record: str, seed: str, *names: str) -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    marks = Marks(record)
    chance = random.Random(seed)
    number = 0
    while True:
        number += 1
        token = f"foreign-{number}-{chance.choice((200, 2000, 9000))}"
        name = chance.choice(names)
        text = foreign_text(token)
        if number % 2:
            text = text[:-1]  # as programs do that write no empty line at the end; who comes next has to
        marks.put("foreign begins", user=name, token=token)
        if append(os.path.join(spool, name), text):
            marks.put("foreign done", user=name, token=token)
        else:
            marks.put("foreign gave up", user=name, token=token)
        time.sleep(_PAUSE * chance.random())


if __name__ == "__main__":
    main(*sys.argv[1:])
