"""What is said to the root parent once."""

from __future__ import annotations

import json

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from lanmail.rights.duties import BadDuties, Duties

DUTIES = Duties(spool="/var/mail", uids=((1000, 2000), (3000, 3000)), files=("/etc/lanmail/main.cf",), group=8)


class DutiesTests(SynchronousTestCase):
    def test_what_is_said_is_what_is_understood(self) -> None:
        self.assertEqual(Duties.of(DUTIES.text()), DUTIES)

    def test_root_is_no_person_whatever_the_ranges(self) -> None:
        duties = Duties(spool="/m", uids=((0, 10), (1000, 2000)))
        self.assertEqual(
            [duties.is_person(uid) for uid in (0, 1, 10, 11, 999, 1000, 2000, 2001)], [0, 1, 1, 0, 0, 1, 1, 0]
        )

    def test_a_path_that_depends_on_where_one_stands_is_none(self) -> None:
        self.assertRaises(BadDuties, Duties, spool="mail", uids=())
        self.assertRaises(BadDuties, Duties, spool="/mail", uids=(), files=("/etc/aliases", "main.cf"))

    def test_a_word_too_many_or_too_few_is_no_description(self) -> None:
        said = json.loads(DUTIES.text())
        for other in ({**said, "more": 1}, {name: said[name] for name in said if name != "group"}, [], 1, None):
            self.assertRaises(BadDuties, Duties.of, json.dumps(other).encode())

    @settings(max_examples=200, deadline=None)
    @given(st.one_of(st.binary(max_size=100), st.from_regex(rb"\{.{0,40}\}", fullmatch=True)))
    def test_noise_is_bad_duties(self, noise: bytes) -> None:
        self.assertRaises(BadDuties, Duties.of, noise)
