"""The text of a message of our own, made content that the journal takes: quoted for a mailbox, in memory or in a flushed file."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable

from lanmail.mailbox.mbox import quoted
from lanmail.spool.incoming import IN_MEMORY, Content, IncomingFolder, opened, storage_failure


def written(folder: IncomingFolder, queue_id: str, text: Iterable[bytes]) -> Content:
    """text: LF line ends, cut anywhere. A file is on stable storage, and is the caller's to ``discard`` where the journal does not take it.

    Blocks. Raises TemporaryFailure where the disk fails, and what ``text`` raises; then there is no file.
    """
    small: list[bytes] = []
    size = 0
    pieces = quoted(text)
    try:
        for piece in pieces:
            small.append(piece)
            size += len(piece)
            if size > IN_MEMORY:
                break
        else:
            return Content(size, b"".join(small))
        return _file(folder, queue_id, small, pieces)
    except OSError as error:
        folder.report("warning: {id}: cannot make a report: {reason}", id=queue_id, reason=error.strerror or error)
        raise storage_failure(error) from error


def _file(folder: IncomingFolder, queue_id: str, first: Iterable[bytes], rest: Iterable[bytes]) -> Content:
    path = folder.path_of(queue_id)
    fd = opened(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    try:
        os.fchmod(fd, 0o600)
        size = sum(_write(fd, piece) for pieces in (first, rest) for piece in pieces)
        os.fsync(fd)
        folder.sync_names()
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(path)
        raise
    finally:
        os.close(fd)
    return Content(size, name=queue_id, path=path)


def _write(fd: int, piece: bytes) -> int:
    view = memoryview(piece)
    while view:
        view = view[os.write(fd, view) :]
    return len(piece)
