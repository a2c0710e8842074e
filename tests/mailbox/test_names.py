"""The names of all letters, as a sequence and as UIDL lists them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from lanmail.mailbox import names as names_module
from lanmail.mailbox.names import Names

a_name = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=70)


class NamesTests(SynchronousTestCase):
    @given(st.lists(a_name, max_size=20), st.integers(1, 5))
    def test_names_and_lines_are_the_same(self, given_names: list[str], stroke: int) -> None:
        self.patch(names_module, "_STROKE", stroke)
        names = Names.of(given_names)
        self.assertEqual(list(names), given_names)
        self.assertEqual((len(names), names[1:3]), (len(given_names), given_names[1:3]))
        self.assertEqual(names, Names(names.lines))
        lines = [f"{number} {name}\r\n" for number, name in enumerate(given_names, 1)]
        self.assertEqual(names.lines.decode(), "".join(lines))

    def test_no_letters_have_no_lines(self) -> None:
        self.assertEqual(Names.of([]).lines, b"")
