"""The kinds of values that are about TLS."""

from __future__ import annotations

import re

from lanmail.config.kinds import PATH, PORT, Context, Kind
from lanmail.config.problems import BadValue
from lanmail.config.syntax import words

# From the oldest to the newest, as Postfix calls them.
_VERSIONS = ("SSLv2", "SSLv3", "TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3")
SPOKEN = frozenset({"TLSv1.2", "TLSv1.3"})


def _protocols(text: str, context: Context) -> frozenset[str]:
    """Postfix's list: names, of which those count; ``!`` before one that does not; ``>=`` and ``<=`` (postconf(5), smtpd_tls_protocols)."""
    named: set[str] = set()
    excluded: set[str] = set()
    least, most = 0, len(_VERSIONS) - 1
    for word in re.split(r"[\s,:]+", text.strip()):
        match = re.fullmatch(r"(!|>=|<=|)(.*)", word)
        assert match is not None
        sign, place = match[1], _place(match[2]) if word else 0
        if sign == "!":
            excluded.add(_VERSIONS[place])
        elif sign == ">=":
            least = place
        elif sign == "<=":
            most = place
        elif word:
            named.add(_VERSIONS[place])
    found = {name for name in named or _VERSIONS if least <= _VERSIONS.index(name) <= most} - excluded
    if not found & SPOKEN:
        raise BadValue(f"{text!r} leaves neither TLSv1.2 nor TLSv1.3, and nothing older is spoken here")
    # A list that only takes some away, as those of old installations do, asks for nothing old.
    asked = named or (_VERSIONS[least:] if ">=" in text else ())
    if found.intersection(asked) - SPOKEN:
        context.warn(
            "nothing older than TLSv1.2 is spoken here; devices that know nothing newer have tls_legacy_clients"
        )
    return frozenset(found & SPOKEN)


def _place(name: str) -> int:
    for place, known in enumerate(_VERSIONS):
        if known.lower() == name.lower():
            return place
    raise BadValue(f"{name!r} is none of: {', '.join(_VERSIONS)}")


TLS_VERSIONS = Kind("list of versions, such as `>=TLSv1.2`, `!TLSv1.2`", _protocols)


def _level(text: str, _: Context) -> str:
    level = text.lower() or "none"  # Postfix: empty is no TLS
    if level not in ("none", "may", "encrypt"):
        raise BadValue(f"{text!r} is none of: none, may, encrypt")
    return level


TLS_LEVEL = Kind("`none` or `may` or `encrypt`", _level)


def _file(text: str, context: Context) -> str:
    return "" if text in ("", "none") else PATH.read(text, context)


PEM_FILE = Kind("absolute path, or `none`", _file)


def _files(text: str, context: Context) -> tuple[str, ...]:
    return tuple(PATH.read(word, context) for word in words(text) if word != "none")


PEM_FILES = Kind("list of absolute paths", _files)


def _port_or_off(text: str, context: Context) -> int:
    return 0 if text.lower() == "off" else PORT.read(text, context)


PORT_OR_OFF = Kind("port, or `off`", _port_or_off)
