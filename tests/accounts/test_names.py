"""Login names: the many ways to write one."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from lanmail.accounts.names import is_login_name, login_name

OURS = {"iscb-corporation.com"}


class LoginNameTests(SynchronousTestCase):
    def test_a_name_with_our_domain_is_the_name(self) -> None:
        self.assertEqual(login_name(b"julien@iscb-corporation.com", OURS), "julien")
        self.assertEqual(login_name(b"julien@ISCB-Corporation.com.", OURS), "julien")
        self.assertEqual(login_name(b"julien", OURS), "julien")

    def test_another_domain_is_nobodys(self) -> None:
        for written in (
            b"julien@example.com",
            b"julien@",
            b"julien@iscb-corporation.com@example.com",
            b"@iscb-corporation.com",
        ):
            self.assertIsNone(login_name(written, OURS), written)

    def test_the_case_is_left_to_the_system(self) -> None:
        self.assertEqual(login_name(b"Julien", OURS), "Julien")

    def test_odd_names_are_nobody(self) -> None:
        for name in (
            "",
            ".",
            "..",
            ".hidden",
            "-option",
            "a/b",
            "../etc/passwd",
            "a b",
            "a\0b",
            "a\nb",
            "a:b",
            "pc$",
            "dianaël",
        ):
            self.assertFalse(is_login_name(name), name)
        self.assertFalse(is_login_name("a" * 33))
        self.assertTrue(is_login_name("a" * 32))

    def test_a_name_whose_mailbox_would_be_anothers_dotlock_is_nobody(self) -> None:
        self.assertFalse(is_login_name("ann.lock"))
        self.assertFalse(is_login_name("ann.LOCK"))
        self.assertTrue(is_login_name("lock"))

    def test_a_name_of_a_megabyte_is_nobody(self) -> None:
        self.assertIsNone(login_name(b"a" * 1_000_000, OURS))

    @settings(max_examples=300, deadline=None)
    @given(st.one_of(st.binary(max_size=300), st.text(max_size=300)))
    def test_whatever_comes_is_nobody_or_safe_as_a_file_name(self, written: bytes | str) -> None:
        name = login_name(written, OURS)
        if name is not None:
            self.assertTrue(name.isascii() and name.isprintable() and 0 < len(name) <= 32)
            self.assertFalse(set(name) & set("/\\:;|&$`'\"<>()*?[]{}~!# \t@%="))
            self.assertNotIn(name[0], ".-")
