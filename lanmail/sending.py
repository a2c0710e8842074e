"""Octets that go out at once, where the kernel takes them: nearly always, since an answer is a line. And then the end of a connection."""

from __future__ import annotations

from typing import Any

from twisted.internet.main import CONNECTION_DONE
from twisted.internet.tcp import Connection
from twisted.python.failure import Failure


def send(transport: Any, data: bytes) -> None:
    """``transport.write``, and at once where nothing waits before it.

    Twisted's own write asks epoll to be told when the socket can be written to, comes back for it, and tells epoll that this is all: two
    system calls and a turn of the reactor for every answer, before the client hears a word. What the kernel does not take, and all that
    goes through TLS, is Twisted's to keep.
    """
    if _is_free(transport):
        sent = transport.writeSomeData(data)
        if isinstance(sent, int) and sent > 0:
            data = data[sent:]
    if data:
        transport.write(data)


def hang_up(transport: Any) -> bool:
    """``transport.loseConnection``, where nothing waits to be sent: the connection is over in the reactor's next turn. Else False.

    Twisted's own asks epoll whether the socket can be written to, writes nothing to it when it can, and only then closes it: a turn and
    three system calls more for every client that leaves.
    """
    if not _is_free(transport) or transport.disconnecting:
        return False
    transport.stopReading()
    transport.disconnecting = True
    # As loseConnection does it where nothing can be sent any more.
    transport.reactor.callLater(0, transport.connectionLost, Failure(CONNECTION_DONE))
    return True


def _is_free(transport: Any) -> bool:
    """Whether it is a plain socket, and whatever was written has gone."""
    # _tempDataLen: what was written since the reactor came by last; there is no public word for it.
    return (
        isinstance(transport, Connection)
        and bool(transport.connected)
        and not (transport.TLS or transport.dataBuffer or transport._tempDataLen or transport._writeDisconnected)
    )
