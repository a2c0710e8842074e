"""What an open maildrop holds, and how it is let go although threads may be at work with it."""

from __future__ import annotations

import os
import threading
from types import TracebackType

from lanmail.mailbox.claims import Claim


class Closed(Exception):
    """The maildrop was closed before the work could begin."""


class Holdings:
    """A claim and a descriptor to read with, let go as soon as they are closed and nobody works with them.

    As a context manager it is being worked with (in whatever thread): closing a descriptor under a thread that reads would let it read
    from whichever file gets that number next. Raises Closed on entry where it is too late.
    """

    def __init__(self, claim: Claim) -> None:
        self._claim = claim
        self._mutex = threading.Lock()
        self._users = 0
        self._closed = False
        self._fd: int | None = None

    @property
    def fd(self) -> int:
        assert self._fd is not None, "there is no mailbox file"
        return self._fd

    @property
    def has_file(self) -> bool:
        """Whether there is one to read from."""
        return self._fd is not None

    def read_from(self, fd: int | None) -> None:
        """Take this descriptor (or none) in place of the last one. Only while working."""
        with self._mutex:
            last, self._fd = self._fd, fd
        if last is not None:
            os.close(last)

    def close(self) -> None:
        """No new work; the last that is under way lets go. Never waits; may be called more than once."""
        with self._mutex:
            self._closed = True
            if self._users:
                return
        self._let_go()

    def __enter__(self) -> Holdings:
        with self._mutex:
            if self._closed:
                raise Closed
            self._users += 1
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._mutex:
            self._users -= 1
            if self._users or not self._closed:
                return
        self._let_go()

    def _let_go(self) -> None:
        self.read_from(None)
        self._claim.release()
