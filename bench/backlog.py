"""A journal with so many rows in it: what a queue of a million messages is, without sending a million."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import time

from bench.generator import load, run_id
from bench.target import Target

SPOOL = "/var/spool/lanmail-bench"
JOURNAL = os.path.join(SPOOL, "lanmail", "journal-0")


def fill(target: Target, rows: int) -> None:
    """A journal in which so many messages wait for u001: one was put off for a lock, the others are copies of its rows."""
    target.stop()
    forget()
    if rows == 0:
        return
    os.environ["LANMAIL_EXTRA"] = "deliver_lock_attempts = 1\ndeliver_lock_delay = 0s"
    lock = os.path.join(target.mail_dir, "u001.lock")
    try:
        target.start()
        target.reset()
        with open(lock, "w") as f:
            f.write(f"{os.getpid()}\n")
        load(target, "smtp", total=1, conc=1, lo=1, hi=1, runid=run_id(), time_limit=30)
        _wait_deferred()
        target.stop()
    finally:
        del os.environ["LANMAIL_EXTRA"]
        os.unlink(lock)
    with contextlib.closing(sqlite3.connect(JOURNAL)) as connection, connection:
        # Not due for a year of the queue's clock: what is measured is that they are there.
        connection.execute("UPDATE recipient SET due = due + 31536000")
        own = "n.i + message.number"
        _copied(connection, "message", rows, {"number": own, "last": own, "queue_id": f"printf('%010X', {own})"})
        _copied(
            connection, "recipient", rows, {"number": "n.i + recipient.number", "message": "n.i + recipient.message"}
        )


def _copied(connection: sqlite3.Connection, table: str, rows: int, changed: dict[str, str]) -> None:
    """Its only row again, until there are so many; ``changed``: what the columns are that differ."""
    columns = [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
    values = ", ".join(changed.get(column, f"{table}.{column}") for column in columns)
    connection.execute(
        f"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?)"
        f" INSERT INTO {table} ({', '.join(columns)}) SELECT {values} FROM n, (SELECT * FROM {table} LIMIT 1) AS {table}"
        f" WHERE n.i < ?",
        (rows, rows),
    )


def _wait_deferred() -> None:
    end = time.monotonic() + 40
    while time.monotonic() < end:
        with contextlib.closing(sqlite3.connect(f"file:{JOURNAL}?mode=ro", uri=True)) as connection:
            if connection.execute("SELECT count(*) FROM recipient WHERE tries > 0 AND boot IS NULL").fetchone()[0]:
                return
        time.sleep(0.1)
    raise TimeoutError("the message was not put off within 40 s")


def forget() -> None:
    """What the queue held, and all else that lanmail keeps of its own."""
    shutil.rmtree(os.path.join(SPOOL, "lanmail"), ignore_errors=True)
