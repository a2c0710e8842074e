"""smtpd_sender_login_maps (postconf(5)): addresses that logins may send as besides their own. Text files, read again when they change.

A line is ``address login[, login ...]``. The address is a whole one, a name alone (at every domain of ours), or ``@domain``.
"""

from __future__ import annotations

import errno
import os
import stat
import threading
from collections.abc import Callable, Container, Mapping, Sequence

from lanmail.address import Address, canonical_domain
from lanmail.config.syntax import table_entries, words
from lanmail.files import Open, Signature, open_plainly, passes, signature_of
from lanmail.interfaces import InThread, Report

MAX_FILE = 4 << 20
"""Octets that a file may have."""
_LOOK_EVERY = 1.0  # seconds

Logins = frozenset[str]


class SenderLogins:
    """What the files say now. Asked at each MAIL of whoever is logged in, and for the header of what they submit.

    paths: of the text files; the first that knows an address decides. ours: the domains of ours. delimiters: ``recipient_delimiter``.
    report: for warnings, ``file:line: …``. clock: monotonic seconds; the files are looked at no more than once a second, in a thread.
    opened: how they are opened.
    """

    def __init__(
        self,
        paths: Sequence[str],
        ours: Container[str],
        delimiters: str,
        in_thread: InThread,
        report: Report,
        clock: Callable[[], float],
        *,
        opened: Open = open_plainly,
    ) -> None:
        self._paths = tuple(paths)
        self._ours = ours
        self._delimiters = delimiters
        self._in_thread = in_thread
        self._report = report
        self._clock = clock
        self._open = opened
        self._mutex = threading.Lock()
        self._looked: float | None = None
        self._signatures: dict[str, Signature] = {}
        self._tables: dict[str, Mapping[str, Logins]] = {}
        self._told: dict[str, str] = {}

    async def may_send_as(self, login: str, address: Address) -> bool:
        """Whether a line lets that login use this address, which has its domain. Never raises."""
        # Before the first reading is done, whoever asks waits for it: without it they would be refused for good.
        unread = any(path not in self._tables for path in self._paths)
        if self._paths and (unread or self._looked is None or self._clock() - self._looked >= _LOOK_EVERY):
            await self._in_thread(self.refresh)
        return login.casefold() in self._logins(address)

    def refresh(self) -> None:
        """Look at the files, and read those that changed. Blocks; call it in a thread. Never raises.

        A file that is gone lets nobody in. One that cannot be had just now stays as it was.
        """
        with self._mutex:
            self._looked = self._clock()
            for path in self._paths:
                try:
                    self._look(path)
                except OSError as error:
                    self._tell(path, f"cannot read it: {error.strerror}")
                    if not (passes(error) and path in self._tables):
                        self._tables[path] = {}
                        self._signatures.pop(path, None)
                else:
                    self._told.pop(path, None)

    def _look(self, path: str) -> None:
        """Read one file if it has changed. OSError, also for one whose lines are anybody's."""
        fd = self._open(path)
        try:
            facts = os.fstat(fd)
            signature = signature_of(facts)
            if signature == self._signatures.get(path):
                return
            if not stat.S_ISREG(facts.st_mode):
                raise OSError(errno.EINVAL, "it is not a regular file", path)
            if facts.st_mode & stat.S_IWOTH:
                raise OSError(
                    errno.EPERM, f"everybody can write into it, and so send as anybody; chmod o-w {path}", path
                )
            with open(fd, "rb", closefd=False) as file:
                data = file.read(MAX_FILE + 1)
        finally:
            os.close(fd)
        if len(data) > MAX_FILE:
            raise OSError(errno.EFBIG, f"it has more than {MAX_FILE} octets", path)
        self._tables[path], self._signatures[path] = self._parsed(path, data), signature

    def _logins(self, address: Address) -> Logins:
        for path in self._paths:
            table = self._tables.get(path, {})
            for key in self._keys(address):
                if key in table:
                    return table[key]
        return frozenset()

    def _keys(self, address: Address) -> list[str]:
        """In the order in which Postfix looks (mail_addr_find(3)): whole, without its tag, the names alone, the domain."""
        readings = list(dict.fromkeys((address, address.without_tag(self._delimiters))))
        keys = [_key(reading.local, reading.domain) for reading in readings]
        if address.domain in self._ours:
            keys += [_key(reading.local, "") for reading in readings]
        return [*keys, f"@{address.domain}"]

    def _parsed(self, path: str, data: bytes) -> dict[str, Logins]:
        table: dict[str, Logins] = {}
        for number, key, value in table_entries(data):
            local, at, domain = key.rpartition("@") if "@" in key else (key, "", "")
            try:
                place = _key(local, canonical_domain(domain)) if domain or not at else ""
            except ValueError:
                place = ""
            logins = frozenset(map(self._login, words(value)))
            if not place:
                self._warn(path, number, f'"{key}" is neither an address, nor a name, nor @domain')
            elif not logins:
                self._warn(path, number, f'"{key}" has no login behind it')
            elif place in table:
                self._warn(path, number, f'"{key}" is there already; the first one counts')
            else:
                table[place] = logins
        return table

    def _login(self, word: str) -> str:
        """A login may be written with a domain of ours, as it may be given to us."""
        name, _, domain = word.partition("@")
        return (name if domain.lower() in self._ours else word).casefold()

    def _warn(self, path: str, number: int, what: str) -> None:
        self._report("warning: {place}: {what}", place=f"{path}:{number}", what=what)

    def _tell(self, path: str, trouble: str) -> None:
        """Once for each."""
        if self._told.get(path) != trouble:
            self._report("warning: smtpd_sender_login_maps: {path}: {trouble}", path=path, trouble=trouble)
        self._told[path] = trouble


def _key(local: str, domain: str) -> str:
    return f"{local.casefold()}@{domain}" if domain else local.casefold()
