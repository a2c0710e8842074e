"""The folder of everything that we keep: ``queue_directory/lanmail``, its owner, and the lock that makes us the only one.

A Postfix's own queue may lie in the same ``queue_directory``; it stays untouched.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import time

from lanmail.spool.shares import Share

# Files in it that more than one module opens. Those of further workers are spool/shares.py's to name.
JOURNAL = Share().journal
HISTORY = Share().history
CONTROL = "control"

# A service that was killed takes its workers with it, in a moment. So many tries for its lock, so many seconds apart.
_TRIES = 50
_PAUSE = 0.1


class StateTrouble(Exception):
    """The folder cannot be had; the text says why and what to do."""


class AnotherRuns(StateTrouble):
    """Somebody else holds it. pid: whose, as it stands in the lock; None where nothing does."""

    def __init__(self, folder: str, pid: int | None) -> None:
        self.pid = pid
        super().__init__(
            f"another lanmail{f' (pid {pid})' if pid else ''} is running on {folder}"
            + (f"; stop it with: kill {pid}" if pid else "")
        )


class StateFolder:
    """Made where it is missing, ``uid:gid`` 0700, and held for ourselves until ``release`` or the end of the process."""

    def __init__(self, queue_directory: str, uid: int, gid: int, lock: int | None = None) -> None:
        """Raises StateTrouble: no right to make it, somebody else's folder, or a second instance.

        lock: a descriptor of the lock that whoever started us has taken already; ours from now on.
        """
        self.path = os.path.join(queue_directory, "lanmail")
        self._uid, self._gid = uid, gid
        try:
            # The queue's own folder is the administrator's, or a Postfix's: made where it is missing, else left as it is.
            os.makedirs(queue_directory, mode=0o755, exist_ok=True)
            _sync_name(queue_directory)
            self._folder(self.path)
            self._lock = self._lock_it(os.path.join(self.path, "lock")) if lock is None else lock
            if os.geteuid() == 0:
                os.fchown(self._lock, uid, gid)  # so that mail_owner may take it too
        except OSError as error:
            raise self._trouble(error) from error

    def folder(self, name: str) -> str:
        """The path of a folder in it, made where it is missing. Raises StateTrouble."""
        path = os.path.join(self.path, name)
        try:
            self._folder(path)
        except OSError as error:
            raise self._trouble(error) from error
        return path

    def sign(self) -> None:
        """Leave our pid in the lock, for the sentence that a second instance gets. After twistd has gone to the background."""
        os.ftruncate(self._lock, 0)
        os.pwrite(self._lock, b"%d\n" % os.getpid(), 0)

    @property
    def lock(self) -> int:
        """The descriptor of the lock, for processes that serve with us: whoever inherits it holds it too, until the last has ended."""
        return self._lock

    def release(self) -> None:
        os.close(self._lock)

    def _trouble(self, error: OSError) -> StateTrouble:
        advice = ""
        if error.errno in (errno.EACCES, errno.EPERM) and os.geteuid() != 0:
            advice = "; start as root, or, to try lanmail out, give it another queue_directory or no main.cf at all"
        return StateTrouble(f"{error.filename or self.path}: {os.strerror(error.errno or 0)} (queue_directory){advice}")

    def _folder(self, path: str) -> None:
        try:
            os.mkdir(path, 0o700)
        except FileExistsError:
            pass
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            owner = os.fstat(fd).st_uid
            if owner not in (self._uid, os.geteuid()):
                raise StateTrouble(f"{path} belongs to uid {owner}, not to mail_owner (uid {self._uid})")
            if os.geteuid() == 0:
                os.fchown(fd, self._uid, self._gid)
            if stat.S_IMODE(os.fstat(fd).st_mode) != 0o700:
                os.fchmod(fd, 0o700)
        finally:
            os.close(fd)
        _sync_name(path)

    @staticmethod
    def _lock_it(path: str) -> int:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o600)
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode) or found.st_nlink != 1:
            # We write into it, and as root give it away.
            os.close(fd)
            raise StateTrouble(f"{path} is not a file of its own, but a link or something else; remove it")
        try:
            # flock belongs to the open file: it survives twistd's fork into the background, and ends with the last of us.
            _try_for_a_while(fd)
        except OSError as error:
            holder = _holder(fd)
            os.close(fd)
            if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                raise
            raise AnotherRuns(os.path.dirname(path), int(holder) if holder.isdecimal() else None) from error
        return fd


def _try_for_a_while(fd: int) -> None:
    """As long as whoever signed is dead and the lock is held all the same: their workers are at their end. OSError."""
    for _ in range(_TRIES):
        try:
            return fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = _holder(fd)
            if not holder.isdecimal() or os.path.exists(f"/proc/{holder}"):
                raise
            time.sleep(_PAUSE)
    return fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _holder(fd: int) -> str:
    """The pid that stands in the lock; perhaps nothing."""
    return os.pread(fd, 32, 0).decode("ascii", "replace").strip()


def _sync_name(path: str) -> None:
    """The name of this folder is on stable storage: without it, all that is ever synced in it is lost with it.

    Also where it was there already: perhaps it was made by a process that a power cut stopped before this. OSError.
    """
    try:
        folder = os.open(os.path.dirname(os.path.abspath(path)), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except (
        PermissionError
    ):  # a folder above ours that we may pass through and not read; then we have not made this one in it
        return
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
