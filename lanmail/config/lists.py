"""Lists that may stand in files: domains, networks, and the alias files; with ``!``, ``/file`` and ``type:table`` (postconf(5))."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

from lanmail.address import canonical_domain
from lanmail.config.machine import Machine
from lanmail.config.problems import BadParts, BadValue
from lanmail.config.syntax import TableReference, decoded, logical_lines, table_entries, table_reference, words
from lanmail.network import IPNetwork, Networks, parse_network

T = TypeVar("T")

# Postfix compiles these from a text file of the same name; we read that text itself, so that no postmap is needed.
TEXT_TABLES = frozenset({"hash", "texthash", "lmdb", "btree", "cdb", "dbm", "sdbm"})
# What else Postfix knows (DATABASE_README, socketmap_table(5) ...), so that fd00::/8 is not taken for a table.
OTHER_TABLES = frozenset(
    (
        *(
            "cidr",
            "debug",
            "environ",
            "fail",
            "htable",
            "inline",
            "internal",
            "ldap",
            "memcache",
            "mongodb",
            "mysql",
            "netinfo",
        ),
        *(
            "nis",
            "nisplus",
            "pcre",
            "pgsql",
            "pipemap",
            "proxy",
            "randmap",
            "regexp",
            "socketmap",
            "sqlite",
            "static",
            "tcp",
        ),
        *("union", "unionmap", "unix"),
    )
)
_LABEL = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)\Z")
# A file may name a file; Postfix follows without end.
MAX_NESTING = 8


@dataclass(frozen=True, slots=True)
class Member:
    """One pattern of a list. accepted: False behind a ``!``. origin: the file it was read from, empty for the value itself."""

    pattern: str
    accepted: bool
    origin: str

    def __str__(self) -> str:
        pattern = self.pattern if len(self.pattern) <= 80 else self.pattern[:80] + "..."
        return f"{pattern} (in {self.origin})" if self.origin else pattern


@dataclass(frozen=True, slots=True)
class DomainSet:
    """A list of domains, read from left to right; the first that matches decides, ``!`` turns it round.

    subdomains: ``example.com`` matches ``a.example.com`` too (relay_domains; parent_domain_matches_subdomains at its default).
    """

    rules: tuple[tuple[bool, str], ...] = ()
    subdomains: bool = False

    def __contains__(self, domain: object) -> bool:
        name = str(domain).lower().removesuffix(".")
        return next((accepted for accepted, pattern in self.rules if self._matches(name, pattern)), False)

    def _matches(self, name: str, pattern: str) -> bool:
        return name == pattern or (self.subdomains and name.endswith("." + pattern))

    @property
    def names(self) -> tuple[str, ...]:
        """The domains that are certainly in it, in the order of the list: to show, and to go through."""
        return tuple(pattern for accepted, pattern in self.rules if accepted and pattern in self)

    def __str__(self) -> str:
        return ", ".join(("" if accepted else "!") + pattern for accepted, pattern in self.rules)


def members(
    text: str, machine: Machine, *, origin: str = "", accepted: bool = True, depth: int = 0
) -> Iterator[Member]:
    """Every pattern of a list, files and tables read where they stand in it. BadValue for what cannot be read."""
    for word in words(text):
        pattern = word.lstrip("!")
        holds = accepted == ((len(word) - len(pattern)) % 2 == 0)
        if not pattern:
            raise BadValue("a ! with nothing behind it")
        table = table_reference(pattern)
        if pattern.startswith("/"):
            if depth >= MAX_NESTING:
                raise BadValue(f"{pattern}: files that name files, more than {MAX_NESTING} deep")
            for _, line in logical_lines(decoded(_read(pattern, machine))):
                yield from members(line, machine, origin=pattern, accepted=holds, depth=depth + 1)
        elif table and (table.type in TEXT_TABLES or table.type in OTHER_TABLES):
            path = text_of(table)
            for _, key, _ in table_entries(_read(path, machine)):
                yield Member(key, holds, path)
        else:
            yield Member(pattern, holds, origin)


def text_of(table: TableReference) -> str:
    """The path of the text behind a table. BadValue for a type whose tables are not text."""
    if table.type not in TEXT_TABLES:
        raise BadValue(
            f"{table}: tables of type {table.type} are not read here; {', '.join(sorted(TEXT_TABLES))} are, and /file"
        )
    if not table.name.startswith("/"):
        raise BadValue(f"{table}: the path of a table begins with /")
    return table.name


def _read(path: str, machine: Machine) -> bytes:
    try:
        return machine.read(path)
    except OSError as error:
        raise BadValue(f"cannot read {path}: {error.strerror or error}") from error


def _each(text: str, machine: Machine, read: Callable[[Member], T]) -> tuple[tuple[bool, T], ...]:
    """Every member of a list, read. BadParts with everything that is wrong: whoever mends one part should not meet the next one then."""
    found: list[tuple[bool, T]] = []
    faults: list[str] = []
    for word in words(text):
        try:
            for member in members(word, machine):
                try:
                    found.append((member.accepted, read(member)))
                except BadValue as bad:
                    faults.append(str(bad))
        except BadValue as bad:
            faults.append(str(bad))
    if faults:
        raise BadParts(faults)
    return tuple(found)


def domains(text: str, machine: Machine, *, subdomains: bool) -> DomainSet:
    """A DomainSet from a list. BadValue for what is no domain."""
    return DomainSet(_each(text, machine, _domain), subdomains)


def _domain(member: Member) -> str:
    bare = member.pattern.removeprefix(".")
    try:
        name = domain(bare)
    except ValueError:
        raise BadValue(f"{member} is not a domain") from None
    return "." + name if bare != member.pattern else name


def networks(text: str, machine: Machine) -> Networks:
    """Networks from a list. BadValue for what is no network, with the network that was probably meant."""
    return Networks(_each(text, machine, _network))


def _network(member: Member) -> IPNetwork:
    try:
        return parse_network(member.pattern)
    except ValueError as error:
        # The sentence begins with what was written; the member knows in which file.
        raise BadValue(f"{member}{str(error).removeprefix(member.pattern)}") from error


def domain(text: str) -> str:
    """The name of a host or a domain as it is compared: U-labels as A-labels, lower case. ValueError where it can be none.

    Labels of letters, digits, ``-`` and ``_``, as Postfix takes them.
    """
    name = canonical_domain(text)
    if len(name) > 255 or not all(map(_LABEL.match, name.split("."))):
        raise ValueError(f"{text!r} is not a domain")
    return name
