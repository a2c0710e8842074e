"""One message into n mailboxes, all or nothing, on stable storage before anybody is told.

The order is what the promise rests on: lock every mailbox, note durably how long each is and what will be written, write and sync
each, mark the note, let go. Whatever stops us before the mark, here or by a crash, takes the message out of all of them
again before they are next used (spool/recovery.py). Nobody waits in a thread for a lock.
"""

from __future__ import annotations

import random
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

from lanmail.interfaces import InThread, Report, User
from lanmail.mailbox.store import LockedMailbox, MailboxBusy, MailboxFailure, MailboxFile
from lanmail.spool.incoming import Content, storage_failure
from lanmail.spool.intents import Intended, Intents, Note
from lanmail.spool.recovery import Recovery

# Seconds between two touches of the dotlocks that we hold; another program may break one after stale_lock_time, 500 s.
_FRESH = 20.0
# Seconds between two tries at a mailbox that another program holds: the first, and the most. mutt and procmail hold
# theirs for milliseconds; a user who has the mailbox open in an old Dovecot, for minutes.
_FIRST_PAUSE = 0.05
_LONGEST_PAUSE = 1.0


@dataclass(frozen=True, slots=True)
class Copy:
    """What one mailbox gets: ``head``, from the ``From `` line to the last of our headers, with LF line ends, then the content."""

    user: User
    head: bytes


class LocalDelivery:
    """Delivers to mailboxes.

    mailbox_of: the MailboxFile of a user, made with ``mend=recovery.mend``. clock: waits between tries at locks.
    patience: seconds for which a mailbox that another program holds is tried; then the client is told "later".
    """

    def __init__(
        self,
        mailbox_of: Callable[[User], MailboxFile],
        intents: Intents,
        recovery: Recovery,
        in_thread: InThread,
        clock: IReactorTime,
        report: Report,
        *,
        patience: float = 20.0,
    ) -> None:
        self._mailbox_of = mailbox_of
        self._intents = intents
        self._recovery = recovery
        self._in_thread = in_thread
        self._clock = clock
        self._report = report
        self._patience = patience
        self._turns = Turns()

    async def deliver(self, queue_id: str, content: Content, copies: Sequence[Copy]) -> None:
        """Into every mailbox, or into none. Raises TemporaryFailure; ``content`` is then still there, for the caller to discard."""
        heads = {self._mailbox_of(copy.user).path: copy for copy in reversed(copies)}
        # One order for everybody, ours and every worker's: two that want the same mailboxes cannot each hold half of them.
        paths = sorted(heads)
        first_try: float | None = None
        pause = _FIRST_PAUSE
        while True:
            await self._turns.take(paths)
            try:
                await self._in_thread(self._attempt, queue_id, content, [heads[path] for path in paths])
                return
            except MailboxBusy as busy:
                now = self._clock.seconds()
                first_try = now if first_try is None else first_try
                # Kept: once recovery has taken the message out, the file goes too. So the client sends it once more.
                if now - first_try >= self._patience or content.kept:
                    self._report(
                        "warning: {id}: gave up after {seconds:.0f} s: {reason}",
                        id=queue_id,
                        seconds=now - first_try,
                        reason=busy.detail,
                    )
                    raise
            finally:
                self._turns.give_back(paths)
            # Others are served meanwhile. Not in step with a program that tries at a fixed interval:
            jitter = random.uniform(0.5, 1.5)  # noqa: S311
            await deferLater(self._clock, pause * jitter)
            pause = min(pause * 2, _LONGEST_PAUSE)

    # in a thread

    def _attempt(self, queue_id: str, content: Content, copies: Sequence[Copy]) -> None:
        """The whole of it, once. Raises MailboxBusy where it is worth another try, TemporaryFailure where it is not."""
        try:
            with ExitStack() as held:
                locked: list[LockedMailbox] = []
                fresh = _Freshness(locked)
                for copy in copies:
                    locked.append(held.enter_context(self._mailbox_of(copy.user).lock(create=True)))
                    fresh.keep()
                intended = [_intended(copy, mailbox) for copy, mailbox in zip(copies, locked, strict=True)]
                note = self._intents.write(queue_id, intended, content)
                held.callback(note.close)
                with self._undone_on_failure(note, locked):
                    for copy, mailbox in zip(copies, locked, strict=True):
                        # Closed at once: in the traceback of a failure it would keep the message's file, and its room on a full disk.
                        with closing(fresh.keeping(copy.head, content.pieces())) as pieces:
                            mailbox.append(pieces)
                    for mailbox in locked:
                        mailbox.sync()
                        fresh.keep()
                    for mailbox in locked:
                        # Somebody who broke our lock, or put another file in its place, has a mailbox without this message.
                        if not mailbox.intact():
                            raise MailboxBusy(mailbox.path, "a program that broke our lock or replaced the file")
                    note.mark_delivered()
                note.remove()
        except OSError as error:
            self._report("warning: {id}: {error}", id=queue_id, error=error)
            raise storage_failure(error) from error

    @contextmanager
    def _undone_on_failure(self, note: Note, locked: Sequence[LockedMailbox]) -> Iterator[None]:
        try:
            yield
        except BaseException:
            if self._take_back(note, locked):
                note.remove()
            else:
                self._recovery.postpone(note)
            raise

    def _take_back(self, note: Note, locked: Sequence[LockedMailbox]) -> bool:
        """Cut every mailbox back to its noted length; whether that is done for all, and marked."""
        complete = True
        try:
            note.mark_failed()
        except OSError as error:
            self._report("warning: {path}: {error}", path=note.path, error=error)
        for number, (intended, mailbox) in enumerate(zip(note.mailboxes, locked, strict=True)):
            try:
                if not mailbox.intact():
                    # Without our lock the end of the file is not ours to cut: recovery looks at the octets.
                    complete = False
                    continue
                mailbox.cut_back(intended.length)
                note.mark_undone(number)
            except (MailboxFailure, OSError) as failure:
                complete = False
                self._report(
                    "warning: {path} will be cut back before it is next used: {reason}",
                    path=mailbox.path,
                    reason=failure,
                )
        return complete


def _intended(copy: Copy, mailbox: LockedMailbox) -> Intended:
    return Intended(copy.user, mailbox.path, mailbox.device, mailbox.inode, mailbox.length(), copy.head)


class _Freshness:
    """Touches the dotlocks of a transaction that takes long, because it is large or has a thousand recipients."""

    def __init__(self, locked: Sequence[LockedMailbox]) -> None:
        self._locked = locked
        self._touched = time.monotonic()

    def keep(self) -> None:
        now = time.monotonic()
        if now - self._touched > _FRESH:
            self._touched = now
            for mailbox in self._locked:
                mailbox.touch()

    def keeping(self, head: bytes, pieces: Iterable[bytes]) -> Generator[bytes, None, None]:
        """The octets of one copy."""
        yield head
        for piece in pieces:
            self.keep()
            yield piece


class Turns:
    """Whose turn it is at each mailbox, so that our own deliveries queue in order instead of racing for its locks.

    Each waits for all of its mailboxes and holds none meanwhile that it could not use; who came first at a mailbox goes first.
    """

    def __init__(self) -> None:
        self._queues: dict[str, deque[_Turn]] = {}
        self._ready: deque[_Turn] = deque()
        self._waking = False

    async def take(self, paths: Sequence[str]) -> None:
        """Return when it is our turn at every one of ``paths``, each of which is named once."""
        turn = _Turn(len(paths))
        for path in paths:
            queue = self._queues.setdefault(path, deque())
            queue.append(turn)
            if queue[0] is turn:
                turn.missing -= 1
        if turn.missing:
            await turn.come

    def give_back(self, paths: Sequence[str]) -> None:
        for path in paths:
            queue = self._queues[path]
            queue.popleft()
            if not queue:
                del self._queues[path]
                continue
            queue[0].missing -= 1
            if not queue[0].missing:
                self._ready.append(queue[0])
        # Whoever is woken may be done at once and come here again: a loop, or a hundred of them would be as many frames deep.
        if self._waking:
            return
        self._waking = True
        try:
            while self._ready:
                self._ready.popleft().come.callback(None)
        finally:
            self._waking = False


class _Turn:
    __slots__ = ("come", "missing")

    def __init__(self, missing: int) -> None:
        self.missing = missing
        self.come: Deferred[None] = Deferred()
