"""What goes between the processes, and in front of the conversation: frames of the guard, answers of its helpers, duties, PROXY headers."""

from __future__ import annotations

import os
import socket
import struct
from typing import Any

from twisted.internet.task import Clock
from twisted.python.failure import Failure

from lanmail.accounts import helper
from lanmail.accounts.guard import Answer, Guard, GuardTrouble
from lanmail.network import NOBODY_KNOWS, Networks
from lanmail.proxied import ProxiedFactory
from lanmail.rights import channel
from lanmail.rights.channel import Noise
from lanmail.rights.duties import BadDuties, Duties
from lanmail.rights.opener import Opener
from lanmail.smtp.limits import SmtpLimits
from lanmail.tls import signing
from lanmail.wire.proxy_header import Header, HeaderReader, NotAHeader
from tests.dialogue import MemoryTransport
from tests.fuzz.target import Target, cuts_of, is_a_sentence
from tests.fuzz.targets.files import _FOLDER
from tests.smtp.fakes import Door, said

_OURS, _THEIRS = channel.pair()
_THEIRS.settimeout(5)


def frames(data: bytes) -> None:
    """A packet is a frame or noise, and no descriptor stays open."""
    if not data:
        return
    _OURS.send(data[:60000])
    try:
        got = channel.receive(_THEIRS)
    except Noise:
        return
    assert helper.frame(got.kind, *got.fields) == data
    assert got.descriptors == ()


class _Nobody(helper.Names):
    """Knows ann, of this process's own uid, and cannot say of ``broken``."""

    def __init__(self) -> None:
        """No library."""

    def entry(self, name: bytes) -> tuple[bytes, int, int, bytes] | None:
        if name == b"broken":
            raise OSError(5, "Input/output error")
        return (name, 4711, 4711, b"/nowhere") if name in (b"ann", b"bob") else None


_SPOOL = _FOLDER.name + "/spool"
os.makedirs(_SPOOL, exist_ok=True)
_SECRET = _FOLDER.name + "/secret"
with open(_SECRET, "w") as _file:
    _file.write("untouched")
_OPENER = Opener(Duties(_SPOOL, ((4000, 5000),), files=("/nowhere/main.cf",)), _Nobody())


def guard(data: bytes) -> None:
    """A question to the guard's opener and to a helper: an answer that fits a frame, or noise; and no file but a mailbox is made."""
    try:
        kind, fields = helper.parts(data)
    except ValueError:
        return
    try:
        answer, said_, fd = _OPENER.answer(channel.Frame(kind, fields))
    except Noise:
        pass
    else:
        if fd is not None:
            os.close(fd)
        assert len(helper.frame(answer, *said_)) < channel.LONGEST
    assert set(os.listdir(_SPOOL)) <= {"ann", "bob"}, os.listdir(_SPOOL)
    assert set(os.listdir(_FOLDER.name)) <= {"spool", "secret", "house", "aliases"}, os.listdir(_FOLDER.name)
    for name in os.listdir(_SPOOL):
        os.unlink(os.path.join(_SPOOL, name))
    if kind != helper.CHECK_PASSWORD and kind != helper.PRETEND:
        try:
            octets = helper._answer(None, _Nobody(), bytearray(data))
        except ValueError:  # the helper ends
            return
        assert helper.parts(octets[4:])[0] in (helper.YES, helper.NO, helper.TROUBLE, helper.BROKEN)


class _Helper:
    """A process that says what the octets say."""

    pid = 0

    def __init__(self, protocol: Any) -> None:
        self.protocol = protocol
        self.killed = False
        protocol.makeConnection(self)

    def writeToChild(self, child: int, octets: bytes) -> None: ...

    def signalProcess(self, signal: str) -> None:
        self.killed = True

    def loseConnection(self) -> None: ...


def answers(data: bytes) -> None:
    """What a helper says to a question: yes, no, or trouble; never two answers, and never yes out of noise."""
    clock = Clock()
    helpers: list[_Helper] = []

    def launch(protocol: Any) -> Any:
        helpers.append(_Helper(protocol))
        return helpers[-1]

    asked = Guard(launch, clock, lambda line, /, **fields: None, helpers=1, time_limit=5.0)
    outcome: list[Any] = []
    asked.ask(helper.FIND_USER, b"ann").addBoth(outcome.append)
    (process,) = helpers
    for piece in cuts_of(data):
        if not process.killed:
            process.protocol.childDataReceived(helper.ANSWERS, piece)
    clock.advance(6)
    (found,) = outcome
    if isinstance(found, Failure):
        assert found.check(GuardTrouble), found
    else:
        assert isinstance(found, Answer)
        (length,) = struct.unpack_from("!I", data)
        assert helper.parts(data[4 : 4 + length])[0] == (helper.YES if found.yes else helper.NO)


def duties(data: bytes) -> None:
    try:
        found = Duties.of(data)
    except BadDuties:
        pass
    else:
        assert found.spool.startswith("/")
        found.is_person(1000)
    try:
        signing.answered(data)
    except signing.BadAnswer:
        pass
    # What an order is comes from the service while it is root: what cannot be one ends whoever reads it.
    try:
        signing.Order.of(data.decode("utf-8", "replace"))
    except (ValueError, TypeError, RecursionError):
        pass


def proxy(data: bytes) -> None:
    """Nothing is said before a header that is one; a client is whom it names; and noise ends the connection without a word."""
    clock = Clock()
    door = Door(SmtpLimits(error_sleep_time=0), clock=clock)
    factory = ProxiedFactory(door.factory, clock, Networks.of("127.0.0.0/8"))
    transport = MemoryTransport(clock, "127.0.0.1", "192.168.1.1")
    transport.connect(factory.buildProtocol(transport.getPeer()))
    header = _header([data])
    assert header == _header(cuts_of(data)), header
    heard: list[str] = []
    for piece in cuts_of(data):
        transport.say(piece)
        clock.advance(0)
        heard += said(transport)
    assert bool(heard) == (header is not None), (header, heard)
    if header is not None:
        assert heard[0].startswith("220 "), heard
        announced = header.announced
        for connection in door.factory.connections:
            assert connection.peer.host == (NOBODY_KNOWS if announced is None else str(announced.source))
    clock.advance(factory.patience)
    if header is None:
        assert transport.aborted or transport.disconnecting or transport.gone
    transport.drop()
    clock.advance(0)
    assert not clock.getDelayedCalls() and door.capacity.taken == 0
    assert factory.waiting == 0 and not len(door.factory.connections)


def _header(pieces: list[bytes]) -> Header | None:
    """None also for what is none, or not whole."""
    reader, found = HeaderReader(), None
    for piece in pieces:
        if found is not None:
            found = Header(found.announced, found.rest + piece)
            continue
        try:
            found = reader.feed(piece)
        except NotAHeader as why:
            is_a_sentence(str(why))
            return None
    return found


def _frame(kind: bytes, *fields: bytes) -> bytes:
    return helper.frame(kind, *fields)


_V2 = b"\r\n\r\n\0\r\nQUIT\n"
_PAIR = socket.inet_aton("203.0.113.9") + socket.inet_aton("192.168.1.1") + b"\x15\xb3\x00\x19"
_PAIR6 = (
    socket.inet_pton(socket.AF_INET6, "::ffff:10.0.0.1")
    + socket.inet_pton(socket.AF_INET6, "fd00::1")
    + b"\x15\xb3\x00\x19"
)
TARGETS = (
    Target(
        "frames",
        frames,
        (_frame(b"O", b"ann", b"4711"), _frame(b"+"), _frame(b"x", b"y" * 300)),
        (b"\0\0", b"\xff\xff", b"\0\0\0\1"),
    ),
    Target(
        "guard",
        guard,
        tuple(
            _frame(*each)[4:]
            for each in (
                (b"O", b"ann", b"4711"),
                (b"C", b"ann", b"4711"),
                (b"C", b"bob", b"4711"),
                (b"F", b"0"),
                (b"U", b"ann"),
                (b"U", b"broken"),
                (b"F", b"ann", b"4711", b".forward+x", b".forward"),
            )
        ),
        (b"ann", b"4711", b"..", b"/", b"../secret", b".lock", b"\0\4", b"\0\0", b".forward", b"root", b"0"),
    ),
    Target(
        "answers",
        answers,
        (
            _frame(b"+", b"ann", b"4711", b"4711", b"/home/ann"),
            _frame(b"-"),
            _frame(b"!", b"why"),
            _frame(b"*", b"why"),
            _frame(b"+") * 2,
        ),
        (b"\0\0\0\1+", b"\0\0\0\1-", b"\0\0", b"\xff\xff\xff\xff"),
    ),
    Target(
        "duties",
        duties,
        (
            Duties(_SPOOL, ((1000, 60000),), "lanmail", files=("/etc/lanmail/main.cf",)).text(),
            signing.Order(
                "/var/lib/x", "srv.lan.example", "lan.example", ("lan.example",), ("127.0.0.1",)
            ).text.encode(),
            b'{"chain": "", "old_devices": null, "authority": "", "left_out": [], "news": []}',
        ),
        (b"null", b"[]", b"{}", b"1e999", b"-1", b'"', b"[" * 3000, b"\\ud800", b"1" * 4400),
    ),
    Target(
        "proxy",
        proxy,
        (
            b"PROXY TCP4 203.0.113.9 192.168.1.1 5555 25\r\nEHLO c\r\nQUIT\r\n",
            b"PROXY TCP6 ::ffff:203.0.113.9 fd00::1 5555 25\r\nEHLO c\r\n",
            b"PROXY UNKNOWN\r\nEHLO c\r\n",
            _V2 + b"\x21\x11\x00\x0c" + _PAIR + b"EHLO c\r\nQUIT\r\n",
            _V2 + b"\x21\x21\x00\x24" + _PAIR6 + b"EHLO c\r\n",
            _V2 + b"\x20\x00\x00\x00" + b"EHLO c\r\n",
            _V2 + b"\x21\x11\x00\x13" + _PAIR + b"\x04\x00\x04abcdEHLO c\r\n",
        ),
        (
            b"PROXY ",
            b"TCP4 ",
            b"TCP6 ",
            b"UNKNOWN",
            _V2,
            b"\x21",
            b"\x20",
            b"\x11",
            b"\x12",
            b"\x31",
            b"\0\x0c",
            b"\xff\xff",
            b"0.0.0.0",
            b"::",
            b" 0 ",
        ),
    ),
)
