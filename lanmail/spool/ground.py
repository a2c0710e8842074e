"""Whether the promise can hold where a folder lies: not every file system keeps what was flushed, or has locks that lock.

What is known of its kind comes from mountinfo (proc(5)); what can be tried is tried. Nothing here refuses anything: it is said, and whoever
put the folder there may know better.
"""

from __future__ import annotations

import errno
import mmap
import os
import re
import secrets
from contextlib import suppress

from lanmail.mailbox.locks import MailboxBusy, lock_kernel

MOUNTINFO = "/proc/self/mountinfo"

_IN_MEMORY = frozenset(("tmpfs", "ramfs", "rootfs", "devtmpfs"))
_FROM_ELSEWHERE = frozenset(
    (
        "nfs",
        "nfs4",
        "cifs",
        "smb3",
        "smbfs",
        "9p",
        "virtiofs",
        "ceph",
        "afs",
        "ncpfs",
        "coda",
        "lustre",
        "vboxsf",
        "vmhgfs",
        "prl_fs",
    )
)
_WITHOUT_OWNERS = frozenset(("vfat", "msdos", "exfat", "ntfs", "ntfs3", "fuseblk"))


def doubts(path: str, mountinfo: str = MOUNTINFO) -> list[str]:
    """Sentences for a warning, one for each reason; none where the folder will do. Blocks for a flush of the disk. Never raises.

    A folder that is not there yet, or not ours to write in, is judged by its file system alone.
    """
    kind = _kind_at(path, mountinfo)
    found = []
    if kind in _IN_MEMORY:
        found.append(
            f"{path} is in memory ({kind}): mail that was taken in is lost when the power fails or the machine starts anew"
        )
    elif kind in _FROM_ELSEWHERE or kind == "fuse" or kind.startswith("fuse."):
        found.append(
            f"{path} is on a file system of another machine or program ({kind}): neither its locks nor its flushes can be relied on;"
            " give queue_directory a local disk"
        )
    elif kind in _WITHOUT_OWNERS:
        found.append(
            f"{path} is on a file system without owners and rights ({kind}): who else may read the mail, nobody can say"
        )
    return found + _tried(path)


def _kind_at(path: str, mountinfo: str) -> str:
    """The type of the file system there; empty where it cannot be known."""
    path = os.path.realpath(path)
    best, kind = "", ""
    try:
        with open(mountinfo, encoding="utf-8", errors="surrogateescape") as file:
            for line in file:
                fields, separated, rest = line.partition(" - ")
                if not separated or len(fields.split(" ")) < 5:
                    continue
                place = _unescaped(fields.split(" ")[4])
                # What is mounted later on the same place covers what was there.
                if len(place) >= len(best) and (path == place or path.startswith(place.rstrip("/") + "/")):
                    best, kind = place, rest.split(" ")[0]
    except OSError:
        return ""
    return kind


def _unescaped(place: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), place)


def _tried(folder: str) -> list[str]:
    name = os.path.join(folder, f"probe-{secrets.token_hex(8)}")
    flags = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        first = os.open(name, flags | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError:
        return []  # whoever needs the folder will say why
    try:
        second = os.open(name, flags)
        try:
            return [f"{folder}: {sentence}" for sentence in _faults(folder, first, second)]
        finally:
            os.close(second)
    except OSError as error:
        return [f"{folder}: a file just made in it cannot be opened: {error.strerror}"]
    finally:
        os.close(first)
        with suppress(OSError):
            os.unlink(name)


def _faults(folder: str, first: int, second: int) -> list[str]:
    found = []
    for name, flock in (("fcntl", False), ("flock", True)):
        fault = _lock_fault(folder, first, second, flock=flock)
        if fault:
            found.append(f"locks ({name}) do not work there: {fault}")
    try:
        # Real octets: where a full disk has none to give, a page of memory over them must not be touched (SIGBUS).
        os.pwrite(first, bytes(mmap.PAGESIZE), 0)
        os.fsync(first)
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return found  # that is another trouble, and whoever needs the room will say so
        found.append(f"what is written there cannot be flushed (fsync): {error.strerror}")
        return found
    try:
        with mmap.mmap(first, mmap.PAGESIZE) as one, mmap.mmap(second, mmap.PAGESIZE) as other:
            one[0] = 1
            if other[0] != 1:
                found.append("memory cannot be shared through a file there (mmap), and the journal needs that")
    except (OSError, ValueError) as error:
        found.append(f"memory cannot be shared through a file there (mmap), and the journal needs that: {error}")
    return found


def _lock_fault(folder: str, first: int, second: int, *, flock: bool) -> str:
    try:
        lock_kernel(first, folder, ofd=not flock, flock=flock)
    except MailboxBusy:
        return "one is refused that nobody else has"
    except OSError as error:
        return str(error.strerror)
    try:
        lock_kernel(second, folder, ofd=not flock, flock=flock)
    except MailboxBusy:
        return ""
    except OSError as error:
        return str(error.strerror)
    return "two can have the same one"
