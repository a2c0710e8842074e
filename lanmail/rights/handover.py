"""Our folder, handed over to ``mail_owner``: an earlier lanmail was root all its life, and left files there that are root's.

Whoever is ``mail_owner`` may have put anything there meanwhile. So no link is followed, and only a file of root's with one name is given
away: under a name that we use, in a folder that we made.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator

# Databases and what SQLite lays beside them, by worker; the lock; the control socket is made anew at each start.
_OURS = re.compile(r"(?:journal|history|adopting)-[0-9]+(?:-wal|-shm|-journal)?|lock")
# incoming: large messages. mailboxes: redo journals. uidls, indexes, claims, turns: a file for each user.
FOLDERS = ("incoming", "mailboxes", "uidls", "indexes", "claims", "turns")

_LOOK = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY


def hand_over(path: str, uid: int, gid: int) -> list[str]:
    """What root left in the folder at ``path`` (StateFolder.path) is now ``uid``'s, 0600; sentences about what is not. OSError.

    Before the service gives root up; for who is not root there is nothing to do. What is theirs already is not touched.
    """
    told: list[str] = []
    if os.geteuid() != 0:
        return told
    with _Folder(path) as top:
        names = [name for name in os.listdir(top.fd) if _OURS.fullmatch(name)]
        told += top.give(names, uid, gid)
        for name in FOLDERS:
            try:
                below = _Folder(os.path.join(path, name), name, top.fd)
            except FileNotFoundError:
                continue
            except OSError as error:
                told.append(f"{path}/{name} stays as it is: {error.strerror}")
                continue
            with below:
                told += below.give([""], uid, gid)
                told += below.give(os.listdir(below.fd), uid, gid)
    return told


class _Folder:
    """A folder held open, so that nobody can put another in its place."""

    def __init__(self, path: str, name: str | None = None, above: int | None = None) -> None:
        self.path = path
        self.fd = os.open(name or path, _LOOK | os.O_DIRECTORY, dir_fd=above)

    def give(self, names: list[str], uid: int, gid: int) -> Iterator[str]:
        """Of each file (or of the folder itself, for an empty name) that is root's, the owner; sentences about those that stay."""
        for name in names:
            try:
                why = self._give(name, uid, gid)
            except FileNotFoundError:
                continue
            except OSError as error:
                why = error.strerror
            if why:
                yield f"{os.path.join(self.path, name)} stays as it is: {why}"

    def _give(self, name: str, uid: int, gid: int) -> str | None:
        fd = os.dup(self.fd) if not name else os.open(name, _LOOK, dir_fd=self.fd)
        try:
            facts = os.fstat(fd)
            if facts.st_uid == uid:
                return None
            if facts.st_uid != 0:
                return f"it belongs to uid {facts.st_uid}"
            if name and not stat.S_ISREG(facts.st_mode):
                return "it is not a file"
            if name and facts.st_nlink != 1:
                return f"it has {facts.st_nlink} names (hard links)"
            os.fchmod(fd, 0o600 if name else 0o700)
            os.fchown(fd, uid, gid)
            return None
        finally:
            os.close(fd)

    def __enter__(self) -> _Folder:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self.fd)
