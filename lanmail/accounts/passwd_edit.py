"""Changing a passwd-file: whole or not at all, one writer at a time, and what else stands in it stays."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection

from lanmail.accounts.hashes import hash_password
from lanmail.accounts.names import is_login_name
from lanmail.accounts.passwd_file import open_checked
from lanmail.accounts.rewriting import locked, replace

Lines = list[str]


def set_password(path: str, name: str, password: str, *, owner: tuple[int, int] | None = None) -> str | None:
    """Add the account, or change its password. Returns its name as the file had it already; None where it is new.

    The file's spelling stays, however the name is written here: its mailbox has that name, and case counts in a spool.
    The file is made (0600) where there is none; owner: uid and gid that a new one gets, for root. What stood behind the old hash
    goes with it. Raises ValueError for an impossible name or password, UnsafeFile, OSError.
    """
    if not is_login_name(name):
        raise ValueError(f"{name!r} cannot be a login name: letters, digits, _ . - and at most 32 of them")
    hashed = hash_password(password)  # before the lock: it takes a while
    spelled: list[str] = []

    def change(lines: Lines) -> Lines:
        places = _places(lines, name)
        if not places:
            return [*lines, f"{name}:{hashed}"]
        spelled.append(_name_in(lines[places[0]]))  # of two spellings the first line's is the one that counts
        line = f"{spelled[0]}:{hashed}"
        return [line if place == places[0] else old for place, old in enumerate(lines) if place not in places[1:]]

    _edit(path, change, os.O_CREAT, owner)
    return spelled[0] if spelled else None


def delete(path: str, name: str) -> bool:
    """Take the account out; True where there was one. Its mailbox stays. Raises UnsafeFile, OSError."""

    def change(lines: Lines) -> Lines:
        places = _places(lines, name)
        return [line for place, line in enumerate(lines) if place not in places]

    return _edit(path, change, 0, None) < 0


def owners_for_editing(facts_of: str) -> Collection[int]:
    """Who may own the file that is edited: root and whoever edits; for root, whoever owns it now, too."""
    owners = {0, os.geteuid()}
    if os.geteuid() == 0:
        try:
            owners.add(os.lstat(facts_of).st_uid)
        except FileNotFoundError:
            pass
    return owners


def _places(lines: Lines, name: str) -> list[int]:
    return [place for place, line in enumerate(lines) if _name_in(line).lower() == name.lower()]


def _name_in(line: str) -> str:
    return line.partition(":")[0].strip()


def _edit(path: str, change: Callable[[Lines], Lines], create: int, owner: tuple[int, int] | None) -> int:
    """By how many lines it grew."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK | create

    def opened(path: str) -> int:
        return os.open(path, flags, 0o600)

    fd = locked(path, lambda: open_checked(path, owners_for_editing(path), opened))
    with open(fd, encoding="utf-8", errors="surrogateescape", newline="\n") as file:
        facts = os.fstat(fd)
        if owner is None or facts.st_size:
            owner = facts.st_uid, facts.st_gid
        before = file.read().removesuffix("\n").split("\n")
        if before == [""]:
            before = []
        after = change(before)
        if after != before:
            replace(path, "".join(f"{line}\n" for line in after), owner, 0o600)
        return len(after) - len(before)
