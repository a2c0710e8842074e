"""Every seam of the system, with what each side owes the other. No logic.

What cred hands out, or Twisted asks for, is a zope.interface; seams that are only ours are Protocols. Nothing here
imports a reactor: the two imports from twisted.mail are the interfaces alone.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, ParamSpec, Protocol, TypeVar

from twisted.mail.interfaces import IMailboxPOP3, IMessageDelivery
from zope.interface import Attribute

from lanmail.address import Address
from lanmail.network import Peer

P = ParamSpec("P")
T = TypeVar("T")


class InThread(Protocol):
    """Runs blocking work somewhere that is not the event loop.

    The work runs completely, whether or not anybody still waits for it. What it raises is raised to whoever awaits.
    """

    def __call__(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Awaitable[T]: ...


async def let_others(in_thread: InThread) -> None:
    """Into a thread and back: whoever waits for the event loop has a turn."""
    await in_thread(_nothing)


def _nothing() -> None: ...


class Sleep(Protocol):
    """Waits so many seconds of the clock that was handed in."""

    def __call__(self, seconds: float) -> Awaitable[None]: ...


class Report(Protocol):
    """Writes one line of the log, for parts that know nothing of Twisted; may be called from any thread.

    ``line`` is a format string with named fields; fields are escaped where the log is written, not before.
    """

    def __call__(self, line: str, /, **fields: object) -> None: ...


def nothing_to_say(line: str, /, **fields: object) -> None:
    """A Report for where there is no log."""


class Tell(Protocol):
    """Adds one event to a message's story (spool/history.py). Never waits, never raises; may be called from any thread.

    kind: one of history.KINDS. queue_id: the message; empty for what never got one. ``facts`` are texts and numbers as they
    came, escaped where they are shown.
    """

    def __call__(self, kind: str, queue_id: str, /, **facts: str | float) -> None: ...


def nothing_to_tell(kind: str, queue_id: str, /, **facts: str | float) -> None:
    """A Tell for where no story is kept."""


# the processes of one service


class IColleagues(Protocol):
    """The other processes of this service (``workers``), and what one may ask them.

    number: this process's, from 1; 0 where it is the only one. count: how many there are, this one among them. What is asked and answered
    is what JSON can say, 256 KiB at most, and comes and goes whole.
    """

    @property
    def number(self) -> int: ...
    @property
    def count(self) -> int: ...

    def ask(
        self, kind: str, payload: dict[str, Any], to: int | None = None
    ) -> Awaitable[list[tuple[int, dict[str, Any]]]]:
        """What every other one answers, or that one alone, with its number, in the order of their numbers; nothing where there is none.

        Raises TemporaryFailure where one of them is down, does not answer in ten seconds, or cannot: nobody knows then what
        it would have said.
        """

    def answer(self, kind: str, answerer: Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]) -> None:
        """Who answers questions of that kind in this process, from the others and from who started us. What it raises is told as
        trouble of this process's, in words if it is a DeliveryFailure.
        """


class Alone:
    """The colleagues of the only process: there are none."""

    number = 0
    count = 1

    async def ask(self, kind: str, payload: dict[str, Any], to: int | None = None) -> list[tuple[int, dict[str, Any]]]:
        """Nobody has anything to say."""
        return []

    def answer(self, kind: str, answerer: Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]) -> None:
        """Nobody asks."""


# accounts


@dataclass(frozen=True, slots=True)
class User:
    """Somebody who has a mailbox here.

    name: the canonical login name, which is safe as the name of a file.
    uid, gid: the owner that the mailbox has, or gets when it is made.
    home: the home folder; empty where there is none.
    """

    name: str
    uid: int
    gid: int
    home: str = ""


class Users(Protocol):
    """Knows who has mail here."""

    async def find(self, name: str) -> User | None:
        """The user of that login name, in whatever case it is written; None where there is none.

        ``name`` may be anything that came over the wire: what cannot be a login name is nobody. Raises TemporaryFailure
        where the answer cannot be had now (a name service that does not answer); it never waits longer than its limit.
        """


@dataclass(frozen=True, slots=True)
class ForwardFile:
    """A file in a user's home that says where their mail goes, as its owner may read it.

    name: ``.forward``, or ``.forward+tag``. text: its octets. refused: why it does not count, in the middle of a sentence
    (``is a symbolic link``); empty where it does.
    """

    name: str
    text: bytes = b""
    refused: str = ""


class ForwardFiles(Protocol):
    """Reads such a file: the first of ``names`` that is there, in the home folder of a real user; None where none is.

    May raise anything where that cannot be known now, and may never answer.
    """

    def __call__(self, user: User, names: Sequence[str], /) -> Awaitable[ForwardFile | None]: ...


@dataclass(frozen=True, slots=True)
class Login:
    """What the protocols know of a login besides name and password; it rides on the credentials (cred's ``mind`` is None)."""

    protocol: str  # "smtp" or "pop3"
    peer: Peer


# smtp: what the conversation's rim asks of whoever the client is


@dataclass(frozen=True, slots=True)
class MailParameters:
    """What MAIL FROM said besides the address, already checked by the grammar.

    size: octets announced with SIZE=, None where not. body: "7BIT" or "8BITMIME". smtputf8: whether it was given.
    ret: "FULL" or "HDRS", how much of the message a report brings back; empty where not said. envid: the client's own name for
    the transaction, decoded. Both are RFC 3461's.
    """

    size: int | None = None
    body: str = "7BIT"
    smtputf8: bool = False
    ret: str = ""
    envid: str = ""


@dataclass(frozen=True, slots=True)
class RecipientParameters:
    """What RCPT TO said besides the address (RFC 3461), already checked by the grammar.

    notify: "NEVER", or some of SUCCESS, FAILURE and DELAY, comma separated; empty where not said.
    orcpt: the address that the message was first sent to, as ``rfc822;ann@example.com``, decoded; empty where not said.
    """

    notify: str = ""
    orcpt: str = ""


@dataclass(frozen=True, slots=True)
class Greeting:
    """How the client introduced itself."""

    name: str  # the argument of HELO or EHLO, free of control characters
    extended: bool  # EHLO


class Incoming(Protocol):
    """One message on its way in, from DATA to its end. Exactly one of ``commit`` and ``abort`` ends it."""

    async def write(self, chunk: bytes) -> None:
        """Take a piece of the text: LF line ends, no stuffed dots, cut anywhere. Never raises: trouble shows at ``commit``."""

    async def commit(self) -> str:
        """The message is whole. Returns its queue id once it is on stable storage, with every recipient that was taken.

        Raises TemporaryFailure or PermanentFailure, after the log was told, and then nothing of it is kept anywhere.
        """

    def abort(self) -> None:
        """The client went away: forget it. Never raises, never waits."""


class ITransactions(IMessageDelivery):
    """The SMTP avatar: what one client, anonymous or logged in, may do. Wider than Twisted's IMessageDelivery, which cannot say "later".

    One is made for each connection and login; it holds one transaction at a time, which ``begin`` starts anew.
    All coroutines raise TemporaryFailure or PermanentFailure, whose Status is the reply.
    """

    login = Attribute("The name of whoever is logged in; None for the anonymous client.")

    def begin(sender: Address, parameters: MailParameters, greeting: Greeting, peer: Peer) -> Awaitable[None]:
        """MAIL FROM. Forgets an earlier transaction."""

    def recipient(address: Address, parameters: RecipientParameters = RecipientParameters()) -> Awaitable[None]:
        """RCPT TO. Raises where this recipient is refused, and tells the log; the others stay."""

    def data() -> Incoming:
        """DATA, after at least one recipient was taken. Never waits."""

    def reset() -> None:
        """RSET, or the end of the connection: nothing is left of the transaction."""


# pop3: what the conversation's rim asks of an open maildrop


@dataclass(frozen=True, slots=True)
class Letter:
    """One message of a maildrop as POP3 numbers it. ``octets`` counts CRLF line ends, no stuffed dots and no terminator."""

    number: int  # from 1
    octets: int


class IMaildrop(IMailboxPOP3):
    """The POP3 avatar: an exclusive snapshot of one mailbox, wider than Twisted's IMailbox, which cannot wait.

    Raises MessageGone (-ERR for that message), TemporaryFailure (-ERR [SYS/TEMP]); Torn from a stream that may not be finished.
    Marks (DELE) are the conversation's; the maildrop gets them at ``commit``.
    """

    user = Attribute("The User whose maildrop it is.")
    letters = Attribute("Sequence[Letter], in order of number; does not change while the maildrop is open.")

    def unique_ids() -> Awaitable[Sequence[str]]:
        """The UIDL of every letter, in order."""

    def text(number: int, body_lines: int | None = None) -> AsyncIterator[bytes]:
        """The letter in chunks with CRLF line ends, not dot-stuffed; with ``body_lines`` its header and so many lines.

        The first chunk is given only when the letter was found unchanged. Raises MessageGone before any chunk, or Torn after some:
        then what was given is not the letter, and the connection must be dropped without the terminator.
        """

    def at_hand(number: int) -> bytes | None:
        """The whole letter, as ``text`` would give it, where it was read already; None where it must be asked for. Never waits."""

    def fetched(number: int, client: str) -> None:
        """A letter that ``text`` or ``at_hand`` gave lately, whole, was handed over to the client at that address: so its story is told.

        Never waits.
        """

    def commit(deleted: frozenset[int], client: str = "") -> Awaitable[int]:
        """QUIT: expunge these numbers, keep whatever arrived meanwhile; how many letters are left. Raises with nothing lost.

        client: the address of who wanted it, for the story.
        """

    def close() -> None:
        """The session is over, however it ended. May be called more than once; after it the next login can open the mailbox."""


class MessageGone(Exception):
    """The letter is no longer in the mailbox: another program removed it."""


class Torn(Exception):
    """The mailbox changed under a stream that had begun."""
