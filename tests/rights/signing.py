"""Stands in for who signs with our authority's key; loaded by the signer, as root."""

from __future__ import annotations

import os


def sign(request: bytes, argument: str) -> bytes:
    """Shows what it was called with, and as whom."""
    if request == b"too much":
        raise ValueError("that is not to be signed")
    return b"%s, %s, uid %d" % (request, argument.encode(), os.getuid())
