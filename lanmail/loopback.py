"""Whose program is at the other end of a connection that comes from this very machine: the kernel knows."""

from __future__ import annotations

import ipaddress
import sys
from collections.abc import Callable

from lanmail.files import text_of
from lanmail.network import Peer, parse_ip

# self: they are there also where /proc shows processes alone (systemd's ProcSubset=pid).
_TABLES = {4: "/proc/self/net/tcp", 6: "/proc/self/net/tcp6"}
_UID, _INODE = 7, 9  # columns


def uid_behind(peer: Peer, read: Callable[[str], str] = text_of) -> int | None:
    """The uid of the process that made a loopback connection; None where that cannot be known. Blocks, a few milliseconds.

    None too for what a proxy announced: no socket of this machine has that address and that port. read: the text of a file, "" for none.
    """
    there, here = parse_ip(peer.host), parse_ip(peer.local_host)
    if there is None or here is None:
        return None
    # Its socket is the one that is the other way round. An IPv4 client may hold one of IPv6's, and the connection stands there then.
    for version in (4, 6):
        wanted = [_kernels(there, version, peer.port), _kernels(here, version, peer.local_port)]
        for line in read(_TABLES[version]).splitlines()[1:]:
            fields = line.split()
            # Of a socket that nobody holds any more, whose inode is 0, the kernel says root's uid: a client that has said all it wants
            # to say, and closed, must not become root by that.
            if fields[1:3] == wanted and len(fields) > _INODE and fields[_INODE] != "0":
                return int(fields[_UID])
    return None


def _kernels(address: ipaddress.IPv4Address | ipaddress.IPv6Address, version: int, port: int) -> str:
    """As /proc/net/tcp writes it: words of 32 bits in this machine's order, and the port."""
    packed = address.packed
    if version == 6 and address.version == 4:
        packed = bytes(10) + b"\xff\xff" + packed
    elif version != address.version:
        return ""
    pieces = (int.from_bytes(packed[at : at + 4], sys.byteorder) for at in range(0, len(packed), 4))
    return "".join(f"{piece:08X}" for piece in pieces) + f":{port:04X}"
