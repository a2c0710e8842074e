"""Where a recipient's mail goes: to which mailboxes, to nowhere, or back to the client with a refusal at RCPT time.

So nobody's mistake becomes a bounce: what a Route was given for can be delivered, but for trouble with a disk or a lock.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Container
from dataclasses import dataclass, field

from lanmail.address import Address
from lanmail.delivery.alias_syntax import Member
from lanmail.delivery.aliases import Alias, Aliases
from lanmail.interfaces import InThread, Report, User, Users
from lanmail.network import Networks
from lanmail.status import PermanentFailure, Status, TemporaryFailure

# How deep aliases may lead to aliases (Postfix counts to 100), and how many addresses one recipient may become.
MAX_DEPTH = 50
MAX_ADDRESSES = 10_000

# user%elsewhere, elsewhere!user, user@elsewhere, at a domain of ours: three old ways to ask us to pass mail on.
_ROUTED = re.compile(r"[@%!]")
# Who every site must answer for (RFC 5321, 4.5.1; RFC 2142), and who answers where nothing else is said.
_ROOTS = frozenset(("postmaster", "abuse"))


@dataclass(frozen=True, slots=True)
class Client:
    """Who sends. host: its address in plain form. login: the name of whoever logged in, None for nobody."""

    host: str
    login: str | None = None


@dataclass(frozen=True, slots=True)
class Destination:
    """One mailbox and how the mail came to it: ``original`` is RCPT's, ``delivered_to`` what aliases made of it."""

    user: User
    original: Address
    delivered_to: Address


@dataclass(frozen=True, slots=True)
class Route:
    """mailboxes: each user once, in the order of the aliases. discarded: the recipient's mail goes to /dev/null as well."""

    original: Address
    mailboxes: tuple[Destination, ...]
    discarded: bool = False


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


class Router:
    """Answers RCPT.

    mynetworks: clients that may send anywhere. recipient_delimiter: characters that part a name from its tag.
    admin_user: who reads root's mail where no alias says so; None where nobody is named. root: the user as whom a mailbox file
    ``root`` is made where nobody reads that mail. mailbox_size_limit: octets, 0 for none; mailbox_size: octets in a user's mailbox,
    0 where there is none, called in a thread; OSError.
    """

    def __init__(
        self,
        domains: Domains,
        aliases: Aliases,
        users: Users,
        in_thread: InThread,
        report: Report,
        *,
        root: User,
        mynetworks: Networks,
        admin_user: str | None = None,
        recipient_delimiter: str = "",
        mailbox_size_limit: int = 0,
        mailbox_size: Callable[[User], int] = lambda user: 0,
    ) -> None:
        self._domains = domains
        self._aliases = aliases
        self._users = users
        self._in_thread = in_thread
        self._report = report
        self._root = root
        self._mynetworks = mynetworks
        self._admin_user = admin_user
        self._delimiter = recipient_delimiter
        self._mailbox_size_limit = mailbox_size_limit
        self._mailbox_size = mailbox_size

    async def recipient(self, address: Address, client: Client) -> Route:
        """Raises PermanentFailure or TemporaryFailure with the reply's status."""
        trusted = client.login is not None or client.host in self._mynetworks
        # RFC 5321, 4.5.1: <postmaster> without a domain is ours, whatever myorigin says.
        ours = not address.domain and address.local.casefold() == "postmaster"
        target = address.completed(self._domains.origin)
        if not (ours or target.domain in self._domains):
            raise self._not_ours(address, trusted)
        if _ROUTED.search(target.local):
            target = self._source_routed(address, target, trusted)
        if self._aliases.due():
            await self._in_thread(self._aliases.refresh)
        found = _Found(address.completed(self._domains.origin))
        await self._member(Member(target), found, ())
        self._judge(address, found)
        destinations = tuple(found.mailboxes.values())
        if self._mailbox_size_limit:
            await self._in_thread(self._must_have_room, address, destinations)
        return Route(found.original, destinations, found.discarded)

    # refusals

    def _not_ours(self, address: Address, trusted: bool) -> PermanentFailure:
        if not trusted:
            return PermanentFailure(Status(554, "5.7.1", f"<{address}>: Relay access denied"))
        return PermanentFailure(_rejected(550, "5.4.4", address, "mail does not leave this network"))

    def _source_routed(self, address: Address, target: Address, trusted: bool) -> Address:
        """What ``user%there@here`` means. A stranger may not say it at all, wherever it leads: open relays were found so."""
        if not trusted:
            raise self._not_ours(address, trusted)
        local = target.local
        while _ROUTED.search(local):
            # As Postfix reads it (swap_bangpath before allow_percent_hack).
            if "@" in local:
                local, _, domain = local.rpartition("@")
            elif "!" in local:
                domain, _, local = local.partition("!")
            else:
                local, _, domain = local.rpartition("%")
            if not local or domain.lower() not in self._domains:
                raise self._not_ours(address, trusted)
        return Address(local, target.domain)

    def _judge(self, address: Address, found: _Found) -> None:
        """Refuse where something would be lost, or nothing came of it."""
        if found.unusable:
            raise PermanentFailure(_rejected(550, "5.3.5", address, "Mail to files and programs is not delivered here"))
        if found.endless:
            raise PermanentFailure(_rejected(550, "5.3.5", address, "The alias has too many members"))
        something = bool(found.mailboxes) or found.discarded
        if found.incomplete and not something:
            raise TemporaryFailure(_rejected(451, "4.3.5", address, "A list of members cannot be read now"))
        if something:
            if found.lost:
                self._report(
                    "warning: alias {name}: not delivered to {lost}, who are unknown or in other domains",
                    name=str(address),
                    lost=", ".join(map(str, found.lost[:10])),
                )
        elif found.elsewhere:
            raise PermanentFailure(_rejected(550, "5.4.4", address, "mail does not leave this network"))
        elif found.looped:
            raise PermanentFailure(_rejected(550, "5.4.6", address, "The alias leads back to itself"))
        else:
            raise PermanentFailure(_rejected(550, "5.1.1", address, "User unknown in local recipient table"))

    def _must_have_room(self, address: Address, destinations: tuple[Destination, ...]) -> None:
        for destination in destinations:
            try:
                size = self._mailbox_size(destination.user)
            except OSError as error:
                self._report(
                    "warning: cannot look at the mailbox of {user}: {error}", user=destination.user.name, error=error
                )
                raise TemporaryFailure(_rejected(451, "4.3.0", address, "Mailbox cannot be used now")) from error
            if size >= self._mailbox_size_limit:
                raise TemporaryFailure(_rejected(452, "4.2.2", address, "Mailbox is full"))

    # from an address to mailboxes

    async def _member(self, member: Member, found: _Found, trail: tuple[str, ...]) -> None:
        """``trail``: the aliases that led here, by name."""
        found.count += 1
        if found.count > MAX_ADDRESSES or len(trail) > MAX_DEPTH:
            found.endless = True
            return
        address = member.address.completed(self._domains.origin)
        # A name without a domain in an alias file is a local one: what else could it be, where mail does not leave?
        if trail and member.address.domain and address.domain not in self._domains:
            found.elsewhere = True
            found.lost.append(address)
            return
        looped = False
        for name in self._names(address):
            alias = None if member.verbatim else self._aliases.find(name)
            if alias is not None and alias.name not in trail:
                await self._alias(alias, found, trail)
                return
            user = await self._users.find(name)
            if user is not None:
                found.add(user, address)
                return
            looped = looped or alias is not None
        if not await self._root_for(address, found, trail):
            found.looped = found.looped or looped
            if not looped:
                found.lost.append(address)

    def _names(self, address: Address) -> list[str]:
        """The name as it is written first: somebody may be called ``ann-marie`` where ``-`` begins a tag."""
        bare = address.without_tag(self._delimiter).local
        return [address.local] if bare == address.local else [address.local, bare]

    async def _alias(self, alias: Alias, found: _Found, trail: tuple[str, ...]) -> None:
        if alias.name in found.expanded:
            return
        found.expanded.add(alias.name)
        found.discarded = found.discarded or alias.discards
        found.unusable = found.unusable or alias.unusable
        found.incomplete = found.incomplete or alias.incomplete
        for member in alias.members:
            await self._member(member, found, (*trail, alias.name))
            if found.endless:
                return

    async def _root_for(self, address: Address, found: _Found, trail: tuple[str, ...]) -> bool:
        """Mail for those who must exist, where neither alias nor user does. Whether that is what it was."""
        name = address.without_tag(self._delimiter).local.casefold()
        if name in _ROOTS and "root" not in trail:
            await self._member(Member(Address("root")), found, (*trail, name))
            return True
        if name != "root" and name not in _ROOTS:
            return False
        if self._admin_user is not None and "root" not in trail:
            before = found.anything
            await self._member(Member(Address(self._admin_user)), found, (*trail, "root"))
            if found.anything > before:
                return True
        self._report(
            "warning: mail for root goes to the mailbox file root, which nobody reads; {advice}",
            advice="set admin_user, or an alias for root"
            if self._admin_user is None
            else f"admin_user, {self._admin_user}, is nobody here",
        )
        found.add(self._root, address)
        return True


@dataclass(slots=True)
class _Found:
    """What became of one recipient so far."""

    original: Address
    mailboxes: dict[str, Destination] = field(default_factory=dict)
    expanded: set[str] = field(default_factory=set)
    lost: list[Address] = field(default_factory=list)
    count: int = 0
    discarded: bool = False
    unusable: bool = False
    incomplete: bool = False
    elsewhere: bool = False
    looped: bool = False
    endless: bool = False

    def add(self, user: User, delivered_to: Address) -> None:
        self.mailboxes.setdefault(user.name, Destination(user, self.original, delivered_to))

    @property
    def anything(self) -> int:
        return len(self.mailboxes) + self.discarded


def _rejected(code: int, enhanced: str, address: Address, reason: str) -> Status:
    return Status(code, enhanced, f"<{address}>: Recipient address rejected: {reason}")
