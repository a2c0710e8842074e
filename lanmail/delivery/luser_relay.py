"""Who gets the mail of those whom nobody knows (``luser_relay``): an address in which ``$user`` and its like stand."""

from __future__ import annotations

from collections.abc import Callable

from lanmail.address import Address, canonical_domain
from lanmail.config.expansion import expand
from lanmail.config.problems import BadValue

# As an address of RCPT's (smtp/grammar.py): it is written into a header line.
_LONGEST = 900
# Stands for an @ of the local part while the text is put together; no address can hold it.
_AT = "\0"


class LuserRelay:
    """The address as main.cf has it, checked there; local(8) and postconf(5) say what may stand in it.

    origin: ``myorigin``. split: the name before the tag, the delimiter, and the tag of an address.
    """

    def __init__(self, template: str, origin: str, split: Callable[[Address], tuple[str, str, str]]) -> None:
        self._template = template
        self._origin = origin
        self._split = split

    def address(self, unknown: Address) -> Address | None:
        """Where mail for ``unknown``, which has its domain, goes; None where that makes no address.

        ``$home`` and ``$shell`` are empty: who is unknown has none.
        """
        if _AT in unknown.local:
            return None
        user, delimiter, extension = (_inert(part.casefold()) for part in self._split(unknown))
        domain = _inert(unknown.domain)
        values = {
            "user": user,
            "extension": extension,
            "recipient_delimiter": delimiter,
            "local": _inert(unknown.local.casefold()),
            "domain": domain,
            "recipient": f"{_inert(unknown.local)}@{domain}",
        }
        try:
            text = expand(self._template, lambda name: values.get(name, ""))
            local, at, found = text.rpartition("@")
            local, found = (local, canonical_domain(found)) if at else (text, self._origin)
        except (BadValue, ValueError):
            return None
        local = local.replace(_AT, "@")
        if not local or not found or len(local.encode("utf-8", "replace")) > _LONGEST or not local.isprintable():
            return None
        return Address(local, found)


def _inert(text: str) -> str:
    """A stranger's text as a value: what looks like a reference in it is none, and its @ parts nothing."""
    return text.replace("$", "$$").replace("@", _AT)
