"""The journal's tables, and how a file with older ones gets from there to here."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

APPLICATION_ID = 0x4C4D4A30  # "LMJ0": what file(1) shows, and how we know the file for a journal

# One row of numbers for messages and recipients: a message is named by the number of its first recipient, the others follow up to `last`.
# So the recipients of a message are found without an index, and no number means two things while anybody may still remember it.
#
# message.text is the whole of a small body, name the file of a large one in the incoming folder; octets counts either.
#
# A recipient without `boot` has no intent. sender, original and delivered_to are addresses as rows.py writes them. owed: a success report
# is due. synced: the mailbox has it on stable storage, and only what is owed keeps the row.
#
# The indices hold only what somebody will ask for: a message that goes through at once is in `waiting` and in `standing` for a moment each,
# and never in the others.
#
# journal.serial counts transactions: after a commit whose outcome is unknown it tells which way it went.
TABLES = """
CREATE TABLE journal (one INTEGER PRIMARY KEY CHECK (one = 1), serial INTEGER NOT NULL, clock REAL NOT NULL, last_id TEXT NOT NULL);
INSERT INTO journal VALUES (1, 0, 0.0, '');
CREATE TABLE message (
    number INTEGER PRIMARY KEY, last INTEGER NOT NULL, queue_id TEXT NOT NULL UNIQUE, sender TEXT NOT NULL, arrived REAL NOT NULL,
    size INTEGER NOT NULL, message_id TEXT NOT NULL, ret TEXT NOT NULL, envid TEXT NOT NULL, smtputf8 INTEGER NOT NULL,
    client TEXT NOT NULL, helo TEXT NOT NULL, protocol TEXT NOT NULL, login TEXT NOT NULL,
    octets INTEGER NOT NULL, name TEXT, text BLOB NOT NULL
);
CREATE UNIQUE INDEX file ON message (name) WHERE name IS NOT NULL;
CREATE TABLE recipient (
    number INTEGER PRIMARY KEY, message INTEGER NOT NULL, user TEXT NOT NULL, uid INTEGER NOT NULL, gid INTEGER NOT NULL,
    home TEXT NOT NULL, sender TEXT NOT NULL, original TEXT NOT NULL, delivered_to TEXT NOT NULL, rule TEXT NOT NULL,
    expanded INTEGER NOT NULL, notify TEXT NOT NULL, orcpt TEXT NOT NULL, since REAL NOT NULL, due REAL NOT NULL, tries INTEGER NOT NULL,
    reason TEXT, warned INTEGER NOT NULL, held INTEGER NOT NULL, owed INTEGER NOT NULL, head BLOB NOT NULL,
    boot TEXT, device INTEGER, inode INTEGER, place INTEGER, marked INTEGER NOT NULL DEFAULT 0, synced INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX waiting ON recipient (user, boot, held, due) WHERE boot IS NULL AND held = 0;
CREATE INDEX standing ON recipient (user) WHERE boot IS NOT NULL AND synced = 0;
CREATE INDEX tried ON recipient (warned, since) WHERE tries > 0 AND boot IS NULL AND held = 0;
CREATE INDEX owed ON recipient (marked) WHERE owed = 1;
"""

# The script at index n leads from version n to version n + 1. What is released is never changed any more: add another one.
MIGRATIONS: tuple[str, ...] = (TABLES,)


class Foreign(Exception):
    """The file is a database, but not a journal that we can use; the text says what it is instead."""


def migrate(connection: sqlite3.Connection, migrations: Sequence[str] = MIGRATIONS) -> None:
    """Bring the tables up to date, each step whole or not at all. Raises Foreign, sqlite3.Error."""
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if application != APPLICATION_ID and (application or version or tables):
        raise Foreign("it is another program's database")
    if version > len(migrations):
        raise Foreign(
            f"a later lanmail has written it (version {version} of its tables; this one knows {len(migrations)}):"
            " install that one again, or let it deliver what waits and then move the file away"
        )
    for number, script in enumerate(migrations[version:], version + 1):
        marks = f"PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {number};"
        connection.executescript(f"BEGIN IMMEDIATE; {script} {marks} COMMIT;")
