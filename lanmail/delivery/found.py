"""What became of one recipient so far, and the way from the recipient to each mailbox. Values, and the limits on them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from lanmail.address import Address
from lanmail.interfaces import User

# How deep aliases may lead to aliases (Postfix counts to 100), and how many addresses one recipient may become: those that
# aliases name, and, counted apart, so that nobody can break a list that they are on, those of users' .forward files.
MAX_DEPTH = 50
MAX_ADDRESSES = 10_000
# How many .forward files of one user count for one recipient. With tags a user has as many as they please, each is looked for in their
# home, and a stranger's RCPT must not make us do that ten thousand times.
MAX_FILES = 10
# How much is said in the log of one recipient's .forward files: whoever writes them must not fill it either.
MAX_WARNINGS = 10
# A rule is for people to read, and is kept with each mailbox.
MAX_RULE = 500


@dataclass(frozen=True, slots=True)
class Destination:
    """One mailbox and how the mail came to it: ``original`` is RCPT's, ``delivered_to`` what aliases made of it.

    sender: who hears of trouble with it, where that is not the message's sender: the owner of a list. rule: the way in words,
    ``alias staff, .forward of nel``; printable, and empty for whoever was asked for. expanded: on that way stands an alias
    or a .forward with more than one member (RFC 3461, 5.2.7).
    """

    user: User
    original: Address
    delivered_to: Address
    sender: Address | None = None
    rule: str = ""
    expanded: bool = False


@dataclass(slots=True)
class Following:
    """A .forward that is being followed. lost: members who do not get the mail. unfollowed: why more of it is not followed, and the
    user's mailbox gets the mail as well; nobody who writes to the user needs to hear of that. aliases: as Found's; apart from it, since
    an alias that was cut short, or lost somebody, in one user's .forward is not done for those who get mail by it otherwise."""

    user: User
    name: str
    lost: list[Address] = field(default_factory=list)
    unfollowed: set[str] = field(default_factory=set)
    aliases: dict[str, bool] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Way:
    """How one got from the recipient to where one is.

    rule: every step in words. aliases: the names of those since the last .forward. forwards: the .forward files, each
    ``user/name``. following: the last of these. relayed: luser_relay was asked already.
    """

    rule: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    forwards: tuple[str, ...] = ()
    following: Following | None = None
    sender: Address | None = None
    expanded: bool = False
    relayed: bool = False

    def by_name(self, name: str, step: str) -> Way:
        return replace(self, rule=(*self.rule, step), aliases=(*self.aliases, name))


@dataclass(slots=True)
class Found:
    """What became of one recipient.

    lost: members who are unknown or elsewhere. unusable: mail for a file or a program is among it. incomplete: a list could not be
    read. looped: an alias led only back to itself. endless: there is more than the limits allow.
    """

    original: Address
    mailboxes: dict[str, Destination] = field(default_factory=dict)
    lost: list[Address] = field(default_factory=list)
    discarded: bool = False
    unusable: bool = False
    incomplete: bool = False
    elsewhere: bool = False
    looped: bool = False
    endless: bool = False
    aliases: dict[str, bool] = field(default_factory=dict)  # those that are done: whether something came of it
    forwards: set[str] = field(default_factory=set)  # those that are done
    count: int = 0
    forward_count: int = 0
    left_out: int = 0  # addresses of .forward files that the limits cut off
    tags: dict[str, set[str]] = field(
        default_factory=dict
    )  # of each user, with which their .forward files were asked for
    warnings: int = 0

    def add(self, user: User, delivered_to: Address, way: Way) -> None:
        to = Destination(user, self.original, delivered_to, way.sender, in_words(way.rule), way.expanded)
        self.mailboxes.setdefault(user.name, to)

    def lose(self, address: Address, way: Way, *, elsewhere: bool = False) -> None:
        if way.following is None:
            self.lost.append(address)
            self.elsewhere = self.elsewhere or elsewhere
        else:
            way.following.lost.append(address)

    def exhausted(self, way: Way) -> bool:
        return self.endless if way.following is None else self.forward_count > MAX_ADDRESSES

    def may_look(self, user: User, tag: str) -> bool:
        """Whether one more .forward file of theirs counts."""
        tags = self.tags.setdefault(user.name, set())
        if len(tags) < MAX_FILES:
            tags.add(tag)
        return tag in tags

    def goes_on(self, way: Way) -> bool:
        """Count one more address. Whether there may be so many, so deep."""
        deep = len(way.rule) > MAX_DEPTH
        if way.following is None:
            self.count += 1
            self.endless = self.endless or deep or self.count > MAX_ADDRESSES
            return not self.endless
        self.forward_count += 1
        if deep or self.forward_count > MAX_ADDRESSES:
            way.following.unfollowed.add("it leads to too many addresses")
            self.left_out += 1
            return False
        return True


def in_words(steps: tuple[str, ...]) -> str:
    """The way in words. Names of aliases are the administrator's, but quoted ones may hold anything."""
    text = "".join(char if char.isprintable() else "?" for char in ", ".join(steps))
    return text if len(text) <= MAX_RULE else f"{text[: MAX_RULE - 1]}\u2026"
