"""What is told comes back as it was told, and is found by whatever name stands in it."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from lanmail.message import QueueIds
from lanmail.spool.history_events import (
    FACTS,
    LONGEST,
    NUMBERS,
    Event,
    event_of,
    folded,
    kept,
    key_of,
    names_in,
    queue_id_of,
    queue_number,
    row_of,
)

texts = st.text(min_size=1, max_size=40).map(kept)
numbers = st.one_of(st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False))


class EventTests(SynchronousTestCase):
    @settings(max_examples=100, deadline=None)
    @given(st.sampled_from(sorted(NUMBERS)), st.data())
    def test_an_event_comes_back_from_its_row_with_the_facts_that_were_told(
        self, kind: str, data: st.DataObject
    ) -> None:
        facts = data.draw(st.dictionaries(st.sampled_from(FACTS[kind]), st.one_of(texts, numbers)))
        event = event_of(7, NUMBERS[kind], 1.5, row_of(kind, facts))
        assert event is not None
        if kind == "recipient" and "original" in facts:
            facts.setdefault("delivered_to", facts["original"])
        self.assertEqual((event.kind, event.at, event.facts), (kind, 1.5, facts))

    def test_a_kind_that_only_a_later_release_knows_is_passed_over(self) -> None:
        self.assertIsNone(event_of(7, 99, 1.5, [None] * 5))

    @settings(max_examples=100, deadline=None)
    @given(st.text(alphabet=st.characters(), max_size=2 * LONGEST))
    def test_whatever_is_told_can_be_written_as_utf_8(self, text: str) -> None:
        kept(text).encode()
        self.assertLessEqual(len(kept(text)), 6 * LONGEST)  # \\udcff for what cannot be said

    def test_a_number_that_is_too_large_for_the_database_becomes_a_text(self) -> None:
        self.assertIn(str(2**70), row_of("held", {"by": 2**70}))

    def test_queue_ids_are_numbers_and_anything_else_is_none(self) -> None:
        queue_id = QueueIds(lambda: 1_700_000_000.0).next()
        self.assertEqual(queue_id_of(queue_number(queue_id) or 0), queue_id)
        for text in ("", "222cf6745d", "222CF6745", "222CF6745DD", "0x2CF6745D", "222_F6745D", " 22CF6745D", "NOQUEUE"):
            self.assertIsNone(queue_number(text), text)


class NameTests(SynchronousTestCase):
    def test_two_spellings_of_one_address_are_one_name(self) -> None:
        self.assertEqual(folded("Nel@ISCB-Corporation.com"), folded("nel@iscb-corporation.com"))
        self.assertEqual(folded("É.Nel@x.org"), folded("é.nel@x.org"))
        self.assertEqual(folded("nel@bücher.example"), folded("nel@xn--bcher-kva.example"))
        self.assertEqual(folded("<a@b>"), folded("a@b"))
        self.assertEqual(key_of("<A@b>"), key_of("a@B"))
        self.assertNotEqual(folded("nel@x.org"), folded("bert@x.org"))

    def test_a_domain_that_cannot_be_one_is_still_a_name(self) -> None:
        self.assertEqual(folded("nel@\u2603.\u0640"), "nel@\u2603.\u0640")

    def test_everybody_who_stands_in_an_event_can_ask_for_it(self) -> None:
        facts = {"original": "staff@x", "delivered_to": "nel@x", "user": "nel", "rule": "alias staff"}
        self.assertEqual(set(names_in("recipient", facts)), {"staff@x", "nel@x", "nel"})
        self.assertEqual(names_in("received", {"sender": "", "message_id": "<1@x>", "client": "c"}), ["<1@x>"])
        self.assertTrue(Event(1, "recipient", 0.0, facts).names({folded("NEL@x")}))
        self.assertFalse(Event(1, "recipient", 0.0, facts).names({"bert@x"}))
