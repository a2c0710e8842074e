"""Twin of lanmail/queue/questions.py."""

from __future__ import annotations

import json

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from lanmail.queue.questions import LONGEST_QUESTION, VERBS, BadQuestion, Question, line_of, question_of, queue_id


class QuestionTests(SynchronousTestCase):
    def test_what_is_asked_is_what_is_understood(self) -> None:
        one = ("222CF6745D",)
        for question in (
            Question("ping"),
            Question("list"),
            Question("show", one),
            Question("delete"),
            Question("hold", one),
        ):
            self.assertEqual(question_of(question.line()), question)

    def test_ids_are_understood_in_any_case_and_once(self) -> None:
        said = question_of(b'{"verb":"hold","ids":["222cf6745d","222CF6745D","0000000001"]}')
        self.assertEqual(said.ids, ("222CF6745D", "0000000001"))

    def test_the_ids_of_one_question_fit_into_it(self) -> None:
        many = Question("delete", tuple(f"{number:010X}" for number in range(4000)))
        self.assertLess(len(many.line()), LONGEST_QUESTION)

    def test_what_cannot_be_an_id_is_none(self) -> None:
        for text in ("", "222CF6745", "222CF6745DD", "222CF6745G", "../../x/yz", "222CF6745D\n", "٢٢٢٢٢٢٢٢٢٢", "ALL"):
            self.assertIsNone(queue_id(text), text)

    def test_anything_else_is_refused_in_a_sentence(self) -> None:
        for line in (
            b"",
            b"\xff",
            b"hold",
            b"[" * 60_000,
            b'{"verb":' * 9000,
            b"1" * 60_000,
            b"[]",
            b"null",
            b"{}",
            b'{"verb":1}',
            b'{"verb":["list"]}',
            b'{"verb":"stop"}',
            b'{"verb":"list","ids":"ALL"}',
            b'{"verb":"list","x":1}',
            b'{"verb":"hold"}',
            b'{"verb":"hold","ids":[]}',
            b'{"verb":"hold","ids":"222CF6745D"}',
            b'{"verb":"hold","ids":["222CF6745D",1]}',
            b'{"verb":"hold","ids":["ALL"]}',
            b'{"verb":"hold","ids":null}',
            b'{"verb":"show","ids":"ALL"}',
            b'{"verb":"show","ids":["222CF6745D","0000000001"]}',
            b'{"verb":"hold","ids":["\\ud800"]}',
        ):
            error = self.assertRaises(BadQuestion, question_of, line)
            self.assertNotIn("\n", str(error))

    @settings(max_examples=200, deadline=None)
    @given(
        st.binary(max_size=60)
        | st.dictionaries(
            st.sampled_from(("verb", "ids", "x")),
            st.sampled_from(VERBS) | st.none() | st.lists(st.text(max_size=12), max_size=3) | st.text(max_size=12),
        ).map(lambda said: json.dumps(said).encode())
    )
    def test_whatever_comes_is_a_question_or_a_refusal(self, line: bytes) -> None:
        try:
            question = question_of(line)
        except BadQuestion:
            return
        self.assertIn(question.verb, VERBS)
        self.assertTrue(question.ids is None or all(queue_id(one) == one for one in question.ids))

    def test_a_line_is_one_line_of_ascii_whatever_it_says(self) -> None:
        line = line_of({"error": "a\nb\r\u2028\x1b\x85é\ud800"})
        self.assertTrue(line.isascii())
        self.assertEqual(len(line.splitlines()), 1)
