"""Listening sockets, bound before anything else happens, and a sentence for whoever finds a port taken."""

from __future__ import annotations

import errno
import ipaddress
import os
import re
import socket
import sys
from collections.abc import Iterator
from dataclasses import dataclass

from lanmail.files import text_of
from lanmail.network import IPAddress

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
    try:
        sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    except OSError as error:  # a machine without IPv6
        raise CannotListen(_why(error, host, port, parameter)) from error
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
        holder = holder_of(port, host)
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


def holder_of(port: int, host: str) -> Holder | None:
    """Who keeps us from listening there; None where that cannot be seen (somebody else's process, and we are not root)."""
    inodes = set(_listening_inodes(port, ipaddress.ip_address(host)))
    if not inodes:
        return None
    wanted = {f"socket:[{inode}]" for inode in inodes}
    for entry in os.scandir("/proc"):
        if entry.name.isdigit() and _has_descriptor(entry.path, wanted):
            pid = int(entry.name)
            name = text_of(f"{entry.path}/comm").strip() or "?"
            return Holder(pid, name, unit_of(text_of(f"{entry.path}/cgroup")))
    return None


def unit_of(cgroups: str) -> str | None:
    """The system's service that a process belongs to, from its /proc/PID/cgroup; None for any other process.

    Only below system.slice: a program that somebody started from a desktop is in user@1000.service, and stopping that would log
    them out.
    """
    unit = re.search(r":/system\.slice/(?:[^/\n]+\.slice/)*([^/\n]+\.service)(?:/|$)", cgroups, re.MULTILINE)
    return unit[1] if unit else None


def _listening_inodes(port: int, ours: IPAddress) -> Iterator[str]:
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in text_of(table).splitlines()[1:]:
            fields = line.split()
            address, _, number = fields[1].rpartition(":")
            if fields[3] == "0A" and int(number, 16) == port and _exclude(ours, _from_kernel(address)):  # 0A: LISTEN
                yield fields[9]


def _from_kernel(address: str) -> IPAddress:
    """An address as /proc/net/tcp writes it: words of 32 bits in this machine's order."""
    words = (int(address[at : at + 8], 16).to_bytes(4, sys.byteorder) for at in range(0, len(address), 8))
    return ipaddress.ip_address(b"".join(words))


def _exclude(ours: IPAddress, theirs: IPAddress) -> bool:
    """Whether only one of two can listen on a port. ``::`` may take IPv4 too."""
    if ours.version != theirs.version:
        return theirs == ipaddress.IPv6Address("::")
    return ours == theirs or ours.is_unspecified or theirs.is_unspecified


def _has_descriptor(process: str, wanted: set[str]) -> bool:
    try:
        return any(os.readlink(fd.path) in wanted for fd in os.scandir(f"{process}/fd"))
    except OSError:
        return False
