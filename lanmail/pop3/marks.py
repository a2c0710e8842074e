"""The letters of an open maildrop by number, and which of them DELE has marked (RFC 1939, 5)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain

# A listing goes out in pieces of about so many octets, between which others get their turn.
PIECE = 32 * 1024
# So many lines are made in one stroke; of the longest names they are little more than PIECE.
_STROKE = 500


class NoSuchLetter(LookupError):
    """The client named a letter that is not there. The text may be shown to it."""


class Marks:
    """Numbers run from 1 and stay what they are; a marked letter is not counted, listed or given out any more.

    octets: the size of each letter; not copied, and must not change. total: of all of them, where somebody has added them up.
    """

    def __init__(self, octets: Sequence[int], total: int | None = None) -> None:
        self._octets = octets
        self._all_octets = sum(octets) if total is None else total
        self.reset()

    def reset(self) -> None:
        """RSET: nothing is marked, nothing was read."""
        self.deleted: set[int] = set()
        self.count = len(self._octets)
        self.total = self._all_octets
        self.highest = 0  # what LAST says

    def number(self, argument: bytes) -> int:
        """The letter that a client means. Raises NoSuchLetter."""
        # Digits and nothing else: int() would also take +1, 1_0 and what other scripts call digits.
        if not argument.isdigit():
            raise NoSuchLetter("That is not the number of a message")
        number = int(argument)
        if not 1 <= number <= len(self._octets):
            raise NoSuchLetter("No such message")
        if number in self.deleted:
            raise NoSuchLetter("That message is deleted")
        return number

    def size(self, number: int) -> int:
        return self._octets[number - 1]

    def delete(self, number: int) -> None:
        self.deleted.add(number)
        self.count -= 1
        self.total -= self.size(number)
        self.accessed(number)

    def accessed(self, number: int) -> None:
        self.highest = max(self.highest, number)

    def scan_listing(self) -> Iterator[bytes]:
        """LIST's lines, in pieces of at most about PIECE octets."""
        return self._listing(self._octets)

    def uid_listing(self, unique_ids: Sequence[str]) -> Iterator[bytes]:
        """UIDL's lines, in pieces of about PIECE octets; ``unique_ids`` of all letters, the marked ones too."""
        # Where whoever named the letters wrote the lines too, and nothing is marked, they are these.
        lines: bytes | None = getattr(unique_ids, "lines", None)
        if lines is None or self.deleted:
            return self._listing(unique_ids)
        return (lines[at : at + PIECE] for at in range(0, len(lines), PIECE))

    def _listing(self, words: Sequence[object]) -> Iterator[bytes]:
        deleted = self.deleted
        for at in range(0, len(words), _STROKE):
            lines = [*enumerate(words[at : at + _STROKE], at + 1)]
            if deleted:
                lines = [line for line in lines if line[0] not in deleted]
            yield ("%d %s\r\n" * len(lines) % tuple(chain.from_iterable(lines))).encode("ascii")
