"""A mailbox whose file somebody else opens and makes: what store.py leaves to them, and what it still sees to."""

from __future__ import annotations

import os
from collections.abc import Callable

from twisted.trial.unittest import SynchronousTestCase

from lanmail.interfaces import User
from lanmail.mailbox.locks import Locking, MailboxBusy, MailboxUnsafe
from lanmail.mailbox.opening import Owner, PlainOpener
from lanmail.mailbox.store import MailboxFile
from tests.mailbox.spool import Spool


class RememberingOpener(PlainOpener):
    """Does as the default does, and remembers what it was asked for."""

    def __init__(self) -> None:
        super().__init__(None)
        self.asked: list[str] = []
        self.instead: str | None = None

    def open(self, folder: int, path: str, owner: Owner, /) -> int:
        self.asked.append(f"open {os.path.basename(path)} of {owner.name}")
        if self.instead is not None:
            return os.open(self.instead, os.O_RDWR)
        return super().open(folder, path, owner)

    def create(self, folder: int, path: str, owner: Owner, lock: Callable[[int], None], /) -> int:
        self.asked.append(f"create {os.path.basename(path)} of {owner.name}")
        return super().create(folder, path, owner, lock)


class OpenerTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.spool = Spool(self.mktemp())
        self.opener = RememberingOpener()

    def mailbox(self) -> MailboxFile:
        return MailboxFile(
            self.spool.path("ann"),
            User("ann", os.geteuid(), os.getegid()),
            group=None,
            locking=Locking(),
            state_folder=self.spool.state,
            report=self.spool.report,
            opener=self.opener,
        )

    def test_a_missing_one_is_made_by_whoever_was_handed_in_and_is_locked(self) -> None:
        with self.mailbox().lock(create=True) as held:
            self.assertTrue(held.created)
            self.assertRaises(MailboxBusy, self.mailbox().lock, create=True)
            held.append([b"From x\n\ny\n"])
        self.assertEqual(
            self.opener.asked, ["open ann of ann", "create ann of ann"]
        )  # the second was held up by the dotlock

    def test_one_that_is_there_is_opened_by_them(self) -> None:
        self.spool.put("ann", b"")
        with self.mailbox().lock(create=False) as held:
            self.assertFalse(held.created)
        self.assertEqual(self.opener.asked, ["open ann of ann"])

    def test_what_they_open_must_be_the_file_that_stands_there(self) -> None:
        self.spool.put("ann", b"")
        self.spool.put("other", b"secret")
        self.opener.instead = self.spool.path("other")
        self.assertRaises(MailboxBusy, self.mailbox().lock, create=False)
        self.assertEqual(self.spool.content("other"), b"secret")

    def test_what_they_refuse_is_refused_and_told(self) -> None:
        os.symlink("/etc/passwd", self.spool.path("ann"))
        self.assertRaises(MailboxUnsafe, self.mailbox().lock, create=True)
        self.assertIn("is a symbolic link", self.spool.report.lines[-1])
