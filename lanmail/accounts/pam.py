"""The system's accounts: users from the name service, passwords from PAM, both asked through the guard."""

from __future__ import annotations

import os
import re
from collections.abc import Container
from typing import Any

from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.interfaces import IReactorTime

from lanmail.accounts.guard import Answer, Guard, GuardTrouble, Launch, helper_launcher
from lanmail.accounts.helper import CHECK_PASSWORD, PRETEND
from lanmail.accounts.users import SystemUsers, through_guard
from lanmail.interfaces import Report, User
from lanmail.network import Peer
from lanmail.status import Status, TemporaryFailure

NOT_NOW = Status(454, "4.7.0", "Temporary authentication failure, try again later")

# Seconds after which a look-up is one that hangs, as far as others who wait are concerned: most take a tenth of a millisecond.
SOON = 0.05

_SERVICE_NAME = re.compile(r"[a-z0-9_][a-z0-9_.-]*")
_SERVICE_FOLDERS = ("/etc/pam.d", "/usr/lib/pam.d", "/usr/share/pam.d", "/usr/etc/pam.d")


def service_problem(service: str) -> str | None:
    """What is wrong with this PAM service, as a sentence for whoever starts the server; None where it can be used.

    Without a file of its own PAM would take ``other``, which on most systems refuses everybody, and on Debian does not.
    """
    if _SERVICE_NAME.fullmatch(service) is None:
        return f'"{service}" cannot be the name of a PAM service (pam_service)'
    if any(os.path.exists(os.path.join(folder, service)) for folder in _SERVICE_FOLDERS):
        return None
    return (
        f"PAM knows no service {service}: /etc/pam.d/{service} is missing, so nobody could log in;"
        f" install it with: cp etc/pam.d/lanmail /etc/pam.d/{service}  (Fedora: etc/pam.d/lanmail.fedora)"
    )


class SystemAccounts:
    """sources.Accounts for ``accounts = system``."""

    def __init__(self, users: SystemUsers, guard: Guard, report: Report) -> None:
        self._users = users
        self._guard = guard
        self._report = report

    async def find(self, name: str) -> User | None:
        return await self._users.find(name)

    async def verify(self, user: User | None, password: bytes, peer: Peer) -> bool:
        """Whether PAM takes this password, and the account has not expired."""
        try:
            answer = await self._ask(user, password, peer)
        except GuardTrouble as trouble:
            name = user.name if user else "nobody"
            self._report("warning: cannot check the password of {name}: {trouble}", name=name, trouble=trouble)
            raise TemporaryFailure(NOT_NOW) from trouble
        return answer.yes and user is not None

    def _ask(self, user: User | None, password: bytes, peer: Peer) -> Deferred[Answer]:
        if user is None:
            return self._guard.ask(PRETEND, host=peer.block)
        name, address = user.name.encode("ascii"), peer.host.encode("ascii", "replace")
        return self._guard.ask(CHECK_PASSWORD, name, password, address, name=user.name, host=peer.block)


class SystemGuards:
    """The guards that system accounts need, each with helpers of its own: PAM that hangs must not make names hang, nor must a
    home on a server that is down.

    reactor: starts the processes and keeps the time. service: ``pam_service``. helpers, time_limit: ``pam_processes`` and
    ``pam_timeout`` (seconds). launches: what starts helpers for passwords, for names and for homes; by default this process does, and they
    have the rights that it has then.
    """

    def __init__(
        self,
        reactor: Any,
        service: str,
        report: Report,
        *,
        helpers: int = 4,
        time_limit: float = 15.0,
        launches: tuple[Launch, Launch, Launch] | None = None,
    ) -> None:
        for_names = helper_launcher(reactor)
        passwords, names, homes = launches or (helper_launcher(reactor, service), for_names, for_names)
        # A copy of the root parent is there in milliseconds when it is needed, a fresh program in a tenth of a second.
        spare = 1.0 if launches else 60.0
        self.passwords = Guard(
            passwords, reactor, report, helpers=helpers, most=4 * helpers, time_limit=time_limit, spare=spare
        )
        # A look-up is quick or stuck: whoever asks gives up about when its helper is replaced. So one helper does it, 4 MB, and others
        # only stand in for one that has not answered at once.
        self.names = Guard(names, reactor, report, helpers=1, most=8, time_limit=5.0, slow=SOON, spare=spare)
        self.homes = Guard(
            homes,
            reactor,
            report,
            helpers=1,
            most=8,
            time_limit=5.0,
            slow=SOON,
            per_name=1,
            spare=spare,
            called="helper that reads .forward files",
        )

    def start(self) -> None:
        """A first helper for passwords and one for names, before anybody asks. Once the reactor runs; never waits."""
        self.passwords.start()
        self.names.start()

    def stop(self) -> Deferred[None]:
        """Fires when no helper is left."""
        return DeferredList([self.passwords.stop(), self.names.stop(), self.homes.stop()]).addCallback(lambda _: None)

    def accounts(self, clock: IReactorTime, uids: Container[int], report: Report) -> SystemAccounts:
        """``accounts = system``, put together. SystemUsers' limits are its defaults."""
        return SystemAccounts(SystemUsers(through_guard(self.names), clock, report, uids=uids), self.passwords, report)
