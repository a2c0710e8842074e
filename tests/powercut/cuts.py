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

from tests.powercut.aftermath import Aftermath, Way, choose
from tests.powercut.books import Books
from tests.powercut.disk import Disk
from tests.powercut.load import Recording
from tests.powercut.recorder import Step, read
from tests.powercut.restart import Worker

# Of so many points: in one the service is started as an administrator would, and the mailboxes are looked at through POP3; in three
# the power is cut a second time, while the service comes up.
_TURN = 15
_WAYS: dict[int, Way] = {7: "whole", 2: "twice", 5: "twice", 12: "twice"}


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
        waiting: list[tuple[int, Future[list[str]]]] = []

        def harvest(most: int) -> None:
            while len(waiting) > most:
                point, found = waiting.pop(0)
                if faults := found.result():
                    outcome.faults[point] = faults

        for number, (point, disk, books) in enumerate(_at(steps, points, recording, removed)):
            if len(outcome.faults) >= enough:
                break
            aftermath = Aftermath(point, os.path.join(folder, str(point)), random.Random(f"{seed} {point}"))
            aftermath.lay_out(disk, recording.queue, recording.spool)
            way = _WAYS.get(number % _TURN, "once")
            outcome.ways[way] += 1
            outcome.answered += books.answered
            waiting.append((point, pool.submit(aftermath.judge, books.closed(), workers, way)))
            harvest(2 * (os.cpu_count() or 1))
        harvest(0)
    outcome.seconds = time.monotonic() - begin
    return outcome


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
