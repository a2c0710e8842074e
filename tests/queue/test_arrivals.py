"""Twin of lanmail/queue/arrivals.py."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from lanmail.queue.arrivals import AT_ONCE, Arrivals
from lanmail.queue.chronicle import Chronicle
from lanmail.queue.mailboxes import Mailboxes
from tests.queue.house import content, message, recipient


class ArrivalsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.mailboxes = Mailboxes()
        self.told: list[str] = []
        self.woken = 0
        chronicle = Chronicle(lambda kind, queue_id, /, **facts: self.told.append(f"{kind} {queue_id}"))
        self.arrivals = Arrivals(self.mailboxes, chronicle, self.wake, self.clock)
        self.number = 0

    def wake(self) -> None:
        self.woken += 1

    def take(self, queue_id: str, *names: str) -> None:
        numbers = range(self.number + 1, self.number + 1 + len(names))
        self.number += len(names)
        self.arrivals.take(message(queue_id), [recipient(name) for name in names], content(), numbers, 0.0)

    def here(self) -> dict[str, list[str]]:
        """Of each mailbox the messages, in their order."""
        return {mailbox.name: [copy.mail.message.queue_id for copy in mailbox.copies] for mailbox in self.mailboxes}

    def test_a_message_to_a_few_is_there_at_once(self) -> None:
        self.take("A", "ann", "nel")
        self.assertEqual(self.here(), {"ann": ["A"], "nel": ["A"]})
        self.assertEqual(self.told, ["received A", "recipient A", "recipient A"])
        self.assertEqual((self.woken, self.clock.getDelayedCalls()), (1, []))

    def test_of_many_recipients_some_are_taken_in_each_turn_of_the_event_loop(self) -> None:
        self.take("A", *[f"u{number}" for number in range(2 * AT_ONCE + 1)])
        self.assertEqual((len(self.mailboxes), len(self.told), self.woken), (AT_ONCE, AT_ONCE + 1, 1))
        self.clock.advance(0)  # in which this clock calls whatever is due at once, also what came meanwhile
        self.assertEqual((len(self.mailboxes), len(self.told), self.woken), (2 * AT_ONCE + 1, 2 * AT_ONCE + 2, 3))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_none_overtakes_an_older_one_for_the_same_mailbox(self) -> None:
        self.take("A", *[f"u{number}" for number in range(AT_ONCE + 1)])
        last = f"u{AT_ONCE}"
        self.take("B", last)
        self.assertNotIn(last, self.here())
        self.clock.advance(0)
        self.assertEqual(self.here()[last], ["A", "B"])

    def test_the_journal_is_not_read_for_what_is_arriving(self) -> None:
        self.take("A", *[f"u{number}" for number in range(AT_ONCE + 1)])
        while self.mailboxes.next_round(large=True):
            pass
        self.assertFalse(self.mailboxes.has_room)
        self.clock.advance(0)
        self.assertTrue(self.mailboxes.has_room)

    def test_what_is_left_at_the_end_is_taken_at_once(self) -> None:
        self.take("A", *[f"u{number}" for number in range(3 * AT_ONCE)])
        self.arrivals.finish()
        self.assertEqual((len(self.mailboxes), self.clock.getDelayedCalls()), (3 * AT_ONCE, []))
