"""Frames between the service and its root parent, one in each packet of a SOCK_SEQPACKET socket, with descriptors beside them.

A frame is what lanmail.accounts.helper says. A packet comes whole or not at all, so nobody waits for the rest of one.
"""

from __future__ import annotations

import array
import os
import socket
import struct
from collections.abc import Sequence
from dataclasses import dataclass

from lanmail.accounts.helper import frame, parts

LONGEST = 65536
"""Octets of one frame, without its four of length."""
_MOST_DESCRIPTORS = 3
_ROOM = socket.CMSG_SPACE(_MOST_DESCRIPTORS * array.array("i").itemsize)


class Noise(Exception):
    """What came is no frame. Nothing of it is kept, and whoever sent it is worth no more answers."""


@dataclass(frozen=True, slots=True)
class Frame:
    """descriptors: open files that came with it, which are whoever reads it's to close; none is inherited by a child."""

    kind: bytes
    fields: Sequence[bytes] = ()
    descriptors: Sequence[int] = ()

    def close(self) -> None:
        """Let go of the descriptors."""
        for fd in self.descriptors:
            os.close(fd)

    def only_descriptor(self) -> int:
        """The one descriptor. Noise where there is not exactly one."""
        if len(self.descriptors) != 1:
            self.close()
            raise Noise("a frame without its descriptor")
        return self.descriptors[0]


def pair() -> tuple[socket.socket, socket.socket]:
    """A new channel."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)


def send(sock: socket.socket, kind: bytes, *fields: bytes, descriptors: Sequence[int] = ()) -> None:
    """One frame, and copies of the descriptors. ValueError for what does not fit; OSError, TimeoutError among them, with nothing sent."""
    octets = frame(kind, *fields)
    if len(octets) > 4 + LONGEST or len(descriptors) > _MOST_DESCRIPTORS:
        raise ValueError("it does not fit into a frame")
    beside = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))] if descriptors else []
    sock.sendmsg([octets], beside, socket.MSG_NOSIGNAL)


def receive(sock: socket.socket) -> Frame:
    """The next frame. EOFError where the channel has ended; Noise; OSError, TimeoutError and BlockingIOError among them."""
    octets, ancillary, flags, _ = sock.recvmsg(4 + LONGEST, _ROOM, socket.MSG_CMSG_CLOEXEC)
    descriptors = array.array("i")
    for level, kind, data in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            descriptors.frombytes(data[: len(data) - len(data) % descriptors.itemsize])
    try:
        if not octets:
            raise EOFError
        if flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC):
            raise Noise("a packet that is too long")
        if len(octets) < 4 or struct.unpack_from("!I", octets) != (len(octets) - 4,):
            raise Noise("a packet that is no frame")
        try:
            said, fields = parts(octets[4:])
        except ValueError as error:
            raise Noise(str(error)) from None
    except BaseException:
        for fd in descriptors:
            os.close(fd)
        raise
    return Frame(said, fields, tuple(descriptors))
