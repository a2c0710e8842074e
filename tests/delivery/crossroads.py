"""A router with its aliases and users, in a folder of its own: everything that says where mail goes, and no mailbox."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from lanmail.delivery import alias_syntax
from lanmail.delivery.alias_syntax import Forward
from lanmail.delivery.aliases import Aliases
from lanmail.delivery.routes import Client, Domains, Route, Router
from lanmail.interfaces import User
from lanmail.network import Networks
from lanmail.smtp.grammar import recipient
from lanmail.status import DeliveryFailure, PermanentFailure, TemporaryFailure

STRANGER = Client("203.0.113.9")
NEIGHBOUR = Client("192.168.1.5")
LOGGED_IN = Client("203.0.113.9", "ann")


def at_once(work: Callable[..., Any], *args: Any, **kwargs: Any) -> Deferred[Any]:
    """InThread for tests that need no threads."""
    return maybeDeferred(work, *args, **kwargs)


class Reports(list[str]):
    """A Report that remembers the lines."""

    def __call__(self, line: str, /, **fields: object) -> None:
        self.append(line.format(**fields))


class KnownUsers:
    """Users that remembers who is there, and can be made to fail."""

    def __init__(self, *names: str) -> None:
        self.known = {name: User(name, os.getuid(), os.getgid(), f"/home/{name}") for name in names}
        self.trouble: DeliveryFailure | None = None

    async def find(self, name: str) -> User | None:
        if self.trouble is not None:
            raise self.trouble
        return self.known.get(name.lower())


class WrittenForwards:
    """members.Forwards from texts: by ``ann``, or by ``ann+tag``. trouble: of users whose home cannot be looked into."""

    def __init__(self, texts: Mapping[str, str]) -> None:
        self.texts = dict(texts)
        self.trouble: dict[str, DeliveryFailure] = {}
        self.asked: list[str] = []

    async def __call__(self, user: User, tag: str, /) -> Forward | None:
        self.asked.append(user.name + tag)
        if user.name in self.trouble:
            raise self.trouble[user.name]
        for ending in (tag, "") if tag else ("",):
            if user.name + ending in self.texts:
                return alias_syntax.forward(f".forward{ending}", self.texts[user.name + ending])
        return None


class Crossroads:
    def __init__(
        self,
        folder: str,
        *users: str,
        aliases: str | None = None,
        forwards: Mapping[str, str] | None = None,
        **router: Any,
    ) -> None:
        self.folder = os.path.abspath(folder)
        os.makedirs(self.folder, exist_ok=True)
        self.clock = Clock()
        self.report = Reports()
        self.users = KnownUsers(*users)
        self.forwards = WrittenForwards(forwards or {})
        self.alias_file = os.path.join(self.folder, "aliases")
        if aliases is not None:
            self.write_aliases(aliases)
        self.aliases = Aliases([self.alias_file] if aliases is not None else [], self.report, self.clock.seconds)
        self._router = router
        self.rebuild(
            Domains("lan.example", {"lan.example", "srv.lan.example", "localhost"}, {"192.168.1.1", "fd00::1"})
        )

    def rebuild(self, domains: Domains) -> None:
        self.router = Router(
            domains,
            self.aliases,
            self.users,
            at_once,
            self.report,
            root=User("root", os.getuid(), os.getgid()),
            mynetworks=Networks.of("127.0.0.0/8", "192.168.1.0/24"),
            forwards=self.forwards,
            **self._router,
        )

    def write_aliases(self, text: str) -> None:
        with open(self.alias_file, "w") as file:
            file.write(text)


class RouterTestCase(SynchronousTestCase):
    def house(self, *users: str, **options: Any) -> Crossroads:
        return Crossroads(self.mktemp(), *users, **options)

    def route(self, house: Crossroads, written: str, client: Client = NEIGHBOUR) -> Route:
        """What becomes of ``RCPT TO:`` with this argument. DeliveryFailure."""
        outcome: list[Any] = []
        address, _ = recipient(f"TO:{written}".encode())
        asked = house.router.recipient(address, client)
        Deferred.fromCoroutine(asked).addBoth(outcome.append)
        (route,) = outcome
        if isinstance(route, Failure):
            route.raiseException()
        assert isinstance(route, Route)
        return route

    def names(self, house: Crossroads, written: str, client: Client = NEIGHBOUR) -> list[str]:
        return [to.user.name for to in self.route(house, written, client).mailboxes]

    def refusal(self, house: Crossroads, written: str, client: Client = NEIGHBOUR) -> str:
        address, _ = recipient(f"TO:{written}".encode())
        asked = house.router.recipient(address, client)
        failure = self.failureResultOf(Deferred.fromCoroutine(asked), PermanentFailure, TemporaryFailure)
        assert isinstance(failure.value, DeliveryFailure)
        return str(failure.value.status)
