"""The messages of the load. Each is known by its token and, from the token alone, to the last octet."""

from __future__ import annotations

import re

DOMAIN = "iscb-corporation.com"
SENDER = f"load@{DOMAIN}"

# As Reception writes it: a From line, trace fields, then what the client sent.
_HEAD = re.compile(rb"From load@[^ \n]+  [^\n\0]+\n(?:[A-Za-z-]+: [^\n\0]+\n(?:[ \t][^\n\0]+\n)*)+\Z")
_TOKEN = re.compile(rb"^Subject: ([a-z]+\d+-\d+-\d{1,7})$", re.MULTILINE)
_FOREIGN = re.compile(rb"From foreign@x  Mon Nov 23 12:00:00 2026\nSubject: (foreign-\d+-\d+)\n")


def text_of(token: str) -> bytes:
    """What the client sends: ``client-number-size``. A line that is missing, doubled or moved would be seen."""
    size = int(token.rsplit("-", 1)[1])
    lines = [f"Subject: {token}", "From: load", "", "From the first line on it is quoted"]
    lines += [f"{token} line {number} {'.' * 60}" for number in range(size // 80)]
    return "".join(f"{line}\r\n" for line in lines).encode()


def stored(token: str) -> bytes:
    """The same as it stands in a mailbox, from its Subject to the empty line at its end."""
    head, _, body = text_of(token).replace(b"\r\n", b"\n").partition(b"\n\n")
    return head + b"\n\n" + body.replace(b"From ", b">From ") + b"\n"


def foreign_text(token: str) -> bytes:
    """What another program appends: ``foreign-number-size``."""
    lines = [f"{token} line {number} {'+' * 60}" for number in range(int(token.rsplit("-", 1)[1]) // 80)]
    body = "".join(f"{line}\n" for line in lines)
    return f"From foreign@x  Mon Nov 23 12:00:00 2026\nSubject: {token}\n\n{body}\n".encode()


def pieces(mailbox: bytes) -> list[tuple[str, bytes]]:
    """The mailbox, cut before each From line: the token of what stands there whole, and what is left behind it.

    Of what is not whole the token is empty and all of it is left.
    """
    found = []
    for piece in filter(None, re.split(rb"(?m)^(?=From )", mailbox)):
        token = _FOREIGN.match(piece)
        if token is not None:
            text = foreign_text(token[1].decode())
            whole = piece.startswith(text[:-1])
            found.append((token[1].decode(), piece[len(text) - 1 :]) if whole else ("", piece))
            continue
        token = _TOKEN.search(piece)
        if token is not None and _HEAD.match(piece[: token.start()]):
            text = stored(token[1].decode())
            if piece.startswith(text[:-1], token.start()):
                found.append((token[1].decode(), piece[token.start() + len(text) - 1 :]))
                continue
        found.append(("", piece))
    return found
