"""Whom somebody probably meant who wrote to an address that is not here."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable

from lanmail.address import Address
from lanmail.admin.sentences import reason
from lanmail.config.syntax import decoded, logical_lines
from lanmail.delivery.alias_syntax import parted
from lanmail.spool.stories import Refusal

# difflib's measure, from 0 to 1. isbc-corporation.com is 0.95 of iscb-corporation.com, and gmail.com 0.55 of mail.lan.
_DOMAIN = 0.7
_NAME = 0.6
_MOST_ALIASES = 4 << 20  # octets, as delivery/aliases.py reads


class Known:
    """domains: ours (mydestination). names: of people and aliases, with or without a domain. delimiters: ``recipient_delimiter``; of
    what stands behind one there is no end, and strangers make it up."""

    def __init__(self, domains: Collection[str], names: Iterable[str], delimiters: str = "") -> None:
        self._domains = [domain for domain in domains if domain]
        bare = (Address(name.rpartition("@")[0] or name).without_tag(delimiters).local.casefold() for name in names)
        self._locals = set(bare)

    def why(self, refusal: Refusal) -> str:
        """Why it was refused, in words, with whom or what was probably meant."""
        local, at, domain = refusal.recipient.rpartition("@")
        enhanced = refusal.status.split(" ")[1:2]
        told = reason(refusal.status)
        if not at:
            return told
        if enhanced in (["5.7.1"], ["5.4.4"]) and not self._is_ours(domain):
            near = _near(domain, self._domains, _DOMAIN)
            return f"unknown domain; nearest {near}" if near else told
        if enhanced == ["5.1.1"]:
            near = _near(local, self._locals, _NAME)
            return "unknown user" + (f"; nearest {near}@{domain}" if near else "")
        return told

    def near(self, name: str) -> str:
        """An address that is known and like this one; empty where there is none."""
        local, at, domain = name.rpartition("@")
        if not at:
            return _near(name, self._locals, _NAME)
        ours = domain if self._is_ours(domain) else _near(domain, self._domains, _DOMAIN)
        person = local.casefold() if local.casefold() in self._locals else _near(local, self._locals, _NAME)
        return f"{person}@{ours}" if ours and person else ""

    def _is_ours(self, domain: str) -> bool:
        return domain.casefold() in self._domains


def alias_names(paths: Iterable[str]) -> list[str]:
    """The names on the left of these files, as far as they can be read: what is wrong with one is said elsewhere."""
    names: list[str] = []
    for path in paths:
        try:
            with open(path, "rb") as file:
                text = decoded(file.read(_MOST_ALIASES))
            for _, line in logical_lines(text):
                try:
                    names.append(parted(line)[0])
                except ValueError:
                    pass
        except OSError:
            pass
    return names


def _near(name: str, names: Collection[str], cutoff: float) -> str:
    found = difflib.get_close_matches(name.casefold(), names, 1, cutoff)
    return found[0] if found else ""
