"""Mail, its readers, other programs, administrators, errors of the disk, killed processes and power cuts, in whatever order.

The model knows which messages must be in each mailbox. Files and model are compared when everything has come to rest.
"""

from __future__ import annotations

import contextlib
import errno
import os
import random
import shutil
import sqlite3
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from hypothesis import HealthCheck, assume, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test
from twisted.trial.unittest import SynchronousTestCase

from lanmail.mailbox.claims import Claims
from lanmail.mailbox.holdings import Holdings
from lanmail.mailbox.snapshot import Snapshot
from lanmail.spool.entries import Message, Recipient
from lanmail.spool.incoming import Content
from lanmail.status import TemporaryFailure
from tests.delivery.house import House
from tests.mailbox import second_reader
from tests.spool.crashed import ANN, BODY, head, user
from tests.spool.faults import Dead, Faults
from tests.spool.medium import JournalFiles, Medium

USERS = ("ann", "bob")
LARGE = b"To: ann\n\n" + b"a line of some length\n" * 20 + b"\n"  # in a file
OURS = (BODY, b"To: ann\n\nshort\n\n", LARGE)
FOREIGN = b"From other@lan.example  Mon Nov 23 12:00:05 2026\n"
STATUS = b"Status: RO\n"

PICK = st.integers(0, 1000)
NAME = st.sampled_from(USERS)
NAMES = st.lists(NAME, min_size=1, max_size=2, unique=True)
CHANCE = st.integers(0, 10**6)
CUT = st.one_of(st.none(), CHANCE)
# At which call, and how: the process dies there; an error, once or from there on.
TROUBLE = st.one_of(
    st.none(),
    st.tuples(st.integers(1, 30), st.just(None), st.just(False)),
    st.tuples(st.integers(1, 30), st.sampled_from((errno.EIO, errno.ENOSPC)), st.booleans()),
)
Trouble = tuple[int, int | None, bool] | None


class Row(NamedTuple):
    held: bool
    boot: str | None
    marked: bool


@dataclass
class Book:
    """What must be in one mailbox. ours: at least and at most so often. foreign: once each, in this order.

    undecided: taken out by an expunge that did not come to its end: all of them are there, or none. unsure: there or not, each for itself:
    of an earlier such expunge, or lost in a power cut by whoever brought it. loose: deleted by another program while the journal had
    it: it comes back if a disk loses the mark. rewritten: by another program since it last came to rest: what a power cut then leaves
    may be there twice (docs/queue.md). names: the UIDLs.
    """

    ours: dict[str, tuple[int, int]] = field(default_factory=dict)
    foreign: list[str] = field(default_factory=list)
    undecided: set[str] = field(default_factory=set)
    loose: set[str] = field(default_factory=set)
    unsure: set[str] = field(default_factory=set)
    rewritten: bool = False
    names: dict[str, str] = field(default_factory=dict)


class Spool(RuleBasedStateMachine):
    @initialize(there=st.lists(NAME, max_size=2, unique=True))
    def begin(self, there: list[str]) -> None:
        self.top = os.path.abspath(tempfile.mkdtemp(dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None))
        self.boot = 0
        self.count = 0
        self.dead = False
        self.books = {name: Book() for name in USERS}
        self.known: dict[bytes, str] = {}  # from a text as the reader sees it, to the token
        self.octets: dict[str, bytes] = {}
        self.held: set[tuple[str, str]] = set()
        self.open()
        self.medium = Medium(self.house.spool)
        self.medium.__enter__()
        for name in there:
            self.append(name, self.new_letter(FOREIGN, b"Subject: %04d\n\nold\n\n" % self.count), synced=True)

    def open(self) -> None:
        self.house = House(self.top, *USERS, boot=str(self.boot))
        self.journal = JournalFiles(self.house)

    def teardown(self) -> None:
        if not hasattr(self, "medium"):
            return
        try:
            if self.dead:
                self.end_and_begin(None)
            self.settle()
        finally:
            self.house.kill()
            self.medium.__exit__(None, None, None)
            shutil.rmtree(self.top)

    # the service

    @rule(letters=st.lists(st.tuples(NAMES, st.sampled_from(OURS)), min_size=1, max_size=3), trouble=TROUBLE)
    @precondition(lambda self: not self.dead)
    def mail_comes_in(self, letters: list[tuple[list[str], bytes]], trouble: Trouble) -> None:
        """And is delivered at once."""
        for names, body in letters:
            self.admit(names, body)
        self.deliver(list(USERS), 10, trouble)

    @rule(names=NAMES, body=st.sampled_from(OURS))
    @precondition(lambda self: not self.dead)
    def admit(self, names: list[str], body: bytes) -> None:
        token = self.new_letter(head(self.next_id()), body)
        content = Content(len(body), body)
        if body is LARGE:
            path = self.house.incoming.path_of(token)
            with open(path, "xb") as file:
                file.write(body)
            content = Content(len(body), name=token, path=path)
        recipients = [Recipient(user(name), head(token), ANN, ANN, ANN) for name in names]
        self.house.admit(Message(token, ANN, 0.0, len(body)), recipients, content)
        for name in names:
            self.books[name].ours[token] = (1, 1)

    @rule(names=NAMES, count=st.integers(1, 4), trouble=TROUBLE)
    @precondition(lambda self: not self.dead)
    def deliver(self, names: list[str], count: int, trouble: Trouble) -> None:
        batches = [batch for name in names for batch in self.house.waiting(name)[:count]]
        with self.troubled(trouble):
            self.house.deliver(*batches)

    @rule(trouble=TROUBLE, cut=CUT)
    @precondition(lambda self: not self.dead)
    def checkpoint(self, trouble: Trouble, cut: int | None) -> None:
        """Twice, if there was trouble; and then perhaps a power cut."""
        for _ in range(1 + (trouble is not None)):
            self.house.clock.advance(10)
            if not self.dead:
                with self.troubled(trouble):
                    self.house.checkpoints.run()
            trouble = None
        if cut is not None:
            self.end_and_begin(cut)

    @rule(trouble=TROUBLE)
    @precondition(lambda self: not self.dead)
    def recover(self, trouble: Trouble) -> None:
        with self.troubled(trouble):
            self.house.recovery.run()

    @rule(name=NAME, which=st.lists(PICK, max_size=3), trouble=TROUBLE, cut=CUT)
    @precondition(lambda self: not self.dead)
    def fetch_and_delete(self, name: str, which: list[int], trouble: Trouble, cut: int | None) -> None:
        """A POP3 session: what it sees is whole, and what it deletes is gone for good once it was told so. Then perhaps a power cut."""
        claims = os.path.join(self.house.state, "claims")
        os.makedirs(claims, exist_ok=True)
        holdings = Holdings(Claims(claims).of(name))
        snapshot = Snapshot(name, self.house.mailbox_of(user(name)), holdings, None)
        book = self.books[name]
        tokens: list[str] = []
        try:
            with self.troubled(trouble):
                count = len(snapshot.look()[0])
                names = snapshot.unique_ids(lambda name, fd, index: {})
                tokens = self.tokens(name)
                self.fits(name, tokens)
                assert count == len(tokens) == len(names)
                self.named(name, tokens, names)
                numbers = frozenset(pick % count + 1 for pick in which) if count else frozenset()
                chosen = {tokens[number - 1] for number in numbers}
                doubled = {token for token in chosen if tokens.count(token) > 1}
                if chosen:
                    book.unsure = (book.unsure | book.undecided) - chosen
                    book.undecided = chosen - doubled
                for token in doubled:
                    book.ours[token] = (0, tokens.count(token))
                if numbers:
                    assert snapshot.expunge(numbers) == count - len(numbers)
                for token in chosen - doubled:
                    self.gone(name, token)
        finally:
            holdings.close()
        if cut is not None:
            self.end_and_begin(cut)

    @rule(verb=st.sampled_from(("hold", "release", "requeue", "delete")), pick=PICK)
    @precondition(lambda self: not self.dead and self.octets)
    def order(self, verb: str, pick: int) -> None:
        token = list(self.octets)[pick % len(self.octets)]
        rows = {key: row for key, row in self.rows().items() if key[1] == token and row.boot is None}
        more = {"now": 0.0} if verb == "requeue" else {}
        getattr(self.house.journal, verb)([token], **more).result()
        for key, row in rows.items():
            if verb == "hold":
                self.held.add(key)
            elif row.held:
                self.held.discard(key)
            if verb == "delete":
                book = self.books[key[0]]
                low, high = book.ours[token]
                book.ours[token] = (0, 0) if low == 1 == high else (0, high)

    # other programs

    @rule(name=NAME, synced=st.booleans(), looks=st.booleans(), length=st.integers(0, 5))
    def foreign_append(self, name: str, synced: bool, looks: bool, length: int) -> None:
        """looks: at what the file ends with, so that its message stands behind an empty line."""
        body = b"Subject: %04d\n\n" % self.count + b"other\n" * length + b"\n"
        token = self.new_letter(FOREIGN, body)
        before = self.house.contents(name)
        gap = b"" if not looks or not before or before.endswith(b"\n\n") else b"\n\n"
        self.append(name, token, synced=synced, gap=gap)

    @rule(name=NAME, deletes=st.booleans(), synced=st.booleans(), anew=st.booleans(), pick=PICK)
    @precondition(lambda self: not self.dead)
    def foreign_rewrite(self, name: str, deletes: bool, synced: bool, anew: bool, pick: int) -> None:
        """It deletes one, or notes in some that they were read; in place, or with a new file."""
        tokens = self.untroubled(name)
        if deletes:
            self.deleted(name, tokens, tokens.pop(pick % len(tokens)))
            read = set()
        else:
            read = {tokens[pick % len(tokens)], tokens[-1]}
        letters = [self.with_status(self.octets[token]) if token in read else self.octets[token] for token in tokens]
        self.rewrite(name, letters, synced, anew)

    def deleted(self, name: str, left: list[str], token: str) -> None:
        book = self.books[name]
        row = self.rows().get((name, token))
        if token in left:
            book.ours[token] = (0, book.ours[token][1])
        elif row is not None:
            certain = row.boot == self.house.boot and row.marked and name not in self.house.recovery._left
            book.ours[token] = (0, 0) if certain else (0, 1)
            book.loose.add(token)
        else:
            self.gone(name, token)

    # the end of a process

    @rule(chance=st.one_of(st.none(), CHANCE))
    def end_and_begin(self, chance: int | None) -> None:
        """Killed, or, with a chance that decides what is left, in a power cut."""
        if chance is None:
            self.house.kill()
        else:
            self.power_cut(random.Random(chance))
        self.dead = False
        self.open()
        if chance is not None:
            # That a row is held is not flushed.
            self.held = {key for key, row in self.rows().items() if row.held}

    def power_cut(self, chance: random.Random) -> None:
        rows = self.rows()
        self.house.kill()
        self.journal.cut(chance)
        self.medium.cut(chance)
        for name, book in self.books.items():
            self.loosen(name, rows)
            if book.rewritten:
                ours = {token: count for token, count in book.ours.items() if (name, token) in rows}
                book.ours |= {token: (low, high + 1) for token, (low, high) in ours.items() if high}
            octets = self.house.contents(name)
            # A program that did not sync has lost it, and not we.
            lost = {token for token in book.foreign if not self.is_in(octets, token)}
            book.unsure |= lost & book.undecided
            book.undecided -= lost
            book.foreign = [token for token in book.foreign if token not in lost or token in book.unsure]
        self.boot += 1

    @rule()
    @precondition(lambda self: not self.dead)
    def settle(self) -> None:
        """Everything comes to rest: the model and the files agree."""
        house = self.house
        house.clock.advance(60)
        for _ in range(3):
            house.recovery.run()
            house.deliver(*(batch for name in USERS for batch in house.waiting(name)))
            house.checkpoints.run()
        assert house.recovery.left == 0
        rows = self.rows()
        assert set(rows) == self.held == {key for key, row in rows.items() if row.held and row.boot is None}, rows
        for name, book in self.books.items():
            tokens = self.tokens(name)
            self.fits(name, tokens)
            if self.medium.is_settled(name):
                for token in [*book.undecided, *book.unsure]:
                    if token not in tokens:
                        self.gone(name, token)
                book.undecided.clear()
                book.unsure.clear()
            for token, _ in book.ours.items():
                if (name, token) not in self.held and token not in book.undecided | book.unsure:
                    book.ours[token] = (tokens.count(token),) * 2
            book.loose.clear()
            book.rewritten = False
            with house.mailbox_of(user(name)).lock(create=True):
                pass
        assert not os.listdir(house.incoming.path) or any(self.held)
        assert not [one for one in os.listdir(house.spool) if one not in USERS]
        thread = house.journal._commits._thread
        assert thread is not None and thread.is_alive()

    # within

    def next_id(self) -> str:
        return f"{0x222CF60000 + self.count:010X}"

    def new_letter(self, begins: bytes, rest: bytes) -> str:
        token = self.next_id()
        self.count += 1
        self.octets[token] = begins + rest
        self.known[self.essence(begins + rest)] = token
        return token

    @staticmethod
    def essence(letter: bytes) -> bytes:
        header, _, body = letter.partition(b"\n\n")
        return (header + b"\n").replace(b"\n" + STATUS, b"\n") + b"\n" + body.rstrip(b"\n")

    def is_in(self, octets: bytes, token: str) -> bool:
        letter = self.octets[token]
        return any(one.rstrip(b"\n") in octets for one in (letter, self.with_status(letter)))

    @staticmethod
    def with_status(letter: bytes) -> bytes:
        return letter.replace(b"\n\n", b"\n" + STATUS + b"\n", 1)

    def append(self, name: str, token: str, *, synced: bool, gap: bytes = b"") -> None:
        path = os.path.join(self.house.spool, name)
        with open(path, "ab") as file:
            at = file.tell()
            file.write(gap + self.octets[token])
        if not at:
            os.chmod(path, 0o600)
        self.medium.appended(name, gap + self.octets[token], at, synced=synced)
        self.books[name].foreign.append(token)

    def rewrite(self, name: str, letters: list[bytes], synced: bool, anew: bool) -> None:
        path = os.path.join(self.house.spool, name)
        octets = b"".join(letters)
        with open(path + ".lock" if anew else path, "wb" if anew else "r+b") as file:
            file.truncate()
            file.write(octets)
        if anew:
            os.chmod(path + ".lock", 0o600)
            os.rename(path + ".lock", path)
        self.medium.rewritten(name, octets, synced=synced)
        self.books[name].rewritten = True

    def untroubled(self, name: str) -> list[str]:
        """What is in a mailbox that another program may rewrite: one with whole messages only, and with no expunge under way."""
        assume(not os.path.exists(os.path.join(self.house.state, name + ".expunge")))
        try:
            tokens = self.tokens(name)
        except AssertionError:
            tokens = []
        assume(tokens and not self.books[name].undecided and not self.books[name].unsure)
        return tokens

    def tokens(self, name: str) -> list[str]:
        """Of what the independent reader finds there. AssertionError where something is torn."""
        octets = self.house.contents(name)
        tokens = []
        at = 0
        for found in second_reader.read(octets):
            # Another program's empty line may have stood behind what was taken out of the file's beginning.
            assert octets[at : found.start].strip(b"\n") == b"", octets[at : found.start]
            at = found.next
            letter = octets[found.start : found.end]
            token = self.known.get(self.essence(letter))
            assert token is not None, f"torn in {name}: {letter!r} in {octets!r}"
            tokens.append(token)
        assert octets[at:].strip(b"\n") == b"", octets[at:]
        return tokens

    def fits(self, name: str, tokens: list[str]) -> None:
        book, count = self.books[name], Counter(tokens)
        lost = not os.path.exists(os.path.join(self.house.spool, name))  # which recovery sees only when it comes by
        rows = {token: row for (user, token), row in self.rows().items() if user == name}
        waits = {token for token, row in rows.items() if lost or row.boot is None}
        there = {token for token in book.undecided if token in count}
        for token, (low, high) in book.ours.items():
            low = 0 if token in waits | book.undecided | book.unsure else low
            assert low <= count[token] <= high, (name, token, count[token], low, high)
        certain = {token for token in book.undecided if book.ours.get(token, (1, 1)) == (1, 1) and token not in rows}
        assert not there & certain or certain <= there, (name, "expunged in part", book.undecided, tokens)
        foreign = [token for token in book.foreign if token in count or token not in book.undecided | book.unsure]
        assert [token for token in tokens if token not in book.ours] == foreign, (name, tokens, foreign)

    def named(self, name: str, tokens: list[str], names: list[str]) -> None:
        known = self.books[name].names
        for token, uidl in zip(tokens, names, strict=True):
            if tokens.count(token) == 1:
                assert known.setdefault(token, uidl) == uidl, token
        assert len(set(names)) == len(names)

    def gone(self, name: str, token: str) -> None:
        """For good."""
        book = self.books[name]
        book.undecided.discard(token)
        book.unsure.discard(token)
        if token in book.ours:
            book.ours[token] = (0, 0)
        else:
            book.foreign.remove(token)

    def loosen(self, name: str, rows: dict[tuple[str, str], Row]) -> None:
        """A disk may have lost what says that these were there once."""
        book = self.books[name]
        for token in book.loose:
            if (name, token) in rows:
                book.ours[token] = (0, 1)

    @contextlib.contextmanager
    def troubled(self, trouble: Trouble) -> Iterator[None]:
        at, error, lasting = trouble or (0, errno.EIO, False)
        rows = self.rows()
        # Where the text of a message cannot be read, what is left of it in the mailbox is left alone.
        text = "lanmail.spool.incoming"
        faults = Faults(at, error, lasting=lasting, here=True, but_for=text, lost=self.medium.lost)
        try:
            with faults:
                yield
        except Dead:
            self.dead = True
        except TemporaryFailure:
            assert faults.failed
        finally:
            if faults.failed:
                for name in USERS:
                    self.loosen(name, rows)

    def rows(self) -> dict[tuple[str, str], Row]:
        with contextlib.closing(sqlite3.connect(f"file:{self.house.state}/journal-0?mode=ro", uri=True)) as db:
            found = db.execute(
                "SELECT user, queue_id, held, boot, marked FROM recipient JOIN message ON message.number = message"
            )
            return {(name, token): Row(bool(held), boot, bool(marked)) for name, token, held, boot, marked in found}


class SpoolTests(SynchronousTestCase):
    def test_the_model_and_the_files_agree_whatever_happens(self) -> None:
        """Thousands more: python -m tests.spool.test_machine 5000"""
        self.run_machine(120, 30)

    @staticmethod
    def run_machine(examples: int, steps: int) -> None:
        run_state_machine_as_test(
            Spool,
            settings=settings(
                max_examples=examples,
                stateful_step_count=steps,
                derandomize=examples < 200,  # the same ones each time; others are for whoever asks for thousands
                deadline=None,
                report_multiple_bugs=False,
                suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow],
            ),
        )


if __name__ == "__main__":
    import sys

    SpoolTests.run_machine(int(sys.argv[1]), 40)
