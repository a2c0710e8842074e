"""A folder whose names must outlast a power cut, held open so that it can be synced."""

from __future__ import annotations

import os


class Folder:
    """Made when missing (0700). Its methods block."""

    def __init__(self, path: str) -> None:
        """OSError where the folder cannot be made."""
        self.path = path
        os.makedirs(path, mode=0o700, exist_ok=True)
        self._folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)

    def names(self) -> list[str]:
        """Of the files that are there, in order; by their queue ids, that is of their age."""
        return sorted(os.listdir(self._folder))

    def sync_names(self) -> None:
        """What was made in it, renamed or removed is on stable storage. OSError."""
        os.fsync(self._folder)

    def close(self) -> None:
        """Let go of it; nothing may be done with it afterwards. May be called more than once."""
        fd, self._folder = self._folder, -1
        if fd >= 0:
            os.close(fd)
