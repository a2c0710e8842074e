"""Where accounts come from: what every source owes, and the list of them, in which the first that knows a name decides."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from lanmail.interfaces import Login, User, Users
from lanmail.network import Peer


class Accounts(Users, Protocol):
    """Knows who has mail here, and whether a password is theirs."""

    async def verify(self, user: User | None, password: bytes, peer: Peer) -> bool:
        """Whether it is the password of this user, whom ``find`` of this very source gave.

        password: 1 to LONGEST_PASSWORD octets, without NUL. With no user, for a name that nobody has: does as much work as for
        somebody, and says no. Raises TemporaryFailure (454 4.7.0) where it cannot be known now.
        """


class Passwords(Protocol):
    """Knows who somebody is by a name and a password: our own accounts, or a checker given with ``--auth``."""

    async def user_of(self, name: str | None, password: bytes, login: Login) -> User | None:
        """The user of that name and password; None where there is none.

        name: as ``login_name`` gave it; None costs what a wrong password costs. password: as for Accounts. Raises TemporaryFailure.
        """


class AccountList:
    """Several sources as one, in the order of the ``accounts`` parameter: interfaces.Users, and Passwords."""

    def __init__(self, sources: Sequence[Accounts]) -> None:
        if not sources:
            raise ValueError("a list of accounts needs a source")
        self._sources = tuple(sources)

    async def find(self, name: str) -> User | None:
        """interfaces.Users. A source that cannot answer now is not passed over: the name may be one of its own."""
        user, _ = await self._knower(name)
        return user

    async def user_of(self, name: str | None, password: bytes, login: Login) -> User | None:
        """Passwords. Only the source that knows the name is asked about its password."""
        user, source = (None, self._sources[0]) if name is None else await self._knower(name)
        return user if await source.verify(user, password, login.peer) else None

    async def _knower(self, name: str) -> tuple[User | None, Accounts]:
        for source in self._sources:
            user = await source.find(name)
            if user is not None:
                return user, source
        return None, self._sources[0]
