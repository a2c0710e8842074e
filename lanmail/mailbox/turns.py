"""Turns at a mailbox between the workers of one service: whose it is, who is next, and who left it in the middle of something.

Each user has a file of their own in our folder. Its kernel lock is taken before any lock that other programs see, and beneath it stands a
note of who has it. A worker that dies lets go of the lock and leaves the note: what it was writing is torn perhaps, and how far it came
only its own journal knows. So nobody else touches that mailbox until that worker, started again, has put it right.

The lock has two parts, octet 0 for the turn and octet 1 for the place of whoever is next. Who finds the turn taken waits in that place,
for a hundredth of a second at most; and nobody gets a turn past somebody who stands there. So a worker with much mail for a mailbox does
not keep the others from it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection
from contextlib import suppress

from lanmail.mailbox.locks import MailboxBusy, lock_range, unlock_kernel, unlock_range

# A worker has a mailbox for as long as a round takes: some milliseconds, unless it is large.
WAITS = 10
PAUSE = 0.001

_TURN, _NEXT = 0, 1
# As wide as any number, so that a note is replaced in place and in one write.
_NOTE = b"%4d\n"
_NOBODY = 0


class WithColleague(MailboxBusy):
    """Another worker has it, or (``left``) must put it right first. No other program is to blame, and no message has to wait for long."""

    def __init__(self, name: str, worker: int | None = None) -> None:
        self.left = worker is not None
        super().__init__(name, f"worker {worker}, which has to put it right first" if self.left else "another worker")


class Turn:
    """One user's file, opened."""

    def __init__(self, path: str, name: str, worker: int) -> None:
        """OSError."""
        self._name = name
        self._worker = worker
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)

    def take(self, sleep: Callable[[float], None]) -> None:
        """Raises WithColleague, OSError."""
        self._have_it(sleep)
        whose = self.note()
        if whose not in (_NOBODY, self._worker):
            raise WithColleague(self._name, whose)
        if whose != self._worker:
            self._write(self._worker)

    def let_go(self, *, clean: bool) -> None:
        """clean: there is nothing in the mailbox that we would have to put right. Never raises, never waits."""
        if clean:
            with suppress(OSError):  # then it is ours alone until the next time
                self._write(_NOBODY)
        self.close()

    def close(self) -> None:
        unlock_kernel(self._fd)
        os.close(self._fd)

    def note(self) -> int:
        """The worker that has it, or died with it; 0 for nobody. OSError."""
        octets = os.pread(self._fd, len(_NOTE % 0), 0)
        return int(octets) if octets.strip().isdigit() else _NOBODY

    def free(self) -> bool:
        """The turn is ours, if nobody has it. OSError."""
        return lock_range(self._fd, _TURN, 2)

    def write(self, worker: int | None) -> None:
        """OSError."""
        self._write(worker or _NOBODY)

    def _have_it(self, sleep: Callable[[float], None]) -> None:
        if not lock_range(self._fd, _TURN, 2):
            if not lock_range(self._fd, _NEXT, 1):
                raise WithColleague(self._name)
            for _ in range(WAITS):
                sleep(PAUSE)
                if lock_range(self._fd, _TURN, 1):
                    break
            else:
                raise WithColleague(self._name)
        unlock_range(self._fd, _NEXT, 1)

    def _write(self, worker: int) -> None:
        os.pwrite(self._fd, _NOTE % worker, 0)


class Turns:
    """Of one worker.

    folder: exists, and is ours alone. unsettled: whether something stands in that user's mailbox that we have to look for
    (Recovery.is_left).
    """

    def __init__(
        self,
        folder: str,
        worker: int,
        unsettled: Callable[[str], bool],
        *,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._folder = folder
        self._worker = worker
        self._unsettled = unsettled
        self._sleep = sleep

    def take(self, name: str) -> Callable[[], None]:
        """The turn at that user's mailbox, and how to let go of it. Waits for a hundredth of a second at most.

        Raises WithColleague, OSError.
        """
        turn = self._of(name)
        try:
            turn.take(self._sleep)
        except BaseException:
            turn.close()
            raise
        return lambda: turn.let_go(clean=not self._unsettled(name))

    def begin(self, open_ends: Collection[str]) -> None:
        """When we are started: note our number for those users whose mailboxes we must look into, and take it back from all others.

        Before anybody serves, or while the others do. OSError.
        """
        ours = set(open_ends)
        for name in ours | set(os.listdir(self._folder)):
            turn = self._of(name)
            try:
                if name not in ours:
                    if turn.note() == self._worker:  # which nobody else writes over
                        turn.write(None)
                elif turn.free() and turn.note() == _NOBODY:
                    turn.write(self._worker)
                # Else a colleague has it: then it stood whole when we died, for our number would stand there.
            finally:
                turn.close()

    def _of(self, name: str) -> Turn:
        assert name not in ("", ".", "..") and "/" not in name and "\0" not in name, "not the name of a file"
        return Turn(os.path.join(self._folder, name), name, self._worker)


def forget_notes(folder: str) -> None:
    """When nobody runs: numbers of workers that there were mean nothing to those that will be. OSError."""
    with suppress(FileNotFoundError):
        for name in os.listdir(folder):
            os.unlink(os.path.join(folder, name))
