"""What a delivery report has to say to people, whatever the language. words_en.py and words_fr.py say it; the facts come from reports.py.

The first sentence says what happened, the second what to do. Whoever gets this may never have heard of a mail server.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

Kind = Literal["failed", "delayed", "delivered", "expanded", "relayed"]
Hearer = Literal["sender", "postmaster", "copy"]
"""``postmaster`` hears in a sender's place, ``copy`` is postmaster's copy of what a sender hears."""

# Seconds. Whoever was tried for less was tried once, and it is not said for how long.
WORTH_SAYING = 60.0
# Of more recipients than these it is said how many they are.
MOST_NAMES = 3


@dataclass(frozen=True, slots=True)
class Person:
    """address: whom the message was for. asked: whom the sender wrote to, where that was somebody else."""

    address: str
    asked: str = ""


@dataclass(frozen=True, slots=True)
class Facts:
    """sender: of the message, empty for the null sender. postmaster: whom to ask. sent, until: seconds since the epoch; until: the last
    try, of what is delayed. tried: for how many seconds it was tried in vain; 0 where trying would not have helped. trouble: what kind
    of trouble all of them had (``trouble_of``), empty where it was not one. full: the message comes back whole."""

    kind: Kind
    hearer: Hearer
    people: tuple[Person, ...]
    sender: str
    subject: str
    sent: float
    postmaster: str
    host: str
    trouble: str = ""
    tried: float = 0.0
    until: float = 0.0
    full: bool = False


class Words(Protocol):
    """One language. Paragraphs are not wrapped."""

    def subject(self, facts: Facts) -> str: ...
    def opening(self, facts: Facts) -> str: ...
    def which(self, facts: Facts) -> str: ...
    def closing(self, facts: Facts) -> str: ...
    def signature(self, facts: Facts) -> str: ...
    def advice(self, trouble: str, facts: Facts) -> str: ...
    def more(self, count: int) -> str: ...
    def troubles(self, host: str) -> tuple[str, str]:
        """Subject and opening of a letter to postmaster about what the SMTP server refused or could not do."""

    def mailboxes(self, host: str) -> tuple[str, str]:
        """The same about mailboxes that mail cannot be delivered to; what is wrong with each of them follows, in English."""

    def typeset(self, text: str) -> str: ...

    @property
    def asked(self) -> str: ...
    @property
    def reason(self) -> str: ...


def trouble_of(enhanced: str, *, expired: bool) -> str:
    """What kind of trouble a status tells of (RFC 3463), as far as people would do something else about it."""
    what = enhanced.partition(".")[2]
    if what == "2.2":
        return "full"
    if what in ("2.3", "3.4"):
        return "large"
    if what in ("4.6", "4.0"):
        return "circle"
    if expired:
        return "late"
    return "address" if what.startswith("1.") else "other"


def names(people: tuple[Person, ...], by_way_of: str, conjunction: str, many: str) -> str:
    """One name or a few, in a row; ``many`` with their number where there are more."""
    all_names = list(dict.fromkeys(p.address + (f" ({by_way_of} {p.asked})" if p.asked else "") for p in people))
    if len(all_names) > MOST_NAMES:
        return many.format(len(all_names))
    return f" {conjunction} ".join(filter(None, (", ".join(all_names[:-1]), all_names[-1])))


def duration(seconds: float) -> tuple[int, str]:
    """In the largest unit that does not say "1" of nearly two."""
    for unit, length in (("day", 86_400), ("hour", 3_600)):
        if seconds >= 2 * length or (round(seconds / length) == 1 and abs(seconds - length) < length / 20):
            return round(seconds / length), unit
    return max(1, round(seconds / 60)), "minute"
