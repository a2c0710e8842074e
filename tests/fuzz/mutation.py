"""Making inputs out of inputs: octets turned, taken out, doubled, and words put in where a grammar has its joints."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

LONGEST = 4096  # octets of an input: what is read in windows has tests of its own

# What programs have stumbled over: ends of lines of every kind, quotes, numbers at the edge of a type, text that is not.
WORDS: tuple[bytes, ...] = (
    *(
        b"\r\n",
        b"\n",
        b"\r",
        b"\0",
        b"\r\n.\r\n",
        b"\n.\n",
        b"\r\n.\n",
        b"\n.\r\n",
        b"\r.\r",
        b".",
        b"\r\n\r\n",
        b"\n\n",
    ),
    *(
        b" ",
        b"\t",
        b'"',
        b"\\",
        b"'",
        b"<",
        b">",
        b"@",
        b":",
        b";",
        b",",
        b"=",
        b"%",
        b"!",
        b"+",
        b"-",
        b"|",
        b"$",
        b"`",
    ),
    *(
        b"(",
        b")",
        b"[",
        b"]",
        b"{",
        b"}",
        b"/",
        b"../",
        b"*",
        b"#",
        b"0",
        b"-1",
        b"1",
        b"255",
        b"256",
        b"65535",
        b"65536",
    ),
    *(
        b"2147483648",
        b"18446744073709551616",
        b"9" * 60,
        b"\xff",
        b"\xfe\xff",
        b"\x80",
        b"\xc3\xa9",
        b"\xc3",
        b"\xed\xa0\x80",
    ),
    *(
        "\u2028".encode(),
        "\u202e".encode(),
        "\u0661".encode(),
        "ß".encode(),
        "ı".encode(),
        b"\x1b[2J",
        b"\x7f",
        b"%s%n",
        b"{0}",
    ),
    *(b"A" * 64, b"x" * 300, b"From ", b"\nFrom ", b">From ", b"\n\nFrom x Mon Jan  1 00:00:00 2024\n"),
)


class Mutator:
    """words: the target's own, which come as often as all of WORDS together."""

    def __init__(self, chance: random.Random, words: Sequence[bytes]) -> None:
        self._chance = chance
        self._words = words
        self._ways: tuple[Callable[[bytearray], None], ...] = (
            *(self._turn, self._put_word, self._put_word, self._put_word, self._take_out, self._double),
            *(self._swap, self._replace_by_word, self._line_twice, self._line_away, self._random_octets, self._cut),
        )

    def mutant(self, one: bytes, other: bytes) -> bytes:
        """One to eight changes to ``one``; sometimes its first part with the last of ``other``."""
        data = bytearray(one)
        if self._chance.random() < 0.15:
            data = data[: self._place(data)] + other[self._place(other) :]
        for _ in range(1 << self._chance.randrange(4)):
            self._chance.choice(self._ways)(data)
        return bytes(data[:LONGEST])

    def _place(self, data: bytes | bytearray) -> int:
        return self._chance.randint(0, len(data))

    def _piece(self, data: bytearray) -> slice:
        begin = self._place(data)
        return slice(begin, begin + self._chance.choice((1, 1, 2, 3, 4, 8, 20, 100)))

    def _word(self) -> bytes:
        return self._chance.choice(self._words if self._words and self._chance.random() < 0.5 else WORDS)

    def _turn(self, data: bytearray) -> None:
        if data:
            data[self._chance.randrange(len(data))] ^= 1 << self._chance.randrange(8)

    def _put_word(self, data: bytearray) -> None:
        at = self._place(data)
        data[at:at] = self._word()

    def _replace_by_word(self, data: bytearray) -> None:
        word = self._word()
        at = self._place(data)
        data[at : at + len(word)] = word

    def _take_out(self, data: bytearray) -> None:
        del data[self._piece(data)]

    def _double(self, data: bytearray) -> None:
        piece = data[self._piece(data)]
        at = self._place(data)
        data[at:at] = piece * self._chance.choice((1, 1, 2, 10))

    def _swap(self, data: bytearray) -> None:
        piece = self._piece(data)
        taken = data[piece]
        del data[piece]
        at = self._place(data)
        data[at:at] = taken

    def _random_octets(self, data: bytearray) -> None:
        at = self._place(data)
        data[at:at] = self._chance.randbytes(self._chance.choice((1, 2, 4, 16)))

    def _cut(self, data: bytearray) -> None:
        del data[self._place(data) :]

    def _lines(self, data: bytearray) -> tuple[list[bytes], int]:
        lines = bytes(data).split(b"\n")
        return lines, self._chance.randrange(len(lines))

    def _line_twice(self, data: bytearray) -> None:
        lines, at = self._lines(data)
        lines.insert(self._chance.randint(0, len(lines)), lines[at])
        data[:] = b"\n".join(lines)

    def _line_away(self, data: bytearray) -> None:
        lines, at = self._lines(data)
        del lines[at]
        data[:] = b"\n".join(lines)
