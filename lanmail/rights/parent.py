"""The program of the root parent: it starts helpers that are root, ends them when told to, and says when one has ended. No more.

It never sees a password or a file: each helper has a channel of its own, whose other end is handed to whoever asked for the helper.
So there is nothing here that waits for anything but the next frame. It is started by its path, before any port is bound and before
there are threads, holds no socket but its own, and ends at once, with its helpers, when either of its channels does or brings noise.

Where several processes serve (``workers``), who started it hands it two more channels for each. When one of these ends, or brings noise,
its fellow is closed, and the helpers that were asked for there end; nothing else.
"""

from __future__ import annotations

import gc
import os
import resource
import select
import signal
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass

if __name__ == "__main__":  # by its path, without site-packages: our own modules are beside it
    sys.path.append(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))

from lanmail.accounts import helper
from lanmail.memory import share_arenas
from lanmail.rights import channel, opener, signer
from lanmail.rights.channel import Frame, Noise
from lanmail.rights.duties import BadDuties, Duties
from lanmail.rights.privileges import be_called

# There are two channels: one is asked by an event loop, one by threads. The first frame on the loop's brings the duties.
DUTIES = b"D"  # Duties.text → READY
READY = b"R"
START = b"S"  # number, kind → STARTED with number and its channel; or NOT_STARTED with number and why
STARTED, NOT_STARTED = b"+", b"-"
END = b"E"  # number; nothing is said of it
ATTACH = b"A"  # on the first loop's channel alone, with another process's two channels, its loop's and its threads'; nothing is said of it
GONE = (
    b"G"  # number, status as waitpid gives it; to the loop alone, since a thread sees the end of the helper's channel
)
BROKEN = b"*"  # why; then the parent ends

PASSWORDS, NAMES, HOMES = b"passwords", b"names", b"homes"
"""Helpers of accounts/helper.py, whose channel is a stream."""
OPENER, SIGNER = b"opener", b"signer"
"""Helpers of opener.py and signer.py, whose channel is of packets. The first frame on it is their duties, from here."""

_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)
_CHANNEL_ENDED = select.POLLHUP | select.POLLERR | select.POLLNVAL
_SEND_LIMIT = 5.0  # seconds; what is sent fits into the socket unless nobody reads for a thousand frames
_WORKER_SEND_LIMIT = 1.0  # of one that is not the first: the others wait meanwhile
MOST_PARTIES = 65  # the first, and as many workers as there may be


@dataclass(slots=True)
class _Helper:
    pid: int
    pidfd: int
    asked_on: int
    number: int


@dataclass(frozen=True, slots=True, eq=False)
class _Party:
    """Somebody who asks: a process of the service."""

    loop: socket.socket
    threads: socket.socket

    def fds(self) -> tuple[int, int]:
        return self.loop.fileno(), self.threads.fileno()


class Parent:
    """The helpers that there are, each known to whoever asked for it by a number of the asker's choice."""

    def __init__(self, loop: socket.socket, threads: socket.socket, duties: Duties) -> None:
        self._duties = duties
        self._helpers: dict[int, _Helper] = {}  # by pidfd
        self._poll = select.poll()
        self._parties: dict[int, _Party] = {}  # each by both of its channels
        self._first = self._let_in(loop, threads)

    def serve(self) -> None:
        """Until a channel of the first party ends. Noise; OSError where what is said is not read."""
        try:
            while True:
                for fd, events in self._poll.poll():
                    if fd in self._helpers:
                        self._reap(self._helpers[fd])
                    elif not self._hears(self._parties[fd], fd, events):
                        break  # what else there was to hear may be told of numbers that are somebody else's now
        except EOFError:
            return
        finally:
            for each in self._helpers.values():
                helper.end(each.pid)

    def _let_in(self, loop: socket.socket, threads: socket.socket) -> _Party:
        party = _Party(loop, threads)
        for fd in party.fds():
            self._parties[fd] = party
            self._poll.register(fd, select.POLLIN)
        return party

    def _let_go(self, party: _Party) -> None:
        """Its helpers are ended, and are nobody's: a number of its channels may soon be another's."""
        fds = party.fds()
        for each in self._helpers.values():
            if each.asked_on in fds:
                each.asked_on = -1
                helper.end(each.pid)
        for sock in (party.loop, party.threads):
            self._poll.unregister(sock.fileno())
            del self._parties[sock.fileno()]
            sock.close()

    def _hears(self, party: _Party, fd: int, events: int) -> bool:
        """False where that party has gone."""
        sock = party.loop if fd == party.loop.fileno() else party.threads
        try:
            if events & _CHANNEL_ENDED:
                raise EOFError
            self._obey(fd, channel.receive(sock))
        except (EOFError, Noise, OSError):
            if party is self._first:
                raise
            self._let_go(party)
            return False
        return True

    def _obey(self, fd: int, frame: Frame) -> None:
        if frame.kind == ATTACH and fd == self._first.loop.fileno():
            self._attach(frame)
            return
        frame.close()  # nobody else has descriptors for us
        match frame.kind, [*frame.fields]:
            case _ if frame.descriptors:
                raise Noise("descriptors")
            case b"S", [number, kind]:
                self._start(fd, _number(number), kind)
            case b"E", [number]:
                named = self._find(fd, _number(number))
                if named is not None:  # else it has ended meanwhile
                    helper.end(named.pid)
            case _:
                raise Noise("a request of no kind that is known here")

    def _attach(self, frame: Frame) -> None:
        if len(frame.descriptors) != 2 or frame.fields or len(self._parties) >= 2 * MOST_PARTIES:
            frame.close()
            raise Noise("a request that fits nothing")
        # What is no socket raises OSError, and for the first party that is the end.
        socks = [socket.socket(fileno=fd) for fd in frame.descriptors]
        for sock in socks:
            sock.settimeout(_WORKER_SEND_LIMIT)
        self._let_in(*socks)

    def _find(self, fd: int, number: int) -> _Helper | None:
        return next((h for h in self._helpers.values() if (h.asked_on, h.number) == (fd, number)), None)

    def _start(self, fd: int, number: int, kind: bytes) -> None:
        if self._find(fd, number) is not None:
            raise Noise("a number that is taken")
        # Of each party so many: one that has gone mad takes nothing from the others.
        fds = self._parties[fd].fds()
        if sum(each.asked_on in fds for each in self._helpers.values()) >= self._duties.most:
            self._say(fd, NOT_STARTED, b"%d" % number, b"there are %d helpers already" % self._duties.most)
            return
        try:
            theirs = self._launch(fd, number, kind)
        except OSError as error:
            self._say(fd, NOT_STARTED, b"%d" % number, str(error.strerror or error).encode())
            return
        with theirs:
            self._say(fd, STARTED, b"%d" % number, descriptors=[theirs.fileno()])

    def _launch(self, fd: int, number: int, kind: bytes) -> socket.socket:
        """A helper of that kind, and the end of its channel that is not its own. Noise; OSError."""
        duties = self._duties
        seconds = f"{duties.time_limit:g}"
        if kind in (PASSWORDS, NAMES, HOMES):
            service = duties.pam_service if kind == PASSWORDS else ""
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
            program, arguments = helper.main, [service, duties.pam_folder, seconds]
        elif kind in (OPENER, SIGNER):
            ours, theirs = channel.pair()
            program, arguments = opener.main if kind == OPENER else signer.main, [seconds]
        else:
            raise Noise("no such helper")
        with ours:
            try:
                if kind in (OPENER, SIGNER):
                    channel.send(theirs, DUTIES, duties.text())
                pid = _fork(kind, ours.fileno(), program, arguments)
            except BaseException:
                theirs.close()
                raise
        new = _Helper(pid, os.pidfd_open(pid), fd, number)
        self._helpers[new.pidfd] = new
        self._poll.register(new.pidfd, select.POLLIN)
        return theirs

    def _reap(self, ended: _Helper) -> None:
        del self._helpers[ended.pidfd]
        self._poll.unregister(ended.pidfd)
        os.close(ended.pidfd)
        _, status = os.waitpid(ended.pid, 0)
        party = self._parties.get(ended.asked_on)
        if party is None or ended.asked_on != party.loop.fileno():
            return
        try:
            self._say(ended.asked_on, GONE, b"%d" % ended.number, b"%d" % status)
        except OSError:
            if party is self._first:
                raise
            # At the next look at its channels: this round has more to tell of them.
            party.loop.shutdown(socket.SHUT_RDWR)

    def _say(self, fd: int, kind: bytes, *fields: bytes, descriptors: list[int] | None = None) -> None:
        party = self._parties[fd]
        sock = party.loop if fd == party.loop.fileno() else party.threads
        channel.send(sock, kind, *fields, descriptors=descriptors or [])


def _number(field: bytes) -> int:
    if not field.isdigit() or len(field) > 18:
        raise Noise("not a number")
    return int(field)


def _fork(kind: bytes, fd: int, program: Callable[[list[str]], int], arguments: list[str]) -> int:
    """A helper that has nothing of ours but its channel. Its pid.

    It is a copy of this process and not a fresh one: four interpreters that have each read the same modules take 29 MB, one and its copies
    13, and a copy is there in a millisecond. It can be one, since there is nothing here to be copied: no thread, no secret, no word
    that anybody said but numbers.
    """
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        # 0, 1 and 2 are /dev/null, as ours. Both descriptors that the programs know lead to the one channel.
        os.dup2(fd, helper.REQUESTS)
        os.dup2(helper.REQUESTS, helper.ANSWERS)
        os.closerange(helper.ANSWERS + 1, os.sysconf("SC_OPEN_MAX"))
        for each in _SIGNALS:
            signal.signal(each, signal.SIG_DFL)
        be_called(b"lanmail-" + kind)
        status = program(arguments)
    finally:
        os._exit(status)


def main(arguments: list[str]) -> int:
    """arguments: the numbers of the two channels' descriptors, the loop's and the threads'."""
    os.setsid()  # Ctrl-C at the service's terminal is not for us
    os.chdir("/")
    os.umask(0o077)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # We end with our channel. Told to end with the service, we would be gone before it has finished with us.
    for each in _SIGNALS:
        signal.signal(each, signal.SIG_IGN)
    share_arenas()
    loop, threads = (socket.socket(fileno=int(number)) for number in arguments)
    for sock in (loop, threads):
        sock.set_inheritable(False)
        sock.settimeout(_SEND_LIMIT)
    try:
        first = channel.receive(loop)
        if first.kind != DUTIES or len(first.fields) != 1 or first.descriptors:
            raise Noise("no duties")
        duties = Duties.of(first.fields[0])
        channel.send(loop, READY)
        if duties.pam_service:
            helper.load_pam(duties.pam_folder)
        # What is there now is never looked through, neither here nor in a copy, and so stays in memory once.
        gc.collect()
        gc.freeze()
        Parent(loop, threads, duties).serve()
    except EOFError:
        return 0
    except (Noise, BadDuties, OSError) as trouble:
        try:
            channel.send(loop, BROKEN, str(trouble).encode()[:500])
        except OSError:
            pass  # nobody is there to hear it
        return 1
    return 0


if __name__ == "__main__":
    os._exit(main(sys.argv[1:]))
