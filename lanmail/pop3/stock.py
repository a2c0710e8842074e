"""A mailbox that offers no more than Twisted's IMailbox, used as a maildrop: for somebody's own realm behind our protocol."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any

from twisted.internet.defer import maybeDeferred

from lanmail.interfaces import Letter, MessageGone, User


class StockMaildrop:
    """What the conversation's rim uses of IMaildrop. It blocks where the mailbox blocks, and knows no exclusive access.

    The mailbox's files are taken for text with CRLF line ends; a bare LF is made one, as Twisted's own server does.
    """

    def __init__(self, mailbox: Any, username: bytes) -> None:
        self._mailbox = mailbox
        self.user = User(username.decode("utf-8", "replace"), 0, 0)
        # Twisted allows a Deferred here; a maildrop has its letters at once, so such a mailbox is not for us.
        self.letters: Sequence[Letter] = [Letter(n, octets) for n, octets in enumerate(mailbox.listMessages(), 1)]

    async def unique_ids(self) -> Sequence[str]:
        return [self._mailbox.getUidl(letter.number - 1).decode("ascii") for letter in self.letters]

    def at_hand(self, number: int) -> bytes | None:
        """Nothing is read before it is asked for."""
        return None

    async def text(self, number: int, body_lines: int | None = None) -> AsyncIterator[bytes]:
        try:
            file = await maybeDeferred(self._mailbox.getMessage, number - 1)
        except (ValueError, IndexError):
            raise MessageGone() from None
        header = True
        try:
            for line in file:
                text = line.rstrip(b"\r\n") + b"\r\n"
                if not header and body_lines is not None:
                    if not body_lines:
                        break
                    body_lines -= 1
                header = header and text != b"\r\n"
                yield text
        finally:
            file.close()

    def fetched(self, number: int, client: str) -> None:
        """Nothing: what is in such a mailbox has no story here."""

    async def commit(self, deleted: frozenset[int], client: str = "") -> int:
        for number in sorted(deleted):
            self._mailbox.deleteMessage(number - 1)
        await maybeDeferred(self._mailbox.sync)
        return len(self.letters) - len(deleted)
