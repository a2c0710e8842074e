"""Which message a letter of a mailbox is: its queue id, found in the header that our delivery put on top of it."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

from lanmail.mailbox.mbox import our_queue_id

HEAD = 2048
"""So many octets of a letter are looked at: a return path, two recipients and the first two lines of Received."""

_MESSAGE_ID = re.compile(rb"^message-id[ \t]*:[ \t\r\n]*+(<[^<>\r\n]++>)", re.IGNORECASE | re.MULTILINE)
_END_OF_HEADER = re.compile(rb"^\r?\n", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Origin:
    """queue_id: of a message that we took in. message_id: of any other, with its brackets, as far as its head shows one. Or neither."""

    queue_id: str = ""
    message_id: str = ""


def origin_of(head: bytes) -> Origin:
    """From the first octets of a letter, the ``From `` line not among them. Line ends are LF or CRLF."""
    head = head[:HEAD]
    queue_id = our_queue_id(head)
    if queue_id:
        return Origin(queue_id)
    end = _END_OF_HEADER.search(head)
    found = _MESSAGE_ID.search(head, 0, end.start() if end else len(head))
    return Origin("", found[1].decode("utf-8", "backslashreplace") if found else "")


def origin_at(fd: int, start: int, end: int) -> Origin:
    """Of the letter whose text stands there in the file, in octets. OSError.

    One short read for each letter, not a window for many: of a hundred thousand that takes half a second, most of it not reading.
    """
    return origin_of(os.pread(fd, min(HEAD, end - start), start))
