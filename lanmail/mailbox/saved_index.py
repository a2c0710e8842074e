"""Indexes of large mailboxes on disk, so that a restart does not read every mailbox again. Deleting them costs only time."""

from __future__ import annotations

import os
import struct
import sys
from array import array
from hashlib import blake2b

from lanmail.mailbox.index import IDENTITY, SMALL, Index, Stamp

# Changes whenever what is in an index, or the rules by which it was read, change.
_TITLE = b"lanmail index 3 " + sys.byteorder.encode("ascii") + b"\n"

_HEAD = struct.Struct("=QQQqq??QqQI16s")
_ARRAYS = ("starts", "lines", "gaps", "octets", "flags")
_CHECK = 16
_NOTHING_AWAITED = -1


class SavedIndexes:
    """One file for each mailbox larger than 1 MiB, in ``folder``, which is ours alone."""

    def __init__(self, folder: str) -> None:
        self._folder = folder

    def load(self, name: str) -> Index | None:
        """The index kept under this name; None where there is none that can be used. index.refresh brings it up to date. Never raises.

        name: of the user, safe as the name of a file.
        """
        try:
            fd = os.open(self._path(name), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            with open(fd, "rb") as file:
                return _parse(file.read())
        except (OSError, ValueError, struct.error):
            return None

    def keep(self, name: str, index: Index) -> None:
        """Write it down where it is worth it, else remove what is there. Raises OSError, which is no reason to fail."""
        path = self._path(name)
        if index.size <= SMALL:
            try:
                os.unlink(path)
            except FileNotFoundError:
                pass
            return
        new = self._path(f".{name}.new")
        fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with open(fd, "wb") as file:
            os.fchmod(fd, 0o600)
            file.write(_written(index))
        # Not synced: what a power cut leaves of it fails its checksum.
        os.rename(new, path)

    def _path(self, name: str) -> str:
        return os.path.join(self._folder, name)


def _written(index: Index) -> bytes:
    stamp = index.stamp
    head = _HEAD.pack(
        stamp.device,
        stamp.inode,
        stamp.size,
        stamp.mtime_ns,
        stamp.ctime_ns,
        index.settled,
        index.glanced,
        index.end,
        _NOTHING_AWAITED if index.awaited is None else index.awaited,
        len(index),
        len(index.identities) // IDENTITY,
        index.witness,
    )
    body = b"".join((head, *(getattr(index, name).tobytes() for name in _ARRAYS), index.identities))
    return b"".join((_TITLE, blake2b(body, digest_size=_CHECK).digest(), body))


def _parse(data: bytes) -> Index:
    """Raises ValueError, struct.error."""
    title, check, body = data[: len(_TITLE)], data[len(_TITLE) : len(_TITLE) + _CHECK], data[len(_TITLE) + _CHECK :]
    if title != _TITLE or blake2b(body, digest_size=_CHECK).digest() != check:
        raise ValueError("not an index, or not whole")
    device, inode, size, mtime, ctime, settled, glanced, end, awaited, count, identified, witness = _HEAD.unpack_from(
        body
    )
    index = Index(Stamp(device, inode, size, mtime, ctime), settled=settled)
    index.end, index.witness, index.glanced = end, witness, glanced
    index.awaited = None if awaited == _NOTHING_AWAITED else awaited
    at = _HEAD.size
    for name in _ARRAYS:
        values: array[int] = getattr(index, name)
        length = count * values.itemsize
        values.frombytes(body[at : at + length])
        at += length
    index.total = sum(index.octets)
    index.identities = bytearray(body[at : at + identified * IDENTITY])
    return index
