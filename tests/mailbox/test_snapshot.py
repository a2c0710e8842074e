"""What a session leaves behind for the next one: an index that is as good as reading the file again."""

from __future__ import annotations

import os

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from lanmail.interfaces import User
from lanmail.mailbox import index as index_module
from lanmail.mailbox.claims import Claims
from lanmail.mailbox.holdings import Holdings
from lanmail.mailbox.index import Index, scan
from lanmail.mailbox.locks import Locking
from lanmail.mailbox.saved_index import SavedIndexes
from lanmail.mailbox.snapshot import Snapshot
from lanmail.mailbox.store import MailboxFile
from lanmail.mailbox.uidl import identify

FROM = b"From julien@iscb-corporation.com Fri Nov 21 15:42:42 2003\n"

OURS = (
    b"Return-Path: <julien@iscb-corporation.com>\nDelivered-To: nel@iscb-corporation.com\n"
    b"Received: from [192.168.1.5] (unknown [192.168.1.5])\n\tby srvlinux (lanmail) with ESMTP id 222CF6745D\n"
)


def message(ours: bool, subject: int, surplus: int | None, body: bytes, gap: bytes) -> bytes:
    """``surplus``: what its Content-Length says too much; None for no such line."""
    length = b"" if surplus is None else b"Content-Length: %d\n" % (len(body) + surplus)
    return FROM + OURS * ours + b"Subject: %d\n" % subject + length + b"\n" + body + gap


messages = st.builds(
    message,
    st.sampled_from([True, True, True, False]),
    st.integers(0, 5),
    st.sampled_from([None, 0, 0, 3, 70, 500]),
    st.sampled_from([b"", b"Bonjour\n", b"a\n\nFrom here\n", b"no end", b"x\r\ny\r\n", b"\n\n", b">From you\n" * 20]),
    st.sampled_from([b"\n", b"\n", b"\n", b"", b"\r\n"]),
)


HIDDEN = FROM + b"Subject: DON'T DELETE THIS MESSAGE -- FOLDER INTERNAL DATA\nX-IMAP: 1 2\n\nc-client's\n\n"


def facts(index: Index) -> object:
    return (
        [index.entry(number) for number in range(1, len(index) + 1)],
        index.end,
        index.total,
        index.size,
        index.witness,
        index.awaited,
    )


class SnapshotTests(SynchronousTestCase):
    def setUp(self) -> None:
        folder = self.mktemp()
        self.spool, self.state, self.claims, self.saved = (
            os.path.join(folder, name) for name in ("spool", "state", "claims", "saved")
        )
        for path in (folder, self.spool, self.state, self.claims, self.saved):
            os.mkdir(path)
        self.path = os.path.join(self.spool, "nel")
        self.user = User("nel", os.getuid(), os.getgid())

    def snapshot(self, known: Index | None = None, saved: SavedIndexes | None = None) -> Snapshot:
        mailbox = MailboxFile(
            self.path,
            self.user,
            group=None,
            locking=Locking(),
            state_folder=self.state,
            report=lambda line, /, **fields: None,
        )
        claim = Claims(self.claims).of("nel")
        self.assertTrue(claim.take())
        holdings = Holdings(claim)
        self.addCleanup(holdings.close)
        self.holdings = holdings
        snapshot = Snapshot("nel", mailbox, holdings, saved)
        snapshot.know(known)
        return snapshot

    def write(self, data: bytes) -> None:
        with open(self.path, "wb") as file:
            file.write(data)

    @settings(max_examples=300, deadline=None)
    @given(
        st.lists(st.one_of(messages, messages, st.just(HIDDEN)), min_size=1, max_size=8),
        st.sets(st.integers(1, 8)),
        st.booleans(),
    )
    def test_after_an_expunge_the_index_is_what_reading_the_file_gives(
        self, texts: list[bytes], deleted: set[int], named: bool
    ) -> None:
        self.write(b"".join(texts))
        snapshot = self.snapshot()
        octets, total = snapshot.look()
        self.assertEqual(total, sum(octets))
        before = snapshot.latest
        assert before is not None
        if named:
            snapshot.unique_ids(lambda name, fd, index: {})
        deleted = {number for number in deleted if number <= len(octets)}
        left = snapshot.expunge(frozenset(deleted))
        self.holdings.close()
        fd = os.open(self.path, os.O_RDONLY)
        try:
            fresh = scan(fd, os.fstat(fd))
            # c-client's pseudo message is one only at the start, where an expunge may bring it.
            self.assertIn(left - len(fresh), (0, 1) if HIDDEN in texts[1:] else (0,))
            if snapshot.latest is not None:
                self.assertEqual(facts(snapshot.latest), facts(fresh))
                if named:
                    identify(fd, fresh)
                    self.assertEqual(snapshot.latest.identities, fresh.identities)
            else:
                hidden = 2 if texts[0] == HIDDEN else 1
                self.assertTrue(any(b"Content-Length" in text for text in texts) or texts.count(HIDDEN) >= hidden)
        finally:
            os.close(fd)

    def test_the_index_of_a_large_mailbox_survives_a_restart(self) -> None:
        self.write(b"".join(FROM + b"Subject: %d\n\n" % n + b"x" * 990 + b"\n\n" for n in range(1200)))
        # The kernel's stamps are coarse: a file that was just written is not believed by its stamp alone.
        os.utime(self.path, ns=(0, 0))
        self.patch(index_module, "_TICK_NS", -(10**18))
        saved = SavedIndexes(self.saved)
        first = self.snapshot(saved=saved)
        first.look()
        names = first.unique_ids(lambda name, fd, index: {})
        self.assertTrue(first.has_news)
        first.remember()
        self.assertFalse(first.has_news)
        self.holdings.close()

        def read_again(*args: object) -> None:
            raise AssertionError("the mailbox was read again")

        self.patch(index_module, "_read", read_again)
        second = self.snapshot(saved=saved)
        self.assertEqual(len(second.look()[0]), 1200)
        self.assertEqual(second.unique_ids(lambda name, fd, index: {}), names)
        self.assertFalse(second.has_news)

    def test_a_small_mailbox_is_not_worth_a_file(self) -> None:
        self.write(FROM + b"Subject: 1\n\nBonjour\n\n")
        snapshot = self.snapshot(saved=SavedIndexes(self.saved))
        snapshot.look()
        self.assertFalse(snapshot.has_news)
        self.assertEqual(os.listdir(self.saved), [])

    def test_an_older_servers_names_are_used(self) -> None:
        self.write(FROM + b"Subject: 1\n\nBonjour\n\n")
        snapshot = self.snapshot()
        snapshot.look()

        def adopted(name: str, fd: int, index: Index) -> dict[bytes, list[str]]:
            self.assertEqual(name, "nel")
            identify(fd, index)
            return {bytes(index.identity(1) or b""): ["0000000a3fbe2462"]}

        self.assertEqual(snapshot.unique_ids(adopted), ["0000000a3fbe2462"])
