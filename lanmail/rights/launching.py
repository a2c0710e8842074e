"""Helpers for the event loop, started by the root parent: accounts.guard's Launch for a process that has given root up.

Nothing here waits. A helper's channel comes to us as a descriptor, and we speak with it directly; the parent starts it, ends it, and
tells of its end.
"""

from __future__ import annotations

import itertools
import os
import socket
from collections.abc import Sequence
from typing import Any, cast

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone, ProcessDone, ProcessExitedAlready, ProcessTerminated
from twisted.internet.interfaces import IProcessProtocol, IProcessTransport, IReadDescriptor, ITransport
from twisted.internet.protocol import Factory, Protocol
from twisted.python.failure import Failure
from zope.interface import implementer

from lanmail.accounts import helper
from lanmail.accounts.guard import Launch
from lanmail.rights import channel, parent
from lanmail.rights.channel import Frame, Noise

_FRAMES_A_TURN = 64


@implementer(IReadDescriptor)
class Launching:
    """The loop's channel to the parent, which is closed here in the end.

    lost: fires once, with a sentence, when the parent has gone although nobody had stopped it: without it nobody can log in, and the
    service should end with a status that says so.
    """

    def __init__(self, sock: socket.socket, reactor: Any) -> None:
        self.lost: Deferred[str] = Deferred()
        self._sock = sock
        self._reactor = reactor
        self._numbers = itertools.count(1)
        self._helpers: dict[int, _Remote] = {}
        self._open = True

    def start(self) -> None:
        """Once the reactor may be used, and after the process has gone to the background."""
        self._sock.setblocking(False)
        self._reactor.addReader(self)

    def launch(self, kind: bytes) -> Launch:
        """Starts helpers of one kind: parent.PASSWORDS, NAMES or HOMES. OSError where the parent cannot be asked."""

        def begin(protocol: IProcessProtocol) -> IProcessTransport:
            number = next(self._numbers)
            self.say(parent.START, b"%d" % number, kind)
            new = self._helpers[number] = _Remote(self, number, protocol, self._reactor)
            transport = cast(IProcessTransport, new)
            protocol.makeConnection(transport)
            return transport

        return begin

    def attach(self) -> tuple[socket.socket, socket.socket]:
        """Two channels to the parent for another process of the service, its loop's and its threads'. OSError where the parent has gone."""
        loop, parents_loop = channel.pair()
        threads, parents_threads = channel.pair()
        with parents_loop, parents_threads:
            try:
                self.say(parent.ATTACH, descriptors=[parents_loop.fileno(), parents_threads.fileno()])
            except BaseException:
                loop.close()
                threads.close()
                raise
        return loop, threads

    def stop(self) -> None:
        """The parent ends at once, with whatever helpers there still are."""
        self._end("the service is stopping")

    def say(self, kind: bytes, *fields: bytes, descriptors: Sequence[int] = ()) -> None:
        """OSError."""
        if not self._open:
            raise BrokenPipeError(32, "the guard's root parent has gone")
        channel.send(self._sock, kind, *fields, descriptors=descriptors)

    # IReadDescriptor

    def fileno(self) -> int:
        return self._sock.fileno()

    def logPrefix(self) -> str:
        return "root parent"

    def doRead(self) -> None:
        why = "it ended"
        try:
            for _ in range(_FRAMES_A_TURN):
                if not self._open:
                    return
                self._hear(channel.receive(self._sock))
        except BlockingIOError:
            return
        except (EOFError, Noise, OSError) as error:
            why = str(error) or why
        else:
            return
        self._gone(why)

    def connectionLost(self, reason: Failure) -> None:
        self._gone(reason.getErrorMessage())

    # within

    def _hear(self, said: Frame) -> None:
        match said.kind, [*said.fields]:
            case parent.BROKEN, [why]:
                said.close()
                raise Noise(why.decode("utf-8", "replace"))
            case (parent.STARTED | parent.NOT_STARTED | parent.GONE) as kind, [number, *rest] if number.isdigit():
                remote = self._helpers.get(int(number))
                if remote is None:
                    said.close()
                    raise Noise("it told of a helper that nobody had asked for")
                if kind == parent.STARTED:
                    remote.begun(said.only_descriptor())
                    return
                said.close()
                del self._helpers[int(number)]
                remote.ended(_failure(kind, rest))
            case _:
                said.close()
                raise Noise("a frame of no kind that is known here")

    def _gone(self, why: str) -> None:
        if self._open:
            self._end(why)
            self.lost.callback(f"the guard's root parent is lost: {why}")

    def _end(self, why: str) -> None:
        if not self._open:
            return
        self._open = False
        self._reactor.removeReader(self)
        self._sock.close()
        left, self._helpers = self._helpers, {}
        for remote in left.values():
            remote.ended(Failure(ConnectionDone(why)))


class _Remote:
    """One helper, to its ProcessProtocol: an IProcessTransport, as far as the guard uses it.

    pid: None, since only its parent can send it signals.
    """

    pid = None

    def __init__(self, launching: Launching, number: int, protocol: Any, reactor: Any) -> None:
        self._launching = launching
        self._number = number
        self._protocol = protocol
        self._reactor = reactor
        self._waiting = b""  # for its channel
        self._stream: ITransport | None = None
        self._over = False

    def begun(self, fd: int) -> None:
        """Here is its channel."""
        try:
            if self._stream is None and not self._over:
                self._reactor.adoptStreamConnection(fd, socket.AF_UNIX, _Streams(self))
        finally:
            os.close(fd)  # the reactor has its own descriptor of it

    def ended(self, reason: Failure) -> None:
        """It was never started, or it has gone."""
        self._over = True
        self.loseConnection()
        self._protocol.processExited(reason)
        self._protocol.processEnded(reason)

    def opened(self, stream: ITransport) -> None:
        """The reactor has taken the channel over."""
        self._stream = stream
        waiting, self._waiting = self._waiting, b""
        stream.write(waiting)

    def said(self, octets: bytes) -> None:
        """It answered."""
        self._protocol.childDataReceived(helper.ANSWERS, octets)

    def closed(self) -> None:
        """It has closed its channel, and will end."""
        self._protocol.childConnectionLost(helper.ANSWERS)

    # IProcessTransport

    def writeToChild(self, childFD: int, data: bytes) -> None:
        if self._stream is not None:
            self._stream.write(data)
        else:
            self._waiting += data

    def signalProcess(self, signalID: str | int) -> None:
        """Whatever the signal: it is killed, with all that it started."""
        if self._over:
            raise ProcessExitedAlready
        try:
            self._launching.say(parent.END, b"%d" % self._number)
        except OSError:
            pass  # the parent has gone, and takes it along

    def loseConnection(self) -> None:
        if self._stream is not None:
            self._stream.loseConnection()


class _Stream(Protocol):
    def __init__(self, remote: _Remote) -> None:
        self._remote = remote

    def connectionMade(self) -> None:
        assert self.transport is not None
        self._remote.opened(self.transport)

    def dataReceived(self, data: bytes) -> None:
        self._remote.said(data)

    def connectionLost(self, reason: Failure = Failure(ConnectionDone())) -> None:  # noqa: B008 - Twisted's own default
        self._remote.closed()


class _Streams(Factory):
    noisy = False

    def __init__(self, remote: _Remote) -> None:
        self._remote = remote

    def buildProtocol(self, addr: object) -> _Stream:
        return _Stream(self._remote)


def _failure(kind: bytes, rest: list[bytes]) -> Failure:
    """Why a helper is not there any more, as Twisted says it of our own children."""
    if kind == parent.NOT_STARTED or len(rest) != 1 or not rest[0].isdigit():
        return Failure(ConnectionDone(b" ".join(rest).decode("utf-8", "replace")))
    status = int(rest[0])
    code = os.waitstatus_to_exitcode(status)
    if code == 0:
        return Failure(ProcessDone(status))
    return Failure(ProcessTerminated(code if code > 0 else None, -code if code < 0 else None, status))
