"""bench/curves: how long things take as there is more of something: letters in a mailbox, rows in the queue, recipients, connections."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import sqlite3
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

from bench.comparison import prepare
from bench.generator import Session, load, run_id, wait_delivered
from bench.plot import Series, svg
from bench.seeds import lay_huge
from bench.surroundings import HERE, ROOT, machine, stop_servers_at_the_end
from bench.target import Broken, Target
from bench.whole import w8

SPOOL = "/var/spool/lanmail-bench"
JOURNAL = os.path.join(SPOOL, "lanmail", "journal-0")


def powers(most: int) -> Iterator[int]:
    """1, 10, 100, …, and the most."""
    number = 1
    while number < most:
        yield number
        number *= 10
    yield most


def mailbox(target: Target, most: int) -> Series:
    """A POP3 session on a mailbox of so many letters of 1 KiB: the first one, later ones, and one that deletes."""
    out: Series = {name: [] for name in ("first open", "open again", "UIDL", "QUIT after a DELE")}
    target.start()
    lay_huge(target, "u001", 1, 1024)
    _opened(target)  # the login is remembered from here on: PAM's time is not the mailbox's
    for letters in powers(most):
        target.reset()
        lay_huge(target, "u001", letters, 1024)
        first, *again = (_opened(target) for _ in range(6))
        last = Session(target, "u001", "pw-u001")
        named, _ = last.listing("UIDL")
        last.command(f"DELE {(letters + 1) // 2}")
        out["first open"].append((letters, first))
        out["open again"].append((letters, statistics.median(again)))
        out["UIDL"].append((letters, named))
        out["QUIT after a DELE"].append((letters, last.quit()))
        print(f"mailbox {letters}: " + _last(out), flush=True)
    return out


def recipients(target: Target, most: int) -> Series:
    """One message to so many people, one after the other."""
    out: Series = {"accepted": []}
    target.start()
    target.reset()
    for people in powers(min(most, 100)):
        sent = load(target, "smtp", total=30, conc=1, rcpts=people, runid=run_id(), time_limit=60)
        out["accepted"].append((people, sent["tx_ms"]["p50"] / 1000))
        print(f"recipients {people}: " + _last(out), flush=True)
    return out


def connections(target: Target, most: int) -> Series:
    """A new client's banner while so many others say nothing."""
    out: Series = {"SMTP banner": [], "POP3 banner": []}
    target.start()
    for clients in powers(most):
        seen = w8(target, clients / 5000)
        for mode, name in (("smtp", "SMTP banner"), ("pop3", "POP3 banner")):
            if seen[mode]["new_banner_ms_p50"] is not None:
                out[name].append((clients, seen[mode]["new_banner_ms_p50"] / 1000))
        print(f"connections {clients}: " + _last(out), flush=True)
    return out


def queue(target: Target, most: int) -> Series:
    """Start, a message and the queue's list, while so many rows wait for a mailbox that could not be written to."""
    out: Series = {name: [] for name in ("start", "message accepted", "lanmail queue")}
    for rows in (0, *powers(most)):
        _fill(target, rows)
        out["start"].append((rows, target.start()[target.smtp or 0]))
        run = run_id()
        sent = load(target, "smtp", total=50, conc=1, lo=2, hi=9, runid=run, time_limit=60)
        if not sent["ok"]:
            raise Broken(f"{rows} rows: {sent['first_error']}")
        out["message accepted"].append((rows, sent["tx_ms"]["p50"] / 1000))
        wait_delivered(target, run, 50, 20)
        began = time.monotonic()
        program = "from lanmail.admin.command import main; main()"
        command = [os.environ["LANMAIL_PYTHON"], "-c", program, "queue", "list", "-c", os.path.join(SPOOL, "main.cf")]
        listed = subprocess.run(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        if listed.returncode:
            print(f"lanmail queue: {listed.stderr[-300:]}", flush=True)
        else:
            out["lanmail queue"].append((rows, time.monotonic() - began))
        target.stop()
        print(f"queue {rows}: " + _last(out), flush=True)
    _forget()
    return {name: line for name, line in out.items() if line}


def _fill(target: Target, rows: int) -> None:
    """A journal in which so many messages wait for u001: one was put off for a lock, the others are copies of its rows."""
    target.stop()
    _forget()
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


def _forget() -> None:
    shutil.rmtree(os.path.join(SPOOL, "lanmail"), ignore_errors=True)


def _opened(target: Target) -> float:
    """Seconds that a session takes to open."""
    one = Session(target, "u001", "pw-u001")
    one.quit()
    return one.open_s


def _last(out: Series) -> str:
    return ", ".join(f"{name} {line[-1][1] * 1000:.2f} ms" for name, line in out.items() if line)


CURVES: dict[str, tuple[Callable[[Target, int], Series], int, str]] = {
    "mailbox": (mailbox, 500_000, "letters in the mailbox"),
    "queue": (queue, 1_000_000, "rows in the queue"),
    "recipients": (recipients, 100, "recipients of a message"),
    "connections": (connections, 10_000, "idle connections"),
}


def main(about: str) -> str | None:
    """An error, as sys.exit takes it."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join(CURVES))
    parser.add_argument("--most", type=int, help="go no further than so many")
    parser.add_argument("--out", default=os.path.join(HERE, "results", "curve"), help="PREFIX-mailbox.svg and .json, …")
    said = parser.parse_args()
    if unknown := [name for name in said.only.split(",") if name not in CURVES]:
        return f"unknown: {', '.join(unknown)}; there are {', '.join(CURVES)}"
    if trouble := prepare([], install=False):
        return trouble
    target = Target(os.path.join(HERE, "targets", "lanmail.json"))
    stop_servers_at_the_end()
    facts = machine()
    try:
        for name in said.only.split(","):
            measure, most, across = CURVES[name]
            series = measure(target, min(most, said.most or most))
            with open(f"{said.out}-{name}.json", "w") as f:
                json.dump({"command": sys.argv, "machine": facts, "seconds": series}, f, indent=1)
            with open(f"{said.out}-{name}.svg", "w") as f:
                f.write(svg(f"Time against {across}", across, "seconds", series))
            target.stop()
    finally:
        target.reset()
        target.stop()
    return None
