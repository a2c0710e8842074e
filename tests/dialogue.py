"""Plays the conversations in ``tests/dialogues/`` against a protocol: in memory, and over TCP, from the same text.

The format, line by line (UTF-8; what a line means is said by its first characters):

    # ...                  a remark; empty lines mean nothing
    == title               a new dialogue, on a new connection (a file without this line is one dialogue)
    C: EHLO client         the client sends this and CRLF
    C| a\\nb\\0\\xff         the client sends just this: no line end of its own, with Python's escapes for bytes
    S: 250 2.1.0 Ok        the server sends exactly this line and CRLF
    S: 250 queued as {id}  {name} stands for characters without a space; where the name comes again, they are the same
    S: 250 {...}           {...} stands for anything, nothing included
    S-                     the server has said no more than what stands above (it is waiting for the client)
    S! closes              the server closes the connection, after exactly what stands above
    C! closes              the client goes away
    T: 301                 so many seconds pass (only where there is a clock to turn: such a dialogue is not for TCP)

Lines of the client that follow one another are sent together, in one piece: that is how pipelining is written. Where
the server has to wait for something of its own (a delay after errors), the clock in memory is turned on for it, half a
minute at most.

In a test::

    class TheDossier(SynchronousTestCase):
        def test_in_memory(self):
            for dialogue in dialogue.read("smtp-dossier"):
                dialogue.play_in_memory(factory, clock)             # raises Differs, an AssertionError

    class OverTcp(TestCase):
        async def test_over_tcp(self):
            port = reactor.listenTCP(0, factory, interface="127.0.0.1")
            self.addCleanup(port.stopListening)
            for dialogue in dialogue.read("smtp-dossier"):
                await dialogue.play_over_tcp(reactor, port.getHost().port)
"""

from __future__ import annotations

import re
from collections.abc import Awaitable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, succeed
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.protocol import Protocol as TwistedProtocol
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

FOLDER = Path(__file__).parent / "dialogues"
PATIENCE = 30  # seconds that a server may take for one line, on either clock


class Differs(AssertionError):
    """The server did not say what stands in the dialogue."""


# what the text says


@dataclass(frozen=True, slots=True)
class Sends:
    line: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Says:
    line: int
    text: str


@dataclass(frozen=True, slots=True)
class Waits:
    line: int


@dataclass(frozen=True, slots=True)
class ServerCloses:
    line: int


@dataclass(frozen=True, slots=True)
class ClientCloses:
    line: int


@dataclass(frozen=True, slots=True)
class Passes:
    line: int
    seconds: float


Step = Sends | Says | Waits | ServerCloses | ClientCloses | Passes


@dataclass(frozen=True)
class Dialogue:
    """One conversation on one connection."""

    source: str
    title: str
    steps: tuple[Step, ...]

    @property
    def needs_a_clock(self) -> bool:
        return any(isinstance(step, Passes) for step in self.steps)

    def play_in_memory(self, factory: Any, clock: Clock, peer: str = "127.0.0.1") -> dict[str, str]:
        """Against ``factory.buildProtocol``; everything behind it must be synchronous or wait on ``clock``.

        Returns what the names in the server's lines stood for.
        """
        wire = MemoryWire(factory, clock, peer)
        playing = Deferred.fromCoroutine(play(self, wire))
        playing.addBoth(_hang_up, wire)
        if not playing.called:
            raise Differs(f"{self.source}: {self.title}: stands still")
        result: list[Any] = []
        playing.addBoth(result.append)
        if isinstance(result[0], Failure):
            result[0].raiseException()
        return result[0]

    async def play_over_tcp(self, reactor: Any, port: int, host: str = "127.0.0.1") -> dict[str, str]:
        """Against whatever listens there. Returns what the names in the server's lines stood for."""
        wire = TcpWire(reactor)
        await connectProtocol(TCP4ClientEndpoint(reactor, host, port), wire)
        try:
            return await play(self, wire)
        finally:
            await wire.hang_up()


def read(name: str) -> list[Dialogue]:
    """The dialogues in ``tests/dialogues/NAME.txt``."""
    return parse((FOLDER / f"{name}.txt").read_text("utf-8"), name)


def parse(text: str, source: str = "dialogue") -> list[Dialogue]:
    """ValueError, with the number of the line, for a line that means nothing."""
    found: list[Dialogue] = []
    title, steps = source, list[Step]()
    for number, line in enumerate(text.splitlines(), 1):
        if line.startswith("== "):
            if steps:
                found.append(Dialogue(source, title, tuple(steps)))
            title, steps = line[3:].strip(), []
        elif line.strip() and not line.startswith("#"):
            step = _step(number, line)
            last = steps[-1] if steps else None
            if isinstance(step, Sends) and isinstance(last, Sends):
                steps[-1] = Sends(last.line, last.data + step.data)
            else:
                steps.append(step)
    return [*found, Dialogue(source, title, tuple(steps))]


def _step(number: int, line: str) -> Step:
    mark, text = line[:2], line[2:].removeprefix(" ")
    match mark, text:
        case "C:", _:
            return Sends(number, text.encode() + b"\r\n")
        case "C|", _:
            return Sends(number, text.encode().decode("unicode_escape").encode("latin-1"))
        case "S:", _:
            return Says(number, text)
        case "S-", "":
            return Waits(number)
        case "S!", "closes":
            return ServerCloses(number)
        case "C!", "closes":
            return ClientCloses(number)
        case "T:", _:
            return Passes(number, float(text))
    raise ValueError(f"line {number}: {line!r} means nothing here")


# playing it


class Wire(Protocol):
    """One connection, from the client's side."""

    def send(self, data: bytes) -> None: ...

    def line(self) -> Awaitable[bytes | None]:
        """The next line with its end; what is left without an end, or None, once the server has closed."""

    def unread(self) -> Awaitable[bytes]:
        """What the server has said, or is just saying, that nobody has asked for."""

    def pass_time(self, seconds: float) -> None: ...

    def hang_up(self) -> Awaitable[None]: ...


async def play(dialogue: Dialogue, wire: Wire) -> dict[str, str]:
    names: dict[str, str] = {}
    for step in dialogue.steps:
        where = f"{dialogue.source}:{step.line}: {dialogue.title}"
        match step:
            case Sends(_, data):
                wire.send(data)
            case Says(_, text):
                said = await wire.line()
                if said is None:
                    raise Differs(f"{where}: expected {text!r}, but the server closed")
                _compare(where, text, said, names)
            case Waits():
                if rest := await wire.unread():
                    raise Differs(f"{where}: the server should wait, but said {rest!r}")
            case ServerCloses():
                if (said := await wire.line()) is not None:
                    raise Differs(f"{where}: the server should close, but said {said!r}")
            case ClientCloses():
                await wire.hang_up()
            case Passes(_, seconds):
                wire.pass_time(seconds)
    return names


def _compare(where: str, expected: str, said: bytes, names: dict[str, str]) -> None:
    pattern = ""
    seen: set[str] = set()
    for literal, name in re.findall(r"(.*?)(?:\{(\w+|\.\.\.)\}|\Z)", expected):
        pattern += re.escape(literal)
        if name == "...":
            pattern += ".*"
        elif name in names:
            pattern += re.escape(names[name])
        elif name in seen:
            pattern += f"(?P={name})"
        elif name:
            seen.add(name)
            pattern += rf"(?P<{name}>\S+)"
    heard = said.decode("utf-8", "backslashreplace")
    match = re.fullmatch(pattern + "\r\n", heard)
    if match is None:
        raise Differs(f"{where}:\n  expected {expected!r}\n  heard    {heard!r}")
    names.update(match.groupdict())


def _hang_up(result: Any, wire: MemoryWire) -> Any:
    wire.hang_up()
    return result


class MemoryTransport(StringTransport):
    """A TCP connection as far as a protocol can tell: it ends only after what calls it has returned.

    ``connect`` a protocol to it; ``say`` what the client sends; ``value`` and ``clear`` as in StringTransport.
    """

    def __init__(self, clock: Clock, peer: str = "127.0.0.1", local: str = "127.0.0.1") -> None:
        super().__init__(hostAddress=IPv4Address("TCP", local, 25), peerAddress=IPv4Address("TCP", peer, 40000))
        self._clock = clock
        self.protocol: Any = None
        self.aborted = False
        self.gone = False

    def connect(self, protocol: Any) -> None:
        self.protocol = protocol
        protocol.makeConnection(self)

    def say(self, data: bytes) -> None:
        """What the client sends while nobody listens is lost, as after a close."""
        if not (self.gone or self.disconnecting):
            self.protocol.dataReceived(data)

    def drop(self, why: type[Exception] = ConnectionLost) -> None:
        """The client goes away."""
        if not self.gone:
            self.gone = True
            self.connected = False
            self.protocol.connectionLost(Failure(why()))

    def write(self, data: bytes) -> None:
        if not (self.gone or self.aborted):
            super().write(data)

    def loseConnection(self) -> None:
        if not self.disconnecting:
            self.disconnecting = True
            self._clock.callLater(0, self.drop, ConnectionDone)

    def abortConnection(self) -> None:
        if not self.aborted:
            self.aborted = self.disconnecting = True
            self._clock.callLater(0, self.drop, ConnectionAborted)

    def setTcpNoDelay(self, enabled: bool) -> None:
        self.no_delay = enabled

    def setTcpKeepAlive(self, enabled: bool) -> None:
        self.keep_alive = enabled


class MemoryWire:
    def __init__(self, factory: Any, clock: Clock, peer: str) -> None:
        self._clock = clock
        self._heard = b""
        self.transport = MemoryTransport(clock, peer)
        self.transport.connect(factory.buildProtocol(self.transport.getPeer()))

    def send(self, data: bytes) -> None:
        self.transport.say(data)

    def line(self) -> Deferred[bytes | None]:
        for _ in range(PATIENCE * 10):
            self._listen()
            if b"\n" in self._heard or self.transport.gone:
                break
            self._clock.advance(0.1)
        line, end, self._heard = self._heard.partition(b"\n")
        if not end and not self.transport.gone:
            raise Differs(f"nothing within {PATIENCE} s, only {line!r}")
        return succeed(line + end or None)

    def unread(self) -> Deferred[bytes]:
        self._clock.advance(0)
        self._listen()
        return succeed(self._heard)

    def pass_time(self, seconds: float) -> None:
        self._clock.advance(seconds)

    def hang_up(self) -> Deferred[None]:
        self.transport.drop()
        self._clock.advance(0)
        return succeed(None)

    def _listen(self) -> None:
        self._heard += self.transport.value()
        self.transport.clear()


class TcpWire(TwistedProtocol):
    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._heard = b""
        self._gone = False
        self._waiting: Deferred[None] | None = None
        self._ended: Deferred[None] = Deferred()

    def dataReceived(self, data: bytes) -> None:
        self._heard += data
        self._wake()

    def connectionLost(self, reason: Failure = Failure(ConnectionDone())) -> None:
        self._gone = True
        self._wake()
        self._ended.callback(None)

    def send(self, data: bytes) -> None:
        self.transport.write(data)

    async def line(self) -> bytes | None:
        while b"\n" not in self._heard and not self._gone:
            await self._news(PATIENCE)
        line, end, self._heard = self._heard.partition(b"\n")
        return line + end or None

    async def unread(self) -> bytes:
        # Nothing can prove that a server will say no more. A moment is enough to catch one that has something ready.
        try:
            await self._news(0.05)
        except Differs:
            pass
        return self._heard

    def pass_time(self, seconds: float) -> None:
        raise ValueError("no time can be made to pass over TCP; see Dialogue.needs_a_clock")

    async def hang_up(self) -> None:
        self.transport.loseConnection()
        await self._ended

    async def _news(self, seconds: float) -> None:
        self._waiting = Deferred()
        timer = self._reactor.callLater(
            seconds, self._waiting.errback, Differs(f"nothing more within {seconds} s, only {self._heard!r}")
        )
        try:
            await self._waiting
        finally:
            self._waiting = None
            if timer.active():
                timer.cancel()

    def _wake(self) -> None:
        if self._waiting is not None and not self._waiting.called:
            self._waiting.callback(None)
