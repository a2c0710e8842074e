"""Accounts kept in a file of our own (``accounts = passwd-file:PATH``): for trying out, and for people without a login.

A line is ``name:hash``, perhaps with ``:`` and more behind it that is not read; ``#`` begins a comment line. Everybody in it
has a mailbox that belongs to the owner handed in (``mail_owner``), whoever may have that name on the system.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Collection
from dataclasses import replace

from twisted.internet.defer import DeferredLock
from twisted.internet.interfaces import IReactorTime

from lanmail.accounts.hashes import NOBODYS, hash_password
from lanmail.accounts.names import is_login_name
from lanmail.accounts.passwd_lines import Passwords, parse
from lanmail.accounts.turns import TooMany, Turns
from lanmail.files import Open, open_no_link, signature_of
from lanmail.interfaces import InThread, Report, User
from lanmail.network import Peer
from lanmail.status import Status, TemporaryFailure

__all__ = ["PasswdFile", "Passwords", "UnsafeFile", "hash_password", "open_checked", "read_passwords"]

NO_LIST = Status(451, "4.3.0", "The list of users cannot be read now, try again later")
NOT_NOW = Status(454, "4.7.0", "Temporary authentication failure, try again later")

_LARGEST = 16 << 20
"""Octets: a hundred thousand accounts. What is larger is no list of accounts."""


class UnsafeFile(Exception):
    """The file is not one to take passwords from. The text is a sentence that begins with its path."""


def open_checked(path: str, owners: Collection[int], opened: Open = open_no_link) -> int:
    """A descriptor of the file, which is a regular one, belongs to one of ``owners`` and is nobody else's to read or write.

    Raises UnsafeFile, and OSError where it cannot be opened.
    """
    try:
        fd = opened(path)
    except OSError as error:
        if os.path.islink(path):
            raise UnsafeFile(f"{path} is a symbolic link; name the file itself") from error
        raise
    try:
        facts = os.fstat(fd)
        if not stat.S_ISREG(facts.st_mode):
            raise UnsafeFile(f"{path} is not a regular file")
        if facts.st_uid not in owners:
            raise UnsafeFile(
                f"{path} belongs to uid {facts.st_uid}, who could let anybody in; chown it to root or mail_owner"
            )
        if facts.st_mode & 0o077:
            raise UnsafeFile(f"{path} is open to others (mode {stat.S_IMODE(facts.st_mode):04o}); chmod 600 {path}")
        if facts.st_size > _LARGEST:
            raise UnsafeFile(f"{path} is larger than any list of accounts ({facts.st_size} octets)")
    except BaseException:
        os.close(fd)
        raise
    return fd


def read_passwords(
    path: str, owners: Collection[int], before: Passwords | None = None, opened: Open = open_no_link
) -> Passwords:
    """What the file says now, or ``before`` where it has not changed. Raises UnsafeFile and OSError."""
    fd = open_checked(path, owners, opened)
    with open(fd, "rb") as file:
        state = signature_of(os.fstat(fd))
        if before is not None and before.state == state:
            return before
        now = parse(file.read(_LARGEST), path)
    return replace(now, state=state)


class PasswdFile:
    """sources.Accounts over one file, which is looked at again when it was not for ``fresh`` seconds.

    uid, gid: whose the mailboxes are. owners: who may own the file; root, this process's user and ``uid`` by default.
    at_once: how many hashes are computed at a time (32 MiB each). waiting: how many logins may wait for that; addresses take turns.
    opened: how the file is opened. Whoever opens it, its owner and its mode are judged here.
    """

    def __init__(
        self,
        path: str,
        uid: int,
        gid: int,
        in_thread: InThread,
        clock: IReactorTime,
        report: Report,
        *,
        owners: Collection[int] | None = None,
        fresh: float = 1.0,
        at_once: int = 2,
        waiting: int = 256,
        opened: Open = open_no_link,
    ) -> None:
        self._path = path
        self._uid = uid
        self._gid = gid
        self._in_thread = in_thread
        self._clock = clock
        self._report = report
        self._owners = frozenset({0, os.geteuid(), uid} if owners is None else owners)
        self._fresh = fresh
        self._open = opened
        self._passwords: Passwords | None = None
        self._trouble = ""
        self._looked = float("-inf")
        self._reading = DeferredLock()
        self._hashing = Turns(at_once, waiting)

    def unusable(self) -> str | None:
        """Why no account can be had from the file, as a sentence for whoever starts the server. Reads it at once, here.

        Bad lines are not in it: they are reported when the file is read for the first login.
        """
        try:
            read_passwords(self._path, self._owners, opened=self._open)
        except (UnsafeFile, OSError) as error:
            return _sentence(self._path, error)
        return None

    async def find(self, name: str) -> User | None:
        """interfaces.Users. In whatever case: two lines cannot differ in that alone."""
        if not is_login_name(name):
            return None
        spelled = (await self._current()).spelled(name)
        return User(spelled, self._uid, self._gid) if spelled else None

    async def verify(self, user: User | None, password: bytes, peer: Peer) -> bool:
        try:
            await self._hashing.take(peer.block)
        except TooMany:
            raise TemporaryFailure(NOT_NOW) from None
        try:
            # As it is at this moment: by a reading of a second ago a password that has just been changed would still be right, and
            # could be remembered.
            passwords = await self._current(fresh=0.0)
            wanted = (passwords.hash_of(user.name) if user else None) or NOBODYS
            return await self._in_thread(wanted.matches, password) and bool(password)
        finally:
            self._hashing.done()

    async def _current(self, fresh: float | None = None) -> Passwords:
        """What the file says, as of ``fresh`` seconds ago or later. TemporaryFailure where it cannot be read."""
        fresh = self._fresh if fresh is None else fresh
        await self._reading.acquire()
        try:
            if self._clock.seconds() - self._looked >= fresh:
                await self._look_again()
        finally:
            self._reading.release()
        if self._passwords is None:
            raise TemporaryFailure(NO_LIST)
        return self._passwords

    async def _look_again(self) -> None:
        before = self._passwords
        trouble = ""
        try:
            self._passwords = await self._in_thread(read_passwords, self._path, self._owners, before, self._open)
        except (UnsafeFile, OSError) as error:
            self._passwords = None
            trouble = _sentence(self._path, error)
        self._looked = self._clock.seconds()
        if self._passwords is not None and self._passwords is not before:
            for problem in self._passwords.problems:
                self._report("warning: {problem}", problem=problem)
        if trouble and trouble != self._trouble:
            self._report("warning: {trouble}", trouble=trouble)
        self._trouble = trouble


def _sentence(path: str, error: Exception) -> str:
    return f"cannot read {path}: {error.strerror}" if isinstance(error, OSError) else str(error)
