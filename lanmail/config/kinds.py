"""The kinds of values that parameters have: how each is written, and what it becomes."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, Literal, Protocol, TypeVar

from lanmail.config import lists
from lanmail.config.machine import Machine
from lanmail.config.problems import BadValue
from lanmail.config.syntax import SPACE, table_reference, words

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class Context(Protocol):
    """What the reading of one value may ask."""

    @property
    def machine(self) -> Machine: ...

    def text(self, name: str) -> str:
        """The value of another parameter, everything in it expanded. Raises BadValue where that one cannot be had."""

    def written(self, name: str) -> str | None:
        """The same as it was written; None where it was not."""

    def warn(self, text: str) -> None:
        """Something about this value is odd, but can be lived with."""


@dataclass(frozen=True, slots=True)
class Kind(Generic[T_co]):
    """title: what the reference calls it. read: from the expanded text of a value; raises BadValue."""

    title: str
    read: Callable[[str, Context], T_co]


# numbers


def _number(least: int, most: int) -> Callable[[str, Context], int]:
    def read(text: str, _: Context) -> int:
        if not re.fullmatch(r"[0-9]{1,19}", text):
            raise BadValue(f"{text!r} is not a whole number written in digits alone")
        if not least <= int(text) <= most:
            raise BadValue(f"{text} is not between {least} and {most}")
        return int(text)

    return read


COUNT = Kind("number", _number(0, 2**31 - 1))
COUNT_FROM_1 = Kind("number, at least 1", _number(1, 2**31 - 1))
OCTETS = Kind("octets", _number(0, 2**62))
PORT = Kind("port", _number(0, 65535))

MOST_WORKERS = 64


def _workers(text: str, context: Context) -> int:
    if text == "auto":
        # Those that this process may run on, which in a container or under taskset(1) are fewer than the machine has.
        return min(len(os.sched_getaffinity(0)), MOST_WORKERS)
    return _number(1, MOST_WORKERS)(text, context)


WORKERS = Kind(f"number from 1 to {MOST_WORKERS}, or `auto`", _workers)

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


def _time(unit: str, least: int = 0) -> Callable[[str, Context], int]:
    """unit: what a number alone counts. Postfix has one for each parameter, and so has whoever knows it by heart."""

    def read(text: str, _: Context) -> int:
        match = re.fullmatch(r"([0-9]{1,9})([smhdw]?)", text)
        if match is None:
            raise BadValue(f"{text!r} is not a time, such as 30s, 5m, 4h, 2d or 1w")
        seconds = int(match[1]) * _SECONDS[match[2] or unit]
        if seconds > 2**31 - 1:
            raise BadValue(f"{text} is longer than 68 years")
        if seconds < least:
            raise BadValue(f"{text} is less than {least}s")
        return seconds

    return read


TIME = Kind("time", _time("s"))
TIME_FROM_1 = Kind("time, at least 1s", _time("s", 1))
TIME_IN_HOURS = Kind("time (a number alone: hours)", _time("h"))
TIME_IN_DAYS = Kind("time (a number alone: days)", _time("d"))

# words


def _text(text: str, _: Context) -> str:
    if any(ord(char) < 32 or ord(char) == 127 for char in text):
        raise BadValue("a control character in the text")
    return text


TEXT = Kind("text", _text)


def choice(*known: str) -> Kind[str]:
    """One of these words, case ignored, as Postfix ignores it."""

    def read(text: str, _: Context) -> str:
        by_case = {word.lower(): word for word in known}
        if text.lower() not in by_case:
            raise BadValue(f"{text!r} is none of: {', '.join(known)}")
        return by_case[text.lower()]

    return Kind(" or ".join(f"`{word}`" for word in known), read)


YES_OR_NO = Kind("`yes` or `no`", lambda text, context: choice("yes", "no").read(text, context) == "yes")


def _some_of(*known: str) -> Callable[[str, Context], frozenset[str]]:
    def read(text: str, _: Context) -> frozenset[str]:
        words = [word.lower() for word in re.split(r"[,\s]+", text) if word]
        for word in words:
            if word not in known:
                raise BadValue(f"{word!r} is none of: {', '.join(known)}")
        return frozenset(words)

    return read


NOTICES = Kind(
    "classes of trouble", _some_of("bounce", "2bounce", "delay", "policy", "protocol", "resource", "software")
)


def _level(text: str, _: Context) -> str:
    if not re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9}){0,2}", text):
        raise BadValue(f"{text!r} is not a level, such as 3.6")
    return text


LEVEL = Kind("release", _level)


def _account_name(text: str, _: Context) -> str:
    # What an account may be called is accounts.names' business; here only what could never be one.
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,31}", text):
        raise BadValue(f"{text!r} is not the name of an account")
    return text


ACCOUNT = Kind("account", _account_name)
ACCOUNT_OR_NOTHING = Kind("account, or empty", lambda text, context: _account_name(text, context) if text else "")


def _service(text: str, _: Context) -> str:
    # The name becomes that of a file in /etc/pam.d.
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", text):
        raise BadValue(f"{text!r} is not the name of a PAM service")
    return text


SERVICE = Kind("name of a PAM service", _service)


def _path(text: str, context: Context) -> str:
    if not _text(text, context).startswith("/"):
        raise BadValue(f"{text!r} is not an absolute path: it must begin with /")
    return text.rstrip("/") or "/"


PATH = Kind("absolute path", _path)
PATH_OR_NOTHING = Kind("absolute path, or empty", lambda text, context: _path(text, context) if text else "")


def _spool(text: str, context: Context) -> str:
    if text.endswith("/"):
        raise BadValue(
            f"{text}: the / at its end asks for maildir folders in Postfix; here are mbox files only, so write it without"
        )
    return _path(text, context)


SPOOL = Kind("absolute path", _spool)


def _headers(text: str, _: Context) -> tuple[str, ...]:
    names = tuple(word.lower().removesuffix(":") for word in words(text))
    for name in names:
        if not re.fullmatch(r"[!-9;-~]+", name):  # RFC 5322, 3.6.8
            raise BadValue(f"{name!r} is not the name of a header")
    return names


HEADERS = Kind("list of header names", _headers)


def _delimiters(text: str, _: Context) -> str:
    if re.search(r"[\w\s@\"]", text):
        raise BadValue(f"{text!r}: letters, digits, white space, @ and quotes cannot separate a name from its tag")
    return text


DELIMITERS = Kind("characters", _delimiters)


def _locks(text: str, _: Context) -> frozenset[str]:
    found = frozenset(words(text))
    for word in sorted(found - {"dotlock", "fcntl", "flock"}):
        raise BadValue(f"{word!r} is none of: dotlock, fcntl, flock")
    if not found:
        raise BadValue(
            "no lock at all would let two programs write into a mailbox at once; fcntl, dotlock is the default"
        )
    return found


LOCKS = Kind("list of `dotlock`, `fcntl`, `flock`", _locks)

# files and accounts


def _alias_files(text: str, context: Context) -> tuple[str, ...]:
    paths = []
    for word in words(text):
        table = table_reference(word)
        if word.startswith("/"):
            # Postfix wants a type; here every type is the text itself, so a path can mean nothing else.
            paths.append(_path(word, context))
            continue
        if table is None:
            raise BadValue(f"{word} is not a table, such as hash:/etc/aliases")
        paths.append(_path(lists.text_of(table), context))
    return tuple(paths)


ALIAS_FILES = Kind("list of tables", _alias_files)


@dataclass(frozen=True, slots=True)
class AccountSource:
    """kind: ``system``, or ``passwd-file``, whose ``path`` is given."""

    kind: Literal["system", "passwd-file"]
    path: str = ""


def _accounts(text: str, context: Context) -> tuple[AccountSource, ...]:
    sources = []
    for word in words(text):
        bare = word[1:-1].strip(SPACE) if word.startswith("{") and word.endswith("}") else word
        if bare == "system":
            sources.append(AccountSource("system"))
        elif bare.startswith("passwd-file:"):
            sources.append(AccountSource("passwd-file", _path(bare.removeprefix("passwd-file:"), context)))
        else:
            raise BadValue(f"{bare!r} is neither system nor passwd-file:/path")
    if not sources:
        raise BadValue("without accounts nobody has mail here; system is the default")
    return tuple(sources)


ACCOUNTS = Kind("list of `system`, `passwd-file:PATH`", _accounts)


@dataclass(frozen=True, slots=True)
class UserIds:
    """Ranges of uids, both ends in them."""

    ranges: tuple[tuple[int, int], ...]

    def __contains__(self, uid: object) -> bool:
        return isinstance(uid, int) and any(first <= uid <= last for first, last in self.ranges)


def _user_ids(text: str, _: Context) -> UserIds:
    ranges = []
    for word in words(text):
        match = re.fullmatch(r"([0-9]{1,10})(?:-([0-9]{1,10}))?", word)
        if match is None or int(match[2] or match[1]) < int(match[1]):
            raise BadValue(f"{word!r} is neither a uid nor a range, such as 1000-65533")
        ranges.append((int(match[1]), int(match[2] or match[1])))
    if any(first == 0 for first, _last in ranges):
        raise BadValue("uid 0 is root, whose mail goes to admin_user or where an alias says")
    return UserIds(tuple(ranges))


USER_IDS = Kind("list of uids and ranges", _user_ids)


def _endpoints(text: str, context: Context) -> tuple[str, ...]:
    descriptions = tuple(_text(text, context).split())
    for description in descriptions:
        if not re.match(r"[a-z][a-z0-9]*:", description):
            raise BadValue(f"{description!r} is no Twisted endpoint, such as tcp:2525 or systemd:domain=INET:index=0")
        _check_port(description)
    return descriptions


def _check_port(description: str) -> None:
    """BadValue for a TCP endpoint whose port Twisted would not take, which it says only at the start, and in words of Python's."""
    # A colon behind a backslash is part of a value, as in interface=\:\:1.
    kind, *parts = re.split(r"(?<!\\):", description.removeprefix("haproxy:"))
    if kind not in ("tcp", "tcp6"):
        return
    named = [part.removeprefix("port=") for part in parts if part.startswith("port=") or "=" not in part]
    port = named[0] if named else ""
    if not re.fullmatch(r"[0-9]{1,5}", port) or int(port) > 65535:
        raise BadValue(
            f"{description!r}: {repr(port) if port else 'nothing'} stands where the port should;"
            " it is a number up to 65535, and the name of a service is not taken"
        )


ENDPOINTS = Kind("list of Twisted endpoints, separated by white space", _endpoints)
