"""What is understood of a user's .forward. (The lines of the alias file itself are in test_aliases.)"""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from lanmail.address import Address
from lanmail.delivery.alias_syntax import MAX_FORWARDS, Member, forward


def members(text: str) -> list[str]:
    return [str(member.address) for member in forward(".forward", text).members]


class ForwardTests(SynchronousTestCase):
    def test_addresses_stand_in_lines_or_behind_commas_among_comments(self) -> None:
        said = forward(".forward", "# mine\r\nbob, Eve <eve@lan>\r\n  joe (at work)\n\n\\ann\n  # no more\n")
        self.assertEqual(
            said.members,
            (
                Member(Address("bob")),
                Member(Address("eve", "lan")),
                Member(Address("joe")),
                Member(Address("ann"), verbatim=True),
            ),
        )
        self.assertEqual((said.name, said.discards, said.keeps, said.problems), (".forward", False, False, ()))

    def test_a_line_ends_with_its_line(self) -> None:
        # In an alias file white space would carry it on; in Postfix's dotforward, and here, it does not.
        self.assertEqual(members("bob,\n  eve\n"), ["bob", "eve"])

    def test_what_is_not_followed_is_told_with_its_line_and_keeps_the_mail(self) -> None:
        said = forward(".forward", 'bob\n"|/usr/bin/vacation ann"\n/var/mail/x, :include:/etc/list\nann bob\n"no end\n')
        self.assertEqual([str(member.address) for member in said.members], ["bob"])
        self.assertTrue(said.keeps)
        self.assertEqual(
            said.problems,
            (
                "2: |/usr/bin/vacation ann: a program is not run",
                "3: /var/mail/x: a file is not written",
                "3: :include:/etc/list: a file is not included here",
                "4: ann bob: not an address; is a comma missing?",
                '5: " without its other half',
            ),
        )

    def test_dev_null_is_meant(self) -> None:
        said = forward(".forward", "/dev/null\n")
        self.assertEqual((said.discards, said.keeps, said.members), (True, False, ()))

    def test_nothing_that_could_end_a_line_of_a_header_is_an_address(self) -> None:
        for text in ('"bob\rX-Evil: 1"', '"bob\x1b[2J"@lan', '"bob\x00"', '"bob\u2028x"', "b" * 901):
            self.assertEqual(members(text), [], text)

    def test_there_are_only_so_many(self) -> None:
        said = forward(".forward", ",".join(f"u{n}" for n in range(MAX_FORWARDS + 5)))
        self.assertEqual((len(said.members), said.keeps), (MAX_FORWARDS, True))

    @settings(max_examples=200, deadline=None)
    @given(st.text(max_size=80))
    def test_anything_at_all_is_understood_somehow(self, text: str) -> None:
        for member in forward(".forward", text).members:
            self.assertTrue(str(member.address).isprintable())
