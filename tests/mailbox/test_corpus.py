"""Files that real programs wrote, or could have: how we read them, and who sees them differently."""

from __future__ import annotations

import os
import re

from twisted.trial.unittest import SynchronousTestCase

from tests.mailbox import others, second_reader
from tests.mailbox.files import a_file, entries, index, text

# As docs/mbox.md lists it: what mutt and Dovecot count, where it is not what we count.
DIFFERENCES: dict[str, tuple[int, int | None]] = {
    "no-empty-line.mbox": (4, 4),
    "procmail-unended.mbox": (2, 2),
    "from-in-body.mbox": (2, 3),
    "dates.mbox": (11, 7),
    "empty-line-first.mbox": (1, None),
    "uw.mbox": (4, 3),
}


class CorpusTest(SynchronousTestCase):
    def test_the_second_reader_sees_what_we_see(self) -> None:
        for name in others.corpus():
            content = others.content(name)
            with a_file(content) as fd:
                now = index(fd)
                theirs = second_reader.read(content)
                self.assertEqual(entries(now), [(m.start, m.text, m.end, m.next, len(m.wire)) for m in theirs], name)
                self.assertEqual([text(fd, now, n) for n in range(1, len(now) + 1)], [m.wire for m in theirs], name)

    def test_mutt_counts_the_same_but_for_what_is_listed(self) -> None:
        others.needs("mutt")
        for name in others.corpus():
            path = os.path.join(others.CORPUS, name)
            if others.content(name):  # with nothing in it there is nothing that mutt could count
                ours = len(others.index_of(path))
                self.assertEqual(others.mutt_count(path), DIFFERENCES.get(name, (ours,))[0], name)

    def test_dovecot_counts_the_same_but_for_what_is_listed(self) -> None:
        others.needs("doveadm")
        for name in others.corpus():
            ours = len(others.index_of(os.path.join(others.CORPUS, name)))
            theirs = others.Dovecot(self, others.content(name)).count()
            self.assertEqual(theirs, DIFFERENCES.get(name, (0, ours))[1], name)

    def test_the_page_lists_these_differences_and_no_others(self) -> None:
        page = os.path.join(os.path.dirname(__file__), "..", "..", "docs", "mbox.md")
        if not os.path.exists(page):
            self.skipTest("docs/mbox.md is not here")
        with open(page, encoding="utf-8") as file:
            rows = re.findall(r"^\| `([a-z-]+)` \| (\d+) \| (\d+) \| (\d+|not opened) \|", file.read(), re.MULTILINE)
        listed = {
            f"{name}.mbox": (int(mutt), None if dovecot == "not opened" else int(dovecot))
            for name, _, mutt, dovecot in rows
        }
        self.assertEqual(listed, DIFFERENCES)
        for name, ours, _, _ in rows:
            self.assertEqual(len(others.index_of(os.path.join(others.CORPUS, f"{name}.mbox"))), int(ours), name)


class OtherWritersTest(SynchronousTestCase):
    """The quoting of what we wrote is taken off whoever has rewritten or copied it, and nobody else's is."""

    def first(self, name: str) -> bytes:
        with a_file(others.content(name)) as fd:
            return text(fd, index(fd), 1)

    def test_after_mutt_dovecot_and_s_nail_our_messages_are_what_was_sent(self) -> None:
        sent = b"Bonjour,\r\nFrom here on\r\n>From there on\r\n\r\nFrom nobody@nowhere Tue Nov 24 21:36:34 2026\r\nis text\r\n"
        for name in ("lanmail.mbox", "mutt.mbox", "mutt-saved.mbox", "dovecot.mbox", "s-nail.mbox"):
            self.assertTrue(self.first(name).endswith(b"\r\n\r\n" + sent), name)

    def test_what_procmail_quoted_stays_quoted(self) -> None:
        self.assertIn(b"\r\n>From here\r\n>From there\r\nx\r\n\r\n>From c@d ", self.first("procmail.mbox"))

    def test_mutt_rewriting_a_growing_mailbox_is_read_again(self) -> None:
        others.needs("mutt")
        path = self.mktemp()
        with open(path, "wb") as file:
            file.write(others.content("mutt-saved.mbox"))
        before = others.index_of(path)
        others.mutt(path, "<tag-pattern>~A<enter><tag-prefix><set-flag>!<sync-mailbox><quit>")
        after = others.index_of(path, before)
        self.assertGreater(after.size, before.size)
        self.assertFalse(after.continues(before))
        self.assertEqual(entries(after), entries(others.index_of(path)))
        self.assertEqual(len(after), len(before))
