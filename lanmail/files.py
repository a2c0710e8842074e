"""Opening the files that main.cf names, for reading: with our own rights here, or by whoever is handed in, as root's guard does it."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable

Open = Callable[[str], int]
"""Opens what stands at a path for reading, and waits for no fifo's other end: a descriptor, which whoever asked closes. OSError as
open(2) says it. Blocking: once the service runs, for threads."""

Signature = tuple[int, ...]
"""Of a file, differs when it was changed, or another was put in its place. Where it cannot be opened, the error's number alone."""

_PASSING = frozenset(
    {errno.EIO, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN, errno.EINTR, errno.ETIMEDOUT, errno.ESTALE}
)


def open_plainly(path: str) -> int:
    """An Open with our own rights. Links are followed."""
    return os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)


def open_no_link(path: str) -> int:
    """An Open with our own rights, for what must be the file itself. A symbolic link is ELOOP."""
    return os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)


def passes(error: OSError) -> bool:
    """Whether the error says nothing of the file: no descriptor was left, a disk or the guard did not answer. Another time it may go."""
    return error.errno in _PASSING


def signature_of(facts: os.stat_result) -> Signature:
    """By what fstat(2) says. (The time of the last status change is in it: the others can be put back.)"""
    return facts.st_dev, facts.st_ino, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns


def is_there(signature: Signature) -> bool:
    """Whether it is one of a file that could be opened."""
    return len(signature) > 1


def look(path: str, opened: Open) -> Signature:
    """The signature of what stands there. It is opened for that, since only root may enter some folders that certificates lie in.

    OSError, where it passes.
    """
    try:
        fd = opened(path)
    except ValueError:  # a NUL in the path
        return (errno.EINVAL,)
    except OSError as error:
        if passes(error):
            raise
        return (error.errno or errno.EINVAL,)
    try:
        return signature_of(os.fstat(fd))
    finally:
        os.close(fd)


def read_whole(path: str, opened: Open, most: int) -> bytes:
    """A regular file. OSError where it is none, cannot be had, or has more than ``most`` octets."""
    fd = opened(path)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise OSError(errno.EINVAL, "it is not a regular file", path)
    with open(fd, "rb") as file:
        data = file.read(most + 1)
    if len(data) > most:
        raise OSError(errno.EFBIG, f"it has more than {most} octets", path)
    return data


def text_of(path: str) -> str:
    """A file of the kernel's, which is short, with whatever octets in it; empty where it cannot be read."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""
