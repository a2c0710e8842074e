"""When the guard is asked for a mailbox or a file, and what its answers mean; with a guard that says what it is told to."""

from __future__ import annotations

import os
from pathlib import Path

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from lanmail.accounts.guard import GuardTrouble
from lanmail.interfaces import User
from lanmail.mailbox.locks import MailboxBusy, MailboxFailure, MailboxUnsafe
from lanmail.rights import opener
from lanmail.rights.channel import Frame
from lanmail.rights.openers import GuardedFiles, GuardedOpener


class AnsweringAsking:
    """Asking with one answer; remembers what it was asked."""

    def __init__(self, answer: Frame | GuardTrouble) -> None:
        self.answer = answer
        self.asked: list[tuple[bytes, ...]] = []

    def ask(self, kind: bytes, *fields: bytes) -> Frame:
        self.asked.append((kind, *fields))
        if isinstance(self.answer, GuardTrouble):
            raise self.answer
        return self.answer


def an_open_file() -> int:
    return os.open(os.devnull, os.O_RDWR)


class GuardedOpenerTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = Path(self.mktemp())
        self.folder.mkdir()
        self.fd = os.open(self.folder, os.O_RDONLY)
        self.addCleanup(os.close, self.fd)
        self.ann = User("ann", os.geteuid() + 1, 1)
        self.path = str(self.folder / "ann")

    def opener(self, answer: Frame | GuardTrouble) -> GuardedOpener:
        self.asking = AnsweringAsking(answer)
        return GuardedOpener(self.asking, None)  # type: ignore[arg-type]

    def create(self, answer: Frame | GuardTrouble) -> int:
        return self.opener(answer).create(self.fd, self.path, self.ann, lambda _: self.fail("the guard has locked it"))

    def test_a_missing_one_is_made_by_the_guard(self) -> None:
        fd = an_open_file()
        self.addCleanup(os.close, fd)
        self.assertEqual(self.create(Frame(opener.OPENED, (), (fd,))), fd)
        self.assertEqual(self.asking.asked, [(opener.CREATE, b"ann", b"%d" % self.ann.uid)])

    def test_each_answer_is_what_our_own_rights_would_have_met(self) -> None:
        for kind, fields, error, words in (
            (opener.BUSY, (b"pid 7",), MailboxBusy, "held by pid 7"),
            (opener.UNSAFE, (b"it is a link",), MailboxUnsafe, "it is a link"),
            (opener.NOBODY, (b"who is that",), MailboxFailure, "who is that"),
            (opener.FAILED, (b"17", b"x"), FileExistsError, "exists"),
            (opener.FAILED, (b"2", b"x"), FileNotFoundError, "No such file"),
            (opener.FAILED, (b"28", b"x"), OSError, "No space"),
            (opener.FAILED, (b"5", b"the folder is missing"), OSError, "the folder is missing"),
            (opener.FAILED, (b"x",), MailboxFailure, "noise"),
            (b"?", (), MailboxFailure, "noise"),
        ):
            caught = self.assertRaises(error, self.create, Frame(kind, fields))
            self.assertIn(words, str(getattr(caught, "detail", caught)))

    def test_a_guard_without_an_answer_is_trouble_that_passes(self) -> None:
        caught = self.assertRaises(MailboxFailure, self.create, GuardTrouble("no answer within 10 s"))
        self.assertEqual((caught.status.code, caught.detail), (451, f"cannot open {self.path}: no answer within 10 s"))

    def test_what_our_own_rights_open_is_not_asked_for(self) -> None:
        if os.geteuid() != 0:
            raise SkipTest("only root can make another's mailbox")
        Path(self.path).write_bytes(b"x")
        os.chown(self.path, self.ann.uid, 0)
        os.close(self.opener(GuardTrouble("never")).open(self.fd, self.path, self.ann))
        os.chown(self.path, 0, 0)  # root's, or whoever's we are: not ann's
        self.assertRaises(MailboxUnsafe, self.opener(GuardTrouble("never")).open, self.fd, self.path, self.ann)
        self.assertEqual(self.asking.asked, [])

    def test_what_we_may_not_open_the_guard_is_asked_for(self) -> None:
        def refuse(*_: object, **__: object) -> int:
            raise PermissionError(13, "Permission denied")

        self.patch(os, "open", refuse)
        fd = 5
        self.assertEqual(self.opener(Frame(opener.OPENED, (), (fd,))).open(self.fd, self.path, self.ann), fd)
        self.assertEqual(self.asking.asked, [(opener.OPEN, b"ann", b"%d" % self.ann.uid)])

    def test_a_mailbox_of_our_own_is_opened_and_made_with_our_own_rights(self) -> None:
        ours = User("ann", os.geteuid(), os.getegid())
        guarded = self.opener(GuardTrouble("never"))
        locked: list[int] = []
        os.close(guarded.create(self.fd, self.path, ours, locked.append))
        os.close(guarded.open(self.fd, self.path, ours))
        self.assertEqual((self.asking.asked, len(locked)), ([], 1))


class GuardedFilesTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.path = os.path.abspath(self.mktemp())
        Path(self.path).write_bytes(b"text")

    def files(self, answer: Frame | GuardTrouble) -> GuardedFiles:
        self.asking = AnsweringAsking(answer)
        return GuardedFiles(self.asking, ["/etc/one", self.path])  # type: ignore[arg-type]

    def test_a_file_that_was_named_is_asked_for_by_its_place(self) -> None:
        fd = os.open(self.path, os.O_RDONLY)
        self.assertEqual(self.files(Frame(opener.OPENED, (), (fd,))).read(self.path), b"text")
        self.assertEqual(self.asking.asked, [(opener.FILE, b"1")])

    def test_any_other_and_one_that_is_not_root_s_is_opened_with_our_own_rights(self) -> None:
        other = f"{self.path}-other"
        Path(other).write_bytes(b"other")
        files = self.files(Frame(opener.NOT_ROOTS, (b"somebody else's",)))
        self.assertEqual((files.read(other), files.read(self.path)), (b"other", b"text"))
        self.assertEqual(len(self.asking.asked), 1)

    def test_one_that_our_own_rights_do_not_reach_either_says_both_reasons(self) -> None:
        def refuse(*_: object, **__: object) -> int:
            raise PermissionError(13, "Permission denied")

        self.patch(os, "open", refuse)
        caught = self.assertRaises(
            PermissionError,
            self.files(Frame(opener.NOT_ROOTS, (b"/tmp is not root's alone to write to",))).open,
            self.path,
        )
        expected = "Permission denied, and root does not open it for us: /tmp is not root's alone to write to"
        self.assertEqual((caught.errno, caught.strerror), (13, expected))

    def test_what_cannot_be_had_is_what_open_says(self) -> None:
        self.assertRaises(FileNotFoundError, self.files(Frame(opener.FAILED, (b"2", b"x"))).open, self.path)
        self.assertRaises(PermissionError, self.files(Frame(opener.FAILED, (b"13", b"x"))).open, self.path)
        for answer in (GuardTrouble("it is stuck"), Frame(b"?"), Frame(opener.BUSY, (b"x",))):
            self.assertEqual(self.assertRaises(OSError, self.files(answer).open, self.path).errno, 5)

    def test_a_file_that_is_too_long_is_not_read_to_its_end(self) -> None:
        self.assertEqual(
            self.assertRaises(OSError, self.files(Frame(opener.NOT_ROOTS, (b"somebody's",))).read, self.path, 3).errno,
            27,
        )
