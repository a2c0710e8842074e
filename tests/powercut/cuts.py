"""The power is cut at many points of a recording; each time the service comes up on what is left, and the promise is looked at."""

from __future__ import annotations

import os
import queue
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field

from tests.powercut.aftermath import Aftermath, Way
from tests.powercut.books import Books
from tests.powercut.disk import Disk
from tests.powercut.load import Recording
from tests.powercut.recorder import Step, read
from tests.powercut.restart import Worker

# Of so many points: in one the service is started as an administrator would, and the mailboxes are looked at through POP3; in three
# the power is cut a second time, while the service comes up. Several workers come up as a whole alone, so then it is every third.
_TURN = 15
_WAYS: dict[int, Way] = {7: "whole", 2: "twice", 5: "twice", 12: "twice"}
_WAYS_OF_SEVERAL: dict[int, Way] = {
    0: "whole",
    3: "whole",
    6: "whole",
    9: "whole",
    13: "whole",
    2: "twice",
    11: "twice",
}

# A service that comes up waits most of the time: for its own checkpoint, mainly.
_AT_ONCE = 4 * (os.cpu_count() or 1)


def asked_by(step: Step) -> str:
    """Who asked for a sync: ``spool/incoming.py:sync`` of our code, ``journal-0-wal`` of SQLite."""
    return step.other or os.path.basename(step.path)


@dataclass
class Outcome:
    """What came of it. faults: of each point where there were any, sentences. syncs: how often each was asked for in the recording."""

    ways: Counter[Way] = field(default_factory=Counter)
    answered: int = 0  # 250s before the cuts, all points together
    seconds: float = 0.0
    faults: dict[int, list[str]] = field(default_factory=dict)
    syncs: Counter[str] = field(default_factory=Counter)

    @property
    def points(self) -> int:
        return self.ways.total()

    def __str__(self) -> str:
        return (
            f"{self.points} points, at {self.ways['twice']} of them cut again while it recovered, at {self.ways['whole']} with the whole"
            f" service, {self.answered} messages answered before the cuts; {len(self.faults)} points with a broken promise;"
            f" {self.seconds:.0f} s"
        )


def cut(
    recording: Recording,
    folder: str,
    *,
    points: Sequence[int] | int,
    seed: int,
    removed: Callable[[Step], bool] = lambda sync: False,
    enough: int = 1 << 30,
    serving: int = 1,
) -> Outcome:
    """At so many points, or at these. A point with a fault keeps its folder in ``folder``; the others are removed.

    removed: of each step that begins a sync: whether the power is cut for a program that lacks it. The recorded program cannot have
    known the difference. The points are then such that it may matter. enough: points with faults after which no more are tried.
    serving: how many workers the service has that comes up as a whole.
    """
    begin = time.monotonic()
    os.makedirs(folder, exist_ok=True)
    steps = list(read(recording.record))
    ways = _WAYS if serving == 1 else _WAYS_OF_SEVERAL
    outcome = Outcome(syncs=Counter(asked_by(step) for step in steps if step.kind == "S"))
    if isinstance(points, int):
        lacking = [at for at, step in enumerate(steps, 1) if step.kind == "S" and removed(step)]
        points = choose(steps, points, random.Random(f"{seed} points"), behind=lacking)
    with ExitStack() as stack:
        workers: queue.Queue[Worker] = queue.Queue()
        for _ in range(_AT_ONCE):
            workers.put(stack.enter_context(Worker(recording.library, folder)))
        pool = stack.enter_context(ThreadPoolExecutor(workers.qsize()))
        waiting: list[tuple[int, Future[list[str]]]] = []

        def harvest(most: int) -> None:
            while len(waiting) > most:
                point, found = waiting.pop(0)
                if faults := found.result():
                    outcome.faults[point] = faults

        for number, (point, disk, books) in enumerate(_at(steps, points, recording, removed)):
            if len(outcome.faults) >= enough:
                break
            aftermath = Aftermath(point, os.path.join(folder, str(point)), random.Random(f"{seed} {point}"), serving)
            aftermath.lay_out(disk, recording.queue, recording.spool)
            way = ways.get(number % _TURN, "once")
            outcome.ways[way] += 1
            outcome.answered += books.answered
            waiting.append((point, pool.submit(aftermath.judge, books.closed(), workers, way)))
            harvest(_AT_ONCE + 2)
        harvest(0)
    outcome.seconds = time.monotonic() - begin
    return outcome


def choose(steps: Sequence[Step], count: int, chance: random.Random, behind: Sequence[int] = ()) -> list[int]:
    """After how many steps the power is cut, in order: half of the points anywhere, half right behind a moment that matters, when
    something was promised, synced, or got another name. behind: two thirds soon after one of these instead, all after the first."""
    weighty = [number for number, step in enumerate(steps, 1) if step.kind in "MENULCD"]

    def one() -> int:
        if behind:
            soon = chance.choice(behind) + chance.choice((1, chance.randint(1, 20), chance.randint(1, 400)))
            return min(len(steps), chance.choice((soon, soon, chance.randint(behind[0], len(steps)))))
        return chance.choice((chance.randint(1, len(steps)), chance.choice(weighty)))

    chosen: set[int] = set()
    for _ in range(3 * count):  # some are drawn twice
        if len(chosen) < count:
            chosen.add(one())
    return sorted(chosen)


def _at(
    steps: Sequence[Step], points: Sequence[int], recording: Recording, removed: Callable[[Step], bool]
) -> Iterator[tuple[int, Disk, Books]]:
    """The disk and the books after so many steps, for each of the points, which are in order."""
    disk, books = Disk.empty(recording.queue, recording.spool), Books()
    done = 0
    for point in points:
        for step in steps[done:point]:
            if step.kind == "M":
                books.note(step)
            elif not (step.kind == "S" and removed(step)):
                disk.do(step)
        done = point
        yield point, disk, books
