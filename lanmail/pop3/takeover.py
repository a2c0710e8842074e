"""A login that finds its maildrop in use, where the session that has it may be another worker's."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Protocol

from twisted.internet.defer import Deferred

from lanmail.interfaces import IColleagues, User
from lanmail.status import TemporaryFailure

KIND = "wanted"


class Sessions(Protocol):
    """pop3.server.LanPOP3Factory, as far as it is wanted here."""

    def waiting_from(self, user: User) -> set[str]:
        """The addresses of the clients that are logging in as this user now."""

    def give_way(self, name: str, hosts: Collection[str]) -> None:
        """End the session of that user if its client is at one of these addresses and has been silent for long enough."""


class Takeover:
    """``wanted`` is what Maildrops tells; a session of ours gives way to a login at another worker as to one of our own."""

    def __init__(self, sessions: Sessions, colleagues: IColleagues) -> None:
        self._sessions = sessions
        self._colleagues = colleagues
        colleagues.answer(KIND, self._answer)

    def wanted(self, user: User) -> None:
        """A login waits for this user's maildrop."""
        hosts = self._sessions.waiting_from(user)
        self._sessions.give_way(user.name, hosts)
        if self._colleagues.count > 1:
            Deferred.fromCoroutine(self._ask({"user": user.name, "hosts": sorted(hosts)}))

    async def _ask(self, said: dict[str, Any]) -> None:
        try:
            await self._colleagues.ask(KIND, said)
        except TemporaryFailure:
            pass  # who is down has no session, and the login asks again while it waits

    async def _answer(self, said: dict[str, Any]) -> dict[str, Any]:
        hosts = said.get("hosts")
        if isinstance(hosts, list):
            self._sessions.give_way(str(said.get("user", "")), {str(host) for host in hosts})
        return {}
