"""Mailboxes and files, opened through the guard where the service's own rights do not reach. Blocking; for threads."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Sequence

from lanmail.accounts.guard import GuardTrouble
from lanmail.files import open_plainly
from lanmail.mailbox.locks import MailboxBusy, MailboxFailure, MailboxUnsafe
from lanmail.mailbox.opening import Owner, PlainOpener, open_mailbox
from lanmail.rights import opener
from lanmail.rights.asking import Asking
from lanmail.rights.channel import Frame
from lanmail.rights.trusted import both_reasons


class GuardedOpener:
    """mailbox.opening.Opener for a process that is ``mail_owner`` and in group mail.

    What is ours (the mailboxes of a passwd-file) is opened and made with our own rights. Of a user's, most are the group's to open too, and
    the guard is not asked; one that is theirs alone is opened by the guard, and a missing one is made by it. group: as for MailboxFile.
    """

    def __init__(self, asking: Asking, group: int | None) -> None:
        self._asking = asking
        self._group = group
        self._plain = PlainOpener(group)

    def open(self, folder: int, path: str, owner: Owner, /) -> int:
        if owner.uid == os.geteuid():
            return self._plain.open(folder, path, owner)
        try:
            return open_mailbox(folder, path, owner, {owner.uid}, self._group)
        except PermissionError:
            return self._asked(opener.OPEN, path, owner)

    def create(self, folder: int, path: str, owner: Owner, lock: Callable[[int], None], /) -> int:
        if owner.uid == os.geteuid():
            return self._plain.create(folder, path, owner, lock)
        return self._asked(opener.CREATE, path, owner)

    def _asked(self, kind: bytes, path: str, owner: Owner) -> int:
        try:
            answer = self._asking.ask(kind, owner.name.encode("ascii"), b"%d" % owner.uid)
        except GuardTrouble as trouble:
            raise MailboxFailure(f"cannot open {path}: {trouble}") from trouble
        if answer.kind == opener.OPENED:
            return answer.only_descriptor()
        answer.close()
        texts = _texts(answer)
        match answer.kind, texts:
            case opener.BUSY, [holder]:
                raise MailboxBusy(path, holder)
            case opener.UNSAFE, [detail]:
                raise MailboxUnsafe(detail)
            case opener.NOBODY, [detail]:
                raise MailboxFailure(f"cannot open {path}: {detail}")
            case opener.FAILED, [number, detail] if number.isdigit():
                raise OSError(int(number), detail if int(number) == errno.EIO else os.strerror(int(number)), path)
        raise MailboxFailure(f"cannot open {path}: the guard answered with noise")


class GuardedFiles:
    """Opens files for reading: those that were named at the start through the guard, all others with our own rights.

    A file that lies in a folder which is not root's alone is not the guard's to hand over: it is opened with our rights too.
    """

    def __init__(self, asking: Asking, paths: Sequence[str]) -> None:
        """paths: Duties.files."""
        self._asking = asking
        self._places = {path: place for place, path in reversed([*enumerate(paths)])}

    def open(self, path: str) -> int:
        """A descriptor of a file (of anything, where our own rights opened it), which whoever asked closes. OSError as open(2) says it."""
        place = self._places.get(path)
        if place is None:
            return open_plainly(path)
        try:
            answer = self._asking.ask(opener.FILE, b"%d" % place)
        except GuardTrouble as trouble:
            raise OSError(errno.EIO, str(trouble), path) from trouble
        if answer.kind == opener.OPENED:
            return answer.only_descriptor()
        answer.close()
        match answer.kind, _texts(answer):
            case opener.FAILED, [number, _] if number.isdigit():
                raise OSError(int(number), os.strerror(int(number)), path)
            case opener.NOT_ROOTS, [why]:
                try:
                    return open_plainly(path)
                except PermissionError as error:
                    raise both_reasons(error, why, path) from error
        raise OSError(errno.EIO, "the guard answered with noise", path)

    def read(self, path: str, most: int = 1 << 24) -> bytes:
        """The whole file; OSError, EFBIG where it has more than ``most`` octets."""
        with open(self.open(path), "rb") as file:
            text = file.read(most + 1)
        if len(text) > most:
            raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), path)
        return text


def _texts(answer: Frame) -> list[str]:
    return [field.decode("utf-8", "surrogateescape") for field in answer.fields]
