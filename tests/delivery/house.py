"""Everything that delivery needs, in a folder of its own, wired as the service wires it; threads run at once."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.task import Clock

from lanmail.accounts.devices import DeviceTable
from lanmail.address import Address
from lanmail.delivery.aliases import Aliases
from lanmail.delivery.batch import Batch, Entry, Outcome
from lanmail.delivery.local import LocalDelivery
from lanmail.delivery.reception import Reception, Submission
from lanmail.delivery.routes import Client, Domains, Router
from lanmail.delivery.sender_logins import SenderLogins
from lanmail.delivery.senders import Senders
from lanmail.interfaces import Greeting, MailParameters, User
from lanmail.mailbox.disk import SYSTEM
from lanmail.mailbox.locks import Locking
from lanmail.mailbox.store import LockedMailbox, MailboxFile
from lanmail.mailbox.turns import Turns
from lanmail.message import QueueIds
from lanmail.network import Networks, Peer
from lanmail.spool.checkpoint import Checkpoints
from lanmail.spool.entries import Message, Recipient
from lanmail.spool.incoming import Content, IncomingFolder
from lanmail.spool.journal import Journal, Standing
from lanmail.spool.recovery import Recovery
from lanmail.spool.shares import Share
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
        boot: str | None = None,
        delivery_limit: int = 0,
        drop_headers: tuple[str, ...] = ("bcc", "content-length", "resent-bcc", "return-path"),
        journal: Mapping[str, Any] = MappingProxyType({}),
        submission: Submission = Submission(),
        sender_logins: str | None = None,
        local_need_login: bool = False,
        worker: Share = Share(),
        settle_others: Callable[[LockedMailbox], None] | None = None,
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
        self.journal = Journal(os.path.join(self.state, worker.journal), self.incoming, self.report, **journal)
        self.journal.start()
        self.boot = SYSTEM.boot() if boot is None else boot
        self.told: list[tuple[str, str, dict[str, str | float]]] = []
        self.turns: Turns | None = None
        if worker.count > 1:
            os.makedirs(os.path.join(self.state, "turns"), exist_ok=True)
            self.turns = Turns(
                os.path.join(self.state, "turns"),
                worker.number,
                lambda name: self.recovery.is_left(name),
                sleep=lambda seconds: None,
            )
        self.checkpoints = Checkpoints(
            self.journal, self.mailbox_of, self.report, clock=self.clock.seconds, settle_others=settle_others
        )
        self.recovery = Recovery(
            self.journal, self.mailbox_of, self.checkpoints, self.report, self.tell, boot=self.boot
        )
        self.delivery = LocalDelivery(
            self.mailbox_of,
            self.journal,
            self.recovery,
            self.checkpoints,
            self.report,
            boot=self.boot,
            mailbox_size_limit=delivery_limit,
        )
        domains = Domains("lan.example", {"lan.example", "srv.lan.example", "localhost"}, {"192.168.1.1", "fd00::1"})
        self.router = Router(
            domains,
            self.aliases,
            self.users,
            in_thread,
            self.report,
            root=self.root,
            mynetworks=Networks.of("127.0.0.0/8", "192.168.1.0/24"),
            **router,
        )
        self.login_file = os.path.join(self.folder, "sender_logins")
        if sender_logins is not None:
            with open(self.login_file, "w") as file:
                file.write(sender_logins)
        self.senders = Senders(
            self.router,
            SenderLogins(
                [self.login_file] if sender_logins is not None else [],
                domains,
                router.get("recipient_delimiter", ""),
                in_thread,
                self.report,
                self.clock.seconds,
            ),
            in_thread,
            local_need_login=local_need_login,
        )
        self.devices = DeviceTable(os.path.join(self.folder, "devices"), in_thread, self.clock.seconds, self.report)
        self.reception = Reception(
            self.router,
            self.senders,
            self.accept,
            self.incoming,
            QueueIds(wall, place=worker.place, count=worker.count),
            self.devices,
            trouble=lambda: self.journal.trouble,
            tell=self.tell,
            myhostname="srv.lan.example",
            myorigin="lan.example",
            drop_headers=drop_headers,
            hopcount_limit=hopcount_limit,
            wall=wall,
            submission=submission,
        )

    def close(self) -> None:
        """Let go of everything. Hypothesis makes more houses in one test than a process may have descriptors."""
        self.checkpoints.close()
        self.kill()

    def kill(self) -> None:
        """As if the process had died now: nothing is flushed, noted or forgotten any more."""
        for one, numbers in list(self.checkpoints._shares()):
            self.checkpoints._let_go(one, numbers)
        self.journal.close()
        self.incoming.close()

    def tell(self, kind: str, queue_id: str, /, **facts: str | float) -> None:
        self.told.append((kind, queue_id, facts))

    def mailbox_of(self, user: User) -> MailboxFile:
        return MailboxFile(
            os.path.join(self.spool, user.name),
            user,
            group=None,
            locking=Locking(),
            state_folder=self.state,
            report=self.report,
            mend=lambda mailbox: self.recovery.mend(mailbox),
            settle=lambda mailbox: self.checkpoints.settle(mailbox),
            turns=self.turns,
        )

    # the queue's part, as far as it goes here

    def admit(self, message: Message, recipients: Sequence[Recipient], content: Content) -> list[Batch]:
        """Into the journal, and what then is to be delivered of it."""
        self.incoming.sync(content)
        numbers = self.journal.admit(message, recipients, content, now=0.0).result()
        return [
            Batch(to.user, [Entry(number, message.queue_id, to.head, content, to)])
            for to, number in zip(recipients, numbers, strict=True)
        ]

    async def accept(self, message: Message, recipients: Sequence[Recipient], content: Content) -> None:
        """reception.Accept, without a queue: one try at once, and a checkpoint."""
        if recipients:
            self.delivery.deliver(self.admit(message, recipients, content))
            self.checkpoints.run()

    def deliver(self, *batches: Batch) -> list[Outcome]:
        """One round of them, those of the same user together."""
        of: dict[str, list[Entry]] = {}
        users = {batch.user.name: batch.user for batch in batches}
        for batch in batches:
            of.setdefault(batch.user.name, []).extend(batch.entries)
        return self.delivery.deliver([Batch(users[name], entries) for name, entries in of.items()])

    def standing(self) -> list[Standing]:
        """Rows with an intent."""
        return list(self.journal.standing())

    def waiting(self, user: str) -> list[Batch]:
        """What the journal has for this user, for another try."""
        return [
            Batch(to.user, [Entry(to.number, message.queue_id, to.head, content, to)])
            for message, to, content in self.journal.due(user, 1e9, 1000, 1 << 40)
        ]

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
        rows = [row.recipient.user.name for row in self.standing()]
        rows += [f"{name} waits" for name, _, _ in self.journal.waiting()]
        return [*os.listdir(self.incoming.path), *rows]

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
        text = text.replace(b"\r\n", b"\n")
        for start in range(0, len(text), size):
            await incoming.write(text[start : start + size])
        return await incoming.commit()


def address(text: str) -> Address:
    local, at, domain = text.rpartition("@")
    return Address(local, domain) if at else Address(text)
