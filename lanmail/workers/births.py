"""The supervisor's channel to the nursery: workers are asked for, and what is heard of their lives."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Any, Protocol

from twisted.internet.epollreactor import EPollReactor
from twisted.internet.interfaces import IReadDescriptor
from twisted.python.failure import Failure
from zope.interface import implementer

from lanmail.rights import channel
from lanmail.rights.channel import Frame, Noise
from lanmail.wiring.place import CannotStart
from lanmail.workers import nursery

# Said to us alone: a worker that took them for its own would speak to the manager, or take the ports for systemd's.
_OURS_ALONE = ("NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC", "LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES")


class Listener(Protocol):
    """Who is told of workers' lives."""

    def nursery_is_ready(self) -> None: ...

    def born(self, number: int, pid: int) -> None: ...

    def died(self, number: int, status: int) -> None:
        """status: as waitpid gives it."""

    def nursery_is_lost(self, why: str) -> None:
        """Nobody hears any more of who dies, and nobody is born: the service cannot go on."""


@implementer(IReadDescriptor)
class Births:
    """Forked before the event loop runs and before there is a thread, by a root perhaps.

    ports: descriptors of listening sockets. inherited: further ones that workers get. owner: uid, gid and further groups that the nursery
    becomes; empty where it stays who we are. reactor: which workers run, each as its own. output: where it and the workers write;
    None: where we do. Raises CannotStart.
    """

    def __init__(
        self,
        ports: Sequence[int],
        inherited: Sequence[int],
        owner: Sequence[int],
        reactor: EPollReactor,
        output: int | None = None,
    ) -> None:
        self._sock, theirs = channel.pair()
        self._reactor: Any = None
        self._listener: Listener | None = None
        # What was not written out yet would be written by each of them.
        sys.stdout.flush()
        sys.stderr.flush()
        try:
            pid = os.fork()
        except OSError as error:
            self._sock.close()
            theirs.close()
            raise CannotStart(f"cannot start the nursery of the workers: {error.strerror}") from error
        if not pid:
            for name in _OURS_ALONE:
                os.environ.pop(name, None)
            nursery.main(theirs, ports, inherited, owner, output, reactor)
        theirs.close()

    def start(self, reactor: Any, listener: Listener) -> None:
        """Once the reactor may be used, and after the process has gone to the background."""
        self._reactor, self._listener = reactor, listener
        self._sock.setblocking(False)
        reactor.addReader(self)

    def bear(self, number: int, line: int, guard: Sequence[int]) -> None:
        """A worker with that number, its end of the line, and its channels to the guard; all still whoever's called to close. OSError."""
        channel.send(self._sock, nursery.BIRTH, b"%d" % number, descriptors=[line, *guard])

    def kill(self, number: int) -> None:
        """Where it does not end by itself."""
        self._say(nursery.KILL, b"%d" % number)

    def close_ports(self) -> None:
        """There will be no further births."""
        self._say(nursery.CLOSE)

    def stop(self) -> None:
        """The nursery ends at once, and whatever workers there still are."""
        if self._reactor is not None:
            self._reactor.removeReader(self)
            self._reactor = None
        self._sock.close()

    def _say(self, kind: bytes, *fields: bytes) -> None:
        try:
            channel.send(self._sock, kind, *fields)
        except OSError:
            pass  # it has gone, and takes the workers along

    # IReadDescriptor

    def fileno(self) -> int:
        return self._sock.fileno()

    def logPrefix(self) -> str:
        return "nursery"

    def doRead(self) -> None:
        try:
            self._hear(channel.receive(self._sock))
        except BlockingIOError:
            return
        except (EOFError, Noise, OSError) as error:
            self._lost(str(error) or "it ended")

    def connectionLost(self, reason: Failure) -> None:
        self._lost(reason.getErrorMessage())

    def _hear(self, said: Frame) -> None:
        said.close()
        listener = self._listener
        assert listener is not None
        match said.kind, [*said.fields]:
            case b"R", []:
                listener.nursery_is_ready()
            case b"+", [number, pid]:
                listener.born(int(number), int(pid))
            case b"G", [number, status]:
                listener.died(int(number), int(status))
            case b"*", [why]:
                raise Noise(why.decode("utf-8", "replace"))
            case _:
                raise Noise("a frame of no kind that is known here")

    def _lost(self, why: str) -> None:
        if self._reactor is not None and self._listener is not None:
            self.stop()
            self._listener.nursery_is_lost(why)
