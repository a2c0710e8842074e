"""Exclusive use of a maildrop, between the sessions of this process and of every other worker.

A claim is a kernel lock on one file per user below the state folder. It says nothing about the mailbox file, which other
programs lock in their own ways: it only keeps a second POP3 session out (RFC 1939, 4).
"""

from __future__ import annotations

import os
import threading

from lanmail.mailbox.locks import MailboxBusy, lock_kernel, unlock_kernel


class Claim:
    """One user's maildrop, claimed or on the way to it. Safe to use from several threads.

    The lock belongs to the open file, not to the process: two sessions of one process keep each other out, and if the
    process dies the kernel lets go.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._mutex = threading.Lock()
        self._fd: int | None = None
        self._released = False

    def take(self) -> bool:
        """Try once, without waiting; whether the maildrop is ours now. OSError where the folder cannot be used.

        After ``release`` it takes nothing: whoever wanted it has left while a thread was on its way here.
        """
        with self._mutex:
            taken = not self._released and (self._fd is not None or self._lock())
        if self._released:  # in between, by somebody who does not wait for us
            self.release()
            return False
        return taken

    def release(self) -> None:
        """Let go, for good. May be called more than once; never waits, not even for a disk that ``take`` waits for."""
        self._released = True
        if not self._mutex.acquire(blocking=False):
            return  # whoever has it lets go, or looks at ``_released`` afterwards
        try:
            if self._fd is not None:
                # The file stays: were it removed, the next two to come could each lock a file of that name.
                unlock_kernel(self._fd)
                os.close(self._fd)
                self._fd = None
        finally:
            self._mutex.release()

    def _lock(self) -> bool:
        fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            lock_kernel(fd, self._path)
        except MailboxBusy:
            os.close(fd)
            return False
        except BaseException:
            os.close(fd)
            raise
        self._fd = fd
        return True


class Claims:
    """Where the claims of all users stand: ``folder``, which must exist and belong to us alone."""

    def __init__(self, folder: str) -> None:
        self._folder = folder

    def of(self, name: str) -> Claim:
        """A claim on the maildrop of the user with that canonical name, not taken yet."""
        assert name not in ("", ".", "..") and "/" not in name and "\0" not in name, "not the name of a file"
        return Claim(os.path.join(self._folder, name))
