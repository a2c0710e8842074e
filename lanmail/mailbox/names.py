"""The names of all letters of a mailbox, kept as UIDL lists them: a line is 37 octets, and a text of Python's own 81."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain
from typing import overload

# So many lines are made in one stroke: enough that the stroke costs little, and few enough for a GIL that others wait for.
_STROKE = 4096


class Names(Sequence[str]):
    """lines: ``b"1 NAME\\r\\n2 NAME\\r\\n"``, the body of an answer to UIDL. As a sequence: the names, of letter 1 first."""

    def __init__(self, lines: bytes) -> None:
        self.lines = lines
        self._apart: list[bytes] | None = None

    @classmethod
    def of(cls, names: Sequence[str]) -> Names:
        """names: ASCII, and no spaces in them."""
        return cls(numbered(names).encode("ascii"))

    def __len__(self) -> int:
        return len(self._lines_apart)

    @overload
    def __getitem__(self, at: int) -> str: ...
    @overload
    def __getitem__(self, at: slice) -> Sequence[str]: ...
    def __getitem__(self, at: int | slice) -> str | Sequence[str]:
        if isinstance(at, slice):
            return [_name(line) for line in self._lines_apart[at]]
        return _name(self._lines_apart[at])

    def __eq__(self, other: object) -> bool:
        """Also with a list of names."""
        return (
            list(self) == other if isinstance(other, list) else isinstance(other, Names) and self.lines == other.lines
        )

    __hash__ = None  # type: ignore[assignment]

    @property
    def _lines_apart(self) -> list[bytes]:
        if self._apart is None:
            self._apart = self.lines.splitlines()
        return self._apart


def _name(line: bytes) -> str:
    return line[line.index(b" ") + 1 :].decode("ascii")


def numbered(words: Iterable[object]) -> str:
    """A line for each of the words, with its number before it."""
    words = list(words)
    return "".join(
        "%d %s\r\n" * len(some) % tuple(chain.from_iterable(enumerate(some, 1 + at)))
        for at in range(0, len(words), _STROKE)
        if (some := words[at : at + _STROKE])
    )
