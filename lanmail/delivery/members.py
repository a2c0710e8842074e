"""From one address to the mailboxes that it leads to: by aliases, users' .forward files, luser_relay, and root's mail.

What comes of it is gathered in ``Found``; whether that is enough to take the mail is routes.py's to judge.
"""

from __future__ import annotations

from collections.abc import Awaitable, Container
from dataclasses import dataclass, replace
from typing import Protocol

from lanmail.address import Address
from lanmail.delivery.alias_syntax import Forward, Member
from lanmail.delivery.aliases import Alias, Aliases
from lanmail.delivery.found import MAX_WARNINGS, Following, Found, Way, in_words
from lanmail.delivery.luser_relay import LuserRelay
from lanmail.interfaces import InThread, Report, User, Users, let_others

# Who every site must answer for (RFC 5321, 4.5.1; RFC 2142), and who our reports come from, behind whom a human should be (RFC 3464, 2).
_ROOTS = frozenset(("postmaster", "abuse", "mailer-daemon"))

# Addresses that are followed in one turn of the event loop, 3 ms, where nobody has to be asked who is remembered.
AT_ONCE = 200


class Forwards(Protocol):
    """Knows where users have their mail sent (delivery/forward.py)."""

    def __call__(self, user: User, tag: str, /) -> Awaitable[Forward | None]:
        """What the user's .forward says; None where there is none that counts.

        tag: the delimiter and what stood behind it in the address (``+lists``), for ``.forward+lists``; or empty. Raises
        TemporaryFailure where it cannot be known now.
        """


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


class Members:
    """Follows an address to its mailboxes.

    admin_user, root, recipient_delimiter: as Router has them. forwards: None where .forward files are not read. luser_relay: empty
    for none. in_thread: for waiting until others had their turn.
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
        in_thread: InThread,
    ) -> None:
        self._domains = domains
        self._aliases = aliases
        self._users = users
        self._report = report
        self._root = root
        self._admin_user = admin_user
        self._delimiter = recipient_delimiter
        self._forwards = forwards
        self._in_thread = in_thread
        self._luser_relay = LuserRelay(luser_relay, domains.origin, self._split) if luser_relay else None

    async def of(self, target: Address, original: Address) -> Found:
        """target: the address, in a domain of ours. original: as it was asked for. TemporaryFailure."""
        found = Found(original)
        await self._member(Member(target), found, Way())
        return found

    # Each of these says whether something came of it: a mailbox, or /dev/null, now or earlier.

    async def _member(self, member: Member, found: Found, way: Way) -> bool:
        if not found.goes_on(way):
            return False
        if (found.count + found.forward_count) % AT_ONCE == 0:
            await let_others(self._in_thread)
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

    async def _alias(self, alias: Alias, found: Found, way: Way) -> bool:
        found.discarded = found.discarded or alias.discards
        if way.following is None:
            found.unusable = found.unusable or alias.unusable
            found.incomplete = found.incomplete or alias.incomplete
        elif alias.unusable or alias.incomplete:
            what = "leads to files or programs" if alias.unusable else "cannot be read whole"
            way.following.unfollowed.add(f"alias {alias.name} {what}")
        done = found.aliases if way.following is None else way.following.aliases
        if alias.name in done:
            return done[alias.name]
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
        done[alias.name] = something
        return something

    def _owner(self, alias: Alias) -> Address | None:
        """As Postfix's expand_owner_alias = no: ``owner-name`` itself. What an owner gets has no owner beyond."""
        if alias.name.startswith("owner-") or self._aliases.owner(alias.name) is None:
            return None
        return Address(f"owner-{alias.name}", self._domains.origin)

    async def _user(self, user: User, tag: str, address: Address, found: Found, way: Way) -> bool:
        forward = None
        if self._forwards is not None and found.may_look(user, tag):
            forward = await self._forwards(user, tag)
        if forward is None:
            found.add(user, address, way)
            return True
        key = f"{user.name}/{forward.name}"
        if key in way.forwards:
            # local(8): a user who stands in their own .forward, by whatever detour, means their own mailbox.
            if way.forwards[-1] != key:
                self._warn(
                    found,
                    "warning: a loop: {way} leads back to {user}, whose mailbox gets the mail",
                    way=in_words(way.rule),
                    user=user.name,
                )
            found.add(user, address, way)
            return True
        if key not in found.forwards:
            await self._forward(forward, key, user, address, found, way)
        return True

    async def _forward(self, forward: Forward, key: str, user: User, address: Address, found: Found, way: Way) -> None:
        following = Following(user, forward.name)
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
        something, left_out = forward.discards, found.left_out
        for member in forward.members:
            something = await self._member(member, found, onward) or something
            if found.exhausted(onward):
                break
        # One that another's led to when that had led too far already is not done: whoever is on the same list may reach it properly.
        if found.left_out == left_out:
            found.forwards.add(key)
        keeps = forward.keeps or bool(following.unfollowed) or not something
        kept = "; the mailbox gets the mail" if keeps else ""
        troubles = sorted(following.unfollowed)
        if following.lost:
            lost = ", ".join(map(str, following.lost[:10]))
            troubles.append(f"not delivered to {lost}, who are unknown or in other domains")
        if troubles:
            self._warn(
                found,
                "warning: {name} of {user}: {troubles}{kept}",
                name=forward.name,
                user=user.name,
                troubles="; ".join(troubles),
                kept=kept,
            )
        if keeps:
            found.add(user, address, way)

    def _warn(self, found: Found, line: str, **fields: object) -> None:
        found.warnings += 1
        if found.warnings <= MAX_WARNINGS:
            self._report(line, **fields)

    async def _root_for(self, address: Address, found: Found, way: Way) -> bool:
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
        self._warn(
            found,
            "warning: mail for root goes to the mailbox file root, which nobody reads; {advice}",
            advice="set admin_user, or an alias for root"
            if self._admin_user is None
            else f"admin_user, {self._admin_user}, is nobody here",
        )
        found.add(self._root, address, way)
        return True

    def is_roots(self, address: Address) -> bool:
        """Whether its name is root's, or one that root must answer for."""
        name = self._split(address)[0].casefold()
        return name == "root" or name in _ROOTS

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
