"""One answer out of those of several desks: each worker answers for its own journal, and an administrator asks about the queue."""

from __future__ import annotations

import heapq
import json
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, aclosing
from typing import Any, Protocol

from lanmail.queue.questions import Question, line_of


class Answers(Protocol):
    """queue.desk.Desk, here or far away."""

    def answer(self, question: Question, uid: int) -> AsyncGenerator[bytes, None]:
        """control.Answers.answer."""


class Together:
    """control.Answers. What waits is listed by its queue ids, so by its age; of each desk no more than a page is ever here."""

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
        count = 0
        async with AsyncExitStack() as open_now:
            streams = [
                await open_now.enter_async_context(aclosing(_lines(desk.answer(question, uid)))) for desk in self._desks
            ]
            heads: list[tuple[str, int, bytes]] = []
            for number, stream in enumerate(streams):
                await _push(heads, number, stream)
            while heads:
                _, number, line = heapq.heappop(heads)
                count += 1
                yield line
                await _push(heads, number, streams[number])
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


async def _push(heads: list[tuple[str, int, bytes]], number: int, stream: AsyncGenerator[bytes, None]) -> None:
    """The next message of that stream, if there is one."""
    async for line in stream:
        said = json.loads(line)
        if "message" in said:
            heapq.heappush(heads, (said["message"]["queue_id"], number, line))
            return


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
