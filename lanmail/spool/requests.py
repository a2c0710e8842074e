"""What an administrator asks of the queue, in SQL: hold, release, requeue, flush, delete. Each answers with the queue ids it concerned."""

# ruff: noqa: S608 - what is put together here are our own words; whatever came from outside is a value
from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from lanmail.spool.changes import Aftermath, take_away

_WAITS = "boot IS NULL"


@dataclass(frozen=True, slots=True)
class Asked:
    """ids: queue ids; None for all. now: of the queue's clock, where it matters."""

    ids: Collection[str] | None
    now: float = 0.0


def hold(db: sqlite3.Connection, after: Aftermath, asked: Sequence[Asked]) -> list[list[str]]:
    return [_change(db, one, f"{_WAITS} AND held = 0", "held = 1") for one in asked]


def release(db: sqlite3.Connection, after: Aftermath, asked: Sequence[Asked]) -> list[list[str]]:
    return [_change(db, one, f"{_WAITS} AND held = 1", "held = 0") for one in asked]


def requeue(db: sqlite3.Connection, after: Aftermath, asked: Sequence[Asked]) -> list[list[str]]:
    anew = "held = 0, warned = 0, tries = 0, reason = NULL, since = :now, due = :now"
    return [_change(db, one, _WAITS, anew) for one in asked]


def flush(db: sqlite3.Connection, after: Aftermath, asked: Sequence[Asked]) -> list[list[str]]:
    return [_change(db, one, f"{_WAITS} AND held = 0", "due = min(due, :now)") for one in asked]


def delete(db: sqlite3.Connection, after: Aftermath, asked: Sequence[Asked]) -> list[list[str]]:
    answers = []
    for one in asked:
        where, values = _where(one, _WAITS)
        answers.append(_ids(db, where, values))
        (found,) = db.execute(f"SELECT json_group_array(number) FROM recipient WHERE {where}", values).fetchone()
        take_away(db, after, json.loads(found))
    return answers


def _change(db: sqlite3.Connection, asked: Asked, condition: str, change: str) -> list[str]:
    where, values = _where(asked, condition)
    ids = _ids(db, where, values)
    if ids:
        db.execute(f"UPDATE recipient SET {change} WHERE {where}", values)
    return ids


def _where(asked: Asked, condition: str) -> tuple[str, dict[str, object]]:
    values: dict[str, object] = {"now": asked.now}
    if asked.ids is None:
        return condition, values
    values["ids"] = json.dumps(list(asked.ids))
    named = "SELECT number FROM message WHERE queue_id IN (SELECT value FROM json_each(:ids))"
    # The numbers of a message's recipients follow its own: found by them, not by a walk through the whole table.
    these = f"SELECT r.number FROM message AS m JOIN recipient AS r ON r.number BETWEEN m.number AND m.last WHERE m.number IN ({named})"
    return f"{condition} AND number IN ({these})", values


def _ids(db: sqlite3.Connection, where: str, values: dict[str, object]) -> list[str]:
    (ids,) = db.execute(
        "SELECT json_group_array(queue_id) FROM (SELECT queue_id FROM message WHERE number IN"
        f" (SELECT message FROM recipient WHERE {where}) ORDER BY number)",
        values,
    ).fetchone()
    return [str(queue_id) for queue_id in json.loads(ids)]
