"""How a user's mailbox is opened, and how a new one is made. Opened first and judged afterwards: what was judged by its name could be
swapped before the open.

The guard runs this too, as root, for a process that may not: so it needs the standard library and the locks alone.
"""

from __future__ import annotations

import contextlib
import errno
import grp
import os
import pwd
import shlex
import stat
from collections.abc import Callable, Container
from typing import Protocol

from lanmail.mailbox.locks import MailboxBusy, MailboxFailure, MailboxUnsafe
from lanmail.mailbox.newborn import Newborn

# O_NONBLOCK: a fifo in the mailbox's place must not hold us up until somebody reads it; on a file it means nothing.
_OPEN = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY

# What open(2) says of things that are no file: a symbolic link, a folder, a socket.
_NO_FILE = {errno.ELOOP: "a symbolic link", errno.EISDIR: "a folder", errno.ENXIO: "a socket"}


class Owner(Protocol):
    """Whose a mailbox is: an interfaces.User, or what the guard knows of one. The name is safe as the name of a file."""

    @property
    def name(self) -> str: ...
    @property
    def uid(self) -> int: ...
    @property
    def gid(self) -> int: ...


class Opener(Protocol):
    """Opens and makes mailboxes for MailboxFile. May be called from any thread; whoever called closes the descriptor.

    folder: the folder of the mailboxes, open. path: the mailbox's, with the owner's name at its end; for sentences, and for its name.
    """

    def open(self, folder: int, path: str, owner: Owner, /) -> int:
        """The mailbox that is there, for reading and writing, judged and not locked.

        Raises FileNotFoundError; MailboxBusy; MailboxUnsafe, where it is no file, or not theirs; MailboxFailure, or OSError.
        """

    def create(self, folder: int, path: str, owner: Owner, lock: Callable[[int], None], /) -> int:
        """A new one with its owner and mode, which was locked before anybody could see it.

        lock: takes the kernel lock of a descriptor, where this process makes the file. The guard locks alike: a lock is of the open
        file, and goes with the descriptor. Raises FileExistsError; MailboxFailure, or OSError.
        """


class PlainOpener:
    """An Opener with our own rights. group: as for MailboxFile."""

    def __init__(self, group: int | None) -> None:
        self._group = group

    def open(self, folder: int, path: str, owner: Owner, /) -> int:
        us = os.geteuid()
        allowed = {owner.uid} if us == 0 else {owner.uid, us}
        try:
            return open_mailbox(folder, path, owner, allowed, self._group)
        except PermissionError as error:
            # Where it is not theirs at all, that is what to say of it. (What is judged by its name is not opened here.)
            with contextlib.suppress(OSError):
                _judge(
                    os.stat(os.path.basename(path), dir_fd=folder, follow_symlinks=False),
                    path,
                    owner,
                    allowed,
                    self._group,
                )
            hint = "; group mail must have it, with mode 0660" if error.errno == errno.EACCES else ""
            raise MailboxFailure.of(error, f"cannot open {path}{hint}") from error

    def create(self, folder: int, path: str, owner: Owner, lock: Callable[[int], None], /) -> int:
        return create_mailbox(folder, path, owner, self._group, lock)


def open_mailbox(folder: int, path: str, owner: Owner, allowed: Container[int], group: int | None) -> int:
    """As Opener.open. allowed: the uids of which one must own it. group: for the advice alone. PermissionError where we may not."""
    try:
        fd = os.open(os.path.basename(path), _OPEN, dir_fd=folder)
    except (FileNotFoundError, PermissionError):
        raise
    except OSError as error:
        if error.errno in _NO_FILE:
            raise MailboxUnsafe(f"{path} is {_NO_FILE[error.errno]}") from error
        raise MailboxFailure.of(error, f"cannot open {path}") from error
    try:
        _judge(os.fstat(fd), path, owner, allowed, group)
    except BaseException:
        os.close(fd)
        raise
    return fd


def create_mailbox(folder: int, path: str, owner: Owner, group: int | None, lock: Callable[[int], None]) -> int:
    """As Opener.create: nobody can find it as root's and refuse it."""
    with Newborn(folder) as newborn:
        mode = 0o600
        if os.geteuid() == 0:
            os.fchown(newborn.fd, owner.uid, owner.gid if group is None else group)
        elif group is not None:
            os.fchown(newborn.fd, -1, group)
        if group is not None:
            mode = 0o660
        os.fchmod(newborn.fd, mode)
        lock(newborn.fd)
        newborn.appear(os.path.basename(path))
        # Before anybody else can write to it: who finds a mailbox and syncs what he appends need not think of its name.
        os.fsync(folder)
        return newborn.keep()


def _judge(found: os.stat_result, path: str, owner: Owner, allowed: Container[int], group: int | None) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise MailboxUnsafe(f"{path} is not a file")
    if found.st_nlink == 0:
        raise MailboxBusy(path, "a program that has just removed it")
    if found.st_nlink > 1:
        raise MailboxUnsafe(f"{path} has {found.st_nlink} names (hard links)")
    if found.st_uid not in allowed:
        raise MailboxUnsafe(
            f"{path} belongs to uid {found.st_uid}, not to {owner.name} ({owner.uid});"
            f" if it is theirs: chown {_for_chown(owner.uid, group)} {shlex.quote(path)}"
        )


def _for_chown(uid: int, group: int | None) -> str:
    """``ann:mail``, as chown(1) takes it, with a number for what has no name. The mailboxes of a passwd-file's accounts belong to
    mail_owner; so it is the uid's name, and not the account's."""
    try:
        owner = pwd.getpwuid(uid).pw_name
    except KeyError:
        owner = str(uid)
    if group is None:
        return owner
    try:
        return f"{owner}:{grp.getgrgid(group).gr_name}"
    except KeyError:
        return f"{owner}:{group}"
