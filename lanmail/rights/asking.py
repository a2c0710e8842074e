"""Asking root's helpers from threads: a question is sent, and the thread waits for the answer, with a limit.

Each helper answers one question at a time. Several threads have several of them; one that does not answer is ended by the root parent, and
another takes its place.
"""

from __future__ import annotations

import itertools
import socket
import threading
import time
from contextlib import suppress
from dataclasses import dataclass

from lanmail.accounts.guard import GuardTrouble
from lanmail.rights import channel, parent, signer
from lanmail.rights.channel import Frame, Noise

# Seconds for which a helper that is answering is waited for before there is one more, of 4 MB: an answer takes a tenth of a millisecond.
# Where one is held up, by a network's file system, the others are late by so much, once.
SOON = 0.02


@dataclass(frozen=True, slots=True)
class _Helper:
    number: int
    sock: socket.socket


class Asking:
    """The threads' channel to the root parent, which is closed here in the end.

    most: how many openers there are at most. time_limit: seconds for one answer, and for the wait for a helper that is free.
    """

    def __init__(self, sock: socket.socket, *, most: int = 8, time_limit: float = 10.0) -> None:
        self._sock = sock
        self._sock.settimeout(time_limit)
        self._time_limit = time_limit
        self._numbers = itertools.count(1)
        self._channel = threading.Lock()
        self._room = threading.BoundedSemaphore(most)
        self._idle: list[_Helper] = []
        self._answering = 0
        self._free = threading.Condition()  # of these two
        self._closed = False

    def ask(self, kind: bytes, *fields: bytes) -> Frame:
        """An opener's answer (opener.py). GuardTrouble. Blocks; whoever asked closes the descriptor."""
        if not self._room.acquire(timeout=self._time_limit):
            raise GuardTrouble("every helper that opens files is held up")
        try:
            idle = self._taken()
            try:
                return self._asked(idle, kind, fields)
            finally:
                with self._free:
                    self._answering -= 1
                    self._free.notify()
        finally:
            self._room.release()

    def sign(self, request: bytes) -> bytes:
        """What ``Duties.signer`` makes of it. GuardTrouble, with its reason. Blocks; needs no more than one process at a time."""
        if len(request) > signer.LONGEST:
            raise ValueError("a request of that length is not signed")
        helper = self._start(parent.SIGNER)
        try:
            answer = self._say(helper, signer.SIGN, request)
        finally:
            helper.sock.close()
        answer.close()
        text = b"".join(answer.fields)
        if answer.kind == signer.SIGNED:
            return text
        raise GuardTrouble(text.decode("utf-8", "replace"))

    def close(self) -> None:
        """The parent ends."""
        self._closed = True
        self._sock.close()
        while self._idle:
            self._idle.pop().sock.close()

    # within

    def _taken(self) -> _Helper | None:
        """One that is free, or will be in a moment; None where one more is needed."""
        with self._free:
            if self._answering:
                self._free.wait_for(lambda: self._idle, SOON)
            self._answering += 1
            return self._idle.pop() if self._idle else None

    def _asked(self, idle: _Helper | None, kind: bytes, fields: tuple[bytes, ...]) -> Frame:
        while idle is not None:
            # One that has ended since its last answer has not heard the question, or nobody has its answer: it may be asked again. (That a
            # mailbox was made already is an answer like any other.)
            with suppress(_Ended):
                return self._answer(idle, kind, fields)
            with self._free:
                idle = self._idle.pop() if self._idle else None
        try:
            return self._answer(self._start(parent.OPENER), kind, fields)
        except _Ended as ended:
            raise GuardTrouble("the helper ended") from ended

    def _answer(self, helper: _Helper, kind: bytes, fields: tuple[bytes, ...]) -> Frame:
        answer = self._say(helper, kind, *fields)
        if self._closed:
            helper.sock.close()
        else:
            with self._free:
                self._idle.append(helper)
        return answer

    def _say(self, helper: _Helper, kind: bytes, *fields: bytes) -> Frame:
        """GuardTrouble, _Ended; then the helper is gone."""
        try:
            channel.send(helper.sock, kind, *fields)
            return channel.receive(helper.sock)
        except TimeoutError:
            self._end(helper)
            raise GuardTrouble(f"no answer within {self._time_limit:g} s") from None
        except Noise:
            self._end(helper)
            raise GuardTrouble("it answered with noise") from None
        except (EOFError, OSError):
            helper.sock.close()
            raise _Ended("the helper ended") from None

    def _end(self, helper: _Helper) -> None:
        helper.sock.close()
        with self._channel, suppress(OSError, ValueError):
            channel.send(self._sock, parent.END, b"%d" % helper.number)

    def _start(self, kind: bytes) -> _Helper:
        end = time.monotonic() + self._time_limit
        if not self._channel.acquire(timeout=self._time_limit):
            raise GuardTrouble("the root parent does not answer")
        try:
            number = next(self._numbers)
            channel.send(self._sock, parent.START, b"%d" % number, kind)
            while time.monotonic() < end:
                said = channel.receive(self._sock)
                if said.kind == parent.STARTED and said.fields == [b"%d" % number]:
                    sock = socket.socket(fileno=said.only_descriptor())
                    sock.settimeout(self._time_limit)
                    return _Helper(number, sock)
                said.close()
                if said.kind == parent.NOT_STARTED and said.fields[:1] == [b"%d" % number]:
                    raise GuardTrouble(b" ".join(said.fields[1:]).decode("utf-8", "replace"))
                # else it is the answer to somebody who did not wait for it: a helper whose channel is closed ends
            raise GuardTrouble("the root parent does not answer")
        except TimeoutError:
            raise GuardTrouble("the root parent does not answer") from None
        except (EOFError, Noise, OSError) as error:
            raise GuardTrouble("the root parent has gone") from error
        finally:
            self._channel.release()


class _Ended(GuardTrouble):
    pass
