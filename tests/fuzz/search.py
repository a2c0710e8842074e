"""Looking for inputs that a target does not bear: seeds, what became of them, and what was found in the end."""

from __future__ import annotations

import random
import time
import traceback
import zlib
from collections.abc import Iterable
from dataclasses import dataclass, field

from tests.fuzz.mutation import Mutator
from tests.fuzz.reached import Reached
from tests.fuzz.target import Target

# Seconds of processor time for one input of 4 KiB, which takes some milliseconds. So much that a loaded machine does not matter.
SLOW = 5.0
_MOST_KEPT = 2000


@dataclass(frozen=True)
class Finding:
    """Something that a target did not bear, and what it said. An error at the same place is the same finding."""

    target: str
    data: bytes
    what: str
    place: str

    def __str__(self) -> str:
        return f"{self.target}: {self.data!r}\n{self.what}"


@dataclass
class Search:
    """One target's. ``run`` it as often as there is time; the same seed and the same calls do the same."""

    target: Target
    seed: int = 0
    executions: int = 0
    findings: dict[str, Finding] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._chance = random.Random(f"{self.seed} {self.target.name}")
        self._mutator = Mutator(self._chance, self.target.words)
        self._reached = Reached()
        self._kept: list[bytes] = []
        for data in (b"", *self.target.seeds):
            self._look(data)
        self._kept = [b"", *self.target.seeds]

    @property
    def kept(self) -> int:
        """Inputs that reached something new."""
        return len(self._kept)

    def run(self, executions: int, seconds: float = float("inf"), *, looking: bool = True) -> None:
        """So many, or for so long. looking: whether new inputs are kept for what they reach, which takes three times as long."""
        end = time.monotonic() + seconds
        for _ in range(executions):
            if time.monotonic() > end:
                return
            one, other = self._chance.choice(self._kept), self._chance.choice(self._kept)
            data = self._mutator.mutant(one, other)
            if looking:
                self._look(data)
            else:
                self.try_one(data)

    def _look(self, data: bytes) -> None:
        with self._reached:
            self.try_one(data)
        if self._reached.new:
            self._kept.append(data)
            if len(self._kept) > _MOST_KEPT:
                del self._kept[self._chance.randrange(len(self._kept))]

    def try_one(self, data: bytes) -> None:
        self.executions += 1
        began = time.process_time()
        try:
            self.target.judge(data)
        except Exception as error:
            at = traceback.extract_tb(error.__traceback__)[-1]
            self._found(
                data, "".join(traceback.format_exception(error)), f"{type(error).__name__} {at.filename}:{at.lineno}"
            )
        took = time.process_time() - began
        if took > SLOW:
            self._found(data, f"{took:.1f} s for {len(data)} octets", "slow")

    def _found(self, data: bytes, what: str, place: str) -> None:
        known = self.findings.get(place)
        if known is None or len(data) < len(known.data):
            self.findings[place] = Finding(self.target.name, data, what, place)


def shorter(target: Target, finding: Finding) -> Finding:
    """The same finding with fewer octets, as far as a few thousand tries go."""
    data, best = finding.data, finding
    step = max(1, len(data) // 2)
    while step:
        at = 0
        while at < len(data):
            tried = Search(Target(target.name, target.judge, ()), zlib.crc32(data))
            tried.findings.clear()
            candidate = data[:at] + data[at + step :]
            tried.try_one(candidate)
            if finding.place in tried.findings:
                data, best = candidate, tried.findings[finding.place]
            else:
                at += step
        step //= 2
    return best


def replay(targets: Iterable[Target], found: dict[str, tuple[bytes, ...]]) -> list[Finding]:
    """What is found again of what was found before."""
    again: list[Finding] = []
    for target in targets:
        search = Search(Target(target.name, target.judge, ()))
        for data in found.get(target.name, ()):
            search.try_one(data)
        again += search.findings.values()
    return again
