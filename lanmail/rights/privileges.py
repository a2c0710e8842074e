"""Giving root up: for good, or for the while of some work that makes files.

For good means: groups, then gid, then uid, all three of each; no capability in any set; no_new_privs, so that no program that is run
from here gets more. Then the kernel is asked whether it is so (/proc/self/status), and whether it can be undone.
"""

from __future__ import annotations

import ctypes
import grp
import os
import signal
import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

_LIBC: Any = ctypes.CDLL(None, use_errno=True)

# prctl(2), capabilities(7), capset(2)
_PR_SET_PDEATHSIG = 1
_PR_SET_NAME = 15
_PR_SET_DUMPABLE = 4
_PR_SET_KEEPCAPS = 8
_PR_CAPBSET_READ = 23
_PR_CAPBSET_DROP = 24
_PR_SET_NO_NEW_PRIVS = 38
_PR_CAP_AMBIENT = 47
_PR_CAP_AMBIENT_CLEAR_ALL = 4
_CAPABILITY_VERSION_3 = 0x20080522
_CAPABILITIES = ("CapInh", "CapPrm", "CapEff", "CapAmb")


class CannotDrop(Exception):
    """Root could not be given up, whole and for good. Whoever gets this must end: half of it may be done."""


@dataclass(frozen=True, slots=True)
class Rights:
    """What /proc/PID/status says of a process. uids, gids: real, effective, saved, and of the file system.

    capabilities: the names of the sets that are not empty, CapBnd (what a program that is run could get) among them.
    """

    uids: tuple[int, ...]
    gids: tuple[int, ...]
    groups: frozenset[int]
    capabilities: tuple[str, ...]
    no_new_privileges: bool
    threads: int

    @classmethod
    def of(cls, pid: int | str = "self") -> Rights:
        """OSError where there is no such process."""
        with open(f"/proc/{pid}/status", encoding="utf-8", errors="replace") as file:
            lines = (line.partition(":") for line in file)
            said = {name: value.split() for name, _, value in lines}
        return cls(
            tuple(map(int, said["Uid"])),
            tuple(map(int, said["Gid"])),
            frozenset(map(int, said["Groups"])),
            tuple(name for name in (*_CAPABILITIES, "CapBnd") if int(said[name][0], 16)),
            said["NoNewPrivs"] == ["1"],
            int(said["Threads"][0]),
        )


def drop(uid: int, gid: int, groups: Sequence[int] = ()) -> None:
    """Become ``uid``, with ``gid`` and ``groups`` and nothing else, for good. Before the first thread. CannotDrop.

    groups: set as they are said, whatever the account is a member of; ``gid`` is added.
    """
    if uid == 0 or gid == 0 or 0 in groups:
        raise CannotDrop("root is not given up by becoming root")
    # The kernel's ids belong to threads. The C library changes those of all that it knows; one that a library started in its own way would
    # stay root, and no_new_privs is the calling thread's alone.
    if len(os.listdir("/proc/self/task")) != 1:
        raise CannotDrop("there are threads already")
    wanted = sorted({gid, *groups})
    try:
        bounded = _empty_bounding_set()
        os.setgroups(wanted)
        _prctl(_PR_SET_KEEPCAPS, 0)
        os.setresgid(gid, gid, gid)
        os.setresuid(uid, uid, uid)
        _no_capabilities()
        _prctl(_PR_SET_NO_NEW_PRIVS, 1)
        # What is in our memory is nobody's to read: no core file, and no debugger of the same uid.
        _prctl(_PR_SET_DUMPABLE, 0)
    except OSError as error:
        raise CannotDrop(f"cannot become uid {uid}: {error.strerror}") from error
    _verify(uid, gid, frozenset(wanted), bounded)


def mail_group() -> list[int]:
    """The group besides its own that whoever writes into users' mailboxes has: ``mail``, or none where this machine has no such group."""
    try:
        return [grp.getgrnam("mail").gr_gid]
    except KeyError:
        return []


@contextmanager
def acting_as(uid: int, gid: int, groups: Sequence[int] = ()) -> Iterator[None]:
    """Have the effective ids of ``uid`` for a while, so that files that are made are theirs, and no link leads further than they may go.

    Before the first thread, for root; anybody else stays who they are. OSError; CannotDrop, and then the process must end.
    """
    if os.geteuid() != 0:
        yield
        return
    our_gid, our_groups = os.getegid(), os.getgroups()
    os.setgroups(sorted({gid, *groups}))
    try:
        os.setegid(gid)
        os.seteuid(uid)
        yield
    finally:
        try:
            os.seteuid(0)
            os.setegid(our_gid)
            os.setgroups(our_groups)
        except OSError as error:
            raise CannotDrop(f"cannot be root again: {error.strerror}") from error


def _verify(uid: int, gid: int, groups: frozenset[int], bounded: bool) -> None:
    now = Rights.of()
    if now.uids != (uid,) * 4 or now.gids != (gid,) * 4 or now.groups != groups:
        raise CannotDrop(f"the kernel says otherwise: uid {now.uids}, gid {now.gids}, groups {sorted(now.groups)}")
    left = [name for name in now.capabilities if bounded or name != "CapBnd"]
    if left or not now.no_new_privileges:
        raise CannotDrop(f"something is left of root's rights: {', '.join(left) or 'no_new_privs is not set'}")
    undoing: tuple[Callable[[], None], ...] = (
        lambda: os.setresuid(0, 0, 0),
        lambda: os.setresgid(0, 0, 0),
        lambda: os.setgroups([0]),
    )
    for undo in undoing:
        try:
            undo()
        except PermissionError:
            continue
        raise CannotDrop("it can be undone")


def _empty_bounding_set() -> bool:
    """False where we may not (no CAP_SETPCAP, as in some containers): with no_new_privs nothing can come of what is left in it."""
    with open("/proc/sys/kernel/cap_last_cap", encoding="ascii") as file:
        last = int(file.read())
    for capability in range(last + 1):
        if _prctl(_PR_CAPBSET_READ, capability):
            try:
                _prctl(_PR_CAPBSET_DROP, capability)
            except PermissionError:
                return False
    return True


def _no_capabilities() -> None:
    """They went with the uid, but for what securebits may have kept, and the inheritable ones."""
    _prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL)
    header = ctypes.create_string_buffer(struct.pack("Ii", _CAPABILITY_VERSION_3, 0))
    _checked(_LIBC.capset(header, ctypes.create_string_buffer(24)))


def be_called(name: bytes) -> None:
    """By ps and top: copies of one process would all be called alike. 15 octets are seen."""
    text = ctypes.create_string_buffer(name)
    _prctl(_PR_SET_NAME, ctypes.addressof(text))


def end_with_parent() -> None:
    """By SIGKILL, when it ends: nobody else would hear of our end, or of its if it hangs. Not for one that has ended already."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _prctl(option: int, *arguments: int) -> int:
    numbers = [ctypes.c_ulong(number) for number in (*arguments, 0, 0, 0, 0)[:4]]
    return _checked(_LIBC.prctl(ctypes.c_int(option), *numbers))


def _checked(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result
