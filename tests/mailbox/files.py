"""Messages and files for the tests of the mbox format."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from hypothesis import strategies as st

from lanmail.mailbox import mbox
from lanmail.mailbox.index import Index, refresh
from lanmail.mailbox.text import read_text

SEPARATOR = b"From ann@example.org  Tue Nov 24 21:36:34 2026\n"

TRACE = (
    b"Return-Path: <ann@example.org>\n"
    b"X-Original-To: bob@example.org\n"
    b"Delivered-To: bob@example.org\n"
    b"Received: from ann.example.org (unknown [192.0.2.1])\n"
    b"\tby mail.example.org (lanmail) with ESMTP id 222CF6745D\n"
    b"\tfor <bob@example.org>; Tue, 24 Nov 2026 21:36:34 +0100 (CET)\n"
)


@contextmanager
def a_file(content: bytes) -> Iterator[int]:
    """A file in memory, open for reading and writing."""
    fd = os.memfd_create("mbox")
    try:
        write(fd, content)
        yield fd
    finally:
        os.close(fd)


def write(fd: int, content: bytes) -> None:
    """At the end of the file."""
    os.pwrite(fd, content, os.fstat(fd).st_size)


def rewrite(fd: int, content: bytes) -> None:
    """As a program does that writes the file anew, in place."""
    os.ftruncate(fd, 0)
    os.pwrite(fd, content, 0)


def index(fd: int, previous: Index | None = None) -> Index:
    return refresh(fd, os.fstat(fd), previous)


def text(fd: int, of: Index, number: int, body_lines: int | None = None) -> bytes:
    return b"".join(read_text(fd, of, number, body_lines))


def delivered(pieces: list[bytes]) -> bytes:
    """A message (with CRLF line ends) as lanmail appends it."""
    text = b"".join(pieces).replace(b"\r\n", b"\n")
    return SEPARATOR + TRACE + b"".join(mbox.quoted([text]))


def foreign(subject: bytes, body: bytes = b"text\n", fields: bytes = b"") -> bytes:
    """A message as others append it."""
    return SEPARATOR + b"Subject: " + subject + b"\n" + fields + b"\n" + body + b"\n"


def shifted(subjects: tuple[bytes, bytes, bytes], by: int = 0) -> bytes:
    """A mailbox of more than a MiB as Dovecot keeps it: what one header gains (``by`` octets), the room in the next one loses."""
    first, second, last = subjects
    room = b"X-Keywords: %s\n"
    return b"".join(
        (
            foreign(b"large", b"x\n", room % b""),
            foreign(first, b"line\n" * 220_000, b"X-UID: %s1\n" % (b"0" * by) + room % (b" " * 30)),
            foreign(second, b"text\n", room % (b" " * (30 - by))),
            foreign(last),
        )
    )


def entries(of: Index) -> list[tuple[int, int, int, int, int]]:
    found = map(of.entry, range(1, len(of) + 1))
    return [(entry.start, entry.text, entry.end, entry.next, entry.octets) for entry in found]


# What an mbox reader can stumble over, in pieces that make something else when they meet.
_PIECES = (
    SEPARATOR,
    b"\n" + SEPARATOR,
    b"\n\n" + SEPARATOR,
    b"\r\n\r\n" + SEPARATOR[:-1] + b"\r\n",
    b"From ",
    b"From here to there\n",
    b"\n>From ",
    b">",
    b"\n",
    b"\n\n",
    b"\r\n",
    b"\r",
    b"Subject: x\n",
    b"Subject: x\r\n",
    b"Content-Length: 7\n",
    b"Content-Length: 50\n",
    b"Status: RO\n",
    b"X-IMAP: 1 2\n",
    b"Subject: DON'T DELETE THIS MESSAGE -- FOLDER INTERNAL DATA\n",
    TRACE,
    b"\xe9\x00",
    b"x" * 3000,
    b">" * 5000,
)


def jumble(max_size: int = 14) -> st.SearchStrategy[bytes]:
    """Octets that are more or less an mbox."""
    lengths = st.integers(0, 150).map(lambda length: b"Content-Length: %d\n" % length)
    piece = st.one_of(st.sampled_from(_PIECES), lengths, st.binary(max_size=5))
    return st.builds(bytes.__add__, st.sampled_from((b"", SEPARATOR)), st.lists(piece, max_size=max_size).map(b"".join))


def messages() -> st.SearchStrategy[bytes]:
    """What comes by SMTP: CRLF line ends and no bare LF, the last line ended; CRs and everything else as they come."""
    octets = st.lists(st.one_of(st.sampled_from(_PIECES), st.binary(max_size=5)), max_size=10).map(b"".join)
    return octets.map(lambda data: data.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")).map(
        lambda data: data if data.endswith(b"\r\n") else data + b"\r\n"
    )


def cut(data: bytes, size: int) -> list[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)]
