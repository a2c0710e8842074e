"""Rounds: a server under load is killed, comes up again, and what is there then is compared with everybody's books."""

from __future__ import annotations

import contextlib
import os
import poplib
import random
import re
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from tests.crash.books import Books
from tests.crash.clients import Load, Neighbour
from tests.crash.server import USERS, MortalServer
from tests.powercut.letters import pieces
from tests.powercut.load import PASSWORD

LONGEST = 0.7  # seconds of load; then it has written to all mailboxes, and the second checkpoint is not far
# Shares of rounds. In some the server is killed again while it starts, or under load while it is at what the kill before has left;
# in some the other program comes while nobody runs.
AGAIN_AT_START = 0.1
AGAIN_AT_WORK = 0.1
NEIGHBOUR_BETWEEN = 0.5
# With several workers, one of them is killed first, and all some seconds later: before another has come in its place, or after.
ONE_OF_SEVERAL = 0.5
ONE_AGAIN = 2.0
# At what a kill is aimed, or at nothing; it hits within so many seconds.
AIMS = ("", "", "large", "quit")
CLOSE = 0.02
FULL, KEPT = 40, 10  # letters in a mailbox after a round that are too many, and how many of those are left there
_STATES = ("coming in", "waiting", "begun", "standing", "torn", "expunge begun")
_RECOVERED = re.compile(
    r"recovery: of .*? (\d+) were in the mailbox, (\d+) were torn and taken out, (\d+) were not there"
)


class Wrong(AssertionError):
    """The promise is broken."""


@dataclass
class Outcome:
    """What the rounds came to. states: how often a kill left something so; rows: how much it was, all together."""

    rounds: int = 0
    kills: int = 0
    states: Counter[str] = field(default_factory=Counter)
    rows: Counter[str] = field(default_factory=Counter)
    letters: Counter[str] = field(default_factory=Counter)
    recovered: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0

    def __str__(self) -> str:
        counts = self.letters
        left = ", ".join(f"{state} {self.states[state]} ({self.rows[state]})" for state in _STATES)
        return (
            f"{self.rounds} rounds with {self.kills} kills in {self.seconds:.0f} s. {counts['answered']} messages answered with 250,"
            f" {counts['unanswered, and there']} of {counts['sent'] - counts['answered']} others came in too;"
            f" fetched {counts['fetched']} letters, deleted {counts['deleted']}."
            f" Another program put {counts['put']} of its own and took {counts['taken']}."
            f"\nKills that left something (how much): {left}."
            f"\nRecovery found {self.recovered['done']} copies in their mailbox, took out {self.recovered['torn']} torn ones, and"
            f" {self.recovered['missing']} were not there yet; possible duplicates: {self.recovered['duplicates']}."
            "\nEvery 250 is kept once, nothing is torn, and no UIDL has changed."
        )


class Rounds:
    """One server, and the mail that goes through it. Its folder stays where Wrong was raised."""

    def __init__(self, folder: str, seed: int, owner: str | None = None, workers: int = 1) -> None:
        self.outcome = Outcome()
        self._chance = random.Random(seed)
        self._seed = f"{seed}"
        self._server = MortalServer(folder, self._chance, owner, workers)
        self._workers = workers
        self._books = Books(USERS)
        self._neighbour = Neighbour(self._server, self._books, f"{seed} other")
        self._load = 0
        self._faults: list[str] = []

    def play(self, count: int, progress: Callable[[Outcome], None]) -> Outcome:
        """So many rounds; progress is called after each. Raises Wrong."""
        begin = time.monotonic()
        try:
            self._server.start()
            for _ in range(count):
                self.outcome.rounds += 1
                self._round()
                progress(self.outcome)
            self._stop()
        except AssertionError as error:
            self._faults.append(str(error))
        finally:
            self._server.stop()
        self._blame()
        outcome = self.outcome
        outcome.seconds = time.monotonic() - begin
        outcome.letters = self._books.counts
        self._read_log()
        return outcome

    def _round(self) -> None:
        self._neighbour.start()
        try:
            self._kill_under_load()
            what = self._chance.random()
            if what < AGAIN_AT_START:
                self._kill_at_start()
            elif what < AGAIN_AT_START + AGAIN_AT_WORK:
                self._server.start()
                self._kill_under_load()
            if self._chance.random() < NEIGHBOUR_BETWEEN:
                self._neighbour.stop()
                self._neighbour.after_a_kill()
                self._neighbour.start()
            self._server.start()
            self._server.settle()
            self._neighbour.settled()
        finally:
            self._neighbour.stop()
        self._audit()

    # killing

    def _kill_under_load(self) -> None:
        self._load += 1
        load = Load(self._server, self._books, self._load, self._seed)
        try:
            time.sleep(self._chance.uniform(0, LONGEST))
            if self._workers > 1 and self._chance.random() < ONE_OF_SEVERAL:
                load.one_dies.set()
                self._server.kill_one(self._chance)
                self._books.trail.append(f"{time.time():.3f} killed one")
                time.sleep(self._chance.uniform(0, ONE_AGAIN))
            aim = self._chance.choice(AIMS)
            if aim:
                load.wait_for(aim, LONGEST)
                time.sleep(self._chance.uniform(0, CLOSE))
        finally:
            load.killing.set()
            self._kill()
            load.stop()
        self._faults += load.faults
        self._count()

    def _kill_at_start(self) -> None:
        """It needs most of its time to load its modules; what comes after that is what matters."""
        self._server.start()
        time.sleep(self._chance.choice((0, 0, 0.002, 0.01, 0.05)))
        self._kill()
        self._count()

    def _kill(self) -> None:
        self._server.kill()
        self._books.trail.append(f"{time.time():.3f} killed")
        self.outcome.kills += 1

    def _count(self) -> None:
        for state, count in self._server.remains().items():
            self.outcome.rows[state] += count
            self.outcome.states[state] += bool(count)

    # comparing

    def _audit(self) -> None:
        """Nobody else works on the mailboxes now."""
        found: dict[str, list[tuple[str, str]]] = {}
        for user in USERS:
            path = self._server.spool / user
            standing = pieces(path.read_bytes()) if path.exists() else []
            for token, rest in standing:
                if rest.strip(b"\n"):
                    self._faults.append(f"{user}: {len(rest)} octets are in no message, behind {token}: {rest[:200]!r}")
            uidls = self._uidls(user)
            if len(uidls) != len(standing):
                self._faults.append(f"{user}: {len(standing)} letters stand there, and POP3 shows {len(uidls)}")
            found[user] = [(token, uidl) for (token, _), uidl in zip(standing, uidls, strict=False) if token]
        self._faults += [*self._books.audit(found), *self._neighbour.faults]
        self._blame()
        for user, letters in found.items():
            if len(letters) > FULL:
                self._thin(user, [token for token, _ in letters[:-KEPT]])

    @contextlib.contextmanager
    def _session(self, user: str) -> Iterator[poplib.POP3]:
        pop3 = poplib.POP3("127.0.0.1", self._server.pop3, timeout=30)
        try:
            pop3.user(user)
            pop3.pass_(PASSWORD)
            yield pop3
            pop3.quit()
        except poplib.error_proto as error:
            self._faults.append(f"{user}: {error}")
        finally:
            pop3.close()

    def _uidls(self, user: str) -> list[str]:
        with self._session(user) as pop3:
            return [line.split()[1].decode() for line in pop3.uidl()[1]]
        return []

    def _thin(self, user: str, tokens: list[str]) -> None:
        """The first letters go, so that the last round takes no longer than the first."""
        self._books.deleting(user, tokens)
        with self._session(user) as pop3:
            for number in range(1, len(tokens) + 1):
                pop3.dele(number)
        self._books.deleted(user, tokens, well=True)

    def _stop(self) -> None:
        """As an administrator does; then nothing is left in the queue."""
        status = self._server.stop()
        if status not in (0, -15):
            self._faults.append(f"it was told to stop, and ended with {status}")
        for what, count in self._server.remains().items():
            if count:
                self._faults.append(f"{what}: {count} when it has stopped")
        for folder in ("incoming", "mailboxes"):
            for path in (self._server.queue / "lanmail" / folder).iterdir():
                self._faults.append(f"{folder}/{path.name} is left when it has stopped")
        self._faults += [f"{path.name} is left" for path in self._server.spool.iterdir() if path.name not in USERS]

    def _read_log(self) -> None:
        log = self._server.whole_log()
        if "Traceback" in log:
            self._faults.append("the log has a traceback")
            self._blame()
        for done, torn, missing in _RECOVERED.findall(log):
            self.outcome.recovered.update(done=int(done), torn=int(torn), missing=int(missing))
        self.outcome.recovered["duplicates"] = log.count("possible duplicate")

    def _blame(self) -> None:
        if self._faults:
            (self._server.folder / "trail").write_text("\n".join(self._books.trail))
            where = f"round {self.outcome.rounds} of seed {self._seed}, in {self._server.folder}:"
            raise Wrong("\n  ".join([where, *(fault[:6000] for fault in self._faults[:20])]))


def play(
    folder: str,
    rounds: int,
    seed: int,
    owner: str | None = None,
    progress: Callable[[Outcome], None] = lambda _: None,
    workers: int = 1,
) -> Outcome:
    """So many rounds in that folder, which is removed when all is well. Raises Wrong."""
    os.makedirs(folder, exist_ok=True)
    outcome = Rounds(folder, seed, owner, workers).play(rounds, progress)
    shutil.rmtree(folder)
    return outcome
