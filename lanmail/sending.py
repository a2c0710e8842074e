"""Octets that go out at once, where the kernel takes them: nearly always, since an answer is a line."""

from __future__ import annotations

from typing import Any

from twisted.internet.tcp import Connection


def send(transport: Any, data: bytes) -> None:
    """``transport.write``, and at once where nothing waits before it.

    Twisted's own write asks epoll to be told when the socket can be written to, comes back for it, and tells epoll that this is all: two
    system calls and a turn of the reactor for every answer, before the client hears a word. What the kernel does not take, and all that
    goes through TLS, is Twisted's to keep.
    """
    # _tempDataLen: what was written since the reactor came by last; there is no public word for it.
    if (
        isinstance(transport, Connection)
        and transport.connected
        and not (transport.TLS or transport.dataBuffer or transport._tempDataLen or transport._writeDisconnected)
    ):
        sent = transport.writeSomeData(data)
        if isinstance(sent, int) and sent > 0:
            data = data[sent:]
    if data:
        transport.write(data)
