"""The queue: takes over every message that comes in, hands each recipient on, and does not let go before all had their due.

SURFACE ONLY YET: the bodies follow.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from lanmail.spool.entries import Message, Recipient
from lanmail.spool.incoming import Content


class Runner:
    """The queue, running."""

    async def accept(self, message: Message, recipients: Sequence[Recipient], content: Content) -> None:
        """The message is ours: on stable storage, and on its way. Raises TemporaryFailure, and then nothing of it is kept."""
        raise NotImplementedError

    def start(self) -> None:
        """Begin to deliver, and look through what is left from the last run."""

    async def stop(self) -> None:
        """Nothing new is begun; what is under way ends; the mailboxes are on stable storage."""

    # what an administrator asks. ids: queue ids; None for all. by: the uid of whoever asks. Each returns the ids it found something to do for.

    async def listing(self, after: int, limit: int) -> list[tuple[Message, list[Recipient]]]:
        """A page of the queue (Journal.listing)."""
        raise NotImplementedError

    async def show(self, queue_id: str) -> tuple[Message, list[Recipient], Content] | None:
        """One message (Journal.find)."""
        raise NotImplementedError

    async def flush(self, ids: Collection[str] | None, by: int) -> list[str]:
        """Deferred recipients are due now."""
        raise NotImplementedError

    async def hold(self, ids: Collection[str] | None, by: int) -> list[str]:
        raise NotImplementedError

    async def release(self, ids: Collection[str] | None, by: int) -> list[str]:
        raise NotImplementedError

    async def requeue(self, ids: Collection[str] | None, by: int) -> list[str]:
        raise NotImplementedError

    async def delete(self, ids: Collection[str] | None, by: int) -> list[str]:
        """Without a report to anybody."""
        raise NotImplementedError
