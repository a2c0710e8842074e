"""The program of helpers that open what only root may, and hand the descriptor over: users' mailboxes, and files fixed at the start.

No path comes over the channel: a mailbox's is made here from the name of a real user, a file is said by its number.
"""

from __future__ import annotations

import errno
import os
import signal
import socket
import struct
import threading
from dataclasses import dataclass

from lanmail.accounts import helper
from lanmail.accounts.helper import Names
from lanmail.accounts.names import is_login_name
from lanmail.mailbox.locks import MailboxBusy, MailboxFailure, MailboxUnsafe, lock_kernel
from lanmail.mailbox.opening import create_mailbox, open_mailbox
from lanmail.rights import channel
from lanmail.rights.channel import Frame, Noise
from lanmail.rights.duties import BadDuties, Duties
from lanmail.rights.trusted import Untrusted, open_trusted

CHANNEL = helper.REQUESTS
SPARE = 1
"""Seconds without a question after which an opener ends: the next is there in a millisecond, as a copy of the parent."""
ROOT = "root"

OPEN = b"O"  # name, uid → OPENED with the mailbox; or one of the others below
CREATE = b"C"  # name, uid → the same, new, and locked as the duties say
FILE = b"F"  # the file's place in Duties.files → OPENED with it; or FAILED; or NOT_ROOTS

OPENED = b"+"
BUSY = b"b"  # whoever holds it
UNSAFE = b"u"  # a sentence
FAILED = b"f"  # errno, and what could not be done
NOBODY = b"n"  # a sentence: the guard knows no such user
NOT_ROOTS = b"r"  # a sentence: whoever asks may try with rights of their own


@dataclass(frozen=True, slots=True)
class _Owner:
    name: str
    uid: int
    gid: int


class Opener:
    """Answers, as root."""

    def __init__(self, duties: Duties, names: Names) -> None:
        self._duties = duties
        self._names = names

    def answer(self, asked: Frame) -> tuple[bytes, list[bytes], int | None]:
        """Kind and fields of the answer, and a descriptor to go with it. Noise."""
        try:
            match asked.kind, [*asked.fields]:
                case (b"O" | b"C") as kind, [name, uid]:
                    return self._mailbox(kind, name, uid)
                case b"F", [number] if number.isdigit() and len(number) < 5 and int(number) < len(self._duties.files):
                    return OPENED, [], open_trusted(self._duties.files[int(number)])
        except Untrusted as reason:
            return NOT_ROOTS, [_octets(str(reason))], None
        except MailboxBusy as busy:
            return BUSY, [_octets(busy.holder)], None
        except MailboxUnsafe as unsafe:
            return UNSAFE, [_octets(unsafe.detail)], None
        except MailboxFailure as failure:
            cause = failure.__cause__
            number_ = cause.errno if isinstance(cause, OSError) and cause.errno else errno.EIO
            return FAILED, [b"%d" % number_, _octets(failure.detail)], None
        except OSError as error:
            return FAILED, [b"%d" % (error.errno or errno.EIO), _octets(str(error.strerror or error))], None
        raise Noise("a request of no kind that is known here")

    def _mailbox(self, kind: bytes, name: bytes, uid: bytes) -> tuple[bytes, list[bytes], int | None]:
        duties = self._duties
        owner = self._owner(name, uid)
        if owner is None:
            return NOBODY, [b"the guard knows no user of that name and uid with a mailbox"], None
        path = os.path.join(duties.spool, owner.name)
        # The folder is found anew each time: another may have been mounted there.
        try:
            folder = os.open(duties.spool, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:  # one that is missing is somebody's mistake, and not a user without mail
            return FAILED, [b"%d" % errno.EIO, _octets(f"{error.strerror}: {duties.spool}")], None
        try:
            if kind == OPEN:
                return OPENED, [], open_mailbox(folder, path, owner, {owner.uid}, duties.group)
            lock = lambda fd: lock_kernel(fd, path, ofd=duties.fcntl, flock=duties.flock)  # noqa: E731
            return OPENED, [], create_mailbox(folder, path, owner, duties.group, lock)
        finally:
            os.close(folder)

    def _owner(self, octets: bytes, uid: bytes) -> _Owner | None:
        """Whom the name service has by exactly this name and uid, if they have a mailbox here: a person, or root."""
        try:
            name = octets.decode("ascii")
        except UnicodeDecodeError:
            raise Noise("not a name") from None
        if not is_login_name(name) or not uid.isdigit():
            raise Noise("not a name")
        entry = self._names.entry(octets)
        if entry is None or entry[0] != octets or b"%d" % entry[1] != uid:
            return None
        if not (self._duties.is_person(entry[1]) or (name == ROOT and entry[1] == 0)):
            return None
        return _Owner(name, entry[1], entry[2])


def _octets(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")[:2000]


def main(arguments: list[str]) -> int:
    """arguments: the seconds that one answer may take."""
    os.setsid()
    os.chdir("/")
    os.umask(0o077)
    os.close(helper.ANSWERS)  # the same socket as CHANNEL
    os.set_inheritable(CHANNEL, False)
    threading.Thread(target=helper.end_with_the_channel, daemon=True).start()
    sock = socket.socket(fileno=CHANNEL)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("@ll", SPARE, 0))
    try:
        opener = Opener(Duties.of(b"".join(channel.receive(sock).fields)), Names())
        while True:
            asked = channel.receive(sock)
            asked.close()
            signal.setitimer(signal.ITIMER_REAL, float(arguments[0]))
            kind, fields, fd = opener.answer(asked)
            signal.setitimer(signal.ITIMER_REAL, 0)
            channel.send(sock, kind, *fields, descriptors=[] if fd is None else [fd])
            if fd is not None:
                os.close(fd)
    except (EOFError, BlockingIOError):
        return 0
    except (Noise, BadDuties, OSError):
        return 1
