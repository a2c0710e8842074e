"""What a reading of an mbox finds of each message, whoever finds it."""

from __future__ import annotations

from typing import NamedTuple

# What a header says about its message is looked for in so many octets of it. Real ones have some thousand; without a
# limit one message that is all header would have to be held whole.
HEADER_READ = 64 << 10
# And in so many whether we wrote it.
OURS_READ = 8192

# Flags of a message.
OURS = 1  # lanmail wrote it: its lines `>From ` were quoted
CRLF = 2  # its lines end with CR LF in the file
UNENDED = 4  # its last line has no line end
DOUBTED = 8  # its Content-Length points behind it, where nothing bears it out now; after an expunge something may


class Found(NamedTuple):  # made for each of 100,000: a frozen dataclass takes 2 µs
    """One message in the file; the fields are those of index.Entry. ``gap``: octets from ``end`` to ``next``: the empty line."""

    start: int
    text: int
    end: int
    next: int
    octets: int
    flags: int
    pseudo: bool  # c-client's, which no client sees
