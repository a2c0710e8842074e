"""Answers an administrator's questions about the queue, the same whether a service runs or not.

Answers come in pieces of whole lines, each of some pages at most: a queue of a hundred thousand messages is read as fast as somebody
reads the answer, and is never in memory.
"""

from __future__ import annotations

import base64
from collections.abc import AsyncGenerator, Callable, Collection, Iterable, Iterator
from typing import Any, Protocol

from lanmail.interfaces import InThread
from lanmail.mailbox.mbox import Unquoting
from lanmail.queue.questions import Question, line_of
from lanmail.spool.entries import Listed, ListedRecipient, Message, Recipient
from lanmail.spool.incoming import Content
from lanmail.status import Status, TemporaryFailure

# Recipients that are read, put into words and told at a time: 2 ms in a thread.
PAGE = 250
# Octets of text in one line: 64 KiB once they are in base 64.
PIECE = 48 * 1024

Found = tuple[Message, list[Recipient], Content]


class Queue(Protocol):
    """What is asked: the Runner, or with the service stopped the journal alone (admin/stopped.py). Each may raise TemporaryFailure.

    ids: of messages; None for all. by: the uid of whoever asks. Changes return the ids for which there was something to do.
    """

    async def listing(self, after: int, limit: int) -> list[Listed]:
        """Journal.listing."""

    async def show(self, queue_id: str) -> Found | None:
        """Journal.find."""

    async def flush(self, ids: Collection[str] | None, by: int) -> list[str]: ...

    async def hold(self, ids: Collection[str] | None, by: int) -> list[str]: ...

    async def release(self, ids: Collection[str] | None, by: int) -> list[str]: ...

    async def requeue(self, ids: Collection[str] | None, by: int) -> list[str]: ...

    async def delete(self, ids: Collection[str] | None, by: int) -> list[str]: ...


class Desk:
    """control.Answers.

    queue_clock: its seconds, by which ``due`` is meant. wall: seconds since the epoch, for what people are told. running: whether
    anybody delivers meanwhile.
    """

    def __init__(
        self,
        queue: Queue,
        in_thread: InThread,
        queue_clock: Callable[[], float],
        wall: Callable[[], float],
        *,
        running: bool = True,
    ) -> None:
        self._queue = queue
        self._in_thread = in_thread
        self._queue_clock = queue_clock
        self._wall = wall
        self._running = running

    async def answer(self, question: Question, uid: int) -> AsyncGenerator[bytes, None]:
        """Whole lines; the last of them says ``ok``. Raises TemporaryFailure."""
        match question.verb:
            case "ping":
                yield line_of({"ok": {}})
            case "list":
                async for piece in self._list():
                    yield piece
            case "show":
                assert question.ids is not None
                async for piece in self._show(question.ids[0]):
                    yield piece
            case _:
                yield line_of({"ok": await self._change(question, uid)})

    async def _list(self) -> AsyncGenerator[bytes, None]:
        after = count = 0
        while page := await self._queue.listing(after, PAGE):
            # A message may have ten thousand recipients; even to put them into words takes too long for the event loop.
            yield await self._in_thread(self._line, page)
            count += len(page)
            after = page[-1].recipients[-1].number
        yield line_of({"ok": {"messages": count}})

    def _line(self, page: list[Listed]) -> bytes:
        now, wall = self._queue_clock(), self._wall()
        return line_of({"messages": [self._told(message, now, wall) for message in page]})

    async def _show(self, queue_id: str) -> AsyncGenerator[bytes, None]:
        found = await self._queue.show(queue_id)
        if found is None:
            yield line_of({"ok": {"missing": [queue_id]}})
            return
        message, recipients, content = found
        told = self._told(listed(message, recipients), self._queue_clock(), self._wall())
        yield await self._in_thread(line_of, {"message": {**told, **_envelope(message)}})
        pieces = _texts(content)
        try:
            while (text := await self._in_thread(next, pieces, None)) is not None:
                yield text
        except OSError as error:
            # It may have gone into its mailbox just now, and its file with it.
            if await self._queue.show(queue_id) is not None:
                raise TemporaryFailure(Status(451, "4.3.0", f"its text cannot be read: {error.strerror}")) from error
        yield line_of({"ok": {}})

    async def _change(self, question: Question, uid: int) -> dict[str, Any]:
        change = {
            "flush": self._queue.flush,
            "hold": self._queue.hold,
            "release": self._queue.release,
            "requeue": self._queue.requeue,
            "delete": self._queue.delete,
        }[question.verb]
        done = frozenset(await change(question.ids, uid))
        missing: list[str] = []
        idle: list[str] = []
        for one in question.ids or ():
            if one not in done:
                (missing if await self._queue.show(one) is None else idle).append(one)
        return {"messages": len(done), "missing": missing, "idle": idle, "running": self._running}

    # in words of postqueue -j; what it does not have stands behind

    def _told(self, message: Listed, now: float, wall: float) -> dict[str, Any]:
        return {
            "queue_name": self._queue_name(message.recipients, now),
            "queue_id": message.queue_id,
            "arrival_time": int(message.arrived),
            "message_size": message.size,
            "forced_expire": False,
            "sender": "MAILER-DAEMON" if message.sender.is_null else str(message.sender),
            "recipients": [self._told_of(recipient, now, wall) for recipient in message.recipients],
        }

    def _queue_name(self, recipients: list[ListedRecipient], now: float) -> str:
        """``hold`` where nothing of it moves before a release, ``active`` where some is due or all is done, else ``deferred``."""
        if not recipients:
            return "active"
        due = [recipient.due for recipient in recipients if not recipient.held]
        if not due:
            return "hold"
        return "active" if self._running and min(due) <= now else "deferred"

    def _told_of(self, recipient: ListedRecipient, now: float, wall: float) -> dict[str, Any]:
        told: dict[str, Any] = {"address": str(recipient.delivered_to)}
        if recipient.reason is not None:
            told["delay_reason"] = recipient.reason.text
            told["status"] = f"{recipient.reason.code} {recipient.reason.enhanced}"
        if recipient.original != recipient.delivered_to:
            told["original_address"] = str(recipient.original)
        if recipient.rule:
            told["rule"] = recipient.rule
        told["mailbox"] = recipient.user
        told["tries"] = recipient.tries
        told["held"] = recipient.held
        if self._running and not recipient.held:
            told["next_try"] = int(wall + max(0.0, recipient.due - now))
        return told


def listed(message: Message, recipients: Iterable[Recipient]) -> Listed:
    """What is told of it, by hand: for one that was found otherwise."""
    rows = [
        ListedRecipient(
            one.number,
            one.user.name,
            one.original,
            one.delivered_to,
            one.rule,
            one.due,
            one.tries,
            one.reason,
            one.held,
        )
        for one in recipients
    ]
    return Listed(message.queue_id, message.sender, message.arrived, message.size, rows)


def _envelope(message: Message) -> dict[str, Any]:
    return {
        "message_id": message.message_id,
        "client": message.client,
        "helo": message.helo,
        "protocol": message.protocol,
        "login": message.login,
        "ret": message.ret,
        "envid": message.envid,
    }


def _texts(content: Content) -> Iterator[bytes]:
    """The text, as it came but for its line ends and the empty line behind it, in lines of the answer. Blocks; OSError."""
    unquoting = Unquoting()
    for piece in content.pieces():
        yield from _lines_of(unquoting.feed(piece))
    yield from _lines_of(unquoting.finish())


def _lines_of(text: bytes) -> Iterator[bytes]:
    for at in range(0, len(text), PIECE):
        yield line_of({"text": base64.b64encode(text[at : at + PIECE]).decode("ascii")})
