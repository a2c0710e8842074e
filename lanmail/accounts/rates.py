"""How often somebody may do something: a token bucket each, in bounded memory."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Protocol


class Allowance(Protocol):
    """One client's. told: the log was told of it, since it last let one through."""

    told: bool

    def take(self, count: int, seconds: int, now: float) -> bool:
        """Whether it may do it now, which then counts: ``count`` times at once, and ``count`` times in ``seconds`` from then on.

        now: monotonic seconds.
        """


class Allowances(Protocol):
    """Those of many clients; a new one is full."""

    def of(self, client: Hashable) -> Allowance: ...


@dataclass(slots=True)
class Bucket:
    """An Allowance of this process alone. full_at: when all its tokens are there again."""

    full_at: float = 0.0
    told: bool = False

    def take(self, count: int, seconds: int, now: float) -> bool:
        full_at = max(self.full_at, now) + seconds / count
        # A token's worth of rounding must not cost a token.
        if full_at - now > seconds + 1e-6:
            return False
        self.full_at = full_at
        self.told = False
        return True


class Buckets:
    """Allowances of this process alone. room: how many are kept; the longest unused is forgotten first."""

    def __init__(self, room: int) -> None:
        self._room = room
        self._kept: OrderedDict[Hashable, Bucket] = OrderedDict()

    def of(self, client: Hashable) -> Bucket:
        bucket = self._kept.get(client)
        if bucket is None:
            bucket = self._kept[client] = Bucket()
            if len(self._kept) > self._room:
                self._kept.popitem(last=False)
        self._kept.move_to_end(client)
        return bucket

    def __len__(self) -> int:
        return len(self._kept)
