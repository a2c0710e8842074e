"""What several workers saw is told as one story, and forgotten as one."""

from __future__ import annotations

import os

from twisted.trial.unittest import SynchronousTestCase

from lanmail.spool import refusals
from lanmail.spool.all_stories import AllStories
from lanmail.spool.history import History
from lanmail.spool.history_file import HistoryFile, Told
from lanmail.spool.left_histories import forget_old, left
from lanmail.spool.shares import Share, histories
from tests.delivery.house import NOON, Reports

DAY = 86400.0


def refused(at: float, recipient: str = "bert@x", client: str = "10.0.0.1") -> Told:
    facts: dict[str, str | float] = {
        "client": client,
        "sender": "a@b",
        "recipient": recipient,
        "status": "550 5.1.1 no",
    }
    return "refused", "", at, facts


class HistoriesTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = os.path.abspath(self.mktemp())
        os.mkdir(self.folder, 0o700)
        self.report = Reports()

    def path(self, place: int) -> str:
        return os.path.join(self.folder, f"history-{place}")

    def write(self, place: int, *told: Told, now: float = NOON) -> None:
        file = HistoryFile(self.path(place), now)
        file.write(told, now)
        file.close()

    def stories(self) -> AllStories:
        stories = AllStories(histories(self.folder))
        self.addCleanup(stories.close)
        return stories

    def a_way(self) -> None:
        """Received by the first, delivered by it, fetched through the second, deleted through the third."""
        self.write(
            0,
            ("received", "0000000007", NOON, {"sender": "julien@x", "message_id": "<7@x>"}),
            ("recipient", "0000000007", NOON, {"original": "nel@x", "delivered_to": "nel@x", "user": "nel"}),
            ("delivered", "0000000007", NOON + 1, {"user": "nel", "recipient": "nel@x"}),
        )
        self.write(1, ("fetched", "0000000007", NOON + 2, {"user": "nel"}))
        self.write(2, ("expunged", "0000000007", NOON + 3, {"user": "nel"}))


class AllStoriesTests(HistoriesTestCase):
    def test_one_story_whoever_saw_which_part(self) -> None:
        self.a_way()
        whole = ["received", "recipient", "delivered", "fetched", "expunged"]
        story = self.stories().of("0000000007")
        assert story is not None
        self.assertEqual([event.kind for event in story.events], whole)
        for name in ("nel", "<7@x>", "julien@x"):
            (story,) = self.stories().named([name])
            self.assertEqual([event.kind for event in story.events], whole, name)

    def test_what_is_asked_for_by_its_last_part_is_told_from_its_first(self) -> None:
        self.a_way()
        (story,) = self.stories().named(["nel"], since=NOON + 3)
        self.assertEqual(story.events[0].kind, "received")

    def test_the_newest_comes_first(self) -> None:
        for place in (0, 1, 2):
            for number in (place, place + 3):
                at = NOON + 60 * number
                self.write(place, ("delivered", f"{number:010X}", at, {"user": "nel", "recipient": "nel@x"}))
        self.assertEqual([int(one.queue_id, 16) for one in self.stories().named(["nel"])], [5, 4, 3, 2, 1, 0])

    def test_letters_without_an_id_are_told_apart(self) -> None:
        self.write(0, ("fetched", "", NOON, {"user": "nel"}))
        self.write(1, ("fetched", "", NOON + 1, {"user": "nel"}))
        self.assertEqual(len(list(self.stories().named(["nel"]))), 2)

    def test_what_several_refused_alike_is_one_line(self) -> None:
        self.write(0, refused(NOON), refused(NOON + 5))
        self.write(1, refused(NOON + 9), refused(NOON + 1, "carl@x"))
        first, second = self.stories().refused(["a@b"])
        self.assertEqual((first.recipient, first.count, first.first, first.last), ("bert@x", 3, NOON, NOON + 9))
        self.assertEqual((second.recipient, second.count), ("carl@x", 1))

    def test_since_when_and_who_is_over_all(self) -> None:
        self.a_way()
        self.write(3, now=NOON - 5 * DAY)
        self.assertEqual(self.stories().began, NOON - 5 * DAY)
        self.assertIn("nel", self.stories().people())


class LeftTests(HistoriesTestCase):
    def begin(self, days: int = 30, count: int = 1, number: int = 0, now: float = NOON) -> None:
        share = Share(number, count)
        history = History(os.path.join(self.folder, share.history), days, self.report, wall=lambda: now, share=share)
        history.start()
        history.flush()
        history.close()

    def test_those_of_workers_that_are_no_longer_there(self) -> None:
        self.a_way()
        self.assertEqual(left(self.folder, Share()), [self.path(1), self.path(2)])
        self.assertEqual(left(self.folder, Share(2, 2)), [self.path(2)])

    def test_they_are_read_until_they_are_old_and_then_they_go(self) -> None:
        self.a_way()
        self.begin(days=7)
        self.assertEqual(len(histories(self.folder)), 3)
        self.begin(days=7, now=NOON + 9 * DAY)
        self.begin(days=7, now=NOON + 9 * DAY)
        self.assertEqual(histories(self.folder), [self.path(0)])

    def test_where_nothing_is_kept_they_go_at_once(self) -> None:
        self.a_way()
        self.begin(days=0)
        self.assertEqual(histories(self.folder), [])

    def test_only_the_first_worker_touches_them(self) -> None:
        self.a_way()
        self.begin(days=0, count=2, number=2)
        self.assertEqual(histories(self.folder), [self.path(0), self.path(2)])

    def test_refusals_are_bounded_over_all_files(self) -> None:
        self.patch(refusals, "MOST", 100)
        self.patch(refusals, "_LEFT", 90)
        for place in (0, 1):
            self.write(place, *(refused(NOON + n, f"{place}.{n}@x") for n in range(40)))
        forget_old([self.path(1)], NOON, 30, 30, self.report)
        self.assertEqual(len(self.stories().refused(["a@b"])), 40 + 27)

    def test_a_damaged_one_is_said_and_left_alone(self) -> None:
        with open(self.path(1), "wb") as file:
            file.write(b"no database at all" * 1000)
        self.begin()
        self.assertRegex(self.report[0], "history-1, of an earlier run: ")
        self.assertTrue(os.path.exists(self.path(1)))
