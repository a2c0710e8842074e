"""Indexes on disk: as good as new, or not used."""

from __future__ import annotations

import os

from twisted.trial.unittest import SynchronousTestCase

from lanmail.mailbox.index import SMALL
from lanmail.mailbox.saved_index import SavedIndexes
from lanmail.mailbox.uidl import unique_ids
from tests.mailbox.files import a_file, entries, foreign, index, write

LARGE = foreign(b"large", b"x" * 79 + b"\n") + foreign(b"larger", b"x\n" * (SMALL // 2))


class SavedIndexTest(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = self.mktemp()
        os.mkdir(self.folder)
        self.saved = SavedIndexes(self.folder)

    def test_what_comes_back_is_what_was_kept(self) -> None:
        with a_file(LARGE) as fd:
            first = index(fd)
            names = unique_ids(fd, first, {})
            self.saved.keep("ann", first)
            back = self.saved.load("ann")
            assert back is not None
            self.assertEqual(
                (entries(back), back.total, back.stamp, back.witness),
                (entries(first), first.total, first.stamp, first.witness),
            )
            write(fd, foreign(b"new"))
            now = index(fd, back)
            self.assertTrue(now.continues(back))
            self.assertEqual(unique_ids(fd, now, {})[:2], names)
        self.assertEqual(os.stat(os.path.join(self.folder, "ann")).st_mode & 0o777, 0o600)

    def test_a_damaged_one_is_not_used_wherever_it_is_damaged(self) -> None:
        with a_file(LARGE) as fd:
            self.saved.keep("ann", index(fd))
        path = os.path.join(self.folder, "ann")
        with open(path, "rb") as file:
            good = file.read()
        for damaged in (
            b"",
            good[:-1],
            good + b"x",
            *(good[:at] + bytes((good[at] ^ 1,)) + good[at + 1 :] for at in range(len(good))),
        ):
            with open(path, "wb") as file:
                file.write(damaged)
            self.assertIsNone(self.saved.load("ann"))

    def test_one_of_another_file_is_read_anew(self) -> None:
        with a_file(LARGE) as fd:
            self.saved.keep("ann", index(fd))
        with a_file(foreign(b"one") + LARGE) as fd:
            self.assertEqual(len(index(fd, self.saved.load("ann"))), 3)

    def test_small_mailboxes_are_not_worth_a_file(self) -> None:
        with a_file(LARGE) as fd:
            self.saved.keep("ann", index(fd))
        with a_file(foreign(b"one")) as fd:
            self.saved.keep("ann", index(fd))
            self.saved.keep("ann", index(fd))
        self.assertEqual(os.listdir(self.folder), [])

    def test_none_and_a_link_are_no_index(self) -> None:
        self.assertIsNone(self.saved.load("ann"))
        os.symlink("/etc/passwd", os.path.join(self.folder, "ann"))
        self.assertIsNone(self.saved.load("ann"))
