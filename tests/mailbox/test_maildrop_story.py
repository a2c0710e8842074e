"""What a maildrop tells of its letters: which were fetched, which are gone, by whom and from where."""

from __future__ import annotations

import os

from lanmail.interfaces import nothing_to_tell
from lanmail.mailbox import snapshot as snapshot_module
from lanmail.mailbox.locks import MailboxFailure
from lanmail.mailbox.maildrop import Maildrop
from tests.mailbox.test_maildrop import FROM, WithHouse, message
from tests.mailbox.test_origin import MESSAGE, head

CLIENT = "192.168.1.3"


def ours(number: int) -> bytes:
    """A letter that came in here, as it stands in the file."""
    return FROM + head(queue_id=f"{number:010X}") + MESSAGE + b"\n"


class StoryTests(WithHouse):
    def setUp(self) -> None:
        super().setUp()
        self.told: list[tuple[str, str, dict[str, str | float]]] = []
        self.house.maildrops.tell = self.remember

    def remember(self, kind: str, queue_id: str, /, **facts: str | float) -> None:
        self.told.append((kind, queue_id, facts))

    def fetch(self, maildrop: Maildrop, number: int) -> None:
        self.text(maildrop, number)
        maildrop.fetched(number, CLIENT)

    def test_a_letter_that_was_fetched_and_deleted_is_told_by_its_queue_id(self) -> None:
        maildrop = self.opened(ours(1), ours(2))
        uids = self.now(maildrop.unique_ids())
        self.fetch(maildrop, 2)
        octets = maildrop.letters[1].octets
        self.assertEqual(
            self.told, [("fetched", "0000000002", {"user": "nel", "client": CLIENT, "uidl": uids[1], "octets": octets})]
        )
        self.now(maildrop.commit(frozenset([2]), CLIENT))
        self.assertEqual(
            self.told[1:], [("expunged", "0000000002", {"user": "nel", "client": CLIENT, "uidl": uids[1]})]
        )

    def test_without_uidl_there_is_none_in_the_story_and_nothing_is_read_for_it(self) -> None:
        maildrop = self.opened(ours(1))
        self.fetch(maildrop, 1)
        self.now(maildrop.commit(frozenset([1]), CLIENT))
        self.assertEqual([facts["uidl"] for _, _, facts in self.told], ["", ""])

    def test_a_letter_of_another_program_is_told_by_its_message_id(self) -> None:
        maildrop = self.opened(FROM + MESSAGE + b"\n", message("without one"))
        self.fetch(maildrop, 1)
        self.now(maildrop.commit(frozenset([1, 2]), CLIENT))
        self.assertEqual(
            [(kind, queue_id, facts.get("message_id")) for kind, queue_id, facts in self.told],
            [("fetched", "", "<1@pc>"), ("expunged", "", "<1@pc>"), ("expunged", "", None)],
        )

    def test_a_letter_that_was_not_given_out_is_not_fetched(self) -> None:
        maildrop = self.opened(ours(1), ours(2))
        maildrop.fetched(1, CLIENT)
        self.text(maildrop, 1)
        maildrop.fetched(2, CLIENT)
        self.assertEqual(self.told, [])

    def test_every_letter_that_is_deleted_is_told_whether_fetched_or_not(self) -> None:
        maildrop = self.opened(*(ours(number) for number in range(1, 8)))
        self.fetch(maildrop, 3)
        self.house.deliver(ours(8))
        self.assertEqual(self.now(maildrop.commit(frozenset([1, 3, 5, 7]), CLIENT)), 4)
        gone = [queue_id for kind, queue_id, _ in self.told if kind == "expunged"]
        self.assertEqual(gone, [f"{number:010X}" for number in (1, 3, 5, 7)])

    def test_what_another_program_moved_is_told_by_what_it_is_and_what_it_removed_is_not_ours_to_tell(self) -> None:
        maildrop = self.opened(ours(1), ours(2), ours(3))
        self.now(maildrop.unique_ids())
        self.house.write(ours(3), ours(1))
        self.now(maildrop.commit(frozenset([2, 3]), CLIENT))
        self.assertEqual([(kind, queue_id) for kind, queue_id, _ in self.told], [("expunged", "0000000003")])
        self.assertEqual(self.house.read(), ours(1))

    def test_what_could_not_be_deleted_is_not_told(self) -> None:
        maildrop = self.opened(ours(1))
        self.patch(snapshot_module.LockedMailbox, "take_out", self.failing)
        self.failure(maildrop.commit(frozenset([1]), CLIENT), MailboxFailure)
        self.assertEqual(self.told, [])

    def failing(self, *_: object) -> None:
        raise MailboxFailure.of(OSError(5, "Input/output error"), "cannot take messages out")

    def test_a_head_that_cannot_be_read_does_not_keep_its_letter(self) -> None:
        maildrop = self.opened(ours(1), ours(2))

        def failing(fd: int, start: int, end: int) -> object:
            raise OSError(5, "Input/output error")

        self.patch(snapshot_module, "origin_at", failing)
        self.assertEqual(self.now(maildrop.commit(frozenset([1]), CLIENT)), 1)
        self.assertEqual([(kind, queue_id) for kind, queue_id, _ in self.told], [("expunged", "")])

    def test_it_is_told_although_the_client_did_not_wait(self) -> None:
        maildrop = self.opened(ours(1))
        self.house.waiting = []
        maildrop_commit = maildrop.commit(frozenset([1]), CLIENT)
        maildrop_commit.__await__().send(None)  # begun, and then awaited by nobody
        self.house.run_threads()
        self.assertEqual([(kind, queue_id) for kind, queue_id, _ in self.told], [("expunged", "0000000001")])

    def test_where_no_story_is_kept_no_head_is_read(self) -> None:
        self.house.maildrops.tell = nothing_to_tell
        self.patch(snapshot_module, "origin_at", lambda *_: self.fail("a head was read"))
        maildrop = self.opened(ours(1))
        self.fetch(maildrop, 1)
        self.assertEqual(self.now(maildrop.commit(frozenset([1]), CLIENT)), 0)

    def test_the_lock_is_kept_fresh_while_many_heads_are_read(self) -> None:
        self.patch(snapshot_module, "_OFTEN", 2)
        touched: list[object] = []
        self.patch(snapshot_module.LockedMailbox, "touch", lambda locked: touched.append(locked))
        maildrop = self.opened(*(ours(number) for number in range(1, 8)))
        self.now(maildrop.commit(frozenset(range(1, 8)), CLIENT))
        self.assertGreaterEqual(len(touched), 3)
        self.assertEqual(os.stat(self.house.path).st_size, 0)
