"""A way to a UNIX socket whose path is longer than an address of one may be."""

from __future__ import annotations

import os

LONGEST = 107
"""Octets of a path in a ``sockaddr_un`` (unix(7): 108 with the NUL at its end)."""


class Reach:
    """``open`` gives a path that fits, good until ``close``: the path itself, or one through a descriptor of its folder."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._folder: int | None = None

    def open(self) -> str:
        """OSError where the folder is not there."""
        if len(os.fsencode(self._path)) <= LONGEST:
            return self._path
        folder, name = os.path.split(self._path)
        self._folder = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        return f"/proc/self/fd/{self._folder}/{name}"

    def close(self) -> None:
        """May be called more than once."""
        fd, self._folder = self._folder, None
        if fd is not None:
            os.close(fd)
