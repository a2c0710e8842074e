"""Login names: what may be one, and how the many ways to write one become the one that is used.

A name that leaves here is safe as a file's name, as an argument, and in a line of a log.
"""

from __future__ import annotations

import re
from collections.abc import Collection

# useradd(8) wants less (no capitals, no leading digit), but Debian's and every directory service let more through. What
# matters: it cannot be ".", "..", hidden, an option, or more than one part of a path. Samba's machine accounts, which
# end in "$", read no mail. 32 is the kernel's utmp field and useradd's own limit.
SHAPE = r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,31}"
_LOGIN_NAME = re.compile(SHAPE)

# An address is at most 254 octets (RFC 5321, 4.5.3.1.3, less its brackets); nobody logs in with more.
_LONGEST = 254


def is_login_name(name: str) -> bool:
    """Whether somebody could have this name. What could not reaches neither NSS nor PAM nor a path.

    ``ann.lock`` is nobody: that user's mailbox would be the dotlock of ann's.
    """
    return _LOGIN_NAME.fullmatch(name) is not None and not name.lower().endswith(".lock")


def login_name(written: bytes | str, domains: Collection[str] = ()) -> str | None:
    """The name in what a client logs in with: ``julien``, or ``julien@iscb-corporation.com`` where that domain is ours.

    domains: ours, lower case. None for what is no login name, and for another's domain. The case of the name is kept:
    ``Users.find`` knows how the system writes it.
    """
    if len(written) > _LONGEST:
        return None
    if isinstance(written, bytes):
        try:
            written = written.decode("ascii")
        except UnicodeDecodeError:
            return None
    name, at, domain = written.partition("@")
    if at and domain.lower().removesuffix(".") not in domains:
        return None
    return name if is_login_name(name) else None
