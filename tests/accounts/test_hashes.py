"""Passwords as a file keeps them."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from lanmail.accounts.hashes import LONGEST_PASSWORD, NOBODYS, USUAL, PasswordHash, hash_password


class HashTests(SynchronousTestCase):
    def test_a_password_matches_what_was_written_for_it_and_no_other_does(self) -> None:
        written = hash_password("dianaël")
        self.assertTrue(PasswordHash.parse(written).matches("dianaël".encode()))
        self.assertFalse(PasswordHash.parse(written).matches(b"dianael"))
        self.assertFalse(PasswordHash.parse(written).matches(b""))

    def test_the_same_password_is_written_differently_each_time(self) -> None:
        self.assertNotEqual(hash_password("x"), hash_password("x"))

    def test_a_hash_is_one_field_of_a_line(self) -> None:
        written = hash_password("a:b\n#")
        self.assertRegex(written, rf"\A{USUAL}\Z")

    @given(st.from_regex(USUAL, fullmatch=True))
    def test_whatever_looks_usual_can_be_parsed(self, text: str) -> None:
        self.assertEqual(len(PasswordHash.parse(text).digest), 32)

    def test_a_known_value_of_the_standard(self) -> None:
        # RFC 7914, 12: scrypt("pleaseletmein", "SodiumChloride", 16384, 8, 1), the first 32 of its 64 octets are not the
        # 32-octet result, so all 64 are compared.
        digest = bytes.fromhex(
            "7023bdcb3afd7348461c06cd81fd38ebfda8fbba904f8e3ea9b543f6545da1f2"
            "d5432955613f0fcf62d49705242a9af9e61e85dc0d651e40dfcf017b45575887"
        )
        known = PasswordHash(14, 8, 1, b"SodiumChloride", digest)
        self.assertTrue(known.matches(b"pleaseletmein"))
        self.assertEqual(PasswordHash.parse(str(known)), known)

    def test_no_password_and_one_too_long_are_refused(self) -> None:
        for password in ("", "x" * (LONGEST_PASSWORD + 1)):
            self.assertRaises(ValueError, hash_password, password)

    def test_nobodys_password_is_never_right(self) -> None:
        for password in (b"", b"x", bytes(32)):
            self.assertFalse(NOBODYS.matches(password))

    def test_a_cost_that_would_stop_the_server_is_refused(self) -> None:
        tail = "$AAAAAAAAAAAAAAAAAAAAAA$" + "A" * 43
        for cost in (
            "ln=22,r=8,p=1",
            "ln=0,r=8,p=1",
            "ln=15,r=99,p=1",
            "ln=15,r=8,p=99",
            "ln=99,r=1,p=1",
            "ln=15,r=0,p=1",
        ):
            self.assertRaises(ValueError, PasswordHash.parse, f"$scrypt${cost}{tail}")

    @settings(max_examples=200, deadline=None)
    @given(st.one_of(st.text(), st.from_regex(r"\$scrypt\$ln=\d+,r=\d+,p=\d+\$[A-Za-z0-9+/]*\$[A-Za-z0-9+/]*")))
    def test_whatever_stands_in_the_file_is_a_hash_or_a_value_error(self, text: str) -> None:
        try:
            PasswordHash.parse(text)
        except ValueError as error:
            self.assertTrue(str(error))
