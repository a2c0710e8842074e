"""Who works with the server while it is killed: clients that send, clients that fetch, and another program at its mailboxes."""

from __future__ import annotations

import contextlib
import itertools
import os
import poplib
import random
import smtplib
import threading
import time
from collections.abc import Callable

from tests.crash.books import Books
from tests.crash.server import USERS, MortalServer
from tests.powercut.foreign import locked, put
from tests.powercut.letters import DOMAIN, SENDER, foreign_text, pieces, text_of
from tests.powercut.load import PASSWORD

# Octets, and how often. Most mail is small; the last ones are larger than a journal's row takes, than memory holds, than one write.
SIZES = {300: 30, 3000: 25, 9000: 15, 40_000: 5, 150_000: 3, 1_500_000: 1}
LARGE = 5_000_000  # one that takes some time to be written to its mailbox, on request
SENDERS = 8
FETCHERS = 3
# Letters in a mailbox from which on all of them are deleted, so that the last round takes no longer than the first.
FULL = 20
_GONE = (OSError, EOFError, smtplib.SMTPException, poplib.error_proto)  # what a client sees of a server that is killed


class _Elsewhere(Exception):
    """Somebody else works on the mailbox."""


class Load:
    """All of them, from now until ``stop``. Then faults are what was wrong in what they were told and shown.

    number: of this load; no other may have it. Where clients lose the server before ``killing`` is set, that is wrong; but with
    ``one_dies`` they come again.
    """

    def __init__(self, server: MortalServer, books: Books, number: int, seed: str) -> None:
        self.faults: list[str] = []
        self.killing = threading.Event()
        self.one_dies = threading.Event()
        self._wanted: tuple[str, threading.Event] | None = None
        self._server = server
        self._books = books
        self._seed = seed
        self._tokens = itertools.count(1)
        works = [(f"s{10 * number + client}", self._send) for client in range(SENDERS)]
        works += [(f"f{10 * number + client}", self._fetch) for client in range(FETCHERS)]
        self._threads = [threading.Thread(target=self._until_killed, args=work) for work in works]
        for thread in self._threads:
            thread.start()

    def wait_for(self, moment: str, seconds: float) -> None:
        """ "large": a large message was just answered with 250, and is about to be written to its mailbox; "quit": a client is about to say
        QUIT, and letters that it has deleted to be taken out. Or so many seconds."""
        event = threading.Event()
        self._wanted = moment, event
        event.wait(seconds)

    def _seen(self, moment: str) -> None:
        wanted = self._wanted
        if wanted is not None and wanted[0] == moment:
            wanted[1].set()

    def stop(self) -> None:
        """Once the server is dead."""
        for thread in self._threads:
            thread.join()

    def _until_killed(self, name: str, work: Callable[[str, random.Random], None]) -> None:
        chance = random.Random(f"{self._seed} {name}")
        while not self.killing.is_set():
            try:
                work(name, chance)
            except _GONE as error:
                if self.one_dies.is_set() and not self.killing.is_set():
                    continue
                if not self.killing.is_set():
                    self.faults.append(f"{name}: {error!r}")
                    return
            except Exception as error:
                self.faults.append(f"{name}: {error!r}")
                return

    def _send(self, name: str, chance: random.Random) -> None:
        """Some messages on one connection, to one to three people."""
        with contextlib.closing(smtplib.SMTP("127.0.0.1", self._server.smtp, "localhost", timeout=30)) as smtp:
            for _ in range(chance.choice((1, 5, 50))):
                to = chance.sample(USERS, chance.choice((1, 1, 1, 2, 3)))
                (size,) = chance.choices(list(SIZES), list(SIZES.values()))
                if self._wanted is not None and self._wanted[0] == "large" and name.endswith("0"):
                    to, size = to[:1], LARGE
                token = f"{name}-{next(self._tokens)}-{size}"
                self._books.sending(token, to)
                refused = smtp.sendmail(SENDER, [f"{user}@{DOMAIN}" for user in to], text_of(token))
                if refused:
                    raise AssertionError(f"{token}: {refused}")
                self._books.answered(token)
                if size == LARGE:
                    self._seen("large")
            smtp.quit()

    def _fetch(self, name: str, chance: random.Random) -> None:
        """One session: what is new is fetched, and half of all is deleted."""
        user = chance.choice(USERS)
        since = self._books.now()
        pop3 = poplib.POP3("127.0.0.1", self._server.pop3, timeout=30)
        try:
            letters = self._look(pop3, user, chance)
            self.faults += self._books.fetched(user, letters, since)
            share = 1.0 if len(letters) > FULL else chance.choice((0.0, 0.5, 0.5, 1.0))
            deleted = {number: token for number, (token, _) in enumerate(letters, 1) if chance.random() < share}
            for number in deleted:
                pop3.dele(number)
            tokens = set(deleted.values())
            self._books.deleting(user, tokens)
            if tokens:
                self._seen("quit")
            try:
                pop3.quit()
                self._books.deleted(user, tokens, well=True)
            except poplib.error_proto:
                self._books.deleted(user, tokens, well=False)
        except _Elsewhere:
            self._books.counts["abandoned"] += 1
        finally:
            pop3.close()

    def _look(self, pop3: poplib.POP3, user: str, chance: random.Random) -> list[tuple[str, str]]:
        """Token and UIDL of each letter, once those are fetched that were not before, and a few others."""
        try:
            pop3.user(user)
            pop3.pass_(PASSWORD)
            letters = []
            for number, line in enumerate(pop3.uidl()[1], 1):
                uidl = line.split()[1].decode()
                token = self._books.known(user, uidl)
                if not token or chance.random() < 0.1:
                    token = self._token(user, pop3.retr(number)[1])
                    self._books.counts["fetched"] += 1
                letters.append((token, uidl))
            return letters
        except (poplib.error_proto, OSError) as error:
            # Another fetcher has the mailbox; the other program has it; or that wrote over what was being fetched, where a server cannot
            # go on with the letter that it had begun to send.
            raise _Elsewhere from error

    def _token(self, user: str, lines: list[bytes]) -> str:
        """Of a letter that is whole; what is not, is a fault."""
        text = b"\r\n".join(lines) + b"\r\n"
        token = text.partition(b"Subject: ")[2].partition(b"\r\n")[0].decode("ascii", "replace")
        if token.startswith("foreign-"):
            whole = foreign_text(token).partition(b"\n")[2].rstrip(b"\n").replace(b"\n", b"\r\n") + b"\r\n"
        else:
            whole = text_of(token) if token.count("-") == 2 else b"?"
        # Where a torn piece was taken out in front of the other program's letter, an empty line stays that it had put before that.
        if not text.rstrip(b"\r\n").endswith(whole.rstrip(b"\r\n")):
            self.faults.append(f"{user}: a client was shown as {token}: {text[:300]!r} … {text[-300:]!r}")
        return token


class Neighbour:
    """Another program, which locks as it should, and is not killed: it appends, takes letters out, or just holds a mailbox."""

    def __init__(self, server: MortalServer, books: Books, seed: str) -> None:
        self.faults: list[str] = []
        self._server = server
        self._spool = server.spool
        self._books = books
        self._chance = random.Random(seed)
        self._count = 0
        self._careful: set[str] = set()
        self._half_moved: set[str] = set()
        self._working = False
        self._thread = threading.Thread()

    def start(self) -> None:
        self._working = True
        self._thread = threading.Thread(target=self._work)
        self._thread.start()

    def stop(self) -> None:
        self._working = False
        self._thread.join()

    def _work(self) -> None:
        try:
            while self._working:
                # Nobody there, or somebody else there.
                with contextlib.suppress(FileNotFoundError, FileExistsError, BlockingIOError):
                    self._visit(self._chance.choice(USERS))
                time.sleep(0.02 * self._chance.random())
        except Exception as error:
            self.faults.append(f"the other program: {error!r}")

    def _visit(self, user: str) -> None:
        path = str(self._spool / user)
        with locked(path) as fd:
            what = self._chance.random()
            if what < 0.2:
                time.sleep(0.1 * self._chance.random())
            elif what < 0.4 and user not in self._half_moved:
                self._take(user, fd)
            elif what < 0.45 and user not in self._careful and not os.fstat(fd).st_size:
                os.unlink(path)  # as mutt does with an empty one
            else:
                self._put(user, fd)

    def _put(self, user: str, fd: int) -> None:
        self._count += 1
        token = f"foreign-{self._count}-{self._chance.choice((200, 2000, 9000))}"
        put(fd, foreign_text(token))
        self._books.put(user, token)

    def _take(self, user: str, fd: int) -> None:
        """The first letter, by writing the rest in its place. From a mailbox that a killed server had locked, only one of its own."""
        mailbox = os.pread(fd, os.fstat(fd).st_size, 0)
        first = next(iter(pieces(mailbox)), None)
        if first is None:
            return
        token = first[0]
        if not token:
            if user not in self._careful:
                self.faults.append(f"{user}: the other program was shown something torn: {first[1][:200]!r}")
            return
        if user in self._careful and not token.startswith("foreign-"):
            return
        end = mailbox.find(b"\n\nFrom ")
        rest = mailbox[end + 2 :] if end > 0 else b""
        os.pwrite(fd, rest, 0)
        os.ftruncate(fd, len(rest))
        os.fsync(fd)
        self._books.taken(user, token)

    def after_a_kill(self) -> None:
        """While nobody runs it takes away the locks of the dead, appends, and takes out what is its own.

        Other letters it leaves there until ``settled``: of one whose delivery was not written down as done nobody could say afterwards
        that it was there, and it would come again. And where letters were just being taken out, nobody but the server can tell what is
        one: there it only appends.
        """
        self._half_moved = set(self._server.half_moved())
        for user in self._chance.sample(USERS, 8):
            lock = self._spool / f"{user}.lock"
            with contextlib.suppress(FileNotFoundError):
                if not os.path.exists(f"/proc/{int(lock.read_text() or 0)}"):
                    lock.unlink()
                    self._careful.add(user)
            with contextlib.suppress(FileNotFoundError), locked(str(self._spool / user)) as fd:
                if user not in self._half_moved and self._chance.random() < 0.5:
                    self._take(user, fd)
                self._put(user, fd)

    def settled(self) -> None:
        """The server has come up, and put right what it had left."""
        self._careful.clear()
        self._half_moved.clear()
