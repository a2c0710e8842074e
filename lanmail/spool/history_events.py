"""What can be told of a message, and how one event lies in the history's database. Pure functions, no files.

An event is a kind and a few facts, each a text or a number. FACTS says which: whoever tells one may look there, and tests do.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from lanmail.address import canonical_domain

Fact = str | float

# The columns of the table `event` behind id, queue, kind and at.
COLUMNS = ("user", "name", "other", "text", "number")
_USER, _NAME, _OTHER, _TEXT, _NUMBER = range(5)

# Which fact lies in which column. The order is the number that the kind has in the database: new ones go to the end.
_PLACES: dict[str, dict[str, int]] = {
    "recipient": {"user": _USER, "original": _NAME, "delivered_to": _OTHER, "rule": _TEXT},
    "discarded": {"original": _NAME},
    "delivered": {"user": _USER, "recipient": _NAME, "delay": _NUMBER},
    "deferred": {"user": _USER, "recipient": _NAME, "status": _TEXT, "wait": _NUMBER},
    "failed": {"recipient": _NAME, "status": _TEXT},
    "reported": {"what": _TEXT, "to": _NAME, "report": _OTHER},
    "held": {"by": _NUMBER},
    "released": {"by": _NUMBER},
    "requeued": {"by": _NUMBER},
    "deleted": {"by": _NUMBER},
    # message_id: only of a letter whose queue id is not known
    "fetched": {"user": _USER, "message_id": _NAME, "client": _OTHER, "uidl": _TEXT, "octets": _NUMBER},
    "expunged": {"user": _USER, "message_id": _NAME, "client": _OTHER, "uidl": _TEXT},
    "duplicate": {"user": _USER},
}
# These two have tables of their own, whose columns are their facts.
RECEIVED = ("sender", "client", "helo", "login", "protocol", "size", "message_id", "tls")
REFUSED = ("client", "helo", "sender", "recipient", "status")

FACTS: Mapping[str, tuple[str, ...]] = {
    "received": RECEIVED,
    "refused": REFUSED,
    **{kind: tuple(places) for kind, places in _PLACES.items()},
}
"""The facts of each kind. Any may be left out; others are not kept."""
KINDS = tuple(FACTS)

NUMBERS: Mapping[str, int] = {kind: number for number, kind in enumerate(_PLACES)}
"""What each kind but the first two is called in the database."""
_KINDS = tuple(_PLACES)
# By what a message can be asked for, besides its queue id.
_NAMES = frozenset(("sender", "login", "message_id", "original", "delivered_to", "user", "recipient", "to"))
_KEYED = {kind: tuple(fact for fact in facts if fact in _NAMES) for kind, facts in FACTS.items()}
# The fact of each column; None where the kind has none.
_IN_ORDER = {
    kind: tuple({column: fact for fact, column in places.items()}.get(at) for at in range(len(COLUMNS)))
    for kind, places in _PLACES.items()
}

LONGEST = 1000
"""Characters of a text that are kept: Message-IDs and ENVIDs are the sender's, and may be longer than anybody reads."""

_INTEGER = 1 << 63  # what SQLite calls one
_QUEUE_ID = re.compile(r"[0-9A-F]{10}\Z")


def queue_number(queue_id: str) -> int | None:
    """A queue id as it is kept; None for the empty one, and for what is none of ours."""
    return int(queue_id, 16) if _QUEUE_ID.match(queue_id) else None


def queue_id_of(number: int) -> str:
    """The other way."""
    return f"{number:010X}"


def kept(text: str) -> str:
    """A text as it is kept: no longer than LONGEST, and without what UTF-8 cannot say."""
    text = text[:LONGEST]
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


@lru_cache(maxsize=4096)
def folded(name: str) -> str:
    """What two spellings of one address, user or Message-ID have in common: without case and brackets, a domain as Address has it."""
    bare = name[1:-1] if name.startswith("<") and name.endswith(">") else name
    local, at, domain = bare.rpartition("@")
    if at and not domain.isascii():
        try:
            bare = f"{local}@{canonical_domain(domain)}"
        except ValueError:
            pass
    return kept(bare.casefold())


@lru_cache(maxsize=4096)
def key_of(name: str) -> int:
    """Where a name stands in the register of the history: 32 bits, so that a row of it is small.

    Names that share a number by chance, or because somebody sought them, are told apart when they are read (``Event.names``).
    """
    return zlib.crc32(folded(name).encode())


@dataclass(frozen=True, slots=True)
class Event:
    """One event as it was told. at: seconds since the epoch, by the wall clock of that moment. id: its place in the order."""

    id: int
    kind: str
    at: float
    facts: Mapping[str, Fact]

    def text(self, fact: str) -> str:
        """A fact as text, empty where there is none."""
        return str(self.facts.get(fact, ""))

    def number(self, fact: str) -> float | None:
        found = self.facts.get(fact)
        return found if isinstance(found, int | float) else None

    def names(self, wanted: Collection[str]) -> bool:
        """Whether it is about one of these addresses, users or Message-IDs, given as ``folded`` has them."""
        return any(folded(text) in wanted for text in names_in(self.kind, self.facts))


def names_in(kind: str, facts: Mapping[str, Fact]) -> list[str]:
    """By what the event can be asked for."""
    return [value for fact in _KEYED[kind] if (value := facts.get(fact)) and isinstance(value, str)]


def row_of(kind: str, facts: Mapping[str, Fact]) -> list[Fact | None]:
    """What stands in COLUMNS. KeyError for a kind that is not kept so."""
    columns = [None if fact is None else _column(facts.get(fact)) for fact in _IN_ORDER[kind]]
    # An address that stayed as it was is said once.
    if kind == "recipient" and columns[_OTHER] == columns[_NAME]:
        columns[_OTHER] = None
    return columns


def event_of(id: int, number: int, at: float, columns: Sequence[Fact | None]) -> Event | None:
    """The other way; None for a kind that only a later release knows."""
    if not 0 <= number < len(_KINDS):
        return None
    kind = _KINDS[number]
    facts = {fact: value for fact, column in _PLACES[kind].items() if (value := columns[column]) is not None}
    if kind == "recipient" and "original" in facts:
        facts.setdefault("delivered_to", facts["original"])
    return Event(id, kind, at, facts)


def received_row(facts: Mapping[str, Fact]) -> tuple[Fact | None, ...]:
    """The columns of RECEIVED."""
    return tuple(_column(facts.get(fact)) for fact in RECEIVED)


def _column(value: Fact | None) -> Fact | None:
    """Fit for SQLite, whatever somebody told us: one event must not keep its neighbours from being written."""
    if isinstance(value, str):
        return value if 0 < len(value) <= LONGEST and value.isascii() else kept(value) or None
    if value is None or isinstance(value, float):
        return value
    return value if isinstance(value, int) and -_INTEGER <= value < _INTEGER else kept(str(value))
