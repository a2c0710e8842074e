"""Which files of the state folder are whose, where several workers share it: each has a journal and a history of its own.

Large bodies lie in one folder for all. Who made one, its name tells, for it is a queue id, and each worker gives ids of its own
(message.QueueIds); where nobody's number fits, the first workers look after it too.
"""

from __future__ import annotations

import os
import re
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass

from lanmail.interfaces import Report
from lanmail.message import latest_id, maker_of
from lanmail.spool.database import connect_to_read

_JOURNAL = re.compile(r"journal-([0-9]{1,4})\Z")
_HISTORY = re.compile(r"history-([0-9]{1,4})\Z")


class Unknown(Exception):
    """A journal cannot be read now, so nothing can be said of what stands in it; the text names it."""


@dataclass(frozen=True, slots=True)
class Share:
    """number: of this worker, from 1 to ``count``; 0 where there is one process only."""

    number: int = 0
    count: int = 1

    @property
    def place(self) -> int:
        """From 0. The only process has the first worker's, so that going from one to many and back leaves its files in use."""
        return max(0, self.number - 1)

    @property
    def journal(self) -> str:
        return f"journal-{self.place}"

    @property
    def history(self) -> str:
        return f"history-{self.place}"

    def is_ours(self, body: str) -> bool:
        """Whether we look after a large body of that name. What is no queue id is the first worker's to look after."""
        try:
            return maker_of(body, self.count) % self.count == self.place
        except ValueError:
            return self.place == 0


def journals(folder: str) -> list[str]:
    """The paths of those that are there, the first worker's first. OSError."""
    return _files(folder, _JOURNAL)


def histories(folder: str) -> list[str]:
    """The same of histories, also of workers that are no longer configured."""
    return _files(folder, _HISTORY)


def _files(folder: str, pattern: re.Pattern[str]) -> list[str]:
    found = [(int(match[1]), name) for name in os.listdir(folder) if (match := pattern.match(name))]
    return [os.path.join(folder, name) for _, name in sorted(found)]


class Colleagues:
    """What stands in the other workers' journals, read beside whoever writes them. Blocks."""

    def __init__(self, folder: str, share: Share, report: Report) -> None:
        self._folder = folder
        self._share = share
        self._report = report

    def orphans(self, bodies: Sequence[str]) -> list[str]:
        """Of these files, which our own journal does not name, those that are ours to remove.

        A colleague's may be coming in at this moment, so only what we have made ourselves is looked at, and what nobody can have made; of
        that the first worker's journal may have some, which it took over at a start. Where that cannot be read, none goes.
        """
        ours = [name for name in bodies if self._share.is_ours(name)]
        if not ours:
            return []
        try:
            named = {name for (name,) in self._asked("SELECT name FROM message WHERE name IS NOT NULL")}
        except Unknown as why:
            self._report("warning: what a crash left in incoming stays there for now: {why}", why=why)
            return []
        return [name for name in ours if name not in named]

    def last_id(self) -> str:
        """The greatest queue id that any of them has admitted; empty where none has. Raises Unknown."""
        return latest_id(last for (last,) in self._asked("SELECT last_id FROM journal"))

    def _asked(self, question: str) -> list[tuple[str]]:
        answers: list[tuple[str]] = []
        for path in journals(self._folder):
            if os.path.basename(path) != self._share.journal:
                try:
                    answers += _rows(path, question)
                except sqlite3.Error as error:
                    raise Unknown(f"{path}: {error}") from error
        return answers


def _rows(path: str, question: str) -> list[tuple[str]]:
    try:
        db = connect_to_read(path)
    except sqlite3.OperationalError:
        if not os.path.exists(path):
            return []
        raise
    try:
        # A colleague that starts for the first time may have made its file and not its tables yet. Then it has no rows.
        (made,) = db.execute("SELECT count(*) FROM sqlite_master WHERE name IN ('journal', 'message')").fetchone()
        return db.execute(question).fetchall() if made == 2 else []
    finally:
        db.close()
