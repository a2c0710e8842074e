"""Where accounts come from: what every source owes, and the list of them, in which the first that knows a name decides."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from lanmail.interfaces import User, Users
from lanmail.network import Peer


class Accounts(Users, Protocol):
    """Knows who has mail here, and whether a password is theirs."""

    async def verify(self, user: User | None, password: bytes, peer: Peer) -> bool:
        """Whether it is the password of this user, whom ``find`` of this very source gave.

        With None, for a name that nobody has: does as much work as for somebody, and says no. Raises TemporaryFailure (454 4.7.0)
        where it cannot be known now. Never says yes to an empty password.
        """


class AccountList:
    """Several sources as one, in the order of the ``accounts`` parameter."""

    def __init__(self, sources: Sequence[Accounts]) -> None:
        self._sources = tuple(sources)

    async def find(self, name: str) -> User | None:
        """interfaces.Users. A source that cannot answer now is not passed over: the name may be its."""
        found, _ = await self._knower(name)
        return found

    async def verify_name(self, name: str | None, password: bytes, peer: Peer) -> User | None:
        """The user of that name and password, asked of the one source that decides; None where there is none.

        name: as ``login_name`` gave it; None, or a name that nobody has, costs what a wrong password costs. Raises TemporaryFailure.
        """
        user, source = (None, self._sources[0]) if name is None else await self._knower(name)
        return user if await source.verify(user, password, peer) else None

    async def _knower(self, name: str) -> tuple[User | None, Accounts]:
        for source in self._sources:
            user = await source.find(name)
            if user is not None:
                return user, source
        return None, self._sources[0]
