"""The record of everything that programs did to some folders: how it is made (recorder.c, preloaded), and how it is read."""

from __future__ import annotations

import json
import os
import struct
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.live import need

SOURCE = Path(__file__).with_name("recorder.c")

# One head of recorder.c: kind, octets of two texts, process, inode, number, octets of data.
_HEAD = struct.Struct("<cxHHIQQQ")


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that was done. ``kind``, and what the other fields then say:

    C created ``path``. T a file without a name. D a folder ``path``. L the name ``path`` given to ``inode``. N ``path`` renamed to
    ``other``. U ``path`` removed. W ``data`` written at ``number``. Z cut or extended to ``number`` octets. A extended to at least
    ``number`` octets. S a sync begins, numbered ``number`` in its process; ``other``: who asked for it, where that is known. E it has
    ended. M a mark of whoever watches, in ``data``. X something whose effect is not known, named in ``other``.
    """

    kind: str
    process: int = 0
    inode: int = 0
    number: int = 0
    path: str = ""
    other: str = ""
    data: bytes = b""


def compiled(folder: str) -> str:
    """The recorder as a library, made in that folder. SkipTest where there is no compiler."""
    need("gcc")
    library = os.path.join(folder, "recorder.so")
    command = ["gcc", "-O2", "-Wall", "-Werror", "-shared", "-fPIC", "-o", library, str(SOURCE), "-ldl", "-lpthread"]
    subprocess.run(command, check=True)
    return library


def environment(library: str, folders: Sequence[str], record: str, *, sync: float, boot: str = "") -> dict[str, str]:
    """What a program is started with so that it is recorded. folders: resolved. sync: seconds that a sync of the disk takes.

    record: the file; empty: nothing is recorded, and syncs cost nothing but that time. boot: a file with the boot id that it sees.
    """
    variables = {
        "LD_PRELOAD": library,
        "RECORDER_FOLDERS": ":".join(folders),
        "RECORDER_SYNC": str(round(sync * 1_000_000)),
    }
    if record:
        variables["RECORDER_LOG"] = record
    if boot:
        variables["RECORDER_BOOT"] = boot
    return variables


def read(record: str) -> Iterator[Step]:
    """Every step, in order. What ends in the middle of a step, ends before it."""
    with open(record, "rb") as file:
        while len(head := file.read(_HEAD.size)) == _HEAD.size:
            kind, first, second, process, inode, number, size = _HEAD.unpack(head)
            rest = file.read(first + second + size)
            if len(rest) < first + second + size:
                return
            path, other = os.fsdecode(rest[:first]), os.fsdecode(rest[first : first + second])
            yield Step(kind.decode(), process, inode, number, path, other, rest[first + second :])


class Marks:
    """Lets whoever watches the programs write into their record what they were seen to do. May be used by any thread.

    A mark that follows from a step stands behind it: the step was written down before the program went on.
    """

    def __init__(self, record: str) -> None:
        self._fd = os.open(record, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def put(self, what: str, **facts: object) -> None:
        data = json.dumps({"what": what, **facts}).encode()
        head = _HEAD.pack(b"M", 0, 0, os.getpid(), 0, 0, len(data))
        assert os.write(self._fd, head + data) == len(head) + len(data)

    def close(self) -> None:
        os.close(self._fd)
