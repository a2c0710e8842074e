"""The UIDLs of older servers: read once, kept, and not confused by later stamps."""

from __future__ import annotations

import os

from twisted.trial.unittest import SynchronousTestCase

from lanmail.mailbox.adopted import AdoptedUidls, UidlFormat
from lanmail.mailbox.disk import SystemDisk
from lanmail.mailbox.locks import MailboxFailure
from lanmail.mailbox.uidl import unique_ids
from tests.mailbox import others
from tests.mailbox.files import a_file, delivered, foreign, index, rewrite, write

UW = "%08Xv%08Xu"


class UidlFormatTest(SynchronousTestCase):
    def test_the_forms_of_uw_and_of_dovecot(self) -> None:
        self.assertEqual(UidlFormat(UW).uidl(0x3DCE1F51, 0x2A), "3dce1f510000002a")
        self.assertEqual(UidlFormat("%08Xu%08Xv").uidl(0x3DCE1F51, 0x2A), "0000002a3dce1f51")
        self.assertEqual(UidlFormat("%v.%u").uidl(7, 42), "7.42")

    def test_others_are_refused_in_words(self) -> None:
        for text in ("", "%v", "%f", "%08Xu %08Xv", "%g", "%", "%061u%v", "x" * 70 + "%u"):
            self.assertRaises(ValueError, UidlFormat, text)


class AdoptedTest(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = self.mktemp()
        os.mkdir(self.folder)

    def names(self, fd: int, uidl_format: str = UW) -> list[str]:
        now = index(fd)
        return unique_ids(fd, now, AdoptedUidls(self.folder, UidlFormat(uidl_format)).of("ann", fd, now))

    def test_a_mailbox_of_uw_keeps_the_names_its_clients_know(self) -> None:
        with a_file(others.content("uw.mbox")) as fd:
            first, second, new = self.names(fd)
        self.assertEqual([first, second], [f"{1036929121:08x}{uid:08x}" for uid in (3, 5)])
        self.assertEqual(len(new), 32)

    def test_a_mailbox_of_dovecot_too(self) -> None:
        # What that file has from us an older server's Postfix would have delivered.
        with a_file(others.content("dovecot.mbox").replace(b"(lanmail)", b"(Postfix)")) as fd:
            self.assertEqual([name[:8] for name in self.names(fd, "%08Xu%08Xv")], ["00000001", "00000003", "00000004"])

    def test_x_uidl_is_the_name_and_is_given_once(self) -> None:
        with a_file(others.content("qpopper.mbox")) as fd:
            first, second, third = self.names(fd)
        self.assertEqual(first, '8#"!!jGn!!Z&#"!\'@P!!')
        self.assertEqual(second, "c0c2a5d1d9a4c3e5b0f0e8a1b2c3d4e5")
        self.assertNotEqual(third, second)

    def test_later_stamps_count_for_nothing(self) -> None:
        stamped = foreign(b"one", fields=b"X-IMAPbase: 1 9\nX-UID: 4\n")
        with a_file(stamped + foreign(b"two")) as fd:
            before = self.names(fd)
            self.assertEqual(before[0], "0000000100000004")
            rewrite(
                fd,
                foreign(b"one", fields=b"X-IMAPbase: 77 9\nX-UID: 5\nX-UIDL: x\n")
                + foreign(b"two", fields=b"X-UID: 6\n")
                + foreign(b"new", fields=b"X-UID: 7\n"),
            )
            self.assertEqual(self.names(fd)[:2], before)
            self.assertEqual(len(self.names(fd)[2]), 32)

    def test_stamps_in_what_we_delivered_are_no_older_servers(self) -> None:
        # A new user's mailbox, which Dovecot opened before the first login by POP3.
        content = delivered([b"Subject: one\r\n\r\nb\r\n"]) + delivered([b"Subject: two\r\n\r\nb\r\n"])
        with a_file(content) as fd:
            unstamped = unique_ids(fd, index(fd), {})
        dovecot = others.Dovecot(self, content)
        dovecot("flags", "add", "\\Seen", "mailbox", "INBOX", "1:2")
        with open(dovecot.path, "rb") as file:
            self.assertEqual(file.read().count(b"X-UID:"), 2)
            self.assertEqual(self.names(file.fileno()), unstamped)

    def test_dovecot_opening_a_mailbox_of_ours_changes_no_name(self) -> None:
        content = foreign(b"one") + delivered([b"Subject: two\r\n\r\nb\r\n"])
        with a_file(content) as fd:
            before = self.names(fd)
        dovecot = others.Dovecot(self, content)
        dovecot("flags", "add", "\\Seen", "mailbox", "INBOX", "1:2")
        with open(dovecot.path, "rb") as file:
            self.assertEqual(self.names(file.fileno()), before)

    def test_an_empty_mailbox_decides_nothing_yet(self) -> None:
        with a_file(b"") as fd:
            self.assertEqual(self.names(fd), [])
            write(fd, foreign(b"one", fields=b"X-UIDL: old\n"))
            self.assertEqual(self.names(fd), ["old"])

    def test_copies_keep_their_old_names_in_their_order(self) -> None:
        copies = [foreign(b"one", fields=b"X-UIDL: %d\n" % number) for number in (1, 2, 3)]
        with a_file(b"".join(copies)) as fd:
            self.assertEqual(self.names(fd), ["1", "2", "3"])
            rewrite(fd, copies[0] + copies[2])
            self.assertEqual(self.names(fd), ["1", "2"])

    def test_uids_that_do_not_grow_are_leftovers_of_elsewhere(self) -> None:
        numbers = (b"5", b"3", b"6", b"6")
        messages = [
            foreign(b"m%d" % at, fields=b"X-IMAP: 9 9\nX-UID: %s   \n" % number) for at, number in enumerate(numbers)
        ]
        with a_file(b"".join(messages)) as fd:
            self.assertEqual([len(name) for name in self.names(fd)], [16, 32, 16, 32])

    def test_names_that_no_client_could_have_had_are_not_taken(self) -> None:
        for value in (b"", b"two words", b"\xe9", b"x" * 71):
            with a_file(foreign(b"one " + value[:1], fields=b"X-UIDL: " + value + b"\n")) as fd:
                self.assertEqual(len(self.names(fd)[0]), 32, value)

    def test_they_are_on_stable_storage_before_anybody_is_told(self) -> None:
        done: list[str] = []

        class Remembering(SystemDisk):
            def sync(self, fd: int) -> None:
                done.append("sync")

            def rename(self, old: str, new: str) -> None:
                done.append("rename")
                super().rename(old, new)

            def sync_folder(self, path: str) -> None:
                done.append("sync folder")

        with a_file(foreign(b"one")) as fd:
            AdoptedUidls(self.folder, UidlFormat(UW), Remembering()).of("ann", fd, index(fd))
        self.assertEqual(done, ["sync", "rename", "sync folder"])
        self.assertEqual(os.listdir(self.folder), ["ann"])

    def test_a_damaged_record_gives_no_names_rather_than_new_ones(self) -> None:
        with open(os.path.join(self.folder, "ann"), "wb") as file:
            file.write(b"\x00" * 100)
        with a_file(foreign(b"one")) as fd:
            self.assertRaises(MailboxFailure, self.names, fd)

    def test_a_folder_that_cannot_be_written_gives_none_either(self) -> None:
        os.rmdir(self.folder)
        with a_file(foreign(b"one")) as fd:
            self.assertRaises(MailboxFailure, self.names, fd)
