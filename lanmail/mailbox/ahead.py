"""Letters that were read together with one that a client fetched, since the next that it asks for is mostly the next one.

A way into a thread costs as much as sending a small letter; a window of the file has sixty of them.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass

from lanmail.mailbox.origin import Origin

# So much of the file is read for the first letter, and then for each that follows the one before: half a millisecond's work.
FIRST = 32 << 10
WINDOW = 256 << 10
# All that is read ahead for all sessions together.
ROOM = 16 << 20


@dataclass(frozen=True, slots=True)
class Whole:
    """A letter as POP3 sends it, whole, and which message it is."""

    text: bytes
    origin: Origin


class Ahead:
    """The letters read ahead for one session, by number; each is given out once."""

    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf
        self._letters: dict[int, Whole] = {}
        self._next = 0
        self._closed = False

    def take(self, number: int) -> Whole | None:
        """None where it was not read ahead."""
        letter = self._letters.pop(number, None)
        if letter is not None:
            self._next = number + 1
        return letter

    def window(self, number: int) -> int:
        """How many octets of the file are worth reading for a client that fetches this letter."""
        return WINDOW if number == self._next else FIRST

    def keep(self, number: int, letters: list[Whole]) -> None:
        """What was read from that letter on, in place of what is left of before."""
        if self._closed:  # while they were read
            return
        self._letters = dict(enumerate(letters, number))
        self._shelf.put(self, sum(len(letter.text) for letter in letters), self.forget)

    def forget(self) -> None:
        """The file has changed, or the room is needed."""
        self._letters = {}

    def close(self) -> None:
        """The session is over."""
        self._closed = True
        self.forget()
        self._shelf.take_off(self)


class Shelf:
    """Bounds what all sessions have read ahead; who has not read for longest loses theirs first. room: octets."""

    def __init__(self, room: int = ROOM) -> None:
        self._room = room
        self._octets = 0
        self._kept: OrderedDict[Hashable, tuple[int, Callable[[], None]]] = OrderedDict()

    def put(self, who: Hashable, octets: int, forget: Callable[[], None]) -> None:
        self.take_off(who)
        self._kept[who] = octets, forget
        self._octets += octets
        while self._octets > self._room:
            _, (freed, forget_theirs) = self._kept.popitem(last=False)
            self._octets -= freed
            forget_theirs()

    def take_off(self, who: Hashable) -> None:
        octets, _ = self._kept.pop(who, (0, None))
        self._octets -= octets
