from __future__ import annotations

import json
import os

from twisted.trial.unittest import SynchronousTestCase

from tests.powercut.books import Books
from tests.powercut.letters import SENDER, foreign_text, stored
from tests.powercut.recorder import Step

ONE, TWO, FOREIGN = "s0-1-900", "s0-2-5000", "foreign-7-2000"


def whole(token: str) -> bytes:
    head = f"From {SENDER}  Mon Nov 23 12:00:00 2026\nReturn-Path: <{SENDER}>\nReceived: from x\n\tby y (lanmail) with SMTP id 1\n"
    return head.encode() + stored(token)


class BooksTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.books = Books()
        self.spool = self.mktemp()
        os.makedirs(self.spool)

    def note(self, what: str, **facts: object) -> None:
        self.books.note(Step("M", data=json.dumps({"what": what, **facts}).encode()))

    def faults(self, ann: bytes, bob: bytes = b"") -> list[str]:
        for name, octets in (("ann", ann), ("bob", bob)):
            with open(os.path.join(self.spool, name), "wb") as file:
                file.write(octets)
        return self.books.faults(self.spool, ("ann", "bob"))

    def found(self, ann: bytes, bob: bytes = b"") -> str:
        """The one fault that there is."""
        (fault,) = self.faults(ann, bob)
        return fault

    def test_what_was_answered_must_be_there_once(self) -> None:
        self.note("sending", token=ONE, to=["ann"])
        self.assertEqual(self.faults(b""), [])
        self.note("answered", token=ONE)
        self.assertEqual(self.faults(whole(ONE)), [])
        self.assertIn("lost", self.found(b""))
        self.assertIn("2 times", self.found(whole(ONE) * 2))

    def test_what_was_not_answered_is_in_all_of_its_mailboxes_or_in_none(self) -> None:
        self.note("sending", token=ONE, to=["ann", "bob"])
        self.assertEqual(self.faults(whole(ONE), whole(ONE)), [])
        self.assertIn("some mailboxes only", self.found(whole(ONE)))

    def test_a_torn_message_is_seen(self) -> None:
        self.note("sending", token=ONE, to=["ann"])
        text = whole(ONE)
        for torn in (
            text[:-20],
            text[:40],
            text[60:],
            text.replace(b"line 3", b"line 4", 1),
            text[:300] + bytes(100) + text[400:],
        ):
            self.assertIn("in no message", " ".join(self.faults(torn)))
            self.assertIn("in no message", " ".join(self.faults(torn + b"\n\n" + text)))

    def test_what_was_deleted_does_not_come_back(self) -> None:
        self.note("sending", token=ONE, to=["ann"])
        self.note("answered", token=ONE)
        self.note("fetched", user="ann", uidls={ONE: "u"})
        self.books.uidls.clear()
        self.note("deleting", user="ann", tokens=[ONE])
        for ann in (b"", whole(ONE)):
            self.assertEqual(self.faults(ann), [])
        self.note("deleted", user="ann", tokens=[ONE])
        self.assertEqual(self.faults(b""), [])
        self.assertIn("there again", self.found(whole(ONE)))

    def test_a_message_that_somebody_fetched_stays_although_its_sender_was_not_answered_yet(self) -> None:
        self.note("sending", token=ONE, to=["ann"])
        self.note("fetched", user="ann", uidls={ONE: "u"})
        self.assertIn("lost", self.found(b""))

    def test_a_uidl_stays_what_it_was(self) -> None:
        self.note("sending", token=ONE, to=["ann"])
        self.note("fetched", user="ann", uidls={ONE: "another"})
        self.assertIn("had the UIDL another", self.found(whole(ONE)))

    def test_what_the_other_program_synced_stays_and_its_torn_piece_is_its_own(self) -> None:
        text = foreign_text(FOREIGN)
        self.note("foreign begins", user="ann", token=FOREIGN)
        for octets in (b"", text, text[:700], bytes(512) + text[512:], text[:512] + bytes(512) + text[1024:1300]):
            self.assertEqual(self.faults(octets), [], octets[:20])
        self.assertIn("in no message", self.found(b"something else"))
        self.note("foreign done", user="ann", token=FOREIGN)
        self.assertEqual(self.faults(text), [])
        self.assertIn("0 times", self.found(b""))
        self.assertEqual(len(self.faults(text[:700])), 2)

    def test_what_is_behind_a_torn_piece_of_the_other_program_is_still_judged(self) -> None:
        self.note("sending", token=TWO, to=["ann"])
        self.note("answered", token=TWO)
        self.note("foreign begins", user="ann", token=FOREIGN)
        torn = foreign_text(FOREIGN)[:700]
        self.assertEqual(self.faults(torn + b"\n\n" + whole(TWO)), [])
        self.assertIn("lost", " ".join(self.faults(torn + b"\n\n" + whole(TWO)[:-100])))
