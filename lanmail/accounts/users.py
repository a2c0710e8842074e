"""The system's users, through the name service: who has a mailbox, remembered for a short while.

A name service may be a file, or a directory server that is down. Nobody waits for it longer than ``patience``, few
look-ups are under way at once, and who asks for a name that is remembered does not wait at all.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Container
from dataclasses import dataclass

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from lanmail.accounts.guard import Guard, GuardTrouble
from lanmail.accounts.helper import FIND_USER
from lanmail.accounts.names import is_login_name
from lanmail.interfaces import Report, User
from lanmail.status import Status, TemporaryFailure

NOT_NOW = Status(451, "4.3.0", "The list of users cannot be read now, try again later")

LookUp = Callable[[str], Awaitable[User | None]]
"""Asks the name service for exactly this name; None where there is no such user. May raise anything, may never answer."""


def through_guard(guard: Guard) -> LookUp:
    """A LookUp by the guard's helpers, which can be killed; a thread in a C library cannot."""

    async def look_up(name: str) -> User | None:
        answer = await guard.ask(FIND_USER, name.encode("ascii"), name=name)
        if not answer.yes:
            return None
        try:
            found, uid, gid, home = (octets.decode("utf-8", "surrogateescape") for octets in answer.fields)
            return User(found, int(uid), int(gid), home)
        except ValueError:
            raise GuardTrouble("it answered with noise") from None

    return look_up


@dataclass(frozen=True, slots=True)
class _Remembered:
    user: User | None
    until: float


class SystemUsers:
    """interfaces.Users over the name service. Whether somebody has a shell is nobody's business here.

    uids: who counts as a person (``user_ids``); root and the system's own users have no mailbox by their name.
    patience: seconds after which whoever asks is told TemporaryFailure (451 4.3.0), whatever the look-up is doing.
    lasting, nobody_lasting: seconds for which a user, or that there is none, is remembered: long enough for a burst, short
        enough for userdel(8) and useradd(8). room: how many names. look_ups: how many may be under way at once.
    """

    def __init__(
        self,
        look_up: LookUp,
        clock: IReactorTime,
        report: Report,
        *,
        uids: Container[int],
        patience: float = 5.0,
        lasting: float = 10.0,
        nobody_lasting: float = 5.0,
        room: int = 10_000,
        look_ups: int = 64,
    ) -> None:
        self._look_up = look_up
        self._clock = clock
        self._report = report
        self._uids = uids
        self._patience = patience
        self._lasting = lasting
        self._nobody_lasting = nobody_lasting
        self._room = room
        self._look_ups = look_ups
        self._memory: OrderedDict[str, _Remembered] = OrderedDict()  # the longest unused first
        self._under_way: dict[str, _Shared] = {}

    async def find(self, name: str) -> User | None:
        """The user as the system writes the name, which is tried as it came and then in lower case."""
        if not is_login_name(name):
            return None
        user = await self._exactly(name)
        if user is None and name != name.lower():
            user = await self._exactly(name.lower())
        return user

    def forget(self) -> None:
        """Remember nothing: the next questions go to the name service."""
        self._memory.clear()

    async def _exactly(self, name: str) -> User | None:
        known = self._memory.get(name)
        if known is not None and self._clock.seconds() < known.until:
            self._memory.move_to_end(name)
            return known.user
        return await self._asked(name)

    async def _asked(self, name: str) -> User | None:
        """From the name service, together with everybody else who waits for that name."""
        shared = self._under_way.get(name)
        if shared is None:
            if len(self._under_way) >= self._look_ups:
                raise TemporaryFailure(NOT_NOW)
            shared = self._under_way[name] = _Shared()
            Deferred.fromCoroutine(self._ask(name, shared))
        try:
            return await shared.outcome().addTimeout(self._patience, self._clock)
        except Exception as error:
            raise TemporaryFailure(NOT_NOW) from error

    async def _ask(self, name: str, shared: _Shared) -> None:
        """One look-up to its end, whoever still waits for it. Raises nothing."""
        try:
            user = self._ours(await self._look_up(name))
        except Exception as error:
            self._report("warning: cannot look up user {name}: {error}", name=name, error=error)
            shared.end(Failure())
        else:
            until = self._clock.seconds() + (self._nobody_lasting if user is None else self._lasting)
            self._memory[name] = _Remembered(user, until)
            self._memory.move_to_end(name)
            if len(self._memory) > self._room:
                self._memory.popitem(last=False)
            shared.end(user)
        finally:
            del self._under_way[name]

    def _ours(self, user: User | None) -> User | None:
        """The user if it is a person whose name is safe: a directory may answer with another spelling than it was asked for."""
        return user if user is not None and user.uid in self._uids and is_login_name(user.name) else None


class _Shared:
    """One look-up, and everybody who waits for it."""

    def __init__(self) -> None:
        self._waiting: list[Deferred[User | None]] = []
        self._result: User | Failure | None = None
        self._over = False

    def outcome(self) -> Deferred[User | None]:
        """The user, or the failure, now or later. Each who waits has one of their own, and may stop waiting."""
        answer: Deferred[User | None] = Deferred()
        if self._over:
            answer.callback(self._result)
        else:
            self._waiting.append(answer)
        return answer

    def end(self, result: User | Failure | None) -> None:
        self._over = True
        self._result = result
        for answer in self._waiting:
            answer.callback(result)
