from __future__ import annotations

import time

from twisted.trial.unittest import SynchronousTestCase

from lanmail.admin.moments import moment_of

NOW = time.mktime((2026, 11, 24, 10, 31, 2, 0, 0, -1))


class MomentTests(SynchronousTestCase):
    def test_some_time_ago(self) -> None:
        for text, seconds in (("90s", 90), ("30m", 1800), ("2h", 7200), ("3d", 3 * 86400), ("1w", 7 * 86400)):
            self.assertEqual(moment_of(text, NOW), NOW - seconds, text)

    def test_a_date_perhaps_with_a_time_in_local_time(self) -> None:
        midnight = time.mktime((2026, 11, 20, 0, 0, 0, 0, 0, -1))
        self.assertEqual(moment_of("2026-11-20", NOW), midnight)
        for text in ("2026-11-20 10:30", "2026-11-20T10:30", " 2026-11-20 10:30:00 "):
            self.assertEqual(moment_of(text, NOW), midnight + 37800, text)

    def test_a_time_is_today_s_or_where_that_is_still_to_come_yesterday_s(self) -> None:
        midnight = time.mktime((2026, 11, 24, 0, 0, 0, 0, 0, -1))
        self.assertEqual(moment_of("10:31", NOW), midnight + 37860)
        self.assertEqual(moment_of("10:32", NOW), midnight + 37920 - 86400)

    def test_anything_else_is_a_value_error(self) -> None:
        for text in ("", "yesterday", "2h ago", "25:00", "2026-13-01", "-2h", "99999999d", "0001-01-01 00:00:00x"):
            self.assertRaises(ValueError, moment_of, text, NOW)
