"""Listening sockets, bound before anything else happens, and a sentence for whoever finds a port taken."""

from __future__ import annotations

import errno
import os
import re
import socket
from collections.abc import Iterator
from dataclasses import dataclass

BACKLOG = 1024


class CannotListen(Exception):
    """A port cannot be had; the text says why and what to do."""


@dataclass(frozen=True, slots=True)
class Listening:
    """A bound, listening socket, what is spoken on it ("smtp", "pop3"), and where it is, ``127.0.0.1:25`` or ``[::1]:25``."""

    protocol: str
    socket: socket.socket
    place: str


def listen(protocol: str, host: str, port: int, parameter: str) -> Listening:
    """Bind and listen. ``parameter`` is the name by which main.cf chooses this port. Raises CannotListen."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            # Otherwise [::] would take IPv4 too, and the second socket, for 0.0.0.0, would find the port taken.
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.setblocking(False)
        sock.bind((host, port))
        sock.listen(BACKLOG)
    except OSError as error:
        sock.close()
        raise CannotListen(_why(error, host, port, parameter)) from error
    host, port = sock.getsockname()[:2]
    return Listening(protocol, sock, f"[{host}]:{port}" if ":" in host else f"{host}:{port}")


def _why(error: OSError, host: str, port: int, parameter: str) -> str:
    where = f"port {port} on {host}"
    if error.errno == errno.EADDRINUSE:
        holder = holder_of(port)
        if holder is None:
            return f"{where} is taken by another program (ss -ltnp sport = :{port} shows which); or choose another {parameter}"
        return f"{where} is taken by {holder.name} (pid {holder.pid}); stop it with: {holder.stop}"
    if error.errno == errno.EACCES:
        return f"{where} needs root: start as root, or set {parameter} to a port above 1023"
    if error.errno == errno.EADDRNOTAVAIL:
        return f"{host} is not an address of this machine (inet_interfaces)"
    return f"cannot listen on {where}: {os.strerror(error.errno or 0)}"


@dataclass(frozen=True, slots=True)
class Holder:
    """The process that listens on a port."""

    pid: int
    name: str
    unit: str | None

    @property
    def stop(self) -> str:
        """The command that stops it, for good where it is a service."""
        return f"systemctl disable --now {self.unit}" if self.unit else f"kill {self.pid}"


def holder_of(port: int) -> Holder | None:
    """Who listens on that TCP port; None where that cannot be seen (somebody else's process, and we are not root)."""
    inodes = set(_listening_inodes(port))
    if not inodes:
        return None
    wanted = {f"socket:[{inode}]" for inode in inodes}
    for entry in os.scandir("/proc"):
        if entry.name.isdigit() and _has_descriptor(entry.path, wanted):
            pid = int(entry.name)
            name = _read(f"{entry.path}/comm").strip() or "?"
            unit = re.search(r"/([^/]+\.service)(?:/|$)", _read(f"{entry.path}/cgroup"), re.MULTILINE)
            return Holder(pid, name, unit[1] if unit else None)
    return None


def _listening_inodes(port: int) -> Iterator[str]:
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in _read(table).splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and int(fields[1].rpartition(":")[2], 16) == port:  # 0A: LISTEN
                yield fields[9]


def _has_descriptor(process: str, wanted: set[str]) -> bool:
    try:
        return any(os.readlink(fd.path) in wanted for fd in os.scandir(f"{process}/fd"))
    except OSError:
        return False


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""
