"""Changing a small file that a running server reads: whole or not at all, and one writer at a time."""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Callable


def locked(path: str, opened: Callable[[], int]) -> int:
    """What ``opened`` opens at ``path``, locked; it is the file of that name also after the wait for the lock.

    (Another writer has put a new one there meanwhile.) What ``opened`` raises is raised.
    """
    while True:
        fd = opened()
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            ours, theirs = os.fstat(fd), os.stat(path, follow_symlinks=False)
            if (ours.st_dev, ours.st_ino) == (theirs.st_dev, theirs.st_ino):
                return fd
        except FileNotFoundError:
            pass
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)


def replace(path: str, text: str, owner: tuple[int, int], mode: int) -> None:
    """Put a new file there, on stable storage when this returns. owner: uid and gid, which only root can give. OSError."""
    folder = os.path.dirname(path) or "."
    fd, new = tempfile.mkstemp(prefix=f".{os.path.basename(path)}.", dir=folder)  # 0600, O_EXCL, O_NOFOLLOW
    try:
        with open(fd, "w", encoding="utf-8", errors="surrogateescape", newline="\n") as file:
            if os.geteuid() == 0:
                os.fchown(fd, *owner)
            os.fchmod(fd, mode)
            file.write(text)
            file.flush()
            os.fsync(fd)
        os.rename(new, path)
    except BaseException:
        os.unlink(new)
        raise
    # Only with its folder on the disk is the new name there after a power cut.
    folder_fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder_fd)
    finally:
        os.close(folder_fd)
