"""What was refused, kept within a bound that no flood can grow. SQL on the history's connection; no transactions of its own.

A flood of equal refusals (one client, sender, recipient and status) is one row with its count, its first and its last time. Of different
ones MOST are kept, and when room is needed the fullest day gives, of it the client with the most rows, and of these the oldest. So a
flood ends up pushing out itself: yesterday's refusals, and today's of other clients, stay as long as they are the smaller share.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from typing import Any

from lanmail.spool.history_events import Fact

MOST = 10_000
"""Rows that are kept in all: at some 200 octets each, two megabytes."""
_LEFT = 9_000  # when room is made it is for more than one, since it means sorting them all (20 ms)
_LONGEST = 320  # characters of a text: RFC 5321's longest address has 320

SCHEMA = """
CREATE TABLE refusal (
    id INTEGER PRIMARY KEY, client TEXT NOT NULL, sender TEXT NOT NULL, recipient TEXT NOT NULL, status TEXT NOT NULL,
    helo TEXT NOT NULL, queue INTEGER, first REAL NOT NULL, last REAL NOT NULL, count INTEGER NOT NULL,
    UNIQUE (client, sender, recipient, status)
);
"""

_COUNT = """
INSERT INTO refusal (client, sender, recipient, status, helo, queue, first, last, count) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (client, sender, recipient, status)
DO UPDATE SET helo = excluded.helo, queue = excluded.queue, last = excluded.last, count = count + excluded.count
"""

# `place` is a row's place among its client's of that day, the newest first; `line` orders a day by it. What stands farthest
# down the longest line goes first.
_MAKE_ROOM = """
WITH day AS (
    SELECT id, last, CAST(first / 86400 AS INTEGER) AS day,
        row_number() OVER (PARTITION BY CAST(first / 86400 AS INTEGER), client ORDER BY last DESC, id DESC) AS place
    FROM refusal
), queue AS (
    SELECT id, last, row_number() OVER (PARTITION BY day ORDER BY place, last DESC, id DESC) AS line FROM day
)
DELETE FROM refusal WHERE id IN (SELECT id FROM queue ORDER BY line DESC, last LIMIT ?)
"""


class Refusals:
    """The refusals of one batch, equal ones counted together before the database sees them."""

    def __init__(self) -> None:
        self._counted: dict[tuple[str, str, str, str], tuple[str, int | None, float, float, int]] = {}

    def add(self, facts: dict[str, Fact], queue: int | None, at: float) -> None:
        """``facts``: of history_events.REFUSED, as kept."""
        client, sender, recipient, status, helo = (
            str(facts.get(fact, ""))[:_LONGEST] for fact in ("client", "sender", "recipient", "status", "helo")
        )
        same = client, sender, recipient, status
        *_, first, _, count = self._counted.get(same, (at, at, 0))
        self._counted[same] = helo, queue, first, at, count + 1

    def write(self, connection: sqlite3.Connection, most: int = MOST) -> None:
        """Inside the caller's transaction."""
        if not self._counted:
            return
        connection.executemany(_COUNT, (same + rest for same, rest in self._counted.items()))
        thin(connection, most)


def thin(connection: sqlite3.Connection, most: int) -> None:
    """Where there are more than so many, make room."""
    (rows,) = connection.execute("SELECT count(*) FROM refusal").fetchone()
    if rows > most:
        connection.execute(_MAKE_ROOM, (rows - most * _LEFT // MOST,))


def forget_refusals(connection: sqlite3.Connection, before: float, most: int) -> int:
    """Those that were last seen before that moment, so many of them at most; how many those were."""
    gone = "SELECT id FROM refusal WHERE last < ? LIMIT ?"
    return connection.execute(f"DELETE FROM refusal WHERE id IN ({gone})", (before, most)).rowcount  # noqa: S608


def all_refusals(connection: sqlite3.Connection) -> Iterable[tuple[Any, ...]]:
    """Every row, the newest first: client, sender, recipient, status, helo, queue, first, last, count. They are few enough for that."""
    return connection.execute(
        "SELECT client, sender, recipient, status, helo, queue, first, last, count FROM refusal ORDER BY last DESC, id DESC"
    )
