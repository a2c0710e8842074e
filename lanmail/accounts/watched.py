"""Whether files have changed that say who may log in: their state, taken with stat(2) each time that somebody asks.

inotify(7) would tell the same for less, and nothing of a file that another machine or mount changes, or of a folder that is put
in the place of another. Thirty calls of stat take 0.15 ms; what they spare takes thirty. A folder is listed again only when it has
changed: each name that comes or goes gives it another time.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass

ACCOUNTS = ("/etc/passwd", "/etc/shadow", "/etc/group", "/etc/nsswitch.conf", "/etc/login.defs", "/etc/pam.conf")
"""What decides about the system's accounts. (group: an administrator may think that it does.)"""

FOLDERS = ("/etc/pam.d", "/usr/lib/pam.d", "/usr/share/pam.d", "/usr/etc/pam.d", "/etc/userdb", "/run/userdb")
"""Where every file counts: PAM's services, and systemd's users."""

SETTLES = 2.0
"""Seconds. Two changes within one tick of a file system's clock may leave the same time, and with the same length the same state; some
clocks tick once a second."""

_GONE = (errno.ENOENT, errno.ENOTDIR)


@dataclass(frozen=True, slots=True)
class State:
    """Of all the files together, to be compared. changed: when one of them last did, in seconds since the epoch."""

    files: tuple[tuple[int, ...], ...]
    changed: float

    def is_settled(self, now: float) -> bool:
        """Whether every change after ``now``, when the state was taken, can be told from it. now: seconds since the epoch."""
        return not self.changed - SETTLES <= now <= self.changed + SETTLES


class Watched:
    """The files that are watched, and the folders of which every file is. Links are followed: what counts is what they lead to."""

    def __init__(self, files: Sequence[str], folders: Sequence[str] = ()) -> None:
        self._files = tuple(files)
        self._folders = tuple(folders)
        self._listed: dict[str, tuple[tuple[int, ...], list[str]]] = {}

    def state(self) -> State:
        """As it is now; a file that is missing has a state too. Blocking. OSError where one cannot be looked at: then nothing is known."""
        found = [_stat(path) for path in self._files]
        for folder in self._folders:
            facts = _stat(folder)
            found.append(facts)
            found += map(_stat, self._names(folder, facts))
        return State(tuple(found), max((facts[4] for facts in found if facts), default=0) / 1e9)

    def _names(self, folder: str, facts: tuple[int, ...]) -> list[str]:
        """The paths of all that is in the folder, of which ``facts`` were just taken."""
        if not facts:
            return []
        listed, paths = self._listed.get(folder, ((), []))
        if facts == listed:
            return paths
        try:
            paths = sorted(os.path.join(folder, name) for name in os.listdir(folder))
        except OSError as error:
            if error.errno not in _GONE:
                raise
            return []
        # The facts are older than the list: whatever came or went since then has changed them, once the clock has ticked.
        if abs(time.time() - facts[4] / 1e9) > SETTLES:
            self._listed[folder] = facts, paths
        return paths


def _stat(path: str) -> tuple[int, ...]:
    try:
        facts = os.stat(path)
    except OSError as error:
        if error.errno not in _GONE:
            raise
        return ()
    return facts.st_dev, facts.st_ino, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns, facts.st_mode, facts.st_uid
