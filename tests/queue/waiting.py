"""A queue that is a list: what can be asked of the real one, remembered and not kept."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection
from typing import Any, ParamSpec, TypeVar

from lanmail.address import NULL_SENDER, Address
from lanmail.interfaces import User
from lanmail.queue.desk import listed
from lanmail.spool.entries import Listed, Message, Recipient
from lanmail.spool.incoming import Content
from lanmail.status import Status

P = ParamSpec("P")
T = TypeVar("T")

LOCKED = Status(451, "4.2.0", "mailbox is locked by pid 4711 (mutt)")
TEXT = b"From: julien\nSubject: Diana\xc3\xabl\n\n>From here\n\n"


def message(queue_id: str, sender: str = "julien", **facts: Any) -> Message:
    address = Address(sender, "iscb-corporation.com") if sender else NULL_SENDER
    return Message(queue_id, address, 1795552594.5, 3000, client="pc5[192.168.1.5]", protocol="ESMTP", **facts)


def recipient(number: int, name: str = "nel", **facts: Any) -> Recipient:
    address = Address(name, "iscb-corporation.com")
    facts = {"original": address, "delivered_to": address} | facts
    return Recipient(User(name, 1000, 8), b"", NULL_SENDER, number=number, **facts)


def content(text: bytes = TEXT) -> Content:
    return Content(len(text), text)


async def here(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """interfaces.InThread."""
    return work(*args, **kwargs)


class ListedQueue:
    """desk.Queue. asked: the changes, as (verb, ids, by). pages: how often a page was read."""

    def __init__(self, *entries: tuple[Message, list[Recipient]], text: Content | None = None) -> None:
        self.entries = {message.queue_id: (message, rows) for message, rows in entries}
        self.text = text or content()
        self.asked: list[tuple[str, object, int]] = []
        self.pages = 0

    async def listing(self, after: int, limit: int) -> list[Listed]:
        self.pages += 1
        page: list[Listed] = []
        for message, rows in self.entries.values():
            if rows[0].number > after and sum(len(one.recipients) for one in page) < limit:
                page.append(listed(message, rows))
        return page

    async def show(self, queue_id: str) -> tuple[Message, list[Recipient], Content] | None:
        found = self.entries.get(queue_id)
        return None if found is None else (*found, self.text)

    async def flush(self, ids: Collection[str] | None, by: int) -> list[str]:
        return self._change("flush", ids, by, lambda row: row.reason is not None and not row.held, due=0.0)

    async def hold(self, ids: Collection[str] | None, by: int) -> list[str]:
        return self._change("hold", ids, by, lambda row: not row.held, held=True)

    async def release(self, ids: Collection[str] | None, by: int) -> list[str]:
        return self._change("release", ids, by, lambda row: row.held, held=False)

    async def requeue(self, ids: Collection[str] | None, by: int) -> list[str]:
        return self._change("requeue", ids, by, lambda row: True, held=False, reason=None, tries=0)

    async def delete(self, ids: Collection[str] | None, by: int) -> list[str]:
        done = self._change("delete", ids, by, lambda row: True)
        for one in done:
            del self.entries[one]
        return done

    def _change(
        self, verb: str, ids: Collection[str] | None, by: int, which: Callable[[Recipient], bool], **facts: Any
    ) -> list[str]:
        self.asked.append((verb, ids, by))
        done = []
        for queue_id, (one, rows) in self.entries.items():
            if (ids is None or queue_id in ids) and any(map(which, rows)):
                self.entries[queue_id] = (
                    one,
                    [dataclasses.replace(row, **facts) if which(row) else row for row in rows],
                )
                done.append(queue_id)
        return done
