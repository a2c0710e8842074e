"""The words of reports: complete in both languages, and good French where it is French."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import get_args

from twisted.trial.unittest import SynchronousTestCase

from lanmail.queue.words import Facts, Hearer, Kind, Person, Words, duration, trouble_of
from lanmail.queue.words_en import English
from lanmail.queue.words_fr import French
from tests.queue.reporting import NOON

FACTS = Facts("failed", "sender", (Person("nel@x"),), "julien@x", "Devis", NOON, "postmaster@x", "srv.x")
TROUBLES = ("address", "full", "large", "circle", "late", "other", "")


def everything(words: Words, facts: Facts) -> list[str]:
    return [
        words.subject(facts),
        words.opening(facts),
        words.which(facts),
        words.closing(facts),
        words.signature(facts),
    ]


class CompleteTests(SynchronousTestCase):
    def test_both_languages_have_words_for_everything(self) -> None:
        for words in (English(), French()):
            for kind in get_args(Kind):
                for hearer in get_args(Hearer):
                    for more in ({}, {"tried": 432_000.0, "subject": "", "sender": "", "full": True}, {"until": NOON}):
                        for text in everything(words, replace(FACTS, kind=kind, hearer=hearer, **more)):
                            self.assertTrue(text)
                            self.assertNotRegex(text, r"[{}]|None|  ")
            for trouble in TROUBLES:
                self.assertTrue(words.advice(trouble, FACTS).endswith("."))

    def test_the_languages_do_not_mix(self) -> None:
        for facts in (
            replace(FACTS, kind=kind, hearer=hearer) for kind in get_args(Kind) for hearer in get_args(Hearer)
        ):
            self.assertNotRegex(
                " ".join(everything(French(), facts)), r"\b(message of|your|the|has been|mail system)\b"
            )
            self.assertTrue(" ".join(everything(English(), facts)).isascii())


class FrenchTests(SynchronousTestCase):
    def test_no_line_ends_before_a_sign_that_has_a_space_before_it(self) -> None:
        french = French()
        for kind in get_args(Kind):
            for text in everything(french, replace(FACTS, kind=kind, until=NOON)):
                self.assertNotRegex(french.typeset(text), r" [;:!?»]|« ")

    def test_a_moment_is_written_as_in_french(self) -> None:
        for when, expected in ((NOON, "du 23 novembre 2026 à"), (NOON + 8 * 86_400, "du 1er décembre 2026 à")):
            self.assertIn(expected, French().which(replace(FACTS, sent=when)))
        self.assertRegex(French().typeset(French().which(FACTS)), "à \\d+\u00a0h\u00a0\\d\\d\\.")


class NamesTests(SynchronousTestCase):
    def opening(self, *people: Person) -> str:
        return English().opening(replace(FACTS, people=people))

    def test_a_few_are_named_and_more_are_counted(self) -> None:
        a, b, c, d = (Person(f"{name}@x") for name in "abcd")
        self.assertIn("to a@x has", self.opening(a))
        self.assertIn("to a@x and b@x has", self.opening(a, b))
        self.assertIn("to a@x, b@x and c@x has", self.opening(a, b, c))
        self.assertIn("to 4 recipients has", self.opening(a, b, c, d))

    def test_one_is_named_once_and_with_the_address_that_the_sender_knows(self) -> None:
        self.assertIn("to a@x has", self.opening(Person("a@x"), Person("a@x")))
        self.assertIn("to a@x (by way of staff@x) has", self.opening(Person("a@x", "staff@x")))


class TroubleTests(SynchronousTestCase):
    def test_a_status_says_what_to_do(self) -> None:
        for enhanced, expected in (
            ("5.1.1", "address"),
            ("5.1.10", "address"),
            ("4.2.2", "full"),
            ("5.2.3", "large"),
            ("5.3.4", "large"),
            ("5.4.6", "circle"),
            ("5.3.0", "other"),
            ("", "other"),
            ("nonsense", "other"),
        ):
            self.assertEqual(trouble_of(enhanced, expired=False), expected, enhanced)
        self.assertEqual(trouble_of("4.2.0", expired=True), "late")
        self.assertEqual(trouble_of("4.2.2", expired=True), "full")

    def test_a_duration_is_told_in_the_largest_unit_that_fits(self) -> None:
        for seconds, expected in (
            (432_000, (5, "day")),
            (432_000 + 300, (5, "day")),
            (86_400, (1, "day")),
            (36 * 3600, (36, "hour")),
            (4 * 3600, (4, "hour")),
            (3600, (1, "hour")),
            (90 * 60, (90, "minute")),
            (5, (1, "minute")),
        ):
            self.assertEqual(duration(seconds), expected, seconds)


class WrittenInOurOwnHandTests(SynchronousTestCase):
    def test_nobody_is_addressed_as_a_man_or_a_woman(self) -> None:
        for kind in get_args(Kind):
            text = " ".join(everything(French(), replace(FACTS, kind=kind)))
            self.assertIsNone(re.search(r"\((e|s|es)\)|informé\b", text), text)
