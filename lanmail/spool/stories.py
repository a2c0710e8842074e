"""The history read: one message's story by its queue id, or the stories in which a name stands. Blocks; for a command, not for the service.

It reads beside the writer, or where no service runs, and changes nothing; SQLite makes its two helper files (``-wal``, ``-shm``) where
they are missing, so whoever reads must be allowed to write in the folder: its owner. What was told in the last quarter of a second may
not be there yet.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from lanmail.spool.history_events import (
    COLUMNS,
    NUMBERS,
    RECEIVED,
    Event,
    Fact,
    event_of,
    folded,
    key_of,
    queue_id_of,
    queue_number,
)
from lanmail.spool.history_file import VERSION
from lanmail.spool.refusals import all_refusals

# Of one story: a message to a thousand members that was tried for five days.
_LONGEST_STORY = 100_000
# How far back addresses are remembered from, when somebody asks for one that nobody has.
_RECENT = 20_000


class NoHistory(Exception):
    """There is none to be read; the text says why."""


@dataclass(frozen=True, slots=True)
class Story:
    """What is known of one message, in the order in which it happened; at least one event.

    queue_id: empty for a letter that did not come in through us (an older one, or another program's).
    """

    queue_id: str
    events: tuple[Event, ...]


@dataclass(frozen=True, slots=True)
class Refusal:
    """Something that was not taken, ``count`` times between ``first`` and ``last``, which are seconds since the epoch.

    queue_id: of the last time, where the message had one already (another recipient was taken).
    """

    client: str
    sender: str
    recipient: str
    status: str
    helo: str
    queue_id: str
    first: float
    last: float
    count: int


class Stories:
    """The history at ``path``. Raises NoHistory, here and in all that it does."""

    def __init__(self, path: str) -> None:
        self._path = path
        try:
            self._connection = sqlite3.connect(
                f"file:{quote(path)}?mode=ro", uri=True, isolation_level=None, timeout=10
            )
            (version,) = self._rows("PRAGMA user_version")[0]
        except sqlite3.OperationalError as error:
            raise NoHistory(f"{path} cannot be read: {error}") from error
        if version > VERSION:
            raise NoHistory(f"{path} is of a later lanmail (version {version} of its schema; this one knows {VERSION})")
        if version == 0:
            raise NoHistory(f"{path} is empty")

    def close(self) -> None:
        self._connection.close()

    @property
    def began(self) -> float:
        """Since when there is something to know: seconds since the epoch."""
        rows = self._rows("SELECT began FROM day ORDER BY id LIMIT 1")
        return float(rows[0][0]) if rows else 0.0

    def of(self, queue_id: str) -> Story | None:
        """Of the message with that queue id, in upper case."""
        number = queue_number(queue_id)
        return None if number is None else self._story(number)

    def named(self, names: Collection[str], since: float = 0.0) -> Iterator[Story]:
        """The stories in which one of these stands, the newest first, as far as something happened since then.

        names: addresses, users or Message-IDs, in any case, with or without their brackets.
        """
        wanted, seen = set(map(folded, names)), set[int]()
        for day, date in self._rows("SELECT id, date FROM day ORDER BY id DESC"):
            if (date + 1) * 86400 <= since:
                continue
            found = {number for name in wanted for (number,) in self._rows(FIND, (day, key_of(name)))}
            # Queue ids grow; after them come the letters without one, whose events count downwards.
            for number in sorted(found, key=lambda number: (number >= 0, abs(number)), reverse=True):
                if number in seen:
                    continue
                seen.add(number)
                story = self._story(number)
                if story is None or not any(event.names(wanted) for event in story.events):
                    continue  # another name with the same key
                if any(event.at >= since for event in story.events):
                    yield story

    def refused(self, names: Collection[str], since: float = 0.0) -> list[Refusal]:
        """What was refused of these addresses, as senders or as recipients, the newest first."""
        wanted = set(map(folded, names))
        return [
            refusal
            for refusal in self._refusals()
            if refusal.last >= since and not wanted.isdisjoint((folded(refusal.sender), folded(refusal.recipient)))
        ]

    def refused_with(self, queue_id: str) -> list[Refusal]:
        """What was refused in the transaction of that message."""
        return [refusal for refusal in self._refusals() if refusal.queue_id == queue_id]

    def people(self) -> set[str]:
        """Users of the last while whose mail was taken, and the addresses by which it came to them: not as it was asked for, since
        where there is a luser_relay that may be anything."""
        recent = self._rows("SELECT max(id) FROM event")[0][0] or 0
        rows = self._rows(
            "SELECT DISTINCT coalesce(other, name), user FROM event WHERE id > ? AND kind = ?",
            (recent - _RECENT, NUMBERS["recipient"]),
        )
        return {str(name) for row in rows for name in row if name is not None}

    # within

    def _story(self, number: int) -> Story | None:
        """``number``: a queue id as a number, or, negative, that of an event without one."""
        events: list[Event] = []
        if number >= 0:
            for id, at, *columns in self._rows(RECEIVED_AS, (number,)):
                facts = {fact: value for fact, value in zip(RECEIVED, columns, strict=True) if value is not None}
                events.append(Event(id, "received", at, facts))
        rows = self._rows(HAPPENED, (number,)) if number >= 0 else self._rows(HAPPENED_ALONE, (-number,))
        for id, kind, at, *columns in rows:
            event = event_of(id, kind, at, columns)
            if event is not None:
                events.append(event)
        events.sort(key=lambda event: event.id)
        return Story(queue_id_of(number) if number >= 0 else "", tuple(events)) if events else None

    def _refusals(self) -> Iterator[Refusal]:
        try:
            for *texts, queue, first, last, count in all_refusals(self._connection):
                client, sender, recipient, status, helo = map(str, texts)
                queue_id = "" if queue is None else queue_id_of(queue)
                yield Refusal(client, sender, recipient, status, helo, queue_id, first, last, count)
        except sqlite3.Error as error:
            raise NoHistory(f"{self._path} cannot be read: {error}") from error

    def _rows(self, query: str, values: tuple[Fact, ...] = ()) -> list[tuple[Any, ...]]:
        # All rows at once: a statement that is not at its end would keep the writer's log from being emptied.
        try:
            return self._connection.execute(query, values).fetchall()
        except sqlite3.Error as error:
            raise NoHistory(f"{self._path} cannot be read: {error}") from error


_EVENT = f"SELECT id, kind, at, {', '.join(COLUMNS)} FROM event"  # noqa: S608
FIND = "SELECT story FROM found WHERE day = ? AND key = ? ORDER BY story DESC"
RECEIVED_AS = f"SELECT id, at, {', '.join(RECEIVED)} FROM message WHERE queue = ?"  # noqa: S608
HAPPENED = f"{_EVENT} WHERE queue = ? ORDER BY id LIMIT {_LONGEST_STORY}"
HAPPENED_ALONE = f"{_EVENT} WHERE id = ?"
QUERIES = (FIND, RECEIVED_AS, HAPPENED, HAPPENED_ALONE)
