from __future__ import annotations

import os

from twisted.trial.unittest import SynchronousTestCase

from lanmail.interfaces import User
from lanmail.spool import intents
from lanmail.spool.incoming import Content, IncomingFolder
from lanmail.spool.intents import Intended, Intents, Torn
from tests.delivery.house import Reports, at_once

ID = "222CF6745D"


class IntentsTests(SynchronousTestCase):
    def setUp(self) -> None:
        folder = os.path.abspath(self.mktemp())
        self.incoming = IncomingFolder(os.path.join(folder, "incoming"), at_once, Reports())
        self.addCleanup(self.incoming.close)
        self.path = os.path.join(folder, "intents")
        self.intents = Intents(self.path, self.incoming)
        self.addCleanup(self.intents.close)
        self.mailboxes = [
            Intended(User("ann", 1000, 1000, "/home/ann"), "/var/mail/ann", 1, 2, 300, b"From a\n\xc3\xa9: \xff\n"),
            Intended(User("bob", 1001, 1001), "/var/mail/bob", 1, 3, 0, b"From a\n"),
        ]

    def test_what_was_written_is_read(self) -> None:
        self.intents.write(ID, self.mailboxes, Content(6, b"a\nb\n\n\n")).close()
        note = self.intents.read(ID)
        self.addCleanup(note.close)
        self.assertEqual(note.mailboxes, self.mailboxes)
        self.assertEqual(b"".join(note.content.pieces()), b"a\nb\n\n\n")
        self.assertFalse(note.delivered or note.undone)
        self.assertEqual(self.intents.names(), [ID])
        self.assertEqual(os.stat(note.path).st_mode & 0o7777, 0o600)

    def test_a_large_content_is_named(self) -> None:
        path = self.incoming.path_of(ID)
        with open(path, "wb") as file:
            file.write(b"x" * 100)
        self.intents.write(ID, self.mailboxes, Content(100, name=ID, path=path)).close()
        note = self.intents.read(ID)
        self.addCleanup(note.close)
        self.assertEqual((note.content.name, note.content.path, note.content.size), (ID, path, 100))
        self.assertEqual(b"".join(note.content.pieces()), b"x" * 100)

    def test_a_note_cut_off_or_changed_anywhere_is_torn(self) -> None:
        self.intents.write(ID, self.mailboxes, Content(6, b"a\nb\n\n\n")).close()
        path = os.path.join(self.path, ID)
        with open(path, "rb") as file:
            whole = file.read()
        for text in (*(whole[:n] for n in range(len(whole))), whole + b"x", whole[:-1] + b"x", b"\0" * len(whole)):
            with open(path, "wb") as file:
                file.write(text)
            self.assertRaises(Torn, self.intents.read, ID)

    def test_it_is_settled_as_a_whole_or_mailbox_by_mailbox(self) -> None:
        note = self.intents.write(ID, self.mailboxes, Content(1, b"\n"))
        note.mark_undone(1)
        note.close()
        note = self.intents.read(ID)
        self.assertEqual([number for number, _ in note.unsettled()], [0])
        self.assertFalse(note.undone)
        note.mark_undone(0)
        note.close()
        note = self.intents.read(ID)
        self.assertTrue(note.undone and not note.delivered)
        note.remove()
        note.close()
        self.assertEqual(self.intents.names(), [])
        note = self.intents.write(ID, self.mailboxes, Content(1, b"\n"))
        note.mark_delivered()
        note.close()
        note = self.intents.read(ID)
        self.assertTrue(note.delivered)
        note.mark_failed()
        note.close()
        note = self.intents.read(ID)
        self.assertFalse(note.delivered)
        note.close()

    def test_a_note_that_cannot_be_written_is_not_there(self) -> None:
        def fail(*args: object) -> None:
            raise OSError(28, "No space left on device")

        for call in ("write", "fsync"):
            with self.subTest(call):
                patch = self.patch(intents.os, call, fail)
                self.assertRaises(OSError, self.intents.write, ID, self.mailboxes, Content(1, b"\n"))
                patch.restore()
                self.assertEqual(self.intents.names(), [])

    def test_two_messages_of_one_id_are_not_mixed(self) -> None:
        self.intents.write(ID, self.mailboxes, Content(1, b"\n")).close()
        self.assertRaises(FileExistsError, self.intents.write, ID, self.mailboxes, Content(1, b"\n"))
        self.assertEqual(self.intents.names(), [ID])

    def test_closed_it_holds_no_descriptor_and_may_be_closed_again(self) -> None:
        before = len(os.listdir("/proc/self/fd"))
        intents = Intents(self.path, self.incoming)
        intents.close()
        intents.close()
        self.assertEqual(len(os.listdir("/proc/self/fd")), before)
