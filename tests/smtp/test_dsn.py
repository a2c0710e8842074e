"""The values of RET, ENVID, NOTIFY and ORCPT: what is understood, and that no control character gets in by way of xtext."""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from lanmail.smtp import dsn

PIECES = st.sampled_from(
    [b"+0A", b"+0D", b"+C3", b"\\x{A}", b"\\x{2028}", b"\\x{FC}", b"rfc822;", b"utf-8;", b"a", b"+", b"\xc3\xbc"]
)


class ValueTests(SynchronousTestCase):
    def refused(self, read: Callable[[bytes], str], *values: bytes) -> None:
        for value in values:
            with self.assertRaises(ValueError, msg=f"{value!r}"):
                read(value)

    def test_ret(self) -> None:
        self.assertEqual([dsn.ret(b"full"), dsn.ret(b"HDRS")], ["FULL", "HDRS"])
        self.refused(dsn.ret, b"", b"BODY", b"FULL,HDRS", b"\xff")

    def test_notify(self) -> None:
        self.assertEqual(dsn.notify(b"never"), "NEVER")
        self.assertEqual(dsn.notify(b"Delay,success"), "SUCCESS,DELAY")
        self.refused(
            dsn.notify, b"", b"NEVER,SUCCESS", b"SUCCESS,", b"SUCCESS,SUCCESS", b"ALWAYS", b"SUCCESS DELAY", b"\xff"
        )

    def test_envid_is_xtext_of_at_most_100_octets(self) -> None:
        self.assertEqual(dsn.envid(b"QQ314159"), "QQ314159")
        self.assertEqual(dsn.envid(b"a+2Bb+3Dc+20d"), "a+b=c d")
        self.assertEqual(dsn.envid(b"x" * 100), "x" * 100)
        self.refused(dsn.envid, b"", b"x" * 101, b"a+b", b"a+2bc", b"a=b", b"a b", b"\xc3\xbc")

    def test_orcpt_is_a_type_and_xtext_of_at_most_500_octets(self) -> None:
        self.assertEqual(dsn.orcpt(b"rfc822;Ann+2Btag@example.com"), "rfc822;Ann+tag@example.com")
        self.assertEqual(dsn.orcpt(b"X400;/c=de".replace(b"=", b"+3D")), "X400;/c=de")
        self.assertEqual(len(dsn.orcpt(b"rfc822;" + b"x" * 493)), 500)
        self.refused(
            dsn.orcpt, b"", b";", b"rfc822", b"rfc822;", b";a", b"rfc 822;a", b"-;a", b"rfc822;a+", b"x;" + b"x" * 499
        )

    def test_an_address_beyond_ascii_has_a_type_of_its_own(self) -> None:
        self.assertEqual(dsn.orcpt(rb"utf-8;j\x{FC}rgen@b"), "utf-8;jürgen@b")
        self.assertEqual(dsn.orcpt(rb"UTF-8;a\x{2B}b\x{5C}"), "UTF-8;a+b\\")
        self.assertEqual(dsn.orcpt("utf-8;jürgen@b".encode(), smtputf8=True), "utf-8;jürgen@b")
        self.refused(
            dsn.orcpt,
            "utf-8;jürgen@b".encode(),
            "rfc822;jürgen@b".encode(),
            b"rfc822;j+C3+BCrgen@b",
            rb"utf-8;a\b",
            rb"utf-8;a\x{}",
            rb"utf-8;a\x{D800}",
            rb"utf-8;a\x{110000}",
            b"utf-8;a+2Bb",
            b"utf-8;",
        )

    def test_no_control_character_comes_in_encoded(self) -> None:
        self.refused(dsn.envid, b"a+0D+0AX-Evil:+20yes", b"a+00", b"a+7F", b"a+C2+85")
        self.refused(
            dsn.orcpt,
            b"rfc822;a+0D+0Ab",
            b"rfc822;a+00",
            rb"utf-8;a\x{0A}b",
            rb"utf-8;a\x{2028}b",
            rb"utf-8;a\x{202E}b",
        )

    @given(st.lists(PIECES | st.binary(max_size=5), max_size=6).map(b"".join), st.booleans())
    @settings(max_examples=400, deadline=None)
    def test_whatever_comes_is_one_printable_line_or_refused(self, value: bytes, smtputf8: bool) -> None:
        for read in (dsn.envid, dsn.notify, dsn.ret, lambda octets: dsn.orcpt(octets, smtputf8=smtputf8)):
            try:
                text = read(value)
            except ValueError:
                continue
            self.assertTrue(text and text.isprintable(), text)
