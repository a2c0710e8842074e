"""One answer out of those of several desks: each worker answers for its own journal, and an administrator asks about the queue."""

from __future__ import annotations

import heapq
import json
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, aclosing
from typing import Any, Protocol

from lanmail.queue.desk import PAGE
from lanmail.queue.questions import Question, line_of

Told = dict[str, Any]


class Answers(Protocol):
    """queue.desk.Desk, here or far away."""

    def answer(self, question: Question, uid: int) -> AsyncGenerator[bytes, None]:
        """control.Answers.answer."""


class Together:
    """control.Answers. What waits is listed by its queue ids, so by its age; of each desk no more than two pages are ever here."""

    def __init__(self, desks: Sequence[Answers]) -> None:
        self._desks = desks

    async def answer(self, question: Question, uid: int) -> AsyncGenerator[bytes, None]:
        """As Desk.answer. Raises TemporaryFailure, also where one of them does not answer: a part would seem to be all."""
        match question.verb:
            case "ping":
                yield line_of({"ok": {}})
            case "list":
                async with aclosing(self._list(question, uid)) as lines:
                    async for line in lines:
                        yield line
            case "show":
                async with aclosing(self._show(question, uid)) as pieces:
                    async for piece in pieces:
                        yield piece
            case _:
                yield line_of({"ok": await self._change(question, uid)})

    async def _list(self, question: Question, uid: int) -> AsyncGenerator[bytes, None]:
        count = recipients = 0
        page: list[Told] = []
        async with AsyncExitStack() as open_now:
            streams = [
                await open_now.enter_async_context(aclosing(_messages(desk.answer(question, uid))))
                for desk in self._desks
            ]
            heads: list[tuple[str, int, Told]] = []
            for number, stream in enumerate(streams):
                await _push(heads, number, stream)
            while heads:
                _, number, told = heapq.heappop(heads)
                count += 1
                recipients += len(told["recipients"])
                page.append(told)
                if recipients >= PAGE:
                    yield line_of({"messages": page})
                    page, recipients = [], 0
                await _push(heads, number, streams[number])
        if page:
            yield line_of({"messages": page})
        yield line_of({"ok": {"messages": count}})

    async def _show(self, question: Question, uid: int) -> AsyncGenerator[bytes, None]:
        for desk in self._desks:
            async with aclosing(_lines(desk.answer(question, uid))) as lines:
                there = False
                async for line in lines:
                    there = there or "message" in json.loads(line)
                    if there:
                        yield line
                if there:
                    return
        assert question.ids is not None
        yield line_of({"ok": {"missing": list(question.ids)}})

    async def _change(self, question: Question, uid: int) -> dict[str, Any]:
        answers = [await _last(desk.answer(question, uid)) for desk in self._desks]
        missing = [set(answer["missing"]) for answer in answers]
        idle = {one for answer in answers for one in answer["idle"]}
        ids = question.ids or ()
        return {
            "messages": sum(answer["messages"] for answer in answers),
            "missing": [one for one in ids if all(one in some for some in missing)],
            "idle": [one for one in ids if one in idle],
            "running": any(answer["running"] for answer in answers),
        }


async def _push(heads: list[tuple[str, int, Told]], number: int, stream: AsyncGenerator[Told, None]) -> None:
    """The next message of that stream, if there is one."""
    told = await anext(stream, None)
    if told is not None:
        heapq.heappush(heads, (told["queue_id"], number, told))


async def _messages(answer: AsyncGenerator[bytes, None]) -> AsyncGenerator[Told, None]:
    """Of an answer to ``list``."""
    async with aclosing(_lines(answer)) as lines:
        async for line in lines:
            for told in json.loads(line).get("messages", ()):
                yield told


async def _lines(answer: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    async with aclosing(answer) as pieces:
        async for piece in pieces:
            for line in piece.splitlines(keepends=True):
                yield line


async def _last(answer: AsyncGenerator[bytes, None]) -> dict[str, Any]:
    said: dict[str, Any] = {}
    async with aclosing(_lines(answer)) as lines:
        async for line in lines:
            said = json.loads(line)
    found: dict[str, Any] = said["ok"]
    return found
