"""Where logins that were right a moment ago are remembered: what they come to, never a password."""

from __future__ import annotations

import hashlib
import hmac
import os
import struct
from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Protocol

from lanmail.interfaces import User


@dataclass(frozen=True, slots=True)
class Proof:
    """A login: at which service, who, and by what. It is passed on, and never kept."""

    service: str
    user: User
    password: bytes = field(repr=False)


def parts(proof: Proof) -> bytes:
    """All that tells a login from another, each part behind its length, so that no two logins are one text."""
    fields = (proof.service.encode(), proof.user.name.encode(), b"%d" % proof.user.uid, proof.password)
    return b"".join(struct.pack("!I", len(field)) + field for field in fields)


class LoginMemory(Protocol):
    """One password for each name and service. state: what a login is right by; with another one all that was remembered is void, for
    good. now, until: monotonic seconds."""

    def knows(self, proof: Proof, state: Hashable, now: float) -> bool:
        """Whether this login was right in this state, and still is."""

    def remember(self, proof: Proof, state: Hashable, until: float, now: float) -> None:
        """It was right now, and is until then; in place of what is remembered for that name and service."""

    def forget(self) -> None:
        """All of them."""


@dataclass(frozen=True, slots=True)
class _Right:
    """A login that was right. digest: what it comes to."""

    digest: bytes
    until: float
    state: Hashable


class LoginsHere:
    """LoginMemory of this process alone, by a key that it made and tells nobody. room: how many are kept; the oldest go first."""

    def __init__(self, room: int = 10_000) -> None:
        self._room = room
        self._key = os.urandom(hashlib.blake2b.MAX_KEY_SIZE)
        self._right: OrderedDict[tuple[str, str], _Right] = OrderedDict()  # the oldest first

    def knows(self, proof: Proof, state: Hashable, now: float) -> bool:
        known = self._right.get((proof.service, proof.user.name))
        if known is None:
            return False
        if state != known.state:
            # For this one it holds for all: what they were told by is no longer so.
            self._forget_others(state)
            return False
        return now < known.until and hmac.compare_digest(self._digest(proof), known.digest)

    def remember(self, proof: Proof, state: Hashable, until: float, now: float) -> None:
        who = (proof.service, proof.user.name)
        self._right[who] = _Right(self._digest(proof), until, state)
        self._right.move_to_end(who)
        # All last equally long, so those that are over stand in front.
        while len(self._right) > self._room or next(iter(self._right.values())).until <= now:
            self._right.popitem(last=False)

    def forget(self) -> None:
        self._right.clear()

    def __len__(self) -> int:
        return len(self._right)

    def _forget_others(self, state: Hashable) -> None:
        for who, right in list(self._right.items()):
            if right.state != state:
                del self._right[who]

    def _digest(self, proof: Proof) -> bytes:
        return hashlib.blake2b(parts(proof), key=self._key, digest_size=32).digest()
