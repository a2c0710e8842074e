"""A message while it comes in: small ones in memory, large ones in a file, already in the form that a mailbox has.

Nothing here lasts by itself: a file that no row of the journal names belongs to a message that nobody was told about.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import threading
from collections.abc import Awaitable, Callable, Collection, Iterator

from lanmail.interfaces import InThread, Report
from lanmail.mailbox.disk import Extent
from lanmail.mailbox.mbox import Quoting
from lanmail.message import TopHeader
from lanmail.spool.folder import Folder
from lanmail.status import Status, TemporaryFailure

# Up to this many octets a message stays in memory, and then in the journal's row. Most mail is smaller, and a thousand clients may be at it
# at once. A row is cheaper than a file with its two flushes up to 200 KiB or so (docs/queue.md has the numbers): memory sets the limit.
IN_MEMORY = 64 * 1024
# Pieces that are written to the file, or read from it, have about this many octets: a thread costs 50 µs each time.
PIECE = 128 * 1024
# What is copied from file to file at once, between two looks at the mailbox and its lock.
EXTENT = 4 * 1024 * 1024

_FULL = frozenset((errno.ENOSPC, errno.EDQUOT, errno.EFBIG))


def storage_failure(error: OSError) -> TemporaryFailure:
    """What a client is told when a disk does not do its work."""
    if error.errno in _FULL:
        return TemporaryFailure(Status(452, "4.3.1", "Insufficient system storage"))
    return TemporaryFailure(Status(451, "4.3.0", "Error: queue file write error"))


def opened(path: str, flags: int) -> int:
    """A file of the incoming folder. OSError.

    No link is followed, in the file's place or the folder's: we may be root, and whoever became the owner of what the folder lies in
    would have us write mail into a folder of root's, or read what only root may.
    """
    folder, name = os.path.split(path)
    inside = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        return os.open(name, flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=inside)
    finally:
        os.close(inside)


class Content:
    """The text of a whole message as it will stand in every mailbox, behind what each copy has of its own.

    LF line ends, quoted, with the empty line at its end. ``memory`` is all of it where ``name`` is None; otherwise it is the
    file of that name in the incoming folder. Its methods block.
    """

    def __init__(self, size: int, memory: bytes = b"", name: str | None = None, path: str = "") -> None:
        self.size = size
        self.memory = memory
        self.name = name
        self.path = path
        self.kept = False
        """The journal answers for the file, and removes it with the message."""

    def pieces(self) -> Iterator[bytes]:
        """From the start, as often as it is asked. OSError, also where the file is shorter than it should be."""
        if self.name is None:
            yield self.memory
            return
        with self._open() as fd:
            position = 0
            while position < self.size:
                piece = os.pread(fd, min(PIECE, self.size - position), position)
                if not piece:
                    raise OSError(errno.EIO, "a message's file has lost its end", self.path)
                position += len(piece)
                yield piece

    def extents(self) -> Iterator[bytes | Extent]:
        """The same for whoever can copy from file to file. Each Extent is there until the next is asked for."""
        if self.name is None:
            yield self.memory
            return
        with self._open() as fd:
            for position in range(0, self.size, EXTENT):
                yield Extent(fd, position, min(EXTENT, self.size - position))

    @contextlib.contextmanager
    def _open(self) -> Iterator[int]:
        fd = opened(self.path, os.O_RDONLY | os.O_NONBLOCK)
        try:
            if (found := os.fstat(fd)).st_nlink > 1 or not stat.S_ISREG(found.st_mode):
                raise OSError(errno.EIO, "a message's file is a link or something else", self.path)
            yield fd
        finally:
            os.close(fd)

    def discard(self) -> None:
        """Remove the file, where there is one and nobody keeps it. May be called more than once; never raises."""
        if self.name is not None and not self.kept:
            with contextlib.suppress(OSError):  # a file that stays is swept at the next start
                os.unlink(self.path)


class IncomingFolder(Folder):
    """``<state>/incoming``. One file for each large message, named by its queue id."""

    def __init__(self, path: str, in_thread: InThread, report: Report) -> None:
        super().__init__(path)
        self.in_thread = in_thread
        self.report = report

    def path_of(self, name: str) -> str:
        assert name and "/" not in name and not name.startswith(".")
        return os.path.join(self.path, name)

    def sync(self, content: Content) -> None:
        """The file of this content, and its name, are on stable storage. Blocks; OSError."""
        if content.name is None:
            return
        fd = opened(content.path, os.O_RDONLY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
        self.sync_names()

    def sweep(self, names: Collection[str]) -> int:
        """Remove these files, which a crash left; how many went. Blocks."""
        swept = 0
        for name in names:
            try:
                os.unlink(name, dir_fd=self._folder)
                swept += 1
            except FileNotFoundError:
                pass
            except OSError as error:
                self.report(
                    "warning: cannot remove {path}: {reason}", path=os.path.join(self.path, name), reason=error.strerror
                )
        return swept


class IncomingMessage:
    """interfaces.Incoming: takes a message's text, gives the whole to ``deliver``.

    top: filters the header, and knows it afterwards. deliver: puts the content where it goes and returns the queue id, or
    raises DeliveryFailure; then the content is gone, unless it is ``kept``.
    """

    def __init__(
        self, folder: IncomingFolder, queue_id: str, top: TopHeader, deliver: Callable[[Content], Awaitable[str]]
    ) -> None:
        self._folder = folder
        self._queue_id = queue_id
        self._top = top
        self._deliver = deliver
        self._quoting = Quoting()
        self._waiting: list[bytes] = []  # what is not in the file yet
        self._waiting_size = 0
        self._size = 0
        self._file: _GrowingFile | None = None
        self._trouble: OSError | None = None
        self._over = False

    async def write(self, chunk: bytes) -> None:
        self._take(self._quoting.feed(self._top.feed(chunk)))
        if self._waiting_size > (IN_MEMORY if self._file is None else PIECE):
            await self._flush()

    async def commit(self) -> str:
        assert not self._over
        self._over = True
        rest = self._top.finish()
        self._take((self._quoting.feed(rest) if rest else b"") + self._quoting.finish())
        if self._file is not None:
            await self._flush()
        if self._trouble is not None:
            self._folder.report(
                "warning: {id}: cannot write {path}: {reason}",
                id=self._queue_id,
                path=self._folder.path_of(self._queue_id),
                reason=self._trouble.strerror,
            )
            self._throw_away()
            raise storage_failure(self._trouble)
        if self._file is None:
            content = Content(self._size, b"".join(self._waiting))
        else:
            content = Content(self._size, name=self._queue_id, path=self._file.path)
            self._file.close()
        self._waiting.clear()
        try:
            return await self._deliver(content)
        finally:
            if content.name is not None:
                await self._folder.in_thread(content.discard)

    def abort(self) -> None:
        self._over = True
        self._throw_away()

    def _take(self, text: bytes) -> None:
        # After an error, and after the end, there is nothing to keep it for; the client still says all it has to say.
        if text and self._trouble is None:
            self._waiting.append(text)
            self._waiting_size += len(text)
            self._size += len(text)

    async def _flush(self) -> None:
        pieces, self._waiting, self._waiting_size = self._waiting, [], 0
        if self._trouble is not None:
            return
        if self._file is None:
            self._file = _GrowingFile(self._folder.path_of(self._queue_id))
        try:
            await self._folder.in_thread(self._file.write, pieces)
        except OSError as error:
            self._trouble = error
            self._waiting.clear()

    def _throw_away(self) -> None:
        self._waiting.clear()
        self._waiting_size = 0
        if self._file is not None:
            # Nobody waits for it. It runs behind a write that is still under way, and nothing is written after it.
            self._folder.in_thread(self._file.remove)


class _GrowingFile:
    """The file of a large message, made at the first write. Every method may be called from any thread."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._mutex = threading.Lock()
        self._fd: int | None = None
        self._removed = False

    def write(self, pieces: list[bytes]) -> None:
        """All of it. OSError."""
        with self._mutex:
            if self._removed:
                return
            if self._fd is None:
                self._fd = opened(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
            view = memoryview(b"".join(pieces))
            while view:
                view = view[os.write(self._fd, view) :]

    def close(self) -> None:
        """Written, to be read from now on."""
        with self._mutex:
            if self._fd is not None:
                os.close(self._fd)
                self._fd = None

    def remove(self) -> None:
        """Written for nothing. Never raises."""
        with self._mutex:
            if self._removed:
                return
            self._removed = True
            if self._fd is not None:
                # Without a descriptor there is no file of ours: O_EXCL found another one there.
                with contextlib.suppress(OSError):
                    os.unlink(self.path)
                os.close(self._fd)
                self._fd = None
