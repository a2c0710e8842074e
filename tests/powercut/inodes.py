"""Files under the inodes that they had before the cut, which a copy cannot have. What this imports, a process may have before all else."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from typing import Any

_BEYOND_THE_TEN = (
    "st_atime",
    "st_mtime",
    "st_ctime",
    "st_atime_ns",
    "st_mtime_ns",
    "st_ctime_ns",
    "st_blksize",
    "st_blocks",
)


def keep_inodes(inodes: Mapping[int, int], other_device: bool) -> None:
    """In this process, files have the inode that stands behind theirs; all are on another device if asked for."""

    def patched(real: Callable[..., os.stat_result]) -> Callable[..., os.stat_result]:
        def look(*args: Any, **kwargs: Any) -> os.stat_result:
            found = real(*args, **kwargs)
            plain = list(found[:10])
            plain[1] = inodes.get(found.st_ino, found.st_ino)
            plain[2] += other_device
            return os.stat_result(plain, {name: getattr(found, name) for name in _BEYOND_THE_TEN})

        return look

    for name in ("stat", "lstat", "fstat"):
        setattr(os, name, patched(getattr(os, name)))


def tell(file: str, inodes: Mapping[int, int], other_device: bool) -> None:
    """What ``keep_told`` is to keep."""
    with open(file, "w", encoding="ascii") as out:
        json.dump([list(inodes.items()), other_device], out)


def keep_told(file: str) -> None:
    """``keep_inodes``, of what ``tell`` wrote there."""
    with open(file, encoding="ascii") as told:
        inodes, other_device = json.load(told)
    keep_inodes(dict(inodes), other_device)
