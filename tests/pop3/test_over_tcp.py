"""POP3 over loopback with real threads, a real mailbox file and Python's poplib, which nobody here wrote."""

from __future__ import annotations

import os
import poplib
import socket
from collections.abc import Callable
from typing import Any, TypeVar

from twisted.cred.checkers import InMemoryUsernamePasswordDatabaseDontUse
from twisted.internet import reactor as global_reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread, deferToThreadPool
from twisted.python.threadpool import ThreadPool
from twisted.trial.unittest import TestCase

from lanmail.accounts.realm import MailRealm, make_portal
from lanmail.interfaces import User
from lanmail.mailbox.claims import Claims
from lanmail.mailbox.index_cache import IndexCache
from lanmail.mailbox.locks import Locking
from lanmail.mailbox.maildrop import Maildrops
from lanmail.mailbox.store import MailboxFile
from lanmail.pop3.server import KEEPALIVE, LanPOP3Factory
from tests import dialogue
from tests.mailbox.test_origin import head
from tests.pop3.fakes import Accounts, RememberingMaildrop, admission, letter, make_factory
from tests.pop3.test_server import dossier_letter

T = TypeVar("T")
reactor: Any = global_reactor
FROM = b"From julien@iscb-corporation.com Fri Nov 21 15:42:42 2003\n"


def stored(text: bytes) -> bytes:
    """A letter as it stands in a mailbox file."""
    return FROM + text.replace(b"\r\n", b"\n") + b"\n"


class People:
    def __init__(self, user: User) -> None:
        self._user = user

    async def find(self, name: str) -> User | None:
        return self._user if name == self._user.name else None


class OverTcp(TestCase):
    timeout = 60

    async def setUp(self) -> None:
        folder = os.path.abspath(self.mktemp())
        for name in ("", "spool", "state", "claims"):
            os.mkdir(os.path.join(folder, name))
        self.path = os.path.join(folder, "spool", "nel")
        self.user = User("nel", os.getuid(), os.getgid())
        self.told: list[tuple[str, str, dict[str, str | float]]] = []
        pool = ThreadPool(0, 8)
        pool.start()
        self.addCleanup(pool.stop)
        maildrops = Maildrops(
            lambda user: MailboxFile(
                self.path,
                user,
                group=None,
                locking=Locking(),
                state_folder=os.path.join(folder, "state"),
                report=lambda line, /, **fields: None,
            ),
            Claims(os.path.join(folder, "claims")),
            IndexCache(),
            in_thread=lambda work, *args, **kwargs: deferToThreadPool(reactor, pool, work, *args, **kwargs),
            sleep=lambda seconds: deferLater(reactor, seconds),
            tell=self.remember,
        )
        checker = InMemoryUsernamePasswordDatabaseDontUse(nel="naël".encode())
        portal = make_portal(MailRealm(People(self.user), None, maildrops.open), checker)  # type: ignore[arg-type]
        self.factory = LanPOP3Factory(portal, clock=reactor, banner="POP3 server ready", admission=admission())
        maildrops.wanted = self.factory.wanted
        self.listen(self.factory)

    def remember(self, kind: str, queue_id: str, /, **facts: str | float) -> None:
        self.told.append((kind, queue_id, facts))

    def listen(self, factory: Any) -> None:
        port = reactor.listenTCP(0, factory, interface="127.0.0.1")
        self.port = port.getHost().port

        async def end() -> None:
            await port.stopListening()
            await factory.stop(2)

        self.addCleanup(lambda: Deferred.fromCoroutine(end()))

    def write(self, *texts: bytes) -> None:
        with open(self.path, "ab") as file:
            file.write(b"".join(map(stored, texts)))

    def connect(self, password: str = "naël") -> poplib.POP3:
        client = poplib.POP3("127.0.0.1", self.port, timeout=20)
        client.encoding = "UTF-8"
        client.user("nel")
        client.pass_(password)
        return client

    async def somewhere(self, work: Callable[[], T]) -> T:
        """As a program of its own would, outside the event loop."""
        result: T = await deferToThread(work)
        return result

    async def test_what_was_fetched_and_deleted_is_told_with_queue_id_uidl_and_where_from(self) -> None:
        ours = head(queue_id="222CF6745D").replace(b"\n", b"\r\n") + letter(300_000)
        self.write(ours, letter(500))

        def visit() -> str:
            client = self.connect()
            uidl = client.uidl(1).split()[2].decode()  # type: ignore[attr-defined]
            client.retr(1)
            client.retr(1)
            client.dele(1)
            client.quit()
            return uidl

        uidl = await self.somewhere(visit)
        facts = {"user": "nel", "client": "127.0.0.1", "uidl": uidl}
        self.assertEqual(
            self.told,
            [("fetched", "222CF6745D", {**facts, "octets": len(ours)}), ("expunged", "222CF6745D", facts)],
        )

    async def test_poplib_fetches_what_was_stored_and_deletes_it(self) -> None:
        texts = [letter(930), b"Subject: dots\r\n\r\n.\r\n..\r\n.a\r\n", letter(300_000)]
        self.write(*texts)

        def visit() -> list[bytes]:
            client = self.connect()
            self.assertEqual(client.stat(), (3, sum(map(len, texts))))
            self.assertIn("UIDL", client.capa())
            self.assertEqual(client.list()[1], [b"%d %d" % (n, len(text)) for n, text in enumerate(texts, 1)])
            self.assertEqual(len(client.uidl()[1]), 3)
            self.assertEqual(client.top(1, 0)[1][-1], b"")
            fetched = [b"".join(line + b"\r\n" for line in client.retr(n)[1]) for n in (1, 2, 3)]
            self.write(letter(500))
            client.dele(1)
            client.dele(3)
            client.quit()
            return fetched

        self.assertEqual(await self.somewhere(visit), texts)
        with open(self.path, "rb") as file:
            self.assertEqual(file.read(), stored(texts[1]) + stored(letter(500)))

    async def test_a_wrong_password_is_told_apart_from_trouble(self) -> None:
        def visit() -> str:
            with self.assertRaises(poplib.error_proto) as caught:
                self.connect("wrong")
            return str(caught.exception)

        self.assertIn("[AUTH]", await self.somewhere(visit))

    async def test_a_second_session_waits_for_the_first_one_to_end(self) -> None:
        self.write(letter(100))

        def visits() -> tuple[int, int]:
            first = self.connect()
            reactor.callFromThread(reactor.callLater, 0.3, first.close)
            second = self.connect()
            return second.stat()

        self.assertEqual(await self.somewhere(visits), (1, 100))

    async def test_two_at_once_and_the_later_is_refused_in_the_end(self) -> None:
        self.write(letter(100))

        def visits() -> str:
            first = self.connect()
            with self.assertRaises(poplib.error_proto) as caught:
                self.connect()
            first.quit()
            return str(caught.exception)

        self.assertIn("[IN-USE]", await self.somewhere(visits))

    async def test_a_silent_session_gives_way_to_its_own_client(self) -> None:
        self.factory.takeover_after = 0.2
        self.write(letter(100))

        def visits() -> tuple[int, int]:
            first = self.connect()
            first.dele(1)
            second = self.connect()
            with self.assertRaises((poplib.error_proto, OSError)):
                first.quit()
            return second.stat()

        self.assertEqual(await self.somewhere(visits), (1, 100))

    async def test_dead_peers_are_looked_for(self) -> None:
        def visit() -> None:
            client = poplib.POP3("127.0.0.1", self.port)
            reactor.callFromThread(looked.callback, None)
            client.quit()

        looked: Deferred[None] = Deferred()
        done = deferToThread(visit)
        await looked
        [connection] = self.factory.connections
        handle = connection.transport.getHandle()
        self.assertTrue(handle.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE))
        self.assertTrue(handle.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
        for option, value in KEEPALIVE:
            self.assertEqual(handle.getsockopt(socket.IPPROTO_TCP, option), value)
        await done

    async def test_a_client_that_pipes_it_all_and_closes_its_half_hears_every_answer(self) -> None:
        """As `printf ... | nc -N` does; and what it deleted is gone, for it has said QUIT."""
        self.write(letter(200))

        def visit() -> bytes:
            with socket.create_connection(("127.0.0.1", self.port), 20) as client:
                client.sendall("USER nel\r\nPASS naël\r\nSTAT\r\nDELE 1\r\nQUIT\r\n".encode())
                client.shutdown(socket.SHUT_WR)
                with client.makefile("rb") as heard:
                    return heard.read()

        lines = (await self.somewhere(visit)).split(b"\r\n")
        self.assertEqual(lines[-4:], [b"+OK 1 200", b"+OK Message deleted", b"+OK Sayonara", b""])

    async def test_a_client_that_never_reads_holds_up_nobody(self) -> None:
        self.write(letter(8_000_000))

        def visits() -> bytes:
            deaf = socket.create_connection(("127.0.0.1", self.port))
            deaf.sendall("USER nel\r\nPASS naël\r\n".encode() + b"RETR 1\r\n" * 50)
            other = poplib.POP3("127.0.0.1", self.port, timeout=20)
            answer = other._shortcmd("CAPA")  # type: ignore[attr-defined]
            other.close()
            deaf.close()
            return bytes(answer)

        self.assertTrue((await self.somewhere(visits)).startswith(b"+OK"))


class DossierOverTcp(TestCase):
    async def test_the_dossiers_capture_over_tcp(self) -> None:
        factory = make_factory(Accounts(RememberingMaildrop(dossier_letter())), reactor)
        factory.banner = "POP3 [192.168.1.1] v2001.78rh server ready"
        port = reactor.listenTCP(0, factory, interface="127.0.0.1")
        try:
            for spoken in dialogue.read("pop3-dossier"):
                await spoken.play_over_tcp(reactor, port.getHost().port)
        finally:
            await port.stopListening()
            await factory.stop(2)
