"""The lines of a passwd-file: ``name:hash``, what they say, and which of them say nothing. No files."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from lanmail.accounts.hashes import USUAL, PasswordHash
from lanmail.accounts.names import SHAPE, is_login_name

_PROBLEMS_TOLD = 20

_USUAL = re.compile(rf"({SHAPE}):{USUAL}(?::|\r?\Z)".encode())
"""A line as ``lanmail passwd`` writes it: nothing is wrong with such a line but, perhaps, its name."""


@dataclass(frozen=True, slots=True)
class Passwords:
    """What the file says. A line is taken apart when somebody asks for it: of fifty thousand few log in before the file changes.

    text: the file's. lines: where in it an account's line begins, by its name in lower case. problems: what is wrong, line by line.
    state: by what one state of the file is told from another.
    """

    text: bytes
    lines: dict[bytes, int]
    problems: tuple[str, ...] = ()
    state: tuple[int, ...] = ()

    def spelled(self, name: str) -> str | None:
        """The name as the file has it; None where nobody has it, in whatever case."""
        found = self._parts(name)
        return None if found is None else found[0]

    def hash_of(self, name: str) -> PasswordHash | None:
        found = self._parts(name)
        return None if found is None else PasswordHash.parse(found[1])

    def names(self) -> Iterator[str]:
        """All of them, in the file's order and spelling."""
        return (_parts(self._line(at))[0] for at in self.lines.values())

    def _parts(self, name: str) -> tuple[str, str] | None:
        at = self.lines.get(name.lower().encode("utf-8", "replace"))
        return None if at is None else _parts(self._line(at))

    def _line(self, at: int) -> str:
        end = self.text.find(b"\n", at)
        return _written(self.text[at:] if end < 0 else self.text[at:end])


def parse(text: bytes, path: str) -> Passwords:
    """What the lines say. A line that says nothing we understand is a problem with its number, and is passed over."""
    lines: dict[bytes, int] = {}
    problems: list[str] = []
    left = at = 0
    for number, line in enumerate(text.split(b"\n"), 1):
        usual = _USUAL.match(line)
        if usual is not None and (key := usual[1].lower()) not in lines and not key.endswith(b".lock"):
            lines[key] = at
        elif (problem := _closely(line, at, lines, path)) is not None and len(problems) < _PROBLEMS_TOLD:
            problems.append(f"{path}:{number}: {problem}")
        elif problem is not None:
            left += 1
        at += len(line) + 1
    if left:
        problems.append(f"{path}: {left} more lines cannot be used")
    return Passwords(text, lines, tuple(problems))


def _closely(line: bytes, at: int, lines: dict[bytes, int], path: str) -> str | None:
    """One that is not as we write them. It is added where it can be used; else the answer is why not, None for a comment."""
    written = _written(line)
    if not written or written.startswith("#"):
        return None
    name, hashed = _parts(written)
    if not is_login_name(name):
        return "what stands before the colon cannot be a login name"
    key = name.lower().encode("ascii")
    if key in lines:
        return f"{name} is there already; the first line counts"
    try:
        PasswordHash.parse(hashed)
    except ValueError as error:
        return f"{error}; set it with: lanmail passwd --file {path} {name}"
    lines[key] = at
    return None


def _written(line: bytes) -> str:
    return line.decode("utf-8", "replace").strip()


def _parts(written: str) -> tuple[str, str]:
    """Name and hash."""
    name, _, rest = written.partition(":")
    return name, rest.partition(":")[0]
