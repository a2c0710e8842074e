"""A client by hand, over TCP: says octets, hears replies, and never accepts one that tells of what the server is made of."""

from __future__ import annotations

import re
import socket
import ssl
from types import TracebackType

PATIENCE = 30.0  # seconds for one reply

# What a traceback, a repr or an exception that nobody caught would look like on the wire.
PYTHON = re.compile(rb"Traceback|File \"|<class|object at 0x|[Tt]wisted|NoneType|\w\.py\b|\w(Error|Exception)\b")


class Caller:
    """One connection. source: the client's own address, any of 127.0.0.0/8. first: what it says before it is greeted.
    tls: it speaks TLS then.
    """

    def __init__(
        self, port: int, source: str = "127.0.0.1", *, first: bytes = b"", tls: ssl.SSLContext | None = None
    ) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), PATIENCE, source_address=(source, 0))
        self.socket.sendall(first)
        if tls is not None:
            self.socket = tls.wrap_socket(self.socket)
        self._heard = self.socket.makefile("rb")
        self.answer = ""
        self.greeting = self.reply()

    def __enter__(self) -> Caller:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, why: BaseException | None, where: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._heard.close()
        self.socket.close()

    def start_tls(self, tls: ssl.SSLContext) -> None:
        """The server has said that it is ready."""
        self._heard.close()
        self.socket = tls.wrap_socket(self.socket)
        self._heard = self.socket.makefile("rb")

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def line(self) -> str:
        """The next line without its end; empty once the server has closed."""
        line = self._heard.readline(65536)
        assert not line or line.endswith(b"\r\n"), line
        assert not PYTHON.search(line), line
        return line.rstrip(b"\r\n").decode("utf-8", "backslashreplace")

    def reply(self) -> str:
        """The next reply; of an SMTP reply of several lines, the last."""
        line = self.line()
        while re.match(r"\d{3}-", line):
            line = self.line()
        assert not line or re.match(r"\d{3} |\+OK|-ERR|\+ ", line), line
        return line

    def say(self, text: str) -> str:
        """One command, and its reply."""
        self.send(text.encode() + b"\r\n")
        return self.reply()

    def text(self) -> list[str]:
        """The lines of a POP3 reply up to the dot, without it."""
        lines = []
        while (line := self._heard.readline()) != b".\r\n":
            assert line.endswith(b"\r\n"), "closed in the middle"
            lines.append(line[:-2].decode("utf-8", "backslashreplace"))
        return lines

    def pass_text(self) -> int:
        """The octets of a POP3 reply up to the dot, for one that is too large to keep."""
        octets = 0
        while (line := self._heard.readline(65536)) != b".\r\n":
            assert line, "closed in the middle"
            octets += len(line)
        return octets

    def rest(self) -> list[str]:
        """All that the server still says until it closes."""
        lines = []
        while line := self.line():
            lines.append(line)
        return lines


def announced(source: str, destination: str = "192.168.1.1", behind: bytes = b"") -> bytes:
    """The header of the PROXY protocol, version 2, for a client of that address. behind: TLVs."""
    family = socket.AF_INET6 if ":" in source else socket.AF_INET
    ends = socket.inet_pton(family, source) + socket.inet_pton(family, destination) + b"\x15\xb3\x00\x19" + behind
    kind = b"\x21\x21" if family == socket.AF_INET6 else b"\x21\x11"
    return b"\r\n\r\n\0\r\nQUIT\n" + kind + len(ends).to_bytes(2, "big") + ends


def smtp(port: int, *commands: str, source: str = "127.0.0.1") -> Caller:
    """A client of SMTP that has said EHLO and these commands, each of which was answered well."""
    caller = Caller(port, source)
    for command in ("EHLO client.example", *commands):
        reply = caller.say(command)
        assert reply[:1] in "23", (command, reply)
    return caller


def transaction(*recipients: str, sender: str = "nel@iscb-corporation.com") -> list[str]:
    """The commands up to DATA."""
    return [f"MAIL FROM:<{sender}>", *(f"RCPT TO:<{name}@iscb-corporation.com>" for name in recipients), "DATA"]


def pop3(port: int, user: str, password: str, source: str = "127.0.0.1") -> Caller:
    """A client of POP3 that has said USER, PASS; whatever PASS was answered is ``answer``."""
    caller = Caller(port, source)
    caller.say(f"USER {user}")
    caller.answer = caller.say(f"PASS {password}")
    return caller
