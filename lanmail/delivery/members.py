"""From one address to the mailboxes that it leads to: by aliases, users' .forward files, luser_relay, and root's mail.

What comes of it is gathered in ``Found``; whether that is enough to take the mail is routes.py's to judge.
"""

from __future__ import annotations

from collections.abc import Awaitable, Container
from dataclasses import dataclass, field, replace
from typing import Protocol

from lanmail.address import Address
from lanmail.delivery.alias_syntax import Forward, Member
from lanmail.delivery.aliases import Alias, Aliases
from lanmail.delivery.luser_relay import LuserRelay
from lanmail.interfaces import Report, User, Users

# How deep aliases may lead to aliases (Postfix counts to 100), and how many addresses one recipient may become: those that
# aliases name, and, counted apart, so that nobody can break a list that they are on, those of users' .forward files.
MAX_DEPTH = 50
MAX_ADDRESSES = 10_000
# A rule is for people to read, and is kept with each mailbox.
MAX_RULE = 500

# Who every site must answer for (RFC 5321, 4.5.1; RFC 2142), and who answers where nothing else is said.
_ROOTS = frozenset(("postmaster", "abuse"))


class Forwards(Protocol):
    """Knows where users have their mail sent (delivery/forward.py)."""

    def __call__(self, user: User, tag: str, /) -> Awaitable[Forward | None]:
        """What the user's .forward says; None where there is none that counts.

        tag: the delimiter and what stood behind it in the address (``+lists``), for ``.forward+lists``; or empty. Raises
        TemporaryFailure where it cannot be known now.
        """


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


@dataclass(frozen=True, slots=True)
class Domains:
    """Which addresses are ours.

    origin: ``myorigin``, which completes an address without a domain. destinations: ``mydestination``, lower case.
    own_hosts: contains the text of each IP address that is ours, for ``user@[192.168.1.1]``.
    """

    origin: str
    destinations: Container[str]
    own_hosts: Container[str] = ()

    def __contains__(self, domain: object) -> bool:
        text = str(domain)
        if text.startswith("[") and text.endswith("]"):
            host = text[1:-1]
            return (host[5:] if host[:5].lower() == "ipv6:" else host) in self.own_hosts
        return text in self.destinations


@dataclass(slots=True)
class _Following:
    """A .forward that is being followed. keeps: its user's mailbox gets the mail as well. lost: members who do not."""

    user: User
    name: str
    keeps: bool
    lost: list[Address] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Way:
    """How one got from the recipient to where one is.

    rule: every step in words. aliases: the names of those since the last .forward. forwards: the .forward files, each
    ``user/name``. following: the last of these. relayed: luser_relay was asked already.
    """

    rule: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    forwards: tuple[str, ...] = ()
    following: _Following | None = None
    sender: Address | None = None
    expanded: bool = False
    relayed: bool = False

    def by_name(self, name: str, step: str) -> _Way:
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

    def add(self, user: User, delivered_to: Address, way: _Way) -> None:
        to = Destination(user, self.original, delivered_to, way.sender, _rule(way.rule), way.expanded)
        self.mailboxes.setdefault(user.name, to)

    def lose(self, address: Address, way: _Way, *, elsewhere: bool = False) -> None:
        if way.following is None:
            self.lost.append(address)
            self.elsewhere = self.elsewhere or elsewhere
        else:
            way.following.lost.append(address)

    def exhausted(self, way: _Way) -> bool:
        return self.endless if way.following is None else self.forward_count > MAX_ADDRESSES

    def goes_on(self, way: _Way) -> bool:
        """Count one more address. Whether there may be so many, so deep."""
        deep = len(way.rule) > MAX_DEPTH
        if way.following is None:
            self.count += 1
            self.endless = self.endless or deep or self.count > MAX_ADDRESSES
            return not self.endless
        self.forward_count += 1
        if deep or self.forward_count > MAX_ADDRESSES:
            way.following.keeps = True
            return False
        return True


class Members:
    """Follows an address to its mailboxes.

    admin_user, root, recipient_delimiter: as Router has them. forwards: None where .forward files are not read. luser_relay: empty
    for none.
    """

    def __init__(
        self,
        domains: Domains,
        aliases: Aliases,
        users: Users,
        report: Report,
        *,
        root: User,
        admin_user: str | None,
        recipient_delimiter: str,
        forwards: Forwards | None,
        luser_relay: str,
    ) -> None:
        self._domains = domains
        self._aliases = aliases
        self._users = users
        self._report = report
        self._root = root
        self._admin_user = admin_user
        self._delimiter = recipient_delimiter
        self._forwards = forwards
        self._luser_relay = LuserRelay(luser_relay, domains.origin, self._split) if luser_relay else None

    async def of(self, target: Address, original: Address) -> Found:
        """target: the address, in a domain of ours. original: as it was asked for. TemporaryFailure."""
        found = Found(original)
        await self._member(Member(target), found, _Way())
        return found

    # Each of these says whether something came of it: a mailbox, or /dev/null, now or earlier.

    async def _member(self, member: Member, found: Found, way: _Way) -> bool:
        if not found.goes_on(way):
            return False
        address = member.address.completed(self._domains.origin)
        # A name without a domain in an alias file is a local one: what else could it be, where mail does not leave?
        if way.rule and member.address.domain and address.domain not in self._domains:
            found.lose(address, way, elsewhere=True)
            return False
        looped = False
        for name, tag in self._readings(address):
            alias = None if member.verbatim else self._aliases.find(name)
            if alias is not None and alias.name not in way.aliases:
                return await self._alias(alias, found, way)
            user = await self._users.find(name)
            if user is not None and member.verbatim:
                found.add(user, address, way)
                return True
            if user is not None:
                return await self._user(user, tag, address, found, way)
            looped = looped or alias is not None
        if await self._root_for(address, found, way):
            return True
        if looped:
            found.looped = True
            if way.following is not None:
                found.lose(address, way)
            return False
        if self._luser_relay is not None and not way.relayed:
            to = self._luser_relay.address(address)
            if to is not None:
                return await self._member(
                    Member(to), found, replace(way, rule=(*way.rule, "luser_relay"), relayed=True)
                )
        found.lose(address, way)
        return False

    async def _alias(self, alias: Alias, found: Found, way: _Way) -> bool:
        found.discarded = found.discarded or alias.discards
        if way.following is None:
            found.unusable = found.unusable or alias.unusable
            found.incomplete = found.incomplete or alias.incomplete
        elif alias.unusable or alias.incomplete:
            # Whoever writes to a user need not hear of what that user had better not written.
            way.following.keeps = True
        if alias.name in found.aliases:
            return found.aliases[alias.name]
        onward = way.by_name(alias.name, f"alias {alias.name}")
        onward = replace(
            onward,
            sender=self._owner(alias) or way.sender,
            expanded=way.expanded or len(alias.members) + alias.discards > 1,
        )
        something = alias.discards
        for member in alias.members:
            something = await self._member(member, found, onward) or something
            if found.exhausted(onward):
                break
        found.aliases[alias.name] = something
        return something

    def _owner(self, alias: Alias) -> Address | None:
        """As Postfix's expand_owner_alias = no: ``owner-name`` itself. What an owner gets has no owner beyond."""
        if alias.name.startswith("owner-") or self._aliases.owner(alias.name) is None:
            return None
        return Address(f"owner-{alias.name}", self._domains.origin)

    async def _user(self, user: User, tag: str, address: Address, found: Found, way: _Way) -> bool:
        forward = None if self._forwards is None else await self._forwards(user, tag)
        if forward is None:
            found.add(user, address, way)
            return True
        key = f"{user.name}/{forward.name}"
        if key in way.forwards:
            # local(8): a user who stands in their own .forward, by whatever detour, means their own mailbox.
            if way.forwards[-1] != key:
                self._report(
                    "warning: a loop: {way} leads back to {user}, whose mailbox gets the mail",
                    way=_rule(way.rule),
                    user=user.name,
                )
            found.add(user, address, way)
            return True
        if key not in found.forwards:
            await self._forward(forward, key, user, address, found, way)
        return True

    async def _forward(self, forward: Forward, key: str, user: User, address: Address, found: Found, way: _Way) -> None:
        following = _Following(user, forward.name, forward.keeps)
        onward = replace(
            way,
            rule=(*way.rule, f"{forward.name} of {user.name}"),
            # Afresh: an alias that led to this user may stand in their .forward, and leads to their mailbox then.
            aliases=(),
            forwards=(*way.forwards, key),
            following=following,
            expanded=way.expanded or len(forward.members) + forward.discards > 1,
        )
        found.discarded = found.discarded or forward.discards
        something = forward.discards
        for member in forward.members:
            something = await self._member(member, found, onward) or something
            if found.exhausted(onward):
                break
        found.forwards.add(key)
        keeps = following.keeps or not something
        if following.lost:
            self._report(
                "warning: {name} of {user}: not delivered to {lost}, who are unknown or in other domains{kept}",
                name=forward.name,
                user=user.name,
                lost=", ".join(map(str, following.lost[:10])),
                kept="; it stays in the mailbox" if keeps else "",
            )
        if keeps:
            found.add(user, address, way)

    async def _root_for(self, address: Address, found: Found, way: _Way) -> bool:
        """Mail for those who must exist, where neither alias nor user does. Whether that is what it was."""
        name = self._split(address)[0].casefold()
        if name in _ROOTS and "root" not in way.aliases:
            return await self._member(Member(Address("root")), found, way.by_name(name, f"root for {name}"))
        if name != "root" and name not in _ROOTS:
            return False
        if self._admin_user is not None and "root" not in way.aliases:
            onward = way.by_name("root", "admin_user")
            if await self._member(Member(Address(self._admin_user)), found, onward):
                return True
        self._report(
            "warning: mail for root goes to the mailbox file root, which nobody reads; {advice}",
            advice="set admin_user, or an alias for root"
            if self._admin_user is None
            else f"admin_user, {self._admin_user}, is nobody here",
        )
        found.add(self._root, address, way)
        return True

    # names and tags

    def _readings(self, address: Address) -> list[tuple[str, str]]:
        """Names to look for, each with the tag that it leaves: as it is written first, as ``ann-marie`` may be a name though ``-``
        begins a tag."""
        user, delimiter, extension = self._split(address)
        return [(address.local, ""), (user, delimiter + extension)] if delimiter else [(address.local, "")]

    def _split(self, address: Address) -> tuple[str, str, str]:
        """Name, delimiter, and tag; the latter two empty where there is no tag."""
        name = address.local.casefold()
        # owner_request_special: where "-" begins a tag, it does not in the two names that lists have.
        if "-" in self._delimiter and (name.startswith("owner-") or (name.endswith("-request") and name != "-request")):
            return address.local, "", ""
        bare = address.without_tag(self._delimiter).local
        behind = address.local[len(bare) :]
        return bare, behind[:1], behind[1:]


def _rule(steps: tuple[str, ...]) -> str:
    """The way in words. Names of aliases are the administrator's, but quoted ones may hold anything."""
    text = "".join(char if char.isprintable() else "?" for char in ", ".join(steps))
    return text if len(text) <= MAX_RULE else f"{text[: MAX_RULE - 1]}\u2026"
