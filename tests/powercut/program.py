"""``python -m tests.powercut.program …`` is ``python -m twisted …`` with a name for each sync that it asks for, in the record.

The name is the file and function of the one who called, ``spool/incoming.py:sync``, with `` (folder)`` behind it where it is a
folder that is synced. What SQLite asks for has none.
"""

from __future__ import annotations

import ctypes
import os
import runpy
import stat
import sys
from collections.abc import Callable

# Those who only do it for others are passed over.
_FOR_OTHERS = ("mailbox/disk.py", "spool/folder.py")


def _named(sync: Callable[[int], None], label: Callable[[bytes], None]) -> Callable[[int], None]:
    def call(fd: int) -> None:
        frame = sys._getframe(1)
        while frame.f_back is not None and frame.f_code.co_filename.endswith(_FOR_OTHERS):
            frame = frame.f_back
        file = frame.f_code.co_filename.rpartition("/lanmail/")[2]
        kind = " (folder)" if stat.S_ISDIR(os.fstat(fd).st_mode) else ""
        label(f"{file}:{frame.f_code.co_name}{kind}".encode())
        sync(fd)

    return call


def name_syncs() -> None:
    label = ctypes.CDLL(None).recorder_label
    os.fsync = _named(os.fsync, label)  # type: ignore[assignment]
    os.fdatasync = _named(os.fdatasync, label)


if __name__ == "__main__":
    name_syncs()
    runpy.run_module("twisted", run_name="__main__", alter_sys=True)
