"""The journal as a file: how it is made, checked and opened, and what its errors mean to others."""

from __future__ import annotations

import errno
import os
import sqlite3
import stat
from contextlib import suppress
from urllib.parse import quote

from lanmail.mailbox.disk import SYSTEM
from lanmail.spool.incoming import storage_failure
from lanmail.spool.schema import Foreign, migrate
from lanmail.status import Status

# Up to this many octets the file is read through when it is opened. It is that small unless very much waits, and then a start should not
# take long; damage shows later.
_READ_THROUGH = 64 << 20
# Octets that the write-ahead log keeps when it begins anew. On a disk that is full these are where a delivered message's row can still
# be deleted.
_LOG_KEPT = 1 << 20
# Seconds that we wait for somebody who locks the file: an administrator with sqlite3.
_PATIENCE = 5.0
# Statements that stay prepared: each kind of row is inserted by up to fifty at a time, each number of rows being a statement.
_PREPARED = 256
# The last octets of the disk (an eighth of a small one) are for what must be written to let go of the mail that is here already: without
# them a queue that filled its disk could not even be emptied again. It is what the log, and writing the log into the database, can take.
_RESERVE = 16 << 20
# Octets that a disk must take before we believe that it works again.
_ROOM = 256 << 10


WRITE_ERROR = storage_failure(OSError(errno.EIO, "")).status


class JournalTrouble(Exception):
    """The journal cannot be opened; the text names the file, says why, and what an administrator can do."""


def connect(path: str) -> sqlite3.Connection:
    """The file, made where it is missing (0600, its folder's owner), its tables up to date. Raises JournalTrouble.

    Autocommit; nothing is checkpointed but by whoever asks; synchronous is FULL.
    """
    connection = None
    try:
        _own_file(path)
        connection = sqlite3.connect(
            path, timeout=_PATIENCE, isolation_level=None, check_same_thread=False, cached_statements=_PREPARED
        )
        # Before the first page is written; later it would need the whole file to be written anew.
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA wal_autocheckpoint = 0")
        connection.execute(f"PRAGMA journal_size_limit = {_LOG_KEPT}")
        connection.execute("PRAGMA synchronous = FULL")
        # Debian's SQLite overwrites all that it deletes, which is to write each body twice. FAST does so where it costs nothing.
        connection.execute("PRAGMA secure_delete = FAST")
        migrate(connection)
        if os.stat(path).st_size <= _READ_THROUGH:
            (found,) = connection.execute("PRAGMA quick_check(1)").fetchone()
            if found != "ok":
                raise JournalTrouble(_damaged(path, found))
        # Also where the file was there already: whoever made it may have been killed before he came to this.
        SYSTEM.sync_folder(path)
        return connection
    except BaseException as error:
        if connection is not None:
            with suppress(sqlite3.Error):
                connection.close()
        if isinstance(error, (Foreign, sqlite3.Error, OSError)):
            raise JournalTrouble(_why(path, error)) from error
        raise


def connect_to_read(path: str) -> sqlite3.Connection:
    """Beside the one that writes. Raises sqlite3.Error."""
    connection = sqlite3.connect(
        f"file:{quote(path)}?mode=ro", uri=True, timeout=_PATIENCE, isolation_level=None, check_same_thread=False
    )
    try:
        connection.execute("PRAGMA query_only = ON")
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def code_of(error: sqlite3.Error) -> int:
    """SQLite's primary result code; 0 where the error is not SQLite's own."""
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF


def is_disks(error: BaseException) -> bool:
    """Whether the disk, or the file, is to blame, and not what somebody wanted written."""
    return isinstance(error, OSError) or (isinstance(error, sqlite3.Error) and code_of(error) in _DISKS)


_DISKS = frozenset(
    (
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_CORRUPT,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_PROTOCOL,
        sqlite3.SQLITE_NOLFS,
        sqlite3.SQLITE_NOTADB,
    )
)


def status_of(path: str, error: BaseException) -> Status:
    """What a client is told of that trouble: 452 4.3.1 where there is no room, else 451 4.3.0. Blocks."""
    if isinstance(error, sqlite3.Error):
        if code_of(error) == sqlite3.SQLITE_FULL:
            return storage_failure(OSError(errno.ENOSPC, "")).status
        if code_of(error) == sqlite3.SQLITE_IOERR:
            # SQLite keeps to itself which error the system gave; a quota, or a lack of room found at the flush, is shown by trying.
            try:
                try_the_disk(path)
            except OSError as tried:
                return storage_failure(tried).status
    elif isinstance(error, OSError):
        return storage_failure(error).status
    return WRITE_ERROR


def try_the_disk(path: str) -> None:
    """Have something written and flushed beside the journal, and remove it. Blocks; OSError."""
    name = path + "-probe"
    with suppress(FileNotFoundError):
        os.unlink(name)  # a crash left it, or it is somebody's link to a file that is not ours to write
    fd = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        rest = memoryview(bytes(_ROOM))
        while rest:
            rest = rest[os.write(fd, rest) :]
        os.fsync(fd)
    finally:
        os.close(fd)
        os.unlink(name)


def need_room(path: str) -> None:
    """Raises OSError (ENOSPC) where the disk has too little left for more mail to come in. Blocks, but hardly."""
    found = os.statvfs(os.path.dirname(path) or ".")
    reserve = min(_RESERVE, found.f_blocks * found.f_frsize // 8)
    if found.f_bavail * found.f_frsize < reserve:
        raise OSError(errno.ENOSPC, f"less than {reserve >> 10} KiB are free on its disk")


def _own_file(path: str) -> None:
    """SQLite would follow a link, and take umask's mode. Raises OSError, JournalTrouble."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK, 0o600)
    try:
        owner = os.stat(os.path.dirname(path) or ".")
        _check(path, os.fstat(fd), owner.st_uid)
        for name in (path + "-wal", path + "-shm"):
            with suppress(FileNotFoundError):
                _check(name, os.lstat(name), owner.st_uid)
        os.fchmod(fd, 0o600)
        if os.geteuid() == 0:
            # The other two files take mode and owner from this one.
            os.fchown(fd, owner.st_uid, owner.st_gid)
    finally:
        os.close(fd)


def _check(path: str, found: os.stat_result, owner: int) -> None:
    if not stat.S_ISREG(found.st_mode) or found.st_nlink != 1:
        raise JournalTrouble(f"{path} is not a file of its own, but a link or something else; move it away")
    if found.st_uid not in (owner, os.geteuid()):
        raise JournalTrouble(
            f"{path} belongs to uid {found.st_uid}, and its folder to uid {owner}; give it to that one"
        )


def _why(path: str, error: Exception) -> str:
    if isinstance(error, Foreign):
        return f"{path}: {error}"
    if isinstance(error, OSError):
        return f"{path}: {os.strerror(error.errno or 0)}"
    if isinstance(error, sqlite3.Error) and code_of(error) in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return _damaged(path, str(error))
    if isinstance(error, sqlite3.Error) and code_of(error) == sqlite3.SQLITE_BUSY:
        return f"{path}: {error}: another program has it open; end it"
    return f"{path}: {error}"


def _damaged(path: str, reason: str) -> str:
    name = os.path.basename(path)
    return (
        f"{path} is damaged ({reason}); keep {name}, {name}-wal and {name}-shm together in another folder and start again:"
        f' what waited for its mailbox is in them, and "sqlite3 {name} .recover" shows what can be read'
    )
