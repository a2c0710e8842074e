"""Every state of a message that docs/queue.md names: brought about, ended by a kill and by a power cut, and what then follows.

The words in bold in the table are what must be seen after a crash, all of them and no others.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import shutil
import sqlite3
import tempfile
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from lanmail.address import Address
from lanmail.delivery.batch import Batch
from lanmail.mailbox.claims import Claims
from lanmail.mailbox.holdings import Holdings
from lanmail.mailbox.snapshot import Snapshot
from lanmail.spool import database
from lanmail.spool.entries import Deferral, Message, Recipient
from lanmail.spool.incoming import IN_MEMORY, Content
from lanmail.status import Status, TemporaryFailure
from tests.delivery.house import House
from tests.mailbox import second_reader
from tests.spool.crashed import ANN, BODY, OLD, OTHER, head, piece, user
from tests.spool.faults import Dead, Faults
from tests.spool.journals import Faults as FailingStatements
from tests.spool.medium import JournalFiles
from tests.spool.running import Running

PAGE = Path(__file__).resolve().parents[2] / "docs" / "queue.md"
ID = "222CF6745D"
LARGE = b"To: ann\n\n" + (b"x" * 76 + b"\n") * (3 * IN_MEMORY // 77) + b"\n"
JULIEN = Address("julien", "lan.example")
_ALIVE = 3  # a process that came to its end says so
LATER = Status(451, "4.2.0", "mailbox is locked by pid 4711 (mutt)")


def table() -> dict[str, tuple[set[str], set[str]]]:
    """By state: what follows a kill, and what follows a power cut."""
    _, _, text = PAGE.read_text(encoding="utf-8").partition("\n## The states of a message\n")
    lines = [line for line in text.split("\n## ")[0].splitlines() if line.startswith("|")]
    states = {}
    for line in lines[2:]:
        state, _, kill, cut = (cell.strip() for cell in line.strip("|").split("|"))
        after_kill, after_cut = (set(re.findall(r"\*\*(.+?)\*\*", cell)) for cell in (kill, cut))
        states[state] = after_kill, after_cut | after_kill if cut.startswith("the same") else after_cut
    return states


class Life:
    """One message of julien's to ann, who has an old letter, up to a crash, and what the next process makes of it.

    cut: the crash is a power cut. Whoever brings the state about takes from the mailbox what was not flushed; of the journal it goes here.
    """

    def __init__(self, folder: str, *, cut: bool) -> None:
        self.cut = cut
        self.folder = folder
        self.octets = piece(ID)
        self.answered = True
        self.start()
        self.house.put("ann", OLD)

    def start(self, *, boot: str = "before", **options: Any) -> None:
        self.house = House(self.folder, "ann", "julien", boot=boot, **options)
        self.flushed: JournalFiles | None = JournalFiles(self.house)

    # how it came to be as it is

    def admit(self, *, large: bool = False, **facts: Any) -> int:
        self.octets = head(ID) + (LARGE if large else BODY)
        content = self.file() if large else Content(len(BODY), BODY)
        recipient = Recipient(user("ann"), head(ID), JULIEN, ANN, ANN, **facts)
        (batch,) = self.house.admit(Message(ID, JULIEN, 0.0, content.size), [recipient], content)
        return batch.entries[0].number

    def file(self) -> Content:
        path = self.house.incoming.path_of(ID)
        with open(path, "xb") as file:
            file.write(LARGE)
        return Content(len(LARGE), name=ID, path=path)

    def deliver(self) -> None:
        self.house.deliver(*self.house.waiting("ann"))

    def in_a_process(
        self,
        act: Callable[[House], object],
        at: int = 0,
        when: Callable[[], object] = lambda: True,
        users: Sequence[str] = ("ann",),
        **options: Any,
    ) -> bool:
        """``act`` in a process of its own, which dies as Faults has it. Whether it died. All that it wrote is there then."""
        self.house.kill()
        self.flushed = None
        child = os.fork()
        if child == 0:
            try:
                house = House(self.folder, *users, boot="before", **options)
                with Faults(at, None, when=when):
                    act(house)
                os._exit(_ALIVE)
            except Dead:
                os._exit(0)
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(1)
        _, status = os.waitpid(child, 0)
        code = os.waitstatus_to_exitcode(status)
        assert code in (0, _ALIVE), code
        return code == 0

    def dies(self, act: Callable[[House], object], when: Callable[[], object]) -> None:
        """At the first call at which that is so."""
        assert self.in_a_process(act, 1, when), "it came to its end"
        assert when()

    def rewrite(self, octets: bytes) -> None:
        """As another program does it, or a disk."""
        with open(os.path.join(self.house.spool, "ann"), "wb") as file:
            file.write(octets)

    def crash(self) -> None:
        self.house.kill()
        if self.cut and self.flushed is not None:
            self.flushed.cut()

    # what is there

    def row(self) -> dict[str, Any] | None:
        with contextlib.closing(sqlite3.connect(f"file:{self.house.state}/journal-0?mode=ro", uri=True)) as db:
            db.row_factory = sqlite3.Row
            found = db.execute("SELECT * FROM recipient JOIN message ON message = message.number").fetchone()
        return None if found is None else dict(found)

    def length(self) -> int:
        """Of what is in the mailbox behind the old letter."""
        return len(self.house.contents("ann")) - len(OLD)

    # what follows

    def outcome(self) -> set[str]:
        """In the words of the table."""
        before = self.house.contents("ann")
        self.start(boot="after" if self.cut else "before")
        house = self.house
        seen: set[str] = set()
        house.recovery.run()
        if len(house.contents("ann")) < len(before):
            seen.add("taken out")
        row = self.row()
        if row is not None and row["held"]:
            seen.add("held")
        elif row is not None and row["boot"] is None:
            seen.add("delivered" if house.journal.due("ann", 0.0, 1, 1 << 40) else "waits")
        for outcome in house.deliver(*house.waiting("ann")):  # whenever it is due
            assert outcome.trouble is None and not outcome.failed
        house.checkpoints.run()
        count = self.count()
        assert count == ((self.answered or "delivered" in seen) and "held" not in seen), (count, seen)
        assert house.leftovers() == [] and (self.row() is None or "held" in seen)
        if count and not seen & {"delivered", "waits"}:
            seen.add("done")
        if not count and "held" not in seen:
            seen.add("swept")
        house.close()
        return seen

    def count(self) -> int:
        """How often it is in the mailbox, in which everything is whole."""
        octets = self.house.contents("ann")
        letters = [octets[one.start : one.end] for one in second_reader.read(octets)]
        assert letters[0] == OLD[:-1] and set(letters) <= {OLD[:-1], OTHER[:-1], self.octets[:-1]}, octets[:3000]
        return letters.count(self.octets[:-1])


Way = Callable[[Life], object]


class LifeTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        # What is lost in a power cut is decided here: nothing has to reach a disk.
        self.top = tempfile.mkdtemp(dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None)
        self.addCleanup(shutil.rmtree, self.top)
        self.lives = itertools.count()

    def life(self, *, cut: bool = False) -> Life:
        return Life(os.path.join(self.top, str(next(self.lives))), cut=cut)


class StateTests(LifeTestCase):
    """Each test is of the state that it is named after."""

    def ends(
        self, *ways: Way, only_cut: tuple[Way, ...] = (), outcome: Callable[[Life], set[str]] = Life.outcome
    ) -> None:
        """All that is seen after these ways into the state is what the table says. only_cut: ways that only a power cut has."""
        state = self._testMethodName.removeprefix("test_").replace("_", " ")
        for cut, expected in zip((False, True), table()[state], strict=True):
            seen: set[str] = set()
            for way in ways + only_cut * cut:
                life = self.life(cut=cut)
                way(life)
                life.crash()
                words = outcome(life)
                self.assertLessEqual(words, expected, (way.__name__, cut))
                seen |= words
            self.assertEqual(seen, expected, cut)

    def test_coming_in(self) -> None:
        def in_memory(life: Life) -> None:
            life.answered = False

        def in_a_file(life: Life) -> None:
            life.answered = False
            with open(life.house.incoming.path_of(ID), "xb") as file:
                file.write(LARGE[:40_000])

        self.ends(in_memory, in_a_file)

    def test_whole(self) -> None:
        def synced(life: Life) -> None:
            life.answered = False
            life.house.incoming.sync(life.file())

        self.ends(synced)

    def test_in_doubt(self) -> None:
        def failed(life: Life, *, done: bool) -> None:
            life.house.kill()
            statements = FailingStatements()
            life.start(journal={"connect": statements.connect})
            statements.fail("COMMIT", sqlite3.SQLITE_IOERR_FSYNC, done=done)
            statements.broken = True
            self.assertRaises(TemporaryFailure, life.admit)
            life.answered = False
            self.assertEqual(life.row() is not None, done)
            life.flushed = None  # nobody knows

        def there(life: Life) -> None:
            failed(life, done=True)

        def not_there(life: Life) -> None:
            failed(life, done=False)

        self.ends(there, not_there)

    def test_waiting(self) -> None:
        def small(life: Life) -> None:
            life.admit()

        def large(life: Life) -> None:
            life.admit(large=True)

        self.ends(small, large)

    def test_begun(self) -> None:
        def dying(life: Life, *, large: bool, until: Callable[[Life], object]) -> None:
            def begun() -> object:
                row = life.row()
                return row is not None and row["boot"] is not None and not row["marked"] and until(life)

            life.admit(large=large)
            life.dies(lambda house: house.deliver(*house.waiting("ann")), begun)

        def nothing(life: Life) -> None:
            dying(life, large=False, until=lambda life: life.length() == 0)

        def a_piece(life: Life) -> None:
            dying(life, large=True, until=lambda life: 0 < life.length() < len(life.octets))

        def a_piece_before_another_s(life: Life) -> None:
            a_piece(life)
            life.rewrite(life.house.contents("ann") + OTHER)

        def all_of_it(life: Life) -> None:
            nothing(life)
            life.rewrite(OLD + life.octets)

        def all_of_it_elsewhere(life: Life) -> None:
            nothing(life)
            life.rewrite(OLD + OTHER + life.octets)

        self.ends(nothing, a_piece, a_piece_before_another_s, all_of_it, all_of_it_elsewhere)

    def standing(self, life: Life) -> None:
        life.admit()
        life.deliver()
        row = life.row()
        assert row is not None and row["marked"] and not row["synced"]
        self.assertEqual(life.count(), 1)

    def test_standing(self) -> None:
        def moved_by_another(life: Life) -> None:
            self.standing(life)
            life.rewrite(OLD + OTHER + life.octets)

        def lost(life: Life) -> None:
            self.standing(life)
            life.rewrite(OLD)

        def lost_in_part(life: Life) -> None:
            self.standing(life)
            life.rewrite((OLD + life.octets)[:-30])

        def lost_but_for_its_length(life: Life) -> None:
            self.standing(life)
            life.rewrite(OLD + bytes(len(life.octets)))

        def lost_but_for_its_mark(life: Life) -> None:
            lost(life)
            life.flushed = None  # something else was flushed, and the mark with it

        self.ends(
            self.standing,
            moved_by_another,
            only_cut=(lost, lost_in_part, lost_but_for_its_length, lost_but_for_its_mark),
        )

    def test_flushed(self) -> None:
        def flushed(life: Life) -> None:
            self.standing(life)
            life.in_a_process(lambda house: None)  # whose recovery notes it for a checkpoint

            def forget(numbers: object) -> None:
                raise Dead

            def checkpoint(house: House) -> None:
                house.recovery.run()
                house.journal.forget = forget  # type: ignore[assignment,method-assign]
                house.checkpoints.run()

            self.assertTrue(life.in_a_process(checkpoint))
            self.assertIsNotNone(life.row())

        self.ends(flushed)

    def test_away(self) -> None:
        def away(life: Life) -> None:
            self.standing(life)
            life.house.checkpoints.run()
            self.assertIsNone(life.row())

        def but_for_its_body(life: Life) -> None:
            life.admit(large=True)
            life.deliver()
            life.house.checkpoints.run()
            self.assertIsNone(life.row())
            life.file()

        self.ends(away, but_for_its_body)

    def test_deferred(self) -> None:
        def deferred(life: Life) -> None:
            life.house.journal.defer([Deferral(life.admit(), 300.0, LATER)]).result()

        def and_flushed(life: Life) -> None:
            deferred(life)
            life.house.journal.delete(["another"]).result()

        self.ends(and_flushed, only_cut=(deferred,))

    def test_held(self) -> None:
        def held(life: Life) -> None:
            life.admit()
            life.house.journal.hold([ID]).result()

        def and_flushed(life: Life) -> None:
            held(life)
            life.house.journal.delete(["another"]).result()

        self.ends(and_flushed, only_cut=(held,))

    def test_owed(self) -> None:
        def owed(life: Life) -> None:
            life.admit(notify="SUCCESS")
            life.deliver()
            life.house.checkpoints.run()
            row = life.row()
            self.assertTrue(row is not None and row["owed"] and row["synced"])

        def outcome(life: Life) -> set[str]:
            seen = self.reported(life, "ann", "julien")
            self.assertEqual(life.count(), 1)
            return seen

        self.ends(owed, outcome=outcome)

    def test_failed(self) -> None:
        """ann has no account here any more."""

        def before_the_commit(life: Life) -> None:
            self.exchanging(life, dies_before=True)
            row = life.row()
            self.assertEqual(row and row["user"], "ann")

        def after_it(life: Life) -> None:
            self.exchanging(life, dies_before=False)
            row = life.row()
            self.assertEqual(row and row["user"], "julien")

        def outcome(life: Life) -> set[str]:
            seen = self.reported(life, "julien")
            self.assertEqual(life.count(), 0)
            return seen

        self.ends(before_the_commit, after_it, outcome=outcome)

    def exchanging(self, life: Life, *, dies_before: bool) -> None:
        class Deadly:
            """A connection that dies at the commit of what brings another message in."""

            def __init__(self, real: sqlite3.Connection) -> None:
                self._real = real
                self._armed = False

            def __getattr__(self, name: str) -> Any:
                return getattr(self._real, name)

            def execute(self, statement: str, *values: Any) -> Any:
                self._armed = self._armed or statement.startswith("INSERT INTO message")
                if statement != "COMMIT" or not self._armed:
                    return self._real.execute(statement, *values)
                if not dies_before:
                    self._real.execute(statement)
                os._exit(0)

        life.admit()
        running = life.in_a_process(
            lambda house: Running(house).until(lambda: False),
            users=("julien",),
            journal={"connect": lambda path: Deadly(database.connect(path))},
        )
        self.assertTrue(running)

    def reported(self, life: Life, *users: str) -> set[str]:
        """julien has one report in the end, however often it is looked."""
        for _ in range(2):
            life.house = House(life.folder, *users, boot="after" if life.cut else "before")
            running = Running(life.house)
            running.until(lambda: life.row() is None)
            running.stop()
            life.house.close()
            self.assertEqual(life.house.contents("julien").count(b"Content-Type: multipart/report"), 1)
        return {"reported"}

    def test_deleted_by_POP3(self) -> None:
        def dying(life: Life, until: Callable[[bytes], object]) -> bytes:
            life.admit()
            life.deliver()
            life.house.checkpoints.run()
            before = OLD + life.octets + OTHER
            life.rewrite(before)
            life.crash()
            redo = os.path.join(life.house.state, "ann.expunge")
            life.dies(self.delete_the_second, lambda: os.path.exists(redo) and until(life.house.contents("ann")))
            return before

        def not_moved(life: Life) -> None:
            dying(life, lambda octets: octets == OLD + life.octets + OTHER)

        def half_moved(life: Life) -> None:
            dying(life, lambda octets: octets not in (OLD + life.octets + OTHER, OLD + OTHER))

        def half_moved_and_lost(life: Life) -> None:
            life.rewrite(dying(life, lambda octets: octets not in (OLD + life.octets + OTHER, OLD + OTHER)))

        def not_removed(life: Life) -> None:
            dying(life, lambda octets: octets == OLD + OTHER)

        def outcome(life: Life) -> set[str]:
            life.start(boot="after" if life.cut else "before")
            life.house.mailbox_of(user("ann")).lock(create=False).release()
            self.assertEqual(life.house.contents("ann"), OLD + OTHER)
            self.assertEqual(os.listdir(life.house.spool), ["ann"])
            life.house.close()
            return {"finished"}

        self.ends(not_moved, half_moved, not_removed, only_cut=(half_moved_and_lost,), outcome=outcome)

    @staticmethod
    def delete_the_second(house: House) -> None:
        claims = os.path.join(house.state, "claims")
        os.makedirs(claims, exist_ok=True)
        snapshot = Snapshot("ann", house.mailbox_of(user("ann")), Holdings(Claims(claims).of("ann")), None)
        snapshot.look()
        snapshot.expunge(frozenset((2,)))


class TableTests(LifeTestCase):
    def test_every_state_has_its_test_and_every_test_its_state(self) -> None:
        tests = {name.removeprefix("test_").replace("_", " ") for name in dir(StateTests) if name.startswith("test_")}
        self.assertEqual(tests, set(table()))

    def test_what_is_deleted_by_another_program_stays_away_after_a_kill(self) -> None:
        """A mark counts within one boot, whatever was done to the mailbox since."""
        life = self.life()
        life.admit()
        life.deliver()
        life.rewrite(OLD)
        life.crash()
        life.start()
        life.house.recovery.run()
        life.deliver()
        life.house.checkpoints.run()
        self.assertEqual((life.house.contents("ann"), life.row()), (OLD, None))
        life.house.close()

    def test_every_moment_of_a_message_is_in_a_state_of_the_table(self) -> None:
        """A large message comes in, is delivered and flushed by a process that dies at its first call, its second, and so on."""
        answered = os.path.join(self.top, "answered")
        text = b"To: ann\r\n\r\n" + (b"x" * 76 + b"\r\n") * (IN_MEMORY // 77 + 100)

        def live(house: House) -> None:
            batches: list[Batch] = []

            async def accept(*admitted: Any) -> None:
                batches.extend(house.admit(*admitted))

            house.reception.accept = accept
            answers: list[Any] = []
            Deferred.fromCoroutine(house.send(text, "ann@lan.example")).addBoth(answers.append)
            if isinstance(answers[0], Failure):
                answers[0].raiseException()
            with open(answered, "x"):
                pass
            house.deliver(*batches)
            house.checkpoints.run()
            house.mailbox_of(user("ann")).lock(create=False).release()

        whole = self.life()
        self.assertFalse(whole.in_a_process(live))
        octets = whole.house.contents("ann")[len(OLD) :]
        states: set[str] = set()
        for at in itertools.count(1):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(answered)
            life = self.life()
            life.octets = octets
            if not life.in_a_process(live, at):
                break
            life.answered = os.path.exists(answered)
            state = self.state_of(life)
            states.add(state)
            # Between the commit and the answer: whoever was not told sends it again.
            life.answered = life.answered or state not in ("coming in", "whole")
            after_kill, _ = table()[state]
            self.assertLessEqual(life.outcome(), after_kill, (at, state))
        self.assertEqual(states, {"coming in", "whole", "waiting", "begun", "standing", "away"})

    @staticmethod
    def state_of(life: Life) -> str:
        """As it can be told from the files."""
        row = life.row()
        if row is None and life.answered:
            return "away"
        if row is None:
            sizes = [
                os.stat(os.path.join(life.house.incoming.path, name)).st_size
                for name in os.listdir(life.house.incoming.path)
            ]
            return "whole" if sizes and sizes[0] > IN_MEMORY + 100 * 77 else "coming in"
        if row["boot"] is None:
            return "waiting"
        return "standing" if row["marked"] else "begun"
