"""What is wrong with a configuration: where, how badly, and in whose words."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum


class Severity(Enum):
    """How badly. Only an error keeps the server from starting."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "no effect here"


@dataclass(frozen=True, slots=True)
class Place:
    """Where something was written: a file as it was named to us, and its line counted from 1; 0 where lines make no sense."""

    file: str
    line: int = 0

    def __str__(self) -> str:
        return f"{self.file}:{self.line}" if self.line else self.file


DEFAULT = Place("default")
COMMAND_LINE = Place("-o")


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong. ``text`` says what, and what to do, in the administrator's words; one line."""

    severity: Severity
    place: Place
    text: str

    def __str__(self) -> str:
        return f"{self.place}: {self._printable}"

    @property
    def marked(self) -> str:
        """The same where problems of all severities stand together: a warning says that it is one."""
        mark = "" if self.severity is Severity.ERROR else f"{self.severity.value}: "
        return f"{self.place}: {mark}{self._printable}"

    @property
    def _printable(self) -> str:
        # What was quoted may come from any file: /proc/self/environ, a mailbox, a program.
        return "".join(char if char.isprintable() else repr(char)[1:-1] for char in self.text)


class Unusable(Exception):
    """A configuration with at least one error. ``problems`` holds all of them, the warnings too; str() is their lines."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems if problem.severity is Severity.ERROR))


class BadValue(ValueError):
    """A value that its parameter cannot have; the text says why. Whoever knows the place adds it.

    culprit: the parameter in whose text the trouble stands, where that is known and another than the one being read.
    """

    culprit: str = ""

    @property
    def faults(self) -> tuple[str, ...]:
        """One sentence for each thing that is wrong with it."""
        return (str(self),)


class BadParts(BadValue):
    """A list with wrong parts, each its own fault; told once, and no more than FAULTS of them, since a file named by mistake has many."""

    FAULTS = 20

    def __init__(self, faults: Iterable[str]) -> None:
        found = tuple(dict.fromkeys(faults))
        if len(found) > self.FAULTS:
            found = (*found[: self.FAULTS], f"and {len(found) - self.FAULTS} more like these")
        self._faults = found
        super().__init__("; ".join(found))

    @property
    def faults(self) -> tuple[str, ...]:
        return self._faults
