"""The control socket: where ``lanmail queue`` asks the running service, ``queue_directory/lanmail/control``.

It is made for two: root and ``mail_owner``. Nobody else gets as far as its folder; should that ever be opened, the kernel's word on who
connects still holds, and whoever else it is hears nothing at all. One connection asks one question (queue/questions.py).
"""

from __future__ import annotations

import os
import socket
import stat
import struct
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from typing import Any, Protocol

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IAddress, IDelayedCall, IListeningPort, IPushProducer, IReactorTime
from twisted.internet.protocol import Protocol as TwistedProtocol
from twisted.internet.protocol import ServerFactory, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from lanmail.connections import STOP_LIMIT, Connections
from lanmail.maillog import Logger
from lanmail.queue.questions import LONGEST_QUESTION, BadQuestion, Question, line_of, question_of
from lanmail.queue.reach import Reach
from lanmail.state import CONTROL
from lanmail.status import DeliveryFailure
from lanmail.wire.lines import LineBuffer, TooLong

# Administrators at once. Each may hold a page of the queue and a thread that reads the next one.
AT_ONCE = 8
# Seconds for a question to arrive whole, and for an answer's next piece to be taken.
PATIENCE = 30.0
# Strangers are counted, and told of in one line in so many seconds.
TELL_EVERY = 60.0

log = Logger("control")


class Answers(Protocol):
    """Whoever knows the answers (queue/desk.py)."""

    def answer(self, question: Question, uid: int) -> AsyncGenerator[bytes, None]:
        """The answer in pieces of whole lines, without an ``error`` line. uid: who asks. Raises DeliveryFailure."""


class ControlSocket:
    """Listens, lets in whom it should, and stops.

    folder: ``queue_directory/lanmail``, which is 0700 and locked by us (StateFolder), so that a socket that stands there already is
    a dead service's. uid, gid: mail_owner's; the socket becomes theirs. clock: for time limits, any IReactorTime.
    """

    def __init__(self, folder: str, uid: int, gid: int, answers: Answers, clock: IReactorTime) -> None:
        self.path = os.path.join(folder, CONTROL)
        self.answers = answers
        self.clock = clock
        self.connections: Connections[_Asking] = Connections(clock)
        self._owner = uid, gid
        self._allowed = frozenset((0, uid))
        self._reach = Reach(self.path)
        self._port: IListeningPort | None = None
        self._strangers = 0
        self._told = float("-inf")

    def listen(self, reactor: Any) -> None:
        """OSError where the socket cannot be had; then nothing listens, and the service runs without it."""
        with suppress(FileNotFoundError):
            if stat.S_ISSOCK(os.lstat(self.path).st_mode):
                os.unlink(self.path)
        try:
            # Twisted binds, changes the mode and then listens. Before that nobody can connect, and the folder is closed to others anyhow.
            self._port = reactor.listenUNIX(self._reach.open(), _Door(self), backlog=AT_ONCE, mode=0o600)
        except CannotListenError as error:
            self._reach.close()
            raise error.socketError from error
        if os.geteuid() == 0:
            os.chown(self.path, *self._owner, follow_symlinks=False)

    async def stop(self, limit: float = STOP_LIMIT) -> None:
        """The socket goes, who has not asked yet is let go; answers under way are given, for ``limit`` seconds at most."""
        port, self._port = self._port, None
        if port is not None:
            with suppress(FileNotFoundError):  # somebody has removed it already, and Twisted wanted to
                await maybeDeferred(port.stopListening)
        await self.connections.stop(limit)
        self._reach.close()

    def refuses(self, uid: int) -> bool:
        if uid in self._allowed:
            return False
        self._strangers += 1
        if self.clock.seconds() >= self._told + TELL_EVERY:
            self._told = self.clock.seconds()
            log.warn(
                "warning: refused a connection of uid {uid} to the control socket ({count} refused since the last such line)",
                uid=uid,
                count=self._strangers,
            )
            self._strangers = 0
        return True


class _Door(ServerFactory):
    noisy = False

    def __init__(self, control: ControlSocket) -> None:
        self._control = control

    def buildProtocol(self, addr: IAddress | None) -> _Asking:
        return _Asking(self._control)


@implementer(IPushProducer)
class _Asking(TwistedProtocol):
    """One connection: a question in, its answer out, as fast as it is read; a connections.Connection."""

    transport: Any

    def __init__(self, control: ControlSocket) -> None:
        self._control = control
        self._heard = LineBuffer()
        self._uid = -1
        self._asked = False
        self._answering = False
        self._gone = False
        self._room: Deferred[None] | None = None  # while the other end does not read
        self._timer: IDelayedCall | None = None
        self.closed: Deferred[None] = Deferred()

    def connectionMade(self) -> None:
        self._uid = _peer_uid(self.transport.getHandle())
        full = len(self._control.connections) >= AT_ONCE
        self._control.connections.opened(self)
        if self._control.refuses(self._uid):
            self.cut("a stranger")
        elif full or self._control.connections.stopping:
            self._refuse("too many are asking at once; try again")
        else:
            self.transport.registerProducer(self, True)
            self._wait()

    def dataReceived(self, data: bytes) -> None:
        if self._asked:
            if self._answering:
                self.cut("said more than a question")
            return
        self._heard.feed(data)
        line = self._heard.line(LONGEST_QUESTION - 1)
        if line is None and len(self._heard) == 0:
            line = TooLong.LINE  # thrown away as it comes; nobody waits for its end
        if line is None:
            return
        self._asked = True
        if line is TooLong.LINE:
            self._refuse(f"a question has at most {LONGEST_QUESTION} octets")
            return
        try:
            question = question_of(line)
        except BadQuestion as bad:
            self._refuse(str(bad))
            return
        self._wait_no_longer()
        self._answering = True
        Deferred.fromCoroutine(self._answer(question)).addErrback(
            lambda failure: log.failure("while answering", failure)
        )

    async def _answer(self, question: Question) -> None:
        try:
            async with aclosing(self._control.answers.answer(question, self._uid)) as pieces:
                async for piece in pieces:
                    await self._send(piece)
        except _Gone:
            pass
        except DeliveryFailure as failure:
            self._refuse(failure.status.text)
        except Exception:
            log.failure("while answering {verb}", verb=question.verb)
            self._refuse("the service failed at this; its log says how")
        else:
            self._leave()
        finally:
            self._answering = False
            self._over()

    async def _send(self, piece: bytes) -> None:
        if self._gone:
            raise _Gone
        self.transport.write(piece)
        if self._room is not None:
            await self._room

    def _refuse(self, why: str) -> None:
        if not self._gone:
            self._asked = True
            self.transport.write(line_of({"error": why}))
            self._leave()

    def _leave(self) -> None:
        if not self._gone:
            self._wait()
            self.transport.loseConnection()

    # silence, at either end

    def _wait(self) -> None:
        self._wait_no_longer()
        self._timer = self._control.clock.callLater(PATIENCE, self.cut, "silence")

    def _wait_no_longer(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None and timer.active():
            timer.cancel()

    # IPushProducer

    def pauseProducing(self) -> None:
        if self._room is None:
            self._room = Deferred()
            self._wait()

    def resumeProducing(self) -> None:
        room, self._room = self._room, None
        if room is not None:
            if self._answering:
                self._wait_no_longer()
            room.callback(None)

    def stopProducing(self) -> None:
        """The connection is lost, and ``connectionLost`` follows."""

    # the end

    def stop(self) -> None:
        if not self._answering:
            self._leave()

    def cut(self, why: str) -> None:
        self._asked = True
        self.transport.abortConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._gone = True
        self._wait_no_longer()
        self._control.connections.gone(self)
        room, self._room = self._room, None
        if room is not None:
            room.errback(Failure(_Gone()))
        self._over()

    def _over(self) -> None:
        if self._gone and not self._answering and not self.closed.called:
            self.closed.callback(None)


class _Gone(Exception):
    """The other end left while something was being sent to it."""


def _peer_uid(sock: socket.socket) -> int:
    """Who connected, as the kernel noted it then (unix(7), SO_PEERCRED)."""
    _, uid, _ = struct.unpack("iII", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("iII")))
    return int(uid)
