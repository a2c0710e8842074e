"""The history read: by queue id, by whoever stands in it, beside a writer, without one, and after a crash."""

from __future__ import annotations

import os
import sqlite3

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from lanmail.spool import history_events
from lanmail.spool.history_file import VERSION, HistoryFile, Told
from lanmail.spool.stories import QUERIES, NoHistory, Stories, Story

DAY = 86400.0
NOON = 20_000 * DAY + DAY / 2
JULIEN, NEL, BERT = "julien@iscb-corporation.com", "nel@iscb-corporation.com", "bert@iscb-corporation.com"


def message(number: int, at: float, sender: str = JULIEN, to: str = NEL) -> list[Told]:
    """One that came in and was delivered."""
    queue_id, user = f"{number:010X}", to.partition("@")[0]
    return [
        ("received", queue_id, at, {"sender": sender, "message_id": f"<{number}@x>", "client": "192.168.1.5"}),
        ("recipient", queue_id, at, {"original": to, "delivered_to": to, "user": user}),
        ("delivered", queue_id, at, {"user": user, "recipient": to}),
    ]


class StoriesTests(SynchronousTestCase):
    def setUp(self) -> None:
        folder = os.path.abspath(self.mktemp())
        os.mkdir(folder, 0o700)
        self.path = os.path.join(folder, "history-0")
        self.file = HistoryFile(self.path, NOON)
        self.addCleanup(self.file.close)

    def write(self, told: list[Told], now: float = NOON) -> None:
        self.file.write(told, now)

    def stories(self) -> Stories:
        stories = Stories(self.path)
        self.addCleanup(stories.close)
        return stories

    def ids(self, *names: str, since: float = 0.0) -> list[int]:
        return [int(story.queue_id or "0", 16) for story in self.stories().named(names, since)]

    # finding

    def test_a_message_is_known_by_its_queue_id(self) -> None:
        self.write(message(7, NOON))
        story = self.stories().of("0000000007")
        assert story is not None
        self.assertEqual([event.kind for event in story.events], ["received", "recipient", "delivered"])
        self.assertIsNone(self.stories().of("0000000008"))
        self.assertIsNone(self.stories().of("nel"))

    def test_and_by_sender_recipient_account_and_message_id_in_any_case(self) -> None:
        self.write(message(7, NOON) + message(8, NOON, sender=BERT, to=BERT))
        for name in ("Julien@ISCB-corporation.com", NEL, "NEL", "<7@X>", "7@x", f"<{NEL}>"):
            self.assertEqual(self.ids(name), [7], name)
        self.assertEqual(self.ids("nobody@x"), [])
        self.assertEqual(self.ids(NEL, BERT), [8, 7])

    def test_the_newest_comes_first_over_days_and_restarts(self) -> None:
        for day in range(3):
            self.write(message(2 * day, NOON + day * DAY) + message(2 * day + 1, NOON + day * DAY), NOON + day * DAY)
        self.assertEqual(self.ids("nel"), [5, 4, 3, 2, 1, 0])
        self.write([("fetched", "0000000001", NOON + 3 * DAY, {"user": "nel"})], NOON + 3 * DAY)
        self.assertEqual(self.ids("nel"), [1, 5, 4, 3, 2, 0])

    def test_since_leaves_out_what_nothing_happened_to_since_then(self) -> None:
        for day in range(3):
            self.write(message(day, NOON + day * DAY), NOON + day * DAY)
        self.write([("expunged", "0000000000", NOON + 2 * DAY + 5, {"user": "nel"})], NOON + 2 * DAY)
        self.assertEqual(self.ids("nel", since=NOON + 2 * DAY), [2, 0])
        self.assertEqual(self.ids("nel", since=NOON + 2 * DAY + 1), [0])
        self.assertEqual(self.ids("nel", since=NOON + 9 * DAY), [])

    def test_a_letter_without_a_queue_id_is_known_by_its_reader_and_its_message_id(self) -> None:
        self.write([("fetched", "", NOON, {"user": "nel", "client": "c", "message_id": "<old@x>"})])
        self.write([("expunged", "", NOON, {"user": "nel", "client": "c", "message_id": "<older@x>"})])
        first, second = self.stories().named(["nel"])
        self.assertEqual((first.queue_id, first.events[0].text("message_id")), ("", "<older@x>"))
        self.assertEqual(second.events[0].text("message_id"), "<old@x>")
        self.assertEqual(len(list(self.stories().named(["OLD@x"]))), 1)

    def test_names_that_share_a_key_are_told_apart(self) -> None:
        self.patch(history_events.zlib, "crc32", lambda octets: 7)
        history_events.key_of.cache_clear()
        self.addCleanup(history_events.key_of.cache_clear)
        self.write(message(7, NOON) + message(8, NOON, sender=BERT, to=BERT))
        self.assertEqual(self.ids(BERT), [8])

    @settings(max_examples=25, deadline=None)
    @given(st.lists(st.tuples(st.sampled_from([JULIEN, NEL, BERT]), st.sampled_from([NEL, BERT])), max_size=12))
    def test_whoever_wrote_or_got_something_finds_exactly_that(self, envelopes: list[tuple[str, str]]) -> None:
        self.file.close()
        os.unlink(self.path)
        self.file = HistoryFile(self.path, NOON)
        told = [told for number, (sender, to) in enumerate(envelopes) for told in message(number, NOON, sender, to)]
        self.write(told)
        for name in (JULIEN, NEL, BERT):
            expected = [number for number, envelope in enumerate(envelopes) if name in envelope]
            self.assertEqual(self.ids(name), expected[::-1])

    def test_every_question_goes_by_an_index(self) -> None:
        self.write(message(7, NOON))
        connection = sqlite3.connect(self.path)
        self.addCleanup(connection.close)
        for query in QUERIES:
            values = (1,) * query.count("?")
            plan = " / ".join(str(row[3]) for row in connection.execute(f"EXPLAIN QUERY PLAN {query}", values))
            self.assertIn("SEARCH", plan, query)
            self.assertNotIn("SCAN", plan, query)
            self.assertNotIn("TEMP B-TREE", plan, query)

    def test_who_had_mail_of_late_is_known(self) -> None:
        facts: dict[str, str | float] = {"original": "anything@x", "delivered_to": "bert+lost@x", "user": "bert"}
        self.write([*message(7, NOON), ("recipient", "0000000007", NOON, facts)])
        self.assertEqual(self.stories().people(), {NEL, "nel", "bert+lost@x", "bert"})

    # refusals

    def test_what_was_refused_is_known_by_sender_and_recipient_and_by_the_message_s_id(self) -> None:
        for recipient in ("Bertt@x", "nell@x"):
            facts: dict[str, str | float] = {
                "sender": JULIEN,
                "recipient": recipient,
                "client": "c",
                "status": "550 5.1.1 no",
            }
            self.write([("refused", "0000000007" if recipient == "nell@x" else "", NOON, facts)])
        stories = self.stories()
        self.assertEqual([refusal.recipient for refusal in stories.refused(["bertt@X"])], ["Bertt@x"])
        self.assertEqual([refusal.recipient for refusal in stories.refused([JULIEN])], ["nell@x", "Bertt@x"])
        self.assertEqual([refusal.recipient for refusal in stories.refused_with("0000000007")], ["nell@x"])
        self.assertEqual(stories.refused([JULIEN], NOON + 1), [])

    # opening

    def story(self) -> Story | None:
        return self.stories().of("0000000007")

    def test_it_reads_beside_the_writer_and_sees_what_is_new(self) -> None:
        stories = self.stories()
        self.assertIsNone(stories.of("0000000007"))
        self.write(message(7, NOON))
        self.assertIsNotNone(stories.of("0000000007"))

    def test_an_open_reader_does_not_keep_the_writer_from_emptying_its_log(self) -> None:
        self.write(message(7, NOON) + message(8, NOON))
        stories = self.stories()
        reading = stories.named(["nel"])
        next(reading)
        connection = sqlite3.connect(self.path)
        self.addCleanup(connection.close)
        self.assertEqual(connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone(), (0, 0, 0))

    def test_it_reads_where_no_service_runs(self) -> None:
        self.write(message(7, NOON))
        self.file.close()
        self.assertFalse(os.path.exists(self.path + "-wal"))
        self.assertIsNotNone(self.story())
        HistoryFile(self.path, NOON).close()  # and the next start finds it well

    def test_it_reads_what_a_crash_left_behind(self) -> None:
        self.write(message(7, NOON))
        child = os.fork()
        if child == 0:  # as if the writer had been killed: its connection is never closed
            connection = sqlite3.connect(self.path, isolation_level=None)
            connection.execute("INSERT INTO event (queue, kind, at) VALUES (7, 2, 0)")
            os._exit(0)
        os.waitpid(child, 0)
        story = self.story()
        assert story is not None
        self.assertEqual(len(story.events), 4)

    def test_it_changes_nothing(self) -> None:
        stories = self.stories()
        self.assertRaises(NoHistory, stories._rows, "DELETE FROM event")

    def test_where_there_is_none_or_not_ours_it_says_so(self) -> None:
        self.assertIn("cannot be read", str(self.assertRaises(NoHistory, Stories, self.path + ".none")))
        self.assertFalse(os.path.exists(self.path + ".none"))
        connection = sqlite3.connect(self.path)
        connection.execute(f"PRAGMA user_version = {VERSION + 1}")
        connection.close()
        self.assertIn("later lanmail", str(self.assertRaises(NoHistory, Stories, self.path)))
        with open(self.path + ".text", "w") as file:
            file.write("no database\n" * 1000)
        self.assertRaises(NoHistory, Stories, self.path + ".text")

    def test_it_says_since_when_it_knows_anything(self) -> None:
        self.assertEqual(self.stories().began, NOON)
