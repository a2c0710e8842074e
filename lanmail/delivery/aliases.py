"""The alias files (aliases(5)): one name, many readers. docs/aliases.md says what is understood of them.

Read whole, and used as it was read until a file changes. What is wrong in a line is a warning with its place; the other
lines count.
"""

from __future__ import annotations

import errno
import os
import stat
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from lanmail.config.syntax import decoded, logical_lines
from lanmail.delivery.alias_syntax import Member, Target, parted, targets
from lanmail.files import Open, Signature, is_there, look, open_plainly, passes, signature_of
from lanmail.interfaces import Report

MAX_FILE = 4 << 20
"""Octets that are read of one file; an alias file of a large school has some 100 KiB."""
MAX_MEMBERS = 10_000
"""Members of one alias, included files counted."""
MAX_INCLUDES = 10
"""How deep included files include each other."""
_LOOK_EVERY = 1.0  # seconds


@dataclass(frozen=True, slots=True)
class Alias:
    """One name's line.

    discards: ``/dev/null`` is among its targets. unusable: a file or a program is, which we do not deliver to.
    incomplete: a file that it includes could not be read.
    """

    name: str
    members: tuple[Member, ...]
    discards: bool = False
    unusable: bool = False
    incomplete: bool = False


class Aliases:
    """What the alias files say, read again when one of them, or a file that they include, changes.

    paths: of the text files (``alias_maps`` without its ``hash:``); the first that knows a name decides. A missing file is a warning.
    report: for warnings, ``file:line: …``. clock: monotonic seconds; the files are looked at no more than once a second.
    opened: how they are opened, and those that they include.
    """

    def __init__(
        self, paths: Sequence[str], report: Report, clock: Callable[[], float], *, opened: Open = open_plainly
    ) -> None:
        self._paths = tuple(paths)
        self._report = report
        self._clock = clock
        self._open = opened
        self._mutex = threading.Lock()
        self._looked: float | None = None
        self._signatures: dict[str, Signature] | None = None
        self._table: dict[str, Alias] = {}
        self._in_doubt = False
        self._told = ""

    def find(self, name: str) -> Alias | None:
        """By the local part as it is meant, in any case. Never blocks."""
        return self._table.get(name.casefold())

    def owner(self, name: str) -> Alias | None:
        """``owner-name``, to whom reports about mail to ``name`` go (aliases(5)). Never blocks."""
        return self._table.get(f"owner-{name}".casefold())

    def missing(self) -> frozenset[str]:
        """Those of the files that the last reading could not have. Never blocks."""
        found = self._signatures or {}
        return frozenset(path for path in self._paths if not is_there(found.get(path, ())))

    def due(self) -> bool:
        """Whether it is time to look at the files again. Never blocks.

        Before the first reading is done, whoever asks waits for it: without it every alias would be nobody, for good.
        """
        return self._signatures is None or self._looked is None or self._clock() - self._looked >= _LOOK_EVERY

    def refresh(self) -> None:
        """Look at the files, and read them where they changed. Blocks; call it in a thread. Never raises."""
        with self._mutex:
            self._looked = self._clock()
            before = self._signatures
            try:
                if before is not None and not self._changed(before):
                    return
                reading = _Reading(self._report, self._open, patient=before is not None)
                for path in self._paths:
                    reading.read(path)
            except _NotNow as trouble:
                self._tell(f"{trouble}; the aliases stay as they were before")
                return
            reading.warn_of_loops()
            self._signatures = reading.signatures
            self._table = reading.table
            self._told = ""

    def _changed(self, before: dict[str, Signature]) -> bool:
        now = {path: self._look(path) for path in before}
        # An editor that writes a file anew moves it away or empties it first. Whoever looked just then would refuse, for good,
        # mail to every alias; so what is gone counts only where it still is at the next look.
        gone = any(_filled(before[path]) and not _filled(found) for path, found in now.items())
        self._in_doubt = gone and not self._in_doubt
        return now != before and not self._in_doubt

    def _look(self, path: str) -> Signature:
        try:
            return look(path, self._open)
        except OSError as error:
            if path in self._paths:
                raise _NotNow(f"cannot read {path}: {error.strerror}") from error
            return (
                errno.EIO,
            )  # the alias that includes it will be incomplete, which is the same for its mail, and for no other's

    def _tell(self, trouble: str) -> None:
        """Once for each."""
        if trouble != self._told:
            self._report("warning: alias_maps: {trouble}", trouble=trouble)
        self._told = trouble


class _NotNow(Exception):
    """A file cannot be had at the moment, which says nothing of what is in it. Taken for the truth, it would refuse mail for good."""


class _Reading:
    """One reading of all files. patient: whether there is an older one to go on with where a file cannot be had now; then _NotNow."""

    def __init__(self, report: Report, opened: Open, *, patient: bool) -> None:
        self._report = report
        self._open = opened
        self._patient = patient
        self.table: dict[str, Alias] = {}
        self.signatures: dict[str, Signature] = {}

    def read(self, path: str) -> None:
        for number, line in logical_lines(self.text_of(path, path) or ""):
            place = f"{path}:{number}"
            try:
                name, list_of_targets = parted(line)
            except ValueError as reason:
                self.warn(place, str(reason))
                continue
            if name in self.table:
                self.warn(place, f'"{name}" is there already; the first one counts')
                continue
            gathering = _Gathering(self, place)
            gathering.take(list_of_targets)
            self.table[name] = gathering.alias(name)

    def warn_of_loops(self) -> None:
        """Aliases that lead back to themselves over others. (``ann: ann, bob`` is no loop: it means her own mailbox.)"""
        done: set[str] = set()
        for start in self.table:
            trail: list[tuple[str, Iterator[str]]] = [(start, self._next_names(start))]
            on_trail = {start}
            while trail:
                name, following = trail[-1]
                after = next(following, None)
                if after is None:
                    trail.pop()
                    on_trail.discard(name)
                    done.add(name)
                elif after in on_trail and after != name:
                    names = [step for step, _ in trail]
                    loop = " leads to ".join([*names[names.index(after) :], after])
                    self.warn("aliases", f"a loop: {loop}")
                elif after not in done and after not in on_trail:
                    trail.append((after, self._next_names(after)))
                    on_trail.add(after)

    def _next_names(self, name: str) -> Iterator[str]:
        members = self.table[name].members
        keys = (member.address.local.casefold() for member in members if not (member.verbatim or member.address.domain))
        return (key for key in keys if key in self.table)

    def text_of(self, path: str, place: str, *, included: bool = False) -> str | None:
        """A file's text; None, after a warning, where it cannot be had."""
        try:
            fd = self._open(path)
            try:
                found = os.fstat(fd)
                # Of what was opened: a file that is put in its place now is another at the next look.
                self.signatures[path] = signature_of(found)
                if not stat.S_ISREG(found.st_mode):
                    self.warn(place, f"{path} is not a file")
                    return None
                # Included files are often a user's own, who may put a link to /etc/shadow there and read the warnings about its
                # lines. Postfix reads them as nobody.
                if included and not found.st_mode & stat.S_IROTH:
                    self.warn(
                        place, f"{path} is not for everybody to read, so it is not read here; chmod o+r makes it so"
                    )
                    return None
                octets = _read(fd, MAX_FILE + 1)
            finally:
                os.close(fd)
        except OSError as error:
            self.signatures[path] = (error.errno or errno.EINVAL,)
            if self._patient and passes(error) and not included:
                raise _NotNow(f"cannot read {path}: {error.strerror}") from error
            self.warn(place, f"cannot read {path}: {error.strerror}")
            return None
        if len(octets) > MAX_FILE:
            self.warn(place, f"{path} has more than {MAX_FILE} octets; what lies behind them is left out")
            octets = octets[:MAX_FILE].rpartition(b"\n")[0]
        return decoded(octets).removeprefix("\ufeff")

    def warn(self, place: str, what: str) -> None:
        self._report("warning: {place}: {what}", place=place, what=what)


class _Gathering:
    """The right side of one alias, and of the files that it includes."""

    def __init__(self, reading: _Reading, place: str) -> None:
        self._reading = reading
        self._place = place
        self._members: dict[Member, None] = {}
        self._including: list[str] = []
        self._discards = self._unusable = self._incomplete = False

    def alias(self, name: str) -> Alias:
        if not (self._members or self._discards or self._unusable or self._incomplete):
            self._reading.warn(self._place, f'"{name}" has no members')
        return Alias(name, tuple(self._members), self._discards, self._unusable, self._incomplete)

    def take(self, text: str, place: str = "") -> None:
        place = place or self._place
        try:
            for target in targets(text):
                try:
                    self._take_one(target, place)
                except ValueError as reason:
                    self._reading.warn(place, f"{target.text}: {reason}")
        except ValueError as reason:
            self._reading.warn(place, str(reason))

    def _take_one(self, target: Target, place: str) -> None:
        if target.text == "/dev/null":
            self._discards = True
        elif target.text.startswith(("/", "|")):
            self._unusable = True
            kind = "a file" if target.text.startswith("/") else "a program"
            raise ValueError(f"mail is not delivered to {kind}; mail for this alias is refused")
        elif target.text.startswith(":include:"):
            self._include(target.text.removeprefix(":include:"), place)
        elif len(self._members) >= MAX_MEMBERS:
            raise ValueError(f"left out, as an alias has at most {MAX_MEMBERS} members")
        else:
            self._members[target.member()] = None

    def _include(self, path: str, place: str) -> None:
        if not path.startswith("/"):
            raise ValueError("a file is included by its whole path")
        if path in self._including or len(self._including) >= MAX_INCLUDES:
            raise ValueError("this file includes itself, or files too deep")
        text = self._reading.text_of(path, place, included=True)
        if text is None:
            self._incomplete = True
            return
        self._including.append(path)
        for number, line in enumerate(text.split("\n"), 1):
            if not line.lstrip().startswith("#"):
                self.take(line, f"{path}:{number}")
        self._including.pop()


def _filled(signature: Signature) -> bool:
    return is_there(signature) and signature[2] > 0


def _read(fd: int, most: int) -> bytes:
    """So many octets, or all. OSError."""
    pieces: list[bytes] = []
    while most and (piece := os.read(fd, most)):
        pieces.append(piece)
        most -= len(piece)
    return b"".join(pieces)
