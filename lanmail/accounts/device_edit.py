"""Changing the device table: what else stands in it stays, comments too. A table with bad lines is not changed."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable

from lanmail.accounts.devices import MAX_FILE, BadTable, Table, read_table
from lanmail.accounts.rewriting import locked, replace
from lanmail.config.devices import Device, network, said
from lanmail.config.problems import BadValue
from lanmail.files import open_no_link
from lanmail.network import IPNetwork

Lines = list[str]


def add(path: str, device: Device) -> None:
    """A line more, at the end; the file is made (0644) where there is none.

    Raises ValueError where that network has a line, BadTable, OSError.
    """

    def change(lines: Lines, table: Table) -> Lines:
        if any(known.network == device.network for known in table.devices):
            raise ValueError(
                f"{device.place} is in {path} already; take it out first: lanmail device remove {device.place}"
            )
        return [*lines, str(device)]

    _edit(path, change, create=True)


def remove(path: str, where: IPNetwork) -> bool:
    """Take the line of exactly this network out; True where there was one. Raises BadTable, OSError."""
    removed: list[str] = []

    def change(lines: Lines, table: Table) -> Lines:
        removed.extend(line for line in lines if _network_of(line) == where)
        return [line for line in lines if _network_of(line) != where]

    try:
        _edit(path, change, create=False)
    except FileNotFoundError:
        return False
    return bool(removed)


def _network_of(line: str) -> IPNetwork | None:
    words = said(line)
    try:
        return network(words[0]) if words else None
    except BadValue:
        return None


def _edit(path: str, change: Callable[[Lines, Table], Lines], *, create: bool) -> None:
    fd = locked(path, lambda: _opened(path, create))
    with open(fd, encoding="utf-8", errors="surrogateescape", newline="\n") as file:
        table = read_table(path)  # which refuses what is no table
        facts = os.fstat(fd)
        before = file.read(MAX_FILE).removesuffix("\n").split("\n")
        after = change([] if before == [""] else before, table)
        if after != before:
            replace(
                path, "".join(f"{line}\n" for line in after), (facts.st_uid, facts.st_gid), stat.S_IMODE(facts.st_mode)
            )


def _opened(path: str, create: bool) -> int:
    """A new file is for everybody to read: nothing in it is secret."""
    try:
        return open_no_link(path)
    except FileNotFoundError:
        if not create:
            raise
    except OSError as error:
        if os.path.islink(path):
            raise BadTable(f"{path} is a symbolic link; name the file itself") from error
        raise
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
    except FileExistsError:  # somebody else made it just now
        return open_no_link(path)
    os.fchmod(fd, 0o644)
    return fd
