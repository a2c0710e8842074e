"""The process from which workers are forked: a copy of the supervisor from before it had threads or an event loop that ran.

So a worker is there in a moment, also the tenth after a crash, and shares with the others and with the supervisor what none of them
changes. It is forked by a root that has bound the ports, and gives root up before it hears the first word. It ends when its channel
does, and the kernel ends the workers with it.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import sys
from collections.abc import Collection, Sequence
from contextlib import suppress
from typing import Any, NoReturn

from lanmail.rights import channel
from lanmail.rights.channel import Frame, Noise
from lanmail.rights.privileges import CannotDrop, be_called, drop, end_with_parent
from lanmail.workers.worker import live

READY = b"R"
BIRTH = b"B"  # number, with its line's end beside it, and the two channels to the guard where there is one → BORN
BORN = b"+"  # number, pid
KILL = b"K"  # number
GONE = b"G"  # number, status as waitpid gives it
CLOSE = b"C"  # the ports: there will be no further births
BROKEN = b"*"  # why; then it ends

_CHANNEL_ENDED = select.POLLHUP | select.POLLERR | select.POLLNVAL
_STANDARD = (0, 1, 2)


class Nursery:
    """sock: to the supervisor. ports: descriptors that are closed when no more workers come. reactor: never run here."""

    def __init__(self, sock: socket.socket, ports: Sequence[int], reactor: Any) -> None:
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
                self._ports = ()
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

    def _live(self, parent: int, line: int, guard: Any) -> NoReturn:
        """In the new process, which never comes back from here."""
        status = 1
        try:
            end_with_parent()
            if os.getppid() != parent:
                os._exit(1)
            be_called(b"lanmail-worker")
            self._sock.close()
            for pidfd in self._workers:
                os.close(pidfd)
            for each in (signal.SIGTERM, signal.SIGQUIT):
                signal.signal(each, signal.SIG_DFL)
            # As if it had been made in this process: Twisted's modules took hold of it when they were loaded.
            self._reactor.__init__()
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


def main(
    sock: socket.socket,
    ports: Sequence[int],
    inherited: Collection[int],
    owner: Sequence[int],
    output: int | None,
    reactor: Any,
) -> NoReturn:
    """In the new process, which never comes back from here: so whatever the callers hold is held, and no object of theirs closes
    a descriptor that has become somebody else's.

    sock: the channel. ports, inherited: descriptors that workers have; all others are closed. owner: uid, gid and further groups, for a
    root that is given up. output: where we and the workers write; None: where the supervisor does.
    """
    try:
        os.setsid()  # Ctrl-C at the service's terminal is the supervisor's to obey
        for each in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
            signal.signal(each, signal.SIG_IGN)
        be_called(b"lanmail-nursery")
        _redirect(output)
        # Its epoll and its pipe are the supervisor's too.
        reactor._poller.close()
        reactor.waker.connectionLost(None)
        _keep_only({*_STANDARD, sock.fileno(), *ports, *inherited})
        if owner:
            uid, gid, *groups = owner
            drop(uid, gid, groups)
        channel.send(sock, READY)
        Nursery(sock, ports, reactor).serve()
    except EOFError:
        pass
    except (Noise, CannotDrop, OSError) as trouble:
        with suppress(OSError):  # nobody is there to hear it
            channel.send(sock, BROKEN, str(trouble).encode()[:500])
        os._exit(1)
    except BaseException:
        sys.excepthook(*sys.exc_info())
        os._exit(1)
    os._exit(0)


def _redirect(output: int | None) -> None:
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.close(null)
    if output is not None:
        os.dup2(output, 1)
        os.dup2(output, 2)


def _keep_only(descriptors: Collection[int]) -> None:
    """The supervisor's channels to the guard, and whatever else it has opened, are not ours."""
    for name in os.listdir("/proc/self/fd"):
        if int(name) not in descriptors:
            with suppress(OSError):  # that of the listing is gone
                os.close(int(name))
