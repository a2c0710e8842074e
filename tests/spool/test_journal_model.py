"""Whatever is asked of the journal in whatever order, with a disk that fails now and then, it says what a few dictionaries say."""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
from concurrent.futures import Future
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from twisted.trial.unittest import SynchronousTestCase

from lanmail.spool.commits import PROBE_EVERY
from lanmail.spool.entries import Deferral
from lanmail.spool.incoming import IncomingFolder
from lanmail.spool.journal import Journal
from lanmail.status import Status, TemporaryFailure
from tests.delivery.house import Reports, at_once
from tests.spool.journals import Faults, intent, message, queue_id, small, to

BUSY = Status(451, "4.2.0", "busy")
PICK = st.integers(0, 10**6)
FAULT = st.sampled_from([None, None, None, "before", "lost", "there", "there for long"])


@dataclass(frozen=True)
class Row:
    message: int
    user: str
    owed: bool
    state: str = "waiting"  # begun, standing, synced
    held: bool = False
    due: float = 0.0
    tries: int = 0


class JournalModel(RuleBasedStateMachine):
    @initialize()
    def begin(self) -> None:
        self.folder = tempfile.mkdtemp()
        self.now = 0.0
        self.faults = Faults()
        self.incoming = IncomingFolder(os.path.join(self.folder, "incoming"), at_once, Reports())
        self.rows: dict[int, Row] = {}
        self.files: set[int] = set()
        self.count = 0
        self.open()

    def open(self) -> None:
        path = os.path.join(self.folder, "journal-0")
        self.journal = Journal(path, self.incoming, Reports(), monotonic=lambda: self.now, connect=self.faults.connect)
        self.journal.open()

    def teardown(self) -> None:
        self.journal.close()
        self.incoming.close()
        shutil.rmtree(self.folder)

    def of(self, future: Future[Any], fault: str | None) -> Any:
        """Its answer, or None where it failed; then the disk works again."""
        if fault is not None:
            begins, code = (
                ("UPDATE journal", sqlite3.SQLITE_FULL) if fault == "before" else ("COMMIT", sqlite3.SQLITE_IOERR_FSYNC)
            )
            self.faults.fail(begins, code, done=fault.startswith("there"))
            self.faults.broken = fault == "there for long"
        self.journal.turn()
        self.faults.broken = False
        self.faults.waiting.clear()
        self.now += PROBE_EVERY
        self.journal.turn()
        assert self.journal.trouble is None
        error = future.exception(0)
        if error is None:
            return future.result(0)
        assert isinstance(error, TemporaryFailure) and fault in ("before", "lost", "there for long"), error
        return None

    def pick(self, chosen: list[int]) -> list[int]:
        """Some numbers, among them such as are gone, or were never there."""
        highest = max(self.rows, default=0) + 2
        return [number % highest + 1 for number in chosen]

    def waiting(self, number: int) -> bool:
        return number in self.rows and self.rows[number].state == "waiting"

    def gone(self, *numbers: int) -> None:
        for number in numbers:
            letter = self.rows.pop(number).message
            if not any(row.message == letter for row in self.rows.values()):
                self.files.discard(letter)

    @rule(
        users=st.lists(st.sampled_from("abc"), min_size=1, max_size=3),
        owed=st.booleans(),
        large=st.booleans(),
        fault=FAULT,
    )
    def admit(self, users: list[str], owed: bool, large: bool, fault: str | None) -> None:
        self.count += 1
        content = small(b"small %d" % self.count)
        if large:
            path = self.incoming.path_of(queue_id(self.count))
            with open(path, "xb") as file:
                file.write(b"large %d" % self.count)
            content = type(content)(os.path.getsize(path), name=queue_id(self.count), path=path)
        people = [to(user, notify="SUCCESS" if owed else "") for user in users]
        numbers = self.of(self.journal.admit(message(self.count), people, content, now=0.0), fault)
        content.discard()
        if numbers is None:
            return
        assert len(numbers) == len(users) and not set(numbers) & set(self.rows)
        self.rows |= {number: Row(self.count, user, owed) for number, user in zip(numbers, users, strict=True)}
        if large:
            self.files.add(self.count)

    @rule(chosen=st.lists(PICK, min_size=1, max_size=4, unique=True), fault=FAULT)
    def intend(self, chosen: list[int], fault: str | None) -> None:
        numbers = self.pick(chosen)
        accepted = self.of(self.journal.intend([intent(number) for number in numbers]), fault)
        if accepted is not None:
            assert accepted == {n for n in numbers if self.waiting(n) and not self.rows[n].held}
            for number in accepted:
                self.rows[number] = replace(self.rows[number], state="begun")

    @rule(chosen=st.lists(PICK, max_size=4))
    def mark(self, chosen: list[int]) -> None:
        numbers = [n for n in self.pick(chosen) if n in self.rows and self.rows[n].state == "begun"]
        self.of(self.journal.mark(numbers), None)
        for number in numbers:
            self.rows[number] = replace(self.rows[number], state="standing")

    @rule(chosen=st.lists(PICK, max_size=4))
    def unbegin(self, chosen: list[int]) -> None:
        numbers = self.pick(chosen)
        self.of(self.journal.unbegin(numbers), None)
        for number in numbers:
            if number in self.rows and self.rows[number].state in ("begun", "standing"):
                self.rows[number] = replace(self.rows[number], state="waiting")

    @rule(chosen=st.lists(PICK, max_size=4), fault=FAULT)
    def forget(self, chosen: list[int], fault: str | None) -> None:
        numbers = [n for n in self.pick(chosen) if n in self.rows and self.rows[n].state == "standing"]
        done = self.of(self.journal.forget(numbers), fault)
        del done  # where it failed it may be there all the same, and is asked for again
        self.of(self.journal.forget(numbers), None)
        for number in set(numbers):
            if self.rows[number].owed:
                self.rows[number] = replace(self.rows[number], state="synced")
            else:
                self.gone(number)

    @rule(chosen=st.lists(PICK, max_size=4, unique=True), due=st.floats(0, 100))
    def defer(self, chosen: list[int], due: float) -> None:
        numbers = sorted(set(self.pick(chosen)))
        self.of(self.journal.defer([Deferral(number, due, BUSY) for number in numbers]), None)
        for number in numbers:
            if self.waiting(number):
                self.rows[number] = replace(self.rows[number], due=due, tries=self.rows[number].tries + 1)

    @rule(gone=st.lists(PICK, max_size=3), reported=st.lists(PICK, max_size=3))
    def exchange(self, gone: list[int], reported: list[int]) -> None:
        away, told = set(self.pick(gone)), set(self.pick(reported))
        self.count += 1
        add = [(message(self.count), [to("postmaster")], small())]
        answer = self.of(self.journal.exchange(sorted(away), add, now=0.0, reported=sorted(told)), None)
        failed = {n for n in away if self.waiting(n) and not self.rows[n].held}
        succeeded = {n for n in told if n in self.rows and self.rows[n].owed}
        if (away or told) and not failed | succeeded:
            assert answer == []
            return
        for number in succeeded:
            self.rows[number] = replace(self.rows[number], owed=False)
        self.gone(*failed | {n for n in succeeded if self.rows[n].state == "synced"})
        ((number,),) = answer
        self.rows[number] = Row(self.count, "postmaster", False)

    @rule(verb=st.sampled_from(["hold", "release", "requeue", "flush", "delete"]), chosen=st.one_of(st.none(), PICK))
    def command(self, verb: str, chosen: int | None) -> None:
        ids = None if chosen is None else [queue_id(chosen % (self.count + 1))]
        more = {"now": 50.0} if verb in ("requeue", "flush") else {}
        answer = self.of(getattr(self.journal, verb)(ids, **more), None)
        concerned = []
        for number, row in sorted(self.rows.items()):
            if row.state != "waiting" or not (ids is None or queue_id(row.message) in ids):
                continue
            if (verb in ("hold", "flush") and row.held) or (verb == "release" and not row.held):
                continue
            concerned.append(row.message)
            if verb == "delete":
                self.gone(number)
                continue
            changed = {
                "hold": {"held": True},
                "release": {"held": False},
                "requeue": {"held": False, "due": 50.0, "tries": 0},
                "flush": {"due": min(row.due, 50.0)},
            }[verb]
            self.rows[number] = replace(row, **changed)
        assert answer == [queue_id(number) for number in sorted(set(concerned))]

    @rule()
    def stop_and_start(self) -> None:
        self.journal.close()
        self.open()
        self.journal.sweep()

    @rule()
    def kill_and_start(self) -> None:
        """The files as they are, without a last word to the database."""
        there = os.path.join(self.folder, "journal-0")
        copies = {name: Path(there + name).read_bytes() for name in ("", "-wal") if os.path.exists(there + name)}
        self.journal.close()
        for name, content in copies.items():
            Path(there + name).write_bytes(content)
        self.open()
        self.journal.sweep()

    @precondition(lambda self: hasattr(self, "journal"))
    @invariant()
    def agree(self) -> None:
        waiting = {n: row for n, row in self.rows.items() if row.state == "waiting" and not row.held}
        users = {row.user for row in waiting.values()}
        assert self.journal.waiting() == [
            (user, len(mine), min(mine))
            for user in sorted(users)
            for mine in [[r.due for r in waiting.values() if r.user == user]]
        ]
        for user in users:
            found = [(r.number, r.due, r.tries) for _, r, _ in self.journal.due(user, 1e9, 1000, 1 << 20)]
            assert found == sorted(
                ((n, r.due, r.tries) for n, r in waiting.items() if r.user == user), key=lambda f: (f[1], f[0])
            )
        standing = {(s.recipient.number, s.marked, s.owed) for s in self.journal.standing()}
        assert standing == {
            (n, r.state == "standing", r.owed) for n, r in self.rows.items() if r.state in ("begun", "standing")
        }
        owed = {recipient.number for _, recipient in self.journal.owed(1000)}
        assert owed == {n for n, r in self.rows.items() if r.owed and r.state in ("standing", "synced")}
        listed = {r.number for message in self.journal.listing(0, 1000) for r in message.recipients}
        assert listed == {n for n, r in self.rows.items() if r.state in ("waiting", "begun")}
        assert set(self.incoming.names()) == {queue_id(number) for number in self.files}


class JournalModelTests(SynchronousTestCase):
    def test_the_journal_agrees_with_its_model_whatever_happens(self) -> None:
        run_state_machine_as_test(
            JournalModel, settings=settings(max_examples=40, stateful_step_count=25, deadline=None)
        )
