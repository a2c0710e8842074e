"""The values of RFC 3461's parameters, RET, ENVID, NOTIFY and ORCPT, and of RFC 6533's ``utf-8`` addresses: octets in, checked text out.

Every function raises ValueError. What is decoded here stands in a delivery report later, so it is text of one line, whatever xtext hid.
"""

from __future__ import annotations

import re
import unicodedata

# RFC 3461, 5.4 and 4.2, for the values as they are written.
MAX_ENVID = 100
MAX_ORCPT = 500

_XTEXT = re.compile(rb"(?:[!-*,-<>-~]|\+[0-9A-F]{2})+\Z")
_HEXCHAR = re.compile(rb"\+(..)")
_ADDRESS_TYPE = re.compile(rb"[A-Za-z0-9](?:[A-Za-z0-9-]{0,30}[A-Za-z0-9])?\Z")
_PRINTABLE = re.compile(r"[ -~]+\Z")
# RFC 6533, 3: QCHAR, an embedded character, or, where the transaction is SMTPUTF8, the character itself.
_UTF8_ADDRESS = re.compile(r"(?:[!-*,-<>-\[\]-~\u0080-\U0010ffff]|\\x\{[0-9A-F]{2,6}\})+\Z")
_EMBEDDED = re.compile(r"\\x\{([0-9A-F]+)\}")
_NOTICES = ("SUCCESS", "FAILURE", "DELAY")


def ret(value: bytes) -> str:
    """``FULL`` or ``HDRS``."""
    word = value.decode("ascii").upper()
    if word not in ("FULL", "HDRS"):
        raise ValueError("neither FULL nor HDRS")
    return word


def envid(value: bytes) -> str:
    """The client's own name for the transaction, decoded."""
    if len(value) > MAX_ENVID:
        raise ValueError("too long")
    return _printable(xtext(value))


def notify(value: bytes) -> str:
    """``NEVER``, or some of SUCCESS, FAILURE and DELAY, in this order."""
    words = value.decode("ascii").upper().split(",")
    if words == ["NEVER"]:
        return "NEVER"
    if len(set(words)) != len(words) or not all(word in _NOTICES for word in words):
        raise ValueError("not a list of notices")
    return ",".join(word for word in _NOTICES if word in words)


def orcpt(value: bytes, *, smtputf8: bool = False) -> str:
    """``rfc822;ann@example.com``, the address decoded. smtputf8: the client may write characters as they are."""
    kind, semicolon, address = value.partition(b";")
    if len(value) > MAX_ORCPT or not semicolon or not _ADDRESS_TYPE.match(kind):
        raise ValueError("not a type and an address")
    decoded = _utf8(address, smtputf8) if kind.lower() == b"utf-8" else _printable(xtext(address))
    return f"{kind.decode()};{decoded}"


def xtext(value: bytes) -> bytes:
    """RFC 3461, 4: ``+3D`` is ``=``. Not empty."""
    if not _XTEXT.match(value):
        raise ValueError("not xtext")
    return _HEXCHAR.sub(lambda code: bytes.fromhex(code[1].decode()), value)


def _printable(octets: bytes) -> str:
    text = octets.decode("ascii")
    if not _PRINTABLE.match(text):
        raise ValueError("a control character")
    return text


def _utf8(octets: bytes, raw: bool) -> str:
    text = octets.decode("utf-8" if raw else "ascii")
    if not _UTF8_ADDRESS.match(text):
        raise ValueError("not an address of this type")
    text = _EMBEDDED.sub(_embedded, text)
    # Neither an end of a line nor what turns its direction round.
    if not text.isprintable():
        raise ValueError("a control character")
    return unicodedata.normalize("NFC", text)


def _embedded(code: re.Match[str]) -> str:
    point = int(code[1], 16)
    if point > 0x10FFFF:
        raise ValueError("no such character")
    return chr(point)
