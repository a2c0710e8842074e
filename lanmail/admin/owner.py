"""Becoming the owner of our folder, for commands that work with what lies in it."""

from __future__ import annotations

import os
import pwd
import stat

from lanmail.address import canonical_domain
from lanmail.log_lines import printable


class NotAllowed(Exception):
    """The text says who may, or what is missing."""


def become_owner(folder: str) -> None:
    """Root becomes the owner of ``folder``; the owner stays who they are; anybody else gets NotAllowed.

    The files in it are the owner's to change. Root would follow whatever link somebody who became that account had put there, and would
    leave files behind that the service cannot write. For good: there is no way back.
    """
    try:
        found = os.lstat(folder)
    except FileNotFoundError:
        raise NotAllowed(f"{folder} is not there: has the service run yet?") from None
    except PermissionError:
        raise NotAllowed(f"only root may do this: {folder} is not yours to look into") from None
    except OSError as error:
        raise NotAllowed(f"{folder}: {error.strerror}") from error
    if not stat.S_ISDIR(found.st_mode):
        raise NotAllowed(f"{folder} is not a folder")
    us = os.geteuid()
    if us == 0:
        _load()
        os.setgroups([])
        os.setgid(found.st_gid)
        os.setuid(found.st_uid)
    elif us != found.st_uid:
        raise NotAllowed(f"only root and {_name(found.st_uid)} (mail_owner) may do this")


def _load() -> None:
    """What Python loads when text from outside first needs it. It may lie where the owner cannot read: in a Python of root's own."""
    printable("\0")
    canonical_domain("\u00e9.lan")


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"
