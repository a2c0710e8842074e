"""What a worker is told at its birth, by who started it."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from dataclasses import dataclass

from lanmail.config.parameters import Settings
from lanmail.rights.duties import Duties


@dataclass(frozen=True, slots=True)
class Order:
    """number: from 1. count: of all workers. settings: as they hold now, after whatever reload.

    ports: what is spoken on it, its descriptor and its place (ports.Listening). lock: the descriptor of the state folder's lock. tables: of
    the memory that is shared. These are inherited, and have the same numbers in every process. duties: the guard's; None where there is no
    guard. plainly: the log goes to the standard output as it is, with ``host``, rather than through the supervisor.
    """

    number: int
    count: int
    settings: Settings
    ports: Sequence[tuple[str, int, str]]
    lock: int
    tables: int
    duties: Duties | None
    plainly: bool

    def text(self) -> bytes:
        """For the line's first frame. Settings are values of many kinds, and they go from ourselves to ourselves: so it is a pickle."""
        return pickle.dumps(self)

    @classmethod
    def of(cls, text: bytes) -> Order:
        """What ``text`` gave."""
        order = pickle.loads(text)  # noqa: S301 - from the process that started us, which has our memory and our rights
        assert isinstance(order, cls)
        return order


def settings_text(settings: Settings) -> str:
    """Settings on their way to workers that run, as JSON can carry them."""
    return pickle.dumps(settings).hex()


def settings_of(text: str) -> Settings:
    """What ``settings_text`` gave."""
    settings = pickle.loads(bytes.fromhex(text))  # noqa: S301 - as above
    assert isinstance(settings, Settings)
    return settings
