"""The program from which workers are forked: it has loaded everything, has one thread and no reactor that ever ran, and does nothing else.

So a worker is there in a moment, and shares with the others what none of them changes. It is started by a root that has bound the
ports, and gives root up before it hears the first word. It ends when its channel does, and the kernel ends the workers with it.
"""

from __future__ import annotations

import ctypes
import gc
import os
import select
import signal
import socket
import sys
from typing import Any

from twisted.internet.epollreactor import EPollReactor
from twisted.internet.main import installReactor

from lanmail.memory import share_arenas
from lanmail.rights import channel
from lanmail.rights.channel import Frame, Noise
from lanmail.rights.loading import load_now
from lanmail.rights.privileges import CannotDrop, drop

READY = b"R"
BIRTH = b"B"  # number, with its line's end beside it, and the two channels to the guard where there is one → BORN
BORN = b"+"  # number, pid
KILL = b"K"  # number
GONE = b"G"  # number, status as waitpid gives it
CLOSE = b"C"  # the ports: there will be no further births
BROKEN = b"*"  # why; then it ends

_PR_SET_PDEATHSIG = 1
_CHANNEL_ENDED = select.POLLHUP | select.POLLERR | select.POLLNVAL


class Nursery:
    """sock: to the supervisor. ports: descriptors that are closed when no more workers come. reactor: never run here."""

    def __init__(self, sock: socket.socket, ports: list[int], reactor: EPollReactor) -> None:
        self._sock = sock
        self._ports = ports
        self._reactor = reactor
        self._workers: dict[int, tuple[int, int]] = {}  # by pidfd: number and pid
        self._poll = select.poll()
        self._poll.register(sock, select.POLLIN)

    def serve(self) -> None:
        """Until the channel ends. Noise; OSError."""
        while True:
            for fd, events in self._poll.poll():
                if fd in self._workers:
                    self._reap(fd)
                elif events & _CHANNEL_ENDED:
                    return
                else:
                    self._obey(channel.receive(self._sock))

    def _obey(self, said: Frame) -> None:
        match said.kind, [*said.fields]:
            case b"B", [number] if number.isdigit() and said.descriptors:
                self._bear(int(number), said.descriptors[0], said.descriptors[1:])
            case b"K", [number]:
                for one, pid in self._workers.values():
                    if b"%d" % one == number:
                        os.kill(pid, signal.SIGKILL)
            case b"C", []:
                for fd in self._ports:
                    os.close(fd)
                self._ports = []
            case _:
                said.close()
                raise Noise("a request of no kind that is known here")

    def _bear(self, number: int, line: int, guard: Any) -> None:
        parent = os.getpid()
        pid = os.fork()
        if not pid:
            self._live(parent, line, guard)
        for fd in (line, *guard):
            os.close(fd)
        pidfd = os.pidfd_open(pid)
        self._workers[pidfd] = number, pid
        self._poll.register(pidfd, select.POLLIN)
        channel.send(self._sock, BORN, b"%d" % number, b"%d" % pid)

    def _live(self, parent: int, line: int, guard: Any) -> None:
        """In the new process, which never comes back from here."""
        status = 1
        try:
            # Whoever ends us ends them: nobody else would hear of their end, or of the supervisor's if they hang.
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != parent:
                os._exit(1)
            self._sock.close()
            for pidfd in self._workers:
                os.close(pidfd)
            for each in (signal.SIGTERM, signal.SIGQUIT):
                signal.signal(each, signal.SIG_DFL)
            _begin_anew(self._reactor)
            from lanmail.workers.worker import live

            status = live(self._reactor, line, guard)
        except BaseException:
            sys.excepthook(*sys.exc_info())
        finally:
            sys.stdout.flush()
            os._exit(status)

    def _reap(self, pidfd: int) -> None:
        number, pid = self._workers.pop(pidfd)
        self._poll.unregister(pidfd)
        os.close(pidfd)
        _, status = os.waitpid(pid, 0)
        channel.send(self._sock, GONE, b"%d" % number, b"%d" % status)


def _begin_anew(reactor: Any) -> None:
    """The reactor that modules of Twisted's took hold of when they were loaded, as if it had been made in this process.

    Its epoll would be one with that of every other worker.
    """
    reactor._poller.close()
    reactor.waker.connectionLost(None)
    reactor.__init__()


def main(arguments: list[str]) -> None:
    """arguments: the channel's descriptor, those of the ports, and, for a root that is given up, uid, gid and further groups."""
    os.setsid()  # Ctrl-C at the service's terminal is the supervisor's to obey
    for each in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(each, signal.SIG_IGN)
    number, ports, owner = arguments
    sock = socket.socket(fileno=int(number))
    sock.set_inheritable(False)
    try:
        share_arenas()
        reactor = EPollReactor()
        installReactor(reactor)
        load_now()
        import lanmail.workers.worker  # noqa: F401 - everything that a worker is made of

        gc.collect()
        gc.freeze()  # what is there now is never looked through, and so stays in memory once
        if owner:
            uid, gid, *groups = map(int, owner.split(","))
            drop(uid, gid, groups)
        channel.send(sock, READY)
        Nursery(sock, [int(fd) for fd in ports.split(",") if fd], reactor).serve()
    except EOFError:
        pass
    except (Noise, CannotDrop, OSError) as trouble:
        try:
            channel.send(sock, BROKEN, str(trouble).encode()[:500])
        except OSError:
            pass  # nobody is there to hear it
        os._exit(1)
    os._exit(0)
