from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from lanmail.config.problems import BadValue, Place
from lanmail.config.syntax import (
    TableReference,
    decoded,
    logical_lines,
    normalised,
    parse,
    parse_override,
    table_entries,
    table_reference,
    words,
)


def lines_of(text: str) -> list[tuple[int, str]]:
    return list(logical_lines(text))


class TestLines(SynchronousTestCase):
    """The cases of Postfix's own test of readlline(3), and some more."""

    def test_a_line_that_begins_with_white_space_continues_the_one_before(self) -> None:
        self.assertEqual(lines_of("abc\n def\n"), [(1, "abc def")])

    def test_the_line_end_is_removed_and_nothing_put_in_its_place(self) -> None:
        self.assertEqual(lines_of("a =\n\tb,\n\tc\n"), [(1, "a =\tb,\tc")])

    def test_comments_and_blank_lines_do_not_end_a_value(self) -> None:
        for between in ("#def\n", " #def\n", "\n", " \n", "\n#x\n\n"):
            self.assertEqual(lines_of(f"abc\n{between} ghi\njkl"), [(1, "abc ghi"), (3 + between.count("\n"), "jkl")])

    def test_a_comment_behind_a_value_is_part_of_it(self) -> None:
        self.assertEqual(lines_of("a = b # c\n"), [(1, "a = b # c")])

    def test_numbers_are_those_of_first_lines(self) -> None:
        self.assertEqual(lines_of("#\n\nabc\n x\n\n\ndef"), [(3, "abc x"), (7, "def")])

    def test_a_file_of_nothing_has_no_lines(self) -> None:
        for text in ("", "\n", "\n \n", "# only this", " #and this\n"):
            self.assertEqual(lines_of(text), [])

    def test_a_last_line_without_its_end_counts(self) -> None:
        self.assertEqual(lines_of("abc def"), [(1, "abc def")])

    def test_windows_line_ends_are_white_space(self) -> None:
        found, problems = parse("a = b\r\n\r\nc = d,\r\n  e\r\n", "main.cf")
        self.assertEqual([(one.name, one.value) for one in found], [("a", "b"), ("c", "d,\r  e")])
        self.assertEqual(words(found[1].value), ["d", "e"])
        self.assertEqual(problems, [])


class TestParse(SynchronousTestCase):
    def test_an_assignment_knows_its_file_and_line(self) -> None:
        (found,), problems = parse("# c\n\nmyorigin = $mydomain \n", "/etc/lanmail/main.cf")
        self.assertEqual((found.name, found.value), ("myorigin", "$mydomain"))
        self.assertEqual(str(found.place), "/etc/lanmail/main.cf:3")
        self.assertEqual(problems, [])

    def test_white_space_around_the_sign_is_free_and_a_value_may_hold_more_signs(self) -> None:
        for text in ("a=b=c d", "a =b=c d", "a= b=c d ", "a \t=\t b=c d\t"):
            (found,), _ = parse(text, "f")
            self.assertEqual((found.name, found.value), ("a", "b=c d"))

    def test_an_empty_value_is_a_value(self) -> None:
        (found,), _ = parse("relayhost = \n", "f")
        self.assertEqual(found.value, "")

    def test_a_backslash_is_kept(self) -> None:
        (found,), _ = parse(r"myorigin = \$mydomain", "f")
        self.assertEqual(found.value, r"\$mydomain")

    def test_every_bad_line_is_told_with_its_place_and_the_others_are_read(self) -> None:
        found, problems = parse(" lost\nnonsense\n= x\na = b\nbad\0 = c\n", "f")
        self.assertEqual([one.name for one in found], ["a"])
        self.assertEqual([one.place for one in problems], [Place("f", number) for number in (1, 2, 3, 5)])
        self.assertIn("continues nothing", problems[0].text)
        self.assertIn("the = after the name is missing: 'nonsense'", problems[1].text)
        self.assertIn("the name before = is missing", problems[2].text)
        self.assertIn("NUL", problems[3].text)

    def test_comments_may_be_in_utf_8_and_in_latin_1_even_in_one_file(self) -> None:
        data = "# répertoire\n".encode() + "# propriétaire\n".encode("latin-1") + "a = é\n".encode()
        (found,), problems = parse(data, "f")
        self.assertEqual((found.value, problems), ("é", []))
        self.assertIn("propriétaire", decoded(data))

    def test_an_override_is_an_assignment_from_the_command_line(self) -> None:
        found = parse_override("smtp_port=2525")
        self.assertEqual((found.name, found.value, str(found.place)), ("smtp_port", "2525", "-o"))
        for text in ("", "smtp_port", "=2525", " a=b"):
            with self.assertRaises(BadValue):
                parse_override(text)

    @given(st.binary(max_size=300) | st.text(alphabet="a =\n\t\r#$\\\0é", max_size=100).map(str.encode))
    @settings(max_examples=150, deadline=None)
    def test_no_bytes_break_it_and_every_value_stands_in_them(self, data: bytes) -> None:
        found, _ = parse(data, "f")
        text = decoded(data)
        for one in found:
            self.assertTrue(one.name)
            self.assertEqual(one.value, one.value.strip(" \t\n\v\f\r"))
            self.assertIn(one.name, text.split("\n")[one.place.line - 1])


class TestWords(SynchronousTestCase):
    def test_commas_and_white_space_separate_alike(self) -> None:
        for text in ("a b c", "a,b,c", " a , b,\tc,", "a,,b\n c"):
            self.assertEqual(words(text), ["a", "b", "c"])
            self.assertEqual(normalised(text), "a b c")

    def test_braces_keep_together(self) -> None:
        self.assertEqual(words("a {b, c {d}} e"), ["a", "{b, c {d}}", "e"])

    def test_no_break_spaces_are_letters(self) -> None:
        self.assertEqual(words("a\u00a0b"), ["a\u00a0b"])


class TestTables(SynchronousTestCase):
    def test_a_reference_has_a_type_and_a_name(self) -> None:
        self.assertEqual(table_reference("hash:/etc/aliases"), TableReference("hash", "/etc/aliases"))
        self.assertEqual(table_reference("proxy:unix:passwd.byname"), TableReference("unix", "passwd.byname"))
        for word in ("/etc/aliases", "example.com", "[::1]/128", "::1", "127.0.0.0/8"):
            self.assertIsNone(table_reference(word), word)

    def test_entries_are_keys_and_values(self) -> None:
        data = b"# c\nexample.com OK\n\nother.example\n  rejected by us\nbare\n"
        self.assertEqual(
            list(table_entries(data)),
            [(2, "example.com", "OK"), (4, "other.example", "rejected by us"), (6, "bare", "")],
        )
