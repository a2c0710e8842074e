"""Logins that were right a moment ago are remembered, so that the poll every few minutes does not cost a hash that is slow on purpose.

What is kept (login_memory.py) is a keyed hash in memory, with a key that was made at the start and is told nobody; one password for each
name and service, and nothing of what was wrong. It is forgotten with the first change of a file that says who may log in, at 00:00 UTC,
when the dates in shadow(5) take effect, and ``lasting`` seconds after PAM (or the file) itself said yes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from lanmail.accounts.login_memory import LoginMemory, LoginsHere, Proof
from lanmail.accounts.sources import Passwords
from lanmail.accounts.together import Together
from lanmail.accounts.watched import State
from lanmail.interfaces import InThread, Login, Report, User, Users

_DAY = 86400


class Watch(Protocol):
    """watched.Watched."""

    def state(self) -> State:
        """Blocking; OSError where nothing is known."""


class RememberedLogins:
    """sources.Passwords over others: asked first, and told what was right.

    users: the same accounts; whoever is gone from there, or has another uid, is remembered in vain. lasting: ``login_cache_time``,
    seconds, more than 0. clock: monotonic seconds. wall: seconds since the epoch. memory: where logins are remembered.
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
        memory: LoginMemory | None = None,
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
        self._memory = LoginsHere() if memory is None else memory
        self._seen: tuple[State | None, str] = (None, "")  # the state that was looked at last, and the obstacle then
        self._told = ""
        # Many log in at once, on the hour: they look together.
        self._looks = Together(self._look)

    async def user_of(self, name: str | None, password: bytes, login: Login) -> User | None:
        """Passwords. Only a right password is ever answered from memory; what is wrong takes the whole way each time."""
        user = None if name is None else await self._users.find(name)
        if user is None:
            return await self._passwords.user_of(name, password, login)
        # Before the check: whatever changes from here on makes this another state than the one that is found next time.
        now = self._wall()
        state, day = await self._state(), int(now // _DAY)
        service = login.protocol
        if state is not None and self._memory.knows(Proof(service, user, password), (state, day), self._clock()):
            return user
        checked = await self._passwords.user_of(name, password, login)
        if checked is not None and state is not None and state.is_settled(now):
            since = self._clock()
            self._memory.remember(Proof(service, checked, password), (state, day), since + self._lasting, since)
        return checked

    def forget(self) -> None:
        """All of them."""
        self._memory.forget()

    async def _state(self) -> State | None:
        """None where it cannot be known, or is not all; then nothing is remembered, and the log says so once."""
        try:
            state, trouble = await self._looks.ask()
        except OSError as error:
            trouble = f"cannot see whether {error.filename} changes: {error.strerror}"
        if trouble and trouble != self._told:
            self._report("warning: {trouble}; logins are not remembered", trouble=trouble)
        self._told = trouble
        if not trouble:
            return state
        self.forget()
        return None

    async def _look(self) -> tuple[State, str]:
        state, obstacle = await self._in_thread(self._look_at, *self._seen)
        self._seen = state, obstacle
        return state, obstacle

    def _look_at(self, seen: State | None, obstacle: str) -> tuple[State, str]:
        """In a thread."""
        state = self._watch.state()
        return (seen, obstacle) if seen is not None and state == seen else (state, self._obstacle())
