"""The UIDLs that an older server gave the messages of a mailbox: read from its stamps once, and kept.

Its clients know their messages by these names, and would otherwise fetch everything again. Once we have given names
ourselves, stamps count for nothing: Dovecot writes its own into every message of any mbox that it opens.
"""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence

from lanmail.mailbox.disk import SYSTEM, Disk
from lanmail.mailbox.found import HEADER_READ, OURS
from lanmail.mailbox.index import Index
from lanmail.mailbox.locks import MailboxFailure
from lanmail.mailbox.uidl import identify
from lanmail.mailbox.windows import Window

_TITLE = "lanmail: UIDLs of an older server, by content identity (1)"

_LARGEST = 2**32 - 1  # of UIDs and UIDVALIDITYs (RFC 3501, 2.3.1.1)
_LONGEST = 70

_X_UIDL = re.compile(rb"\nx-uidl:[ \t]*([\x21-\x7e]{1,70})[ \t]*\r?\n", re.IGNORECASE)
_X_UID = re.compile(rb"\nx-uid:[ \t]*([0-9]{1,10})[ \t]*\r?\n", re.IGNORECASE)
_X_IMAP = re.compile(rb"\nx-imap(?:base)?:[ \t]*([0-9]{1,10})[ \t\r\n]", re.IGNORECASE)


class UidlFormat:
    """How an older server made a UIDL of UIDVALIDITY and UID, written as Dovecot writes its ``pop3_uidl_format``.

    ``%v`` is the UIDVALIDITY and ``%u`` the UID, with a width and `X` (hex, lower case as both servers write it) where wanted:
    ``%08Xv%08Xu`` is UW ipop3d's, ``%08Xu%08Xv`` Dovecot's. ``%%`` is a percent sign.
    """

    _PART = re.compile(r"%(?:(?P<width>0[0-9]{1,2})?(?P<hex>X?)(?P<what>[uv])|%)|[!-$&-~]")

    def __init__(self, text: str) -> None:
        """Raises ValueError, whose text says what cannot be used."""
        rest = self._PART.sub("", text)
        if rest or not re.search("%[0-9X]*u", text):
            raise ValueError(
                f"{text}: a form such as %08Xv%08Xu (UW ipop3d) or %08Xu%08Xv (Dovecot) is needed, of %u and %v"
            )
        self._text = text
        if len(self.uidl(_LARGEST, _LARGEST)) > _LONGEST:
            raise ValueError(f"{text}: a UIDL has no more than {_LONGEST} characters (RFC 1939, 7)")

    def uidl(self, validity: int, uid: int) -> str:
        def part(found: re.Match[str]) -> str:
            if found["what"] is None:
                return found[0][-1]
            number = {"u": uid, "v": validity}[found["what"]]
            return format(number, (found["width"] or "") + ("x" if found["hex"] else "d"))

        return self._PART.sub(part, self._text)


class AdoptedUidls:
    """For all mailboxes, one file each in ``folder``, written when the mailbox is first seen with messages in it.

    Whoever copies an older server's mailbox over one that we know already removes its file there first.
    """

    def __init__(self, folder: str, uidl_format: UidlFormat, disk: Disk = SYSTEM) -> None:
        self._folder = folder
        self._format = uidl_format
        self._disk = disk

    def of(self, name: str, fd: int, index: Index) -> Mapping[bytes, Sequence[str]]:
        """From content identity to the UIDLs of its copies in the order of the file, as uidl.unique_ids takes them.

        name: of the user, safe as the name of a file. It is on stable storage before it is returned.
        Raises Changed, and MailboxFailure where it cannot be read or kept.
        """
        if not len(index):
            return {}
        path = os.path.join(self._folder, name)
        try:
            try:
                return self._load(path)
            except FileNotFoundError:
                identify(fd, index)
                adopted = _by_identity(index, self._stamps(fd, index))
                self._save(path, adopted)
                return adopted
        except OSError as error:
            raise MailboxFailure.of(error, f"cannot keep the UIDLs of an older server in {path}") from error

    def _load(self, path: str) -> dict[bytes, list[str]]:
        fd = self._disk.open(path, create=False)
        try:
            text = self._disk.read(fd, self._disk.size(fd), 0).decode("ascii", "replace")
        finally:
            self._disk.close(fd)
        title, *lines = text.splitlines()
        adopted = defaultdict(list)
        try:
            if title != _TITLE:
                raise ValueError
            for line in lines:
                identity, uidl = line.split(" ")
                adopted[bytes.fromhex(identity)].append(uidl)
        except ValueError:
            # To go on without it would give every message of this user another name.
            raise MailboxFailure(
                f"{path} is not what lanmail wrote; restore it, or remove it to read the stamps again"
            ) from None
        return dict(adopted)

    def _save(self, path: str, adopted: Mapping[bytes, Sequence[str]]) -> None:
        lines = [_TITLE, *(f"{identity.hex()} {uidl}" for identity, uidls in adopted.items() for uidl in uidls)]
        new = os.path.join(self._folder, f".{os.path.basename(path)}.new")
        fd = self._disk.open(new, create=True)
        try:
            self._disk.write(fd, "".join(f"{line}\n" for line in lines).encode("ascii"), 0)
            self._disk.sync(fd)
        finally:
            self._disk.close(fd)
        self._disk.rename(new, path)
        self._disk.sync_folder(path)

    def _stamps(self, fd: int, index: Index) -> list[str | None]:
        """The older server's UIDL of each message, None where it gave none. Raises Changed, OSError."""
        window = Window(fd, index.size)
        base = _X_IMAP.search(_header(window, 0, index.size))
        uids = 0
        stamps: list[str | None] = []
        for number in range(1, len(index) + 1):
            entry = index.entry(number)
            header = _header(window, entry.start, entry.next)
            stamp = None
            if entry.flags & OURS:
                pass  # it came after the older server: another program of today stamped it
            elif x_uidl := _X_UIDL.search(header):
                stamp = x_uidl[1].decode("ascii")
            elif base and (x_uid := _X_UID.search(header)) and int(x_uid[1]) > uids:
                # UIDs grow with the order of the file; one that does not is a leftover of another mailbox.
                uids = int(x_uid[1])
                stamp = self._format.uidl(int(base[1]), uids)
            stamps.append(stamp)
        return stamps


def _header(window: Window, start: int, end: int) -> bytes:
    """The header with the `From ` line, so that each field has a line end before it."""
    length = min(end - start, HEADER_READ)
    window.show(start, length)
    data = window.data
    begin = start - window.base
    ends = [at for empty in (b"\n\n", b"\n\r\n") if (at := data.find(empty, begin, begin + length)) >= 0]
    return data[begin : min(ends, default=begin + length - 1) + 1]


def _by_identity(index: Index, stamps: Sequence[str | None]) -> dict[bytes, list[str]]:
    adopted: defaultdict[bytes, list[str]] = defaultdict(list)
    unstamped = set()
    seen = set()
    for number, stamp in enumerate(stamps, 1):
        identity = index.identity(number)
        assert identity is not None
        # A copy behind one without stamp cannot have its own back: copies are told apart by their order alone. Nor can
        # a name be used twice: a sender may have forged it.
        if stamp is None or stamp in seen or identity in unstamped:
            unstamped.add(identity)
            continue
        seen.add(stamp)
        adopted[identity].append(stamp)
    return dict(adopted)
