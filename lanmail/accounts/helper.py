"""The program that the guard's helper processes run: one request at a time, answered, until the channel closes.

What may hang or crash happens here: PAM's modules, the name service, and users' homes. It is started by its path, not as a part of
lanmail, or as a copy of the guard's parent, and imports next to nothing: it is quick to start (so a killed one is quick to replace) and
small. The guard imports it too, for the frames.

A frame is four octets of length (network order), one octet of kind, and fields, each behind two octets of length.
"""

from __future__ import annotations

import errno
import os
import select
import signal
import stat
import struct
import sys
import threading
import time
from collections.abc import Callable
from typing import Any, NoReturn

REQUESTS, ANSWERS = 3, 4
"""The channel's two file descriptors here. 0, 1 and 2 are /dev/null: modules print when they like."""

LONGEST_REQUEST = 4096
LONGEST_ANSWER = 65536
LONGEST_FORWARD = 16384  # octets of a .forward: five hundred addresses

CHECK_PASSWORD = b"P"  # name, password, the client's address → YES or NO with PAM's code in decimal
PRETEND = b"N"  # nothing → NO, after about as much work as a password takes
FIND_USER = b"U"  # name → YES with name, uid, gid, home; or NO
READ_FORWARD = b"F"  # name, uid, names of files → YES with a file's name and its text; NO; NO with its name and why it does not count

YES, NO = b"+", b"-"
TROUBLE = b"!"  # it cannot be known now; one field, a sentence for the log
BROKEN = b"*"  # the same, and the helper ends

# What PAM says when the fault is not the client's (security/_pam_types.h). Everything else that is not 0 is a no.
_LATER = {
    1: "open error",
    2: "symbol not found",
    3: "error in a module",
    4: "system error",
    5: "memory buffer error",
    8: "not enough rights to see the passwords",
    9: "cannot reach what knows the passwords",
    22: "lock busy",
    24: "try again",
    26: "abort",
    28: "no such module",
}
_PAM_RHOST = 4
_PAM_FAIL_DELAY = 10
_PAM_SILENT = 0x8000
_PAM_DISALLOW_NULL_AUTHTOK = 1


def frame(kind: bytes, *fields: bytes) -> bytes:
    """One frame. ValueError for a field of more than 65535 octets."""
    if any(len(field) > 0xFFFF for field in fields):
        raise ValueError("a field does not fit into a frame")
    body = kind + b"".join(struct.pack("!H", len(field)) + field for field in fields)
    return struct.pack("!I", len(body)) + body


def parts(body: bytes | bytearray | memoryview) -> tuple[bytes, list[bytes]]:
    """Kind and fields of a frame's body, without its four octets of length. ValueError for anything else."""
    octets = memoryview(body)
    if not octets:
        raise ValueError("an empty frame")
    fields: list[bytes] = []
    position = 1
    while position < len(octets):
        if position + 2 > len(octets):
            raise ValueError("a field without its length")
        (length,) = struct.unpack_from("!H", octets, position)
        position += 2
        if position + length > len(octets):
            raise ValueError("a field that ends behind its frame")
        fields.append(bytes(octets[position : position + length]))
        position += length
    return bytes(octets[:1]), fields


def load_pam(folder: str) -> None:
    """Read python-pam's program, for the copies of this process that will ask PAM; PAM's own library is loaded by each of them.

    Where it cannot be read, they say so.
    """
    if folder not in sys.path:
        sys.path.append(folder)
    try:
        import pam  # noqa: F401
    except Exception:  # noqa: S110
        pass


class Pam:
    """Passwords and accounts of one PAM service. Made once: loading the library takes longer than a question."""

    def __init__(self, service: bytes) -> None:
        import ctypes

        from pam import PamAuthenticator

        self._new: Callable[[], Any] = PamAuthenticator
        self._service = service
        self._ctypes = ctypes
        PamAuthenticator()
        # PAM sleeps two or three seconds after a failure, in whoever asked. Refusals are made late by the throttle instead,
        # where they hold nothing. A function of ours in this item takes the place of the sleep (pam_fail_delay(3)).
        self._no_delay = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_uint, ctypes.c_void_p)(lambda *_: None)

    def code(self, name: bytes, password: bytes, host: bytes) -> int:
        """PAM's code for this name and password, the account's expiry included; 0 is yes."""
        pam = self._new()
        start, authenticate = pam.pam_start, pam.pam_authenticate
        cast, c_void_p, c_char_p = self._ctypes.cast, self._ctypes.c_void_p, self._ctypes.c_char_p

        def start_quietly(service: bytes, user: bytes, conversation: Any, handle: Any) -> int:
            # python-pam offers no way to set these between pam_start and pam_authenticate, but it calls through its attributes.
            code = start(service, user, conversation, handle)
            if code == 0:
                pam.pam_set_item(handle._obj, _PAM_FAIL_DELAY, cast(self._no_delay, c_void_p))
                if host:
                    pam.pam_set_item(handle._obj, _PAM_RHOST, cast(c_char_p(host), c_void_p))
            return int(code)

        pam.pam_start = start_quietly
        # Debian's common-auth says nullok: without this flag, an account without a password opens to any password at all.
        pam.pam_authenticate = lambda handle, flags: authenticate(
            handle, flags | _PAM_SILENT | _PAM_DISALLOW_NULL_AUTHTOK
        )
        # latin-1 decodes whatever a module says; a message that does not decode would raise inside PAM's callback.
        # Without resetcreds=False modules like pam_group would change this process's own groups.
        pam.authenticate(name, password, self._service, encoding="latin-1", resetcreds=False)
        return int(pam.code)


def check_password(pam: Pam | None, fields: list[bytes]) -> bytes:
    name, password, host = fields
    if pam is None:
        return frame(TROUBLE, b"this helper was started without a PAM service")
    if b"\0" in name + password + host or not password:
        return frame(NO, b"7")
    code = pam.code(name, password, host)
    if code in _LATER:
        return frame(TROUBLE, f"PAM cannot say: {_LATER[code]} ({code})".encode())
    return frame(NO, b"%d" % code) if code else frame(YES)


def pretend() -> bytes:
    """Costs what a yescrypt hash costs by default, about 35 ms, so that under load an unknown name is no quicker to refuse."""
    import hashlib

    hashlib.scrypt(b"nobody", salt=b"nobody", n=1 << 14, r=8, p=1, maxmem=1 << 25)
    return frame(NO, b"10")


class Names:
    """The system's users, asked of the C library itself.

    Python's ``pwd`` says "not found" when the name service failed, and mail for everybody would be refused for ever while a
    directory server restarts. getpwnam_r(3) tells the two apart.
    """

    # "The given name was not found", in the words of the modules that there are (getpwnam(3), ERRORS).
    _NOBODY = (0, errno.ENOENT, errno.ESRCH, errno.EBADF, errno.EPERM)

    def __init__(self) -> None:
        import ctypes

        class Entry(ctypes.Structure):
            _fields_ = (
                ("name", ctypes.c_char_p),
                ("password", ctypes.c_char_p),
                ("uid", ctypes.c_uint32),
                ("gid", ctypes.c_uint32),
                ("comment", ctypes.c_char_p),
                ("home", ctypes.c_char_p),
                ("shell", ctypes.c_char_p),
            )

        self._ctypes = ctypes
        self._entry = Entry
        self._find = ctypes.CDLL(None).getpwnam_r
        self._find.argtypes = (ctypes.c_char_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p)

    def find(self, name: bytes) -> bytes:
        """The answer to FIND_USER."""
        try:
            entry = self.entry(name)
        except OSError as error:
            return frame(TROUBLE, f"the name service cannot say: {os.strerror(error.errno or 0)}".encode())
        if entry is None:
            return frame(NO)
        found, uid, gid, home = entry
        return frame(YES, found, b"%d" % uid, b"%d" % gid, home)

    def entry(self, name: bytes) -> tuple[bytes, int, int, bytes] | None:
        """Name, uid, gid and home; None where there is no such user. OSError where that cannot be known now."""
        if b"\0" in name:
            return None
        ctypes = self._ctypes
        entry, found = self._entry(), ctypes.c_void_p()
        room = 1024
        while True:
            buffer = ctypes.create_string_buffer(room)
            code = self._find(name, ctypes.byref(entry), buffer, room, ctypes.byref(found))
            if code != errno.ERANGE or room > 1 << 20:
                break
            room *= 4
        if found:
            return entry.name, entry.uid, entry.gid, entry.home or b""
        if code in self._NOBODY:
            return None
        raise OSError(code, os.strerror(code))


def read_forward(names: Names, fields: list[bytes]) -> bytes:
    """The answer to READ_FORWARD: the first of the files that is there, in the home of that name, read with its user's rights.

    The path is made here, from the name of a real user; root's own files are nobody's mail.
    """
    name, uid, *files = fields
    if not 0 < len(files) <= 2 or any(not f.startswith(b".forward") or b"/" in f or b"\0" in f for f in files):
        raise ValueError("not the names of .forward files")
    try:
        entry = names.entry(name)
    except OSError as error:
        return frame(TROUBLE, f"the name service cannot say: {os.strerror(error.errno or 0)}".encode())
    if entry is None:
        return frame(NO)  # removed just now, and soon forgotten by those who remember names
    if b"%d" % entry[1] != uid or entry[1] == 0:
        return frame(TROUBLE, b"this is no user of that uid any more")
    _, owner, group, home = entry
    if not home.startswith(b"/"):
        return frame(NO)
    try:
        return _with_rights_of(owner, group, lambda: _first_forward(home, files, owner))
    except OSError as error:
        return frame(TROUBLE, f"cannot read it: {error.strerror}".encode())


def _with_rights_of(uid: int, gid: int, work: Callable[[], bytes]) -> bytes:
    """Do what this user may do, with the user's own group alone (as Postfix's set_eugid does), and be who we were again.

    The C library sets these for every thread. OSError; RuntimeError, which ends the helper, where we cannot be ourselves again.
    """
    if os.geteuid() == uid:
        return work()
    us, our_group, our_groups = os.geteuid(), os.getegid(), os.getgroups()
    os.setgroups([gid])
    try:
        os.setegid(gid)
        os.seteuid(uid)
        return work()
    finally:
        try:
            os.seteuid(us)
            os.setegid(our_group)
            os.setgroups(our_groups)
        except OSError as error:
            raise RuntimeError("a user's rights stuck") from error


# A file that is not there, or that cannot be followed for a reason that does not pass by itself.
_NO_FILE = (errno.ENOENT, errno.ENOTDIR)
_NEVER = (errno.EACCES, errno.EPERM, errno.ENXIO, errno.ENODEV, errno.ENAMETOOLONG, errno.EWOULDBLOCK)
# Seconds that the holder of a lease has to let go of it (a file server does so at once), and between two looks.
_LEASE_PATIENCE = 0.3
_LEASE_PAUSE = 0.02


def _first_forward(home: bytes, files: list[bytes], owner: int) -> bytes:
    """OSError where it cannot be known now."""
    for name in files:
        try:
            # No link is followed, as in Postfix: whoever may read where it leads could be made to tell. O_NONBLOCK: a fifo, or
            # somebody's lease (fcntl(2), F_SETLEASE), must not hold us up.
            fd = _opened(os.path.join(home, name))
        except OSError as error:
            if error.errno in _NO_FILE:
                continue
            if error.errno == errno.ELOOP:
                return frame(NO, name, b"is a symbolic link")
            if error.errno in _NEVER:
                return frame(NO, name, f"cannot be opened by its user: {error.strerror}".encode())
            raise
        try:
            return _forward_in(fd, name, owner)
        finally:
            os.close(fd)
    return frame(NO)


def _opened(path: bytes) -> int:
    """Whoever keeps a lease on their own file must not keep mail from all the lists that they are on: in the end it does not count."""
    end = time.monotonic() + _LEASE_PATIENCE
    while True:
        try:
            return os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
        except BlockingIOError:
            if time.monotonic() > end:
                raise
            time.sleep(_LEASE_PAUSE)


def _forward_in(fd: int, name: bytes, owner: int) -> bytes:
    facts = os.fstat(fd)
    # Postfix's rules (dotforward.c). The group may write: with a group for each user, as in Debian, umasks often say so.
    if not stat.S_ISREG(facts.st_mode):
        return frame(NO, name, b"is not a regular file")
    if facts.st_uid not in (0, owner):
        return frame(NO, name, b"belongs to uid %d" % facts.st_uid)
    if facts.st_mode & 0o002:
        return frame(NO, name, b"can be written by everybody")
    text = b""
    while len(text) <= LONGEST_FORWARD and (piece := os.read(fd, LONGEST_FORWARD + 1 - len(text))):
        text += piece
    if len(text) > LONGEST_FORWARD:
        return frame(NO, name, b"has more than %d octets" % LONGEST_FORWARD)
    return frame(YES, name, text)


def _answer(pam: Pam | None, names: Names, body: bytearray) -> bytes:
    kind, fields = parts(body)
    if kind == CHECK_PASSWORD:
        return check_password(pam, fields)
    if kind == PRETEND:
        return pretend()
    if kind == FIND_USER:
        (name,) = fields
        return names.find(name)
    if kind == READ_FORWARD:
        return read_forward(names, fields)
    raise ValueError("a request of no kind that is known here")


def _read(count: int) -> bytearray:
    """Exactly so many octets of the channel. EOFError where it ends."""
    octets = bytearray(count)
    view = memoryview(octets)
    while view:
        got = os.readv(REQUESTS, [view])
        if not got:
            raise EOFError
        view = view[got:]
    return octets


def _serve(pam: Pam | None, limit: float) -> NoReturn:
    names = Names()
    while True:
        (length,) = struct.unpack("!I", _read(4))
        if not 0 < length <= LONGEST_REQUEST:
            raise ValueError("a request that is too long")
        body = _read(length)
        # The last resort, which ends this process whatever a module is at: the guard kills it before, and all that it started.
        signal.setitimer(signal.ITIMER_REAL, limit)
        answer = _answer(pam, names, body)
        signal.setitimer(signal.ITIMER_REAL, 0)
        # The password goes as soon as Python lets it: this buffer now, the copies with the next request's.
        body[:] = bytes(length)
        while answer:
            answer = answer[os.write(ANSWERS, answer) :]


def end(pid: int) -> None:
    """Kill a helper at once, and whatever its modules started: pam_exec gives its programs sessions of their own."""
    family = [pid]
    for parent in family:  # which grows meanwhile
        try:
            for thread in os.listdir(f"/proc/{parent}/task"):
                with open(f"/proc/{parent}/task/{thread}/children", encoding="ascii") as children:
                    family += map(int, children.read().split())
        except OSError:
            pass  # it ended meanwhile, or the kernel does not tell
    for each in reversed(family):
        try:
            os.kill(each, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            pass


def end_with_the_channel() -> None:
    """Whoever asked is gone, perhaps by SIGKILL: end at once, in the middle of a module that hangs."""
    watch = select.poll()
    watch.register(REQUESTS, 0)  # the end of the channel alone (POLLHUP), not what can be read
    watch.poll()
    end(os.getpid())


def main(arguments: list[str]) -> int:
    """arguments: the PAM service, or empty for a helper that only knows names; the folder that the ``pam`` module is in; perhaps the
    seconds that one answer may take."""
    service, folder, *limit = arguments
    os.setsid()  # Ctrl-C at the server's terminal is not for us; it ends us in order
    os.chdir("/")
    # No module's child keeps the channel open, and no core file holds a password.
    for fd in (REQUESTS, ANSWERS):
        os.set_inheritable(fd, False)
    import resource

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    threading.Thread(target=end_with_the_channel, daemon=True).start()
    try:
        pam = None
        if service:
            load_pam(folder)
            pam = Pam(service.encode())
        _serve(pam, float(limit[0]) if limit else 0)  # until the channel ends
    except EOFError:
        return 0
    except Exception as error:
        # The class alone: a message could hold what came over the channel.
        os.write(ANSWERS, frame(BROKEN, f"the helper failed: {type(error).__name__}".encode()))
        return 1


if __name__ == "__main__":
    os._exit(main(sys.argv[1:]))
