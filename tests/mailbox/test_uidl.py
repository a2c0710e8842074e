"""UIDLs: the same for the same content, whoever rewrites the file, and never the same for two messages."""

from __future__ import annotations

import os
import re

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from lanmail.mailbox.index import Changed, scan
from lanmail.mailbox.uidl import find_again, identify, unique_ids
from tests.mailbox import others
from tests.mailbox.files import SEPARATOR, a_file, delivered, foreign, index, rewrite, write

ONE, TWO, THREE = foreign(b"one"), foreign(b"two"), delivered([b"Subject: three\r\n\r\nFrom x\r\n"])


def names(content: bytes) -> list[str]:
    with a_file(content) as fd:
        return unique_ids(fd, index(fd), {})


class NameTest(SynchronousTestCase):
    def test_they_are_what_rfc_1939_allows(self) -> None:
        for name in names(ONE + TWO + THREE + ONE):
            self.assertTrue(re.fullmatch(r"[\x21-\x7e]{1,70}", name))

    def test_copies_are_counted_in_the_order_of_the_file(self) -> None:
        one, two = names(ONE + TWO)
        self.assertEqual(names(ONE + ONE + TWO + ONE), [one, f"{one}-2", two, f"{one}-3"])
        self.assertEqual(names(ONE + TWO + ONE), [one, two, f"{one}-2"])

    def test_line_ends_and_the_from_line_do_not_count(self) -> None:
        self.assertEqual(names(ONE.replace(b"\n", b"\r\n")), names(ONE))
        self.assertEqual(names(ONE.replace(SEPARATOR, b"From x Mon Nov 23 08:00:00 2026\n")), names(ONE))

    @given(st.permutations([ONE, TWO, THREE, ONE]), st.integers(1, 4))
    @settings(max_examples=30, deadline=None)
    def test_other_neighbours_change_no_name(self, order: list[bytes], count: int) -> None:
        known = dict(zip((ONE, TWO, THREE), names(ONE + TWO + THREE), strict=True))
        self.assertEqual(
            [name.partition("-")[0] for name in names(b"".join(order[:count]))],
            [known[message] for message in order[:count]],
        )

    def test_only_what_is_new_is_hashed_when_the_file_has_grown(self) -> None:
        with a_file(ONE + TWO) as fd:
            first = index(fd)
            before = unique_ids(fd, first, {})
            write(fd, THREE)
            now = index(fd, first)
            self.assertEqual(len(now.identities), len(first.identities))
            self.assertEqual(unique_ids(fd, now, {})[:2], before)
            self.assertEqual(unique_ids(fd, scan(fd, os.fstat(fd)), {}), unique_ids(fd, now, {}))

    def test_a_file_rewritten_meanwhile_gives_no_wrong_names(self) -> None:
        with a_file(ONE + TWO) as fd:
            first = index(fd)
            rewrite(fd, TWO + ONE)
            self.assertRaises(Changed, identify, fd, first)
            self.assertEqual(len(first.identities), 0)

    def test_a_name_that_somebody_made_up_to_be_ours_is_not_given_twice(self) -> None:
        with a_file(ONE + TWO) as fd:
            now = index(fd)
            one, _ = unique_ids(fd, now, {})
            two = now.identity(2)
            assert two is not None
            given = unique_ids(fd, now, {two: [one]})
            self.assertEqual(given, [f"{one}-2", one])

    def test_a_name_that_an_older_server_gave_stays_taken_when_its_message_is_gone(self) -> None:
        with a_file(ONE + TWO) as fd:
            now = index(fd)
            one, _ = unique_ids(fd, now, {})
            two = now.identity(2)
            assert two is not None
            older = {two: [one]}
            before = unique_ids(fd, now, older)
            rewrite(fd, ONE)
            self.assertEqual(unique_ids(fd, index(fd), older), before[:1])


class RewritingTest(SynchronousTestCase):
    def test_mutt_changes_no_name(self) -> None:
        path = self.mktemp()
        with open(path, "wb") as file:
            file.write(ONE + THREE + TWO)
        others.mutt(path, "<jump>1<enter><set-flag>!<delete-message><jump>2<enter><set-flag>!<sync-mailbox><quit>")
        with open(path, "rb") as file:
            after = file.read()
        self.assertIn(b"Status:", after)
        self.assertEqual(names(after), names(THREE + TWO))

    def test_line_ends_that_they_mix_change_no_name(self) -> None:
        content = (ONE + TWO).replace(b"\n", b"\r\n")
        path = self.mktemp()
        with open(path, "wb") as file:
            file.write(content)
        others.mutt(path, "<jump>1<enter><set-flag>!<sync-mailbox><quit>")
        dovecot = others.Dovecot(self, content)
        dovecot("flags", "add", "\\Seen", "mailbox", "INBOX", "1:2")
        for written in (path, dovecot.path):
            with open(written, "rb") as file:
                after = file.read()
            self.assertRegex(after, rb"\r\nSubject: one\r\n(?:[^\r\n]+\n)+\ntext\r\n")
            self.assertEqual(names(after), names(content))

    def test_dovecot_changes_no_name(self) -> None:
        dovecot = others.Dovecot(self, ONE + THREE + TWO)
        dovecot("flags", "add", "\\Seen work", "mailbox", "INBOX", "1:3")
        dovecot("expunge", "mailbox", "INBOX", "1")
        with open(dovecot.path, "rb") as file:
            after = file.read()
        self.assertIn(b"X-UID:", after)
        self.assertEqual(names(after), names(THREE + TWO))


class FindingTest(SynchronousTestCase):
    def test_messages_are_found_where_another_program_moved_them(self) -> None:
        with a_file(ONE + TWO + THREE + TWO + TWO) as fd:
            first = index(fd)
            identify(fd, first)
            rewrite(fd, THREE + TWO + foreign(b"new") + TWO)
            self.assertEqual(find_again(fd, first, index(fd)), [None, 2, 1, 4, None])

    def test_growth_leaves_every_number_as_it_was(self) -> None:
        with a_file(ONE + TWO) as fd:
            first = index(fd)
            write(fd, THREE)
            self.assertEqual(find_again(fd, first, index(fd, first)), [1, 2])

    def test_what_was_never_hashed_cannot_be_found(self) -> None:
        with a_file(ONE + TWO) as fd:
            first = index(fd)
            rewrite(fd, TWO)
            self.assertEqual(find_again(fd, first, index(fd)), [None, None])
