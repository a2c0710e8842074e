"""Everything that delivery needs, in a folder of its own, wired as the service wires it; threads run at once."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.task import Clock

from lanmail.address import Address
from lanmail.delivery.aliases import Aliases
from lanmail.delivery.local import LocalDelivery
from lanmail.delivery.reception import Reception
from lanmail.delivery.routes import Client, Domains, Router
from lanmail.interfaces import Greeting, MailParameters, User
from lanmail.mailbox.locks import Locking
from lanmail.mailbox.store import MailboxFile
from lanmail.message import QueueIds
from lanmail.network import Networks, Peer
from lanmail.spool.incoming import IncomingFolder
from lanmail.spool.intents import Intents
from lanmail.spool.recovery import Recovery
from lanmail.status import DeliveryFailure

NOON = 1_795_435_200.0  # 2026-11-23 12:00:00 UTC
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
        self.known = {name: User(name, os.getuid(), os.getgid()) for name in names}
        self.trouble: DeliveryFailure | None = None

    async def find(self, name: str) -> User | None:
        if self.trouble is not None:
            raise self.trouble
        return self.known.get(name.lower())


class House:
    def __init__(
        self,
        folder: str,
        *users: str,
        aliases: str | None = None,
        in_thread: Any = at_once,
        clock: Any = None,
        wall: Callable[[], float] = lambda: NOON,
        hopcount_limit: int = 50,
        drop_headers: tuple[str, ...] = ("bcc", "content-length", "resent-bcc", "return-path"),
        **router: Any,
    ) -> None:
        self.folder = os.path.abspath(folder)
        self.spool = os.path.join(self.folder, "mail")
        self.state = os.path.join(self.folder, "state")
        for path in (self.spool, self.state):
            os.makedirs(path, exist_ok=True)
        self.clock = Clock() if clock is None else clock
        self.report = Reports()
        self.users = KnownUsers(*users)
        self.root = User("root", os.getuid(), os.getgid())
        self.alias_file = os.path.join(self.folder, "aliases")
        if aliases is not None:
            self.write_aliases(aliases)
        self.aliases = Aliases([self.alias_file] if aliases is not None else [], self.report, self.clock.seconds)
        self.incoming = IncomingFolder(os.path.join(self.state, "incoming"), in_thread, self.report)
        self.intents = Intents(os.path.join(self.state, "intents"), self.incoming)
        self.recovery = Recovery(self.intents, self.incoming, self.mailbox_of, self.report)
        self.delivery = LocalDelivery(
            self.mailbox_of, self.intents, self.recovery, in_thread, self.clock, self.report, patience=20.0
        )
        self.router = Router(
            Domains("lan.example", {"lan.example", "srv.lan.example", "localhost"}, {"192.168.1.1", "fd00::1"}),
            self.aliases,
            self.users,
            in_thread,
            self.report,
            root=self.root,
            mynetworks=Networks.of("127.0.0.0/8", "192.168.1.0/24"),
            **router,
        )
        self.reception = Reception(
            self.router,
            self.delivery,
            self.incoming,
            QueueIds(wall),
            myhostname="srv.lan.example",
            myorigin="lan.example",
            drop_headers=drop_headers,
            hopcount_limit=hopcount_limit,
            clock=self.clock,
            wall=wall,
        )

    def close(self) -> None:
        """Let go of the folders. Hypothesis makes more houses in one test than a process may have descriptors."""
        self.intents.close()
        self.incoming.close()

    def mailbox_of(self, user: User) -> MailboxFile:
        return MailboxFile(
            os.path.join(self.spool, user.name),
            user,
            group=None,
            locking=Locking(),
            state_folder=self.state,
            report=self.report,
            mend=lambda mailbox: self.recovery.mend(mailbox),
        )

    def write_aliases(self, text: str) -> None:
        with open(self.alias_file, "w") as file:
            file.write(text)

    def contents(self, name: str) -> bytes:
        """A mailbox's octets; nothing where there is none."""
        try:
            with open(os.path.join(self.spool, name), "rb") as file:
                return file.read()
        except FileNotFoundError:
            return b""

    def put(self, name: str, octets: bytes) -> None:
        path = os.path.join(self.spool, name)
        with open(path, "wb") as file:
            file.write(octets)
        os.chmod(path, 0o600)

    def leftovers(self) -> list[str]:
        """What of the spool is still there: nothing, when nobody is at work."""
        return [*os.listdir(self.incoming.path), *os.listdir(self.intents.path)]

    async def send(self, text: bytes, *recipients: str, sender: str = "julien@lan.example", size: int = 4096) -> str:
        """One whole transaction of a neighbour's, as the conversation's rim plays it."""
        avatar = self.reception(None)
        local, _, domain = sender.partition("@")
        await avatar.begin(
            Address(local, domain), MailParameters(), Greeting("[192.168.1.5]", True), Peer("192.168.1.5", 1061)
        )
        for recipient in recipients:
            await avatar.recipient(address(recipient))
        incoming = avatar.data()
        for start in range(0, len(text), size):
            await incoming.write(text[start : start + size])
        return await incoming.commit()


def address(text: str) -> Address:
    local, at, domain = text.rpartition("@")
    return Address(local, domain) if at else Address(text)
