"""The server's side of SASL PLAIN (RFC 4616) and LOGIN, for any protocol that carries them (RFC 4954, RFC 5034)."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass

MECHANISMS = ("PLAIN", "LOGIN")
# RFC 4954, 4: a line of an exchange may hold so many octets.
MAX_LINE = 12288


class SaslError(ValueError):
    """The client's response makes no sense. The text may be shown to it."""


@dataclass(frozen=True, slots=True)
class Challenge:
    """Send this (not yet in base64) and wait for a response."""

    text: bytes


@dataclass(frozen=True, slots=True)
class Claim:
    """Somebody says that they are ``username`` and know the password. Octets as they came: names are judged by accounts."""

    username: bytes
    password: bytes

    def __repr__(self) -> str:
        return f"Claim({self.username!r}, ...)"


class Exchange:
    """One exchange. ``begin`` it, then feed ``respond`` until a Claim comes out or SaslError is raised."""

    def __init__(self, mechanism: str) -> None:
        """KeyError for a mechanism that is not in MECHANISMS (the comparison is without case)."""
        self._mechanism = mechanism.upper()
        # In Unicode, letters that are not ASCII have upper cases that are.
        if self._mechanism not in MECHANISMS or not mechanism.isascii():
            raise KeyError(mechanism)
        self._username: bytes | None = None

    def begin(self, initial: bytes | None) -> Challenge | Claim:
        """``initial`` is the initial response still in base64, ``=`` for an empty one, None where there was none."""
        if initial is not None:
            return self.respond(b"" if initial == b"=" else initial)
        return Challenge(b"" if self._mechanism == "PLAIN" else b"Username:")

    def respond(self, line: bytes) -> Challenge | Claim:
        response = _decode(line)
        if self._mechanism == "PLAIN":
            return _plain(response)
        if self._username is None:
            self._username = response
            return Challenge(b"Password:")
        return _claim(self._username, response)


def _decode(line: bytes) -> bytes:
    try:
        return base64.b64decode(line, validate=True)
    except binascii.Error:
        raise SaslError("the response is not base64") from None


def _plain(response: bytes) -> Claim:
    parts = response.split(b"\0")
    if len(parts) != 3:
        raise SaslError("the response is not authorization identity, NUL, user name, NUL, password")
    identity, username, password = parts
    if identity not in (b"", username):
        raise SaslError("nobody can act for somebody else here")
    return _claim(username, password)


def _claim(username: bytes, password: bytes) -> Claim:
    if not username or not password:
        raise SaslError("an empty user name or password")
    if b"\0" in username + password:
        raise SaslError("a NUL in a user name or password")
    return Claim(username, password)
