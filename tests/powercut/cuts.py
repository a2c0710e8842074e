"""The power is cut at many points of a recording; each time the service comes up on what is left, and the promise is looked at."""

from __future__ import annotations

import os
import pwd
import queue
import random
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from tests.live import mail_owner
from tests.powercut.books import Books
from tests.powercut.disk import Disk
from tests.powercut.load import USERS, RecordedServer, Recording
from tests.powercut.recorder import Step, read
from tests.powercut.remains import draw
from tests.powercut.restart import Worker, unsettled
from tests.powercut.through_pop3 import fetched

# Every so many points the service is started as an administrator would, and the mailboxes are looked at through POP3 too.
WHOLE = 15
_AGO = 3600  # seconds: so long the machine was off


def asked_by(step: Step) -> str:
    """Who asked for a sync: ``spool/checkpoint.py:run`` of our code, ``journal-0-wal`` of SQLite."""
    return step.other or os.path.basename(step.path)


@dataclass
class Outcome:
    """What came of it. faults: of each point where there were any, sentences. syncs: how often each was asked for in the recording."""

    points: int = 0
    whole: int = 0  # of them with the whole service
    answered: int = 0  # 250s before the cuts, all points together
    seconds: float = 0.0
    faults: dict[int, list[str]] = field(default_factory=dict)
    syncs: Counter[str] = field(default_factory=Counter)

    def __str__(self) -> str:
        return (
            f"{self.points} points, {self.whole} of them with the whole service, {self.answered} messages answered before the cuts,"
            f" {len(self.faults)} points with a broken promise, {self.seconds:.0f} s"
        )


def cut(
    recording: Recording,
    folder: str,
    *,
    points: Sequence[int] | int,
    seed: int,
    removed: Callable[[str], bool] = lambda sync: False,
    enough: int = 1 << 30,
) -> Outcome:
    """At so many points, or at these. A point with a fault keeps its folder in ``folder``; the others are removed.

    removed: of each sync, by whom it was asked for (``asked_by``): whether the power is cut for a program that lacks it. The recorded
    program cannot have known the difference. enough: points with faults after which no more are tried.
    """
    begin = time.monotonic()
    steps = list(read(recording.record))
    outcome = Outcome(syncs=Counter(asked_by(step) for step in steps if step.kind == "S"))
    if isinstance(points, int):
        points = choose(steps, points, random.Random(f"{seed} points"))
    with ExitStack() as stack:
        workers: queue.Queue[Worker] = queue.Queue()
        for _ in range(os.cpu_count() or 1):
            workers.put(stack.enter_context(Worker(recording.library, folder)))
        pool = stack.enter_context(ThreadPoolExecutor(workers.qsize()))
        waiting: list[Future[tuple[int, list[str]]]] = []

        def harvest(most: int) -> None:
            while len(waiting) > most:
                point, faults = waiting.pop(0).result()
                if faults:
                    outcome.faults[point] = faults

        for number, (point, disk, books) in enumerate(_at(steps, points, recording, removed)):
            if len(outcome.faults) >= enough:
                break
            one = Point(point, os.path.join(folder, str(point)), random.Random(f"{seed} {point}"))
            one.lay_out(disk, recording)
            whole = number % WHOLE == WHOLE // 2
            outcome.points += 1
            outcome.whole += whole
            outcome.answered += books.answered
            # The books go on being written: what is judged is what they say now.
            judge = books.closed()
            waiting.append(pool.submit(one.judge, judge, workers, whole))
            harvest(2 * workers.qsize())
        harvest(0)
    outcome.seconds = time.monotonic() - begin
    return outcome


def choose(steps: Sequence[Step], count: int, chance: random.Random) -> list[int]:
    """Half of them anywhere, half right behind a moment that matters: something was promised, synced, or got another name."""
    weighty = [number for number, step in enumerate(steps, 1) if step.kind in "MENULCD"]
    chosen = {chance.randint(1, len(steps)) for _ in range(count // 2)}
    while len(chosen) < min(count, len(steps) // 2):
        chosen.add(chance.choice(weighty))
    return sorted(chosen)


def _at(
    steps: Sequence[Step], points: Sequence[int], recording: Recording, removed: Callable[[str], bool]
) -> Iterator[tuple[int, Disk, Books]]:
    """The disk and the books after so many steps, for each of the points, which are in order."""
    disk, books = Disk.empty(recording.queue, recording.spool), Books()
    done = 0
    for point in points:
        for step in steps[done:point]:
            if step.kind == "M":
                books.note(step)
            elif not (step.kind == "S" and removed(asked_by(step))):
                disk.do(step)
        done = point
        yield point, disk, books


class Point:
    """One cut: its folder, in which everything lies as a machine finds it when it is switched on again."""

    def __init__(self, number: int, folder: str, chance: random.Random) -> None:
        self.number = number
        self._chance = chance
        self._inodes: dict[int, int] = {}
        self._server = RecordedServer(folder)

    def lay_out(self, disk: Disk, recording: Recording) -> None:
        owner = pwd.getpwnam(mail_owner())
        then = time.time() - _AGO
        for path, (file, octets) in draw(disk, self._chance).items():
            for top, here in ((recording.queue, self._server.queue), (recording.spool, self._server.spool)):
                if path == top or path.startswith(f"{top}/"):
                    place = f"{here}{path[len(top) :]}"
            if file.folder:
                os.makedirs(place, mode=0o755 if path in (recording.queue, recording.spool) else 0o700, exist_ok=True)
            else:
                Path(place).write_bytes(octets)
                os.chmod(place, 0o600)
                os.utime(place, (then, then))
            if os.geteuid() == 0:
                os.chown(place, owner.pw_uid, owner.pw_gid)
            if disk.files.get(file.number) is file:
                self._inodes[os.stat(place).st_ino] = file.number

    def _move_out_of_the_way(self) -> None:
        """An address of its own for the service that nobody is going to talk to: free ports are not free for long."""
        text = self._server.main_cf.read_text()
        address = f"127.1.{self.number >> 8 & 255}.{self.number & 255}"
        self._server.main_cf.write_text(text.replace("inet_interfaces = 127.0.0.1\n", f"inet_interfaces = {address}\n"))

    def judge(self, books: Books, workers: queue.Queue[Worker], whole: bool) -> tuple[int, list[str]]:
        """The number of the point, and a sentence for each broken promise."""
        server = self._server
        journal = str(server.queue / "lanmail" / "journal-0")
        faults = []
        other_device = self._chance.random() < 0.5
        if whole:
            faults += fetched(server, journal, self._inodes, other_device)
        else:
            worker = workers.get()
            try:
                main_cf, log = str(server.main_cf), str(server.log)
                self._move_out_of_the_way()
                status = worker.run(main_cf, journal, log, self._inodes, other_device=other_device)
            finally:
                workers.put(worker)
            if status:
                faults.append(f"the service ended with status {status}")
        waiting = unsettled(journal)
        if waiting:
            faults.append(f"{waiting} recipients still wait for their mailbox")
        faults += books.faults(str(server.spool), USERS)
        if "Traceback" in server.describe():
            faults.append("the log has a traceback")
        faults += [f"{path.name} was put aside" for path in server.queue.glob("lanmail/mailboxes/*.aside-*")]
        faults += [f"{path.name} is left" for path in server.queue.glob("lanmail/incoming/*")]
        if not faults:
            shutil.rmtree(server.folder)
        return self.number, faults
