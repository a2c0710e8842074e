"""A house whose process dies in the middle of a delivery, and what the next one finds."""

from __future__ import annotations

import os
from collections.abc import Callable

from twisted.trial.unittest import SynchronousTestCase

from lanmail.address import Address
from lanmail.interfaces import User
from lanmail.mailbox.mbox import separation
from lanmail.spool.entries import Intent, Message, Recipient
from lanmail.spool.incoming import Content
from tests.delivery.house import House

OLD = b"From old  Mon Nov 23 12:00:00 2026\n\nold\n\n"
OTHER = b"From other@lan.example  Mon Nov 23 12:00:05 2026\nSubject: by another program\n\nother\n\n"
BODY = b"From: ann\nTo: ann\n\n>From here\nFrome\nmid From bob  Mon Nov 23 12:00:00 2026\nend\n\n"
ANN = Address("ann", "lan.example")

BEFORE_THE_CUT = "0000-before"
"""Another boot id than that of the houses of a test."""
NOW = "1111-now"


def head(queue_id: str) -> bytes:
    return (
        b"From ann@lan.example  Mon Nov 23 12:00:01 2026\nReturn-Path: <ann@lan.example>\nX-Original-To: ann@lan.example\n"
        b"Delivered-To: ann@lan.example\nReceived: from pc (unknown [192.168.1.5])\n\tby srv (lanmail) with ESMTP id "
        + queue_id.encode()
        + b";\n\tdate\n"
    )


def piece(queue_id: str, body: bytes = BODY) -> bytes:
    return head(queue_id) + body


def user(name: str) -> User:
    return User(name, os.getuid(), os.getgid())


class CrashTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.house = House(self.mktemp(), boot=NOW)
        self.addCleanup(lambda: self.house.kill())

    def move(self, folder: str) -> None:
        """From now on the house is the one in that folder."""
        self.house.kill()
        self.house = House(folder, boot=NOW)

    def restart(self) -> None:
        """The process is gone; another begins with what lies on the disk."""
        self.move(self.house.folder)

    def recover(self) -> None:
        self.restart()
        self.house.recovery.run()

    def begin(
        self,
        name: str,
        *queue_ids: str,
        boot: str = NOW,
        marked: bool = False,
        content: Content | None = None,
        head: Callable[[str], bytes] = head,
    ) -> list[int]:
        """These messages are in the journal, with the intents that delivery has in the mailbox as it is now; nothing is written."""
        content = content or Content(len(BODY), BODY)
        with self.house.mailbox_of(user(name)).lock(create=True) as mailbox:
            device, inode, end = mailbox.device, mailbox.inode, mailbox.length()
        gap = len(separation(self.house.contents(name)[-4:]))
        numbers = []
        for queue_id in queue_ids:
            recipient = Recipient(user(name), head(queue_id), ANN, ANN, ANN)
            message = Message(queue_id, ANN, 0.0, content.size)
            (number,) = self.house.journal.admit(message, [recipient], content, now=0.0).result()
            self.house.journal.intend([Intent(number, boot, device, inode, end)]).result()
            end += gap + len(head(queue_id)) + content.size
            gap = 0
            numbers.append(number)
        if marked:
            self.house.journal.mark(numbers).result()
        return numbers

    def append(self, name: str, octets: bytes) -> None:
        with open(os.path.join(self.house.spool, name), "ab") as file:
            file.write(octets)

    def deliver_what_waits(self, name: str) -> None:
        self.house.deliver(*self.house.waiting(name))
        self.house.checkpoints.run()

    def kinds(self) -> list[str]:
        """What was told of the messages, by kind."""
        return [kind for kind, _, _ in self.house.told]
