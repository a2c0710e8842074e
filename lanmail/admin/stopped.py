"""The queue while no service runs: the journal itself, under its lock, as the owner of its folder."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Iterator
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager
from typing import ParamSpec, TypeVar

import click

from lanmail.admin.owner import NotAllowed, become_owner
from lanmail.config.parameters import Settings
from lanmail.interfaces import Tell, nothing_to_say
from lanmail.log_lines import printable
from lanmail.queue.clock import QueueClock
from lanmail.queue.desk import Desk, Found
from lanmail.queue.questions import Question
from lanmail.spool.adoption import adopt
from lanmail.spool.entries import Listed
from lanmail.spool.history import History
from lanmail.spool.incoming import IncomingFolder
from lanmail.spool.journal import Journal
from lanmail.state import HISTORY, JOURNAL, StateFolder

P = ParamSpec("P")
T = TypeVar("T")


@contextmanager
def journal_asked(settings: Settings) -> Iterator[Callable[[Question], Iterator[bytes]]]:
    """Somebody who answers from the journal, while the lock is ours. Root becomes the owner of the folder, for good.

    Raises NotAllowed; AnotherRuns, another StateTrouble; JournalTrouble.
    """
    folder = os.path.join(settings.queue_directory, "lanmail")
    by = os.geteuid()
    if by != 0:
        become_owner(folder)  # which only says whether we are
    try:
        found = os.stat(folder, follow_symlinks=False)
    except OSError:
        raise NotAllowed(f"{folder} is not there: has the service run yet?") from None
    with ExitStack() as open_now:
        state = StateFolder(settings.queue_directory, found.st_uid, found.st_gid)
        open_now.callback(state.release)
        state.sign()
        if by == 0:
            _hand_over(folder, found.st_uid, found.st_gid)
            become_owner(folder)
        incoming = IncomingFolder(state.folder("incoming"), _here, _say)
        open_now.callback(incoming.close)
        # What the next start would do; then there is one journal to ask, whoever wrote what waits.
        adopt(folder, nothing_to_say)
        journal = Journal(os.path.join(folder, JOURNAL), incoming, _say)
        open_now.callback(journal.close)
        journal.start()
        history = History(os.path.join(folder, HISTORY), settings.history_days, _say)
        history.start()
        open_now.callback(history.close)
        clock = QueueClock(journal.clock_at_start, time.monotonic)
        desk = Desk(StoppedQueue(journal, clock.seconds, history.tell), _here, clock.seconds, time.time, running=False)
        yield lambda question: _pieces(desk.answer(question, by))


class StoppedQueue:
    """desk.Queue. Its coroutines block, and never wait."""

    def __init__(self, journal: Journal, queue_clock: Callable[[], float], tell: Tell) -> None:
        self._journal = journal
        self._now = queue_clock
        self._tell = tell

    async def listing(self, after: int, limit: int) -> list[Listed]:
        return self._journal.listing(after, limit)

    async def show(self, queue_id: str) -> Found | None:
        return self._journal.find(queue_id)

    async def flush(self, ids: Collection[str] | None, by: int) -> list[str]:
        return self._journal.flush(ids, now=self._now()).result()

    async def hold(self, ids: Collection[str] | None, by: int) -> list[str]:
        return self._told("held", by, self._journal.hold(ids))

    async def release(self, ids: Collection[str] | None, by: int) -> list[str]:
        return self._told("released", by, self._journal.release(ids))

    async def requeue(self, ids: Collection[str] | None, by: int) -> list[str]:
        return self._told("requeued", by, self._journal.requeue(ids, now=self._now()))

    async def delete(self, ids: Collection[str] | None, by: int) -> list[str]:
        return self._told("deleted", by, self._journal.delete(ids))

    def _told(self, kind: str, by: int, changed: Future[list[str]]) -> list[str]:
        done = changed.result()
        for queue_id in done:
            self._tell(kind, queue_id, by=by)
        return done


async def _here(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """interfaces.InThread, for whoever has nothing else to do."""
    return work(*args, **kwargs)


def _say(line: str, /, **fields: object) -> None:
    """interfaces.Report: what the journal says while it is opened concerns whoever opens it."""
    click.echo(printable(f"lanmail queue: {line.format(**fields)}"), err=True)


def _pieces(answer: AsyncGenerator[bytes, None]) -> Iterator[bytes]:
    while True:
        step: Awaitable[bytes] = anext(answer)
        try:
            step.__await__().send(None)
        except StopIteration as given:
            yield given.value
        except StopAsyncIteration:
            return


def _hand_over(folder: str, uid: int, gid: int) -> None:
    """Files that a service with root's rights has left become the folder's owner's, as it is with those of any other service.

    Only what is a file, root's, and has no other name: whoever has become that account may have put links there.
    """
    for place in (folder, os.path.join(folder, "incoming")):
        try:
            inside = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except FileNotFoundError:
            continue
        try:
            for name in os.listdir(inside):
                _give(name, inside, uid, gid)
        finally:
            os.close(inside)


def _give(name: str, folder: int, uid: int, gid: int) -> None:
    try:
        if not stat.S_ISREG(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode):
            return
        fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    except OSError:
        return  # gone, or no file of ours
    try:
        found = os.fstat(fd)
        if stat.S_ISREG(found.st_mode) and found.st_uid == 0 and found.st_nlink == 1:
            os.fchown(fd, uid, gid)
    finally:
        os.close(fd)
