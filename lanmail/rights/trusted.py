"""Opening a file for somebody with fewer rights, where nobody but root could have put another in its place.

The paths are the administrator's, and links on the way are followed: certificates are often links. But whoever owns a folder on the
way could make its names lead anywhere, to /etc/shadow too. What lies in such a folder they may open with rights of their own.
"""

from __future__ import annotations

import errno
import os
import stat

# As the kernel's own limit (path_resolution(7)).
_MOST_LINKS = 40


class Untrusted(Exception):
    """Somebody else than root decides what lies at the path. The text is a sentence for the log."""


def open_trusted(path: str) -> int:
    """The regular file at a whole path, opened for reading. Untrusted; OSError."""
    left = _steps(path)
    links = 0
    at, trail = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC), ""
    try:
        while left:
            _must_be_roots(at, trail)
            step = left.pop(0)
            below = os.open(step, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=at)
            kind = os.fstat(below).st_mode
            if stat.S_ISLNK(kind):
                try:
                    target = os.readlink("", dir_fd=below)
                finally:
                    os.close(below)
                links += 1
                if links > _MOST_LINKS:
                    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
                left = _steps(target) + left
                if target.startswith("/"):
                    os.close(at)
                    at, trail = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC), ""
            else:
                os.close(at)
                at, trail = below, f"{trail}/{step}"
        if not stat.S_ISREG(os.fstat(at).st_mode):
            raise Untrusted(f"{path} is not a regular file")
        # Opened through what was looked at: nothing can come in between.
        return os.open(f"/proc/self/fd/{at}", os.O_RDONLY | os.O_CLOEXEC | os.O_NOCTTY)
    finally:
        os.close(at)


def both_reasons(error: PermissionError, why: str, path: str) -> PermissionError:
    """Of a file that our own rights do not reach, and that the guard does not hand over: Untrusted's sentence is ``why``."""
    return PermissionError(error.errno, f"{error.strerror}, and root does not open it for us: {why}", path)


def _steps(path: str) -> list[str]:
    return [step for step in path.split("/") if step not in ("", ".")]


def _must_be_roots(folder: int, path: str) -> None:
    facts = os.fstat(folder)
    if not stat.S_ISDIR(facts.st_mode):
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path)
    if facts.st_uid != 0 or facts.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise Untrusted(f"{path or '/'} is not root's alone to write to")
