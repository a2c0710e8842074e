"""What a configuration needs to know of the machine it is for. Nothing here asks DNS or starts a program."""

from __future__ import annotations

import ctypes
import grp
import ipaddress
import os
import pwd
import socket
import stat
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from lanmail.files import Open, open_plainly, read_whole

Interface = ipaddress.IPv4Interface | ipaddress.IPv6Interface

# No list, table or host file of a configuration is longer; what is named by mistake (a device, a mailbox) may be.
MAX_FILE = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Facts:
    """Of what stands at a path itself, no link followed. mode: st_mode, the kind of file in it. uid: whose it is."""

    mode: int
    uid: int

    @property
    def is_file(self) -> bool:
        return stat.S_ISREG(self.mode)

    @property
    def is_link(self) -> bool:
        return stat.S_ISLNK(self.mode)


class Machine(Protocol):
    """The facts. Tests hand in their own; every method may be called from any thread and none waits for the network."""

    def host_name(self) -> str:
        """As gethostname(2) gives it, perhaps without a domain."""

    def interfaces(self) -> Sequence[Interface]:
        """Every IP address of every interface, with its netmask."""

    def hosts(self, name: str) -> Sequence[str]:
        """The addresses that /etc/hosts has for a name, in its order."""

    def user(self, name: str) -> int | None:
        """The uid of an account; None where there is none."""

    def group(self, name: str) -> int | None:
        """The gid of a group; None where there is none."""

    def read(self, path: str) -> bytes:
        """A regular file, whole. OSError where it cannot be read, or is none, or is larger than MAX_FILE."""

    def is_folder(self, path: str) -> bool:
        """Whether a folder stands there (links followed)."""

    def exists(self, path: str) -> bool:
        """Whether anything stands there."""

    def facts(self, path: str) -> Facts | None:
        """What stands there; None where nothing does, or it cannot be seen."""


class ThisMachine:
    """The machine we run on. opened: how its files are opened for reading."""

    def __init__(self, opened: Open = open_plainly) -> None:
        self._open = opened

    def host_name(self) -> str:
        return socket.gethostname()

    def interfaces(self) -> Sequence[Interface]:
        return _interfaces()

    def hosts(self, name: str) -> Sequence[str]:
        try:
            text = self.read("/etc/hosts").decode("utf-8", "replace")
        except OSError:
            return ()
        lines = (line.partition("#")[0].split() for line in text.splitlines())
        return [words[0] for words in lines if name.lower() in (word.lower() for word in words[1:])]

    def user(self, name: str) -> int | None:
        try:
            return pwd.getpwnam(name).pw_uid
        except (KeyError, ValueError):  # ValueError: a NUL in the name
            return None

    def group(self, name: str) -> int | None:
        try:
            return grp.getgrnam(name).gr_gid
        except (KeyError, ValueError):
            return None

    def read(self, path: str) -> bytes:
        return read_whole(path, self._open, MAX_FILE)

    def is_folder(self, path: str) -> bool:
        return os.path.isdir(path)

    def exists(self, path: str) -> bool:
        return os.path.lexists(path)

    def facts(self, path: str) -> Facts | None:
        try:
            found = os.lstat(path)
        except (OSError, ValueError):  # ValueError: a NUL in the path
            return None
        return Facts(found.st_mode, found.st_uid)


THIS_MACHINE: Machine = ThisMachine()


class _Entry(ctypes.Structure):
    """struct ifaddrs, getifaddrs(3)."""


_Entry._fields_ = [
    ("next", ctypes.POINTER(_Entry)),
    ("name", ctypes.c_char_p),
    ("flags", ctypes.c_uint),
    ("address", ctypes.c_void_p),
    ("netmask", ctypes.c_void_p),
    ("broadcast", ctypes.c_void_p),
    ("data", ctypes.c_void_p),
]


def _interfaces() -> list[Interface]:
    libc = ctypes.CDLL(None, use_errno=True)
    first = ctypes.POINTER(_Entry)()
    if libc.getifaddrs(ctypes.byref(first)) != 0:
        return []
    found: list[Interface] = []
    try:
        entry = first
        while entry:
            interface = _interface(entry.contents.address, entry.contents.netmask)
            if interface is not None and interface not in found:
                found.append(interface)
            entry = entry.contents.next
    finally:
        libc.freeifaddrs(first)
    return found


def _interface(address: int | None, netmask: int | None) -> Interface | None:
    if not address:
        return None
    # sa_family is the first field of every sockaddr, in the machine's byte order.
    family = struct.unpack("=H", ctypes.string_at(address, 2))[0]
    if family == socket.AF_INET:
        offset, length = 4, 4  # struct sockaddr_in: family, port, address
    elif family == socket.AF_INET6:
        offset, length = 8, 16  # struct sockaddr_in6: family, port, flow information, address
    else:
        return None
    host = ctypes.string_at(address + offset, length)
    mask = ctypes.string_at(netmask + offset, length) if netmask else b"\xff" * length
    bits = bin(int.from_bytes(mask, "big")).count("1")
    return ipaddress.ip_interface((host, bits))
