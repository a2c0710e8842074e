"""A second reader of mbox files, written from docs/mbox.md alone: line by line, everything in memory, slow and plain.

It shares no code with lanmail, so that where both agree the document is likely to be what they agree on.
"""

from __future__ import annotations

from dataclasses import dataclass

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
STATE = ("status", "x-status", "x-uid", "x-uidl", "x-imap", "x-imapbase", "x-keywords", "lines", "content-length")
PSEUDO = b"don't delete this message -- folder internal data"


@dataclass
class Message:
    start: int
    text: int
    end: int
    next: int
    wire: bytes  # what a client gets


def read(data: bytes) -> list[Message]:
    """The messages that a client sees."""
    messages = []
    start = next_message(data, 0)
    while start is not None:
        message, shown = one(data, start)
        if shown:
            messages.append(message)
        start = message.next if message.next < len(data) else None
    return messages


def next_message(data: bytes, offset: int) -> int | None:
    """The first place from offset, the start of a line, at which a message starts."""
    for at, _ in lines_from(data, offset):
        if starts_at(data, at):
            return at
    return None


def lines_from(data: bytes, offset: int) -> list[tuple[int, bytes]]:
    lines = []
    for line in data[offset:].split(b"\n"):
        lines.append((offset, line))
        offset += len(line) + 1
    return [(at, line) for at, line in lines if at < len(data)]


def line_before(data: bytes, offset: int) -> bytes | None:
    """The whole line that ends right before, without its LF; None where none does."""
    if offset == 0 or data[offset - 1 : offset] != b"\n":
        return None
    return data[data.rfind(b"\n", 0, offset - 1) + 1 : offset - 1]


def starts_at(data: bytes, offset: int) -> bool:
    if offset and line_before(data, offset) not in (b"", b"\r"):
        return False
    return is_separator(data[offset:].split(b"\n")[0])


def is_separator(line: bytes) -> bool:
    if line.endswith(b"\r"):
        line = line[:-1]
    if len(line) > 1024 or not line.startswith(b"From "):
        return False
    text = line.decode("ascii", "surrogateescape").replace("\t", " ").lower()[5:].lstrip(" ")
    if word(text) not in DAYS:
        text = after_path(text)
    if word(text) not in DAYS:
        return False
    text = rest(text)
    if word(text) in DAYS:
        text = rest(text)
    if not word(text).startswith(MONTHS) or not rest(text)[:1].isdigit():
        return False
    time = rest(rest(text))
    hours, colon, minutes = word(time).partition(":")
    if not (colon and hours and all(c in "0123456789" for c in hours) and minutes[:1] in tuple("0123456789")):
        return False
    year = rest(time)
    if year[:1] and year[0] in "abcdefghijklmnopqrstuvwxyz+-":
        year = rest(year)
        if year[:1] and year[0] in "abcdefghijklmnopqrstuvwxyz":
            year = rest(year)
    return year[:1] in tuple("0123456789")


def word(text: str) -> str:
    """The first word, if another one follows it (every word but the year has one behind it)."""
    first, blank, _ = text.partition(" ")
    return first if blank else ""


def rest(text: str) -> str:
    return text.partition(" ")[2].lstrip(" ")


def after_path(text: str) -> str:
    quoted = False
    at = 0
    while at < len(text) and (quoted or text[at] != " "):
        if text[at] == "\\":
            at += 1
        elif text[at] == '"':
            quoted = not quoted
        at += 1
    return text[at:].lstrip(" ") if at < len(text) else ""


def one(data: bytes, start: int) -> tuple[Message, bool]:
    line_end = data.find(b"\n", start)
    text = len(data) if line_end < 0 else line_end + 1
    looked_at = data[text : text + 65536].split(b"\n")[:-1]  # whole lines
    header = []
    ended = False
    for line in looked_at:
        header.append(line)
        if line in (b"", b"\r"):
            ended = True
            break
    crlf = bool(header) and all(line.endswith(b"\r") for line in header)
    ours = written_by_lanmail(data[text : text + sum(len(line) + 1 for line in header)][:8192])
    fields = [line.rstrip(b"\r") for line in header]
    next_ = None
    if not ours and ended:
        lengths = [line for line in fields if line.partition(b":")[0].rstrip(b" \t").lower() == b"content-length"]
        lengths = [line.partition(b":")[2].strip(b" \t") for line in lengths]
        lengths = [value for value in lengths if value.isdigit()]
        if len(lengths) == 1:
            body = text + sum(len(line) + 1 for line in header)
            next_ = believed(data, body + int(lengths[0]))
    if next_ is None:
        found = next_message(data, text)
        next_ = len(data) if found is None else found
    end = next_
    empty = line_before(data, next_) if next_ > text else None
    if empty in (b"", b"\r"):
        end = next_ - len(empty) - 1
    shown = True
    if start == 0 and not ours:
        # A field counts here also where the file breaks off in it.
        cut_off = [] if ended else [data[text : text + 65536].rpartition(b"\n")[2]]
        lower = [line.lower() for line in fields + cut_off]
        subject = any(line.startswith(b"subject:") and line[8:].lstrip(b" \t").startswith(PSEUDO) for line in lower)
        shown = not (subject and any(line.startswith((b"x-imap:", b"x-imapbase:")) for line in lower))
    return Message(start, text, end, next_, wire(data[text:end], crlf, ours)), shown


def believed(data: bytes, expected: int) -> int | None:
    for skipped in (b"", b"\n", b"\r\n"):
        at = expected + len(skipped)
        if data[expected:at] == skipped and at <= len(data) and (at == len(data) or starts_at(data, at)):
            return at
    return None


def written_by_lanmail(header: bytes) -> bool:
    fields: list[list[bytes]] = []
    # What stands behind the last LF counts here too: the mark may end there.
    for line in header.split(b"\n"):
        if line[:1] in (b" ", b"\t"):
            if not fields:
                return False
            fields[-1].append(line)
        else:
            fields.append([line])
    seen = []
    for field in fields:
        name = field[0].partition(b":")[0].rstrip(b" \t").lower().decode("latin-1")
        if b":" not in field[0]:
            return False
        if name in STATE:
            continue
        if name == "received":
            if not seen or seen[0] != "return-path" or len(field) < 2:
                return False
            words = field[1].lstrip(b" \t").split(b" ")
            if len(words) < 5 or not words[1] or set(words[1]) & set(b"\t\r"):
                return False
            return words[0].lower() == b"by" and words[2] == b"(lanmail)" and words[3].lower() == b"with"
        if name not in ("return-path", "x-original-to", "delivered-to") or (name == "return-path") != (not seen):
            return False
        seen.append(name)
    return False


def wire(text: bytes, crlf: bool, ours: bool) -> bytes:
    if crlf:
        text = text.replace(b"\r\n", b"\n")
    lines = text.split(b"\n")
    if lines[-1] == b"":
        lines.pop()
    if ours:
        lines = [line[1:] if line[:1] == b">" and line.lstrip(b">").startswith(b"From ") else line for line in lines]
    return b"".join(line + b"\r\n" for line in lines)
