"""The stories of all workers as one: each keeps what it saw, and a message may come in through one of them and be fetched through another.

Also read are histories of workers that are no longer configured, as long as they are kept.
"""

from __future__ import annotations

import heapq
from collections.abc import Collection, Iterator, Sequence

from lanmail.spool.stories import Refusal, Stories, Story


class AllStories:
    """Stories, of several files. Raises NoHistory, here and in all that it does. paths: at least one."""

    def __init__(self, paths: Sequence[str]) -> None:
        self._all = [Stories(path) for path in paths]

    def close(self) -> None:
        for one in self._all:
            one.close()

    @property
    def began(self) -> float:
        """Since when there is something to know: seconds since the epoch."""
        return min(one.began for one in self._all)

    def of(self, queue_id: str) -> Story | None:
        """Of the message with that queue id, in upper case. Each worker's part in its own order, between them by the clock on the wall."""
        parts = [story.events for one in self._all if (story := one.of(queue_id)) is not None]
        return Story(queue_id, tuple(heapq.merge(*parts, key=lambda event: event.at))) if parts else None

    def named(self, names: Collection[str], since: float = 0.0) -> Iterator[Story]:
        """As Stories.named: each story once, and whole."""
        if len(self._all) == 1:
            yield from self._all[0].named(names, since)
            return
        seen: set[str] = set()
        parts = (one.named(names, since) for one in self._all)
        for part in heapq.merge(*parts, key=lambda story: -max(event.at for event in story.events)):
            if not part.queue_id:
                yield part
            elif part.queue_id not in seen:
                seen.add(part.queue_id)
                story = self.of(part.queue_id)
                if story is not None:  # else its last second of being kept is over
                    yield story

    def refused(self, names: Collection[str], since: float = 0.0) -> list[Refusal]:
        """As Stories.refused: what several workers refused alike is one."""
        return _together(refusal for one in self._all for refusal in one.refused(names, since))

    def refused_with(self, queue_id: str) -> list[Refusal]:
        """What was refused in the transaction of that message, which is one worker's."""
        return _together(refusal for one in self._all for refusal in one.refused_with(queue_id))

    def people(self) -> set[str]:
        """As Stories.people."""
        return set().union(*(one.people() for one in self._all))


def _together(refusals: Iterator[Refusal]) -> list[Refusal]:
    """The newest first."""
    known: dict[tuple[str, str, str, str], Refusal] = {}
    for one in refusals:
        same = one.client, one.sender, one.recipient, one.status
        other = known.get(same)
        known[same] = one if other is None else _one_of(one, other)
    return sorted(known.values(), key=lambda refusal: refusal.last, reverse=True)


def _one_of(one: Refusal, other: Refusal) -> Refusal:
    newest = max(one, other, key=lambda refusal: refusal.last)
    return Refusal(
        newest.client,
        newest.sender,
        newest.recipient,
        newest.status,
        newest.helo,
        newest.queue_id,
        min(one.first, other.first),
        newest.last,
        one.count + other.count,
    )
