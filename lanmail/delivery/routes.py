"""Where a recipient's mail goes: to which mailboxes, to nowhere, or back to the client with a refusal at RCPT time.

So nobody's mistake becomes a bounce: what a Route was given for can be delivered, but for trouble with a disk or a lock.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from lanmail.address import Address
from lanmail.delivery.aliases import Aliases
from lanmail.delivery.found import Destination, Found
from lanmail.delivery.members import Domains, Forwards, Members
from lanmail.interfaces import InThread, Report, User, Users
from lanmail.network import Networks
from lanmail.status import PermanentFailure, Status, TemporaryFailure

__all__ = ["Client", "Destination", "Domains", "Route", "Router"]

# user%elsewhere, elsewhere!user, user@elsewhere, at a domain of ours: three old ways to ask us to pass mail on.
_ROUTED = re.compile(r"[@%!]")


@dataclass(frozen=True, slots=True)
class Client:
    """Who sends. host: its address in plain form. login: the name of whoever logged in, None for nobody.

    trusted: may it send anywhere; None where that is for ``mynetworks`` and the login to say.
    """

    host: str
    login: str | None = None
    trusted: bool | None = None


@dataclass(frozen=True, slots=True)
class Route:
    """mailboxes: each user once, in the order of the aliases. discarded: the recipient's mail goes to /dev/null as well."""

    original: Address
    mailboxes: tuple[Destination, ...]
    discarded: bool = False


class Router:
    """Answers RCPT.

    mynetworks: clients that may send anywhere. recipient_delimiter: characters that part a name from its tag.
    admin_user: who reads root's mail where no alias says so; None where nobody is named. root: the user as whom a mailbox file
    ``root`` is made where nobody reads that mail. mailbox_size_limit: octets, 0 for none; mailbox_size: octets in a user's mailbox,
    0 where there is none, called in a thread; OSError. forwards: what users' .forward files say; None where none are read.
    luser_relay: who gets mail for unknown names, empty for nobody, and then they are refused.
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
        forwards: Forwards | None = None,
        luser_relay: str = "",
    ) -> None:
        self._domains = domains
        self._aliases = aliases
        self._in_thread = in_thread
        self._report = report
        self._mynetworks = mynetworks
        self._members = Members(
            domains,
            aliases,
            users,
            report,
            root=root,
            admin_user=admin_user,
            recipient_delimiter=recipient_delimiter,
            forwards=forwards,
            luser_relay=luser_relay,
            in_thread=in_thread,
        )
        # Whose address one is, is the administrator's to say: no user's .forward makes another's address theirs.
        self._owners = Members(
            domains,
            aliases,
            users,
            report,
            root=root,
            admin_user=admin_user,
            recipient_delimiter=recipient_delimiter,
            forwards=None,
            luser_relay="",
            in_thread=in_thread,
        )
        self._mailbox_size_limit = mailbox_size_limit
        self._mailbox_size = mailbox_size

    def completed(self, address: Address) -> Address:
        """With our own domain where it has none."""
        return address.completed(self._domains.origin)

    async def owners(self, address: Address) -> list[User]:
        """Whose address it is: the user's by whose name it is, with its tags, or those whom an alias leads to. TemporaryFailure."""
        target = self.completed(address)
        if target.domain not in self._domains or _ROUTED.search(target.local):
            return []
        if self._aliases.due():
            await self._in_thread(self._aliases.refresh)
        return [to.user for to in (await self._owners.of(target, target)).mailboxes.values()]

    def is_roots(self, address: Address) -> bool:
        """Whether it is one of those whom a machine's own programs write as: root, postmaster and the like."""
        return self._owners.is_roots(address)

    async def recipient(self, address: Address, client: Client) -> Route:
        """Raises PermanentFailure or TemporaryFailure with the reply's status."""
        trusted = client.trusted
        if trusted is None:
            trusted = client.login is not None or client.host in self._mynetworks
        route = await self._route(address, trusted)
        if self._mailbox_size_limit:
            await self._in_thread(self._must_have_room, address, route.mailboxes)
        return route

    async def report(self, address: Address) -> Route:
        """As for a trusted client's recipient, but where a mailbox is full a report waits in the queue until there is room."""
        return await self._route(address, trusted=True)

    async def _route(self, address: Address, trusted: bool) -> Route:
        # RFC 5321, 4.5.1: <postmaster> without a domain is ours, whatever myorigin says.
        ours = not address.domain and address.local.casefold() == "postmaster"
        target = address.completed(self._domains.origin)
        if not (ours or target.domain in self._domains):
            raise self._not_ours(address, trusted)
        if _ROUTED.search(target.local):
            target = self._source_routed(address, target, trusted)
        if self._aliases.due():
            await self._in_thread(self._aliases.refresh)
        found = await self._members.of(target, address.completed(self._domains.origin))
        self._judge(address, found)
        return Route(found.original, tuple(found.mailboxes.values()), found.discarded)

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

    def _judge(self, address: Address, found: Found) -> None:
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
        """Refuse where nobody has room. One full mailbox does not keep a list from its other members: mail for it waits here."""
        if destinations and all(self._is_full(address, to.user) for to in destinations):
            raise TemporaryFailure(_rejected(452, "4.2.2", address, "Mailbox is full"))

    def _is_full(self, address: Address, user: User) -> bool:
        try:
            return self._mailbox_size(user) >= self._mailbox_size_limit
        except OSError as error:
            self._report("warning: cannot look at the mailbox of {user}: {error}", user=user.name, error=error)
            raise TemporaryFailure(_rejected(451, "4.3.0", address, "Mailbox cannot be used now")) from error


def _rejected(code: int, enhanced: str, address: Address, reason: str) -> Status:
    return Status(code, enhanced, f"<{address}>: Recipient address rejected: {reason}")
