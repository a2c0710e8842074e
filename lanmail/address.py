"""An address as a value: what the grammar understood, ready to compare, to look up and to write out again."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

import idna

_DOT_STRING = re.compile(r"[\w!#$%&'*+/=?^`{|}~-]+(\.[\w!#$%&'*+/=?^`{|}~-]+)*\Z")


@dataclass(frozen=True, slots=True)
class Address:
    """One address of an envelope.

    local: the local part as meant, without quotes or backslashes, its case kept.
    domain: lower case, without a final dot; empty where none was said; a literal keeps its brackets (``[192.168.1.5]``).
    """

    local: str
    domain: str = ""

    def __str__(self) -> str:
        """As it stands between < and > on the wire: quoted where RFC 5321, 4.1.2 demands it; empty for the null sender."""
        return _written(self.local, self.domain)

    @property
    def is_null(self) -> bool:
        """The null sender, ``<>``: of reports, which are never answered by a report."""
        return not self.local and not self.domain

    @property
    def key(self) -> tuple[str, str]:
        """What two addresses of one mailbox have in common. We compare local parts without case, as Postfix does here."""
        return self.local.casefold(), self.domain

    def completed(self, domain: str) -> Address:
        """With ``domain`` (``myorigin``) where none was said. The null sender stays null."""
        return self if self.domain or self.is_null else Address(self.local, domain)

    def without_tag(self, delimiters: str) -> Address:
        """The address before the first of ``delimiters`` (``recipient_delimiter``), or itself where there is none.

        A delimiter at the very start separates nothing (``+x`` is a name).
        """
        for position, char in enumerate(self.local):
            if position and char in delimiters:
                return Address(self.local[:position], self.domain)
        return self


@lru_cache(maxsize=1024)
def _written(local: str, domain: str) -> str:
    """A message writes each of its addresses down a dozen times: in headers, in the journal, in the log."""
    if local and not _DOT_STRING.match(local):
        local = '"' + local.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return f"{local}@{domain}" if domain else local


NULL_SENDER = Address("")


def canonical_domain(text: str) -> str:
    """A domain in the one form in which domains are compared: lower case, A-labels (RFC 5891), no final dot. ValueError."""
    bare = text.removesuffix(".")
    return (bare if bare.isascii() else idna.encode(bare, uts46=True).decode()).lower()
