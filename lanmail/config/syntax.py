"""Postfix's grammar for files: logical lines, ``name = value``, lists, references to tables. Pure text.

The rules are those of postconf(5) and of Postfix's readlline(3) and split_nameval(3), whose oddities are kept: a main.cf
that works there means the same here. What stands behind a ``$`` is expansion.py's.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from lanmail.config.problems import COMMAND_LINE, BadValue, Place, Problem, Severity

# isspace(3) in the C locale, which is what Postfix means by white space; str.split() would also cut at U+00A0 and more.
SPACE = " \t\n\v\f\r"
_SPACES = re.compile(rf"[{SPACE}]+")
_ASSIGNMENT = re.compile(rf"(?P<name>[^{SPACE}=]+)[{SPACE}]*=(?P<value>.*)\Z", re.DOTALL)
_TABLE = re.compile(r"(?P<type>[a-z][a-z0-9_]*):(?P<name>.*)\Z", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Assignment:
    """``name = value``, the value as written: joined lines, nothing expanded, no white space around it."""

    name: str
    value: str
    place: Place


def decoded(data: bytes) -> str:
    """The text of a file: UTF-8, or line by line Latin-1 where a line is not (comments of twenty years ago)."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return "\n".join(_decoded_line(line) for line in data.split(b"\n"))


def _decoded_line(line: bytes) -> str:
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError:
        return line.decode("latin-1")


def logical_lines(text: str) -> Iterator[tuple[int, str]]:
    """The logical lines of a file, each with the number of its first line; white space at its start is an error of whoever wrote it.

    A line that begins with white space continues the one before, the line end between them removed and nothing put in
    its place. Comments and blank lines are passed over wherever they stand, within a continued line too.
    """
    first = 0
    pieces: list[str] = []
    for number, line in enumerate(text.split("\n"), start=1):
        bare = line.strip(SPACE)
        if not bare or bare.startswith("#"):
            continue
        if pieces and line[0] in SPACE:
            pieces.append(line)
            continue
        if pieces:
            yield first, "".join(pieces)
        first, pieces = number, [line]
    if pieces:
        yield first, "".join(pieces)


def parse(data: str | bytes, file: str) -> tuple[list[Assignment], list[Problem]]:
    """All assignments of a main.cf in its order, and what is wrong with its lines. ``file`` is what the places call it.

    One name may come several times: the last counts, whatever is done about the others is the caller's.
    """
    text = data if isinstance(data, str) else decoded(data)
    found: list[Assignment] = []
    problems: list[Problem] = []
    for number, line in logical_lines(text):
        place = Place(file, number)
        try:
            found.append(Assignment(*_split(line), place))
        except BadValue as bad:
            problems.append(Problem(Severity.ERROR, place, str(bad)))
    return found, problems


def parse_override(text: str) -> Assignment:
    """What ``-o`` was given. BadValue where it is not ``name=value``."""
    return Assignment(*_split(text), COMMAND_LINE)


def _split(line: str) -> tuple[str, str]:
    if line[:1] and line[0] in SPACE:
        raise BadValue(f"a line that continues nothing: {_start(line)}")
    if "\0" in line:
        raise BadValue("a NUL in the text; is this a main.cf?")
    match = _ASSIGNMENT.match(line)
    if match is None:
        missing = "the name before =" if line.startswith("=") else "the = after the name"
        raise BadValue(f"{missing} is missing: {_start(line)}")
    return match["name"], match["value"].strip(SPACE)


def _start(line: str) -> str:
    bare = line.strip(SPACE)
    return repr(bare if len(bare) <= 40 else bare[:40] + "...")


def words(text: str) -> list[str]:
    """A list, separated by commas, white space, or both. Text in braces stays together, as in ``{ a, b }``."""
    found: list[str] = []
    word = ""
    depth = 0
    for char in text:
        if depth == 0 and (char in SPACE or char == ","):
            if word:
                found.append(word)
            word = ""
            continue
        depth += {"{": 1, "}": -1}.get(char, 0)
        depth = max(depth, 0)
        word += char
    return [*found, word] if word else found


def normalised(text: str) -> str:
    """A list with its separators made alike, so that two ways of writing it compare equal."""
    return " ".join(words(text))


@dataclass(frozen=True, slots=True)
class TableReference:
    """``type:name`` as in ``hash:/etc/aliases``."""

    type: str
    name: str

    def __str__(self) -> str:
        return f"{self.type}:{self.name}"


def table_reference(word: str) -> TableReference | None:
    """The reference that a word is, None where it is none. ``proxy:`` says only which program reads the table, and goes."""
    match = _TABLE.match(word.removeprefix("proxy:"))
    return TableReference(match["type"], match["name"]) if match else None


def table_entries(data: bytes) -> Iterator[tuple[int, str, str]]:
    """The entries of a table's text (postmap(1)): number of the line, key, value. A line without a value gives an empty one."""
    for number, line in logical_lines(decoded(data)):
        key, *value = _SPACES.split(line.strip(SPACE), 1)
        yield number, key, value[0] if value else ""
