"""What the clients send and fetch: bodies with everything that has ever gone wrong between a mail program and a server."""

from __future__ import annotations

import socket

LINES = (
    "Bonjour à tous : ça marche aussi en 8 bits – naïvement.",
    ".",
    "..",
    ".a dot at the start of a line",
    "From the start of a line, after an ordinary one",
    "",
    "From here on it looks like an mbox",
    "From julien@iscb-corporation.com  Fri Nov 21 15:42:42 2003",
    ">From a line that was quoted by its author",
    ">>From one that was quoted twice",
    "a tab\tin the middle, and blanks at the end   ",
    # Longer than SMTP's 998 octets, and below the 2048 at which Python's poplib gives up.
    "une longue ligne " * 115,
    "",
    "the last line",
)
BODY = "".join(line + "\r\n" for line in LINES).encode()


def letter(name: str, subject: str = "first") -> bytes:
    """A whole message to ``name``, with CRLF line ends, as it stands between DATA and the final dot before dots are stuffed."""
    header = (
        "From: Nel <nel@iscb-corporation.com>",
        f"To: {name}@iscb-corporation.com",
        f"Subject: {subject}",
        "Date: Fri, 21 Nov 2003 15:42:42 +0100",
        f"Message-ID: <{subject}.{name}@iscb-corporation.com>",
        "MIME-Version: 1.0",
        "Content-Type: text/plain; charset=utf-8",
        "Content-Transfer-Encoding: 8bit",
        "",
    )
    return "".join(line + "\r\n" for line in header).encode() + BODY


def foreign(name: str) -> bytes:
    """A message as another program wrote it into the mailbox: LF, Latin-1 without a declaration, a NUL, no line end at the end."""
    text = (
        f"From: old@iscb-corporation.com\nTo: {name}@iscb-corporation.com\nSubject: second\n"
        f"Message-ID: <second.{name}@iscb-corporation.com>\nDate: Fri, 21 Nov 2003 15:42:42 +0100\n\n"
        ".\n>From stays quoted, since nobody knows who quoted it\nd\xe9j\xe0 vu\n\nthe end is missing"
    )
    return b"From old@iscb-corporation.com Fri Nov 21 15:42:42 2003\n" + text.encode("latin-1")


def send(port: int, name: str, text: bytes) -> None:
    """Plain SMTP, by hand, so that nothing but dots is changed on the way."""
    stuffed = b"".join(b"." + line if line.startswith(b".") else line for line in text.splitlines(keepends=True))
    with socket.create_connection(("127.0.0.1", port), timeout=20) as sock, sock.makefile("rb") as answers:
        for command in (
            b"",
            b"EHLO [127.0.0.1]\r\n",
            b"MAIL FROM:<nel@iscb-corporation.com>\r\n",
            b"RCPT TO:<%s@iscb-corporation.com>\r\n" % name.encode(),
            b"DATA\r\n",
            stuffed + b".\r\n",
            b"QUIT\r\n",
        ):
            sock.sendall(command)
            while (answer := answers.readline())[3:4] == b"-":
                pass
            if not answer.startswith((b"2", b"3")):
                raise AssertionError(f"{command[:60]!r} was answered {answer!r}")
