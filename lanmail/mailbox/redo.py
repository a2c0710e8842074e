"""The redo journal of an expunge as a file: its plan, its two slots, and the note of the cut. ``expunge.py`` says what it is for."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable, Iterator

from lanmail.mailbox.disk import Disk
from lanmail.mailbox.plan import CHUNK, Plan

_BLOCK = 4096  # the parts of the journal begin on blocks, so that writing one cannot tear another

_MAGIC = b"lanmail expunge\n"
_HEAD = struct.Struct("<16sQ16s")  # magic, octets of the plan, digest of the plan
_SLOT = struct.Struct("<Q16s")  # number of the step, digest of number and octets


class Unreadable(Exception):
    """The journal is not whole. It was synced before it got its name, so this is damage and not a crash."""


class Journal:
    """The open journal file. ``path`` is its name now."""

    def __init__(self, disk: Disk, fd: int, path: str, plan: Plan) -> None:
        self.plan = plan
        self.path = path
        self._disk = disk
        self._fd = fd
        self._cut = _blocks(_HEAD.size + len(plan.written()))
        self._slots = self._cut + _BLOCK
        self._slot_size = _BLOCK + _blocks(plan.window)
        self._size = self._slots + self._slot_size * min(2, plan.steps)

    @classmethod
    def make(cls, disk: Disk, path: str, plan: Plan) -> Journal:
        """A new one with its plan, all its space reserved, not synced."""
        journal = cls(disk, disk.open(path, create=True), path, plan)
        try:
            disk.reserve(journal._fd, journal._size)
            text = plan.written()
            disk.write(journal._fd, _HEAD.pack(_MAGIC, len(text), _hash(text)) + text, 0)
        except BaseException:
            journal.close()
            raise
        return journal

    @classmethod
    def open(cls, disk: Disk, path: str) -> Journal:
        """Raises FileNotFoundError, Unreadable, OSError."""
        fd = disk.open(path, create=False)
        try:
            head = disk.read(fd, _HEAD.size, 0)
            if len(head) < _HEAD.size:
                raise Unreadable
            magic, length, digest = _HEAD.unpack(head)
            if magic != _MAGIC or length > disk.size(fd):
                raise Unreadable
            text = disk.read(fd, length, _HEAD.size)
            if _hash(text) != digest:
                raise Unreadable
            try:
                return cls(disk, fd, path, Plan.read(text))
            except (KeyError, TypeError, ValueError) as error:  # of another version
                raise Unreadable from error
        except BaseException:
            disk.close(fd)
            raise

    def _slot(self, step: int) -> int:
        return self._slots + step % 2 * self._slot_size

    def note(self, step: int, octets: Iterable[bytes]) -> None:
        """Put a step into its slot; not synced."""
        digest = self._step_digest(step)
        at = self._slot(step) + _BLOCK
        for chunk in octets:
            self._disk.write(self._fd, chunk, at)
            digest.update(chunk)
            at += len(chunk)
        self._disk.write(self._fd, _SLOT.pack(step, digest.digest()), self._slot(step))

    def octets(self, step: int) -> Iterator[bytes]:
        """The octets of a step that was noted."""
        start, end = self.plan.span(step)
        at = self._slot(step) + _BLOCK
        for offset in range(0, end - start, CHUNK):
            yield self._disk.read(self._fd, min(CHUNK, end - start - offset), at + offset)

    def newest(self) -> int:
        """The highest step whose slot is whole; -1 where there is none."""
        found = [-1]
        for parity in range(min(2, self.plan.steps)):
            head = self._disk.read(self._fd, _SLOT.size, self._slot(parity))
            if len(head) < _SLOT.size:
                continue
            step, noted = _SLOT.unpack(head)
            if step >= self.plan.steps or step % 2 != parity:
                continue
            digest = self._step_digest(step)
            for chunk in self.octets(step):
                digest.update(chunk)
            if digest.digest() == noted:
                found.append(step)
        return max(found)

    def _step_digest(self, step: int) -> hashlib.blake2b:
        # Keyed: blocks of an older journal that a power cut may bring back prove nothing.
        return hashlib.blake2b(struct.pack("<Q", step), key=self.plan.secret, digest_size=16)

    def note_cut(self) -> None:
        """Everything is moved and the mark is in place; synced."""
        self._disk.write(self._fd, self.plan.secret, self._cut)
        self.sync()

    @property
    def cut_noted(self) -> bool:
        """Whether the file may have been cut off."""
        return self._disk.read(self._fd, len(self.plan.secret), self._cut) == self.plan.secret

    def settle(self) -> None:
        """Have on stable storage what the journal says.

        After an fsync that failed, the system shows octets as written that are not on the disk, and a second fsync would not
        write them. So they are written once more. Where they are there already, the same over the same cannot tear.
        """
        for offset in range(0, self._disk.size(self._fd), CHUNK):
            self._disk.write(self._fd, self._disk.read(self._fd, CHUNK, offset), offset)
        self.sync()
        self._disk.sync_folder(self.path)

    def sync(self) -> None:
        """What was noted is on stable storage."""
        self._disk.sync(self._fd)

    def rename(self, path: str) -> None:
        """Give it another name, which replaces what had it; synced."""
        self._disk.rename(self.path, path)
        self.path = path
        self._disk.sync_folder(path)

    def remove(self) -> None:
        """It is over; synced, because a journal that came back would find a mailbox that has gone on living."""
        self._disk.remove(self.path)
        self._disk.sync_folder(self.path)

    def close(self) -> None:
        """Close the file."""
        self._disk.close(self._fd)


def _hash(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=16).digest()


def _blocks(octets: int) -> int:
    return -(-octets // _BLOCK) * _BLOCK
