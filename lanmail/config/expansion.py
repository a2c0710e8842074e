"""What stands behind a ``$`` in a main.cf: names, conditions and comparisons, as Postfix's mac_expand(3) reads them. Pure text.

``$name`` ``$(name)`` ``${name}``; ``${name?text}`` where the value is not empty, ``${name:text}`` where it is;
``${name?{text}:{text}}``; ``${{text} == {text} ? {text} : {text}}`` with == != < <= >= >, each also with ``level`` behind it,
for releases; ``$$`` is a dollar sign. A backslash is a character like any other.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from typing import Any

from lanmail.config.problems import BadValue
from lanmail.config.syntax import SPACE

Lookup = Callable[[str], str | None]
"""Gives the value of a name as it was written, not expanded; None where nobody declared it."""

# Postfix stops at 100 nested references, and Python not long after; 50 is more than anybody has written by hand.
MAX_DEPTH = 50
# Ten names, each of ten times the next, are 10^10 octets: reading them again and again has to end somewhere. In characters.
MAX_READ = 4 * 1024 * 1024

_NAME = re.compile(r"[A-Za-z0-9_]*")
_SPACES = re.compile(f"[{SPACE}]*")
_OPERATOR = re.compile(r"(?P<sign>[<>!=]*)(?P<suffix>[A-Za-z0-9]*)")
_COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">=": operator.ge,
    ">": operator.gt,
}
_LEVEL = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9}){0,2}\Z")


class Undefined(BadValue):
    """A reference to a name that nobody declared. ``name`` says which."""

    def __init__(self, name: str) -> None:
        super().__init__(f"${name} is nothing that was declared")
        self.name = name


def expand(text: str, lookup: Lookup, name: str = "") -> str:
    """The text with every reference replaced, and what is in the values too. ``name``: whose value the text is.

    Raises Undefined, and BadValue for a reference that leads to itself, that is not closed, or that makes no sense.
    """
    return _Expansion(lookup).of(text, (name,) if name else ())


def references(text: str) -> set[str]:
    """Every name that a text refers to, in whatever condition. Never raises: what it cannot read refers to nothing."""
    found: set[str] = set()
    remaining = [text]
    while remaining:
        try:
            for is_reference, piece in _pieces(remaining.pop()):
                if not is_reference:
                    continue
                if match := re.match(rf"[{SPACE}]*([A-Za-z0-9_]+)", piece):
                    found.add(match[1])
                if "$" in piece:
                    remaining.append(piece)
        except BadValue:
            continue
    return found


def _pieces(text: str) -> list[tuple[bool, str]]:
    """The literal pieces of a text (False, ...) and its references (True, what is between the braces)."""
    found: list[tuple[bool, str]] = []
    position = 0
    while (dollar := text.find("$", position)) >= 0:
        found.append((False, text[position:dollar]))
        position = dollar + 1
        opening = text[position : position + 1]
        if opening == "$":
            found.append((False, "$"))
            position += 1
        elif opening in ("{", "("):
            end = _closing(text, position)
            found.append((True, text[position + 1 : end]))
            position = end + 1
        else:
            name = _NAME.match(text, position)
            assert name is not None
            if not name[0]:
                raise BadValue("a $ without a name behind it; $$ is a dollar sign")
            found.append((True, name[0]))
            position = name.end()
    found.append((False, text[position:]))
    return found


def _closing(text: str, start: int) -> int:
    """Where the brace or parenthesis at ``start`` is closed; those within it are counted."""
    opening = text[start]
    closing = "}" if opening == "{" else ")"
    depth = 0
    for position in range(start, len(text)):
        if text[position] == opening:
            depth += 1
        elif text[position] == closing:
            depth -= 1
            if depth == 0:
                return position
    raise BadValue(f"a {opening} that is never closed: {text[start : start + 40]!r}")


def _circle(names: tuple[str, ...]) -> BadValue:
    """The same words, wherever in the circle one began."""
    first = names.index(min(names))
    names = names[first:] + names[:first]
    bad = BadValue(f"${names[0]} leads to itself: {' -> '.join((*names, names[0]))}")
    bad.culprit = names[0]
    return bad


class _Expansion:
    """One expansion, and how much it has read so far."""

    def __init__(self, lookup: Lookup) -> None:
        self._lookup = lookup
        self._read = 0

    def of(self, text: str, within: tuple[str, ...], depth: int = 0) -> str:
        """``within`` are the names on the way here: one of them again would never end."""
        self._read += len(text) + 1
        if depth > MAX_DEPTH or self._read > MAX_READ:
            raise BadValue("references upon references, without an end in sight")
        return "".join(
            self._reference(piece, within, depth + 1) if is_reference else piece
            for is_reference, piece in _pieces(text)
        )

    def _reference(self, inner: str, within: tuple[str, ...], depth: int) -> str:
        position = _spaces(inner, 0)
        if inner.startswith("{", position):
            truth, position = self._comparison(inner, position, within, depth)
            if position == len(inner):
                # mac_expand(3) gives a bare comparison such a value.
                return "true" if truth else ""
            if inner[position] not in "?:":
                raise BadValue(f"? or : expected before {inner[position:]!r}")
            return self._chosen(inner, position, truth, within, depth)
        match = _NAME.match(inner, position)
        assert match is not None
        name, position = match[0], _spaces(inner, match.end())
        if not name:
            raise BadValue(f"${{{inner}}} has no name in it")
        if position == len(inner):
            value = self._value(name, within, depth)
            if value is None:
                raise Undefined(name)
            return value
        if inner[position] not in "?:":
            raise BadValue(f"? or : expected before {inner[position:]!r} in ${{{inner}}}")
        # Postfix looks only whether there is something written, not what it comes to (${stress?...}, where stress = $x).
        return self._chosen(inner, position, bool(self._lookup(name)), within, depth)

    def _value(self, name: str, within: tuple[str, ...], depth: int) -> str | None:
        if name in within:
            raise _circle(within[within.index(name) :])
        written = self._lookup(name)
        if written is None:
            return None
        try:
            return self.of(written, (*within, name), depth)
        except BadValue as bad:
            bad.culprit = bad.culprit or name
            raise

    def _chosen(self, inner: str, position: int, truth: bool, within: tuple[str, ...], depth: int) -> str:
        """The text behind ``?`` or behind ``:``, whichever holds; ``position`` is at the first of them."""
        yes = no = ""
        if inner[position] == "?":
            yes, position = _operand(inner, position + 1)
            if position < len(inner) and inner[position] != ":":
                raise BadValue(f": expected before {inner[position:]!r}")
        if position < len(inner):
            no, position = _operand(inner, position + 1)
        if position < len(inner):
            raise BadValue(f"nothing expected where {inner[position:]!r} stands")
        return self.of(yes if truth else no, within, depth)

    def _comparison(self, inner: str, position: int, within: tuple[str, ...], depth: int) -> tuple[bool, int]:
        left, position = _braced(inner, position)
        match = _OPERATOR.match(inner, position)
        assert match is not None
        compare = _COMPARISONS.get(match["sign"])
        if compare is None:
            raise BadValue(f"one of {' '.join(_COMPARISONS)} expected before {inner[position:]!r}")
        if match["suffix"] not in ("", "level"):
            raise BadValue(f"{match[0]} is no comparison; {match['sign']}level is")
        position = _spaces(inner, match.end())
        if not inner.startswith("{", position):
            raise BadValue(f"a {{ expected before {inner[position:]!r}")
        right, position = _braced(inner, position)
        sides = self.of(left, within, depth), self.of(right, within, depth)
        if match["suffix"]:
            return compare(*(_level(side) for side in sides)), position
        if all(side.isascii() and side.isdigit() for side in sides):
            return compare(*(_quantity(side) for side in sides)), position
        return compare(*sides), position


def _spaces(text: str, position: int) -> int:
    match = _SPACES.match(text, position)
    assert match is not None
    return match.end()


def _braced(text: str, position: int) -> tuple[str, int]:
    """What is between the braces that open at ``position``, and where the text goes on behind them and any white space."""
    end = _closing(text, position)
    return text[position + 1 : end], _spaces(text, end + 1)


def _operand(text: str, position: int) -> tuple[str, int]:
    """What stands behind ``?`` or ``:``: text in braces, or else everything to the end."""
    after = _spaces(text, position)
    if text.startswith("{", after):
        return _braced(text, after)
    return text[position:], len(text)


def _quantity(digits: str) -> tuple[int, str]:
    """Compares as the number does, however many digits there are."""
    bare = digits.lstrip("0")
    return len(bare), bare


def _level(text: str) -> tuple[int, int, int]:
    """A release as compatibility_level writes it, ``3.6`` or ``3``."""
    if not _LEVEL.match(text):
        raise BadValue(f"{text!r} is no compatibility level, such as 3.6")
    major, minor, patch = (*(int(part) for part in text.split(".")), 0, 0)[:3]
    return major, minor, patch
