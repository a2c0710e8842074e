from __future__ import annotations

import sqlite3

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from lanmail.address import NULL_SENDER, Address
from lanmail.spool.rows import NULL, address_of, signed, status_of, text_of, unsigned
from lanmail.status import Status

WORDS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=20)
DOMAINS = WORDS.filter(lambda word: "@" not in word)


class RowsTests(SynchronousTestCase):
    @given(WORDS, DOMAINS)
    @settings(max_examples=100, deadline=None)
    def test_an_address_comes_back_as_it_was_whatever_its_local_part_holds(self, local: str, domain: str) -> None:
        self.assertEqual(address_of(text_of(Address(local, domain))), Address(local, domain))

    def test_the_null_sender_is_known_in_a_statement(self) -> None:
        self.assertEqual(text_of(NULL_SENDER), NULL)

    @given(st.integers(400, 599), st.from_regex(r"[245]\.[0-9]{1,3}\.[0-9]{1,3}", fullmatch=True), WORDS)
    @settings(max_examples=50, deadline=None)
    def test_a_status_comes_back_as_it_was(self, code: int, enhanced: str, text: str) -> None:
        status = Status(code, enhanced, text)
        self.assertEqual(status_of(str(status)), status)

    @given(st.integers(0, 2**64 - 1))
    @settings(max_examples=100, deadline=None)
    def test_every_number_of_a_file_system_fits_and_comes_back(self, number: int) -> None:
        db = sqlite3.connect(":memory:")
        try:
            (kept,) = db.execute("SELECT ?", (signed(number),)).fetchone()
        finally:
            db.close()
        self.assertEqual(unsigned(kept), number)
