"""TLS by hand over a socket: what is sent with what, in which record and in which segment, is for the test to say."""

from __future__ import annotations

import socket
import ssl

PATIENCE = 30.0  # seconds


def any_certificate() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


class Wire:
    """One connection, in clear until ``handshake``. ``send`` is one segment, and one record under TLS."""

    def __init__(self, port: int, source: str = "127.0.0.1") -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), PATIENCE, source_address=(source, 0))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._tls: ssl.SSLObject | None = None
        self._theirs, self._ours = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._heard = b""

    def close(self) -> None:
        self._socket.close()

    def give_up_after(self, seconds: float) -> None:
        """How long an answer is waited for, instead of PATIENCE; TimeoutError then."""
        self._socket.settimeout(seconds)

    def send(self, data: bytes) -> None:
        if self._tls is None:
            self._socket.sendall(data)
            return
        self._tls.write(data)
        self._socket.sendall(self._ours.read())

    def send_many(self, records: list[bytes]) -> None:
        """So many records of TLS, in one segment."""
        assert self._tls is not None
        for record in records:
            self._tls.write(record)
        self._socket.sendall(self._ours.read())

    def line(self) -> str:
        """The next line, without its end; empty where the server has closed."""
        while b"\n" not in self._heard:
            piece = self._receive()
            if not piece:
                assert not self._heard, self._heard
                return ""
            self._heard += piece
        line, _, self._heard = self._heard.partition(b"\n")
        assert line.endswith(b"\r"), line
        return line[:-1].decode("utf-8")

    def reply(self) -> str:
        """The last line of the next reply of SMTP, or the line of POP3's."""
        line = self.line()
        while line[:3].isdigit() and line[3:4] == "-":
            line = self.line()
        return line

    def say(self, command: str) -> str:
        self.send(command.encode() + b"\r\n")
        return self.reply()

    def handshake(self, with_hello: bytes = b"") -> None:
        """TLS begins. with_hello: octets in clear right before it, in the same segment. OSError where the server will not."""
        assert not self._heard, f"said in clear before TLS, and not asked for: {self._heard!r}"
        tls = any_certificate().wrap_bio(self._theirs, self._ours)
        first = with_hello
        while True:
            try:
                tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                self._socket.sendall(first + self._ours.read())
                first = b""
                piece = self._socket.recv(65536)
                if not piece:
                    raise ConnectionAbortedError("closed during the handshake") from None
                self._theirs.write(piece)
        self._socket.sendall(self._ours.read())
        self._tls = tls

    def rest(self) -> bytes:
        """All that is still said until the server closes, which it may do rudely."""
        heard = self._heard
        try:
            while piece := self._receive():
                heard += piece
        except ConnectionError:
            pass
        return heard

    def _receive(self) -> bytes:
        if self._tls is None:
            return self._socket.recv(65536)
        while True:
            try:
                return self._tls.read(65536)
            except ssl.SSLWantReadError:
                piece = self._socket.recv(65536)
                if not piece:
                    return b""
                self._theirs.write(piece)
            except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
                return b""
