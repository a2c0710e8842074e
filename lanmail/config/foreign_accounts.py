"""Whether the system's accounts and passwords come from its own files alone, told from the texts of nsswitch.conf and /etc/pam.d.

Only of these can it be seen when a password, or an account, changes. Where anything else has a say (a directory, a token, a count of
failures) a login that was right a minute ago may be wrong now, and nothing here would know.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from lanmail.config.machine import Machine
from lanmail.config.syntax import decoded

ReadText = Callable[[str], str | None]
"""The text of a file; None where there is none, or it cannot be read."""

NSSWITCH = "/etc/nsswitch.conf"
PASSWD = "/etc/passwd"  # noqa: S105
PAM_FOLDERS = ("/etc/pam.d", "/usr/lib/pam.d", "/usr/share/pam.d", "/usr/etc/pam.d")

# systemd (nss-systemd(8)) knows users of running services, and those of userdb and homed, whose records are files that are watched
# (accounts/watched.py) and whose passwords are no business of pam_unix's.
_FILES = {"files", "systemd"}
# Modules whose answer depends on passwd, shadow and the name alone.
_MODULES = {
    f"pam_{name}.so" for name in ("unix", "deny", "permit", "env", "cap", "faildelay", "localuser", "usertype", "warn")
}
_MOST_FILES = 50


def obstacle(service: str, text_of: ReadText) -> str:
    """What besides the files has a say in whether somebody of the system may log in, for a sentence; empty where nothing has.

    service: ``pam_service``. What cannot be read, or is not understood, is an obstacle too.
    """
    for database, source in _sources(text_of(NSSWITCH) or ""):
        if source == "compat" and not _has_compat_rules(text_of(PASSWD) or ""):
            continue
        if source not in _FILES:
            return f"{NSSWITCH} names {source} for {database}"
    return next(_strangers(service, text_of), "")


def obstacle_on(machine: Machine, service: str) -> str:
    """The same, of a machine's own files. Blocking."""

    def text_of(path: str) -> str | None:
        try:
            return decoded(machine.read(path))
        except (OSError, ValueError):  # ValueError: a NUL in a path that some file names
            return None

    return obstacle(service, text_of)


def _sources(nsswitch: str) -> Iterator[tuple[str, str]]:
    """Database and source, of the two that matter (nsswitch.conf(5)); where it says nothing of one, that means files."""
    for line in nsswitch.splitlines():
        database, _, sources = line.partition("#")[0].partition(":")
        if database.strip() in ("passwd", "shadow"):
            for source in re.sub(r"\[[^]]*\]", " ", sources).split():
                yield database.strip(), source


def _has_compat_rules(passwd: str) -> bool:
    """Lines that let NIS in (nsswitch.conf(5), "Compatibility mode"); without them compat is files."""
    return any(line.startswith(("+", "-")) for line in passwd.splitlines())


def _strangers(service: str, text_of: ReadText) -> Iterator[str]:
    """Sentences about lines of the service, and of all that it includes."""
    waiting, seen = [service], {service}
    while waiting:
        name = waiting.pop()
        path, text = _service_file(name, text_of)
        if text is None:
            yield f"there is no file of PAM's called {name}"
            continue
        for line in text.replace("\\\n", " ").splitlines():
            words = _words(line)
            if not words:
                continue
            included = _included(words)
            if included:
                if included not in seen:
                    seen.add(included)
                    waiting.append(included)
                if len(seen) > _MOST_FILES:
                    yield f"{path} includes more than {_MOST_FILES} files"
                    return
            elif words[0].lstrip("-").lower() in ("auth", "account") and (len(words) < 3 or words[2] not in _MODULES):
                yield f"{path} names {words[2] if len(words) > 2 else 'no module'}"
            elif words[0].lstrip("-").lower() not in ("auth", "account", "password", "session"):
                yield f"{path} has a line that begins with {words[0]}"


def _service_file(name: str, text_of: ReadText) -> tuple[str, str | None]:
    if name.startswith("/"):
        return name, text_of(name)
    for folder in PAM_FOLDERS:
        text = text_of(f"{folder}/{name}")
        if text is not None:
            return f"{folder}/{name}", text
    return name, None


def _words(line: str) -> list[str]:
    """pam.conf(5): what stands in brackets is one word."""
    return re.findall(r"\[[^]]*\]|\S+", line.partition("#")[0])


def _included(words: list[str]) -> str:
    if words[0] == "@include" and len(words) > 1:  # Debian's
        return words[1]
    # Sessions and changes of passwords are none of ours.
    if len(words) > 2 and words[1] in ("include", "substack") and words[0].lstrip("-").lower() in ("auth", "account"):
        return words[2]
    return ""
