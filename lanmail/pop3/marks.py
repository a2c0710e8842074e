"""The letters of an open maildrop by number, and which of them DELE has marked (RFC 1939, 5)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

# A listing goes out in pieces of about so many octets, between which others get their turn: 3 ms for one of LIST.
PIECE = 32 * 1024


class NoSuchLetter(LookupError):
    """The client named a letter that is not there. The text may be shown to it."""


class Marks:
    """Numbers run from 1 and stay what they are; a marked letter is not counted, listed or given out any more.

    octets: the size of each letter; not copied, and must not change.
    """

    def __init__(self, octets: Sequence[int]) -> None:
        self._octets = octets
        self._all_octets = sum(octets)
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
        """LIST's lines, in pieces of about PIECE octets."""
        deleted = self.deleted
        return _pieces(b"%d %d\r\n" % line for line in enumerate(self._octets, 1) if line[0] not in deleted)

    def uid_listing(self, unique_ids: Sequence[str]) -> Iterator[bytes]:
        """UIDL's lines, in pieces of about PIECE octets; ``unique_ids`` of all letters, the marked ones too."""
        deleted = self.deleted
        return _pieces(f"{n} {uid}\r\n".encode("ascii") for n, uid in enumerate(unique_ids, 1) if n not in deleted)


def _pieces(lines: Iterable[bytes]) -> Iterator[bytes]:
    piece: list[bytes] = []
    size = 0
    for line in lines:
        piece.append(line)
        size += len(line)
        if size >= PIECE:
            yield b"".join(piece)
            piece.clear()
            size = 0
    if piece:
        yield b"".join(piece)
