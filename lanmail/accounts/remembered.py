"""Logins that were right a moment ago are remembered, so that the poll every few minutes does not cost a hash that is slow on purpose.

What is kept is a keyed hash in memory, with a key that this process made and tells nobody; one password for each name and service, and
nothing of what was wrong. It is forgotten with the first change of a file that says who may log in, at 00:00 UTC, when the dates in
shadow(5) take effect, and ``lasting`` seconds after PAM (or the file) itself said yes.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import struct
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from lanmail.accounts.sources import Passwords
from lanmail.accounts.watched import State
from lanmail.interfaces import InThread, Login, Report, User, Users

_DAY = 86400


class Watch(Protocol):
    """watched.Watched."""

    def state(self) -> State:
        """Blocking; OSError where nothing is known."""


@dataclass(frozen=True, slots=True)
class _Right:
    """A login that was right. proof: what the password comes to. state: of the files, as it was before the check. day: of UTC, then."""

    proof: bytes
    until: float
    state: State
    day: int


class RememberedLogins:
    """sources.Passwords over others: asked first, and told what was right.

    users: the same accounts; whoever is gone from there, or has another uid, is remembered in vain. lasting: ``login_cache_time``,
    seconds, more than 0. clock: monotonic seconds. wall: seconds since the epoch. room: how many logins are remembered.
    obstacle: what besides the watched files has a say in logins now, for a sentence; asked, in a thread, when a file has changed.
    """

    def __init__(
        self,
        passwords: Passwords,
        users: Users,
        watch: Watch,
        in_thread: InThread,
        report: Report,
        *,
        lasting: float,
        clock: Callable[[], float],
        wall: Callable[[], float],
        obstacle: Callable[[], str] = str,
        room: int = 10_000,
    ) -> None:
        self._passwords = passwords
        self._users = users
        self._watch = watch
        self._in_thread = in_thread
        self._report = report
        self._lasting = lasting
        self._clock = clock
        self._wall = wall
        self._obstacle = obstacle
        self._room = room
        self._key = os.urandom(hashlib.blake2b.MAX_KEY_SIZE)
        self._right: OrderedDict[tuple[str, str], _Right] = OrderedDict()  # the oldest first
        self._seen: tuple[State | None, str] = (None, "")  # the state that was looked at last, and the obstacle then
        self._told = ""

    async def user_of(self, name: str | None, password: bytes, login: Login) -> User | None:
        """Passwords. Only a right password is ever answered from memory; what is wrong takes the whole way each time."""
        user = None if name is None else await self._users.find(name)
        if user is None:
            return await self._passwords.user_of(name, password, login)
        # Before the check: whatever changes from here on makes this another state than the one that is found next time.
        now = self._wall()
        state, day = await self._state(), int(now // _DAY)
        proof = self._proof(login.protocol, user, password)
        if self._is_remembered(login.protocol, user, proof, state, day):
            return user
        checked = await self._passwords.user_of(name, password, login)
        if checked is not None and state is not None and state.is_settled(now):
            until = self._clock() + self._lasting
            proof = self._proof(login.protocol, checked, password)
            self._remember(login.protocol, checked, _Right(proof, until, state, day))
        return checked

    def forget(self) -> None:
        """All of them."""
        self._right.clear()

    def __len__(self) -> int:
        return len(self._right)

    async def _state(self) -> State | None:
        """None where it cannot be known, or is not all; then nothing is remembered, and the log says so once."""
        try:
            state, trouble = self._seen = await self._in_thread(self._look)
        except OSError as error:
            trouble = f"cannot see whether {error.filename} changes: {error.strerror}"
        if trouble and trouble != self._told:
            self._report("warning: {trouble}; logins are not remembered", trouble=trouble)
        self._told = trouble
        if not trouble:
            return state
        self.forget()
        return None

    def _look(self) -> tuple[State, str]:
        """In a thread."""
        seen, obstacle = self._seen
        state = self._watch.state()
        return state, obstacle if state == seen else self._obstacle()

    def _is_remembered(self, service: str, user: User, proof: bytes, state: State | None, day: int) -> bool:
        known = self._right.get((service, user.name))
        if known is None:
            return False
        if state != known.state or day != known.day:
            # For this one it holds for all: what they were told by is no longer so.
            self._forget_others(state, day)
            return False
        return self._clock() < known.until and hmac.compare_digest(proof, known.proof)

    def _forget_others(self, state: State | None, day: int) -> None:
        for who, right in list(self._right.items()):
            if right.state != state or right.day != day:
                del self._right[who]

    def _remember(self, service: str, user: User, right: _Right) -> None:
        now = self._clock()
        self._right[service, user.name] = right
        self._right.move_to_end((service, user.name))
        # All last equally long, so those that are over stand in front.
        while len(self._right) > self._room or next(iter(self._right.values())).until <= now:
            self._right.popitem(last=False)

    def _proof(self, service: str, user: User, password: bytes) -> bytes:
        """Each part behind its length, so that no two logins are one text."""
        parts = (service.encode(), user.name.encode(), b"%d" % user.uid, password)
        text = b"".join(struct.pack("!I", len(part)) + part for part in parts)
        return hashlib.blake2b(text, key=self._key, digest_size=32).digest()
