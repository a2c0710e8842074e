"""Twin of lanmail/log_lines.py."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.logger import LogLevel, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from lanmail.log_lines import line_of, printable

VALUES = st.one_of(st.text(max_size=9), st.integers(), st.none(), st.floats())


def text_of(words: str, **fields: Any) -> str:
    line = line_of({"log_format": words, "log_level": LogLevel.info, "log_namespace": "smtpd", **fields})
    return line.partition("]: ")[2].removesuffix("\n")


class LineTests(SynchronousTestCase):
    @given(st.text("ab {}:!", max_size=12), VALUES, VALUES)
    def test_text_is_what_twisted_makes_of_it(self, words: str, a: object, b: object) -> None:
        expected = printable(formatEvent({"a": a, "b": b, "log_format": words}))
        if expected.startswith("Unable to format"):
            expected = expected[: len("Unable to format")]
        self.assertEqual(text_of(words, a=a, b=b)[: len(expected) or None], expected)

    def test_fields_of_every_shape(self) -> None:
        self.assertEqual(text_of("{a}: {b}, {{c}}", a="x", b=7), "x: 7, {c}")
        self.assertEqual(text_of("{a!r} {b:>3}", a="x", b=7), "'x'   7")
        self.assertEqual(text_of("{a.real}", a=7), "7")
        self.assertIn("missing", text_of("{missing}"))

    @given(st.text())
    def test_what_is_printable_stays_and_what_is_not_goes(self, text: str) -> None:
        shown = printable(text)
        self.assertEqual(shown, "".join(map(printable, text)))
        self.assertFalse(set(shown) & set("\x00\n\r\x1b\x7f\x9b\u2028\u202e\u200f"))
