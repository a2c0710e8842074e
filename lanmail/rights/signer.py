"""The program that signs our certificate with the key of our authority, which the service never sees. For one request: then it ends,
and the key with it.

Who signs is said by the duties, ``module:function``; what they may sign, they judge themselves, since whoever asks may have been
taken over.
"""

from __future__ import annotations

import importlib
import os
import signal
import socket
import sys
import threading

from lanmail.accounts import helper
from lanmail.rights import channel
from lanmail.rights.channel import Noise
from lanmail.rights.duties import BadDuties, Duties

SIGN = b"S"  # octets → SIGNED with octets; or REFUSED with why
SIGNED, REFUSED = b"+", b"-"
LONGEST = 65000  # octets, either way


def sign(duties: Duties, request: bytes) -> tuple[bytes, bytes]:
    """Kind and field of the answer."""
    module, _, function = duties.signer.partition(":")
    if not function:
        return REFUSED, b"nobody signs certificates here"
    try:
        sys.path += [folder for folder in duties.folders if folder.startswith("/") and folder not in sys.path]
        signed = getattr(importlib.import_module(module), function)(request, duties.argument)
        if not isinstance(signed, bytes) or len(signed) > LONGEST:
            raise TypeError("what was signed is not what was asked for")
    except Exception as error:
        return REFUSED, f"{type(error).__name__}: {error}".encode("utf-8", "replace")[:1000]
    return SIGNED, signed


def main(arguments: list[str]) -> int:
    """arguments: the seconds that it may take."""
    os.setsid()
    os.chdir("/")
    os.umask(0o077)
    os.close(helper.ANSWERS)
    os.set_inheritable(helper.REQUESTS, False)
    threading.Thread(target=helper.end_with_the_channel, daemon=True).start()
    sock = socket.socket(fileno=helper.REQUESTS)
    try:
        duties = Duties.of(b"".join(channel.receive(sock).fields))
        asked = channel.receive(sock)
        asked.close()
        if asked.kind != SIGN or len(asked.fields) != 1:
            return 1
        signal.setitimer(signal.ITIMER_REAL, float(arguments[0]))
        kind, field = sign(duties, asked.fields[0])
        channel.send(sock, kind, field)
    except (EOFError, Noise, BadDuties, OSError):
        return 1
    return 0
