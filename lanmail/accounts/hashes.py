"""Passwords as a file keeps them: scrypt (RFC 7914) from OpenSSL, written ``$scrypt$ln=15,r=8,p=1$SALT$HASH``.

The cost is that of one login on a small server, about 100 ms and 32 MiB: little for a person who mistypes, much for
whoever stole the file. Argon2id would do as well, but Debian 12's OpenSSL does not have it.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os
import re
from dataclasses import dataclass

LONGEST_PASSWORD = 512
"""Octets. What PAM and crypt(3) take (PAM_MAX_RESP_SIZE, CRYPT_MAX_PASSPHRASE_SIZE); nobody's password is longer."""

_WRITTEN = re.compile(r"\$scrypt\$ln=(\d{1,2}),r=(\d{1,2}),p=(\d{1,2})\$([A-Za-z0-9+/]{11,86})\$([A-Za-z0-9+/]{22,86})")

USUAL = r"\$scrypt\$ln=15,r=8,p=1\$[A-Za-z0-9+/]{22}\$[A-Za-z0-9+/]{43}"
"""What ``hash_password`` writes, as a pattern. Whatever has this shape can be parsed: that of fifty thousand need not be tried."""

# A file may name costs of its own, but not one that stops the server: 128 * r * 2**ln octets are needed.
_MOST_MEMORY = 256 << 20
_MOST_PARALLEL = 4


@dataclass(frozen=True, slots=True)
class PasswordHash:
    """One password's hash with its salt and its cost (log2 of N, r and p of RFC 7914)."""

    ln: int
    r: int
    p: int
    salt: bytes
    digest: bytes

    @classmethod
    def of(cls, password: bytes) -> PasswordHash:
        """A new one, with a new salt, at today's cost. Takes as long as ``matches``."""
        salt = os.urandom(16)
        return cls(15, 8, 1, salt, _scrypt(password, salt, 15, 8, 1, 32))

    @classmethod
    def parse(cls, text: str) -> PasswordHash:
        """From a line of the file. ValueError, with a sentence, for anything that is not a hash of ours."""
        match = _WRITTEN.fullmatch(text)
        if match is None:
            raise ValueError("not a hash that lanmail writes ($scrypt$ln=15,r=8,p=1$salt$hash)")
        ln, r, p = int(match[1]), int(match[2]), int(match[3])
        if not (ln > 0 and r > 0 and 128 * r << ln <= _MOST_MEMORY and 0 < p <= _MOST_PARALLEL):
            raise ValueError("the cost of this hash is beyond what a mail server can bear")
        return cls(ln, r, p, _unpadded(match[4]), _unpadded(match[5]))

    def matches(self, password: bytes) -> bool:
        """Whether it is this password's. Blocks for the hash's cost, with the interpreter's lock let go."""
        if len(password) > LONGEST_PASSWORD:
            return False
        digest = _scrypt(password, self.salt, self.ln, self.r, self.p, len(self.digest))
        return hmac.compare_digest(digest, self.digest)

    def __str__(self) -> str:
        return f"$scrypt$ln={self.ln},r={self.r},p={self.p}${_padless(self.salt)}${_padless(self.digest)}"


def hash_password(password: str) -> str:
    """What stands behind the name in a passwd-file: ``name:`` and this. ValueError for no password, or one too long."""
    octets = password.encode()
    if not 0 < len(octets) <= LONGEST_PASSWORD:
        raise ValueError(f"a password has 1 to {LONGEST_PASSWORD} octets")
    return str(PasswordHash.of(octets))


NOBODYS = PasswordHash(15, 8, 1, bytes(16), bytes(32))
"""What an unknown name's password is compared with: the same work, and it never matches."""


def _scrypt(password: bytes, salt: bytes, ln: int, r: int, p: int, length: int) -> bytes:
    # OpenSSL refuses what needs more than maxmem, and wants a little more than the formula says.
    return hashlib.scrypt(
        password, salt=salt, n=1 << ln, r=r, p=p, dklen=length, maxmem=128 * r * ((1 << ln) + p + 2) + (1 << 20)
    )


def _padless(octets: bytes) -> str:
    return base64.b64encode(octets).decode().rstrip("=")


def _unpadded(text: str) -> bytes:
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except binascii.Error:
        raise ValueError("the salt or the hash is not base64") from None
