from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from lanmail.address import NULL_SENDER, Address
from lanmail.smtp.grammar import recipient


class AddressTests(SynchronousTestCase):
    def test_quotes_come_back_where_they_are_needed(self) -> None:
        self.assertEqual(str(Address("julien", "a.example")), "julien@a.example")
        self.assertEqual(str(Address("two words", "a.example")), '"two words"@a.example')
        self.assertEqual(str(Address('a"b\\c', "a.example")), '"a\\"b\\\\c"@a.example')
        self.assertEqual(str(Address("user@elsewhere", "a.example")), '"user@elsewhere"@a.example')
        self.assertEqual(str(Address(".a", "a.example")), '".a"@a.example')
        self.assertEqual(str(Address("postmaster")), "postmaster")

    def test_the_null_sender_is_empty_and_stays_null(self) -> None:
        self.assertEqual(str(NULL_SENDER), "")
        self.assertTrue(NULL_SENDER.completed("a.example").is_null)

    def test_myorigin_completes_what_has_no_domain(self) -> None:
        self.assertEqual(Address("ann").completed("a.example"), Address("ann", "a.example"))
        self.assertEqual(Address("ann", "b.example").completed("a.example"), Address("ann", "b.example"))

    def test_a_tag_begins_at_the_first_delimiter_but_never_at_the_start(self) -> None:
        self.assertEqual(Address("ann+x-y", "a").without_tag("+-"), Address("ann", "a"))
        self.assertEqual(Address("ann-x+y", "a").without_tag("+-"), Address("ann", "a"))
        self.assertEqual(Address("+ann", "a").without_tag("+"), Address("+ann", "a"))
        self.assertEqual(Address("ann+x", "a").without_tag(""), Address("ann+x", "a"))

    def test_local_parts_are_one_whatever_their_case(self) -> None:
        self.assertEqual(Address("Ann", "a.example").key, Address("aNN", "a.example").key)
        self.assertNotEqual(Address("ann", "a.example").key, Address("ann", "b.example").key)

    @settings(max_examples=200, deadline=None)
    @given(st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1, max_size=20))
    def test_written_and_read_again_it_is_the_same(self, local: str) -> None:
        written = Address(local, "a.example")
        self.assertEqual(recipient(f"TO:<{written}>".encode())[0], written)
