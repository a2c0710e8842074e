"""What a reading of an mbox finds of each message, whoever finds it."""

from __future__ import annotations

from dataclasses import dataclass, field
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
PSEUDO = 16  # c-client's, which no client sees, and no index has


class Entry(NamedTuple):
    """One message as it stands in the file. Offsets in octets from the file's start.

    start: of the `From ` line. text: of the line after it. end: of the text, without the empty line that ends the
    message. next: where the next message starts, or the end of the file. octets: as POP3 counts them.
    """

    start: int
    text: int
    end: int
    next: int
    octets: int
    flags: int


@dataclass(slots=True)
class Run:
    """Messages that stand one behind the other, column by column, as an index keeps them: an object for each of 100,000 takes its time.

    next: where the last of them ends, or where the first would stand. lines: octets of each `From ` line with its line end. gaps: of the
    empty line behind each message.
    """

    next: int
    starts: list[int] = field(default_factory=list)
    lines: list[int] = field(default_factory=list)
    gaps: list[int] = field(default_factory=list)
    octets: list[int] = field(default_factory=list)
    flags: list[int] = field(default_factory=list)
