from __future__ import annotations

from itertools import pairwise
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from lanmail.queue.mail import Copy, Mail
from lanmail.queue.mailboxes import COPIES_HERE, MAILBOXES_IN_ROUND, OCTETS_PAUSED, Mailboxes, State
from tests.queue.house import content, message, recipient

LARGE = 2 * 1024 * 1024


class MailboxesTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.mailboxes = Mailboxes()
        self.number = 0

    def take(self, *names: str, size: int = 10) -> Mail:
        mail = Mail(message(f"{self.number:010d}"), content(size), len(names))
        numbers = list(range(self.number + 1, self.number + 1 + len(names)))
        self.number += len(names)
        self.mailboxes.take(mail, [recipient(name) for name in names], numbers, 0.0)
        return mail

    def round(self, *, large: bool = True) -> dict[str, list[int]]:
        """The next one, done at once."""
        taken = self.mailboxes.next_round(large=large)
        for mailbox, copies in taken:
            for copy in copies:
                self.mailboxes.done_with(mailbox, copy)
            self.mailboxes.rest(mailbox)
        return {mailbox.name: [copy.number for copy in copies] for mailbox, copies in taken}


class TurnsTests(MailboxesTestCase):
    def test_a_thousand_for_one_do_not_delay_one_each_for_many(self) -> None:
        for _ in range(COPIES_HERE):
            self.take("ann")
        for number in range(MAILBOXES_IN_ROUND - 1):
            self.take(f"user{number}")
        first = self.round()
        self.assertEqual(len(first), MAILBOXES_IN_ROUND)

    def test_who_was_served_goes_behind_who_was_not(self) -> None:
        for _ in range(COPIES_HERE):
            self.take("ann")
        for number in range(60):
            self.take(f"user{number}")
        rounds = [self.round() for _ in range(4)]
        self.assertEqual(["ann" in one for one in rounds], [True, False, False, True])

    def test_a_mailbox_gets_its_mail_in_order(self) -> None:
        for _ in range(COPIES_HERE):
            self.take("ann")
        got: list[int] = []
        while one := self.round():
            got += one["ann"]
        self.assertEqual(got, sorted(got))
        self.assertEqual(len(got), COPIES_HERE)

    def test_a_mailbox_is_in_one_round_at_a_time(self) -> None:
        self.take("ann")
        first = self.mailboxes.next_round(large=True)
        self.take("ann")
        self.assertEqual(self.mailboxes.next_round(large=True), [])
        self.mailboxes.rest(first[0][0])
        self.assertEqual(len(self.mailboxes.next_round(large=True)), 1)

    def test_a_large_message_goes_alone(self) -> None:
        self.take("ann", size=LARGE)
        self.take("bob")
        self.take("eve", size=LARGE)
        rounds = [self.round() for _ in range(3)]
        self.assertEqual(sorted(list(one) for one in rounds), [["ann"], ["bob"], ["eve"]])

    def test_large_messages_leave_a_thread_to_the_small_ones(self) -> None:
        self.take("ann", size=LARGE)
        self.take("bob")
        self.assertEqual(list(self.round(large=False)), ["bob"])
        self.assertEqual(self.round(large=False), {})

    def test_where_there_is_one_thread_large_and_small_ones_take_turns(self) -> None:
        for number in range(4):
            self.take(f"large{number}", size=LARGE)
        for number in range(4 * MAILBOXES_IN_ROUND):
            self.take(f"small{number}")
        kinds = ["large" if any("large" in name for name in self.round()) else "small" for _ in range(8)]
        self.assertEqual(kinds.count("large"), 4)
        self.assertTrue(all(a != b for a, b in pairwise(kinds)), kinds)

    def test_a_round_has_a_bound_in_octets_and_leaves_nothing_out(self) -> None:
        for number in range(40):
            self.take(f"user{number}", size=60_000)
        rounds = []
        while one := self.round():
            rounds.append(one)
        self.assertEqual(sum(map(len, rounds)), 40)
        self.assertTrue(all(60_000 * len(one) <= 1024 * 1024 for one in rounds))


class BoundsTests(MailboxesTestCase):
    def test_a_flood_for_one_user_stays_in_the_journal(self) -> None:
        for _ in range(COPIES_HERE + 50):
            self.take("ann")
        mailbox = next(iter(self.mailboxes))
        self.assertEqual(len(mailbox.copies), COPIES_HERE)
        self.assertTrue(mailbox.backlog)

    def test_once_there_is_a_backlog_nothing_overtakes_it(self) -> None:
        for _ in range(COPIES_HERE + 1):
            self.take("ann")
        self.round()
        self.take("ann")
        mailbox = next(iter(self.mailboxes))
        self.assertEqual(len(mailbox.copies), COPIES_HERE - 50)

    def test_all_together_have_a_bound_too(self) -> None:
        self.mailboxes = Mailboxes(1_000_000)
        for number in range(100):
            self.take(f"user{number}", size=60_000)
        self.assertLessEqual(self.mailboxes.octets, 1_000_000)
        self.assertEqual(len(self.mailboxes), 100)
        while self.round():
            pass
        self.assertEqual(self.mailboxes.octets, 0)
        # Whoever found no room is read from the journal.
        self.assertGreater(len(self.mailboxes), 80)
        self.assertEqual(len(self.mailboxes.next_wanting(200)), len(self.mailboxes))

    def test_one_text_for_a_thousand_is_counted_once(self) -> None:
        self.take(*(f"user{number}" for number in range(1000)), size=60_000)
        self.assertFalse(any(mailbox.backlog for mailbox in self.mailboxes))
        self.assertLess(self.mailboxes.octets, 2_000_000)

    def test_a_mailbox_with_nothing_to_do_is_forgotten(self) -> None:
        self.take("ann")
        self.round()
        self.assertEqual(len(self.mailboxes), 0)
        self.assertEqual(self.mailboxes.octets, 0)

    def test_a_locked_mailbox_keeps_little_in_memory(self) -> None:
        for _ in range(10):
            self.take("ann", size=60_000)
        ((mailbox, copies),) = self.mailboxes.next_round(large=True)
        self.mailboxes.put_back(mailbox, copies)
        self.mailboxes.paused(mailbox)
        for _ in range(10):
            self.take("ann", size=60_000)
        self.assertEqual((mailbox.octets, mailbox.backlog, mailbox.state), (0, True, State.PAUSED))
        self.assertLessEqual(self.mailboxes.octets, OCTETS_PAUSED)

    def test_that_it_was_locked_is_forgotten_in_time(self) -> None:
        self.take("ann")
        ((mailbox, _),) = self.mailboxes.next_round(large=True)
        mailbox.busy_since = 100.0
        self.mailboxes.rest(mailbox)
        self.mailboxes.tidy(99.0)
        self.assertEqual(len(self.mailboxes), 1)
        self.mailboxes.tidy(101.0)
        self.assertEqual(len(self.mailboxes), 0)


class BacklogTests(MailboxesTestCase):
    def loaded(self, *numbers: int) -> list[Copy]:
        return [Copy(Mail(message("A"), content(), None), recipient("ann"), number, 0.0) for number in numbers]

    def test_what_comes_while_the_journal_is_read_is_not_kept_twice(self) -> None:
        self.mailboxes.notice("ann", 0.0, 0.0)
        (ann,) = self.mailboxes.next_wanting(10)
        self.take("ann")  # as number 1: the reading may have seen it, or not
        ann.user = recipient("ann").user
        self.mailboxes.loaded(ann, self.loaded(1))
        self.mailboxes.rest(ann)
        self.assertEqual(self.round(), {"ann": [1]})
        self.assertEqual([mailbox.name for mailbox in self.mailboxes.next_wanting(10)], ["ann"])

    def test_it_is_read_until_nothing_comes_and_then_new_mail_is_kept_again(self) -> None:
        self.mailboxes.notice("ann", 0.0, 0.0)
        (ann,) = self.mailboxes.next_wanting(10)
        self.mailboxes.loaded(ann, self.loaded(7))
        self.mailboxes.rest(ann)
        self.assertEqual(self.round(), {"ann": [7]})
        (ann,) = self.mailboxes.next_wanting(10)
        self.mailboxes.loaded(ann, [])
        self.mailboxes.rest(ann)
        self.take("ann")
        self.assertEqual(self.round(), {"ann": [1]})

    def test_what_is_here_anyhow_is_not_read_again_because_it_is_due(self) -> None:
        self.take("ann")
        self.assertFalse(self.mailboxes.notice("ann", 0.0, 1.0))
        self.assertFalse(next(iter(self.mailboxes)).backlog)
        self.assertTrue(self.mailboxes.notice("ann", 0.0, 10.0))

    def test_nothing_is_read_while_memory_is_full(self) -> None:
        self.mailboxes = Mailboxes(100_000)
        self.assertTrue(self.mailboxes.has_room)
        for number in range(3):
            self.take(f"user{number}", size=60_000)
        self.mailboxes.octets = 100_000
        self.assertFalse(self.mailboxes.has_room)


class AnyOrderTests(MailboxesTestCase):
    @settings(max_examples=60, deadline=None)
    @given(st.data())
    def test_whatever_happens_every_copy_is_done_once_in_order_and_memory_is_empty_at_the_end(self, data: Any) -> None:
        self.setUp()
        self.mailboxes = Mailboxes(200_000)
        journal: dict[str, list[int]] = {name: [] for name in "abc"}  # numbers that are not done
        done: dict[str, list[int]] = {name: [] for name in "abc"}
        at_work: list[Any] = []
        for _ in range(data.draw(st.integers(0, 40))):
            act = data.draw(st.sampled_from(["take", "begin", "end", "busy", "resume", "load", "notice"]))
            if act == "take":
                names = data.draw(st.sampled_from(["a", "b", "abc"]))
                for name, number in zip(names, range(self.number + 1, self.number + 4), strict=False):
                    journal[name].append(number)
                self.take(*names, size=data.draw(st.sampled_from([10, 60_000, LARGE])))
            self._step(act, data, journal, done, at_work)
            self.assertGreaterEqual(self.mailboxes.octets, 0)
        self._finish(journal, done, at_work)
        for name in "abc":
            self.assertEqual(journal[name], [])
            self.assertEqual(done[name], sorted(done[name]))
        self.assertEqual((self.mailboxes.octets, len(self.mailboxes)), (0, 0))

    def _step(self, act: str, data: Any, journal: Any, done: Any, at_work: list[Any]) -> None:
        if act == "begin":
            at_work += self.mailboxes.next_round(large=data.draw(st.booleans()))
        elif act in ("end", "busy") and at_work:
            mailbox, copies = at_work.pop(data.draw(st.integers(0, len(at_work) - 1)))
            if act == "busy":
                self.mailboxes.put_back(mailbox, copies)
                self.mailboxes.paused(mailbox)
            else:
                self._end(mailbox, copies, journal, done)
        elif act == "resume":
            for mailbox in self.mailboxes:
                if mailbox.state is State.PAUSED:
                    self.mailboxes.rest(mailbox)
        elif act == "load":
            for mailbox in self.mailboxes.next_wanting(2):
                mailbox.user = recipient(mailbox.name).user
                rows = journal[mailbox.name][:2]
                self.mailboxes.loaded(
                    mailbox, [Copy(Mail(message("A"), content(), None), recipient(mailbox.name), n, 0.0) for n in rows]
                )
                self.mailboxes.rest(mailbox)
        elif act == "notice" and journal["a"]:
            self.mailboxes.notice("a", 0.0, data.draw(st.sampled_from([0.0, 100.0])))

    def _end(self, mailbox: Any, copies: list[Copy], journal: Any, done: Any) -> None:
        for copy in copies:
            self.assertIn(copy.number, journal[mailbox.name], "done twice")
            journal[mailbox.name].remove(copy.number)
            done[mailbox.name].append(copy.number)
            self.mailboxes.done_with(mailbox, copy)
        self.mailboxes.rest(mailbox)

    def _finish(self, journal: Any, done: Any, at_work: list[Any]) -> None:
        for _ in range(500):
            at_work += self.mailboxes.next_round(large=True)
            while at_work:
                self._end(*at_work.pop(), journal, done)
            self._step("resume", None, journal, done, at_work)
            self._step("load", None, journal, done, at_work)
