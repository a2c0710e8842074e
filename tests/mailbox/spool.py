"""A spool folder for a test, and mailboxes in it."""

from __future__ import annotations

import os
from collections.abc import Callable

from lanmail.interfaces import User
from lanmail.mailbox.store import LockedMailbox, Locking, MailboxFile


class RememberingReport:
    """A log that can be read again."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def __call__(self, line: str, /, **fields: object) -> None:
        self.lines.append(line.format(**fields))


class Spool:
    """``folder`` with the mailboxes, ``state`` with what is ours alone."""

    def __init__(self, root: str) -> None:
        self.folder = os.path.join(root, "mail")
        self.state = os.path.join(root, "state")
        os.makedirs(self.folder)
        os.makedirs(self.state, mode=0o700)
        self.report = RememberingReport()

    def path(self, name: str) -> str:
        return os.path.join(self.folder, name)

    def mailbox(
        self,
        name: str = "ann",
        *,
        user: User | None = None,
        group: int | None = None,
        locking: Locking = Locking(),
        mend: Callable[[LockedMailbox], None] | None = None,
        settle: Callable[[LockedMailbox], None] | None = None,
    ) -> MailboxFile:
        return MailboxFile(
            self.path(name),
            user or User(name, os.geteuid(), os.getegid()),
            group=group,
            locking=locking,
            state_folder=self.state,
            report=self.report,
            mend=mend,
            settle=settle,
        )

    def content(self, name: str = "ann") -> bytes:
        with open(self.path(name), "rb") as file:
            return file.read()

    def put(self, name: str, content: bytes) -> None:
        with open(self.path(name), "wb") as file:
            file.write(content)

    def names(self) -> list[str]:
        return sorted(os.listdir(self.folder))
