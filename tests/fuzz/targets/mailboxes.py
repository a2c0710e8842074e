"""The mailbox file, whoever wrote it, and a message on its way into it: none lost, none made of another's octets."""

from __future__ import annotations

import errno
import os
import random
import re
import struct

from lanmail.mailbox import expunge, mbox
from lanmail.mailbox.index import Index
from lanmail.mailbox.saved_index import _parse, _written
from lanmail.mailbox.windows import Changed
from lanmail.message import TopHeader
from tests.fuzz.target import Target, chance_of, cuts_of
from tests.mailbox import second_reader
from tests.mailbox.files import SEPARATOR, TRACE, a_file, delivered, entries, foreign, index, text, write
from tests.mailbox.fragile import STATE, Crash, FragileDisk

_NAME = re.compile(rb"[!-9;-~]+")
_JOURNAL = expunge.journal_path(STATE, "ann")


def reading(data: bytes) -> None:
    """As the second reader, which shares no code with ours, splits it; and so also when it was read in two parts."""
    theirs = second_reader.read(data)
    expected = [(m.start, m.text, m.end, m.next, len(m.wire)) for m in theirs]
    chance = chance_of(data)
    with a_file(data) as fd:
        now = index(fd)
        assert entries(now) == expected, (entries(now), expected)
        assert [text(fd, now, n) for n in range(1, len(now) + 1)] == [m.wire for m in theirs]
        lines = chance.randint(0, 4)
        for n, message in enumerate(theirs, 1):
            assert message.wire.startswith(text(fd, now, n, lines))
        again = _parse(_written(now))
        assert entries(again) == expected
    place = chance.randint(0, len(data))
    with a_file(data[:place]) as fd:
        before = index(fd)
        write(fd, data[place:])
        grown = index(fd, before)
        assert entries(grown) == expected, (place, entries(grown), expected)


def taking_out(data: bytes) -> None:
    """Exactly the chosen messages go; what is left is known without reading it again, or read again."""
    chance = chance_of(data)
    with a_file(data) as fd:
        before = index(fd)
        chosen = {n for n in range(1, len(before) + 1) if chance.random() < 0.5}
        ranges = [before.extent(n) for n in sorted(chosen)]
        left = _without(data, ranges)
        disk = _stopped(data, ranges, chance)
        assert bytes(disk.mailbox.seen) == left, (ranges, bytes(disk.mailbox.seen), left)
        os.ftruncate(fd, 0)
        os.pwrite(fd, left, 0)
        try:
            known = before.without(chosen, fd, os.fstat(fd))
        except Changed:
            known = None
        if known is not None:
            assert entries(known) == entries(index(fd))


def _without(data: bytes, ranges: list[tuple[int, int]]) -> bytes:
    kept, at = b"", 0
    for start, end in ranges:
        kept += data[at:start]
        at = end
    return kept + data[at:]


def _stopped(data: bytes, ranges: list[tuple[int, int]], chance: random.Random) -> FragileDisk:
    """The disk after the expunge was stopped somewhere, if it came so far, and finished at the next use."""
    disk = FragileDisk(data)
    disk.stop_at = chance.randint(1, 40)
    window = chance.choice((7, 64, 4096))
    try:
        expunge.take_out(3, _JOURNAL, ranges, keep_alive=_still, disk=disk, window=window)
    except Crash:
        disk.restart(lambda pending: pending, True)
        if expunge.finish(3, _JOURNAL, keep_alive=_still, disk=disk, window=window) or bytes(disk.mailbox.seen) != data:
            return disk
        expunge.take_out(3, _JOURNAL, ranges, keep_alive=_still, disk=disk, window=window)
    return disk


def _still() -> None:
    """Nobody's lock grows old here."""


def journal(data: bytes) -> None:
    """A redo journal that a disk has damaged: finished where it is whole, else put aside, and the mailbox as it was."""
    before = _FULL
    for stop_at, written, half_done in _JOURNALS:
        damaged = bytearray(written)
        for at, octet in enumerate(data[:64]):
            if octet:
                damaged[(at * 97 + octet * 8191 + len(data)) % len(damaged)] ^= octet
        disk = FragileDisk(half_done)
        node = type(disk.mailbox)(bytes(damaged))
        disk.names[_JOURNAL] = disk.durable_names[_JOURNAL] = node
        identity = disk.identity
        disk.identity = lambda fd, identity=identity: (1, _INODE)  # type: ignore[method-assign]
        try:
            expunge.finish(3, _JOURNAL, keep_alive=_still, disk=disk, window=64)
        except OSError as error:
            assert error.errno in (errno.EIO, errno.EINVAL), error
            continue
        now = bytes(disk.mailbox.seen)
        whole = bytes(damaged) == written
        assert now in ((_LEFT,) if whole else (half_done, _LEFT, before)), (stop_at, now)


_INODE = 4711
_MESSAGES = [foreign(b"%d" % n, b"line\n" * (3 * n + 1)) for n in range(5)]
_FULL = b"".join(_MESSAGES)
_RANGES = [(len(_MESSAGES[0]), len(_MESSAGES[0]) + len(_MESSAGES[1]))]
_LEFT = _without(_FULL, _RANGES)


def _journals() -> list[tuple[int, bytes, bytes]]:
    """Journals of expunges that were killed: before which operation, what stood in it, and the mailbox then."""
    found = []
    for stop_at in range(1, 60):
        disk = FragileDisk(_FULL)
        disk.identity = lambda fd: (1, _INODE)  # type: ignore[method-assign]
        disk.stop_at = stop_at
        try:
            expunge.take_out(3, _JOURNAL, _RANGES, keep_alive=_still, disk=disk, window=64)
        except Crash:
            if _JOURNAL in disk.names:
                found.append((stop_at, bytes(disk.names[_JOURNAL].seen), bytes(disk.mailbox.seen)))
        else:
            break
    return found[:: max(1, len(found) // 5)]


_JOURNALS = _journals()


def letter(data: bytes) -> None:
    """A message of a stranger, between two others: it is one message, its text is what was sent, and it keeps no reader's state."""
    data = data.replace(b"\r\n", b"\n")
    if not data.endswith(b"\n"):
        data += b"\n"
    top = TopHeader(mbox.STATE_FIELDS)
    filtered = [top.feed(piece) for piece in cuts_of(data)]
    filtered.append(top.finish())
    whole = TopHeader(mbox.STATE_FIELDS)
    assert whole.feed(data) + whole.finish() == b"".join(filtered)
    sent = b"".join(filtered).replace(b"\n", b"\r\n")
    file = foreign(b"before") + delivered([sent]) + foreign(b"after")
    with a_file(file) as fd:
        now = index(fd)
        assert len(now) == 3, entries(now)
        got = text(fd, now, 2)
        trace = TRACE.replace(b"\n", b"\r\n")
        assert got == trace + sent, (got, sent)
        for line in sent.removeprefix(trace).split(b"\n"):
            name, colon, _ = line.partition(b":")
            if not line.startswith((b" ", b"\t")) and (not colon or not _NAME.fullmatch(name.rstrip(b" \t"))):
                break  # the header has ended
            assert name.rstrip(b" \t").lower() not in mbox.STATE_FIELDS, line
        assert text(fd, now, 1).endswith(b"text\r\n") and b"Subject: after" in text(fd, now, 3)


def saved_index(data: bytes) -> None:
    """An index on disk that was damaged is none."""
    try:
        found = _parse(data)
    except (ValueError, struct.error):
        return
    assert isinstance(found, Index)
    assert _written(found) == data


def _index_seed() -> bytes:
    with a_file(_FULL) as fd:
        return _written(index(fd))


_SEEDS = (
    foreign(b"one") + foreign(b"two", b"From x\n>From y\n\nFrom here to there\n") + foreign(b"three"),
    delivered([b"Subject: x\r\n\r\nFrom y\r\n>From z\r\n"])
    + foreign(b"other", b"x\n", b"Content-Length: 2\n")
    + foreign(b"last"),
    (foreign(b"crlf") + foreign(b"two")).replace(b"\n", b"\r\n"),
    foreign(b"DON'T DELETE THIS MESSAGE -- FOLDER INTERNAL DATA", b"data\n", b"X-IMAP: 1 2\n")
    + foreign(b"one")
    + foreign(b"two"),
    foreign(b"one", b"\n" + SEPARATOR + b"x\n", b"Content-Length: 50\n") + foreign(b"two")[:-2],
)
_WORDS = (
    *(
        SEPARATOR,
        b"\n" + SEPARATOR,
        b"\n\n" + SEPARATOR,
        SEPARATOR[:-1] + b"\r\n",
        TRACE,
        b"Subject: x\n",
        b"Status: RO\n",
    ),
    *(
        b"Content-Length: 7\n",
        b"Content-Length: 50\n",
        b"Content-Length: 999\n",
        b"X-IMAP: 1 2\n",
        b"X-UID: 5\n",
        b"\n\n",
        b"\r\n\r\n",
    ),
)
_LETTER_SEEDS = (
    b"From: a@b\r\nSubject: x\r\nStatus: RO\r\n\r\nbody\r\nFrom x Mon Jan  1 00:00:00 2024\r\n",
    b"From x Mon Jan  1 00:00:00 2024\r\nSubject: piped\r\nX-UID: 7\r\n folded\r\n\r\n>From y\r\n",
    b"no header at all\r\nFrom z\r\n",
    b"Received: x\r\n by y\r\nDelivered-To: nel@x\r\nMessage-ID:\r\n <1@x>\r\n\r\n",
    b"\r\n",
)
TARGETS = (
    Target("reading", reading, _SEEDS, _WORDS),
    Target("taking out", taking_out, _SEEDS, _WORDS),
    Target("letter", letter, _LETTER_SEEDS, (*_WORDS, b"X-Keywords: x\r\n", b"Lines : 3\r\n", b"X-IMAPbase: 1 1\r\n")),
    Target("journal", journal, (b"", b"\1", b"\0" * 20 + b"\xff")),
    Target("saved index", saved_index, (_index_seed(),)),
)
