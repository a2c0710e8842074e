"""Which message a letter of a mailbox is: its queue id, found in the header that our delivery put on top of it."""

from __future__ import annotations

import os
import re
from typing import NamedTuple

from lanmail.mailbox.mbox import OUR_NAME, our_queue_id

HEAD = 2048
"""So many octets of a letter are looked at: a return path, two recipients and the first two lines of Received."""

_FIELD = b"\nmessage-id"
_MESSAGE_ID = re.compile(rb"[ \t]*:[ \t\r\n]*+(<[^<>\r\n]++>)")


class Origin(NamedTuple):  # made for each letter that is fetched
    """queue_id: of a message that we took in. message_id: of any other, with its brackets, as far as its head shows one. Or neither."""

    queue_id: str = ""
    message_id: str = ""


def origin_of(head: bytes) -> Origin:
    """From the first octets of a letter, the ``From `` line not among them. Line ends are LF or CRLF."""
    head = head[:HEAD]
    queue_id = our_queue_id(head) if OUR_NAME in head else ""
    if queue_id:
        return Origin(queue_id)
    # Plain searches: patterns that ignore case take four times as long, for each letter that is fetched. A line end before the first field
    # makes it one like the others.
    header = b"\n" + head
    ends = [at for empty in (b"\n\n", b"\n\r\n") if (at := header.find(empty)) >= 0]
    header = header[: min(ends, default=len(header))]
    names = header.lower()
    at = names.find(_FIELD)
    while at >= 0:
        if found := _MESSAGE_ID.match(header, at + len(_FIELD)):
            return Origin("", found[1].decode("utf-8", "backslashreplace"))
        at = names.find(_FIELD, at + 1)
    return Origin()


def origin_at(fd: int, start: int, end: int) -> Origin:
    """Of the letter whose text stands there in the file, in octets. OSError.

    One short read for each letter, not a window for many: of a hundred thousand that takes half a second, most of it not reading.
    """
    return origin_of(os.pread(fd, min(HEAD, end - start), start))
