"""Twin of lanmail/accounts/passwd_lines.py."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from lanmail.accounts.hashes import hash_password
from lanmail.accounts.passwd_lines import parse
from tests.accounts.fakes import cheap


class ParseTests(SynchronousTestCase):
    def test_what_is_wrong_is_named_by_its_line_and_the_rest_counts(self) -> None:
        good = cheap("x")
        text = f"# people\n\njulien:{good}\nno colon\nnel:{good}:and more\nJulien:{good}\n../x:{good}\nann:plain text\n\xff:{good}\n"
        passwords = parse(text.encode("latin-1"), "/etc/lanmail/passwd")
        self.assertEqual(list(passwords.names()), ["julien", "nel"])
        numbers = [problem.split(":")[1] for problem in passwords.problems]
        self.assertEqual(numbers, ["4", "6", "7", "8", "9"])
        self.assertIn("Julien is there already", passwords.problems[1])
        self.assertIn("lanmail passwd --file /etc/lanmail/passwd ann", passwords.problems[3])
        self.assertNotIn("plain text", "".join(passwords.problems))

    def test_a_line_is_found_by_its_name_wherever_it_stands_and_however_it_was_written(self) -> None:
        usual = hash_password("x")
        text = f"julien:{usual}\r\nNel:{usual}:more\n  ann:{cheap('x')}  \n#bob:{usual}\nann.lock:{usual}\njulien:{usual}\ncarl:{usual}"
        passwords = parse(text.encode(), "f")
        self.assertEqual(list(passwords.names()), ["julien", "Nel", "ann", "carl"])
        self.assertEqual(
            [passwords.spelled(name) for name in ("JULIEN", "nel", "bob", "é")], ["julien", "Nel", None, None]
        )
        self.assertEqual([str(passwords.hash_of(name)) for name in ("julien", "NEL", "carl")], [usual] * 3)
        self.assertEqual(str(passwords.hash_of("ann")), cheap("x"))
        self.assertEqual([problem.split(":")[1] for problem in passwords.problems], ["5", "6"])

    def test_of_many_bad_lines_some_are_told_and_the_others_counted(self) -> None:
        passwords = parse(b"bad\n" * 1000 + f"julien:{cheap('x')}\n".encode(), "f")
        self.assertEqual(list(passwords.names()), ["julien"])
        self.assertEqual(len(passwords.problems), 21)
        self.assertIn("f:20: ", passwords.problems[19])
        self.assertIn("980 more lines", passwords.problems[20])

    @settings(max_examples=200, deadline=None)
    @given(st.binary(max_size=400))
    def test_no_file_is_a_crash(self, text: bytes) -> None:
        passwords = parse(text, "f")
        for name in passwords.names():
            self.assertIsNotNone(passwords.hash_of(name))
            self.assertEqual(passwords.spelled(name.upper()), name)
