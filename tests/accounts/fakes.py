"""Stand-ins that remember, and real system users where root may make them."""

from __future__ import annotations

import hashlib
import os
import pwd
import shutil
import subprocess
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from twisted.internet.defer import Deferred, succeed
from twisted.trial.unittest import SkipTest, TestCase

from lanmail.accounts.hashes import PasswordHash
from lanmail.interfaces import User
from lanmail.network import Peer
from lanmail.status import TemporaryFailure

T = TypeVar("T")


class RememberingReport:
    """Keeps what would stand in the log, filled in."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def __call__(self, line: str, /, **fields: object) -> None:
        self.lines.append(line.format(**fields))

    def __str__(self) -> str:
        return "\n".join(self.lines)


class RememberingAccounts:
    """A source of accounts in memory; remembers every password it was asked about. ``trouble`` is raised instead of answering."""

    def __init__(self, *people: tuple[User, bytes], trouble: TemporaryFailure | None = None) -> None:
        self.people = {user.name: (user, password) for user, password in people}
        self.trouble = trouble
        self.asked: list[tuple[str | None, bytes, Peer]] = []

    async def find(self, name: str) -> User | None:
        if self.trouble:
            raise self.trouble
        return self.people.get(name.lower(), (None, b""))[0]

    async def verify(self, user: User | None, password: bytes, peer: Peer) -> bool:
        self.asked.append((user.name if user else None, password, peer))
        return user is not None and self.people[user.name][1] == password


def at_once(work: Callable[..., T], *args: Any, **kwargs: Any) -> Awaitable[T]:
    """An InThread without a thread."""
    try:
        return succeed(work(*args, **kwargs))
    except BaseException as error:
        failed: Deferred[T] = Deferred()
        failed.errback(error)
        return failed


def begin(coroutine: Coroutine[Deferred[Any], Any, T]) -> Deferred[T]:
    return Deferred.fromCoroutine(coroutine)


def system_user(test: TestCase, role: str, password: str | None, *arguments: str) -> str:
    """A real user for the length of the test, without a home and a shell; no password at all for None. Its name."""
    if os.geteuid() != 0:
        raise SkipTest("only root can make users")
    for program in ("useradd", "chpasswd", "userdel"):
        if shutil.which(program) is None:
            raise SkipTest(program)
    name = f"lt{os.getpid()}-{role}"
    subprocess.run(["useradd", "-M", "-s", "/sbin/nologin", *arguments, name], check=True)
    test.addCleanup(subprocess.run, ["userdel", name], check=True, capture_output=True)
    if password is None:
        subprocess.run(["passwd", "-d", name], check=True, capture_output=True)
    else:
        subprocess.run(["chpasswd"], input=f"{name}:{password}", text=True, check=True)
    return name


def pam_service(test: TestCase, lines: str) -> str:
    """A PAM service for the length of the test. Its name."""
    if os.geteuid() != 0:
        raise SkipTest("only root can make a PAM service")
    if not os.path.isdir("/etc/pam.d"):
        raise SkipTest("/etc/pam.d")
    name = f"lanmail-test-{os.getpid()}"
    with open(f"/etc/pam.d/{name}", "w", encoding="ascii") as file:
        os.fchmod(file.fileno(), 0o644)
        file.write(lines)
    test.addCleanup(os.unlink, f"/etc/pam.d/{name}")
    return name


def uid_of(name: str) -> int:
    return pwd.getpwnam(name).pw_uid


def cheap(password: str) -> str:
    """A hash of a cost that tests can bear."""
    digest = hashlib.scrypt(password.encode(), salt=bytes(16), n=2, r=1, p=1, dklen=32)
    return str(PasswordHash(1, 1, 1, bytes(16), digest))
